# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The config drive of KVM VMs: <image_dir>/<vm>.iso in the second CD/DVD drive."""

from __future__ import annotations

import dataclasses
import hashlib
import posixpath
import random
import secrets
import time
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.image import HEAD_SIZE, is_intact, read_owner
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import drive_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    DriveChange,
    DriveError,
    Drives,
    DriveState,
    HypervisorError,
    HypervisorUnreachable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.drive_rules import OrphanDrive, OrphanList
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import domain as kvm_domain
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import drive_notes, leftovers, orphans, session
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.drive_state import (
    Content,
    Plan,
    passing,
    problem_of,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.iso_folder import IsoFolder, NotAsWritten
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.session import is_alive

if t.TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm

    T = t.TypeVar("T")

# How often a change is tried when something gets in between, and seconds between two tries.
_TRIES = 5
_PAUSE = (0.2, 0.6)


class KvmDrives(Drives):
    """Drive operations over one libvirt connection; the folder is opened when first needed."""

    def __init__(self, connection: t.Any, endpoint: str, image_dir: str, cd_bus: str | None = None) -> None:
        self._connection = connection
        self._endpoint = endpoint
        self._image_dir = image_dir
        self._cd_bus = cd_bus
        self._folder: IsoFolder | None = None

    @property
    def folder(self) -> IsoFolder:
        """The ISO folder on the host."""
        if self._folder is None:
            self._folder = IsoFolder(self._connection, self._image_dir)
        return self._folder

    def states(self, vms: Sequence[Vm]) -> dict[str, DriveState | DriveError]:
        """See api.Drives."""
        found: dict[str, DriveState | DriveError] = {}
        listed: list[str] | None = None
        for vm in vms:
            try:
                listed = self._anew(self._names) if listed is None else listed
                plan = self._plan(vm)
                # A file that a killed run has left, with secrets in it, is to go: there is something to do.
                left_over = bool(self._staged(plan.file, listed))
                found[vm.id] = dataclasses.replace(plan.state, attached=plan.state.attached and not left_over)
            except DriveError as error:
                found[vm.id] = error
            except libvirt.libvirtError as error:
                failure = self._error(vm, "its config drive could not be read", error)
                if not isinstance(failure, DriveError):
                    raise failure from None
                found[vm.id] = failure
        return found

    def inserted(self, vms: Sequence[Vm]) -> dict[str, DriveState | DriveError]:
        """See api.Drives. The folder is not opened."""
        found: dict[str, DriveState | DriveError] = {}
        for vm in vms:
            try:
                location = posixpath.join(posixpath.normpath(self._image_dir), leftovers.file_name(vm.name))
                live, config = drive_notes.definitions(vm.handle)
            except DriveError:
                continue  # such a VM can have none
            except libvirt.libvirtError as error:
                failure = self._error(vm, "its config drive could not be looked at", error)
                if not isinstance(failure, DriveError):
                    raise failure from None
                found[vm.id] = failure
                continue
            slot = next((d.target for one in (live, config) for d in kvm_domain.cdroms(one) if d.source == location), None)
            if slot is not None:
                unread = vm.handle.isActive() == 1 and kvm_domain.is_unread(live)
                found[vm.id] = DriveState(location, slot, True, True, unread=unread)
        return found

    def read(self, vm: Vm) -> bytes | None:
        """See api.Drives."""
        file = leftovers.file_name(vm.name)
        try:
            content = self._anew(lambda: self._content(vm, file))
        except libvirt.libvirtError as error:
            raise self._error(vm, "its config drive could not be read", error) from None
        if content.data is not None and content.owner != vm.id:
            raise DriveError(f"{vm.name}: {self.folder.path(file)} is not the config drive of this VM")
        return content.data

    def read_foreign(self, vm: Vm) -> bytes | None:
        """See api.Drives."""
        try:
            content = self._content(vm, leftovers.file_name(vm.name))
        except libvirt.libvirtError as error:
            raise self._error(vm, "the file in the place of its config drive could not be read", error) from None
        return None if content.owner == vm.id else content.data

    def discard_foreign(self, vm: Vm) -> None:
        """See api.Drives."""
        self._repeat(vm, "the file in the place of its config drive could not be deleted", lambda: self._discard(vm))

    def put_one(self, vm: Vm, iso: bytes) -> DriveChange:
        """See api.Drives.

        The new bytes are on the host, whole and proven, in a staged file before the old ones are touched: a full disk or a
        cut connection leaves the VM as it was. Then: eject, replace, insert. A run that was killed in between is mended by
        the next one, which finds the staged file.
        """
        return self._repeat(vm, "its config drive could not be put", lambda: self._put(vm, iso))

    def receive(self, vm: Vm, iso: bytes) -> DriveChange:
        """Makes this host have the VM's ISO before the VM itself comes here; vm is a VM of another host."""
        return self._repeat(vm, f"its config drive could not be brought to {self._endpoint}", lambda: self._receive(vm, iso))

    def remove_one(self, vm: Vm) -> DriveChange:
        """See api.Drives."""
        return self._repeat(vm, "its config drive could not be removed", lambda: self._remove(vm))

    def eject_one(self, vm: Vm) -> DriveChange:
        """See api.Drives."""
        return self._repeat(vm, "its config drive could not be ejected", lambda: self._take_out(vm))

    def move_one(self, vm: Vm, destination: str) -> DriveChange:
        """See api.Drives. destination: the libvirt URI of the other host; the ISO is at the same path there.

        The ISO stays on this host as well, since the VM runs with it until it has gone over.
        """
        iso = self.read(vm)
        if iso is None:
            raise DriveError(f"{vm.name} has no config drive that could be brought to {destination}")
        other = session.open_connection({"uri": destination})
        try:
            return KvmDrives(other, destination, self._image_dir, self._cd_bus).receive(vm, iso)
        finally:
            session.close_connection(other)

    def bring(self, vm: Vm, uri: str, other: t.Any) -> bool:
        """Brings the VM's ISO to the host of that connection; False if it has none."""
        iso = self.read(vm)
        if iso is None:
            return False
        KvmDrives(other, uri, self._image_dir).receive(vm, iso)
        return True

    def delete_orphan(self, name: str, known: Collection[str], delete: bool) -> str | None:
        """See leftovers.orphan()."""
        return leftovers.orphan(self.folder, name, known, delete)

    def orphans(self, elsewhere: Collection[str]) -> OrphanList:
        """See api.Drives: all storage pools that are folders."""
        return orphans.find(self._connection, self._image_dir, elsewhere)

    def delete_orphans(self, drives: Sequence[OrphanDrive]) -> Iterator[tuple[OrphanDrive, bool | DriveError]]:
        """See api.Drives."""
        return orphans.delete(self._connection, drives)

    def files(self) -> Sequence[str]:
        """The names of all files in the folder; none where there is no such folder."""
        try:
            return self.folder.names()
        except DriveError:
            return ()

    def discard(self, vm: Vm, listed: Sequence[str] | None = None) -> tuple[str, ...]:
        """See leftovers.of_a_going_vm(). listed: files(), where the caller has it."""
        return leftovers.of_a_going_vm(self.folder, vm, self.files() if listed is None else listed)

    def _repeat(self, vm: Vm, what: str, change: t.Callable[[], DriveChange]) -> DriveChange:
        """Does the change, and again where another task got in between: then the VM has the whole drive of one of them."""
        for left in range(_TRIES - 1, -1, -1):
            try:
                return change()
            except NotAsWritten:
                if not left:
                    raise
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_POOL:
                    self._folder = None
                if not left or error.get_error_code() not in (*passing(), libvirt.VIR_ERR_NO_STORAGE_POOL):
                    raise self._cleared_up(vm, what, error) from None
            time.sleep(random.uniform(*_PAUSE))
        raise AssertionError("the last try returns or raises")  # pragma: no cover

    def _names(self) -> list[str]:
        return self.folder.names()

    def _anew(self, read: t.Callable[[], T]) -> T:
        """What read() gives; tried again where another task has removed our pool, which goes with the last VM in the folder."""
        try:
            return read()
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
                raise
            self._folder = None
            return read()

    def _put(self, vm: Vm, iso: bytes) -> DriveChange:
        plan = self._plan(vm)
        if plan.state.problem is not None or plan.drive is None:
            raise DriveError(f"{vm.name}: {plan.state.problem}")
        location = plan.state.location
        same = plan.whole and plan.state.sha256 == hashlib.sha256(iso).hexdigest()
        if plan.state.attached and same:
            return DriveChange(self._delete_staged(plan.file), location, plan.drive.target)
        if not same:
            self._replace_file(vm, plan.file, iso)
            # Another task may have inserted its own file meanwhile: to insert the same path again would change nothing.
            self._eject(vm, (location,))
        self._eject(vm, plan.eject)
        drive_notes.set_put(vm.handle, plan.unread, plan.was_ejected)
        message = None
        if plan.add:
            self._attach(vm, plan.drive, location)
            if not plan.state.can_attach_now:
                message = drive_rules.seen_after_restart(vm.name, "to its definition")
        else:
            message = self._insert(vm, plan.drive.target, location)
        self._delete_staged(plan.file)
        restart = message is not None or not plan.state.can_attach_now
        return DriveChange(True, location, plan.drive.target, restart, message)

    def _attach(self, vm: Vm, drive: kvm_domain.Cdrom, location: str) -> None:
        if drive.bus == "scsi":
            config = kvm_domain.parse(vm.handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
            if not kvm_domain.has_virtio_scsi(config):  # else libvirt adds one of another model, which few guests know
                vm.handle.attachDeviceFlags(kvm_domain.VIRTIO_SCSI, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
        vm.handle.attachDeviceFlags(kvm_domain.cdrom_xml(drive, location), libvirt.VIR_DOMAIN_AFFECT_CONFIG)

    def _receive(self, vm: Vm, iso: bytes) -> DriveChange:
        file = leftovers.file_name(vm.name)
        content = self._content(vm, file)
        location = self.folder.path(file)
        if content.data is not None and content.owner != vm.id:
            raise DriveError(f"{vm.name}: on {self._endpoint}, {drive_rules.foreign(location, content.owner)}")
        if content.whole and content.data == iso:
            return DriveChange(False, location)
        if any(domain.UUIDString().lower() == vm.id and domain.isActive() == 1 for domain in self._connection.listAllDomains(0)):
            raise DriveError(f"{vm.name} runs on {self._endpoint} already, with a config drive of its own: nothing was changed")
        self._replace_file(vm, file, iso, inserted=False)
        self._delete_staged(file)
        return DriveChange(True, location)

    def _remove(self, vm: Vm) -> DriveChange:
        plan = self._plan(vm)
        if plan.state.file_exists and plan.state.owner != vm.id:
            raise DriveError(f"{vm.name}: {plan.state.problem}")
        ejected = self._eject(vm, (plan.state.location, *plan.eject))
        deleted = self.folder.delete(plan.file)
        return DriveChange(self._delete_staged(plan.file) or deleted or ejected, plan.state.location, plan.state.slot)

    def _take_out(self, vm: Vm) -> DriveChange:
        plan = self._plan(vm)
        if plan.state.file_exists and plan.state.owner != vm.id:
            raise DriveError(f"{vm.name}: {plan.state.problem}")
        if plan.whole and plan.state.sha256 is not None and not plan.state.ejected:
            drive_notes.set_ejected(vm.handle, plan.state.sha256)
        return DriveChange(self._eject(vm, (plan.state.location,)), plan.state.location, plan.state.slot)

    def _discard(self, vm: Vm) -> DriveChange:
        plan = self._plan(vm)
        if not plan.state.file_exists or plan.state.owner == vm.id:
            return DriveChange(False, plan.state.location)
        self._eject(vm, (plan.state.location,))
        return DriveChange(self.folder.delete(plan.file), plan.state.location)

    def _replace_file(self, vm: Vm, file: str, iso: bytes, inserted: bool = True) -> None:
        """Once the old file is deleted, the staged one stays until the drive is in: the next run would go on from it."""
        staged = f"{file}.{secrets.token_hex(4)}.new"
        old_is_there = True
        try:
            self.folder.write(staged, iso)
            self.folder.need_room(len(iso))
            if inserted:
                self._eject(vm, (self.folder.path(file),))
            old_is_there = False
            self.folder.delete(file)
            self.folder.copy(staged, file, iso)
        except Exception:
            if old_is_there:
                self._delete_quietly(staged)
            raise

    def _staged(self, file: str, listed: Sequence[str] | None = None) -> list[str]:
        return leftovers.staged(file, self.folder.names() if listed is None else listed)

    def _delete_staged(self, file: str) -> bool:
        """Deletes staged files, also those of runs that were killed: they hold secrets."""
        deleted = [self.folder.delete(name) for name in self._staged(file)]
        return any(deleted)

    def _delete_quietly(self, name: str) -> None:
        try:
            self.folder.delete(name)
        except libvirt.libvirtError:
            pass  # the error under way matters more; the next run deletes staged files

    def _content(self, vm: Vm, file: str) -> Content:
        data = self.folder.read(file)
        owner = None if data is None else read_owner(data[:HEAD_SIZE])
        if data is not None and owner is not None and (owner != vm.id or is_intact(data)):
            return Content(data, owner, True)
        # There is none, or a part of one, or something foreign. A staged file tells that a run was killed while it put ours.
        staged = [content for content in map(self.folder.read, self._staged(file)) if content is not None]
        staged = [content for content in staged if read_owner(content[:HEAD_SIZE]) == vm.id]
        staged.sort(key=is_intact)
        if staged and (is_intact(staged[-1]) or data is None):
            return Content(staged[-1], vm.id, False)
        return Content(data, owner, data is not None)

    def _plan(self, vm: Vm) -> Plan:
        file = leftovers.file_name(vm.name)
        location = self.folder.path(file)
        content = self._content(vm, file)
        running = vm.handle.isActive() == 1
        persistent = vm.handle.isPersistent() == 1
        live = kvm_domain.parse(vm.handle.XMLDesc(0))
        config = kvm_domain.parse(vm.handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)) if persistent else live
        # What the guest has now, and what it will have at its next start; the same while it is shut off.
        seen = {drive.target: drive for drive in kvm_domain.cdroms(live)}
        defined = {drive.target: drive for drive in kvm_domain.cdroms(config)}
        foreign = self._foreign_files(vm, location, (*seen.values(), *defined.values()))

        # A drive is in use if it holds a medium now, or will at the next start.
        free = (None, location, *foreign)
        taken = [seen[target] if drive.source in free and target in seen else drive for target, drive in defined.items()]
        drive = kvm_domain.choose_cdrom(taken, location, foreign, self._cd_bus, kvm_domain.preferred_bus(config))
        add = drive is None and persistent
        if add:
            drive = kvm_domain.new_cdrom(config, self._cd_bus)
        visible = drive is not None and drive.target in seen
        attached = (
            drive is not None
            and not add
            and defined[drive.target].source == location
            and (not visible or seen[drive.target].source == location)
        )
        elsewhere = drive is not None and any(
            other.source == location and other.target != drive.target for other in (*seen.values(), *defined.values())
        )
        state = DriveState(
            location=location,
            slot=None if drive is None else drive.target,
            file_exists=content.data is not None,
            attached=attached and content.whole and not foreign and not elsewhere,
            sha256=None if content.data is None else hashlib.sha256(content.data).hexdigest(),
            size=None if content.data is None else len(content.data),
            owner=content.owner,
            can_attach_now=visible or not running,
            problem=problem_of(vm, location, content, drive),
        )
        noted = kvm_domain.ejected(config)
        held = any(one.source == location for one in (*seen.values(), *defined.values()))
        state = dataclasses.replace(state, ejected=content.whole and not held and noted is not None and noted == state.sha256)
        eject = (*foreign, location) if elsewhere else foreign
        return Plan(state, file, content.whole, drive, add, eject, running and kvm_domain.is_unread(live), noted is not None)

    def _foreign_files(self, vm: Vm, location: str, drives: Sequence[kvm_domain.Cdrom]) -> tuple[str, ...]:
        """Paths of config drives of other VMs in these drives, as a clone of a VM has them."""
        prefix = self.folder.path("")
        found = []
        for path in sorted({d.source for d in drives if d.source and d.source != location and d.source.startswith(prefix)}):
            head = self.folder.head(path[len(prefix) :], HEAD_SIZE)
            if head is not None and read_owner(head) not in (None, vm.id):
                found.append(path)
        return tuple(found)

    def _eject(self, vm: Vm, files: Sequence[str]) -> bool:
        """Empties every drive that has one of these files in it; whether there was one."""
        return self._change_drives(vm, lambda drive: drive.source in files, None)

    def _insert(self, vm: Vm, target: str, file: str) -> str | None:
        """Puts the file into the drive; why the guest does not see it before its next start, or None."""

        def wanted(drive: kvm_domain.Cdrom) -> bool:
            return drive.target == target and drive.source != file

        self._change_drives(vm, wanted, file, live=False)
        try:
            self._change_drives(vm, wanted, file, config=False)
        except libvirt.libvirtError as error:
            # A guest that closes the tray in the very moment between open and insert leaves libvirt in the belief that it is
            # open; no further try can succeed until the VM is started anew.
            if error.get_error_code() != libvirt.VIR_ERR_INTERNAL_ERROR or not is_alive(self._connection):
                raise
            return (
                f"{vm.name}: the running guest does not let its CD/DVD drive go ({error.get_error_message()}); it will see the "
                "drive once the VM has been shut down and started"
            )
        return None

    def _change_drives(
        self, vm: Vm, wanted: t.Callable[[kvm_domain.Cdrom], bool], file: str | None, live: bool = True, config: bool = True
    ) -> bool:
        """Changes what is in the wanted drives, in the running domain and in its definition; whether there was one."""
        domain = vm.handle
        changed = False
        for current, flag, xml_flag in (
            (live and domain.isActive() == 1, libvirt.VIR_DOMAIN_AFFECT_LIVE, 0),
            (config and domain.isPersistent() == 1, libvirt.VIR_DOMAIN_AFFECT_CONFIG, libvirt.VIR_DOMAIN_XML_INACTIVE),
        ):
            if not current:
                continue
            for drive in kvm_domain.cdroms(kvm_domain.parse(domain.XMLDesc(xml_flag))):
                if wanted(drive):
                    self._update(domain, kvm_domain.cdrom_xml(drive, file), flag)
                    changed = True
        return changed

    def _update(self, domain: t.Any, xml: str, flag: int) -> None:
        try:
            domain.updateDeviceFlags(xml, flag)
        except libvirt.libvirtError:
            if flag != libvirt.VIR_DOMAIN_AFFECT_LIVE:
                raise
            # The guest keeps the tray locked: the medium is mounted, or no system runs that could release it.
            domain.updateDeviceFlags(xml, flag | libvirt.VIR_DOMAIN_DEVICE_MODIFY_FORCE)

    def _cleared_up(self, vm: Vm, what: str, error: t.Any) -> HypervisorError:
        """As _error(); first deletes the drive's files of a VM that somebody has undefined meanwhile."""
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN and vm.handle.connect() is self._connection:
            gone = leftovers.of_a_vanished_vm(self._connection, self.folder, vm)
            if gone is not None:
                return DriveError(f"{vm.name}: {what}: {gone}")
        return self._error(vm, what, error)

    def _error(self, vm: Vm, what: str, error: t.Any) -> HypervisorError:
        if not is_alive(self._connection):
            return HypervisorUnreachable(f"{vm.name}: {what}: the connection to {self._endpoint} broke; run the task again")
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return DriveError(f"{vm.name}: {what}: the VM is gone from {self._endpoint}")
        return DriveError(f"{vm.name}: {what}: {error.get_error_message() or error}")
