# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What a disk image is, by its own bytes: its format, its place in the file, and the size of its disk.

Images may be hostile: a file that one refers to would be read, here or by the hypervisor, and shown to the guest.
"""

from __future__ import annotations

import dataclasses
import os
import struct
import tarfile
import typing as t

RAW, QCOW2, VHD, VMDK, OVA = "raw", "qcow2", "vhd", "vmdk", "ova"
# A VMDK that is read from beginning to end, as in an OVA; VMware takes no other.
STREAM_VMDK = "streamOptimized vmdk"
# A raw disk with a footer after it.
FIXED_VHD = "fixed vhd"
SECTOR = 512
MAX_SIZE = 62 << 40  # VMware's limit, the largest
_EXTERNAL_DATA = 4  # a feature of qcow2 images: the data are in another file
_VHD_MAGIC, _VMDK_MAGIC = b"conectix", b"KDMV"
_VHD_FIXED, _VHD_DYNAMIC, _VHD_DIFFERENCING = 2, 3, 4
# The offset and length of the descriptor as qemu reads it, whatever the header says.
_VMDK_DESCRIPTOR = (512, 20 * SECTOR)
_VMDK_COMPRESSED = 3 << 16
_MAX_MEMBERS = 64
# tarfile reads a header of the extended formats in one piece, however long the archive says that it is.
_MAX_READ = 1 << 20


class ImageError(Exception):
    """The image cannot be used; the message says why."""


@dataclasses.dataclass(frozen=True)
class DiskImage:
    """form: RAW, QCOW2, VHD, FIXED_VHD, VMDK or STREAM_VMDK. size: bytes of its disk. offset, length: of its data in the file."""

    path: str
    form: str
    size: int
    offset: int
    length: int

    def data(self) -> ImageData:
        """The data; the caller closes them."""
        return ImageData(self.path, self.offset, self.length)


class ImageData:
    """A part of a file, to be read from beginning to end. length: in bytes."""

    def __init__(self, path: str, offset: int, length: int) -> None:
        self.length = length
        self._offset = offset
        self._file = open(path, "rb")  # noqa: SIM115  # __exit__() closes it
        self.rewind()

    def __enter__(self) -> ImageData:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def rewind(self) -> None:
        """Back to the beginning."""
        self._file.seek(self._offset)
        self._left = self.length

    def read(self, size: int) -> bytes:
        """The next bytes, at most size; none at the end."""
        part = self._file.read(min(size, self._left))
        self._left -= len(part)
        return part


def look_at(path: str, form: str | None = None) -> DiskImage:
    """Checks the image in a file. form: RAW, QCOW2, VHD, VMDK or OVA; None tells it by the bytes. Raises ImageError, OSError."""
    with open(path, "rb") as file:
        length = file.seek(0, os.SEEK_END)
        found = _look(file, path, form or _form_of(file, length), length)
    if not 0 < found.size <= MAX_SIZE:
        raise ImageError(f"says that its disk has {found.size} bytes, which cannot be")
    return found


def _form_of(file: t.BinaryIO, length: int) -> str:
    head = _at(file, 0, SECTOR)
    for magic, form in ((b"QFI\xfb", QCOW2), (_VMDK_MAGIC, VMDK), (_VHD_MAGIC, VHD)):
        if head.startswith(magic):
            return form
    if head.startswith(b"vhdxfile"):
        raise ImageError("is a VHDX image: convert it first (qemu-img convert -O qcow2)")
    if head.startswith(b"# Disk Descriptor"):
        raise ImageError(
            "is the description of a VMDK whose data are in other files: convert it first (qemu-img convert -O qcow2)"
        )
    if head[257:262] == b"ustar":
        return OVA
    return VHD if _at(file, max(0, length - SECTOR), 8) == _VHD_MAGIC else RAW


def _look(file: t.BinaryIO, path: str, form: str, length: int) -> DiskImage:
    if form == OVA:
        offset, length = _member(file, length)
        return _vmdk(file, path, offset, length)
    if form == VMDK:
        return _vmdk(file, path, 0, length)
    if form == VHD:
        return _vhd(file, path, length)
    return DiskImage(path, form, _qcow2_size(file) if form == QCOW2 else length, 0, length)


def _at(file: t.BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _qcow2_size(file: t.BinaryIO) -> int:
    head = _at(file, 0, 80).ljust(80, b"\0")
    magic, version, backing, _length, _bits, size, encryption = struct.unpack_from(">4sIQIIQI", head)
    features = struct.unpack_from(">Q", head, 72)[0] if version > 2 else 0
    if magic != b"QFI\xfb" or version not in (2, 3) or not size:
        raise ImageError("is no qcow2 image")
    if backing or features & _EXTERNAL_DATA:
        raise ImageError("refers to another file: make one of both (qemu-img convert -O qcow2)")
    if encryption:
        raise ImageError("is encrypted")
    return int(size)


def _vhd(file: t.BinaryIO, path: str, length: int) -> DiskImage:
    footer = _at(file, max(0, length - SECTOR), SECTOR)
    if len(footer) < SECTOR or not footer.startswith(_VHD_MAGIC) or not _sum_fits(footer, 64):
        raise ImageError("is no VHD image, or the end of it is missing")
    kind, (size,) = struct.unpack_from(">I", footer, 60)[0], struct.unpack_from(">Q", footer, 48)
    if kind == _VHD_DIFFERENCING:
        raise ImageError("refers to another file: make one of both (qemu-img convert -O qcow2)")
    if kind == _VHD_FIXED:
        if size != length - SECTOR:
            raise ImageError(f"says that its disk has {size} bytes, and has {length - SECTOR}")
        return DiskImage(path, FIXED_VHD, size, 0, size)
    if kind != _VHD_DYNAMIC:
        raise ImageError(f"is a VHD image of the unknown kind {kind}")
    (header_at,) = struct.unpack_from(">Q", footer, 16)
    header = _at(file, min(header_at, length), 1024)
    if _at(file, 0, SECTOR) != footer or len(header) < 1024 or not header.startswith(b"cxsparse") or not _sum_fits(header, 36):
        raise ImageError("is a VHD image whose header is damaged")
    blocks, block_size = struct.unpack_from(">II", header, 28)
    if block_size < SECTOR or block_size & (block_size - 1) or blocks * block_size < size or size % SECTOR:
        raise ImageError("is a VHD image with a table that cannot be")
    return DiskImage(path, VHD, size, 0, length)


def _sum_fits(part: bytes, at: int) -> bool:
    """Whether the checksum at this offset is right."""
    (said,) = struct.unpack_from(">I", part, at)
    return said == ~(sum(part) - sum(part[at : at + 4])) & 0xFFFFFFFF


def _vmdk(file: t.BinaryIO, path: str, offset: int, length: int) -> DiskImage:
    head = _at(file, offset, SECTOR) if length >= SECTOR else b""
    if not head.startswith(_VMDK_MAGIC):
        raise ImageError("has no VMDK image with its data in it: convert it first (qemu-img convert -O qcow2)")
    version, flags, capacity, _grain, at, sectors = struct.unpack_from("<IIQQQQ", head, 4)
    # qemu would take one without a capacity for a list of other files.
    if version not in (1, 2, 3) or not capacity:
        raise ImageError("has a VMDK image with a header that cannot be")
    for start, size in (_VMDK_DESCRIPTOR, (at * SECTOR, min(sectors * SECTOR, _MAX_READ))):
        if start < length and b"parentfilenamehint" in _at(file, offset + start, min(size, length - start)).lower():
            raise ImageError("refers to another file: make one of both (qemu-img convert -O qcow2)")
    form = STREAM_VMDK if flags & _VMDK_COMPRESSED == _VMDK_COMPRESSED else VMDK
    return DiskImage(path, form, capacity * SECTOR, offset, length)


class _ShortReads:
    """A file for tarfile that refuses to read much at once."""

    def __init__(self, file: t.BinaryIO) -> None:
        self.seek, self.tell, self._file = file.seek, file.tell, file

    def read(self, size: int) -> bytes:
        """The next bytes. Raises ImageError if too many are asked for."""
        if not 0 <= size <= _MAX_READ:
            raise ImageError("is an archive with a header that cannot be")
        return self._file.read(size)


def _member(file: t.BinaryIO, length: int) -> tuple[int, int]:
    """Offset and length of the one disk in an OVA."""
    disks = []
    file.seek(0)
    try:
        with tarfile.open(fileobj=t.cast("t.Any", _ShortReads(file)), mode="r:") as archive:
            for number, member in enumerate(archive):
                if number >= _MAX_MEMBERS or not member.isreg() or member.issparse() or "/" in member.name:
                    raise ImageError(f"is an archive with {member.name[:80]!r}, which no OVA has: only files, without folders")
                if member.offset_data + member.size > length:
                    raise ImageError("is an archive that ends early")
                if member.name.lower().endswith(".vmdk"):
                    disks.append((member.offset_data, member.size))
    except (tarfile.TarError, EOFError, ValueError, OverflowError):
        raise ImageError("is an archive that is damaged") from None
    if len(disks) != 1:
        raise ImageError(f"is an OVA with {len(disks)} disks (.vmdk), and a template is made of one")
    return disks[0]
