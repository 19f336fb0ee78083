# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""KVM through libvirt: connection, VMs, and the addresses their guests report."""

from __future__ import annotations

import threading
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import (
    REASON_GUEST_TOOLS_BLOCKED,
    REASON_NO_GUEST_TOOLS,
    REASON_SOURCE_UNAVAILABLE,
    REASON_TIMEOUT,
    REASON_VM_NOT_FOUND,
    REASON_VM_NOT_RUNNING,
    SOURCE_AGENT,
    SOURCE_ARP,
    Reading,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import kvm_domain
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import workers as bounded
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    POWER_PAUSED,
    POWER_RUNNING,
    POWER_STOPPED,
    POWER_SUSPENDED,
    HypervisorError,
    HypervisorUnreachable,
    MissingLibrary,
    Observation,
    Vm,
    VmList,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm_drive import KvmDrives
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.libvirt_import import (
    IMPORT_TRACEBACK,
    libvirt,
)

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveChange, DriveError, DriveState

# Seconds between signs of life asked of a remote libvirtd, and how many may be missed before the connection counts as cut.
_KEEPALIVE = (5, 3)
# A guest with more interfaces than this is lying or not ours to list.
_MAX_INTERFACES = 256


def connect(description: Mapping[str, t.Any]) -> KvmHost:
    """A connection to the libvirtd that description['uri'] names, within description['connect_timeout'] seconds."""
    if libvirt is None:
        raise MissingLibrary("libvirt-python", "https://libvirt.org/", IMPORT_TRACEBACK)
    uri = description.get("uri")
    if not uri:
        raise HypervisorError(
            "hypervisor.uri is not set: for hypervisor.type kvm it is the libvirt URI, such as qemu:///system or "
            "qemu+ssh://root@kvm01.example.com/system"
        )
    timeout = float(description.get("connect_timeout") or 30)
    _serve_events()
    try:
        connection = bounded.within(lambda: libvirt.open(uri), timeout)
    except bounded.TimedOut:
        raise HypervisorUnreachable(
            f"hypervisor.uri {uri}: no connection within {timeout:g} s; check host, network, ssh keys and that libvirtd runs"
        ) from None
    except libvirt.libvirtError as error:
        raise HypervisorUnreachable(
            f"hypervisor.uri {uri}: no connection: {error.get_error_message() or error}; check the URI, the account's "
            "rights and that libvirtd runs"
        ) from None
    return KvmHost(connection, uri, str(description.get("image_dir") or "/var/lib/libvirt/images"))


class KvmHost:
    """See api.Hypervisor."""

    type = "kvm"
    default_sources: tuple[str, ...] = (SOURCE_AGENT,)
    sources: tuple[str, ...] = (SOURCE_AGENT, SOURCE_ARP)

    def __init__(self, connection: t.Any, uri: str, image_dir: str) -> None:
        self.endpoint = uri
        self._connection = connection
        self._drives = KvmDrives(connection, image_dir)
        try:
            connection.setKeepAlive(*_KEEPALIVE)
        except libvirt.libvirtError:
            pass  # a driver inside the client library has no connection that could be cut

    def vms(self, names: Sequence[str] | None = None) -> VmList:
        """See api.Hypervisor. libvirt has one namespace for names, so a name is never found twice."""
        try:
            domains = {domain.name(): domain for domain in self._connection.listAllDomains(0)}
        except libvirt.libvirtError as error:
            raise HypervisorUnreachable(f"{self.endpoint}: the VMs could not be listed: {error.get_error_message()}") from None
        found = []
        problems = {}
        for name in sorted(domains) if names is None else names:
            vm = _read_vm(domains[name]) if name in domains else None
            if vm is not None:
                found.append(vm)
            elif names is not None:
                problems[name] = f"there is no VM {name} on {self.endpoint}: check the name, and that it is on this hypervisor"
        return VmList(tuple(found), problems)

    def addresses(self, vms: Sequence[Vm], sources: Sequence[str], workers: int, timeout: float) -> Iterator[Observation]:
        """See api.Hypervisor. The guest agent is asked guest by guest, `workers` of them at once."""
        running = []
        for vm in vms:
            if vm.power_state == POWER_RUNNING:
                running.append(vm)
            else:
                yield Observation(vm, reason=REASON_VM_NOT_RUNNING, message=f"{vm.name} is {vm.power_state}: start it")
        # Each source has its own time limit, so that a guest whose agent hangs can still be found another way.
        open_ends: dict[str, Observation] = {}
        for position, source in enumerate(sources):
            last = position == len(sources) - 1
            left = []
            for vm, readings, error in bounded.each(lambda vm, s=source: _ask(vm, s), running, workers, timeout):
                if error is None and readings:
                    yield Observation(vm, readings, source)
                    continue
                # The first source's reason says most about what to mend.
                observation = open_ends.setdefault(vm.id, _no_answer(vm, source, error, timeout))
                if last or observation.reason == REASON_VM_NOT_RUNNING:
                    yield observation
                else:
                    left.append(vm)
            running = left

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

    def close(self) -> None:
        """See api.Hypervisor."""
        try:
            self._connection.close()
        except libvirt.libvirtError:
            pass  # it is gone already


def _read_vm(domain: t.Any) -> Vm | None:
    """The VM, or None if it was undefined since it was listed."""
    try:
        state = domain.state()[0]
        element = kvm_domain.parse(domain.XMLDesc(0))
        return Vm(domain.name(), domain.UUIDString().lower(), _power_state(state), kvm_domain.nics(element), domain)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise HypervisorError(f"{domain.name()}: {error.get_error_message()}") from None


def _power_state(state: int) -> str:
    if state in (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED, libvirt.VIR_DOMAIN_SHUTDOWN):
        return POWER_RUNNING
    if state == libvirt.VIR_DOMAIN_PAUSED:
        return POWER_PAUSED
    if state == libvirt.VIR_DOMAIN_PMSUSPENDED:
        return POWER_SUSPENDED
    return POWER_STOPPED


def _ask(vm: Vm, source: str) -> tuple[Reading, ...]:
    number = libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT
    if source == SOURCE_ARP:
        number = libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP
    answer = vm.handle.interfaceAddresses(number, 0)
    readings = []
    for name, interface in list(answer.items())[:_MAX_INTERFACES]:
        addresses = tuple(a["addr"] for a in interface["addrs"] or ())
        # libvirt's name of an ARP reading is the host's tap device, not the guest's interface.
        readings.append(Reading(addresses, mac=interface["hwaddr"], interface=name if source == SOURCE_AGENT else None))
    return tuple(readings)


def _no_answer(vm: Vm, source: str, error: Exception | None, timeout: float) -> Observation:
    """Turns libvirt's errors into a reason and what to do about it."""
    if isinstance(error, bounded.TimedOut):
        text = f"{vm.name}: the guest did not answer within {timeout:g} s; it may be starting or overloaded"
        return Observation(vm, reason=REASON_TIMEOUT, message=text)
    if error is None:
        return Observation(vm, reason=REASON_SOURCE_UNAVAILABLE, message=f"{vm.name}: source {source} knows no address")
    code = error.get_error_code() if isinstance(error, libvirt.libvirtError) else None
    detail = (error.get_error_message() if isinstance(error, libvirt.libvirtError) else None) or str(error)
    if code == libvirt.VIR_ERR_NO_DOMAIN:
        return Observation(vm, reason=REASON_VM_NOT_FOUND, message=f"{vm.name} is gone from the hypervisor")
    if code == libvirt.VIR_ERR_OPERATION_INVALID and "running" in detail:
        return Observation(vm, reason=REASON_VM_NOT_RUNNING, message=f"{vm.name} was stopped meanwhile: start it")
    if source != SOURCE_AGENT:
        text = f"{vm.name}: source {source} gave no answer: {detail}"
        return Observation(vm, reason=REASON_SOURCE_UNAVAILABLE, message=text)
    if code == libvirt.VIR_ERR_AGENT_UNRESPONSIVE:
        text = f"{vm.name}: the QEMU guest agent does not answer; check that qemu-guest-agent is installed and runs in the guest"
        return Observation(vm, reason=REASON_NO_GUEST_TOOLS, message=text)
    if not kvm_domain.has_agent_channel(kvm_domain.parse(vm.handle.XMLDesc(0))):
        text = f"{vm.name} has no channel {kvm_domain.AGENT_CHANNEL}: add it to the VM's definition and start it anew"
        return Observation(vm, reason=REASON_NO_GUEST_TOOLS, message=text)
    if "disabled" in detail or "not been found" in detail or "has not been enabled" in detail:
        text = (
            f"{vm.name}: the QEMU guest agent refuses guest-network-get-interfaces; allow it in the agent's configuration "
            "(block-rpcs, allow-rpcs)"
        )
        return Observation(vm, reason=REASON_GUEST_TOOLS_BLOCKED, message=text)
    return Observation(vm, reason=REASON_SOURCE_UNAVAILABLE, message=f"{vm.name}: the QEMU guest agent: {detail[:200]}")


_events_started = threading.Lock()


def _serve_events() -> None:
    """Runs libvirt's event loop in the background; keepalive, which notices a cut connection, needs it."""
    if not _events_started.acquire(blocking=False):  # pylint: disable=consider-using-with  # once per process, for good
        return
    libvirt.virEventRegisterDefaultImpl()

    def loop() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    threading.Thread(target=loop, name="libvirt-events", daemon=True).start()
