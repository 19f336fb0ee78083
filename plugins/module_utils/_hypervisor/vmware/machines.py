# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The life of VMware VMs, many at once: each operation reads all VMs once and runs all tasks side by side."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveError, Machines, Outcome
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware import ownership
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.clone_spec import MARK_PROPERTY, card_changes
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.creation import Creation
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.devices import plain_name, split_location
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.inventory import id_of, is_ours
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import ObjectSpec, references
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.places import PlaceError, Target
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.power import OFF, ON, Power, PowerState
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.pyvmomi_import import vim
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.tasks import run_tasks

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import NicWanted, Vm, VmWanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.datacenters import Datacenters
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.drives import VMwareDrives
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import ObjectData
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session

_PROPERTIES = (
    "name",
    "config.template",
    "config.instanceUuid",
    "config.uuid",
    "runtime.powerState",
    "runtime.host",
    "guest.toolsRunningStatus",
    "datastore",
    "resourcePool",
    MARK_PROPERTY,
)
_DISK_PROPERTIES = ("name", "config.hardware.device", "config.files.vmPathName")
# The events of a VM that was cloned, and of one that is started in any way.
_CREATED = ("VmClonedEvent", "VmDeployedEvent")
_STARTED = ("VmStartingEvent", "VmPoweredOnEvent", "DrsVmPoweredOnEvent", "VmRestartedOnAlternateHostEvent")


class VMwareMachines(Machines):
    """See api.Machines."""

    placement_keys = ("cluster", "host", "resource_pool", "datastore", "folder")
    destination_keys = ("host", "cluster", "resource_pool", "datastore")

    def __init__(
        self,
        session: Session,
        drives: VMwareDrives,
        datacenters: Datacenters,
        datacenter: str | None = None,
        folder: str | None = None,
    ) -> None:
        """datacenter, folder: see Creation."""
        self._session = session
        self._drives = drives
        self._datacenters = datacenters
        self._power = Power(session)
        self._creation = Creation(session, datacenter, folder)

    # --- reading ---

    def _read(self, vms: Sequence[Vm], more: tuple[str, ...] = ()) -> dict[str, ObjectData | str]:
        """By id, the VMs as they are now, or why one cannot be worked on. more: further properties."""
        if self._session.read_only:
            return {vm.id: f"{vm.name}: {self._session.read_only}" for vm in vms}
        data = self._there(vms, more)
        found: dict[str, ObjectData | str] = {}
        for vm in vms:
            one = data.get(vm.id)
            if one is None:
                found[vm.id] = f"{vm.name} is gone from {self._session.endpoint}"
            elif one.text("config.template") == "true":
                found[vm.id] = f"{vm.name} is a template: deploy a VM from it, or convert it to a VM in the vSphere client"
            else:
                found[vm.id] = one
        return found

    def _there(self, vms: Sequence[Vm], more: tuple[str, ...] = ()) -> dict[str, ObjectData]:
        """By id, those VMs that are not gone, templates too."""
        spec = ObjectSpec("VirtualMachine", _PROPERTIES + more, tuple(vm.handle.reference for vm in vms))
        data = {one.name: one for one in self._session.run(lambda: self._session.retrieve([spec]))} if vms else {}
        return {vm.id: data[ref] for vm in vms if (ref := vm.handle.reference) in data and id_of(data[ref]) == vm.id}

    def _power_states(self, vms: Sequence[Vm]) -> Iterator[tuple[Vm, PowerState | str]]:
        data = self._read(vms)
        stores = {one for found in data.values() if not isinstance(found, str) for one in references(found.get("datastore"))}
        self._session.run(lambda: self._datacenters.learn(stores))
        for vm in vms:
            one = data[vm.id]
            if isinstance(one, str):
                yield vm, one
                continue
            datacenter = self._datacenters.of(references(one.get("datastore")))
            tools = one.text("guest.toolsRunningStatus") in ("guestToolsRunning", "guestToolsExecutingScripts")
            reference = datacenter.reference if datacenter is not None else None
            yield vm, PowerState(vm.id, vm.name, one.name, one.text("runtime.powerState"), reference, tools)

    # --- creating ---

    def check(self, wanted: Sequence[VmWanted]) -> dict[str, str]:
        """See api.Machines."""
        return self._creation.plans(wanted)[1]

    def create(self, wanted: Sequence[VmWanted]) -> Iterator[Outcome]:
        """See api.Machines. A clone is one call, and vCenter undoes what fails half-way."""
        return self._creation.create(wanted)

    def set_nics(self, vm: Vm, nics: Sequence[NicWanted]) -> Outcome:
        """See api.Machines."""
        data = self._read([vm])[vm.id]
        if isinstance(data, str):
            return Outcome(vm.name, vm.id, error=data)
        if data.text("runtime.powerState") != OFF:
            return Outcome(vm.name, vm.id, error=f"{vm.name} is not powered off: stop it before its NICs are changed")
        try:
            changes = self._session.run(lambda: self._nic_changes(data, nics))
        except PlaceError as error:
            return Outcome(vm.name, vm.id, error=f"{vm.name}: {error}")
        if not changes:
            return Outcome(vm.name, vm.id)
        spec = vim.vm.ConfigSpec(deviceChange=changes)
        starts = [(vm.id, lambda: self._session.object("VirtualMachine", data.name).ReconfigVM_Task(spec))]
        for _key, result in run_tasks(self._session, starts):
            if isinstance(result, BaseException):
                return Outcome(vm.name, vm.id, error=f"{vm.name}: its NICs could not be changed: {self._session.say(result)}")
        return Outcome(vm.name, vm.id, changed=True)

    def _nic_changes(self, data: ObjectData, nics: Sequence[NicWanted]) -> list[t.Any]:
        places = self._creation.places()
        datacenter = places.datacenter_of_vm(data.text("runtime.host"))
        target = Target(datacenter, "", data.text("resourcePool"), data.text("runtime.host"))
        devices = self._session.object("VirtualMachine", data.name).config.hardware.device
        edits, others = card_changes(devices, nics, target, places)
        return edits + others

    def never_started(self, vm: Vm) -> bool:
        """See api.Machines. vCenter's event log tells, as long as it has the VM's creation; a stand-alone host has none."""

        def operation() -> list[str]:
            entity = vim.event.EventFilterSpec.ByEntity(
                entity=self._session.object("VirtualMachine", vm.handle.reference), recursion="self"
            )
            spec = vim.event.EventFilterSpec(entity=entity, eventTypeId=[*_CREATED, *_STARTED])
            events = self._session.content.eventManager.QueryEvents(spec)
            return [type(event).__name__.rpartition(".")[2] for event in events if event.vm.vm._moId == vm.handle.reference]

        if not self._session.is_vcenter:
            return False
        told = self._session.run(operation)
        return any(name in _CREATED for name in told) and not any(name in _STARTED for name in told)

    # --- power ---

    def start(self, vms: Sequence[Vm]) -> Iterator[Outcome]:
        """See api.Machines."""
        todo = []
        for vm, state in self._power_states(vms):
            if isinstance(state, str):
                yield Outcome(vm.name, vm.id, error=state)
            elif state.state == ON:
                yield Outcome(vm.name, vm.id)
            else:
                todo.append(state)
        yield from self._power.on(todo)

    def stop(self, vms: Sequence[Vm], timeout: float) -> Iterator[Outcome]:
        """See api.Machines."""
        todo = []
        for vm, state in self._power_states(vms):
            if isinstance(state, str):
                yield Outcome(vm.name, vm.id, error=state)
            elif state.state == OFF:
                yield Outcome(vm.name, vm.id)
            else:
                todo.append(state)
        yield from self._power.off(todo, timeout)

    # --- migration ---

    def migrate(self, vms: Sequence[Vm], destination: Mapping[str, str]) -> Iterator[Outcome]:
        """See api.Machines. The drive is disconnected, the VM moves, the drive follows and is connected again."""
        data = self._read(vms, _DISK_PROPERTIES[1:])
        self._creation.places(anew=True)
        specs: dict[str, t.Any] = {}
        for vm in vms:
            one = data[vm.id]
            if isinstance(one, str):
                yield Outcome(vm.name, vm.id, error=one)
                continue
            try:
                specs[vm.id] = self._relocation(one, destination)
            except PlaceError as error:
                yield Outcome(vm.name, vm.id, error=f"{vm.name}: {error}")
        moving = [vm for vm in vms if specs.get(vm.id) is not None]
        held = {vm.id: error for vm, error in self._drives.release(moving) if error is not None}
        starts = [(vm.id, self._relocate(vm, specs[vm.id])) for vm in moving if vm.id not in held]
        moved: dict[str, str | None] = {number: str(error) for number, error in held.items()}
        for number, result in run_tasks(self._session, starts):
            failed = isinstance(result, BaseException)
            moved[number] = f"it could not be moved: {self._session.say(result)}" if failed else None
        yield from self._follow([vm for vm in vms if vm.id in specs], moved)

    def _relocation(self, data: ObjectData, destination: Mapping[str, str]) -> t.Any:
        """The specification of a move; None if the VM is there already."""
        places = self._creation.places()
        datacenter = places.datacenter_of_vm(data.text("runtime.host"))
        spec = vim.vm.RelocateSpec(diskMoveType="moveChildMostDiskBacking")
        target = places.destination(destination, datacenter, data.text("runtime.host"))
        moved = False
        if target.host and target.host != data.text("runtime.host"):
            spec.host, moved = vim.HostSystem(target.host), True
        if target.pool and target.pool != data.text("resourcePool"):
            spec.pool, moved = vim.ResourcePool(target.pool), True
        files = [data.text("config.files.vmPathName")]
        files += [disk.chain[0] for disk in ownership.disks_of(data.children("config.hardware.device")) if disk.chain]
        name = places.get(target.datastore).text("name") if target.datastore else ""
        if target.datastore and any((split_location(file) or ("",))[0] != name for file in files):
            spec.datastore, moved = vim.Datastore(target.datastore), True
        return spec if moved else None

    def _relocate(self, vm: Vm, spec: t.Any) -> t.Any:
        return lambda: self._session.object("VirtualMachine", vm.handle.reference).RelocateVM_Task(spec)

    def _follow(self, vms: Sequence[Vm], moved: Mapping[str, str | None]) -> Iterator[Outcome]:
        """Brings the drives to where the VMs are now; a VM that could not be moved gets its drive back."""
        for vm, change in self._drives.move(vms, ""):
            problem = moved.get(vm.id)
            errors = [problem] if problem else []
            if isinstance(change, DriveError):
                errors.append(f"its config drive did not follow: {change}")
            text = "; ".join(errors)
            done = (vm.id in moved and problem is None) or (not isinstance(change, DriveError) and change.changed and not problem)
            yield Outcome(vm.name, vm.id, done, f"{vm.name}: {text}" if text else None)

    # --- deleting ---

    def delete_problems(self, vms: Sequence[Vm]) -> dict[str, str]:
        """See api.Machines. The disks of all VMs are read, as another VM may use one."""
        return self._delete_problems(vms, self._read(vms))

    def _delete_problems(self, vms: Sequence[Vm], data: Mapping[str, ObjectData | str]) -> dict[str, str]:
        found = {number: one for number, one in data.items() if isinstance(one, str)}
        owners = self._owners()
        for vm in vms:
            problem = owners.problem_of(vm.handle.reference)
            if problem is not None:
                found.setdefault(vm.id, problem)
        return found

    def _owners(self) -> ownership.Owners:
        def operation() -> list[ObjectData]:
            view = self._session.view(("VirtualMachine",))._moId
            return self._session.retrieve([ObjectSpec("VirtualMachine", _DISK_PROPERTIES, view=view)])

        return ownership.Owners(
            ownership.Owner(
                one.name,
                plain_name(one.text("name")),
                ownership.folder_of(one.text("config.files.vmPathName")),
                ownership.disks_of(one.children("config.hardware.device")),
            )
            for one in self._session.run(operation)
        )

    def delete(self, vms: Sequence[Vm]) -> Iterator[Outcome]:
        """See api.Machines. The config drive is deleted first: a run that is cut short must not leave a file with secrets."""
        data = self._read(vms)
        problems = self._delete_problems(vms, data)
        todo = []
        for vm in vms:
            one = data[vm.id]
            if isinstance(one, str) or vm.id in problems:
                yield Outcome(vm.name, vm.id, error=problems[vm.id])
            elif is_ours(one) != vm.ours:
                yield Outcome(vm.name, vm.id, error=f"{vm.name} is not the VM that it was: look at it, and try again")
            elif one.text("runtime.powerState") == ON:
                yield Outcome(vm.name, vm.id, error=f"{vm.name} runs: stop it before it is deleted")
            else:
                todo.append(vm)
        bare = []
        for vm, change in self._drives.erase(todo):
            if isinstance(change, DriveError):
                yield Outcome(vm.name, vm.id, error=f"{vm.name}: it was not deleted, for its config drive is left: {change}")
            else:
                bare.append(vm)
        by_id = {vm.id: vm for vm in bare}
        for number, result in run_tasks(self._session, [(vm.id, self._destroy(vm)) for vm in bare]):
            vm = by_id[number]
            if isinstance(result, BaseException) and not self._is_gone(vm):
                yield Outcome(vm.name, vm.id, True, f"{vm.name}: it could not be deleted: {self._session.say(result)}")
            else:
                yield Outcome(vm.name, vm.id, changed=True)

    def _destroy(self, vm: Vm) -> t.Any:
        return lambda: self._session.object("VirtualMachine", vm.handle.reference).Destroy_Task()

    def _is_gone(self, vm: Vm) -> bool:
        """Whether a VM is gone, although its task failed or the answer was lost."""
        return vm.id not in self._there([vm])
