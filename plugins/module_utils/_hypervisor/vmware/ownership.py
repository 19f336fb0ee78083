# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Which VMs must not be deleted, because of their disks: decided on the disks of all VMs, without pyVmomi or network."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.devices import split_location
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import VIM, kind_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import first_of

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from xml.etree.ElementTree import Element


@dataclasses.dataclass(frozen=True)
class DiskFiles:
    """One disk of a VM. chain: its file, then the files it is based on. first_class: an object of its own (FCD)."""

    label: str
    chain: tuple[str, ...]
    first_class: bool = False


@dataclasses.dataclass(frozen=True)
class Owner:
    """A VM with its disks. home: the folder of its configuration, "[datastore] folder"."""

    reference: str
    name: str
    home: str
    disks: tuple[DiskFiles, ...]


def folder_of(file: str) -> str:
    """The folder of "[datastore] folder/file"."""
    split = split_location(file)
    if split is None:
        return ""
    datastore, path = split
    return f"[{datastore}] {path.rpartition('/')[0]}"


def disks_of(devices: Iterable[Element]) -> tuple[DiskFiles, ...]:
    """The disks in config.hardware.device that have files."""
    found = []
    for device in devices:
        if kind_of(device) != "VirtualDisk":
            continue
        chain = []
        backing = device.find(VIM + "backing")
        while backing is not None:
            file = backing.findtext(VIM + "fileName")
            if file:
                chain.append(file)
            backing = backing.find(VIM + "parent")
        label = device.findtext(f"{VIM}deviceInfo/{VIM}label") or "a disk"
        found.append(DiskFiles(label, tuple(chain), device.find(VIM + "vDiskId") is not None))
    return tuple(found)


class Owners:
    """All VMs that can be seen, by what they have and need."""

    def __init__(self, vms: Iterable[Owner]) -> None:
        self._vms = {vm.reference: vm for vm in vms}
        self._having: dict[str, list[Owner]] = {}  # by file
        self._living: dict[str, list[Owner]] = {}  # by folder
        self._needing: dict[str, list[Owner]] = {}  # by file, and by the folder of a file
        for vm in self._vms.values():
            if vm.home:
                self._living.setdefault(vm.home, []).append(vm)
            for file in {disk.chain[0] for disk in vm.disks if disk.chain}:
                self._having.setdefault(file, []).append(vm)
            bases = {file for disk in vm.disks for file in disk.chain[1:]}
            for needed in bases | {folder_of(file) for file in bases} - {""}:
                self._needing.setdefault(needed, []).append(vm)

    def problem_of(self, reference: str) -> str | None:
        """Why a VM must not be deleted with its disks; None if nothing speaks against it, or nobody can see it.

        vSphere deletes the files of all disks that the VM has, whoever else uses them.
        """
        vm = self._vms.get(reference)
        if vm is None:
            return None
        for disk in vm.disks:
            if disk.first_class:
                return f"{vm.name}: {disk.label} is a disk of its own (a first-class disk): detach it first, or it is deleted too"
            if not disk.chain:
                continue
            file = disk.chain[0]
            what = f"{vm.name}: {disk.label} ({file})"
            for other in _others(vm, self._having.get(file)):
                return f"{what} is also a disk of {other.name}: detach it first"
            for other in _others(vm, self._living.get(folder_of(file))):
                return f"{what} lies in the folder of {other.name}: detach it first"
            for other in _others(vm, self._needing.get(file)):
                return f"{vm.name}: {other.name} is a linked clone of it and needs {file}: delete that one first"
        # A clone of one of its snapshots is based on files in its folder that are not among its own disks.
        clones = sorted(other.name for other in _others(vm, self._needing.get(vm.home)))
        if clones:
            return f"{vm.name}: {first_of(clones)} are linked clones of it and need its disks: delete those first"
        return None


def _others(vm: Owner, found: Sequence[Owner] | None) -> list[Owner]:
    return [one for one in found or () if one is not vm]
