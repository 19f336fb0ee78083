# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The addresses of a KVM host's guests: which sources there are, and how they are asked one after the other."""

from __future__ import annotations

import dataclasses
import functools
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import (
    REASON_DISK_ENCRYPTED,
    REASON_NO_AGENT_CHANNEL,
    REASON_NO_GUEST_TOOLS,
    REASON_SOURCE_UNAVAILABLE,
    REASON_TIMEOUT,
    REASON_VM_NOT_FOUND,
    REASON_VM_NOT_RUNNING,
    SOURCE_ARP,
    SOURCE_LIBGUESTFS,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import workers as bounded
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    POWER_RUNNING,
    Addresses,
    HypervisorUnreachable,
    Observation,
    Vm,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.disk_source import (
    LeaseFileSource,
    RegistrySource,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.interface_sources import AgentSource, ArpSource
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libguestfs_source import LibguestfsSource
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import (
    libvirt,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.session import is_alive
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.source import AddressSource, Host

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# In the order in which they are asked: how fresh and complete their answer is, and what it costs.
SOURCES: tuple[type[AddressSource], ...] = (AgentSource, LeaseFileSource, RegistrySource, ArpSource, LibguestfsSource)


class KvmAddresses(Addresses):
    """See api.Addresses."""

    sources: tuple[str, ...] = tuple(source.name for source in SOURCES)
    # libguestfs is left out: it boots a small machine for each VM, so it is used only where it is asked for.
    default_sources: tuple[str, ...] = tuple(source.name for source in SOURCES if source.name != SOURCE_LIBGUESTFS)

    def __init__(self, connection: t.Any, endpoint: str, image_dir: str) -> None:
        self.endpoint = endpoint
        self._connection = connection
        self._host = Host(connection, endpoint, image_dir)
        self._opened: dict[str, AddressSource] = {}

    def close(self) -> None:
        """Ends what the sources started."""
        for source in self._opened.values():
            source.close()
        self._opened.clear()

    def read(self, vms: Sequence[Vm], sources: Sequence[str], workers: int, timeout: float) -> Iterator[Observation]:
        """See api.Addresses. Guest by guest, `workers` of them at once; who has answered is not asked by the next source."""
        running = []
        for vm in vms:
            if vm.power_state == POWER_RUNNING:
                running.append(vm)
            else:
                yield Observation(vm, reason=REASON_VM_NOT_RUNNING, message=f"it is {vm.power_state}: start it")
        # Each source has its own time limit, so that a guest whose agent hangs can still be found another way.
        open_ends: dict[str, list[_Said]] = {}
        for position, source in enumerate(self._open(sources)):
            last = position == len(sources) - 1
            left = []
            for vm, answer, error in bounded.each(functools.partial(source.ask, timeout=timeout), running, workers, timeout):
                if answer is not None and answer.readings:
                    yield Observation(vm, answer.readings, source.name)
                    continue
                if isinstance(error, libvirt.libvirtError) and not is_alive(self._connection):
                    raise HypervisorUnreachable(f"{self.endpoint}: the connection broke; run the task again")
                if answer is None or answer.message is None:
                    seen = _no_answer(vm, source, error, timeout)
                    if answer is not None and answer.reason is not None:
                        seen = dataclasses.replace(seen, reason=answer.reason)
                    # An empty answer adds nothing to what the sources before it have said.
                    told = source.told and error is not None
                else:
                    seen = Observation(vm, reason=answer.reason, message=answer.message)
                    told = source.told
                lasting = seen.reason == REASON_NO_AGENT_CHANNEL or (answer is not None and answer.lasting)
                open_ends.setdefault(vm.id, []).append(_Said(source.name, seen, told, lasting))
                observation = _joined(open_ends[vm.id])
                if last or observation.reason == REASON_VM_NOT_RUNNING:
                    yield observation
                else:
                    left.append(vm)
            running = left

    def _open(self, names: Sequence[str]) -> list[AddressSource]:
        for kind in SOURCES:
            if kind.name in names and kind.name not in self._opened:
                self._opened[kind.name] = kind(self._host)
        for source in self._opened.values():
            source.forget()
        return [self._opened[name] for name in names]


class _Said(t.NamedTuple):
    """Why a source knows no address of a VM. told: also where another one has failed before it. lasting: see Answer."""

    source: str
    seen: Observation
    told: bool
    lasting: bool


def _joined(said: Sequence[_Said]) -> Observation:
    """The first source's reason says most about what to mend; what later ones found out is added to its message."""
    first, message = said[0].seen, said[0].seen.message
    reasons = {one.seen.reason for one in said}
    reason = first.reason
    if REASON_NO_AGENT_CHANNEL in reasons and _is_lasting(said):
        reason = REASON_NO_AGENT_CHANNEL
    elif REASON_DISK_ENCRYPTED in reasons:
        reason = REASON_DISK_ENCRYPTED
    elif reason == REASON_NO_AGENT_CHANNEL:
        reason = REASON_NO_GUEST_TOOLS  # another source may still answer: worth to be asked again
    for one in said[1:]:
        if one.told and message and one.seen.message:
            message = f"{message}; {one.seen.message}"
    return dataclasses.replace(first, reason=reason, message=message)


def _is_lasting(said: Sequence[_Said]) -> bool:
    """Whether nothing comes of asking again soon.

    The neighbour table is not waited for where the disk has told something for good: it is read only once the guest has sent
    something, and what the table learns later is found by the slow look.
    """
    disk = any(one.lasting and one.seen.reason != REASON_NO_AGENT_CHANNEL for one in said)
    return all(one.lasting or (disk and one.source == SOURCE_ARP) for one in said)


def _no_answer(vm: Vm, source: AddressSource, error: Exception | None, timeout: float) -> Observation:
    """Turns what went wrong into a reason and what to do about it."""
    reason, text = _why(vm, source, error, timeout)
    return Observation(vm, reason=reason, message=text)


def _why(vm: Vm, source: AddressSource, error: Exception | None, timeout: float) -> tuple[str, str]:
    if isinstance(error, bounded.TimedOut):
        return REASON_TIMEOUT, f"no answer of source {source.name} within {timeout:g} s; the guest may be starting or overloaded"
    if error is None:
        return REASON_SOURCE_UNAVAILABLE, f"source {source.name} knows no address"
    if not isinstance(error, libvirt.libvirtError):
        return REASON_SOURCE_UNAVAILABLE, f"the answer of source {source.name} could not be read: {error!r}"[:300]
    code = error.get_error_code()
    detail = (error.get_error_message() or str(error))[:200]
    if code == libvirt.VIR_ERR_NO_DOMAIN:
        return REASON_VM_NOT_FOUND, "it is gone from the hypervisor"
    if code == libvirt.VIR_ERR_OPERATION_INVALID and "running" in detail:
        return REASON_VM_NOT_RUNNING, "it was stopped meanwhile: start it"
    known = source.meaning(vm, error)
    if known is not None:
        return known
    return REASON_SOURCE_UNAVAILABLE, f"source {source.name} gave no answer: {detail}"
