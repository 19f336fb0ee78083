# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What a source said about a guest, and the words used for it everywhere.

Everything in a `Reading` is the guest's word: hostile until `policy` has looked at it.
"""

from __future__ import annotations

import dataclasses
import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Sequence

# Sources of an address, in the order of how fresh and complete their answer is.
SOURCE_TOOLS = "tools"  # VMware Tools, through vCenter or ESXi
SOURCE_GUEST_METRICS = "guest_metrics"  # XenServer guest agent, through XAPI
SOURCE_AGENT = "agent"  # QEMU guest agent, through libvirt
SOURCE_LEASE_FILE = "lease_file"  # a Linux guest's lease files, on its disk
SOURCE_REGISTRY = "registry"  # a Windows guest's registry, on its disk
SOURCE_LIBGUESTFS = "libguestfs"  # both, through libguestfs's own tools
SOURCE_ARP = "arp"  # the hypervisor's own neighbour table

# Why there is no address. A closed list: playbooks and rules branch on these words.
REASON_VM_NOT_RUNNING = "vm_not_running"
REASON_NO_GUEST_TOOLS = "no_guest_tools"
REASON_NO_AGENT_CHANNEL = "no_agent_channel"  # KVM: no guest agent can ever answer, and no other source that was asked can
REASON_GUEST_TOOLS_BLOCKED = "guest_tools_blocked"
REASON_NO_LEASE = "no_lease"
REASON_FILTERED_OUT = "filtered_out"
REASON_SOURCE_UNAVAILABLE = "source_unavailable"
REASON_TIMEOUT = "timeout"
REASON_DISK_ENCRYPTED = "disk_encrypted"
REASON_HYPERVISOR_UNREACHABLE = "hypervisor_unreachable"
REASON_VM_NOT_FOUND = "vm_not_found"
REASON_AMBIGUOUS_NAME = "ambiguous_name"  # the name fits several VMs: their ids tell them apart


@dataclasses.dataclass(frozen=True)
class Reading:
    """What one source said about one interface of one guest.

    addresses: texts as the guest gave them, IPv4 and IPv6, without a prefix length; nothing is validated yet.
    mac, device, interface: whatever the source names; None where it does not.
    """

    addresses: Sequence[str]
    mac: str | None = None
    device: int | None = None
    interface: str | None = None


@dataclasses.dataclass(frozen=True)
class NicRules:
    """Which addresses count for one NIC.

    cidrs: networks (such as V(10.99.0.0/24)) an address must lie in; empty means any.
    ip_range: the announced range (V(first-last)); an address outside of it counts but is flagged.
    ignore_interfaces: guest interface name prefixes that never count (docker, virbr, ...).
    family_order: which family comes first where only one address can be shown.
    """

    cidrs: tuple[str, ...] = ()
    ip_range: str | None = None
    ignore_interfaces: tuple[str, ...] = ()
    family_order: tuple[int, ...] = (4, 6)


@dataclasses.dataclass(frozen=True)
class NicAddress:
    """The policy's verdict for one NIC.

    ip4_address: the address that counts, or None; then reason and message say why.
    ip6_addresses: global IPv6 addresses of the NIC, in canonical text.
    addresses: every valid address seen on the NIC, link-local ones included, at most MAX_ADDRESSES.
    in_range: False when ip4_address lies outside the announced range, None when no range was given.
    """

    ip4_address: str | None = None
    ip6_addresses: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    in_range: bool | None = None
    source: str | None = None
    reason: str | None = None
    message: str | None = None
