# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The network block device protocol as far as reading one export needs it (doc/proto.md of the NBD project)."""

from __future__ import annotations

import struct
import typing as t

if t.TYPE_CHECKING:
    import socket

_MAGIC, _OPTION, _REPLY = b"NBDMAGIC", b"IHAVEOPT", 0x0003E889045565A9
_REQUEST, _SIMPLE_REPLY = 0x25609513, 0x67446698
_FIXED, _NO_ZEROES = 1, 2
_OPT_GO, _REP_ACK, _REP_INFO, _INFO_EXPORT = 7, 1, 3, 0
_CMD_READ, _CMD_DISCONNECT = 0, 2
_MAX_REPLY = 65536
# What servers take at least.
_MAX_READ = 1 << 20


class NbdError(Exception):
    """The server refused, or said what cannot be."""


class NbdExport:
    """One export, opened; see reader.SourceFile. It is for one thread."""

    format = "raw"

    def __init__(self, channel: socket.socket, name: str) -> None:
        """Raises NbdError and OSError; the channel's timeout holds for each step."""
        self._channel = channel
        self._cookie = 0
        self.size = self._open(name.encode())

    def read(self, offset: int, length: int) -> bytes:
        """See reader.SourceFile. Raises NbdError and OSError."""
        parts = []
        while length:
            count = min(length, _MAX_READ)
            parts.append(self._read(offset, count))
            offset += count
            length -= count
        return b"".join(parts)

    def close(self) -> None:
        """Says goodbye and closes the channel."""
        try:
            self._channel.sendall(struct.pack(">IHHQQI", _REQUEST, 0, _CMD_DISCONNECT, 0, 0, 0))
        except OSError:
            pass  # it is gone already
        self._channel.close()

    def _open(self, name: bytes) -> int:
        hello = self._receive(18)
        flags = struct.unpack(">H", hello[16:])[0]
        if hello[:8] != _MAGIC or hello[8:16] != _OPTION or not flags & _FIXED:
            raise NbdError("what answers there is no NBD server of today")
        self._channel.sendall(struct.pack(">I", _FIXED | (flags & _NO_ZEROES)))
        data = struct.pack(">I", len(name)) + name + struct.pack(">H", 0)
        self._channel.sendall(_OPTION + struct.pack(">II", _OPT_GO, len(data)) + data)
        size = None
        while True:
            magic, _option, kind, length = struct.unpack(">QIII", self._receive(20))
            if magic != _REPLY or length > _MAX_REPLY:
                raise NbdError("the NBD server said what cannot be")
            content = self._receive(length)
            if kind == _REP_ACK:
                break
            if kind & 1 << 31:
                raise NbdError(f"the NBD server refused: {content[:200].decode('utf-8', 'replace')}")
            if kind == _REP_INFO and length >= 12 and struct.unpack(">H", content[:2])[0] == _INFO_EXPORT:
                size = struct.unpack(">Q", content[2:10])[0]
        if size is None:
            raise NbdError("the NBD server did not tell the size")
        return size

    def _read(self, offset: int, count: int) -> bytes:
        self._cookie += 1
        self._channel.sendall(struct.pack(">IHHQQI", _REQUEST, 0, _CMD_READ, self._cookie, offset, count))
        magic, error, cookie = struct.unpack(">IIQ", self._receive(16))
        if magic != _SIMPLE_REPLY or cookie != self._cookie:
            raise NbdError("the NBD server said what cannot be")
        if error:
            raise NbdError(f"the NBD server could not read (error {error})")
        return self._receive(count)

    def _receive(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self._channel.recv(count - len(data))
            if not part:
                raise NbdError("the NBD server ended the connection")
            data += part
        return bytes(data)
