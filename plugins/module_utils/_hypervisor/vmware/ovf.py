# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The OVF descriptor of a VM with one disk and one NIC (DMTF DSP0243), and the devices that are added to it."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.pyvmomi_import import vim

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.images import ImageWanted

#: What the NIC's network is called in the descriptor.
NETWORK = "network"
_FILE = "disk.vmdk"
# The hardware version of ESXi 6.5: all guests have drivers for it.
_HARDWARE, _GUEST = "vmx-13", "other3xLinux64Guest"
_STREAM = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
_CIM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_"
_SPACES = {
    "ovf": "http://schemas.dmtf.org/ovf/envelope/1",
    "rasd": f"{_CIM}ResourceAllocationSettingData",
    "vssd": f"{_CIM}VirtualSystemSettingData",
    "vmw": "http://www.vmware.com/schema/ovf",
}
# Resource types of CIM.
_CPU, _MEMORY, _SCSI, _NIC, _DISK = "3", "4", "6", "10", "17"
_CONTROLLERS = {"sata": "VirtualAHCIController", "ide": "VirtualIDEController"}
# Below all keys that vCenter gives the descriptor's own devices.
_FIRST_KEY = -20000


def descriptor(name: str, wanted: ImageWanted) -> str:
    """The descriptor of the VM, as XML. name: the VM's, as vSphere has it."""
    for prefix, space in _SPACES.items():
        ET.register_namespace(prefix, space)
    envelope = ET.Element(_tag("ovf:Envelope"))
    references = _add(envelope, "ovf:References")
    _add(references, "ovf:File", {"ovf:href": _FILE, "ovf:id": "file1", "ovf:size": str(wanted.image.length)})
    disks = _section(envelope, "ovf:DiskSection", "The disk")
    of_disk = {"ovf:capacity": str(wanted.image.size), "ovf:capacityAllocationUnits": "byte", "ovf:format": _STREAM}
    _add(disks, "ovf:Disk", {"ovf:diskId": "disk1", "ovf:fileRef": "file1", **of_disk})
    networks = _section(envelope, "ovf:NetworkSection", "The network")
    _add(_add(networks, "ovf:Network", {"ovf:name": NETWORK}), "ovf:Description", text="The NIC's")
    system = _section(envelope, "ovf:VirtualSystem", "A virtual machine", {"ovf:id": "vm"})
    _add(system, "ovf:Name", text=name)
    _section(system, "ovf:OperatingSystemSection", "The kind of guest", {"ovf:id": "101", "vmw:osType": _GUEST})
    hardware = _section(system, "ovf:VirtualHardwareSection", "The devices")
    about = {"ElementName": "Virtual Hardware Family", "InstanceID": "0", "VirtualSystemType": _HARDWARE}
    family = _add(hardware, "ovf:System")
    for tag, text in about.items():
        _add(family, f"vssd:{tag}", text=text)
    _item(hardware, _CPU, "CPUs", VirtualQuantity=str(wanted.cpus))
    _item(hardware, _MEMORY, "Memory", AllocationUnits="byte * 2^20", VirtualQuantity=str(wanted.memory))
    _item(hardware, _SCSI, "SCSI controller", Address="0", ResourceSubType="VirtualSCSI")
    _item(hardware, _DISK, "Disk", AddressOnParent="0", HostResource="ovf:/disk/disk1", Parent=_SCSI)
    _item(hardware, _NIC, "NIC", AutomaticAllocation="true", Connection=NETWORK, ResourceSubType="VmxNet3")
    return ET.tostring(envelope, encoding="unicode")


def drives(bus: str) -> list[t.Any]:
    """Device changes that add a controller with two empty CD/DVD drives to a VM to be created."""
    devices = vim.vm.device
    controller = getattr(devices, _CONTROLLERS[bus])(key=_FIRST_KEY, busNumber=0)
    made = [controller]
    for unit in (0, 1):
        backing = devices.VirtualCdrom.RemotePassthroughBackingInfo(deviceName="", exclusive=False)
        connectable = devices.VirtualDevice.ConnectInfo(connected=False, startConnected=False, allowGuestControl=True)
        made.append(
            devices.VirtualCdrom(
                key=_FIRST_KEY - 1 - unit, controllerKey=_FIRST_KEY, unitNumber=unit, backing=backing, connectable=connectable
            )
        )
    return [devices.VirtualDeviceSpec(operation="add", device=device) for device in made]


def _item(parent: ET.Element, kind: str, name: str, **more: str) -> None:
    """Adds one device. There is one of each kind, so the kind is its number. The standard wants the parts sorted by name."""
    item = _add(parent, "ovf:Item")
    for tag, text in sorted({"ElementName": name, "InstanceID": kind, "ResourceType": kind, **more}.items()):
        _add(item, f"rasd:{tag}", text=text)


def _section(parent: ET.Element, tag: str, info: str, attributes: t.Mapping[str, str] | None = None) -> ET.Element:
    section = _add(parent, tag, attributes or {})
    _add(section, "ovf:Info", text=info)
    return section


def _add(parent: ET.Element, tag: str, attributes: t.Mapping[str, str] | None = None, text: str | None = None) -> ET.Element:
    element = ET.SubElement(parent, _tag(tag), {_tag(name): value for name, value in (attributes or {}).items()})
    element.text = text
    return element


def _tag(name: str) -> str:
    prefix, _colon, local = name.partition(":")
    return f"{{{_SPACES[prefix]}}}{local}"
