# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Specifications for the API, built without calling it: of a clone, and of changes of a VM's network cards."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware import devices as devices_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.cd_specs import added_drives
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.pyvmomi_import import vim

if t.TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import NicWanted, VmWanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.places import Places, Target

# The setting that marks a VM as ours. Its value is the VM's instance UUID, so a clone of the VM, which inherits the setting, does
# not count as ours.
MARK = "vmops.external_dhcp.made"
MARK_PROPERTY = f'config.extraConfig["{MARK}"]'


@dataclasses.dataclass(frozen=True)
class Template:
    """A template or VM to clone. devices: pyVmomi's; parsed: the same, as devices.parse() gives them."""

    name: str
    reference: str
    devices: Sequence[t.Any]
    parsed: devices_of.Devices
    snapshot: t.Any = None

    @property
    def disk_size(self) -> int:
        """Bytes of its first disk; 0 without one."""
        disk = self.first_disk
        return 0 if disk is None else (disk.capacityInBytes or disk.capacityInKB * 1024)

    @property
    def first_disk(self) -> t.Any:
        """The disk with the lowest key."""
        disks = [d for d in self.devices if isinstance(d, vim.vm.device.VirtualDisk)]
        return min(disks, key=lambda d: d.key, default=None)


def clone_spec(template: Template, wanted: VmWanted, target: Target, places: Places, uuid: str) -> t.Any:
    """The specification of a clone, which is created powered off.

    It asks for no guest customization, which would leave the network cards disconnected until the guest has done it.
    """
    edits, others = card_changes(template.devices, wanted.nics, target, places)
    others += _cd_changes(template)
    grow = wanted.disk_size is not None and wanted.disk_size > template.disk_size
    if grow:
        others.append(_grown(template.first_disk, t.cast("int", wanted.disk_size)))
    # A disk with a parent cannot grow, and only a snapshot may get a child.
    linked = not wanted.full_clone and not grow and template.snapshot is not None
    location = vim.vm.RelocateSpec(
        folder=vim.Folder(target.folder),
        pool=vim.ResourcePool(target.pool),
        host=vim.HostSystem(target.host) if target.host else None,
        datastore=vim.Datastore(target.datastore) if target.datastore else None,
        diskMoveType="createNewChildDiskBacking" if linked else "moveAllDiskBackingsAndConsolidate",
        deviceChange=edits,
    )
    config = vim.vm.ConfigSpec(
        instanceUuid=uuid,
        memoryMB=wanted.memory,
        numCPUs=wanted.cpus,
        deviceChange=others,
        extraConfig=[vim.option.OptionValue(key=MARK, value=uuid)],
    )
    return vim.vm.CloneSpec(
        location=location, config=config, powerOn=False, template=False, snapshot=template.snapshot if linked else None
    )


def whole(device: t.Any) -> t.Any:
    """A copy of a device, to be changed and sent whole: a host takes a missing part for a change."""
    copy = type(device)()
    for one in device._GetPropertyList():
        setattr(copy, one.name, getattr(device, one.name))
    return copy


def card_changes(
    devices: Sequence[t.Any], nics: Sequence[NicWanted] | None, target: Target, places: Places
) -> tuple[list[t.Any], list[t.Any]]:
    """The changes that give a VM these network cards: first edits, then additions and removals.

    nics: None keeps all cards, and gives those with a fixed MAC a new one. A card whose network and MAC fit is not changed.
    """
    cards = sorted((d for d in devices if isinstance(d, vim.vm.device.VirtualEthernetCard)), key=lambda d: d.key)
    edits, others = [], []
    if nics is None:
        fixed = [whole(card) for card in cards if card.addressType == "manual"]
        return [_spec("edit", _mac(card, None)) for card in fixed], []
    for number, nic in enumerate(nics):
        if number < len(cards):
            card = whole(cards[number])
            backing = _network_backing(nic.network, target, places)
            if not _fits(cards[number], backing, nic.mac):
                card.backing = backing
                card.connectable = _connected()
                edits.append(_spec("edit", _mac(card, nic.mac)))
        else:
            kind = type(cards[0]) if cards else vim.vm.device.VirtualVmxnet3
            card = kind(key=-100 - number, backing=_network_backing(nic.network, target, places), connectable=_connected())
            others.append(_spec("add", _mac(card, nic.mac)))
    return edits, others + [_spec("remove", card) for card in cards[len(nics) :]]


def _fits(card: t.Any, backing: t.Any, mac: str | None) -> bool:
    """Whether a card is on this network already, has the MAC asked for and is connected at power on."""
    if type(card.backing) is not type(backing) or not (card.connectable is None or card.connectable.startConnected):
        return False
    if mac is None:
        if card.addressType == "manual":
            return False
    elif (card.macAddress or "").lower() != mac.lower():
        return False
    if isinstance(backing, vim.vm.device.VirtualEthernetCard.DistributedVirtualPortBackingInfo):
        return card.backing.port.portgroupKey == backing.port.portgroupKey
    if isinstance(backing, vim.vm.device.VirtualEthernetCard.OpaqueNetworkBackingInfo):
        return card.backing.opaqueNetworkId == backing.opaqueNetworkId
    return card.backing.deviceName == backing.deviceName


def _network_backing(name: str, target: Target, places: Places) -> t.Any:
    card = vim.vm.device.VirtualEthernetCard
    network = places.network(name, target)
    if network.kind == "DistributedVirtualPortgroup":
        port = vim.dvs.PortConnection(portgroupKey=network.text("key"), switchUuid=places.switch_uuid(network))
        return card.DistributedVirtualPortBackingInfo(port=port)
    if network.kind == "OpaqueNetwork":
        number, kind = places.opaque(network)
        return card.OpaqueNetworkBackingInfo(opaqueNetworkId=number, opaqueNetworkType=kind)
    return card.NetworkBackingInfo(deviceName=network.text("name"), network=vim.Network(network.name))


def _mac(card: t.Any, mac: str | None) -> t.Any:
    card.addressType = "manual" if mac else "assigned"
    card.macAddress = mac
    return card


def _connected() -> t.Any:
    return vim.vm.device.VirtualDevice.ConnectInfo(startConnected=True, connected=True, allowGuestControl=True)


def _cd_changes(template: Template) -> list[t.Any]:
    """Empties the CD/DVD drives that hold an ISO, and adds the slot of the config drive if the template has none."""
    changes = []
    for device in template.devices:
        if isinstance(device, vim.vm.device.VirtualCdrom) and isinstance(
            device.backing, vim.vm.device.VirtualCdrom.IsoBackingInfo
        ):
            drive = whole(device)
            drive.backing = vim.vm.device.VirtualCdrom.RemotePassthroughBackingInfo(deviceName="", exclusive=False)
            drive.connectable = vim.vm.device.VirtualDevice.ConnectInfo(
                connected=False, startConnected=False, allowGuestControl=True
            )
            changes.append(_spec("edit", drive))
    emptied = tuple(dataclasses.replace(drive, iso=None, connected=False) for drive in template.parsed.drives)
    slot = devices_of.choose(dataclasses.replace(template.parsed, drives=emptied), (), running=False)
    return changes + (added_drives(slot, None, False) if slot.drive is None and slot.problem is None else [])


def _grown(disk: t.Any, size: int) -> t.Any:
    new = whole(disk)
    new.capacityInKB = -(-size // 1024)
    new.capacityInBytes = new.capacityInKB * 1024
    return _spec("edit", new)


def _spec(operation: str, device: t.Any) -> t.Any:
    return vim.vm.device.VirtualDeviceSpec(operation=operation, device=device)
