# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Leases of ISC dhclient: blocks `lease { ... }`, appended at each renewal, so that the last one of an interface counts.

The whole file is written anew when dhclient starts, with what it knew before: only the times inside a block tell its age.
"""

from __future__ import annotations

import calendar
import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.lease import (
    MAX_FILE,
    Lease,
    bounded,
    interface_name,
    moment,
    text_of,
    usable,
)

if t.TYPE_CHECKING:
    from collections.abc import Iterator

CLIENT = "dhclient"

# A quoted text may hold braces, semicolons and whole statements: it is one word here.
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|#[^\n]*|[{};]|[^\s{};"#]+|"')
_FIRST_BLOCK = re.compile(r"^lease\s*\{", re.MULTILINE)
_DATE = re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})")
_CLOCK = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})")
_MAX_WORDS = 32


def parse(data: bytes, path: str, mtime: float) -> list[Lease]:
    """The last complete lease of each interface. mtime: used only for a lease that never expires."""
    text = text_of(data)
    if len(data) >= MAX_FILE:
        # The beginning was cut off, perhaps in the midst of a block.
        first = _FIRST_BLOCK.search(text)
        text = text[first.start() :] if first else ""
    last: dict[t.Optional[str], Lease] = {}
    for block in _blocks(text):
        lease = _lease(block, mtime)
        if lease is not None:
            last.pop(lease.interface, None)
            last[lease.interface] = lease
    return bounded(list(last.values()))


def _blocks(text: str) -> Iterator[list[list[str]]]:
    """The statements of each complete top-level block `lease { ... }`."""
    words: list[str] = []
    block: list[list[str]] = []
    depth, ours = 0, False
    for token in _TOKEN.findall(text):
        if token.startswith("#"):
            continue
        if token == "{":
            if depth == 0:
                ours, block = words == ["lease"], []
            depth += 1
            words = []
        elif token == "}":
            depth = max(0, depth - 1)
            if depth == 0 and ours:
                yield block
                ours = False
            words = []
        elif token == ";":
            if ours and depth == 1:
                block.append(words)
            words = []
        elif len(words) < _MAX_WORDS:
            words.append(token)


def _lease(block: list[list[str]], mtime: float) -> Lease | None:
    address = interface = None
    length: t.Optional[float] = None
    expires: t.Optional[float] = None
    never = False
    for words in block:
        if words[:1] == ["fixed-address"] and len(words) == 2:
            address = usable(words[1])
        elif words[:1] == ["interface"] and len(words) == 2:
            interface = interface_name(words[1].strip('"'))
        elif words[:2] == ["option", "dhcp-lease-time"] and len(words) == 3:
            length = moment(words[2])
        elif words[:1] == ["expire"]:
            never, expires = words[1:] == ["never"], _time(words[1:])
    if address is None or (expires is None and not never):
        return None
    if expires is not None and length is not None and expires > length:
        return Lease(CLIENT, address, interface, obtained=expires - length, expires=expires)
    return Lease(CLIENT, address, interface, obtained=mtime, expires=expires, proof=False)


def _time(words: list[str]) -> float | None:
    """Unix seconds of `W YYYY/MM/DD HH:MM:SS` (UTC) or `epoch N`."""
    if words[:1] == ["epoch"]:
        return moment(words[1]) if len(words) == 2 else None
    if len(words) != 3:
        return None
    date, clock = _DATE.fullmatch(words[1]), _CLOCK.fullmatch(words[2])
    if date is None or clock is None:
        return None
    year, month, day = map(int, date.groups())
    hour, minute, second = map(int, clock.groups())
    if not (1970 <= year < 2200 and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 62):
        return None
    return moment(calendar.timegm((year, month, day, hour, minute, second)))
