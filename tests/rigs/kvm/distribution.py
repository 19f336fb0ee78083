# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The disk of a whole distribution, made by its own packages: systemd, its own kernel and initramfs, an SSH server, ifupdown.

It has nothing of this project and is not cleaned, like a machine that an administrator would make a template of. It is not part of the
rig, because it takes minutes to build and one to boot; boot_template.py prepares and boots it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import image
import librig
from librig import RigError, run, say

#: To be raised when the way it is built changes and its other inputs do not.
VERSION = 1
#: By suite, the DHCP client that its installer takes for ifupdown.
CLIENTS = {"bookworm": "isc-dhcp-client", "trixie": "dhcpcd-base"}
SUITE = "bookworm"
PACKAGES = (
    "dbus",
    "ifupdown",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "linux-image-cloud-amd64",
    "openssh-server",
    "procps",
    "systemd-sysv",
    "udev",
    "zstd",
)
DISK_SIZE_MIB = 2048
#: The network's configuration as Debian's installer writes it, for the NIC names of the rig's machines.
FILES = {
    "etc/fstab": "/dev/vda1 / ext4 errors=remount-ro 0 1\n",
    "etc/network/interfaces": "source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n\nallow-hotplug eth0\niface eth0 inet dhcp\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 builder\n",
    "etc/hostname": "builder\n",
}


class Distribution(t.NamedTuple):
    """A disk in the cache, and copies of its kernel and initramfs, with which a machine boots directly."""

    disk: Path
    kernel: Path
    initrd: Path


def distribution(suite: str = SUITE) -> Distribution:
    """The disk, built when the cache does not have it; raises RigError where the machine's packages are not Debian's."""
    source = image.guest_source()
    if source.family != "debian":
        raise RigError(f"the whole distribution is built of Debian's packages only; this machine's are of {source.family}")
    source = source._replace(suite=suite)
    packages = tuple(sorted((*PACKAGES, CLIENTS[suite])))
    cache = image.cache_dir()
    cache.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder = cache / f"distribution-{suite}-{image.digest(VERSION, packages, FILES, DISK_SIZE_MIB)}"
    with librig.file_lock(cache / ".distribution.lock", "another build of the whole distribution", 1800):
        if not (folder / "disk.qcow2").exists():
            for left in cache.glob("tmp-distribution-*"):
                image.remove_tree(left)
            librig.need({"debootstrap": "debootstrap", "mkfs.ext4": "e2fsprogs", "qemu-img": "qemu-utils"})
            started = time.monotonic()
            say(f"building a whole {source.family.capitalize()} ({suite}; once, 3 to 8 minutes) ...")
            work = Path(tempfile.mkdtemp(prefix="tmp-distribution-", dir=cache))
            work.chmod(0o755)
            try:
                build(source, work, packages)
                os.rename(work, folder)
            except BaseException:
                image.remove_tree(work)
                raise
            say(f"built in {time.monotonic() - started:.0f} s: {folder}")
    return Distribution(folder / "disk.qcow2", folder / "vmlinuz", folder / "initrd.img")


#: Makes the disk ($1, raw) like a distribution's cloud image: with boot loaders for BIOS and, signed, for UEFI (on a partition of its
#: own, which mtools write, as not every kernel has vfat) and cloud-init, without addresses or host names.
CLOUD_IMAGE = r"""
set -e
folder=$(mktemp -d)
mount -o loop,offset=1048576 "$1" "$folder"
cd "$folder"
mount -t proc proc proc
printf '#!/bin/sh\nexit 101\n' >usr/sbin/policy-rc.d
chmod 0755 usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
chroot . apt-get -qq update
chroot . apt-get -qqy --no-install-recommends install cloud-init grub-pc-bin grub-efi-amd64-signed shim-signed dosfstools mtools
chroot . grub-mkimage -O i386-pc -o /boot/core.img -p '(hd0,msdos1)/boot/grub' biosdisk part_msdos ext2 normal linux configfile
chroot . mkfs.vfat -C /boot/esp.img 16384 >/dev/null
chroot . mmd -i /boot/esp.img ::EFI ::EFI/BOOT ::EFI/debian
chroot . mcopy -i /boot/esp.img /usr/lib/shim/shimx64.efi.signed ::EFI/BOOT/BOOTX64.EFI
chroot . mcopy -i /boot/esp.img /usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed ::EFI/BOOT/grubx64.efi
mkdir -p boot/grub
cat >boot/grub/grub.cfg <<'END'
linux /vmlinuz root=/dev/vda1 ro console=ttyS0 net.ifnames=0 mitigations=off
initrd /initrd.img
boot
END
(echo search --label --set=root rootfs && cat boot/grub/grub.cfg) >boot/grub/efi.cfg
chroot . mcopy -i /boot/esp.img /boot/grub/efi.cfg ::EFI/debian/grub.cfg
# There is no package of locales in it.
echo 'locale: false' >etc/cloud/cloud.cfg.d/10_image.cfg
echo 'source /etc/network/interfaces.d/*' >etc/network/interfaces
rm -f usr/sbin/policy-rc.d etc/ssh/ssh_host_* var/lib/dbus/machine-id
: >etc/machine-id
: >etc/hostname
cp usr/lib/grub/i386-pc/boot.img boot/core.img boot/esp.img "$2"
rm boot/esp.img
umount proc
cd /
umount "$folder"
rmdir "$folder"
# Where grub-install puts them: the code before the partition table, the rest between that and the first partition.
dd if="$2/boot.img" of="$1" bs=440 count=1 conv=notrunc status=none
dd if="$2/core.img" of="$1" bs=512 seek=1 conv=notrunc status=none
start=$(($(stat -c %s "$1") / 512))
truncate -s +16M "$1"
echo "start=$start, type=ef" | sfdisk -q --append "$1"
dd if="$2/esp.img" of="$1" bs=512 seek="$start" conv=notrunc status=none
"""


def cloud_image() -> Path:
    """The same system as a cloud image, built when the cache does not have it; needs root and loop devices."""
    whole = distribution()
    folder = image.cache_dir() / f"cloud-image-{SUITE}-{image.digest(whole.disk.parent.name, CLOUD_IMAGE)}"
    with librig.file_lock(image.cache_dir() / ".distribution.lock", "another build of the whole distribution", 1800):
        if not (folder / "disk.qcow2").exists():
            say("making a cloud image of it (once, 1 to 3 minutes) ...")
            work = Path(tempfile.mkdtemp(prefix="tmp-distribution-", dir=image.cache_dir()))
            try:
                raw = work / "disk.raw"
                run("qemu-img", "convert", "-O", "raw", whole.disk, raw, timeout=300)
                environment = {**os.environ, **image.proxy_environment()}
                run("unshare", "--mount", "sh", "-c", CLOUD_IMAGE, "sh", raw, work, env=environment, timeout=900)
                run("qemu-img", "convert", "-O", "qcow2", raw, work / "disk.qcow2", timeout=300)
                raw.unlink()
                os.rename(work, folder)
            except BaseException:
                image.remove_tree(work)
                raise
    return folder / "disk.qcow2"


def command() -> None:
    (what,) = sys.argv[1:] or [SUITE]
    if what == "cloud-image":
        librig.print_values({"disk": cloud_image()}, False)
    else:
        librig.print_values(distribution(what)._asdict(), False)


def build(source: image.Source, work: Path, packages: t.Sequence[str]) -> None:
    root = work / "rootfs"
    image.hurry(root)
    image.debootstrap(source, root, {**image.proxy_environment(), "DEBIAN_FRONTEND": "noninteractive"}, packages)
    (root / "etc/dpkg/dpkg.cfg.d/rig").unlink()
    for path, text in FILES.items():
        (root / path).write_text(text, encoding="ascii")
    for name in ("vmlinuz", "initrd.img"):
        found = sorted((root / "boot").glob(f"{name}-*"))
        if not found:
            raise RigError(f"the distribution's packages made no /boot/{name}-*")
        (work / name).write_bytes(found[-1].read_bytes())
    image.make_disk(root, work / "disk.qcow2", DISK_SIZE_MIB)
    (work / "built.json").write_text(json.dumps({"suite": source.suite, "packages": packages}), encoding="utf-8")
    image.remove_tree(root)


if __name__ == "__main__":
    librig.main(command)
