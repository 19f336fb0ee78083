# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Shared networks of a KVM host: libvirt networks over bridges that the host has."""

from __future__ import annotations

import dataclasses
import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import network_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    HypervisorUnreachable,
    Networks,
    NetworkState,
    Outcome,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import host as kvm_host
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import network_xml
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.session import is_alive

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import NetworkWanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.host import Host


@dataclasses.dataclass(frozen=True)
class _Seen:
    """A network of libvirt as it was read. ports: how many NICs of running VMs libvirt counts on it."""

    facts: network_xml.NetworkFacts
    active: bool
    autostart: bool
    persistent: bool
    ports: int
    handle: t.Any


class KvmNetworks(Networks):
    """See api.Networks."""

    def __init__(self, host: Host) -> None:
        self._host = host

    # Reading --------------------------------------------------------------------------------------------------------------

    def states(self, wanted: Sequence[NetworkWanted], users: bool) -> list[NetworkState]:
        """See api.Networks."""
        try:
            networks = self._read({network.name for network in wanted})
            bridges = self._bridges()
            version = self._host.connection.getLibVersion()
        except libvirt.libvirtError as error:
            raise HypervisorUnreachable(f"{self._host.endpoint}: the networks could not be read: {_text(error)}") from None
        found = self._users() if users and networks else {}
        return [
            self._state(network, networks.get(network.name), bridges, version, found.get(network.name, set()))
            for network in wanted
        ]

    def _read(self, names: set[str]) -> dict[str, _Seen]:
        found = {}
        for network in self._host.connection.listAllNetworks(0):
            if network.name() not in names:
                continue
            persistent = bool(network.isPersistent())
            xml = network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE if persistent else 0)
            active = bool(network.isActive())
            found[network.name()] = _Seen(
                network_xml.facts_of(ET.fromstring(xml)),
                active,
                bool(network.autostart()) if persistent else False,
                persistent,
                self._ports(network) if active else 0,
                network,
            )
        return found

    @staticmethod
    def _ports(network: t.Any) -> int:
        try:
            return len(network.listAllPorts(0))
        except (libvirt.libvirtError, AttributeError):
            return 0  # a libvirt before 5.5 does not count them

    def _bridges(self) -> dict[str, str | None] | None:
        """The host's links and their kinds ("bridge", "ethernet", ...); None where libvirt cannot tell them."""
        try:
            links = self._host.connection.listAllInterfaces(0)
        except libvirt.libvirtError:
            return None
        found: dict[str, str | None] = {}
        for link in links:
            try:
                found[link.name()] = ET.fromstring(link.XMLDesc(0)).get("type")
            except libvirt.libvirtError:
                found[link.name()] = None  # gone meanwhile, or not to be described
        return found or None

    def _users(self) -> dict[str, set[str]]:
        """By network, the VMs that have a NIC on it, running or defined."""
        found: dict[str, set[str]] = {}
        for seen in kvm_host.read_domains(self._host, live=True).values():
            for element in (seen.element, seen.live):
                if element is None:
                    continue
                for source in element.findall("devices/interface[@type='network']/source"):
                    found.setdefault(source.get("network", ""), set()).add(seen.name)
        return found

    def _state(
        self, wanted: NetworkWanted, seen: _Seen | None, bridges: dict[str, str | None] | None, version: int, users: set[str]
    ) -> NetworkState:
        before = () if seen is None else _lines(seen.facts.words(), seen.active, seen.autostart)
        if wanted.vlan is None:
            return self._existing(wanted, seen, before, bridges)
        if seen is not None:
            problem = network_xml.serving(wanted.name, seen.facts)
            fits = network_xml.fits(seen.facts, wanted)
            if problem is None and not fits:
                problem = network_rules.another(wanted.name, seen.facts.words(), network_xml.words_of(wanted))
            if problem is None and not seen.persistent:
                problem = f"{wanted.name} is transient and goes with a restart of libvirt: remove it with virsh net-destroy first"
            keep = problem if not fits else None
            if keep is None and (users or seen.ports):
                keep = network_rules.in_use(wanted.name, users or {f"{seen.ports} NICs of VMs of another libvirt driver"})
            after = before if problem else _lines(seen.facts.words(), True, True)
            return NetworkState(before, after, problem, keep, tuple(sorted(users)))
        problem = self._bridge_problem(wanted, bridges) or network_xml.tag_problem(wanted, version)
        return NetworkState((), () if problem else _lines(network_xml.words_of(wanted), True, True), problem)

    def _existing(
        self, wanted: NetworkWanted, seen: _Seen | None, before: tuple[str, ...], bridges: dict[str, str | None] | None
    ) -> NetworkState:
        """A network or bridge that is not ours to make."""
        if seen is not None:
            return NetworkState(before, before, network_xml.serving(wanted.name, seen.facts))
        there = bridges is None or wanted.name in bridges
        lines = (f"link {wanted.name} of the host",)
        return NetworkState(lines, lines) if there else NetworkState(problem=network_rules.missing(wanted.name))

    @staticmethod
    def _bridge_problem(wanted: NetworkWanted, bridges: dict[str, str | None] | None) -> str | None:
        known = [] if bridges is None else [name for name, kind in bridges.items() if kind in ("bridge", None)]
        # A bridge of Open vSwitch in user space is a TUN device, and libvirt lists none of those.
        listed = bridges is None or wanted.bridge in bridges or wanted.openvswitch
        if not wanted.bridge or not listed:
            return network_rules.no_bridge("bridge of the KVM host", wanted.bridge, known)
        kind = None if bridges is None else bridges.get(wanted.bridge)
        if kind is None or (kind == "bridge") is not bool(wanted.openvswitch):
            return None
        if wanted.openvswitch:
            return (
                f"{wanted.bridge} is a Linux bridge, and not one of Open vSwitch: take openvswitch away, or name the other bridge"
            )
        return (
            f"{wanted.bridge} is no Linux bridge but of the type {kind}: name a bridge, or set openvswitch: true if it is one of Open "
            "vSwitch"
        )

    # Changing -------------------------------------------------------------------------------------------------------------

    def make(self, wanted: Sequence[NetworkWanted]) -> Iterator[Outcome]:
        """See api.Networks."""
        found = self._read({network.name for network in wanted})
        for network in wanted:
            try:
                yield Outcome(network.name, changed=self._make(network, found.get(network.name)))
            except libvirt.libvirtError as error:
                yield self._failed(network.name, "it could not be made", error)

    def _make(self, wanted: NetworkWanted, seen: _Seen | None) -> bool:
        if seen is not None and seen.active and seen.autostart:
            return False
        handle = seen.handle if seen is not None else None
        if handle is None:
            handle = self._host.connection.networkDefineXML(network_xml.network_xml(wanted))
        try:
            if seen is None or not seen.autostart:
                handle.setAutostart(True)
            if seen is None or not seen.active:
                handle.create()
        except libvirt.libvirtError:
            if seen is None:
                handle.undefine()
            raise
        return True

    def remove(self, wanted: Sequence[NetworkWanted]) -> Iterator[Outcome]:
        """See api.Networks. libvirt itself would remove a network that VMs are on."""
        found = self._read({network.name for network in wanted})
        for network in wanted:
            seen = found.get(network.name)
            try:
                if seen is not None and seen.active:
                    seen.handle.destroy()
                if seen is not None and seen.persistent:
                    seen.handle.undefine()
                yield Outcome(network.name, changed=seen is not None)
            except libvirt.libvirtError as error:
                yield self._failed(network.name, "it could not be removed", error)

    def _failed(self, name: str, what: str, error: t.Any) -> Outcome:
        if not is_alive(self._host.connection):
            raise HypervisorUnreachable(
                f"{name}: {what}: the connection to {self._host.endpoint} broke; run the task again"
            ) from None
        return Outcome(name, error=f"{name}: {what}: {_text(error)}")


def _lines(what: str, active: bool, autostart: bool) -> tuple[str, ...]:
    return (what, f"active: {'yes' if active else 'no'}", f"starts with libvirt: {'yes' if autostart else 'no'}")


def _text(error: t.Any) -> str:
    return str(error.get_error_message() or error)
