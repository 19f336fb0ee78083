# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The config drive of XenServer VMs: put, refresh, remove, move, and everything that may stand in the way."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from xapi_rig.facts import NULL
from xapi_rig.rigging import Rig

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    DriveError,
    HypervisorError,
    HypervisorUnreachable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver import driver as xenserver
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.drive_plan import DRIVE_KEY, OWNER_KEY

ISO_DIR = "/opt/xensource/packages/iso/configdrive_iso"
IMPORT = "PUT /import_raw_vdi"


def one(pool, name):
    (vm,) = pool.inventory.vms([name]).vms
    return vm


def cds(rig, vm):
    """Slot → file in it (None: empty) of a rig VM's CD drives."""
    store = rig.pool.store
    drives = [store.get("VBD", r) for r in vm["VBDs"]]
    return {
        int(d["userdevice"]): None if d["VDI"] == NULL else store.get("VDI", d["VDI"])["location"]
        for d in sorted(drives, key=lambda d: int(d["userdevice"]))
        if d["type"] == "CD"
    }


def files(rig, host="xen01"):
    return sorted(os.listdir(rig.iso_dir(host)))


def content(rig, name, host="xen01"):
    return (rig.iso_dir(host) / name).read_bytes()


def add_cd(rig, vm, slot, **fields):
    store = rig.pool.store
    vbd = store.add("VBD", VM=vm.ref, userdevice=str(slot), mode="RO", type="CD", empty=True)
    store.set(vbd, **fields)
    return vbd


def writes(rig):
    """Calls that change something."""
    quiet = ("session.", "event.", "task.", "GET ", "pool.get", "SR.scan")  # a scan brings records up to date
    return [c for c in rig.pool.calls if not c.startswith(quiet) and ".get_" not in c]


# -- put -----------------------------------------------------------------------------------------------------------------


def test_first_put_on_a_halted_vm(rig, connect, iso):
    rig_vm = rig.vm("web1")
    pool = connect()
    vm = one(pool, "web1")
    before = pool.drives.states([vm])[vm.id]
    assert (before.file_exists, before.attached, before.slot, before.problem) == (False, False, "1", None)
    assert before.location == f"{ISO_DIR}/web1.iso"
    data = iso(vm)
    change = pool.drives.put_one(vm, data)
    assert (change.changed, change.location, change.slot, change.restart_required) == (True, f"{ISO_DIR}/web1.iso", "1", False)
    assert content(rig, "web1.iso") == data
    assert cds(rig, rig_vm) == {1: "web1.iso", 3: None}
    after = pool.drives.states([vm])[vm.id]
    assert after.attached
    assert (after.sha256, after.size, after.owner) == (hashlib.sha256(data).hexdigest(), len(data), vm.id)
    rig.power(rig_vm, "start")
    assert cds(rig, rig_vm) == {1: "web1.iso", 3: None}


def test_put_again_changes_nothing(rig, connect, iso):
    rig.vm("web1")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    rig.pool.calls.clear()
    change = pool.drives.put_one(vm, iso(vm))
    assert not change.changed
    assert writes(rig) == []
    assert rig.pool.calls == ["event.from", "SR.scan", "event.from"]  # whether the file is there is looked at once
    rig.pool.calls.clear()
    change = pool.drives.put_one(vm, iso(vm))
    assert not change.changed
    assert writes(rig) == []
    assert len(rig.pool.calls) == 1


def test_states_of_many_vms_cost_three_calls_and_change_nothing(rig, connect, iso):
    for number in range(12):
        rig.vm(f"vm{number:02d}")
    pool = connect()
    vms = pool.inventory.vms().vms
    for vm in vms[:3]:
        pool.drives.put_one(vm, iso(vm))
    fresh = connect()
    rig.pool.calls.clear()
    states = fresh.drives.states(vms)
    assert [states[vm.id].attached for vm in vms] == [True] * 3 + [False] * 9
    assert rig.pool.calls == ["event.from", "SR.scan", "event.from"]


def test_new_content_is_ejected_destroyed_created_imported_and_inserted(rig, connect, iso):
    rig_vm = rig.vm("web1")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm, "one"))
    rig.power(rig_vm, "start")
    rig.pool.calls.clear()
    change = pool.drives.put_one(vm, iso(vm, "two"))
    assert (change.changed, change.restart_required) == (True, False)
    assert content(rig, "web1.iso") == iso(vm, "two")
    assert cds(rig, rig_vm) == {1: "web1.iso", 3: None}
    assert writes(rig) == [
        "VBD.eject",
        "VDI.destroy",
        "VDI.create",
        IMPORT,
        "VDI.add_to_other_config",
        "VBD.insert",
    ]


def test_the_guest_never_sees_half_a_file(rig, connect, iso):
    """While bytes arrive, no drive holds the VDI."""
    rig_vm = rig.vm("web1")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm, "one"))
    rig.power(rig_vm, "start")
    seen = []
    receive = rig._servers[0].RequestHandlerClass._receive

    def look(handler, vdi, *more):
        vms = [rig.pool.store.get("VM", rig.pool.store.get("VBD", ref)["VM"]) for ref in vdi["VBDs"]]
        seen.append([vm["name_label"] for vm in vms if not vm["is_control_domain"]])
        receive(handler, vdi, *more)

    rig._servers[0].RequestHandlerClass._receive = look
    try:
        pool.drives.put_one(vm, iso(vm, "two"))
    finally:
        rig._servers[0].RequestHandlerClass._receive = receive
    assert seen == [[]]


def test_a_running_hvm_vm_without_a_drive_needs_a_power_cycle(rig, connect, iso):
    rig_vm = rig.vm("web1")
    rig.power(rig_vm, "start")
    pool = connect()
    vm = one(pool, "web1")
    assert pool.drives.states([vm])[vm.id].can_attach_now is False
    change = pool.drives.put_one(vm, iso(vm, "one"))
    assert (change.changed, change.restart_required) == (True, True)
    assert "shut down and started" in change.message
    again = pool.drives.put_one(vm, iso(vm, "one"))
    assert (again.changed, again.restart_required) == (False, True)
    # New content meanwhile: no medium can be changed in such a drive, but it can be made anew.
    newer = pool.drives.put_one(vm, iso(vm, "two"))
    assert (newer.changed, newer.restart_required) == (True, True)
    rig.power(rig_vm, "stop")
    rig.power(rig_vm, "start")
    settled = pool.drives.put_one(vm, iso(vm, "two"))
    assert (settled.changed, settled.restart_required) == (False, False)
    assert cds(rig, rig_vm) == {1: "web1.iso", 3: None}
    assert pool.drives.put_one(vm, iso(vm, "three")).restart_required is False


def test_an_empty_drive_made_after_boot_is_made_anew(rig, connect, iso):
    rig_vm = rig.vm("web1")
    rig.power(rig_vm, "start")
    add_cd(rig, rig_vm, 1, other_config={DRIVE_KEY: "config"})
    pool = connect()
    vm = one(pool, "web1")
    assert pool.drives.put_one(vm, iso(vm)).restart_required is True
    assert cds(rig, rig_vm) == {1: "web1.iso", 3: None}


@pytest.mark.parametrize("domain", ["pv", "pvh"])
def test_a_running_pv_vm_gets_its_drive_at_once(rig, connect, iso, domain):
    rig_vm = rig.vm("web1", domain=domain, cd=None)
    rig.power(rig_vm, "start")
    pool = connect()
    vm = one(pool, "web1")
    assert pool.drives.states([vm])[vm.id].can_attach_now
    assert pool.drives.put_one(vm, iso(vm)).restart_required is False
    (vbd,) = [rig.pool.store.get("VBD", r) for r in rig_vm["VBDs"] if rig.pool.store.get("VBD", r)["type"] == "CD"]
    assert vbd["currently_attached"]
    assert pool.drives.put_one(vm, iso(vm, "two")).restart_required is False
    assert vbd["currently_attached"]


def test_an_empty_cd_that_is_not_slot_3_is_used(rig, connect, iso):
    rig_vm = rig.vm("web1", cd="2")
    rig.power(rig_vm, "start")
    pool = connect()
    vm = one(pool, "web1")
    change = pool.drives.put_one(vm, iso(vm))
    assert (change.slot, change.restart_required) == ("2", False)
    assert cds(rig, rig_vm) == {2: "web1.iso"}


def test_the_users_media_stay_where_they_are(rig, connect, iso):
    rig_vm = rig.vm("web1", cd="2")
    media = rig.pool.store.add("VDI", SR=rig.disk_sr.ref, location="debian.iso", name_label="debian.iso", virtual_size=4096)
    for ref in rig_vm["VBDs"]:
        vbd = rig.pool.store.get("VBD", ref)
        if vbd["type"] == "CD":
            rig.pool.store.set(vbd, VDI=media.ref, empty=False)
    pool = connect()
    vm = one(pool, "web1")
    assert pool.drives.put_one(vm, iso(vm)).slot == "1"
    assert cds(rig, rig_vm) == {1: "web1.iso", 2: "debian.iso"}


def test_no_place_for_a_drive_is_said_before_anything_is_changed(rig, connect, iso):
    rig.vm("web1", disks=3, cd="3")
    pool = connect()
    vm = one(pool, "web1")
    state = pool.drives.states([vm])[vm.id]
    assert "slots 0 to 2" in state.problem
    with pytest.raises(DriveError, match="web1: it has no free CD/DVD drive"):
        pool.drives.put_one(vm, iso(vm))
    assert writes(rig) == []


@pytest.mark.parametrize("power", ["Suspended", "Paused"])
def test_a_vm_that_is_neither_on_nor_off(rig, connect, iso, power):
    rig.pool.store.set(rig.vm("web1"), power_state=power)
    pool = connect()
    vm = one(pool, "web1")
    with pytest.raises(DriveError, match=f"{power.lower()}.*resume it or shut it down"):
        pool.drives.put_one(vm, iso(vm))
    assert writes(rig) == []


def test_a_template_gets_no_drive(rig, connect, iso):
    rig.vm("debian-12", template=True)
    pool = connect()
    vm = one(pool, "debian-12")
    assert "template" in pool.drives.states([vm])[vm.id].problem
    for action in (lambda: pool.drives.put_one(vm, iso(vm)), lambda: pool.drives.remove_one(vm)):
        with pytest.raises(DriveError, match="debian-12: it is a template"):
            action()
    assert writes(rig) == []


# -- where it lands ------------------------------------------------------------------------------------------------------


def test_a_running_vms_drive_is_on_its_host(rig, connect, iso):
    rig_vm = rig.vm("web1", cd="2")
    rig.power(rig_vm, "start", "xen02")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    assert (files(rig, "xen01"), files(rig, "xen02")) == ([], ["web1.iso"])


def test_a_halted_vms_drive_is_where_it_would_start(rig, connect, iso):
    rig.vm("web1", affinity="xen02")
    rig.vm("web2")
    pool = connect()
    for name in ("web1", "web2"):
        vm = one(pool, name)
        pool.drives.put_one(vm, iso(vm))
    assert (files(rig, "xen01"), files(rig, "xen02")) == (["web2.iso"], ["web1.iso"])


def test_local_disks_decide_before_affinity(rig, connect, iso):
    store = rig.pool.store
    local = store.add("SR", name_label="Local storage", type="ext", content_type="user")
    store.add("PBD", SR=local.ref, host=rig.hosts["xen01"].ref, currently_attached=True)
    rig_vm = rig.vm("web1", affinity="xen02")
    for ref in rig_vm["VBDs"]:
        vbd = store.get("VBD", ref)
        if vbd["type"] == "Disk":
            store.set(store.get("VDI", vbd["VDI"]), SR=local.ref)
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    assert files(rig, "xen01") == ["web1.iso"]


def test_one_sr_for_each_host_is_made_once(rig, connect, iso):
    pool = connect()
    for name, host in (("a", "xen01"), ("b", "xen02"), ("c", "xen01"), ("d", "xen02")):
        rig.vm(name, affinity=host)
        vm = one(pool, name)
        pool.drives.put_one(vm, iso(vm))
    srs = [s for s in rig.pool.store.all("SR") if s["type"] == "iso"]
    assert [(s["name_label"], s["shared"], s["content_type"]) for s in srs] == [("ConfigDriveISOs", False, "iso")] * 2
    assert rig.pool.calls.count("SR.create") == 2


def test_name_folder_and_sr_are_options(rig, connect, iso):
    (rig.folder / "hosts" / "xen01" / "root" / "srv" / "drives").mkdir(parents=True)
    rig.vm("web1")
    pool = connect(iso_sr_name="Mine", iso_dir="/srv/drives/")
    vm = one(pool, "web1")
    assert pool.drives.put_one(vm, iso(vm)).location == "/srv/drives/web1.iso"
    assert (rig.folder / "hosts" / "xen01" / "root" / "srv" / "drives" / "web1.iso").read_bytes() == iso(vm)


def test_an_sr_of_that_name_elsewhere_is_not_ours(rig, connect, iso):
    other = rig.folder / "hosts" / "xen01" / "root" / "var" / "iso"
    other.mkdir(parents=True)
    pool = connect()
    stranger = connect(iso_dir="/var/iso")
    rig.vm("web1")
    rig.vm("web2")
    stranger.drives.put_one(one(stranger, "web2"), iso(one(stranger, "web2")))
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    assert files(rig) == ["web1.iso"]
    assert os.listdir(other) == ["web2.iso"]


def shared_sr(rig):
    """An ISO library of all hosts, as an administrator makes it on NFS."""
    store = rig.pool.store
    sr = store.add("SR", name_label="ConfigDriveISOs", type="iso", content_type="iso", shared=True)
    for host in rig.hosts.values():
        config = {"location": "/srv/share", "legacy_mode": "true"}
        store.add("PBD", SR=sr.ref, host=host.ref, device_config=config, currently_attached=True)
    (rig.folder / "hosts" / "xen01" / "root" / "srv" / "share").mkdir(parents=True)
    return rig.folder / "hosts" / "xen01" / "root" / "srv" / "share"


def test_a_shared_sr_serves_all_hosts_and_migrations_need_no_copy(rig, connect, iso):
    folder = shared_sr(rig)
    rig_vm = rig.vm("web1", cd="2")
    rig.power(rig_vm, "start", "xen01", agent=True)
    pool = connect()
    vm = one(pool, "web1")
    change = pool.drives.put_one(vm, iso(vm))
    assert (change.changed, change.location) == (True, "/srv/share/web1.iso")
    assert os.listdir(folder) == ["web1.iso"]
    rig.pool.calls.clear()
    assert pool.drives.move_one(vm, "xen02").changed
    assert rig_vm["resident_on"] == rig.hosts["xen02"].ref
    assert writes(rig) == ["Async.VM.pool_migrate"]
    assert cds(rig, rig_vm) == {2: "web1.iso"}
    assert not pool.drives.put_one(vm, iso(vm)).changed
    assert pool.drives.remove_one(vm).changed
    assert os.listdir(folder) == []


def test_the_missing_folder_is_named_with_its_remedy(rig, connect, iso):
    rig.iso_dir().rmdir()
    rig.vm("web1")
    pool = connect()
    vm = one(pool, "web1")
    with pytest.raises(DriveError, match=rf"mkdir -p {ISO_DIR}") as caught:
        pool.drives.put_one(vm, iso(vm))
    assert "xen01" in str(caught.value)
    assert [s for s in rig.pool.store.all("SR") if s["type"] == "iso"] == []
    rig.iso_dir().mkdir()
    assert pool.drives.put_one(vm, iso(vm)).changed


def test_an_sr_left_unplugged_is_plugged(rig, connect, iso):
    rig.pool.fault("SR.create: PBD stays unplugged", "then")
    rig.vm("web1")
    pool = connect()
    vm = one(pool, "web1")
    assert pool.drives.put_one(vm, iso(vm)).changed
    assert "PBD.plug" in rig.pool.calls


@pytest.mark.parametrize(
    "name", ["my_vm", "two words", "ünïcode", "xs-tools", "guest-tools-9", "../etc", "a;b", "x/y", ".hidden", "-"]
)
def test_names_that_an_iso_sr_refuses_get_the_uuid(rig, connect, iso, name):
    rig.vm(name)
    pool = connect()
    vm = one(pool, name)
    change = pool.drives.put_one(vm, iso(vm))
    expected = "-.iso" if name == "-" else f"vm-{vm.id}.iso"
    assert change.location == f"{ISO_DIR}/{expected}"
    assert files(rig) == [expected]
    assert pool.drives.remove_one(vm).changed


# -- whose it is ---------------------------------------------------------------------------------------------------------


def test_another_vms_drive_is_never_touched(rig, connect, iso):
    rig.vm("web1")
    pool = connect()
    old = one(pool, "web1")
    pool.drives.put_one(old, iso(old))
    rig.pool.store.set(rig.pool.store.by_uuid("VM", old.id), name_label="renamed")
    rig.vm("web1")
    vm = one(pool, "web1")
    before = content(rig, "web1.iso")
    state = pool.drives.states([vm])[vm.id]
    assert old.id in state.problem
    assert state.owner == old.id
    rig.pool.calls.clear()
    for action in (lambda: pool.drives.put_one(vm, iso(vm)), lambda: pool.drives.remove_one(vm)):
        with pytest.raises(DriveError, match=old.id):
            action()
    with pytest.raises(DriveError, match=old.id):
        pool.drives.read(vm)
    assert writes(rig) == []
    assert content(rig, "web1.iso") == before


@pytest.mark.parametrize("mark", ["none", "another"])
@pytest.mark.parametrize("known", [True, False], ids=["scanned", "not scanned"])
def test_a_file_from_outside_is_never_touched(rig, connect, iso, known, mark):
    rig.vm("other")
    rig.vm("web1")
    pool = connect()
    other = one(pool, "other")
    pool.drives.put_one(other, iso(other))
    data = (
        b"somebody's file".ljust(4096)
        if mark == "none"
        else image.build({"a": b"b"}, owner="11111111-1111-1111-1111-111111111111")
    )
    (rig.iso_dir() / "web1.iso").write_bytes(data)
    if known:
        (sr,) = [s for s in rig.pool.store.all("SR") if s["type"] == "iso"]
        rig.pool.iso_scan(sr)
    vm = one(pool, "web1")
    with pytest.raises(DriveError, match="web1.iso on xen01 is (no config drive|the config drive of the VM with id 1111)"):
        pool.drives.put_one(vm, iso(vm))
    assert content(rig, "web1.iso") == data
    assert cds(rig, rig.pool.store.by_uuid("VM", vm.id)) == {3: None}
    if known:
        assert pool.drives.states([vm])[vm.id].problem
        with pytest.raises(DriveError):
            pool.drives.remove_one(vm)


def test_a_foreign_drive_is_discarded_when_asked(rig, connect, iso):
    rig.vm("web1")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    pool.drives.remove_one(vm)
    foreign = image.build({"a": b"b"}, owner="11111111-1111-1111-1111-111111111111")
    (rig.iso_dir() / "web1.iso").write_bytes(foreign)
    (sr,) = [s for s in rig.pool.store.all("SR") if s["type"] == "iso"]
    rig.pool.iso_scan(sr)
    assert pool.drives.read_foreign(vm) == foreign
    pool.drives.discard_foreign(vm)
    assert not (rig.iso_dir() / "web1.iso").exists() and pool.drives.read_foreign(vm) is None
    pool.drives.put_one(vm, iso(vm))
    pool.drives.discard_foreign(vm)
    assert content(rig, "web1.iso") == iso(vm)


@pytest.mark.parametrize("known", [True, False], ids=["scanned", "not scanned"])
def test_our_own_file_is_recognised_by_its_mark(rig, connect, iso, known):
    """XAPI's records may be lost (SR forgotten, database restored); the mark in the ISO stays."""
    rig.vm("other")
    rig.vm("web1")
    pool = connect()
    other = one(pool, "other")
    pool.drives.put_one(other, iso(other))
    vm = one(pool, "web1")
    (rig.iso_dir() / "web1.iso").write_bytes(iso(vm, "old"))
    if known:
        (sr,) = [s for s in rig.pool.store.all("SR") if s["type"] == "iso"]
        rig.pool.iso_scan(sr)
        assert pool.drives.states([vm])[vm.id].owner == vm.id
    assert pool.drives.put_one(vm, iso(vm, "new")).changed
    assert content(rig, "web1.iso") == iso(vm, "new")


def test_a_clone_does_not_keep_the_originals_drive(rig, connect, iso):
    original = rig.vm("web1")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    with rig.pool.store.changed:
        clone = rig.clone(original, "web2")
    assert cds(rig, clone) == {1: "web1.iso", 3: None}
    twin = one(pool, "web2")
    state = pool.drives.states([twin])[twin.id]
    assert (state.attached, state.slot, state.problem) == (False, "1", None)
    assert pool.drives.put_one(twin, iso(twin)).changed
    assert cds(rig, clone) == {1: "web2.iso", 3: None}
    assert cds(rig, original) == {1: "web1.iso", 3: None}
    assert content(rig, "web1.iso") == iso(vm)


def test_removing_from_a_clone_takes_only_the_medium_out(rig, connect, iso):
    original = rig.vm("web1")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    with rig.pool.store.changed:
        clone = rig.clone(original, "web2")
    twin = one(pool, "web2")
    assert pool.drives.remove_one(twin).changed
    assert cds(rig, clone) == {1: None, 3: None}
    assert content(rig, "web1.iso") == iso(vm)


def test_a_refresh_takes_the_old_medium_out_of_clones(rig, connect, iso):
    """VDI.destroy would delete the clone's drive with it, or be refused while the clone runs."""
    original = rig.vm("web1")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm, "one"))
    with rig.pool.store.changed:
        halted = rig.clone(original, "halted")
        running = rig.clone(original, "running")
    rig.power(running, "start")
    assert pool.drives.put_one(vm, iso(vm, "two")).changed
    assert cds(rig, halted) == {1: None, 3: None}
    assert cds(rig, running) == {1: None, 3: None}
    assert cds(rig, original) == {1: "web1.iso", 3: None}


def test_a_renamed_vm_gets_a_new_file_and_leaves_none_behind(rig, connect, iso):
    rig_vm = rig.vm("before")
    pool = connect()
    vm = one(pool, "before")
    pool.drives.put_one(vm, iso(vm))
    rig.pool.store.set(rig_vm, name_label="after")
    assert pool.drives.put_one(one(pool, "after"), iso(vm)).changed
    assert files(rig) == ["after.iso"]
    assert cds(rig, rig_vm) == {1: "after.iso", 3: None}


# -- read and remove -----------------------------------------------------------------------------------------------------


def test_read_gives_the_bytes_back(rig, connect, iso):
    rig.vm("web1")
    pool = connect()
    vm = one(pool, "web1")
    assert pool.drives.read(vm) is None
    pool.drives.put_one(vm, iso(vm))
    assert pool.drives.read(vm) == iso(vm)


def test_a_cut_download_is_no_drive(rig, connect, iso):
    rig.vm("web1")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    rig.pool.fault("GET /export_raw_vdi", "cut_body")
    with pytest.raises(DriveError, match="of .* bytes could be read back"):
        pool.drives.read(vm)


@pytest.mark.parametrize("running", [True, False])
def test_remove_deletes_the_file_and_keeps_the_drive(rig, connect, iso, running):
    rig_vm = rig.vm("web1")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    if running:
        rig.power(rig_vm, "start")
    assert pool.drives.remove_one(vm).changed
    assert files(rig) == []
    assert cds(rig, rig_vm) == {1: None, 3: None}
    assert not pool.drives.remove_one(vm).changed
    assert pool.drives.put_one(vm, iso(vm)).restart_required is False


# -- move ----------------------------------------------------------------------------------------------------------------


def test_a_running_vm_is_migrated_with_its_drive(rig, connect, iso):
    rig_vm = rig.vm("web1", cd="2")
    rig.power(rig_vm, "start", "xen01", agent=True)
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    rig.pool.calls.clear()
    change = pool.drives.move_one(vm, "xen02")
    assert (change.changed, change.restart_required) == (True, False)
    assert rig_vm["resident_on"] == rig.hosts["xen02"].ref
    assert (files(rig, "xen01"), files(rig, "xen02")) == ([], ["web1.iso"])
    assert content(rig, "web1.iso", "xen02") == iso(vm)
    assert cds(rig, rig_vm) == {2: "web1.iso"}
    steps = ("VBD.eject", "Async.VM.pool_migrate", IMPORT, "VBD.insert", "VDI.destroy")
    order = [step for step, _again in itertools.groupby(c for c in writes(rig) if c in steps)]
    assert order == ["VBD.eject", "Async.VM.pool_migrate", IMPORT, "VBD.insert", "VDI.destroy"]
    assert not pool.drives.move_one(vm, "127.0.0.2").changed
    assert not pool.drives.put_one(vm, iso(vm)).changed


def test_a_halted_vm_is_given_another_home(rig, connect, iso):
    rig_vm = rig.vm("web1")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    assert pool.drives.move_one(vm, rig.hosts["xen02"]["uuid"]).changed
    assert (files(rig, "xen01"), files(rig, "xen02")) == ([], ["web1.iso"])
    rig.power(rig_vm, "start")
    assert rig_vm["resident_on"] == rig.hosts["xen02"].ref


def test_an_unknown_destination_names_the_hosts(rig, connect, iso):
    rig.vm("web1")
    pool = connect()
    with pytest.raises(DriveError, match="xen01, xen02"):
        pool.drives.move_one(one(pool, "web1"), "xen99")
    assert writes(rig) == []


def test_a_vm_without_a_drive_is_moved_all_the_same(rig, connect):
    rig_vm = rig.vm("web1")
    rig.power(rig_vm, "start", "xen01", agent=True)
    pool = connect()
    change = pool.drives.move_one(one(pool, "web1"), "xen02")
    assert change.changed
    assert "no config drive" in change.message
    assert rig_vm["resident_on"] == rig.hosts["xen02"].ref


def test_a_failed_migration_puts_the_drive_back(rig, connect, iso):
    rig_vm = rig.vm("web1", cd="2")
    rig.power(rig_vm, "start", "xen01", agent=True)
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    rig.pool.store.set(rig.hosts["xen02"], enabled=False)
    with pytest.raises(DriveError, match="in place again.*HOST_DISABLED"):
        pool.drives.move_one(vm, "xen02")
    assert cds(rig, rig_vm) == {2: "web1.iso"}
    assert rig_vm["resident_on"] == rig.hosts["xen01"].ref


STEPS = ["VBD.eject", "Async.VM.pool_migrate", "SR.create", "VDI.create", "VDI.add_to_other_config", "VBD.insert", "VDI.destroy"]


@pytest.mark.parametrize("step", STEPS)
def test_a_move_that_was_stopped_anywhere_is_finished_by_the_next(rig, connect, iso, step):
    rig_vm = rig.vm("web1", cd="2")
    rig.power(rig_vm, "start", "xen01", agent=True)
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    rig.pool.fault(step, "error", error=["INTERNAL_ERROR", "stopped here"])
    with pytest.raises(DriveError, match="stopped here"):
        pool.drives.move_one(vm, "xen02")
    assert connect().drives.move_one(vm, "xen02").changed
    assert (files(rig, "xen01"), files(rig, "xen02")) == ([], ["web1.iso"])
    assert content(rig, "web1.iso", "xen02") == iso(vm)
    assert cds(rig, rig_vm) == {2: "web1.iso"}
    assert rig_vm["resident_on"] == rig.hosts["xen02"].ref


def test_a_drive_left_behind_by_xapis_own_migration_is_reconciled(rig, connect, iso):
    """migrate_send ejects what the target host does not see."""
    rig_vm = rig.vm("web1", cd="2")
    rig.power(rig_vm, "start", "xen01")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    store = rig.pool.store
    (vbd,) = [store.get("VBD", r) for r in rig_vm["VBDs"] if store.get("VBD", r)["type"] == "CD"]
    store.set(vbd, VDI=NULL, empty=True)
    store.set(rig_vm, resident_on=rig.hosts["xen02"].ref)
    state = pool.drives.states([vm])[vm.id]
    assert (state.file_exists, state.attached, state.owner, state.problem) == (True, False, vm.id, None)
    assert state.sha256 == hashlib.sha256(iso(vm)).hexdigest()
    assert pool.drives.read(vm) == iso(vm)
    assert pool.drives.put_one(vm, iso(vm)).changed
    assert (files(rig, "xen01"), files(rig, "xen02")) == ([], ["web1.iso"])
    assert cds(rig, rig_vm) == {2: "web1.iso"}


# -- what can serve ------------------------------------------------------------------------------------------------------


def loaded(rig, connect, iso, name="web1"):
    rig.vm(name)
    pool = connect()
    vm = one(pool, name)
    pool.drives.put_one(vm, iso(vm))
    return vm


def test_a_file_that_was_deleted_is_noticed_and_put_again(rig, connect, iso):
    vm = loaded(rig, connect, iso)
    (rig.iso_dir() / "web1.iso").unlink()
    pool = connect()
    assert not pool.drives.states([vm])[vm.id].file_exists
    assert pool.drives.put_one(vm, iso(vm)).changed
    assert content(rig, "web1.iso") == iso(vm)
    assert rig.pool.calls.count("SR.scan") == 1  # once for each SR and task


def test_a_folder_that_was_deleted_is_named(rig, connect, iso):
    vm = loaded(rig, connect, iso)
    (rig.iso_dir() / "web1.iso").unlink()
    rig.iso_dir().rmdir()
    state = connect().drives.states([vm])[vm.id]
    assert not state.attached and "mkdir -p" in state.problem
    with pytest.raises(DriveError, match="mkdir -p"):
        connect().drives.put_one(vm, iso(vm))


def test_an_unplugged_sr_serves_nobody_and_is_plugged(rig, connect, iso):
    vm = loaded(rig, connect, iso)
    (sr,) = [s for s in rig.pool.store.all("SR") if s["type"] == "iso"]
    pbd = rig.pool.store.get("PBD", sr["PBDs"][0])
    rig.pool.store.set(pbd, currently_attached=False)
    pool = connect()
    assert not pool.drives.states([vm])[vm.id].attached
    assert pool.drives.put_one(vm, iso(vm)).changed
    assert pbd["currently_attached"]
    assert not pool.drives.put_one(vm, iso(vm)).changed


def test_a_drive_on_a_dead_host_is_put_on_a_live_one(rig, connect, iso):
    vm = loaded(rig, connect, iso)
    rig.pool.store.set(rig.pool.store.get("host_metrics", rig.hosts["xen01"]["metrics"]), live=False)
    pool = connect()
    assert not pool.drives.states([vm])[vm.id].attached
    rig.pool.store.set(rig.pool.pool_obj(), master=rig.hosts["xen01"].ref)
    assert pool.drives.put_one(vm, iso(vm)).changed
    assert files(rig, "xen02") == ["web1.iso"]
    assert not pool.drives.put_one(vm, iso(vm)).changed


def test_without_the_right_to_scan_the_records_are_believed(rig, connect, iso):
    vm = loaded(rig, connect, iso)
    rig.pool.fault("SR.scan", "error", error=("RBAC_PERMISSION_DENIED", "sr.scan", "no"))
    pool = connect()
    assert pool.drives.states([vm])[vm.id].attached


def test_vms_without_affinity_are_spread(rig, connect, iso):
    for number in range(16):
        rig.vm(f"vm{number}", affinity=None)
    pool = connect()
    vms = pool.inventory.vms().vms
    assert all(change.changed for _vm, change in pool.drives.put([(vm, iso(vm)) for vm in vms]))
    assert len(files(rig, "xen01")) + len(files(rig, "xen02")) == 16
    assert files(rig, "xen01") and files(rig, "xen02")
    for vm in vms:
        rig.power(rig.pool.store.get("VM", vm.handle), "start")
    assert not any(change.changed for _vm, change in pool.drives.put([(vm, iso(vm)) for vm in vms]))


def test_xapis_own_drive_is_not_touched_and_what_it_holds_is_waited_for(rig, connect, iso):
    """The rig counts a touch of a control domain's VBD as a violation, which ends the test."""
    vm = loaded(rig, connect, iso)
    pool = connect()
    assert pool.drives.read(vm) == iso(vm)  # XAPI holds the VDI for a moment longer than the client reads it
    assert pool.drives.put_one(vm, iso(vm, "two")).changed
    assert pool.drives.read(vm) == iso(vm, "two")
    assert pool.drives.remove_one(vm).changed
    assert files(rig) == []


def test_a_vm_destroyed_meanwhile_leaves_no_iso(rig, connect, iso):
    rig_vm = rig.vm("web1")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.states([vm])
    rig.pool.fault("VDI.add_to_other_config", "wait")
    ended = []

    def put():
        try:
            pool.drives.put_one(vm, iso(vm))
        except DriveError as error:
            ended.append(str(error))

    thread = threading.Thread(target=put)
    thread.start()
    while "VDI.add_to_other_config" not in rig.pool.calls:
        thread.join(0.02)
    with rig.pool.store.changed:
        rig.pool.VM_destroy(rig._call(), rig_vm.ref)
    rig.pool.gates["VDI.add_to_other_config"].set()
    thread.join(20)
    assert ended and "destroyed while its config drive was put; nothing of the drive is left" in ended[0]
    assert files(rig) == []


def test_an_iso_of_a_destroyed_vm_that_cannot_be_deleted_is_named(rig, connect, iso):
    rig_vm = rig.vm("web1")
    pool = connect()
    vm = one(pool, "web1")
    rig.pool.fault("VDI.add_to_other_config", "wait")
    rig.pool.fault("VDI.destroy", "error", error=("INTERNAL_ERROR", "no way"))
    ended = []

    def put():
        try:
            pool.drives.put_one(vm, iso(vm))
        except DriveError as error:
            ended.append(str(error))

    thread = threading.Thread(target=put)
    thread.start()
    while "VDI.add_to_other_config" not in rig.pool.calls:
        thread.join(0.02)
    with rig.pool.store.changed:
        rig.pool.VM_destroy(rig._call(), rig_vm.ref)
    rig.pool.gates["VDI.add_to_other_config"].set()
    thread.join(20)
    assert "delete web1.iso in ConfigDriveISOs" in ended[0]


def test_hundred_drives_are_put_side_by_side_over_one_session(rig, connect, iso):
    for number in range(30):
        rig.vm(f"vm{number}")
    pool = connect()
    vms = pool.inventory.vms().vms
    done = dict(pool.drives.put([(vm, iso(vm)) for vm in vms]))
    assert [done[vm].changed for vm in vms] == [True] * 30
    assert len(files(rig)) == 30 and len(rig.pool.open_sessions) == 1
    assert len([s for s in rig.pool.store.all("SR") if s["type"] == "iso"]) == 1
    assert all(state.attached for state in pool.drives.states(vms).values())
    assert [change.changed for _vm, change in pool.drives.remove(vms)] == [True] * 30
    assert files(rig) == []


def test_a_session_that_ends_under_eight_threads_is_made_anew_once(rig, connect, iso):
    for number in range(16):
        rig.vm(f"vm{number}")
    pool = connect()
    vms = pool.inventory.vms().vms
    rig.pool.fault("VDI.create", "session_invalid")
    done = dict(pool.drives.put([(vm, iso(vm)) for vm in vms]))
    assert [done[vm].changed for vm in vms] == [True] * 16
    assert rig.pool.calls.count("session.login_with_password") == 2


# -- breaking ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
@pytest.mark.parametrize(
    "method", ["SR.create", "VDI.create", "task.create", "VDI.add_to_other_config", "VBD.create", "VBD.eject", "VDI.destroy"]
)
def test_a_cut_anywhere_is_mended_within_the_same_run(rig, connect, iso, method, kind):
    """Whether a call that was cut had been carried out is read from the pool, not guessed."""
    rig_vm = rig.vm("web1")
    pool = connect()
    vm = one(pool, "web1")
    if method in ("VBD.eject", "VDI.destroy"):
        pool.drives.put_one(vm, iso(vm, "old"))
    rig.pool.fault(method, kind)
    change = pool.drives.put_one(vm, iso(vm, "new"))
    assert change.changed
    assert rig.pool.faults == []
    assert content(rig, "web1.iso") == iso(vm, "new")
    assert cds(rig, rig_vm) == {1: "web1.iso", 3: None}
    assert len([s for s in rig.pool.store.all("SR") if s["type"] == "iso"]) == 1
    assert not pool.drives.put_one(vm, iso(vm, "new")).changed


@pytest.mark.parametrize("kind", ["drop_before", "cut_body"])
def test_an_upload_that_was_cut_is_sent_again(rig, connect, iso, kind):
    rig.vm("web1")
    rig.pool.fault(IMPORT, kind)
    pool = connect()
    vm = one(pool, "web1")
    data = iso(vm, "x" * 8_000_000)  # more than sockets take at once
    assert pool.drives.put_one(vm, data).changed
    assert content(rig, "web1.iso") == data


def test_an_upload_that_is_cut_twice_is_this_vms_error(rig, connect, iso):
    rig.vm("web1")
    rig.vm("web2")
    rig.pool.fault(IMPORT, "cut_body", count=2)
    pool = connect()
    vm = one(pool, "web1")
    with pytest.raises(DriveError, match="web1: its config drive could not be put: .*PUT /import_raw_vdi"):
        pool.drives.put_one(vm, iso(vm, "x" * 8_000_000))
    assert files(rig) == []
    other = one(pool, "web2")
    assert pool.drives.put_one(other, iso(other)).changed


@pytest.mark.parametrize(("kind", "times"), [("fail_task", 2), ("body500", 1)])
def test_an_upload_that_the_task_calls_failed_has_failed(rig, connect, iso, kind, times):
    """The status of the answer is 200 all the same."""
    rig_vm = rig.vm("web1")
    pool = connect()
    vm = one(pool, "web1")
    rig.pool.fault(IMPORT, kind, count=times)
    with pytest.raises(DriveError, match="web1: its config drive could not be put: .*(VDI_IO_ERROR|INTERNAL_ERROR)"):
        pool.drives.put_one(vm, iso(vm))
    assert files(rig) == []
    assert cds(rig, rig_vm) == {3: None}
    assert pool.drives.put_one(vm, iso(vm)).changed
    assert rig.pool.store.all("task") == []


def test_an_upload_that_never_ends_is_cancelled(rig, connect, iso, monkeypatch):
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver import transfer as xenserver_transfer

    monkeypatch.setattr(xenserver_transfer, "TASK_SECONDS", 0.3)
    rig.vm("web1")
    rig.pool.fault(IMPORT, "hang")
    pool = connect()
    vm = one(pool, "web1")
    with pytest.raises(DriveError, match="web1: .* did not end within 0.3 s and was cancelled"):
        pool.drives.put_one(vm, iso(vm))
    assert "task.cancel" in rig.pool.calls
    assert files(rig) == []


def test_a_half_written_file_of_a_killed_run_is_replaced(rig, connect, iso):
    rig.vm("web1")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    (vdi,) = [v for v in rig.pool.store.all("VDI") if v["location"] == "web1.iso"]
    rig.pool.store.set(vdi, other_config={OWNER_KEY: vm.id})  # no digest: the upload never ended
    (rig.iso_dir() / "web1.iso").write_bytes(b"half")
    state = pool.drives.states([vm])[vm.id]
    assert (state.sha256, state.owner) == (None, vm.id)
    assert pool.drives.put_one(vm, iso(vm)).changed
    assert content(rig, "web1.iso") == iso(vm)


def test_a_session_killed_before_the_upload(rig, connect, iso):
    rig.vm("web1")
    pool = connect()
    vm = one(pool, "web1")
    rig.pool.fault("VDI.create", "session_invalid")
    assert pool.drives.put_one(vm, iso(vm)).changed


def test_an_operation_under_way_is_waited_for(rig, connect, iso):
    rig_vm = rig.vm("web1", cd="2")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm, "one"))
    busy = ["OTHER_OPERATION_IN_PROGRESS", "VBD", "OpaqueRef:x", "insert", "OpaqueRef:y"]
    rig.pool.fault("VBD.eject", "error", count=2, error=busy)
    assert pool.drives.put_one(vm, iso(vm, "two")).changed
    assert cds(rig, rig_vm) == {2: "web1.iso"}
    assert rig.pool.calls.count("VBD.eject") == 3


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (["DEVICE_DETACH_REJECTED", "VBD", "OpaqueRef:x", "busy"], "unmount it there"),
        (["VDI_IN_USE", "OpaqueRef:x", "eject"], "run the task again"),
        (["RBAC_PERMISSION_DENIED", "vbd.eject", "no"], "pool-operator is enough"),
        (["OPERATION_NOT_ALLOWED", "because"], "OPERATION_NOT_ALLOWED .because.$"),
    ],
)
def test_errors_come_with_the_way_out(rig, connect, iso, error, words):
    rig_vm = rig.vm("web1", cd="2")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm, "one"))
    rig.pool.fault("VBD.eject", "error", error=error)
    with pytest.raises(DriveError, match=f"web1: its config drive could not be put: .*{words}"):
        pool.drives.put_one(vm, iso(vm, "two"))
    assert cds(rig, rig_vm) == {2: "web1.iso"}
    assert content(rig, "web1.iso") == iso(vm, "one")


def test_an_operation_that_never_ends_costs_the_time_limit(rig, connect, iso):
    rig.vm("web1", cd="2")
    pool = connect(connect_timeout=0.5)
    vm = one(pool, "web1")
    rig.pool.fault("VBD.insert", "error", count=1000, error=["OTHER_OPERATION_IN_PROGRESS", "VBD", "a", "plug", "b"])
    with pytest.raises(DriveError, match="OTHER_OPERATION_IN_PROGRESS"):
        pool.drives.put_one(vm, iso(vm))
    rig.pool.faults.clear()


def test_two_tasks_on_one_vm_end_with_one_whole_drive(rig, connect, iso):
    rig_vm = rig.vm("web1", cd="2")
    pools = [connect(), connect()]
    vm = one(pools[0], "web1")
    outcomes = []
    start = threading.Barrier(2)

    def put(pool, text):
        start.wait(10)
        for _attempt in range(5):  # as an operator, or the task's `retries`, would
            try:
                outcomes.append(pool.drives.put_one(vm, iso(vm, text)).changed)
                return
            except DriveError as error:
                outcomes.append(str(error))

    threads = [threading.Thread(target=put, args=(p, x)) for p, x in zip(pools, ("one", "two"), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert content(rig, "web1.iso") in (iso(vm, "one"), iso(vm, "two"))
    # XAPI deletes the drive of a halted VM with the ISO that the other run has just put into it; it is made again.
    assert list(cds(rig, rig_vm).values()) == ["web1.iso"]
    assert len(files(rig)) == 1
    state = pools[0].drives.states([vm])[vm.id]
    assert state.attached
    assert state.sha256 == hashlib.sha256(content(rig, "web1.iso")).hexdigest()
    assert any(outcome is True for outcome in outcomes)


def test_two_hosts_with_their_own_certificates_and_addresses(rig, connect, iso):
    """The upload goes straight to the SR's host, the cookie to that host only."""
    rig_vm = rig.vm("web1", cd="2")
    rig.power(rig_vm, "start", "xen02")
    pool = connect()
    vm = one(pool, "web1")
    assert pool.drives.put_one(vm, iso(vm)).changed
    assert rig.pool.calls.count(IMPORT) == 1


def test_a_redirection_is_followed_within_the_pool_only(rig, connect, iso):
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver import transfer as xenserver_transfer

    rig_vm = rig.vm("web1", cd="2")
    rig.power(rig_vm, "start", "xen02")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    (vdi,) = [v for v in rig.pool.store.all("VDI") if v["location"] == "web1.iso"]
    hosts = {address: xenserver_transfer.HostNames(address, "") for address in ("127.0.0.1", "127.0.0.2")}
    data = xenserver_transfer.download(pool._session, hosts, "127.0.0.1", vdi["uuid"], 1 << 20)
    assert data == iso(vm)
    with pytest.raises(Exception, match="no host of this pool"):
        xenserver_transfer.download(pool._session, {"127.0.0.1": hosts["127.0.0.1"]}, "127.0.0.1", vdi["uuid"], 1 << 20)


@pytest.mark.parametrize("hostname", ["xen02", "renamed"])
def test_certificates_that_hold_names_only(tmp_path, iso, hostname):
    """The host is reached at its address; its name in XAPI must then be the certificate's."""
    with Rig(tmp_path / "names", names_only=True).start() as rig:
        rig_vm = rig.vm("web1", cd="2")
        rig.power(rig_vm, "start", "xen02")
        rig.pool.store.set(rig.hosts["xen02"], hostname=hostname)
        (rig.folder / "hosts" / "renamed").symlink_to(rig.folder / "hosts" / "xen02")
        pool = xenserver.connect(rig.description(host="localhost"))
        vm = one(pool, "web1")
        if hostname == "xen02":
            assert pool.drives.put_one(vm, iso(vm)).changed
        else:
            with pytest.raises(
                DriveError, match=r"127\.0\.0\.2, another host .*certificate .*hostname.*check_hostname"
            ) as caught:
                pool.drives.put_one(vm, iso(vm))
            seen = fingerprint(rig, "xen02")
            assert f'hypervisor.fingerprints to {{"127.0.0.2": "{seen}"}}' in str(caught.value)
            assert files(rig, "xen02") == []
            pinned = xenserver.connect(rig.description(host="localhost", fingerprints={"127.0.0.2": seen}))
            assert pinned.drives.put_one(vm, iso(vm)).changed
            pinned.close()
        pool.close()


def fingerprint(rig, host):
    """As openssl prints it."""
    certificate = x509.load_pem_x509_certificate((rig.folder / "tls" / f"{host}.pem").read_bytes())
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def test_hosts_are_trusted_by_their_fingerprints_alone(tmp_path, iso):
    """As XCP-ng 8.2 has them: every certificate holds a name only, and no authority that anybody knows signed it."""
    with Rig(tmp_path / "names", names_only=True).start() as rig:
        rig_vm = rig.vm("web1", cd="2")
        rig.power(rig_vm, "start", "xen02")
        one_, two = fingerprint(rig, "xen01"), fingerprint(rig, "xen02")
        options = {"host": "127.0.0.1", "ca_path": None}
        with pytest.raises(HypervisorUnreachable, match="certificate is not trusted") as caught:
            xenserver.connect(rig.description(**options))
        assert f'{{"127.0.0.1": "{one_}"}}' in str(caught.value)
        # Only the host that was asked first is known: what goes to the other one is stopped before a byte of it is sent.
        pool = xenserver.connect(rig.description(**options, fingerprints={"127.0.0.1": one_}))
        vm = one(pool, "web1")
        with pytest.raises(DriveError, match=r"127\.0\.0\.2.*not trusted") as caught:
            pool.drives.put_one(vm, iso(vm))
        assert two in str(caught.value) and IMPORT not in rig.pool.calls and rig.pool.password not in str(caught.value)
        pool.close()
        # The other one under its name in XAPI, the first with its old and its new certificate.
        both = {"127.0.0.1": ["00" * 32, one_.lower()], "XEN02": two.replace(":", "")}
        pool = xenserver.connect(rig.description(**options, fingerprints=both))
        assert pool.drives.put_one(vm, iso(vm)).changed
        pool.close()
        assert not rig.pool.open_sessions


def test_another_certificate_than_the_one_that_is_pinned(rig, connect, iso):
    """A fingerprint is not one way more: a host that has one is trusted with no other certificate, whoever signed it."""
    rig_vm = rig.vm("web1", cd="2")
    rig.power(rig_vm, "start", "xen02")
    wrong = fingerprint(rig, "xen01")
    pool = connect(fingerprints={"127.0.0.2": wrong})
    vm = one(pool, "web1")
    with pytest.raises(DriveError, match="another host answers, or the certificate was renewed") as caught:
        pool.drives.put_one(vm, iso(vm))
    assert fingerprint(rig, "xen02") in str(caught.value) and IMPORT not in rig.pool.calls
    calls = len(rig.pool.calls)
    with pytest.raises(HypervisorUnreachable, match="another host answers"):
        xenserver.connect(rig.description(fingerprints={"127.0.0.1": "00" * 32}, validate_certs=False))
    assert len(rig.pool.calls) == calls, "no password was sent"


def test_a_member_that_refers_to_the_master_by_an_address_that_no_certificate_holds(tmp_path):
    with Rig(tmp_path / "names", names_only=True).start() as rig:
        rig.pool.store.set(rig.pool.pool_obj(), master=rig.hosts["xen02"].ref)
        with pytest.raises(HypervisorUnreachable, match=r"127\.0\.0\.2.*certificate.*hypervisor\.host") as caught:
            xenserver.connect(rig.description(host="localhost"))
        master = fingerprint(rig, "xen02")
        assert f'hypervisor.fingerprints to {{"127.0.0.2": "{master}"}}' in str(caught.value)
        pool = xenserver.connect(rig.description(host="localhost", fingerprints={"127.0.0.2": master}))
        assert pool.inventory.vms().vms == ()
        pool.close()


def test_an_unreachable_pool_is_not_one_vms_problem(rig, connect, iso):
    rig.vm("web1")
    pool = connect()
    vm = one(pool, "web1")
    rig.pool.fault("event.from", "drop_before", count=10)
    with pytest.raises(HypervisorUnreachable):
        pool.drives.states([vm])
    rig.pool.faults.clear()


@pytest.mark.parametrize("size", [0, 64 * 1024 * 1024 + 1])
def test_sizes_that_are_no_drive(rig, connect, size):
    rig.vm("web1")
    pool = connect()
    with pytest.raises(DriveError, match="1 to"):
        pool.drives.put_one(one(pool, "web1"), bytes(size))
    assert writes(rig) == []


# -- taken out on purpose ------------------------------------------------------------------------------------------------


def test_a_drive_that_is_taken_out_frees_the_vm_from_its_host(rig, connect, iso):
    """XAPI evacuates and migrates no VM with a CD of a local repository in it."""
    rig_vm = rig.vm("web1", cd="2", affinity="xen01")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    rig.power(rig_vm, "start", "xen01", agent=True)
    with pytest.raises(HypervisorError, match="VM_REQUIRES_SR"):
        pool._session.call("VM.pool_migrate", rig_vm.ref, rig.hosts["xen02"].ref, {"live": "true"})
    rig.pool.calls.clear()
    change = pool.drives.eject_one(vm)
    assert (change.changed, change.slot, change.location) == (True, "2", f"{ISO_DIR}/web1.iso")
    assert writes(rig) == ["VDI.add_to_other_config", "VBD.eject"]
    assert cds(rig, rig_vm) == {2: None} and files(rig) == ["web1.iso"]
    state = pool.drives.states([vm])[vm.id]
    assert (state.ejected, state.attached, state.file_exists, state.problem) == (True, False, True, None)
    rig.pool.calls.clear()
    assert not pool.drives.eject_one(vm).changed
    assert pool.drives.inserted([vm]) == {} and writes(rig) == []
    pool._session.call("VM.pool_migrate", rig_vm.ref, rig.hosts["xen02"].ref, {"live": "true"})
    # It still is the VM's, and taken out, from the host where it was left; new content comes to where the VM is.
    state = pool.drives.states([vm])[vm.id]
    assert (state.ejected, state.attached, state.file_exists) == (True, False, True)
    pool.drives.put_one(vm, iso(vm, "two"))
    assert cds(rig, rig_vm) == {2: "web1.iso"} and (files(rig), files(rig, "xen02")) == ([], ["web1.iso"])
    assert not pool.drives.states([vm])[vm.id].ejected


def test_the_same_bytes_put_in_again_are_not_taken_out_any_more(rig, connect, iso):
    rig_vm = rig.vm("web1", cd="2", affinity="xen01")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    pool.drives.eject_one(vm)
    rig.pool.calls.clear()
    assert pool.drives.put_one(vm, iso(vm)).changed
    assert IMPORT not in rig.pool.calls and cds(rig, rig_vm) == {2: "web1.iso"}
    (vbd,) = [rig.pool.store.get("VBD", r) for r in rig_vm["VBDs"] if rig.pool.store.get("VBD", r)["type"] == "CD"]
    rig.pool.store.set(vbd, VDI=NULL, empty=True)  # by somebody else
    state = pool.drives.states([vm])[vm.id]
    assert (state.ejected, state.attached) == (False, False)


def test_a_drive_put_while_the_vm_runs_is_unread_until_the_next_start(rig, connect, iso):
    rig_vm = rig.vm("web1", cd="2", affinity="xen01")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    rig.power(rig_vm, "start")
    assert not pool.drives.inserted([vm])[vm.id].unread
    pool.drives.put_one(vm, iso(vm, "two"))
    assert pool.drives.inserted([vm])[vm.id].unread
    rig.power(rig_vm, "stop")
    time.sleep(1.1)  # XAPI writes the start's time in seconds
    rig.power(rig_vm, "start")
    assert not connect().drives.inserted([vm])[vm.id].unread


@pytest.mark.parametrize("taken_out", [True, False])
def test_a_vm_takes_its_drive_along_as_it_is(rig, connect, iso, taken_out):
    rig_vm = rig.vm("web1", cd="2", affinity="xen01")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    rig.power(rig_vm, "start", "xen01", agent=True)
    if taken_out:
        pool.drives.eject_one(vm)
    change = pool.drives.move_one(vm, "xen02")
    assert (change.changed, change.restart_required) == (True, False)
    assert (files(rig), files(rig, "xen02")) == ([], ["web1.iso"])
    assert cds(rig, rig_vm) == {2: None if taken_out else "web1.iso"}
    state = pool.drives.states([vm])[vm.id]
    assert (state.ejected, state.attached) == (taken_out, not taken_out)
    assert not pool.drives.move_one(vm, "xen02").changed
    if not taken_out:
        assert not pool.drives.inserted([vm])[vm.id].unread  # the guest had read it where it was


def test_another_vms_drive_is_not_taken_out(rig, connect, iso):
    rig_vm = rig.vm("web1", cd="2", affinity="xen01")
    pool = connect()
    pool.drives.put_one(one(pool, "web1"), iso(one(pool, "web1")))
    rig.clone(rig_vm, "web2")
    other = one(connect(), "web2")
    assert not connect().drives.eject_one(other).changed
    assert cds(rig, rig_vm) == {2: "web1.iso"}


def test_a_connection_that_breaks_while_a_drive_is_taken_out(rig, connect, iso):
    rig_vm = rig.vm("web1", cd="2", affinity="xen01")
    pool = connect()
    vm = one(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    for method in ("VDI.add_to_other_config", "VBD.eject"):
        for kind in ("drop_before", "drop_after"):
            rig.pool.fault(method, kind)
            assert pool.drives.eject_one(vm).changed
            assert cds(rig, rig_vm) == {2: None} and pool.drives.states([vm])[vm.id].ejected
            pool.drives.put_one(vm, iso(vm))
