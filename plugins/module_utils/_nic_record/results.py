# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""NICs and events as modules return them: the same keys everywhere, and lean enough for a thousand VMs."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import (
    REASON_NOT_POLLED_YET,
    STATE_PENDING,
    iso,
)

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import (
        Event,
        LockHolder,
        LookNote,
        NicRecord,
    )


LOOK_LISTS = ("lost", "gave_up", "found", "waiting")  # of NICs in the result of a look; what needs a person comes first


def nic_result(nic: NicRecord, detail: bool = False) -> dict[str, t.Any]:
    """One NIC. `detail` adds everything the record has."""
    result: dict[str, t.Any] = {
        "hypervisor_name": nic.hypervisor_name,
        "vm_name": nic.vm_name,
        "vm_id": nic.vm_id,
        "device": nic.device,
        "mac": nic.mac,
        "network": nic.network,
        "address": nic.address,
        "ip4_address": nic.ip4_address,
        "ip6_addresses": list(nic.ip6_addresses),
        "source": nic.source,
        "fetch_state": nic.fetch_state,
        "tries_left": nic.tries_left,
        "last_reason": _reason(nic),
        "last_seen_at": iso(nic.last_seen_at),
    }
    if detail:
        result.update(
            last_message=_message(nic),
            required=nic.required,
            addresses=list(nic.addresses),
            in_range=nic.in_range,
            suspect=nic.suspect_readings > 0,
            previous_address=nic.previous_address,
            first_seen_at=iso(nic.first_seen_at),
            last_try_at=iso(nic.last_try_at),
            next_try_at=iso(nic.next_try_at),
            entered_at=iso(nic.entered_at),
            cidrs=list(nic.cidrs),
            ip_range=nic.ip_range,
            ignore_interfaces=list(nic.ignore_interfaces),
            family_order=list(nic.family_order),
            folder=nic.folder,
            tags=list(nic.tags),
        )
    return result


def waiting_result(nic: NicRecord) -> dict[str, t.Any]:
    """One NIC that is still waited for, or was given up."""
    return {
        "vm": nic.vm_name,
        "nic": nic.device,
        "mac": nic.mac,
        "required": nic.required,
        "reason": _reason(nic),
        "message": _message(nic),
        "tries_left": nic.tries_left,
    }


def found_result(nic: NicRecord) -> dict[str, t.Any]:
    """One NIC whose address was found, or found to be another one, by this poll."""
    return {
        "vm": nic.vm_name,
        "nic": nic.device,
        "mac": nic.mac,
        "network": nic.network,
        "address": nic.address,
        "ip4_address": nic.ip4_address,
        "ip6_addresses": list(nic.ip6_addresses),
        "previous_address": nic.previous_address,
        "source": nic.source,
        "in_range": nic.in_range,
    }


def within(
    limit: int, lists: t.Mapping[str, t.Sequence[t.Any]], omitted: t.Mapping[str, int]
) -> tuple[dict[str, t.Sequence[t.Any]], dict[str, int]]:
    """The lists of LOOK_LISTS, in that order, with no more than `limit` entries in all, and how many each leaves out.

    omitted: how many of each were left out before.
    """
    listed: dict[str, t.Sequence[t.Any]] = {}
    left: dict[str, int] = {}
    for name in LOOK_LISTS:
        listed[name] = lists[name][:limit]
        limit -= len(listed[name])
        left[name] = omitted.get(name, 0) + len(lists[name]) - len(listed[name])
    return listed, {name: count for name, count in left.items() if count}


def event_result(event: Event) -> dict[str, t.Any]:
    return {
        "id": event.id,
        "type": event.type,
        "time": iso(event.at),
        "hypervisor_name": event.hypervisor_name,
        "vm_name": event.vm_name,
        "vm_id": event.vm_id,
        "device": event.device,
        "mac": event.mac,
        "network": event.network,
        "address": event.address,
        "previous_address": event.previous_address,
        "source": event.source,
        "reason": event.reason,
        "message": event.message,
    }


def look_result(note: LookNote, tallies: t.Sequence[tuple[str, str, str | None, int]]) -> dict[str, t.Any]:
    """The last look at one hypervisor, and what its NICs wait for."""
    mine = [(state, reason, count) for name, state, reason, count in tallies if name == note.name]
    states: dict[str, int] = {}
    waiting: dict[str, int] = {}
    for state, reason, count in mine:
        states[state] = states.get(state, 0) + count
        if state == STATE_PENDING:
            waiting[reason or REASON_NOT_POLLED_YET] = waiting.get(reason or REASON_NOT_POLLED_YET, 0) + count
    return {
        "name": note.name,
        "looked_at": iso(note.looked_at),
        "good_at": iso(note.good_at),
        "host": note.host,
        "pid": note.pid,
        "job": note.job,
        "seconds": round(note.seconds, 3),
        "vms": note.vms,
        "problem": note.problem,
        "nics": states,
        "waiting": waiting,
    }


def holder_result(holder: LockHolder | None) -> dict[str, t.Any] | None:
    if holder is None:
        return None
    return {
        "lock": holder.name,
        "host": holder.host,
        "pid": holder.pid,
        "since": iso(holder.since),
        "alive_at": iso(holder.beat_at),
        "job": holder.job,
    }


def _reason(nic: NicRecord) -> str | None:
    if nic.last_reason is None and nic.fetch_state == STATE_PENDING:
        return REASON_NOT_POLLED_YET
    return nic.last_reason


def _message(nic: NicRecord) -> str | None:
    if nic.last_reason is None and nic.fetch_state == STATE_PENDING:
        return "nobody has looked at it yet"
    return nic.last_message
