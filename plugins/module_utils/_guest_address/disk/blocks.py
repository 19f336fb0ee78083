# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A disk as the readers of file systems see it: a file-like object over pieces that somebody else fetches."""

from __future__ import annotations

import io
import typing as t
from collections import OrderedDict

if t.TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# What is fetched at once: file systems ask for a few hundred bytes here and there, and a round trip costs more than bytes.
PIECE = 65536
# Of one disk, kept at once.
_KEPT = 512
# One read of a reader. More than this is asked for only by what a guest made up.
MAX_READ = 64 << 20


class DiskError(Exception):
    """What is on the disk, or how it is reached, cannot be read; the message says what."""


class Blocks:
    """seek, tell and read over fetch(offset, length), with the last pieces remembered. Nothing can be written."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self.size = size
        self._fetch = fetch
        self._position = 0
        self._pieces: OrderedDict[int, bytes] = OrderedDict()

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        """As of any file."""
        if whence == io.SEEK_CUR:
            position += self._position
        elif whence == io.SEEK_END:
            position += self.size
        if position < 0:
            raise OSError(f"there is nothing at {position}")
        self._position = position
        return position

    def tell(self) -> int:
        """As of any file."""
        return self._position

    def read(self, count: int | None = -1) -> bytes:
        """As of any file; raises DiskError for more than MAX_READ."""
        rest = max(0, self.size - self._position)
        count = rest if count is None or count < 0 else min(count, rest)
        if count > MAX_READ:
            raise DiskError(f"{count} bytes at once were asked for")
        data = self.at(self._position, count)
        self._position += len(data)
        return data

    def at(self, offset: int, count: int) -> bytes:
        """count bytes from offset, fewer at the end of the disk."""
        end = min(offset + count, self.size)
        parts = []
        while offset < end:
            number, begin = divmod(offset, PIECE)
            part = self._piece(number, end)[begin : begin + end - offset]
            if not part:
                raise DiskError("the disk ended before its size")
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def _piece(self, number: int, end: int) -> bytes:
        if number in self._pieces:
            self._pieces.move_to_end(number)
            return self._pieces[number]
        # A long read takes its pieces in one fetch.
        count = max(1, min(-(-end // PIECE) - number, 16))
        start = number * PIECE
        data = self._fetch(start, min(count * PIECE, self.size - start))
        for position in range(0, len(data), PIECE):
            self._pieces[number + position // PIECE] = data[position : position + PIECE]
        while len(self._pieces) > _KEPT:
            self._pieces.popitem(last=False)
        return self._pieces.get(number, b"")


class Slice(Blocks):
    """A part of another file-like object, such as a partition."""

    def __init__(self, parent: t.Any, start: int, size: int) -> None:
        def fetch(offset: int, length: int) -> bytes:
            parent.seek(start + offset)
            return parent.read(length)

        super().__init__(size, fetch)

    def at(self, offset: int, count: int) -> bytes:
        """See Blocks. What is below remembers; nothing is kept twice."""
        end = min(offset + count, self.size)
        return self._fetch(offset, end - offset) if end > offset else b""


class Overlay(Slice):
    """A file-like object with some of its blocks replaced: what a journal or a log says that they are by now."""

    def __init__(self, parent: t.Any, size: int, block_size: int, blocks: Mapping[int, Callable[[], bytes | None]]) -> None:
        super().__init__(parent, 0, size)
        self._block_size = block_size
        self._blocks = blocks

    def at(self, offset: int, count: int) -> bytes:
        """See Blocks."""
        data = super().at(offset, count)
        first, last = offset // self._block_size, (offset + len(data) - 1) // self._block_size
        if not data or not any(number in self._blocks for number in range(first, last + 1)):
            return data
        changed = bytearray(data)
        for number in range(first, last + 1):
            new = self._blocks[number]() if number in self._blocks else None
            if new is None:
                continue
            start = number * self._block_size - offset
            begin, end = max(start, 0), min(start + len(new), len(changed))
            changed[begin:end] = new[begin - start : end - start]
        return bytes(changed)
