# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""From files to the bytes of an ISO image, and back."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
import traceback
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import iso9660
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import (
    DriveImageError,
    DriveInputError,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.labels import check_label
from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary

PYCDLIB_IMPORT_ERROR: str | None
try:
    import pycdlib
    from pycdlib.pycdlibexception import PyCdlibException
except ImportError:
    PYCDLIB_IMPORT_ERROR = traceback.format_exc()
else:
    PYCDLIB_IMPORT_ERROR = None

if t.TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SIZE = 64 * 1024 * 1024
# Bytes from the start that hold the volume descriptors; the first one, with the owner mark, is at 32 KiB.
HEAD_SIZE = 64 * 1024
# Joliet's limit, and short enough for a Rock Ridge name to stay within its directory record.
MAX_NAME = 64
MAX_DEPTH = 7  # ISO 9660 allows eight levels, the root being the first

APPLICATION = "VMOPS.EXTERNAL_DHCP"
# Names the way the bytes are laid out: if it changes, drives built before count as different.
FORMAT = 1

_OWNER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}")
_FORBIDDEN_IN_NAME = re.compile(r'[\x00-\x1f\x7f*/:;?\\<>|"]')
_MARK = re.compile(rb"VMOPS\.EXTERNAL_DHCP FORMAT=(\d{1,4}) VM=([A-Za-z0-9_.:-]{0,100}) SHA256=([0-9a-f]{64})(?= *$)")
_MARK_AT = iso9660.DESCRIPTORS_AT * iso9660.BLOCK + iso9660.APPLICATION_USE_AT
_NO_DIGEST = b"0" * 64

# dr-xr-xr-x and -r-xr-xr-x
_DIRECTORY_MODE = 0o040555
_FILE_MODE = 0o100555

# 2000-01-01 00:00:00 UTC, as the volume descriptors and as the directory records write it: the same bytes whatever the clock.
_VOLUME_DATE = b"2000010100000000\x00"
_NO_VOLUME_DATE = b"0" * 16 + b"\x00"
_RECORD_DATE = bytes((100, 1, 1, 0, 0, 0, 0))


@dataclasses.dataclass(frozen=True)
class Image:
    """A drive that was read.

    label, joliet_label: of the two volume descriptors, the latter None without Joliet.
    owner: the id of the VM the drive was built for; None if it was not built here or without one.
    files: contents by path, by the names of Rock Ridge, else Joliet, else ISO 9660 in lower case.
    modes: POSIX modes of the files by path; empty without Rock Ridge.
    sha256, size: of the whole image. intact: whether the bytes are those that were built here, by the digest in the
    image; None for a drive that was not built here. layout_format: FORMAT of the builder, None likewise.
    """

    label: str
    joliet_label: str | None
    owner: str | None
    files: dict[str, bytes] = dataclasses.field(repr=False)
    modes: dict[str, int]
    sha256: str
    size: int
    intact: bool | None
    layout_format: int | None


def build(files: Mapping[str, bytes], label: str = _defaults.LABEL, owner: str | None = None) -> bytes:
    """An ISO 9660 image with Rock Ridge and Joliet; the same arguments always give the same bytes.

    files: contents by path. owner: id of the VM, written as a mark into the volume descriptor (read_owner()).
    Raises DriveInputError for a label, path, owner or size that cannot be, MissingLibrary without pycdlib.
    """
    check_label(label)
    if owner is not None and not _OWNER.fullmatch(owner):
        raise DriveInputError(
            f"the VM's id {owner!r} cannot be marked on the drive: use at most 100 letters, digits and _.:- as in a UUID"
        )
    for path in files:
        _check_path(path)
    size = sum(len(content) for content in files.values())
    if size > MAX_SIZE:
        raise too_large(size)
    require_pycdlib()
    try:
        image = bytearray(_write(files, label))
    except PyCdlibException as exc:
        raise DriveImageError(f"the image cannot be built: {exc}") from exc
    if len(image) > MAX_SIZE:
        raise too_large(len(image))
    _freeze_dates(image)
    _set_mark(image, owner)
    return bytes(image)


def read(data: bytes, modes: bool = True) -> Image:
    """Opens a drive, whoever built it.

    modes: whether Image.modes is wanted; without, a drive that was built here and is intact is read by its Joliet names,
    which are the same and faster to read.
    Raises DriveImageError if it is no ISO 9660 image, is damaged, or is larger than a config drive can be.
    """
    if len(data) > MAX_SIZE:
        raise too_large(len(data), "the image is")
    iso = iso9660.Iso(data)
    mark = _find_mark(data)
    sha256, digest = _digests(data, mark)
    intact = digest == mark.group(3) if mark else None
    by_joliet = iso.joliet is not None and (not iso.rock_ridge or (bool(intact) and not modes))
    files, found_modes = _files(iso, iso.joliet if by_joliet and iso.joliet else iso.primary)
    return Image(
        label=iso.primary.label,
        joliet_label=iso.joliet.label if iso.joliet else None,
        owner=(mark.group(2).decode("ascii") or None) if mark else None,
        files=files,
        modes=found_modes,
        sha256=sha256,
        size=len(data),
        intact=intact,
        layout_format=int(mark.group(1)) if mark else None,
    )


def _files(iso: iso9660.Iso, volume: iso9660.Volume) -> tuple[dict[str, bytes], dict[str, int]]:
    """Contents and modes by path, in order of the paths."""
    files: dict[str, bytes] = {}
    modes: dict[str, int] = {}
    total = 0
    for record in iso.records(volume):
        if record.is_directory:
            continue
        if record.path in files:
            raise DriveImageError(f"the image has the file {record.path!r} twice")
        total += record.size
        if total > iso9660.MAX_CONTENT:
            raise DriveImageError("the image claims to hold more bytes than it has room for")
        files[record.path] = iso.content(record)
        if record.mode is not None:
            modes[record.path] = record.mode
    return dict(sorted(files.items())), modes


def read_owner(first_bytes: bytes) -> str | None:
    """The VM id marked on a drive, from the first HEAD_SIZE bytes (or more) of its image; None if there is no mark or no VM in it."""
    mark = _find_mark(first_bytes)
    return (mark.group(2).decode("ascii") or None) if mark else None


def is_ours(first_bytes: bytes) -> bool:
    """Whether an image was built here, from its first HEAD_SIZE bytes (or more)."""
    return _find_mark(first_bytes) is not None


def digest_of(first_bytes: bytes) -> str | None:
    """The digest that a drive carries in its mark, by which its guest knows it; None if it was not built here."""
    mark = _find_mark(first_bytes)
    return mark.group(3).decode("ascii") if mark else None


def is_intact(data: bytes) -> bool:
    """Whether these are all bytes, and no others, of an image that was built here."""
    mark = _find_mark(data)
    return mark is not None and _digests(data, mark)[1] == mark.group(3)


def damaged(data: bytes) -> Image:
    """What can be said of a drive that was built here (is_ours()) and that read() refuses: its owner, no files, not intact."""
    return Image("", None, read_owner(data), {}, {}, hashlib.sha256(data).hexdigest(), len(data), False, None)


def require_pycdlib() -> None:
    """Raises MissingLibrary if build() could not work."""
    if PYCDLIB_IMPORT_ERROR is not None:
        raise MissingLibrary("pycdlib", PYCDLIB_IMPORT_ERROR, url="https://clalancette.github.io/pycdlib/")


def too_large(size: int, what: str = "the drive would be") -> DriveImageError:
    """The error for an image of so many bytes."""
    return DriveImageError(
        f"{what} {size} bytes large: a config drive can have at most {MAX_SIZE} (64 MiB); make the user data smaller"
    )


def _check_path(path: str) -> None:
    names = path.split("/")
    if len(names) > MAX_DEPTH:
        raise DriveInputError(f"the path {path!r} has more than {MAX_DEPTH} levels")
    for name in names:
        if not name or name in (".", "..") or _FORBIDDEN_IN_NAME.search(name):
            raise DriveInputError(f"the path {path!r} has a name that not every system can read")
        if len(name) > MAX_NAME or len(name.encode("utf-8")) > 2 * MAX_NAME:
            raise DriveInputError(f"the path {path!r} has a name of more than {MAX_NAME} characters, the limit of Joliet")


def _write(files: Mapping[str, bytes], label: str) -> bytes:
    """The image as pycdlib makes it, with its dates still those of the clock.

    Names on the ISO 9660 level are numbered, so that no two of them collide; Rock Ridge and Joliet carry the real ones.
    """
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=label, app_ident_str=APPLICATION)
    try:
        folders = {"": ""}
        for path in sorted(files):
            parent = ""
            names = path.split("/")
            for name in names[:-1]:
                folder = f"{parent}/{name}"
                if folder not in folders:
                    folders[folder] = f"{folders[parent]}/D{len(folders):07d}"
                    iso.add_directory(folders[folder], rr_name=name, joliet_path=folder, file_mode=_DIRECTORY_MODE)
                parent = folder
        for number, path in enumerate(sorted(files), 1):
            parent, _slash, name = ("/" + path).rpartition("/")
            content = files[path]
            iso.add_fp(
                io.BytesIO(content),
                len(content),
                f"{folders[parent]}/F{number:07d}.;1",
                rr_name=name,
                joliet_path="/" + path,
                file_mode=_FILE_MODE,
            )
        stream = io.BytesIO()
        iso.write_fp(stream)
        return stream.getvalue()
    finally:
        iso.close()


def _freeze_dates(image: bytearray) -> None:
    """Puts one fixed date in place of every date, found by walking the image.

    They are the dates of the volume descriptors (ECMA-119, 8.4.26 to 8.4.29), of every directory record (9.1.5) in both
    trees, and of every TF entry of Rock Ridge (RRIP 4.1.6). Replacing pycdlib's clock instead would not be safe in threads.
    """
    iso = iso9660.Iso(bytes(image))
    for volume in iso.volumes:
        for index in range(iso9660.DATES):
            at = volume.at + iso9660.DATES_AT + index * iso9660.DATE_LENGTH
            # Creation and modification; no expiration and no beginning of validity.
            image[at : at + iso9660.DATE_LENGTH] = _VOLUME_DATE if index < 2 else _NO_VOLUME_DATE
        _freeze_record(image, volume.root)
        for record in iso.records(volume):
            _freeze_record(image, record.at)
            for at, length in record.dates_at:
                if image[at + 4] & 0x80:
                    raise DriveImageError("the image has time stamps in their long form, which this builder does not make")
                count = (length - 5) // iso9660.RECORD_DATE_LENGTH
                image[at + 5 : at + 5 + count * iso9660.RECORD_DATE_LENGTH] = _RECORD_DATE * count


def _freeze_record(image: bytearray, at: int) -> None:
    begin = at + iso9660.RECORD_DATE_AT
    image[begin : begin + iso9660.RECORD_DATE_LENGTH] = _RECORD_DATE


def _set_mark(image: bytearray, owner: str | None) -> None:
    """Owner and digest, in the field of the primary volume descriptor that is the application's own (ECMA-119, 8.4.32)."""
    mark = f"{APPLICATION} FORMAT={FORMAT} VM={owner or ''} SHA256=".encode("ascii") + _NO_DIGEST
    image[_MARK_AT : _MARK_AT + iso9660.APPLICATION_USE_LENGTH] = mark.ljust(iso9660.APPLICATION_USE_LENGTH)
    digest_at = _MARK_AT + len(mark) - len(_NO_DIGEST)
    image[digest_at : digest_at + len(_NO_DIGEST)] = hashlib.sha256(image).hexdigest().encode("ascii")


def _find_mark(data: bytes) -> re.Match[bytes] | None:
    descriptor = iso9660.DESCRIPTORS_AT * iso9660.BLOCK
    if data[descriptor + 1 : descriptor + 6] != b"CD001":
        return None
    return _MARK.match(data, _MARK_AT, _MARK_AT + iso9660.APPLICATION_USE_LENGTH)


def _digests(data: bytes, mark: re.Match[bytes] | None) -> tuple[str, bytes]:
    """SHA-256 of the image, and, if it has a mark, SHA-256 of it with zeros in place of the digest in the mark."""
    view = memoryview(data)
    if mark is None:
        return hashlib.sha256(view).hexdigest(), b""
    whole = hashlib.sha256(view[: mark.start(3)])
    zeroed = whole.copy()
    whole.update(view[mark.start(3) :])
    zeroed.update(_NO_DIGEST)
    zeroed.update(view[mark.end(3) :])
    return whole.hexdigest(), zeroed.hexdigest().encode("ascii")
