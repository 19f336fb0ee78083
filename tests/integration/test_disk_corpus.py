# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Disks that a hostile guest, or chance, could make: whatever is on them costs one answer, a bounded time and bounded memory.

No rig is needed. At least 2,000 damaged and 30 crafted disks, all through the process that reads a real guest's.
"""

from __future__ import annotations

import dataclasses
import pathlib
import random
import struct
import subprocess
import time
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk import hives
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk.reader import (
    DiskReader,
    Limits,
    Unreadable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.lease import usable
from ansible_collections.vmops.external_dhcp.tests.rigs import disk_images as images

LIMITS = Limits(memory=384 << 20, cpu=3, wall=6, transfer=64 << 20)
RUNS = 250  # for each of the disks


class Patched:
    """A disk in memory with some of its bytes changed, which remembers where it was read."""

    def __init__(self, data: bytes, form: str = "raw", patches: t.Mapping[int, bytes] | None = None, size: int | None = None):
        self.data = data
        self.format = form
        self.size = size or len(data)
        self.patches = patches or {}
        self.read_at: set[int] = set()

    def read(self, offset: int, length: int) -> bytes:
        self.read_at.add(offset)
        part = bytearray(self.data[offset : offset + length].ljust(length, b"\0"))
        for at, new in self.patches.items():
            begin, end = max(at, offset), min(at + len(new), offset + length)
            if begin < end:
                part[begin - offset : end - offset] = new[begin - at : end - at]
        return bytes(part)


@dataclasses.dataclass
class Sample:
    """A good disk, where its first structures lie, and how much of them is tried word by word."""

    data: bytes
    heads: t.Sequence[tuple[int, int]]
    format: str = "raw"


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sample]:
    where = tmp_path_factory.mktemp("disks")
    ext = images.ext(where / "ext4", images.LINUX, mib=32)
    images.write_journal(ext, "/var/lib/dhcp/dhclient.eth0.leases", images.LEASE.encode())
    journal = int(images.run("debugfs", "-R", "bmap <8> 0", ext).split()[-1])
    block = 1024 << int.from_bytes(ext.read_bytes()[1048:1052], "little")
    hive, log = images.Hive(images.windows()), images.Hive(images.windows("10.99.0.58"))
    logs = images.hive_log([(7, len(log.bins), [(0, log.bins[:4096])])], hives.marvin32)
    files = {images.WINDOWS_HIVE: hive.file(8, 7), images.WINDOWS_HIVE + ".LOG1": logs}
    ntfs = images.ntfs(where / "ntfs", files)
    qcow2 = where / "qcow2"
    images.run("qemu-img", "convert", "-c", "-O", "qcow2", ext, qcow2)
    regf = ntfs.read_bytes().index(hive.file(8, 7)[:512])
    found = {
        "ext4": Sample(ext.read_bytes(), [(1024, 400), (journal * block, 100), ((journal + 1) * block, 64)]),
        "xfs": Sample(images.xfs(where / "xfs", images.LINUX).read_bytes(), [(0, 260)]),
        "btrfs": Sample(images.btrfs(where / "btrfs", images.LINUX).read_bytes(), [(65536 + 32, 260)]),
        "ntfs": Sample(ntfs.read_bytes(), [(0, 84), (regf, 64), (regf + 4096, 160)]),
        "gpt": Sample(images.in_partition(where / "gpt", ext, "gpt").read_bytes(), [(446, 66), (512, 96), (1024, 256)]),
        "mbr": Sample(images.in_partition(where / "mbr", ext, "mbr").read_bytes(), [(446, 66)]),
        "lvm": Sample(images.in_lvm(where / "lvm", ext).read_bytes(), [(512, 128), (4096, 72)]),
        "qcow2": Sample(qcow2.read_bytes(), [(0, 112), (112, 144)], "qcow2"),
    }
    for path in where.iterdir():
        if path.is_file():
            path.unlink()
    return found


@pytest.fixture(scope="module")
def reader() -> t.Iterator[DiskReader]:
    found = DiskReader(LIMITS)
    yield found
    found.close()


def outcome(reader: DiskReader, file: Patched) -> str:
    """What became of it; fails for what must never be."""
    started = time.monotonic()
    try:
        seen = reader.read([[file]])
    except Unreadable as error:
        return "late" if error.late or "limit" in str(error) else "unreadable"
    finally:
        assert time.monotonic() - started < LIMITS.wall + 10
    assert seen.fetched <= LIMITS.transfer and 0 < seen.peak < LIMITS.memory
    assert all(usable(lease.address) == lease.address for lease in seen.leases)
    return "leases" if seen.leases else "none"


@pytest.mark.parametrize("name", ["ext4", "xfs", "btrfs", "ntfs", "gpt", "mbr", "lvm", "qcow2"])
def test_damaged(samples: dict[str, Sample], reader: DiskReader, name: str):
    sample = samples[name]
    good = Patched(sample.data, sample.format)
    assert outcome(reader, good) == "leases"
    places = sorted(good.read_at)
    chance = random.Random(name)
    counts: dict[str, int] = {}
    for _run in range(RUNS):
        patches = {}
        for _change in range(chance.randrange(1, 65)):
            # Where the reader looks, and mostly where there is something.
            at = chance.choice(places) + chance.randrange(65536)
            patches[min(at, len(sample.data) - 1)] = bytes([chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))])
        what = outcome(reader, Patched(sample.data, sample.format, patches))
        counts[what] = counts.get(what, 0) + 1
    print(name, counts)
    assert sum(counts.values()) == RUNS


@pytest.mark.parametrize("name", ["ext4", "xfs", "btrfs", "ntfs", "gpt", "mbr", "lvm", "qcow2"])
def test_every_word_of_the_first_structures_at_its_ends(samples: dict[str, Sample], reader: DiskReader, name: str):
    """Crafted disks: each number in turn is nothing, and as large as can be."""
    sample = samples[name]
    counts: dict[str, int] = {}
    for head, length in sample.heads:
        for at in range(head, head + length, 4):
            for value in (b"\0\0\0\0", b"\xff\xff\xff\xff"):
                what = outcome(reader, Patched(sample.data, sample.format, {at: value}))
                counts[what] = counts.get(what, 0) + 1
    print(name, counts)
    assert sum(counts.values()) >= 30


def inode_at(path: pathlib.Path, name: str) -> int:
    """The place of a file's inode in an ext4 image."""
    words = images.run("debugfs", "-R", f"imap {name}", path).split()
    block, offset = int(words[words.index("located") + 3].rstrip(",")), int(words[words.index("offset") + 1], 16)
    return block * (1024 << int.from_bytes(path.read_bytes()[1048:1052], "little")) + offset


def test_crafted_ext4_files(reader: DiskReader, tmp_path: pathlib.Path):
    disk = images.ext(tmp_path / "disk", images.LINUX, "-b", "4096", "-O", "^metadata_csum")
    data = disk.read_bytes()
    inode, folder = inode_at(disk, "/var/lib/dhcp/dhclient.eth0.leases"), inode_at(disk, "/var/lib/dhcp")
    free = len(data) - 64 * 4096

    def tree(depth: int, child: int, entries: int, limit: int) -> bytes:
        index = b"".join(struct.pack("<IIHH", n * 1000, child, 0, 0) for n in range(entries))
        return struct.pack("<HHHHI", 0xF30A, entries, limit, depth, 0) + index

    crafted = {
        "an extent tree of 340^4 leaves": {
            inode + 4: struct.pack("<I", 1 << 30),
            inode + 40: tree(4, free // 4096, 4, 4),
            **{free + n * 4096: tree(3 - n, free // 4096 + n + 1, 340, 340) for n in range(4)},
        },
        "an extent tree that contains itself": {
            inode + 40: tree(1, free // 4096, 4, 4),
            free: tree(1, free // 4096, 340, 340),
        },
        "a file of 16 TiB": {inode + 4: b"\0\0\0\0", inode + 108: struct.pack("<I", 4096)},
        "a folder of 16 TiB": {folder + 4: b"\0\0\0\0", folder + 108: struct.pack("<I", 4096)},
        "a file of 4 EiB": {inode + 108: struct.pack("<I", 1 << 30)},
        "a file that is a device": {inode: struct.pack("<H", 0o060644)},
        "a folder that is a file": {folder: struct.pack("<H", 0o100644)},
    }
    for what, patches in crafted.items():
        print(what, outcome(reader, Patched(data, patches=patches)))


def test_crafted_tables(samples: dict[str, Sample], reader: DiskReader):
    ext, lvm = samples["ext4"].data, samples["lvm"].data
    extended = struct.pack("<B3sB3sII", 0, b"", 5, b"", 100, 1000)
    loop = {
        446: extended,
        510: b"\x55\xaa",
        100 * 512 + 446: extended.replace(struct.pack("<I", 100), b"\0\0\0\0"),
        100 * 512 + 510: b"\x55\xaa",
    }
    loop[100 * 512 + 446 + 16] = struct.pack("<B3sB3sII", 0, b"", 5, b"", 0, 1000)
    text = lvm.index(b"vg0 {")
    crafted = {
        "extended partitions in a circle": Patched(b"\0" * len(ext), patches=loop),
        "LVM metadata of braces": Patched(lvm, patches={text: b"a {\n" * 2000}),
        "LVM metadata of digits": Patched(lvm, patches={text: b"a = " + b"9" * 3000}),
        "LVM metadata of a nested list": Patched(lvm, patches={text: b"a = " + b"[" * 3000}),
        "an LVM volume of many extents": Patched(lvm, patches={lvm.index(b"extent_count"): b"extent_count = 99999999999"[:16]}),
        "an LVM volume in itself": Patched(lvm, patches={lvm.index(b'"pv0", 0'): b'"root",0'}),
        "a disk of 8 EiB": Patched(ext, size=1 << 63 - 1),
        "a disk of a sector": Patched(ext[:512]),
        "nothing but magic numbers": Patched((b"XFSB\x53\xef_BHRfS_MNTFS    QFI\xfbregf" * 99)[:2048].ljust(1 << 20, b"\xff")),
    }
    for what, file in crafted.items():
        print(what, outcome(reader, file))


def test_crafted_hives(reader: DiskReader, tmp_path: pathlib.Path):
    good = images.Hive(images.windows()).file()
    nodes = [at for at in range(4096, len(good) - 2) if good[at : at + 2] == b"nk"]
    lists = [at for at in range(4096, len(good) - 2) if good[at : at + 2] == b"li"]
    values = [at for at in range(4096, len(good) - 2) if good[at : at + 2] == b"vk"]

    def changed(*patches: tuple[int, bytes]) -> bytes:
        data = bytearray(good)
        for at, new in patches:
            data[at : at + len(new)] = new
        return bytes(data)

    root = struct.pack("<I", nodes[-1] - 4096 - 4)
    crafted = {
        "lists of themselves": changed(*((at, b"ri" + struct.pack("<HI", 1, at - 4096 - 4)) for at in lists)),
        "every key contains the root": changed(*((at + 4, root) for at in lists)),
        "keys of 4 billion values": changed(*((at + 36, b"\xff\xff\xff\x7f") for at in nodes)),
        "values of 2 GiB": changed(*((at + 4, b"\xff\xff\xff\x7f") for at in values)),
        "names of 64 KiB": changed(*((at + 2, b"\xff\xff") for at in values)),
        "a root far away": changed((36, b"\xff\xff\xff\x7f")),
        "cells of 2 GiB": changed(*((at - 4, b"\x01\0\0\x80") for at in nodes)),
    }
    for what, hive in crafted.items():
        disk = images.ntfs(tmp_path / "disk", {images.WINDOWS_HIVE: hive})
        print(what, outcome(reader, Patched(disk.read_bytes())))
        disk.unlink()


def test_a_compressed_cluster_that_grows(reader: DiskReader, tmp_path: pathlib.Path):
    """2 MiB clusters of zeros, a few bytes each: what is read of them is bounded all the same."""
    raw, disk = images.empty(tmp_path / "raw", 512), tmp_path / "disk"
    with raw.open("r+b") as stream:
        stream.write(b"\x01" * (64 << 20))
    subprocess.run(["qemu-img", "convert", "-c", "-O", "qcow2", "-o", "cluster_size=2M", raw, disk], check=True)
    assert outcome(reader, Patched(disk.read_bytes(), "qcow2")) in ("none", "unreadable")


def test_a_million_names_and_a_lease_file_of_a_gigabyte(reader: DiskReader, tmp_path: pathlib.Path):
    files = {f"var/lib/dhcp/dhclient.eth{number}.leases": images.LEASE.encode() for number in range(3000)}
    disk = images.ext(tmp_path / "many", files, mib=256)
    started = time.monotonic()
    outcome(reader, Patched(disk.read_bytes()))
    assert time.monotonic() - started < LIMITS.wall
    tree = images.folder(tmp_path / "tree", images.LINUX)
    with (tree / "var/lib/dhcp/dhclient.eth0.leases").open("r+b") as stream:
        stream.truncate(1 << 30)
    images.run("mkfs.ext4", "-q", "-F", "-d", tree, images.empty(tmp_path / "large", 1200))
    outcome(reader, Patched((tmp_path / "large").read_bytes()))


def test_after_all_that_the_reader_still_reads(samples: dict[str, Sample], reader: DiskReader):
    assert outcome(reader, Patched(samples["ext4"].data)) == "leases"
