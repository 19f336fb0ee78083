# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Specifications for the API that change or add CD/DVD drives."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.pyvmomi_import import vim

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.devices import CdDrive, Slot


def edited_drive(drive: CdDrive, file: str | None, connected: bool = False, start: bool = False) -> t.Any:
    """A drive with another medium, or with none. It is sent whole: a host takes a missing part for a change."""
    device = vim.vm.device.VirtualCdrom(
        key=drive.key,
        controllerKey=drive.controller,
        unitNumber=drive.unit,
        deviceInfo=vim.Description(label=drive.label, summary=drive.summary),
        backing=_backing(file),
        connectable=vim.vm.device.VirtualDevice.ConnectInfo(
            connected=connected, startConnected=start, allowGuestControl=drive.guest_control
        ),
    )
    return vim.vm.device.VirtualDeviceSpec(operation="edit", device=device)


def added_drives(slot: Slot, file: str | None, running: bool) -> list[t.Any]:
    """The drives to add for a slot; the last holds the file, one before it is for other media."""
    changes = []
    if slot.sata_bus is not None:
        controller = vim.vm.device.VirtualAHCIController(key=-1, busNumber=slot.sata_bus)
        changes.append(vim.vm.device.VirtualDeviceSpec(operation="add", device=controller))
    for number, new in enumerate(slot.new, 1):
        full = number == len(slot.new) and file is not None
        device = vim.vm.device.VirtualCdrom(
            key=-10 - number,
            controllerKey=new.controller,
            unitNumber=new.unit,
            backing=_backing(file if full else None),
            connectable=vim.vm.device.VirtualDevice.ConnectInfo(
                connected=full and running, startConnected=full, allowGuestControl=True
            ),
        )
        changes.append(vim.vm.device.VirtualDeviceSpec(operation="add", device=device))
    return changes


def _backing(file: str | None) -> t.Any:
    if file is None:
        return vim.vm.device.VirtualCdrom.RemotePassthroughBackingInfo(deviceName="", exclusive=False)
    return vim.vm.device.VirtualCdrom.IsoBackingInfo(fileName=file)
