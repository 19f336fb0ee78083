# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import NetworkWanted
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import network_xml

DEBIAN, NEWEST = 9_000_000, 11_000_000


@pytest.mark.parametrize(
    ("wanted", "xml"),
    [
        (NetworkWanted("corp", 0, "br0"), ""),
        (NetworkWanted("corp", 120, "br0"), '<vlan><tag id="120" /></vlan>'),
        (NetworkWanted("corp", 120, "br0", host_vlan=True), ""),
        (
            NetworkWanted("corp", 120, "br0", openvswitch=True),
            '<virtualport type="openvswitch" /><vlan><tag id="120" /></vlan>',
        ),
    ],
)
def test_a_shared_network_is_a_bridge_of_the_host_and_nothing_else(wanted: NetworkWanted, xml: str):
    made = network_xml.network_xml(wanted)
    assert made == f'<network><name>corp</name><forward mode="bridge" /><bridge name="br0" />{xml}</network>'
    facts = network_xml.facts_of(ET.fromstring(made))
    assert network_xml.fits(facts, wanted) and network_xml.serving("corp", facts) is None
    assert facts.words() == network_xml.words_of(wanted)


def test_names_cannot_break_out_of_the_definition():
    made = ET.fromstring(network_xml.network_xml(NetworkWanted("a<dns/>'\"&", 1, "b'\"<")))
    assert made.findtext("name") == "a<dns/>'\"&" and made.find("dns") is None


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        ("<forward mode='nat'/><ip address='192.168.122.1'><dhcp/></ip>", ["gives addresses by DHCP", "forward mode nat"]),
        ("<forward/>", ["forward mode nat"]),
        ("<forward mode='route'/>", ["forward mode route"]),
        ("<forward mode='open'/>", ["forward mode open"]),
        ("", ["isolated"]),
        ("<dns enable='yes'/>", ["answers DNS", "isolated"]),
        ("<forward mode='bridge'/><ip><dhcp/></ip>", ["gives addresses by DHCP"]),
    ],
)
def test_a_network_that_serves_its_vms_itself_is_refused_with_the_remedy(xml: str, words: list[str]):
    told = network_xml.serving("corp", network_xml.facts_of(ET.fromstring(f"<network>{xml}</network>")))
    assert told is not None and "vlan and bridge" in told and "net-undefine" in told
    for word in words:
        assert word in told


@pytest.mark.parametrize("mode", ["bridge", "private", "vepa", "passthrough", "hostdev"])
def test_a_network_that_only_hands_its_nics_on_may_be_a_shared_one(mode: str):
    facts = network_xml.facts_of(ET.fromstring(f"<network><forward mode='{mode}'/></network>"))
    assert network_xml.serving("corp", facts) is None


@pytest.mark.parametrize(
    ("wanted", "version", "refused"),
    [
        (NetworkWanted("n", 120, "br0"), DEBIAN, True),
        (NetworkWanted("n", 120, "br0"), 10_010_000, True),
        (NetworkWanted("n", 120, "br0"), NEWEST, False),
        (NetworkWanted("n", 120, "br0", openvswitch=True), DEBIAN, False),
        (NetworkWanted("n", 120, "br0", host_vlan=True), DEBIAN, False),
        (NetworkWanted("n", 0, "br0"), DEBIAN, False),
    ],
)
def test_tags_on_linux_bridges_need_a_libvirt_that_can(wanted: NetworkWanted, version: int, refused: bool):
    told = network_xml.tag_problem(wanted, version)
    assert (told is not None) is refused
    if told is not None:
        assert "VLAN 120 on the Linux bridge br0" in told and "openvswitch: true" in told and "host_vlan: true" in told


@pytest.mark.parametrize(
    ("xml", "tagged"),
    [("<vlan><tag id='1'/></vlan>", True), ("<portgroup name='p'><vlan><tag id='1'/></vlan></portgroup>", True), ("", False)],
)
def test_networks_with_tags_of_their_own_are_known(xml: str, tagged: bool):
    assert network_xml.has_own_tags(ET.fromstring(f"<network>{xml}</network>")) is tagged
