# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Config drives on VMware, against the vCenter rig."""

from __future__ import annotations

import os
import pathlib
import random
import sys
import threading
import time
import typing as t
import zlib

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveError, HypervisorError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.connect import open_hypervisor

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "rigs" / "vcenter"))
from vcenter_admin import Admin
from vcenter_rig import VCenterRig

SOURCE = "DC0_C0_RP0_VM0"
FIRST, SECOND = "CD/DVD drive 1", "CD/DVD drive 2"


@pytest.fixture(scope="module")
def rig() -> t.Iterator[VCenterRig]:
    with VCenterRig("itvmdrive", vms=2, datastores=3) as running:
        yield running


@pytest.fixture(scope="module")
def admin(rig: VCenterRig) -> t.Iterator[Admin]:
    with Admin(rig) as opened:
        yield opened


@pytest.fixture
def driver(rig: VCenterRig) -> t.Iterator[t.Any]:
    opened = open_hypervisor(rig.description())
    yield opened
    opened.close()


@pytest.fixture
def name(rig: VCenterRig, admin: Admin, request: pytest.FixtureRequest) -> t.Iterator[str]:
    """A new VM, stopped, with one CD/DVD drive on IDE; gone after the test with all files of its own."""
    vm = f"vm{zlib.crc32(request.node.name.encode())}"
    admin.clone(SOURCE, vm)
    yield vm
    rig.clear_faults()
    if rig.vm(vm):
        admin.destroy(vm)
    for location in rig.isos():
        rig.file(location).unlink()


def iso_for(vm: t.Any, text: str = "one", size: int = 0) -> bytes:
    files = {"cloudstack/metadata/local_hostname": text.encode()}
    if size:
        files["cloudstack/userdata/user_data.txt"] = random.Random(size).randbytes(size)
    return image.build(files, "config", vm.id)


def find(driver: t.Any, name: str) -> t.Any:
    found = driver.inventory.vms([name])
    assert not found.problems
    return found.vms[0]


def state(driver: t.Any, vm: t.Any) -> t.Any:
    found = driver.drives.states([vm])[vm.id]
    assert not isinstance(found, Exception), found
    return found


def drives(rig: VCenterRig, name: str) -> dict[str, tuple[str, bool]]:
    """Label -> file and whether it is connected, as the simulator has it."""
    return {d["Label"]: (d["File"], d["Connected"]) for d in rig.vm(name)["drives"]}


def check_attached(rig: VCenterRig, name: str, location: str, iso: bytes, connected: bool = True) -> None:
    """The second drive holds exactly this ISO at exactly this place, the first is free, and nothing else lies about."""
    assert drives(rig, name) == {FIRST: ("", False), SECOND: (location, connected)}
    assert rig.file(location).read_bytes() == iso
    assert rig.isos() == [location]


def started_with_drive(rig: VCenterRig, admin: Admin, driver: t.Any, name: str, text: str = "one") -> tuple[t.Any, bytes]:
    """A running VM that has its drive."""
    vm = find(driver, name)
    iso = iso_for(vm, text)
    driver.drives.put_one(vm, iso)
    admin.power(name, on=True)
    return find(driver, name), iso


# --- where it goes ---


def test_second_drive_is_added_to_a_stopped_vm(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm = find(driver, name)
    location = f"[LocalDS_0] {name}/{name}.iso"
    before = state(driver, vm)
    assert (before.location, before.slot, before.file_exists, before.attached) == (location, SECOND, False, False)
    assert before.can_attach_now and before.problem is None

    iso = iso_for(vm)
    change = driver.drives.put_one(vm, iso)
    assert (change.changed, change.location, change.slot, change.restart_required) == (True, location, SECOND, False)
    check_attached(rig, name, location, iso, connected=False)
    admin.power(name, on=True)
    check_attached(rig, name, location, iso, connected=True)

    after = state(driver, find(driver, name))
    assert after.file_exists and after.attached and after.owner == vm.id and after.size == len(iso)
    assert driver.drives.read(vm) == iso
    # The first drive's place comes first by controller and unit, whatever the order of the list.
    places = {d["Label"]: (d["Controller"], d["Bus"], d["Unit"]) for d in rig.vm(name)["drives"]}
    assert places[FIRST] < places[SECOND]


def test_same_bytes_again_change_nothing(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm, iso = started_with_drive(rig, admin, driver, name)
    rig.calls(reset=True)
    assert driver.drives.put_one(vm, iso).changed is False
    made = rig.calls()
    assert not [call for call in made if call.endswith("_Task") or call.startswith("PUT")]


def test_running_vm_without_a_second_drive_on_ide_needs_a_power_cycle(
    rig: VCenterRig, admin: Admin, driver: t.Any, name: str
) -> None:
    admin.power(name, on=True)
    vm = find(driver, name)
    iso = iso_for(vm)
    assert state(driver, vm).can_attach_now is False
    change = driver.drives.put_one(vm, iso)
    assert change.changed and change.restart_required and "shut it down" in change.message
    assert drives(rig, name) == {FIRST: ("", False)}
    again = driver.drives.put_one(vm, iso)
    assert again.restart_required and not again.changed

    admin.power(name, on=False)
    change = driver.drives.put_one(find(driver, name), iso)
    assert change.changed and not change.restart_required
    check_attached(rig, name, change.location, iso, connected=False)


def test_second_drive_is_hot_added_on_sata(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    admin.add_sata(name)
    admin.power(name, on=True)
    vm = find(driver, name)
    iso = iso_for(vm)
    assert state(driver, vm).can_attach_now
    change = driver.drives.put_one(vm, iso)
    assert change.changed and not change.restart_required
    check_attached(rig, name, change.location, iso)
    assert [d["Controller"] for d in rig.vm(name)["drives"] if d["Label"] == SECOND] == ["sata"]


def test_vm_without_any_drive_gets_two(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    admin.remove_cd(name, FIRST)
    vm = find(driver, name)
    iso = iso_for(vm)
    driver.drives.put_one(vm, iso)
    check_attached(rig, name, f"[LocalDS_0] {name}/{name}.iso", iso, connected=False)


def test_full_ide_controllers_get_a_sata_one(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    admin.remove_cd(name, FIRST)
    admin.add_cd(name, None, controller=201, unit=1)
    vm = find(driver, name)
    driver.drives.put_one(vm, iso_for(vm))
    found = {d["Label"]: d["Controller"] for d in rig.vm(name)["drives"]}
    assert found == {FIRST: "ide", SECOND: "sata"}
    assert drives(rig, name)[FIRST] == ("", False)


def test_place_follows_the_first_disks_datastore(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    admin.relocate(name, datastore="LocalDS_2")
    vm = find(driver, name)
    iso = iso_for(vm)
    change = driver.drives.put_one(vm, iso)
    assert change.location == f"[LocalDS_2] {name}/{name}.iso"
    check_attached(rig, name, change.location, iso, connected=False)


@pytest.mark.parametrize(
    "odd",
    [
        "with blank",
        "per%25cent &amp; + plus;x=1",
        "a%2fb",
        "brackets [x] (y)",
        "ümläut-网络-🙂",
        "hash#query?",
        "quote'\"<x>",
        "dots..name.iso",
        "-dash",
        "x" * 80,
    ],
)
def test_odd_names(rig: VCenterRig, admin: Admin, driver: t.Any, odd: str) -> None:
    plain = odd.replace("%2f", "/").replace("%25", "%")
    admin.clone(SOURCE, odd)
    try:
        vm = find(driver, plain)
        iso = iso_for(vm)
        change = driver.drives.put_one(vm, iso)
        assert change.location == f"[LocalDS_0] {odd}/{odd}.iso"
        check_attached(rig, odd, change.location, iso, connected=False)
        admin.power(odd, on=True)
        second = iso_for(vm, "two")
        driver.drives.put_one(vm, second)
        check_attached(rig, odd, change.location, second)
        driver.drives.remove_one(vm)
        assert rig.isos() == []
    finally:
        admin.destroy(odd)
        for location in rig.isos():
            rig.file(location).unlink()


def test_datacenter_in_a_folder() -> None:
    with VCenterRig("itvmfolder", vms=1, folder=True) as rig, Admin(rig) as admin:
        opened = open_hypervisor(rig.description())
        try:
            (vm,) = opened.inventory.vms().vms
            admin.power(vm.name, on=False)
            iso = iso_for(vm)
            change = opened.drives.put_one(vm, iso)
            check_attached(rig, vm.name, change.location, iso, connected=False)
        finally:
            opened.close()


def test_stand_alone_esxi_host() -> None:
    with VCenterRig("itvmesxd", vms=1, esx=True) as rig, Admin(rig) as admin:
        opened = open_hypervisor(rig.description())
        try:
            (vm,) = opened.inventory.vms().vms
            admin.power(vm.name, on=False)
            iso = iso_for(vm)
            change = opened.drives.put_one(vm, iso)
            check_attached(rig, vm.name, change.location, iso, connected=False)
            assert opened.drives.remove_one(vm).changed
            assert rig.isos() == []
        finally:
            opened.close()


# --- refresh, removal, moves ---


def test_refresh_while_running(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm, _iso = started_with_drive(rig, admin, driver, name)
    second = iso_for(vm, "two")
    rig.calls(reset=True)
    change = driver.drives.put_one(vm, second)
    assert change.changed and not change.restart_required
    check_attached(rig, name, f"[LocalDS_0] {name}/{name}.iso", second)
    steps = [c.split(" ")[0] for c in rig.journal() if c.endswith("_Task") or c.startswith("PUT")]
    # Uploaded first; then taken out, named, put in: the guest sees a new medium, whole.
    assert [s for s in steps if s != "SearchDatastore_Task"] == [
        "PUT",
        "ReconfigVM_Task",
        "MoveDatastoreFile_Task",
        "ReconfigVM_Task",
    ]


def test_refresh_while_stopped(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm, _iso = started_with_drive(rig, admin, driver, name)
    admin.power(name, on=False)
    second = iso_for(vm, "two")
    assert driver.drives.put_one(vm, second).changed
    check_attached(rig, name, f"[LocalDS_0] {name}/{name}.iso", second, connected=False)
    admin.power(name, on=True)
    check_attached(rig, name, f"[LocalDS_0] {name}/{name}.iso", second)


def test_question_about_the_locked_door_is_answered(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm, _iso = started_with_drive(rig, admin, driver, name)
    rig.door(name, True)
    second = iso_for(vm, "two")
    rig.calls(reset=True)
    driver.drives.put_one(vm, second)
    assert rig.calls()["AnswerVM"] == 1
    check_attached(rig, name, f"[LocalDS_0] {name}/{name}.iso", second)
    driver.drives.remove_one(vm)
    assert drives(rig, name) == {FIRST: ("", False), SECOND: ("", False)}
    assert rig.isos() == []


def test_drive_that_the_guest_ejected_is_put_in_again(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm, iso = started_with_drive(rig, admin, driver, name)
    location = f"[LocalDS_0] {name}/{name}.iso"
    admin.insert(name, SECOND, location, connected=False)
    assert state(driver, vm).attached is False
    assert driver.drives.put_one(vm, iso).changed
    check_attached(rig, name, location, iso)


def test_remove_leaves_an_empty_drive_and_no_file(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm, _iso = started_with_drive(rig, admin, driver, name)
    assert driver.drives.remove_one(vm).changed
    assert drives(rig, name) == {FIRST: ("", False), SECOND: ("", False)}
    assert rig.isos() == []
    assert not driver.drives.remove_one(vm).changed
    assert driver.drives.read(vm) is None
    admin.destroy(name)
    assert rig.isos() == []


def test_destroy_alone_would_leave_the_file(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    # Why the drive is removed before a VM is destroyed.
    started_with_drive(rig, admin, driver, name)
    admin.destroy(name)
    assert rig.isos() == [f"[LocalDS_0] {name}/{name}.iso"]


@pytest.mark.parametrize("by", ["put", "move"])
@pytest.mark.parametrize("running", [True, False])
def test_drive_follows_a_storage_migration(
    rig: VCenterRig, admin: Admin, driver: t.Any, name: str, by: str, running: bool
) -> None:
    vm, iso = started_with_drive(rig, admin, driver, name)
    if not running:
        admin.power(name, on=False)
    old, new = f"[LocalDS_0] {name}/{name}.iso", f"[LocalDS_1] {name}/{name}.iso"
    admin.relocate(name, datastore="LocalDS_1")
    assert rig.isos() == [old], "the product leaves it behind"
    assert state(driver, vm).location == new and state(driver, vm).attached is False
    change = driver.drives.put_one(vm, iso) if by == "put" else driver.drives.move_one(vm, "LocalDS_1")
    assert change.changed and change.location == new
    check_attached(rig, name, new, iso, connected=running)
    again = driver.drives.move_one(vm, "LocalDS_1")
    assert not again.changed


def test_migration_that_was_cut_short_leaves_no_old_file(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm, iso = started_with_drive(rig, admin, driver, name)
    new = f"[LocalDS_1] {name}/{name}.iso"
    admin.relocate(name, datastore="LocalDS_1")
    # The old one is disconnected and deleted; then the new one is not attached.
    rig.fault("ReconfigVM_Task", "task", fault="InvalidState", skip=1)
    with pytest.raises(DriveError, match="InvalidState"):
        driver.drives.put_one(vm, iso)
    assert rig.isos() == [new]
    rig.clear_faults()
    assert driver.drives.put_one(vm, iso).changed
    check_attached(rig, name, new, iso)


def test_old_file_that_cannot_be_deleted_is_named(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm, iso = started_with_drive(rig, admin, driver, name)
    old, new = f"[LocalDS_0] {name}/{name}.iso", f"[LocalDS_1] {name}/{name}.iso"
    admin.relocate(name, datastore="LocalDS_1")
    rig.fault("DeleteDatastoreFile_Task", "task", fault="CannotDeleteFile", count=-1)
    with pytest.raises(DriveError, match=rf"\[LocalDS_0\] {name}/{name}\.iso could not be deleted"):
        driver.drives.put_one(vm, iso)
    assert drives(rig, name)[SECOND] == (new, True), "the VM has its drive all the same"
    assert rig.isos() == sorted([old, new])


def test_file_that_appears_meanwhile_is_not_overwritten(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm = find(driver, name)
    location = f"[LocalDS_0] {name}/{name}.iso"
    rig.fault("MoveDatastoreFile_Task", "hold")
    failed: list[Exception] = []

    def put() -> None:
        try:
            driver.drives.put_one(vm, iso_for(vm))
        except DriveError as error:
            failed.append(error)

    thread = threading.Thread(target=put)
    thread.start()
    while not rig.fault_hits():
        time.sleep(0.01)
    rig.file(location).write_bytes(b"somebody else's")
    rig.clear_faults()
    thread.join(60)
    assert failed and "no config drive of this collection" in str(failed[0])
    assert rig.file(location).read_bytes() == b"somebody else's"
    assert rig.isos() == [location]


def test_move_to_a_host_that_does_not_see_the_old_datastore(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm, iso = started_with_drive(rig, admin, driver, name)
    before = driver.drives.move_one(vm, "LocalDS_1")
    assert before.changed and "LocalDS_1" in before.message
    # Disconnected, so that it does not hold the VM back; still there, should the migration fail.
    assert drives(rig, name)[SECOND] == (f"[LocalDS_0] {name}/{name}.iso", False)
    admin.relocate(name, datastore="LocalDS_1", host="DC0_C0_H1")
    driver.drives.move_one(vm, "LocalDS_1")
    check_attached(rig, name, f"[LocalDS_1] {name}/{name}.iso", iso)


def test_move_that_did_not_happen_gives_the_drive_back(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm, iso = started_with_drive(rig, admin, driver, name)
    driver.drives.move_one(vm, "LocalDS_1")
    assert driver.drives.move_one(vm, "").changed
    check_attached(rig, name, f"[LocalDS_0] {name}/{name}.iso", iso)


def test_vm_without_a_drive_has_nothing_to_move(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    rig.file("[LocalDS_1] tools.iso").write_bytes(b"tools" * 10000)
    admin.add_cd(name, "[LocalDS_1] tools.iso")
    vm = find(driver, name)
    for destination in ("LocalDS_1", ""):
        assert not driver.drives.move_one(vm, destination).changed
    assert drives(rig, name)[SECOND][0] == "[LocalDS_1] tools.iso"


def test_drive_gets_the_new_name_of_a_renamed_vm(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    _vm, iso = started_with_drive(rig, admin, driver, name)
    renamed = f"{name}-new"
    admin.rename(name, renamed)
    try:
        vm = find(driver, renamed)
        change = driver.drives.put_one(vm, iso)
        assert change.location == f"[LocalDS_0] {name}/{renamed}.iso"
        check_attached(rig, renamed, change.location, iso)
    finally:
        admin.destroy(renamed)


# --- what is not ours ---


@pytest.mark.parametrize("content", [b"a file of somebody else", b""])
def test_foreign_file_at_its_place_is_not_touched(
    rig: VCenterRig, admin: Admin, driver: t.Any, name: str, content: bytes
) -> None:
    vm = find(driver, name)
    location = f"[LocalDS_0] {name}/{name}.iso"
    rig.file(location).write_bytes(content)
    found = state(driver, vm)
    assert "no config drive of this collection" in found.problem and location in found.problem
    rig.calls(reset=True)
    with pytest.raises(DriveError, match="no config drive of this collection"):
        driver.drives.put_one(vm, iso_for(vm))
    change = driver.drives.remove_one(vm)
    assert not change.changed and "no config drive of this collection" in change.message
    assert rig.file(location).read_bytes() == content
    assert not [c for c in rig.calls() if c.startswith(("PUT", "Reconfig", "Delete", "Move"))]


def test_drive_of_another_vm_at_its_place_is_not_touched(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm = find(driver, name)
    other = image.build({"cloudstack/metadata/local_hostname": b"other"}, "config", "11111111-2222-3333-4444-555555555555")
    location = f"[LocalDS_0] {name}/{name}.iso"
    rig.file(location).write_bytes(other)
    with pytest.raises(DriveError, match="the VM with id 11111111-2222-3333-4444-555555555555"):
        driver.drives.put_one(vm, iso_for(vm))
    driver.drives.remove_one(vm)
    assert rig.file(location).read_bytes() == other


@pytest.mark.parametrize("owner", ["11111111-2222-3333-4444-555555555555", None])
def test_foreign_drive_is_discarded_when_asked(rig: VCenterRig, driver: t.Any, name: str, owner: str | None) -> None:
    vm = find(driver, name)
    foreign = image.build({"a": b"b"}, owner=owner)
    path = rig.file(state(driver, vm).location)
    path.write_bytes(foreign)
    assert driver.drives.read_foreign(vm) == foreign
    driver.drives.discard_foreign(vm)
    assert not path.exists() and driver.drives.read_foreign(vm) is None
    iso = iso_for(vm)
    driver.drives.put_one(vm, iso)
    assert driver.drives.read_foreign(vm) is None
    driver.drives.discard_foreign(vm)
    assert driver.drives.read(vm) == iso


def test_drive_marked_for_another_vm_is_refused(driver: t.Any, name: str) -> None:
    vm = find(driver, name)
    with pytest.raises(DriveError, match="not marked for this VM"):
        driver.drives.put_one(vm, image.build({"a": b"b"}, "config", "11111111-2222-3333-4444-555555555555"))


def test_medium_in_the_second_drive_is_not_taken_out(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    rig.file("[LocalDS_1] tools.iso").write_bytes(b"tools" * 10000)
    admin.add_cd(name, "[LocalDS_1] tools.iso")
    vm = find(driver, name)
    assert "holds [LocalDS_1] tools.iso" in state(driver, vm).problem
    with pytest.raises(DriveError, match=r"holds \[LocalDS_1\] tools\.iso: take it out"):
        driver.drives.put_one(vm, iso_for(vm))
    assert drives(rig, name)[SECOND][0] == "[LocalDS_1] tools.iso"
    assert rig.isos() == ["[LocalDS_1] tools.iso"]


def test_medium_in_the_first_drive_stays(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    rig.file("[LocalDS_1] tools.iso").write_bytes(b"tools" * 10000)
    admin.insert(name, FIRST, "[LocalDS_1] tools.iso")
    vm = find(driver, name)
    rig.calls(reset=True)
    driver.drives.put_one(vm, iso_for(vm))
    assert "GET tools.iso" not in rig.calls()
    driver.drives.remove_one(vm)
    assert drives(rig, name) == {FIRST: ("[LocalDS_1] tools.iso", False), SECOND: ("", False)}
    assert rig.isos() == ["[LocalDS_1] tools.iso"]


def test_drive_in_the_first_slot_goes_to_the_second(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm, iso = started_with_drive(rig, admin, driver, name)
    location = f"[LocalDS_0] {name}/{name}.iso"
    admin.insert(name, SECOND, None)
    admin.insert(name, FIRST, location)
    assert state(driver, vm).attached is False
    assert driver.drives.put_one(vm, iso).changed
    check_attached(rig, name, location, iso)


def test_drive_in_both_slots_leaves_the_first(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm, iso = started_with_drive(rig, admin, driver, name)
    location = f"[LocalDS_0] {name}/{name}.iso"
    admin.insert(name, FIRST, location)
    assert state(driver, vm).attached is False
    assert driver.drives.put_one(vm, iso).changed
    check_attached(rig, name, location, iso)


def test_clone_does_not_keep_the_drive_of_its_source(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    source, source_iso = started_with_drive(rig, admin, driver, name)
    clone = f"{name}-clone"
    admin.clone(name, clone)
    try:
        assert drives(rig, clone)[SECOND][0] == f"[LocalDS_0] {name}/{name}.iso", "the product copies the drive's setting"
        vm = find(driver, clone)
        assert vm.id != source.id
        iso = iso_for(vm)
        driver.drives.put_one(vm, iso)
        assert drives(rig, clone)[SECOND][0] == f"[LocalDS_0] {clone}/{clone}.iso"
        assert rig.file(f"[LocalDS_0] {clone}/{clone}.iso").read_bytes() == iso
        # The source has what it had.
        assert drives(rig, name)[SECOND] == (f"[LocalDS_0] {name}/{name}.iso", True)
        assert rig.file(f"[LocalDS_0] {name}/{name}.iso").read_bytes() == source_iso
    finally:
        admin.destroy(clone)


def test_suspended_vm_is_told_apart(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm, iso = started_with_drive(rig, admin, driver, name)
    admin.suspend(name)
    assert driver.drives.put_one(vm, iso).changed is False
    with pytest.raises(DriveError, match="suspended"):
        driver.drives.remove_one(vm)
    assert rig.isos()
    admin.power(name, on=True)


def test_leftovers_of_killed_runs_are_removed(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm = find(driver, name)
    folder = rig.file(f"[LocalDS_0] {name}/{name}.iso").parent
    old = folder / f"{name}.iso.0123456789abcdef.upload"
    young = folder / f"{name}.iso.fedcba9876543210.upload"
    other = folder / f"{name}.iso.backup.upload"
    for path in (old, young, other):
        path.write_bytes(b"half")
    long_ago = time.time() - 7200
    os.utime(old, (long_ago, long_ago))
    os.utime(other, (long_ago, long_ago))
    rig.fault("DeleteDatastoreFile_Task", "task", fault="CannotDeleteFile")
    driver.drives.put_one(vm, iso_for(vm))
    assert old.exists(), "what cannot be deleted is not in the way"
    driver.drives.put_one(vm, iso_for(vm, "two"))
    assert not old.exists()
    assert young.exists(), "another task may be writing it"
    assert other.exists(), "not a name of ours"


# --- what breaks ---


def check_whole(rig: VCenterRig, name: str, *allowed: bytes) -> None:
    """Whatever is in the second drive is a whole drive; under the final name there is never anything else."""
    for file, _connected in drives(rig, name).values():
        if file:
            assert rig.file(file).read_bytes() in allowed
    final = rig.file(f"[LocalDS_0] {name}/{name}.iso")
    assert not final.exists() or final.read_bytes() in allowed


@pytest.mark.parametrize("running", [True, False])
def test_upload_cut_anywhere(rig: VCenterRig, admin: Admin, driver: t.Any, name: str, running: bool) -> None:
    vm, first = started_with_drive(rig, admin, driver, name)
    if not running:
        admin.power(name, on=False)
    location = f"[LocalDS_0] {name}/{name}.iso"
    second = iso_for(vm, "two", size=200_000)
    cuts = random.Random(5).sample(range(len(second)), 23) + [0, len(second) - 1]
    for cut in cuts:
        rig.fault("PUT *", "upload_cut", bytes=cut, count=-1)
        with pytest.raises(DriveError, match="a new login was made and did not help"):
            driver.drives.put_one(vm, second)
        check_attached(rig, name, location, first, connected=running)
        rig.clear_faults()
    # Once is met by a second try.
    rig.fault("PUT *", "upload_cut", bytes=1000)
    assert driver.drives.put_one(vm, second).changed
    check_attached(rig, name, location, second, connected=running)


def test_upload_that_arrives_damaged(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm, first = started_with_drive(rig, admin, driver, name)
    rig.fault("PUT *", "upload_status", bytes=5000, status=201, count=-1)
    with pytest.raises(DriveError, match=r"has 5000 of \d+ bytes"):
        driver.drives.put_one(vm, iso_for(vm, "two"))
    check_attached(rig, name, f"[LocalDS_0] {name}/{name}.iso", first)


@pytest.mark.parametrize("taken", [0, 4096])
def test_full_datastore(rig: VCenterRig, admin: Admin, driver: t.Any, name: str, taken: int) -> None:
    vm, first = started_with_drive(rig, admin, driver, name)
    rig.fault("PUT *", "upload_status", bytes=taken, status=507, count=-1)
    with pytest.raises(DriveError, match=r"datastore LocalDS_0 is full \(HTTP 507\)"):
        driver.drives.put_one(vm, iso_for(vm, "two"))
    check_attached(rig, name, f"[LocalDS_0] {name}/{name}.iso", first)


def calls_of(rig: VCenterRig, action: t.Callable[[], object]) -> int:
    rig.calls(reset=True)
    action()
    return sum(rig.calls(reset=True).values())


def test_session_killed_before_any_call(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm, iso = started_with_drive(rig, admin, driver, name)
    location = f"[LocalDS_0] {name}/{name}.iso"
    number = calls_of(rig, lambda: driver.drives.put_one(vm, iso_for(vm, "count")))
    assert number >= 10  # calls to kill the session before
    for skip in range(number):
        iso = iso_for(vm, f"kill{skip}")
        rig.clear_faults()
        rig.fault("*", "revoke", skip=skip)
        assert driver.drives.put_one(vm, iso).changed
        check_attached(rig, name, location, iso)
    number = calls_of(rig, lambda: driver.drives.remove_one(vm))
    for skip in range(number):
        rig.clear_faults()
        driver.drives.put_one(vm, iso)
        rig.fault("*", "revoke", skip=skip)
        driver.drives.remove_one(vm)
        assert rig.isos() == []
        assert drives(rig, name)[SECOND] == ("", False)


@pytest.mark.parametrize("kind", [{"kind": "lost"}, {"kind": "reset"}, {"kind": "status", "status": 503}])
def test_connection_lost_at_any_call(rig: VCenterRig, admin: Admin, driver: t.Any, name: str, kind: dict[str, t.Any]) -> None:
    vm, old = started_with_drive(rig, admin, driver, name)
    location = f"[LocalDS_0] {name}/{name}.iso"
    number = calls_of(rig, lambda: driver.drives.put_one(vm, iso_for(vm, "count")))
    for skip in range(number):
        iso = iso_for(vm, f"{kind['kind']}{skip}")
        rig.clear_faults()
        rig.fault("*", skip=skip, **kind)
        driver.drives.put_one(vm, iso)
        check_attached(rig, name, location, iso)
        old = iso
    # What stays broken from any call on is an error; nothing is half, and a second run converges.
    for skip in range(0, number, 2):
        iso = iso_for(vm, f"{kind['kind']}-for-good{skip}")
        rig.clear_faults()
        rig.fault("*", skip=skip, count=-1, **kind)
        with pytest.raises(HypervisorError):
            driver.drives.put_one(vm, iso)
        check_whole(rig, name, old, iso)
        rig.clear_faults()
        driver.drives.put_one(vm, iso)
        assert drives(rig, name)[SECOND] == (location, True)
        assert rig.file(location).read_bytes() == iso
        old = iso


@pytest.mark.parametrize("fault", ["FileLocked", "TaskInProgress", "ConcurrentAccess"])
@pytest.mark.parametrize("method", ["ReconfigVM_Task", "MoveDatastoreFile_Task"])
def test_somebody_else_at_the_same_vm_is_waited_for(
    rig: VCenterRig, admin: Admin, driver: t.Any, name: str, method: str, fault: str
) -> None:
    vm, _old = started_with_drive(rig, admin, driver, name)
    iso = iso_for(vm, "two")
    rig.fault(method, "task", fault=fault, count=2)
    assert driver.drives.put_one(vm, iso).changed
    assert rig.fault_hits() == 2
    check_attached(rig, name, f"[LocalDS_0] {name}/{name}.iso", iso)


@pytest.mark.parametrize("fault", ["GenericVmConfigFault", "CannotAccessFile", "InvalidState", "RuntimeFault", "NoPermission"])
@pytest.mark.parametrize("method", ["ReconfigVM_Task", "MoveDatastoreFile_Task"])
def test_task_errors_are_said_and_leave_the_old_drive(
    rig: VCenterRig, admin: Admin, driver: t.Any, name: str, method: str, fault: str
) -> None:
    vm, old = started_with_drive(rig, admin, driver, name)
    iso = iso_for(vm, "two")
    rig.fault(method, "task", fault=fault)
    with pytest.raises(DriveError, match=name):
        driver.drives.put_one(vm, iso)
    check_attached(rig, name, f"[LocalDS_0] {name}/{name}.iso", old)
    rig.clear_faults()
    driver.drives.put_one(vm, iso)
    check_attached(rig, name, f"[LocalDS_0] {name}/{name}.iso", iso)


def test_slow_tasks_are_waited_for(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm, _old = started_with_drive(rig, admin, driver, name)
    iso = iso_for(vm, "two")
    rig.fault("ReconfigVM_Task", "task", delay_ms=400, count=-1)
    driver.drives.put_one(vm, iso)
    check_attached(rig, name, f"[LocalDS_0] {name}/{name}.iso", iso)


def test_slow_upload_ends_at_the_time_limit(rig: VCenterRig, admin: Admin, name: str) -> None:
    opened = open_hypervisor(rig.description(connect_timeout=0.5))
    try:
        vm, old = started_with_drive(rig, admin, opened, name)
        rig.fault("PUT *", "delay", delay_ms=3000, count=-1)
        with pytest.raises(HypervisorError, match=r"no answer within 0\.5 s"):
            opened.drives.put_one(vm, iso_for(vm, "two"))
        rig.clear_faults()
        assert drives(rig, name)[SECOND] == (f"[LocalDS_0] {name}/{name}.iso", True)
        check_whole(rig, name, old)
    finally:
        opened.close()


@pytest.mark.parametrize("moment", ["PUT *", "ReconfigVM_Task", "MoveDatastoreFile_Task"])
def test_vm_destroyed_meanwhile(rig: VCenterRig, admin: Admin, driver: t.Any, name: str, moment: str) -> None:
    vm = find(driver, name)
    rig.fault(moment, "hold")
    failed: list[Exception] = []

    def put() -> None:
        try:
            driver.drives.put_one(vm, iso_for(vm))
        except HypervisorError as error:
            failed.append(error)

    thread = threading.Thread(target=put)
    thread.start()
    while not rig.fault_hits():
        time.sleep(0.01)
    admin.destroy(name)
    rig.clear_faults()
    thread.join(60)
    assert not thread.is_alive()
    assert failed and name in str(failed[0])
    # Under the final name only a whole one can have stayed; the guest that it was for is gone.
    assert all(location == f"[LocalDS_0] {name}/{name}.iso" for location in rig.isos())
    with pytest.raises(DriveError, match="gone"):
        driver.drives.put_one(vm, iso_for(vm))
    assert "gone" in str(driver.drives.states([vm])[vm.id])


def test_two_tasks_on_one_vm_converge(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm, _iso = started_with_drive(rig, admin, driver, name)
    location = f"[LocalDS_0] {name}/{name}.iso"
    sessions = [open_hypervisor(rig.description()) for _n in range(2)]
    failures: list[BaseException] = []
    try:
        for turn in range(8):
            isos = [iso_for(vm, f"{turn}-{n}") for n in range(2)]

            def put(n: int, isos: list[bytes] = isos) -> None:
                try:
                    sessions[n].drives.put_one(vm, isos[n])
                except BaseException as error:
                    failures.append(error)

            threads = [threading.Thread(target=put, args=(n,)) for n in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(120)
            assert not failures
            assert drives(rig, name) == {FIRST: ("", False), SECOND: (location, True)}
            assert rig.file(location).read_bytes() in isos
            assert rig.isos() == [location]
    finally:
        for session in sessions:
            session.close()


def test_two_tasks_that_both_add_the_drive(rig: VCenterRig, admin: Admin, name: str) -> None:
    sessions = [open_hypervisor(rig.description()) for _n in range(2)]
    try:
        vm = find(sessions[0], name)
        iso = iso_for(vm)
        failures: list[BaseException] = []

        def put(n: int) -> None:
            try:
                sessions[n].drives.put_one(vm, iso)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=put, args=(n,)) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not failures
        check_attached(rig, name, f"[LocalDS_0] {name}/{name}.iso", iso, connected=False)
    finally:
        for session in sessions:
            session.close()


def test_one_bad_vm_hides_no_other(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm, other = find(driver, name), find(driver, SOURCE)
    rig.fault(f"GET {name}/*", "status", status=500, count=-1)
    found = driver.drives.states([vm, other])
    assert isinstance(found[vm.id], DriveError) and name in str(found[vm.id])
    assert found[other.id].problem is None


def test_states_of_many_vms_cost_one_request_each_beside_a_fixed_number(rig: VCenterRig, driver: t.Any) -> None:
    vms = [find(driver, SOURCE), find(driver, "DC0_C0_RP0_VM1")]
    driver.drives.states(vms[:1])  # datacenters and datastores are read once per session
    rig.calls(reset=True)
    driver.drives.states(vms)
    made = rig.calls()
    assert made.pop("RetrievePropertiesEx") == 1
    assert sorted(made.values()) == [1, 1] and all(call.startswith("GET ") for call in made)


def test_drives_of_a_hundred_vms_in_one_task(run_module: t.Any) -> None:
    with VCenterRig("itvmmany", vms=100, off=True) as rig:
        names = sorted(vm["name"] for vm in rig.vms())
        task = {
            "hypervisor": rig.description(),
            "drives": [{"name": vm, "password": "Many-secrets-1", "user_data": f"role={vm}"} for vm in names],
        }
        planned = run_module("vm_config_drive", task, check_mode=True)
        assert planned["changed"] and rig.isos() == []
        rig.calls(reset=True)
        done = run_module("vm_config_drive", task)
        assert [d["name"] for d in done["drives"] if d["changed"] and d["error"] is None] == names
        assert rig.calls()["Login"] == 1
        for vm, drive in zip(names, done["drives"], strict=True):
            assert drive["location"] == f"[LocalDS_0] {vm}/{vm}.iso" and drive["slot"] == SECOND
            assert drives(rig, vm)[SECOND][0] == drive["location"]
            found = image.read(rig.file(drive["location"]).read_bytes())
            assert found.owner == rig.vm(vm)["instance_uuid"]
            assert any(f"role={vm}".encode() in data for data in found.files.values())
        assert rig.isos() == sorted(d["location"] for d in done["drives"])

        rig.calls(reset=True)
        again = run_module("vm_config_drive", task)
        assert not again["changed"]
        made = rig.calls()
        assert sum(n for call, n in made.items() if call.startswith("GET ")) == 100
        assert sum(n for call, n in made.items() if not call.startswith("GET ")) <= 13

        gone = run_module("vm_config_drive", {**task, "drives": [{"name": vm} for vm in names], "state": "absent"})
        assert gone["changed"] and rig.isos() == []
        assert rig.sessions() == 0


# --- what the account may not do ---


@pytest.mark.parametrize("thing", ["LocalDS_0", "DC0"])
@pytest.mark.parametrize("status", [401, 404, 500])
@pytest.mark.parametrize("privilege", ["Datastore.FileManagement", "Datastore.Browse"])
def test_missing_privilege_on_datastore_or_datacenter_is_named(
    rig: VCenterRig, admin: Admin, driver: t.Any, name: str, thing: str, status: int, privilege: str
) -> None:
    vm = find(driver, name)
    rig.deny((thing, privilege, status))
    try:
        with pytest.raises(DriveError) as caught:
            driver.drives.put_one(vm, iso_for(vm))
    finally:
        rig.deny()
    text = str(caught.value)
    assert "session has ended" not in text and name in text
    assert "Datastore.Browse and Datastore.FileManagement on the datastore LocalDS_0 and on the datacenter DC0" in text
    for location in rig.isos():  # an upload that it may not delete either is left, and no drive
        assert location.endswith(".upload")


def test_a_login_made_by_another_thread_is_no_missing_privilege(
    rig: VCenterRig, driver: t.Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = find(driver, name)
    session, inner = driver._session, driver._session.is_alive

    def alive() -> bool:
        session._renew(session._generation)
        return inner()

    monkeypatch.setattr(session, "is_alive", alive)
    rig.fault(f"GET {name}/*", "revoke")
    assert state(driver, vm).problem is None
    assert rig.fault_hits() == 1


def test_missing_privilege_for_a_task_names_the_object(rig: VCenterRig, driver: t.Any, name: str) -> None:
    vm = find(driver, name)
    rig.fault("ReconfigVM_Task", "fault", fault="NoPermission")
    with pytest.raises(
        DriveError, match=r"lacks the privilege VirtualMachine.Config.EditDevice on the Folder Datacenters \(group-d1\)"
    ):
        driver.drives.put_one(vm, iso_for(vm))


def test_folder_that_stays_missing_is_one_vms_error(rig: VCenterRig, driver: t.Any, name: str) -> None:
    vms = [find(driver, name), find(driver, SOURCE)]
    rig.fault(f"PUT {name}/*", "status", status=404, count=-1)
    done = {vm.name: change for vm, change in driver.drives.put([(vm, iso_for(vm)) for vm in vms])}
    assert isinstance(done[name], DriveError) and "(HTTP 404)" in str(done[name])
    assert done[SOURCE].changed
    driver.drives.remove_one(vms[1])


# --- a VM that goes meanwhile ---


@pytest.mark.parametrize("step", ["MoveDatastoreFile_Task", "ReconfigVM_Task"])
def test_vm_destroyed_while_its_drive_is_put_leaves_no_secrets(
    rig: VCenterRig, admin: Admin, driver: t.Any, name: str, step: str
) -> None:
    vm = find(driver, name)
    steps = driver.drives._steps
    inner = steps._task
    begun: list[str] = []

    def task(start: t.Any, what: str, target: t.Any = None) -> t.Any:
        if not begun and (what.startswith("naming") if step.startswith("Move") else what.startswith("the reconfiguration")):
            begun.append(what)
            admin.destroy(name)
        return inner(start, what, target)

    steps._task = task
    with pytest.raises(DriveError, match="is gone"):
        driver.drives.put_one(vm, iso_for(vm))
    assert begun and rig.isos() == [] and not rig.file(f"[LocalDS_0] {name}").exists()


def test_drive_of_a_vm_that_goes_is_named_when_it_cannot_be_deleted(
    rig: VCenterRig, admin: Admin, driver: t.Any, name: str
) -> None:
    vm = find(driver, name)
    steps = driver.drives._steps
    inner = steps._task

    def task(start: t.Any, what: str, target: t.Any = None) -> t.Any:
        if what.startswith("the reconfiguration") and rig.vm(name):
            admin.destroy(name)
            rig.fault("DeleteDatastoreFile_Task", "task", fault="CannotDeleteFile", count=-1)
        return inner(start, what, target)

    steps._task = task
    with pytest.raises(DriveError, match=rf"is gone meanwhile: delete \[LocalDS_0\] {name}/{name}.iso"):
        driver.drives.put_one(vm, iso_for(vm))


def test_no_empty_folder_stays_behind_after_a_move(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm = find(driver, name)
    driver.drives.put_one(vm, iso_for(vm))
    admin.relocate(name, datastore="LocalDS_1")
    assert rig.file(f"[LocalDS_0] {name}").is_dir()
    assert driver.drives.move_one(find(driver, name), "").changed
    assert not rig.file(f"[LocalDS_0] {name}").exists()
    # A folder that holds something else stays.
    admin.relocate(name, datastore="LocalDS_2")
    rig.file(f"[LocalDS_1] {name}/notes.txt").write_text("kept")
    assert driver.drives.move_one(find(driver, name), "").changed
    assert [path.name for path in rig.file(f"[LocalDS_1] {name}").iterdir()] == ["notes.txt"]


# --- a host with the free licence ---


def test_free_esxi_is_told_before_anything_is_changed() -> None:
    with VCenterRig("itvmfree", vms=1, esx=True, free=True, off=True) as rig:
        opened = open_hypervisor(rig.description())
        try:
            vm = opened.inventory.vms().vms[0]
            rig.calls(reset=True)
            with pytest.raises(DriveError, match="the licence of this ESXi host allows no changes through its API"):
                opened.drives.put_one(vm, iso_for(vm))
            for done in (*opened.machines.start([vm]), *opened.machines.delete([vm])):
                assert "the licence of this ESXi host" in done.error
            assert not [call for call in rig.calls() if call.endswith("_Task") or call.startswith("PUT")]
            assert opened.drives.states([vm])[vm.id].problem is None  # reading goes on
        finally:
            opened.close()


# --- a datacenter in a folder ---


@pytest.mark.parametrize("datacenter", ["F0/DC0", "/F0/DC0", "DC0"])
def test_datacenter_in_a_folder_is_written_one_way_everywhere(datacenter: str) -> None:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import NicWanted, VmWanted

    with VCenterRig("itvmdcf", vms=2, folder=True, off=True) as rig:
        source = rig.vms()[0]["name"]
        for folder in (None, "/F0/DC0/vm/F0", "F0/DC0/vm/F0", "F0"):
            opened = open_hypervisor(rig.description(datacenter=datacenter, folder=folder))
            try:
                assert len(opened.inventory.vms().vms) == 2 + (len(rig.vms()) - 2)
                name = f"web{folder or ''}".replace("/", "")
                if rig.vm(name):
                    name += "2"
                wanted = VmWanted(
                    name, source, (NicWanted("VM Network"),), placement={"folder": "/F0/DC0/vm/F0"} if not folder else {}
                )
                assert opened.machines.check([wanted]) == {}
                assert [one.error for one in opened.machines.create([wanted])] == [None]
                vm = find(opened, name)
                assert opened.drives.put_one(vm, iso_for(vm)).changed
                assert [one.error for one in opened.machines.start([vm])] == [None]
            finally:
                opened.close()


def test_datacenter_that_is_not_there() -> None:
    with VCenterRig("itvmdcf", vms=1, folder=True, off=True) as rig:
        opened = open_hypervisor(rig.description(datacenter="DC7"))
        try:
            with pytest.raises(HypervisorError, match=r"hypervisor\.datacenter: .*DC7.*; one in a folder is written as F0/DC0"):
                opened.inventory.vms()
        finally:
            opened.close()


# --- taken out on purpose ---


def start_connected(rig: VCenterRig, name: str) -> list[bool]:
    return [bool(d["StartConnected"]) for d in rig.vm(name)["drives"] if d["Label"] == SECOND]


def test_a_drive_is_taken_out_keeps_its_file_and_stays_out_at_power_on(
    rig: VCenterRig, admin: Admin, driver: t.Any, name: str
) -> None:
    vm, iso = started_with_drive(rig, admin, driver, name)
    location = f"[LocalDS_0] {name}/{name}.iso"
    inserted = driver.drives.inserted([vm])[vm.id]
    assert (inserted.slot, inserted.attached, inserted.unread) == (SECOND, True, False)
    change = driver.drives.eject_one(vm)
    assert (change.changed, change.location, change.slot) == (True, location, SECOND)
    check_attached(rig, name, location, iso, connected=False)
    after = state(driver, vm)
    assert (after.ejected, after.attached, after.file_exists, after.problem) == (True, False, True, None)
    assert driver.drives.inserted([vm]) == {} and not driver.drives.eject_one(vm).changed
    admin.power(name, on=False)
    admin.power(name, on=True)
    check_attached(rig, name, location, iso, connected=False)
    assert driver.drives.put_one(vm, iso).changed
    check_attached(rig, name, location, iso, connected=True)
    assert not state(driver, vm).ejected


def test_a_drive_put_while_the_vm_runs_is_unread_until_its_start(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm, _iso = started_with_drive(rig, admin, driver, name)
    assert not driver.drives.inserted([vm])[vm.id].unread
    driver.drives.put_one(vm, iso_for(vm, "two"))
    assert driver.drives.inserted([vm])[vm.id].unread
    admin.power(name, on=False)
    admin.power(name, on=True)
    assert not driver.drives.inserted([vm])[vm.id].unread


def test_a_drive_that_was_taken_out_follows_and_stays_out(rig: VCenterRig, admin: Admin, driver: t.Any, name: str) -> None:
    vm, iso = started_with_drive(rig, admin, driver, name)
    driver.drives.eject_one(vm)
    (moved,) = driver.machines.migrate([vm], {"datastore": "LocalDS_1"})
    assert moved.error is None
    (location,) = rig.isos()
    assert location.startswith("[LocalDS_1]")
    check_attached(rig, name, location, iso, connected=False)
    assert state(driver, find(driver, name)).ejected
