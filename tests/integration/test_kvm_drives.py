# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Config drives on a real libvirtd, in good and in bad times. The VMs are definitions, or run without anything to boot."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import typing as t
from xml.sax.saxutils import escape

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image as images
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    DriveError,
    HypervisorError,
    HypervisorUnreachable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import driver
from ansible_collections.vmops.external_dhcp.tests.integration.kvm_host import KvmHost, rig

IMAGES = "/var/lib/libvirt/images"


def cd(target: str, bus: str = "ide", source: str | None = None, more: str = "", driver: str = "") -> str:
    medium = f"<source file='{escape(source)}'/>" if source else ""
    return (
        f"<disk type='file' device='cdrom'><driver name='qemu' type='raw' {driver}/>{medium}"
        f"<target dev='{target}' bus='{bus}'/><readonly/>{more}</disk>"
    )


TWO = (cd("hdc"), cd("hdd"))


def xml(name: str, *devices: str, machine: str = "pc") -> str:
    return f"""<domain type='qemu'><name>{escape(name)}</name><memory unit='MiB'>24</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='{machine}'>hvm</type></os><devices>{"".join(devices)}
<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>"""


@pytest.fixture
def make(kvm: KvmHost) -> t.Iterator[t.Callable[..., str]]:
    """Defines (and starts) VMs that go again at the end of the test."""
    made = []

    def define(name: str, *devices: str, start: bool = False, running: bool = False, machine: str = "pc") -> str:
        made.append(name)
        kvm.define(xml(name, *(devices or TWO), machine=machine))
        if start or running:
            # Firmware that looks for something to boot opens and closes trays at times that no test can know.
            kvm.virsh("start", "--domain", name, *([] if running else ["--paused"]))
        return name

    yield define
    for name in made:
        kvm.undefine(name)


@pytest.fixture
def host(kvm: KvmHost) -> t.Iterator[t.Any]:
    """The driver, connected to the rig."""
    found = kvm_connect(kvm)
    yield found
    found.close()


def kvm_connect(rig_host: KvmHost, **options: t.Any) -> t.Any:
    return driver.connect({"uri": rig_host.uri, **options})


def iso(vm: t.Any, text: str, size: int = 0) -> bytes:
    return images.build({"cloudstack/userdata/user_data.txt": text.encode() + b"\n" * size}, "config", vm.id)


def one(host: t.Any, name: str) -> t.Any:
    (vm,) = host.inventory.vms([name]).vms
    return vm


def inserted(rig_host: KvmHost, name: str, live: bool = False) -> dict[str, str]:
    """What is in the drives of the definition, or of the running domain: file by target."""
    lines = rig_host.virsh("domblklist", "--domain", name, *([] if live else ["--inactive"])).split("\n")
    return dict(line.split(None, 1) for line in lines if line.strip())


def staged(rig_host: KvmHost) -> list[str]:
    return [file for file in rig_host.files() if file.endswith(".new")]


# What a user may get wrong -----------------------------------------------------------------------------------------------


def test_an_unknown_vm_does_not_keep_the_others_from_their_drives(kvm: KvmHost, make: t.Any, run_module: t.Any):
    make("it-d1")
    options = {"hypervisor": kvm.hypervisor, "drives": [{"name": "it-nobody", "password": "Pw-one-2"}, {"name": "it-d1"}]}
    result = run_module("vm_config_drive", options, fails=True)
    assert "there is no VM it-nobody" in result["msg"] and result["changed"]
    assert [bool(drive["error"]) for drive in result["drives"]] == [True, False]
    assert inserted(kvm, "it-d1") == {"hdc": "-", "hdd": f"{IMAGES}/it-d1.iso"}
    assert (kvm.images / "it-d1.iso").stat().st_mode & 0o777 == 0o600


def test_a_uri_that_leads_nowhere(run_module: t.Any, tmp_path: pathlib.Path):
    uri = f"qemu+unix:///system?socket={tmp_path}/none"
    for module, more in (("vm_config_drive", {"drives": [{"name": "web1"}]}), ("vm_ip_info", {})):
        result = run_module(module, {"hypervisor": {"type": "kvm", "uri": uri}, **more}, fails=True)
        assert f"hypervisor.uri {uri}: no connection" in result["msg"]


def test_a_server_that_never_answers_is_given_up(run_module: t.Any, tmp_path: pathlib.Path):
    path = tmp_path / "silent"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        hypervisor = {"type": "kvm", "uri": f"qemu+unix:///system?socket={path}", "connect_timeout": 0.5}
        result = run_module("vm_ip_info", {"hypervisor": hypervisor}, fails=True)
    assert "no connection within 0.5 s" in result["msg"]


def test_an_image_folder_that_is_not_there(kvm: KvmHost, make: t.Any, run_module: t.Any):
    make("it-d1")
    hypervisor = {**kvm.hypervisor, "image_dir": "/var/lib/libvirt/nowhere"}
    result = run_module("vm_config_drive", {"hypervisor": hypervisor, "drives": [{"name": "it-d1"}]}, fails=True)
    assert "hypervisor.image_dir /var/lib/libvirt/nowhere cannot be used" in result["drives"][0]["error"]
    assert not result["changed"] and inserted(kvm, "it-d1")["hdd"] == "-"


@pytest.mark.parametrize(
    ("entries", "options", "what"),
    [
        ([{"name": "it-d1", "password": "two\nlines"}], {}, "password"),
        ([{"name": "it-d1", "password": "x" * 5000}], {}, "password"),
        ([{"name": "it-d1"}], {"label": "L" * 33}, "label"),
        ([{"name": "it-d1"}, {"name": "it-d1"}], {}, "2 times"),
        ([{"name": "it-d1", "user_data_base64": "%%%"}], {}, "user_data_base64"),
    ],
)
def test_input_that_cannot_be_changes_nothing(
    kvm: KvmHost, make: t.Any, run_module: t.Any, entries: t.Any, options: t.Any, what: str
):
    make("it-d1")
    before = kvm.files()
    result = run_module("vm_config_drive", {"hypervisor": kvm.hypervisor, "drives": entries, **options}, fails=True)
    assert "nothing was changed" in result["msg"] and what in result["msg"]
    assert kvm.files() == before and inserted(kvm, "it-d1")["hdd"] == "-"


def test_user_data_too_large_for_a_drive(kvm: KvmHost, make: t.Any, run_module: t.Any):
    make("it-d1")
    entry = {"name": "it-d1", "user_data": "x" * (33 << 20)}  # it is on the drive twice
    result = run_module("vm_config_drive", {"hypervisor": kvm.hypervisor, "drives": [entry]}, fails=True)
    assert "make the user data smaller" in result["drives"][0]["error"] and not result["changed"]
    assert inserted(kvm, "it-d1")["hdd"] == "-" and "it-d1.iso" not in kvm.files()


def test_user_data_of_any_bytes_arrives(kvm: KvmHost, make: t.Any, run_module: t.Any):
    make("it-d1")
    entry = {"name": "it-d1", "user_data": "grüße ☃\n"}
    run_module("vm_config_drive", {"hypervisor": kvm.hypervisor, "drives": [entry]})
    files = images.read((kvm.images / "it-d1.iso").read_bytes()).files
    assert "grüße ☃\n".encode() in files.values()


@pytest.mark.parametrize("name", ["it with blanks", "it.d-1_(x)+@=,y"])
def test_vms_of_unusual_names(kvm: KvmHost, make: t.Any, run_module: t.Any, name: str):
    make(name)
    options = {"hypervisor": kvm.hypervisor, "drives": [{"name": name, "password": "Pw-one-2"}]}
    assert run_module("vm_config_drive", options)["drives"][0]["location"] == f"{IMAGES}/{name}.iso"
    assert inserted(kvm, name)["hdd"] == f"{IMAGES}/{name}.iso"
    assert not run_module("vm_config_drive", options)["changed"]
    run_module("vm_config_drive", {**options, "state": "absent"})
    assert f"{name}.iso" not in kvm.files() and inserted(kvm, name)["hdd"] == "-"


@pytest.mark.parametrize("name", ["it-ünïcode-☃", "it-<&>'\"x", "-it-dash", ".it-hidden", "it%20.iso", "it-$(id)`x`"])
def test_vms_whose_names_cannot_be_file_names_everywhere(kvm: KvmHost, make: t.Any, run_module: t.Any, name: str):
    make(name)
    before = kvm.files()
    options = {"hypervisor": kvm.hypervisor, "drives": [{"name": name}]}
    assert "the name becomes a file name" in run_module("vm_config_drive", options, fails=True)["msg"]
    assert kvm.files() == before
    assert run_module("vm_ip_info", {"hypervisor": kvm.hypervisor, "vms": [name]})["vms"][0]["power_state"] == "stopped"


# Drives and what is in them -------------------------------------------------------------------------------------------------


def test_no_free_drive(kvm: KvmHost, make: t.Any, run_module: t.Any):
    blank = [
        f"<disk type='file' device='disk'><source file='{IMAGES}/none'/><target dev='{d}' bus='ide'/></disk>"
        for d in ("hda", "hdb")
    ]
    make("it-full", *blank, cd("hdc"), cd("hdd", source=f"{IMAGES}/theirs.iso"))
    make("it-d1")
    options = {"hypervisor": kvm.hypervisor, "drives": [{"name": "it-full"}, {"name": "it-d1"}]}
    full, good = run_module("vm_config_drive", options, fails=True)["drives"]
    assert "no free CD/DVD drive" in full["error"] and not full["changed"] and good["changed"]
    assert inserted(kvm, "it-full")["hdd"] == f"{IMAGES}/theirs.iso" and "it-full.iso" not in kvm.files()


def test_a_running_vm_without_a_drive_needs_a_restart_and_says_so(kvm: KvmHost, make: t.Any, run_module: t.Any):
    make("it-d1", cd("hdc"), start=True)
    options = {"hypervisor": kvm.hypervisor, "drives": [{"name": "it-d1"}]}
    first = run_module("vm_config_drive", options)
    assert first["drives"][0]["restart_required"] and "shut down and started" in str(first["warnings"])
    assert inserted(kvm, "it-d1", live=True) == {"hdc": "-"}
    second = run_module("vm_config_drive", options)
    assert not second["changed"] and second["drives"][0]["restart_required"]
    kvm.virsh("destroy", "it-d1")
    kvm.virsh("start", "it-d1", "--paused")
    assert inserted(kvm, "it-d1", live=True)["hdd"] == f"{IMAGES}/it-d1.iso"
    third = run_module("vm_config_drive", options)
    assert not third["changed"] and not third["drives"][0]["restart_required"]


def test_a_medium_of_the_users_is_never_taken_out(kvm: KvmHost, make: t.Any, run_module: t.Any):
    """It is only in the running domain: the definition says that the drive is empty."""
    (kvm.images / "it-user.iso").write_bytes(b"\0" * 4096)
    make("it-user-1", cd("hdc"), cd("hdd"), start=True)
    kvm.virsh("change-media", "it-user-1", "hdd", f"{IMAGES}/it-user.iso", "--insert", "--live")
    options = {"hypervisor": kvm.hypervisor, "drives": [{"name": "it-user-1"}]}
    result = run_module("vm_config_drive", options)["drives"][0]
    assert inserted(kvm, "it-user-1", live=True)["hdd"] == f"{IMAGES}/it-user.iso"
    assert result["slot"] != "hdd" and result["restart_required"]
    kvm.undefine("it-user")


def test_large_media_in_the_image_folder_are_left_alone(kvm: KvmHost, make: t.Any, run_module: t.Any):
    with (kvm.images / "it-dvd.iso").open("wb") as stream:
        stream.truncate(200 << 20)
    make("it-d1", cd("hdc", source=f"{IMAGES}/it-dvd.iso"), cd("hdd"))
    run_module("vm_config_drive", {"hypervisor": kvm.hypervisor, "drives": [{"name": "it-d1"}]})
    assert inserted(kvm, "it-d1") == {"hdc": f"{IMAGES}/it-dvd.iso", "hdd": f"{IMAGES}/it-d1.iso"}
    kvm.undefine("it-dvd")


@pytest.mark.parametrize("content", [b"not an image at all", b"\0" * (100 << 10), b""])
def test_a_foreign_file_in_its_place_is_not_touched(kvm: KvmHost, make: t.Any, run_module: t.Any, content: bytes):
    path = kvm.images / "it-d1.iso"
    path.write_bytes(content)
    make("it-d1")
    options = {"hypervisor": kvm.hypervisor, "drives": [{"name": "it-d1"}]}
    for state in ("present", "absent"):
        result = run_module("vm_config_drive", {**options, "state": state}, fails=True)
        assert "is no config drive of this collection" in result["msg"] and "delete it" in result["msg"]
        assert not result["changed"]
    assert path.read_bytes() == content and inserted(kvm, "it-d1")["hdd"] == "-"


def test_the_drive_of_another_vm_is_not_replaced_and_a_clone_loses_it(kvm: KvmHost, make: t.Any, run_module: t.Any):
    make("it-d1")
    run_module("vm_config_drive", {"hypervisor": kvm.hypervisor, "drives": [{"name": "it-d1", "password": "Pw-one-2"}]})
    first = (kvm.images / "it-d1.iso").read_bytes()
    # As virt-clone leaves it: the definition copied with what is inserted.
    make("it-d2", cd("hdc", source=f"{IMAGES}/it-d1.iso"), cd("hdd", source=f"{IMAGES}/it-d1.iso"), start=True)
    run_module("vm_config_drive", {"hypervisor": kvm.hypervisor, "drives": [{"name": "it-d2"}]})
    for live in (True, False):
        assert inserted(kvm, "it-d2", live=live) == {"hdc": "-", "hdd": f"{IMAGES}/it-d2.iso"}
    assert (kvm.images / "it-d1.iso").read_bytes() == first
    # A VM that is renamed to another's name, or made anew with it, is refused that one's drive.
    kvm.virsh("undefine", "it-d1")
    make("it-d1")
    result = run_module("vm_config_drive", {"hypervisor": kvm.hypervisor, "drives": [{"name": "it-d1"}]}, fails=True)
    assert "is the config drive of the VM with id" in result["msg"]
    assert (kvm.images / "it-d1.iso").read_bytes() == first
    result = run_module("vm_config_drive", {"hypervisor": kvm.hypervisor, "drives": [{"name": "it-d1"}], "take_over": True})
    assert result["changed"] and inserted(kvm, "it-d1")["hdd"] == f"{IMAGES}/it-d1.iso"
    assert (kvm.images / "it-d1.iso").read_bytes() != first
    assert not run_module("vm_config_drive", {"hypervisor": kvm.hypervisor, "drives": [{"name": "it-d1"}]})["changed"]


@pytest.mark.parametrize(
    ("machine", "devices", "slot"),
    [
        ("pc", (cd("hdc"), cd("hdd")), "hdd"),
        ("pc", (cd("hdc"),), "hdd"),
        ("pc", (cd("sda", "scsi"), cd("sdb", "scsi")), "sdb"),
        ("q35", (cd("sda", "sata"), cd("sdb", "sata")), "sdb"),
        ("q35", (cd("sda", "sata"),), "sdb"),
        (
            "q35",
            (cd("sda", "sata"), "<disk type='file' device='disk'><source file='/x'/><target dev='sdb' bus='scsi'/></disk>"),
            "sdc",
        ),
        ("q35", ("<disk type='file' device='disk'><source file='/x'/><target dev='vda' bus='virtio'/></disk>",), "sdb"),
    ],
)
def test_kinds_of_machines(kvm: KvmHost, make: t.Any, run_module: t.Any, machine: str, devices: t.Any, slot: str):
    make("it-d1", *devices, machine=machine)
    options = {"hypervisor": kvm.hypervisor, "drives": [{"name": "it-d1"}]}
    assert run_module("vm_config_drive", options)["drives"][0]["slot"] == slot
    assert inserted(kvm, "it-d1")[slot] == f"{IMAGES}/it-d1.iso"
    assert not run_module("vm_config_drive", options)["changed"]
    run_module("vm_config_drive", {**options, "state": "absent"})
    assert inserted(kvm, "it-d1")[slot] == "-"


def test_the_settings_of_a_drive_stay(kvm: KvmHost, make: t.Any, run_module: t.Any):
    make("it-d1", cd("hdc"), cd("hdd", driver="cache='none' io='native'", more="<boot order='2'/>"), start=True)
    run_module("vm_config_drive", {"hypervisor": kvm.hypervisor, "drives": [{"name": "it-d1"}]})
    for words in ((), ("--inactive",)):
        definition = kvm.virsh("dumpxml", "it-d1", *words)
        assert "cache='none'" in definition and "<boot order='2'/>" in definition
        assert f"file='{IMAGES}/it-d1.iso'" in definition


def test_transient_domains(kvm: KvmHost, run_module: t.Any, tmp_path: pathlib.Path):
    for name, devices in (("it-t1", TWO), ("it-t2", TWO[:1])):
        (tmp_path / name).write_text(xml(name, *devices))
        kvm.virsh("create", str(tmp_path / name), "--paused")
    try:
        options = {"hypervisor": kvm.hypervisor, "drives": [{"name": "it-t1"}, {"name": "it-t2"}]}
        good, full = run_module("vm_config_drive", options, fails=True)["drives"]
        assert good["error"] is None and inserted(kvm, "it-t1", live=True)["hdd"] == f"{IMAGES}/it-t1.iso"
        assert "no free CD/DVD drive" in full["error"]
    finally:
        kvm.undefine("it-t1")
        kvm.undefine("it-t2")


def test_a_running_vm_sees_the_new_bytes(kvm: KvmHost, make: t.Any, host: t.Any):
    vm = one(host, make("it-d1", start=True))
    host.drives.put_one(vm, iso(vm, "one"))
    assert host.drives.put_one(vm, iso(vm, "one")).changed is False
    host.drives.put_one(vm, iso(vm, "two"))
    assert held_by_qemu(kvm, "it-d1") == iso(vm, "two")
    host.drives.remove_one(vm)
    assert held_by_qemu(kvm, "it-d1") is None


def held_by_qemu(rig_host: KvmHost, name: str) -> bytes | None:
    """The bytes of the ISO that the VM's QEMU has open, which need not be those under its name; read through QEMU itself."""
    if not inserted(rig_host, name, live=True)["hdd"].endswith(".iso"):
        return None
    pid = next(
        int(entry)
        for entry in os.listdir("/proc")
        if entry.isdigit() and f"guest={name},".encode() in _read(f"/proc/{entry}/cmdline")
    )
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
        if f"/{name}.iso" in target:
            assert not target.endswith("(deleted)"), "QEMU has an ISO open that is no longer there"
            return pathlib.Path(f"/proc/{pid}/fd/{descriptor}").read_bytes()
    raise AssertionError(f"QEMU of {name} has no ISO open")


def _read(path: str) -> bytes:
    try:
        return pathlib.Path(path).read_bytes()
    except OSError:
        return b""


# Trouble in the middle ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["write", "written", "eject", "delete", "copy", "half", "copied", "insert"])
def test_libvirtd_killed_in_the_middle_of_a_put(
    kvm: KvmHost, make: t.Any, host: t.Any, monkeypatch: pytest.MonkeyPatch, run_module: t.Any, when: str
):
    vm = one(host, make("it-d1", start=True))
    old, new = iso(vm, "old"), iso(vm, "new", 100_000)
    host.drives.put_one(vm, old)
    drives = host.drives
    folder = drives.folder

    def kill_at(owner: t.Any, method: str, after: bool = False) -> None:
        real = getattr(owner, method)

        def dying(*arguments: t.Any, **options: t.Any) -> t.Any:
            if after:
                real(*arguments, **options)
            os.kill(kvm.libvirtd_pid(), signal.SIGKILL)
            return real(*arguments, **options)

        monkeypatch.setattr(owner, method, dying)

    if when in ("write", "delete", "copy"):
        kill_at(folder, when)
    elif when == "written":
        kill_at(folder, "write", after=True)
    elif when == "copied":
        kill_at(folder, "copy", after=True)
    elif when == "half":

        def half(source: str, name: str, data: bytes) -> None:
            os.kill(kvm.libvirtd_pid(), signal.SIGKILL)
            (kvm.images / name).write_bytes(data[:20_000].ljust(len(data), b"\0"))
            raise DriveError("killed")

        monkeypatch.setattr(folder, "copy", half)
    else:
        kill_at(drives, f"_{when}")
    with pytest.raises(HypervisorError):
        host.drives.put_one(vm, new)
    rig("kvm", "up", "--name", kvm.name)

    # Never half a file in the drive: the old drive, or none.
    if inserted(kvm, "it-d1", live=True)["hdd"] != "-":
        assert held_by_qemu(kvm, "it-d1") == old
    again = kvm_connect(kvm)
    vm = one(again, "it-d1")
    if when in ("copy", "half", "copied"):  # what was on its way is known, so a password reset keeps the rest
        assert again.drives.read(vm) == new
    again.drives.put_one(vm, new)
    assert (kvm.images / "it-d1.iso").read_bytes() == new == held_by_qemu(kvm, "it-d1")
    assert staged(kvm) == []
    again.close()


def test_a_connection_that_is_cut_during_the_upload(kvm: KvmHost, make: t.Any, host: t.Any, tmp_path: pathlib.Path):
    vm = one(host, make("it-d1"))
    old, new = iso(vm, "old"), iso(vm, "new", 8 << 20)
    host.drives.put_one(vm, old)
    with cut_after(kvm.uri, 2 << 20, tmp_path / "sock") as uri:
        weak = kvm_connect(kvm, uri=uri)
        with pytest.raises(HypervisorUnreachable, match="broke"):
            weak.drives.put_one(one(weak, "it-d1"), new)
        weak.close()
    assert (kvm.images / "it-d1.iso").read_bytes() == old and inserted(kvm, "it-d1")["hdd"] == f"{IMAGES}/it-d1.iso"
    host.drives.put_one(vm, new)
    assert (kvm.images / "it-d1.iso").read_bytes() == new and staged(kvm) == []


@contextlib.contextmanager
def cut_after(uri: str, count: int, path: pathlib.Path) -> t.Iterator[str]:
    """A way to libvirtd that breaks after so many bytes towards it."""
    real = uri.split("socket=")[1]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        near, _address = listener.accept()
        far = socket.socket(socket.AF_UNIX)
        far.connect(real)

        def pump(source: socket.socket, sink: socket.socket, left: int) -> None:
            with contextlib.suppress(OSError):
                while left > 0:
                    data = source.recv(65536)
                    if not data:
                        break
                    left -= len(data)
                    sink.sendall(data)
            for end in (near, far):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=pump, args=(far, near, 1 << 40), daemon=True).start()
        pump(near, far, count)

    threading.Thread(target=serve, daemon=True).start()
    yield uri.replace(real, str(path))
    listener.close()


@pytest.fixture
def small_folder(kvm: KvmHost) -> t.Iterator[pathlib.Path]:
    """An image folder with room for 3 MiB."""
    outside = kvm.images.parent / "small"
    outside.mkdir(exist_ok=True)
    inside = "/var/lib/libvirt/small"
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    enter = [*sudo, "nsenter", "-t", str(kvm.libvirtd_pid()), "-m"]
    subprocess.run([*enter, "mount", "-t", "tmpfs", "-o", "size=3m,mode=755", "tmpfs", inside], check=True)
    yield pathlib.Path(f"/proc/{kvm.libvirtd_pid()}/root{inside}")
    for pool in kvm.pools() - {"default"}:
        kvm.virsh("pool-destroy", pool)
    subprocess.run([*enter, "umount", inside], check=True)
    outside.rmdir()


@pytest.mark.parametrize("size", [4 << 20, 2 << 20])
def test_a_full_disk_leaves_the_old_drive_intact(kvm: KvmHost, make: t.Any, small_folder: pathlib.Path, size: int):
    """There is no room for the new file at all, or not for it beside its staged copy."""
    host = kvm_connect(kvm, image_dir="/var/lib/libvirt/small")
    vm = one(host, make("it-d1"))
    old = iso(vm, "old")
    host.drives.put_one(vm, old)
    with pytest.raises(DriveError, match="space|room"):
        host.drives.put_one(vm, iso(vm, "new", size))
    assert (small_folder / "it-d1.iso").read_bytes() == old
    assert inserted(kvm, "it-d1")["hdd"] == "/var/lib/libvirt/small/it-d1.iso"
    assert os.listdir(small_folder) == ["it-d1.iso"]
    host.drives.remove_one(vm)
    host.close()


def test_tasks_for_one_vm_at_the_same_time_end_with_one_whole_drive(kvm: KvmHost, make: t.Any, host: t.Any):
    name = make("it-d1", start=True)
    vm = one(host, name)
    drives = {f"drive {number}": iso(vm, f"drive {number}", number * 3000) for number in range(4)}
    errors = []

    def task(text: str) -> None:
        mine = kvm_connect(kvm)
        try:
            mine.drives.put_one(one(mine, name), drives[text])
        except HypervisorError as error:
            errors.append(str(error))
        mine.close()

    threads = [threading.Thread(target=task, args=(text,)) for text in drives]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []
    assert (kvm.images / f"{name}.iso").read_bytes() in drives.values()
    assert held_by_qemu(kvm, name) == (kvm.images / f"{name}.iso").read_bytes()
    assert staged(kvm) == []


def test_a_vm_that_is_deleted_meanwhile(kvm: KvmHost, make: t.Any, host: t.Any):
    vm = one(host, make("it-d1"))
    kvm.virsh("undefine", "it-d1")
    with pytest.raises(DriveError, match="it-d1: .*gone"):
        host.drives.put_one(vm, iso(vm, "x"))
    assert "is gone" in str(host.drives.states([vm])[vm.id])


def test_an_inactive_pool_of_the_folder_is_started(kvm: KvmHost, make: t.Any, host: t.Any):
    vm = one(host, make("it-d1"))
    kvm.virsh("pool-destroy", "default")
    host.drives.put_one(vm, iso(vm, "x"))
    assert "default" in kvm.virsh("pool-list", "--name")


def test_a_drive_goes_ahead_of_its_vm_to_another_host(kvm: KvmHost, make: t.Any, host: t.Any, tmp_path: pathlib.Path):
    """The other host is the same libvirtd with another image folder: to libvirt's storage API that is as good."""
    vm = one(host, make("it-d1"))
    host.drives.put_one(vm, iso(vm, "x"))
    (kvm.images.parent / "other").mkdir(exist_ok=True)
    other = kvm_connect(kvm, image_dir="/var/lib/libvirt/other")
    try:
        change = other.drives.receive(vm, iso(vm, "x"))
        assert (change.changed, change.location) == (True, "/var/lib/libvirt/other/it-d1.iso")
        assert (kvm.images.parent / "other" / "it-d1.iso").read_bytes() == iso(vm, "x")
        assert not other.drives.receive(vm, iso(vm, "x")).changed
        (kvm.images.parent / "other" / "it-d1.iso").write_bytes(b"theirs")
        with pytest.raises(DriveError, match="no config drive of this collection"):
            other.drives.receive(vm, iso(vm, "x"))
    finally:
        other.close()
        (kvm.images.parent / "other" / "it-d1.iso").unlink()
        for pool in kvm.pools() - {"default"}:
            kvm.virsh("pool-destroy", pool)
        (kvm.images.parent / "other").rmdir()
    # The same host and folder: nothing to bring.
    assert not host.drives.move_one(vm, kvm.uri).changed


# Addresses without guests ---------------------------------------------------------------------------------------------------


def test_reasons_of_vms_whose_guests_say_nothing(kvm: KvmHost, make: t.Any, run_module: t.Any):
    nic = f"<interface type='bridge'><source bridge='{kvm.status['BRIDGE']}'/><model type='virtio'/></interface>"
    channel = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
    make("it-bare", nic, *TWO, running=True)
    make("it-silent", nic, channel, *TWO, running=True)
    make("it-off", nic, *TWO)
    names = ["it-off", "it-silent", "it-bare", "it-nobody"]
    vms = run_module("vm_ip_info", {"hypervisor": kvm.hypervisor, "vms": names})["vms"]
    assert [vm["name"] for vm in vms] == names
    off, silent, bare = (vm["nics"][0] for vm in vms[:3])
    assert [nic["reason"] for nic in (off, silent, bare)] == ["vm_not_running", "no_guest_tools", "no_guest_tools"]
    assert "qemu-guest-agent" in silent["message"] and "has no channel" in bare["message"]
    assert vms[3]["reason"] == "vm_not_found" and vms[3]["id"] is None
    arp = run_module("vm_ip_info", {"hypervisor": kvm.hypervisor, "vms": names[1:3], "sources": ["agent", "arp"]})["vms"]
    assert [vm["nics"][0]["reason"] for vm in arp] == ["no_guest_tools", "no_guest_tools"]
    assert [vm["nics"][0]["ip4_address"] for vm in arp] == [None, None]
    # Nobody but the agent is asked, and it can never answer.
    (alone,) = run_module("vm_ip_info", {"hypervisor": kvm.hypervisor, "vms": ["it-bare"], "sources": ["agent"]})["vms"]
    assert alone["nics"][0]["reason"] == "no_agent_channel"


def test_a_left_over_disk_is_not_given_to_a_new_vm(kvm: KvmHost, tmp_path: pathlib.Path):
    disk = kvm.images / "it-new.qcow2"
    disk.write_bytes(b"somebody's data")
    host = {"hypervisor": kvm.hypervisor, "external_dhcp_record": f"sqlite:///{tmp_path}/r.db"}
    host["vms"] = [{"name": "it-new", "template": kvm.status["TEMPLATE"]}]
    inventory = tmp_path / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"kvm01": host}}}))
    try:
        played = kvm.playbook("deploy_vms", inventory)
        assert played.returncode != 0 and "it-new.qcow2" in played.output and "nothing was changed" in played.output, (
            played.output[-3000:]
        )
        assert "it-new" not in kvm.domains() and disk.read_bytes() == b"somebody's data"
        host["vms"][0]["template"] = "it-no-template"
        inventory.write_text(json.dumps({"all": {"hosts": {"kvm01": host}}}))
        played = kvm.playbook("deploy_vms", inventory)
        assert played.returncode != 0 and re.search("[Nn]othing was changed.*it-no-template", played.output, re.S)
    finally:
        disk.unlink()


def test_a_host_whose_storage_pool_is_not_there_or_not_active(kvm: KvmHost, make: t.Any, tmp_path: pathlib.Path):
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(kvm.images / "it-tpl.qcow2"), "1M"], check=True)
    disk = f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{IMAGES}/it-tpl.qcow2'/>"
    make("it-tpl", f"{disk}<target dev='vda' bus='virtio'/></disk>", *TWO)
    host = {
        "hypervisor": {**kvm.hypervisor, "image_dir": f"{IMAGES}/"},
        "external_dhcp_record": f"sqlite:///{tmp_path}/r.db",
        "vms": [{"name": "it-c1", "template": "it-tpl", "password": "Pw-one-2"}],
        "vm_wait": False,
    }
    inventory = tmp_path / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"kvm01": host}}}))
    pool = kvm.virsh("pool-dumpxml", "default")
    kvm.virsh("pool-destroy", "default")
    kvm.virsh("pool-undefine", "default")
    try:
        before = kvm.files()
        kvm.playbook("deploy_vms", inventory, "--check").good()
        assert kvm.pools() == set() and kvm.files() == before and "it-c1" not in kvm.domains()
        (tmp_path / "pool.xml").write_text(pool)
        kvm.virsh("pool-define", str(tmp_path / "pool.xml"))
        kvm.playbook("deploy_vms", inventory).good()
        assert kvm.virsh("domstate", "it-c1") == "running"
        assert inserted(kvm, "it-c1", live=True)["hdd"] == f"{IMAGES}/it-c1.iso" and "it-c1.qcow2" in kvm.files()
        assert "default" in kvm.virsh("pool-list", "--name")
    finally:
        kvm.undefine("it-c1")
        rig("kvm", "up", "--name", kvm.name)
        for words in (("pool-define", str(tmp_path / "pool.xml")), ("pool-autostart", "default"), ("pool-start", "default")):
            kvm.virsh(*words, check=False)
