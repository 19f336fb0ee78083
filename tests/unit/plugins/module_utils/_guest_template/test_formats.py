# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an image file says of itself, and what is refused: all that would lead to another file, or to endless reading."""

from __future__ import annotations

import io
import pathlib
import struct
import tarfile
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template import formats, image

SIZE = 13 << 20


def summed(part: bytearray, at: int) -> bytes:
    struct.pack_into(">I", part, at, ~sum(part) & 0xFFFFFFFF)
    return bytes(part)


def footer(kind: int = 3, size: int = SIZE, header_at: int = 512) -> bytes:
    part = bytearray(512)
    struct.pack_into(">8sIIQ", part, 0, b"conectix", 2, 0x10000, header_at)
    struct.pack_into(">QQIII", part, 40, size, size, 0, kind, 0)
    return summed(part, 64)


def vhd(kind: int = 3, block: int = 2 << 20, blocks: int = 7, **more: int) -> bytes:
    header = bytearray(1024)
    struct.pack_into(">8sQQIII", header, 0, b"cxsparse", 2**64 - 1, 1536, 0x10000, blocks, block)
    end = footer(kind, **more)
    return end + summed(header, 36) + b"\xff" * 512 + end


def vmdk(
    flags: int = 0x30003, capacity: int = SIZE // 512, version: int = 3, descriptor: bytes = b"# Disk DescriptorFile\n"
) -> bytes:
    head = struct.pack("<4sIIQQQQ", b"KDMV", version, flags, capacity, 128, 1, 20).ljust(512, b"\0")
    return head + descriptor.ljust(20 * 512, b"\0") + b"grains" * 100


def ova(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size, entry.type, entry.linkname = len(content), kind, "/etc/passwd"
            archive.addfile(entry, io.BytesIO(content))
    return held.getvalue()


@pytest.fixture
def look(tmp_path: pathlib.Path) -> t.Callable[..., formats.DiskImage]:
    def look(content: bytes, form: str | None = None) -> formats.DiskImage:
        (tmp_path / "image").write_bytes(content)
        return formats.look_at(str(tmp_path / "image"), form)

    return look


def test_each_format_is_known_by_its_bytes(look: t.Callable[..., formats.DiskImage]) -> None:
    raw = b"x" * 4096
    found = [look(content) for content in (raw, vhd(), raw + footer(2, len(raw)), vmdk(), vmdk(flags=3))]
    assert [one.form for one in found] == ["raw", "vhd", "fixed vhd", "streamOptimized vmdk", "vmdk"]
    assert [one.size for one in found] == [4096, SIZE, 4096, SIZE, SIZE]
    assert found[2].length == 4096  # without the footer
    with pytest.raises(formats.ImageError, match=r"is a vhd image: convert it first"):
        image.need_own(look(vhd()).path, None)
    disk = vmdk()
    inside = look(ova(("a.ovf", b"<Envelope/>"), ("a.vmdk", disk), ("a.mf", b"")))
    assert (inside.form, inside.size, inside.length) == ("streamOptimized vmdk", SIZE, len(disk))
    with inside.data() as data:
        assert data.read(1 << 20) == disk and data.read(1) == b""
        data.rewind()
        assert data.read(4) == b"KDMV"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "has 0 bytes"),
        (b"vhdxfile" + b"\0" * 600, "is a VHDX image"),
        (b'# Disk DescriptorFile\nRW 1 FLAT "/etc/shadow" 0\n', "whose data are in other files"),
        (vhd(4), "refers to another file"),
        (vhd(7), "unknown kind 7"),
        (vhd()[:-1] + b"x", "the end of it is missing"),
        (vhd()[:-600], "the end of it is missing"),
        (b"x" * 512 + footer(2, 1024), "says that its disk has 1024 bytes, and has 512"),
        (vhd(header_at=1 << 60), "whose header is damaged"),
        (vhd(block=3 << 20), "a table that cannot be"),
        (vhd(blocks=1), "a table that cannot be"),
        (vhd(blocks=0xFFFFFFFF, block=1 << 31, size=1 << 62), "which cannot be"),
        (vmdk(capacity=0, descriptor=b'RW 1 FLAT "/etc/shadow" 0'), "a header that cannot be"),
        (vmdk(version=9), "a header that cannot be"),
        (vmdk(descriptor=b'parentFileNameHint="/etc/shadow"'), "refers to another file"),
        (vmdk(capacity=1 << 62), "which cannot be"),
        (ova(("../a.vmdk", vmdk())), "only files, without folders"),
        (ova(("/etc/a.vmdk", vmdk())), "only files, without folders"),
        (ova(("a.vmdk", b""), kind=tarfile.SYMTYPE), "only files, without folders"),
        (ova(("a.ovf", b"")), "with 0 disks"),
        (ova(("a.vmdk", vmdk()), ("b.vmdk", vmdk())), "with 2 disks"),
        (ova(("a.vmdk", b"x" * 2000)), "has no VMDK image"),
        (ova(*((f"{number}.txt", b"") for number in range(100))), "only files"),
        (ova(("a.vmdk", vmdk()))[:4096], "ends early"),
    ],
)
def test_what_is_damaged_or_leads_elsewhere_is_refused(
    look: t.Callable[..., formats.DiskImage], content: bytes, why: str
) -> None:
    with pytest.raises(formats.ImageError, match=why):
        look(content)


def test_an_archive_cannot_make_us_read_gigabytes(look: t.Callable[..., formats.DiskImage], tmp_path: pathlib.Path) -> None:
    """tarfile would read a header of this size in one piece."""
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 1 << 32
    with pytest.raises(formats.ImageError, match="a header that cannot be"):
        look(entry.tobuf(tarfile.USTAR_FORMAT) + b"\0" * 4096, "ova")


def test_a_format_that_is_told_is_not_guessed(look: t.Callable[..., formats.DiskImage]) -> None:
    assert look(vhd(), "raw").form == "raw"
    with pytest.raises(formats.ImageError, match="is no qcow2 image"):
        look(vhd(), "qcow2")
