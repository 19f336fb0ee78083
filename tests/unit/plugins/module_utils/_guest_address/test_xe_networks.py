# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address import xe_networks
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import Reading


def test_keys_are_ordered_as_numbers():
    readings = xe_networks.readings_of(
        {"10/ip": "10.0.10.1", "2/ipv4/10": "10.0.2.3", "2/ipv4/9": "10.0.2.2", "2/ip": "10.0.2.1", "0/ip": "10.0.0.1"}
    )
    assert readings == (
        Reading(("10.0.0.1",), device=0),
        Reading(("10.0.2.1", "10.0.2.2", "10.0.2.3"), device=2),
        Reading(("10.0.10.1",), device=10),
    )


def test_the_duplicate_of_todays_guest_agents_is_one_address():
    networks = {"0/ip": "10.0.0.1", "0/ipv4/0": "10.0.0.1", "0/ipv6/0": "fe80::1", "0/ipv6/1": "fd00::1"}
    assert xe_networks.readings_of(networks) == (Reading(("10.0.0.1", "fe80::1", "fd00::1"), device=0),)


def test_several_addresses_in_one_value():
    assert xe_networks.readings_of({"0/ip": "10.0.0.1 10.0.0.2"}) == (Reading(("10.0.0.1", "10.0.0.2"), device=0),)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("254", Reading(("10.0.0.1",), device=254)),
        ("255", Reading(("10.0.0.1",))),
        ("99999", Reading(("10.0.0.1",))),
        ("00163e0001ff", Reading(("10.0.0.1",), mac="00:16:3e:00:01:ff")),
        ("001122334455", Reading(("10.0.0.1",), mac="00:11:22:33:44:55")),
        ("p1s0", Reading(("10.0.0.1",))),
    ],
)
def test_what_the_number_may_be(number, expected):
    assert xe_networks.readings_of({f"{number}/ip": "10.0.0.1"}) == (expected,)


@pytest.mark.parametrize(
    "key", ["", "ip", "0", "0/", "0/ip/", "0/ipv5/0", "0/ipv4/x", "0/ip\n", "../0/ip", "a" * 17 + "/ip", 7, None]
)
def test_senseless_keys_are_left_out(key):
    assert xe_networks.readings_of({key: "10.0.0.1"}) == ()


@pytest.mark.parametrize("value", ["", None, 7, [], "x" * 1025])
def test_senseless_values_are_left_out(value):
    assert xe_networks.readings_of({"0/ip": value}) == ()


def test_bounds():
    many = {f"{n}/ipv4/{i}": f"10.0.{n}.{i}" for n in range(5) for i in range(200)}
    readings = xe_networks.readings_of(many)
    assert sum(len(r.addresses) for r in readings) <= xe_networks.MAX_ENTRIES
    assert max(len(r.addresses) for r in readings) == xe_networks.MAX_PER_INTERFACE


@given(st.dictionaries(st.text(max_size=30), st.text(max_size=80), max_size=50))
def test_nothing_a_guest_writes_raises(networks):
    for reading in xe_networks.readings_of(networks):
        assert reading.device is None or 0 <= reading.device <= 254
        assert all(isinstance(a, str) and a for a in reading.addresses)


# -- the text of xe ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "networks (MRO)    : 0/ip: 10.99.0.60; 0/ipv6/0: fe80:0:0:0:216:3eff:fe00:1\n\n\n",
        "networks (MRO): 0/ip: 10.99.0.60; 0/ipv6/0: fe80:0:0:0:216:3eff:fe00:1",
        "0/ip: 10.99.0.60; 0/ipv6/0: fe80:0:0:0:216:3eff:fe00:1",
        "    networks (MRO)    : 0/ip: 10.99.0.60;\n 0/ipv6/0: fe80:0:0:0:216:3eff:fe00:1 ;",
    ],
)
def test_text_of_one_vm(text):
    assert xe_networks.parse_xe_networks(text) == {"0/ip": "10.99.0.60", "0/ipv6/0": "fe80:0:0:0:216:3eff:fe00:1"}


@pytest.mark.parametrize("text", ["", "\n", "networks (MRO)    : ", "networks (MRO)    : <not in database>", "<not in database>"])
def test_text_of_a_vm_without_tools(text):
    assert xe_networks.parse_xe_networks(text) == {}


@pytest.mark.parametrize(
    "text",
    [
        "networks (MRO) : 0/ip: 10.0.0.1\n\n\nnetworks (MRO) : 0/ip: 10.0.0.2\n\n\n",
        "0/ip: 10.0.0.1,0/ip: 10.0.0.2",
        "networks (MRO) : <not in database>\n\n\nnetworks (MRO) : 0/ip: 10.0.0.2",
    ],
)
def test_text_of_several_vms_is_refused(text):
    with pytest.raises(xe_networks.XeTextError, match=r"more than one VM|not what"):
        xe_networks.parse_xe_networks(text)


@pytest.mark.parametrize("text", ["Error: No matching VMs found", "uuid ( RO) : 1-2-3", "10.0.0.1", "x" * 70_000])
def test_other_text_is_refused(text):
    with pytest.raises(xe_networks.XeTextError):
        xe_networks.parse_xe_networks(text)


@given(
    st.dictionaries(
        st.builds("{}/ipv4/{}".format, st.integers(0, 300), st.integers(0, 20)),
        st.ip_addresses(v=4).map(str),
        min_size=1,
        max_size=20,
    )
)
def test_what_xe_prints_is_read_back(networks):
    printed = "networks (MRO)    : " + "; ".join(f"{k}: {v}" for k, v in networks.items()) + "\n\n\n"
    assert xe_networks.parse_xe_networks(printed) == networks


def test_entries_that_make_no_sense_do_not_hide_those_behind_them_and_their_order_is_that_of_their_index():
    networks = {"x": "1", "0/ipv6/0": "fd00::1", "0/ipv4/1": "10.0.0.2", "0/ipv4/0": "10.0.0.9", "0/ip": "10.0.0.9"}
    assert xe_networks.readings_of(networks) == (Reading(("10.0.0.9", "10.0.0.2", "fd00::1"), device=0),)
