# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Config drives that no VM of a host uses, in all of its storage pools that are folders."""

from __future__ import annotations

import dataclasses
import posixpath
import re
import time
import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.image import HEAD_SIZE, MAX_SIZE, read_owner
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import drive_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.drive_rules import OrphanDrive, OrphanList
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import storage
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt

if t.TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

# Drives, and what is staged to become one.
_NAMES = re.compile(r"[^/]+\.iso(?:\.[0-9a-f]{8}\.new)?")
_FOLDERS = ("dir", "fs", "netfs")


@dataclasses.dataclass(frozen=True)
class _File:
    """A file with our mark. written: time of the last change as libvirt writes it; a path by another name has the same."""

    path: str
    owner: str
    size: int
    written: str

    @property
    def identity(self) -> tuple[str, int, str]:
        return (posixpath.basename(self.path), self.size, self.written)


def find(connection: t.Any, image_dir: str, elsewhere: Collection[str]) -> OrphanList:
    """See api.Drives.orphans(). image_dir: where the VMs' drives belong; it is looked at whether libvirt has a pool of it or not."""
    skipped: list[str] = []
    files = list(_files(connection, image_dir, skipped))
    places, used = _places(connection, image_dir)
    by_path = {file.path: file.owner for file in files}
    verdicts = {}
    for file in files:
        place = places.get(file.owner)
        found = drive_rules.Found(
            file.owner, file.path in used, file.path == place, place is not None and by_path.get(place) == file.owner, _age(file)
        )
        verdicts[file.path] = drive_rules.orphan(found, places, elsewhere)
    # Two pools may be one folder by two paths, one of which the VMs know.
    safe = {file.identity for file in files if verdicts[file.path] is None}
    drives = []
    for file in sorted(files, key=lambda file: file.path):
        verdict = verdicts[file.path]
        if verdict is not None and file.identity not in safe:
            drives.append(OrphanDrive(file.path, file.owner, *verdict, handle=file.path))
    return OrphanList(tuple(drives), tuple(sorted(skipped)))


def delete(connection: t.Any, drives: Sequence[OrphanDrive]) -> Iterator[tuple[OrphanDrive, bool | DriveError]]:
    """See api.Drives.delete_orphans()."""
    used = _places(connection, "")[1] if drives else set()
    for drive in drives:
        try:
            yield drive, _delete(connection, drive, used)
        except DriveError as error:
            yield drive, error
        except libvirt.libvirtError as error:
            yield drive, DriveError(f"{drive.location} could not be deleted: {error.get_error_message() or error}")


def _delete(connection: t.Any, drive: OrphanDrive, used: Collection[str]) -> bool:
    volume = storage.find_volume(connection, drive.handle)
    if volume is None:
        return False
    if read_owner(_head(connection, volume)) != drive.owner or drive.handle in used:
        raise DriveError(f"{drive.location} was changed, or is used by a VM now: it was left")
    return storage.delete_volume(connection.storageVolLookupByPath, drive.handle)


def _files(connection: t.Any, image_dir: str, skipped: list[str]) -> Iterator[_File]:
    pools = {}
    for pool in connection.listAllStoragePools(0):
        element = ET.fromstring(pool.XMLDesc(0))
        path = element.findtext("target/path")
        if element.get("type") in _FOLDERS and path:
            if pool.isActive() == 1:
                pools[posixpath.normpath(path)] = pool
            else:
                skipped.append(f"the storage pool {pool.name()} ({path}) is not active: what is in it cannot be told")
    folder = posixpath.normpath(image_dir)
    try:
        if folder not in pools:
            pools[folder] = storage.folder_pool(connection, folder)
    except libvirt.libvirtError as error:
        skipped.append(f"{folder} could not be looked at: {error.get_error_message() or error}")
    for path in sorted(pools):
        try:
            storage.refresh(pools[path])
            volumes = pools[path].listAllVolumes(0)
        except libvirt.libvirtError as error:
            skipped.append(f"{path} could not be looked at: {error.get_error_message() or error}")
            continue
        for volume in volumes:
            file = _marked(connection, volume, skipped)
            if file is not None:
                yield file


def _marked(connection: t.Any, volume: t.Any, skipped: list[str]) -> _File | None:
    path = volume.path()
    if not _NAMES.fullmatch(posixpath.basename(path)):
        return None
    try:
        element = ET.fromstring(volume.XMLDesc(0))
        size = int(element.findtext("capacity") or 0)
        if size > MAX_SIZE:
            return None
        owner = read_owner(_head(connection, volume))
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            skipped.append(f"{path} could not be read: {error.get_error_message() or error}")
        return None
    written = element.findtext("target/timestamps/mtime") or ""
    return None if owner is None else _File(path, owner, size, written)


def _head(connection: t.Any, volume: t.Any) -> bytes:
    parts: list[bytes] = []
    stream = connection.newStream(0)
    volume.download(stream, 0, HEAD_SIZE, 0)
    stream.recvAll(lambda _stream, data, _opaque: parts.append(data), None)
    stream.finish()
    return b"".join(parts)


def _places(connection: t.Any, image_dir: str) -> tuple[dict[str, str], set[str]]:
    """Where each VM's drive belongs, by its id, and all paths that VMs have in drives and disks, now or at their next start."""
    places = {}
    used = set()
    for domain in connection.listAllDomains(0):
        try:
            texts = [domain.XMLDesc(0)]
            if domain.isPersistent() == 1:
                texts.append(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            continue
        places[domain.UUIDString().lower()] = posixpath.join(posixpath.normpath(image_dir), f"{domain.name()}.iso")
        for text in texts:
            used |= {source.get("file", "") for source in ET.fromstring(text).iterfind("devices/disk//source")}
    return places, used - {""}


def _age(file: _File) -> float | None:
    """Seconds, by the clocks of the host and of the controller; 0 for a file of the future or without a time."""
    try:
        return max(0.0, time.time() - float(file.written))
    except ValueError:
        return 0.0
