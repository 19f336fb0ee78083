# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The virtual switches, port groups and their users, read in four calls for any number of hosts and VMs."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import network_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.devices import plain_name
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import (
    VIM,
    ObjectSpec,
    child_text,
    kind_of,
    references,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.places import NETWORK_KINDS, Places

if t.TYPE_CHECKING:
    from collections.abc import Iterable
    from xml.etree.ElementTree import Element

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import ObjectData
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session

_SWITCHES = ("DistributedVirtualSwitch", "VmwareDistributedVirtualSwitch")
_SINGLE_TAG = "VmwareDistributedVirtualSwitchVlanIdSpec"


@dataclasses.dataclass(frozen=True)
class Portgroup:
    """A port group. switch: name of its virtual switch; vlan: None where it carries several tags."""

    name: str
    switch: str
    vlan: int | None

    def words(self) -> str:
        """Its tag and switch, as a part of a sentence."""
        tag = "several VLANs" if self.vlan is None else network_rules.tag_text(self.vlan)
        return f"{tag} on the switch {self.switch}"


@dataclasses.dataclass(frozen=True)
class HostNetworks:
    """A host with its standard switches. system: reference of its network system. adapters: VMkernel adapters by port group."""

    reference: str
    name: str
    system: str
    connected: bool
    switches: frozenset[str]
    portgroups: dict[str, Portgroup]
    adapters: dict[str, list[str]]


@dataclasses.dataclass(frozen=True)
class Distributed:
    """A distributed port group."""

    reference: str
    group: Portgroup


@dataclasses.dataclass(frozen=True)
class Switch:
    """A distributed switch. hosts: references of the hosts that are on it."""

    reference: str
    name: str
    hosts: frozenset[str]


class NetworkView:
    """The networks of one datacenter, or of all."""

    def __init__(self, session: Session, datacenter: str | None, users: bool) -> None:
        """Reads them. datacenter: name or path, None for all; users: whether VMs are read, too. Raises PlaceError."""
        self._session = session
        self.places = Places(session)
        self._datacenter = self.places.datacenter(datacenter) if datacenter else None
        self.hosts: dict[str, HostNetworks] = {}
        self.switches: list[Switch] = []
        self.distributed: dict[str, list[Distributed]] = {}
        self._users: dict[str, list[tuple[str, str]]] = {}
        self._read(users)

    def networks(self, name: str) -> list[str]:
        """References of the networks of this name, of whatever kind."""
        return [one.name for one in self.places.named(NETWORK_KINDS, name) if self._is_inside(one.name)]

    def users(self, name: str, hosts: set[str] | None = None) -> set[str]:
        """VMs and templates that have a NIC on a network of this name. hosts: only those on these hosts."""
        wanted = set(self.networks(name))
        return {
            vm
            for network, users in self._users.items()
            if network in wanted
            for vm, host in users
            if hosts is None or host in hosts
        }

    def _is_inside(self, reference: str) -> bool:
        return self._datacenter is None or self.places.datacenter_of(reference) == self._datacenter

    def _read(self, users: bool) -> None:
        def inside(*kinds: str) -> tuple[str, ...]:
            return tuple(one.name for one in self.places.of_kind(*kinds) if self._is_inside(one.name))

        specs = [
            ObjectSpec("HostSystem", ("name", "configManager.networkSystem", "runtime.connectionState"), inside("HostSystem")),
            ObjectSpec("DistributedVirtualSwitch", ("name", "summary.hostMember"), inside(*_SWITCHES)),
            ObjectSpec(
                "DistributedVirtualPortgroup",
                ("name", "config.distributedVirtualSwitch", "config.defaultPortConfig"),
                inside("DistributedVirtualPortgroup"),
            ),
        ]
        if users:
            view = self._session.view(("VirtualMachine",))._moId
            specs.append(ObjectSpec("VirtualMachine", ("name", "network", "runtime.host"), view=view))
        found = self._session.retrieve([spec for spec in specs if spec.names or spec.view])
        self.switches = [
            Switch(one.name, plain_name(one.text("name")), frozenset(references(one.get("summary.hostMember"))))
            for one in found
            if one.kind in _SWITCHES
        ]
        names = {switch.reference: switch.name for switch in self.switches}
        for one in found:
            if one.kind == "VirtualMachine":
                for network in references(one.get("network")):
                    self._users.setdefault(network, []).append((plain_name(one.text("name")), one.text("runtime.host")))
            elif one.kind == "DistributedVirtualPortgroup":
                name = plain_name(one.text("name"))
                group = Portgroup(
                    name, names.get(one.text("config.distributedVirtualSwitch"), ""), _tag(one.get("config.defaultPortConfig"))
                )
                self.distributed.setdefault(name, []).append(Distributed(one.name, group))
        self._read_hosts([one for one in found if one.kind == "HostSystem"])

    def _read_hosts(self, hosts: Iterable[ObjectData]) -> None:
        systems = {system: host for host in hosts if (system := host.text("configManager.networkSystem"))}
        if not systems:
            return
        properties = ("networkInfo.vswitch", "networkInfo.portgroup", "networkInfo.vnic")
        for one in self._session.retrieve([ObjectSpec("HostNetworkSystem", properties, tuple(sorted(systems)))]):
            host = systems[one.name]
            adapters: dict[str, list[str]] = {}
            for vnic in one.children("networkInfo.vnic"):
                adapters.setdefault(child_text(vnic, "portgroup"), []).append(child_text(vnic, "device"))
            groups = [_standard(group) for group in one.children("networkInfo.portgroup")]
            self.hosts[host.name] = HostNetworks(
                host.name,
                host.text("name"),
                one.name,
                host.text("runtime.connectionState") == "connected",
                frozenset(child_text(switch, "name") for switch in one.children("networkInfo.vswitch")),
                {group.name: group for group in groups},
                adapters,
            )


def _standard(group: Element) -> Portgroup:
    spec = group.find(f"{VIM}spec")
    if spec is None:
        return Portgroup("", "", None)
    tag = child_text(spec, "vlanId")
    return Portgroup(child_text(spec, "name"), child_text(spec, "vswitchName"), int(tag) if tag.isdecimal() else None)


def _tag(setting: Element | None) -> int | None:
    vlan = None if setting is None else setting.find(f"{VIM}vlan")
    if vlan is None or kind_of(vlan) != _SINGLE_TAG:
        return None
    tag = child_text(vlan, "vlanId")
    return int(tag) if tag.isdecimal() else None
