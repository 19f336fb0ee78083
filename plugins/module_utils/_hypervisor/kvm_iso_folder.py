# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""ISO files on a KVM host, through libvirt's storage API: nothing of ours runs there."""

from __future__ import annotations

import hashlib
import posixpath
import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.libvirt_import import libvirt

MAX_ISO = 64 * 1024 * 1024


class IsoFolder:
    """The folder on the KVM host that holds the ISOs, seen as a libvirt storage pool.

    A pool that exists for the folder is used; else a transient one is made, and left: taking it away would pull it from
    under another controller's feet, and it is gone with the next restart of libvirt.
    """

    def __init__(self, connection: t.Any, folder: str) -> None:
        self.folder = posixpath.normpath(folder)
        self._connection = connection
        self._pool = self._find_pool() or self._make_pool()
        # Files made or removed by somebody else are known to the pool only after this.
        self._pool.refresh(0)

    def path(self, name: str) -> str:
        """The path of a file of this folder on the KVM host."""
        return posixpath.join(self.folder, name)

    def names(self) -> list[str]:
        """All file names in the folder."""
        return self._pool.listVolumes()

    def exists(self, name: str) -> bool:
        """Whether the folder has this file."""
        return self._volume(name) is not None

    def read(self, name: str) -> bytes | None:
        """The bytes of a file, or None if there is none. Raises DriveError when it is larger than MAX_ISO."""
        volume = self._volume(name)
        if volume is None:
            return None
        parts: list[bytes] = []
        got = 0

        def take(_stream: object, data: bytes, _opaque: object) -> None:
            nonlocal got
            got += len(data)
            if got > MAX_ISO:
                raise DriveError(f"{self.path(name)} is larger than {MAX_ISO} bytes: it is no config drive")
            parts.append(data)

        stream = self._connection.newStream(0)
        volume.download(stream, 0, MAX_ISO + 1, 0)
        stream.recvAll(take, None)
        stream.finish()
        return b"".join(parts)

    def write(self, name: str, data: bytes) -> None:
        """Makes the file (0600) with these bytes and proves them by reading back. The name must be free."""
        volume = self._pool.createXML(_volume_xml(name, len(data)), 0)
        stream = self._connection.newStream(0)
        volume.upload(stream, 0, len(data), 0)
        position = 0

        def give(_stream: object, count: int, _opaque: object) -> bytes:
            nonlocal position
            chunk = data[position : position + count]
            position += len(chunk)
            return chunk

        stream.sendAll(give, None)
        stream.finish()
        self._prove(name, data)

    def copy(self, source: str, name: str, data: bytes) -> None:
        """Makes the file as a copy, on the host, of another one that holds these bytes, and proves it."""
        self._pool.createXMLFrom(_volume_xml(name, len(data)), self._pool.storageVolLookupByName(source), 0)
        self._prove(name, data)

    def delete(self, name: str) -> bool:
        """Removes the file; False if there was none."""
        volume = self._volume(name)
        if volume is None:
            return False
        try:
            volume.delete(0)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
                raise
            return False
        return True

    def _prove(self, name: str, data: bytes) -> None:
        written = self.read(name)
        if written is None or hashlib.sha256(written).digest() != hashlib.sha256(data).digest():
            raise DriveError(f"{self.path(name)} does not hold what was written to it: run the task again")

    def _volume(self, name: str) -> t.Any:
        try:
            return self._pool.storageVolLookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_VOL:
                return None
            raise

    def _find_pool(self) -> t.Any:
        for pool in self._connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
            path = ET.fromstring(pool.XMLDesc(0)).findtext("target/path")
            if path is not None and posixpath.normpath(path) == self.folder:
                return pool
        return None

    def _make_pool(self) -> t.Any:
        pool = ET.Element("pool", {"type": "dir"})
        ET.SubElement(pool, "name").text = "external-dhcp-" + hashlib.sha256(self.folder.encode()).hexdigest()[:8]
        ET.SubElement(ET.SubElement(pool, "target"), "path").text = self.folder
        try:
            return self._connection.storagePoolCreateXML(ET.tostring(pool, encoding="unicode"), 0)
        except libvirt.libvirtError as error:
            found = self._find_pool()  # another task made it meanwhile
            if found is not None:
                return found
            raise DriveError(
                f"hypervisor.image_dir {self.folder} cannot be used on the KVM host: {error.get_error_message()}; "
                "make the folder there, or set hypervisor.image_dir to the one that holds the disk images"
            ) from None


def _volume_xml(name: str, size: int) -> str:
    volume = ET.Element("volume")
    ET.SubElement(volume, "name").text = name
    # Allocated at once: a full disk is found before anything is touched.
    ET.SubElement(volume, "capacity", {"unit": "bytes"}).text = str(size)
    ET.SubElement(volume, "allocation", {"unit": "bytes"}).text = str(size)
    target = ET.SubElement(volume, "target")
    ET.SubElement(target, "format", {"type": "raw"})
    ET.SubElement(ET.SubElement(target, "permissions"), "mode").text = "0600"
    return ET.tostring(volume, encoding="unicode")
