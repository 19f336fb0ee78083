# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Moving VMs to another KVM host: the drive first, then the VM, then nothing is left here."""

from __future__ import annotations

import dataclasses
import posixpath
import secrets
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import workers as bounded
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import MachineError, Outcome
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import clone_xml, session, storage
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import domain as kvm_domain
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt

if t.TYPE_CHECKING:
    import xml.etree.ElementTree as ET
    from collections.abc import Iterator, Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.drives import KvmDrives
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.host import Host

# A pair of hosts does not become faster with more, and a target has 64 ports for them.
_AT_ONCE = 2


@dataclasses.dataclass(frozen=True)
class _Files:
    """What a VM has on the host. disks: paths by target. nvram: of its UEFI variables, which move with a running VM."""

    disks: Mapping[str, str]
    nvram: str | None


class Migration:
    """One run of migrate(): a connection to the other host, and which folders both hosts share, found out once each."""

    def __init__(self, host: Host, drives: KvmDrives, destination: Mapping[str, str]) -> None:
        self._host = host
        self._drives = drives
        self._uri = destination.get("uri", "")
        self._peer_uri = destination.get("peer_uri")
        self._migrate_uri = destination.get("migrate_uri")
        self._other: t.Any = None
        self._shared: dict[str, bool] = {}

    def run(self, vms: Sequence[Vm]) -> Iterator[Outcome]:
        """See api.Machines.migrate."""
        if not self._uri:
            for vm in vms:
                yield Outcome(vm.name, vm.id, False, f"{vm.name}: destination.uri is not set: name the other host's libvirt URI")
            return
        self._other = session.open_connection({"uri": self._uri})
        try:
            prepared = []
            for vm in vms:
                try:
                    prepared.append((vm, self._prepare(vm)))
                except (MachineError, libvirt.libvirtError) as error:
                    yield Outcome(vm.name, vm.id, False, self._host.explain(vm.name, "it could not be moved", error))
            for (vm, _files), warnings, trouble in bounded.each(self._move, prepared, _AT_ONCE, timeout=None):
                if trouble is None:
                    yield Outcome(vm.name, vm.id, True, warnings=warnings or ())
                else:
                    text = self._host.explain(vm.name, f"it could not be moved to {self._uri}", trouble)
                    yield Outcome(vm.name, vm.id, isinstance(trouble, _Moved), text)
        finally:
            session.close_connection(self._other)

    # Looking --------------------------------------------------------------------------------------------------------------

    def _prepare(self, vm: Vm) -> _Files:
        element = kvm_domain.parse(vm.handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        active = vm.handle.isActive() == 1
        if vm.handle.snapshotNum(0):
            raise MachineError("it has snapshots, with which libvirt moves no VM: delete them first")
        if not active and element.find("devices/tpm/backend[@type='emulator']") is not None:
            raise MachineError("it has an emulated TPM, whose secrets move with a running VM only: start it first")
        self._refuse_occupied(vm)
        files = _files(element)
        for path in files.disks.values():
            self._is_shared(posixpath.dirname(path))
        return files

    def _refuse_occupied(self, vm: Vm) -> None:
        for domain in self._other.listAllDomains(0):
            if domain.name() == vm.handle.name() and domain.UUIDString().lower() != vm.id:
                raise MachineError(f"there is another VM of this name on {self._uri}: rename one of them")
            if domain.UUIDString().lower() == vm.id and domain.isActive() == 1 and vm.handle.isActive() == 1:
                raise MachineError(f"it runs on {self._uri} as well: stop it there, or here")

    def _is_shared(self, folder: str) -> bool:
        """Whether both hosts see the same files in this folder: one that we make here for a moment is looked for there."""
        if folder not in self._shared:
            here = storage.find_pool(self._host.connection, folder)
            there = storage.folder_pool(self._other, folder)
            if here is None:
                raise MachineError(f"its disk's folder {folder} is in no storage pool: make one for it on {self._host.endpoint}")
            name = f".external-dhcp-{secrets.token_hex(8)}"
            probe = here.createXML(storage.volume_xml(name, "raw", 512), 0)
            try:
                storage.refresh(there)
                self._shared[folder] = name in there.listVolumes()
            finally:
                probe.delete(0)
        return self._shared[folder]

    # Moving ---------------------------------------------------------------------------------------------------------------

    def _move(self, job: tuple[Vm, _Files]) -> tuple[str, ...]:
        vm, files = job
        shared_drive = self._is_shared(posixpath.normpath(self._host.image_dir))
        had_drive = self._drives.bring(vm, self._uri, self._other)
        copied = {target: path for target, path in files.disks.items() if not self._is_shared(posixpath.dirname(path))}
        if vm.handle.isActive() == 1:
            self._move_running(vm, copied)
        else:
            self._move_stopped(vm, files, copied)
        try:
            return self._leave_nothing(vm, files, copied, had_drive and not shared_drive)
        except libvirt.libvirtError as error:
            raise _Moved(
                f"it is on {self._uri} now, but not all of it could be deleted on {self._host.endpoint}: "
                f"{error.get_error_message() or error}: delete there what is left of {', '.join(copied.values()) or 'its drive'}"
            ) from None

    def _move_running(self, vm: Vm, copied: Mapping[str, str]) -> None:
        flags = (
            libvirt.VIR_MIGRATE_LIVE
            | libvirt.VIR_MIGRATE_PERSIST_DEST
            | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
            | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
            | libvirt.VIR_MIGRATE_AUTO_CONVERGE
        )
        parameters: dict[str, t.Any] = {}
        if self._migrate_uri:
            parameters[libvirt.VIR_MIGRATE_PARAM_URI] = self._migrate_uri
        if copied:
            # The disks are named, because libvirt would try to copy the read-only drives as well.
            flags |= libvirt.VIR_MIGRATE_NON_SHARED_DISK
            parameters[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = list(copied)
        try:
            self._migrate(vm, parameters, flags)
        except libvirt.libvirtError as error:
            # libvirt knows only some kinds of shared storage; we have proved that both hosts see the same files.
            if error.get_error_code() != libvirt.VIR_ERR_MIGRATE_UNSAFE or copied:
                raise
            self._migrate(vm, parameters, flags | libvirt.VIR_MIGRATE_UNSAFE)

    def _migrate(self, vm: Vm, parameters: Mapping[str, t.Any], flags: int) -> None:
        if self._peer_uri:
            vm.handle.migrateToURI3(self._peer_uri, dict(parameters), flags | libvirt.VIR_MIGRATE_PEER2PEER)
        else:
            vm.handle.migrate3(self._other, dict(parameters), flags)

    def _move_stopped(self, vm: Vm, files: _Files, copied: Mapping[str, str]) -> None:
        """The files through this controller, then the definition; nothing of the VM is changed here before all is there."""
        made = []
        try:
            for path in (*copied.values(), *([files.nvram] if files.nvram else [])):
                volume = self._copy_volume(path)
                if volume is not None:
                    made.append(volume)
            flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
            self._other.defineXMLFlags(vm.handle.XMLDesc(flags), 0)
        except Exception:
            for volume in made:
                _delete_quietly(volume)
            raise

    def _copy_volume(self, path: str) -> t.Any:
        """Copies a file to the same path on the other host; None if there is none here, or both hosts share it."""
        source = storage.find_volume(self._host.connection, path)
        if source is None and posixpath.basename(path).endswith(".fd"):
            return None  # never started: libvirt makes its UEFI variables there
        if source is None:
            raise MachineError(f"its disk {path} is in no storage pool: make one for its folder on {self._host.endpoint}")
        folder, name = posixpath.split(path)
        if self._is_shared(folder):
            return None
        volume = storage.read_volume(source)
        pool = storage.folder_pool(self._other, folder)
        storage.refresh(pool)
        if name in pool.listVolumes():
            raise MachineError(f"{path} is there already on {self._uri}: delete it there if nothing uses it")
        if volume.base is None:
            return _transfer((self._host.connection, source), (self._other, pool), name, volume)
        # The base is not on the other host: the copy holds what is in both.
        whole_name = f".{name}.{secrets.token_hex(4)}.new"
        here = storage.find_pool(self._host.connection, folder)
        whole = here.createXMLFrom(storage.volume_xml(whole_name, volume.form, volume.capacity, like=volume), source, 0)
        try:
            return _transfer((self._host.connection, whole), (self._other, pool), name, storage.read_volume(whole))
        finally:
            _delete_quietly(whole)

    def _leave_nothing(self, vm: Vm, files: _Files, copied: Mapping[str, str], drive: bool) -> tuple[str, ...]:
        """Deletes at the source what has gone over; the definition of a VM that ran is gone already."""
        try:
            vm.handle.undefineFlags(
                libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
                | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
                | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            )
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
        paths = list(copied.values())
        nvram = files.nvram
        if nvram is not None and storage.find_volume(self._host.connection, nvram) is not None:
            paths += [] if self._is_shared(posixpath.dirname(nvram)) else [nvram]
        for path in paths:
            volume = storage.find_volume(self._host.connection, path)
            if volume is not None:
                volume.delete(0)
        return self._drives.discard(vm) if drive else ()


class _Moved(MachineError):
    """The VM has gone over, and something is left at the source."""


def _files(element: ET.Element) -> _Files:
    disks = {}
    for disk in clone_xml.own_disks(element):
        if disk.path is None:
            raise MachineError(f"its disk {disk.target} is a volume of a pool by name: only disks with a path can be moved")
        disks[disk.target] = disk.path
    return _Files(disks, clone_xml.nvram_path(element))


def _transfer(source: tuple[t.Any, t.Any], target: tuple[t.Any, t.Any], name: str, volume: storage.Volume) -> t.Any:
    """Makes the volume in the target's pool with the bytes of the source's; each a connection and what is on it."""
    (here, old), (there, pool) = source, target
    # The container's bytes: a qcow2 file is made anew by them, so that its own size does not matter.
    xml = storage.volume_xml(name, "raw" if volume.form == "raw" else volume.form, volume.capacity, like=None)
    new = pool.createXML(xml, 0)
    try:
        download = here.newStream(0)
        upload = there.newStream(0)
        old.download(download, 0, 0, 0)
        new.upload(upload, 0, 0, 0)
        while True:
            data = download.recv(1 << 18)
            if not data:
                break
            upload.send(data)
        download.finish()
        upload.finish()
    except Exception:
        _delete_quietly(new)
        raise
    return new


def _delete_quietly(volume: t.Any) -> None:
    try:
        volume.delete(0)
    except libvirt.libvirtError:
        pass  # the error under way matters more
