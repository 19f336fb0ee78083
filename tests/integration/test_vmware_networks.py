# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shared networks of VMware, against the vCenter rig."""

from __future__ import annotations

import pathlib
import sys
import typing as t

import pytest
from pyVmomi import vim

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import NetworkWanted, NicWanted, VmWanted
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.connect import open_hypervisor

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.tests.unit.conftest import RunModule

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "rigs" / "vcenter"))
from vcenter_admin import Admin
from vcenter_rig import VCenterRig

HOSTS = [f"DC0_C0_H{number}" for number in range(3)]
CORP = {"name": "corp-vlan120", "vlan": 120, "bridge": "vSwitch0"}
WIDE = {"name": "wide-vlan130", "vlan": 130, "bridge": "DVS0"}


@pytest.fixture(scope="module")
def rig() -> t.Iterator[VCenterRig]:
    with VCenterRig("itvmnet", vms=2, off=True, task_delay="20ms") as running:
        yield running


@pytest.fixture
def admin(rig: VCenterRig) -> t.Iterator[Admin]:
    with Admin(rig) as opened:
        yield opened


@pytest.fixture
def play(rig: VCenterRig, run_module: RunModule) -> t.Iterator[t.Callable[..., dict[str, t.Any]]]:
    made: dict[str, dict[str, t.Any]] = {}

    def run(*networks: dict[str, t.Any], fails: bool = False, check_mode: bool = False, **more: t.Any) -> dict[str, t.Any]:
        made.update({network["name"]: network for network in networks})
        options = {"hypervisor": rig.description(), "networks": list(networks), **more}
        return run_module("shared_network", options, fails=fails, check_mode=check_mode, diff=True)

    yield run
    rig.clear_faults()
    with Admin(rig) as opened:
        if any(vm["name"] == "web1" for vm in rig.vms()):
            opened.destroy("web1")
    driver = open_hypervisor(rig.description())
    try:
        wanted = [NetworkWanted(one["name"], one["vlan"], one.get("bridge")) for one in made.values() if "vlan" in one]
        states = driver.networks.states(wanted, users=True)
        left = [one for one, state in zip(wanted, states, strict=True) if state.before and state.keep is None]
        assert [outcome.error for outcome in driver.networks.remove(left)] == [None] * len(left)
    finally:
        driver.close()


def standard(admin: Admin, name: str) -> dict[str, tuple[str, int]]:
    """By host, switch and tag of its port group of this name."""
    view = admin.content.viewManager.CreateContainerView(admin.content.rootFolder, [vim.HostSystem], True)
    return {
        host.name: (group.spec.vswitchName, group.spec.vlanId)
        for host in view.view
        for group in host.configManager.networkSystem.networkInfo.portgroup
        if group.spec.name == name
    }


def distributed(admin: Admin, name: str) -> list[tuple[str, int, str]]:
    view = admin.content.viewManager.CreateContainerView(admin.content.rootFolder, [vim.dvs.DistributedVirtualPortgroup], True)
    return [
        (group.config.distributedVirtualSwitch.name, group.config.defaultPortConfig.vlan.vlanId, group.config.type)
        for group in view.view
        if group.name == name
    ]


def test_port_groups_are_made_on_all_hosts_or_the_named_ones_once_and_removed(
    admin: Admin, play: t.Callable[..., t.Any], rig: VCenterRig
) -> None:
    some = {**CORP, "hosts": HOSTS[:2]}
    told = play(some, check_mode=True)
    assert told["changed"] and standard(admin, CORP["name"]) == {}
    assert told["diff"][0]["after"] == (f"port group, VLAN 120 on the switch vSwitch0\nhosts: {HOSTS[0]}, {HOSTS[1]}\n")
    assert play(some)["changed"] and standard(admin, CORP["name"]) == dict.fromkeys(HOSTS[:2], ("vSwitch0", 120))
    assert not play(some)["changed"]
    # Without hosts, all that have the switch: only the missing one is made.
    assert play(CORP)["changed"] and sorted(standard(admin, CORP["name"])) == HOSTS
    rig.calls(reset=True)
    assert not play(CORP, {"name": "VM Network"})["changed"]
    calls = rig.calls()
    assert not {"AddPortGroup", "RemovePortGroup"} & set(calls) and calls["RetrievePropertiesEx"] <= 4, calls
    assert play(some, state="absent")["changed"] and sorted(standard(admin, CORP["name"])) == HOSTS[2:]
    assert play(CORP, state="absent")["changed"] and standard(admin, CORP["name"]) == {}
    assert not play(CORP, state="absent")["changed"]


def test_a_distributed_port_group_is_made_once_and_removed(admin: Admin, play: t.Callable[..., t.Any]) -> None:
    other = {"name": "plain", "vlan": 0, "bridge": "DVS0"}
    assert play(WIDE, other, check_mode=True)["changed"] and distributed(admin, WIDE["name"]) == []
    made = play(WIDE, other)
    assert [network["changed"] for network in made["networks"]] == [True, True]
    assert distributed(admin, WIDE["name"]) == [("DVS0", 130, "earlyBinding")]
    assert distributed(admin, "plain") == [("DVS0", 0, "earlyBinding")]
    assert not play(WIDE, other)["changed"]
    assert play(WIDE, other, state="absent")["changed"] and distributed(admin, WIDE["name"]) == []
    assert not play(WIDE, state="absent")["changed"]


def test_what_stands_against_a_network_is_said(play: t.Callable[..., t.Any]) -> None:
    play(CORP, WIDE)
    told = play(
        {**CORP, "vlan": 121},
        {**WIDE, "vlan": 131},
        {"name": "DC0_DVPG0", "vlan": 5, "bridge": "vSwitch0"},
        {"name": "a", "vlan": 1, "bridge": "vSwitch9"},
        {"name": "b", "vlan": 1},
        {"name": "c", "vlan": 1, "bridge": "vSwitch0", "hosts": ["esx9"]},
        {"name": "ghost"},
        fails=True,
    )
    errors = [network["error"] for network in told["networks"]]
    assert "VLAN 120 on the switch vSwitch0, and not VLAN 121" in errors[0] and "never changed" in errors[0]
    assert "VLAN 130 on the switch DVS0, and not VLAN 131" in errors[1]
    assert "on the switch DVS0, and not VLAN 5 on the switch vSwitch0" in errors[2]
    assert "there is no virtual switch vSwitch9: use DVS0, vSwitch0" in errors[3]
    assert "bridge is not set" in errors[4] and "DVS0, vSwitch0" in errors[4]
    assert "hosts has esx9" in errors[5] and HOSTS[0] in errors[5]
    assert "there is no network ghost" in errors[6]
    assert not told["changed"]
    assert not play({"name": "x", "bridge": "VM Network"}, {"name": "DC0_DVPG0"})["changed"]
    play({**WIDE}, {**CORP}, state="absent")


@pytest.mark.parametrize("entry", [CORP, WIDE], ids=["standard", "distributed"])
def test_vms_are_put_on_it_and_it_stays_while_they_are(
    rig: VCenterRig, play: t.Callable[..., t.Any], entry: dict[str, t.Any]
) -> None:
    play(entry)
    driver = open_hypervisor(rig.description())
    try:
        wanted = [VmWanted("web1", "DC0_C0_RP0_VM0", nics=(NicWanted(entry["name"]),))]
        assert driver.machines.check(wanted) == {}
        (outcome,) = driver.machines.create(wanted)
        assert outcome.error is None
        assert driver.inventory.vms(["web1"]).vms[0].nics[0].network == entry["name"]
    finally:
        driver.close()
    told = play(entry, state="absent", fails=True)
    assert f"{entry['name']} is used by web1: put these on another network" in told["msg"]
    with Admin(rig) as admin:
        admin.destroy("web1")
    assert play(entry, state="absent")["changed"]


def test_what_the_hosts_themselves_use_is_not_removed(play: t.Callable[..., t.Any]) -> None:
    told = play({"name": "Management Network", "vlan": 0, "bridge": "vSwitch0"}, state="absent", fails=True)
    assert "used by the VMkernel adapter vmk0 of" in told["msg"]


def test_a_host_that_refuses_does_not_keep_the_others(rig: VCenterRig, admin: Admin, play: t.Callable[..., t.Any]) -> None:
    rig.fault("AddPortGroup", "fault", fault="HostConfigFault", count=1)
    told = play(CORP, fails=True)
    assert f"on {HOSTS[0]} it could not be made" in told["msg"] and told["changed"]
    assert sorted(standard(admin, CORP["name"])) == HOSTS[1:]
    rig.clear_faults()
    assert play(CORP)["changed"] and sorted(standard(admin, CORP["name"])) == HOSTS


def test_a_failed_task_is_the_networks_own_error(rig: VCenterRig, play: t.Callable[..., t.Any]) -> None:
    rig.fault("AddDVPortgroup_Task", "task", fault="DvsFault", count=1)
    told = play(WIDE, {"name": "second", "vlan": 140, "bridge": "DVS0"}, fails=True)
    errors = [network["error"] for network in told["networks"]]
    assert sum(error is not None for error in errors) == 1 and "DvsFault" in told["msg"]
    rig.clear_faults()
    play({"name": "second", "vlan": 140, "bridge": "DVS0"}, WIDE)


def test_a_stand_alone_host_has_port_groups_too_and_a_free_one_says_why_not(run_module: RunModule) -> None:
    entry = {"name": "corp", "vlan": 120}
    with VCenterRig("itvmnetesx", vms=1, esx=True) as esx:
        options = {"hypervisor": esx.description(), "networks": [entry]}
        assert run_module("shared_network", options)["changed"] and not run_module("shared_network", options)["changed"]
        assert run_module("shared_network", {**options, "state": "absent"})["changed"]
    with VCenterRig("itvmnetesx", vms=1, esx=True, free=True) as esx:
        told = run_module("shared_network", {"hypervisor": esx.description(), "networks": [entry]}, fails=True)
        assert "licence of this ESXi host allows no changes" in told["msg"]


def test_the_rig_refuses_what_the_product_does(admin: Admin, play: t.Callable[..., t.Any]) -> None:
    view = admin.content.viewManager.CreateContainerView(admin.content.rootFolder, [vim.HostSystem], True)
    system = view.view[0].configManager.networkSystem
    spec = vim.host.PortGroup.Specification

    def add(name: str, vlan: int, switch: str) -> None:
        system.AddPortGroup(spec(name=name, vlanId=vlan, vswitchName=switch, policy=vim.host.NetworkPolicy()))

    with pytest.raises(vim.fault.NotFound):
        add("x", 1, "vSwitch9")
    with pytest.raises(Exception, match="InvalidArgument|portgrp"):
        add("x", 4096, "vSwitch0")
    with pytest.raises(vim.fault.AlreadyExists):
        add("VM Network", 0, "vSwitch0")
    with pytest.raises(vim.fault.ResourceInUse):
        system.RemovePortGroup("Management Network")
    with pytest.raises(vim.fault.NotFound):
        system.RemovePortGroup("nowhere")
