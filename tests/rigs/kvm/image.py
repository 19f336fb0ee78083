# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The test guest's image, built from the distribution's own packages.

Two stages, each kept in the cache under a hash of what it is made from:

- base: root file system (debootstrap), kernel (unpacked) and the drivers it needs; takes minutes, has no file of this project
- image: base + the files in `guest/` + the collection's guest scripts → qcow2 disk and initrd; takes seconds

The image with cloud-init (layer.py) has more packages on top of the base and no guest scripts of ours.

It needs no loop device and no mount, and only the package sources that this machine's apt already uses.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import lzma
import os
import platform
import re
import shutil
import struct
import subprocess
import tempfile
import time
import typing as t
import zlib
from pathlib import Path

import librig
from librig import RigError, run, say

HERE = Path(__file__).resolve().parent
GUEST_FILES = HERE / "guest"
COLLECTION_SCRIPTS = HERE.parents[2] / "roles" / "vm_template" / "files" / "linux"

#: To be raised when the way the base is built changes and its other inputs do not.
BASE_VERSION = 2
#: Guest suite on Debian hosts, whatever their own release; on Ubuntu hosts it is the host's own.
DEBIAN_SUITE = "bookworm"
PACKAGES = (
    "busybox-static",
    "iproute2",
    "isc-dhcp-client",
    "kmod",
    "login",
    "passwd",
    "procps",
    "qemu-guest-agent",
    "udev",
)
#: Kernel meta package per distribution: the smallest that has the virtio drivers.
KERNEL_PACKAGE = {"debian": "linux-image-cloud-amd64", "ubuntu": "linux-image-virtual"}
COMPONENTS = {"debian": "main", "ubuntu": "main,universe"}
#: Drivers that the initrd loads, in this order, with their dependencies; those that are built into the kernel are skipped.
DRIVERS = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "ata_piix", "virtio_scsi", "sr_mod", "isofs", "ext4")
#: Loaded if the kernel has them: entropy, power button, other file systems that a drive may have.
OPTIONAL_DRIVERS = ("virtio-rng", "button", "evdev", "udf", "vfat", "nls_ascii", "nls_iso8859-1", "nls_cp437", "nls_utf8")
#: Folders that the guest never needs; half of its size.
USELESS = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bug",
    "usr/share/zoneinfo",
    "usr/share/common-licenses",
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/x86_64-linux-gnu/perl-base",
    "usr/lib/udev/hwdb.d",
    "usr/lib/udev/hwdb.bin",
)
DISK_SIZE_MIB = 500
PARTITION_START = 1 << 20
#: How many finished images the cache keeps, so that branches with different guest scripts need not build anew each time.
IMAGES_KEPT = 4

#: no_timer_check: an emulated guest that a busy machine leaves without a processor while it checks its timer panics.
COMMAND_LINE = (
    "console=ttyS0 net.ifnames=0 mitigations=off tsc=reliable no_timer_check quiet loglevel=3 random.trust_cpu=on panic=5 "
    "systemd.show_status=0 selinux=0 apparmor=0 audit=0"
)


class Image(t.NamedTuple):
    """A finished image in the cache. efi_kernel: the kernel as its package has it, which is a program for UEFI firmware, too."""

    disk: Path
    kernel: Path
    efi_kernel: Path
    initrd: Path
    suite: str
    kernel_version: str


def cache_dir() -> Path:
    return Path(os.environ.get("VMOPS_CACHE_DIR") or librig.DEFAULT_CACHE_DIR).absolute()


# Where packages come from -------------------------------------------------------------------------------------------


class Source(t.NamedTuple):
    """A package source: `family` is debian or ubuntu."""

    family: str
    suite: str
    mirror: str


def os_release() -> dict[str, str]:
    values = {}
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        key, separator, value = line.partition("=")
        if separator:
            values[key] = value.strip("\"'")
    return values


def guest_source() -> Source:
    """Which suite the guest is made of and the mirror this machine's apt already uses for that family.

    VMOPS_MIRROR overrides the mirror. Raises RigError on other distributions and when apt knows no usable source.
    """
    if platform.machine() != "x86_64":
        raise RigError(f"the test guest is built for x86_64 only; this machine is {platform.machine()}")
    release = os_release()
    families = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    if "ubuntu" in families:
        family, suite = "ubuntu", release.get("UBUNTU_CODENAME") or release.get("VERSION_CODENAME", "")
    elif "debian" in families:
        family, suite = "debian", DEBIAN_SUITE
    else:
        raise RigError(
            f"the test guest is built with debootstrap on Debian or Ubuntu; this is {release.get('PRETTY_NAME', 'something else')}"
        )
    override = os.environ.get("VMOPS_MIRROR")
    if override:
        return Source(family, suite, override.rstrip("/"))
    origin = family.capitalize()
    for attempt in range(2):
        for line in run(
            "apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)", "Created-By: Packages"
        ).stdout.splitlines():
            found_origin, label, component, address = (line.split("|") + ["", "", ""])[:4]
            # Security archives have the family's origin, too, but are not a whole distribution.
            if found_origin == origin and label == origin and component == "main" and "security" not in address:
                mirror = usable_mirror(address)
                if mirror:
                    return Source(family, suite, mirror)
        if attempt == 0:
            say("apt has no package lists yet: apt-get update ...")
            run("apt-get", "-qq", "update", check=False, timeout=300)
    raise RigError(f"apt-get update knows no usable {origin} mirror; name one in VMOPS_MIRROR (https://HOST/PATH)")


def usable_mirror(address: str) -> str | None:
    """A mirror's address as debootstrap understands it, or None; cloud images name a file with a list of mirrors."""
    if address.startswith("mirror+file:"):
        with contextlib.suppress(OSError):
            for line in Path("/" + address[len("mirror+file:") :].strip("/")).read_text(encoding="utf-8").splitlines():
                words = line.split("#")[0].split()
                if words:
                    return usable_mirror(words[0])
        return None
    return address.rstrip("/") if re.match(r"^(https?://|file:/)", address) else None


def proxy_environment() -> dict[str, str]:
    """apt's proxy, for debootstrap, which does not ask apt."""
    found = {}
    for line in run(
        "apt-config", "dump", "--format", "%f %v%n", "Acquire::http::Proxy", "Acquire::https::Proxy", check=False
    ).stdout.splitlines():
        option, separator, value = line.partition(" ")
        kind = option.split("::")[1].lower() if option.count("::") == 2 else ""
        if separator and value and value != "DIRECT" and kind in ("http", "https") and f"{kind}_proxy" not in os.environ:
            found[f"{kind}_proxy"] = value
    return found


# Stage 1: base ------------------------------------------------------------------------------------------------------


def digest(*parts: t.Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def base_key(source: Source) -> str:
    # The hash leaves out the mirror, because all mirrors have the same packages.
    return digest(BASE_VERSION, source.family, source.suite, PACKAGES, KERNEL_PACKAGE, DRIVERS, OPTIONAL_DRIVERS, USELESS)


def base() -> Path:
    """The base's folder in the cache, built when it is not there."""
    source = guest_source()
    cache = cache_dir()
    cache.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder = cache / f"base-{source.suite}-{base_key(source)}"
    if (folder / "base.json").exists():
        return folder
    with librig.file_lock(cache / ".base.lock", "another build of the guest's base", 1800):
        if (folder / "base.json").exists():
            return folder
        # A folder here was left by a process that died while it held this lock.
        for left in cache.glob("tmp-base-*"):
            remove_tree(left)
        librig.need({"debootstrap": "debootstrap", "dpkg-deb": "dpkg"})
        started = time.monotonic()
        say(
            f"building the guest's base system from {source.family.capitalize()} packages ({source.suite}; once, 1 to 4 minutes) ..."
        )
        work = Path(tempfile.mkdtemp(prefix="tmp-base-", dir=cache))
        work.chmod(0o755)
        try:
            build_base(source, work)
            (work / "base.json").write_text(
                json.dumps({"suite": source.suite, "kernel": (work / "kernel-version").read_text()}), encoding="utf-8"
            )
            os.rename(work, folder)
        except BaseException:
            remove_tree(work)
            raise
        say(f"guest's base system built in {time.monotonic() - started:.0f} s: {folder}")
    return folder


def remove_tree(folder: Path) -> None:
    """Removes a build's folder; refuses while something is mounted below it (a killed debootstrap leaves /proc mounted)."""
    for line in reversed(Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()):
        mounted = line.split()[1].replace("\\040", " ")
        if mounted == str(folder) or mounted.startswith(f"{folder}/"):
            run("umount", mounted)
    shutil.rmtree(folder, ignore_errors=False)


def build_base(source: Source, work: Path) -> None:
    root = work / "rootfs"
    hurry(root)
    environment = {**proxy_environment(), "DEBIAN_FRONTEND": "noninteractive"}
    kernel_packages = librig.in_background(lambda: fetch_kernel(source, work / "kernel"))
    try:
        debootstrap(source, root, environment)
    except BaseException:
        # The other process writes into the same folder, which is about to be removed.
        with contextlib.suppress(Exception):
            kernel_packages()
        raise
    kernel_packages()
    version = unpack_kernel(work)
    (work / "kernel-version").write_text(version, encoding="ascii")
    collect_drivers(work, root, version)
    shutil.rmtree(work / "kernel")
    trim(root)


def hurry(root: Path) -> None:
    """Keeps dpkg from syncing every file to the disk, which takes most of an installation's time, and from installing documents."""
    settings = root / "etc" / "dpkg" / "dpkg.cfg.d"
    settings.mkdir(parents=True)
    excluded = "".join(f"path-exclude=/{path}/*\n" for path in USELESS if path.startswith("usr/share/"))
    (settings / "rig").write_text(f"force-unsafe-io\n{excluded}", encoding="ascii")


def debootstrap(source: Source, root: Path, environment: t.Mapping[str, str], packages: t.Sequence[str] = PACKAGES) -> None:
    """Runs debootstrap and prints its progress every few seconds; the error has its whole output."""
    command = [
        "debootstrap",
        "--variant=minbase",
        f"--components={COMPONENTS[source.family]}",
        f"--include={','.join(packages)}",
        source.suite,
        str(root),
        source.mirror,
    ]
    steps: dict[str, int] = {}
    tail: list[str] = []
    told = started = time.monotonic()
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        errors="replace",
        env={**os.environ, **environment},
    ) as process:
        try:
            for line in process.stdout or ():
                tail = [*tail[-30:], line.rstrip()]
                step = re.match(r"^I: (Retrieving|Validating|Extracting|Unpacking|Configuring) ", line)
                if line.startswith("I: Resolving dependencies of required"):
                    say("        debootstrap: reading the list of packages")
                if step:
                    steps[step.group(1)] = steps.get(step.group(1), 0) + 1
                    if time.monotonic() - told > 8:
                        told = time.monotonic()
                        say(f"  {told - started:4.0f} s  debootstrap: {step.group(1).lower()} package {steps[step.group(1)]}")
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        details = ""
        with contextlib.suppress(OSError):
            details = "\n".join((root / "debootstrap" / "debootstrap.log").read_text(errors="replace").splitlines()[-15:])
        raise RigError("debootstrap failed:\n" + "\n".join(tail) + "\n" + details)


def apt_words(source: Source, state: Path, installed: Path | None = None) -> list[str]:
    """Options that make this machine's apt work for the guest, with its state in the folder `state`.

    installed: dpkg's status file of the guest; without it no package counts as installed.
    """
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True)
    if installed is None:
        installed = state / "status"
        installed.touch()
    keyring = {
        "debian": "/usr/share/keyrings/debian-archive-keyring.gpg",
        "ubuntu": "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    }[source.family]
    signed = f"[signed-by={keyring}] " if os.path.exists(keyring) else ""
    suites = [source.suite, f"{source.suite}-updates"] if source.family == "ubuntu" else [source.suite]
    components = COMPONENTS[source.family].replace(",", " ")
    (state / "sources.list").write_text(
        "".join(f"deb {signed}{source.mirror} {suite} {components}\n" for suite in suites), encoding="utf-8"
    )
    options = [
        f"Dir::Etc::SourceList={state}/sources.list",
        "Dir::Etc::SourceParts=/dev/null",
        f"Dir::State={state}",
        f"Dir::State::status={installed}",
        f"Dir::Cache={state}/cache",
        "Acquire::Languages=none",
        "APT::Architecture=amd64",
        "APT::Architectures=amd64",
        # apt's own user cannot enter the cache's folder.
        "APT::Sandbox::User=root",
    ]
    return [word for option in options for word in ("-o", option)]


def fetch_kernel(source: Source, folder: Path) -> None:
    """Downloads the kernel's packages with apt, whose state is apart from the machine's, and unpacks them.

    They are not installed in the guest, because the package's scripts would build an initrd that is not used.
    """
    words = apt_words(source, folder / "apt")
    run("apt-get", *words, "-qq", "update", timeout=600)
    wanted, packages = [KERNEL_PACKAGE[source.family]], []
    while wanted:
        package = wanted.pop()
        for line in run(
            "apt-cache", *words, "depends", "--important", "--no-suggests", "--no-recommends", package
        ).stdout.splitlines():
            depends = re.match(r"^\s+\|?Depends: (linux-(image|modules)-(unsigned-)?[0-9]\S+)$", line)
            if depends and depends.group(1) not in packages:
                packages.append(depends.group(1))
                wanted.append(depends.group(1))
    if not packages:
        raise RigError(f"{KERNEL_PACKAGE[source.family]} names no kernel package in {source.suite} at {source.mirror}")
    downloads = folder / "debs"
    downloads.mkdir()
    done = subprocess.run(
        ["apt-get", *words, "-qq", "download", *packages],
        cwd=downloads,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=900,
    )
    if done.returncode != 0:
        raise RigError(f"downloading {' '.join(packages)} failed: {done.stdout.strip()}")
    for package in sorted(downloads.glob("*.deb")):
        run("dpkg-deb", "-x", package, folder / "files", timeout=300)


def unpack_kernel(work: Path) -> str:
    """Writes the kernel to work/vmlinuz, decompressed (if it can be) to work/vmlinux, and returns its version."""
    kernels = sorted((work / "kernel" / "files" / "boot").glob("vmlinuz-*"))
    if not kernels:
        raise RigError("the kernel's package has no /boot/vmlinuz-*")
    image = kernels[-1].read_bytes()
    (work / "vmlinuz").write_bytes(image)
    elf = decompressed_kernel(image)
    # QEMU starts a decompressed kernel with a PVH note directly; under emulation the guest would take seconds to decompress it.
    if elf is not None and b"Xen\0" in elf:
        (work / "vmlinux").write_bytes(elf)
    else:
        (work / "vmlinux").write_bytes(image)
    return kernels[-1].name[len("vmlinuz-") :]


def decompressed_kernel(image: bytes) -> bytes | None:
    """The ELF file inside a compressed kernel image; None when it is none of the usual kinds."""

    def through(*command: str) -> t.Callable[[bytes], bytes]:
        def pipe(data: bytes) -> bytes:
            # These programs fail because of the data behind the stream, but have written all of it by then.
            return subprocess.run(
                command, input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, timeout=60
            ).stdout

        return pipe

    def xz(data: bytes) -> bytes:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(data)

    def gz(data: bytes) -> bytes:
        return zlib.decompressobj(31).decompress(data)

    kinds: tuple[tuple[bytes, t.Callable[[bytes], bytes]], ...] = (
        (b"\x02\x21\x4c\x18", through("lz4", "-dc")),
        (b"\x28\xb5\x2f\xfd", through("zstd", "-dcq")),
        (b"\xfd7zXZ\0", xz),
        (b"\x1f\x8b\x08", gz),
    )
    for magic, unpack in kinds:
        start = image.find(magic)
        while start != -1:
            with contextlib.suppress(OSError, ValueError, EOFError, lzma.LZMAError, zlib.error, subprocess.SubprocessError):
                elf = unpack(image[start:])
                if elf.startswith(b"\x7fELF"):
                    return elf
            start = image.find(magic, start + 1)
    return None


def collect_drivers(work: Path, root: Path, version: str) -> None:
    """Copies the initrd's drivers, uncompressed and numbered in the order of loading, to work/drivers."""
    modules = next(
        (folder for folder in (work / "kernel/files/lib/modules", work / "kernel/files/usr/lib/modules") if folder.is_dir()), None
    )
    if modules is None:
        raise RigError("the kernel's packages have no modules")
    target = root / "lib" / "modules" / version
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(str(modules / version), str(target))
    drivers = work / "drivers"
    drivers.mkdir()
    # The guest's own kmod, because it knows every compression that its distribution uses.
    run("chroot", root, "depmod", version, timeout=120)
    order: list[str] = []
    for driver in (*DRIVERS, *OPTIONAL_DRIVERS):
        shown = run("chroot", root, "modprobe", "-S", version, "--show-depends", driver, check=False)
        if shown.returncode != 0 and driver in DRIVERS:
            raise RigError(f"kernel {version} has no driver {driver}: {shown.stderr.strip()}")
        for line in shown.stdout.splitlines():
            words = line.split()
            if words[:1] == ["insmod"] and words[1] not in order:
                order.append(words[1])
    for number, path in enumerate(order):
        source = Path(str(root) + path)
        data = source.read_bytes()
        name = source.name
        if name.endswith(".xz"):
            data, name = lzma.decompress(data), name[:-3]
        elif name.endswith(".gz"):
            data, name = gzip.decompress(data), name[:-3]
        elif name.endswith(".zst"):
            data = subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, check=True, timeout=60).stdout
            name = name[:-4]
        (drivers / f"{number:02d}-{name}").write_bytes(data)
    shutil.rmtree(target)


def trim(root: Path, keep: t.Collection[str] = ()) -> None:
    """Removes files that the test guest never needs, and those that must not be the same in two guests. keep: of USELESS."""
    for path in USELESS:
        if path in keep:
            continue
        target = root / path
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
            if path.startswith("var/"):
                target.mkdir()
        elif target.exists():
            target.unlink()
    for folder in ("dev", "run", "tmp"):
        for entry in (root / folder).iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    for left in ("etc/resolv.conf", "etc/hostname", "var/lib/dbus/machine-id"):
        with contextlib.suppress(FileNotFoundError):
            (root / left).unlink()
    for left in (root / "var/lib/dhcp").glob("*"):
        left.unlink()


# Stage 2: image -----------------------------------------------------------------------------------------------------


class GuestFile(t.NamedTuple):
    """A file of the guest that is not from a package."""

    path: str
    content: bytes
    mode: int = 0o644
    link: bool = False


class Tree(t.NamedTuple):
    """The parts of an image: a folder of the cache with the packages' `rootfs`, and the files put into it.

    name: prefix of its images' folders in the cache; images of one name are counted together.
    """

    folder: Path
    files: list[GuestFile]
    name: str = "image"


def boot_files() -> list[GuestFile]:
    """Files for the boot of every image. The script that handles the guest's data (etc/rc.guest) is each image's own."""
    own = {path.name: path.read_bytes() for path in sorted(GUEST_FILES.iterdir()) if path.is_file()}
    files = [
        GuestFile("etc/inittab", own["inittab"]),
        GuestFile("etc/rc.boot", own["rc.boot"], 0o755),
        GuestFile("etc/rc.shutdown", own["rc.shutdown"], 0o755),
        GuestFile("usr/local/sbin/nic-up", own["nic-up"], 0o755),
        GuestFile("etc/udev/rules.d/80-rig-nic.rules", own["80-rig-nic.rules"]),
        GuestFile("etc/acpi/PWRF/00000080", b"#!/bin/sh\nexec /sbin/poweroff\n", 0o755),
        GuestFile("etc/hosts", b"127.0.0.1 localhost\n::1 localhost\n"),
        GuestFile("etc/fstab", b"/dev/vda1 / ext4 rw,noatime 0 0\n"),
        GuestFile("etc/machine-id", b""),
        # login reads it, and would log an error without it.
        GuestFile("etc/default/locale", b""),
        GuestFile("etc/inputrc", b"set enable-bracketed-paste off\n"),
        GuestFile("etc/motd", b""),
        GuestFile("etc/issue", b"vmops test guest \\l\n\n"),
        GuestFile("etc/resolv.conf", b""),
    ]
    files += [GuestFile(f"sbin/{name}", own["power"], 0o755) for name in ("shutdown", "poweroff", "reboot", "halt")]
    return files


def collection_files() -> list[GuestFile]:
    """The guest scripts of the role vm_template, placed as on any guest with SysV init; the image's boot calls the starter."""
    scripts = sorted(COLLECTION_SCRIPTS.glob("*.sh"))
    if not scripts:
        raise RigError(f"no guest scripts in {COLLECTION_SCRIPTS}: the rigs run from a checkout of the whole collection")
    files = [GuestFile(f"usr/local/sbin/{path.name}", path.read_bytes(), 0o755) for path in scripts]
    files.append(GuestFile("etc/rc.guest", (GUEST_FILES / "rc.guest").read_bytes(), 0o755))
    files.append(GuestFile("etc/init.d/config-drive", (COLLECTION_SCRIPTS / "config-drive.init").read_bytes(), 0o755))
    # The boot calls the starter after udev has seen all drives, so machines without a config drive need not wait for one.
    settings = (COLLECTION_SCRIPTS / "config-drive.default").read_bytes() + b"WAIT_SECONDS=0\n"
    files.append(GuestFile("etc/default/config-drive", settings))
    return files


def put(root: Path, file: GuestFile) -> None:
    """Writes one file below a tree of hard links, never into an existing file, because that is the cache's."""
    target = root / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        target.unlink()
    if file.link:
        target.symlink_to(file.content.decode())
        return
    target.write_bytes(file.content)
    target.chmod(file.mode)


def image(layer: t.Callable[[Path], Tree] | None = None) -> Image:
    """The finished image, built when the cache does not have it.

    layer: makes another tree of the base's folder; without it the base gets the collection's guest scripts.
    """
    librig.need({"mkfs.ext4": "e2fsprogs", "qemu-img": "qemu-utils"})
    base_folder = base()
    tree = layer(base_folder) if layer else Tree(base_folder, boot_files() + collection_files())
    files = tree.files
    key = digest(
        tree.folder.name,
        [(file.path, hashlib.sha256(file.content).hexdigest(), file.mode, file.link) for file in files],
        hashlib.sha256((GUEST_FILES / "initrd-init").read_bytes()).hexdigest(),
        DISK_SIZE_MIB,
        PARTITION_START,
    )
    cache = cache_dir()
    folder = cache / f"{tree.name}-{key}"
    with librig.file_lock(cache / ".image.lock", "another build of the guest image", 600):
        if not (folder / "disk.qcow2").exists():
            for left in cache.glob("tmp-image-*"):
                remove_tree(left)
            started = time.monotonic()
            say(f"building the guest's {tree.name} (a few seconds) ...")
            work = Path(tempfile.mkdtemp(prefix="tmp-image-", dir=cache))
            work.chmod(0o755)
            try:
                build_image(base_folder, tree, work)
                os.rename(work, folder)
            except BaseException:
                remove_tree(work)
                raise
            say(f"guest's {tree.name} built in {time.monotonic() - started:.1f} s")
        # The time of last use: images that were not used for longest are removed first.
        os.utime(folder)
        images = sorted(cache.glob(f"{tree.name}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in images[IMAGES_KEPT:]:
            remove_tree(old)
    about = json.loads((base_folder / "base.json").read_text(encoding="utf-8"))
    names = ("disk.qcow2", "vmlinux", "vmlinuz", "initrd.img")
    return Image(*(folder / name for name in names), suite=about["suite"], kernel_version=about["kernel"])


def build_image(base_folder: Path, tree: Tree, work: Path) -> None:
    root = work / "rootfs"
    run("cp", "-al", tree.folder / "rootfs", root, timeout=120)
    for file in tree.files:
        put(root, file)
    (root / "etc/dpkg/dpkg.cfg.d/rig").unlink()
    make_disk(root, work / "disk.qcow2", DISK_SIZE_MIB)
    (work / "initrd.img").write_bytes(gzip.compress(initrd(base_folder), compresslevel=6, mtime=0))
    for kernel in ("vmlinux", "vmlinuz"):
        os.link(base_folder / kernel, work / kernel)
    shutil.rmtree(root)


def make_disk(root: Path, disk: Path, mebibytes: int) -> None:
    """A qcow2 disk of this size with the tree on its one partition."""
    raw = disk.with_suffix(".raw")
    with raw.open("wb") as stream:
        stream.truncate(mebibytes << 20)
        stream.write(partition_table(mebibytes))
    kilobytes = ((mebibytes << 20) - PARTITION_START) >> 10
    extended = f"offset={PARTITION_START},lazy_itable_init=0,lazy_journal_init=0"
    run("mkfs.ext4", "-q", "-F", "-L", "rootfs", "-d", root, "-E", extended, raw, f"{kilobytes}k", timeout=300)
    run("qemu-img", "convert", "-O", "qcow2", raw, disk, timeout=300)
    raw.unlink()


def partition_table(mebibytes: int) -> bytes:
    """A DOS partition table with one Linux partition from 1 MiB to the end."""
    start = PARTITION_START // 512
    entry = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", start, (mebibytes << 20) // 512 - start)
    return b"\0" * 446 + entry + b"\0" * 48 + b"\x55\xaa"


def initrd(base_folder: Path) -> bytes:
    """busybox, the drivers and the first program, as a cpio archive (newc)."""
    archive = bytearray()
    number = 0

    def add(path: str, mode: int, content: bytes = b"") -> None:
        nonlocal number
        number += 1
        name = path.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
        archive.extend(b"070701" + "".join(f"{field:08x}" for field in fields).encode() + name)
        archive.extend(b"\0" * (-len(archive) % 4))
        archive.extend(content)
        archive.extend(b"\0" * (-len(archive) % 4))

    busybox = base_folder / "rootfs" / "bin" / "busybox"
    for folder in ("bin", "dev", "proc", "sys", "root", "modules"):
        add(folder, 0o040755)
    add("bin/busybox", 0o100755, busybox.read_bytes())
    add("bin/sh", 0o120777, b"busybox")
    add("init", 0o100755, (GUEST_FILES / "initrd-init").read_bytes())
    for driver in sorted((base_folder / "drivers").iterdir()):
        add(f"modules/{driver.name}", 0o100644, driver.read_bytes())
    add("TRAILER!!!", 0)
    return bytes(archive)
