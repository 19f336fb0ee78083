# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The record made to agree with what a hypervisor has, as a pure function; whatever was told before does not matter.

Running VMs enter the queue, stopped ones leave it, vanished ones leave the record; renamed, restarted, re-made and moved VMs and
NICs that were added or removed become what they are.
"""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import REASON_VM_NOT_FOUND
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import queue
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import STATE_STOPPED, Event, NicRecord

if t.TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import NicFacts, VmFacts

    Key = tuple[str, str]

BOOT_TOLERANCE = 30  # seconds; drivers work out some boot times from how long the VM has been running


@dataclasses.dataclass(frozen=True)
class Picture:
    """What was read of one hypervisor.

    vms: all it has, with all their NICs; those that are watched enter the record, the others stay in it if they are there.
    read_at: when the reading began. unread: ids or names of VMs that could not be read.
    """

    hypervisor_name: str
    vms: Sequence[VmFacts]
    read_at: datetime.datetime
    unread: Collection[str] = ()
    max_tries: t.Optional[int] = None


@dataclasses.dataclass
class Agreed:
    """The NICs after it by key, adopted ones from other hypervisors among them, the events, and how many of each change."""

    after: dict[Key, NicRecord] = dataclasses.field(default_factory=dict)
    events: list[Event] = dataclasses.field(default_factory=list)
    told: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    def tell(self, what: str, nic: NicRecord) -> None:
        names = self.told.setdefault(what, [])
        if nic.vm_name not in names[-8:]:  # the NICs of a VM come together
            names.append(nic.vm_name)


def agree(
    known: Mapping[Key, NicRecord],
    elsewhere: Mapping[Key, NicRecord],
    picture: Picture,
    now: datetime.datetime,
    patience: float | None,
) -> Agreed:
    """known: this hypervisor's NICs; elsewhere: the same VMs' NICs recorded under other hypervisors.

    patience: seconds for which a vanished VM with an address is waited for on other hypervisors, before it counts as lost;
    None where there is no other.
    """
    done = Agreed()
    names = {vm.name: vm.id for vm in picture.vms}
    for vm in picture.vms:
        for facts in vm.nics:
            key = (t.cast(str, vm.id), facts.mac)
            new = _one(known.get(key), elsewhere.get(key), vm, facts, picture, now, done)
            if new is not None:
                done.after[key] = new
    here = {vm.id for vm in picture.vms}
    for key, nic in known.items():
        if key in done.after:
            continue
        # A NIC whose row was changed after the reading began stays as that writer left it.
        if nic.updated_at > picture.read_at or nic.vm_id in picture.unread or nic.vm_name in picture.unread:
            done.after[key] = nic
        elif key in elsewhere:
            done.tell("moved away", nic)  # and is one VM: its other row goes on
        elif patience is None or nic.vm_id in here or nic.vm_name in names or not _waits(nic, now, patience):
            done.events.extend(queue.vanish(_with_address(nic), now))
            done.tell("removed", nic)
        else:
            done.after[key] = _missing(nic, now)
    return done


def _one(
    nic: NicRecord | None,
    other: NicRecord | None,
    vm: VmFacts,
    facts: NicFacts,
    picture: Picture,
    now: datetime.datetime,
    done: Agreed,
) -> NicRecord | None:
    if nic is not None and nic.updated_at > picture.read_at:
        return nic
    moved = nic is None and other is not None and other.missing_since is not None
    before = other if moved else nic
    if before is None and not (facts.watched and vm.running):
        return None
    if before is not None and vm.running is False:
        new = queue.stop(_up_to_date(before, vm, facts, picture), now)
        if before.fetch_state != STATE_STOPPED:
            done.tell("stopped", new)
        return new.but(missing_since=None)
    if before is not None and vm.running is None:
        return _up_to_date(before, vm, facts, picture)
    restarted = before is not None and (_later(vm.booted_at, before.booted_at) or _another(vm.boot_token, before.boot_token))
    new = queue.enter(before, picture.hypervisor_name, vm, facts, now, max_tries=picture.max_tries, rearm=moved or restarted)
    what = None
    if before is None:
        what = "entered"
    elif moved:
        what = "moved here"
    elif before.fetch_state == STATE_STOPPED:
        what = "started"
    elif restarted:
        what = "restarted"
    if before is not None and what is None and before.max_tries != new.max_tries:
        new = new.but(max_tries=before.max_tries)
    booted_at = vm.booted_at if before is None or before.booted_at is None or restarted or moved else before.booted_at
    new = new.but(booted_at=booted_at, boot_token=vm.boot_token, missing_since=None)
    if what:
        done.tell(what, new)
    return new


def _up_to_date(nic: NicRecord, vm: VmFacts, facts: NicFacts, picture: Picture) -> NicRecord:
    return nic.but(
        hypervisor_name=picture.hypervisor_name,
        vm_name=vm.name,
        device=facts.device,
        network=facts.network if facts.network is not None else nic.network,
        missing_since=None,
        **queue.labels(vm),
    )


def _later(booted_at: datetime.datetime | None, before: datetime.datetime | None) -> bool:
    if booted_at is None or before is None:
        return False
    return (booted_at - before).total_seconds() > BOOT_TOLERANCE


def _another(token: str | None, before: str | None) -> bool:
    return token is not None and before is not None and token != before


def _waits(nic: NicRecord, now: datetime.datetime, patience: float) -> bool:
    if nic.missing_since is None:
        return nic.address is not None
    return 0 <= (now - nic.missing_since).total_seconds() < patience


def _missing(nic: NicRecord, now: datetime.datetime) -> NicRecord:
    """Out of the queue and without an address, until another hypervisor has it or the patience is over."""
    if nic.missing_since is not None:
        return nic
    text = "the VM is no longer on this hypervisor, and on no other one so far"
    return queue.stop(nic, now).but(last_reason=REASON_VM_NOT_FOUND, last_message=text, missing_since=now)


def _with_address(nic: NicRecord) -> NicRecord:
    """As it was before it went missing, for the event."""
    if nic.missing_since is None or nic.previous_address is None:
        return nic
    if ":" in nic.previous_address:
        return nic.but(ip6_addresses=(nic.previous_address,), family_order=(6, 4))
    return nic.but(ip4_address=nic.previous_address)
