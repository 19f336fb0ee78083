# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the config drive of a VM on VMware belongs."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware import devices as devices_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.devices import (
    IDE,
    SATA,
    Card,
    CdDrive,
    Controller,
    Devices,
    Disk,
    NewDrive,
    choose,
    iso_name,
    parse,
    plain_name,
    root_file,
    split_location,
)

IDE0, IDE1, SATA0 = Controller(200, IDE, 0), Controller(201, IDE, 1), Controller(15000, SATA, 0)


def drive(key: int, controller: int, unit: int, iso: str | None = None, **more: bool) -> CdDrive:
    return CdDrive(key=key, controller=controller, unit=unit, label=f"drive {key}", summary="", iso=iso, **more)


def machine(
    *drives: CdDrive, controllers: tuple[Controller, ...] = (IDE0, IDE1), taken: tuple[tuple[int, int], ...] = ()
) -> Devices:
    return Devices(controllers=controllers, drives=drives, taken=(*taken, *((d.controller, d.unit) for d in drives)))


def elements(text: str) -> list[ElementTree.Element]:
    return list(
        ElementTree.fromstring(f'<val xmlns="urn:vim25" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">{text}</val>')
    )


# --- reading ---

DEVICES = """
<VirtualDevice xsi:type="VirtualIDEController"><key>201</key><busNumber>1</busNumber></VirtualDevice>
<VirtualDevice xsi:type="VirtualAHCIController"><key>15000</key><busNumber>0</busNumber></VirtualDevice>
<VirtualDevice xsi:type="VirtualCdrom"><key>3002</key>
  <deviceInfo><label>CD/DVD drive 1</label><summary>ISO [ds 1] web/web.iso</summary></deviceInfo>
  <backing xsi:type="VirtualCdromIsoBackingInfo"><fileName>[ds 1] web/web.iso</fileName></backing>
  <connectable><startConnected>true</startConnected><allowGuestControl>false</allowGuestControl><connected>true</connected></connectable>
  <controllerKey>201</controllerKey><unitNumber>0</unitNumber></VirtualDevice>
<VirtualDevice xsi:type="VirtualCdrom"><key>16000</key>
  <backing xsi:type="VirtualCdromAtapiBackingInfo"><deviceName>/dev/cdrom</deviceName></backing>
  <controllerKey>15000</controllerKey><unitNumber>3</unitNumber></VirtualDevice>
<VirtualDevice xsi:type="VirtualDisk"><key>2001</key>
  <backing xsi:type="VirtualDiskFlatVer2BackingInfo"><fileName>[ds 2] web/data.vmdk</fileName></backing>
  <controllerKey>1000</controllerKey><unitNumber>1</unitNumber></VirtualDevice>
<VirtualDevice xsi:type="VirtualDisk"><key>2000</key>
  <backing xsi:type="VirtualDiskFlatVer2BackingInfo"><fileName>[ds 1] web/root.vmdk</fileName></backing>
  <controllerKey>1000</controllerKey><unitNumber>0</unitNumber></VirtualDevice>
<VirtualDevice xsi:type="VirtualVmxnet3"><key>4001</key>
  <backing xsi:type="VirtualEthernetCardNetworkBackingInfo"><deviceName>VM Network</deviceName></backing>
  <controllerKey>100</controllerKey><unitNumber>8</unitNumber><macAddress>00:50:56:AB:00:02</macAddress></VirtualDevice>
<VirtualDevice xsi:type="VirtualE1000"><key>4000</key>
  <backing xsi:type="VirtualEthernetCardDistributedVirtualPortBackingInfo"><port><portgroupKey>dvportgroup-9</portgroupKey></port></backing>
  <controllerKey>100</controllerKey><unitNumber>7</unitNumber><macAddress>00:50:56:ab:00:01</macAddress></VirtualDevice>
<VirtualDevice xsi:type="VirtualSriovEthernetCard"><key>4002</key>
  <backing xsi:type="VirtualEthernetCardOpaqueNetworkBackingInfo"><opaqueNetworkId>nsx-7</opaqueNetworkId></backing>
  <macAddress>00:50:56:ab:00:03</macAddress></VirtualDevice>
<VirtualDevice xsi:type="VirtualSoundCard"><key>9000</key></VirtualDevice>
"""


def test_parse() -> None:
    found = parse(elements(DEVICES))
    assert found.controllers == (Controller(201, IDE, 1), Controller(15000, SATA, 0))
    assert found.drives == (
        CdDrive(
            3002,
            201,
            0,
            "CD/DVD drive 1",
            "ISO [ds 1] web/web.iso",
            iso="[ds 1] web/web.iso",
            connected=True,
            start_connected=True,
            guest_control=False,
        ),
        CdDrive(16000, 15000, 3, "CD/DVD drive 16000", "", host_device=True, guest_control=False),
    )
    assert found.disks == (Disk(2001, "[ds 2] web/data.vmdk"), Disk(2000, "[ds 1] web/root.vmdk"))
    assert found.cards == (
        Card(4000, "00:50:56:ab:00:01", portgroup_key="dvportgroup-9"),
        Card(4001, "00:50:56:ab:00:02", network="VM Network"),
        Card(4002, "00:50:56:ab:00:03", opaque_id="nsx-7"),
    )
    assert (201, 0) in found.taken and (1000, 1) in found.taken


def test_parse_survives_devices_that_make_no_sense() -> None:
    found = parse(elements('<VirtualDevice/><VirtualDevice xsi:type="VirtualCdrom"><key>x</key></VirtualDevice>'))
    assert [d.key for d in found.drives] == [0]


def test_root_file_is_the_first_disk_whatever_the_order_of_the_list() -> None:
    found = parse(elements(DEVICES))
    assert root_file(found, "[ds 3] web/web.vmx") == "[ds 1] web/root.vmdk"
    assert root_file(Devices(), "[ds 3] web/web.vmx") == "[ds 3] web/web.vmx"
    assert root_file(Devices(), "") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[ds] web/web.vmdk", ("ds", "web/web.vmdk")),
        ("[ds one] a [b] c/d.iso", ("ds one", "a [b] c/d.iso")),
        ("[ds]web.iso", ("ds", "web.iso")),
        ("[ds] ", ("ds", "")),
        ("[] web.iso", None),
        ("/usr/lib/vmware/isoimages/linux.iso", None),
        ("", None),
    ],
)
def test_split_location(text: str, expected: tuple[str, str] | None) -> None:
    assert split_location(text) == expected


def test_names() -> None:
    assert plain_name("a%2fb%5Cc%25d") == "a/b\\c%d"
    assert plain_name("%252f") == "%2f"
    assert iso_name("a%2fb") == "a%2fb.iso"
    assert "/" not in iso_name("a/b")


# --- choosing ---


def test_second_by_controller_and_unit_not_by_list() -> None:
    # As after an edit of the first: it stands at the end.
    devices = machine(drive(3002, 201, 0), drive(3000, 200, 0), drive(3001, 200, 1))
    assert [d.key for d in devices.ordered_drives()] == [3000, 3001, 3002]
    assert choose(devices, [], running=True).drive == drive(3001, 200, 1)


def test_ide_comes_before_sata() -> None:
    devices = machine(drive(16000, 15000, 0), drive(3003, 201, 1), controllers=(SATA0, IDE0, IDE1))
    assert choose(devices, [], running=True).drive == drive(16000, 15000, 0)


def test_drive_that_holds_ours_is_kept() -> None:
    devices = machine(drive(3000, 200, 0), drive(3001, 200, 1, "[ds] tools.iso"), drive(3002, 201, 0, "[ds] web/web.iso"))
    slot = choose(devices, ["[ds] web/web.iso"], running=True)
    assert slot.drive is not None and slot.drive.key == 3002 and slot.problem is None


def test_ours_in_the_first_drive_goes_to_the_second() -> None:
    devices = machine(drive(3000, 200, 0, "[ds] web/web.iso"), drive(3001, 200, 1))
    slot = choose(devices, ["[ds] web/web.iso"], running=True)
    assert slot.drive is not None and slot.drive.key == 3001


def test_other_media_stay() -> None:
    devices = machine(drive(3000, 200, 0), drive(3001, 200, 1, "[ds] tools.iso"))
    slot = choose(devices, [], running=True)
    assert slot.problem == "drive 3001 holds [ds] tools.iso: take it out, or use the first drive for it"
    assert choose(devices, [], running=True, free_media=["[ds] tools.iso"]).problem is None


@pytest.mark.parametrize(("connected", "problem"), [(True, True), (False, False)])
def test_drive_of_the_host(connected: bool, problem: bool) -> None:
    devices = machine(drive(3000, 200, 0), drive(3001, 200, 1, host_device=True, connected=connected))
    assert (choose(devices, [], running=False).problem is not None) is problem


@pytest.mark.parametrize(
    ("devices", "running", "new", "sata_bus", "hot"),
    [
        # One on IDE: the next place on IDE, which takes a power cycle.
        (machine(drive(3000, 200, 0)), False, [(200, 1)], None, True),
        (machine(drive(3000, 200, 0)), True, [(200, 1)], None, False),
        (machine(drive(3000, 200, 0), taken=((200, 1),)), False, [(201, 0)], None, True),
        # With a SATA controller there is a place that takes none.
        (machine(drive(3000, 200, 0), controllers=(IDE0, IDE1, SATA0)), True, [(15000, 0)], None, True),
        (machine(drive(3000, 200, 0), controllers=(IDE0, IDE1, SATA0)), False, [(200, 1)], None, True),
        # One on SATA: behind it, never before it, though IDE is free.
        (machine(drive(16002, 15000, 2), controllers=(IDE0, SATA0)), True, [(15000, 3)], None, True),
        (machine(drive(16002, 15000, 2), controllers=(IDE0, SATA0)), False, [(15000, 3)], None, True),
        # The last place on IDE is the first drive's.
        (machine(drive(3003, 201, 1)), False, [(-1, 0)], 0, True),
        (machine(drive(3003, 201, 1)), True, [(-1, 0)], 0, False),
        # None at all: two, the first for other media.
        (machine(), False, [(200, 0), (200, 1)], None, True),
        (machine(), True, [(200, 0), (200, 1)], None, False),
        (machine(controllers=(SATA0,)), True, [(15000, 0), (15000, 1)], None, True),
        (machine(controllers=()), False, [(-1, 0), (-1, 1)], 0, True),
        # All places on IDE taken by disks.
        (machine(taken=((200, 0), (200, 1), (201, 0), (201, 1))), False, [(-1, 0), (-1, 1)], 0, True),
    ],
)
def test_drives_to_add(devices: Devices, running: bool, new: list[tuple[int, int]], sata_bus: int | None, hot: bool) -> None:
    slot = choose(devices, [], running)
    assert slot.drive is None and slot.problem is None
    assert [(n.controller, n.unit) for n in slot.new] == new
    assert (slot.sata_bus, slot.hot) == (sata_bus, hot)
    assert slot.label == "CD/DVD drive 2"


def test_no_place_left() -> None:
    controllers = tuple(Controller(15000 + n, SATA, n) for n in range(4))
    taken = tuple((c.key, unit) for c in controllers for unit in range(30) if (c.key, unit) != (15003, 29))
    slot = choose(machine(drive(16119, 15003, 29), controllers=controllers, taken=taken), [], running=False)
    assert slot.problem is not None and "no free CD/DVD drive" in slot.problem


def test_second_sata_controller_gets_the_next_bus() -> None:
    taken = tuple((15000, unit) for unit in range(29))
    slot = choose(machine(drive(16029, 15000, 29), controllers=(SATA0,), taken=taken), [], running=False)
    assert (slot.sata_bus, slot.new) == (1, (NewDrive(-1, 0),))
    assert devices_of.Slot(problem="x").label == "CD/DVD drive 2"
