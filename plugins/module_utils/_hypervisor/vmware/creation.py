# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Creation of VMs: look up and check what is asked for, then clone each with one specification."""

from __future__ import annotations

import dataclasses
import typing as t
import uuid

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError, Outcome
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware import devices as devices_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.clone_spec import (
    Template,
    clone_spec,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import ObjectSpec, references
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.places import (
    UNSEEN_DATACENTER,
    PlaceError,
    Places,
    Source,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.pyvmomi_import import vim
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.tasks import TaskLost, run_tasks

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import VmWanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import ObjectData
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session

NO_CLONES = (
    "a stand-alone ESXi host cannot clone VMs: connect to the vCenter that manages it (hypervisor.host), or make the VM in its "
    "own interface"
)
_TEMPLATE_PROPERTIES = (
    "config.template",
    "config.hardware.device",
    "runtime.powerState",
    "runtime.host",
    "resourcePool",
    "snapshot.currentSnapshot",
    "datastore",
    "config.files.vmPathName",
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """One VM to be created: the clone's specification, and the id that it will have."""

    wanted: VmWanted
    id: str
    template: str
    folder: str
    spec: t.Any


class Creation:
    """Checks and creates VMs through one session."""

    def __init__(self, session: Session, datacenter: str | None, folder: str | None) -> None:
        """datacenter, folder: hypervisor.datacenter and hypervisor.folder, where VMs go that name no other folder."""
        self._session = session
        self._datacenter = datacenter
        self._folder = folder
        self._places: Places | None = None

    def places(self, anew: bool = False) -> Places:
        """All places, as last read. anew: reads them again, as an operation on many VMs does once."""
        if self._places is None or anew:
            self._places = self._session.run(lambda: Places(self._session))
        return self._places

    # --- looking ---

    def plans(self, wanted: Sequence[VmWanted]) -> tuple[list[Plan], dict[str, str]]:
        """The VMs that can be created, and by name why the others cannot."""
        if not self._session.is_vcenter:
            return [], {one.name: f"{one.name}: {NO_CLONES}" for one in wanted}
        places = self.places(anew=True)
        machines = self._session.run(self._names)
        templates, problems = self._templates(wanted, machines)
        taken = {(one.text("parent"), devices_of.plain_name(one.text("name"))): one for one in machines}
        plans = []
        macs = self._known_macs(wanted)
        for one in wanted:
            if one.name in problems:
                continue
            try:
                plans.append(self._plan(one, templates[one.template], places, taken, macs))
            except PlaceError as error:
                problems[one.name] = f"{one.name}: {error}"
        return plans, problems

    def _names(self) -> list[ObjectData]:
        view = self._session.view(("VirtualMachine",))._moId
        return self._session.retrieve([ObjectSpec("VirtualMachine", ("name", "parent", "config.template"), view=view)])

    def _templates(
        self, wanted: Sequence[VmWanted], machines: Sequence[ObjectData]
    ) -> tuple[dict[str, tuple[Template, Source]], dict[str, str]]:
        """The templates by name, and the names of VMs whose template cannot be used."""
        chosen: dict[str, ObjectData] = {}
        problems: dict[str, str] = {}
        for one in wanted:
            named = [m for m in machines if devices_of.plain_name(m.text("name")) == one.template]
            # A template is preferred to a VM of the same name.
            named = [m for m in named if m.text("config.template") == "true"] or named
            if len(named) == 1:
                chosen[one.template] = named[0]
            elif named:
                problems[one.name] = f"{one.name}: {len(named)} templates are named {one.template}: rename the others"
            else:
                problems[one.name] = (
                    f"{one.name}: there is no template or VM {one.template} on {self._session.endpoint}: check the name, and that "
                    "the account may see it"
                )
        found: dict[str, tuple[Template, Source]] = {}
        for data in self._read_templates([one.name for one in chosen.values()]):
            name = next(name for name, one in chosen.items() if one.name == data.name)
            try:
                found[name] = self._template(name, data)
            except PlaceError as error:
                problems.update({one.name: f"{one.name}: {error}" for one in wanted if one.template == name})
        for one in wanted:
            if one.name not in problems and one.template not in found:
                problems[one.name] = f"{one.name}: the template {one.template} is gone meanwhile"
        return found, problems

    def _read_templates(self, names: Sequence[str]) -> list[ObjectData]:
        spec = ObjectSpec("VirtualMachine", _TEMPLATE_PROPERTIES, tuple(names))
        return self._session.run(lambda: self._session.retrieve([spec])) if names else []

    def _template(self, name: str, data: ObjectData) -> tuple[Template, Source]:
        places = self.places()
        if data.text("runtime.powerState") != "poweredOff":
            raise PlaceError(f"{name} is not powered off: a running VM's disks are no template; stop it, or clone it to one")
        stores = list(references(data.get("datastore")))
        datacenter = next((dc for dc in map(places.datacenter_of, stores) if dc), None)
        datacenter = datacenter or places.datacenter_of(data.text("runtime.host"))
        if datacenter is None:
            raise PlaceError(f"template {name} cannot be cloned: {UNSEEN_DATACENTER}")
        pool = data.text("resourcePool") or places.get(places.get(data.text("runtime.host")).text("parent")).text("resourcePool")
        parsed = devices_of.parse(data.children("config.hardware.device"))
        devices = self._session.run(lambda: self._session.object("VirtualMachine", data.name).config.hardware.device)
        snapshot = data.text("snapshot.currentSnapshot")
        home = devices_of.split_location(devices_of.root_file(parsed, data.text("config.files.vmPathName")) or "")
        store = next((one for one in stores if home and places.get(one).text("name") == home[0]), None)
        reference = vim.vm.Snapshot(snapshot) if snapshot else None
        return Template(name, data.name, devices, parsed, reference), Source(datacenter, pool, store)

    def _plan(
        self,
        wanted: VmWanted,
        template: tuple[Template, Source],
        places: Places,
        taken: Mapping[tuple[str, str], ObjectData],
        macs: dict[str, str],
    ) -> Plan:
        source, where = template
        if self._datacenter:
            where = dataclasses.replace(where, datacenter=places.datacenter(self._datacenter))
        placement = {"folder": self._folder or "", **wanted.placement}
        target = places.target(placement, where)
        if (target.folder, wanted.name) in taken:
            raise PlaceError(f"the folder /{places.path(target.folder)} has a VM or template of this name already")
        if wanted.disk_size is not None and wanted.disk_size < source.disk_size:
            raise PlaceError(
                f"disk_size is {wanted.disk_size} bytes, and the disk of {source.name} has {source.disk_size}: a disk only grows"
            )
        for nic in wanted.nics or ():
            if nic.mac is None:
                continue
            owner = macs.setdefault(nic.mac.lower(), wanted.name)
            if owner != wanted.name:
                raise PlaceError(f"the MAC {nic.mac} is that of {owner}: choose another")
        number = str(uuid.uuid4())
        return Plan(wanted, number, source.reference, target.folder, clone_spec(source, wanted, target, places, number))

    def _known_macs(self, wanted: Sequence[VmWanted]) -> dict[str, str]:
        """Names of VMs by MAC, read only if a MAC is asked for: vCenter does not check whether another VM has it."""
        if not any(nic.mac for one in wanted for nic in one.nics or ()):
            return {}
        view = self._session.view(("VirtualMachine",))._moId
        spec = ObjectSpec("VirtualMachine", ("name", "config.hardware.device"), view=view)
        return {
            card.mac: devices_of.plain_name(one.text("name"))
            for one in self._session.run(lambda: self._session.retrieve([spec]))
            for card in devices_of.parse(one.children("config.hardware.device")).cards
        }

    # --- doing ---

    def create(self, wanted: Sequence[VmWanted]) -> Iterator[Outcome]:
        """One clone for each. vCenter undoes what fails half-way; after a lost answer the VM is looked for by its id."""
        plans, problems = self.plans(wanted)
        for name, problem in problems.items():
            yield Outcome(name, error=problem)
        by_id = {plan.id: plan for plan in plans}
        for plan_id, result in run_tasks(self._session, [(plan.id, self._start(plan)) for plan in plans]):
            yield self._created(by_id[plan_id], result)

    def _start(self, plan: Plan) -> t.Any:
        def start() -> t.Any:
            template = self._session.object("VirtualMachine", plan.template)
            return template.CloneVM_Task(self._session.object("Folder", plan.folder), escaped(plan.wanted.name), plan.spec)

        return start

    def _created(self, plan: Plan, result: t.Any) -> Outcome:
        name = plan.wanted.name
        if not isinstance(result, BaseException):
            return Outcome(name, plan.id, changed=True)
        if isinstance(result, (TaskLost, vim.fault.DuplicateName)) and self._exists(plan.id):
            return Outcome(name, plan.id, changed=True)  # the answer to the first call was lost
        if isinstance(result, TaskLost):
            return Outcome(name, error=f"{name}: it was not created, and vCenter no longer says why: see its recent tasks")
        return Outcome(name, error=f"{name}: it could not be created: {self._say(plan, result)}")

    def _exists(self, number: str) -> bool:
        return self._session.run(lambda: self._session.content.searchIndex.FindByUuid(None, number, True, True)) is not None

    def _say(self, plan: Plan, fault: BaseException) -> str:
        if isinstance(fault, vim.fault.DuplicateName):
            return f"the folder /{self.places().path(plan.folder)} has a VM or template of this name already"
        if isinstance(fault, HypervisorError):
            return str(fault)
        return self._session.say(fault)


def escaped(name: str) -> str:
    """A name as vSphere takes it: the characters that separate inventory paths are written as %2f and the like."""
    return name.replace("%", "%25").replace("/", "%2f").replace("\\", "%5c")
