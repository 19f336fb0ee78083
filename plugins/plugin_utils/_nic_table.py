# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""NICs as a table for people."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HEADER = ("VM", "POWER", "NIC", "MAC", "NETWORK", "ADDRESS", "SOURCE", "LAST SEEN")
_MAX_CELL = 60


def nic_rows(vms: Sequence[Mapping[str, t.Any]], record: Sequence[Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """One row per NIC: what the hypervisor says of the VM joined with what the record says of the NIC, by VM id and MAC.

    vms: of vm_ip_info; record: nics of vm_nic_record_info. NICs of the record whose VM is gone come last.
    """
    recorded = {(nic.get("vm_id"), nic.get("mac")): nic for nic in record}
    rows = []
    for vm in vms:
        for nic in vm.get("nics") or ():
            known = recorded.pop((vm.get("id"), nic.get("mac")), {})
            rows.append(_row(vm.get("name"), vm.get("power_state"), nic, known, _reason(vm, known)))
        if vm.get("reason") == "vm_not_found":
            rows.append(_row(vm.get("name"), None, {}, {}, "vm_not_found"))
    rows.extend(_row(nic.get("vm_name"), None, nic, nic, "vm_not_found") for nic in recorded.values())
    return rows


def _row(
    vm: str | None, power_state: str | None, nic: Mapping[str, t.Any], known: Mapping[str, t.Any], reason: str | None
) -> dict[str, t.Any]:
    """Every row has every key: templates fail at one that is not there."""
    return {
        "vm": vm,
        "power_state": power_state,
        "device": nic.get("device"),
        "mac": nic.get("mac"),
        "network": nic.get("network"),
        "ip4_address": known.get("ip4_address"),
        "reason": reason,
        "source": known.get("source"),
        "last_seen": known.get("last_seen_at"),
        "fetch_state": known.get("fetch_state"),
        "tries_left": known.get("tries_left"),
    }


def table(rows: Sequence[Mapping[str, t.Any]]) -> list[str]:
    """The rows as lines with aligned columns; a dash and the reason where there is no address."""
    cells = [HEADER]
    for row in rows:
        address = row.get("ip4_address") or f"- ({row.get('reason') or 'not recorded'})"
        values = (
            row.get("vm"),
            row.get("power_state"),
            row.get("device"),
            row.get("mac"),
            row.get("network"),
            address,
            row.get("source"),
            row.get("last_seen"),
        )
        cells.append(tuple(_cell(value) for value in values))
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER))]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in cells]


def _reason(vm: Mapping[str, t.Any], known: Mapping[str, t.Any]) -> str | None:
    if known.get("ip4_address"):
        return None
    if vm.get("power_state") not in (None, "running"):
        return "vm_not_running"
    return known.get("last_reason") or (known.get("fetch_state") if known else None)


def _cell(value: t.Any) -> str:
    if value is None or value == "":
        return "-"
    # Names come from other people's systems: no control characters on the terminal, no endless columns.
    text = "".join(char if char.isprintable() else "?" for char in str(value))
    return text if len(text) <= _MAX_CELL else text[: _MAX_CELL - 1] + "~"
