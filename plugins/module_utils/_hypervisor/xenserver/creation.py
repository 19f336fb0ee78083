# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The steps that create one VM: clone or copy a template, then change what the clone must not keep of it."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    HypervisorError,
    HypervisorUnreachable,
    MachineError,
    Outcome,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver import records
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.creation_plan import (
    DISKS_KEY,
    MIB,
    asks_for_provision,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.drive_plan import (
    DRIVE_KEY,
    USER_SLOT,
    free_cd_slot,
    is_hvm,
    used_slots,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.flows import (
    LOOK,
    Call,
    TaskLate,
    TaskLost,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.marks import (
    CREATED_KEY,
    START_TIME_KEY,
    unfinished_name,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.nics import set_nics
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import NULL
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.removal import destroy
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import ConnectionCut, XapiError

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.creation_plan import (
        CreationPlan,
        CreationPlanner,
    )
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.flows import Flow
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import Picture, Record
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import Session

# A large disk takes long to copy, and the disk operations of one SR wait for each other.
CLONE_SECONDS = 6 * 3600.0
DISK_SECONDS = 3600.0
# In the order of the arguments of VM.set_memory_limits.
_MEMORY_LIMITS = ("memory_static_min", "memory_static_max", "memory_dynamic_min", "memory_dynamic_max")


class Creation:
    """Flows that create VMs, over one session and one picture."""

    def __init__(self, session: Session, picture: Picture, planner: CreationPlanner) -> None:
        self._session = session
        self._picture = picture
        self._planner = planner

    def flow(self, plan: CreationPlan) -> Flow:
        """Creates the VM of a plan; returns its Outcome."""
        name = plan.want.name
        changed = bool(plan.leftover)
        ref: str | None = None
        try:
            for before in plan.leftover:
                yield from destroy(self._picture, before)
            ref = yield from self._clone(plan)
            yield LOOK
            yield from self._configure(plan, ref)
            return Outcome(name, self._picture.records["vm"][ref]["uuid"].lower(), True)
        except HypervisorError as error:
            if isinstance(error, HypervisorUnreachable) and not isinstance(error, ConnectionCut):
                raise
            left = yield from self._undo(name, ref)
            return Outcome(name, None, changed or bool(left), f"{name}: it could not be created: {error}{left}")

    def _clone(self, plan: CreationPlan) -> Flow:
        staged = unfinished_name(plan.want.name)
        args: tuple[str, ...] = (plan.source, staged)
        call = Call("VM.copy", (*args, plan.sr), CLONE_SECONDS) if plan.copy else Call("VM.clone", args, CLONE_SECONDS)
        try:
            return (yield call)
        except TaskLost:
            yield LOOK
            for ref, vm in self._picture.records["vm"].items():
                if vm["name_label"] == staged and not vm["current_operations"]:
                    return ref
            raise

    def _configure(self, plan: CreationPlan, ref: str) -> Flow:
        try:
            return (yield from self._steps(plan, ref))
        except ConnectionCut:
            # Each step starts from what is there, so the steps can be repeated.
            yield LOOK
            return (yield from self._steps(plan, ref))

    def _steps(self, plan: CreationPlan, ref: str) -> Flow:
        want = plan.want
        vm = self._picture.get("vm", ref)
        if vm is None:
            raise MachineError("the clone is gone again; somebody deleted it")
        self._session.call("VM.set_other_config", ref, self._other_config(plan, vm))
        if plan.nics is not None:
            set_nics(self._session, self._picture, ref, plan.nics)
        self._prepare_cds(ref, vm)
        self._set_size(plan, ref, vm)
        disks = self._planner.disks(vm)
        if want.disk_size is not None and int(self._picture.records["vdi"][disks[0]]["virtual_size"]) < want.disk_size:
            yield Call("VDI.resize", (disks[0], str(want.disk_size)), DISK_SECONDS)
        if plan.host not in (None, vm["affinity"]):
            self._session.call("VM.set_affinity", ref, plan.host)
        if asks_for_provision(vm):
            yield Call("VM.provision", (ref,), DISK_SECONDS)
        elif vm["is_a_template"]:
            self._session.call("VM.set_is_a_template", ref, False)
        self._refuse_rival(want.name, ref)
        self._session.call("VM.set_name_label", ref, want.name)

    def _other_config(self, plan: CreationPlan, vm: Record) -> dict[str, str]:
        """The clone's other_config with our mark, and with an SR for the disks that one of XenServer's own templates asks for."""
        started = (self._picture.get("vm_metrics", vm["metrics"]) or {}).get("start_time", "unknown")
        config = {**vm["other_config"], CREATED_KEY: vm["uuid"], START_TIME_KEY: str(started)}
        if vm["is_a_template"] and DISKS_KEY in config:
            pool_default = next((pool["default_SR"] for pool in self._picture.records["pool"].values()), NULL)
            sr = self._picture.get("sr", plan.sr if plan.sr != NULL else pool_default)
            try:
                root = ET.fromstring(config[DISKS_KEY])
            except ET.ParseError:
                raise MachineError(
                    f"template {plan.want.template} asks for disks (other_config:disks) in a form that is no XML"
                ) from None
            for disk in root.iter("disk"):
                if not disk.get("sr") and sr is None:
                    raise MachineError("the template asks for disks and the pool has no default storage: give placement.sr")
                if sr is not None and (not disk.get("sr") or plan.sr != NULL):
                    disk.set("sr", sr["uuid"])
            config[DISKS_KEY] = ET.tostring(root, encoding="unicode")
        return config

    def _prepare_cds(self, ref: str, vm: Record) -> None:
        """Empties the CD drives, and adds one for the config drive: a running VM with emulated drives cannot be given one."""
        vbds = {one: record for one in vm["VBDs"] if (record := self._picture.get("vbd", one)) is not None}
        cds = {one: record for one, record in vbds.items() if record["type"] == "CD"}
        for one, record in cds.items():
            if not record["empty"]:
                self._session.patiently("VBD.eject", one)
        if any(DRIVE_KEY in record["other_config"] or record["userdevice"] != str(USER_SLOT) for record in cds.values()):
            return
        slot = free_cd_slot(used_slots(vbds), is_hvm(vm))
        if slot is None:
            return  # Drives.put() says so, if a config drive is asked for
        self._session.patiently("VBD.create", records.cd_drive(ref, slot, other_config={DRIVE_KEY: "config"}))

    def _set_size(self, plan: CreationPlan, ref: str, vm: Record) -> None:
        want = plan.want
        if want.memory is not None:
            size = want.memory * MIB
            limits = [str(min(int(vm["memory_static_min"]), size)), str(size), str(size), str(size)]
            if limits != [vm[limit] for limit in _MEMORY_LIMITS]:
                self._session.call("VM.set_memory_limits", ref, *limits)
        if want.cpus is not None and (str(want.cpus),) * 2 != (vm["VCPUs_max"], vm["VCPUs_at_startup"]):
            setters = ["VM.set_VCPUs_max", "VM.set_VCPUs_at_startup"]
            if want.cpus < int(vm["VCPUs_at_startup"]):
                setters.reverse()  # VCPUs_at_startup must never be above VCPUs_max
            for setter in setters:
                self._session.call(setter, ref, str(want.cpus))

    def _refuse_rival(self, name: str, ref: str) -> None:
        """Raises MachineError if there is another VM of this name, which XAPI allows and another run may just have made."""
        for other, vm in self._picture.records["vm"].items():
            if other != ref and vm["name_label"] == name and not (vm["is_a_template"] or vm["is_a_snapshot"]):
                raise MachineError(f"a VM of that name came to be meanwhile (id {vm['uuid']}); it was left alone")

    def _undo(self, name: str, ref: str | None) -> Flow:
        """Destroys what was made of the VM; returns a clause for the error if that failed, else nothing."""
        try:
            yield LOOK
            if ref is None:
                staged = unfinished_name(name)
                vms = self._picture.records["vm"]
                ref = next((one for one, vm in vms.items() if vm["name_label"] == staged and not vm["is_a_snapshot"]), None)
            if ref is not None:
                yield from destroy(self._picture, ref)
            return ""
        except (XapiError, TaskLate, TaskLost, MachineError) as error:
            return (
                f"; what was made of it ({unfinished_name(name)!r}) could not be deleted, which the next run tries again: {error}"
            )
