# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The map `networks` of a XenServer or XCP-ng guest, as XAPI gives it or as `xe vm-list params=networks` prints it.

Keys are N/ip, N/ipv4/i and N/ipv6/i in no order. N is the VIF's device number for guest agents of today; older ones give
the guest's own number (ens160 → 160) or, for enx..., the MAC in hex.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import Reading

if t.TYPE_CHECKING:
    from collections.abc import Mapping

# Bounds on what one guest may make us look at.
MAX_ENTRIES = 512
MAX_PER_INTERFACE = 64
MAX_VALUE = 1024
MAX_TEXT = 65536

_KEY = re.compile(r"([0-9A-Za-z]{1,16})/(ip|ipv4|ipv6)(?:/(\d{1,5}))?")
# --minimal puts commas between VMs
_SECOND_VM = re.compile(r",\s*(?:[0-9A-Za-z]{1,16}/ip|<not in)")
_LABEL = re.compile(r"\bnetworks\s*(?:\(\s*M?R[OW]\s*\))?\s*:(?=\s|$)")
_MAC = re.compile(r"[0-9a-f]{12}")
_MAX_DEVICE = 254
_ENTRY = re.compile(r"(?:^|;)\s*([0-9A-Za-z]{1,16}/(?:ip|ipv4|ipv6)(?:/\d{1,5})?)\s*:\s*")


class XeTextError(ValueError):
    """The text is not what `xe ... params=networks` prints; the message shows what was found."""


def readings_of(networks: Mapping[str, t.Any]) -> tuple[Reading, ...]:
    """One Reading for each interface, in numeric order; addresses in the order of their index, IPv4 first, each once.

    Entries that make no sense are left out: the guest wrote them.
    """
    found: dict[str, list[tuple[int, int, str]]] = {}
    for key, value in list(networks.items())[:MAX_ENTRIES]:
        match = _KEY.fullmatch(key) if isinstance(key, str) else None
        if match is None or not isinstance(value, str) or len(value) > MAX_VALUE:
            continue
        number, kind, index = match.groups()
        # N/ip repeats the first of N/ipv4; several addresses in one value are split by blanks.
        rank = {"ip": 0, "ipv4": 1, "ipv6": 2}[kind]
        for word in value.split():
            found.setdefault(number, []).append((rank, int(index or 0), word))
    readings = []
    for number in sorted(found, key=_numeric):
        ordered = sorted(found[number], key=lambda entry: entry[:2])
        addresses = tuple(dict.fromkeys(text for _rank, _index, text in ordered))[:MAX_PER_INTERFACE]
        readings.append(_reading(number, addresses))
    return tuple(readings)


def parse_xe_networks(text: str) -> dict[str, str]:
    """The map in `networks (MRO): 0/ip: 10.99.0.60; 0/ipv6/0: fe80::1` of one VM; empty for `<not in database>`.

    Accepts the line with or without its label, and the form of `--minimal`. Raises XeTextError for anything else.
    """
    if len(text) > MAX_TEXT:
        raise XeTextError(f"the text has {len(text)} characters: more than one VM's networks can have")
    body = " ".join(line.strip() for line in text.strip().splitlines() if line.strip())
    body, labels = _LABEL.subn("", body)
    body = body.strip()
    if not body or body == "<not in database>":
        return {}
    starts = list(_ENTRY.finditer(body))
    if not starts or starts[0].start() != 0:
        raise XeTextError(f"this is not what `xe vm-list params=networks` prints for a VM: {body[:80]!r}")
    if labels > 1 or _SECOND_VM.search(body):
        raise XeTextError("this is the networks of more than one VM: ask xe for one, with uuid= or name-label=")
    entries = {}
    for match, following in zip(starts, [*starts[1:], None]):
        end = len(body) if following is None else following.start()
        entries[match.group(1)] = body[match.end() : end].strip().rstrip(";").strip()
    return entries


def _numeric(number: str) -> tuple[int, int, str]:
    return (0, int(number), "") if number.isdecimal() else (1, 0, number)


def _reading(number: str, addresses: tuple[str, ...]) -> Reading:
    if _MAC.fullmatch(number.lower()):
        digits = number.lower()
        return Reading(addresses, mac=":".join(digits[i : i + 2] for i in range(0, 12, 2)))
    if number.isdecimal() and int(number) <= _MAX_DEVICE:
        return Reading(addresses, device=int(number))
    return Reading(addresses)
