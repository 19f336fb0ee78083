# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The storage of the libvirt of these tests: pools, volumes, and the streams that carry their bytes."""

from __future__ import annotations

import dataclasses
import posixpath
import time
import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._hypervisor.kvm.fake_values import (
    FOLDER,
    LibvirtError,
)

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._hypervisor.kvm.fake_libvirt import Host


class Stream:
    def __init__(self) -> None:
        self.source: bytes | None = None
        self.sink: t.Callable[[bytes], None] | None = None

    def recvAll(self, handler: t.Callable[[Stream, bytes, t.Any], t.Any], opaque: t.Any) -> None:
        assert self.source is not None
        for at in range(0, len(self.source), 100_000):
            handler(self, self.source[at : at + 100_000], opaque)

    def sendAll(self, handler: t.Callable[[Stream, int, t.Any], bytes], opaque: t.Any) -> None:
        assert self.sink is not None
        data = b""
        while True:
            part = handler(self, 100_000, opaque)
            if not part:
                break
            data += part
        self.sink(data)

    def finish(self) -> int:
        return 0


@dataclasses.dataclass
class Disk:
    """What libvirt knows of a disk's file: what is in it, its size for the guest and on the host, and its backing file."""

    form: str = "qcow2"
    capacity: int = 10 << 30
    allocation: int = 200 * 1024
    base: str | None = None
    base_form: str | None = None


class Pool:
    def __init__(self, host: Host, name: str, path: str, kind: str = "dir", persistent: bool = True) -> None:
        self._host = host
        self._name = name
        self.folder = path
        self._kind = kind
        self._persistent = persistent
        self.active = True

    def name(self) -> str:
        return self._name

    def XMLDesc(self, flags: int) -> str:
        assert flags == 0
        return f"<pool type='{self._kind}'><name>{self._name}</name><target><path>{self.folder}</path></target></pool>"

    def isPersistent(self) -> int:
        return int(self._persistent)

    def destroy(self) -> int:
        assert not self._persistent, "somebody else's pool is stopped"
        self._host.change("stop pool", self._name)
        self._host.pools.remove(self)
        return 0

    def listAllVolumes(self, flags: int) -> list[Volume]:
        assert flags == 0 and self.active
        if "/." in self.folder:
            folder = posixpath.normpath(self.folder)
            return [Volume(self._host, path) for path in self._host.elsewhere if posixpath.dirname(path) == folder]
        return [Volume(self._host, name, self.folder) for name in self._host.files]

    def isActive(self) -> int:
        return int(self.active)

    def create(self, flags: int) -> int:
        assert flags == 0
        self._host.change("start pool", self._name)
        self.active = True
        return 0

    def refresh(self, flags: int) -> int:
        assert flags == 0 and self.active
        self._host.trouble("refresh", self._name)
        return 0

    def info(self) -> list[int]:
        return [2, 1 << 40, 0, self._host.room]

    def _there(self) -> None:
        if self not in self._host.pools:
            raise LibvirtError("VIR_ERR_NO_STORAGE_POOL", f"Storage pool not found: {self._name}")

    def listVolumes(self) -> list[str]:
        self._there()
        assert self.active
        return list(self._host.files)

    def storageVolLookupByName(self, name: str) -> Volume:
        self._there()
        if name not in self._host.files:
            raise LibvirtError("VIR_ERR_NO_STORAGE_VOL", f"Storage volume not found: {name}")
        return Volume(self._host, name)

    def createXML(self, xml: str, flags: int) -> Volume:
        assert flags == 0
        name, size = self._description(xml)
        self._host.change("create", name)
        self._host.files[name] = b"\0" * (size if size < 1 << 20 else 0)
        volume = ET.fromstring(xml)
        base = volume.findtext("backingStore/path")
        if base is not None or volume.find("target/format").get("type") == "qcow2":
            present = None if base is None else self._host.disks.get(base.rpartition("/")[2])
            self._host.disks[name] = Disk(
                capacity=size or (0 if present is None else present.capacity),
                base=base,
                base_form=None if base is None else volume.find("backingStore/format").get("type"),
            )
        return Volume(self._host, name)

    def createXMLFrom(self, xml: str, source: Volume, flags: int) -> Volume:
        assert flags == 0
        name, _size = self._description(xml)
        self._host.change("copy", name)
        self._host.files[name] = self._host.files[source.name]
        if source.name in self._host.disks:
            form = ET.fromstring(xml).find("target/format").get("type")
            self._host.disks[name] = dataclasses.replace(self._host.disks[source.name], base=None, base_form=None, form=form)
        self._host.written[name] = time.time()
        return Volume(self._host, name)

    def _description(self, xml: str) -> tuple[str, int]:
        volume = ET.fromstring(xml)
        name = volume.findtext("name") or ""
        assert volume.findtext("target/permissions/mode") == "0600"
        form = volume.find("target/format").get("type")
        assert form != "qcow2" or volume.findtext("target/compat") == "1.1", "libvirt's default is the format of 2010"
        if name in self._host.files:
            raise LibvirtError("VIR_ERR_STORAGE_VOL_EXIST", f"storage volume '{name}' exists already")
        return name, int(volume.findtext("capacity") or 0)


class Volume:
    def __init__(self, host: Host, name: str, folder: str = FOLDER) -> None:
        self._host = host
        self.name = name
        self.folder = folder

    def download(self, stream: Stream, offset: int, length: int, flags: int) -> int:
        assert flags == 0
        stream.source = self._host.files[self.name][offset : offset + length]
        return 0

    def upload(self, stream: Stream, offset: int, length: int, flags: int) -> int:
        assert flags == 0 and offset == 0
        self._host.change("upload", self.name)

        def sink(data: bytes) -> None:
            assert len(data) == length
            self._host.files[self.name] = data

        stream.sink = sink
        return 0

    def delete(self, flags: int) -> int:
        assert flags == 0
        self._host.change("delete", self.name)
        if self.name not in self._host.files:
            raise LibvirtError("VIR_ERR_NO_STORAGE_VOL", "gone")
        del self._host.files[self.name]
        self._host.disks.pop(self.name, None)
        return 0

    def path(self) -> str:
        return posixpath.join(self.folder, self.name)

    def resize(self, size: int, flags: int) -> int:
        assert flags == 0 and size >= self._host.disks[self.name].capacity, "a disk shrinks"
        self._host.change("resize", self.name)
        self._host.disks[self.name].capacity = size
        self._host.written[self.name] = time.time()
        return 0

    def XMLDesc(self, flags: int) -> str:
        assert flags == 0
        disk = self._host.elsewhere.get(self.name) or self._host.disks.get(self.name)
        disk = disk or Disk("raw", len(self._host.files[self.name]))
        base = "" if disk.base is None else f"<backingStore><path>{disk.base}</path></backingStore>"
        written = self._host.written.get(self.name, time.time())
        kind = "block" if self.path().startswith("/dev/") else "file"
        return (
            f"<volume type='{kind}'><name>{self.name}</name><capacity>{disk.capacity}</capacity><allocation>{disk.allocation}</allocation>"
            f"<target><path>{self.path()}</path><format type='{disk.form}'/><permissions><mode>0600</mode><owner>64055</owner>"
            f"<group>64055</group></permissions><timestamps><mtime>{written:.9f}</mtime></timestamps></target>{base}</volume>"
        )
