# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole disks, made by the tools of their file systems and read as a module reads them: through the child process."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import typing as t

import pytest

pytest.importorskip("dissect.extfs")

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk import hives
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk.reader import (
    DiskReader,
    Examined,
    Unreadable,
)
from ansible_collections.vmops.external_dhcp.tests.rigs import disk_images as images
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._guest_address.disk.test_journal import (
    NETWORKD,
    lease,
    write,
)


class File:
    """A file on this machine as a reader.SourceFile."""

    def __init__(self, path: pathlib.Path, form: str = "raw") -> None:
        self.format = form
        self.size = path.stat().st_size
        self._descriptor = os.open(path, os.O_RDONLY)

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._descriptor, length, offset)


@pytest.fixture(scope="module")
def reader() -> t.Iterator[DiskReader]:
    found = DiskReader()
    yield found
    found.close()


def need(*tools: str) -> None:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")


def addresses(seen: Examined) -> list[str]:
    return [lease.address for lease in seen.leases]


@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4"])
def test_ext(reader: DiskReader, tmp_path: pathlib.Path, kind: str):
    need("mkfs.ext4")
    seen = reader.read([[File(images.ext(tmp_path / "disk", images.LINUX, kind=kind))]])
    assert (addresses(seen), seen.system, seen.notes) == ([images.ADDRESS], "linux", ())
    assert seen.fetched < 1 << 20


@pytest.mark.parametrize(
    "options", [("-O", "metadata_csum,64bit"), ("-O", "^metadata_csum,^64bit"), ("-b", "1024"), ("-I", "128")]
)
def test_what_only_the_journal_has_is_seen(reader: DiskReader, tmp_path: pathlib.Path, options: tuple[str, ...]):
    need("mkfs.ext4", "debugfs")
    disk = images.ext(tmp_path / "disk", images.LINUX, *options)
    images.write_journal(disk, "/var/lib/dhcp/dhclient.eth0.leases", images.LEASE.replace(".57", ".58").encode())
    assert addresses(reader.read([[File(disk)]])) == ["10.99.0.58"]


def test_links_are_followed_as_the_guest_would(reader: DiskReader, tmp_path: pathlib.Path):
    need("mkfs.ext4")
    files = {
        "data/dhcp/dhclient.leases": images.LEASE.encode(),
        "var/lib/dhcp": b"->../../data/./dhcp",
        "var/lib/dhclient": b"->dhclient",
        "var/lib/NetworkManager": b"->/../../../../data/none",
        "var/lib/dhcpcd": b"->/etc/../data/dhcp",
    }
    assert addresses(reader.read([[File(images.ext(tmp_path / "disk", files))]])) == [images.ADDRESS]


def test_networkd_in_the_journal(reader: DiskReader, tmp_path: pathlib.Path):
    need("mkfs.ext4")
    entries = [(1, NETWORKD, lease(images.ADDRESS))]
    files = {f"var/log/journal/{'0' * 32}/system.journal": write(tmp_path / "x.journal", entries), "var/lib/x": b""}
    (found,) = reader.read([[File(images.ext(tmp_path / "disk", files, mib=128))]]).leases
    assert (found.client, found.address, found.interface) == ("systemd-networkd", images.ADDRESS, "eth0")


@pytest.mark.parametrize(("log", "note"), [(None, "networkd"), ("var/log/syslog", "networkd_log")])
def test_networkd_without_a_lease_in_a_log(reader: DiskReader, tmp_path: pathlib.Path, log: str | None, note: str):
    need("mkfs.ext4")
    files = {"var/lib/x": b"", "etc/systemd/system/multi-user.target.wants/systemd-networkd.service": b""}
    seen = reader.read([[File(images.ext(tmp_path / "disk", files | ({log: b"started"} if log else {})))]])
    assert (seen.leases, seen.notes) == ((), (note,))


@pytest.mark.parametrize("bits", [12, 16, 32])
def test_fat(reader: DiskReader, tmp_path: pathlib.Path, bits: int):
    need("mkfs.vfat", "mcopy")
    seen = reader.read([[File(images.fat(tmp_path / "disk", images.LINUX, bits))]])
    assert (addresses(seen), seen.notes) == ([images.ADDRESS], ())


class Counting(DiskReader):
    """Remembers with which parts of the library disks were read."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[list[str]] = []

    def _one_guest(self, order: bytes) -> t.Any:
        self.parts.append(json.loads(order)["parts"])
        return super()._one_guest(order)


def test_only_what_a_disk_needs_of_the_library_is_loaded(tmp_path: pathlib.Path):
    need("mkfs.ext4", "mkfs.xfs", "sfdisk", "pvcreate")
    common = File(images.in_partition(tmp_path / "common", images.ext(tmp_path / "ext", images.LINUX), "gpt"))
    other = File(images.in_lvm(tmp_path / "other", images.xfs(tmp_path / "xfs", images.LINUX)))
    reader = Counting()
    for file in (common, other, other):
        assert addresses(reader.read([[file]])) == [images.ADDRESS]
    reader.close()
    assert reader.parts == [[], [], ["lvm"], ["lvm", "xfs"], []]


@pytest.mark.parametrize("options", [(), ("-i", "nrext64=0"), ("-m", "crc=0")])
def test_xfs(reader: DiskReader, tmp_path: pathlib.Path, options: tuple[str, ...]):
    need("mkfs.xfs")
    if (
        options[:1] == ("-i",)
        and "nrext64" not in images.subprocess.run(["mkfs.xfs"], capture_output=True, text=True, check=False).stderr
    ):
        options = ()
    seen = reader.read([[File(images.xfs(tmp_path / "disk", images.LINUX, *options))]])
    assert (addresses(seen), seen.notes) == ([images.ADDRESS], ())


def test_btrfs(reader: DiskReader, tmp_path: pathlib.Path):
    need("mkfs.btrfs")
    seen = reader.read([[File(images.btrfs(tmp_path / "disk", images.LINUX))]])
    assert (addresses(seen), seen.notes) == ([images.ADDRESS], ())


@pytest.mark.parametrize("kind", ["mbr", "gpt"])
def test_partitions(reader: DiskReader, tmp_path: pathlib.Path, kind: str):
    need("mkfs.ext4", "sfdisk")
    disk = images.in_partition(tmp_path / "disk", images.ext(tmp_path / "volume", images.LINUX), kind)
    assert addresses(reader.read([[File(disk)]])) == [images.ADDRESS]


def test_lvm_in_two_pieces_and_var_of_its_own(reader: DiskReader, tmp_path: pathlib.Path):
    need("mkfs.ext4")
    files = {name[len("var/") :]: content for name, content in images.LINUX.items() if name.startswith("var/")}
    disk = images.in_lvm(tmp_path / "disk", images.ext(tmp_path / "volume", files))
    seen = reader.read([[File(disk)]])
    assert (addresses(seen), seen.notes) == ([images.ADDRESS], ())


def test_qcow2_chains(reader: DiskReader, tmp_path: pathlib.Path):
    need("mkfs.ext4", "qemu-img")
    raw = images.ext(tmp_path / "raw", images.LINUX)
    base, middle, top = (tmp_path / name for name in ("base", "middle", "top"))
    images.run("qemu-img", "convert", "-c", "-O", "qcow2", raw, base)
    images.run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, middle)
    images.run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", middle, top, "1G")
    chain = [File(path, "qcow2") for path in (top, middle, base)]
    assert addresses(reader.read([chain])) == [images.ADDRESS]
    images.run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", raw, top)
    assert addresses(reader.read([[File(top, "qcow2"), File(raw)]])) == [images.ADDRESS]
    with pytest.raises(Unreadable, match="lies over another one"):
        reader.read([[File(top, "qcow2")]])


def test_formats_are_never_guessed(reader: DiskReader, tmp_path: pathlib.Path):
    """A guest writes a qcow2 header with another machine's file as its base into its raw disk."""
    need("mkfs.ext4", "qemu-img")
    secret = images.ext(tmp_path / "secret", images.LINUX)
    evil = tmp_path / "evil"
    images.run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, evil)
    assert reader.read([[File(evil)]]).leases == ()
    over = tmp_path / "over"
    images.run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", evil, over)
    assert reader.read([[File(over, "qcow2"), File(evil)]]).leases == ()


@pytest.mark.parametrize("options", [("extended_l2=on",), ("encrypt.format=luks,encrypt.key-secret=s",)])
def test_qcow2_files_that_are_refused(reader: DiskReader, tmp_path: pathlib.Path, options: tuple[str, ...]):
    need("qemu-img")
    disk = tmp_path / "disk"
    images.run("qemu-img", "create", "-q", "--object", "secret,id=s,data=x", "-f", "qcow2", "-o", *options, disk, "64M")
    with pytest.raises(Unreadable, match="extended_l2|encrypted"):
        reader.read([[File(disk, "qcow2")]])


def test_an_encrypted_volume_is_said_to_be_one(reader: DiskReader, tmp_path: pathlib.Path):
    for head in (b"LUKS\xba\xbe\0\2", b"\xeb\x58\x90-FVE-FS-"):
        disk = images.empty(tmp_path / "disk", 4)
        with disk.open("r+b") as stream:
            stream.write(head)
        assert reader.read([[File(disk)]]).notes == ("encrypted",)


def hive_disk(path: pathlib.Path, hive: bytes, *logs: bytes) -> pathlib.Path:
    need("mkntfs", "ntfs-3g", "umount")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("no /dev/fuse, which ntfs-3g needs")
    files = {images.WINDOWS_HIVE: hive}
    files.update({f"{images.WINDOWS_HIVE}.LOG{number}": log for number, log in enumerate(logs, 1)})
    return images.ntfs(path, files)


@pytest.mark.parametrize("current", [1, 2])
@pytest.mark.matrix(hypervisor="any", guest="Windows", reader="none", how="parsed only", proves=["address: disk"])
def test_windows(reader: DiskReader, tmp_path: pathlib.Path, current: int):
    hive = images.Hive(images.windows(current=current, NetworkAddress="")).file()
    seen = reader.read([[File(hive_disk(tmp_path / "disk", hive))]])
    assert (addresses(seen), seen.system) == ([images.ADDRESS], "windows")
    assert seen.leases[0].expires == images.NOW + 600 and seen.started == images.NOW - 3600


def test_windows_10_tells_the_mac(reader: DiskReader, tmp_path: pathlib.Path):
    hive = images.Hive(images.windows(mac=bytes.fromhex("525400123456"))).file()
    seen = reader.read([[File(hive_disk(tmp_path / "disk", hive))]])
    assert [(lease.address, lease.mac) for lease in seen.leases] == [(images.ADDRESS, "52:54:00:12:34:56")]


def test_windows_10_may_count_from_its_start(reader: DiskReader, tmp_path: pathlib.Path):
    """As in a hive of build 16299: LeaseObtainedTime 830452, and the key written when Windows had run for that long."""
    seen = reader.read([[File(hive_disk(tmp_path / "disk", images.Hive(images.windows(obtained=830452)).file()))]])
    assert [(lease.obtained, lease.expires) for lease in seen.leases] == [(images.NOW, images.NOW + 600)]


def test_windows_with_its_newest_lease_in_the_log(reader: DiskReader, tmp_path: pathlib.Path):
    old, new = images.Hive(images.windows("10.99.0.50")), images.Hive(images.windows("10.99.0.58"))
    pages = [(at, new.bins[at : at + 4096]) for at in range(0, len(new.bins), 4096)]
    first = images.hive_log([(7, len(old.bins), [(0, old.bins[:512])])], hives.marvin32)
    second = images.hive_log([(8, len(new.bins), pages)], hives.marvin32)
    dirty = old.file(primary=8, secondary=7)
    assert addresses(reader.read([[File(hive_disk(tmp_path / "a", dirty, second, first))]])) == ["10.99.0.58"]
    torn = bytearray(second)
    torn[700] ^= 1
    assert addresses(reader.read([[File(hive_disk(tmp_path / "b", dirty, bytes(torn), first))]])) == ["10.99.0.50"]
    assert addresses(reader.read([[File(hive_disk(tmp_path / "c", old.file(), second))]])) == ["10.99.0.50"]


def test_two_disks_of_one_guest(reader: DiskReader, tmp_path: pathlib.Path):
    need("mkfs.ext4")
    data = images.ext(tmp_path / "data", {"srv/x": b"x"})
    system = images.ext(tmp_path / "system", images.LINUX)
    assert addresses(reader.read([[File(data)], [File(system)]])) == [images.ADDRESS]
