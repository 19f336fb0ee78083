# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The sources behind libvirt's interfaceAddresses: the QEMU guest agent, and the KVM host's ARP table."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import (
    REASON_GUEST_TOOLS_BLOCKED,
    REASON_NO_AGENT_CHANNEL,
    REASON_NO_GUEST_TOOLS,
    REASON_TIMEOUT,
    SOURCE_AGENT,
    SOURCE_ARP,
    Reading,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import domain as kvm_domain
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.source import AddressSource, Answer

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm

# A guest with more interfaces than this is lying or not ours to list.
_MAX_INTERFACES = 256


class AgentSource(AddressSource):
    """What the guest itself says."""

    name = SOURCE_AGENT

    def ask(self, vm: Vm, timeout: float) -> Answer:
        """See AddressSource."""
        return Answer(_interfaces(vm, libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT, True))

    def meaning(self, vm: Vm, error: t.Any) -> tuple[str, str] | None:
        """See AddressSource."""
        code, detail = error.get_error_code(), (error.get_error_message() or str(error))[:200]
        if code == getattr(libvirt, "VIR_ERR_AGENT_COMMAND_TIMEOUT", None) or "timed out" in detail:
            text = "the QEMU guest agent did not answer in time; the guest may be starting, overloaded or frozen"
            return REASON_TIMEOUT, text
        if code == libvirt.VIR_ERR_AGENT_UNRESPONSIVE:
            text = "the QEMU guest agent does not answer; check that qemu-guest-agent is installed and runs in the guest"
            return REASON_NO_GUEST_TOOLS, text
        if code == libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED:
            text = f"it has no channel {kvm_domain.AGENT_CHANNEL}: add it to the VM's definition, shut the VM down and start it"
            return REASON_NO_AGENT_CHANNEL, text
        if "disabled" in detail or "not been found" in detail or "has not been enabled" in detail:
            text = (
                "the QEMU guest agent refuses guest-network-get-interfaces; allow it in the agent's configuration "
                "(block-rpcs, allow-rpcs)"
            )
            return REASON_GUEST_TOOLS_BLOCKED, text
        return None


class ArpSource(AddressSource):
    """The KVM host's neighbours. libvirt may raise for a table that it misreads (9.0 with a recent kernel): no answer."""

    name = SOURCE_ARP

    def ask(self, vm: Vm, timeout: float) -> Answer:
        """See AddressSource."""
        # libvirt's name of such a reading is the host's tap device, not the guest's interface.
        return Answer(_interfaces(vm, libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP, False))


def _interfaces(vm: Vm, number: int, named: bool) -> tuple[Reading, ...]:
    answer = vm.handle.interfaceAddresses(number, 0) or {}
    ours = {nic.mac for nic in vm.nics}
    readings = []
    # The VM's own NICs first: a guest's many other interfaces must not crowd them out.
    for name, interface in sorted(answer.items(), key=lambda item: str(item[1].get("hwaddr")).lower() not in ours)[
        :_MAX_INTERFACES
    ]:
        addresses = tuple(str(address.get("addr") or "") for address in interface.get("addrs") or ())
        readings.append(Reading(addresses, mac=interface.get("hwaddr"), interface=name if named else None))
    return tuple(readings)
