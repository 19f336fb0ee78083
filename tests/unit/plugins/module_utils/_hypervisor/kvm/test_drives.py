# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Config drives of KVM VMs: what is done in which order, and what is left when something goes wrong."""

from __future__ import annotations

import re
import typing as t

import pytest

pytest.importorskip("pycdlib")

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image as images
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    DriveError,
    HypervisorError,
    HypervisorUnreachable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import domain as kvm_domain
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import driver as kvm
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import iso_folder as kvm_iso_folder
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import session
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import storage as kvm_storage
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._hypervisor.kvm import fake_libvirt as fake

ISO = f"{fake.FOLDER}/web1.iso"
STAGED = re.compile(r"web1\.iso\.[0-9a-f]{8}\.new")


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> fake.Host:
    found = fake.Host()
    fake.install(monkeypatch, found)
    monkeypatch.setattr(kvm_storage, "_PATIENCE", 0)
    return found


def connect(**options: t.Any) -> t.Any:
    return kvm.connect({"uri": "qemu:///system", **options})


def one(driver: t.Any, name: str = "web1") -> t.Any:
    (vm,) = driver.inventory.vms([name]).vms
    return vm


def iso(vm: t.Any, text: str) -> bytes:
    return images.build({"user_data.txt": text.encode()}, "config", vm.id)


def steps(host: fake.Host) -> list[str]:
    """The changes in order, without the random part of names."""
    done = [" ".join(entry) for entry in host.log]
    host.log.clear()
    return [re.sub(r"\.[0-9a-f]{8}\.new", ".new", step) for step in done]


def once(what: str, error: Exception, count: int = 1) -> t.Callable[[str, str], None]:
    left = [count]

    def trouble(done: str, name: str) -> None:
        if done == what and left[0]:
            left[0] -= 1
            raise error

    return trouble


def test_a_first_drive_is_proven_before_it_is_inserted(host: fake.Host):
    domain = host.domain("web1")
    driver = connect()
    vm = one(driver)
    change = driver.drives.put_one(vm, iso(vm, "x"))
    assert (change.changed, change.location, change.slot, change.restart_required) == (True, ISO, "hdd", False)
    assert steps(host) == [
        "create web1.iso.new",
        "upload web1.iso.new",
        "copy web1.iso",
        "insert config hdd",
        "delete web1.iso.new",
    ]
    assert domain.inserted("hdd") == ISO and domain.inserted("hdc") is None
    assert not driver.drives.put_one(vm, iso(vm, "x")).changed and host.log == []
    state = driver.drives.states([vm])[vm.id]
    assert (state.attached, state.owner, state.problem, state.slot) == (True, vm.id, None, "hdd")
    assert driver.drives.read(vm) == iso(vm, "x")


def test_a_refresh_ejects_replaces_and_inserts(host: fake.Host):
    domain = host.domain("web1", state=fake.RUNNING)
    driver = connect()
    vm = one(driver)
    driver.drives.put_one(vm, iso(vm, "old"))
    steps(host)
    driver.drives.put_one(vm, iso(vm, "new"))
    assert steps(host) == [
        "create web1.iso.new",
        "upload web1.iso.new",
        "eject live hdd",
        "eject config hdd",
        "delete web1.iso",
        "copy web1.iso",
        "insert config hdd",
        "insert live hdd",
        "delete web1.iso.new",
    ]
    assert domain.inserted("hdd", live=True) == ISO == domain.inserted("hdd")
    assert host.files == {"web1.iso": iso(vm, "new")}


def test_force_only_after_the_polite_try(host: fake.Host):
    host.domain("web1", state=fake.RUNNING)
    driver = connect()
    vm = one(driver)
    driver.drives.put_one(vm, iso(vm, "old"))
    steps(host)
    host.trouble = once("eject live", fake.LibvirtError("VIR_ERR_INTERNAL_ERROR", "timed out waiting to open tray of 'hdd'"))
    driver.drives.put_one(vm, iso(vm, "new"))
    done = steps(host)
    assert [step for step in done if "live" in step] == ["eject live force hdd", "insert live hdd"]
    # The definition of a VM knows no force.
    host.trouble = once("insert config", fake.LibvirtError("VIR_ERR_SYSTEM_ERROR", "no"), 99)
    with pytest.raises(DriveError, match="web1: its config drive could not be put: no"):
        driver.drives.put_one(vm, iso(vm, "third"))


def test_a_guest_that_keeps_its_tray_sees_the_drive_after_a_restart(host: fake.Host):
    domain = host.domain("web1", state=fake.RUNNING)
    driver = connect()
    vm = one(driver)

    def stuck(what: str, name: str) -> None:
        if what.startswith("insert live"):
            raise fake.LibvirtError("VIR_ERR_INTERNAL_ERROR", "Tray of the device is not open")

    host.trouble = stuck
    change = driver.drives.put_one(vm, iso(vm, "x"))
    assert change.restart_required and "shut down and started" in change.message
    assert domain.inserted("hdd") == ISO and domain.inserted("hdd", live=True) is None


@pytest.mark.parametrize("what", ["create", "upload", "eject live force", "eject config"])
def test_what_fails_before_the_old_file_is_gone_leaves_it(host: fake.Host, what: str):
    domain = host.domain("web1", state=fake.RUNNING)
    driver = connect()
    vm = one(driver)
    driver.drives.put_one(vm, iso(vm, "old"))

    def trouble(done: str, name: str) -> None:
        if done == what or (what == "eject live force" and done == "eject live"):
            raise fake.LibvirtError("VIR_ERR_SYSTEM_ERROR", "it does not work")

    host.trouble = trouble
    with pytest.raises(DriveError, match="web1: its config drive could not be put: it does not work"):
        driver.drives.put_one(vm, iso(vm, "new"))
    assert host.files == {"web1.iso": iso(vm, "old")}
    assert domain.inserted("hdd") == ISO


def test_no_room_for_two_files_is_found_before_the_old_one_is_touched(host: fake.Host):
    domain = host.domain("web1")
    driver = connect()
    vm = one(driver)
    driver.drives.put_one(vm, iso(vm, "old"))
    host.room = 1000
    with pytest.raises(DriveError, match="1000 bytes left"):
        driver.drives.put_one(vm, iso(vm, "new"))
    assert host.files == {"web1.iso": iso(vm, "old")} and domain.inserted("hdd") == ISO


@pytest.mark.parametrize("rest", [None, 0, 40_000])
def test_a_put_that_was_killed_while_it_copied_is_mended(host: fake.Host, rest: int | None):
    """rest: bytes that came through before the end; None: there is no file yet."""
    domain = host.domain("web1")
    driver = connect()
    vm = one(driver)
    driver.drives.put_one(vm, iso(vm, "old"))
    host.trouble = once("copy", fake.LibvirtError("VIR_ERR_SYSTEM_ERROR", "killed"), 99)
    with pytest.raises(DriveError):
        driver.drives.put_one(vm, iso(vm, "new"))
    host.trouble = lambda what, name: None
    if rest is not None:
        host.files["web1.iso"] = iso(vm, "new")[:rest].ljust(len(iso(vm, "new")), b"\0")
    assert domain.inserted("hdd") is None  # never half a file
    state = driver.drives.states([vm])[vm.id]
    assert (state.file_exists, state.attached, state.owner, state.problem) == (True, False, vm.id, None)
    assert driver.drives.read(vm) == iso(vm, "new")  # nothing of it is lost
    driver.drives.put_one(vm, iso(vm, "new"))
    assert host.files == {"web1.iso": iso(vm, "new")} and domain.inserted("hdd") == ISO


def test_removing_after_a_killed_put_leaves_nothing(host: fake.Host):
    host.domain("web1")
    driver = connect()
    vm = one(driver)
    host.files = {"web1.iso": b"half", "web1.iso.0123abcd.new": iso(vm, "x"), "web10.iso": b"theirs", "web1.iso.x.new": b"theirs"}
    assert driver.drives.remove_one(vm).changed
    assert host.files == {"web10.iso": b"theirs", "web1.iso.x.new": b"theirs"}
    assert not driver.drives.remove_one(vm).changed


def test_another_task_in_between_is_waited_out(host: fake.Host):
    host.domain("web1")
    driver = connect()
    vm = one(driver)
    for code in (
        "VIR_ERR_SYSTEM_ERROR",
        "VIR_ERR_STORAGE_VOL_EXIST",
        "VIR_ERR_NO_STORAGE_VOL",
        "VIR_ERR_OPERATION_INVALID",
        "VIR_ERR_INTERNAL_ERROR",
    ):
        host.trouble = once("copy", fake.LibvirtError(code, "disturbed"), 2)
        driver.drives.put_one(vm, iso(vm, code))
        assert host.files == {"web1.iso": iso(vm, code)}
    host.trouble = once("copy", fake.LibvirtError("VIR_ERR_STORAGE_VOL_EXIST", "for ever"), 99)
    with pytest.raises(DriveError, match="for ever"):
        driver.drives.put_one(vm, iso(vm, "x"))


def test_a_file_that_does_not_hold_what_was_written_is_never_inserted(host: fake.Host, monkeypatch: pytest.MonkeyPatch):
    domain = host.domain("web1")
    driver = connect()
    vm = one(driver)

    def lossy(self: t.Any, xml: str, source: t.Any, flags: int) -> None:
        name, size = self._description(xml)
        self._host.files[name] = self._host.files[source.name][: size // 2]

    monkeypatch.setattr(fake.Pool, "createXMLFrom", lossy)
    with pytest.raises(DriveError, match="does not hold what was written"):
        driver.drives.put_one(vm, iso(vm, "x"))
    assert domain.inserted("hdd") is None


@pytest.mark.parametrize("content", [b"", b"theirs", b"\0" * 100_000])
def test_foreign_files_are_refused_before_any_change(host: fake.Host, content: bytes):
    host.domain("web1")
    host.files["web1.iso"] = content
    driver = connect()
    vm = one(driver)
    for call in (lambda: driver.drives.put_one(vm, iso(vm, "x")), lambda: driver.drives.remove_one(vm)):
        with pytest.raises(DriveError, match="no config drive of this collection.*delete it"):
            call()
    with pytest.raises(DriveError, match="not the config drive of this VM"):
        driver.drives.read(vm)
    assert host.log == [] and host.files == {"web1.iso": content}


def test_a_file_too_large_for_a_drive_is_not_read_to_its_end(host: fake.Host, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kvm_iso_folder, "MAX_SIZE", 1000)
    host.domain("web1", ("hdc", f"{fake.FOLDER}/dvd.iso"), ("hdd", None))
    host.files["dvd.iso"] = b"\0" * 2000
    driver = connect()
    state = driver.drives.states([one(driver)])[one(driver).id]
    assert state.problem is None and state.slot == "hdd"  # somebody's large medium is in nobody's way
    host.files["web1.iso"] = b"\0" * 2000
    assert "larger than 1000 bytes" in str(driver.drives.states([one(driver)])[one(driver).id])


def test_a_clone_loses_the_drive_of_the_vm_it_was_made_of(host: fake.Host):
    host.domain("web1")
    driver = connect()
    driver.drives.put_one(one(driver), iso(one(driver), "x"))
    clone = host.domain("web2", ("hdc", ISO), ("hdd", ISO), state=fake.RUNNING)
    vm = one(driver, "web2")
    assert not driver.drives.states([vm])[vm.id].attached
    driver.drives.put_one(vm, iso(vm, "y"))
    for live in (True, False):
        assert clone.inserted("hdc", live) is None and clone.inserted("hdd", live) == f"{fake.FOLDER}/web2.iso"
    assert "web1.iso" in host.files


def test_our_file_in_the_wrong_drive_is_moved(host: fake.Host):
    """The user put it into both drives; the guest must see it once."""
    domain = host.domain("web1", ("hdc", ISO), ("hdd", ISO))
    driver = connect()
    vm = one(driver)
    host.files["web1.iso"] = iso(vm, "x")
    assert not driver.drives.states([vm])[vm.id].attached
    driver.drives.put_one(vm, iso(vm, "x"))
    assert [domain.inserted("hdc"), domain.inserted("hdd")].count(ISO) == 1
    assert driver.drives.states([vm])[vm.id].attached


def test_the_users_medium_in_the_running_vm_stays(host: fake.Host):
    domain = host.domain("web1", state=fake.RUNNING)
    domain.live = domain.live.replace("<target dev='hdd'", "<source file='/iso/theirs.iso'/><target dev='hdd'")
    driver = connect()
    change = driver.drives.put_one(one(driver), iso(one(driver), "x"))
    assert domain.inserted("hdd", live=True) == "/iso/theirs.iso"
    assert change.restart_required and change.slot == "hdb"


def test_a_vm_without_room_for_a_drive(host: fake.Host):
    host.domain("web1", *((target, f"/iso/{target}") for target in ("hda", "hdb", "hdc", "hdd")))
    driver = connect()
    vm = one(driver)
    state = driver.drives.states([vm])[vm.id]
    assert state.slot is None and "no free CD/DVD drive" in state.problem
    with pytest.raises(DriveError, match="web1: it has no free CD/DVD drive"):
        driver.drives.put_one(vm, iso(vm, "x"))
    assert host.log == []


def test_a_running_vm_gets_a_new_drive_in_its_definition_only(host: fake.Host):
    domain = host.domain("web1", ("hdc", None), state=fake.RUNNING)
    driver = connect()
    vm = one(driver)
    change = driver.drives.put_one(vm, iso(vm, "x"))
    assert change.restart_required and "shut down and started" in change.message
    assert domain.inserted("hdd") == ISO
    with pytest.raises(AssertionError):
        domain.inserted("hdd", live=True)
    state = driver.drives.states([vm])[vm.id]
    assert state.attached and not state.can_attach_now


def test_a_transient_vm(host: fake.Host):
    domain = host.domain("web1", state=fake.RUNNING, persistent=False)
    host.domain("web2", ("hdc", None), state=fake.RUNNING, persistent=False)
    driver = connect()
    driver.drives.put_one(one(driver), iso(one(driver), "x"))
    assert domain.inserted("hdd", live=True) == ISO
    assert "no free CD/DVD drive" in driver.drives.states([one(driver, "web2")])[one(driver, "web2").id].problem


def test_removing_ejects_first(host: fake.Host):
    domain = host.domain("web1", state=fake.RUNNING)
    driver = connect()
    vm = one(driver)
    driver.drives.put_one(vm, iso(vm, "x"))
    steps(host)
    assert driver.drives.remove_one(vm).changed
    assert steps(host) == ["eject live hdd", "eject config hdd", "delete web1.iso"]
    assert domain.inserted("hdd") is None and host.files == {}


def test_a_vm_that_is_gone_and_a_connection_that_broke(host: fake.Host):
    host.domain("web1")
    driver = connect()
    vm = one(driver)
    host.trouble = once("xml", fake.LibvirtError("VIR_ERR_NO_DOMAIN", "Domain not found"), 9)
    with pytest.raises(DriveError, match="web1: .*the VM is gone from qemu:///system"):
        driver.drives.put_one(vm, iso(vm, "x"))
    host.alive = False
    host.trouble = once("xml", fake.LibvirtError("VIR_ERR_INTERNAL_ERROR", "client socket is closed"), 9)
    with pytest.raises(HypervisorUnreachable, match="the connection to qemu:///system broke"):
        driver.drives.put_one(vm, iso(vm, "x"))


@pytest.mark.parametrize("state", [fake.SHUTOFF, fake.RUNNING])
@pytest.mark.parametrize("when", ["upload", "eject", "delete", "copy", "insert"])
def test_a_vm_undefined_while_its_drive_is_put_leaves_nothing(host: fake.Host, state: int, when: str):
    host.domain("web1", state=state)
    host.domain("web2")
    driver = connect()
    vm, other = one(driver), one(driver, "web2")
    driver.drives.put_one(other, iso(other, "x"))
    driver.drives.put_one(vm, iso(vm, "old"))

    def undefine(what: str, name: str) -> None:
        if what.startswith(when):
            host.domains.pop("web1", None)

    host.trouble = undefine
    with pytest.raises(DriveError, match="web1: its config drive could not be put: the VM is gone meanwhile; nothing of"):
        driver.drives.put_one(vm, iso(vm, "new"))
    assert host.files == {"web2.iso": iso(other, "x")}


def test_a_drive_of_a_vm_undefined_meanwhile_that_cannot_be_deleted_is_named(host: fake.Host):
    host.domain("web1")
    driver = connect()
    vm = one(driver)

    def undefine(what: str, name: str) -> None:
        if what == "copy":
            host.domains.pop("web1", None)
        if what == "delete":
            raise fake.LibvirtError("VIR_ERR_SYSTEM_ERROR", "the file system is read-only")

    host.trouble = undefine
    with pytest.raises(
        DriveError, match=r"may hold secrets: delete .*/web1\.iso \(the file system.*/web1\.iso\.[0-9a-f]{8}\.new"
    ):
        driver.drives.put_one(vm, iso(vm, "new"))


def test_the_drive_of_a_vm_that_took_the_name_meanwhile_stays(host: fake.Host):
    host.domain("web1")
    driver = connect()
    vm = one(driver)
    theirs = images.build({"x": b"theirs"}, owner="99999999-9999-9999-9999-999999999999")
    host.files = {"web1.iso": theirs, "web1.iso.00000001.new": iso(vm, "ours"), "web1.iso.00000002.new": theirs}
    del host.domains["web1"]
    with pytest.raises(DriveError, match="the VM is gone meanwhile"):
        driver.drives.remove_one(vm)
    assert host.files == {"web1.iso": theirs, "web1.iso.00000002.new": theirs}


def test_a_vm_undefined_before_its_drive_is_removed_leaves_nothing(host: fake.Host):
    host.domain("web1")
    driver = connect()
    vm = one(driver)
    driver.drives.put_one(vm, iso(vm, "x"))
    del host.domains["web1"]
    with pytest.raises(DriveError, match="could not be removed: the VM is gone meanwhile; nothing of its config drive is left"):
        driver.drives.remove_one(vm)
    assert host.files == {}


def test_the_folder_that_cannot_be_used_is_named(host: fake.Host):
    host.domain("web1")
    host.trouble = once("pool", fake.LibvirtError("VIR_ERR_SYSTEM_ERROR", "cannot open directory"))
    driver = connect(image_dir="/srv/none")
    with pytest.raises(DriveError, match="hypervisor.image_dir /srv/none cannot be used.*cannot open directory; make the folder"):
        driver.drives.put_one(one(driver), iso(one(driver), "x"))


def test_pools_are_used_started_or_made(host: fake.Host):
    host.domain("web1")
    host.pools[0].active = False
    driver = connect(image_dir=f"{fake.FOLDER}/")
    driver.drives.put_one(one(driver), iso(one(driver), "x"))
    assert steps(host)[0] == "start pool default"
    other = connect(image_dir="/srv/isos")
    assert other.drives.states([one(other)])[one(other).id].location == "/srv/isos/web1.iso"
    assert steps(host) == ["pool /srv/isos"]
    host.trouble = once("refresh", fake.LibvirtError("VIR_ERR_SYSTEM_ERROR", "gone"))
    with pytest.raises(DriveError, match="gone"):
        connect().drives.put_one(one(driver), iso(one(driver), "y"))


def test_a_refresh_that_libvirt_refuses_for_the_moment_is_repeated(host: fake.Host, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kvm_storage, "_PATIENCE", 60)
    monkeypatch.setattr(kvm_storage.time, "sleep", lambda seconds: None)
    host.domain("web1")
    host.trouble = once("refresh", fake.LibvirtError("VIR_ERR_INTERNAL_ERROR", "pool has asynchronous jobs running"), 3)
    driver = connect()
    assert driver.drives.put_one(one(driver), iso(one(driver), "x")).changed


@pytest.mark.parametrize("name", [".hidden", "a/b", "a\nb", "a\x7f"])
def test_names_that_cannot_be_files(host: fake.Host, name: str):
    host.domains[name] = fake.Domain(host, "x")
    host.domains[name]._name = name
    driver = connect()
    vm = one(driver, name)
    assert "rename the VM" in str(driver.drives.states([vm])[vm.id])
    with pytest.raises(DriveError, match="rename the VM"):
        driver.drives.put_one(vm, iso(vm, "x"))


def test_a_drive_is_brought_to_another_host(host: fake.Host, monkeypatch: pytest.MonkeyPatch):
    host.domain("web1", state=fake.RUNNING)
    other = fake.Host()
    driver = connect()
    vm = one(driver)
    with pytest.raises(DriveError, match="no config drive that could be brought to qemu://other/system"):
        driver.drives.move_one(vm, "qemu://other/system")
    driver.drives.put_one(vm, iso(vm, "x"))
    steps(host)
    opened = []

    def open_other(uri: str) -> t.Any:
        opened.append(uri)
        return fake.Connection(other)

    monkeypatch.setattr(session.libvirt, "open", open_other)
    # A run that was killed left something; the next one goes on.
    other.files = {"web1.iso": b"half", "web1.iso.0123abcd.new": iso(vm, "x")}
    change = driver.drives.move_one(vm, "qemu://other/system")
    assert (change.changed, change.location) == (True, ISO) and opened == ["qemu://other/system"]
    assert other.files == {"web1.iso": iso(vm, "x")} and host.log == []
    assert not driver.drives.move_one(vm, "qemu://other/system").changed
    # One that the other host has for a VM that is there already, and runs, is not taken from under it.
    other.files["web1.iso"] = iso(vm, "newer")
    other.domain("web1", state=fake.RUNNING)
    with pytest.raises(DriveError, match="runs on qemu://other/system already"):
        driver.drives.move_one(vm, "qemu://other/system")
    other.files["web1.iso"] = b"theirs"
    with pytest.raises(HypervisorError, match="on qemu://other/system, .*no config drive"):
        driver.drives.move_one(vm, "qemu://other/system")


def test_what_a_killed_run_left_goes_though_the_drive_is_as_it_should_be(host: fake.Host):
    host.domain("web1")
    driver = connect()
    vm = one(driver)
    driver.drives.put_one(vm, iso(vm, "x"))
    host.files["web1.iso.0123abcd.new"] = b"a secret"
    assert not driver.drives.states([vm])[vm.id].attached, "there is something to do"
    assert driver.drives.put_one(vm, iso(vm, "x")).changed
    assert not any(STAGED.fullmatch(name) for name in host.files)
    assert driver.drives.states([vm])[vm.id].attached
    assert not driver.drives.put_one(vm, iso(vm, "x")).changed


SCSI = "<controller type='scsi' model='virtio-scsi'/></devices>"


def test_an_empty_drive_on_virtio_scsi_comes_before_one_that_a_kernel_may_not_see(host: fake.Host):
    domain = host.domain("web1", ("sda", None), ("sdb", None), machine="pc-q35-7.2")
    drive = "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><target dev='sdc' bus='scsi'/></disk>"
    domain.config = domain.live = domain.config.replace("</devices>", drive + SCSI)
    driver = connect()
    vm = one(driver)
    assert driver.drives.states([vm])[vm.id].slot == "sdc"


def test_the_option_for_the_bus_is_kept_to_and_brings_its_controller(host: fake.Host):
    domain = host.domain("web1", ("sda", None), ("sdb", None), machine="pc-q35-7.2")
    driver = connect(cd_bus="scsi")
    vm = one(driver)
    change = driver.drives.put_one(vm, iso(vm, "x"))
    assert change.slot == "sdc" and domain.inserted("sdc") == ISO
    assert 'model="virtio-scsi"' in domain.config
    assert driver.drives.states([vm])[vm.id].attached


def test_a_pool_that_another_task_took_away_is_made_anew(host: fake.Host):
    host.domain("web1")
    driver = connect(image_dir="/srv/vms")
    vm = one(driver)
    for change in (
        lambda: driver.drives.put_one(vm, iso(vm, "x")),
        lambda: driver.drives.states([vm]),
        lambda: driver.drives.read(vm),
        lambda: driver.drives.remove_one(vm),
    ):
        change()
        (ours,) = (pool for pool in host.pools if pool.folder == "/srv/vms")
        host.pools.remove(ours)
        assert not isinstance(driver.drives.states([vm])[vm.id], Exception)
        (ours,) = (pool for pool in host.pools if pool.folder == "/srv/vms")
        host.pools.remove(ours)
        change()


def test_a_drive_that_is_taken_out_keeps_its_file_and_says_so(host: fake.Host):
    domain = host.domain("web1")
    driver = connect()
    vm = one(driver)
    driver.drives.put_one(vm, iso(vm, "x"))
    assert driver.drives.inserted([vm])[vm.id].unread is False
    domain.createWithFlags(0)
    steps(host)
    change = driver.drives.eject_one(vm)
    assert (change.changed, change.location, change.slot) == (True, ISO, "hdd")
    assert steps(host) == ["note config ejected web1", "eject live hdd", "eject config hdd"]
    state = driver.drives.states([vm])[vm.id]
    assert (state.ejected, state.attached, state.file_exists, state.problem) == (True, False, True, None)
    assert host.files == {"web1.iso": iso(vm, "x")} and driver.drives.inserted([vm]) == {}
    assert not driver.drives.eject_one(vm).changed and steps(host) == []
    # The same or other bytes in again: it counts as taken out no longer, not after another removal by hand either.
    driver.drives.put_one(vm, iso(vm, "x"))
    assert domain.inserted("hdd", live=True) == ISO
    assert not driver.drives.states([vm])[vm.id].ejected and "ejected" not in domain.config
    domain.updateDeviceFlags(re.sub("<source[^>]*/>", "", kvm_xml(domain, "hdd")), fake.CONFIG)
    domain.updateDeviceFlags(re.sub("<source[^>]*/>", "", kvm_xml(domain, "hdd")), fake.LIVE)
    state = driver.drives.states([vm])[vm.id]
    assert (state.ejected, state.attached) == (False, False)


def kvm_xml(domain: t.Any, target: str) -> str:
    found = [d.xml for d in kvm_domain.cdroms(kvm_domain.parse(domain.config)) if d.target == target]
    return t.cast("str", found[0])


def test_a_drive_put_while_the_vm_runs_is_unread_until_it_is_started(host: fake.Host):
    domain = host.domain("web1", state=fake.RUNNING)
    driver = connect()
    vm = one(driver)
    driver.drives.put_one(vm, iso(vm, "x"))
    assert driver.drives.inserted([vm])[vm.id].unread
    domain.destroyFlags(0)
    domain.createWithFlags(0)
    assert not driver.drives.inserted([vm])[vm.id].unread
    driver.drives.put_one(vm, iso(vm, "y"))
    assert driver.drives.inserted([vm])[vm.id].unread


def test_a_foreign_file_is_not_taken_out(host: fake.Host):
    host.domain("web1", ("hdc", None), ("hdd", ISO))
    driver = connect()
    vm = one(driver)
    host.files["web1.iso"] = images.build({"a.txt": b"x"}, "config", "another-vm")
    with pytest.raises(DriveError, match="the config drive of the VM with id another-vm"):
        driver.drives.eject_one(vm)
    assert host.log == []
