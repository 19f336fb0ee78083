# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shared networks of a pool."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import NetworkWanted, NicWanted, VmWanted

if t.TYPE_CHECKING:
    from xapi_rig.rigging import Rig

    from ansible_collections.vmops.external_dhcp.tests.unit.conftest import RunModule

LAB = {"name": "lab", "vlan": 200, "bridge": "bond0", "cidr": "10.98.0.0/24", "ip_range": "10.98.0.10-10.98.0.99"}


@pytest.fixture
def play(rig: Rig, run_module: RunModule) -> t.Callable[..., dict[str, t.Any]]:
    def run(*networks: dict[str, t.Any], fails: bool = False, check_mode: bool = False, **more: t.Any) -> dict[str, t.Any]:
        options = {"hypervisor": rig.description(), "networks": list(networks), **more}
        return run_module("shared_network", options, fails=fails, check_mode=check_mode, diff=True)

    return run


def vlans(rig: Rig, name: str) -> list[tuple[str, str, int]]:
    """Host, device and tag of every PIF of the network of this name."""
    store = rig.pool.store
    return sorted(
        (store.get("host", pif["host"])["name_label"], pif["device"], pif["VLAN"])
        for pif in store.all("PIF")
        if store.get("network", pif["network"])["name_label"] == name
    )


def labels(rig: Rig) -> list[str]:
    return sorted(network["name_label"] for network in rig.pool.store.all("network"))


def test_a_vlan_network_is_made_on_every_host_once_and_removed(rig: Rig, play: t.Callable[..., t.Any]) -> None:
    told = play(LAB, check_mode=True)
    assert told["changed"] and told["diff"][0]["after"] == "VLAN 200 on bond0\nhosts: xen01, xen02\n"
    assert vlans(rig, "lab") == []
    made = play(LAB, {"name": "lab2", "vlan": 201, "bridge": "bond0"})
    assert [n["changed"] for n in made["networks"]] == [True, True] and made["diff"][0] == told["diff"][0]
    assert vlans(rig, "lab") == [("xen01", "bond0", 200), ("xen02", "bond0", 200)]
    again = play(LAB)
    assert not again["changed"] and again["networks"][0]["exists"]
    gone = play(LAB, state="absent", check_mode=True)
    assert gone["changed"] and vlans(rig, "lab")
    assert play(LAB, state="absent")["changed"] and "lab" not in labels(rig) and vlans(rig, "lab2")
    assert not play(LAB, state="absent")["changed"]
    assert len(rig.pool.store.all("VLAN")) == len([p for p in rig.pool.store.all("PIF") if p["VLAN"] >= 0])


def test_what_it_is_on_is_a_nic_a_bridge_or_a_network_of_the_pool(rig: Rig, play: t.Callable[..., t.Any]) -> None:
    for tag, bridge in enumerate(("eth0", "xenbr0", "Pool-wide network associated with eth0"), 300):
        assert play({"name": f"n{tag}", "vlan": tag}, bridge=bridge)["changed"]
        assert {device for _host, device, _tag in vlans(rig, f"n{tag}")} == {"eth0"}
    refused = play({"name": "x", "vlan": 310}, {"name": "y", "vlan": 311, "bridge": "eth7"}, fails=True)
    assert "x: bridge is not set" in refused["msg"] and "bond0, eth0" in refused["msg"]
    assert "there is no NIC or bond of the pool eth7" in refused["msg"] and "x" not in labels(rig)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"name": "lab", "vlan": 0, "bridge": "bond0"}, ["untagged network of each NIC already", "leave out vlan"]),
        ({"name": "corp-vlan120", "vlan": 121, "bridge": "eth0"}, ["already, VLAN 120 on eth0, and not VLAN 121 on eth0"]),
        ({"name": "corp-vlan120", "vlan": 120, "bridge": "bond0"}, ["already, VLAN 120 on eth0, and not VLAN 120 on bond0"]),
        (
            {"name": "new", "vlan": 120, "bridge": "eth0"},
            ["VLAN 120 of eth0 is the network corp-vlan120 already", "leave out vlan"],
        ),
        ({"name": "ghost"}, ["there is no network ghost", "give its vlan"]),
    ],
)
def test_what_stands_against_a_network_is_said_and_nothing_changed(
    rig: Rig, play: t.Callable[..., t.Any], entry: dict[str, t.Any], words: list[str]
) -> None:
    before = labels(rig), len(rig.pool.store.all("PIF"))
    told = play(entry, fails=True)
    for word in words:
        assert word in told["msg"], told["msg"]
    assert (labels(rig), len(rig.pool.store.all("PIF"))) == before


def test_networks_that_serve_or_reach_nobody_are_refused(rig: Rig, play: t.Callable[..., t.Any]) -> None:
    store = rig.pool.store
    himn = {"is_host_internal_management_network": "true", "is_guest_installer_network": "true", "ip_begin": "169.254.0.1"}
    store.add("network", name_label="Host internal management network", bridge="xenapi", other_config=himn)
    store.add("network", name_label="private", bridge="xapi20")
    told = play({"name": "a", "bridge": "Host internal management network"}, {"name": "private"}, fails=True)
    first, second = (network["error"] for network in told["networks"])
    assert "XAPI gives addresses" in first and "leaves DHCP and DNS to the external servers" in first
    assert "internal to each host" in second and "have a network made" in second
    assert not play({"name": "corp", "bridge": "corp-vlan120"})["changed"]


def test_a_network_with_vms_on_it_is_not_removed_and_they_are_named(rig: Rig, play: t.Callable[..., t.Any]) -> None:
    entry = {"name": "corp-vlan120", "vlan": 120, "bridge": "eth0"}
    vm = rig.vm("web1")
    rig.vm("debian-12", template=True)
    rig.snapshot(vm, "before")
    told = play(entry, state="absent", fails=True)
    assert "corp-vlan120 is used by before (a snapshot), debian-12, web1: put these on another network" in told["msg"]
    assert told["networks"][0]["users"] == ["before (a snapshot)", "debian-12", "web1"] and len(vlans(rig, "corp-vlan120")) == 2


def test_a_vm_that_came_after_the_look_keeps_its_nic(rig: Rig, connect: t.Callable[..., t.Any]) -> None:
    networks = connect().networks
    wanted = [NetworkWanted("corp-vlan120", 120, "eth0")]
    assert networks.states(wanted, users=True)[0].keep is None
    vm = rig.vm("web1")
    (outcome,) = networks.remove(wanted)
    assert outcome.error is not None and "used by web1" in outcome.error and not outcome.changed
    assert len(vm["VIFs"]) == 1 and len(vlans(rig, "corp-vlan120")) == 2


def test_a_network_without_a_vlan_is_never_removed(rig: Rig, play: t.Callable[..., t.Any]) -> None:
    told = play({"name": "corp-vlan120"}, state="absent")
    assert not told["changed"] and "no vlan" in told["networks"][0]["message"] and "corp-vlan120" in labels(rig)


def test_a_failure_half_way_is_undone_and_a_cut_one_is_gone_on_from(rig: Rig, play: t.Callable[..., t.Any]) -> None:
    rig.pool.fault("pool.create_VLAN_from_PIF", "error", error=("INTERNAL_ERROR", "no"))
    assert "INTERNAL_ERROR" in play(LAB, fails=True)["msg"] and "lab" not in labels(rig)
    rig.pool.fault("pool.create_VLAN_from_PIF", "drop_before")
    assert "connection" in play(LAB, fails=True)["msg"] and vlans(rig, "lab") == []
    assert play(LAB)["changed"] and len(vlans(rig, "lab")) == 2 and labels(rig).count("lab") == 1


def test_a_host_that_was_down_gets_its_vlan_later(rig: Rig, play: t.Callable[..., t.Any]) -> None:
    store = rig.pool.store
    metrics = store.get("host_metrics", rig.hosts["xen02"]["metrics"])
    store.set(metrics, live=False)
    assert play(LAB)["changed"] and [host for host, _d, _t in vlans(rig, "lab")] == ["xen01"]
    assert not play(LAB)["changed"]
    store.set(metrics, live=True)
    assert play(LAB)["changed"] and len(vlans(rig, "lab")) == 2


def test_a_vm_is_put_on_the_network_that_was_made(
    rig: Rig, play: t.Callable[..., t.Any], connect: t.Callable[..., t.Any]
) -> None:
    rig.vm("debian-12", template=True)
    play(LAB)
    pool = connect()
    (outcome,) = pool.machines.create([VmWanted("web1", "debian-12", nics=(NicWanted("lab"),))])
    assert outcome.error is None and pool.inventory.vms(["web1"]).vms[0].nics[0].network == "lab"
    (state,) = pool.networks.states([NetworkWanted("lab", 200)], users=True)
    assert state.keep is not None and "web1" in state.keep


def test_overlapping_ranges_are_warned_of(play: t.Callable[..., t.Any]) -> None:
    other = {"name": "lab9", "ip_range": "10.98.0.90-10.98.0.120"}
    warnings = play(LAB, announced=[other, LAB, {"name": 3}])["warnings"]
    assert len(warnings) == 1 and "10.98.0.10-10.98.0.99 of lab and 10.98.0.90-10.98.0.120 of lab9" in str(warnings[0])
