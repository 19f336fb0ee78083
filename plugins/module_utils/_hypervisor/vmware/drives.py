# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Config drives on VMware: an ISO beside the VM's first disk, in the VM's second CD/DVD drive.

A drive is written under a new name, read back, and only then given its name while no running VM has that name
connected. So a guest sees the old drive, none, or the new one, and never a part of one. What a broken run leaves is a
file of a name of its own, which the next run removes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import re
import secrets
import time
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.image import read_owner
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import drive_rules, workers
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    DriveChange,
    DriveError,
    Drives,
    DriveState,
    HypervisorError,
    HypervisorUnreachable,
    VmNotFound,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware import devices as devices_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.cd_specs import added_drives, edited_drive
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.files import (
    DatastoreFiles,
    FolderMissing,
    Location,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import (
    VIM,
    ObjectSpec,
    child_text,
    references,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.pyvmomi_import import vim, vmodl
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import explain

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.datacenters import Datacenters
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.devices import CdDrive, Devices, Slot
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.files import FileContent
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import ObjectData
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session

VM_PROPERTIES = (
    "name",
    "runtime.powerState",
    "config.template",
    "config.hardware.device",
    "config.files.vmPathName",
    "config.instanceUuid",
    "config.uuid",
    "datastore",
)
# Files read at once, and the longest time for one, in seconds.
_READERS = 8
_READ_SECONDS = 600.0

# An upload's name while it is not verified: the drive's own name, a random part, an ending that nobody attaches.
_UPLOAD = re.compile(r"\.[0-9a-f]{16}\.upload")
# Younger ones may belong to a task that is at work now.
_LEFTOVER_SECONDS = 3600

# Looks again after somebody else changed the VM at the same moment: how often, and seconds between.
_ATTEMPTS = 8
_PAUSE = 0.25


class _TryAgain(Exception):
    """Somebody else was at the VM at the same moment: look again, then decide anew."""


@dataclasses.dataclass(frozen=True)
class Machine:
    """A VM as the drive's steps see it, read at one moment.

    location: where its config drive belongs. done: what was begun at the VM and its drive, in this and earlier attempts.
    """

    vm: Vm
    reference: str
    running: bool
    suspended: bool
    devices: Devices
    location: Location
    datacenter: str
    done: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class View:
    """A VM with the files that matter: ours at its place, and media in its drives that are this VM's from another place."""

    machine: Machine
    slot: Slot
    file: FileContent | None
    strays: tuple[Location, ...] = ()

    @property
    def owner(self) -> str | None:
        """Id in the mark of the file at the drive's place."""
        return None if self.file is None else read_owner(self.file.head)

    @property
    def foreign(self) -> str | None:
        """Why the file at the drive's place is not this VM's; None if it is, or if there is none."""
        if self.file is None or self.owner == self.machine.vm.id:
            return None
        return drive_rules.foreign(str(self.machine.location), self.owner)

    @property
    def attached(self) -> bool:
        """The slot holds the file, connected if the VM runs and at its next start."""
        drive = self.slot.drive
        if drive is None or drive.iso != str(self.machine.location) or not drive.start_connected:
            return False
        return drive.connected or not self.machine.running

    @property
    def wrong_drives(self) -> list[CdDrive]:
        """Other drives that hold this VM's config drive."""
        ours = {str(self.machine.location), *map(str, self.strays)}
        chosen = self.slot.drive.key if self.slot.drive is not None else None
        return [d for d in self.machine.devices.drives if d.iso in ours and d.key != chosen]

    def state(self) -> DriveState:
        """See api.DriveState. A drive of this VM at another place (the VM was moved or renamed) is one that exists."""
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
        )


class VMwareDrives(Drives):
    """The config drives of the VMs of one vCenter or ESXi host."""

    side_by_side = 12

    def __init__(self, session: Session, datacenters: Datacenters) -> None:
        self._session = session
        self._files = DatastoreFiles(session)
        self._datacenters = datacenters

    def close(self) -> None:
        """Closes the connections for files."""
        self._files.close()

    # --- looking ---

    def states(self, vms: Sequence[Vm]) -> dict[str, DriveState | DriveError]:
        """See api.Hypervisor: one read for all VMs, and one request per VM for its file (its bytes are the truth)."""
        machines = self._session.run(lambda: self._machines(vms))
        found: dict[str, DriveState | DriveError] = {}
        ready = []
        for vm in vms:
            machine = machines[vm.id]
            if isinstance(machine, DriveError):
                found[vm.id] = machine
            else:
                ready.append(machine)
        for machine, view, error in workers.each(self._view_of, ready, _READERS, _READ_SECONDS):
            vm = machine.vm
            if view is not None:
                found[vm.id] = view.state()
            elif isinstance(error, DriveError):
                found[vm.id] = error
            elif isinstance(error, (HypervisorError, workers.TimedOut)):
                found[vm.id] = DriveError(f"{vm.name}: {error}")
            else:
                raise error or AssertionError("a view or an error")
        return found

    def _view_of(self, machine: Machine) -> View:
        return self._session.run(lambda: self._look(machine))

    def read(self, vm: Vm) -> bytes | None:
        """See api.Hypervisor: the file at its place, else the one in the VM's drive, if it is this VM's."""

        def operation(_done: list[str]) -> bytes | None:
            view = self._look(self._machine(vm))
            for location in (*([view.machine.location] if view.owner == vm.id else []), *view.strays):
                content = self._files.read(location, keep=True)
                if content is not None and read_owner(content.head) == vm.id:
                    return content.data
            return None

        return self._run(vm, operation)

    def read_foreign(self, vm: Vm) -> bytes | None:
        """See api.Drives."""

        def operation(_done: list[str]) -> bytes | None:
            view = self._look(self._machine(vm))
            content = self._files.read(view.machine.location, keep=True) if view.foreign else None
            return None if content is None or read_owner(content.head) == vm.id else content.data

        return self._run(vm, operation)

    def discard_foreign(self, vm: Vm) -> None:
        """See api.Drives."""
        self._change(vm, lambda done: self._discard(vm, done))

    def _discard(self, vm: Vm, done: list[str]) -> DriveChange:
        view = self._look(self._machine(vm, done))
        location = view.machine.location
        if view.foreign:
            holding = [drive for drive in view.machine.devices.drives if drive.iso == str(location)]
            self._reconfigure(view.machine, [edited_drive(drive, None) for drive in holding])
            self._delete(location, view.machine, view.owner)
        return DriveChange(changed=bool(view.foreign), location=str(location))

    def _machine(self, vm: Vm, done: list[str] | None = None) -> Machine:
        machine = self._machines([vm])[vm.id]
        if isinstance(machine, DriveError):
            raise machine
        return machine if done is None else dataclasses.replace(machine, done=done)

    def _machines(self, vms: Sequence[Vm]) -> dict[str, Machine | DriveError]:
        """All VMs in one read (and pages), with the datastores' datacenters read once per session."""
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
        folder = path.rpartition("/")[0]
        name = devices_of.iso_name(data.text("name"))
        return Machine(
            vm=vm,
            reference=data.name,
            running=data.text("runtime.powerState") == "poweredOn",
            suspended=data.text("runtime.powerState") == "suspended",
            devices=devices,
            location=Location(inventory_path, datastore, f"{folder}/{name}" if folder else name),
            datacenter=reference,
        )

    def _look(self, machine: Machine) -> View:
        """Reads the file at its place, and the marks of other files in the drives that could be this VM's or another's."""
        file = self._files.read(machine.location)
        strays: list[Location] = []
        free: list[str] = []
        for number, drive in enumerate(machine.devices.ordered_drives()):
            if drive.iso is None or drive.iso == str(machine.location):
                continue
            location = self._location(drive.iso, machine)
            if number == 0 and (location is None or location.folder != machine.location.folder):
                continue  # the first drive is for other media; what is in it is nobody's business
            content = self._files.read(location, head_only=True) if location is not None else None
            owner = read_owner(content.head) if content is not None else None
            if location is not None and owner == machine.vm.id:
                strays.append(location)
            elif content is None and location is not None and self._was_ours(location, machine):
                free.append(drive.iso)  # its file is gone already
            elif owner:
                free.append(drive.iso)  # a clone's drive still holds the source's config drive, with its secrets
        ours = [str(machine.location), *map(str, strays)]
        return View(machine, devices_of.choose(machine.devices, ours, machine.running, free), file, tuple(strays))

    def _was_ours(self, location: Location, machine: Machine) -> bool:
        """A file that is gone was this VM's drive, by all that can be known: a former datastore, or a former name."""
        return location.folder == machine.location.folder or location.path.rpartition("/")[2] == self._iso_name(machine)

    @staticmethod
    def _iso_name(machine: Machine) -> str:
        return machine.location.path.rpartition("/")[2]

    def _location(self, text: str, machine: Machine) -> Location | None:
        """A medium's file; it is in the VM's own datacenter. None for one without a datastore (a host's own folder)."""
        split = devices_of.split_location(text)
        return Location(machine.location.datacenter, *split) if split else None

    # --- changing ---

    def put_one(self, vm: Vm, iso: bytes) -> DriveChange:
        """See api.Hypervisor."""
        if read_owner(iso) != vm.id:
            raise DriveError(f"{vm.name}: the drive to be put is not marked for this VM (id {vm.id})")
        return self._change(vm, lambda done: self._put(vm, iso, done))

    def _put(self, vm: Vm, iso: bytes, done: list[str]) -> DriveChange:
        view = self._look(self._machine(vm, done))
        problem = view.foreign or view.slot.problem
        if problem:
            raise DriveError(f"{vm.name}: {problem}")
        machine, slot = view.machine, view.slot
        changed = False
        if view.file is None or view.file.sha256 != hashlib.sha256(iso).hexdigest():
            self._write(view, iso)
            changed = True
        if not slot.hot:
            return DriveChange(
                changed=changed,
                location=str(machine.location),
                slot=slot.label,
                restart_required=True,
                message=(
                    f"{vm.name} has no second CD/DVD drive, and none can be added while it runs: shut it down, run this again, start it"
                ),
            )
        kept = self._delete_strays(view)
        if not view.attached or view.wrong_drives or (changed and machine.running):
            self._attach(view)
            changed = True
        if kept is not None:
            raise kept
        return DriveChange(changed=changed, location=str(machine.location), slot=slot.label)

    def _delete_strays(self, view: View) -> DriveError | None:
        """Deletes this VM's drive at its former place; what cannot be deleted is the error that is returned.

        Before the new one is attached: a drive that still names the old file is what tells the next run of it.
        """
        kept = None
        self._disconnect(view, view.strays)
        for stray in view.strays:
            try:
                self._delete(stray, view.machine, view.machine.vm.id)
            except DriveError as error:
                kept = error
        return kept

    def _write(self, view: View, iso: bytes) -> None:
        """Brings the bytes to the drive's place: upload under a new name, read back, take the old one out, rename."""
        machine = view.machine
        self._remove_leftovers(machine)
        upload = machine.location.beside(f"{self._iso_name(machine)}.{secrets.token_hex(8)}.upload")
        try:
            try:
                self._files.write(upload, iso)
            except FolderMissing:
                self._make_folder(machine)
                self._files.write(upload, iso)
            content = self._files.read(upload)
            if content is None or content.sha256 != hashlib.sha256(iso).hexdigest():
                size = None if content is None else content.size
                raise DriveError(
                    f"{upload}: after the upload it has {size} of {len(iso)} bytes, or other ones: nothing was changed"
                )
            self._disconnect(view, [machine.location])
            try:
                self._move(upload, machine, replace=view.file is not None)
            except Exception:
                # The guest gets back what it had.
                if view.attached:
                    with contextlib.suppress(Exception):
                        self._attach(view)
                raise
        except BaseException:
            self._forget(upload, machine)
            raise

    def _forget(self, upload: Location, machine: Machine) -> None:
        """Deletes an upload that is of no use; the session may be the reason why, so with a new one if need be."""
        with contextlib.suppress(HypervisorError, _TryAgain):
            self._session.run(lambda: self._delete_file(upload, machine))

    def _disconnect(self, view: View, locations: Sequence[Location]) -> None:
        """Takes files out of the drives of a running VM: the host has them locked, and the guest has them in its cache."""
        media = {str(location) for location in locations}
        changes = [
            edited_drive(drive, drive.iso, connected=False, start=drive.start_connected)
            for drive in view.machine.devices.drives
            if drive.iso in media and drive.connected and view.machine.running
        ]
        self._reconfigure(view.machine, changes)

    def _attach(self, view: View) -> None:
        """The slot gets the file, any other drive of the VM loses it."""
        machine, slot = view.machine, view.slot
        changes = [edited_drive(drive, None) for drive in view.wrong_drives]
        place = str(machine.location)
        if slot.drive is not None:
            changes.append(edited_drive(slot.drive, place, connected=machine.running, start=True))
        else:
            changes += added_drives(slot, place, machine.running)
        self._reconfigure(machine, changes)

    def remove_one(self, vm: Vm) -> DriveChange:
        """See api.Hypervisor. The CD/DVD drive stays and is empty."""
        return self._change(vm, lambda done: self._remove(vm, done))

    def _remove(self, vm: Vm, done: list[str]) -> DriveChange:
        view = self._look(self._machine(vm, done))
        machine = view.machine
        own = view.file is not None and view.foreign is None
        media = {str(stray) for stray in view.strays}
        if own or view.file is None:
            media.add(str(machine.location))
        holding = [drive for drive in machine.devices.drives if drive.iso in media]
        changed = bool(holding or own or view.strays)
        self._reconfigure(machine, [edited_drive(drive, None) for drive in holding])
        for location in (*([machine.location] if own else []), *view.strays):
            self._delete(location, machine, vm.id)
        self._remove_leftovers(machine)
        return DriveChange(
            changed=changed,
            location=str(machine.location),
            slot=view.slot.label,
            message=view.foreign,
        )

    def move_one(self, vm: Vm, destination: str) -> DriveChange:
        """See api.Hypervisor. destination: the datastore of the VM's first disk, or empty for wherever it is.

        Before the VM has moved there, the drive is disconnected, so that a host which does not see its datastore can
        take the VM; afterwards, the ISO follows.
        """
        return self._change(vm, lambda done: self._move_drive(vm, destination, done))

    def release(self, vms: Sequence[Vm]) -> Iterator[tuple[Vm, DriveError | None]]:
        """Disconnects the drives of VMs that are about to be moved: a host that does not see the ISO would not take them."""
        for vm, change in self._each(vms, lambda vm: self._change(vm, lambda done: self._release(vm, done))):
            yield vm, change if isinstance(change, DriveError) else None

    def _release(self, vm: Vm, done: list[str]) -> DriveChange:
        view = self._look(self._machine(vm, done))
        media = [view.machine.location, *view.strays] if view.foreign is None else [*view.strays]
        self._disconnect(view, media)
        return DriveChange(changed=False, location=str(view.machine.location))

    def _move_drive(self, vm: Vm, destination: str, done: list[str]) -> DriveChange:
        view = self._look(self._machine(vm, done))
        machine = view.machine
        own = view.file is not None and view.foreign is None
        if not own and not view.strays:
            return DriveChange(changed=False, location=str(machine.location), message=f"{vm.name} has no config drive to move")
        if destination and destination != machine.location.datastore:
            connected = any(d.connected for d in machine.devices.drives if d.iso == str(machine.location))
            self._disconnect(view, [machine.location])
            return DriveChange(
                changed=connected,
                location=str(machine.location),
                slot=view.slot.label,
                message=f"{vm.name}: the drive follows when the first disk is on {destination}",
            )
        content = self._files.read(machine.location if own else view.strays[0], keep=True)
        if content is None or content.data is None or read_owner(content.head) != vm.id:
            raise _TryAgain("the drive's file was changed by somebody else")
        return self._put(vm, content.data, done)

    # --- steps ---

    def _change(self, vm: Vm, operation: Callable[[list[str]], DriveChange]) -> DriveChange:
        """Runs an operation; what an attempt changed before the connection was lost counts as changed."""
        done: list[str] = []
        change = self._run(vm, operation, done)
        return dataclasses.replace(change, changed=change.changed or bool(done))

    def _run(self, vm: Vm, operation: Callable[[list[str]], t.Any], done: list[str] | None = None) -> t.Any:
        """Runs an operation that begins by looking; anew when the session was lost or somebody else was at the VM."""
        begun = [] if done is None else done

        def attempts() -> t.Any:
            for attempt in range(_ATTEMPTS):
                try:
                    return operation(begun)
                except _TryAgain as reason:
                    last = str(reason) or "the VM is being changed by somebody else"
                    time.sleep(_PAUSE * (attempt + 1) * (0.5 + secrets.randbelow(1000) / 1000))
            raise DriveError(f"{vm.name}: {last}; try again when that is done")

        try:
            return self._session.run(attempts)
        except (DriveError, HypervisorUnreachable):
            raise
        except HypervisorError as error:
            raise DriveError(f"{vm.name}: {error}") from None

    def _task(self, start: Callable[[], t.Any], what: str, vm: t.Any = None) -> t.Any:
        """Starts a task and waits for it. What another task at the same VM causes is met by looking again."""
        try:
            return self._session.wait(start(), vm, what)
        except (vim.fault.TaskInProgress, vim.fault.ConcurrentAccess, vim.fault.FileLocked) as fault:
            raise _TryAgain(f"{what}: {explain(fault)}") from None
        except (vim.fault.InvalidPowerState, vim.fault.InvalidDeviceSpec) as fault:
            # The VM was started or got a device since it was looked at; a second look decides better.
            raise _TryAgain(f"{what}: {explain(fault)}") from None

    def _reconfigure(self, machine: Machine, changes: list[t.Any]) -> None:
        if not changes:
            return
        if machine.suspended:
            raise DriveError(f"{machine.vm.name} is suspended: its drives cannot be changed; resume it or power it off")
        vm = self._session.object("VirtualMachine", machine.reference)
        spec = vim.vm.ConfigSpec(deviceChange=changes)
        what = f"the reconfiguration of {machine.vm.name}"
        machine.done.append(what)
        try:
            self._task(lambda: vm.ReconfigVM_Task(spec), what, vm)
        except vmodl.fault.ManagedObjectNotFound:
            raise VmNotFound(f"{machine.vm.name} is gone from {self._session.endpoint}") from None
        except vim.fault.FileNotFound as fault:
            raise _TryAgain(f"{what}: {explain(fault)}") from None
        except vim.fault.GenericVmConfigFault as fault:
            raise DriveError(
                f"{machine.vm.name}: {what} failed: {explain(fault)}; if the guest has locked its CD, eject it there, and try again"
            ) from None

    def _datacenter_object(self, machine: Machine) -> t.Any:
        return self._session.object("Datacenter", machine.datacenter)

    def _make_folder(self, machine: Machine) -> None:
        folder = f"[{machine.location.datastore}] {machine.location.folder}"
        with contextlib.suppress(vim.fault.FileAlreadyExists):
            self._session.content.fileManager.MakeDirectory(folder, self._datacenter_object(machine), True)

    def _move(self, upload: Location, machine: Machine, replace: bool) -> None:
        """Gives a verified upload its name; only a file that was seen to be this VM's is replaced."""
        datacenter = self._datacenter_object(machine)
        files = self._session.content.fileManager
        machine.done.append(f"naming {machine.location}")
        try:
            self._task(
                lambda: files.MoveDatastoreFile_Task(str(upload), datacenter, str(machine.location), datacenter, replace),
                f"naming {machine.location}",
            )
        except vim.fault.FileAlreadyExists as fault:
            raise _TryAgain(f"naming {machine.location}: {explain(fault)}") from None
        except vim.fault.FileFault as fault:
            raise DriveError(f"{machine.location} could not be given its name: {explain(fault)}") from None

    def _delete(self, location: Location, machine: Machine, owner: str | None) -> None:
        """Deletes a config drive after a last look at whose it is."""
        content = self._files.read(location, head_only=True)
        if content is not None and read_owner(content.head) == owner:
            machine.done.append(f"deleting {location}")
            try:
                self._delete_file(location, machine)
            except vim.fault.FileFault as fault:
                raise DriveError(
                    f"{location} could not be deleted: {explain(fault)}; delete it, it holds secrets of the VM"
                ) from None

    def _delete_file(self, location: Location, machine: Machine) -> None:
        files = self._session.content.fileManager
        datacenter = self._datacenter_object(machine)
        with contextlib.suppress(vim.fault.FileNotFound):
            self._task(lambda: files.DeleteDatastoreFile_Task(str(location), datacenter), f"deleting {location}")

    def _remove_leftovers(self, machine: Machine) -> None:
        """Deletes what earlier runs uploaded for this VM and could not delete, because they were killed."""
        for name in self._leftovers(machine):
            # One that cannot be deleted must not be in the way of the drive; the next run tries again.
            with contextlib.suppress(vim.fault.FileFault, _TryAgain):
                self._delete_file(machine.location.beside(name), machine)

    def _leftovers(self, machine: Machine) -> Iterable[str]:
        browser = self._browser(machine)
        if browser is None:
            return
        name = self._iso_name(machine)
        spec = vim.host.DatastoreBrowser.SearchSpec(
            # The pattern knows * and ? only; what it finds is checked by the letter below.
            matchPattern=[re.sub(r"[^A-Za-z0-9 ._-]", "?", name) + ".*.upload"],
            details=vim.host.DatastoreBrowser.FileInfo.Details(fileType=False, fileSize=True, modification=True, fileOwner=False),
        )
        folder = f"[{machine.location.datastore}] {machine.location.folder}"
        try:
            result = self._task(lambda: browser.SearchDatastore_Task(folder, spec), f"looking through {folder}")
        except (vim.fault.FileNotFound, vim.fault.FileFault):
            return
        for entry in result.iterfind(VIM + "file") if result is not None else ():
            found = child_text(entry, "path")
            if found.startswith(name) and _UPLOAD.fullmatch(found[len(name) :]) and _age(entry) > _LEFTOVER_SECONDS:
                yield found

    def _browser(self, machine: Machine) -> t.Any:
        browser = self._datacenters.browser(machine.location.datastore, machine.datacenter)
        return vim.host.DatastoreBrowser(browser, self._session.stub) if browser else None


def _age(entry: t.Any) -> float:
    """Seconds since a file was changed; 0 if that cannot be told."""
    text = child_text(entry, "modification")
    try:
        changed = datetime.datetime.fromisoformat(re.sub(r"\.\d+", "", text).replace("Z", "+00:00"))
        return (datetime.datetime.now(datetime.timezone.utc) - changed).total_seconds()
    except (ValueError, TypeError):
        return 0.0
