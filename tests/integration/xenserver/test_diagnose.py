# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""vm_diagnose on a pool in which each VM has another fault: every one is named, in one run."""

from __future__ import annotations

import os
import pathlib
import shutil
import typing as t

import pytest
from xapi_rig.facts import NULL

NETWORKS = [{"name": "corp-vlan120", "vlan": 120, "cidr": "10.99.0.0/24", "ip_range": "10.99.0.50-10.99.0.90"}]
# By VM, what is told of it.
FAULTS = {
    "nobody": ("failed", "vm"),
    "off": ("warning", "power"),
    "nicless": ("failed", "nic"),
    "misplaced": ("failed", "network"),
    "samemac": ("failed", "mac"),
    "twin1": ("failed", "duplicate_address"),
    "twin2": ("failed", "duplicate_address"),
    "foreign": ("failed", "address_network"),
    "driveless": ("warning", "drive_present"),
    "ejected": ("failed", "drive_attached"),
    "swapped": ("failed", "drive_owner"),
    "broken": ("failed", "drive_content"),
    "mislabelled": ("failed", "drive_label"),
    "blind": ("failed", "guest_tools"),
    "leaseless": ("failed", "dhcp"),
    "selfmade": ("failed", "dhcp"),
    "unrecorded": ("failed", "record"),
    "stale": ("failed", "agreement"),
    "outside": ("warning", "address_range"),
    "fine": ("ok", None),
}


@pytest.fixture
def options(rig, tmp_path: pathlib.Path) -> dict[str, t.Any]:
    return {
        "hypervisor": rig.description(),
        "hypervisor_name": "xen01",
        "record": f"sqlite:///{tmp_path}/record.db",
        "networks": NETWORKS,
    }


def look(options: dict[str, t.Any], run_module) -> None:
    run_module("vm_ip_fetch", {**options, "syslog": False})


def by_name(result: dict[str, t.Any]) -> dict[str, tuple[str, str | None]]:
    return {vm["name"]: (vm["status"], vm["check"]) for vm in result["vms"]}


def seed(rig, options: dict[str, t.Any], run_module) -> None:
    """A pool in which every VM of FAULTS has its fault, and nothing else is wrong with it."""
    store = rig.pool.store
    vms = {name: rig.vm(name, nics=int(name != "nicless"), network=_network(name)) for name in FAULTS if name != "nobody"}
    (vif,) = [one for one in store.all("VIF") if one["VM"] == vms["samemac"].ref]
    bystander = rig.vm("bystander")
    (other,) = [one for one in store.all("VIF") if one["VM"] == bystander.ref]
    store.set(vif, MAC=other["MAC"])
    common = {"hypervisor": options["hypervisor"]}
    drives = [{"name": name, "user_data": f"for: {name}"} for name in vms if name not in ("driveless", "mislabelled")]
    run_module("vm_config_drive", {**common, "drives": drives})
    run_module("vm_config_drive", {**common, "label": "config-2", "drives": [{"name": "mislabelled"}]})
    given = {
        "foreign": "192.168.7.7",
        "outside": "10.99.0.99",
        "selfmade": "169.254.7.9",
        "twin2": "10.99.0.55",
        "twin1": "10.99.0.55",
    }
    for number, (name, vm) in enumerate(vms.items()):
        if name in ("off", "unrecorded"):
            continue
        rig.power(vm, "start")
        if name != "blind":
            address = {} if name == "leaseless" else {"0/ip": given.get(name, f"10.99.0.{60 + number}")}
            rig.pool.agent(vm, address)
    look(options, run_module)
    rig.power(vms["unrecorded"], "start")
    rig.pool.agent(vms["unrecorded"], {"0/ip": "10.99.0.58"})
    rig.pool.agent(vms["stale"], {"0/ip": "10.99.0.59"})
    folder = pathlib.Path(rig.iso_dir())
    shutil.copy(folder / "fine.iso", folder / "swapped.iso")
    data = bytearray((folder / "broken.iso").read_bytes())
    data[-3000:-2900] = os.urandom(100)
    (folder / "broken.iso").write_bytes(data)
    (cd,) = [one for one in store.all("VBD") if one["VM"] == vms["ejected"].ref and one["type"] == "CD" and not one["empty"]]
    store.set(cd, empty=True, VDI=NULL)


def _network(name: str) -> str:
    return "corp-vlan140" if name == "misplaced" else "corp-vlan120"


def test_every_seeded_fault_is_named(rig, options: dict[str, t.Any], run_module) -> None:
    seed(rig, options, run_module)
    before = len(rig.pool.calls)
    result = run_module("vm_diagnose", {**options, "vms": list(FAULTS)})
    found = by_name(result)
    assert {name: found[name] for name in FAULTS} == FAULTS
    assert all(vm["next_step"] for vm in result["vms"] if vm["status"] != "ok")
    assert result["msg"] == "20 VMs on xen01: 16 with a fault, 3 to look at, 1 well"
    calls = rig.pool.calls[before:]
    assert not any(call.split(".")[-1].startswith(("set_", "create", "destroy", "insert", "eject")) for call in calls), (
        "it only reads"
    )
    twin = next(vm for vm in result["vms"] if vm["name"] == "twin1")
    assert "twin2 on xen01" in twin["verdict"] and "machine-id" in twin["next_step"]


def test_a_network_of_another_vlan_than_described_is_named(rig, options: dict[str, t.Any], run_module) -> None:
    rig.power(rig.vm("web1"), "start")
    networks = [{**NETWORKS[0], "vlan": 121}]
    (found,) = run_module("vm_diagnose", {**options, "networks": networks})["vms"]
    assert found["check"] == "network" and "already, VLAN 120 on" in found["verdict"], found


def test_a_pool_that_is_away_is_the_verdict_of_what_the_record_has(rig, options: dict[str, t.Any], run_module) -> None:
    vm = rig.vm("web1")
    rig.power(vm, "start")
    look(options, run_module)
    away = {**options, "hypervisor": {**options["hypervisor"], "password": "wrong-word"}}
    result = run_module("vm_diagnose", away)
    assert by_name(result) == {"web1": ("failed", "hypervisor")}
    assert "wrong-word" not in str(result) and result["hypervisor"]["problem"]
