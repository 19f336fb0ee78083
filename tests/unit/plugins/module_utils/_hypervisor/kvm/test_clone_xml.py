# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A clone's definition: what is its own, what is the template's, and what cannot be cloned."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import NicWanted, VmWanted
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import clone_xml, nics
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import domain as kvm_domain

ID = "22222222-2222-4222-8222-222222222222"
NETWORKS = nics.Networks(frozenset({"corp", "lab", "vlan130"}), frozenset({"br0", "br1", "ovs0"}), frozenset({"vlan130"}))
MACS = [f"52:54:00:99:00:{number:02x}" for number in range(9)]

TEMPLATE = """
<domain type='kvm'>
  <name>debian</name><uuid>11111111-1111-1111-1111-111111111111</uuid><title>the template</title>
  <metadata><libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0"/></metadata>
  <memory unit='KiB'>1048576</memory><currentMemory unit='KiB'>524288</currentMemory><vcpu current='1'>2</vcpu>
  <genid>33333333-3333-3333-3333-333333333333</genid>
  <sysinfo type='smbios'><system><entry name='uuid'>11111111-1111-1111-1111-111111111111</entry>
    <entry name='product'>X</entry></system></sysinfo>
  <os><type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type><smbios mode='sysinfo'/></os>
  <cpu><topology sockets='1' dies='1' cores='2' threads='1'/></cpu>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/><source file='/img/debian.qcow2' index='1'/>
      <backingStore/><target dev='vda' bus='virtio'/><serial>abc</serial><wwn>5000c50015ea71ad</wwn><boot order='1'/></disk>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/img/data.img'/><target dev='vdb' bus='virtio'/></disk>
    <disk type='file' device='disk'><source file='/img/shared.img'/><target dev='vdc' bus='virtio'/><shareable/></disk>
    <disk type='file' device='cdrom'><source file='/img/debian.iso'/><target dev='hdc' bus='ide'/><readonly/></disk>
    <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='old'/><target dev='web-nic'/><model type='e1000'/>
      <virtualport type='openvswitch'><parameters interfaceid='44444444-4444-4444-4444-444444444444' profileid='prod'/></virtualport>
      <vlan><tag id='120'/></vlan><filterref filter='clean-traffic'/><mtu size='9000'/>
      <bandwidth><inbound average='1000'/></bandwidth><rom enabled='no'/><boot order='2'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/></interface>
    <serial type='pty'><log file='/var/log/debian-serial.log'/></serial>
    <channel type='unix'><source mode='bind' path='/run/debian.sock'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <graphics type='vnc' port='5901' autoport='no' websocket='5700'/>
    <tpm model='tpm-crb'><backend type='emulator' version='2.0'><source type='dir' path='/tpm/debian'/></backend></tpm>
    <redirdev bus='usb' type='spicevmc'/>
  </devices>
  <seclabel type='static' model='dac' relabel='yes'><label>+1000:+1000</label></seclabel>
</domain>"""

DISKS = {
    "vda": clone_xml.NewDisk("/img/web1.qcow2", "qcow2", base="/img/debian.qcow2"),
    "vdb": clone_xml.NewDisk("/dev/vg/web1-vdb", "raw", block=True),
}
KEPT = ("model", "virtualport", "vlan", "filterref", "mtu", "bandwidth", "rom")


def made(template: str = TEMPLATE, nvram: str | None = None, cd_bus: str | None = None, **wanted: t.Any) -> ET.Element:
    vm = VmWanted("web1", "debian", **wanted)
    return ET.fromstring(clone_xml.definition(ET.fromstring(template), vm, ID, DISKS, (NETWORKS, MACS), nvram, cd_bus))


def interfaces(domain: ET.Element) -> list[ET.Element]:
    return domain.findall("devices/interface")


@pytest.mark.parametrize(
    "label",
    [
        "<seclabel type='none'/>",
        "<seclabel type='none' model='dac'/>",
        "<seclabel type='dynamic' model='dac' relabel='no'/>",
        "<seclabel type='static' model='selinux' relabel='no'><label>system_u:system_r:svirt_t:s0:c1,c2</label></seclabel>",
    ],
)
def test_no_wish_of_the_template_keeps_libvirt_from_labelling_what_is_the_clones(label: str):
    """Neither the VM, nor its own disks, nor the files of its devices: each gets the label that libvirt makes for this VM."""
    child = "<seclabel model='dac' relabel='no'/>"
    template = TEMPLATE.replace("</domain>", f"{label}</domain>")
    template = template.replace("index='1'/>", f"index='1'>{child}</source>")
    template = template.replace("<source file='/img/debian.iso'/>", f"<source file='/img/debian.iso'>{child}</source>")
    template = template.replace("<serial type='pty'>", f"<serial type='file'><source path='/var/log/debian.txt'>{child}</source>")
    assert template.count("<seclabel") == 5
    assert not list(made(template).iter("seclabel"))


def test_a_clone_has_its_own_identity_and_none_of_the_templates():
    domain = made()
    assert domain.findtext("name") == "web1" and domain.findtext("uuid") == ID
    text = ET.tostring(domain, encoding="unicode")
    for foreign in (
        "11111111",
        "33333333",
        "44444444",
        "the template",
        "libosinfo",
        "debian.iso",
        "debian.sock",
        "debian-serial",
        "52:54:00:00:00:01",
        "abc",
        "5000c50015ea71ad",
        "/tpm/debian",
        "5901",
        "5700",
        "+1000",
        "web-nic",
    ):
        assert foreign not in text, foreign
    assert domain.find("genid") is not None and not domain.findtext("genid")
    assert [entry.get("name") for entry in domain.iter("entry")] == ["product"]
    assert domain.find("devices/tpm/backend").attrib == {"type": "emulator", "version": "2.0"}
    assert domain.find("devices/graphics").get("autoport") == "yes"


def test_a_clone_is_marked_with_its_template_its_disks_and_what_they_are_overlays_of():
    assert kvm_domain.mark(made()) == kvm_domain.Mark("debian", ("/img/web1.qcow2", "/dev/vg/web1-vdb"), ("/img/debian.qcow2",))


def test_the_copy_of_a_marked_vm_is_not_marked():
    domain = made()
    domain.find("uuid").text = "55555555-5555-4555-8555-555555555555"
    assert kvm_domain.mark(domain) is None


def test_a_clone_logs_beside_its_template():
    assert made().find("devices/serial/log").get("file") == "/var/log/web1-serial.log"


def test_disks_are_replaced_and_shared_ones_stay():
    disks = made().findall("devices/disk[@device='disk']")
    assert [disk.find("source").attrib for disk in disks] == [
        {"file": "/img/web1.qcow2"},
        {"dev": "/dev/vg/web1-vdb"},
        {"file": "/img/shared.img"},
    ]
    assert [disk.get("type") for disk in disks] == ["file", "block", "file"]
    assert disks[0].find("driver").attrib == {"name": "qemu", "type": "qcow2", "cache": "none"}
    assert disks[0].find("boot") is not None


def test_a_second_empty_cd_drive_is_there_for_the_config_drive():
    assert [(d.target, d.source) for d in kvm_domain.cdroms(made())] == [("hdc", None), ("hdd", None)]


def test_only_network_and_mac_of_the_templates_nic_change():
    (before,) = interfaces(ET.fromstring(TEMPLATE))
    (after,) = interfaces(made(nics=(NicWanted("br1"),)))
    assert after.get("type") == "bridge" and after.find("source").attrib == {"bridge": "br1"}
    assert after.find("mac").attrib == {"address": MACS[0]}
    before.find("virtualport/parameters").attrib.pop("interfaceid")  # is to be unique
    for tag in (*KEPT, "boot", "address"):
        assert ET.canonicalize(ET.tostring(before.find(tag)), strip_text=True) == ET.canonicalize(
            ET.tostring(after.find(tag)), strip_text=True
        ), tag


def test_a_nic_that_the_template_lacks_is_modelled_on_its_first_with_a_place_of_its_own():
    first, second = interfaces(made(nics=(NicWanted("br0"), NicWanted("lab"))))
    assert [interface.find("mac").get("address") for interface in (first, second)] == MACS[:2]
    assert all(second.find(tag) is not None for tag in KEPT)
    assert second.find("address") is None and second.find("boot") is None
    assert second.get("type") == "network" and second.find("source").attrib == {"network": "lab"}


def test_surplus_nics_of_the_template_go():
    assert interfaces(made(nics=())) == []


def test_without_nics_in_what_is_wanted_the_templates_stay_with_new_macs():
    (interface,) = interfaces(made())
    assert interface.find("source").get("bridge") == "old" and interface.find("mac").get("address") == MACS[0]


def test_a_port_group_stays_with_its_network_and_goes_with_another():
    template = TEMPLATE.replace("type='bridge'><mac", "type='network'><mac").replace(
        "bridge='old'", "network='corp' portgroup='p1'"
    )
    (same,) = interfaces(made(template, nics=(NicWanted("corp"),)))
    assert same.find("source").attrib == {"network": "corp", "portgroup": "p1"}
    (other,) = interfaces(made(template, nics=(NicWanted("lab"),)))
    assert other.get("type") == "network" and other.find("source").attrib == {"network": "lab"}


@pytest.mark.parametrize(
    "element",
    [
        "<nvram template='/fw/vars.fd'>/nvram/debian_VARS.fd</nvram>",
        "<nvram type='file' template='/fw/vars.fd'><source file='/nvram/debian_VARS.fd'/></nvram>",
    ],
)
def test_uefi_variables_are_the_clones_own_in_both_forms_of_the_element(element: str):
    template = TEMPLATE.replace("<smbios mode", f"<loader>/fw/code.fd</loader>{element}<smbios mode")
    assert clone_xml.nvram_path(ET.fromstring(template)) == "/nvram/debian_VARS.fd"
    fresh = made(template).find("os/nvram")
    assert "debian_VARS" not in ET.tostring(fresh, encoding="unicode") and fresh.attrib == {"template": "/fw/vars.fd"}
    assert clone_xml.nvram_path(made(template, nvram="/nvram/web1_VARS.fd")) == "/nvram/web1_VARS.fd"


def test_memory_and_cpus():
    domain = made(memory=4096, cpus=4)
    assert [(e.text, e.get("unit")) for e in (domain.find("memory"), domain.find("currentMemory"))] == [("4096", "MiB")] * 2
    assert domain.findtext("vcpu") == "4" and domain.find("vcpu").get("current") is None
    assert domain.find("cpu/topology").get("sockets") == "2"
    assert made(cpus=3).find("cpu/topology") is None, "three processors are no whole number of sockets of two cores"


def test_a_hostile_name_stays_a_name():
    vm = VmWanted("a<b>&'\"", "debian")
    assert (
        ET.fromstring(clone_xml.definition(ET.fromstring(TEMPLATE), vm, ID, DISKS, (NETWORKS, MACS))).findtext("name") == vm.name
    )


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("<hostdev mode='subsystem' type='pci'/>", "<hostdev>"),
        ("<filesystem type='mount'/>", "<filesystem>"),
        ("<shmem name='x'/>", "<shmem>"),
        ("<serial type='tcp'><source mode='bind' host='0' service='5000'/></serial>", "<serial> of type tcp"),
        ("<redirdev bus='usb' type='tcp'/>", "<redirdev> of type tcp"),
        ("<interface type='hostdev'/>", "NIC of type hostdev"),
        ("<interface type='vhostuser'/>", "NIC of type vhostuser"),
        ("<tpm><backend type='passthrough'/></tpm>", "TPM is of type passthrough"),
        ("<disk type='block' device='lun'><source dev='/dev/sdb'/><target dev='sdb'/></disk>", "lun"),
        ("<disk type='network'><source protocol='rbd'/><target dev='vdd'/></disk>", "of type network"),
        ("<disk type='file'><source file='/x'><encryption format='luks'/></source><target dev='vdd'/></disk>", "encrypted"),
    ],
)
def test_what_only_one_vm_can_have_is_refused_by_name(device: str, said: str):
    template = ET.fromstring(TEMPLATE.replace("<redirdev", f"{device}<redirdev", 1))
    assert said in (clone_xml.unclonable(template) or "")


def test_an_ordinary_template_can_be_cloned_and_one_without_a_disk_cannot():
    assert clone_xml.unclonable(ET.fromstring(TEMPLATE)) is None
    assert "no disk" in (clone_xml.unclonable(ET.fromstring("<domain><devices/></domain>")) or "")


# Which CD/DVD drive is added -----------------------------------------------------------------------------------------------

Q35 = TEMPLATE.replace("pc-i440fx-7.2", "pc-q35-7.2").replace("dev='hdc' bus='ide'", "dev='sda' bus='sata'")
VIRTIO_SCSI = "<controller type='scsi' index='0' model='virtio-scsi'/>"


def test_the_drive_is_on_virtio_scsi_where_the_template_has_that():
    domain = made(Q35.replace("<redirdev", f"{VIRTIO_SCSI}<redirdev"))
    assert [(drive.bus, drive.target) for drive in kvm_domain.cdroms(domain)] == [("sata", "sda"), ("scsi", "sdb")]


def test_else_it_is_on_the_bus_of_the_drives_that_are_there():
    assert [drive.bus for drive in kvm_domain.cdroms(made(Q35))] == ["sata", "sata"]


def test_the_option_decides_and_brings_the_controller():
    domain = made(Q35, cd_bus="scsi")
    assert [drive.bus for drive in kvm_domain.cdroms(domain)] == ["sata", "scsi"]
    assert [c.get("model") for c in domain.findall("devices/controller[@type='scsi']")] == ["virtio-scsi"]


# The NICs of a VM that is there --------------------------------------------------------------------------------------------


def changed(*wanted: NicWanted) -> tuple[bool, list[ET.Element]]:
    domain = made(nics=(NicWanted("br0"), NicWanted("lab")))
    devices = domain.find("devices")
    return nics.change_nics(devices, wanted, NETWORKS, MACS[5:]), devices.findall("interface")


def test_nics_that_fit_stay_as_they_are():
    assert not changed(NicWanted("br0"), NicWanted("lab", MACS[1]))[0]


def test_a_corrected_bridge_keeps_mac_and_settings():
    done, (first, second) = changed(NicWanted("br1"), NicWanted("lab"))
    assert done and first.find("source").get("bridge") == "br1" and first.find("mac").get("address") == MACS[0]
    assert first.find("vlan") is not None and second.find("source").get("network") == "lab"


def test_a_network_with_a_vlan_of_its_own_takes_the_place_of_the_nics_tag_and_port():
    done, (first, second) = changed(NicWanted("vlan130"), NicWanted("vlan130"))
    assert done and [nics.network_of(interface) for interface in (first, second)] == ["vlan130", "vlan130"]
    for interface in (first, second):
        assert interface.get("type") == "network" and interface.find("vlan") is None and interface.find("virtualport") is None
        assert interface.find("model") is not None


def test_a_nic_is_known_by_its_mac_wherever_it_stands():
    done, found = changed(NicWanted("lab", MACS[1]), NicWanted("br1"), NicWanted("corp"))
    assert (
        done
        and [nics.mac_of(interface) for interface in found] == [MACS[1], MACS[5], MACS[6]][: len(found)]
        or [nics.mac_of(interface) for interface in found] == [MACS[1], MACS[0], MACS[5]]
    )
    assert [nics.network_of(interface) for interface in found] == ["lab", "br1", "corp"]


def test_surplus_nics_of_a_vm_go():
    done, found = changed(NicWanted("br0"))
    assert done and [nics.mac_of(interface) for interface in found] == [MACS[0]]
