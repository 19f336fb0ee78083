# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small disk with a made-up distribution that has cloud-init and the drivers of every hypervisor, as image files of all formats."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tarfile
import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Collection

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/unit/plugins/module_utils/_guest_template"))
from good_system import GOOD, build

MODULES = (
    "fs/isofs/isofs drivers/scsi/sr_mod drivers/ata/ahci drivers/ata/ata_piix drivers/block/virtio_blk drivers/net/virtio_net"
)
MODULES += (
    " drivers/scsi/virtio_scsi drivers/block/xen-blkfront drivers/net/xen-netfront drivers/scsi/vmw_pvscsi drivers/net/vmxnet3"
)
_KERNEL = "usr/lib/modules/6.1.0-18-amd64/modules.dep"
_LEFT_OUT = {name: None for name in GOOD if "config-drive" in name}
# How qemu-img makes each of them.
FORMATS = {
    "raw": ("raw",),
    "qcow2": ("qcow2",),
    "vhd": ("vpc", "-o", "subformat=dynamic,force_size=on"),
    "fixed.vhd": ("vpc", "-o", "subformat=fixed,force_size=on"),
    "vmdk": ("vmdk",),
    "stream.vmdk": ("vmdk", "-o", "subformat=streamOptimized"),
}


def make_disk(folder: pathlib.Path, without: Collection[str] = ()) -> pathlib.Path:
    """A raw disk of 13 MiB, which is no whole number of any format's blocks. without: modules that its kernel has not."""
    kept = [module for module in MODULES.split() if module.rpartition("/")[2] not in without]
    files = {**_LEFT_OUT, _KERNEL: "".join(f"kernel/{module}.ko:\n" for module in kept)}
    tree, disk = build(folder / "tree", files), folder / "disk.raw"
    disk.write_bytes(b"")
    with open(disk, "r+b") as stream:
        stream.truncate(13 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", str(tree), str(disk)], check=True, stdout=subprocess.DEVNULL)
    return disk


def make_image(disk: pathlib.Path, form: str) -> pathlib.Path:
    """An image of the disk beside it; form: one of FORMATS, or ova."""
    image = disk.with_name(f"disk.{form}")
    if form == "ova":
        part = make_image(disk, "stream.vmdk")
        (disk.parent / "disk.ovf").write_text("<!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]><Envelope>&y;</Envelope>")
        with tarfile.open(image, "w", format=tarfile.USTAR_FORMAT) as archive:
            for path in (disk.parent / "disk.ovf", part):
                archive.add(path, path.name)
    elif form != "raw":
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", *FORMATS[form], str(disk), str(image)], check=True)
    return image


def play(inventory: pathlib.Path, name: str, *options: str, fails: bool = False) -> str:
    """Runs a playbook of the collection in the inventory's folder; what it printed, as one line."""
    program = pathlib.Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [str(program), "-i", str(inventory), f"vmops.external_dhcp.{name}", *options],
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build" / "collections"),
            "ANSIBLE_HOME": str(inventory.parent / "home"),
        },
        cwd=inventory.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    printed = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, printed
    return " ".join(printed.split())
