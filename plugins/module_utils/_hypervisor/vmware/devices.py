# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Where the config drive of a VM belongs, decided on the VM's devices alone, without pyVmomi or network.

CD/DVD drives are counted by controller and unit, not by their place in the device list: an edit moves a device to the end of it.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import drive_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import VIM, child_text, kind_of

if t.TYPE_CHECKING:
    from collections.abc import Sequence
    from xml.etree.ElementTree import Element

IDE = "ide"
SATA = "sata"
# Units of a controller, and the order in which the kinds of controller count.
_UNITS = {IDE: 2, SATA: 30}
_ORDER = {IDE: 0, SATA: 1}
_MAX_SATA_CONTROLLERS = 4

_LOCATION = re.compile(r"\[([^\]]*)\] ?(.*)", re.DOTALL)
# How vSphere writes the characters that separate inventory paths, in the names of objects.
_ESCAPED = {"%2f": "/", "%5c": "\\", "%25": "%"}


@dataclasses.dataclass(frozen=True)
class Controller:
    """An IDE or SATA controller."""

    key: int
    kind: str
    bus: int


@dataclasses.dataclass(frozen=True)
class CdDrive:
    """A CD/DVD drive.

    iso: the file it holds, "[datastore] path", or None. host_device: it stands for a drive of the host.
    connected: now; start_connected: at power on. guest_control: the guest may eject it.
    """

    key: int
    controller: int
    unit: int
    label: str
    summary: str
    iso: str | None = None
    host_device: bool = False
    connected: bool = False
    start_connected: bool = False
    guest_control: bool = True


@dataclasses.dataclass(frozen=True)
class Disk:
    """A virtual disk's file, "[datastore] path"."""

    key: int
    file: str


@dataclasses.dataclass(frozen=True)
class NewDrive:
    """A drive to be added. controller: key of an existing one; negative for the controller that is added with it."""

    controller: int
    unit: int


@dataclasses.dataclass(frozen=True)
class Card:
    """A network card; network: name of a network, or the key of a distributed port group or opaque network."""

    key: int
    mac: str
    network: str | None = None
    portgroup_key: str | None = None
    opaque_id: str | None = None


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices of a VM that matter here. taken: (controller key, unit) of every device that has them."""

    controllers: tuple[Controller, ...] = ()
    drives: tuple[CdDrive, ...] = ()
    disks: tuple[Disk, ...] = ()
    cards: tuple[Card, ...] = ()
    taken: tuple[tuple[int, int], ...] = ()

    def ordered_drives(self) -> list[CdDrive]:
        """The CD/DVD drives by controller and unit: IDE, then SATA, then any other kind."""
        places = {c.key: (_ORDER[c.kind], c.bus) for c in self.controllers}
        return sorted(self.drives, key=lambda d: (*places.get(d.controller, (9, 0)), d.unit, d.key))

    def controller_of(self, drive: CdDrive) -> Controller | None:
        """The controller of a drive; None if it is neither IDE nor SATA."""
        return next((c for c in self.controllers if c.key == drive.controller), None)


@dataclasses.dataclass(frozen=True)
class Slot:
    """The CD/DVD drive for the config drive: an existing one, or those to add, the last of which is for it.

    sata_bus: number of a SATA controller to add with them. hot: whether it can be used, or added, while the VM runs.
    problem: why there is none.
    """

    drive: CdDrive | None = None
    new: tuple[NewDrive, ...] = ()
    sata_bus: int | None = None
    hot: bool = True
    problem: str | None = None

    @property
    def label(self) -> str:
        """Name of the drive as the vSphere client shows it, or will show it."""
        return self.drive.label if self.drive is not None else "CD/DVD drive 2"


def parse(elements: Sequence[Element]) -> Devices:
    """The devices of config.hardware.device."""
    controllers, drives, disks, cards, taken = [], [], [], [], []
    for element in elements:
        kind = kind_of(element)
        key = _number(element, "key")
        unit = _number(element, "unitNumber", -1)
        if unit >= 0:
            taken.append((_number(element, "controllerKey"), unit))
        if kind == "VirtualIDEController":
            controllers.append(Controller(key, IDE, _number(element, "busNumber")))
        elif kind in ("VirtualAHCIController", "VirtualSATAController"):
            controllers.append(Controller(key, SATA, _number(element, "busNumber")))
        elif kind == "VirtualCdrom":
            drives.append(_drive(element, key, unit))
        elif kind == "VirtualDisk":
            file = element.findtext(f"{VIM}backing/{VIM}fileName")
            if file:
                disks.append(Disk(key, file))
        elif element.find(VIM + "macAddress") is not None:
            cards.append(_card(element, key))
    return Devices(tuple(controllers), tuple(drives), tuple(disks), tuple(sorted(cards, key=lambda c: c.key)), tuple(taken))


def _number(element: Element, name: str, default: int = 0) -> int:
    try:
        return int(child_text(element, name))
    except ValueError:
        return default


def _true(element: Element, path: str) -> bool:
    return (element.findtext("/".join(VIM + part for part in path.split("/"))) or "").strip() in ("true", "1")


def _drive(element: Element, key: int, unit: int) -> CdDrive:
    backing = element.find(VIM + "backing")
    kind = "" if backing is None else kind_of(backing)
    return CdDrive(
        key=key,
        controller=_number(element, "controllerKey"),
        unit=unit,
        label=element.findtext(f"{VIM}deviceInfo/{VIM}label") or f"CD/DVD drive {key}",
        summary=element.findtext(f"{VIM}deviceInfo/{VIM}summary") or "",
        iso=child_text(backing, "fileName") if backing is not None and kind == "VirtualCdromIsoBackingInfo" else None,
        host_device=kind in ("VirtualCdromAtapiBackingInfo", "VirtualCdromPassthroughBackingInfo"),
        connected=_true(element, "connectable/connected"),
        start_connected=_true(element, "connectable/startConnected"),
        guest_control=_true(element, "connectable/allowGuestControl"),
    )


def _card(element: Element, key: int) -> Card:
    backing = element.find(VIM + "backing")
    mac = child_text(element, "macAddress").lower()
    if backing is None:
        return Card(key, mac)
    return Card(
        key,
        mac,
        network=child_text(backing, "deviceName") or None,
        portgroup_key=backing.findtext(f"{VIM}port/{VIM}portgroupKey"),
        opaque_id=child_text(backing, "opaqueNetworkId") or None,
    )


def split_location(text: str) -> tuple[str, str] | None:
    """Datastore and path of "[datastore] path"; None if it is none."""
    match = _LOCATION.fullmatch(text)
    return (match.group(1), match.group(2)) if match and match.group(1) else None


def plain_name(name: str) -> str:
    """A VM's name as people write it: vSphere escapes /, \\ and % in it."""
    return re.sub("%2f|%5c|%25", lambda m: _ESCAPED[m.group().lower()], name, flags=re.IGNORECASE)


def iso_name(name: str) -> str:
    """The file name of a VM's config drive, without a path separator. name: the VM's, as vSphere has it."""
    return f"{name.replace('/', '%2f')}.iso"


def root_file(devices: Devices, vm_path: str) -> str | None:
    """The file beside which the config drive belongs: the VM's first disk, or its configuration if it has none.

    The first disk is the one with the lowest key: SCSI before IDE before SATA before NVMe, then by bus and unit.
    """
    disks = sorted(devices.disks, key=lambda d: d.key)
    return disks[0].file if disks else vm_path or None


def choose(devices: Devices, ours: Sequence[str], running: bool, free_media: Sequence[str] = ()) -> Slot:
    """The slot for the config drive: the drive that holds it, else the second one, else one to add.

    ours: files that are this VM's config drive. free_media: other files that may be taken out of the second drive.
    """
    drives = devices.ordered_drives()
    for drive in drives[1:]:
        if drive.iso in ours:
            return Slot(drive)
    if len(drives) >= 2:
        second = drives[1]
        if second.iso is not None and second.iso not in free_media:
            return Slot(second, problem=f"{second.label} holds {second.iso}: take it out, or use the first drive for it")
        if second.host_device and second.connected:
            return Slot(second, problem=f"{second.label} is connected to a drive of the host: disconnect it")
        return Slot(second)
    return _add(devices, drives[0] if drives else None, running)


def _add(devices: Devices, first: CdDrive | None, running: bool) -> Slot:
    """What is missing to two drives, after the first one, on a controller that the VM has, else on a new one."""
    missing = 1 if first is not None else 2
    controllers = sorted(devices.controllers, key=lambda c: (_ORDER[c.kind], c.bus))
    free = [(c, unit) for c in controllers for unit in range(_UNITS[c.kind]) if (c.key, unit) not in devices.taken]
    if first is not None:
        home = devices.controller_of(first)
        place = (_ORDER[home.kind], home.bus, first.unit) if home is not None else (-1, 0, 0)
        free = [(c, unit) for c, unit in free if (_ORDER[c.kind], c.bus, unit) > place]
    hot = [(c, unit) for c, unit in free if c.kind == SATA]
    if running and len(hot) >= missing:
        return Slot(new=tuple(NewDrive(c.key, unit) for c, unit in hot[:missing]))
    if len(free) >= missing:
        return Slot(new=tuple(NewDrive(c.key, unit) for c, unit in free[:missing]), hot=not running)
    buses = {c.bus for c in devices.controllers if c.kind == SATA}
    bus = next((n for n in range(_MAX_SATA_CONTROLLERS) if n not in buses), None)
    if bus is None:
        return Slot(problem=drive_rules.no_slot("remove a drive or disk from an IDE or SATA controller"))
    return Slot(new=tuple(NewDrive(-1, unit) for unit in range(missing)), sata_bus=bus, hot=not running)
