# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import domain as kvm_domain
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._kvm_clone import CloneError, clone, disks

TEMPLATE = """
<domain type='kvm'>
  <name>debian</name><uuid>11111111-1111-1111-1111-111111111111</uuid><title>the template</title>
  <os><type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type><nvram>/var/lib/libvirt/qemu/nvram/debian.fd</nvram></os>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/><source file='/img/debian.qcow2' index='1'/>
      <backingStore/><target dev='vda' bus='virtio'/><serial>abc</serial></disk>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/img/data.img'/><target dev='vdb' bus='virtio'/></disk>
    <disk type='file' device='disk'><source file='/img/shared.img'/><target dev='vdc' bus='virtio'/><shareable/></disk>
    <disk type='file' device='cdrom'><source file='/img/debian.iso'/><target dev='hdc' bus='ide'/><readonly/></disk>
    <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='old'/><model type='e1000'/><rom enabled='no'/></interface>
    <serial type='pty'><log file='/var/log/debian-serial.log'/></serial>
    <channel type='unix'><source mode='bind' path='/run/debian.sock'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
  </devices>
</domain>"""


def nic(network, mac=None):
    return {"device": 0, "network": network, "mac": mac}


def made(nics=()):
    result = clone(TEMPLATE, "web1", nics, "/img")
    return ET.fromstring(result["xml"]), result["volumes"]


def test_a_clone_has_its_own_identity_and_none_of_the_templates():
    domain, _volumes = made()
    assert domain.findtext("name") == "web1"
    assert domain.find("uuid") is None
    text = ET.tostring(domain, encoding="unicode")
    for foreign in ("11111111", "the template", "debian.iso", "debian.sock", "debian.fd", "52:54:00:00:00:01", "debian-serial"):
        assert foreign not in text


def test_a_clone_logs_beside_its_template():
    domain, _volumes = made()
    assert domain.find("devices/serial/log").get("file") == "/var/log/web1-serial.log"


def test_disks_become_overlays_of_the_templates_disks():
    domain, volumes = made()
    sources = [d.find("source").get("file") for d in domain.findall("devices/disk[@device='disk']")]
    assert sources == ["/img/web1.qcow2", "/img/web1-vdb.qcow2", "/img/shared.img"]
    assert [v["name"] for v in volumes] == ["web1.qcow2", "web1-vdb.qcow2"]
    first, second = (ET.fromstring(v["xml"]) for v in volumes)
    assert first.findtext("name") == "web1.qcow2"
    assert first.findtext("backingStore/path") == "/img/debian.qcow2"
    assert first.find("backingStore/format").get("type") == "qcow2"
    assert first.find("target/format").get("type") == "qcow2"
    assert second.find("backingStore/format").get("type") == "raw"
    assert domain.find("devices/disk/driver").attrib == {"name": "qemu", "type": "qcow2", "cache": "none"}


def test_a_second_empty_cd_drive_is_there_for_the_config_drive():
    domain, _volumes = made()
    drives = kvm_domain.cdroms(domain)
    assert [(d.target, d.source) for d in drives] == [("hdc", None), ("hdd", None)]


def test_nics_are_those_of_the_plan_on_the_templates_model():
    domain, _volumes = made([nic("br1", "52:54:00:00:00:09"), nic("br2")])
    found = domain.findall("devices/interface")
    assert [i.find("source").get("bridge") for i in found] == ["br1", "br2"]
    assert found[0].find("mac").get("address") == "52:54:00:00:00:09"
    assert found[1].find("mac") is None
    assert [i.find("model").get("type") for i in found] == ["e1000", "e1000"]
    assert [i.find("rom").get("enabled") for i in found] == ["no", "no"]


def test_without_nics_in_the_plan_the_templates_stay_with_new_macs():
    domain, _volumes = made()
    (interface,) = domain.findall("devices/interface")
    assert interface.find("source").get("bridge") == "old"
    assert interface.find("mac") is None


def test_a_hostile_name_stays_a_name():
    result = clone(TEMPLATE, "a<b>&'\"", [], "/img")
    assert ET.fromstring(result["xml"]).findtext("name") == "a<b>&'\""


def test_only_a_domains_own_disks_go_with_it():
    assert disks(TEMPLATE) == ["/img/debian.qcow2", "/img/data.img"]


@pytest.mark.parametrize(
    "disk", ["", "<disk type='block' device='disk'><source dev='/dev/vg/lv'/><target dev='vda' bus='virtio'/></disk>"]
)
def test_what_cannot_be_cloned_is_said(disk):
    with pytest.raises(CloneError, match="template t"):
        clone(f"<domain><name>t</name><devices>{disk}</devices></domain>", "web1", [], "/img")
