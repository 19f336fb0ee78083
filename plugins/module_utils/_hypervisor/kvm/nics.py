# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""NICs in libvirt's domain XML: a template's become a clone's, and a VM's become those that are wanted. Pure."""

from __future__ import annotations

import copy
import dataclasses
import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.policy import normalize_mac

if t.TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import NicWanted

# By type of interface, the attribute of <source> that names what it is on.
_SOURCE = {"network": "network", "bridge": "bridge", "direct": "dev"}


@dataclasses.dataclass(frozen=True)
class Networks:
    """Names that a NIC can be put on. links: bridges and other devices of the host; None where libvirt cannot tell them.

    tagged: those of the networks that give their NICs a VLAN.
    """

    networks: frozenset[str] = frozenset()
    links: frozenset[str] | None = None
    tagged: frozenset[str] = frozenset()

    def knows(self, name: str) -> bool:
        """Whether there is such a network or bridge, as far as libvirt can tell."""
        return name in self.networks or self.links is None or name in self.links


def network_of(interface: ET.Element) -> str | None:
    """The libvirt network, bridge or host device that the NIC is on."""
    source = interface.find("source")
    attributes = {} if source is None else source.attrib
    return attributes.get("network") or attributes.get("bridge") or attributes.get("dev")


def mac_of(interface: ET.Element) -> str | None:
    """The NIC's MAC address, lower case with colons."""
    mac = interface.find("mac")
    return normalize_mac(None if mac is None else mac.get("address"))


def clone_nics(devices: ET.Element, wanted: Sequence[NicWanted] | None, networks: Networks, macs: Sequence[str]) -> None:
    """Turns the template's NICs into the clone's.

    wanted: None keeps the template's. macs: an address for each NIC of the clone, in order.
    What a NIC has beside its network and MAC stays (model, VLAN, Open vSwitch port, filter, MTU, bandwidth, ...); one that
    the template lacks is modelled on its first.
    """
    present = devices.findall("interface")
    kept = present if wanted is None else present[: len(wanted)]
    for surplus in present[len(kept) :]:
        devices.remove(surplus)
    for _missing in range(0 if wanted is None else len(wanted) - len(kept)):
        kept.append(_add(devices, kept))
    for position, interface in enumerate(kept):
        _make_own(interface)
        _set_mac(interface, macs[position])
        if wanted is not None:
            _set_network(interface, wanted[position].network, networks)


def change_nics(devices: ET.Element, wanted: Sequence[NicWanted], networks: Networks, macs: Sequence[str]) -> bool:
    """Gives a domain exactly the wanted NICs, in order; whether anything had to change. macs: for those without one, in order.

    A NIC with the wanted MAC is that NIC, wherever it stands; else the one at the same place is, and keeps its MAC.
    """
    before = [ET.tostring(interface) for interface in devices.findall("interface")]
    present: list[ET.Element | None] = list(devices.findall("interface"))
    chosen: list[ET.Element | None] = [None] * len(wanted)
    for position, nic in enumerate(wanted):
        for index, interface in enumerate(present):
            if interface is not None and nic.mac is not None and mac_of(interface) == nic.mac:
                chosen[position], present[index] = interface, None
                break
    for position in range(len(wanted)):
        if chosen[position] is None and position < len(present):
            chosen[position], present[position] = present[position], None
    models = devices.findall("interface")
    fresh = iter(macs)
    result = []
    for position, nic in enumerate(wanted):
        found = chosen[position]
        interface = _add(devices, models) if found is None else found
        if nic.mac is not None:
            _set_mac(interface, nic.mac)
        elif found is None:
            _set_mac(interface, next(fresh))
        _set_network(interface, nic.network, networks)
        result.append(interface)
    for interface in devices.findall("interface"):
        devices.remove(interface)
    devices.extend(result)
    return [ET.tostring(interface) for interface in result] != before


def _add(devices: ET.Element, models: Sequence[ET.Element]) -> ET.Element:
    """A new NIC, modelled on the first of these."""
    if models:
        interface = copy.deepcopy(models[0])
        _make_own(interface)
        _drop(interface, "mac", "address", "boot")  # the places on the bus and in the boot order belong to the model
    else:
        interface = ET.Element("interface", {"type": "bridge"})
        ET.SubElement(interface, "model", {"type": "virtio"})
    devices.append(interface)
    return interface


def _make_own(interface: ET.Element) -> None:
    """Drops what names this one NIC to the host: its device and its port of a switch. libvirt makes new ones."""
    _drop(interface, "target", "alias")
    for parameters in interface.findall("virtualport/parameters"):
        parameters.attrib.pop("interfaceid", None)
    for source in interface.findall("source"):
        source.attrib.pop("portid", None)


def _set_mac(interface: ET.Element, mac: str) -> None:
    element = interface.find("mac")
    if element is None:
        element = ET.Element("mac")
        interface.insert(0, element)
    if normalize_mac(element.get("address")) != mac:
        element.attrib.clear()
        element.set("address", mac)


def _set_network(interface: ET.Element, network: str, networks: Networks) -> None:
    if network_of(interface) == network:
        return
    kind = interface.get("type", "")
    if kind == "bridge" and (network not in networks.networks or network in (networks.links or ())):
        new = "bridge"
    elif network in networks.networks:
        new = "network"
    else:
        new = "direct" if kind == "direct" else "bridge"
    if new == "network" and network in networks.tagged:
        # The NIC's own tag and port would win over, or clash with, those of the network.
        _drop(interface, "vlan", "virtualport")
    if new != kind:
        # A port profile is for a device of the host; a bridge has none.
        for port in interface.findall("virtualport"):
            if port.get("type") != "openvswitch":
                interface.remove(port)
        interface.set("type", new)
    source = interface.find("source")
    if source is None:
        source = ET.Element("source")
        interface.insert(1, source)
    mode = source.get("mode")
    source.attrib.clear()  # a port group is of the other network
    source.set(_SOURCE[new], network)
    if new == "direct" and mode is not None:
        source.set("mode", mode)


def _drop(element: ET.Element, *tags: str) -> None:
    for tag in tags:
        for child in element.findall(tag):
            element.remove(child)
