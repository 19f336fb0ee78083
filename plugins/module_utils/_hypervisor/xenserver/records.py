# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The records of which XAPI makes drives and disks, whose every field it wants to be given."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import NULL

if t.TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import Record


def cd_drive(vm: str, slot: int, medium: str = NULL, other_config: Mapping[str, str] | None = None) -> Record:
    """For VBD.create: a CD drive, empty or with a medium."""
    return {
        "VM": vm,
        "VDI": medium,
        "userdevice": str(slot),
        "bootable": False,
        "mode": "RO",
        "type": "CD",
        "unpluggable": True,
        "empty": medium == NULL,
        "other_config": dict(other_config or {}),
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
    }


def boot_disk(vm: str, disk: str) -> Record:
    """For VBD.create: the disk that the VM boots from, which is deleted with the VM."""
    return {**cd_drive(vm, 0, disk, {"owner": ""}), "bootable": True, "mode": "RW", "type": "Disk"}


def vdi(name: str, sr: str, size: int, **more: t.Any) -> Record:
    """For VDI.create. size: bytes; more: other fields, or other values for them."""
    return {
        "name_label": name,
        "name_description": "",
        "SR": sr,
        "virtual_size": str(size),
        "type": "user",
        "sharable": False,
        "read_only": False,
        "xenstore_data": {},
        "sm_config": {},
        "tags": [],
        **more,
    }
