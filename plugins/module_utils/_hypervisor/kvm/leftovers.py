# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The files of config drives whose VM goes or is gone: they hold secrets, and nobody would look for them any more."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.image import HEAD_SIZE, read_owner
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import drive_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt

if t.TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.iso_folder import IsoFolder

_UNSAFE_NAME = re.compile(r"[/\\]")  # what does not print has become an escape with a backslash


def file_name(name: str) -> str:
    """The name of the drive's file. Raises DriveError if the VM's cannot be one."""
    if _UNSAFE_NAME.search(name) or name.startswith("."):
        raise DriveError(f"the VM name {name!r} cannot be a file name: rename the VM")
    return f"{name}.iso"


def staged(file: str, listed: Sequence[str]) -> list[str]:
    """Those of the listed files that are staged for this one."""
    pattern = re.compile(re.escape(file) + r"\.[0-9a-f]{8}\.new")
    return [name for name in listed if pattern.fullmatch(name)]


def orphan(folder: IsoFolder, name: str, known: Collection[str], delete: bool) -> str | None:
    """Deletes the ISO of a VM of this name that is no more; its path, or None if there is none of ours.

    known: ids of the VMs there are; a drive of one of these is not touched. delete: False only looks.
    """
    try:
        file = file_name(name)
    except DriveError:
        return None  # it cannot have had one
    owner = _owner(folder, file)
    if owner is None or owner in known:
        return None
    if delete:
        for one in (file, *staged(file, folder.names())):
            folder.delete(one)
    return folder.path(file)


def of_a_going_vm(folder: IsoFolder, vm: Vm, listed: Sequence[str]) -> tuple[str, ...]:
    """Deletes the ISO, and staged files, of a VM that is off and about to go; what was left, being another's, as warnings."""
    try:
        file = file_name(vm.name)
    except DriveError:
        return ()  # it cannot have one
    warnings = []
    for name in (*(name for name in listed if name == file), *staged(file, listed)):
        head = folder.head(name, HEAD_SIZE)
        owner = None if head is None else read_owner(head)
        if head is not None and (owner == vm.id or name != file):
            folder.delete(name)
        elif head is not None:
            warnings.append(f"{vm.name}: {drive_rules.foreign(folder.path(name), owner)}: it was left")
    return tuple(warnings)


def of_a_vanished_vm(connection: t.Any, folder: IsoFolder, vm: Vm) -> str | None:
    """Deletes the ISO, and staged files, of a VM that is no more; a sentence that says so. None if the VM is there after all.

    Files of another VM that has the name now are not touched.
    """
    try:
        connection.lookupByUUIDString(vm.id)
        return None
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            return None
    left = []
    file = file_name(vm.name)
    try:
        listed = folder.names()
    except libvirt.libvirtError:
        listed = []
    for name in (file, *staged(file, listed)):
        try:
            if _owner(folder, name) == vm.id:
                folder.delete(name)
        except libvirt.libvirtError as error:
            left.append(f"{folder.path(name)} ({error.get_error_message() or error})")
    if left:
        return f"the VM is gone meanwhile, and its config drive is left over, which may hold secrets: delete {', '.join(left)}"
    return "the VM is gone meanwhile; nothing of its config drive is left"


def _owner(folder: IsoFolder, file: str) -> str | None:
    head = folder.head(file, HEAD_SIZE)
    return None if head is None else read_owner(head)
