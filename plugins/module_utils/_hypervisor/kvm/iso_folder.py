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

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.image import MAX_SIZE
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import storage
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt


class NotAsWritten(DriveError):
    """A file does not hold what was written to it: it was cut short, or somebody else wrote it as well."""


class IsoFolder:
    """The folder on the KVM host that holds the ISOs, seen as a libvirt storage pool.

    A pool that exists for the folder is used; else a transient one is made, which goes with the last VM that has something
    in the folder.
    """

    def __init__(self, connection: t.Any, folder: str) -> None:
        self.folder = posixpath.normpath(folder)
        self._connection = connection
        self._pool = self._open()
        self._refresh()

    def path(self, name: str) -> str:
        """The path of a file of this folder on the KVM host."""
        return posixpath.join(self.folder, name)

    def names(self) -> list[str]:
        """All file names in the folder."""
        return self._pool.listVolumes()

    def read(self, name: str) -> bytes | None:
        """The bytes of a file, or None if there is none. Raises DriveError when it is larger than MAX_SIZE."""
        data = self.head(name, MAX_SIZE + 1)
        if data is not None and len(data) > MAX_SIZE:
            raise DriveError(
                f"{self.path(name)} is larger than {MAX_SIZE} bytes: it is no config drive; make sure that no VM uses it and "
                "delete it, or use another hypervisor.image_dir"
            )
        return data

    def head(self, name: str, count: int) -> bytes | None:
        """The first bytes of a file, at most count of them, or None if there is none."""
        volume = self._volume(name)
        if volume is None:
            return None
        parts: list[bytes] = []
        stream = self._connection.newStream(0)
        volume.download(stream, 0, count, 0)
        stream.recvAll(lambda _stream, data, _opaque: parts.append(data), None)
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

    def need_room(self, count: int) -> None:
        """Raises DriveError if the file system of the folder has no room for a file of count bytes."""
        self._refresh()
        available = self._pool.info()[3]
        if available < count:
            raise DriveError(f"{self.folder} has {available} bytes left on the KVM host, and {count} are needed: make room there")

    def delete(self, name: str) -> bool:
        """Removes the file; False if there was none."""
        return storage.delete_volume(self._pool.storageVolLookupByName, name)

    def _prove(self, name: str, data: bytes) -> None:
        written = self.read(name)
        if written is None or hashlib.sha256(written).digest() != hashlib.sha256(data).digest():
            raise NotAsWritten(f"{self.path(name)} does not hold what was written to it: run the task again")

    def _volume(self, name: str) -> t.Any:
        try:
            return self._pool.storageVolLookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_VOL:
                return None
            raise

    def _refresh(self) -> None:
        try:
            storage.refresh(self._pool)
        except libvirt.libvirtError as error:
            raise self._unusable(error) from None

    def _open(self) -> t.Any:
        try:
            return storage.folder_pool(self._connection, self.folder)
        except libvirt.libvirtError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: t.Any) -> DriveError:
        return DriveError(
            f"hypervisor.image_dir {self.folder} cannot be used on the KVM host: {error.get_error_message() or error}; "
            "make the folder there, or set hypervisor.image_dir to the one that holds the disk images"
        )


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
