# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.vmops.external_dhcp.plugins.filter.xe_networks import FilterModule

xe_networks = FilterModule().filters()["xe_networks"]


def test_addresses_are_parsed_and_sorted_into_families():
    text = "networks (MRO)    : 0/ip: 10.99.0.60; 0/ipv4/1: 169.254.1.1; 0/ipv6/0: fd00:0000:0000:0000:0000:0000:0000:0001"
    assert xe_networks(text) == [
        {
            "device": 0,
            "mac": None,
            "ip4_address": "10.99.0.60",
            "ip6_addresses": ["fd00::1"],
            "addresses": ["10.99.0.60", "169.254.1.1", "fd00::1"],
        }
    ]


def test_what_a_hostile_guest_writes_does_not_come_through():
    (entry,) = xe_networks("0/ip: {{ lookup('pipe', 'id') }}; 0/ipv4/1: 10.99.0.5")
    assert entry["addresses"] == ["10.99.0.5"]


def test_no_tools_is_an_empty_list():
    assert xe_networks("networks (MRO)    : <not in database>\n\n\n") == []


@pytest.mark.parametrize("value", [None, 7, ["0/ip: 10.0.0.1"], "Error: No matching VMs found"])
def test_anything_else_is_an_error(value):
    with pytest.raises(AnsibleFilterError, match="xe"):
        xe_networks(value)
