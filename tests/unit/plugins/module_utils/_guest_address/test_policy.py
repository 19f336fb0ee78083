# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address import policy
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import NicRules, Reading

MAC = "52:54:00:aa:bb:01"
OTHER = "52:54:00:aa:bb:02"


def decide(readings, rules=None, mac=MAC, device=0, previous=None):
    return policy.decide(mac, device, readings, rules or NicRules(), "agent", previous)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("52:54:00:AA:BB:01", MAC),
        ("52-54-00-aa-bb-01", MAC),
        ("5254.00aa.bb01", MAC),
        ("525400aabb01", MAC),
        ("52:54:00:aa:bb", None),
        ("zz:54:00:aa:bb:01", None),
        ("", None),
        (None, None),
        ("5" * 5000, None),
    ],
)
def test_normalize_mac(text, expected):
    assert policy.normalize_mac(text) == expected


@pytest.mark.parametrize(
    "text, usable",
    [
        ("10.0.0.5", True),
        ("10.0.0.5/24", True),
        ("2001:db8::5", True),
        ("fd00::1", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("169.254.3.4", False),
        ("fe80::1%eth0", False),
        ("0.0.0.0", False),
        ("0.1.2.3", False),
        ("255.255.255.255", False),
        ("240.0.0.1", False),
        ("224.0.0.251", False),
        ("ff02::1", False),
        ("::", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.5", True),
    ],
)
def test_usable_addresses(text, usable):
    assert policy.is_usable(policy.parse_address(text)) is usable


@pytest.mark.parametrize(
    "text", ["", "10.0.0", "10.0.0.256", "010.0.0.1", "{{ 1 + 1 }}", "10.0.0.1\nx", None, 5, b"10.0.0.1", "1" * 5000]
)
def test_what_is_no_address_is_dropped(text):
    assert policy.parse_address(text) is None


def test_mac_decides_over_device_and_name():
    found = decide(
        [Reading(["10.0.0.9"], mac=OTHER, device=0, interface="eth0"), Reading(["10.0.0.5"], mac=MAC.upper(), device=7)]
    )
    assert found.ip4_address == "10.0.0.5"
    assert found.source == "agent"
    assert found.reason is None


def test_device_counts_only_without_a_mac():
    assert decide([Reading(["10.0.0.5"], device=0)]).ip4_address == "10.0.0.5"
    assert decide([Reading(["10.0.0.5"], mac=OTHER, device=0)]).reason == "no_lease"


def test_guest_bridges_do_not_count_unless_they_carry_the_nics_mac():
    readings = [Reading(["172.17.0.1"], device=0, interface="docker0"), Reading(["10.0.0.5"], device=0, interface="eth0")]
    assert decide(readings).ip4_address == "10.0.0.5"
    assert decide(readings[:1]).reason == "no_lease"
    assert decide([Reading(["10.0.0.6"], mac=MAC, interface="br-lan")]).ip4_address == "10.0.0.6"


def test_a_users_ignore_rule_counts_even_with_the_nics_mac():
    rules = NicRules(ignore_interfaces=("br-lan",))
    assert decide([Reading(["10.0.0.6"], mac=MAC, interface="br-lan")], rules).reason == "no_lease"


def test_a_vlan_interface_on_the_nic_comes_after_the_nic():
    readings = [Reading(["10.7.0.5"], mac=MAC, interface="eth0.7"), Reading(["10.0.0.5"], mac=MAC, interface="eth0")]
    assert decide(readings).ip4_address == "10.0.0.5"


def test_cidr_filters_and_says_so():
    rules = NicRules(cidrs=("10.99.0.1/24",))
    found = decide([Reading(["192.168.1.5", "fe80::1", "2001:db8::5"], mac=MAC)], rules)
    assert found.ip4_address is None
    assert found.reason == "filtered_out"
    assert "192.168.1.5" in found.message
    assert "10.99.0.1/24" in found.message
    assert found.ip6_addresses == ("2001:db8::5",)
    assert decide([Reading(["192.168.1.5", "10.99.0.7"], mac=MAC)], rules).ip4_address == "10.99.0.7"


def test_an_address_outside_the_announced_range_counts_but_is_flagged():
    rules = NicRules(ip_range="10.99.0.50-10.99.0.150")
    assert decide([Reading(["10.99.0.50"], mac=MAC)], rules).in_range is True
    outside = decide([Reading(["10.99.0.151"], mac=MAC)], rules)
    assert (outside.ip4_address, outside.in_range) == ("10.99.0.151", False)
    assert decide([Reading(["10.99.0.151"], mac=MAC)]).in_range is None


def test_the_recorded_address_stays_while_the_guest_has_it():
    readings = [Reading(["10.0.0.5", "10.0.0.6"], mac=MAC)]
    assert decide(readings, previous="10.0.0.6").ip4_address == "10.0.0.6"
    assert decide(readings, previous="10.0.0.7").ip4_address == "10.0.0.5"


@pytest.mark.parametrize(
    "readings, detail",
    [
        ([], "reports no address"),
        ([Reading([], mac=MAC)], "has no address"),
        ([Reading(["169.254.0.9", "fe80::1"], mac=MAC)], "link-local"),
        ([Reading(["2001:db8::5"], mac=MAC)], "IPv6 addresses only"),
    ],
)
def test_no_lease_says_what_was_seen(readings, detail):
    found = decide(readings)
    assert (found.ip4_address, found.reason) == (None, "no_lease")
    assert detail in found.message


def test_hostile_amounts_are_bounded():
    flood = [f"10.{i // 65536}.{i // 256 % 256}.{i % 256}" for i in range(100000)]
    found = decide([Reading(flood, mac=MAC)] * 1000)
    assert len(found.addresses) == policy.MAX_ADDRESSES
    noise = [Reading(["\x00" * 10, "<script>", "9" * 9999], mac=MAC)]
    assert decide(noise).addresses == ()


def test_one_nic_takes_readings_that_name_nobody():
    found = policy.decide_vm([(0, MAC)], [Reading(["10.0.0.5"], interface="eth0")], {}, "lease_file")
    assert found[0].ip4_address == "10.0.0.5"
    assert policy.decide_vm([(0, MAC)], [Reading(["172.17.0.1"], interface="docker0")], {}, "lease_file")[0].reason == "no_lease"


def test_several_nics_take_such_readings_only_by_a_cidr_of_their_own():
    nics = [(0, MAC), (1, OTHER)]
    readings = [Reading(["10.1.0.5"]), Reading(["10.2.0.5"])]
    unknown = policy.decide_vm(nics, readings, {}, "lease_file")
    assert [unknown[d].ip4_address for d in (0, 1)] == [None, None]
    rules = {0: NicRules(cidrs=("10.2.0.0/24",)), 1: NicRules(cidrs=("10.1.0.0/24",))}
    known = policy.decide_vm(nics, readings, rules, "lease_file")
    assert [known[d].ip4_address for d in (0, 1)] == ["10.2.0.5", "10.1.0.5"]


@pytest.mark.parametrize("value", ["10.99.0.0/33", "corp", "10.99.0.0/24,10.98.0.0/24"])
def test_bad_cidr_is_named(value):
    with pytest.raises(policy.RuleError, match="CIDR") as caught:
        policy.parse_networks([value])
    assert value in str(caught.value)


@pytest.mark.parametrize("value", ["10.99.0.50", "10.99.0.150-10.99.0.50", "a-b", "10.0.0.1-2001:db8::1"])
def test_bad_range_is_named(value):
    with pytest.raises(policy.RuleError, match="range") as caught:
        policy.parse_range(value)
    assert value in str(caught.value)


def test_a_verdict_says_all_that_the_guest_has_and_what_to_do():
    rules = NicRules(cidrs=("10.99.0.0/24", "10.98.0.0/24"))
    filtered = decide([Reading(["192.168.1.1", "192.168.1.2", "fd00::1"], mac=MAC)], rules)
    assert filtered == policy.NicAddress(
        ip6_addresses=("fd00::1",),
        addresses=("192.168.1.1", "192.168.1.2", "fd00::1"),
        source="agent",
        reason="filtered_out",
        message=f"NIC {MAC} has 192.168.1.1, 192.168.1.2, but that is not in 10.99.0.0/24, 10.98.0.0/24: "
        "check the NIC's network, or the cidr of the network",
    )
    advice = "check that the DHCP server serves this network and the guest asks it"
    for addresses, detail in (
        (["fd00::1"], "it has IPv6 addresses only"),
        (["fe80::1"], "it has link-local addresses only"),
        ([], "it has no address"),
    ):
        verdict = decide([Reading(addresses, mac=MAC)], rules)
        assert (verdict.reason, verdict.source, verdict.addresses) == ("no_lease", "agent", tuple(addresses))
        assert verdict.message == f"NIC {MAC}: {detail}; {advice}"
    assert decide([], rules).message == f"NIC {MAC}: the guest reports no address for it; {advice}"
    found = decide([Reading(["10.99.0.7", "fd00::1", "fe80::1"], mac=MAC)], rules)
    assert found == policy.NicAddress("10.99.0.7", ("fd00::1",), ("10.99.0.7", "fd00::1", "fe80::1"), None, "agent")


def test_each_nic_of_a_vm_has_its_own_rules_source_and_address_before():
    readings = [Reading(["10.0.0.5", "10.0.0.6"], mac=MAC), Reading(["10.1.0.5", "10.1.0.6"], mac=OTHER)]
    rules = {1: NicRules(cidrs=("10.9.0.0/24",))}
    found = policy.decide_vm([(0, MAC), (1, OTHER)], readings, rules, "agent", {0: "10.0.0.6", 1: "10.0.0.6"})
    assert (found[0].ip4_address, found[0].source) == ("10.0.0.6", "agent")
    assert (found[1].ip4_address, found[1].source, found[1].reason) == (None, "agent", "filtered_out")


@pytest.mark.parametrize(
    "text, address",
    [("::ffff:10.0.0.5", "10.0.0.5"), ("fe80::1%eth0", "fe80::1"), (" 10.0.0.5/24 ", "10.0.0.5"), ("10.0.0.5/24/1", "10.0.0.5")],
)
def test_an_address_as_guests_write_it(text, address):
    assert str(policy.parse_address(text)) == address


def test_both_ends_of_a_range_are_in_it_and_one_address_is_a_range():
    for announced, given in (
        ("10.0.0.5-10.0.0.9", "10.0.0.5"),
        ("10.0.0.5-10.0.0.9", "10.0.0.9"),
        ("10.0.0.5-10.0.0.5", "10.0.0.5"),
    ):
        assert decide([Reading((given,), mac=MAC)], NicRules(ip_range=announced)).in_range is True


def test_the_other_familys_addresses_are_kept_beside_the_one_that_counts():
    verdict = decide([Reading(("10.0.0.5", "2001:db8::5"), mac=MAC)])
    assert (verdict.ip4_address, verdict.ip6_addresses) == ("10.0.0.5", ("2001:db8::5",))
