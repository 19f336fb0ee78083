# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The disks of one guest, in the child process: raw, or as a chain of qcow2 files in which each one lies over the next.

What format a file has, and what is below it, is the hypervisor's word. A guest can write a qcow2 header into a raw disk.
"""

from __future__ import annotations

import struct
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk import dissect_import as dissect
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk import wire
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk.blocks import Blocks, DiskError, Slice

if t.TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

MAX_DEPTH = 16
_EXTENDED_L2 = 0x10
_KNOWN_FEATURES = 0x1 | 0x8  # dirty, compression type
_MAX_L1 = 32 << 20


class ChainError(DiskError):
    """A file of a chain is one that is not read; the message says why."""


def open_disks(channel: socket.socket, disks: Sequence[Sequence[Mapping[str, t.Any]]]) -> list[Blocks]:
    """disks: for each disk its files from the top down, each with format (raw, qcow2), size and the number to ask for it by."""
    return [_open_chain(channel, files) for files in disks]


def _open_chain(channel: socket.socket, files: Sequence[Mapping[str, t.Any]]) -> Blocks:
    return stack([(file["format"], Blocks(file["size"], _fetcher(channel, file["number"]))) for file in files])


def stack(files: Sequence[tuple[str, Blocks]]) -> Blocks:
    """The disk that these files make: (format, content) from the top down. Raises ChainError."""
    if not 0 < len(files) <= MAX_DEPTH:
        raise ChainError(f"a chain of {len(files)} files")
    below: t.Any = None
    for form, raw in reversed(files):
        below = raw if form == "raw" else _qcow2(raw, below)
    return below


def _fetcher(channel: socket.socket, number: int) -> t.Callable[[int, int], bytes]:
    def fetch(offset: int, length: int) -> bytes:
        wire.send(channel, wire.READ, wire.REQUEST.pack(number, offset, length))
        what, content = wire.receive(channel, wire.MAX_DATA)
        if what != wire.DATA:
            raise wire.Ended("refused")
        return content

    return fetch


def _qcow2(file: Blocks, below: Blocks | None) -> Blocks:
    _check_header(file)
    image = dissect.QCow2(file, allow_no_backing_file=True)
    # Set afterwards: the library looks into a backing file that it is given, and takes a raw one with the bytes for qcow2.
    image.backing_file = below
    if image.needs_backing_file and below is None:
        raise ChainError("a file that lies over another one, which is not known")
    stream = image.open()
    return Slice(stream, 0, image.size)


def _check_header(file: Blocks) -> None:
    """Refuses what the library takes for good and comes to grief with."""
    head = file.at(0, 104).ljust(104, b"\0")
    magic, version = head[:4], struct.unpack(">I", head[4:8])[0]
    if magic != b"QFI\xfb" or version not in (2, 3):
        raise ChainError("a file that is no qcow2 file of version 2 or 3")
    cluster_bits, size, crypt, l1_size, l1_offset = struct.unpack(">IQIIQ", head[20:48])
    features = struct.unpack(">Q", head[72:80])[0] if version == 3 else 0
    if crypt:
        raise ChainError("encrypted")
    if features & _EXTENDED_L2:
        raise ChainError("a qcow2 file with subclusters (extended_l2), which the library cannot read")
    if features & ~_KNOWN_FEATURES:
        raise ChainError("a qcow2 file with features that are not known here")
    if not 9 <= cluster_bits <= 21:
        raise ChainError("a qcow2 file with a cluster size that cannot be")
    per_entry = 1 << (2 * cluster_bits - 3)
    if l1_size * 8 > _MAX_L1 or l1_size > size // per_entry + 1 or l1_offset + 8 * l1_size > file.size:
        raise ChainError("a qcow2 file with a table that cannot be")
