# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A libvirt in this process that knows only the calls the driver may make, with their types, and refuses all others."""

from __future__ import annotations

import importlib
import pathlib
import types
import typing as t
import uuid
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import session

if t.TYPE_CHECKING:
    import pytest

LIVE, CONFIG, FORCE, INACTIVE = 1, 2, 4, 2
AGENT, ARP = 1, 2
RUNNING, PAUSED, SHUTOFF, PMSUSPENDED = 1, 3, 5, 7
FOLDER = "/var/lib/libvirt/images"

_CODES = {
    "VIR_ERR_INTERNAL_ERROR": 1,
    "VIR_ERR_SYSTEM_ERROR": 38,
    "VIR_ERR_NO_DOMAIN": 42,
    "VIR_ERR_NO_STORAGE_VOL": 50,
    "VIR_ERR_OPERATION_INVALID": 55,
    "VIR_ERR_ARGUMENT_UNSUPPORTED": 74,
    "VIR_ERR_AGENT_UNRESPONSIVE": 86,
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
        self.log: list[tuple[str, ...]] = []
        self.trouble: t.Callable[[str, str], None] = lambda what, name: None
        self.alive = True
        self.room = 1 << 30
        self.pools = [Pool(self, "default", FOLDER)]

    def change(self, what: str, name: str) -> None:
        if not self.alive:
            raise LibvirtError("VIR_ERR_INTERNAL_ERROR", "client socket is closed")
        self.trouble(what, name)
        self.log.append((what, name))

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
            VIR_DOMAIN_RUNNING=RUNNING,
            VIR_DOMAIN_BLOCKED=2,
            VIR_DOMAIN_PAUSED=PAUSED,
            VIR_DOMAIN_SHUTDOWN=4,
            VIR_DOMAIN_PMSUSPENDED=PMSUSPENDED,
            VIR_DOMAIN_XML_INACTIVE=INACTIVE,
            VIR_DOMAIN_AFFECT_LIVE=LIVE,
            VIR_DOMAIN_AFFECT_CONFIG=CONFIG,
            VIR_DOMAIN_DEVICE_MODIFY_FORCE=FORCE,
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
        assert flags == 0
        self._host.trouble("list", "")
        return list(self._host.domains.values())

    def listAllStoragePools(self, flags: int) -> list[Pool]:
        assert flags == 0
        return self._host.pools

    def storagePoolCreateXML(self, xml: str, flags: int) -> Pool:
        assert flags == 0
        element = ET.fromstring(xml)
        path = element.findtext("target/path")
        assert element.get("type") == "dir" and path
        self._host.change("pool", path)
        self._host.pools.append(Pool(self._host, element.findtext("name") or "", path))
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


class Pool:
    def __init__(self, host: Host, name: str, path: str) -> None:
        self._host = host
        self._name = name
        self._path = path
        self.active = True

    def XMLDesc(self, flags: int) -> str:
        assert flags == 0
        return f"<pool type='dir'><name>{self._name}</name><target><path>{self._path}</path></target></pool>"

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

    def listVolumes(self) -> list[str]:
        assert self.active
        return list(self._host.files)

    def storageVolLookupByName(self, name: str) -> Volume:
        if name not in self._host.files:
            raise LibvirtError("VIR_ERR_NO_STORAGE_VOL", f"Storage volume not found: {name}")
        return Volume(self._host, name)

    def createXML(self, xml: str, flags: int) -> Volume:
        assert flags == 0
        name, size = self._description(xml)
        self._host.change("create", name)
        self._host.files[name] = b"\0" * size
        return Volume(self._host, name)

    def createXMLFrom(self, xml: str, source: Volume, flags: int) -> Volume:
        assert flags == 0
        name, _size = self._description(xml)
        self._host.change("copy", name)
        self._host.files[name] = self._host.files[source.name]
        return Volume(self._host, name)

    def _description(self, xml: str) -> tuple[str, int]:
        volume = ET.fromstring(xml)
        name = volume.findtext("name") or ""
        assert volume.findtext("target/permissions/mode") == "0600"
        if name in self._host.files:
            raise LibvirtError("VIR_ERR_STORAGE_VOL_EXIST", f"storage volume '{name}' exists already")
        return name, int(volume.findtext("capacity") or 0)


class Volume:
    def __init__(self, host: Host, name: str) -> None:
        self._host = host
        self.name = name

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
        return 0


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
    ) -> None:
        self._host = host
        self._name = name
        self._uuid = str(uuid.uuid5(uuid.NAMESPACE_OID, name))
        self._state = state
        self._persistent = persistent
        self.answers = answers
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

    def name(self) -> str:
        return self._name

    def UUIDString(self) -> str:
        return self._uuid.upper()

    def state(self) -> list[int]:
        self._host.trouble("state", self._name)
        return [self._state, 0]

    def isActive(self) -> int:
        return int(self._state != SHUTOFF)

    def isPersistent(self) -> int:
        return int(self._persistent)

    def XMLDesc(self, flags: int) -> str:
        assert flags in (0, INACTIVE)
        self._host.trouble("xml", self._name)
        return self.config if flags == INACTIVE or not self.isActive() else self.live

    def inserted(self, target: str, live: bool = False) -> str | None:
        for disk in ET.fromstring(self.live if live else self.config).iter("disk"):
            if disk.find("target").get("dev") == target:
                source = disk.find("source")
                return None if source is None else source.get("file")
        raise AssertionError(f"{self._name} has no drive {target}")

    def updateDeviceFlags(self, xml: str, flags: int) -> int:
        assert flags in (LIVE, LIVE | FORCE, CONFIG)
        assert flags != CONFIG or self._persistent
        assert flags == CONFIG or self.isActive()
        new = ET.fromstring(xml)
        assert new.get("device") == "cdrom" and new.find("driver").get("cache") == "none", "the drive's settings are lost"
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
                devices[position] = new
                return ET.tostring(domain, encoding="unicode")
        raise AssertionError(f"{self._name} has no drive {target} to update")

    def attachDeviceFlags(self, xml: str, flags: int) -> int:
        assert flags == CONFIG and self._persistent
        disk = ET.fromstring(xml)
        disk.find("driver").set("cache", "none")
        self._host.change("attach config", disk.find("target").get("dev"))
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


def install(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    """Every file of the driver that talks to libvirt talks to this host instead."""
    for path in sorted(pathlib.Path(session.__file__).parent.glob("*.py")):
        module = importlib.import_module(f"{session.__package__}.{path.stem}")
        if hasattr(module, "libvirt"):
            monkeypatch.setattr(module, "libvirt", host.module())
    monkeypatch.setattr(session, "_serve_events", lambda: None)
