# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Storage pools and volumes of a KVM host: finding them, looking what is in them, and the XML of new volumes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import posixpath
import re
import time
import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt

# Seconds to wait for other tasks' work in a pool; libvirt cannot refresh the pool until it is done.
_PATIENCE = 15
#: Pools that keep each volume in a file of a folder.
FILE_POOLS = ("dir", "fs", "netfs")
#: The most that an overlay takes in which nothing was written yet: header and tables, about 200 KiB with libvirt's clusters of 64 KiB.
#: The first byte written takes two clusters more.
UNWRITTEN = 256 * 1024
_PREFIX = "external-dhcp-"


@dataclasses.dataclass(frozen=True)
class Volume:
    """What libvirt says of a volume. form: as found in its bytes (raw, qcow2); base: path of its backing file.

    written: when its file was last written to, in seconds as a text; None for a block device, whose times say nothing.
    file: what two paths of one file have in common, and no two files; empty for a block device.
    """

    path: str
    form: str
    capacity: int
    allocation: int
    base: str | None = None
    mode: int = 0o600
    owner: str | None = None
    group: str | None = None
    written: str | None = None
    file: tuple[str, ...] = ()
    handle: t.Any = dataclasses.field(default=None, compare=False, repr=False)


def find_pool(connection: t.Any, folder: str) -> t.Any:
    """The pool whose volumes are the files of this folder, started if need be; None if there is none."""
    folder = posixpath.normpath(folder)
    for pool in connection.listAllStoragePools(0):
        path = ET.fromstring(pool.XMLDesc(0)).findtext("target/path")
        if path is not None and posixpath.normpath(path) == folder:
            start_pool(pool)
            return pool
    return None


def start_pool(pool: t.Any) -> None:
    """Starts a pool that is not; another task may be quicker."""
    if not pool.isActive():
        try:
            pool.create(0)
        except libvirt.libvirtError:
            if not pool.isActive():
                raise


def folder_pool(connection: t.Any, folder: str) -> t.Any:
    """The pool for a folder; where there is none a transient one is made, which is gone with the next restart of libvirtd."""
    found = find_pool(connection, folder)
    if found is not None:
        return found
    pool = ET.Element("pool", {"type": "dir"})
    ET.SubElement(pool, "name").text = own_pool_name(folder)
    ET.SubElement(ET.SubElement(pool, "target"), "path").text = posixpath.normpath(folder)
    try:
        return connection.storagePoolCreateXML(ET.tostring(pool, encoding="unicode"), 0)
    except libvirt.libvirtError:
        found = find_pool(connection, folder)  # another task made it meanwhile
        if found is None:
            raise
        return found


def own_pool_name(folder: str) -> str:
    """The name of a pool that we make for a folder: tells the folder, and is another one for every folder."""
    folder = posixpath.normpath(folder)
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", folder).strip("-")[-40:]
    return f"{_PREFIX}{readable}-{hashlib.sha256(folder.encode()).hexdigest()[:8]}"


def refresh(pool: t.Any) -> None:
    """Files made or removed by somebody else are known to the pool only after this."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            pool.refresh(0)
            return
        except libvirt.libvirtError as error:
            # libvirt refuses while another task has a file made in the pool.
            if error.get_error_code() != libvirt.VIR_ERR_INTERNAL_ERROR or time.monotonic() > end:
                raise
        time.sleep(0.1)


def find_volume(connection: t.Any, path: str) -> t.Any:
    """The handle of the volume at this path, or None; looks anew into the pool of its folder if need be."""
    for last in (False, True):
        try:
            return connection.storageVolLookupByPath(path)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL or last:
                break
        pool = find_pool(connection, posixpath.dirname(path))
        if pool is None:
            break
        refresh(pool)
    return None


def delete_volume(lookup: t.Callable[[str], t.Any], key: str) -> bool:
    """Deletes the volume that `lookup` finds by its name or path; False if there is none, or somebody has just deleted it."""
    try:
        lookup(key).delete(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
        return False
    return True


def read_volume(handle: t.Any) -> Volume:
    """What libvirt knows of a volume."""
    element = ET.fromstring(handle.XMLDesc(0))
    form = element.find("target/format")
    mode = element.findtext("target/permissions/mode")
    written = element.findtext("target/timestamps/mtime") if element.get("type") == "file" else None
    # libvirt tells no file's number: the nanoseconds of its last change and write stand for it, with its sizes.
    told = [element.findtext(path) or "" for path in ("target/timestamps/ctime", "capacity", "allocation")]
    return Volume(
        path=element.findtext("target/path") or "",
        form="raw" if form is None else form.get("type", "raw"),
        capacity=int(element.findtext("capacity") or 0),
        allocation=int(element.findtext("allocation") or 0),
        base=_backing_file(element.findtext("backingStore/path")),
        mode=0o600 if mode is None else int(mode, 8),
        owner=element.findtext("target/permissions/owner"),
        group=element.findtext("target/permissions/group"),
        written=written,
        file=() if written is None else (written, *told),
        handle=handle,
    )


def _backing_file(text: str | None) -> str | None:
    """The path of a backing file as a header names it: relative to the overlay, or as QEMU's JSON. None: it is no file."""
    if text is not None and text.startswith("json:"):
        try:
            text = _file_in(json.loads(text[5:]))
        except (ValueError, RecursionError):
            return None
    return posixpath.normpath(text) if text else None


def _file_in(node: t.Any) -> str | None:
    if not isinstance(node, dict):
        return None
    name = node.get("filename") or node.get("file.filename")
    return name if isinstance(name, str) else _file_in(node.get("file"))


def volume_xml(
    name: str,
    form: str,
    capacity: int | None = None,
    base: tuple[str, str] | None = None,
    like: Volume | None = None,
    sparse: bool = True,
) -> str:
    """The XML of a volume to make. base: path and format of the backing file. like: owner and group are taken from it."""
    volume = ET.Element("volume")
    ET.SubElement(volume, "name").text = name
    if capacity is not None:
        ET.SubElement(volume, "capacity", {"unit": "bytes"}).text = str(capacity)
    if sparse and base is None:
        ET.SubElement(volume, "allocation").text = "0"
    target = ET.SubElement(volume, "target")
    ET.SubElement(target, "format", {"type": form})
    permissions = ET.SubElement(target, "permissions")
    # Others on the host have no business in a guest's disk.
    ET.SubElement(permissions, "mode").text = f"0{(0o600 if like is None else like.mode & 0o660 | 0o600):o}"
    if like is not None and like.owner is not None and like.group is not None:
        ET.SubElement(permissions, "owner").text = like.owner
        ET.SubElement(permissions, "group").text = like.group
    if form == "qcow2":
        ET.SubElement(target, "compat").text = "1.1"
    if base is not None:
        backing = ET.SubElement(volume, "backingStore")
        ET.SubElement(backing, "path").text = base[0]
        # Without it libvirt writes raw, and the guest would see the container instead of what is in it.
        ET.SubElement(backing, "format", {"type": base[1]})
    return ET.tostring(volume, encoding="unicode")
