# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The queue's rules, as pure functions from a NIC and what happened to the NIC after it and the events to write.

The only place where tries, states and events are decided; the database around it stores what these functions return.
"""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import (
    REASON_FILTERED_OUT,
    REASON_HYPERVISOR_UNREACHABLE,
    REASON_NO_AGENT_CHANNEL,
    REASON_NO_LEASE,
    REASON_VM_NOT_FOUND,
    REASON_VM_NOT_RUNNING,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import (
    EVENT_CHANGED,
    EVENT_FETCHED,
    EVENT_GAVE_UP,
    EVENT_LOST,
    REASON_ADDRESS_TAKEN,
    REASON_SETTLING,
    STATE_FOUND,
    STATE_GAVE_UP,
    STATE_PENDING,
    STATE_STOPPED,
    Event,
    NicRecord,
    main_address,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import NicAddress
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import NicFacts, PollSettings, VmFacts

    Step = tuple[NicRecord, list[Event]]

# The guest was heard and has no such address. All other reasons say only that nobody heard the guest: they never
# count against an address that is known.
CONCLUSIVE_REASONS = frozenset((REASON_NO_LEASE, REASON_FILTERED_OUT))
# Asking again is useless, so the first look takes all tries. A restart or the slow look finds what was mended.
LASTING_REASONS = frozenset((REASON_NO_AGENT_CHANNEL,))

ADDRESS_RULES = ("cidrs", "ignore_interfaces", "family_order")  # another address may count when one of these changes
RULES = ("required", "ip_range") + ADDRESS_RULES


def enter(
    known: NicRecord | None,
    hypervisor_name: str,
    vm: VmFacts,
    nic: NicFacts,
    now: datetime.datetime,
    *,
    max_tries: int | None = None,
    rearm: bool = False,
) -> NicRecord:
    """A NIC whose VM starts or is found running.

    A new one and one whose VM was stopped get all tries and are due at once. One that is pending, found or gave up keeps
    its state, so that entering again changes nothing, unless `rearm` (reboot, migration, a person's wish) or the rules for
    its address are other ones now: then it gets all tries again and keeps its address until a reading says otherwise.
    Facts (name, device, network, rules) are brought up to date in any case.
    """
    tries = max_tries if max_tries is not None else _defaults.MAX_RETRY
    facts: dict[str, t.Any] = {"hypervisor_name": hypervisor_name, "vm_name": vm.name, "device": nic.device, **labels(vm)}
    for name in ("network",) + RULES:
        if getattr(nic, name) is not None:
            facts[name] = getattr(nic, name)
    if known is None:
        facts = {**nic.network_rules, **facts}
        return NicRecord(
            vm_id=t.cast(str, vm.id),
            mac=nic.mac,
            fetch_state=STATE_PENDING,
            tries_left=tries,
            max_tries=max_tries,
            next_try_at=now,
            entered_at=now,
            updated_at=now,
            **facts,
        )
    new = known.but(**facts)
    other_rules = any(getattr(new, name) != getattr(known, name) for name in ADDRESS_RULES)
    if rearm or other_rules or known.fetch_state == STATE_STOPPED:
        new = _with_all_tries(new, max_tries, now)
    # A look that is under way was for the NIC as it was before: its answer is not to count.
    return new if new == known else new.but(claim_token=None, updated_at=now)


def labels(vm: VmFacts) -> dict[str, t.Any]:
    """Folder and tags of a VM, as far as somebody read them."""
    return {name: value for name, value in (("folder", vm.folder), ("tags", vm.tags)) if value is not None}


def rearm(known: NicRecord, now: datetime.datetime) -> NicRecord:
    """Somebody wants it to be looked for again: it gets all its tries."""
    return _with_all_tries(known, known.max_tries, now).but(updated_at=now)


def _with_all_tries(nic: NicRecord, max_tries: int | None, now: datetime.datetime) -> NicRecord:
    return nic.but(
        fetch_state=STATE_PENDING,
        max_tries=max_tries,
        tries_left=max_tries if max_tries is not None else _defaults.MAX_RETRY,
        tries_failed=0,
        next_try_at=now,
        entered_at=now,
        last_reason=None,
        last_message=None,
        suspect_readings=0,
        candidate_address=None,
        candidate_since=None,
        claim_token=None,
        # Nobody has read the time of this start yet; the next look must not take it for another restart.
        booted_at=None,
        boot_token=None,
    )


def stop(known: NicRecord, now: datetime.datetime) -> NicRecord:
    """The VM is off: its NIC leaves the queue, and its address is no longer its own until it is seen again."""
    if known.fetch_state == STATE_STOPPED:
        return known
    return known.but(
        fetch_state=STATE_STOPPED,
        tries_left=0,
        next_try_at=None,
        ip4_address=None,
        ip6_addresses=(),
        addresses=(),
        in_range=None,
        source=None,
        previous_address=known.address or known.previous_address,
        suspect_readings=0,
        candidate_address=None,
        candidate_since=None,
        last_reason=REASON_VM_NOT_RUNNING,
        last_message=None,
        claim_token=None,
        updated_at=now,
    )


def vanish(known: NicRecord, now: datetime.datetime) -> list[Event]:
    """The VM is gone without anybody having told the record; its row is about to be deleted."""
    if known.address is None:
        return []
    return [
        _event(
            EVENT_LOST,
            known,
            now,
            previous_address=known.address,
            reason=REASON_VM_NOT_FOUND,
            message="the VM or its NIC is no longer on the hypervisor",
        )
    ]


def unreachable(known: NicRecord, settings: PollSettings, now: datetime.datetime, message: str) -> NicRecord:
    """Nobody could look: the hypervisor did not answer. Takes no try; the next look is after the interval."""
    return known.but(
        last_reason=REASON_HYPERVISOR_UNREACHABLE,
        last_message=_cut(message),
        next_try_at=_later(now, settings.interval),
        claim_token=None,
        updated_at=now,
    )


def doubt(known: NicRecord, taker: NicRecord, now: datetime.datetime) -> NicRecord:
    """Another NIC of the same network was seen with this one's address just now: suspect, and due at once."""
    return known.but(
        suspect_readings=max(1, known.suspect_readings),
        last_reason=REASON_ADDRESS_TAKEN,
        last_message=_cut(
            f"{known.ip4_address} was given to {taker.vm_name} NIC {taker.device} ({taker.mac}) on {taker.hypervisor_name} too:"
            " one of the two has it no longer, or the DHCP server gave it twice"
        ),
        next_try_at=now,
        claim_token=None,
        updated_at=now,
    )


def after_reading(
    known: NicRecord,
    verdict: NicAddress,
    settings: PollSettings,
    now: datetime.datetime,
    *,
    vm_off: bool = False,
    hinted: bool = False,
) -> Step:
    """One look at the guest has ended with `verdict`.

    now: the time the poll began, so that intervals do not creep.
    vm_off: the hypervisor says the VM is stopped (not paused or suspended).
    hinted: not the schedule but the hypervisor led to it. Then no address is no news: it takes no try and casts no doubt.
    """
    if hinted and main_address(verdict.ip4_address, verdict.ip6_addresses, known.family_order) is None:
        return known.but(claim_token=None), []
    nic = known.but(claim_token=None, last_try_at=now, updated_at=now)
    address = main_address(verdict.ip4_address, verdict.ip6_addresses, known.family_order)
    if address is None:
        if vm_off and nic.last_reason == REASON_VM_NOT_RUNNING:
            # Twice in a row: it is off, not just restarting. Whoever starts it puts it into the queue again.
            return stop(nic, now), []
        return _no_address(nic, verdict, settings, now)
    if settings.settle > 0 and address != known.address:
        settled = known.candidate_address == address and known.candidate_since is not None
        if not settled:
            return _new_candidate(nic, address, settings, now, hinted)
        ripe = _later(t.cast(datetime.datetime, known.candidate_since), settings.settle)
        if now < ripe:
            return nic.but(next_try_at=ripe), []
    return _found(nic, address, verdict, settings, now)


def _found(nic: NicRecord, address: str, verdict: NicAddress, settings: PollSettings, now: datetime.datetime) -> Step:
    before = nic.address or nic.previous_address
    same = before == address
    new = nic.but(
        fetch_state=STATE_FOUND,
        ip4_address=verdict.ip4_address,
        ip6_addresses=tuple(verdict.ip6_addresses),
        addresses=tuple(verdict.addresses),
        in_range=verdict.in_range,
        source=verdict.source,
        previous_address=nic.previous_address if same else before,
        tries_failed=0,
        tries_left=_total(nic, settings),
        next_try_at=_later(now, settings.recheck_interval) if settings.recheck_interval > 0 else None,
        last_reason=None,
        last_message=_cut(verdict.message),
        suspect_readings=0,
        candidate_address=None,
        candidate_since=None,
        first_seen_at=nic.first_seen_at if nic.address == address else now,
        last_seen_at=now,
    )
    if before is not None and not same:
        return new, [_event(EVENT_CHANGED, new, now, address=address, previous_address=before, message=new.last_message)]
    if nic.fetch_state == STATE_FOUND:
        return new, []  # a re-check that confirms is no news
    return new, [_event(EVENT_FETCHED, new, now, address=address, message=new.last_message)]


def _new_candidate(nic: NicRecord, address: str, settings: PollSettings, now: datetime.datetime, hinted: bool) -> Step:
    """An address inside its settle window. The first one is no failure; each further change takes a try, or it would never end."""
    flapped = nic.candidate_address is not None
    nic = nic.but(
        candidate_address=address,
        candidate_since=now,
        next_try_at=_later(now, settings.settle),
        last_reason=REASON_SETTLING,
        last_message=f"{address} was seen and counts when it has stood for {settings.settle:g} s",
    )
    if hinted or not flapped or nic.fetch_state != STATE_PENDING:
        return nic, []
    return _take_try(nic, settings, now)


def _no_address(nic: NicRecord, verdict: NicAddress, settings: PollSettings, now: datetime.datetime) -> Step:
    reason = verdict.reason or REASON_NO_LEASE
    conclusive = reason in CONCLUSIVE_REASONS
    nic = nic.but(last_reason=reason, last_message=_cut(verdict.message), next_try_at=_later(now, settings.interval))
    events: list[Event] = []
    if nic.fetch_state == STATE_GAVE_UP:
        return nic.but(next_try_at=None), []  # a look by the way: no try, no news
    if nic.fetch_state == STATE_PENDING and nic.address is not None and not _seen_since_it_entered(nic):
        # It was started again and has not been up yet: whatever a guest says while it boots, its address is lost when all
        # tries are used up, and not before.
        nic, events = _take_try(nic, settings, now)
        if nic.fetch_state == STATE_GAVE_UP and conclusive:
            nic, lost = _lost(nic, verdict, settings, now)
            events.insert(0, lost)
        return nic, events
    if conclusive:
        nic = nic.but(candidate_address=None, candidate_since=None)
        if nic.address is None:
            nic = nic.but(
                ip4_address=verdict.ip4_address,
                ip6_addresses=tuple(verdict.ip6_addresses),
                addresses=tuple(verdict.addresses),
            )
        else:
            nic = nic.but(suspect_readings=nic.suspect_readings + 1)
            if nic.suspect_readings >= settings.suspect_readings:
                nic, lost = _lost(nic, verdict, settings, now)
                events.append(lost)
                if nic.fetch_state == STATE_FOUND:
                    return nic.but(fetch_state=STATE_PENDING), events
    if nic.fetch_state == STATE_FOUND:
        return nic, events  # a re-check takes no try
    nic, more = _take_try(nic, settings, now)
    return nic, events + more


def _seen_since_it_entered(nic: NicRecord) -> bool:
    return nic.last_seen_at is not None and nic.last_seen_at >= nic.entered_at


def _lost(nic: NicRecord, verdict: NicAddress, settings: PollSettings, now: datetime.datetime) -> tuple[NicRecord, Event]:
    before = nic.address
    new = nic.but(
        ip4_address=verdict.ip4_address,
        ip6_addresses=tuple(verdict.ip6_addresses),
        addresses=tuple(verdict.addresses),
        in_range=None,
        source=None,
        previous_address=before,
        suspect_readings=0,
    )
    return new, _event(EVENT_LOST, new, now, previous_address=before, reason=nic.last_reason, message=nic.last_message)


def _take_try(nic: NicRecord, settings: PollSettings, now: datetime.datetime) -> Step:
    failed = _total(nic, settings) if nic.last_reason in LASTING_REASONS else nic.tries_failed + 1
    left = max(0, _total(nic, settings) - failed)
    nic = nic.but(tries_failed=failed, tries_left=left)
    if left:
        return nic, []
    nic = nic.but(fetch_state=STATE_GAVE_UP, next_try_at=None, candidate_address=None, candidate_since=None)
    return nic, [_event(EVENT_GAVE_UP, nic, now, reason=nic.last_reason, message=nic.last_message)]


def _total(nic: NicRecord, settings: PollSettings) -> int:
    return nic.max_tries if nic.max_tries is not None else settings.max_retry


def _later(moment: datetime.datetime, seconds: float) -> datetime.datetime:
    return moment + datetime.timedelta(seconds=seconds)


def _cut(message: str | None) -> str | None:
    """What a driver says may quote a guest: bounded, and nothing that a database or a terminal would choke on."""
    return None if message is None else plain(message)


def _event(kind: str, nic: NicRecord, now: datetime.datetime, **more: t.Any) -> Event:
    return Event(
        type=kind,
        at=now,
        hypervisor_name=nic.hypervisor_name,
        vm_id=nic.vm_id,
        vm_name=nic.vm_name,
        device=nic.device,
        mac=nic.mac,
        network=nic.network,
        source=nic.source,
        **more,
    )
