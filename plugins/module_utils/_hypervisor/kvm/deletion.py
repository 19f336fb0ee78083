# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Deleting VMs with what is theirs, and nothing else."""

from __future__ import annotations

import dataclasses
import posixpath
import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError, MachineError, Outcome
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import backing, clone_xml, storage
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import domain as kvm_domain
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import host as kvm_host
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import first_of

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.drives import KvmDrives
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.host import Host, Seen

_NO_SUCH_FLAG = "unsupported flags"


@dataclasses.dataclass(frozen=True)
class _Belongings:
    """What goes with a VM. paths: of its disks, overlays before their bases. keep_nvram: another VM names the same file."""

    paths: tuple[str, ...]
    keep_nvram: bool = False


class Deletion:
    """One run of delete_problems() or delete(): reads once who uses what."""

    def __init__(self, host: Host, drives: KvmDrives) -> None:
        self._host = host
        self._drives = drives
        self._domains: dict[str, Seen] = {}
        self._isos: Sequence[str] = ()
        self._usage = backing.Usage({}, frozenset(), {}, {})

    def look(self) -> None:
        """Reads all domains, and who needs which file."""
        self._domains = kvm_host.read_domains(self._host, live=True)
        self._usage = backing.look(self._host, self._domains)

    def problems(self, vms: Sequence[Vm]) -> dict[str, str]:
        """See api.Machines.delete_problems."""
        found = {}
        for vm in vms:
            try:
                self._belongings(vm)
            except MachineError as error:
                found[vm.id] = f"{vm.name}: {error}"
        return found

    def run(self, vms: Sequence[Vm]) -> Iterator[Outcome]:
        """See api.Machines.delete."""
        todo = []
        for vm in vms:
            if vm.id not in self._domains:
                yield Outcome(vm.name, vm.id)
                continue
            try:
                if self._domains[vm.id].active:
                    raise MachineError("it runs: stop it first")
                todo.append((vm, self._belongings(vm)))
            except MachineError as error:
                yield Outcome(vm.name, vm.id, False, f"{vm.name}: {error}")
        self._isos = self._drives.files() if todo else ()
        folders = set()
        for (vm, belongings), warnings, trouble in self._host.links.each(self._delete, todo):
            folders |= {posixpath.dirname(path) for path in belongings.paths}
            if trouble is None:
                yield Outcome(vm.name, vm.id, True, warnings=warnings or ())
            else:
                yield Outcome(vm.name, vm.id, True, self._host.explain(vm.name, "it could not be deleted", trouble))
        self._remove_own_pools({*folders, posixpath.normpath(self._host.image_dir)} if todo else set())

    # Looking --------------------------------------------------------------------------------------------------------------

    def _belongings(self, vm: Vm) -> _Belongings:
        """What goes with the VM; raises MachineError where something is in the way."""
        seen = self._domains.get(vm.id)
        if seen is None:
            return _Belongings(())
        mark = kvm_domain.mark(seen.element)
        paths: list[str] = []
        for disk in clone_xml.own_disks(seen.element):
            path = self._path(disk)
            chain = [path] if mark is None else self._own_chain(path, mark)
            for one in chain:
                self._check(seen, one, chain, foreign=mark is not None and chain[-1] not in mark.disks)
            paths += chain
        nvram = clone_xml.nvram_path(seen.element)
        shared = nvram is not None and any(
            clone_xml.nvram_path(other.element) == nvram for other in self._domains.values() if other.id != seen.id
        )
        return _Belongings(tuple(paths), shared)

    def _path(self, disk: clone_xml.Disk) -> str:
        if disk.path is not None:
            return disk.path
        if disk.pool is None or disk.volume is None:
            raise MachineError(f"its disk {disk.target} is neither a file nor a volume of a pool: detach it first")
        pool = self._host.connection.storagePoolLookupByName(disk.pool)
        return str(pool.storageVolLookupByName(disk.volume).path())

    def _own_chain(self, path: str, mark: kvm_domain.Mark) -> list[str]:
        """The disk and, under external snapshots of it, its base, down to what was made with the VM or is the template's."""
        chain = [path]
        bases = {posixpath.normpath(base) for base in mark.bases}
        while chain[-1] not in mark.disks:
            volume = self._usage.volumes.get(chain[-1])
            base = None if volume is None else volume.base
            if base is None or base in bases or base in chain:
                break
            chain.append(base)
        return chain

    def _check(self, seen: Seen, path: str, chain: Sequence[str], foreign: bool) -> None:
        if foreign:
            raise MachineError(f"its disk {path} was not made with it: detach it from the VM first, since it would be deleted")
        users = self._usage.users(path) - {seen.name}
        if users:
            raise MachineError(f"its disk {path} is used by {', '.join(sorted(users))} as well: detach it from one of them first")
        clones = self._usage.overlays(path) - {seen.name, *map(posixpath.normpath, chain)}
        if clones:
            raise MachineError(
                f"its disk {path} is the base of the disks of {first_of(sorted(clones))}: delete those first, or keep this VM"
            )
        # A file that is not in the folder of a pool that was just looked into is gone already.
        if path not in self._usage.volumes and posixpath.dirname(posixpath.normpath(path)) not in self._usage.folders:
            raise MachineError(
                f"its disk {path} is in no active storage pool, so it cannot be deleted: make a pool for its folder, or start it, or "
                "detach the disk"
            )

    # Deleting -------------------------------------------------------------------------------------------------------------

    def _delete(self, connection: t.Any, job: tuple[Vm, _Belongings]) -> tuple[str, ...]:
        """The drive first, for its secrets; the definition last: it tells a later run what there was."""
        vm, belongings = job
        domain = vm.handle if connection is self._host.connection else connection.lookupByUUIDString(vm.id)
        warnings = self._drives.discard(vm, self._isos)
        for path in belongings.paths:
            if path in self._usage.volumes:
                storage.delete_volume(connection.storageVolLookupByPath, path)
        _undefine(domain, belongings.keep_nvram)
        return warnings

    def _remove_own_pools(self, folders: set[str]) -> None:
        """Pools that we made for a folder go with the last VM that has something in it."""
        for folder in folders:
            try:
                self._remove_own_pool(folder)
            except libvirt.libvirtError:
                pass  # another task uses it; it is gone with the next restart of libvirtd in any case

    def _remove_own_pool(self, folder: str) -> None:
        names = {pool.name(): pool for pool in self._host.connection.listAllStoragePools(0)}
        pool = names.get(storage.own_pool_name(folder))
        if pool is None or pool.isPersistent():
            return
        for seen in kvm_host.read_domains(self._host).values():
            mark = kvm_domain.mark(seen.element)
            paths = seen.disk_paths() | set(() if mark is None else mark.disks)
            if mark is not None and any(posixpath.dirname(path) == folder for path in paths):
                return
        pool.destroy()


def remains(host: Host, drives: KvmDrives, names: Sequence[str], delete: bool) -> Iterator[Outcome]:
    """See api.Machines.remains. The drive carries our mark; a disk has none, so that it is only named."""
    domains = kvm_host.read_domains(host) if names else {}
    known = {seen.name: seen.id for seen in domains.values()}
    used = {path for seen in domains.values() for path in seen.disk_paths()}
    pool = storage.find_pool(host.connection, host.image_dir)
    if pool is None or not names:
        return
    storage.refresh(pool)
    files = pool.listVolumes()
    for name in names:
        if name in known:
            continue
        try:
            drive = drives.delete_orphan(name, known.values(), delete)
        except (HypervisorError, libvirt.libvirtError) as error:
            yield Outcome(name, error=host.explain(name, "its config drive could not be deleted", error))
            continue
        disk = re.compile(re.escape(name) + r"(-[a-z]d[a-z]+)?\.(qcow2|img)")
        paths = [posixpath.join(posixpath.normpath(host.image_dir), file) for file in files if disk.fullmatch(file)]
        left = sorted(set(paths) - used)
        warnings = []
        if left:
            warnings.append(
                f"{name}: there is no such VM on {host.endpoint}, but {', '.join(left)} is there: if it was the VM's disk, delete it "
                "on the KVM host"
            )
        if drive is not None or left:
            yield Outcome(name, changed=drive is not None, warnings=tuple(warnings))


def _undefine(domain: t.Any, keep_nvram: bool) -> None:
    flags = (
        libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | (libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM if keep_nvram else libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
    )
    try:
        domain.undefineFlags(flags | getattr(libvirt, "VIR_DOMAIN_UNDEFINE_TPM", 0))
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return
        # libvirt before 8.9 has no flag for the TPM's state, and removes that by itself.
        if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG or _NO_SUCH_FLAG not in (error.get_error_message() or ""):
            raise
        domain.undefineFlags(flags)
