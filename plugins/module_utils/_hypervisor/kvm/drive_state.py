# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A KVM VM and its config drive at one moment, and what that means."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import drive_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveState, Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.domain import Cdrom


@dataclasses.dataclass(frozen=True)
class Plan:
    """What there is, and what putting or removing the drive would mean for one VM.

    whole: whether the file is there with all its bytes. add: the drive must be added to the definition first.
    unread: whether the running guest is noted as not having read its drive. was_ejected: whether the definition says that one was
    taken out.
    eject: files that must not stay in any drive: those of other VMs, which a clone of a VM has inherited.
    """

    state: DriveState
    file: str
    whole: bool
    drive: Cdrom | None
    add: bool
    eject: tuple[str, ...]
    unread: bool = False
    was_ejected: bool = False


@dataclasses.dataclass(frozen=True)
class Content:
    """What there is of a VM's ISO. whole: the file is complete; otherwise the bytes may be those of a staged file."""

    data: bytes | None
    owner: str | None
    whole: bool


def passing() -> tuple[int, ...]:
    """Codes of errors that may be gone at the next try.

    Another task handles the same file: it is gone, there already, or in use (libvirt has several codes for each). Or the
    guest closed the tray again that was opened for the new medium, as firmware does that looks for something to boot.
    """
    return (
        libvirt.VIR_ERR_NO_STORAGE_VOL,
        libvirt.VIR_ERR_STORAGE_VOL_EXIST,
        libvirt.VIR_ERR_OPERATION_INVALID,
        libvirt.VIR_ERR_INTERNAL_ERROR,
        libvirt.VIR_ERR_SYSTEM_ERROR,
    )


def problem_of(vm: Vm, location: str, content: Content, drive: Cdrom | None) -> str | None:
    if content.data is not None and content.owner != vm.id:
        return drive_rules.foreign(location, content.owner)
    if drive is None:
        return drive_rules.no_slot("eject the medium of one, or free a place on that bus")
    return None
