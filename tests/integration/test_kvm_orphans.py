# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Config drives that are taken out, and those that no VM uses, on a real libvirtd. Nothing boots here."""

from __future__ import annotations

import hashlib
import os
import pathlib
import time
import typing as t
import uuid

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image as images
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import driver
from ansible_collections.vmops.external_dhcp.tests.integration.kvm_host import KvmHost

ORPHANS = 20
DOMAIN = """<domain type='qemu'><name>it-out</name><memory unit='MiB'>24</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>
<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><target dev='hdc' bus='ide'/><readonly/></disk>
<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><target dev='hdd' bus='ide'/><readonly/></disk>
<controller type='usb' model='none'/><memballoon model='none'/></devices></domain>"""


def drive(owner: str | None, text: str = "secret") -> bytes:
    return images.build({"cloudstack/userdata/user_data.txt": text.encode()}, "config", owner)


def in_it(kvm: KvmHost, live: bool = False) -> str:
    lines = kvm.virsh("domblklist", "--domain", "it-out", *([] if live else ["--inactive"])).split("\n")
    return dict(line.split(None, 1) for line in lines if line.strip())["hdd"]


def is_unread(kvm: KvmHost) -> bool:
    host = driver.connect({"uri": kvm.uri})
    try:
        (vm,) = host.inventory.vms(["it-out"]).vms
        return bool(host.drives.inserted([vm])[vm.id].unread)
    finally:
        host.close()


def test_a_drive_is_taken_out_once_the_vm_was_started_with_it(kvm: KvmHost, run_module: t.Any):
    kvm.define(DOMAIN)
    try:
        out = {"hypervisor": kvm.hypervisor, "drives": [{"name": "it-out"}], "state": "ejected"}
        present = {"hypervisor": kvm.hypervisor, "drives": [{"name": "it-out", "user_data": "x"}], "reinsert": False}
        kvm.virsh("start", "--domain", "it-out", "--paused")
        assert run_module("vm_config_drive", present)["changed"]
        assert is_unread(kvm) is True
        (kept,) = run_module("vm_config_drive", {**out, "keep_unread": False}, check_mode=True)["drives"]
        assert kept["unread"] and kept["changed"]
        assert not run_module("vm_config_drive", out)["changed"] and in_it(kvm, live=True).endswith("it-out.iso")
        kvm.virsh("destroy", "--domain", "it-out")
        kvm.virsh("start", "--domain", "it-out", "--paused")  # firmware that looks for something to boot plays with trays
        assert is_unread(kvm) is False
        (gone,) = run_module("vm_config_drive", {**out, "keep_unread": False})["drives"]
        assert gone["changed"] and gone["ejected"]
        assert in_it(kvm) == in_it(kvm, live=True) == "-" and "it-out.iso" in kvm.files()
        assert not run_module("vm_config_drive", present)["changed"]
        kvm.virsh("destroy", "--domain", "it-out")
        assert not run_module("vm_config_drive", present)["changed"] and in_it(kvm) == "-"
        assert run_module("vm_config_drive", {**present, "drives": [{"name": "it-out", "user_data": "y"}]})["changed"]
        assert in_it(kvm).endswith("it-out.iso")
    finally:
        kvm.undefine("it-out")


def test_twenty_orphans_among_foreign_files(kvm: KvmHost, run_module: t.Any):
    kvm.define(DOMAIN)
    second = kvm.images / "it-second"
    second.mkdir()
    inside = f"{driver_folder(kvm)}/it-second"
    kvm.virsh("pool-create-as", "it-second", "dir", "--target", inside)
    made: list[pathlib.Path] = []

    def plant(folder: pathlib.Path, name: str, data: bytes) -> pathlib.Path:
        path = folder / name
        path.write_bytes(data)
        os.utime(path, (time.time() - 7200,) * 2)
        made.append(path)
        return path

    try:
        run_module("vm_config_drive", {"hypervisor": kvm.hypervisor, "drives": [{"name": "it-out", "user_data": "x"}]})
        folders = (kvm.images, second)
        planted = {plant(folders[n % 2], f"it-gone{n}.iso", drive(str(uuid.uuid4()))) for n in range(ORPHANS)}
        for number in range(ORPHANS):
            foreign = [
                b"x" * 70000,
                drive(None),
                drive("gone")[:32000],
                drive("gone").replace(b"VMOPS.EXTERNAL_DHCP F", b"x" * 21),
            ]
            plant(folders[number % 2], f"it-foreign{number}.iso", foreign[number % 4])
        before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in (*made, kvm.images / "it-out.iso")}
        options = {"hypervisor": kvm.hypervisor}
        listed = run_module("vm_config_drive_orphans", options)["orphans"]
        ours = [o for o in listed if "/it-" in o["location"]]
        assert {o["location"].rpartition("/")[2] for o in ours} == {path.name for path in planted}
        assert {(o["reason"], o["kept"]) for o in ours} == {("vm_gone", None)}
        assert run_module("vm_config_drive_orphans", {**options, "state": "absent"})["changed"]
        left = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in before if path.exists()}
        assert left == {path: digest for path, digest in before.items() if path not in planted}
        assert not run_module("vm_config_drive_orphans", {**options, "state": "absent"})["changed"]
    finally:
        kvm.undefine("it-out")
        kvm.virsh("pool-destroy", "it-second", check=False)
        for path in made:
            path.unlink(missing_ok=True)
        second.rmdir()


def driver_folder(kvm: KvmHost) -> str:
    """The image folder as the rig's libvirtd sees it."""
    host = driver.connect({"uri": kvm.uri})
    try:
        return str(host.drives.folder.folder)
    finally:
        host.close()
