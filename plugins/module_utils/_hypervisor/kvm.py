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
    DriveError,
    HypervisorError,
    HypervisorUnreachable,
    MissingLibrary,
    Observation,
    Vm,
    VmList,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm_drive import KvmDrives, is_alive
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.libvirt_import import (
    IMPORT_TRACEBACK,
    libvirt,
)

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveChange, DriveState

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
    moves_vms = False

    def __init__(self, connection: t.Any, uri: str, image_dir: str) -> None:
        self.endpoint = uri
        self._connection = connection
        self._image_dir = image_dir
        self._drives = KvmDrives(connection, uri, image_dir)
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
            try:
                found.append(_read_vm(domains[name]))
            except (KeyError, libvirt.libvirtError) as error:
                if not is_alive(self._connection):
                    raise HypervisorUnreachable(f"{self.endpoint}: the connection broke; run the task again") from None
                if isinstance(error, libvirt.libvirtError) and error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    problems[name] = f"{name} could not be read: {error.get_error_message() or error}"
                elif names is not None:
                    problems[name] = (
                        f"there is no VM {name} on {self.endpoint}: check the name, and that it is on this hypervisor"
                    )
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
                if isinstance(error, libvirt.libvirtError) and not is_alive(self._connection):
                    raise HypervisorUnreachable(f"{self.endpoint}: the connection broke; run the task again")
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

    def move_config_drive(self, vm: Vm, destination: str) -> DriveChange:
        """See api.Hypervisor. destination: the libvirt URI of the other host; the ISO is at the same path there.

        The ISO stays on this host as well, since the VM runs with it until it has gone over.
        """
        iso = self._drives.read(vm)
        if iso is None:
            raise DriveError(f"{vm.name} has no config drive that could be brought to {destination}")
        other = connect({"uri": destination, "image_dir": self._image_dir})
        try:
            return other._drives.receive(vm, iso)
        finally:
            other.close()

    def close(self) -> None:
        """See api.Hypervisor."""
        try:
            self._connection.close()
        except libvirt.libvirtError:
            pass  # it is gone already


def _read_vm(domain: t.Any) -> Vm:
    state = domain.state()[0]
    element = kvm_domain.parse(domain.XMLDesc(0))
    return Vm(domain.name(), domain.UUIDString().lower(), _power_state(state), kvm_domain.nics(element), domain)


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
    answer = vm.handle.interfaceAddresses(number, 0) or {}
    ours = {nic.mac for nic in vm.nics}
    readings = []
    # The VM's own NICs first: a guest's many other interfaces must not crowd them out.
    for name, interface in sorted(answer.items(), key=lambda item: str(item[1].get("hwaddr")).lower() not in ours)[
        :_MAX_INTERFACES
    ]:
        addresses = tuple(str(address.get("addr") or "") for address in interface.get("addrs") or ())
        # libvirt's name of an ARP reading is the host's tap device, not the guest's interface.
        readings.append(Reading(addresses, mac=interface.get("hwaddr"), interface=name if source == SOURCE_AGENT else None))
    return tuple(readings)


def _no_answer(vm: Vm, source: str, error: Exception | None, timeout: float) -> Observation:
    """Turns what went wrong into a reason and what to do about it."""
    reason, text = _why(vm, source, error, timeout)
    return Observation(vm, reason=reason, message=f"{vm.name}{text}")


def _why(vm: Vm, source: str, error: Exception | None, timeout: float) -> tuple[str, str]:
    if isinstance(error, bounded.TimedOut):
        return REASON_TIMEOUT, f": the guest did not answer within {timeout:g} s; it may be starting or overloaded"
    if error is None:
        return REASON_SOURCE_UNAVAILABLE, f": source {source} knows no address"
    if not isinstance(error, libvirt.libvirtError):
        return REASON_SOURCE_UNAVAILABLE, f": the answer of source {source} could not be read: {error!r}"[:300]
    code = error.get_error_code()
    detail = (error.get_error_message() or str(error))[:200]
    if code == libvirt.VIR_ERR_NO_DOMAIN:
        return REASON_VM_NOT_FOUND, " is gone from the hypervisor"
    if code == libvirt.VIR_ERR_OPERATION_INVALID and "running" in detail:
        return REASON_VM_NOT_RUNNING, " was stopped meanwhile: start it"
    if source == SOURCE_AGENT:
        known = _agent_error(vm, code, detail)
        if known is not None:
            return known
    return REASON_SOURCE_UNAVAILABLE, f": source {source} gave no answer: {detail}"


def _agent_error(vm: Vm, code: int, detail: str) -> tuple[str, str] | None:
    """What an error of the QEMU guest agent means; None for any other error."""
    if code == getattr(libvirt, "VIR_ERR_AGENT_COMMAND_TIMEOUT", None) or "timed out" in detail:
        return REASON_TIMEOUT, ": the QEMU guest agent did not answer in time; the guest may be starting, overloaded or frozen"
    if code == libvirt.VIR_ERR_AGENT_UNRESPONSIVE:
        text = ": the QEMU guest agent does not answer; check that qemu-guest-agent is installed and runs in the guest"
        return REASON_NO_GUEST_TOOLS, text
    if code == libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED:
        text = f" has no channel {kvm_domain.AGENT_CHANNEL}: add it to the VM's definition, shut the VM down and start it"
        return REASON_NO_GUEST_TOOLS, text
    if "disabled" in detail or "not been found" in detail or "has not been enabled" in detail:
        text = (
            ": the QEMU guest agent refuses guest-network-get-interfaces; allow it in the agent's configuration "
            "(block-rpcs, allow-rpcs)"
        )
        return REASON_GUEST_TOOLS_BLOCKED, text
    return None


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
