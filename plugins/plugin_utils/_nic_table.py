# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""NICs as rows, and rows as a table for people or as CSV, JSON or YAML for programs."""

from __future__ import annotations

import csv
import datetime
import io
import json
import typing as t

import yaml
from ansible.utils.display import get_text_width

from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import counted, plain

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HEADER = ("", "VM", "POWER", "NIC", "MAC", "NETWORK", "ADDRESS", "SOURCE", "SEEN")
ATTENTION = "!"
_MAX_CELL = 60
_LEAST_NAME = 12
# The columns that are left out on a narrow terminal, in this order.
_DISPENSABLE = ("SOURCE", "NETWORK", "MAC", "POWER", "SEEN")
_AGES = ((86400 * 2, 86400, "d"), (3600 * 2, 3600, "h"), (120, 60, "min"), (0, 1, "s"))
# Instead of a reason, of a VM that is not there yet.
PLANNED = "would be made"
# States and reasons of a NIC without an address that need attention.
_BAD_REASONS = ("vm_not_found", "ambiguous_name", "source_unavailable", "hypervisor_unreachable")
_FORMULA = ("=", "+", "-", "@")


def nic_rows(vms: Sequence[Mapping[str, t.Any]], record: Sequence[Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """One row per NIC: what the hypervisor says of the VM joined with what the record says of the NIC, by VM id and MAC.

    vms: of vm_ip_info, or of vm, which tells in check mode what it would make; record: nics of vm_nic_record_info. NICs of the
    record whose VM is gone come last.
    """
    recorded = {(nic.get("vm_id"), nic.get("mac")): nic for nic in record}
    unread = {vm.get("name") for vm in vms if not vm.get("id") and vm.get("reason") != "vm_not_found"}
    rows = []
    for vm in vms:
        for nic in vm.get("nics") or ():
            known = recorded.pop((vm.get("id"), nic.get("mac")), {})
            rows.append(_row(vm.get("name"), vm.get("power_state"), nic, known, _reason(vm, known)))
        if not vm.get("id"):
            rows.append(_row(vm.get("name"), None, {}, {}, PLANNED if vm.get("changed") else vm.get("reason")))
    for nic in recorded.values():
        # With these reasons nobody knows whether the VM is gone.
        reason = _reason({}, nic) if nic.get("vm_name") in unread else "vm_not_found"
        rows.append(_row(nic.get("vm_name"), None, nic, nic, reason))
    return rows


def _row(
    vm: str | None, power_state: str | None, nic: Mapping[str, t.Any], known: Mapping[str, t.Any], reason: str | None
) -> dict[str, t.Any]:
    """Every row has every key: templates fail at one that is not there."""
    row = {
        "vm": vm,
        "power_state": power_state,
        "device": nic.get("device"),
        "mac": nic.get("mac"),
        "network": nic.get("network"),
        "address": _address(known),
        "ip4_address": known.get("ip4_address"),
        "ip6_addresses": list(known.get("ip6_addresses") or ()),
        "reason": reason,
        "source": known.get("source"),
        "last_seen": known.get("last_seen_at"),
        "fetch_state": known.get("fetch_state"),
        "tries_left": known.get("tries_left"),
    }
    row["attention"] = _needs_attention(row)
    return row


def _address(known: Mapping[str, t.Any]) -> str | None:
    """The address that counts, by the NIC's family order if the record has it; for a NIC that is done the one it has."""
    ip4, ip6 = known.get("ip4_address"), next(iter(known.get("ip6_addresses") or ()), None)
    if "address" in known:
        return known["address"]
    return ip4 or (ip6 if known.get("fetch_state") == "found" else None)


def _needs_attention(row: Mapping[str, t.Any]) -> bool:
    return row["fetch_state"] == "gave_up" or row["reason"] in _BAD_REASONS


def table(rows: Sequence[Mapping[str, t.Any]], width: int = 0, now: datetime.datetime | None = None) -> list[str]:
    """The rows as lines with aligned columns. A row without an address has what is waited for, or a dash and the reason.

    width: of the terminal; names are cut and columns left out until the lines fit. 0 takes as much as is needed.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    cells = [list(HEADER)]
    for row in rows:
        values = (
            row.get("vm"),
            row.get("power_state"),
            row.get("device"),
            row.get("mac"),
            row.get("network"),
            _address_cell(row),
            row.get("source"),
            _age(row.get("last_seen"), now),
        )
        cells.append([ATTENTION if row.get("attention") else "", *(_cell(value) for value in values)])
    if width:
        cells = _fitting(cells, width)
    widths = _widths(cells)
    return ["  ".join(_padded(text, wide) for text, wide in zip(line, widths)).rstrip() for line in cells]


def summary(rows: Sequence[Mapping[str, t.Any]]) -> str:
    """One line of numbers about the rows."""
    waiting = sum(row.get("fetch_state") == "pending" and not row.get("address") for row in rows)
    attention = sum(bool(row.get("attention")) for row in rows)
    planned = sum(row.get("reason") == PLANNED for row in rows)
    parts = [
        counted(len({row.get("vm") for row in rows}), "VM"),
        counted(sum(bool(row.get("address")) for row in rows), "address", "addresses"),
    ]
    parts += [f"{planned} would be made"] if planned else []
    parts += [f"{waiting} waited for"] if waiting else []
    parts += [f"{attention} marked {ATTENTION} {'needs' if attention == 1 else 'need'} attention"] if attention else []
    return ", ".join(parts)


def document(rows: Sequence[Mapping[str, t.Any]], form: str) -> str:
    """The rows as `csv`, `json` or `yaml`, complete, for programs. Texts have no characters that do not print."""
    rows = [{key: _plain(value) for key, value in row.items()} for row in rows]
    if form == "json":
        return json.dumps(rows, indent=2, ensure_ascii=False)
    if form == "yaml":
        return yaml.safe_dump(rows, sort_keys=False, allow_unicode=True, width=10_000).rstrip("\n")
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(rows[0] if rows else _row(None, None, {}, {}, None))
    for row in rows:
        writer.writerow([_csv_cell(value) for value in row.values()])
    return file.getvalue().rstrip("\n")


def _plain(value: t.Any) -> t.Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    # str() because a YAML dumper does not know Ansible's own types of text.
    return str(plain(value)) if isinstance(value, str) else value


def _csv_cell(value: t.Any) -> t.Any:
    if isinstance(value, list):
        return " ".join(value)
    # A spreadsheet would take a name that begins so for a formula.
    return "'" + value if isinstance(value, str) and value.startswith(_FORMULA) else value


def _fitting(cells: list[list[str]], width: int) -> list[list[str]]:
    """Names cut and columns left out, until a line is at most `width` wide; an address is never cut.

    Names of VMs stay different from each other as long as another column can be left out.
    """
    least = _telling([line[cells[0].index("VM")] for line in cells[1:]])
    for dropped in ("", *_DISPENSABLE):
        if dropped:
            place = cells[0].index(dropped)
            cells = [line[:place] + line[place + 1 :] for line in cells]
        cut = _with_names_cut(cells, width, least)
        if _line_width(cut) <= width:
            return cut
    return _with_names_cut(cells, width, _LEAST_NAME)


def _telling(names: Sequence[str]) -> int:
    """The smallest width (at least _LEAST_NAME) at which the names, cut, still differ from each other."""
    different = set(names)
    lengths = range(_LEAST_NAME, _MAX_CELL)
    return next((length for length in lengths if len({_cut(name, length) for name in different}) == len(different)), _MAX_CELL)


def _with_names_cut(cells: list[list[str]], width: int, least: int) -> list[list[str]]:
    for name, shortest in (("NETWORK", _LEAST_NAME), ("VM", least)):
        over = _line_width(cells) - width
        if over > 0 and name in cells[0]:
            place = cells[0].index(name)
            wide = _widths(cells)[place]
            most = max(shortest, wide - over)
            cells = [[*line[:place], _cut(line[place], most), *line[place + 1 :]] for line in cells] if most < wide else cells
    return cells


def _line_width(cells: Sequence[Sequence[str]]) -> int:
    return sum(_widths(cells)) + 2 * (len(cells[0]) - 1)


def _widths(cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(_width(line[column]) for line in cells) for column in range(len(cells[0]))]


def _width(text: str) -> int:
    """The width of `text` in columns of a terminal, of which some characters take two."""
    return len(text) if text.isascii() else get_text_width(text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _cut(text: str, width: int) -> str:
    if _width(text) <= width:
        return text
    while _width(text) > width - 1:
        text = text[:-1]
    return text + "~"


def _address_cell(row: Mapping[str, t.Any]) -> str:
    address = row.get("address") or row.get("ip4_address")
    if address:
        return address
    reason = row.get("reason") or "not recorded"
    if row.get("fetch_state") == "pending" and reason != "vm_not_running":
        return f"waiting ({reason}, tries left: {row.get('tries_left')})"
    return f"- ({reason})"


def _age(moment: str | None, now: datetime.datetime) -> str | None:
    """How long ago `moment` was, in one unit."""
    if not moment:
        return None
    try:
        then = datetime.datetime.fromisoformat(moment[:-1] + "+00:00" if moment.endswith("Z") else moment)
        seconds = max(0, int((now - then).total_seconds()))
    except (TypeError, ValueError):
        return moment
    least, unit, name = next(age for age in _AGES if seconds >= age[0])
    return f"{seconds // unit} {name}"


def _reason(vm: Mapping[str, t.Any], known: Mapping[str, t.Any]) -> str | None:
    if _address(known):
        return None
    if vm.get("power_state") not in (None, "running"):
        return "vm_not_running"
    return known.get("last_reason") or (known.get("fetch_state") if known else None)


def _cell(value: t.Any) -> str:
    if value is None or value == "":
        return "-"
    # Names come from other people's systems: no control characters on the terminal, no endless columns.
    return _cut(plain(str(value)), _MAX_CELL)
