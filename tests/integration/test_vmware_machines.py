# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The life of VMware VMs, against the vCenter rig."""

from __future__ import annotations

import functools
import pathlib
import re
import sys
import threading
import time
import typing as t

import pytest
from pyVim.task import WaitForTask
from pyVmomi import vim

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import NicWanted, VmWanted
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.connect import open_hypervisor
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware import tasks

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "rigs" / "vcenter"))
from vcenter_admin import Admin
from vcenter_rig import VCenterRig

PLAIN, LINKED = "DC0_C0_RP0_VM0", "DC0_C0_RP0_VM1"
NETWORK, GROUP = "VM Network", "DC0_DVPG0"
GIB = 1024**3


@pytest.fixture(scope="module")
def rig() -> t.Iterator[VCenterRig]:
    with VCenterRig("itvmlife", vms=3, datastores=3, nics=2, off=True, task_delay="20ms") as running, Admin(running) as admin:
        admin.add_cd(PLAIN, None, controller=201)
        running.file("[LocalDS_1] installer.iso").write_bytes(b"installer")
        admin.insert(PLAIN, "CD/DVD drive 2", "[LocalDS_1] installer.iso")
        WaitForTask(admin.vm(LINKED).CreateSnapshot_Task("base", "", False, False))
        for name in (PLAIN, LINKED):
            admin.vm(name).MarkAsTemplate()
        yield running


@pytest.fixture(scope="module")
def admin(rig: VCenterRig) -> t.Iterator[Admin]:
    with Admin(rig) as opened:
        yield opened


@pytest.fixture
def driver(rig: VCenterRig, admin: Admin) -> t.Iterator[t.Any]:
    kept = {vm["name"] for vm in rig.vms()}
    opened = open_hypervisor(rig.description())
    yield opened
    opened.close()
    rig.clear_faults()
    admin.destroy(*({vm["name"] for vm in rig.vms()} - kept))
    for location in rig.isos():
        if "installer" not in location:
            rig.file(location).unlink()


def wanted(name: str, template: str = PLAIN, **more: t.Any) -> VmWanted:
    return VmWanted(name, template, more.pop("nics", (NicWanted(NETWORK),)), **more)


def create(driver: t.Any, *vms: VmWanted) -> list[t.Any]:
    assert driver.machines.check(vms) == {}
    done = list(driver.machines.create(vms))
    assert [one.error for one in done] == [None] * len(vms)
    assert all(one.changed for one in done)
    return find(driver, *(one.name for one in vms))


def find(driver: t.Any, *names: str) -> list[t.Any]:
    found = driver.inventory.vms(names)
    assert not found.problems
    return list(found.vms)


def only(outcomes: t.Iterable[t.Any]) -> t.Any:
    found = list(outcomes)
    assert len(found) == 1
    return found[0]


def put_drive(driver: t.Any, vm: t.Any) -> str:
    iso = image.build({"cloudstack/metadata/local_hostname": b"one"}, "config", vm.id)
    return driver.drives.put_one(vm, iso).location


def tools(rig: VCenterRig, *vms: t.Any) -> None:
    rig.guests(*({"vm": vm.name, "tools_running": "guestToolsRunning", "tools_version": "guestToolsCurrent"} for vm in vms))


# --- creating ---


def test_a_clone_is_one_task_with_everything_in_it(rig: VCenterRig, driver: t.Any) -> None:
    nics = (NicWanted(GROUP, "00:50:56:0a:0b:0c"), NicWanted(NETWORK), NicWanted(NETWORK))
    rig.calls(reset=True)
    placement = {"host": "DC0_C0_H1", "datastore": "LocalDS_2", "folder": "/DC0/vm"}
    vm = create(driver, wanted("web1", nics=nics, memory=512, cpus=2, disk_size=GIB, placement=placement))[0]
    calls = rig.calls()
    assert calls["CloneVM_Task"] == 1 and "ReconfigVM_Task" not in calls
    made = rig.vm("web1")
    assert [nic.network for nic in vm.nics] == [GROUP, NETWORK, NETWORK]
    assert vm.nics[0].mac == "00:50:56:0a:0b:0c" and len({nic.mac for nic in vm.nics}) == 3
    assert (made["memory"], made["cpus"], made["host"], made["power_state"]) == (512, 2, "DC0_C0_H1", "poweredOff")
    assert made["path"].startswith("[LocalDS_2] web1/") and made["disks"][0]["CapacityKB"] == GIB // 1024
    assert [drive["File"] for drive in made["drives"]] == ["", ""]
    assert vm.id == made["instance_uuid"] and vm.ours and not vm.is_template
    # The template is as it was.
    assert rig.vm(PLAIN)["drives"][1]["File"] == "[LocalDS_1] installer.iso" and len(rig.vm(PLAIN)["macs"]) == 2


def test_surplus_cards_of_the_template_go(rig: VCenterRig, driver: t.Any) -> None:
    create(driver, wanted("one", nics=(NicWanted(NETWORK),)), wanted("none", nics=()), wanted("all", nics=None))
    assert [len(rig.vm(name)["macs"]) for name in ("one", "none", "all")] == [1, 0, 2]
    assert rig.vm("one")["networks"] == [NETWORK]
    assert not set(rig.vm("all")["macs"]) & set(rig.vm(PLAIN)["macs"])


def test_a_fixed_mac_of_the_template_is_not_copied(rig: VCenterRig, admin: Admin, driver: t.Any) -> None:
    admin.clone("DC0_C0_RP0_VM2", "fixed")
    card = next(d for d in admin.vm("fixed").config.hardware.device if isinstance(d, vim.vm.device.VirtualEthernetCard))
    card.addressType, card.macAddress = "manual", "00:50:56:11:11:11"
    admin.reconfigure("fixed", vim.vm.device.VirtualDeviceSpec(operation="edit", device=card))
    create(driver, wanted("web1", "fixed", nics=None))
    assert "00:50:56:11:11:11" not in rig.vm("web1")["macs"]
    # The card that was edited first is the same as the network asked for: only its MAC is wrong.
    create(driver, wanted("web2", "fixed", nics=(NicWanted(GROUP), NicWanted(NETWORK))))
    assert "00:50:56:11:11:11" not in rig.vm("web2")["macs"]


def test_linked_from_a_snapshot_full_on_request_or_to_grow(rig: VCenterRig, driver: t.Any) -> None:
    create(
        driver,
        wanted("linked", LINKED),
        wanted("full", LINKED, full_clone=True),
        wanted("grown", LINKED, disk_size=GIB),
        wanted("plain", PLAIN),
    )
    parents = {name: rig.vm(name)["disks"][0]["Parent"] for name in ("linked", "full", "grown", "plain")}
    assert parents == {"linked": rig.vm(LINKED)["disks"][0]["File"], "full": "", "grown": "", "plain": ""}
    assert rig.vm("grown")["disks"][0]["CapacityKB"] == GIB // 1024


def test_mark_is_not_inherited_by_a_clone_made_by_hand(admin: Admin, driver: t.Any) -> None:
    create(driver, wanted("web1"))
    admin.clone("web1", "by-hand")
    assert [vm.ours for vm in find(driver, "web1", "by-hand", "DC0_C0_RP0_VM2")] == [True, False, False]
    assert {vm.name: vm.ours for vm in driver.inventory.vms().vms}["web1"]


def test_names_with_separators_are_made_and_found(driver: t.Any) -> None:
    name = "50% a/b\\c"
    vm = create(driver, wanted(name))[0]
    assert vm.name == name and only(driver.machines.start([vm])).error is None


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"template": "nothing"}, "there is no template or VM nothing"),
        ({"nics": (NicWanted("nowhere"),)}, "there is no network nowhere in the datacenter DC0"),
        ({"placement": {"datastore": "full"}}, "datastore full: .* has none of this name"),
        ({"placement": {"host": "h"}}, "host h: .* has none of this name"),
        ({"placement": {"folder": "/DC0/vm/nothing"}}, "folder /DC0/vm/nothing: .* give its path"),
        ({"placement": {"cluster": "c"}}, "cluster c: .* has none of this name"),
        ({"placement": {"resource_pool": "p"}}, "resource_pool p: .* has none of this name"),
        ({"disk_size": 1024}, "a disk only grows"),
        ({"name": LINKED}, "the folder /DC0/vm has a VM or template of this name already"),
    ],
)
def test_what_stands_against_a_vm_is_said_before_anything_is_changed(
    rig: VCenterRig, driver: t.Any, more: dict[str, t.Any], text: str
) -> None:
    rig.calls(reset=True)
    vm = wanted(more.pop("name", "web1"), **more)
    good = wanted("good")
    assert list(driver.machines.check([vm, good])) == [vm.name]
    problem = driver.machines.check([vm])[vm.name]
    assert problem.startswith(vm.name)
    assert re.search(text, problem), problem
    assert not [call for call in rig.calls() if call.endswith("_Task")]
    assert only(driver.machines.create([vm])).error == problem


def test_a_mac_is_given_once(rig: VCenterRig, driver: t.Any) -> None:
    taken = rig.vm("DC0_C0_RP0_VM2")["macs"][0]
    found = driver.machines.check(
        [
            wanted("web1", nics=(NicWanted(NETWORK, taken.upper()),)),
            wanted("web2", nics=(NicWanted(NETWORK, "00:50:56:00:00:01"),)),
            wanted("web3", nics=(NicWanted(NETWORK, "00:50:56:00:00:01"),)),
        ]
    )
    assert sorted(found) == ["web1", "web3"] and "DC0_C0_RP0_VM2" in found["web1"] and "web2" in found["web3"]


def test_an_error_of_one_clone_is_its_own(rig: VCenterRig, driver: t.Any) -> None:
    rig.fault("CloneVM_Task", "task", fault="NoDiskSpace", skip=1)
    done = {one.name: one for one in driver.machines.create([wanted(f"web{number}") for number in range(4)])}
    failed = [one for one in done.values() if one.error]
    assert len(done) == 4 and len(failed) == 1 and "NoDiskSpace" in failed[0].error and not failed[0].changed
    assert rig.vm(failed[0].name) is None
    rig.clear_faults()
    assert only(driver.machines.create([wanted(failed[0].name)])).error is None


def test_missing_privilege_names_privilege_and_object(rig: VCenterRig, driver: t.Any) -> None:
    rig.fault("CloneVM_Task", "task", fault="NoPermission")
    error = only(driver.machines.create([wanted("web1")])).error
    assert "lacks the privilege VirtualMachine.Config.EditDevice on the Folder Datacenters (group-d1)" in error


@pytest.mark.parametrize("kind", ["lost", "revoke", "reset"])
def test_a_lost_answer_makes_no_second_vm_and_no_error(rig: VCenterRig, driver: t.Any, kind: str) -> None:
    rig.fault("CloneVM_Task", kind)
    vms = [wanted(f"web{number}") for number in range(3)]
    done = list(driver.machines.create(vms))
    assert [(one.error, one.changed) for one in done] == [(None, True)] * 3
    made = {vm["name"]: vm["instance_uuid"] for vm in rig.vms()}
    assert {one.name: one.id for one in done} == {name: made[name] for name in ("web0", "web1", "web2")}


def test_a_session_that_ends_while_tasks_run_is_renewed(rig: VCenterRig, driver: t.Any) -> None:
    rig.fault("WaitForUpdatesEx", "revoke", skip=1)
    assert [one.error for one in driver.machines.create([wanted(f"web{number}") for number in range(5)])] == [None] * 5


def test_a_name_taken_meanwhile_is_an_error(admin: Admin, driver: t.Any) -> None:
    plans = driver.machines._creation.plans
    driver.machines._creation.plans = lambda vms: (plans(vms), admin.clone("DC0_C0_RP0_VM2", "web1"))[0]
    assert "the folder /DC0/vm has a VM or template of this name already" in only(driver.machines.create([wanted("web1")])).error


def test_set_nics_changes_what_does_not_fit(rig: VCenterRig, admin: Admin, driver: t.Any) -> None:
    vm = create(driver, wanted("web1", nics=(NicWanted(NETWORK), NicWanted(NETWORK, "00:50:56:00:00:01"))))[0]
    kept = rig.vm("web1")["macs"]
    assert not only([driver.machines.set_nics(vm, [NicWanted(NETWORK), NicWanted(NETWORK, kept[1])])]).changed
    assert rig.vm("web1")["macs"] == kept
    assert only([driver.machines.set_nics(vm, [NicWanted(NETWORK), NicWanted(GROUP, kept[1]), NicWanted(NETWORK)])]).changed
    made = rig.vm("web1")
    assert kept[0] in made["macs"] and len(made["macs"]) == 3
    assert [nic.network for nic in find(driver, "web1")[0].nics] == [NETWORK, GROUP, NETWORK]
    admin.power("web1", on=True)
    assert "is not powered off" in driver.machines.set_nics(vm, []).error


def test_the_log_of_events_tells_whether_a_vm_was_ever_started(admin: Admin, driver: t.Any) -> None:
    fresh, used = create(driver, wanted("web1"), wanted("web2", LINKED))
    assert driver.machines.never_started(fresh) and driver.machines.never_started(used)
    WaitForTask(admin.vm("web2").PowerOnVM_Task())  # by somebody else
    WaitForTask(admin.vm("web2").PowerOffVM_Task())
    assert driver.machines.never_started(fresh) and not driver.machines.never_started(used)
    (other,) = find(driver, "DC0_C0_RP0_VM2")
    assert not driver.machines.never_started(other), "its making is not in the log"


# --- power ---


def test_start_and_clean_stop(rig: VCenterRig, driver: t.Any) -> None:
    vms = create(driver, *(wanted(f"web{number}") for number in range(3)))
    rig.calls(reset=True)
    assert [(one.error, one.changed) for one in driver.machines.start(vms)] == [(None, True)] * 3
    assert rig.calls()["PowerOnMultiVM_Task"] == 1
    running = find(driver, *(vm.name for vm in vms))
    assert all(vm.power_state == "running" and abs(vm.boot_time - time.time()) < 60 for vm in running)
    assert [(one.error, one.changed) for one in driver.machines.start(vms)] == [(None, False)] * 3
    tools(rig, *vms)
    rig.calls(reset=True)
    assert [(one.error, one.changed, one.warnings) for one in driver.machines.stop(vms, 30)] == [(None, True, ())] * 3
    assert "PowerOffVM_Task" not in rig.calls()
    assert [(one.error, one.changed) for one in driver.machines.stop(vms, 30)] == [(None, False)] * 3
    assert find(driver, "web0")[0].boot_time is None


def test_what_vcenter_does_not_attempt_is_said(rig: VCenterRig, driver: t.Any) -> None:
    vms = create(driver, *(wanted(f"web{number}") for number in range(3)))
    rig.fault("PowerOn web0", "fault", fault="InsufficientResourcesFault")
    rig.fault("DRS web1", "fault")
    done = {one.name: one for one in driver.machines.start(vms)}
    assert "InsufficientResourcesFault" in done["web0"].error and "DRS of its cluster is set to manual" in done["web1"].error
    assert done["web2"].error is None and done["web2"].changed


def test_a_vm_that_does_not_come_up_is_said(rig: VCenterRig, driver: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware import power

    monkeypatch.setattr(power, "START_SECONDS", 1.5)
    vms = create(driver, wanted("web0"), wanted("web1"))
    rig.fault("Boot web0", "fault")
    done = {one.name: one for one in driver.machines.start(vms)}
    assert "is not on after 1.5 s" in done["web0"].error and done["web1"].error is None


def test_guests_that_do_not_answer_are_powered_off(rig: VCenterRig, driver: t.Any) -> None:
    vms = create(driver, wanted("deaf"), wanted("bare"), wanted("good"))
    list(driver.machines.start(vms))
    tools(rig, vms[0], vms[2])
    rig.deaf("deaf")
    done = {one.name: one for one in driver.machines.stop(vms, 2)}
    assert all(one.error is None and one.changed for one in done.values())
    assert "did not shut down within 2 s" in done["deaf"].warnings[0] and "VMware Tools" in done["bare"].warnings[0]
    assert done["good"].warnings == () and all(rig.vm(vm.name)["power_state"] == "poweredOff" for vm in vms)
    list(driver.machines.start(vms))
    tools(rig, *vms)
    rig.calls(reset=True)
    assert all(one.changed and not one.warnings for one in driver.machines.stop(vms, 0))
    assert "ShutdownGuest" not in rig.calls()


def test_suspended_vms_start_and_stop(rig: VCenterRig, admin: Admin, driver: t.Any) -> None:
    vms = create(driver, wanted("web0"), wanted("web1"))
    list(driver.machines.start(vms))
    for vm in vms:
        admin.suspend(vm.name)
    assert only(driver.machines.start(vms[:1])).changed and rig.vm("web0")["power_state"] == "poweredOn"
    assert only(driver.machines.stop(vms[1:], 5)).changed and rig.vm("web1")["power_state"] == "poweredOff"


def test_power_of_what_is_gone_or_a_template(admin: Admin, driver: t.Any) -> None:
    vm = create(driver, wanted("web0"))[0]
    admin.destroy("web0")
    template = find(driver, PLAIN)[0]
    assert template.is_template
    for action in (driver.machines.start, lambda vms: driver.machines.stop(vms, 0), driver.machines.delete):
        done = {one.name: one.error for one in action([vm, template])}
        assert "web0 is gone from" in done["web0"] and "is a template" in done[PLAIN]


# --- migration ---


def test_migration_takes_the_drive_along(rig: VCenterRig, driver: t.Any) -> None:
    vms = create(
        driver,
        wanted("on", placement={"host": "DC0_C0_H0", "datastore": "LocalDS_0"}),
        wanted("off", placement={"host": "DC0_C0_H0", "datastore": "LocalDS_0"}),
        wanted("bare", placement={"host": "DC0_C0_H0", "datastore": "LocalDS_0"}),
    )
    for vm in vms[:2]:
        put_drive(driver, vm)
    list(driver.machines.start([vms[0]]))
    done = list(driver.machines.migrate(vms, {"host": "DC0_C0_H2", "datastore": "LocalDS_2"}))
    assert [(one.error, one.changed) for one in done] == [(None, True)] * 3
    for vm in vms:
        made = rig.vm(vm.name)
        assert made["host"] == "DC0_C0_H2" and made["path"].startswith("[LocalDS_2]")
    assert [loc for loc in rig.isos() if "installer" not in loc] == ["[LocalDS_2] off/off.iso", "[LocalDS_2] on/on.iso"]
    drive = rig.vm("on")["drives"][1]
    assert (drive["File"], drive["Connected"]) == ("[LocalDS_2] on/on.iso", True)
    again = list(driver.machines.migrate(vms, {"host": "DC0_C0_H2", "datastore": "LocalDS_2"}))
    assert [(one.error, one.changed) for one in again] == [(None, False)] * 3


def test_a_host_that_does_not_see_the_iso_gets_the_vm(rig: VCenterRig, driver: t.Any) -> None:
    placement = {"host": "DC0_C0_H0", "datastore": "LocalDS_1"}
    vms = create(driver, wanted("web1", placement=placement))
    put_drive(driver, vms[0])
    list(driver.machines.start(vms))
    rig.datastore_hosts("LocalDS_1", "DC0_C0_H0", "DC0_C0_H1")
    try:
        destination = {"host": "DC0_C0_H2"}
        assert only(driver.machines.migrate(vms, {**destination, "datastore": "LocalDS_2"})).error is None
        assert rig.vm("web1")["drives"][1] == {
            **rig.vm("web1")["drives"][1],
            "File": "[LocalDS_2] web1/web1.iso",
            "Connected": True,
        }
        error = only(driver.machines.migrate(vms, {"host": "DC0_C0_H2", "datastore": "LocalDS_1"})).error
        assert "DC0_C0_H2 does not see the datastore LocalDS_1" in error
    finally:
        rig.datastore_hosts("LocalDS_1", "DC0_C0_H0", "DC0_C0_H1", "DC0_C0_H2")


def test_a_failed_move_gives_the_drive_back(rig: VCenterRig, driver: t.Any) -> None:
    vms = create(driver, wanted("web1", placement={"host": "DC0_C0_H0"}))
    location = put_drive(driver, vms[0])
    list(driver.machines.start(vms))
    rig.fault("RelocateVM_Task", "task", fault="InsufficientResourcesFault")
    done = only(driver.machines.migrate(vms, {"host": "DC0_C0_H1"}))
    assert "could not be moved: InsufficientResourcesFault" in done.error and not done.changed
    drive = rig.vm("web1")["drives"][1]
    assert rig.vm("web1")["host"] == "DC0_C0_H0" and (drive["File"], drive["Connected"]) == (location, True)


# --- deleting ---


def test_delete_takes_all_that_is_the_vms(rig: VCenterRig, driver: t.Any) -> None:
    vms = create(driver, *(wanted(f"web{number}", LINKED) for number in range(3)))
    for vm in vms:
        put_drive(driver, vm)
    folders = [rig.file(f"{vm['path'].rpartition('/')[0]}") for vm in rig.vms() if vm["name"].startswith("web")]
    assert driver.machines.delete_problems(vms) == {}
    rig.calls(reset=True)
    assert [(one.error, one.changed) for one in driver.machines.delete(vms)] == [(None, True)] * 3
    # Whose a drive is stands in its first bytes, which are read once.
    assert sum(number for call, number in rig.calls().items() if call.startswith("GET web")) == 3
    assert not any(folder.exists() for folder in folders) and not [vm for vm in rig.vms() if vm["name"].startswith("web")]
    assert rig.file(rig.vm(LINKED)["disks"][0]["File"]).exists()
    assert "is gone from" in only(driver.machines.delete(vms[:1])).error


def test_running_vms_and_changed_ones_are_not_deleted(rig: VCenterRig, admin: Admin, driver: t.Any) -> None:
    vms = create(driver, wanted("on"), wanted("other"))
    list(driver.machines.start(vms[:1]))
    setting = vim.option.OptionValue(key="vmops.external_dhcp.made", value="")
    WaitForTask(admin.vm("other").ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=[setting])))
    done = {one.name: one.error for one in driver.machines.delete(vms)}
    assert "runs: stop it" in done["on"] and "is not the VM that it was" in done["other"]
    assert rig.vm("on") and rig.vm("other")


def test_what_others_need_is_not_deleted(rig: VCenterRig, admin: Admin, driver: t.Any) -> None:
    base, clone, shared = create(driver, wanted("base"), wanted("sharer"), wanted("third"))
    WaitForTask(admin.vm("base").CreateSnapshot_Task("s", "", False, False))
    create(driver, wanted("child", "base"))
    disk = next(d for d in admin.vm("third").config.hardware.device if isinstance(d, vim.vm.device.VirtualDisk))
    new = vim.vm.device.VirtualDisk(
        key=-5, controllerKey=disk.controllerKey, unitNumber=1, backing=disk.backing, capacityInKB=disk.capacityInKB
    )
    admin.reconfigure("sharer", vim.vm.device.VirtualDeviceSpec(operation="add", device=new))
    problems = driver.machines.delete_problems([base, clone, shared])
    assert "child" in problems[base.id] and "linked clone" in problems[base.id]
    assert "also a disk of third" in problems[clone.id] and "also a disk of sharer" in problems[shared.id]
    assert [bool(one.error) for one in driver.machines.delete([base, clone, shared])] == [True] * 3
    assert rig.vm("base") and rig.vm("sharer") and rig.vm("third")
    child = find(driver, "child")
    assert only(driver.machines.delete(child)).error is None
    assert driver.machines.delete_problems([base]) == {}


def test_one_that_became_a_template_meanwhile_is_not_said_to_be_deleted(
    rig: VCenterRig, driver: t.Any, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    (vm,) = create(driver, wanted("web1"))
    destroy = driver.machines._destroy

    def somebody_marks_it_first(one: t.Any) -> t.Any:
        admin.vm("web1").MarkAsTemplate()
        return destroy(one)

    monkeypatch.setattr(driver.machines, "_destroy", somebody_marks_it_first)
    rig.fault("Destroy_Task", "task", fault="NoPermission")
    assert "it could not be deleted" in (only(driver.machines.delete([vm])).error or "")
    assert rig.vm("web1")


# --- what it costs ---


def test_calls_do_not_grow_beyond_one_a_vm(rig: VCenterRig, driver: t.Any) -> None:
    vms = [wanted(f"many{number}", LINKED) for number in range(60)]
    rig.calls(reset=True)
    made = create(driver, *vms)
    calls = rig.calls(reset=True)
    assert sum(calls.values()) <= 60 + 35, calls
    assert all(one.error is None for one in driver.machines.start(made))
    assert sum(rig.calls(reset=True).values()) <= 15


def test_eight_tasks_are_started_at_a_time(driver: t.Any) -> None:
    vms = create(driver, *(wanted(f"eight{number}", LINKED) for number in range(8)))
    session = driver.machines._session
    all_at_once = threading.Barrier(8)

    def destroy(vm: t.Any) -> t.Any:
        all_at_once.wait(30)
        return session.object("VirtualMachine", vm.handle.reference).Destroy_Task()

    starts = [(vm.id, functools.partial(destroy, vm)) for vm in vms]
    assert {result for _vm, result in tasks.run_tasks(session, starts)} == {None}


def test_a_drive_is_deleted_while_its_folder_is_looked_through(rig: VCenterRig, driver: t.Any) -> None:
    vm = create(driver, wanted("web1"))[0]
    put_drive(driver, vm)
    rig.calls(reset=True)
    assert only(driver.machines.delete([vm])).error is None
    before, _searching, after = " ".join(rig.journal()).partition(" SearchDatastore_Task ")
    assert "DeleteDatastoreFile_Task" not in before and "DeleteDatastoreFile_Task" in after
    # The VM, everybody's disks, and the VM's drives.
    assert before.count("RetrievePropertiesEx") == 3


# --- a host alone ---


def test_a_stand_alone_host_says_early_that_it_cannot_clone() -> None:
    with VCenterRig("itvmlifee", vms=1, esx=True, off=True) as rig:
        driver = open_hypervisor(rig.description())
        try:
            problem = driver.machines.check([wanted("web1", rig.vms()[0]["name"])])["web1"]
            assert "stand-alone ESXi host cannot clone" in problem and "vCenter" in problem
            vms = list(driver.inventory.vms().vms)
            assert only(driver.machines.start(vms)).changed
            assert rig.vms()[0]["power_state"] == "poweredOn"
            assert "PowerOnMultiVM_Task" not in rig.calls()
            assert only(driver.machines.stop(vms, 0)).changed
        finally:
            driver.close()
