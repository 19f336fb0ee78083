# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What an ext3 or ext4 file system is once its journal is replayed. In memory: nothing is written.

A running guest's changes are in the journal as soon as they are safe, and in their places up to a minute later.
The rules are the kernel's (fs/jbd2/recovery.c): the end of the log is the first block that is not the next one expected; a
transaction counts when its commit block is there; a block revoked in the same or a later transaction is not replayed.
The area for fast commits, which no distribution has on by default, is left out: what is only there is seen later.
"""

from __future__ import annotations

import dataclasses
import functools
import struct
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk.blocks import Overlay

if t.TYPE_CHECKING:
    from collections.abc import Callable

_MAGIC = 0xC03B3998
_DESCRIPTOR, _COMMIT, _REVOKE = 1, 2, 5
_64BIT, _CSUM_V2, _CSUM_V3, _FAST_COMMIT = 0x2, 0x8, 0x10, 0x20
_ESCAPED, _SAME_UUID, _LAST = 1, 2, 8
_DEFAULT_FAST_COMMIT_BLOCKS = 256
MAX_BLOCKS = 65536

_CRC_TABLE: list[int] = []


def crc32c(value: int, data: bytes) -> int:
    """The kernel's crc32c: no inversion before or after."""
    if not _CRC_TABLE:
        for number in range(256):
            for _bit in range(8):
                number = (number >> 1) ^ (0x82F63B78 if number & 1 else 0)
            _CRC_TABLE.append(number)
    table = _CRC_TABLE
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value


@dataclasses.dataclass(frozen=True)
class _Copy:
    """One block in the log: of which transaction, where in the log, and how it is checked."""

    sequence: int
    place: int
    escaped: bool
    checksum: t.Optional[int]


class Journal:
    """The log of one file system, read through `log`, a file-like object over the journal's inode."""

    def __init__(self, log: t.Any) -> None:
        self._log = log
        head = self._read_at(0, 1024)
        magic, kind, _sequence, self.block_size, length, self._first, self._sequence, self._start = struct.unpack(
            ">8I", head[:32]
        )
        features = struct.unpack(">I", head[40:44])[0] if kind == 4 else 0
        self.clean = self._start == 0
        self._end = length
        if features & _FAST_COMMIT:
            self._end -= struct.unpack(">I", head[84:88])[0] or _DEFAULT_FAST_COMMIT_BLOCKS
        self._wide = bool(features & _64BIT)
        self._v3 = bool(features & _CSUM_V3)
        self._checked = bool(features & (_CSUM_V2 | _CSUM_V3))
        self._seed = crc32c(0xFFFFFFFF, head[48:64])
        self.usable = (
            magic == _MAGIC
            and kind in (3, 4)
            and self.block_size in (1024, 2048, 4096, 8192, 16384, 32768, 65536)
            and 0 < self._first < self._end <= 1 << 32
            and (self.clean or self._first <= self._start < self._end)
        )

    def _read_at(self, offset: int, count: int) -> bytes:
        self._log.seek(offset)
        return self._log.read(count).ljust(count, b"\0")

    def _block(self, place: int) -> bytes:
        return self._read_at(place * self.block_size, self.block_size)

    def blocks(self) -> dict[int, Callable[[], bytes | None]]:
        """By block number of the file system, what gives its newest content in the log (None: that copy is damaged)."""
        found: dict[int, _Copy] = {}
        revoked: dict[int, int] = {}
        pending: list[tuple[int, _Copy]] = []
        pending_revokes: list[int] = []
        place, sequence = self._start, self._sequence
        copies: list[tuple[int, _Copy]] = []
        seen = 0
        while seen < MAX_BLOCKS:
            block = self._block(place)
            magic, kind, number = struct.unpack(">3I", block[:12])
            if magic != _MAGIC or number != sequence or not self._intact(block, kind):
                break
            seen += 1
            place = self._next(place, 1)
            if kind == _DESCRIPTOR:
                tags = self._tags(block, sequence, place)
                pending += tags
                seen += len(tags)
                place = self._next(place, len(tags))
            elif kind == _REVOKE:
                pending_revokes += self._revokes(block)
            elif kind == _COMMIT:
                copies += pending
                revoked.update(dict.fromkeys(pending_revokes, sequence))
                pending, pending_revokes = [], []
                sequence = (sequence + 1) & 0xFFFFFFFF
            else:
                break
        for number, copy in copies:
            if number in revoked and (revoked[number] - copy.sequence) & 0xFFFFFFFF < 1 << 31:
                found.pop(number, None)
                continue
            found[number] = copy
        return {number: functools.partial(self._content, copy) for number, copy in found.items()}

    def _next(self, place: int, count: int) -> int:
        return self._first + (place - self._first + count) % (self._end - self._first)

    def _intact(self, block: bytes, kind: int) -> bool:
        if not self._checked or kind not in (_DESCRIPTOR, _REVOKE, _COMMIT):
            return True
        where = 16 if kind == _COMMIT else self.block_size - 4
        given = struct.unpack(">I", block[where : where + 4])[0]
        return crc32c(self._seed, block[:where] + b"\0\0\0\0" + block[where + 4 :]) == given

    def _tags(self, block: bytes, sequence: int, place: int) -> list[tuple[int, _Copy]]:
        """The blocks that a descriptor announces; they follow it in the log in this order."""
        size = 16 if self._v3 else 12 + (2 if self._checked else 0) - (0 if self._wide else 4)
        end = self.block_size - (4 if self._checked else 0)
        position = 12
        tags: list[tuple[int, _Copy]] = []
        while position + size <= end:
            checksum: t.Optional[int] = None
            if self._v3:
                low, flags, high, checksum = struct.unpack(">4I", block[position : position + 16])
            else:
                low, given, flags = struct.unpack(">IHH", block[position : position + 8])
                high = struct.unpack(">I", block[position + 8 : position + 12])[0] if self._wide else 0
                checksum = given if self._checked else None
            number = low | (high << 32 if self._wide else 0)
            tags.append((number, _Copy(sequence, self._next(place, len(tags)), bool(flags & _ESCAPED), checksum)))
            position += size + (0 if flags & _SAME_UUID else 16)
            if flags & _LAST:
                break
        return tags

    def _revokes(self, block: bytes) -> list[int]:
        used = min(struct.unpack(">I", block[12:16])[0], self.block_size - (4 if self._checked else 0))
        size, form = (8, ">Q") if self._wide else (4, ">I")
        return [struct.unpack(form, block[at : at + size])[0] for at in range(16, used - size + 1, size)]

    def _content(self, copy: _Copy) -> bytes | None:
        block = self._block(copy.place)
        if copy.checksum is not None:
            computed = crc32c(crc32c(self._seed, struct.pack(">I", copy.sequence)), block)
            if copy.checksum != (computed if self._v3 else computed & 0xFFFF):
                return None
        return struct.pack(">I", _MAGIC) + block[4:] if copy.escaped else block


def replayed(volume: t.Any, log: t.Any) -> t.Any:
    """The volume as it is with its journal replayed; the volume itself when there is nothing to replay."""
    journal = Journal(log)
    if not journal.usable or journal.clean:
        return volume
    blocks = journal.blocks()
    return Overlay(volume, volume.size, journal.block_size, blocks) if blocks else volume
