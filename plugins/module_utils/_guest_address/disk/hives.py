# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A Windows registry hive on a disk, with what is only in its logs so far."""

from __future__ import annotations

import functools
import struct
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk import dissect_import as dissect
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk.blocks import Overlay

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Bounds on what one guest may make us look at.
MAX_LOG = 8 << 20
_MAX_ENTRIES = 4096
_PAGE = 512
_BINS = 4096  # the hive's data begins here; offsets in logs count from it
_FIRST_ENTRY = 512
_SEED = 0x82EF4D887A4E55C5


def marvin32(data: bytes) -> int:
    """The checksum of log entries since Windows 8.1."""
    low, high = _SEED & 0xFFFFFFFF, _SEED >> 32

    def mix(low: int, high: int, value: int) -> tuple[int, int]:
        low = (low + value) & 0xFFFFFFFF
        high ^= low
        low = (((low << 20) | (low >> 12)) + high) & 0xFFFFFFFF
        high = ((high << 9) | (high >> 23)) & 0xFFFFFFFF
        high ^= low
        low = (((low << 27) | (low >> 5)) + high) & 0xFFFFFFFF
        high = ((high << 19) | (high >> 13)) & 0xFFFFFFFF
        return low, high

    whole = len(data) // 4 * 4
    for (value,) in struct.iter_unpack("<I", data[:whole]):
        low, high = mix(low, high, value)
    rest = data[whole:]
    low, high = mix(low, high, int.from_bytes(rest + b"\x80", "little"))
    low, high = mix(low, high, 0)
    return (high << 32) | low


class _Entry(t.NamedTuple):
    """One flush of the hive that went to a log: pages by their place in the hive's data."""

    sequence: int
    size: int  # of the hive's data after it
    pages: tuple[tuple[int, bytes], ...]


def _entries(log: bytes) -> Iterator[_Entry]:
    """The intact entries of a log, from its beginning; the first one that is not intact ends it."""
    position = _FIRST_ENTRY
    for _number in range(_MAX_ENTRIES):
        head = log[position : position + 40]
        if len(head) < 40 or head[:4] != b"HvLE":
            return
        size, _flags, sequence, bins, count, body_hash, head_hash = struct.unpack("<5I2Q", head[4:])
        entry = log[position : position + size]
        if size % _PAGE or size < _PAGE or len(entry) < size or 40 + 8 * count > size:
            return
        if marvin32(head[:32]) != head_hash or marvin32(entry[40:]) != body_hash:
            return
        pages = []
        at = 40 + 8 * count
        for number in range(count):
            offset, length = struct.unpack("<2I", entry[40 + 8 * number : 48 + 8 * number])
            pages.append((offset, entry[at : at + length]))
            at += length
        if at > size:
            return
        yield _Entry(sequence, bins, tuple(pages))
        position += size


def recovered(hive: t.Any, size: int, logs: Sequence[bytes]) -> t.Any:
    """The hive as Windows would have it after a start: the logs' entries that are newer than it, in their order, over it."""
    hive.seek(0)
    head = hive.read(512).ljust(512, b"\0")
    primary, secondary = struct.unpack("<2I", head[4:12])
    if head[:4] != b"regf" or primary == secondary:
        return hive
    entries = {entry.sequence: entry for log in logs for entry in _entries(log[:MAX_LOG])}
    changed: dict[int, bytes] = {}
    # Whatever log it is in, each entry carries on where the one before ended. The first one may be later than the hive
    # says: what came before it was written to the hive meanwhile, without a word in its first block.
    sequence = min((number for number in entries if number >= secondary), default=0)
    while sequence in entries:
        for offset, page in entries[sequence].pages:
            for at in range(0, len(page), _PAGE):
                changed[(_BINS + offset + at) // _PAGE] = page[at : at + _PAGE]
        size = max(size, _BINS + min(entries[sequence].size, 1 << 31))
        sequence = (sequence + 1) & 0xFFFFFFFF
    if not changed:
        return hive
    return Overlay(_Padded(hive), size, _PAGE, {number: functools.partial(bytes, data) for number, data in changed.items()})


class _Padded:
    """A stream that goes on with zeros after its end: logs may tell of pages that the hive's file does not have yet."""

    def __init__(self, stream: t.Any) -> None:
        self._stream = stream

    def seek(self, position: int) -> int:
        return self._stream.seek(position)

    def read(self, count: int) -> bytes:
        return self._stream.read(count).ljust(count, b"\0")


class HiveKey:
    """See registry.Key."""

    def __init__(self, node: t.Any) -> None:
        self._node = node
        self.name: str = node.name
        self.written: int = node.cell.LastWriteTime

    def child(self, path: str) -> HiveKey | None:
        """See registry.Key."""
        node = self._node
        for part in path.split("\\"):
            try:
                node = node.subkey(part)
            except dissect.RegistryKeyNotFoundError:
                return None
        return HiveKey(node)

    def children(self) -> Iterator[HiveKey]:
        """See registry.Key."""
        return (HiveKey(node) for node in self._node.subkeys())

    def value(self, name: str) -> t.Any:
        """See registry.Key."""
        try:
            return self._node.value(name).value
        except dissect.RegistryValueNotFoundError:
            return None


def open_hive(stream: t.Any, size: int, logs: Sequence[bytes]) -> HiveKey:
    """The root key of a hive, its logs applied."""
    return HiveKey(dissect.RegistryHive(recovered(stream, size, logs)).root())
