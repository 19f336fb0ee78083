# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Reading ISO 9660 images with Rock Ridge, Joliet or neither, in memory.

The bytes may come from anybody: every number in them is checked before it is used, and what a malicious image could make
grow (folders, files, depth, continuation areas, bytes handed out) is bounded.

Sources: ECMA-119 (volume descriptors, directory records), the Joliet specification (supplementary descriptor, UCS-2
names), SUSP 1.12 and RRIP 1.12 (system use entries SP, CE, ST, NM, PX, TF, RE, CL, SL).
"""

from __future__ import annotations

import dataclasses
import struct
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import DriveImageError

if t.TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 2048
DESCRIPTORS_AT = 16
MAX_DESCRIPTORS = 64
MAX_ENTRIES = 20000
MAX_DEPTH = 32
MAX_PATH = 4096
MAX_CONTINUATIONS = 32  # of one record
MAX_SYSTEM_USE = 500000  # entries of all records
MAX_CONTENT = 64 * 1024 * 1024

_DESCRIPTOR_MAGIC = b"CD001\x01"
_JOLIET_ESCAPES = (b"%/@", b"%/C", b"%/E")
_FLAG_DIRECTORY = 0x02
_FLAG_ASSOCIATED = 0x04
_FLAG_MULTI_EXTENT = 0x80

# Length of an extended attribute record, extent, size, flags, length of the name (ECMA-119, 9.1).
_RECORD = struct.Struct("<xBL4xL4x7xB6xB")

# Offsets in a primary or supplementary volume descriptor, and of the dates in it (17 bytes each).
LABEL_AT, LABEL_LENGTH = 40, 32
DATES_AT, DATE_LENGTH, DATES = 813, 17, 4
APPLICATION_USE_AT, APPLICATION_USE_LENGTH = 883, 512
ROOT_RECORD_AT = 156
RECORD_DATE_AT, RECORD_DATE_LENGTH = 18, 7


@dataclasses.dataclass(frozen=True)
class Volume:
    """One volume descriptor. at: byte offset of the descriptor; root: byte offset of its root directory record."""

    at: int
    joliet: bool
    label: str

    @property
    def root(self) -> int:
        return self.at + ROOT_RECORD_AT


class Record(t.NamedTuple):
    """One directory record below the root.

    path: with slashes, by the best name there is. at: byte offset of the record. extent: first block of the content.
    mode: POSIX mode of Rock Ridge, None without. dates_at: (offset, length) of the Rock Ridge time stamps.
    """

    path: str
    at: int
    extent: int
    size: int
    is_directory: bool
    mode: int | None = None
    dates_at: tuple[tuple[int, int], ...] = ()


class Iso:
    """A parsed image. Raises DriveImageError for what is no ISO 9660 image or has impossible numbers in it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.volumes = tuple(self._volumes())
        self.joliet = next((volume for volume in self.volumes if volume.joliet), None)
        primary = next((volume for volume in self.volumes if not volume.joliet), None)
        if primary is None:
            raise DriveImageError("the image is no ISO 9660 file system: it has no primary volume descriptor")
        self.primary = primary
        self._skip = 0  # bytes before the system use entries of every record but the first (SUSP 5.3)
        self._system_use = 0
        self.rock_ridge = self._find_rock_ridge(self.primary.root)

    def records(self, volume: Volume) -> Iterator[Record]:
        """All records of one volume's tree, "." and ".." included (their path ends in /. and /..), folders first met first."""
        rock_ridge = self.rock_ridge and not volume.joliet
        pending = [("", self._number(volume.root + 2), self._number(volume.root + 10), 0)]
        seen: set[int] = set()
        entries, folder_bytes = 0, 0
        while pending:
            folder, extent, size, depth = pending.pop()
            folder_bytes += size
            if extent in seen or folder_bytes > len(self._data):
                raise DriveImageError(f"the image is damaged: the folder {folder!r} holds itself or another folder twice")
            seen.add(extent)
            if depth > MAX_DEPTH:
                raise DriveImageError(f"the image has folders more than {MAX_DEPTH} levels deep")
            for at in self._record_offsets(folder, extent, size):
                entries += 1
                if entries > MAX_ENTRIES:
                    raise DriveImageError(f"the image has more than {MAX_ENTRIES} entries")
                record = self._record(folder, at, volume.joliet, rock_ridge)
                if record is None:
                    continue
                yield record
                if record.is_directory and not record.path.endswith(("/.", "/..")):
                    pending.append((record.path + "/", record.extent, record.size, depth + 1))

    def content(self, record: Record) -> bytes:
        """The bytes of a file's record."""
        return self._slice(record.extent * BLOCK, record.size, record.path)

    def text(self, volume: Volume, at: int, length: int) -> str:
        """A text field of a volume descriptor without its padding."""
        raw = self._data[volume.at + at : volume.at + at + length]
        if volume.joliet:
            return raw.decode("utf-16-be", "replace").split("\x00", 1)[0].rstrip(" ")
        return raw.split(b"\x00", 1)[0].decode("utf-8", "backslashreplace").rstrip(" ")

    # The pieces below trust nothing: every offset goes through _slice.

    def _slice(self, start: int, length: int, what: str) -> bytes:
        if start < 0 or length < 0 or start + length > len(self._data):
            raise DriveImageError(f"the image is damaged or cut short: {what!r} lies outside of it")
        return self._data[start : start + length]

    def _number(self, at: int) -> int:
        """A 32-bit number; ISO 9660 writes it twice, the first copy is little-endian."""
        return int.from_bytes(self._slice(at, 4, "a number"), "little")

    def _volumes(self) -> Iterator[Volume]:
        for index in range(MAX_DESCRIPTORS):
            at = (DESCRIPTORS_AT + index) * BLOCK
            descriptor = self._data[at : at + BLOCK]
            if len(descriptor) < BLOCK or descriptor[1:7] not in (_DESCRIPTOR_MAGIC, b"CD001\x02"):
                return
            if descriptor[0] == 255:
                return
            joliet = descriptor[0] == 2 and descriptor[88:91] in _JOLIET_ESCAPES
            if descriptor[0] == 1 or joliet:
                if int.from_bytes(descriptor[128:130], "little") != BLOCK:
                    raise DriveImageError(f"the image has blocks of another size than {BLOCK} bytes")
                volume = Volume(at, joliet, "")
                yield dataclasses.replace(volume, label=self.text(volume, LABEL_AT, LABEL_LENGTH))

    def _find_rock_ridge(self, root: int) -> bool:
        """Whether the first record of the root directory has the SP entry (SUSP 5.3)."""
        at = self._number(root + 2) * BLOCK
        length = self._slice(at, 33, "the root folder")[0]
        begin = 34  # the name of the first record is one byte
        for _offset, entry in self._entries(at + begin, max(0, length - begin)):
            if entry[:2] == b"SP" and len(entry) >= 7 and entry[4:6] == b"\xbe\xef":
                self._skip = entry[6]
                return True
        return False

    def _record_offsets(self, folder: str, extent: int, size: int) -> Iterator[int]:
        start = extent * BLOCK
        self._slice(start, size, folder or "/")
        position = 0
        while position < size:
            length = self._data[start + position]
            if length == 0:  # records do not cross blocks: the rest of this one is empty
                position = (position // BLOCK + 1) * BLOCK
                continue
            if length < 34 or position + length > size or length < 33 + self._data[start + position + 32]:
                raise DriveImageError(f"the image is damaged: the folder {folder or '/'!r} has a record of impossible length")
            yield start + position
            position += length

    def _entries(self, at: int, length: int) -> list[tuple[int, bytes]]:
        """System use entries (offset, bytes) of an area and of the continuation areas it names."""
        found = []
        areas = [(at, length)]
        followed = 0
        while areas:
            at, length = areas.pop()
            area = self._slice(at, length, "a system use area")
            position, last = 0, length - 4
            while position <= last:
                size = area[position + 2]
                entry = area[position : position + size]
                kind = entry[:2]
                if size < 4 or len(entry) < size or kind == b"ST":
                    break
                if kind == b"CE" and size >= 28:
                    followed += 1
                    if followed > MAX_CONTINUATIONS:
                        raise DriveImageError("the image is damaged: a chain of continuation areas does not end")
                    block, offset, more = (int.from_bytes(entry[i : i + 4], "little") for i in (4, 12, 20))
                    areas.append((block * BLOCK + offset, min(more, BLOCK)))
                else:
                    found.append((at + position, entry))
                position += size
        self._system_use += len(found)
        if self._system_use > MAX_SYSTEM_USE:
            raise DriveImageError(f"the image has more than {MAX_SYSTEM_USE} system use entries")
        return found

    def _record(self, folder: str, at: int, joliet: bool, rock_ridge: bool) -> Record | None:
        """The record at an offset that _record_offsets() gave; None for what is neither file nor folder."""
        data = self._data
        attributes, extent, size, flags, name_length = _RECORD.unpack_from(data, at)
        raw = data[at + 33 : at + 33 + name_length]
        if raw in (b"\x00", b"\x01"):  # the folder itself, the one above it
            path = folder.rstrip("/") + ("/." if raw == b"\x00" else "/..")
            itself = self._rock_ridge(folder, at, raw, name_length) if rock_ridge else _NO_EXTENSION
            return Record(path, at, extent, size, True, itself.mode, itself.dates_at)
        is_directory, mode, name = bool(flags & _FLAG_DIRECTORY), None, ""
        dates: tuple[tuple[int, int], ...] = ()
        extent += attributes
        if rock_ridge:
            extension = self._rock_ridge(folder, at, raw, name_length)
            name, mode, dates = extension.name.decode("utf-8", "backslashreplace"), extension.mode, extension.dates_at
            if extension.moved_to is not None:
                # A folder too deep for ISO 9660 lies elsewhere; its size stands in its own first record.
                extent, is_directory = extension.moved_to, True
                size = self._number(extent * BLOCK + 10)
            elif extension.is_moved or (mode is not None and mode & 0o170000 not in (0o040000, 0o100000)):
                return None
        if not name:
            name = _joliet_name(raw) if joliet else _plain_name(raw)
        if not name or "/" in name or "\x00" in name or name in (".", ".."):
            raise DriveImageError(f"the image has an entry with the impossible name {name!r} in {folder or '/'!r}")
        path = folder + name
        if len(path) > MAX_PATH:
            raise DriveImageError(f"the image has a path longer than {MAX_PATH} characters")
        if flags & _FLAG_ASSOCIATED:
            return None
        if flags & _FLAG_MULTI_EXTENT:
            raise DriveImageError(f"the image has the file {path!r} in several extents, which no config drive needs")
        return Record(path, at, extent, size, is_directory, mode, dates)

    def _rock_ridge(self, folder: str, at: int, raw: bytes, name_length: int) -> _Extension:
        """What Rock Ridge says of a record."""
        begin = 33 + name_length + (1 - name_length % 2)
        if folder or raw != b"\x00":
            begin += self._skip
        name, mode, dates, moved_to, is_moved = b"", None, [], None, False
        for offset, entry in self._entries(at + begin, max(0, self._data[at] - begin)):
            kind, size = entry[:2], len(entry)
            if kind == b"NM" and size >= 5 and not entry[4] & 0x06:
                name += entry[5:]
            elif kind == b"PX" and size >= 12:
                mode = int.from_bytes(entry[4:8], "little")
            elif kind == b"TF":
                dates.append((offset, size))
            elif kind == b"RE":
                is_moved = True  # met again under its own parent, at CL
            elif kind == b"CL" and size >= 12:
                moved_to = int.from_bytes(entry[4:8], "little")
        return _Extension(name, mode, tuple(dates), moved_to, is_moved)


class _Extension(t.NamedTuple):
    """Rock Ridge's part of a record: name, POSIX mode, time stamps, first block of a folder moved elsewhere, moved here."""

    name: bytes
    mode: int | None
    dates_at: tuple[tuple[int, int], ...]
    moved_to: int | None
    is_moved: bool


_NO_EXTENSION = _Extension(b"", None, (), None, False)


def _joliet_name(raw: bytes) -> str:
    return _without_version(raw.decode("utf-16-be", "backslashreplace"))


def _plain_name(raw: bytes) -> str:
    """A name without extensions the way Linux shows it: lower case, without version and without a final dot."""
    return _without_version(raw.decode("ascii", "backslashreplace")).lower().rstrip(".")


def _without_version(name: str) -> str:
    base, separator, version = name.rpartition(";")
    return base if separator and version.isdigit() else name
