# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A VM's disk as files, where QEMU cannot serve it: on this machine, or in a storage pool of the KVM host.

Data that QEMU still holds back is not seen: a fresh lease shows up later, and in the qcow2 file of an idle guest much later.
Formats and backing files are taken from libvirt and never from the file itself, which a guest writes.
"""

from __future__ import annotations

import dataclasses
import os
import posixpath
import stat
import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt

if t.TYPE_CHECKING:
    from collections.abc import Sequence

MAX_DISKS = 4
_MAX_CHAIN = 16
_FORMATS = ("raw", "qcow2")


class NoFile(Exception):
    """A file of the disk cannot be reached or is of a kind that is not read; the message says which and why."""


@dataclasses.dataclass(frozen=True)
class Disk:
    """One disk of a VM. target: libvirt's name; files: (path or None, format), from the top down."""

    target: str
    files: tuple[tuple[t.Optional[str], str], ...]


def disks_of(domain: ET.Element) -> tuple[list[Disk], list[str]]:
    """The hard disks, the one that the VM boots from first, and the targets of all its other drives."""
    found: list[tuple[int, Disk]] = []
    others = []
    for number, element in enumerate(domain.findall("devices/disk")):
        target = element.find("target")
        name = "" if target is None else target.get("dev", "")
        if element.get("device", "disk") != "disk" or element.find("source") is None:
            others.append(name)
            continue
        boot = element.find("boot")
        order = int(boot.get("order", "0")) if boot is not None and boot.get("order", "").isdigit() else 1000
        found.append((order * 1000 + number, Disk(name, tuple(_chain(element)))))
    found.sort(key=lambda item: item[0])
    disks = [disk for _order, disk in found]
    return disks[:MAX_DISKS], others + [disk.target for disk in disks[MAX_DISKS:]]


def has_job(domain: ET.Element) -> bool:
    """Whether a disk is just being copied, committed or mirrored."""
    return domain.find("devices/disk/mirror") is not None


def _chain(disk: ET.Element) -> t.Iterator[tuple[str | None, str]]:
    layer: ET.Element | None = disk
    form = disk.find("driver")
    for _number in range(_MAX_CHAIN):
        source = None if layer is None else layer.find("source")
        if layer is None or source is None:
            return
        yield source.get("file") or source.get("dev"), "raw" if form is None else form.get("type", "raw")
        layer = layer.find("backingStore")
        form = None if layer is None else layer.find("format")


class LocalFile:
    """A file or block device of this machine; see reader.SourceFile."""

    def __init__(self, path: str, form: str) -> None:
        self.format = form
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            mode = os.fstat(self._descriptor).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
                raise OSError(f"{path} is no file and no block device")
            self.size = os.lseek(self._descriptor, 0, os.SEEK_END)
        except BaseException:
            self.close()
            raise

    def read(self, offset: int, length: int) -> bytes:
        """See reader.SourceFile."""
        data = b""
        while len(data) < length:
            part = os.pread(self._descriptor, length - len(data), offset + len(data))
            if not part:
                raise OSError("the file became shorter")
            data += part
        return data

    def close(self) -> None:
        """As of any file."""
        os.close(self._descriptor)


class VolumeFile:
    """A file of a storage pool, read in ranges through libvirt; see reader.SourceFile."""

    def __init__(self, connection: t.Any, path: str, form: str) -> None:
        self.format = form
        self._connection = connection
        self._volume = _lookup(connection, path)
        # The file's own length, not what the disk in it may grow to.
        self.size = self._volume.infoFlags(libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2]

    def read(self, offset: int, length: int) -> bytes:
        """See reader.SourceFile."""
        parts: list[bytes] = []
        stream = self._connection.newStream(0)
        self._volume.download(stream, offset, length, 0)
        stream.recvAll(lambda _stream, data, _opaque: parts.append(data), None)
        stream.finish()
        data = b"".join(parts)
        if len(data) != length:
            raise OSError("the volume became shorter")
        return data

    def close(self) -> None:
        """Nothing to do."""


def _lookup(connection: t.Any, path: str) -> t.Any:
    try:
        return connection.storageVolLookupByPath(path)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
    # The file may be newer than the pool's last refresh.
    for pool in connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
        place = ET.fromstring(pool.XMLDesc(0)).findtext("target/path")
        if place is not None and posixpath.normpath(place) == posixpath.dirname(path):
            pool.refresh(0)
            return connection.storageVolLookupByPath(path)
    raise NoFile(f"no storage pool of the KVM host has {path}: define one over {posixpath.dirname(path)}")


def open_files(connection: t.Any, disks: Sequence[Disk], local_root: str | None) -> list[list[t.Any]]:
    """Opens the disks' files; the caller closes them. local_root: the KVM host's root folder on this machine, None if it is another.

    Raises NoFile, libvirtError and OSError.
    """
    opened: list[list[t.Any]] = []
    try:
        for disk in disks:
            opened.append([])
            for path, form in disk.files:
                if path is None or form not in _FORMATS:
                    raise NoFile(f"disk {disk.target} is not read: it is no file and no block device, or of format {form}")
                opened[-1].append(_open_file(connection, path, form, local_root))
    except BaseException:
        close_files(opened)
        raise
    return opened


def _open_file(connection: t.Any, path: str, form: str, local_root: str | None) -> t.Any:
    if local_root is not None:
        try:
            return LocalFile(local_root + path, form)
        except OSError:
            pass  # this process may not read it; libvirt may
    return VolumeFile(connection, path, form)


def close_files(opened: Sequence[Sequence[t.Any]]) -> None:
    """Closes all."""
    for disk in opened:
        for file in disk:
            file.close()
