# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._vm_plan import record_entries, vm_plan

NETWORKS = [
    {"name": "corp", "bridge": "br0", "cidr": "10.99.0.0/24", "ip_range": "10.99.0.50-10.99.0.150", "services": ["userdata"]},
    {"name": "plain", "services": []},
]


def test_a_plan_joins_vm_and_networks():
    (entry,) = vm_plan(
        [
            {
                "name": "web1",
                "template": "debian",
                "networks": ["corp", {"name": "plain", "mac": "52-54-00-AA-BB-01", "required": False, "ignore_interfaces": "wg"}],
                "password": "s3cretPassw0rd",
                "user_data": {"role": "web"},
            }
        ],
        NETWORKS,
    )
    assert entry["template"] == "debian"
    assert entry["nics"] == [
        {
            "device": 0,
            "shared_network": "corp",
            "network": "br0",
            "mac": None,
            "required": True,
            "cidrs": ["10.99.0.0/24"],
            "ip_range": "10.99.0.50-10.99.0.150",
            "ignore_interfaces": [],
        },
        {
            "device": 1,
            "shared_network": "plain",
            "network": "plain",
            "mac": "52:54:00:aa:bb:01",
            "required": False,
            "cidrs": [],
            "ip_range": None,
            "ignore_interfaces": ["wg"],
        },
    ]
    assert entry["drive"] == {
        "name": "web1",
        "password": "s3cretPassw0rd",
        "user_data": {"role": "web"},
        "services": ["userdata"],
        "network": "corp",
    }


def test_the_first_networks_services_decide_for_the_drive():
    (entry,) = vm_plan([{"name": "a", "networks": ["plain", "corp"]}], NETWORKS)
    assert (entry["drive"]["services"], entry["drive"]["network"]) == ([], "plain")
    (entry,) = vm_plan([{"name": "a"}], NETWORKS)
    assert "services" not in entry["drive"]


def test_what_the_module_vm_needs_is_in_one_place():
    sizes = {"memory": 2048, "cpus": 2, "disk_size": 20, "full_clone": True, "placement": {"host": "h1"}}
    nics = ["corp", {"name": "plain", "mac": "52-54-00-AA-BB-01"}]
    (entry,) = vm_plan([{"name": "web1", "template": "debian", "networks": nics, "password": "pw-One-2", **sizes}], NETWORKS)
    assert entry["machine"] == {
        "name": "web1",
        "template": "debian",
        "nics": [{"network": "br0"}, {"network": "plain", "mac": "52:54:00:aa:bb:01"}],
        **sizes,
    }
    (entry,) = vm_plan([{"name": "web1"}])
    assert entry["machine"] == {"name": "web1"}  # the NICs stay the template's


def test_metadata_of_all_vms_gives_way_to_a_vms_own():
    defaults = {"availability_zone": "zone1", "service_offering": "small"}
    vms = [{"name": "a"}, {"name": "b", "metadata": {"service-offering": "large", "x": "1"}}]
    a, b = vm_plan(vms, metadata=defaults)
    assert a["drive"]["metadata"] == defaults
    assert b["drive"]["metadata"] == {"availability_zone": "zone1", "service-offering": "large", "x": "1"}
    with pytest.raises(OptionError, match="vm_metadata"):
        vm_plan(vms, metadata="zone1")


def test_names_choose_in_the_order_of_the_vms():
    vms = [{"name": name} for name in ("a", "b", "c")]
    assert [entry["name"] for entry in vm_plan(vms, (), ["c", "a"])] == ["a", "c"]
    assert vm_plan(vms, (), []) == []
    assert [entry["name"] for entry in vm_plan(vms, (), "c, a")] == ["a", "c"]
    with pytest.raises(OptionError, match="vm_names"):
        vm_plan(vms, (), "a,,b")


@pytest.mark.parametrize(
    "vms, networks, words",
    [
        ([{"template": "x"}], [], ["vms[0]", "name"]),
        ([{"name": "a"}, {"name": "a"}], [], ["vms", "a", "more than once"]),
        ([{"name": 101}], [], ["vms[0]", "101", "quotes"]),
        ([{"name": "a", "networks": "corp"}], NETWORKS, ["networks is 'corp'", "a list", "[corp]"]),
        ([{"name": "a", "memory": "2G"}], [], ["memory is '2G'", "MiB"]),
        ([{"name": "a", "cpus": 0}], [], ["cpus is 0"]),
        ([{"name": "a", "placement": "h1"}], [], ["placement", "mapping"]),
        ([], [{"name": 120}], ["shared_networks[0]", "120", "quotes"]),
        ([], [{"name": "n", "vlan": 4095}], ["n", "vlan is 4095", "1 to 4094"]),
        ("web1", [], ["vms", "list"]),
        (["web1"], [], ["vms[0]", "mapping"]),
        ([{"name": "a", "ssh_key": "x"}], [], ["ssh_key", "did you mean ssh_keys"]),
        ([{"name": "a", "networks": ["korp"]}], NETWORKS, ["a", "korp", "shared_networks", "did you mean corp"]),
        ([{"name": "a", "networks": [{"mac": "x"}]}], NETWORKS, ["networks[0]"]),
        ([{"name": "a", "networks": [{"name": "corp", "mac": "5254"}]}], NETWORKS, ["mac", "5254"]),
        ([{"name": "a", "networks": [{"name": "corp", "cidr": "10.0.0.0/40"}]}], NETWORKS, ["cidr", "10.0.0.0/40"]),
        ([{"name": "a", "password_enabled": False, "password": "x"}], [], ["password_enabled is false"]),
        ([], [{"name": "n", "services": ["dhcp"]}], ["n", "services", "dhcp"]),
        ([], [{"name": "n", "services": "userdata"}], ["services", "[userdata]"]),
        ([], [{"name": "n", "ip_range": "10.0.0.9"}], ["ip_range", "10.0.0.9"]),
        ([], [{"name": "n", "cidr": "10.0.0.0/24", "ip_range": "10.0.1.1-10.0.1.9"}], ["ip_range", "not in cidr"]),
        ([], [{"name": "n"}, {"name": "n"}], ["shared_networks", "more than once"]),
        ([], [{"name": "n", "gateway": "10.0.0.1"}], ["gateway"]),
    ],
)
def test_mistakes_are_named(vms, networks, words):
    with pytest.raises(OptionError) as caught:
        vm_plan(vms, networks)
    for word in words:
        assert word in str(caught.value)


def test_nics_go_to_the_network_that_is_made_or_to_what_is_there():
    networks = [
        {"name": "made", "vlan": 120, "bridge": "br0"},
        {"name": "there", "bridge": "br1"},
        {"name": "same"},
    ]
    (plan,) = vm_plan([{"name": "a", "networks": ["made", "there", "same"]}], networks)
    assert [nic["network"] for nic in plan["machine"]["nics"]] == ["made", "br1", "same"]


def test_an_unknown_name_is_an_error_that_helps():
    with pytest.raises(OptionError, match="did you mean web1"):
        vm_plan([{"name": "web1"}], (), ["wbe1"])


def test_errors_never_hold_the_password():
    with pytest.raises(OptionError) as caught:
        vm_plan([{"name": "a", "password": "CANARY-pw", "passwrd": "CANARY-pw2"}])
    assert "CANARY" not in str(caught.value)


def test_record_entries_add_the_rules_to_the_nics_found():
    plan = vm_plan([{"name": "web1", "networks": ["corp"]}], NETWORKS)
    found = [
        {
            "name": "web1",
            "id": "u1",
            "nics": [{"device": 0, "mac": "m0", "network": "br0"}, {"device": 1, "mac": "m1", "network": "br9"}],
        },
        {"name": "gone", "id": None, "nics": []},
        {"name": "other", "id": "u2", "nics": [{"device": 0, "mac": "m2", "network": "br0"}]},
    ]
    assert record_entries(found, plan) == [
        {
            "name": "web1",
            "id": "u1",
            "nics": [
                {
                    "device": 0,
                    "mac": "m0",
                    "network": "br0",
                    "required": True,
                    "cidrs": ["10.99.0.0/24"],
                    "ip_range": "10.99.0.50-10.99.0.150",
                    "ignore_interfaces": [],
                },
                {"device": 1, "mac": "m1", "network": "br9"},
            ],
        },
        {"name": "other", "id": "u2", "nics": [{"device": 0, "mac": "m2", "network": "br0"}]},
    ]


def test_vms_that_a_task_has_started_are_looked_for_anew():
    found = [{"name": name, "id": name, "nics": [], "changed": name == "new"} for name in ("new", "old")]
    assert record_entries(found, []) == [
        {"name": "new", "id": "new", "nics": [], "rearm": True},
        {"name": "old", "id": "old", "nics": []},
    ]


def test_family_order_of_a_network_and_of_a_nic() -> None:
    networks = [{"name": "six", "family_order": [6, 4]}, {"name": "four"}]
    vms = [{"name": "a", "networks": ["six", "four", {"name": "six", "family_order": [4]}]}]
    plan = vm_plan(vms, networks)
    assert [nic.get("family_order") for nic in plan[0]["nics"]] == [[6, 4], None, [4]]
    found = [{"name": "a", "id": "i", "nics": [{"device": d, "mac": f"m{d}", "network": "x"} for d in range(3)]}]
    assert [nic.get("family_order") for nic in record_entries(found, plan)[0]["nics"]] == [[6, 4], None, [4]]
    with pytest.raises(OptionError, match="shared_networks, six: family_order is 6: use"):
        vm_plan([], [{"name": "six", "family_order": 6}])


def test_a_password_that_is_wanted_is_given_or_made():
    vms = [{"name": "a", "password_enabled": True}, {"name": "b", "password_enabled": True, "password_public_key": "age1own"}]
    with pytest.raises(OptionError, match="vms, a: password_enabled is true, but there is no password"):
        vm_plan(vms[:1], label="config")
    assert [entry["drive"].get("password_public_key") for entry in vm_plan(vms, password_public_key="age1all")] == [
        "age1all",
        "age1own",
    ]
    (other,) = vm_plan([{"name": "c", "password": "x"}], password_public_key="age1all")
    assert "password_public_key" not in other["drive"]
    with pytest.raises(OptionError, match="password_enabled is false"):
        vm_plan([{"name": "d", "password_enabled": False, "password_public_key": "age1own"}])
