# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A domain of the libvirt of these tests, and its guest's agent."""

from __future__ import annotations

import base64
import json
import typing as t
import uuid
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._hypervisor.kvm.fake_values import (
    AGENT,
    ARP,
    CONFIG,
    FOLDER,
    FORCE,
    INACTIVE,
    LIVE,
    RUNNING,
    SECURE,
    SHUTOFF,
    LibvirtError,
)

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._hypervisor.kvm.fake_libvirt import (
        Connection,
        Host,
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
        self.windows = False  # the agent speaks as that for Windows
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


def agent_command(domain: Domain, text: str, timeout: int, flags: int) -> str:
    """The guest's files through its agent, in the words of qemu-ga; an answer that is a text is given as it is."""
    assert flags == 0 and isinstance(timeout, int) and timeout > 0
    command, given = (asked := json.loads(text))["execute"], asked["arguments"]
    failed = f"internal error: unable to execute QEMU agent command '{command}': "
    if domain.files is None:
        raise LibvirtError("VIR_ERR_INTERNAL_ERROR", f"{failed}Command {command} has been disabled: the command is not allowed")
    if command == "guest-file-open":
        if given["path"] not in domain.files:
            text = f"failed to open file '{given['path']}' (mode: '{given['mode']}'): No such file or directory"
            if domain.windows:
                text = f"failed to open file '{given['path']}': Das System kann den angegebenen Pfad nicht finden."
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
