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
MAX_CONTINUATIONS = 32
MAX_CONTENT = 64 * 1024 * 1024

_DESCRIPTOR_MAGIC = b"CD001\x01"
_JOLIET_ESCAPES = (b"%/@", b"%/C", b"%/E")
_FLAG_DIRECTORY = 0x02
_FLAG_ASSOCIATED = 0x04
_FLAG_MULTI_EXTENT = 0x80

# Offsets in a primary or supplementary volume descriptor, and of the dates in it (17 bytes each).
LABEL_AT, LABEL_LENGTH = 40, 32
APPLICATION_AT, APPLICATION_LENGTH = 574, 128
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


@dataclasses.dataclass(frozen=True)
class Record:
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
        self.primary = next((volume for volume in self.volumes if not volume.joliet), None)
        self.joliet = next((volume for volume in self.volumes if volume.joliet), None)
        if self.primary is None:
            raise DriveImageError("the image is no ISO 9660 file system: it has no primary volume descriptor")
        self._skip: int | None = None  # of SUSP, known once the root directory was looked at
        self.rock_ridge = self._find_rock_ridge()

    def records(self, volume: Volume) -> Iterator[Record]:
        """All records of one volume's tree, "." and ".." included (their path ends in /. and /..), folders first met first."""
        rock_ridge = self.rock_ridge and not volume.joliet
        extent, size = self._number(volume.root + 2), self._number(volume.root + 10)
        pending: list[tuple[str, int, int, int]] = [("", extent, size, 0)]
        seen: set[int] = set()
        count = 0
        while pending:
            folder, extent, size, depth = pending.pop()
            if extent in seen:
                raise DriveImageError(f"the image is damaged: the folder {folder!r} holds itself or another folder twice")
            seen.add(extent)
            if depth > MAX_DEPTH:
                raise DriveImageError(f"the image has folders more than {MAX_DEPTH} levels deep")
            for at in self._record_offsets(folder, extent, size):
                count += 1
                if count > MAX_ENTRIES:
                    raise DriveImageError(f"the image has more than {MAX_ENTRIES} entries")
                record, relocated = self._record(folder, at, volume.joliet, rock_ridge)
                if record is None:
                    continue
                yield record
                if record.is_directory and not record.path.endswith(("/.", "/..")):
                    pending.append((record.path + "/", record.extent, self._folder_size(record, relocated), depth + 1))

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

    def _find_rock_ridge(self) -> bool:
        """Whether the first record of the root directory has the SP entry (SUSP 5.3)."""
        root = self.primary.root if self.primary else 0
        at = self._number(root + 2) * BLOCK
        use = self._system_use(at)
        for _offset, entry in self._entries(at + use[0], use[1]):
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

    def _system_use(self, at: int) -> tuple[int, int]:
        """Where a record's system use area begins, counted from the record, and its length."""
        length, name_length = (self._slice(at, 1, "a folder")[0], self._slice(at + 32, 1, "a folder")[0])
        begin = 33 + name_length + (1 - name_length % 2)
        return begin, max(0, length - begin)

    def _entries(self, at: int, length: int) -> Iterator[tuple[int, bytes]]:
        """System use entries (offset, bytes) of an area and of the continuation areas it names."""
        areas = [(at, length)]
        followed = 0
        while areas:
            at, length = areas.pop()
            area = self._slice(at, length, "a system use area")
            position = 0
            while position + 4 <= len(area):
                size = area[position + 2]
                if size < 4 or position + size > len(area):
                    break
                entry = area[position : position + size]
                if entry[:2] == b"ST":
                    break
                if entry[:2] == b"CE" and size >= 28:
                    followed += 1
                    if followed > MAX_CONTINUATIONS:
                        raise DriveImageError("the image is damaged: a chain of continuation areas does not end")
                    block, offset, more = (int.from_bytes(entry[i : i + 4], "little") for i in (4, 12, 20))
                    areas.append((block * BLOCK + offset, min(more, BLOCK)))
                else:
                    yield at + position, entry
                position += size

    def _record(self, folder: str, at: int, joliet: bool, rock_ridge: bool) -> tuple[Record | None, bool]:
        """The record at an offset and whether it stands for a relocated folder; None for what is neither file nor folder."""
        data = self._data
        flags, raw = data[at + 25], data[at + 33 : at + 33 + data[at + 32]]
        extent, size = self._number(at + 2) + data[at + 1], self._number(at + 10)
        is_directory, mode, dates, relocated, wanted = (
            bool(flags & _FLAG_DIRECTORY),
            None,
            [],
            False,
            not flags & _FLAG_ASSOCIATED,
        )
        name = None
        if rock_ridge:
            begin, length = self._system_use(at)
            skip = 0 if raw == b"\x00" and not folder else self._skip or 0
            long_name = b""
            for offset, entry in self._entries(at + begin + skip, max(0, length - skip)):
                kind = entry[:2]
                if kind == b"NM" and not entry[4] & 0x06:
                    long_name += entry[5:]
                elif kind == b"PX" and len(entry) >= 12:
                    mode = int.from_bytes(entry[4:8], "little")
                    wanted = wanted and mode & 0o170000 in (0o040000, 0o100000)
                elif kind == b"TF":
                    dates.append((offset, len(entry)))
                elif kind == b"RE":
                    wanted = False  # the place a deep folder was moved to; it is met again at CL
                elif kind == b"CL" and len(entry) >= 12:
                    extent, is_directory, relocated, wanted = (int.from_bytes(entry[4:8], "little"), True, True, True)
            name = long_name.decode("utf-8", "backslashreplace") if long_name else None
        if raw in (b"\x00", b"\x01"):
            name = "." if raw == b"\x00" else ".."
            is_directory = True
        else:
            if name is None:
                name = _joliet_name(raw) if joliet else _plain_name(raw)
            if not name or "/" in name or "\x00" in name or name in (".", ".."):
                raise DriveImageError(f"the image has an entry with the impossible name {name!r} in {folder or '/'!r}")
        path = folder + name if raw not in (b"\x00", b"\x01") else f"{folder.rstrip('/')}/{name}"
        if len(path) > MAX_PATH:
            raise DriveImageError(f"the image has a path longer than {MAX_PATH} characters")
        if not wanted:
            return None, False
        if flags & _FLAG_MULTI_EXTENT:
            raise DriveImageError(f"the image has the file {path!r} in several extents, which no config drive needs")
        return (Record(path, at, extent, size, is_directory, mode, tuple(dates)), relocated)

    def _folder_size(self, record: Record, relocated: bool) -> int:
        """A relocated folder's size stands in its own first record."""
        return self._number(record.extent * BLOCK + 10) if relocated else record.size


def _joliet_name(raw: bytes) -> str:
    return _without_version(raw.decode("utf-16-be", "backslashreplace"))


def _plain_name(raw: bytes) -> str:
    """A name without extensions the way Linux shows it: lower case, without version and without a final dot."""
    return _without_version(raw.decode("ascii", "backslashreplace")).lower().rstrip(".")


def _without_version(name: str) -> str:
    base, separator, version = name.rpartition(";")
    return base if separator and version.isdigit() else name
