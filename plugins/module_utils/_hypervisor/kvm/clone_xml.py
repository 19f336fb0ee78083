# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A clone's definition from its template's. Pure."""

from __future__ import annotations

import copy
import dataclasses
import posixpath
import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import domain as kvm_domain
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import nics as kvm_nics

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import VmWanted

# What only one VM can have, or what would show one VM's files to another.
_SINGLE = {
    "hostdev": "a device of the host",
    "filesystem": "a folder of the host",
    "shmem": "memory shared with the host",
    "smartcard": "a smart card",
}
_QUIET_CHARDEVS = ("pty", "spicevmc", "spiceport", "null", "vc", "stdio", "qemu-vdagent", "dbus", "")


@dataclasses.dataclass(frozen=True)
class Disk:
    """A disk of a domain that is its own. target: vda; path: of its file or block device; pool, volume: instead of a path."""

    target: str
    form: str
    path: str | None = None
    pool: str | None = None
    volume: str | None = None


@dataclasses.dataclass(frozen=True)
class NewDisk:
    """The disk of a clone that takes the place of the template's at the same target. base: what it is an overlay of."""

    path: str
    form: str
    block: bool = False
    base: str | None = None


def own_disks(domain: ET.Element) -> list[Disk]:
    """The disks with what the VM writes: no CD/DVD drives, nothing read-only or shared with others."""
    found = []
    for disk in domain.findall("devices/disk"):
        if _is_own(disk):
            source = disk.find("source")
            driver = disk.find("driver")
            attributes = {} if source is None else source.attrib
            found.append(
                Disk(
                    target=_target(disk),
                    form="raw" if driver is None else driver.get("type", "raw"),
                    path=attributes.get("file") or attributes.get("dev"),
                    pool=attributes.get("pool"),
                    volume=attributes.get("volume"),
                )
            )
    return found


def nvram_path(domain: ET.Element) -> str | None:
    """The file with the domain's UEFI variables, in either form of the element."""
    nvram = domain.find("os/nvram")
    if nvram is None:
        return None
    source = nvram.find("source")
    return (source.get("file") if source is not None else (nvram.text or "").strip()) or None


def unclonable(domain: ET.Element) -> str | None:
    """Why no clone can be made of this template; None if one can."""
    for tag, what in _SINGLE.items():
        if domain.find(f"devices/{tag}") is not None:
            return f"it has {what} (<{tag}>), which its clones cannot have as well: remove it from the template"
    for kind in ("serial", "parallel", "console", "channel", "redirdev"):
        for device in domain.findall(f"devices/{kind}"):
            if device.get("type", "") not in (*_QUIET_CHARDEVS, "unix", "file"):
                return (
                    f"it has a <{kind}> of type {device.get('type')}, which its clones cannot have as well: remove it from the "
                    "template"
                )
    for interface in domain.findall("devices/interface"):
        if interface.get("type") in ("hostdev", "vhostuser", "vdpa"):
            return f"it has a NIC of type {interface.get('type')}, which is one device of the host: use a bridge or a network"
    for tpm in domain.findall("devices/tpm/backend"):
        if tpm.get("type") != "emulator":
            return f"its TPM is of type {tpm.get('type')}, which only one VM can have: use an emulated one"
    return _unclonable_disk(domain)


def _unclonable_disk(domain: ET.Element) -> str | None:
    for disk in domain.findall("devices/disk"):
        if disk.get("device") == "lun":
            return f"its disk {_target(disk)} is a SCSI device of the host (lun): only one VM can have it"
        if not _is_own(disk):
            continue
        source = disk.find("source")
        if source is not None and source.find("encryption") is not None:
            return f"its disk {_target(disk)} is encrypted: make the template without, or copy the VM another way"
        if disk.get("type") not in ("file", "block", "volume"):
            return (
                f"its disk {_target(disk)} is of type {disk.get('type')}, and only files, block devices and volumes of storage "
                "pools can be cloned: keep the template on one of these"
            )
    return None if own_disks(domain) else "it has no disk to clone"


def definition(
    template: ET.Element,
    wanted: VmWanted,
    vm_id: str,
    disks: Mapping[str, NewDisk],
    nics: tuple[kvm_nics.Networks, Sequence[str]],
    nvram: str | None = None,
    cd_bus: str | None = None,
) -> str:
    """The XML of the VM to make of a template.

    disks: by target, those that take the place of the template's own. nics: what there is to put them on, and their MACs.
    nvram: the VM's own copy of the template's UEFI variables; None: libvirt makes new ones at the first start.
    Media of the template's CD/DVD drives are left out: nobody gets what was inserted there. A second, empty drive is added
    where the template has fewer, for the config drive; cd_bus: see domain.new_cdrom().
    """
    domain = copy.deepcopy(template)
    name = domain.findtext("name") or "?"
    devices = t.cast("ET.Element", domain.find("devices"))  # unclonable() has found a disk in it
    _identify(domain, name, wanted, vm_id, disks)
    _use_disks(devices, disks)
    _own_nvram(domain, nvram)
    for drive in devices.findall("disk"):
        if drive.get("device") in ("cdrom", "floppy"):
            _drop(drive, "source", "backingStore")
            drive.set("type", "file")
    kvm_domain.add_config_drive(domain, cd_bus)
    kvm_nics.clone_nics(devices, wanted.nics, *nics)
    _own_devices(devices, name, wanted.name)
    if wanted.memory is not None:
        _set_memory(domain, wanted.memory)
    if wanted.cpus is not None:
        _set_cpus(domain, wanted.cpus)
    return ET.tostring(domain, encoding="unicode")


def _identify(domain: ET.Element, template: str, wanted: VmWanted, vm_id: str, disks: Mapping[str, NewDisk]) -> None:
    # libvirt refuses a system uuid that differs from the domain's, and makes a security label for each domain itself.
    _drop(domain, "uuid", "metadata", "title", "description", "seclabel")
    for entry in domain.findall("sysinfo/system/entry[@name='uuid']"):
        domain.find("sysinfo/system").remove(entry)  # type: ignore[union-attr]
    for genid in domain.findall("genid"):
        genid.text = None  # libvirt makes one
    element = domain.find("name")
    if element is None:
        element = ET.SubElement(domain, "name")
    element.text = wanted.name
    ET.SubElement(domain, "uuid").text = vm_id
    bases = tuple(disk.base for disk in disks.values() if disk.base is not None)
    kvm_domain.set_mark(domain, kvm_domain.Mark(template, tuple(disk.path for disk in disks.values()), bases))


def _use_disks(devices: ET.Element, disks: Mapping[str, NewDisk]) -> None:
    for disk in devices.findall("disk"):
        new = disks.get(_target(disk))
        if new is None:
            continue
        _drop(disk, "source", "backingStore", "serial", "wwn", "mirror")
        disk.set("type", "block" if new.block else "file")
        disk.insert(0, ET.Element("source", {"dev" if new.block else "file": new.path}))
        driver = disk.find("driver")
        if driver is None:
            driver = ET.Element("driver", {"name": "qemu"})
            disk.insert(0, driver)
        driver.set("type", new.form)


def _own_nvram(domain: ET.Element, path: str | None) -> None:
    """UEFI variables of the VM's own: deleting the VM deletes this file, which must not be the template's."""
    nvram = domain.find("os/nvram")
    if nvram is None:
        return
    _drop(nvram, "source")
    nvram.attrib.pop("type", None)
    nvram.text = path


def _own_devices(devices: ET.Element, template: str, name: str) -> None:
    for backend in devices.findall("tpm/backend"):
        _drop(backend, "source")  # the state; libvirt keeps the clone's under its uuid
    for graphics in devices.findall("graphics"):
        _own_graphics(graphics)
    for vsock in devices.findall("vsock/cid"):
        vsock.attrib.pop("address", None)
        vsock.set("auto", "yes")
    for kind in ("serial", "parallel", "console", "channel"):
        for device in devices.findall(kind):
            for source in device.findall("source"):
                _drop(source, "seclabel")  # a file of the clone's own is labelled as the clone is
            for log in device.findall("log"):
                log.set("file", _own_file(log.get("file", ""), template, name))
            for source in device.findall("source[@path]"):
                target = device.find("target")
                if device.get("type") == "pty" or (target is not None and target.get("type") == "virtio"):
                    device.remove(source)  # libvirt chooses
                else:
                    source.set("path", _own_file(source.get("path", ""), template, name))


def _own_graphics(graphics: ET.Element) -> None:
    if graphics.get("type") in ("vnc", "spice"):
        for attribute in ("tlsPort", "socket"):
            graphics.attrib.pop(attribute, None)
        graphics.set("autoport", "yes")
        graphics.set("port", "-1")
        if graphics.get("websocket") is not None:
            graphics.set("websocket", "-1")
        for listen in graphics.findall("listen[@type='socket']"):
            listen.attrib.pop("socket", None)


def _set_memory(domain: ET.Element, mebibytes: int) -> None:
    for tag in ("memory", "currentMemory"):
        element = domain.find(tag)
        if element is not None:
            element.attrib.clear()
            element.set("unit", "MiB")
            element.text = str(mebibytes)
    largest = domain.find("maxMemory")
    if largest is not None:
        domain.remove(largest)  # of the template's memory devices


def _set_cpus(domain: ET.Element, count: int) -> None:
    vcpu = domain.find("vcpu")
    if vcpu is None:
        vcpu = ET.SubElement(domain, "vcpu")
    vcpu.attrib.pop("current", None)
    vcpu.text = str(count)
    _drop(domain, "vcpus")
    for tuning in domain.findall("cputune"):
        for pin in tuning.findall("vcpupin") + tuning.findall("vcpusched"):
            tuning.remove(pin)
    for cpu in domain.findall("cpu"):
        topology = cpu.find("topology")
        if topology is None:
            continue
        per_socket = 1
        for level in ("dies", "clusters", "cores", "threads"):
            per_socket *= int(topology.get(level, "1"))
        if count % per_socket:
            cpu.remove(topology)
        else:
            topology.set("sockets", str(count // per_socket))


def fits(domain: ET.Element, wanted: VmWanted) -> str | None:
    """Why the template cannot have the asked memory or CPUs."""
    if (wanted.memory is not None or wanted.cpus is not None) and domain.find("cpu/numa") is not None:
        return "it has NUMA cells, so that its memory and CPUs cannot be set: make another template for that size"
    if wanted.memory is not None and domain.find("devices/memory") is not None:
        return "it has memory devices, so that its memory cannot be set: make another template for that size"
    return None


def _is_own(disk: ET.Element) -> bool:
    shared = disk.find("readonly") is not None or disk.find("shareable") is not None
    return disk.get("device", "disk") in ("disk", "lun") and not shared


def _target(disk: ET.Element) -> str:
    target = disk.find("target")
    return "" if target is None else target.get("dev", "")


def _own_file(path: str, template: str, name: str) -> str:
    folder, file = posixpath.split(path)
    return posixpath.join(folder, file.replace(template, name) if template in file else f"{name}-{file}")


def _drop(element: ET.Element, *tags: str) -> None:
    for tag in tags:
        for child in element.findall(tag):
            element.remove(child)
