# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Config drives that no VM uses, among everything else that a pool's ISO repositories may hold."""

from __future__ import annotations

import hashlib
import os
import uuid

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.drive_plan import OWNER_KEY

ORPHANS = 20


def drive(owner: str | None, text: str = "secret") -> bytes:
    return image.build({"openstack/latest/meta_data.json": text.encode()}, owner=owner)


@pytest.fixture
def pool(rig, connect, iso):
    """Two VMs with their drives, one on each host."""
    for name, host in (("web1", "xen01"), ("web2", "xen02")):
        rig.vm(name, cd="2", affinity=host)
    opened = connect()
    for vm in opened.inventory.vms().vms:
        opened.drives.put_one(vm, iso(vm))
    return opened


def library(rig, host="xen01"):
    """Another ISO repository, of somebody else's."""
    folder = rig.folder / "hosts" / host / "root" / "srv" / "library"
    folder.mkdir(parents=True)
    store = rig.pool.store
    sr = store.add("SR", name_label="Library", type="iso", content_type="iso")
    config = {"location": "/srv/library", "legacy_mode": "true"}
    store.add("PBD", SR=sr.ref, host=rig.hosts[host].ref, device_config=config, currently_attached=True)
    return folder


def snapshot_of(*folders):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for folder in folders for path in folder.iterdir()}


def plant(rig):
    """Twenty orphans and as many foreign files in three repositories; returns the orphans' paths."""
    folders = [rig.iso_dir("xen01"), rig.iso_dir("xen02"), library(rig)]
    planted = set()
    for number in range(ORPHANS):
        path = folders[number % 3] / f"gone{number}.iso"
        path.write_bytes(drive(str(uuid.uuid4())))
        planted.add(path)
        foreign = [b"no ISO at all", drive(None), b"\0" * 32768 + b"\1CD001\1" + b" " * 3000, drive(str(uuid.uuid4()))[:40000]]
        data = (
            foreign[number % 4]
            if number % 4 != 3
            else foreign[3].replace(b"VMOPS.EXTERNAL_DHCP FORMAT", b"ANOTHER.PROGRAM__XY FORMAT")
        )
        (folders[(number + 1) % 3] / f"{'gone' if number % 2 else 'other'}{number}-x.iso").write_bytes(data)
    return folders, planted


def test_twenty_orphans_among_foreign_isos(rig, connection, run_module, pool):
    folders, planted = plant(rig)
    before = snapshot_of(*folders)
    assert len(before) == 2 * ORPHANS + 2
    options = {"hypervisor": connection}
    listed = run_module("vm_config_drive_orphans", options, diff=True)
    assert not listed["changed"] and listed["unseen"] == []
    assert {(o["reason"], o["kept"], o["removed"]) for o in listed["orphans"]} == {("vm_gone", None, False)}
    names = sorted(o["location"].rpartition("/")[2] for o in listed["orphans"])
    assert names == sorted(path.name for path in planted) and snapshot_of(*folders) == before
    predicted = run_module("vm_config_drive_orphans", {**options, "state": "absent"}, check_mode=True, diff=True)
    assert predicted["changed"] and predicted["diff"]["after"] == "" and snapshot_of(*folders) == before
    removed = run_module("vm_config_drive_orphans", {**options, "state": "absent"})
    assert removed["changed"] and sum(o["removed"] for o in removed["orphans"]) == ORPHANS
    assert snapshot_of(*folders) == {path: digest for path, digest in before.items() if path not in planted}
    again = run_module("vm_config_drive_orphans", {**options, "state": "absent"})
    assert not again["changed"] and again["orphans"] == []
    states = pool.drives.states(pool.inventory.vms().vms)
    assert all(state.attached for state in states.values())


@pytest.fixture
def connection(rig):
    return rig.description()


def test_what_vms_use_or_are_to_use_is_no_orphan(rig, pool, iso):
    """In a drive of another VM; taken out on purpose; of a template; left on the old host while no other copy is."""
    web1, web2 = pool.inventory.vms(["web1", "web2"]).vms
    rig.clone(rig.pool.store.get("VM", web1.handle), "clone-of-web1")
    pool.drives.eject_one(web2)
    rig.pool.store.set(rig.pool.store.get("VM", web2.handle), affinity=rig.hosts["xen01"].ref)
    assert pool.drives.orphans([]).drives == ()
    rig.pool.store.set(rig.pool.store.get("VM", web1.handle), is_a_template=True)
    assert pool.drives.orphans([]).drives == ()


def test_a_drive_left_behind_by_a_migration(rig, pool, iso):
    (web1,) = pool.inventory.vms(["web1"]).vms
    (rig.iso_dir("xen02") / "web1.iso").write_bytes(iso(web1, "old"))  # its VM has another one, on xen01
    (orphan,) = pool.drives.orphans([]).drives
    assert (orphan.reason, orphan.owner) == ("left_behind", web1.id) and "xen02" in orphan.location
    ((_drive, gone),) = pool.drives.delete_orphans([orphan])
    assert gone is True and os.listdir(rig.iso_dir("xen02")) == ["web2.iso"]
    assert pool.drives.states([web1])[web1.id].attached


def test_a_drive_of_a_vm_elsewhere_and_one_that_was_never_finished(rig, pool):
    owner = str(uuid.uuid4())
    (rig.iso_dir() / "moved.iso").write_bytes(drive(owner))
    store = rig.pool.store
    (sr,) = [s for s in store.all("SR") if s["name_label"] == "ConfigDriveISOs" and rig.hosts["xen01"].ref in hosts_of(rig, s)]
    (rig.iso_dir() / "half.iso").write_bytes(b"\0" * 70000)
    pool._session.call("SR.scan", sr.ref)
    (half,) = [vdi for vdi in store.all("VDI") if vdi["location"] == "half.iso"]
    store.set(half, other_config={OWNER_KEY: str(uuid.uuid4())})
    reasons = {o.location.rpartition("/")[2]: o.reason for o in pool.drives.orphans([owner]).drives}
    assert reasons == {"moved.iso": "elsewhere", "half.iso": "vm_gone"}


def hosts_of(rig, sr):
    return [rig.pool.store.get("PBD", ref)["host"] for ref in sr["PBDs"]]


def test_what_changes_before_it_is_deleted_is_left(rig, pool, iso):
    path = rig.iso_dir() / "gone.iso"
    path.write_bytes(drive(str(uuid.uuid4())))
    (orphan,) = pool.drives.orphans([]).drives
    path.write_bytes(drive(None))
    ((_drive, outcome),) = pool.drives.delete_orphans([orphan])
    assert isinstance(outcome, DriveError) and "was changed" in str(outcome) and path.exists()


def test_a_host_that_is_down_is_named(rig, pool):
    store = rig.pool.store
    store.set(store.get("host_metrics", rig.hosts["xen02"]["metrics"]), live=False)
    found = pool.drives.orphans([])
    assert found.drives == () and len(found.skipped) == 1 and "no host that is up" in found.skipped[0]
