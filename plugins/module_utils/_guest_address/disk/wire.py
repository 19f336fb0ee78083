# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""How the reader and its child speak: one byte that says what follows, its length, its content.

The child asks READ (disk, offset, length) and gets DATA or REFUSED; it ends with ANSWER, which is JSON.
"""

from __future__ import annotations

import struct
import typing as t

if t.TYPE_CHECKING:
    import socket

READ, ANSWER, DATA, REFUSED = b"R", b"A", b"D", b"N"
REQUEST = struct.Struct(">HQI")
_HEAD = struct.Struct(">cI")
# The longest content, by what it is; more ends the conversation.
MAX_ANSWER = 65536
MAX_DATA = 4 << 20


class Ended(ConnectionError):
    """The other side is gone, or says what cannot be said."""


def send(channel: socket.socket, what: bytes, content: bytes = b"") -> None:
    """Sends one message."""
    channel.sendall(_HEAD.pack(what, len(content)) + content)


def receive(channel: socket.socket, limit: int) -> tuple[bytes, bytes]:
    """The next message, at most `limit` bytes of content. Raises Ended."""
    what, length = _HEAD.unpack(_exactly(channel, _HEAD.size))
    if length > limit:
        raise Ended(f"a message of {length} bytes")
    return what, _exactly(channel, length)


def _exactly(channel: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = channel.recv(min(count - len(data), 1 << 20))
        if not part:
            raise Ended("the other side is gone")
        data += part
    return bytes(data)
