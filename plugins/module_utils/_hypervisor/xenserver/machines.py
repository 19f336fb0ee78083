# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The life of XenServer VMs in bulk."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    DriveChange,
    DriveError,
    HypervisorError,
    HypervisorUnreachable,
    MachineError,
    Machines,
    Outcome,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.advice import advice
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.creation import Creation
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.creation_plan import (
    PLACEMENT_KEYS,
    CreationPlanner,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.drives import (
    MIGRATE_SECONDS,
    MIGRATIONS_AT_ONCE,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.flows import (
    Call,
    Flows,
    TaskLate,
    TaskLost,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.marks import START_TIME_KEY, is_ours
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.nics import set_nics
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import MACHINES, Picture
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.power import Power
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.removal import destroy, own_disks
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import ConnectionCut, XapiError

if t.TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import NicWanted, Vm, VmWanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.creation_plan import CreationPlan
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.drives import XenDrives
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.flows import Flow
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import Session


class XenMachines(Machines):
    """See api.Machines."""

    placement_keys = PLACEMENT_KEYS
    destination_keys = ("host",)

    def __init__(self, session: Session, drives: XenDrives) -> None:
        self._session = session
        self._drives = drives
        self._picture = Picture(session, MACHINES)
        self._planner = CreationPlanner(self._picture)
        self._power = Power(session, self._picture)

    # -- creating --------------------------------------------------------------------------------------------------

    def check(self, wanted: Sequence[VmWanted]) -> dict[str, str]:
        """See api.Machines."""
        self._picture.refresh()
        return self._plans(wanted)[1]

    def create(self, wanted: Sequence[VmWanted]) -> Iterator[Outcome]:
        """See api.Machines.

        A VM has another name until it is as it shall be; what a run that was cut short left under that name is deleted first.
        Of VMs of one kind the first is made of the template and the others of the first, which has its NICs, drives and sizes
        already. It was never started, so that their disks hang on the template's as well: a clone leaves an empty VHD out
        (vhd-util-snapshot.c).
        """
        self._picture.refresh()
        plans, problems = self._plans(wanted)
        for name, problem in problems.items():
            yield Outcome(name, None, False, f"{name}: it could not be created: {problem}")
        creation = Creation(self._session, self._picture, self._planner)
        firsts = {plan.kind: plan for plan in reversed(plans)}
        originals: dict[Hashable, str | None] = {}
        for plan, outcome in self._run((plan, creation.flow(plan)) for plan in firsts.values()):
            originals[plan.kind] = self._picture.vm_of(outcome.id)
            yield outcome
        others = [
            dataclasses.replace(plan, source=originals[plan.kind] or plan.source)
            for plan in plans
            if plan is not firsts[plan.kind]
        ]
        for _plan, outcome in self._run((plan, creation.flow(plan)) for plan in others):
            yield outcome

    def _plans(self, wanted: Sequence[VmWanted]) -> tuple[list[CreationPlan], dict[str, str]]:
        plans: list[CreationPlan] = []
        problems: dict[str, str] = {}
        macs = self._planner.taken_macs()
        names: set[str] = set()
        for want in wanted:
            try:
                if want.name in names:
                    raise MachineError("it is asked for twice")
                names.add(want.name)
                plan = self._planner.plan(want)
                for nic in plan.nics or ():
                    if nic.mac is not None and nic.mac in macs:
                        raise MachineError(f"the MAC {nic.mac} is that of a NIC of {macs[nic.mac]}: give another one, or none")
                plans.append(plan)
                macs.update({nic.mac: want.name for nic in plan.nics or () if nic.mac is not None})
            except MachineError as error:
                problems[want.name] = str(error)
        return plans, problems

    def set_nics(self, vm: Vm, nics: Sequence[NicWanted]) -> Outcome:
        """See api.Machines."""
        changed = False
        try:
            for again in (False, True):
                self._picture.refresh()
                record = self._picture.get("vm", vm.handle)
                if record is None or record["power_state"] != "Halted":
                    raise MachineError("it must be powered off for that" if record else "it is gone from the pool")
                try:
                    changed = set_nics(self._session, self._picture, vm.handle, self._planner.nics(nics)) or again
                    break
                except ConnectionCut:
                    if again:
                        raise
            return Outcome(vm.name, vm.id, changed)
        except (XapiError, MachineError) as error:
            return Outcome(vm.name, vm.id, changed, f"{vm.name}: its NICs could not be changed: {error}{advice(error)}")

    def never_started(self, vm: Vm) -> bool:
        """See api.Machines. XAPI writes down when a VM was started last; a clone has that of its template until then."""
        self._picture.refresh()
        record = self._picture.get("vm", vm.handle)
        if record is None or not is_ours(record) or record["power_state"] != "Halted":
            return False
        metrics = self._picture.get("vm_metrics", record["metrics"])
        return metrics is not None and record["other_config"].get(START_TIME_KEY) == str(metrics["start_time"])

    # -- power -----------------------------------------------------------------------------------------------------

    def start(self, vms: Sequence[Vm]) -> Iterator[Outcome]:
        """See api.Machines. A suspended VM is resumed, a paused one goes on."""
        self._picture.refresh()
        for _vm, outcome in self._run((vm, self._power.start(vm)) for vm in vms):
            yield outcome

    def stop(self, vms: Sequence[Vm], timeout: float) -> Iterator[Outcome]:
        """See api.Machines. timeout counts from the moment XAPI was given a VM's request."""
        self._picture.refresh()
        for _vm, outcome in self._run((vm, self._power.stop(vm, timeout)) for vm in vms):
            yield outcome

    # -- moving ----------------------------------------------------------------------------------------------------

    def migrate(self, vms: Sequence[Vm], destination: Mapping[str, str]) -> Iterator[Outcome]:
        """See api.Machines. Within the pool: a running VM moves live, another gets the host as its affinity."""
        self._picture.refresh()
        try:
            unknown = sorted(set(destination) - set(self.destination_keys))
            if unknown or not destination.get("host"):
                what = f"destination.{unknown[0]} is not known on XenServer" if unknown else "destination.host is missing"
                raise MachineError(f"{what}: give destination.host, a host of the pool")
            target = self._planner.usable_host(destination["host"], "destination.host")
        except MachineError as error:
            for vm in vms:
                yield Outcome(vm.name, vm.id, False, f"{vm.name}: it could not be migrated: {error}")
            return
        for _vm, outcome in self._run((vm, self._migrate(vm, target)) for vm in vms):
            yield outcome

    def _migrate(self, vm: Vm, target: str) -> Flow:
        started = False
        try:
            move = self._drives.begin_move(vm, target)
            started = move.changed
            if move.live:
                call = Call(
                    "VM.pool_migrate", (vm.handle, target, {"live": "true"}), MIGRATE_SECONDS,
                    lane=("migrate", move.source), width=MIGRATIONS_AT_ONCE,
                )  # fmt: skip
                try:
                    yield call
                except (XapiError, TaskLate, TaskLost) as error:
                    raise MachineError(f"{error}{advice(error)}; {self._drives.abandon_move(move)}") from None
            change = self._drives.end_move(move)
            return Outcome(vm.name, vm.id, change.changed)
        except HypervisorError as error:
            if isinstance(error, HypervisorUnreachable) and not isinstance(error, ConnectionCut):
                raise
            text = str(error).removeprefix(f"{vm.name}: ")
            return Outcome(vm.name, vm.id, started, f"{vm.name}: it could not be migrated: {text}")

    # -- deleting --------------------------------------------------------------------------------------------------

    def delete_problems(self, vms: Sequence[Vm]) -> dict[str, str]:
        """See api.Machines. A template's clones do not depend on it: XenServer keeps the blocks that they share.

        That a VM runs is no problem here: it is stopped once it is known that nothing else stands against deleting it.
        """
        self._picture.refresh()
        problems = {vm.id: self._delete_problem(vm) for vm in vms}
        return {ident: problem for ident, problem in problems.items() if problem}

    def _delete_problem(self, vm: Vm) -> str | None:
        record = self._picture.get("vm", vm.handle)
        if record is None or record["uuid"].lower() != vm.id:
            return None  # gone, as it shall be
        if record["is_a_template"] or record["is_a_snapshot"] or record["is_control_domain"]:
            return f"{vm.name} is a template or belongs to XenServer itself: it is not deleted"
        for ref in (vm.handle, *record["snapshots"]):
            one = self._picture.get("vm", ref)
            if one is not None and "destroy" in one["blocked_operations"]:
                reason = one["blocked_operations"]["destroy"]
                return f"somebody blocked deleting {one['name_label']} (blocked_operations, {reason!r}): lift that first"
            shared = own_disks(self._picture, ref, one)[1] if one is not None else []
            if shared:
                disk, other = shared[0]
                return f"disk {disk!r} of {vm.name} is attached to {other} too: detach it from one of them first"
        return None

    def delete(self, vms: Sequence[Vm]) -> Iterator[Outcome]:
        """See api.Machines."""
        problems = self.delete_problems(vms)
        for vm in vms:
            power = (self._picture.get("vm", vm.handle) or {"power_state": "Halted"})["power_state"]
            if power != "Halted":
                problems.setdefault(vm.id, f"it is {power.lower()}: stop it first")
        there = {vm.id for vm in vms if (self._picture.get("vm", vm.handle) or {"uuid": ""})["uuid"].lower() == vm.id}
        drives = dict(self._drives.remove([vm for vm in vms if vm.id in there and vm.id not in problems]))
        for vm in vms:
            if vm.id in problems:
                yield Outcome(vm.name, vm.id, False, f"{vm.name}: it could not be deleted: {problems[vm.id]}")
            elif vm.id not in there:
                yield Outcome(vm.name, vm.id)
        for _vm, outcome in self._run((vm, self._delete(vm, change)) for vm, change in drives.items()):
            yield outcome

    def _delete(self, vm: Vm, drive: DriveChange | DriveError) -> Flow:
        changed = isinstance(drive, DriveChange) and drive.changed
        try:
            if isinstance(drive, DriveError):
                raise drive
            yield from destroy(self._picture, vm.handle)
            return Outcome(vm.name, vm.id, True)
        except HypervisorError as error:
            if isinstance(error, HypervisorUnreachable) and not isinstance(error, ConnectionCut):
                raise
            text = str(error).removeprefix(f"{vm.name}: ")
            rest = "; what is left of it goes when the task is run again" if changed else ""
            return Outcome(vm.name, vm.id, changed, f"{vm.name}: it could not be deleted: {text}{advice(error)}{rest}")

    def _run(self, flows: t.Iterable[tuple[t.Any, Flow]]) -> Iterator[tuple[t.Any, t.Any]]:
        return Flows(self._session, self._picture).run(flows)
