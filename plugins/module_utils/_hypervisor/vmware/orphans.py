# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Config drives that no VM of a vCenter or ESXi host uses, on all of its datastores.

The connection's options datacenter and folder do not count here: a VM that was not looked at would seem to be gone.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.image import MAX_SIZE, read_owner
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import drive_rules, workers
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    DriveError,
    HypervisorError,
    HypervisorUnreachable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.drive_rules import OrphanDrive, OrphanList
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware import devices as devices_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.drive_steps import seconds_since
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.files import Location
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.inventory import id_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import (
    VIM,
    ObjectSpec,
    child_text,
    references,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.pyvmomi_import import vim, vmodl
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import explain

if t.TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from xml.etree.ElementTree import Element

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.datacenters import (
        Datacenter,
        Datacenters,
    )
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.files import DatastoreFiles
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import ObjectData
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session

_VM_PROPERTIES = (
    "name",
    "config.template",
    "config.instanceUuid",
    "config.uuid",
    "config.hardware.device",
    "config.files.vmPathName",
    "datastore",
)
_NAMES = re.compile(r".+\.iso(?:\.[0-9a-f]{16}\.upload)?", re.DOTALL)
_PATTERNS = ("*.iso", "*.iso.*.upload", "*.vmx", "*.vmtx")
_READERS = 8
_READ_SECONDS = 600.0
# A file's place: the datacenter's path and "[datastore] folder/file".
_Place = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class _Handle:
    location: Location
    datacenter: str  # its reference


@dataclasses.dataclass
class _Vms:
    """All VMs. ids: by VM id, where its drive belongs. used: files in the VMs' drives. homes: the VMs' configuration files."""

    ids: dict[str, _Place | None]
    used: set[_Place]
    homes: set[_Place]


@dataclasses.dataclass(frozen=True)
class _File:
    """A file that may be a drive. age: seconds. unseen_vm: a VM that the account does not see has its configuration beside it."""

    handle: _Handle
    age: float
    unseen_vm: bool

    @property
    def place(self) -> _Place:
        return (self.handle.location.datacenter, str(self.handle.location))


class Orphans:
    """Finds and deletes orphans through one session."""

    def __init__(self, session: Session, files: DatastoreFiles, datacenters: Datacenters) -> None:
        self._session = session
        self._files = files
        self._datacenters = datacenters

    def find(self, elsewhere: Collection[str]) -> OrphanList:
        """See api.Drives.orphans()."""
        skipped: list[str] = []
        stores = self._datastores(skipped)
        vms = self._vms()
        files = [file for store in stores for file in self._search(*store, vms, skipped)]
        owners: list[tuple[_File, str]] = []
        for file, owner, error in workers.each(self._owner_of, files, _READERS, _READ_SECONDS):
            if isinstance(error, HypervisorUnreachable):
                raise error
            if error is not None:
                skipped.append(f"{file.handle.location} could not be read: {error}")
            elif owner is not None:
                owners.append((file, owner))
        marked = {file.place: owner for file, owner in owners}
        drives = []
        for file, owner in owners:
            place = vms.ids.get(owner)
            replaced = place is not None and marked.get(place) == owner
            found = drive_rules.Found(owner, file.place in vms.used, file.place == place, replaced, file.age)
            verdict = drive_rules.orphan(found, vms.ids, elsewhere)
            if verdict is not None:
                reason, kept = verdict
                if file.unseen_vm:
                    kept = "the configuration of a VM lies beside it that this account does not see, or that is not registered"
                drives.append(OrphanDrive(str(file.handle.location), owner, reason, kept, file.handle))
        return OrphanList(tuple(sorted(drives, key=lambda drive: drive.location)), tuple(sorted(skipped)))

    def delete(self, drives: Sequence[OrphanDrive]) -> Iterator[tuple[OrphanDrive, bool | DriveError]]:
        """See api.Drives.delete_orphans()."""
        used = self._vms().used if drives else set()
        for drive in drives:
            yield drive, self._outcome(drive, used)

    def _outcome(self, drive: OrphanDrive, used: set[_Place]) -> bool | DriveError:
        if self._session.read_only:
            return DriveError(f"{drive.location}: {self._session.read_only}")
        try:
            return self._session.run(lambda: self._delete(drive, used))
        except DriveError as error:
            return error

    def _delete(self, drive: OrphanDrive, used: set[_Place]) -> bool:
        content = self._files.read(drive.handle.location, head_only=True)
        if content is None:
            return False
        place = (drive.handle.location.datacenter, str(drive.handle.location))
        if read_owner(content.head) != drive.owner or place in used:
            raise DriveError(f"{drive.location} was changed, or is used by a VM now: it was left")
        datacenter = self._session.object("Datacenter", drive.handle.datacenter)
        try:
            task = self._session.content.fileManager.DeleteDatastoreFile_Task(drive.location, datacenter)
            self._session.wait(task, None, f"deleting {drive.location}")
        except vim.fault.FileNotFound:
            return False
        except vmodl.MethodFault as fault:
            raise DriveError(f"{drive.location} could not be deleted: {explain(fault)}") from None
        return True

    def _owner_of(self, file: _File) -> str | None:
        content = self._session.run(lambda: self._files.read(file.handle.location, head_only=True))
        return None if content is None else read_owner(content.head)

    def _datastores(self, skipped: list[str]) -> list[tuple[str, str, Datacenter]]:
        """Name, browser and datacenter of each datastore that can be read; skipped gets a sentence on the others."""

        def read() -> list[ObjectData]:
            view = self._session.view(("Datastore",))._moId
            return self._session.retrieve([ObjectSpec("Datastore", ("name", "browser", "summary.accessible"), view=view)])

        found = []
        data = self._session.run(read)
        self._session.run(lambda: self._datacenters.learn(one.name for one in data))
        for one in data:
            datacenter = self._datacenters.of([one.name])
            if one.text("summary.accessible") == "false" or datacenter is None:
                skipped.append(f"the datastore {one.text('name')} is accessible to no host: what is on it cannot be told")
            else:
                found.append((one.text("name"), one.text("browser"), datacenter))
        return found

    def _vms(self) -> _Vms:
        def read() -> list[ObjectData]:
            view = self._session.view(("VirtualMachine",))._moId
            return self._session.retrieve([ObjectSpec("VirtualMachine", _VM_PROPERTIES, view=view)])

        vms = _Vms({}, set(), set())
        for one in self._session.run(read):
            datacenter = self._datacenters.of(references(one.get("datastore")))
            path = datacenter.path if datacenter else ""
            devices = devices_of.parse(one.children("config.hardware.device"))
            vms.used |= {(path, drive.iso) for drive in devices.drives if drive.iso is not None}
            vms.homes.add((path, one.text("config.files.vmPathName")))
            split = devices_of.split_location(devices_of.root_file(devices, one.text("config.files.vmPathName")) or "")
            place = None
            if split is not None:
                place = (path, str(Location(path, *split).beside(devices_of.iso_name(one.text("name")))))
            if id_of(one):
                vms.ids[id_of(one)] = place
        return vms

    def _search(self, name: str, browser: str, datacenter: Datacenter, vms: _Vms, skipped: list[str]) -> Iterator[_File]:
        """The files of one datastore that may be drives, by name and size; one task."""
        details = vim.host.DatastoreBrowser.FileInfo.Details(fileType=False, fileSize=True, modification=True, fileOwner=False)
        spec = vim.host.DatastoreBrowser.SearchSpec(matchPattern=list(_PATTERNS), details=details)

        def search() -> Element | None:
            task = vim.host.DatastoreBrowser(browser, self._session.stub).SearchDatastoreSubFolders_Task(f"[{name}]", spec)
            return self._session.wait(task, None, f"looking through [{name}]")

        try:
            result = self._session.run(search)
        except HypervisorUnreachable:
            raise
        except (HypervisorError, vmodl.MethodFault) as error:
            why = explain(error) if isinstance(error, vmodl.MethodFault) else str(error)
            skipped.append(f"the datastore {name} could not be looked through: {why}")
            return
        for folder in result if result is not None else ():
            base = child_text(folder, "folderPath")
            entries = [(child_text(entry, "path"), entry) for entry in folder.iterfind(VIM + "file")]
            paths = {file: _joined(base, file) for file, _entry in entries}
            unseen_vm = any(
                file.endswith((".vmx", ".vmtx")) and (datacenter.path, paths[file]) not in vms.homes for file, _entry in entries
            )
            for file, entry in entries:
                split = devices_of.split_location(paths[file])
                size = child_text(entry, "fileSize")
                if split is not None and _NAMES.fullmatch(file) and int(size or 0) <= MAX_SIZE:
                    handle = _Handle(Location(datacenter.path, *split), datacenter.reference)
                    yield _File(handle, max(0.0, seconds_since(child_text(entry, "modification"))), unseen_vm)


def _joined(folder: str, file: str) -> str:
    """A folder and a file as "[datastore] folder/file", the way VMs write it, whatever slashes the folder has."""
    datastore, path = devices_of.split_location(folder) or ("", folder)
    path = "/".join(part for part in path.split("/") if part)
    return f"[{datastore}] {f'{path}/' if path else ''}{file}"
