# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import network_rules as rules


def read(*entries: t.Any) -> list[rules.SharedNetwork]:
    return rules.read_networks(list(entries))


def test_an_entry_is_read_with_its_defaults():
    (full, bare) = read(
        {
            "name": "corp",
            "vlan": "120",
            "bridge": "br0",
            "hosts": ["esx1"],
            "host_vlan": True,
            "openvswitch": False,
            "cidr": "10.99.0.0/24",
            "ip_range": "10.99.0.50-10.99.0.150",
            "services": [],
            "family_order": [6, 4],
            "description": "the company's",
            "extra": {"ticket": 7},
        },
        {"name": "lab"},
    )
    assert full == rules.SharedNetwork(
        "corp", 120, "br0", ("esx1",), True, False, ("10.99.0.0/24",), "10.99.0.50-10.99.0.150", (), [6, 4], "the company's"
    )
    assert bare == rules.SharedNetwork("lab") and bare.vlan is None and bare.services == ("userdata",)


def test_nics_go_to_the_name_of_a_made_network_and_else_to_what_is_there():
    made, untagged, there, same = read(
        {"name": "a", "vlan": 7, "bridge": "br0"},
        {"name": "b", "vlan": 0, "bridge": "br0"},
        {"name": "c", "bridge": "br0"},
        {"name": "d"},
    )
    assert [one.nic_network for one in (made, untagged, there, same)] == ["a", "b", "br0", "d"]
    assert rules.names_on_hypervisor({"name": "a", "vlan": 7, "bridge": "br0"}) == ["a"]
    assert rules.names_on_hypervisor({"name": "a", "vlan": 7, "bridge": "br0", "host_vlan": True}) == ["a", "br0"]
    assert rules.names_on_hypervisor({"name": "c", "bridge": "br0"}) == ["c", "br0"]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("corp", ["[0]", "mapping"]),
        ({}, ["[0]", "no name"]),
        ({"name": 120}, ["120", "quotes"]),
        ({"name": "n", "gateway": "x"}, ["there is no key 'gateway'"]),
        ({"name": "n", "vlna": 1}, ["did you mean vlan"]),
        ({"name": "n", "vlan": 4095}, ["vlan is 4095", "1 to 4094", "0 for an untagged"]),
        ({"name": "n", "vlan": -1}, ["vlan is -1"]),
        ({"name": "n", "vlan": True}, ["vlan is True"]),
        ({"name": "n", "vlan": "120a"}, ["vlan is '120a'"]),
        ({"name": "n", "vlan": 1.5}, ["vlan is 1.5"]),
        ({"name": "a/b", "vlan": 1}, ["a/b", "name of a network to be made", "80"]),
        ({"name": "n" * 81, "vlan": 1}, ["80 printable"]),
        ({"name": " n", "vlan": 1}, ["no blank"]),
        ({"name": "n\n", "vlan": 1}, ["printable"]),
        ({"name": "n", "bridge": ["br0"]}, ["bridge is ['br0']"]),
        ({"name": "n", "hosts": "esx1"}, ["hosts is 'esx1'", "list"]),
        ({"name": "n", "host_vlan": "yes"}, ["host_vlan is 'yes'", "true or false"]),
        ({"name": "n", "openvswitch": 1}, ["openvswitch is 1"]),
        ({"name": "n", "cidr": "10.0.0.0/99"}, ["cidr", "10.0.0.0/99"]),
        ({"name": "n", "ip_range": "10.0.0.9"}, ["ip_range", "10.0.0.9"]),
        ({"name": "n", "ip_range": "10.0.0.9-10.0.0.1"}, ["ip_range"]),
        ({"name": "n", "cidr": "10.0.0.0/24", "ip_range": "10.0.0.9-10.0.1.9"}, ["not in cidr 10.0.0.0/24", "correct one"]),
        ({"name": "n", "services": ["dhcp"]}, ["services", "dhcp", "[userdata]"]),
        ({"name": "n", "services": "userdata"}, ["[] or [userdata]"]),
        ({"name": "n", "family_order": [5]}, ["family_order is [5]", "[6, 4]"]),
    ],
)
def test_mistakes_are_named_with_the_way_out(entry: t.Any, words: list[str]):
    with pytest.raises(OptionError) as caught:
        read(entry)
    for word in words:
        assert word in str(caught.value)


def test_names_differ_and_the_list_is_a_list():
    with pytest.raises(OptionError, match="corp more than once"):
        read({"name": "corp"}, {"name": "corp", "vlan": 1})
    with pytest.raises(OptionError, match="must be a list"):
        rules.read_networks("corp")


def ranged(name: str, ip_range: str | None, **more: t.Any) -> dict[str, t.Any]:
    return {"name": name, "ip_range": ip_range, **more}


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        (ranged("a", "10.0.0.1-10.0.0.9"), ranged("b", "10.0.0.9-10.0.0.20"), 1),
        (ranged("a", "10.0.0.1-10.0.0.9"), ranged("b", "10.0.0.10-10.0.0.20"), 0),
        (ranged("a", "10.0.0.1-10.0.0.99"), ranged("b", "10.0.0.20-10.0.0.30"), 1),
        (ranged("a", "10.0.0.1-10.0.0.9"), ranged("b", None), 0),
        (ranged("a", "10.0.0.1-10.0.0.9"), ranged("b", "::a00:1-::a00:9"), 0),
        (ranged("a", "fd00::1-fd00::9"), ranged("b", "fd00::9-fd00::ff"), 1),
        # One network on two hypervisors.
        (ranged("a", "10.0.0.1-10.0.0.9"), ranged("a", "10.0.0.1 - 10.0.0.9"), 0),
        (ranged("a", "10.0.0.1-10.0.0.9"), ranged("a", "10.0.0.1-10.0.0.8"), 1),
        (
            ranged("a", "10.0.0.1-10.0.0.9", vlan=7, cidr="10.0.0.0/24"),
            ranged("VLAN 7", "10.0.0.1-10.0.0.9", vlan=7, cidr="10.0.0.0/24"),
            0,
        ),
        (ranged("a", "10.0.0.1-10.0.0.9", vlan=7), ranged("b", "10.0.0.1-10.0.0.9", vlan=8), 1),
    ],
)
def test_ranges_with_addresses_in_common_are_told_of_both_here_and_elsewhere(one: t.Any, other: t.Any, found: int):
    sentences = rules.overlaps(read(one), read(other))
    assert len(sentences) == found
    if one["name"] != other["name"]:
        assert rules.overlaps(read(one, other)) == sentences
    for sentence in sentences:
        assert one["ip_range"] in sentence and other["ip_range"] in sentence and "DHCP administrator" in sentence


def test_other_hypervisors_are_not_compared_with_each_other():
    others = read(ranged("x", "10.0.0.1-10.0.0.9"), ranged("y", "10.0.0.1-10.0.0.9"))
    assert rules.overlaps(read(ranged("a", "10.1.0.1-10.1.0.9")), others) == []


def test_users_are_named_in_a_bounded_sentence():
    sentence = rules.in_use("corp", [f"vm{number}" for number in range(9)])
    assert sentence.startswith("corp is used by vm0, vm1, vm2, vm3, vm4 and 4 more:")
