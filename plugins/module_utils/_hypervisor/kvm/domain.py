# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Libvirt's domain XML: what we read from it and the device XML that we give back. Pure."""

from __future__ import annotations

import dataclasses
import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.policy import normalize_mac
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Nic

if t.TYPE_CHECKING:
    from collections.abc import Sequence

AGENT_CHANNEL = "org.qemu.guest_agent.0"
# The mark in <metadata> of the VMs that this collection has made.
MARK = "https://github.com/vmops/external_dhcp/vm/1"
ET.register_namespace("vmops", MARK)
ET.register_namespace("qemu", "http://libvirt.org/schemas/domain/qemu/1.0")

# The element in <metadata> that tells of a VM's config drive: in the definition, the digest of one that was taken out on purpose; in
# the running domain, which it does not outlive, that the drive was put since it was started.
DRIVE_NOTE = "https://github.com/vmops/external_dhcp/drive/1"
DRIVE_NOTE_PREFIX = "vmops-drive"
UNREAD = "<drive unread='yes'/>"

# Which drives a bus has room for. IDE: two channels of two units, on the machine type pc only. SATA and SCSI: the six
# units that the first controller is sure to have.
VIRTIO_SCSI = "<controller type='scsi' model='virtio-scsi'/>"
_UNITS = {"ide": ["hda", "hdb", "hdc", "hdd"], "sata": [f"sd{c}" for c in "abcdef"], "scsi": [f"sd{c}" for c in "abcdef"]}


@dataclasses.dataclass(frozen=True)
class Cdrom:
    """A CD/DVD drive: libvirt target name (hdd, sdb), bus, the path of the inserted file or None, and libvirt's own XML of it."""

    target: str
    bus: str
    source: str | None = None
    xml: str | None = dataclasses.field(default=None, compare=False, repr=False)


@dataclasses.dataclass(frozen=True)
class Mark:
    """What is noted in a VM that this collection has made: its template, its disks' files, and what these are overlays of.

    written: when its copied disks were last written to at its making, by path (see storage.Volume).
    """

    template: str
    disks: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()
    written: t.Mapping[str, str] = dataclasses.field(default_factory=dict)


def parse(xml: str) -> ET.Element:
    """The domain element."""
    return ET.fromstring(xml)


def nics(domain: ET.Element) -> tuple[Nic, ...]:
    """The NICs in the order of the domain; network: libvirt network, bridge, or host device, in that order."""
    found = []
    for device, interface in enumerate(domain.findall("devices/interface")):
        source = interface.find("source")
        mac = interface.find("mac")
        attributes = {} if source is None else source.attrib
        network = attributes.get("network") or attributes.get("bridge") or attributes.get("dev")
        found.append(Nic(device, normalize_mac(None if mac is None else mac.get("address")) or "", network))
    return tuple(found)


def cdroms(domain: ET.Element) -> tuple[Cdrom, ...]:
    """The CD/DVD drives by bus and target, that is, in the order a guest counts them."""
    found = []
    for disk in domain.findall("devices/disk[@device='cdrom']"):
        target = disk.find("target")
        source = disk.find("source")
        if target is not None:
            path = None if source is None else source.get("file") or source.get("dev") or source.get("name")
            found.append(Cdrom(target.get("dev", ""), target.get("bus", ""), path, ET.tostring(disk, encoding="unicode")))
    return tuple(sorted(found, key=lambda d: (d.bus, len(d.target), d.target)))


def has_agent_channel(domain: ET.Element) -> bool:
    """Whether the domain has the virtio channel that the QEMU guest agent needs."""
    return any(target.get("name") == AGENT_CHANNEL for target in domain.findall("devices/channel/target"))


def awaits_agent(domain: ET.Element) -> bool:
    """Whether a running VM has the guest agent's channel and no agent has connected to it yet."""
    channels = [target for target in domain.findall("devices/channel/target") if target.get("name") == AGENT_CHANNEL]
    return any(channel.get("state") != "connected" for channel in channels)


def mark(domain: ET.Element) -> Mark | None:
    """The mark that set_mark() left; None if there is none, or if it is that of the VM which this one is a copy of."""
    element = domain.find(f"metadata/{{{MARK}}}vm")
    if element is None or element.get("id") != (domain.findtext("uuid") or "").lower():
        return None
    files = {tag: tuple(found.get("path", "") for found in element.findall(f"{{{MARK}}}{tag}")) for tag in ("disk", "base")}
    written = {disk.get("path", ""): disk.get("written", "") for disk in element.findall(f"{{{MARK}}}disk[@written]")}
    return Mark(element.get("template", ""), files["disk"], files["base"], written)


def set_mark(domain: ET.Element, content: Mark) -> None:
    """Marks the domain as made by this collection."""
    metadata = domain.find("metadata")
    if metadata is None:
        metadata = ET.SubElement(domain, "metadata")
    identity = {"id": (domain.findtext("uuid") or "").lower(), "template": content.template}
    element = ET.SubElement(metadata, f"{{{MARK}}}vm", identity)
    for tag, paths in (("disk", content.disks), ("base", content.bases)):
        for path in paths:
            ET.SubElement(element, f"{{{MARK}}}{tag}", {"path": path})


def note_written(xml: str, written: t.Mapping[str, str]) -> str:
    """A marked domain's XML with Mark.written, which is known only once the copies are there."""
    domain = parse(xml)
    for disk in domain.iterfind(f"metadata/{{{MARK}}}vm/{{{MARK}}}disk"):
        if disk.get("path") in written:
            disk.set("written", written[disk.get("path", "")])
    return ET.tostring(domain, encoding="unicode")


def ejected(domain: ET.Element) -> str | None:
    """SHA-256 of the config drive that was taken out on purpose, by the definition."""
    element = domain.find(f"metadata/{{{DRIVE_NOTE}}}drive")
    return None if element is None else element.get("ejected")


def is_unread(domain: ET.Element) -> bool:
    """Whether the config drive was put since this running domain was started."""
    element = domain.find(f"metadata/{{{DRIVE_NOTE}}}drive")
    return element is not None and element.get("unread") == "yes"


def ejected_note(sha256: str) -> str:
    """The note of a drive that was taken out."""
    return f"<drive ejected='{sha256}'/>"


def add_config_drive(domain: ET.Element, bus: str | None) -> None:
    """Adds a second, empty CD/DVD drive where there is none, on that bus or the one that new_cdrom() chooses."""
    devices = domain.find("devices")
    while devices is not None:
        present = cdroms(domain)
        wanted = bus or preferred_bus(domain)
        if any(wanted in (None, drive.bus) for drive in present[1:]):
            return
        drive = new_cdrom(domain, bus)
        if drive is None:
            return
        if drive.bus == "scsi" and not has_virtio_scsi(domain):
            devices.append(ET.fromstring(VIRTIO_SCSI))
        devices.append(ET.fromstring(cdrom_xml(drive, None)))


def new_cdrom(domain: ET.Element, bus: str | None = None) -> Cdrom | None:
    """Where another CD/DVD drive could be added; None if there is no place.

    bus: ide, sata or scsi. Without one it is virtio-scsi where the domain has that, since every guest that runs on virtio
    sees it; else the bus of the present drives. Debian's cloud kernel, for one, knows no SATA.
    """
    present = cdroms(domain)
    bus = bus or preferred_bus(domain) or (present[0].bus if present else _usual_bus(domain))
    # Names are unique in a domain, whatever the bus.
    taken = {target.get("dev") for target in domain.findall("devices/disk/target")}
    units = [unit for unit in _UNITS.get(bus, []) if unit not in taken]
    # The first drive stays free for the user's media, also where it is not there yet.
    if not present and len(units) > 1:
        units = units[1:]
    return Cdrom(units[-1] if bus == "ide" else units[0], bus) if units else None


def preferred_bus(domain: ET.Element) -> str | None:
    """The bus of CD/DVD drives that a guest of this domain is sure to see: virtio-scsi where there is one; else None."""
    return "scsi" if has_virtio_scsi(domain) else None


def has_virtio_scsi(domain: ET.Element) -> bool:
    """Whether the domain has a virtio-scsi controller."""
    return any((c.get("model") or "").startswith("virtio") for c in domain.findall("devices/controller[@type='scsi']"))


def _usual_bus(domain: ET.Element) -> str:
    """The bus of CD/DVD drives on the domain's type of machine."""
    kind = domain.find("os/type")
    machine = "" if kind is None else kind.get("machine", "")
    if "q35" in machine:
        return "sata"
    return "ide" if machine in ("", "pc", "isapc") or machine.startswith("pc-") else "scsi"


def cdrom_xml(drive: Cdrom, source: str | None) -> str:
    """The device XML of a drive with this file in it, or empty. What else its definition says of the drive stays."""
    if drive.xml is None:
        disk = ET.Element("disk", {"device": "cdrom"})
        ET.SubElement(disk, "driver", {"name": "qemu"})
        ET.SubElement(disk, "target", {"dev": drive.target, "bus": drive.bus})
        ET.SubElement(disk, "readonly")
    else:
        disk = ET.fromstring(drive.xml)
        disk.tail = None
        # These describe the medium that is in the drive now.
        for tag in ("source", "backingStore", "mirror"):
            for element in disk.findall(tag):
                disk.remove(element)
        for target in disk.findall("target"):
            target.attrib.pop("tray", None)
    disk.set("type", "file")
    for driver in disk.findall("driver"):
        driver.set("type", "raw")
    if source is not None:
        disk.insert(0, ET.Element("source", {"file": source}))
    return ET.tostring(disk, encoding="unicode")


def choose_cdrom(
    drives: Sequence[Cdrom], location: str, foreign: Sequence[str], bus: str | None = None, prefer: str | None = None
) -> Cdrom | None:
    """The drive for the config drive: the one that has it; else one after the first that is empty or wrongly filled.

    foreign: paths of other VMs' config drives; a clone may have one inserted, and it must not stay there.
    bus: no other will do. prefer: the bus whose drives come first.
    None: there is no such drive; the first one is the user's.
    """
    fitting = [drive for drive in drives if bus in (None, drive.bus)]
    for drive in fitting:
        if drive.source == location:
            return drive
    for drive in sorted(fitting, key=lambda drive: drive.bus != prefer):
        if drive != drives[0] and (drive.source is None or drive.source in foreign):
            return drive
    return None
