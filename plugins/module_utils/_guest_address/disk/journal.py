# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What systemd-networkd said in the systemd journal: its leases are nowhere else on the disk.

Only what one service said last is looked up, through the journal's own hash table (systemd: docs/JOURNAL_FILE_FORMAT.md).
Files are read that systemd has written since version 246; what is compressed, and messages are not, is left out.
"""

from __future__ import annotations

import struct
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.lease import (
    Lease,
    interface_name,
    moment,
    usable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.logs import NETWORKD, NETWORKD_MESSAGE

FIELD = b"_SYSTEMD_UNIT=systemd-networkd.service"

_KEYED, _COMPACT = 4, 16
_DATA, _ENTRY, _ARRAY = 1, 3, 6
_COMPRESSED = 7
_HEADER = 208
# Bounds on what one guest may make us look at.
_MAX_OBJECT = 1 << 20
_MAX_CHAIN = 64
_LAST_ENTRIES = 48
_MAX_ITEMS = 64
_M = (1 << 64) - 1


class JournalError(Exception):
    """The file is none that is read here, or is damaged."""


def siphash24(data: bytes, key: bytes) -> int:
    """SipHash-2-4."""
    k0, k1 = struct.unpack("<2Q", key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rounds(count: int) -> None:
        a, b, c, d = v
        for _round in range(count):
            a = (a + b) & _M
            b = ((b << 13) | (b >> 51)) & _M ^ a
            a = ((a << 32) | (a >> 32)) & _M
            c = (c + d) & _M
            d = ((d << 16) | (d >> 48)) & _M ^ c
            a = (a + d) & _M
            d = ((d << 21) | (d >> 43)) & _M ^ a
            c = (c + b) & _M
            b = ((b << 17) | (b >> 47)) & _M ^ c
            c = ((c << 32) | (c >> 32)) & _M
        v[:] = a, b, c, d

    whole = len(data) // 8 * 8
    last = int.from_bytes(data[whole:].ljust(7, b"\0") + bytes([len(data) & 0xFF]), "little")
    for (word,) in (*struct.iter_unpack("<Q", data[:whole]), (last,)):
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


class _Journal:
    """One file, by its objects."""

    def __init__(self, stream: t.Any) -> None:
        self._stream = stream
        head = self._read(0, _HEADER)
        flags = struct.unpack("<I", head[12:16])[0]
        if head[:8] != b"LPKSHHRH" or not flags & _KEYED:
            raise JournalError("no journal of today")
        self.compact = bool(flags & _COMPACT)
        self.key = head[24:40]
        self.boot = head[56:72]
        self._table, self._table_size = struct.unpack("<2Q", head[104:120])

    def _read(self, offset: int, count: int) -> bytes:
        self._stream.seek(offset)
        data = self._stream.read(count)
        if len(data) < count:
            raise JournalError("it ends before its end")
        return data

    def object(self, offset: int, kind: int) -> bytes:
        """The whole object there."""
        head = self._read(offset, 16)
        size = struct.unpack("<Q", head[8:])[0]
        if head[0] != kind or not 16 <= size <= _MAX_OBJECT:
            raise JournalError("an object that cannot be")
        return self._read(offset, size)

    def data(self, content: bytes) -> bytes | None:
        """The object of this FIELD=VALUE, None if the journal has none."""
        buckets = self._table_size // 16
        if not buckets:
            return None
        wanted = siphash24(content, self.key)
        at = struct.unpack("<Q", self._read(self._table + wanted % buckets * 16, 8))[0]
        for _hop in range(_MAX_CHAIN):
            if not at:
                return None
            found = self.object(at, _DATA)
            if struct.unpack("<Q", found[16:24])[0] == wanted and self.payload(found) == content:
                return found
            at = struct.unpack("<Q", found[24:32])[0]
        return None

    def payload(self, data: bytes) -> bytes:
        """FIELD=VALUE of a data object; nothing for a compressed one."""
        return b"" if data[1] & _COMPRESSED else data[72 if self.compact else 64 :]

    def entries(self, data: bytes) -> list[int]:
        """Where the last entries with this data are, oldest first."""
        first, at, count = struct.unpack("<3Q", data[40:64])
        found, left = [first], count - 1
        for _hop in range(_MAX_CHAIN):
            if not at or left <= 0:
                break
            array = self.object(at, _ARRAY)
            size, form = (4, "<I") if self.compact else (8, "<Q")
            used = min(left, (len(array) - 24) // size)
            begin = max(0, used - _LAST_ENTRIES)
            found += [struct.unpack(form, array[24 + n * size : 24 + (n + 1) * size])[0] for n in range(begin, used)]
            left -= used
            at = struct.unpack("<Q", array[16:24])[0]
        return found[-_LAST_ENTRIES:]

    def message(self, entry: bytes) -> bytes:
        """The MESSAGE of an entry."""
        size, form = (4, "<I") if self.compact else (16, "<Q8x")
        for at in range(64, min(len(entry), 64 + _MAX_ITEMS * size) - size + 1, size):
            payload = self.payload(self.object(struct.unpack(form, entry[at : at + size])[0], _DATA))
            if payload.startswith(b"MESSAGE="):
                return payload[8:]
        return b""


def leases(stream: t.Any) -> list[Lease]:
    """The last lease of each interface of the boot that wrote to the journal last. Raises JournalError, struct.error."""
    journal = _Journal(stream)
    data = journal.data(FIELD)
    last: dict[str, Lease] = {}
    for at in journal.entries(data) if data is not None else ():
        entry = journal.object(at, _ENTRY)
        if entry[40:56] != journal.boot:
            continue
        found = NETWORKD_MESSAGE.match(journal.message(entry).decode("utf-8", "replace"))
        address = usable(found.group(2)) if found else None
        interface = interface_name(found.group(1)) if found else None
        if address is not None and interface is not None:
            last[interface] = Lease(NETWORKD, address, interface, obtained=moment(struct.unpack("<Q", entry[24:32])[0] / 1e6))
    return list(last.values())
