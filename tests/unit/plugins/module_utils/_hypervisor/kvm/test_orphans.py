# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Config drives that no VM of a KVM host uses, among everything else that a folder of images may hold."""

from __future__ import annotations

import time
import typing as t
import uuid

import pytest

pytest.importorskip("pycdlib")

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image as images
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import driver as kvm
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import storage as kvm_storage
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._hypervisor.kvm import fake_libvirt as fake

OLD = 7200.0


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> fake.Host:
    found = fake.Host()
    fake.install(monkeypatch, found)
    monkeypatch.setattr(kvm_storage, "_PATIENCE", 0)
    return found


@pytest.fixture
def driver(host: fake.Host) -> t.Any:
    return kvm.connect({"uri": "qemu:///system"})


def drive(owner: str | None, text: str = "secret") -> bytes:
    return images.build({"user_data.txt": text.encode()}, "config", owner)


def add(host: fake.Host, name: str, data: bytes, age: float = OLD) -> str:
    host.files[name] = data
    host.written[name] = time.time() - age
    return f"{fake.FOLDER}/{name}"


def found(driver: t.Any, elsewhere: t.Sequence[str] = ()) -> dict[str, tuple[str, str | None]]:
    return {o.location: (o.reason, o.kept) for o in driver.drives.orphans(elsewhere).drives}


def test_twenty_orphans_among_foreign_files(host: fake.Host, driver: t.Any):
    host.domain("web1")
    (web1,) = driver.inventory.vms(["web1"]).vms
    driver.drives.put_one(web1, drive(web1.id))
    host.written["web1.iso"] = time.time() - OLD
    planted = {add(host, f"gone{n}.iso", drive(str(uuid.uuid4()))) for n in range(19)}
    planted.add(add(host, "gone19.iso.0123abcd.new", drive(str(uuid.uuid4()))))
    for number in range(20):
        data = [
            b"x" * 70000,
            drive(None),
            drive("gone")[:32000],
            drive(str(uuid.uuid4())).replace(b"VMOPS.EXTERNAL_DHCP FO", b"x" * 22),
        ]
        add(host, f"foreign{number}.iso", data[number % 4])
    add(host, "disk.qcow2", drive(str(uuid.uuid4())))  # whatever is in it: it is not named as drives are
    before = dict(host.files)
    host.log.clear()
    orphans = driver.drives.orphans([]).drives
    assert {o.location for o in orphans} == planted and {(o.reason, o.kept) for o in orphans} == {("vm_gone", None)}
    assert host.files == before and host.log == []
    assert all(outcome is True for _drive, outcome in driver.drives.delete_orphans(orphans))
    assert {f"{fake.FOLDER}/{name}" for name in set(before) - set(host.files)} == planted
    assert {name: data for name, data in before.items() if f"{fake.FOLDER}/{name}" not in planted} == host.files
    assert driver.drives.orphans([]).drives == ()
    assert [outcome for _drive, outcome in driver.drives.delete_orphans(orphans[:1])] == [False]


def test_reasons_and_what_is_kept(host: fake.Host, driver: t.Any):
    host.domain("web1")
    (web1,) = driver.inventory.vms(["web1"]).vms
    elsewhere = str(uuid.uuid4())
    old_name = add(host, "old-name.iso", drive(web1.id))
    moved = add(host, "moved.iso", drive(elsewhere))
    young = add(host, "young.iso", drive(str(uuid.uuid4())), age=60)
    used = add(host, "used.iso", drive(str(uuid.uuid4())))
    host.domain("web2", ("hdc", used), ("hdd", None))
    # The only copy of a VM's drive is no orphan, wherever it is.
    assert found(driver, [elsewhere]) == {moved: ("elsewhere", None), young: ("vm_gone", found(driver)[young][1])}
    assert "younger than 60 minutes" in str(found(driver)[young][1])
    driver.drives.put_one(web1, drive(web1.id, "new"))
    assert found(driver, [elsewhere])[old_name] == ("left_behind", None)
    assert f"{fake.FOLDER}/web1.iso" not in found(driver)


def test_one_folder_by_two_paths(host: fake.Host, driver: t.Any):
    """A second pool, over a link to the folder: what a VM uses by one path is not deleted by the other."""
    host.domain("web1")
    (web1,) = driver.inventory.vms(["web1"]).vms
    driver.drives.put_one(web1, drive(web1.id))
    host.written["web1.iso"] = time.time() - OLD
    add(host, "gone.iso", drive(str(uuid.uuid4())))
    host.pools.append(fake.Pool(host, "link", "/srv/images"))
    assert sorted(found(driver)) == ["/srv/images/gone.iso", f"{fake.FOLDER}/gone.iso"]


def test_a_pool_that_is_not_active_is_named(host: fake.Host, driver: t.Any):
    host.pools.append(fake.Pool(host, "asleep", "/srv/asleep"))
    host.pools[-1].active = False
    host.pools.append(fake.Pool(host, "lvm", "/dev/vg0", kind="logical"))
    assert driver.drives.orphans([]).skipped == (
        "the storage pool asleep (/srv/asleep) is not active: what is in it cannot be told",
    )


def test_what_changes_before_it_is_deleted_is_left(host: fake.Host, driver: t.Any):
    path = add(host, "gone.iso", drive(str(uuid.uuid4())))
    (orphan,) = driver.drives.orphans([]).drives
    host.domain("late", ("hdc", path), ("hdd", None))
    ((_drive, outcome),) = driver.drives.delete_orphans([orphan])
    assert isinstance(outcome, DriveError) and "used by a VM now" in str(outcome)
    del host.domains["late"]
    add(host, "gone.iso", drive(None))
    ((_drive, outcome),) = driver.drives.delete_orphans([orphan])
    assert isinstance(outcome, DriveError) and "gone.iso" in host.files
