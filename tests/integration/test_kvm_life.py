# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The life of VMs on a real libvirtd, and moves between two. The VMs run without anything to boot."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
import time
import typing as t
import xml.etree.ElementTree as ET

import libvirt
import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import NicWanted, VmWanted
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import backup, driver
from ansible_collections.vmops.external_dhcp.tests.integration.cloud_images import make_disk, make_image
from ansible_collections.vmops.external_dhcp.tests.integration.kvm_host import OTHER_ADDRESS, KvmHost, wait_for

IMAGES = "/var/lib/libvirt/images"
NVRAM = "/var/lib/libvirt/qemu/nvram"


def connect(host: KvmHost, **options: t.Any) -> t.Any:
    return driver.connect({"uri": host.uri, **options})


@pytest.fixture
def host(kvm: KvmHost) -> t.Iterator[t.Any]:
    found = connect(kvm)
    yield found
    found.close()


def disk(kvm: KvmHost, name: str, form: str = "qcow2", folder: pathlib.Path | None = None) -> None:
    path = (folder or kvm.images) / name
    subprocess.run(["qemu-img", "create", "-q", "-f", form, str(path), "8M"], check=True, timeout=60)
    subprocess.run(["qemu-io", "-f", form, "-c", "write -q -P 0x5a 0 64k", str(path)], check=True, timeout=60)


def definition(kvm: KvmHost, name: str, disks: str, os_xml: str = "", more: str = "") -> str:
    return f"""<domain type='{kvm.status["DOMAIN_TYPE"]}'><name>{name}</name><memory unit='MiB'>24</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type>{os_xml}</os><features><acpi/></features><devices>{disks}
<disk type='file' device='cdrom'><target dev='hdc' bus='ide'/><readonly/></disk>
<interface type='bridge'><source bridge='{kvm.status["BRIDGE"]}'/><model type='virtio'/><mtu size='1400'/><rom enabled='no'/>
</interface><controller type='usb' model='none'/><memballoon model='none'/>{more}</devices></domain>"""


def file_disk(path: str, form: str = "qcow2", target: str = "vda") -> str:
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='{form}'/><source file='{path}'/>"
        f"<target dev='{target}' bus='virtio'/></disk>"
    )


@pytest.fixture
def template(kvm: KvmHost) -> t.Iterator[t.Callable[..., str]]:
    """Defines a template; it and what the test made go at the end."""
    before = kvm.domains()
    files = kvm.files()

    def make(name: str = "tpl", disks: str | None = None, **options: t.Any) -> str:
        if disks is None:
            disk(kvm, f"{name}.qcow2")
            disks = file_disk(f"{IMAGES}/{name}.qcow2")
        kvm.define(definition(kvm, name, disks, **options))
        return name

    yield make
    for name in kvm.domains() - before:
        kvm.virsh("destroy", "--domain", name, check=False)
        kvm.virsh("undefine", "--domain", name, "--nvram", "--snapshots-metadata", check=False)
    for file in kvm.files() - files:
        (kvm.images / file).unlink()


def good(outcomes: t.Iterable[t.Any]) -> list[t.Any]:
    found = list(outcomes)
    assert [outcome.error for outcome in found if outcome.error] == []
    return found


def find(host: t.Any, *names: str) -> tuple[t.Any, ...]:
    found = host.inventory.vms(names)
    assert not found.problems
    return tuple(found.vms)


def holds_what_the_template_held(path: pathlib.Path) -> bool:
    words = ["qemu-io", "-r", "-U", "-f", "qcow2", "-c", "read -P 0x5a 0 64k", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    return "read 65536/65536" in done.stdout and "Pattern verification failed" not in done.stdout


def test_a_life(kvm: KvmHost, host: t.Any, template: t.Callable[..., str]):
    template()
    names = [f"life{number}" for number in range(4)]
    nics = (NicWanted(kvm.status["BRIDGE"]), NicWanted(kvm.status["BRIDGE"], "52:54:00:aa:bb:01"))
    wanted = [VmWanted(name, "tpl", nics=nics if name == "life0" else None, disk_size=16 << 20) for name in names]
    assert host.machines.check(wanted) == {}
    good(host.machines.create(wanted))
    vms = find(host, *names)
    assert all(vm.ours for vm in vms) and [nic.mac for nic in vms[0].nics][1] == "52:54:00:aa:bb:01"
    info = subprocess.run(
        ["qemu-img", "info", "-U", "--output=json", str(kvm.images / "life0.qcow2")], capture_output=True, text=True, check=True
    ).stdout
    assert '"compat": "1.1"' in info and '"backing-filename-format": "qcow2"' in info and f'"virtual-size": {16 << 20}' in info
    assert all(host.machines.never_started(vm) for vm in vms)
    # The least that a guest can write. Its base is at another path for the QEMU here.
    options = f"driver=qcow2,file.filename={kvm.images / 'life3.qcow2'},backing="
    subprocess.run(["qemu-io", "--image-opts", "-c", "write -q -P 1 0 512", options], check=True, timeout=60)
    assert [host.machines.never_started(vm) for vm in vms] == [True, True, True, False]
    done = good(host.machines.start(vms))
    assert all(outcome.changed for outcome in done)
    assert not any(outcome.changed for outcome in good(host.machines.start(vms)))
    tokens = [vm.boot_token for vm in find(host, *names)]
    assert None not in tokens and [vm.boot_token for vm in find(host, *names)] == tokens
    kvm.virsh("destroy", names[0])
    kvm.virsh("start", names[0])
    kvm.virsh("reset", names[1])
    again = [vm.boot_token for vm in find(host, *names)]
    assert again[0] not in (None, *tokens) and again[1:] == tokens[1:], "a start is one, a reset is none"
    assert host.machines.delete_problems(vms) == {}, "asked before the power-off"
    done = good(host.machines.stop(find(host, *names), 2))
    assert all("was powered off" in outcome.warnings[0] for outcome in done), "there is nothing in them that hears"
    good(host.machines.delete(find(host, *names)))
    assert not kvm.domains() & set(names) and not {file for file in kvm.files() if file.startswith("life")}
    assert "tpl.qcow2" in kvm.files()


def test_two_disks_raw_and_whole_copies(kvm: KvmHost, host: t.Any, template: t.Callable[..., str]):
    disk(kvm, "two.qcow2")
    disk(kvm, "two.img", "raw")
    template("two", file_disk(f"{IMAGES}/two.qcow2") + file_disk(f"{IMAGES}/two.img", "raw", "vdb"))
    wanted = [VmWanted("linked", "two"), VmWanted("whole", "two", full_clone=True, disk_size=32 << 20)]
    good(host.machines.create(wanted))
    assert {"linked.qcow2", "linked-vdb.qcow2", "whole.qcow2", "whole-vdb.img"} <= kvm.files()
    vms = find(host, "linked", "whole")
    assert [host.machines.never_started(vm) for vm in vms] == [True, True]
    words = ["qemu-io", "-f", "raw", "-c", "write -q -P 1 0 512", str(kvm.images / "whole-vdb.img")]
    subprocess.run(words, check=True, timeout=60)
    assert [host.machines.never_started(vm) for vm in vms] == [True, False]
    good(host.machines.start(vms))
    good(host.machines.stop(vms, 0))
    problems = host.machines.delete_problems(find(host, "two", "whole"))
    assert len(problems) == 1 and "is the base of the disks of linked" in next(iter(problems.values()))
    good(host.machines.delete(find(host, "linked", "whole")))
    assert not {file for file in kvm.files() if file.startswith(("linked", "whole"))}


WAYS = [
    "plain",
    "relative",
    "json",
    "two down",
    "in an inactive pool",
    "by pool and volume",
    "by a link to the folder",
    "by a link",
]


@pytest.mark.parametrize("way", WAYS)
def test_a_disk_under_somebodys_overlay_outside_of_the_pools_stays(
    kvm: KvmHost, host: t.Any, template: t.Callable[..., str], way: str
):
    """VMs and pools that were made without this collection, and that are off: libvirt tells nothing of what their disks are."""
    template()
    folder = pathlib.Path(kvm.status["STATE_DIR"]) / "theirs"
    (folder / "mid").mkdir(parents=True, exist_ok=True)
    base = f"{IMAGES}/tpl.qcow2"
    if way == "relative":
        base = os.path.relpath(base, folder)
    elif way == "json":
        base = 'json:{"driver": "qcow2", "file": {"driver": "file", "filename": "%s"}}' % base
    elif way == "by a link to the folder":
        (folder / "linked").symlink_to(IMAGES)
        base = str(folder / "linked" / "tpl.qcow2")
    elif way == "by a link":
        (kvm.images / "linked.qcow2").symlink_to("tpl.qcow2")
        base = f"{IMAGES}/linked.qcow2"
    top = str(folder / "theirs.qcow2")

    def overlay(path: str, of: str) -> None:
        # -u: QEMU here sees other files under that path than the rig's.
        words = ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", of, path, "8M"]
        subprocess.run(words, check=True, timeout=60)

    try:
        if way == "two down":
            overlay(str(folder / "mid" / "mid.qcow2"), base)
            base = str(folder / "mid" / "mid.qcow2")
        overlay(top, base)
        named = "theirs"
        if way in ("in an inactive pool", "by pool and volume"):
            kvm.virsh("pool-define-as", "theirs", "dir", "--target", str(folder))
        if way == "in an inactive pool":
            named = top
        elif way == "by pool and volume":
            disk_xml = (
                file_disk(top)
                .replace("type='file'", "type='volume'")
                .replace(f"file='{top}'", "pool='theirs' volume='theirs.qcow2'")
            )
            kvm.define(definition(kvm, "theirs", disk_xml))
        else:
            kvm.define(definition(kvm, "theirs", file_disk(top)))
        pools = kvm.pools()
        tpl = find(host, "tpl")
        assert f"is the base of the disks of {named}:" in host.machines.delete_problems(tpl).get(tpl[0].id, "")
        (outcome,) = host.machines.delete(tpl)
        assert outcome.error and "tpl" in kvm.domains() and "tpl.qcow2" in kvm.files()
        assert kvm.pools() == pools and "theirs" not in kvm.virsh("pool-list", "--name"), "nothing was started"
        for path in folder.rglob("*.qcow2"):
            path.unlink()
        assert host.machines.delete_problems(tpl) == {}
    finally:
        for name in kvm.pools() & {"theirs"}:
            kvm.virsh("pool-destroy", name, check=False)
            kvm.virsh("pool-undefine", name)
        shutil.rmtree(folder)


def test_a_block_device_as_template(kvm: KvmHost, host: t.Any, template: t.Callable[..., str]):
    disk(kvm, "block.bin", "raw")
    path = str(kvm.images / "block.bin")
    done = subprocess.run(["losetup", "--find", "--show", path], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no loop device: {done.stderr}")
    device = done.stdout.strip()
    try:
        template(
            "block",
            f"<disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='{device}'/>"
            "<target dev='vda' bus='virtio'/></disk>",
        )
        good(host.machines.create([VmWanted("onblock", "block")]))
        vms = find(host, "onblock")
        good(host.machines.start(vms))
        good(host.machines.stop(vms, 0))
        good(host.machines.delete(vms))
        assert "onblock.qcow2" not in kvm.files()
    finally:
        subprocess.run(["losetup", "-d", device], check=False)


@pytest.mark.parametrize("form", ["text", "source"])
def test_uefi_variables_are_the_vms_own(kvm: KvmHost, host: t.Any, template: t.Callable[..., str], form: str):
    """Definitions only: libvirt takes any file for firmware until the VM starts."""
    folder = pathlib.Path(kvm.status["STATE_DIR"]) / "libvirt" / "lib" / "qemu" / "nvram"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "uefi_VARS.fd").write_bytes(b"boot entries".ljust(4096, b"\0"))
    for name in ("code.fd", "vars.fd"):
        (kvm.images / name).write_bytes(b"\0" * 4096)
    path = f"{NVRAM}/uefi_VARS.fd"
    nvram = f"<nvram template='{IMAGES}/vars.fd'" + (
        f">{path}</nvram>" if form == "text" else f" type='file'><source file='{path}'/></nvram>"
    )
    template("uefi", os_xml=f"<loader type='pflash' readonly='yes'>{IMAGES}/code.fd</loader>{nvram}")
    good(host.machines.create([VmWanted("efi1", "uefi")]))
    defined = ET.fromstring(kvm.virsh("dumpxml", "--inactive", "efi1"))
    text = ET.tostring(defined.find("os"), encoding="unicode")
    assert f"{NVRAM}/efi1_VARS.fd" in text and "uefi_VARS" not in text
    assert (folder / "efi1_VARS.fd").read_bytes().startswith(b"boot entries")
    good(host.machines.delete(find(host, "efi1")))
    assert sorted(os.listdir(folder)) == ["uefi_VARS.fd"], "the template's variables are there, the VM's are gone"


def with_drive(host: t.Any, name: str) -> t.Any:
    (vm,) = find(host, name)
    for _vm, change in host.drives.put([(vm, image.build({"openstack/latest/meta_data.json": b"{}"}, owner=vm.id))]):
        assert not isinstance(change, Exception), change
    return find(host, name)[0]


@pytest.mark.parametrize("way", ["running", "running, peer to peer", "stopped"])
def test_a_move_to_a_host_with_disks_of_its_own(
    kvm: KvmHost, other: KvmHost, host: t.Any, template: t.Callable[..., str], way: str
):
    template()
    good(host.machines.create([VmWanted("mover", "tpl")]))
    vm = with_drive(host, "mover")
    if way != "stopped":
        good(host.machines.start([vm]))
    destination = {"uri": other.uri, "migrate_uri": f"tcp://{OTHER_ADDRESS}"}
    if way == "running, peer to peer":
        destination["peer_uri"] = other.uri
    (outcome,) = good(host.machines.migrate([vm], destination))
    assert outcome.changed
    there = connect(other)
    try:
        (moved,) = find(there, "mover")
        assert moved.id == vm.id and moved.ours and moved.power_state == ("stopped" if way == "stopped" else "running")
        assert there.drives.states([moved])[moved.id].attached
        assert "mover" not in kvm.domains()
        assert not {file for file in kvm.files() if "mover" in file}, "nothing stays at the source"
        assert {"mover.qcow2", "mover.iso"} == {file for file in other.files() if "mover" in file}
        good(there.machines.stop([moved], 0))
        assert holds_what_the_template_held(other.images / "mover.qcow2")
        good(there.machines.start([moved]))
        good(there.machines.stop([moved], 0))
        good(there.machines.delete(find(there, "mover")))
        assert not {file for file in other.files() if "mover" in file}
    finally:
        there.close()
        other.undefine("mover")


class SeenBefore:
    """A domain whose backup job somebody has seen and is only now about to end."""

    def __init__(self, domain: t.Any, job: str) -> None:
        self._domain = domain
        self._jobs = [job]

    def backupGetXMLDesc(self, flags: int = 0) -> str:
        return self._jobs.pop() if self._jobs else str(self._domain.backupGetXMLDesc(flags))

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._domain, name)


def test_a_move_by_somebody_else_that_begins_during_a_look(
    kvm: KvmHost, other: KvmHost, host: t.Any, template: t.Callable[..., str]
):
    """It waits for the end of our job, which must then not be ended a second time, for libvirt knows one job of a VM: the move by then."""
    template()
    # At 4 MiB/s it takes a while to move.
    subprocess.run(
        ["qemu-io", "-f", "qcow2", "-c", "write -q -P 0x5a 0 8M", str(kvm.images / "tpl.qcow2")], check=True, timeout=60
    )
    good(host.machines.create([VmWanted("taken", "tpl")]))
    good(host.machines.start(find(host, "taken")))
    (vm,) = find(host, "taken")
    path = backup.socket_path(vm.handle, time.time() + 60)
    backup.begin(vm.handle, path, ["vda"], ["hdc"], IMAGES)
    seen = vm.handle.backupGetXMLDesc()
    words = ["virsh", "-q", "-c", kvm.uri, "migrate", "--live", "--persistent", "--undefinesource", "--bandwidth", "4"]
    words += ["--copy-storage-all", "--migrate-disks", "vda", "taken", other.uri, f"tcp://{OTHER_ADDRESS}"]
    try:
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as move:
            time.sleep(1)
            assert move.poll() is None and vm.handle.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE
            assert backup.end(vm.handle, path) and backup.socket_of(vm.handle) is None
            wait_for("the move goes on", lambda: vm.handle.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE, 20)
            with pytest.raises(backup.Busy, match="a migration"):
                backup.begin(vm.handle, path, ["vda"], ["hdc"], IMAGES)
            with contextlib.suppress(libvirt.libvirtError):
                backup.end(SeenBefore(vm.handle, seen), path)
            assert move.wait(60) == 0, move.stderr and move.stderr.read()
        assert other.virsh("domstate", "taken") == "running" and "taken" not in kvm.domains()
        assert not [file for file in kvm.files() | other.files() if "scratch" in file]
    finally:
        other.undefine("taken")
        other.virsh("pool-refresh", "default")


@pytest.mark.parametrize("running", [True, False])
def test_a_move_on_shared_storage(
    kvm: KvmHost, other: KvmHost, template: t.Callable[..., str], tmp_path: pathlib.Path, running: bool
):
    # Under the rigs' folder: both hosts see it.
    shared = pathlib.Path(kvm.status["STATE_DIR"]).parent / "shared"
    shared.mkdir(mode=0o755, exist_ok=True)
    disk(kvm, "stpl.qcow2", folder=shared)
    template("stpl", file_disk(f"{shared}/stpl.qcow2"))
    host, there = connect(kvm, image_dir=str(shared)), connect(other, image_dir=str(shared))
    try:
        good(host.machines.create([VmWanted("sharer", "stpl")]))
        vm = with_drive(host, "sharer")
        if running:
            good(host.machines.start([vm]))
        good(host.machines.migrate([vm], {"uri": other.uri, "migrate_uri": f"tcp://{OTHER_ADDRESS}"}))
        (moved,) = find(there, "sharer")
        assert there.drives.states([moved])[moved.id].attached and "sharer" not in kvm.domains()
        assert sorted(os.listdir(shared)) == ["sharer.iso", "sharer.qcow2", "stpl.qcow2"]
        good(there.machines.stop([moved], 0))
        good(there.machines.delete(find(there, "sharer")))
        assert os.listdir(shared) == ["stpl.qcow2"]
    finally:
        host.close()
        there.close()
        for file in os.listdir(shared):
            (shared / file).unlink()


def test_a_move_that_cannot_be_leaves_all_as_it_was(kvm: KvmHost, other: KvmHost, host: t.Any, template: t.Callable[..., str]):
    template()
    good(host.machines.create([VmWanted("stayer", "tpl")]))
    other.define(definition(other, "stayer", ""))
    try:
        (outcome,) = host.machines.migrate(find(host, "stayer"), {"uri": other.uri})
        assert not outcome.changed and "another VM of this name" in outcome.error
        assert "stayer" in kvm.domains() and "stayer.qcow2" in kvm.files()
    finally:
        other.undefine("stayer")


def test_the_plug_is_pulled_while_a_guest_does_not_listen(kvm: KvmHost, host: t.Any, template: t.Callable[..., str]):
    template()
    good(host.machines.create([VmWanted("deaf", "tpl")]))
    vms = find(host, "deaf")
    good(host.machines.start(vms))
    wait_for("start", lambda: kvm.virsh("domstate", "deaf") == "running", 30)
    (outcome,) = good(host.machines.stop(vms, 3))
    assert outcome.changed and "did not shut down within 3 s" in outcome.warnings[0]


@pytest.mark.parametrize("form", ["ova", "fixed.vhd"])
def test_an_image_of_another_format_becomes_a_vm_for_clones(kvm, host, template, tmp_path, form):
    disk = make_disk(tmp_path)
    options = {"hypervisor": {"type": "kvm", "uri": kvm.uri}, "name": "cloud", "network": kvm.status["BRIDGE"]}
    told = kvm.module("vm_template_import", {**options, "image": str(make_image(disk, form))})
    assert told["changed"] and not kvm.module("vm_template_import", {**options, "image": str(disk)})["changed"]
    good(host.machines.create([VmWanted("web1", "cloud", nics=(NicWanted(kvm.status["BRIDGE"]),), full_clone=True)]))
    for name in ("cloud", "web1"):
        source = ET.fromstring(kvm.virsh("dumpxml", name)).find("devices/disk[@device='disk']/source")
        path = kvm.images / pathlib.Path(source.get("file")).name
        words = ["qemu-img", "compare", "-q", "-f", "raw", "-F", "qcow2", str(disk), str(path)]
        assert subprocess.run(words, timeout=60, check=False).returncode == 0
