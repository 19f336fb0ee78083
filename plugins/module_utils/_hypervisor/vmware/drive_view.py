# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A VM and its config drive at one moment: where the files are, whose they are, and what that means."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.image import read_owner
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import drive_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveError, DriveState
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware import devices as devices_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.files import Location
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import ObjectSpec, references

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.datacenters import Datacenters
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.devices import CdDrive, Devices, Slot
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.files import DatastoreFiles, FileContent
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import ObjectData
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session

VM_PROPERTIES = (
    "name",
    "runtime.powerState",
    "runtime.bootTime",
    "config.template",
    "config.hardware.device",
    "config.files.vmPathName",
    "config.instanceUuid",
    "config.uuid",
    "datastore",
)


class TryAgain(Exception):
    """Somebody else changed the VM at the same time: read it again and decide anew."""


@dataclasses.dataclass
class Work:
    """What an operation on one VM has done, over all its attempts.

    begun: steps in words. placed: the VM as it was when a drive was put in its place.
    """

    begun: list[str] = dataclasses.field(default_factory=list)
    placed: Machine | None = None


@dataclasses.dataclass(frozen=True)
class Machine:
    """What the drive's steps know of a VM, read at one moment.

    location: where its config drive belongs. boot_time: as vSphere writes it, empty for a VM that is off. work: what was done so
    far, in this and earlier attempts.
    """

    vm: Vm
    reference: str
    running: bool
    suspended: bool
    devices: Devices
    location: Location
    datacenter: str
    boot_time: str = ""
    work: Work = dataclasses.field(default_factory=Work)

    @property
    def iso_name(self) -> str:
        """Name of the config drive's file."""
        return self.location.path.rpartition("/")[2]


@dataclasses.dataclass(frozen=True)
class View:
    """A VM with its config drive. file: what is at the drive's place. strays: config drives of this VM at other places."""

    machine: Machine
    slot: Slot
    file: FileContent | None
    strays: tuple[Location, ...] = ()

    @property
    def owner(self) -> str | None:
        """The VM id in the mark of the file at the drive's place."""
        return None if self.file is None else read_owner(self.file.head)

    @property
    def foreign(self) -> str | None:
        """Why the file at the drive's place is not this VM's; None if it is, or if there is none."""
        if self.file is None or self.owner == self.machine.vm.id:
            return None
        return drive_rules.foreign(str(self.machine.location), self.owner)

    @property
    def attached(self) -> bool:
        """Whether the slot holds the file, is connected if the VM runs, and will be connected at power on."""
        drive = self.slot.drive
        if drive is None or drive.iso != str(self.machine.location) or not drive.start_connected:
            return False
        return drive.connected or not self.machine.running

    @property
    def placed(self) -> bool:
        """Whether the slot holds the file, connected or not."""
        return self.slot.drive is not None and self.slot.drive.iso == str(self.machine.location)

    @property
    def wrong_drives(self) -> list[CdDrive]:
        """CD/DVD drives other than the slot that hold this VM's config drive."""
        ours = {str(self.machine.location), *map(str, self.strays)}
        chosen = self.slot.drive.key if self.slot.drive is not None else None
        return [d for d in self.machine.devices.drives if d.iso in ours and d.key != chosen]

    @property
    def ejected(self) -> bool:
        """Whether the file was taken out on purpose: it is in a drive that is not connected and will not be at power on."""
        media = {str(self.machine.location)} if self.file is not None and self.foreign is None else set()
        media |= {*map(str, self.strays)}
        holding = [d for d in self.machine.devices.drives if d.iso in media]
        return bool(holding) and not any(d.connected or d.start_connected for d in holding)

    def state(self) -> DriveState:
        """See api.DriveState. A config drive at another place counts as existing: the VM was moved or renamed."""
        f = self.file
        elsewhere = f is None and bool(self.strays)
        return DriveState(
            location=str(self.machine.location),
            slot=self.slot.label,
            file_exists=f is not None or elsewhere,
            attached=self.attached and not self.wrong_drives,
            sha256=f.sha256 if f is not None else None,
            size=f.size if f is not None else None,
            owner=self.machine.vm.id if elsewhere else self.owner,
            can_attach_now=self.slot.hot,
            problem=self.foreign or self.slot.problem,
            ejected=self.ejected,
        )


class Looker:
    """Reads VMs and their config drives through one session."""

    def __init__(self, session: Session, files: DatastoreFiles, datacenters: Datacenters) -> None:
        self._session = session
        self._files = files
        self._datacenters = datacenters

    def exists(self, vm: Vm) -> bool:
        """Whether the VM is still there."""
        return bool(self._session.retrieve([ObjectSpec("VirtualMachine", ("name",), (vm.handle.reference,))]))

    def machines(self, vms: Sequence[Vm]) -> dict[str, Machine | DriveError]:
        """Reads all VMs at once, page by page; by VM id."""
        if not vms:
            return {}
        spec = ObjectSpec("VirtualMachine", VM_PROPERTIES, tuple(vm.handle.reference for vm in vms))
        data = {found.name: found for found in self._session.retrieve([spec])}
        self._datacenters.learn(name for one in data.values() for name in references(one.get("datastore")))
        found: dict[str, Machine | DriveError] = {}
        for vm in vms:
            one = data.get(vm.handle.reference)
            try:
                found[vm.id] = self._place(vm, one)
            except DriveError as error:
                found[vm.id] = error
        return found

    def _place(self, vm: Vm, data: ObjectData | None) -> Machine:
        if data is None:
            raise DriveError(f"{vm.name} is gone from {self._session.endpoint}")
        if data.text("config.template") == "true":
            raise DriveError(f"{vm.name} is a template: it gets no config drive; deploy a VM from it")
        devices = devices_of.parse(data.children("config.hardware.device"))
        root = devices_of.root_file(devices, data.text("config.files.vmPathName"))
        split = devices_of.split_location(root) if root else None
        if split is None:
            raise DriveError(
                f"{vm.name}: its first disk has no file on a datastore ({root}): a config drive cannot be placed beside it"
            )
        datastore, path = split
        datacenter = self._datacenters.named(datastore, references(data.get("datastore")))
        if datacenter is None:
            raise DriveError(
                f"{vm.name}: the datastore {datastore} of its first disk cannot be found: the account may lack Datastore.Browse"
            )
        reference, inventory_path = datacenter
        return Machine(
            vm=vm,
            reference=data.name,
            running=data.text("runtime.powerState") == "poweredOn",
            suspended=data.text("runtime.powerState") == "suspended",
            devices=devices,
            location=Location(inventory_path, datastore, path).beside(devices_of.iso_name(data.text("name"))),
            datacenter=reference,
            boot_time=data.text("runtime.bootTime"),
        )

    def look(self, machine: Machine) -> View:
        """Reads the file at the drive's place, and the marks of other media that may be a config drive."""
        file = self._files.read(machine.location)
        strays: list[Location] = []
        free: list[str] = []
        for drive, location in self.other_media(machine):
            content = self._files.read(location, head_only=True) if location is not None else None
            owner = read_owner(content.head) if content is not None else None
            if location is not None and owner == machine.vm.id:
                strays.append(location)
            elif content is None and location is not None and self._was_ours(location, machine):
                free.append(str(drive.iso))  # the file is gone, and with it its mark
            elif owner:
                free.append(str(drive.iso))  # a clone still holds the config drive, and the secrets, of the VM it was made of
        ours = [str(machine.location), *map(str, strays)]
        return View(machine, devices_of.choose(machine.devices, ours, machine.running, free), file, tuple(strays))

    def other_media(self, machine: Machine) -> Iterator[tuple[CdDrive, Location | None]]:
        """The CD/DVD drives with another ISO that may be a config drive, and where that ISO is."""
        for number, drive in enumerate(machine.devices.ordered_drives()):
            if drive.iso is None or drive.iso == str(machine.location):
                continue
            location = self._location(drive.iso, machine)
            if number == 0 and (location is None or location.folder != machine.location.folder):
                continue  # the first drive is for other media
            yield drive, location

    def _was_ours(self, location: Location, machine: Machine) -> bool:
        """Whether a file that is gone was this VM's config drive, which had another name or was on another datastore."""
        return location.folder == machine.location.folder or location.path.rpartition("/")[2] == machine.iso_name

    def _location(self, text: str, machine: Machine) -> Location | None:
        """A medium's file, in the VM's own datacenter; None if it is on no datastore, but in a folder of a host."""
        split = devices_of.split_location(text)
        return Location(machine.location.datacenter, *split) if split else None
