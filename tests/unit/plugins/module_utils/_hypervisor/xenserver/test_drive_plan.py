# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveError, MachineError, Vm
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver import drive_plan as plans
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import Picture

NULL = "OpaqueRef:NULL"
SETTINGS = plans.Settings("ConfigDriveISOs", "/iso")


class Records(Picture):
    """A picture of a pool with two hosts, each with a config drive SR, and one VM."""

    looks = 1

    def __init__(self) -> None:
        self.records = {
            "pool": {"p": {"master": "h1"}},
            "host": {
                f"h{n}": {
                    "uuid": f"u{n}",
                    "name_label": f"xen0{n}",
                    "hostname": f"xen0{n}",
                    "address": f"192.0.2.{n}",
                    "enabled": True,
                    "metrics": f"m{n}",
                }
                for n in (1, 2)
            },
            "host_metrics": {f"m{n}": {"live": True} for n in (1, 2)},
            "sr": {
                f"s{n}": {"uuid": f"s{n}", "name_label": "ConfigDriveISOs", "type": "iso", "shared": False, "PBDs": [f"b{n}"], "VDIs": []}
                for n in (1, 2)
            },
            "pbd": {
                f"b{n}": {"host": f"h{n}", "SR": f"s{n}", "device_config": {"location": "/iso"}, "currently_attached": True} for n in (1, 2)
            },
            "vm": {
                "v": {
                    "uuid": "vm-id", "name_label": "web1", "power_state": "Halted", "is_a_template": False, "VBDs": [],
                    "resident_on": NULL, "affinity": "h1", "domain_type": "hvm", "HVM_boot_policy": "BIOS order", "guest_metrics": NULL,
                }
            },
            "vbd": {},
            "vdi": {},
        }  # fmt: skip

    def vdi(self, ref, location, sr="s1", owner=None):
        marks = {plans.OWNER_KEY: owner} if owner else {}
        self.records["vdi"][ref] = {"uuid": ref, "SR": sr, "location": location, "VBDs": [], "other_config": marks}
        self.records["sr"].setdefault(sr, {"VDIs": []})["VDIs"].append(ref)

    def vbd(self, ref, slot, vdi=NULL, kind="CD", attached=False, tagged=False):
        self.records["vbd"][ref] = {
            "VM": "v", "VDI": vdi, "type": kind, "userdevice": str(slot), "device": "", "empty": vdi == NULL,
            "currently_attached": attached, "other_config": {plans.DRIVE_KEY: "config"} if tagged else {},
        }  # fmt: skip
        self.vm["VBDs"].append(ref)

    @property
    def vm(self):
        return self.records["vm"]["v"]


@pytest.fixture
def records():
    return Records()


def plan(records, host=None):
    def owner_of(ref):
        return records.records["vdi"][ref]["other_config"].get(plans.OWNER_KEY)

    return plans.Planner(records, SETTINGS, owner_of).plan(Vm("web1", "vm-id", "stopped", (), "v"), host)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web1", "web1.iso"),
        ("Web-1.example.com", "Web-1.example.com.iso"),
        ("web_1", "vm-vm-id.iso"),
        ("a b", "vm-vm-id.iso"),
        ("xs-tools", "vm-vm-id.iso"),
        ("XS-Tools-8", "vm-vm-id.iso"),
        ("guest-tools", "vm-vm-id.iso"),
        ("a/b", "vm-vm-id.iso"),
        ("a.iso/../../x", "vm-vm-id.iso"),
        ("a\n", "vm-vm-id.iso"),
        ("ä", "vm-vm-id.iso"),
        (".x", "vm-vm-id.iso"),
        ("", "vm-id.iso"),
    ],
)
def test_file_names(name, expected):
    assert plans.file_name(Vm(name, "vm-id", "stopped")) == expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"domain_type": "hvm"}, True),
        ({"domain_type": "pv"}, False),
        ({"domain_type": "pvh"}, False),
        ({"domain_type": "unspecified", "HVM_boot_policy": "BIOS order"}, True),
        ({"HVM_boot_policy": ""}, False),
        ({"HVM_boot_policy": "BIOS order"}, True),
    ],
)
def test_hvm(record, expected):
    assert plans.is_hvm(record) is expected


def test_a_drive_of_its_own_where_there_is_none(records):
    records.vbd("disk", 0, "d", kind="Disk")
    found = plan(records)
    assert (found.host, found.sr, found.vdi, found.file) == ("h1", "s1", None, "web1.iso")
    assert found.slot == plans.Slot(1, None, True)


@pytest.mark.parametrize(
    ("drives", "expected"),
    [
        ([(3, {})], (1, None)),  # slot 3 is the user's
        ([(2, {})], (2, "cd2")),
        ([(2, {}), (1, {})], (1, "cd1")),
        ([(1, {}), (2, {"tagged": True})], (2, "cd2")),
        ([(3, {"tagged": True})], (3, "cd3")),
        ([(1, {"vdi": "media"})], (2, None)),
        ([(1, {"vdi": "ours"}), (2, {"tagged": True})], (1, "cd1")),
        ([(3, {"vdi": "ours"})], (3, "cd3")),
        ([(1, {"vdi": "foreign"}), (2, {})], (1, "cd1")),
        ([(1, {"vdi": "media"}), (2, {"vdi": "media"}), (3, {}), (0, {"vdi": "media"})], None),
    ],
)
def test_which_drive(records, drives, expected):
    records.vdi("ours", "web1.iso", owner="vm-id")
    records.vdi("foreign", "web0.iso", owner="another")
    records.records["sr"]["users"] = {
        "uuid": "users", "name_label": "ISOs", "type": "iso", "shared": True, "PBDs": ["b1"], "VDIs": []
    }  # fmt: skip
    records.vdi("media", "debian.iso", sr="users")
    for slot, options in drives:
        records.vbd(f"cd{slot}", slot, **options)
    found = plan(records)
    assert (None if found.slot is None else (found.slot.number, found.slot.vbd)) == expected
    if expected is None:
        assert "slots 0 to 2" in found.problem
    assert all(records.get("vbd", ref)["VDI"] != "media" for ref in found.eject)


def test_a_clones_medium_is_ejected(records):
    records.vdi("foreign", "web0.iso", owner="another")
    records.vbd("cd", 1, "foreign", tagged=True)
    found = plan(records)
    assert found.eject == ("cd",)
    assert found.slot.vbd == "cd"


def test_a_second_copy_and_an_old_place_are_cleaned_up(records):
    records.vdi("ours", "web1.iso", owner="vm-id")
    records.vdi("old", "old-name.iso", sr="s2", owner="vm-id")
    records.vbd("cd1", 1, "ours")
    records.vbd("cd2", 2, "ours")
    found = plan(records)
    assert (found.slot.vbd, found.eject, found.strays) == ("cd1", ("cd2",), ("old",))


@pytest.mark.parametrize(("domain", "visible"), [("hvm", False), ("pv", True)])
def test_a_new_drive_in_a_running_vm(records, domain, visible):
    records.vm.update(power_state="Running", resident_on="h2", domain_type=domain)
    found = plan(records)
    assert (found.host, found.running, found.slot.visible) == ("h2", True, visible)


def test_a_drive_the_guest_has_is_better_than_one_it_has_not(records):
    records.vm.update(power_state="Running", resident_on="h1")
    records.vbd("late", 1, tagged=True)
    records.vbd("early", 2, attached=True)
    assert plan(records).slot.vbd == "early"


@pytest.mark.parametrize(
    ("affinity", "drive_on", "disk_on", "expected"),
    [
        (NULL, None, None, "h2"),  # its share of the VMs without a preference
        ("h2", None, None, "h2"),
        (NULL, "s2", None, "h2"),
        ("h1", "s2", None, "h1"),
        ("h1", None, "s2", "h2"),
        ("gone", None, None, "h2"),
    ],
)
def test_where_a_halted_vm_would_start(records, affinity, drive_on, disk_on, expected):
    records.vm["affinity"] = affinity
    if drive_on:
        records.vdi("ours", "web1.iso", sr=drive_on, owner="vm-id")
    if disk_on:
        records.vdi("disk", "x", sr=disk_on)
        records.vbd("d", 0, "disk", kind="Disk")
    assert plan(records).host == expected


def test_no_host_sees_the_disks(records):
    records.records["sr"]["dead"] = {"uuid": "x", "name_label": "x", "type": "lvm", "shared": True, "PBDs": [], "VDIs": []}
    records.vdi("disk", "x", sr="dead")
    records.vbd("d", 0, "disk", kind="Disk")
    assert "no live, enabled host" in plan(records).problem


def test_an_sr_at_another_folder_is_not_ours_but_a_shared_one_is(records):
    records.records["pbd"]["b1"]["device_config"]["location"] = "/elsewhere"
    assert plan(records, host="h1").sr is None
    records.records["sr"]["s1"]["shared"] = True
    assert plan(records, host="h1").sr == "s1"
    records.records["pbd"]["b2"]["device_config"]["location"] = "/iso/"
    assert plan(records, host="h2").sr == "s2"


def test_of_two_srs_all_runs_choose_the_same(records):
    for name, attached in (("sa", False), ("sb", True), ("sc", True)):
        records.records["sr"][name] = {**records.records["sr"]["s1"], "uuid": name, "PBDs": [f"b{name}"]}
        records.records["pbd"][f"b{name}"] = {**records.records["pbd"]["b2"], "currently_attached": attached}
    del records.records["sr"]["s2"]
    assert plan(records, host="h2").sr == "sb"


def test_vms_without_a_preference_are_spread(records):
    def owner_of(ref):
        return None

    hosts = []
    for number in range(40):
        records.records["vm"][f"v{number}"] = {**records.vm, "affinity": NULL, "uuid": f"vm-{number}"}
        vm = Vm(f"web{number}", f"vm-{number}", "stopped", (), f"v{number}")
        hosts.append(plans.Planner(records, SETTINGS, owner_of).plan(vm).host)
    assert 8 < hosts.count("h1") < 32
    again = plans.Planner(records, SETTINGS, owner_of).plan(Vm("web7", "vm-7", "stopped", (), "v7")).host
    assert again == hosts[7]


@pytest.mark.parametrize("change", [{"enabled": False}, {"metrics": "none"}])
def test_hosts_that_are_disabled_or_down_are_passed_over(records, change):
    records.records["host"]["h1"].update(change)
    assert plan(records).host == "h2"


def test_what_lies_on_a_host_that_is_down_is_left_there(records):
    records.vm["affinity"] = "h2"
    records.vdi("ours", "web1.iso", sr="s1", owner="vm-id")
    assert plan(records).strays == ("ours",)
    records.records["host_metrics"]["m1"]["live"] = False
    assert plan(records).strays == ()


def test_a_running_vm_of_a_dead_host_waits(records):
    records.vm.update(power_state="Running", resident_on="h1")
    records.records["host_metrics"]["m1"]["live"] = False
    assert "xen01 is down" in plan(records).problem


def test_a_cd_of_the_users_own_decides_on_the_host_too(records):
    records.records["sr"]["s2"]["name_label"] = "ISOs of xen02"
    records.vdi("install", "install.iso", sr="s2")
    records.vbd("user", 3, "install")
    assert plan(records).host == "h2"


def test_a_shared_sr_is_preferred(records):
    records.records["sr"]["sz"] = {**records.records["sr"]["s1"], "uuid": "z", "shared": True, "PBDs": ["bz"]}
    records.records["pbd"]["bz"] = {**records.records["pbd"]["b1"], "device_config": {"location": "nfs:/isos"}}
    assert plan(records).sr == "sz"


def test_slots_that_no_emulated_vm_has_are_not_used(records):
    records.vbd("high", 5)
    for slot in (0, 1, 2):
        records.vbd(f"d{slot}", slot, "media", kind="Disk")
    found = plan(records)
    assert found.slot is None and "slots 0 to 2" in found.problem
    records.vm["domain_type"] = "pvh"
    assert plan(records).slot.number == 5


def test_find_host(records):
    assert [records.find_host(x, "destination") for x in ("xen02", "192.0.2.2", "u2")] == ["h2"] * 3
    with pytest.raises(MachineError, match="destination xen03 is no host of this pool; its hosts are xen01, xen02"):
        records.find_host("xen03", "destination")


def test_a_vm_that_is_gone(records):
    planner = plans.Planner(records, SETTINGS, lambda ref: None)
    with pytest.raises(DriveError, match="gone from the pool"):
        planner.plan(Vm("web2", "x", "stopped", (), "nope"))


def test_dangling_references_are_passed_over(records):
    records.vm["VBDs"].append("nobody")
    records.records["sr"]["s1"]["VDIs"].append("nothing")
    records.records["sr"]["s1"]["PBDs"].insert(0, "none")
    assert plan(records).slot.number == 1
