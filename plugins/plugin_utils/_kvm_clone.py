# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A clone's definition from its template's: domain XML and linked-clone volumes for community.libvirt."""

from __future__ import annotations

import posixpath
import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import domain as kvm_domain

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class CloneError(ValueError):
    """The template cannot be cloned this way; the message names it and the way out."""


def disks(xml: str) -> list[str]:
    """Paths of the writable, unshared disk files of a domain: what goes with it when it is destroyed."""
    found = []
    for disk in kvm_domain.parse(xml).findall("devices/disk"):
        source = disk.find("source")
        path = None if source is None else source.get("file")
        owned = disk.find("readonly") is None and disk.find("shareable") is None
        if disk.get("device", "disk") == "disk" and path and owned:
            found.append(path)
    return found


def clone(template_xml: str, name: str, nics: Sequence[Mapping[str, t.Any]], folder: str) -> dict[str, t.Any]:
    """Definition and disks of a VM made from a template domain.

    nics: of the plan; each becomes an interface on its network's bridge, of the model of the template's first one. With
    none, the template's NICs stay, with MACs of their own.
    folder: where the disks go, as overlays of the template's. Media of the template's CD/DVD drives are left out: nobody
    gets what was inserted there. A second, empty drive is added where the template has fewer, for the config drive.
    Returns xml, and volumes with name and xml. Raises CloneError.
    """
    domain = kvm_domain.parse(template_xml)
    template = domain.findtext("name") or "?"
    _set_text(domain, "name", name)
    for tag in ("uuid", "metadata", "title", "description"):
        for element in domain.findall(tag):
            domain.remove(element)
    for nvram in domain.findall("os/nvram"):
        nvram.text = None  # libvirt makes a new one from the template of the firmware
        nvram.attrib.pop("file", None)
    devices = domain.find("devices")
    if devices is None:
        raise CloneError(f"template {template} has no devices")
    volumes = _clone_disks(template, devices, name, folder)
    for drive in devices.findall("disk[@device='cdrom']"):
        for source in drive.findall("source"):
            drive.remove(source)
    _add_config_drive(domain, devices)
    _replace_nics(devices, nics)
    for path in ("channel/source", "serial/source", "console/source"):
        _drop_paths(devices, path)
    for log in (log for kind in ("serial", "console") for log in devices.findall(f"{kind}/log")):
        log.set("file", _own_file(log.get("file", ""), template, name))
    return {"xml": ET.tostring(domain, encoding="unicode"), "volumes": volumes}


def _clone_disks(template: str, devices: ET.Element, name: str, folder: str) -> list[dict[str, str]]:
    volumes = []
    for disk in devices.findall("disk"):
        if disk.get("device", "disk") != "disk" or disk.find("readonly") is not None or disk.find("shareable") is not None:
            continue
        source, target, driver = disk.find("source"), disk.find("target"), disk.find("driver")
        path = None if source is None else source.get("file")
        if source is None or target is None or not path:
            raise CloneError(f"template {template}: a disk is no file: make the VM another way, or keep the template on files")
        form = "raw" if driver is None else driver.get("type", "raw")
        file = f"{name}.qcow2" if not volumes else f"{name}-{target.get('dev')}.qcow2"
        source.attrib.clear()
        source.set("file", posixpath.join(folder, file))
        if driver is None:
            driver = ET.SubElement(disk, "driver", {"name": "qemu"})
        driver.set("type", "qcow2")
        for tag in ("backingStore", "serial"):
            for element in disk.findall(tag):
                disk.remove(element)
        volume = ET.Element("volume")
        ET.SubElement(volume, "name").text = file
        ET.SubElement(ET.SubElement(volume, "target"), "format", {"type": "qcow2"})
        backing = ET.SubElement(volume, "backingStore")
        ET.SubElement(backing, "path").text = path
        ET.SubElement(backing, "format", {"type": form})
        volumes.append({"name": file, "xml": ET.tostring(volume, encoding="unicode")})
    if not volumes:
        raise CloneError(f"template {template} has no disk to clone")
    return volumes


def _add_config_drive(domain: ET.Element, devices: ET.Element) -> None:
    while len(kvm_domain.cdroms(domain)) < 2:
        drive = kvm_domain.new_cdrom(domain)
        if drive is None:
            return
        devices.append(ET.fromstring(kvm_domain.cdrom_xml(drive, None)))


def _replace_nics(devices: ET.Element, nics: Sequence[Mapping[str, t.Any]]) -> None:
    present = devices.findall("interface")
    if not nics:
        for interface in present:
            for mac in interface.findall("mac"):
                interface.remove(mac)
        return
    model = present[0].find("model") if present else None
    rom = present[0].find("rom") if present else None
    for interface in present:
        devices.remove(interface)
    for nic in nics:
        interface = ET.SubElement(devices, "interface", {"type": "bridge"})
        if nic.get("mac"):
            ET.SubElement(interface, "mac", {"address": nic["mac"]})
        ET.SubElement(interface, "source", {"bridge": nic["network"]})
        interface.append(ET.Element("model", {"type": "virtio"}) if model is None else model)
        if rom is not None:
            interface.append(rom)


def _own_file(path: str, template: str, name: str) -> str:
    folder, file = posixpath.split(path)
    return posixpath.join(folder, file.replace(template, name) if template in file else f"{name}-{file}")


def _drop_paths(devices: ET.Element, path: str) -> None:
    """Sockets and files of the template's own; libvirt chooses new ones."""
    parent_path, tag = path.rsplit("/", 1)
    for parent in devices.findall(parent_path):
        for element in parent.findall(tag):
            parent.remove(element)


def _set_text(domain: ET.Element, tag: str, text: str) -> None:
    element = domain.find(tag)
    if element is None:
        element = ET.SubElement(domain, tag)
    element.text = text
