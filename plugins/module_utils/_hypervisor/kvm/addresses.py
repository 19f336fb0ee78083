# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The addresses of a KVM host's guests: what the QEMU guest agent says, and the host's ARP table."""

from __future__ import annotations

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
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import workers as bounded
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    POWER_RUNNING,
    Addresses,
    HypervisorUnreachable,
    Observation,
    Vm,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import domain as kvm_domain
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import (
    libvirt,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.session import is_alive

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


# A guest with more interfaces than this is lying or not ours to list.
_MAX_INTERFACES = 256


class KvmAddresses(Addresses):
    """See api.Addresses."""

    default_sources: tuple[str, ...] = (SOURCE_AGENT,)
    sources: tuple[str, ...] = (SOURCE_AGENT, SOURCE_ARP)

    def __init__(self, connection: t.Any, endpoint: str) -> None:
        self.endpoint = endpoint
        self._connection = connection

    def read(self, vms: Sequence[Vm], sources: Sequence[str], workers: int, timeout: float) -> Iterator[Observation]:
        """See api.Addresses. The guest agent is asked guest by guest, `workers` of them at once."""
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
