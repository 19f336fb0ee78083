# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The addresses of VMware guests, as VMware Tools reports them."""

from __future__ import annotations

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
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    POWER_RUNNING,
    POWER_STOPPED,
    Addresses,
    HypervisorError,
    Observation,
    Vm,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.inventory import POWER
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import (
    VIM,
    ObjectSpec,
    child_text,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from xml.etree.ElementTree import Element

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import ObjectData

_GUEST_PROPERTIES = (
    "runtime.powerState",
    "guest.toolsRunningStatus",
    "guest.toolsVersionStatus2",
    "guest.net",
    "guest.ipAddress",
)
# What is read of one guest at most.
_MAX_INTERFACES = 256
_MAX_ADDRESSES = 64  # of one interface
_MAX_TEXT = 64  # characters
# States in which an address does not lead to the guest.
_UNUSABLE_STATES = frozenset(("duplicate", "inaccessible", "invalid", "tentative"))


class VMwareAddresses(Addresses):
    """See api.Addresses."""

    default_sources: tuple[str, ...] = (SOURCE_TOOLS,)
    sources: tuple[str, ...] = (SOURCE_TOOLS,)

    def __init__(self, session: Session) -> None:
        self._session = session

    def read(self, vms: Sequence[Vm], sources: Sequence[str], workers: int, timeout: float) -> Iterator[Observation]:
        """See api.Addresses. One read serves all VMs: vCenter holds what VMware Tools last reported.

        workers and timeout are not used: no guest is asked, and the read has the session's own time limit.
        """
        if SOURCE_TOOLS not in sources:
            for vm in vms:
                yield Observation(vm, reason=REASON_SOURCE_UNAVAILABLE, message=f"on VMware the only source is {SOURCE_TOOLS}")
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


def observe(vm: Vm, data: ObjectData | None) -> Observation:
    """What VMware Tools reported, or why there is nothing."""
    if data is None:
        return Observation(vm, reason=REASON_VM_NOT_FOUND, message="it is gone meanwhile")
    power = POWER.get(data.text("runtime.powerState"), POWER_STOPPED)
    if power != POWER_RUNNING:
        return Observation(vm, reason=REASON_VM_NOT_RUNNING, message=f"it is {power}: start it")
    if data.text("guest.toolsRunningStatus") not in ("guestToolsRunning", "guestToolsExecutingScripts"):
        if data.text("guest.toolsVersionStatus2") == "guestToolsNotInstalled":
            text = "VMware Tools is not installed: install open-vm-tools (or VMware Tools) in the guest or its template"
        else:
            text = "VMware Tools does not run: the guest is starting, or its service vmtoolsd is stopped"
        return Observation(vm, reason=REASON_NO_GUEST_TOOLS, message=text)
    readings = tuple(_readings(vm, data))
    if any(reading.addresses for reading in readings):
        return Observation(vm, readings, SOURCE_TOOLS)
    return Observation(
        vm,
        reason=REASON_NO_LEASE,
        message="VMware Tools runs and reports no address yet; check that the guest asks the DHCP server of its network",
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
        texts = [child_text(one, "ipAddress") for one in detailed if child_text(one, "state") not in _UNUSABLE_STATES]
    else:
        texts = [one.text or "" for one in entry.findall(VIM + "ipAddress")]
    for text in texts[:_MAX_ADDRESSES]:
        if text and len(text) <= _MAX_TEXT:
            yield text
