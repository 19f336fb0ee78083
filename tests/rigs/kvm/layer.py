# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests with more packages on top of the base: the distribution's cloud-init, and its other DHCP clients.

They are layers of their own in the cache, so that tests with the ordinary guest neither wait for them nor depend on them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

import image
import librig
from librig import RigError, run, say

#: To be raised when the way a layer is built changes and its other inputs do not.
LAYER_VERSION = 2
#: cloud-init as an administrator installs it, a network renderer for it and ssh-keygen, which real templates have.
CLOUD_INIT = ("cloud-init", "ifupdown", "openssh-client")
#: The DHCP clients of other distributions; the base has dhclient.
DHCP_CLIENTS = ("dhcpcd-base", "network-manager", "dbus", "systemd")
#: The packages' scripts need a working perl, which was trimmed from the base, and so does update-rc.d in the guest.
PERL, PERL_FOLDER = "perl-base", "usr/lib/x86_64-linux-gnu/perl-base"
#: The template's own settings, for speed under emulation: one kind of host key, no locales generated.
SETTINGS = b"# Of the test rig's template.\nssh_genkeytypes: [ed25519]\nlocale: false\n"


def cloud_init(base_folder: Path) -> image.Tree:
    """The tree with cloud-init on top of the base, and none of the collection's guest scripts."""
    files = [
        *image.boot_files(),
        image.GuestFile("etc/rc.guest", (image.GUEST_FILES / "rc.guest.cloud-init").read_bytes(), 0o755),
        image.GuestFile("etc/cloud/cloud.cfg.d/10_rig.cfg", SETTINGS),
    ]
    return image.Tree(layered(base_folder, "cloud-init", CLOUD_INIT), files, "cloud-init-image")


def dhcp_clients(base_folder: Path) -> image.Tree:
    """The tree with every DHCP client; rig_client=NAME on the kernel's command line takes one of them."""
    nic_up = image.GuestFile("usr/local/sbin/nic-up", (image.GUEST_FILES / "nic-up.clients").read_bytes(), 0o755)
    files = [file for file in image.boot_files() if file.path != nic_up.path] + [nic_up]
    files.append(image.GuestFile("etc/rc.guest", b"#!/bin/sh\n", 0o755))
    return image.Tree(layered(base_folder, "dhcp-clients", DHCP_CLIENTS), files, "dhcp-clients-image")


def layered(base_folder: Path, name: str, packages: tuple[str, ...]) -> Path:
    """The folder of the layer with these packages, built when the cache does not have it."""
    cache = image.cache_dir()
    folder = cache / f"{name}-{image.digest(LAYER_VERSION, base_folder.name, packages, PERL)}"
    with librig.file_lock(cache / ".layer.lock", "another build of a layer of the guest", 1800):
        if not (folder / "layer.json").exists():
            for left in cache.glob("tmp-layer-*"):
                image.remove_tree(left)
            librig.need({"dpkg-deb": "dpkg"})
            started = time.monotonic()
            say(f"installing {name} for the guest (once, about a minute) ...")
            work = Path(tempfile.mkdtemp(prefix="tmp-layer-", dir=cache))
            work.chmod(0o755)
            try:
                install(base_folder / "rootfs", work, packages)
                (work / "layer.json").write_text(json.dumps({"packages": packages}), encoding="utf-8")
                os.rename(work, folder)
            except BaseException:
                image.remove_tree(work)
                raise
            say(f"{name} installed for the guest in {time.monotonic() - started:.0f} s: {folder}")
    return folder


def install(base: Path, work: Path, wanted: tuple[str, ...]) -> None:
    """Copies the base's root file system and installs the packages in it, with their own scripts."""
    root = work / "rootfs"
    # Not by hard links, because the packages' scripts may write files in place.
    run("cp", "-a", "--reflink=auto", base, root, timeout=300)
    words = image.apt_words(image.guest_source(), work / "apt", root / "var" / "lib" / "dpkg" / "status")
    run("apt-get", *words, "-qq", "update", timeout=600)
    run(
        *("apt-get", *words, "-qq", "--yes", "--no-install-recommends", "--reinstall", "--download-only", "install"),
        *(*wanted, PERL),
        timeout=900,
    )
    packages = sorted((work / "apt" / "cache" / "archives").glob("*.deb"))
    for package in packages:
        if package.name.split("_")[0] == PERL:
            run("dpkg-deb", "-x", package, root, timeout=300)
    inside = root / "tmp" / "packages"
    inside.mkdir()
    for package in packages:
        os.link(package, inside / package.name)
    # Removed with the rest of /dev when the tree is trimmed.
    for number, device in ((3, "null"), (5, "zero"), (8, "random"), (9, "urandom")):
        os.mknod(root / "dev" / device, stat.S_IFCHR | 0o666, os.makedev(1, number))
        (root / "dev" / device).chmod(0o666)
    refusal = root / "usr" / "sbin" / "policy-rc.d"
    refusal.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    refusal.chmod(0o755)
    environment = {"DEBIAN_FRONTEND": "noninteractive", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    # As debootstrap does it: all packages are unpacked in any order, then configured in the right one.
    names = [f"/tmp/packages/{package.name}" for package in packages]
    try:
        run("chroot", root, "dpkg", "--force-depends", "--unpack", *names, env=environment, timeout=600)
        run("chroot", root, "dpkg", "--configure", "--pending", env=environment, timeout=900)
    except RigError as error:
        raise RigError(f"installing {' '.join(wanted)} for the guest failed: {error}") from error
    refusal.unlink()
    with contextlib.suppress(FileNotFoundError):
        (root / "var/lib/dbus/machine-id").unlink()
    image.trim(root, keep={PERL_FOLDER})
    shutil.rmtree(work / "apt")
