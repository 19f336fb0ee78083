# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""libvirt's network XML: what a network is, and what a shared one looks like. Pure."""

from __future__ import annotations

import dataclasses
import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import network_rules

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import NetworkWanted

#: The first libvirt that tags the frames of NICs on a Linux bridge (its release notes of 11.0.0).
LINUX_VLAN_VERSION = 11_000_000
# Forward modes in which libvirt only hands NICs on to a device of the host and serves nothing itself.
_HANDED_ON = ("bridge", "private", "vepa", "passthrough", "hostdev")


@dataclasses.dataclass(frozen=True)
class NetworkFacts:
    """mode: of <forward>, None for an isolated network. tags: of its VLANs. serves: why it is no shared network, else None."""

    mode: str | None
    bridge: str | None
    tags: tuple[str, ...]
    openvswitch: bool
    serves: str | None

    def words(self) -> str:
        """What it is, as a part of a sentence."""
        tags = f"VLAN {', '.join(self.tags)}" if self.tags else "untagged by libvirt"
        kind = "Open vSwitch bridge" if self.openvswitch else "bridge"
        on = f"on the {kind} {self.bridge}" if self.bridge else f"with forward mode {self.mode}"
        return f"{on}, {tags}"


def facts_of(network: ET.Element) -> NetworkFacts:
    """What a network's definition says."""
    forward = network.find("forward")
    mode = None if forward is None else forward.get("mode", "nat")
    bridge = network.find("bridge")
    port = network.find("virtualport")
    serves = []
    if network.find("ip/dhcp") is not None:
        serves.append("gives addresses by DHCP")
    if network.find("dns") is not None:
        serves.append("answers DNS")
    if mode not in _HANDED_ON:
        way = "isolated from the network of the host" if mode is None else f"of forward mode {mode}"
        serves.append(f"is {way}")
    return NetworkFacts(
        mode,
        None if bridge is None or mode not in _HANDED_ON else bridge.get("name"),
        tuple(tag.get("id", "") for tag in network.findall("vlan/tag")),
        port is not None and port.get("type") == "openvswitch",
        " and ".join(serves) or None,
    )


def fits(facts: NetworkFacts, wanted: NetworkWanted) -> bool:
    """Whether the network that is there is the wanted one."""
    return (
        facts.mode == "bridge"
        and wanted.bridge in (None, facts.bridge)
        and facts.tags == tags_of(wanted)
        and wanted.openvswitch in (None, facts.openvswitch)
    )


def tags_of(wanted: NetworkWanted) -> tuple[str, ...]:
    """The tag that libvirt is to give; none where the network is untagged or the host's VLAN device does it."""
    return (str(wanted.vlan),) if wanted.vlan and not wanted.host_vlan else ()


def words_of(wanted: NetworkWanted) -> str:
    """What a wanted network is, as a part of a sentence."""
    return NetworkFacts("bridge", wanted.bridge, tags_of(wanted), bool(wanted.openvswitch), None).words()


def tag_problem(wanted: NetworkWanted, version: int) -> str | None:
    """Why this libvirt cannot give the tag. version: as virConnectGetLibVersion gives it."""
    if not tags_of(wanted) or wanted.openvswitch or version >= LINUX_VLAN_VERSION:
        return None
    number = f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"
    return (
        f"libvirt {number} cannot tag VLAN {wanted.vlan} on the Linux bridge {wanted.bridge}: libvirt 11.0.0 and newer can, and so can "
        "Open vSwitch (openvswitch: true); or let the host tag: make a bridge over its VLAN device, name that one in bridge and set "
        "host_vlan: true"
    )


def network_xml(wanted: NetworkWanted) -> str:
    """The definition of a shared network: NICs on a bridge of the host, and nothing else."""
    network = ET.Element("network")
    ET.SubElement(network, "name").text = wanted.name
    ET.SubElement(network, "forward", {"mode": "bridge"})
    ET.SubElement(network, "bridge", {"name": wanted.bridge or ""})
    if wanted.openvswitch:
        ET.SubElement(network, "virtualport", {"type": "openvswitch"})
    tags = tags_of(wanted)
    if tags:
        vlan = ET.SubElement(network, "vlan")
        for tag in tags:
            ET.SubElement(vlan, "tag", {"id": tag})
    return ET.tostring(network, encoding="unicode")


def serving(name: str, facts: NetworkFacts) -> str | None:
    """The refusal of a network that serves its VMs itself, else None."""
    if facts.serves is None:
        return None
    return network_rules.serves(
        f"the libvirt network {name}",
        facts.serves,
        "take another name and have a network made on a bridge of the host (vlan and bridge), or remove this one with virsh "
        "net-destroy and net-undefine",
    )


def has_own_tags(network: ET.Element) -> bool:
    """Whether NICs get their VLAN from the network (or a port group of it)."""
    return network.find("vlan") is not None or network.find("portgroup/vlan") is not None
