# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What must not be deleted with a VM: decisions on the disks of all VMs, without pyVmomi or network."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.devices import split_location
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import VIM, kind_of

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from xml.etree.ElementTree import Element


@dataclasses.dataclass(frozen=True)
class DiskFiles:
    """One disk of a VM. chain: its file, then the files it is based on. first_class: managed apart from the VM."""

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


def problem_of(vm: Owner, everybody: Sequence[Owner]) -> str | None:
    """Why a VM must not be deleted with its disks; None if nothing speaks against it.

    Deleting a VM deletes the files of all disks that it has, whoever they belong to.
    """
    others = [one for one in everybody if one.reference != vm.reference]
    for disk in vm.disks:
        if disk.first_class:
            return f"{vm.name}: {disk.label} is a disk of its own (a first-class disk): detach it first, or it is deleted too"
        if not disk.chain:
            continue
        file = disk.chain[0]
        for other in others:
            if any(file == theirs.chain[0] for theirs in other.disks if theirs.chain):
                return f"{vm.name}: {disk.label} ({file}) is also a disk of {other.name}: detach it first"
            if other.home and folder_of(file) == other.home:
                return f"{vm.name}: {disk.label} ({file}) lies in the folder of {other.name}: detach it first"
            if any(file in theirs.chain[1:] for theirs in other.disks):
                return f"{vm.name}: {other.name} is a linked clone of it and needs {file}: delete that one first"
    # A snapshot's disks are based on files in the VM's own folder, which go with it.
    if vm.home:
        clones = sorted(
            other.name for other in others if any(folder_of(file) == vm.home for disk in other.disks for file in disk.chain[1:])
        )
        if clones:
            return f"{vm.name}: {', '.join(clones[:5])} are linked clones of it and need its disks: delete those first"
    return None
