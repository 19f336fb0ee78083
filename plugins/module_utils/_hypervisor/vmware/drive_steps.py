# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The steps that put, remove and connect a config drive. Each is given a view that was just read."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import re
import secrets
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.image import read_owner
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import drive_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveError, HypervisorError, VmNotFound
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.cd_specs import added_drives, edited_drive
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.drive_view import TryAgain
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.files import FolderMissing
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import VIM, child_text
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.pyvmomi_import import vim, vmodl
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import explain

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.datacenters import Datacenters
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.drive_view import Machine, View
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.files import (
        DatastoreFiles,
        FileContent,
        Location,
    )
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session

# What the name of a staged drive has after the drive's own.
_UPLOAD = re.compile(r"\.[0-9a-f]{16}\.upload")


class Steps:
    """Changes config drives and CD/DVD drives of VMs through one session."""

    def __init__(self, session: Session, files: DatastoreFiles, datacenters: Datacenters) -> None:
        self._session = session
        self._files = files
        self._datacenters = datacenters

    def delete_strays(self, view: View) -> DriveError | None:
        """Deletes this VM's drives at former places; returns the error of one that cannot be deleted.

        To be called before the new one is attached: the next run finds an old file by the CD/DVD drive that still names it.
        """
        kept = None
        self.disconnect(view, view.strays)
        for stray in view.strays:
            try:
                self.delete(stray, view.machine, view.machine.vm.id)
                if (stray.datastore, stray.folder) != (view.machine.location.datastore, view.machine.location.folder):
                    self._remove_if_empty(stray, view.machine)
            except DriveError as error:
                kept = error
        return kept

    def write(self, view: View, iso: bytes) -> None:
        """Puts the bytes in place: stages them, reads them back, disconnects the old file, and gives the new one its name."""
        machine = view.machine
        self.remove_leftovers(machine)
        upload = machine.location.beside(f"{machine.iso_name}.{secrets.token_hex(8)}.upload")
        try:
            self._upload(upload, iso, machine)
            content = self._files.read(upload)
            if content is None or content.sha256 != hashlib.sha256(iso).hexdigest():
                raise self._not_as_sent(upload, content, len(iso))
            self.disconnect(view, [machine.location])
            try:
                self._move(upload, machine, replace=view.file is not None)
            except Exception:
                # Give the guest back what it had.
                if view.attached:
                    with contextlib.suppress(Exception):
                        self.attach(view)
                raise
        except BaseException:
            self._forget(upload, machine)
            raise

    def _not_as_sent(self, upload: Location, content: FileContent | None, size: int) -> DriveError:
        if content is None:
            return DriveError(f"{upload} was written and cannot be read (HTTP 404): {self._files.privileges(upload)}")
        return DriveError(f"{upload}: after the upload it has {content.size} of {size} bytes, or other ones: nothing was changed")

    def _upload(self, upload: Location, iso: bytes, machine: Machine) -> None:
        try:
            self._files.write(upload, iso)
        except FolderMissing:
            self._make_folder(machine)
            try:
                self._files.write(upload, iso)
            except FolderMissing:
                raise DriveError(
                    f"{upload} cannot be written although its folder is there (HTTP 404): {self._files.privileges(upload)}"
                ) from None

    def _forget(self, upload: Location, machine: Machine) -> None:
        """Deletes a staged drive after a failure, with a new login if the lost session was the reason."""
        with contextlib.suppress(HypervisorError, TryAgain):
            self._session.run(lambda: self._delete_file(upload, machine))

    def disconnect(self, view: View, locations: Sequence[Location]) -> None:
        """Disconnects files of a running VM: its host locks them, and its guest caches them."""
        media = {str(location) for location in locations}
        changes = [
            edited_drive(drive, drive.iso, connected=False, start=drive.start_connected)
            for drive in view.machine.devices.drives
            if drive.iso in media and drive.connected and view.machine.running
        ]
        self.reconfigure(view.machine, changes)

    def attach(self, view: View, out: bool = False) -> None:
        """Puts the file into the slot, and takes it out of all other drives. out: leaves it disconnected, as if ejected."""
        machine, slot = view.machine, view.slot
        changes = [edited_drive(drive, None) for drive in view.wrong_drives]
        place = str(machine.location)
        if slot.drive is not None:
            changes.append(edited_drive(slot.drive, place, connected=machine.running and not out, start=not out))
        else:
            changes += added_drives(slot, place, machine.running)
        self.reconfigure(machine, changes)

    def take_out(self, view: View) -> bool:
        """Disconnects the file, now and at power on, which says that it is ejected. Returns whether it was connected."""
        place = str(view.machine.location)
        changes = [
            edited_drive(drive, place)
            for drive in view.machine.devices.drives
            if drive.iso == place and (drive.connected or drive.start_connected)
        ]
        self.reconfigure(view.machine, changes)
        return bool(changes)

    def is_unread(self, machine: Machine) -> bool:
        """Whether the VM was started before its file was written, by the hosts' clocks; True if that cannot be told."""
        if not machine.running:
            return False
        name = machine.iso_name
        beside = self._found(machine, self._begin_search(machine, name))
        age = next((_age(entry) for entry in beside if child_text(entry, "path") == name), 0.0)
        up = seconds_since(machine.boot_time)
        return age <= 0 or up <= 0 or age < up

    def _task(self, start: Callable[[], t.Any], what: str, vm: t.Any = None) -> t.Any:
        """Starts a task and waits for it. Raises TryAgain if another task on the same VM is in the way."""
        try:
            return self._session.wait(start(), vm, what)
        except (vim.fault.TaskInProgress, vim.fault.ConcurrentAccess, vim.fault.FileLocked) as fault:
            raise TryAgain(f"{what}: {explain(fault)}") from None
        except (vim.fault.InvalidPowerState, vim.fault.InvalidDeviceSpec) as fault:
            # The VM was started or got a device after it was read.
            raise TryAgain(f"{what}: {explain(fault)}") from None

    def reconfigure(self, machine: Machine, changes: list[t.Any]) -> None:
        if not changes:
            return
        if machine.suspended:
            raise DriveError(f"{machine.vm.name} is suspended: its drives cannot be changed; resume it or power it off")
        vm = self._session.object("VirtualMachine", machine.reference)
        spec = vim.vm.ConfigSpec(deviceChange=changes)
        what = f"the reconfiguration of {machine.vm.name}"
        machine.work.begun.append(what)
        try:
            self._task(lambda: vm.ReconfigVM_Task(spec), what, vm)
        except vmodl.fault.ManagedObjectNotFound:
            raise VmNotFound(f"{machine.vm.name} is gone from {self._session.endpoint}") from None
        except vim.fault.FileNotFound as fault:
            raise TryAgain(f"{what}: {explain(fault)}") from None
        except vim.fault.GenericVmConfigFault as fault:
            raise DriveError(
                f"{machine.vm.name}: {what} failed: {explain(fault)}; if the guest has locked its CD, eject it there, and try again"
            ) from None

    def _datacenter_object(self, machine: Machine) -> t.Any:
        return self._session.object("Datacenter", machine.datacenter)

    def _make_folder(self, machine: Machine) -> None:
        with contextlib.suppress(vim.fault.FileAlreadyExists):
            self._session.content.fileManager.MakeDirectory(_folder(machine.location), self._datacenter_object(machine), True)

    def _move(self, upload: Location, machine: Machine, replace: bool) -> None:
        """Gives a verified staged drive its name. replace: only for this VM's own file."""
        datacenter = self._datacenter_object(machine)
        files = self._session.content.fileManager
        machine.work.begun.append(f"naming {machine.location}")
        machine.work.placed = machine
        try:
            self._task(
                lambda: files.MoveDatastoreFile_Task(str(upload), datacenter, str(machine.location), datacenter, replace),
                f"naming {machine.location}",
            )
        except vim.fault.FileAlreadyExists as fault:
            raise TryAgain(f"naming {machine.location}: {explain(fault)}") from None
        except vim.fault.FileFault as fault:
            raise DriveError(f"{machine.location} could not be given its name: {explain(fault)}") from None

    def delete(self, location: Location, machine: Machine, owner: str | None) -> None:
        """Deletes a config drive, if it still has this owner."""
        content = self._files.read(location, head_only=True)
        if content is not None and read_owner(content.head) == owner:
            machine.work.begun.append(f"deleting {location}")
            try:
                self._delete_file(location, machine)
            except vim.fault.FileFault as fault:
                raise DriveError(
                    f"{location} could not be deleted: {explain(fault)}; delete it, it holds secrets of the VM"
                ) from None

    def clear_place(self, machine: Machine) -> None:
        """Deletes the drive of a VM that is gone, and its folder if nothing else is in it."""
        self.delete(machine.location, machine, machine.vm.id)
        self._remove_if_empty(machine.location, machine)

    def _remove_if_empty(self, file: Location, machine: Machine) -> None:
        """Deletes a file's folder if it is empty; a folder that cannot be read stays."""
        if not file.folder:
            return
        folder = _folder(file)
        browser = self._browser(file, machine)
        details = vim.host.DatastoreBrowser.FileInfo.Details(fileType=True, fileSize=False, modification=False, fileOwner=False)
        spec = vim.host.DatastoreBrowser.SearchSpec(matchPattern=["*"], details=details)
        if browser is None:
            return
        with contextlib.suppress(vim.fault.FileFault, TryAgain):
            found = self._task(lambda: browser.SearchDatastore_Task(folder, spec), f"looking through {folder}")
            if found is not None and found.find(VIM + "file") is None:
                self._delete_file(folder, machine)

    def _delete_file(self, location: Location | str, machine: Machine) -> None:
        files = self._session.content.fileManager
        datacenter = self._datacenter_object(machine)
        with contextlib.suppress(vim.fault.FileNotFound):
            self._task(lambda: files.DeleteDatastoreFile_Task(str(location), datacenter), f"deleting {location}")

    def find_leftovers(self, machine: Machine) -> t.Any:
        """Starts the search for staged drives that killed runs left; None if the account may not search."""
        return self._begin_search(machine, machine.iso_name, ".*.upload")

    def remove_leftovers(self, machine: Machine, search: t.Any = None) -> None:
        """Deletes the staged drives that killed runs left for this VM. search: a task of find_leftovers() that is under way."""
        for name in self._leftovers(machine, search or self.find_leftovers(machine)):
            # One that cannot be deleted does no harm; the next run tries again.
            with contextlib.suppress(vim.fault.FileFault, TryAgain):
                self._delete_file(machine.location.beside(name), machine)

    def _leftovers(self, machine: Machine, search: t.Any) -> Iterable[str]:
        name = machine.iso_name
        for entry in self._found(machine, search):
            found = child_text(entry, "path")
            if found.startswith(name) and _UPLOAD.fullmatch(found[len(name) :]) and drive_rules.is_left_over(_age(entry)):
                yield found

    def _begin_search(self, machine: Machine, name: str, ending: str = "") -> t.Any:
        """Starts a search for files beside the drive. Its pattern knows only * and ?, so the caller checks the names."""
        browser = self._browser(machine.location, machine)
        spec = vim.host.DatastoreBrowser.SearchSpec(
            matchPattern=[re.sub(r"[^A-Za-z0-9 ._-]", "?", name) + ending],
            details=vim.host.DatastoreBrowser.FileInfo.Details(fileType=False, fileSize=True, modification=True, fileOwner=False),
        )
        with contextlib.suppress(vim.fault.FileFault):
            return browser.SearchDatastore_Task(_folder(machine.location), spec) if browser is not None else None
        return None

    def _found(self, machine: Machine, search: t.Any) -> Iterable[t.Any]:
        """The files that a search has found."""
        if search is None:
            return
        try:
            result = self._task(lambda: search, f"looking through {_folder(machine.location)}")
        except vim.fault.FileFault:
            return
        yield from result.iterfind(VIM + "file") if result is not None else ()

    def _browser(self, file: Location, machine: Machine) -> t.Any:
        browser = self._datacenters.browser(file.datastore, machine.datacenter)
        return vim.host.DatastoreBrowser(browser, self._session.stub) if browser else None


def _folder(file: Location) -> str:
    return f"[{file.datastore}] {file.folder}"


def _age(entry: t.Any) -> float:
    """Seconds since a file was changed; 0 if that cannot be told."""
    return seconds_since(child_text(entry, "modification"))


def seconds_since(text: str) -> float:
    """Seconds since a time as vSphere writes it; 0 if it is none."""
    try:
        changed = datetime.datetime.fromisoformat(text)
        return (datetime.datetime.now(datetime.timezone.utc) - changed).total_seconds()
    except (ValueError, TypeError):
        return 0.0
