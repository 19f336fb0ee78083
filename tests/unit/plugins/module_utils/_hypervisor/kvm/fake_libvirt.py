# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A libvirt in this process that knows only the calls the driver may make, with their types, and refuses all others."""

from __future__ import annotations

import base64
import dataclasses
import importlib
import json
import pathlib
import posixpath
import time
import types
import typing as t
import uuid
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import session

if t.TYPE_CHECKING:
    import pytest

LIVE, CONFIG, FORCE, INACTIVE, SECURE = 1, 2, 4, 2, 1
ACTIVE, SAVED = 1, 256
AGENT, ARP = 1, 2
RUNNING, PAUSED, SHUTOFF, PMSUSPENDED = 1, 3, 5, 7
FOLDER = "/var/lib/libvirt/images"

_CODES = {
    "VIR_ERR_INTERNAL_ERROR": 1,
    "VIR_ERR_INVALID_ARG": 8,
    "VIR_ERR_OPERATION_FAILED": 9,
    "VIR_ERR_OPERATION_DENIED": 29,
    "VIR_ERR_SYSTEM_ERROR": 38,
    "VIR_ERR_NO_DOMAIN": 42,
    "VIR_ERR_NO_STORAGE_POOL": 49,
    "VIR_ERR_NO_STORAGE_VOL": 50,
    "VIR_ERR_OPERATION_INVALID": 55,
    "VIR_ERR_OPERATION_TIMEOUT": 68,
    "VIR_ERR_ARGUMENT_UNSUPPORTED": 74,
    "VIR_ERR_MIGRATE_UNSAFE": 81,
    "VIR_ERR_AGENT_UNRESPONSIVE": 86,
    "VIR_ERR_ACCESS_DENIED": 88,
    "VIR_ERR_STORAGE_VOL_EXIST": 90,
}


class LibvirtError(Exception):
    """As libvirt.libvirtError: code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self._code = _CODES[code]

    def get_error_code(self) -> int:
        return self._code

    def get_error_message(self) -> str:
        return str(self)


class Host:
    """A KVM host: its domains, the files in its image folder, and every change that was made, in order.

    trouble: called with (what, name) before each change; it raises what is to go wrong.
    """

    def __init__(self) -> None:
        self.domains: dict[str, Domain] = {}
        self.files: dict[str, bytes] = {}
        self.written: dict[str, float] = {}  # seconds since the epoch; now, for what is not in it
        self.log: list[tuple[str, ...]] = []
        self.trouble: t.Callable[[str, str], None] = lambda what, name: None
        self.alive = True
        self.room = 1 << 30
        self.pools = [Pool(self, "default", FOLDER)]
        self.disks: dict[str, Disk] = {}
        self.elsewhere: dict[str, Disk] = {}  # files outside of the image folder by path; the first are all in that one
        self.networks = ["corp"]
        self.links = ["br0", "br1"]
        self.kinds = ["kvm", "qemu"]  # of domains
        self.calls = 0
        self.starts = 0

    def change(self, what: str, name: str) -> None:
        self.calls += 1
        if not self.alive:
            raise LibvirtError("VIR_ERR_INTERNAL_ERROR", "client socket is closed")
        self.trouble(what, name)
        self.log.append((what, name))

    def disk(self, name: str, **options: t.Any) -> str:
        """A disk in the image folder; its path."""
        self.files[name] = b""
        self.disks[name] = Disk(**options)
        return f"{FOLDER}/{name}"

    def define(self, xml: str) -> Domain:
        """A VM with this definition, as somebody else made it."""
        found = Domain(self, ET.fromstring(xml).findtext("name") or "", xml=xml)
        self.domains[found.name()] = found
        return found

    def domain(self, name: str, *drives: tuple[str, str | None], **options: t.Any) -> Domain:
        self.domains[name] = Domain(self, name, drives, **options)
        return self.domains[name]

    def module(self) -> types.SimpleNamespace:
        """To stand in for the module libvirt."""
        return types.SimpleNamespace(
            libvirtError=LibvirtError,
            open=self.open,
            virEventRegisterDefaultImpl=lambda: None,
            virEventRunDefaultImpl=lambda: None,
            VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE=2,
            VIR_CONNECT_LIST_DOMAINS_ACTIVE=ACTIVE,
            VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE=SAVED,
            VIR_DOMAIN_XML_SECURE=SECURE,
            VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN=1,
            VIR_DOMAIN_SHUTDOWN_GUEST_AGENT=2,
            VIR_DOMAIN_UNDEFINE_MANAGED_SAVE=1,
            VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA=2,
            VIR_DOMAIN_UNDEFINE_NVRAM=4,
            VIR_DOMAIN_UNDEFINE_KEEP_NVRAM=8,
            VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA=16,
            VIR_DOMAIN_UNDEFINE_TPM=32,
            VIR_DOMAIN_RUNNING=RUNNING,
            VIR_DOMAIN_BLOCKED=2,
            VIR_DOMAIN_PAUSED=PAUSED,
            VIR_DOMAIN_SHUTDOWN=4,
            VIR_DOMAIN_PMSUSPENDED=PMSUSPENDED,
            VIR_DOMAIN_XML_INACTIVE=INACTIVE,
            VIR_DOMAIN_AFFECT_LIVE=LIVE,
            VIR_DOMAIN_AFFECT_CONFIG=CONFIG,
            VIR_DOMAIN_DEVICE_MODIFY_FORCE=FORCE,
            VIR_DOMAIN_METADATA_ELEMENT=2,
            VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT=AGENT,
            VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP=ARP,
            **_CODES,
        )

    def open(self, uri: str) -> Connection:
        assert isinstance(uri, str)
        return Connection(self)


class Connection:
    def __init__(self, host: Host) -> None:
        self._host = host

    def setKeepAlive(self, interval: int, count: int) -> int:
        assert interval > 0 and count > 0
        return 0

    def isAlive(self) -> int:
        return int(self._host.alive)

    def listAllDomains(self, flags: int) -> list[Domain]:
        assert flags in (0, ACTIVE, SAVED)
        self._host.trouble("list", "")
        self._host.calls += 1
        found = list(self._host.domains.values())
        for domain in found:
            domain.connection = self
        if flags == ACTIVE:
            self._host.trouble("look", "")
            return [domain for domain in found if domain.isActive()]
        return [domain for domain in found if domain.saved] if flags == SAVED else found

    def lookupByUUIDString(self, text: str) -> Domain:
        for domain in self._host.domains.values():
            if domain.UUIDString().lower() == text:
                domain.connection = self
                return domain
        raise LibvirtError("VIR_ERR_NO_DOMAIN", "Domain not found")

    def defineXMLFlags(self, xml: str, flags: int) -> Domain:
        assert flags == 0
        new = ET.fromstring(xml)
        name, vm_id = new.findtext("name") or "", new.findtext("uuid") or ""
        self._host.change("define", name)
        present = self._host.domains.get(name)
        if present is not None and present.UUIDString().lower() != vm_id.lower():
            raise LibvirtError("VIR_ERR_OPERATION_FAILED", f"domain '{name}' already exists with uuid {present.UUIDString()}")
        if present is not None:
            present.config = xml
            return present
        return self._host.define(xml)

    def getLibVersion(self) -> int:
        return 9_000_000

    def getInfo(self) -> list[t.Any]:
        return ["x86_64", 16384, 4]

    def getDomainCapabilities(self, emulator: str | None, arch: str, machine: str, kind: str, flags: int) -> str:
        assert (emulator, arch, flags) == (None, "x86_64", 0) and machine in ("pc", "q35")
        if kind not in self._host.kinds:
            raise LibvirtError("VIR_ERR_INVALID_ARG", f"the accel '{kind}' is not supported by '/usr/bin/qemu-system-x86_64'")
        return "<domainCapabilities/>"

    def storagePoolLookupByName(self, name: str) -> Pool:
        for pool in self._host.pools:
            if pool.name() == name:
                return pool
        raise LibvirtError("VIR_ERR_NO_STORAGE_POOL", f"Storage pool not found: no storage pool with matching name '{name}'")

    def storageVolLookupByPath(self, path: str) -> Volume:
        folder, _slash, name = path.rpartition("/")
        if name not in self._host.files or not any(pool.folder == folder and pool.active for pool in self._host.pools):
            raise LibvirtError("VIR_ERR_NO_STORAGE_VOL", f"Storage volume not found: no storage vol with matching path '{path}'")
        return Volume(self._host, name)

    def listAllNetworks(self, flags: int) -> list[Named]:
        assert flags == 0
        return [Named(name) for name in self._host.networks]

    def listAllInterfaces(self, flags: int) -> list[Named]:
        assert flags == 0
        return [Named(name) for name in self._host.links]

    def listAllStoragePools(self, flags: int) -> list[Pool]:
        assert flags in (0, 2)
        return [pool for pool in self._host.pools if not flags or pool.active]

    def storagePoolCreateXML(self, xml: str, flags: int) -> Pool:
        assert flags == 0
        element = ET.fromstring(xml)
        path = element.findtext("target/path")
        assert element.get("type") == "dir" and path
        if any(pool.folder == path for pool in self._host.pools):
            raise LibvirtError("VIR_ERR_OPERATION_FAILED", "Storage source conflict with pool")
        if "/." in path and not any(disk.startswith(posixpath.normpath(path) + "/") for disk in self._host.elsewhere):
            raise LibvirtError("VIR_ERR_SYSTEM_ERROR", f"cannot open directory '{path}': No such file or directory")
        self._host.change("pool", path)
        self._host.pools.append(Pool(self._host, element.findtext("name") or "", path, persistent=False))
        return self._host.pools[-1]

    def newStream(self, flags: int) -> Stream:
        assert flags == 0
        return Stream()

    def close(self) -> int:
        return 0


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


class Named:
    """A network or host device: its name and what its definition holds."""

    def __init__(self, name: str, xml: str = "<network/>") -> None:
        self._name = name
        self._xml = xml

    def name(self) -> str:
        return self._name

    def XMLDesc(self, flags: int) -> str:
        assert flags == 0
        return self._xml


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


class Domain:
    """drives: (target, file) of its CD/DVD drives; the bus is told by the target's first letter."""

    def __init__(
        self,
        host: Host,
        name: str,
        drives: t.Sequence[tuple[str, str | None]] = (("hdc", None), ("hdd", None)),
        state: int = SHUTOFF,
        persistent: bool = True,
        macs: t.Sequence[str] = ("52:54:00:00:00:01",),
        machine: str = "pc",
        answers: t.Any = None,
        xml: str | None = None,
    ) -> None:
        self._host = host
        self._name = name
        self._uuid = ET.fromstring(xml or "<x/>").findtext("uuid") or str(uuid.uuid5(uuid.NAMESPACE_OID, name))
        self.connection: Connection | None = None
        self.saved = False
        self.snapshots = 0
        self.obeys: tuple[str, ...] = ("acpi",)  # what makes the guest shut down: acpi, agent
        self._state = state
        host.starts += 1
        self._number = host.starts
        self._persistent = persistent
        self.answers = answers
        self.files: dict[str, bytes | str] | None = None  # what the agent gives; None: it refuses to
        self.opened: list[str] = []
        self.closed: list[str] = []
        devices = "".join(
            "<disk type='file' device='cdrom'><driver name='qemu' type='raw' cache='none'/>"
            + (f"<source file='{file}'/>" if file else "")
            + f"<target dev='{target}' bus='{'ide' if target[0] == 'h' else 'sata'}'/><readonly/></disk>"
            for target, file in drives or (("hdc", None), ("hdd", None))
        )
        devices += "".join(f"<interface type='bridge'><mac address='{mac}'/><source bridge='br0'/></interface>" for mac in macs)
        self.config = self.live = (
            f"<domain><name>{name}</name><os><type machine='{machine}'>hvm</type></os><devices>{devices}</devices></domain>"
        )

        if xml is not None:
            self.config = self.live = xml

    def name(self) -> str:
        return self._name

    def connect(self) -> Connection | None:
        return self.connection

    def ID(self) -> int:
        return self._number if self._state != SHUTOFF else -1

    def _there(self) -> None:
        if all(domain is not self for domain in self._host.domains.values()):
            raise LibvirtError(
                "VIR_ERR_NO_DOMAIN", f"Domain not found: no domain with matching uuid '{self._uuid}' ({self._name})"
            )

    def snapshotNum(self, flags: int) -> int:
        assert flags == 0
        return self.snapshots

    def createWithFlags(self, flags: int) -> int:
        assert flags == 0
        self._host.change("start", self._name)
        if self.isActive():
            raise LibvirtError("VIR_ERR_OPERATION_INVALID", "domain is already running")
        self._state = RUNNING
        self._host.starts += 1
        self._number = self._host.starts
        self.live = self.config  # what was set in the running one alone is gone
        return 0

    def shutdownFlags(self, flags: int) -> int:
        way = {1: "acpi", 2: "agent"}[flags]
        self._host.change(f"shutdown {way}", self._name)
        if not self.isActive():
            raise LibvirtError("VIR_ERR_OPERATION_INVALID", "domain is not running")
        if way in self.obeys:
            self._state = SHUTOFF
        return 0

    def destroyFlags(self, flags: int) -> int:
        assert flags == 0
        self._host.change("destroy", self._name)
        if not self.isActive():
            raise LibvirtError("VIR_ERR_OPERATION_INVALID", "domain is not running")
        self._state = SHUTOFF
        return 0

    def undefineFlags(self, flags: int) -> int:
        # As libvirt before 8.9, which knows no flag for the TPM.
        if flags & 32:
            raise LibvirtError("VIR_ERR_INVALID_ARG", "unsupported flags (0x20) in function qemuDomainUndefineFlags")
        assert flags & 3 == 3 and bool(flags & 4) != bool(flags & 8)
        assert not self.isActive()
        self._host.change("undefine keeping NVRAM" if flags & 8 else "undefine", self._name)
        del self._host.domains[self._name]
        return 0

    def UUIDString(self) -> str:
        return self._uuid.upper()

    def state(self) -> list[int]:
        self._host.trouble("state", self._name)
        return [self._state, 0]

    def isActive(self) -> int:
        self._there()
        return int(self._state != SHUTOFF)

    def isPersistent(self) -> int:
        self._there()
        return int(self._persistent)

    def XMLDesc(self, flags: int) -> str:
        assert flags in (0, INACTIVE, INACTIVE | SECURE)
        self._host.trouble("xml", self._name)
        self._host.calls += 1
        self._there()
        return self.config if flags & INACTIVE or not self.isActive() else self.live

    def inserted(self, target: str, live: bool = False) -> str | None:
        for disk in ET.fromstring(self.live if live else self.config).iter("disk"):
            if disk.find("target").get("dev") == target:
                source = disk.find("source")
                return None if source is None else source.get("file")
        raise AssertionError(f"{self._name} has no drive {target}")

    def updateDeviceFlags(self, xml: str, flags: int) -> int:
        self._there()
        assert flags in (LIVE, LIVE | FORCE, CONFIG)
        assert flags != CONFIG or self._persistent
        assert flags == CONFIG or self.isActive()
        new = ET.fromstring(xml)
        assert new.get("device") == "cdrom"
        target, source = new.find("target").get("dev"), new.find("source")
        where = {LIVE: "live", LIVE | FORCE: "live force", CONFIG: "config"}[flags]
        self._host.change(f"{'eject' if source is None else 'insert'} {where}", target)
        if source is not None and source.get("file", "").startswith(f"{FOLDER}/"):
            assert source.get("file").rsplit("/", 1)[1] in self._host.files, "an ISO is inserted that is not there"
        if flags == CONFIG:
            self.config = self._replace(self.config, target, new)
        else:
            self.live = self._replace(self.live, target, new)
        return 0

    def _replace(self, text: str, target: str, new: ET.Element) -> str:
        domain = ET.fromstring(text)
        devices = domain.find("devices")
        for position, disk in enumerate(devices):
            if disk.tag == "disk" and disk.find("target").get("dev") == target:
                present = disk.find("driver")
                lost = present is not None and present.get("cache") != new.find("driver").get("cache")
                assert not lost, "the drive's settings are lost"
                devices[position] = new
                return ET.tostring(domain, encoding="unicode")
        raise AssertionError(f"{self._name} has no drive {target} to update")

    def setMetadata(self, kind: int, xml: str | None, key: str | None, uri: str, flags: int) -> int:
        """As libvirt does: the element is replaced, put into the namespace, and None takes it away."""
        assert kind == 2 and flags in (LIVE, CONFIG) and (key is None) == (xml is None)
        assert self.isActive() if flags == LIVE else self._persistent
        where = "live" if flags == LIVE else "config"
        self._host.change(f"note {where} {'nothing' if xml is None else ET.fromstring(xml).items()[0][0]}", self._name)
        domain = ET.fromstring(getattr(self, where))
        metadata = domain.find("metadata")
        if metadata is None:
            metadata = ET.SubElement(domain, "metadata")
        for old in [child for child in metadata if child.tag.startswith(f"{{{uri}}}")]:
            metadata.remove(old)
        if xml is not None:
            new = ET.fromstring(xml)
            new.tag = f"{{{uri}}}{new.tag}"
            metadata.append(new)
        setattr(self, where, ET.tostring(domain, encoding="unicode"))
        return 0

    def attachDeviceFlags(self, xml: str, flags: int) -> int:
        self._there()
        assert flags == CONFIG and self._persistent
        disk = ET.fromstring(xml)
        if disk.tag == "controller":
            self._host.change("attach config", disk.get("type") or "")
        else:
            disk.find("driver").set("cache", "none")
            self._host.change("attach config", disk.find("target").get("dev"))
            virtio = any((c.get("model") or "").startswith("virtio") for c in ET.fromstring(self.config).iter("controller"))
            assert disk.find("target").get("bus") != "scsi" or virtio, "libvirt would add a controller that few guests know"
        domain = ET.fromstring(self.config)
        domain.find("devices").append(disk)
        self.config = ET.tostring(domain, encoding="unicode")
        return 0

    def interfaceAddresses(self, source: int, flags: int) -> t.Any:
        assert flags == 0 and source in (AGENT, ARP)
        answer = self.answers(source) if callable(self.answers) else self.answers
        if isinstance(answer, Exception):
            raise answer
        return answer


def _agent_command(domain: Domain, text: str, timeout: int, flags: int) -> str:
    """The guest's files through its agent, in the words of qemu-ga; an answer that is a text is given as it is."""
    assert flags == 0 and isinstance(timeout, int) and timeout > 0
    command, given = (asked := json.loads(text))["execute"], asked["arguments"]
    failed = f"internal error: unable to execute QEMU agent command '{command}': "
    if domain.files is None:
        raise LibvirtError("VIR_ERR_INTERNAL_ERROR", f"{failed}Command {command} has been disabled: the command is not allowed")
    if command == "guest-file-open":
        if given["path"] not in domain.files:
            text = f"failed to open file '{given['path']}' (mode: '{given['mode']}'): No such file or directory"
            raise LibvirtError("VIR_ERR_INTERNAL_ERROR", failed + text)
        domain.opened.append(given["path"])
        return json.dumps({"return": 1000 + len(domain.opened)})
    path = domain.opened[given["handle"] - 1001]
    if command == "guest-file-close":
        domain.closed.append(path)
        return '{"return": {}}'
    assert command == "guest-file-read" and given["count"] > 0
    found = domain.files[path]
    if isinstance(found, str):
        return found
    part = found[: given["count"]]
    return json.dumps({"return": {"count": len(part), "buf-b64": base64.b64encode(part).decode(), "eof": part == found}})


def install(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    """Every file of the driver that talks to libvirt talks to this host instead."""
    for path in sorted(pathlib.Path(session.__file__).parent.glob("*.py")):
        module = importlib.import_module(f"{session.__package__}.{path.stem}")
        if hasattr(module, "libvirt"):
            monkeypatch.setattr(module, "libvirt", host.module())
        if hasattr(module, "_PAUSE"):
            monkeypatch.setattr(module, "_PAUSE", (0, 0))  # between two tries
        if hasattr(module, "libvirt_qemu"):
            monkeypatch.setattr(module, "libvirt_qemu", types.SimpleNamespace(qemuAgentCommand=_agent_command))
    monkeypatch.setattr(session, "_serve_events", lambda: None)
