# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""VMware vSphere through pyVmomi: a vCenter or a stand-alone ESXi host.

The id of a VM is its instance UUID, which a vCenter keeps unique; its BIOS UUID where a host has given none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import (
    REASON_HYPERVISOR_UNREACHABLE,
    REASON_NO_GUEST_TOOLS,
    REASON_NO_LEASE,
    REASON_SOURCE_UNAVAILABLE,
    REASON_VM_NOT_FOUND,
    REASON_VM_NOT_RUNNING,
    SOURCE_TOOLS,
    Reading,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import vmware_devices as devices_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    POWER_RUNNING,
    POWER_STOPPED,
    POWER_SUSPENDED,
    HypervisorError,
    MissingLibrary,
    Nic,
    Observation,
    Vm,
    VmList,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.pyvmomi_import import IMPORT_TRACEBACK, vim
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware_drive import VMwareDrives
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware_objects import (
    VIM,
    ObjectSpec,
    child_text,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware_session import Endpoint, Session

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from xml.etree.ElementTree import Element

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveChange, DriveError, DriveState
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware_objects import ObjectData

_POWER = {"poweredOn": POWER_RUNNING, "poweredOff": POWER_STOPPED, "suspended": POWER_SUSPENDED}

_VM_PROPERTIES = (
    "name",
    "config.template",
    "config.instanceUuid",
    "config.uuid",
    "config.hardware.device",
    "runtime.powerState",
    "runtime.connectionState",
)
_GUEST_PROPERTIES = (
    "runtime.powerState",
    "guest.toolsRunningStatus",
    "guest.toolsVersionStatus2",
    "guest.net",
    "guest.ipAddress",
)
# Bounds on what one guest may make us carry: interfaces, addresses of one of them, characters of a text.
_MAX_INTERFACES = 256
_MAX_ADDRESSES = 64
_MAX_TEXT = 64
# States of an address in which nobody can reach the guest by it.
_DEAD_STATES = frozenset(("duplicate", "inaccessible", "invalid", "tentative"))


@dataclasses.dataclass(frozen=True)
class Handle:
    """What the driver keeps of a VM. cards: keys of its network cards, in the order of Vm.nics."""

    reference: str
    cards: tuple[int, ...] = ()


def connect(description: Mapping[str, t.Any]) -> VMware:
    """Logs in to the server that description['host'] names.

    What is not set comes from the environment variables that the VMware collections use (VMWARE_HOST, VMWARE_USER, ...).
    """
    if vim is None:
        raise MissingLibrary("pyVmomi", "https://github.com/vmware/pyvmomi", IMPORT_TRACEBACK)
    return VMware(Session(_endpoint(description)), description.get("datacenter"), description.get("folder"))


def _endpoint(description: Mapping[str, t.Any]) -> Endpoint:
    def value(option: str, *variables: str) -> t.Any:
        given = description.get(option)
        return given if given is not None else next((os.environ[v] for v in variables if os.environ.get(v)), None)

    def number(option: str, default: int, *variables: str) -> int:
        text = value(option, *variables)
        try:
            found = int(text) if text is not None else default
        except ValueError:
            found = 0
        if not 0 < found < 65536:
            raise HypervisorError(f"hypervisor.{option} is {text!r}: it must be a TCP port, 1 to 65535")
        return found

    host = value("host", "VMWARE_HOST")
    username = value("username", "VMWARE_USER")
    password = value("password", "VMWARE_PASSWORD")
    for option, found in (("host", host), ("username", username), ("password", password)):
        if not found:
            raise HypervisorError(f"hypervisor.{option} is not set: for hypervisor.type vmware it is needed")
    if "/" in host:
        raise HypervisorError(f"hypervisor.host is {host!r}: give the name or address alone, such as vcenter.example.com")
    timeout = float(description.get("connect_timeout") or 30)
    ca_path = description.get("ca_path")
    verify = description.get("validate_certs")
    return Endpoint(
        host=host,
        port=number("port", 443, "VMWARE_PORT"),
        username=username,
        password=password,
        verify=True if verify is None else bool(verify),
        ca_path=os.path.expanduser(ca_path) if ca_path else None,
        proxy_host=value("proxy_host", "VMWARE_PROXY_HOST"),
        proxy_port=number("proxy_port", 8080, "VMWARE_PROXY_PORT"),
        timeout=timeout,
    )


class VMware:
    """See api.Hypervisor."""

    type = "vmware"
    default_sources: tuple[str, ...] = (SOURCE_TOOLS,)
    sources: tuple[str, ...] = (SOURCE_TOOLS,)
    moves_vms = False

    def __init__(self, session: Session, datacenter: str | None = None, folder: str | None = None) -> None:
        """datacenter, folder: only the VMs below are looked at; folder is a path such as V(/DC0/vm/web)."""
        self.endpoint = str(session.endpoint)
        self._session = session
        self._drives = VMwareDrives(session)
        self._datacenter = datacenter
        self._folder = folder

    # --- VMs ---

    def vms(self, names: Sequence[str] | None = None) -> VmList:
        """See api.Hypervisor. With names, the names of all are read first and the rest for those asked for only."""
        data = self._session.run(lambda: self._read_vms(names))
        networks = self._networks(data)
        found = []
        problems: dict[str, str] = {}
        ambiguous: set[str] = set()
        by_name: dict[str, list[ObjectData]] = {}
        for one in data:
            by_name.setdefault(devices_of.plain_name(one.text("name")), []).append(one)
        for name in sorted(by_name) if names is None else dict.fromkeys(names):
            named = by_name.get(name, [])
            if names is None:
                for one in named:
                    found.extend(self._one(name, [one], networks, False, problems))
                continue
            found.extend(self._one(name, named, networks, True, problems))
            if sum(one.text("config.template") != "true" for one in named) > 1:
                ambiguous.add(name)
        return VmList(tuple(_without_twins(found, problems)), problems, frozenset(ambiguous))

    def _one(
        self, name: str, data: list[ObjectData], networks: Mapping[str, str], asked: bool, problems: dict[str, str]
    ) -> Iterator[Vm]:
        """The VM of this name, or a sentence in problems why there is none to work with."""
        usable = [one for one in data if one.text("config.template") != "true"]
        if asked and not usable:
            usable = data  # a template is found by its name, and never among all VMs
        if len(usable) > 1:
            problems[name] = (
                f"{len(usable)} VMs on {self.endpoint} are named {name}: give the id of the one meant, rename them, or set "
                "hypervisor.datacenter or hypervisor.folder to where it is"
            )
        elif usable and not (usable[0].text("config.instanceUuid") or usable[0].text("config.uuid")):
            state = usable[0].text("runtime.connectionState") or "unknown"
            problems[name] = (
                f"{name}: {self.endpoint} cannot read its configuration (state {state}): see to its host and datastore"
            )
        elif usable:
            yield _vm(name, usable[0], networks)
        elif asked:
            problems[name] = f"there is no VM {name} on {self.endpoint}: check the name, and that the account may see it"

    def _read_vms(self, names: Sequence[str] | None) -> list[ObjectData]:
        view = self._session.view(("VirtualMachine",), self._root())._moId
        if names is None:
            return self._session.retrieve([ObjectSpec("VirtualMachine", _VM_PROPERTIES, view=view)])
        wanted = set(names)
        all_names = self._session.retrieve([ObjectSpec("VirtualMachine", ("name",), view=view)])
        chosen = tuple(one.name for one in all_names if devices_of.plain_name(one.text("name")) in wanted)
        if not chosen:
            return []
        return self._session.retrieve([ObjectSpec("VirtualMachine", _VM_PROPERTIES, chosen)])

    def _root(self) -> t.Any:
        """The folder to look below; None for everything."""
        folder = (self._folder or "").strip("/")
        datacenter = (self._datacenter or "").strip("/")
        if not folder and not datacenter:
            return None
        path = folder if not datacenter or folder.startswith(f"{datacenter}/") else f"{datacenter}/vm/{folder}".rstrip("/")
        found = self._session.content.searchIndex.FindByInventoryPath(path)
        if found is None or not isinstance(found, (vim.Folder, vim.Datacenter)):
            option = "folder" if folder else "datacenter"
            raise HypervisorError(
                f"hypervisor.{option}: {self.endpoint} has no folder {path}: give the datacenter's name, and the folder "
                "as in /DC0/vm/web"
            )
        return found

    def _networks(self, data: Sequence[ObjectData]) -> dict[str, str]:
        """Names of distributed port groups and opaque networks by their keys; read only if a VM is on one."""
        wanted = any(
            element.find(f"{VIM}backing/{VIM}port") is not None or element.find(f"{VIM}backing/{VIM}opaqueNetworkId") is not None
            for one in data
            for element in one.children("config.hardware.device")
        )
        if not wanted:
            return {}

        def operation() -> dict[str, str]:
            view = self._session.view(("DistributedVirtualPortgroup", "OpaqueNetwork"))._moId
            found = self._session.retrieve(
                [
                    ObjectSpec("DistributedVirtualPortgroup", ("key", "name"), view=view),
                    ObjectSpec("OpaqueNetwork", ("summary", "name"), view=view),
                ]
            )
            names = {}
            for one in found:
                summary = one.get("summary")
                key = child_text(summary, "opaqueNetworkId") if summary is not None else one.text("key")
                names[key] = devices_of.plain_name(one.text("name"))
            return names

        return self._session.run(operation)

    # --- addresses ---

    def addresses(self, vms: Sequence[Vm], sources: Sequence[str], workers: int, timeout: float) -> Iterator[Observation]:
        """See api.Hypervisor. All VMs in one read: vCenter holds what VMware Tools last reported.

        workers and timeout are not needed: no guest is asked, and the read has the session's own time limit.
        """
        if SOURCE_TOOLS not in sources:
            for vm in vms:
                yield Observation(
                    vm, reason=REASON_SOURCE_UNAVAILABLE, message=f"{vm.name}: on VMware the only source is {SOURCE_TOOLS}"
                )
            return
        spec = ObjectSpec("VirtualMachine", _GUEST_PROPERTIES, tuple(vm.handle.reference for vm in vms))
        try:
            data = {one.name: one for one in self._session.run(lambda: self._session.retrieve([spec]))} if vms else {}
        except HypervisorError as error:
            for vm in vms:
                yield Observation(vm, reason=REASON_HYPERVISOR_UNREACHABLE, message=str(error))
            return
        for vm in vms:
            yield observe(vm, data.get(vm.handle.reference))

    def watch(self, vms: Sequence[Vm], timeout: float) -> Iterator[Observation]:
        """See api.Hypervisor. First what is known of every VM, then each VM again whenever its guest data change."""
        if not vms:
            return
        by_reference = {vm.handle.reference: vm for vm in vms}
        end = time.monotonic() + timeout
        collector: t.Any = None
        version = ""
        while True:
            left = end - time.monotonic()
            if left <= 0 and version:
                break
            # Shorter than the time limit of a call, so that an idle wait is no broken connection.
            seconds = max(1, int(min(left, self._session.endpoint.timeout / 2)))

            def wait(seconds: int = seconds) -> t.Any:
                nonlocal collector, version
                if collector is None or collector._stub is not self._session.stub:
                    collector, version = self._filter(list(by_reference)), ""
                options = vim.PropertyCollector.WaitOptions(maxWaitSeconds=seconds)
                return collector.WaitForUpdatesEx(version, options)

            update = self._session.run(wait)
            if update is None:
                continue
            version = update.version
            changed = {change.obj._moId for part in update.filterSet for change in part.objectSet}
            due = [vm for reference, vm in by_reference.items() if reference in changed]
            yield from self.addresses(due, (SOURCE_TOOLS,), 1, timeout)
        with contextlib.suppress(HypervisorError):  # it goes with its session anyway
            self._session.run(collector.DestroyPropertyCollector)

    def _filter(self, names: Sequence[str]) -> t.Any:
        """A property collector of its own that reports changes of the guest data of these VMs."""
        kind = vim.PropertyCollector
        collector = self._session.content.propertyCollector.CreatePropertyCollector()
        spec = kind.FilterSpec(
            objectSet=[kind.ObjectSpec(obj=self._session.object("VirtualMachine", name)) for name in names],
            propSet=[kind.PropertySpec(type=vim.VirtualMachine, pathSet=list(_GUEST_PROPERTIES))],
            reportMissingObjectsInResults=True,
        )
        collector.CreateFilter(spec, False)
        return collector

    # --- config drives ---

    def config_drives(self, vms: Sequence[Vm]) -> dict[str, DriveState | DriveError]:
        """See api.Hypervisor."""
        return self._drives.states(vms)

    def read_config_drive(self, vm: Vm) -> bytes | None:
        """See api.Hypervisor."""
        return self._drives.read(vm)

    def put_config_drive(self, vm: Vm, iso: bytes) -> DriveChange:
        """See api.Hypervisor."""
        return self._drives.put(vm, iso)

    def remove_config_drive(self, vm: Vm) -> DriveChange:
        """See api.Hypervisor."""
        return self._drives.remove(vm)

    def move_config_drive(self, vm: Vm, destination: str) -> DriveChange:
        """See api.Hypervisor. destination: name of the datastore of the VM's first disk after the migration."""
        return self._drives.move(vm, destination)

    def close(self) -> None:
        """See api.Hypervisor."""
        self._drives.close()
        self._session.close()


def _vm(name: str, data: ObjectData, networks: Mapping[str, str]) -> Vm:
    cards = devices_of.parse(data.children("config.hardware.device")).cards
    nics = tuple(
        Nic(number, card.mac, networks.get(card.portgroup_key or card.opaque_id or "", card.network) or card.portgroup_key)
        for number, card in enumerate(cards)
    )
    return Vm(
        name=name,
        id=(data.text("config.instanceUuid") or data.text("config.uuid")).lower(),
        power_state=_POWER.get(data.text("runtime.powerState"), POWER_STOPPED),
        nics=nics,
        handle=Handle(data.name, tuple(card.key for card in cards)),
    )


def _without_twins(vms: Sequence[Vm], problems: dict[str, str]) -> Iterator[Vm]:
    """VMs that share an id (a stand-alone host allows it) cannot be told apart, so none of them is worked on."""
    by_id: dict[str, list[Vm]] = {}
    for vm in vms:
        by_id.setdefault(vm.id, []).append(vm)
    for vm in vms:
        if len(by_id[vm.id]) == 1:
            yield vm
        else:
            others = ", ".join(other.name for other in by_id[vm.id] if other is not vm)
            problems[vm.name] = f"{vm.name} has the same instance UUID as {others}: give one of them a new one (vc.uuid)"


def observe(vm: Vm, data: ObjectData | None) -> Observation:
    """What VMware Tools reported, or why there is nothing."""
    if data is None:
        return Observation(vm, reason=REASON_VM_NOT_FOUND, message=f"{vm.name} is gone meanwhile")
    power = _POWER.get(data.text("runtime.powerState"), POWER_STOPPED)
    if power != POWER_RUNNING:
        return Observation(vm, reason=REASON_VM_NOT_RUNNING, message=f"{vm.name} is {power}: start it")
    if data.text("guest.toolsRunningStatus") not in ("guestToolsRunning", "guestToolsExecutingScripts"):
        if data.text("guest.toolsVersionStatus2") == "guestToolsNotInstalled":
            text = (
                f"{vm.name}: VMware Tools is not installed: install open-vm-tools (or VMware Tools) in the guest or its template"
            )
        else:
            text = f"{vm.name}: VMware Tools does not run: the guest is starting, or its service vmtoolsd is stopped"
        return Observation(vm, reason=REASON_NO_GUEST_TOOLS, message=text)
    readings = tuple(_readings(vm, data))
    if any(reading.addresses for reading in readings):
        return Observation(vm, readings, SOURCE_TOOLS)
    return Observation(
        vm,
        reason=REASON_NO_LEASE,
        message=f"{vm.name}: VMware Tools runs and reports no address yet; check that the guest asks the DHCP server of its network",
    )


def _readings(vm: Vm, data: ObjectData) -> Iterator[Reading]:
    places = {key: number for number, key in enumerate(vm.handle.cards)}
    entries = data.children("guest.net")[:_MAX_INTERFACES]
    for entry in entries:
        mac = child_text(entry, "macAddress")[:_MAX_TEXT].strip().lower()
        try:
            device = places.get(int(child_text(entry, "deviceConfigId")))
        except ValueError:
            device = None
        yield Reading(tuple(_addresses(entry)), mac=mac or None, device=device)
    single = data.text("guest.ipAddress")
    if not entries and single:  # very old Tools report one address and no interfaces
        yield Reading((single[:_MAX_TEXT],))


def _addresses(entry: Element) -> Iterator[str]:
    detailed = entry.findall(f"{VIM}ipConfig/{VIM}ipAddress")
    if detailed:
        texts = [child_text(one, "ipAddress") for one in detailed if child_text(one, "state") not in _DEAD_STATES]
    else:
        texts = [one.text or "" for one in entry.findall(VIM + "ipAddress")]
    for text in texts[:_MAX_ADDRESSES]:
        if text and len(text) <= _MAX_TEXT:
            yield text
