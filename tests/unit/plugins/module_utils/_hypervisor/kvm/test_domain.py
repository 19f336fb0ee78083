# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.domain import (
    Cdrom,
    awaits_agent,
    cdrom_xml,
    cdroms,
    choose_cdrom,
    new_cdrom,
    nics,
    parse,
)


def domain(*disks: tuple[str, str, str], machine: str = "pc-i440fx-7.2", more: str = "") -> ET.Element:
    """disks: device, target, bus."""
    body = "".join(f"<disk type='file' device='{d}'><target dev='{dev}' bus='{bus}'/></disk>" for d, dev, bus in disks)
    return parse(f"<domain><os><type machine='{machine}'>hvm</type></os><devices>{body}{more}</devices></domain>")


@pytest.mark.parametrize(
    ("machine", "disks", "expected"),
    [
        ("pc-i440fx-7.2", [], ("hdd", "ide")),
        ("pc", [("cdrom", "hda", "ide")], ("hdd", "ide")),
        ("pc", [("cdrom", "hdc", "ide"), ("disk", "hdd", "ide")], ("hdb", "ide")),
        ("pc", [("cdrom", "hdc", "ide"), *[("disk", f"hd{letter}", "ide") for letter in "abd"]], None),
        ("pc-q35-7.2", [("cdrom", "sda", "sata")], ("sdb", "sata")),
        ("pc-q35-7.2", [], ("sdb", "sata")),
        ("pc-q35-7.2", [("cdrom", "sda", "sata"), ("disk", "sdb", "usb")], ("sdc", "sata")),
        ("pc", [("cdrom", "sda", "scsi")], ("sdb", "scsi")),
        ("virt-8.0", [], ("sdb", "scsi")),
        ("s390-ccw-virtio-8.0", [("disk", "vda", "virtio")], ("sdb", "scsi")),
        ("pc", [("cdrom", "sda", "usb")], None),
    ],
)
def test_where_a_drive_is_added(machine: str, disks: list, expected: tuple[str, str] | None):
    found = new_cdrom(domain(*disks, machine=machine))
    assert (found and (found.target, found.bus)) == expected


def test_drives_come_in_the_order_a_guest_counts_them():
    found = cdroms(domain(("cdrom", "sdaa", "sata"), ("cdrom", "sdb", "sata"), ("disk", "sda", "sata"), ("cdrom", "hdd", "ide")))
    assert [drive.target for drive in found] == ["hdd", "sdb", "sdaa"]


def test_the_first_drive_is_the_users():
    empty = [Cdrom("hdc", "ide"), Cdrom("hdd", "ide")]
    assert choose_cdrom(empty, "/i/web1.iso", ()) == empty[1]
    assert choose_cdrom(empty[:1], "/i/web1.iso", ()) is None
    ours = [Cdrom("hdc", "ide", "/i/web1.iso"), Cdrom("hdd", "ide")]
    assert choose_cdrom(ours, "/i/web1.iso", ()) == ours[0]
    taken = [Cdrom("hdc", "ide"), Cdrom("hdd", "ide", "/i/web2.iso")]
    assert choose_cdrom(taken, "/i/web1.iso", ()) is None
    assert choose_cdrom(taken, "/i/web1.iso", ("/i/web2.iso",)) == taken[1]


def test_what_a_definition_says_of_a_drive_stays():
    text = """<domain><devices><disk type='block' device='cdrom'>
      <driver name='qemu' type='raw' cache='none'/><source dev='/dev/sr0' index='3'/><backingStore/>
      <target dev='hdd' bus='ide' tray='open'/><readonly/><boot order='2'/><alias name='ide0-1-1'/>
      <address type='drive' controller='0' bus='1' target='0' unit='1'/></disk></devices></domain>"""
    (drive,) = cdroms(parse(text))
    assert drive == Cdrom("hdd", "ide", "/dev/sr0")
    filled, empty = parse(cdrom_xml(drive, "/i/a&b's <1>.iso")), parse(cdrom_xml(drive, None))
    for disk in (filled, empty):
        assert (disk.get("type"), disk.get("device")) == ("file", "cdrom")
        assert disk.find("driver").attrib == {"name": "qemu", "type": "raw", "cache": "none"}
        assert disk.find("target").attrib == {"dev": "hdd", "bus": "ide"}
        assert disk.find("boot").get("order") == "2" and disk.find("address").get("unit") == "1"
        assert disk.find("backingStore") is None and disk.find("readonly") is not None
    assert filled.find("source").attrib == {"file": "/i/a&b's <1>.iso"}
    assert empty.find("source") is None


def test_nics_by_network_bridge_or_device():
    body = """<interface type='network'><mac address='52:54:00:AB:00:01'/><source network='corp' bridge='virbr5'/></interface>
    <interface type='bridge'><mac address='52:54:00:ab:00:02'/><source bridge='br0'/></interface>
    <interface type='direct'><mac address='52:54:00:ab:00:03'/><source dev='eth1'/></interface>
    <interface type='user'/>"""
    assert [(nic.device, nic.mac, nic.network) for nic in nics(domain(more=body))] == [
        (0, "52:54:00:ab:00:01", "corp"),
        (1, "52:54:00:ab:00:02", "br0"),
        (2, "52:54:00:ab:00:03", "eth1"),
        (3, "", None),
    ]


@pytest.mark.parametrize(
    ("channel", "awaited"),
    [
        ("", False),
        ("<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>", False),
        ("<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='disconnected'/></channel>", True),
        ("<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>", True),
        ("<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>", False),
    ],
)
def test_an_agent_is_awaited_where_its_channel_is_not_connected(channel: str, awaited: bool) -> None:
    assert awaits_agent(parse(f"<domain><devices>{channel}</devices></domain>")) is awaited
