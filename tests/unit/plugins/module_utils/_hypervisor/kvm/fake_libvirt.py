# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A libvirt in this process that knows only the calls the driver may make, with their types, and refuses all others."""

from __future__ import annotations

import importlib
import pathlib
import posixpath
import types
import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import session
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._hypervisor.kvm.fake_domain import (
    Domain,
    agent_command,
)
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._hypervisor.kvm.fake_storage import (
    Disk,
    Pool,
    Stream,
    Volume,
)
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._hypervisor.kvm.fake_values import (
    ACTIVE,
    AGENT,
    ARP,
    CODES,
    CONFIG,
    FOLDER,
    FORCE,
    INACTIVE,
    LIVE,
    PAUSED,
    PMSUSPENDED,
    RUNNING,
    SAVED,
    SECURE,
    SHUTOFF,
    LibvirtError,
)

if t.TYPE_CHECKING:
    import pytest

# What tests use of the other files.
__all__ = ["SHUTOFF", "Disk", "Domain", "LibvirtError", "Pool", "install"]


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
            **CODES,
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


def install(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    """Every file of the driver that talks to libvirt talks to this host instead."""
    for path in sorted(pathlib.Path(session.__file__).parent.glob("*.py")):
        module = importlib.import_module(f"{session.__package__}.{path.stem}")
        if hasattr(module, "libvirt"):
            monkeypatch.setattr(module, "libvirt", host.module())
        if hasattr(module, "_PAUSE"):
            monkeypatch.setattr(module, "_PAUSE", (0, 0))  # between two tries
        if hasattr(module, "libvirt_qemu"):
            monkeypatch.setattr(module, "libvirt_qemu", types.SimpleNamespace(qemuAgentCommand=agent_command))
    monkeypatch.setattr(session, "_serve_events", lambda: None)
