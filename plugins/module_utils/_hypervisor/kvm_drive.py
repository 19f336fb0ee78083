# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The config drive of KVM VMs: <image_dir>/<vm>.iso in the second CD/DVD drive."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import secrets
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.image import read_owner
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import kvm_domain
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveChange, DriveError, DriveState
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm_iso_folder import IsoFolder
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.libvirt_import import libvirt

if t.TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm

# The owner mark is in the volume descriptors, the first of them at 32 KiB.
_HEAD = 64 * 1024
_UNSAFE_NAME = re.compile(r"[/\x00-\x1f\x7f]")


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What there is, and what putting or removing the drive would mean for one VM.

    holding: drives with this VM's ISO in them; eject: those that must be emptied because they hold another VM's config
    drive (a clone of a VM does), or this VM's in the wrong drive.
    """

    state: DriveState
    file: str
    drive: kvm_domain.Cdrom | None
    add: bool
    holding: tuple[kvm_domain.Cdrom, ...]
    eject: tuple[kvm_domain.Cdrom, ...]


class KvmDrives:
    """Drive operations over one libvirt connection; the folder is opened when first needed."""

    def __init__(self, connection: t.Any, image_dir: str) -> None:
        self._connection = connection
        self._image_dir = image_dir
        self._folder: IsoFolder | None = None

    @property
    def folder(self) -> IsoFolder:
        """The ISO folder on the host."""
        if self._folder is None:
            self._folder = IsoFolder(self._connection, self._image_dir)
        return self._folder

    def states(self, vms: Sequence[Vm]) -> dict[str, DriveState | DriveError]:
        """See Hypervisor.config_drives."""
        found: dict[str, DriveState | DriveError] = {}
        for vm in vms:
            try:
                found[vm.id] = self._plan(vm).state
            except DriveError as error:
                found[vm.id] = error
            except libvirt.libvirtError as error:
                found[vm.id] = _drive_error(vm, "its config drive could not be read", error)
        return found

    def read(self, vm: Vm) -> bytes | None:
        """See Hypervisor.read_config_drive."""
        data = self.folder.read(_file_name(vm))
        if data is not None and read_owner(data[:_HEAD]) != vm.id:
            raise DriveError(f"{vm.name}: {self.folder.path(_file_name(vm))} is not the config drive of this VM")
        return data

    def put(self, vm: Vm, iso: bytes) -> DriveChange:
        """See Hypervisor.put_config_drive.

        The new bytes are on the host, whole and proven, before the old ones are touched: a full disk or a cut connection
        leaves the VM as it was. Then: eject, replace, insert. A run that was killed in between is mended by the next one.
        """
        try:
            return self._put(vm, iso)
        except libvirt.libvirtError as error:
            raise _drive_error(vm, "its config drive could not be put", error) from None

    def remove(self, vm: Vm) -> DriveChange:
        """See Hypervisor.remove_config_drive."""
        try:
            plan = self._plan(vm)
            if plan.state.file_exists and plan.state.owner != vm.id:
                raise DriveError(f"{vm.name}: {plan.state.problem}")
            for drive in (*plan.holding, *plan.eject):
                self._insert(vm, drive, None)
            deleted = self.folder.delete(plan.file)
            self._delete_leftovers(plan.file)
            return DriveChange(deleted or bool(plan.holding or plan.eject), plan.state.location, plan.state.slot)
        except libvirt.libvirtError as error:
            raise _drive_error(vm, "its config drive could not be removed", error) from None

    def _put(self, vm: Vm, iso: bytes) -> DriveChange:
        plan = self._plan(vm)
        if plan.state.problem is not None or plan.drive is None:
            raise DriveError(f"{vm.name}: {plan.state.problem}")
        digest = hashlib.sha256(iso).hexdigest()
        location = plan.state.location
        if plan.state.attached and plan.state.sha256 == digest:
            return DriveChange(False, location, plan.drive.target)
        if plan.state.sha256 != digest:
            self._replace_file(vm, plan, iso)
        for drive in plan.eject:
            self._insert(vm, drive, None)
        if plan.add:
            vm.handle.attachDeviceFlags(kvm_domain.cdrom_xml(plan.drive, location), libvirt.VIR_DOMAIN_AFFECT_CONFIG)
        else:
            self._insert(vm, plan.drive, location)
        restart = not plan.state.can_attach_now
        message = None
        if restart:
            message = (
                f"{vm.name} runs without a CD/DVD drive for it; one was added to its definition and the guest will see it "
                "once the VM has been shut down and started"
            )
        return DriveChange(True, location, plan.drive.target, restart, message)

    def _replace_file(self, vm: Vm, plan: _Plan, iso: bytes) -> None:
        self._delete_leftovers(plan.file)
        staged = f"{plan.file}.{secrets.token_hex(4)}.new"
        try:
            self.folder.write(staged, iso)
            for drive in plan.holding:
                self._insert(vm, drive, None)
            self.folder.delete(plan.file)
            self.folder.copy(staged, plan.file, iso)
        finally:
            self._delete_quietly(staged)

    def _delete_leftovers(self, file: str) -> None:
        """Staged files of a run that was killed: they hold secrets."""
        pattern = re.compile(re.escape(file) + r"\.[0-9a-f]{8}\.new")
        for name in self.folder.names():
            if pattern.fullmatch(name):
                self.folder.delete(name)

    def _delete_quietly(self, name: str) -> None:
        try:
            self.folder.delete(name)
        except libvirt.libvirtError:
            pass  # the error under way matters more; the next run deletes leftovers

    def _plan(self, vm: Vm) -> _Plan:
        file = _file_name(vm)
        location = self.folder.path(file)
        data = self.folder.read(file)
        owner = None if data is None else read_owner(data[:_HEAD])
        running = vm.handle.isActive() == 1
        persistent = vm.handle.isPersistent() == 1
        live = kvm_domain.parse(vm.handle.XMLDesc(0))
        config = kvm_domain.parse(vm.handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)) if persistent else live
        # What the guest has now, and what it will have at its next start; the same while it is shut off.
        seen = {d.target: d for d in kvm_domain.cdroms(live)}
        defined = {d.target: d for d in kvm_domain.cdroms(config)}
        every = [*seen.values(), *(d for d in defined.values() if seen.get(d.target) != d)]
        foreign = self._foreign_drives(vm, location, every)

        drive = kvm_domain.choose_cdrom(list(defined.values()), location, foreign)
        add = drive is None and persistent
        if add:
            drive = kvm_domain.new_cdrom(config)
        visible = drive is not None and drive.target in seen
        attached = (
            drive is not None
            and not add
            and defined[drive.target].source == location
            and (not visible or seen[drive.target].source == location)
        )
        holding = tuple(d for d in every if d.source == location)
        eject = tuple(
            d for d in every if d.source in foreign or (d.source == location and drive is not None and d.target != drive.target)
        )
        state = DriveState(
            location=location,
            slot=None if drive is None else drive.target,
            file_exists=data is not None,
            attached=attached and not eject,
            sha256=None if data is None else hashlib.sha256(data).hexdigest(),
            size=None if data is None else len(data),
            owner=owner,
            can_attach_now=visible or not running,
            problem=_problem(vm, location, data is not None, owner, drive),
        )
        return _Plan(state, file, drive, add, holding, eject)

    def _foreign_drives(self, vm: Vm, location: str, drives: Sequence[kvm_domain.Cdrom]) -> list[str]:
        """Paths of config drives of other VMs in these drives, as a clone of a VM has them."""
        prefix = self.folder.path("")
        found = []
        for path in {d.source for d in drives if d.source and d.source != location and d.source.startswith(prefix)}:
            data = self.folder.read(path[len(prefix) :])
            owner = None if data is None else read_owner(data[:_HEAD])
            if owner is not None and owner != vm.id:
                found.append(path)
        return found

    def _insert(self, vm: Vm, drive: kvm_domain.Cdrom, source: str | None) -> None:
        """Puts the file into the drive, or empties it: in the running domain, if it has that drive, and in its definition."""
        xml = kvm_domain.cdrom_xml(drive, source)
        domain = vm.handle
        if domain.isActive() == 1 and drive.target in {d.target for d in kvm_domain.cdroms(kvm_domain.parse(domain.XMLDesc(0)))}:
            try:
                domain.updateDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)
            except libvirt.libvirtError:
                # The guest holds the tray (mounted medium, or nobody there to answer the request to let go).
                domain.updateDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_DEVICE_MODIFY_FORCE)
        if domain.isPersistent() == 1:
            domain.updateDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_CONFIG)


def _problem(vm: Vm, location: str, exists: bool, owner: str | None, drive: kvm_domain.Cdrom | None) -> str | None:
    if exists and owner != vm.id:
        belongs = "no config drive of this collection" if owner is None else f"the config drive of the VM with id {owner}"
        return (
            f"{location} is {belongs}; make sure that no VM uses it and delete it, or rename the VM, or use another "
            "hypervisor.image_dir"
        )
    if drive is None:
        return (
            "it has no free CD/DVD drive after the first and no place for another one; eject the medium of one, or free "
            "a place on that bus"
        )
    return None


def _file_name(vm: Vm) -> str:
    if _UNSAFE_NAME.search(vm.name) or vm.name.startswith("."):
        raise DriveError(f"the VM name {vm.name!r} cannot be a file name: rename the VM")
    return f"{vm.name}.iso"


def _drive_error(vm: Vm, what: str, error: t.Any) -> DriveError:
    return DriveError(f"{vm.name}: {what}: {error.get_error_message() or error}")
