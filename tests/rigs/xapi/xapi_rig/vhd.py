# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A VHD that is imported: read once from its beginning to its end and written as raw bytes (xen-api, libs/vhd f.ml, From_input)."""

from __future__ import annotations

import struct
import typing as t

SECTOR = 512
_UNUSED = 0xFFFFFFFF
_NO_OFFSET = 0xFFFFFFFFFFFFFFFF
_DISK_TYPES = (2, 3, 4)


class StreamError(Exception):
    """vhd-tool fails; XAPI answers VDI_IO_ERROR for every cause."""


def receive(read: t.Callable[[int], bytes], disk: t.BinaryIO, length: int, room: int) -> None:
    """Writes the disk in a VHD of `length` bytes to a device with `room`. read(size) gives exactly that many bytes."""
    at = 0

    def take(size: int) -> bytes:
        nonlocal at
        at += size
        return read(size)

    def skip_to(offset: int) -> None:
        if offset < at or offset > length:
            raise StreamError  # a stream cannot be read backwards
        while at < offset:
            take(min(1 << 16, offset - at))

    (header_at,) = struct.unpack_from(">Q", _footer(take(SECTOR)), 16)
    skip_to(header_at)
    header = take(1024)
    no_offset, table_at, version, entries, block_size, checksum = struct.unpack_from(">QQIIII", header, 8)
    if (header[:8], no_offset, version, checksum) != (b"cxsparse", _NO_OFFSET, 0x00010000, _sum(header, 36)):
        raise StreamError
    if not block_size or block_size & (block_size - 1):
        raise StreamError
    skip_to(table_at)
    table = take(-(-entries * 4 // SECTOR) * SECTOR)
    blocks = {where: number for number, (where,) in enumerate(struct.iter_unpack(">I", table[: entries * 4])) if where != _UNUSED}
    sectors = block_size // SECTOR
    for where in sorted(blocks):
        skip_to(where * SECTOR)
        bitmap = take(-(-sectors // (8 * SECTOR)) * SECTOR)
        data = take(block_size)
        start = blocks[where] * block_size
        for sector in range(sectors):
            if bitmap[sector // 8] & (0x80 >> sector % 8):
                if start + (sector + 1) * SECTOR > room:
                    raise StreamError  # the device ends here
                disk.seek(start + sector * SECTOR)
                disk.write(data[sector * SECTOR : (sector + 1) * SECTOR])
    skip_to((length - 1) & ~(SECTOR - 1))
    _footer(take(SECTOR))


def _footer(part: bytes) -> bytes:
    version, kind, checksum = struct.unpack_from(">I", part, 12)[0], *struct.unpack_from(">II", part, 60)
    if (part[:8], version, checksum) != (b"conectix", 0x00010000, _sum(part, 64)) or kind not in _DISK_TYPES:
        raise StreamError
    return part


def _sum(part: bytes, at: int) -> int:
    return ~(sum(part) - sum(part[at : at + 4])) & 0xFFFFFFFF
