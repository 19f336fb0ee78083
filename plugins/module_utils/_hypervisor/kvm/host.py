# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The host as the operations on many VMs see it: its domains read once, its networks, and what libvirt's errors mean."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    HypervisorError,
    HypervisorUnreachable,
    MachineError,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import clone_xml
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import domain as kvm_domain
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.network_xml import has_own_tags
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.nics import Networks, mac_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.session import is_alive

if t.TYPE_CHECKING:
    import xml.etree.ElementTree as ET
    from collections.abc import Mapping

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.links import Links


@dataclasses.dataclass(frozen=True)
class Host:
    """What the operations work with. cd_bus: of new CD/DVD drives, None for the best one."""

    links: Links
    endpoint: str
    image_dir: str
    cd_bus: str | None = None

    @property
    def connection(self) -> t.Any:
        """The driver's own connection."""
        return self.links.first

    def list(self, flags: int = 0) -> dict[str, t.Any]:
        """Handles of the domains on the driver's connection by id, in one call."""
        try:
            return handles(self.connection, flags)
        except libvirt.libvirtError as error:
            text = error.get_error_message() or error
            raise HypervisorUnreachable(f"{self.endpoint}: the VMs could not be listed: {text}") from None

    def explain(self, name: str, what: str, error: Exception) -> str:
        """One sentence about an error of one VM. Raises HypervisorUnreachable when the connection is gone."""
        if isinstance(error, HypervisorUnreachable) or not is_alive(self.connection):
            raise HypervisorUnreachable(f"{name}: {what}: the connection to {self.endpoint} broke; run the task again") from None
        if isinstance(error, MachineError):
            return f"{name}: {error}"
        if isinstance(error, HypervisorError):
            return str(error)  # of the config drive; it names the VM
        if not isinstance(error, libvirt.libvirtError):
            raise error
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return f"{name}: {what}: the VM is gone from {self.endpoint}"
        return f"{name}: {what}: {error.get_error_message() or error}{_way_out(error)}"


def _way_out(error: t.Any) -> str:
    text = error.get_error_message() or ""
    if 'Failed to get "write" lock' in text:
        return "; another VM or program uses this disk: stop that first"
    if "Cannot access storage file" in text or "Cannot access backing file" in text:
        return "; bring the file back, or delete the VM"
    if error.get_error_code() == libvirt.VIR_ERR_OPERATION_TIMEOUT:
        return "; another task works on this VM: run the task again when it has ended"
    if error.get_error_code() in (libvirt.VIR_ERR_ACCESS_DENIED, libvirt.VIR_ERR_OPERATION_DENIED):
        return "; give the account in hypervisor.uri the right to do so"
    return ""


@dataclasses.dataclass(frozen=True)
class Seen:
    """A domain as it was read: element is its definition for the next start, live what it runs with (None if it is off)."""

    name: str
    id: str
    active: bool
    element: ET.Element
    live: ET.Element | None
    handle: t.Any

    def disk_paths(self) -> set[str]:
        """All files and devices that it refers to as disks or media, with the backing files that a running one shows."""
        found: set[str] = set()
        for element in (self.element, self.live):
            if element is None:
                continue
            for disk in element.findall("devices/disk"):
                for source in disk.iter("source"):
                    path = source.get("file") or source.get("dev")
                    if path:
                        found.add(path)
        return found

    def own_paths(self) -> list[str]:
        """Paths of the disks that are its own."""
        return [disk.path for disk in clone_xml.own_disks(self.element) if disk.path is not None]


def read_domains(host: Host, live: bool = False) -> dict[str, Seen]:
    """All domains of the host by id. live: also what running ones show beyond their definition. One that vanishes is left out."""

    def read(_connection: t.Any, domain: t.Any) -> Seen:
        active = domain.ID() != -1
        definition = kvm_domain.parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        running = kvm_domain.parse(domain.XMLDesc(0)) if live and active else None
        return Seen(domain.name(), domain.UUIDString().lower(), active, definition, running, domain)

    domains = list(host.list().values())
    found = {}
    # Handles belong to their connection, of which libvirtd serves five calls at a time.
    for _domain, seen, error in host.links.each_here(read, domains):
        if seen is not None:
            found[seen.id] = seen
        elif error is not None and not _is_gone(error):
            raise HypervisorUnreachable(f"{host.endpoint}: the VMs could not be read: {error}") from None
    return found


def _is_gone(error: Exception) -> bool:
    return isinstance(error, libvirt.libvirtError) and error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN


def handles(connection: t.Any, flags: int = 0) -> dict[str, t.Any]:
    """The domains' handles of this connection by id, in one call."""
    return {domain.UUIDString().lower(): domain for domain in connection.listAllDomains(flags)}


def read_networks(connection: t.Any) -> Networks:
    """libvirt's networks, and the host's bridges and devices where libvirt knows them."""
    networks: set[str] = set()
    tagged: set[str] = set()
    try:
        for network in connection.listAllNetworks(0):
            networks.add(network.name())
            if has_own_tags(kvm_domain.parse(network.XMLDesc(0))):
                tagged.add(network.name())
    except libvirt.libvirtError:
        pass  # one that is gone meanwhile, or no network driver
    try:
        links = frozenset(interface.name() for interface in connection.listAllInterfaces(0))
    except libvirt.libvirtError:
        links = frozenset()
    return Networks(frozenset(networks), links or None, frozenset(tagged))


def macs_in_use(domains: Mapping[str, Seen]) -> dict[str, str]:
    """The VM's name by MAC address."""
    found = {}
    for seen in domains.values():
        for interface in seen.element.findall("devices/interface"):
            mac = mac_of(interface)
            if mac is not None:
                found[mac] = seen.name
    return found


def overlays(domains: Mapping[str, Seen]) -> dict[str, list[str]]:
    """By path, the names of the VMs that have an overlay of this file, as far as marks, definitions and running domains tell."""
    found: dict[str, list[str]] = {}
    for seen in domains.values():
        mark = kvm_domain.mark(seen.element)
        bases = set(() if mark is None else mark.bases)
        bases |= {
            source.get("file") or source.get("dev") or ""
            for element in (seen.element, seen.live)
            if element is not None
            for chain in element.findall("devices/disk/backingStore")
            for source in chain.iter("source")
        }
        for path in sorted(bases - {""}):
            found.setdefault(path, []).append(seen.name)
    return found
