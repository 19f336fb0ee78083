# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Config drives that no VM uses, among everything else that a vCenter's datastores may hold."""

from __future__ import annotations

import hashlib
import os
import pathlib
import sys
import time
import typing as t
import uuid

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.connect import open_hypervisor

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "rigs" / "vcenter"))
from vcenter_admin import Admin
from vcenter_rig import VCenterRig

VM = "DC0_C0_RP0_VM0"
ORPHANS = 20
OLD = 7200.0


@pytest.fixture(scope="module")
def rig() -> t.Iterator[VCenterRig]:
    with VCenterRig("itvmorphan", vms=2, datastores=3) as running:
        yield running


@pytest.fixture
def driver(rig: VCenterRig) -> t.Iterator[t.Any]:
    opened = open_hypervisor(rig.description())
    yield opened
    opened.close()
    for location in rig.isos():
        rig.file(location).unlink()


def drive(owner: str | None, text: str = "secret") -> bytes:
    return image.build({"openstack/latest/meta_data.json": text.encode()}, owner=owner)


def plant(rig: VCenterRig, location: str, data: bytes, age: float = OLD) -> str:
    path = rig.file(location)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (time.time() - age,) * 2)
    return location


def contents(rig: VCenterRig) -> dict[str, str]:
    return {location: hashlib.sha256(rig.file(location).read_bytes()).hexdigest() for location in rig.isos()}


def test_twenty_orphans_among_foreign_isos(rig: VCenterRig, driver: t.Any, run_module: t.Any) -> None:
    (vm,) = driver.inventory.vms([VM]).vms
    driver.drives.put_one(vm, drive(vm.id))
    planted = set()
    for number in range(ORPHANS):
        folder = ["gone{}/", "", "deep/er/gone{}/"][number % 3].format(number)
        planted.add(plant(rig, f"[LocalDS_{number % 3}] {folder}gone{number}.iso", drive(str(uuid.uuid4()))))
        foreign = [
            b"no ISO at all",
            drive(None),
            drive("gone")[:32000],
            drive(str(uuid.uuid4())).replace(b"VMOPS.EXTERNAL_DHCP F", b"x" * 21),
        ]
        plant(rig, f"[LocalDS_{(number + 1) % 3}] {folder}foreign{number}.iso", foreign[number % 4])
    before = contents(rig)
    assert len(before) == 2 * ORPHANS + 1
    options = {"hypervisor": {**rig.description(), "folder": "/DC0/vm"}}
    listed = run_module("vm_config_drive_orphans", options)
    assert not listed["changed"] and listed["unseen"] == [] and contents(rig) == before
    assert {o["location"] for o in listed["orphans"]} == planted
    assert {(o["reason"], o["kept"], o["removed"]) for o in listed["orphans"]} == {("vm_gone", None, False)}
    predicted = run_module("vm_config_drive_orphans", {**options, "state": "absent"}, check_mode=True)
    assert predicted["changed"] and contents(rig) == before
    removed = run_module("vm_config_drive_orphans", {**options, "state": "absent"})
    assert removed["changed"] and all(o["removed"] for o in removed["orphans"])
    assert contents(rig) == {location: digest for location, digest in before.items() if location not in planted}
    again = run_module("vm_config_drive_orphans", {**options, "state": "absent"})
    assert not again["changed"] and again["orphans"] == []
    assert driver.drives.read(vm) == drive(vm.id)


def test_reasons_and_what_is_kept(rig: VCenterRig, driver: t.Any) -> None:
    (vm,) = driver.inventory.vms([VM]).vms
    home = f"[LocalDS_0] {VM}"
    elsewhere = str(uuid.uuid4())
    only = plant(rig, f"[LocalDS_1] {VM}/{VM}.iso", drive(vm.id))
    moved = plant(rig, "[LocalDS_1] moved/moved.iso", drive(elsewhere))
    young = plant(rig, "[LocalDS_1] young/young.iso", drive(str(uuid.uuid4())), age=60)
    crowded = plant(rig, "[LocalDS_2] unseen/unseen.iso", drive(str(uuid.uuid4())))
    rig.file("[LocalDS_2] unseen/unseen.vmx").write_text("")
    renamed = plant(rig, f"{home}/old-name.iso", drive(str(uuid.uuid4())))  # beside the configuration of a VM that is seen
    found = {o.location: (o.reason, o.kept) for o in driver.drives.orphans([elsewhere]).drives}
    assert only not in found, "the only copy of a VM's drive, which is to follow it"
    assert found.pop(moved) == ("elsewhere", None) and found.pop(renamed) == ("vm_gone", None)
    assert "younger than 60 minutes" in str(found.pop(young)[1]) and "does not see" in str(found.pop(crowded)[1]) and not found
    driver.drives.put_one(vm, drive(vm.id, "new"))
    found = {o.location: (o.reason, o.kept) for o in driver.drives.orphans([elsewhere]).drives}
    assert found[only] == ("left_behind", None) and f"{home}/{VM}.iso" not in found


def test_what_changes_before_it_is_deleted_is_left(rig: VCenterRig, driver: t.Any) -> None:
    location = plant(rig, "[LocalDS_1] gone/gone.iso", drive(str(uuid.uuid4())))
    (orphan,) = driver.drives.orphans([]).drives
    plant(rig, location, drive(None))
    ((_drive, outcome),) = driver.drives.delete_orphans([orphan])
    assert isinstance(outcome, DriveError) and rig.isos() == [location]
    rig.file(location).unlink()
    assert [outcome for _drive, outcome in driver.drives.delete_orphans([orphan])] == [False]


def test_a_drive_in_another_vms_slot_is_used(rig: VCenterRig, driver: t.Any) -> None:
    (vm,) = driver.inventory.vms([VM]).vms
    driver.drives.put_one(vm, drive(vm.id))
    with Admin(rig) as admin:
        admin.clone(VM, "vmorphanclone")
        try:
            assert driver.drives.orphans([]).drives == ()
        finally:
            admin.destroy("vmorphanclone")
