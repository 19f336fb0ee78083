# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes disks of guests that were never run, for tests and measurements; without a mount where the tools can."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import struct
import subprocess
import typing as t

NOW = 1795712400
ADDRESS = "10.99.0.57"
LEASE = f"""lease {{
  interface "eth0";
  fixed-address {ADDRESS};
  option subnet-mask 255.255.255.0;
  option dhcp-lease-time 600;
  option dhcp-server-identifier 10.99.0.2;
  renew 4 2026/11/26 17:05:00;
  rebind 4 2026/11/26 17:08:45;
  expire 4 2026/11/26 17:10:00;
}}
"""
LINUX = {"var/lib/dhcp/dhclient.eth0.leases": LEASE.encode(), "var/log/wtmp": b"", "etc/os-release": b"ID=debian\n"}


def run(*words: object, stdin: str | None = None) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, input=stdin)
    assert done.returncode == 0, f"{words}: {done.stderr}{done.stdout}"
    return done.stdout


def folder(where: pathlib.Path, files: t.Mapping[str, bytes]) -> pathlib.Path:
    """Writes the files below a folder; a value that begins with '->' makes a link."""
    shutil.rmtree(where, ignore_errors=True)
    for name, content in files.items():
        path = where / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith(b"->"):
            path.symlink_to(content[2:].decode())
        else:
            path.write_bytes(content)
    return where


def empty(path: pathlib.Path, mib: int) -> pathlib.Path:
    with path.open("wb") as stream:
        stream.truncate(mib << 20)
    return path


def ext(path: pathlib.Path, files: t.Mapping[str, bytes], *options: str, kind: str = "ext4", mib: int = 64) -> pathlib.Path:
    tree = folder(path.with_suffix(".tree"), files)
    run(f"mkfs.{kind}", "-q", "-F", *options, "-d", tree, empty(path, mib))
    return path


def xfs(path: pathlib.Path, files: t.Mapping[str, bytes], *options: str) -> pathlib.Path:
    tree = folder(path.with_suffix(".tree"), files)

    def lines(at: pathlib.Path) -> t.Iterator[str]:
        for child in sorted(at.iterdir()):
            if child.is_symlink():
                yield f"{child.name} l--777 0 0 {os.readlink(child)}"
            elif child.is_dir():
                yield f"{child.name} d--755 0 0"
                yield from lines(child)
                yield "$"
            else:
                yield f"{child.name} ---644 0 0 {child}"

    proto = path.with_suffix(".proto")
    proto.write_text("\n".join(["/", "0 0", "d--755 0 0", *lines(tree), "$", ""]), encoding="utf-8")
    run("mkfs.xfs", "-q", "-f", *options, "-p", proto, empty(path, 320))
    return path


def btrfs(path: pathlib.Path, files: t.Mapping[str, bytes]) -> pathlib.Path:
    run("mkfs.btrfs", "-q", "-f", "--rootdir", folder(path.with_suffix(".tree"), files), empty(path, 128))
    return path


def fat(path: pathlib.Path, files: t.Mapping[str, bytes], bits: int) -> pathlib.Path:
    """bits: 12, 16 or 32."""
    run("mkfs.vfat", "-F", bits, empty(path, {12: 4, 16: 32, 32: 64}[bits]))
    tree = folder(path.with_suffix(".tree"), files)
    run("mcopy", "-s", "-i", path, *sorted(tree.iterdir()), "::")
    return path


def ntfs(path: pathlib.Path, files: t.Mapping[str, bytes]) -> pathlib.Path:
    """Through ntfs-3g, which needs /dev/fuse."""
    run("mkntfs", "-q", "-F", "-f", "-p", "2048", "-H", "255", "-S", "63", "-s", "512", empty(path, 64))
    with mounted(path) as where:
        for name, content in files.items():
            (where / name).parent.mkdir(parents=True, exist_ok=True)
            (where / name).write_bytes(content)
    return path


@contextlib.contextmanager
def mounted(path: pathlib.Path) -> t.Iterator[pathlib.Path]:
    where = path.with_suffix(".mnt")
    where.mkdir()
    run("ntfs-3g", path, where)
    try:
        yield where
    finally:
        run("umount", where)
        where.rmdir()


def in_partition(path: pathlib.Path, volume: pathlib.Path, kind: str) -> pathlib.Path:
    """A disk whose second partition is the volume. kind: mbr or gpt; the first partition is an empty one."""
    size = volume.stat().st_size
    disk = empty(path, (size >> 20) + 8)
    label, first, second = ("gpt", "U", "L") if kind == "gpt" else ("dos", "82", "83")
    layout = f"label: {label}\nstart=2048, size=2048, type={first}\nstart=4096, size={size // 512}, type={second}\n"
    run("sfdisk", "-q", disk, stdin=layout)
    with disk.open("r+b") as stream:
        stream.seek(4096 * 512)
        stream.write(volume.read_bytes())
    return disk


LVM_UUID = "abcdef-0123-4567-89ab-cdef-0123-456789"


def in_lvm(path: pathlib.Path, volume: pathlib.Path) -> pathlib.Path:
    """A physical volume with one group, whose volume 'root' lies in two pieces; as lvm2 lays it out, made without root."""
    extent = 4 << 20
    count = -(-volume.stat().st_size // extent)
    half = count // 2
    disk = empty(path, (1 << 20 >> 20) + (count + 2) * 4 + 4)
    metadata = (
        f"""vg0 {{
id = "VVVVVV-0123-4567-89ab-cdef-0123-456789"
seqno = 2
format = "lvm2"
status = ["RESIZEABLE", "READ", "WRITE"]
flags = []
extent_size = 8192
max_lv = 0
max_pv = 0
metadata_copies = 0

physical_volumes {{

pv0 {{
id = "{LVM_UUID}"
device = "/dev/vda"

status = ["ALLOCATABLE"]
flags = []
dev_size = {disk.stat().st_size // 512}
pe_start = 2048
pe_count = {count + 2}
}}
}}

logical_volumes {{

root {{
id = "LLLLLL-0123-4567-89ab-cdef-0123-456789"
status = ["READ", "WRITE", "VISIBLE"]
flags = []
creation_time = 1795712400	# 2026-11-26
creation_host = "web1"
segment_count = 2

segment1 {{
start_extent = 0
extent_count = {half}

type = "striped"
stripe_count = 1

stripes = [
"pv0", 0
]
}}
segment2 {{
start_extent = {half}
extent_count = {count - half}

type = "striped"
stripe_count = 1

stripes = [
"pv0", {half + 1}
]
}}
}}
}}

}}
# Generated by LVM2

contents = "Text Format Volume Group"
version = 1

description = ""

creation_host = "web1"
creation_time = 1795712400

""".encode()
        + b"\0"
    )
    label = struct.pack("<8sQII8s", b"LABELONE", 1, 0, 32, b"LVM2 001")
    header = LVM_UUID.replace("-", "").encode() + struct.pack("<Q", disk.stat().st_size)
    header += struct.pack("<4Q", 1 << 20, 0, 0, 0) + struct.pack("<4Q", 4096, (1 << 20) - 4096, 0, 0)
    area = struct.pack("<I16sIQQ", 0, b" LVM2 x[5A%r0N*>", 1, 4096, (1 << 20) - 4096)
    area += struct.pack("<2Q2I", 512, len(metadata), 0, 0) + b"\0" * 24
    content = volume.read_bytes()
    with disk.open("r+b") as stream:
        for at, data in (
            (512, label + header),
            (4096, area),
            (4096 + 512, metadata),
            (1 << 20, content[: half * extent]),
            ((1 << 20) + (half + 1) * extent, content[half * extent :]),
        ):
            stream.seek(at)
            stream.write(data)
    return disk


def write_journal(image: pathlib.Path, path: str, content: bytes) -> None:
    """Puts a transaction with new content of the file's first block into the journal of an ext4 image, and nothing else."""
    block = int(run("debugfs", "-R", f"bmap {path} 0", image).split()[-1])
    size = 1024 << int.from_bytes(image.read_bytes()[1048:1052], "little")
    data = image.with_suffix(".block")
    data.write_bytes(content.ljust(size, b"\0"))
    run("debugfs", "-w", "-f", "-", image, stdin=f"jo\njw -b {block} {data}\njc\n")


# Registry hives -------------------------------------------------------------------------------------------------------------


def filetime(seconds: int) -> int:
    """Unix seconds as a date of Windows."""
    return (11644473600 + seconds) * 10_000_000


class Hive:
    """A hive of one bin, from nested dicts: a dict is a key, int REG_DWORD, str REG_SZ, bytes REG_BINARY."""

    def __init__(self, tree: t.Mapping[str, t.Any]) -> None:
        self._cells = bytearray(32)
        root = self._key("ROOT", tree, 0x2C)
        size = -(-(len(self._cells) + 16) // 4096) * 4096
        free = size - len(self._cells)
        self._cells += struct.pack("<i", free).ljust(free, b"\0")
        self._cells[:32] = struct.pack("<4sII8sQI", b"hbin", 0, size, b"", 0, 0)
        self.bins = bytes(self._cells)
        self._root = root

    def file(self, primary: int = 7, secondary: int = 7) -> bytes:
        """The whole file; a hive is dirty when the two numbers differ."""
        head = struct.pack("<4sIIQIIIIIII", b"regf", primary, secondary, 0, 1, 5, 0, 1, self._root, len(self.bins), 1)
        head = head.ljust(48, b"\0") + "SYSTEM".encode("utf-16-le").ljust(64, b"\0")
        head = head.ljust(508, b"\0")
        check = 0
        for (word,) in struct.iter_unpack("<I", head):
            check ^= word
        return (head + struct.pack("<I", check)).ljust(4096, b"\0") + self.bins

    def _cell(self, data: bytes) -> int:
        offset = len(self._cells)
        size = -(-(len(data) + 4) // 8) * 8
        self._cells += struct.pack("<i", -size) + data.ljust(size - 4, b"\0")
        return offset

    def _key(self, name: str, tree: t.Mapping[str, t.Any], flags: int = 0x20) -> int:
        keys = sorted(((n, v) for n, v in tree.items() if isinstance(v, dict)), key=lambda item: item[0].upper())
        offsets = [self._key(n, v) for n, v in keys]
        values = [self._value(n, v) for n, v in tree.items() if not isinstance(v, dict)]
        subkeys = self._cell(b"li" + struct.pack(f"<H{len(offsets)}I", len(offsets), *offsets)) if offsets else 0xFFFFFFFF
        value_list = self._cell(struct.pack(f"<{len(values)}I", *values)) if values else 0xFFFFFFFF
        written = filetime(NOW)
        head = struct.pack(
            "<2sHQIIIIIIII", b"nk", flags, written, 0, 0, len(offsets), 0, subkeys, 0xFFFFFFFF, len(values), value_list
        )
        head += struct.pack("<IIIIIII", 0xFFFFFFFF, 0xFFFFFFFF, 0, 0, 0, 0, 0)[:28]
        return self._cell(head + struct.pack("<HH", len(name), 0) + name.encode("latin-1"))

    def _value(self, name: str, value: t.Any) -> int:
        kind, data = 3, value
        if isinstance(value, int):
            kind, data = 4, struct.pack("<I", value)
        elif isinstance(value, str):
            kind, data = 1, value.encode("utf-16-le") + b"\0\0"
        if len(data) <= 4:
            length, place = len(data) | 0x80000000, int.from_bytes(data.ljust(4, b"\0"), "little")
        else:
            length, place = len(data), self._cell(data)
        return self._cell(struct.pack("<2sHIIIHH", b"vk", len(name), length, place, kind, 1, 0) + name.encode("latin-1"))


def hive_log(entries: t.Sequence[tuple[int, int, t.Sequence[tuple[int, bytes]]]], checksum: t.Callable[[bytes], int]) -> bytes:
    """A log of Windows 8.1 and later. entries: (sequence, size of the bins after it, pages by their offset)."""
    log = b"regf".ljust(512, b"\0")
    for sequence, bins, pages in entries:
        body = b"".join(struct.pack("<2I", offset, len(page)) for offset, page in pages) + b"".join(
            page for _offset, page in pages
        )
        size = -(-(40 + len(body)) // 512) * 512
        body = body.ljust(size - 40, b"\0")
        head = struct.pack("<4s5IQ", b"HvLE", size, 0, sequence, bins, len(pages), checksum(body))
        log += head + struct.pack("<Q", checksum(head)) + body
    return log


def windows(
    address: str = ADDRESS, current: int = 1, obtained: int = NOW, mac: bytes = b"", **interface: t.Any
) -> dict[str, t.Any]:
    """The part of a SYSTEM hive that has addresses: an interface with a DHCP lease, a static and an unplugged one.

    mac: the interface's MAC, which Windows 10 and later keep; empty for older versions.
    """
    guid = "{1c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10}"
    dhcp = {
        "EnableDHCP": 1,
        "DhcpIPAddress": address,
        "DhcpSubnetMask": "255.255.255.0",
        "DhcpServer": "10.99.0.2",
        "Lease": 600,
        "LeaseObtainedTime": obtained,
        "T1": obtained + 300,
        "T2": obtained + 525,
        "LeaseTerminatesTime": obtained + 600,
        **interface,
    }
    others = {
        "{2c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10}": {"EnableDHCP": 0, "IPAddress": "192.0.2.5", "DhcpIPAddress": "10.6.6.6"},
        "{3c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10}": {"EnableDHCP": 1, "DhcpIPAddress": "0.0.0.0"},
    }
    control_set = {
        "Control": {
            "Windows": {"ShutdownTime": filetime(NOW - 3600).to_bytes(8, "little")},
            "Class": {
                "{4d36e972-e325-11ce-bfc1-08002be10318}": {"0001": {"NetCfgInstanceId": guid, "DriverDesc": "Red Hat VirtIO"}}
            },
        },
        "Services": {"Tcpip": {"Parameters": {"Interfaces": {guid: dhcp, **others}}}},
    }
    if mac:
        kernel = {"CurrentAddress": mac, "PermanentAddress": bytes(6)}
        # The hardware address of a tunnel is longer than a MAC.
        tunnel = {"CurrentAddress": b"\0\0\0\0\0\0\0\xe0" + bytes(8)}
        control_set["Control"]["NetworkSetup2"] = {
            "Interfaces": {guid.upper(): {"Kernel": kernel}, "{4C1F6C56-8C7E-4B4B-9A59-0F6F7A3C2D10}": {"Kernel": tunnel}}
        }
    old = {"Services": {"Tcpip": {"Parameters": {"Interfaces": {guid: {"DhcpIPAddress": "10.9.9.9", "EnableDHCP": 1}}}}}}
    sets = {f"ControlSet{current:03}": control_set, f"ControlSet{current % 2 + 1:03}": old}
    return {"Select": {"Current": current, "Default": current, "Failed": 0, "LastKnownGood": current}, **sets}


WINDOWS_HIVE = "Windows/System32/config/SYSTEM"
