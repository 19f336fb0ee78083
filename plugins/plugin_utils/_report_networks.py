# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""How full the announced ranges of the shared networks are, and where in each network its addresses lie."""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.policy import (
    RuleError,
    parse_address,
    parse_networks,
    parse_range,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.network_rules import names_on_hypervisor
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import MAX_NAME, plain

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CELLS = 256  # how many cells the picture of one network has
COLUMNS = 32
FULL = 0.9  # the used part of a range from which on the page says that it is nearly full


def networks_of(hypervisors: Iterable[Mapping[str, t.Any]], nics: Sequence[Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """One entry for each shared network, by name; networks of several hypervisors with the same name and CIDR are one.

    hypervisors: each with C(name) and C(networks) (entries of C(shared_networks)); nics: of the record, with all details.
    """
    found: dict[tuple[t.Any, ...], dict[str, t.Any]] = {}
    for hypervisor in hypervisors:
        for given in hypervisor.get("networks") or ():
            entry = {"name": given} if isinstance(given, str) else given
            if not isinstance(entry, dict) or not entry.get("name"):
                continue
            cidr, ip_range = _first(entry.get("cidr") or entry.get("cidrs")), _text(entry.get("ip_range"))
            name = plain(str(entry["name"]), MAX_NAME)
            network = found.setdefault(
                (name, cidr, ip_range),
                {"name": name, "vlan": _text(entry.get("vlan")), "cidr": cidr, "ip_range": ip_range, "on": [], "members": set()},
            )
            network["on"].append(hypervisor["name"])
            network["members"].update((hypervisor["name"], alias) for alias in names_on_hypervisor(entry))
    return [_filled(found[key], nics) for key in sorted(found, key=str)]


def _filled(network: dict[str, t.Any], nics: Sequence[Mapping[str, t.Any]]) -> dict[str, t.Any]:
    members = network.pop("members")
    mine = [nic for nic in nics if (nic["hypervisor_name"], nic["network"]) in members]
    addresses = collections.Counter(nic["ip4_address"] for nic in mine if nic["ip4_address"])
    numbers = sorted(int(address) for address in map(parse_address, addresses) if address is not None)
    used = _range_use(network["ip_range"], numbers)
    return {
        **network,
        "on": sorted(network["on"]),
        "nics": len(mine),
        "addresses": len(addresses),
        "twice": sorted(address for address, count in addresses.items() if count > 1),
        **used,
        "cells": _cells(network["cidr"], network["ip_range"], numbers),
    }


def _range_use(ip_range: str | None, numbers: Sequence[int]) -> dict[str, t.Any]:
    """size and used of the range, and how many addresses lie outside of it; None where there is no range."""
    limits = _limits(ip_range)
    if limits is None:
        return {"size": None, "used": None, "outside": None, "percent": None, "state": "unknown"}
    low, high = limits
    size, used = high - low + 1, sum(low <= number <= high for number in numbers)
    state = "full" if used >= size else "nearly_full" if used >= FULL * size else "ok"
    return {"size": size, "used": used, "outside": len(numbers) - used, "percent": round(100 * used / size), "state": state}


def _cells(cidr: str | None, ip_range: str | None, numbers: Sequence[int]) -> dict[str, t.Any] | None:
    """The network cut into at most CELLS parts: of each, whether it is in the range, and how much of it is used (0 to 4)."""
    limits, whole = _limits(ip_range), _network(cidr)
    shown = whole or limits
    if shown is None:
        return None
    first, last = shown
    per_cell = max(1, -(-(last - first + 1) // CELLS))
    counts = collections.Counter((number - first) // per_cell for number in numbers if first <= number <= last)
    cells = []
    for place in range(-(-(last - first + 1) // per_cell)):
        start = first + place * per_cell
        end = min(last, start + per_cell - 1)
        inside = limits is not None and start <= limits[1] and end >= limits[0]
        part = counts[place] / (end - start + 1)
        cells.append({"inside": inside, "level": 0 if not part else 1 + min(3, int(part * 4))})
    return {"per_cell": per_cell, "columns": COLUMNS, "cells": cells}


def _limits(ip_range: str | None) -> tuple[int, int] | None:
    try:
        limits = parse_range(ip_range)
    except RuleError:
        return None
    return None if limits is None or limits[0].version != 4 else (int(limits[0]), int(limits[1]))


def _network(cidr: str | None) -> tuple[int, int] | None:
    try:
        networks = parse_networks([cidr] if cidr else [])
    except (RuleError, TypeError):
        return None
    if not networks or networks[0].version != 4:
        return None
    return int(networks[0].network_address), int(networks[0].broadcast_address)


def _first(value: t.Any) -> str | None:
    return _text(value[0] if isinstance(value, (list, tuple)) and value else value or None)


def _text(value: t.Any) -> str | None:
    return None if value is None else plain(str(value), MAX_NAME)
