# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The data of the page about all VMs: the record's NICs, events and looks, joined with what the hypervisors say now."""

from __future__ import annotations

import collections
import datetime
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import UserError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import journal
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.results import (
    event_result,
    holder_result,
    look_result,
    nic_result,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._report_networks import networks_of

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Recorded", "UserError", "page_data", "read_record"]

# The columns of a row, in the order in which the page's script reads them.
COLUMNS = (
    "status",
    "vm",
    "hypervisor",
    "power",
    "nic",
    "mac",
    "network",
    "address",
    "ip6",
    "source",
    "seen",
    "reason",
    "message",
    "state",
    "tries_left",
    "previous",
    "first_seen",
    "last_try",
    "vm_id",
)
STATUSES = ("attention", "waiting", "found", "off", "not_recorded")
_BAD_REASONS = (
    "vm_not_found",
    "ambiguous_name",
    "source_unavailable",
    "hypervisor_unreachable",
    "address_taken",
    "disk_encrypted",
)
_LATE = 3  # intervals without a look, after which the page says that a hypervisor is late
_GROUPS = 12
_NAMED = 5


class Recorded(t.NamedTuple):
    """What was read from the record. where: its URL without the password."""

    where: str
    nics: list[dict[str, t.Any]]
    events: list[dict[str, t.Any]]
    looks: list[dict[str, t.Any]]
    holders: list[dict[str, t.Any]]


def read_record(url: str | None, hypervisor_names: Sequence[str] | None, events: int) -> Recorded:
    """NICs, the newest events and the looks. A record that does not exist yet counts as empty. Raises UserError."""
    with RecordStore.open(url) as store:
        database = store.database
        if not database.exists():
            return Recorded(database.where, [], [], [], [])
        now = database.now()
        nics = [nic_result(nic, detail=True) for nic in store.nics(hypervisor_names=hypervisor_names)]
        newest = store.events(hypervisor_names=hypervisor_names, limit=events) if events else []
        tallies = journal.tallies(database)
        looks = [
            {
                **look_result(note, tallies),
                "late": (now - note.looked_at).total_seconds() > _LATE * max(note.interval_seconds, 60),
            }
            for note in journal.looks(database, hypervisor_names)
        ]
        holders = [t.cast("dict[str, t.Any]", holder_result(holder)) for holder in journal.holders(database)]
        return Recorded(database.where, nics, [event_result(event) for event in reversed(newest)], looks, holders)


def page_data(
    recorded: Recorded, hypervisors: Sequence[Mapping[str, t.Any]], made_at: datetime.datetime, title: str
) -> dict[str, t.Any]:
    """Everything that the page shows. hypervisors: the option of vm_report; all texts in it are made plain."""
    hypervisors = [_plain(hypervisor) for hypervisor in hypervisors]
    live = {(one["name"], vm["id"]): vm for one in hypervisors for vm in one.get("vms") or () if vm.get("id")}
    read = {one["name"] for one in hypervisors if not one.get("problem") and one.get("vms") is not None}
    checks = {(one["name"], vm.get("id") or vm.get("name")): vm for one in hypervisors for vm in one.get("diagnosis") or ()}
    rows = [_recorded_row(nic, live.get((nic["hypervisor_name"], nic["vm_id"])), read) for nic in recorded.nics]
    known = {(nic["hypervisor_name"], nic["vm_id"], nic["mac"]) for nic in recorded.nics}
    for (name, vm_id), vm in live.items():
        rows += [_live_row(name, vm, nic) for nic in vm.get("nics") or () if (name, vm_id, nic.get("mac")) not in known]
    diagnosed = {key: vm for key, vm in checks.items() if vm.get("checks")}
    for row in rows:
        found = checks.get((row["hypervisor"], row["vm_id"]))
        if found is not None and found.get("status") == "failed" and row["status"] in ("found", "not_recorded"):
            row["status"] = "attention"
            row["message"] = row["message"] or found.get("verdict")
    rows.sort(key=lambda row: (STATUSES.index(row["status"]), row["hypervisor"] or "", row["vm"] or "", row["nic"] or 0))
    return {
        "title": title,
        "made_at": made_at.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "record": recorded.where,
        "columns": COLUMNS,
        "rows": [[row[column] for column in COLUMNS] for row in rows],
        "diagnosis": {f"{name}\n{vm_id}": _shown_checks(vm) for (name, vm_id), vm in diagnosed.items()},
        "counts": _counts(rows),
        "groups": _groups(rows),
        "hypervisors": _health(recorded, hypervisors, rows),
        "networks": networks_of(hypervisors, recorded.nics),
        "events": [{**event, "kind": _kind(event["type"])} for event in map(_plain, recorded.events)],
    }


def _recorded_row(nic: Mapping[str, t.Any], vm: Mapping[str, t.Any] | None, read: set[str]) -> dict[str, t.Any]:
    name = nic["hypervisor_name"]
    gone = vm is None and name in read
    power = None if vm is None else vm.get("power_state")
    row = {
        "vm": nic["vm_name"],
        "hypervisor": name,
        "power": power or ("gone" if gone else "stopped" if nic["fetch_state"] == "stopped" else None),
        "nic": nic["device"],
        "mac": nic["mac"],
        "network": nic["network"],
        "address": nic["address"],
        "ip6": " ".join(nic["ip6_addresses"]),
        "source": nic["source"],
        "seen": nic["last_seen_at"],
        "reason": "vm_not_found" if gone else nic["last_reason"],
        "message": "the hypervisor has no such VM any more; the next look takes it out of the record"
        if gone
        else nic["last_message"],
        "state": nic["fetch_state"],
        "tries_left": nic["tries_left"],
        "previous": nic["previous_address"],
        "first_seen": nic["first_seen_at"],
        "last_try": nic["last_try_at"],
        "vm_id": nic["vm_id"],
    }
    if row["address"] and not row["reason"] and nic["in_range"] is False:
        row["reason"] = "outside_range"
        row["message"] = (
            f"{nic['address']} lies outside of the announced range {nic['ip_range']}: ask the DHCP administrator which is right"
        )
    elif row["address"] and nic["suspect"] and not row["reason"]:
        row["reason"] = "suspect"
        row["message"] = "the last readings did not show this address any more"
    row["status"] = _status(row)
    return _plain(row)


def _live_row(name: str, vm: Mapping[str, t.Any], nic: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The row of a NIC that the hypervisor has and the record does not."""
    row: dict[str, t.Any] = dict.fromkeys(COLUMNS)
    row.update(vm=vm.get("name"), hypervisor=name, power=vm.get("power_state"), nic=nic.get("device"), mac=nic.get("mac"))
    row.update(network=nic.get("network"), vm_id=vm.get("id"), address=nic.get("ip4_address"), source=nic.get("source"))
    row["ip6"] = ""
    row["status"] = "not_recorded" if vm.get("power_state") == "running" else "off"
    return row


def _status(row: Mapping[str, t.Any]) -> str:
    """The word by which a row is filtered and coloured."""
    if row["state"] == "gave_up" or row["reason"] in (*_BAD_REASONS, "outside_range", "suspect"):
        return "attention"
    if row["state"] == "stopped" or row["power"] not in (None, "running"):
        return "off"
    return "found" if row["address"] else "waiting"


def _counts(rows: Iterable[Mapping[str, t.Any]]) -> dict[str, int]:
    """The numbers of VMs, of addresses, and of NICs by status."""
    rows = list(rows)
    counts = collections.Counter(row["status"] for row in rows)
    return {
        "vms": len({(row["hypervisor"], row["vm_id"]) for row in rows}),
        "nics": len(rows),
        "addresses": sum(bool(row["address"]) for row in rows),
        **{status: counts[status] for status in STATUSES},
    }


def _groups(rows: Iterable[Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """The rows that need attention, by reason, the most frequent reason first."""
    by_reason: dict[str, list[Mapping[str, t.Any]]] = {}
    for row in rows:
        if row["status"] == "attention":
            by_reason.setdefault(row["reason"] or "diagnosis", []).append(row)
    groups = [
        {
            "reason": reason,
            "nics": len(found),
            "vms": list(dict.fromkeys(row["vm"] for row in found))[:_NAMED],
            "more": max(0, len({(row["hypervisor"], row["vm_id"]) for row in found}) - _NAMED),
            "message": found[0]["message"],
        }
        for reason, found in by_reason.items()
    ]
    return sorted(groups, key=lambda group: -group["nics"])[:_GROUPS]


def _health(
    recorded: Recorded, hypervisors: Sequence[Mapping[str, t.Any]], rows: Sequence[Mapping[str, t.Any]]
) -> list[dict[str, t.Any]]:
    """One entry for each hypervisor that the record or the inventory knows, by name."""
    looks = {look["name"]: _plain(look) for look in recorded.looks}
    given = {one["name"]: one for one in hypervisors}
    holders = {holder["lock"].partition(":")[2]: _plain(holder) for holder in recorded.holders}
    counts: dict[str, collections.Counter[str]] = {}
    vms: dict[str, set[t.Any]] = {}
    for row in rows:
        counts.setdefault(row["hypervisor"], collections.Counter())[row["status"]] += 1
        vms.setdefault(row["hypervisor"], set()).add(row["vm_id"])
    health = []
    for name in sorted({*looks, *given, *counts}):
        look, now = looks.get(name), given.get(name, {})
        if now.get("problem"):
            state, problem = "failed", now["problem"]
        elif look is None:
            state, problem = "warning", "nobody has looked at it yet: run tick_vm_ips or poll_vm_ips"
        elif look["problem"]:
            state, problem = "failed", look["problem"]
        elif look["late"]:
            state, problem = "warning", "the last look is long ago: see whether the schedule of tick_vm_ips runs"
        else:
            state, problem = "ok", None
        numbers = counts.get(name, collections.Counter())
        health.append(
            {
                "name": name,
                "state": state,
                "problem": problem,
                "look": look,
                "holder": holders.get(name) or holders.get(""),
                "asked": now.get("vms") is not None or bool(now.get("problem")),
                "vms": len(vms.get(name, ())),
                "nics": {status: numbers[status] for status in STATUSES if numbers[status]},
            }
        )
    return health


def _shown_checks(vm: Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {
        "status": vm.get("status"),
        "verdict": vm.get("verdict"),
        "next_step": vm.get("next_step"),
        "checks": [
            [check.get("check"), check.get("status"), check.get("message"), check.get("next_step")] for check in vm["checks"]
        ],
    }


def _kind(event_type: str) -> str:
    """The last word or words of an event's type, in lower case: fetched, changed, lost, gave up."""
    return event_type.removeprefix("EXTERNAL.DHCP.VM.").removeprefix("IP.").replace(".", " ").lower()


def _plain(value: t.Any) -> t.Any:
    """`value` with every text in it made plain: tenants chose the names, and messages may quote guests."""
    if isinstance(value, str):
        return str(plain(value))
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
