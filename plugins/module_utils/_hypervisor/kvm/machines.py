# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The life of a KVM host's VMs."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Machines, Outcome
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import deletion, power, storage
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import domain as kvm_domain
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import host as kvm_host
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import nics as kvm_nics
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.creation import Creation, new_mac
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.migration import Migration

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import NicWanted, Vm, VmWanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.drives import KvmDrives
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.host import Host


class KvmMachines(Machines):
    """See api.Machines. Every domain is a VM here, also one that is a template for others."""

    placement_keys: tuple[str, ...] = ("storage_pool",)
    destination_keys: tuple[str, ...] = ("uri", "peer_uri", "migrate_uri")

    def __init__(self, host: Host, drives: KvmDrives) -> None:
        self._host = host
        self._drives = drives

    def check(self, wanted: Sequence[VmWanted]) -> dict[str, str]:
        """See api.Machines."""
        return Creation(self._host, change=False).plan(wanted)[1]

    def create(self, wanted: Sequence[VmWanted]) -> Iterator[Outcome]:
        """See api.Machines."""
        creation = Creation(self._host, change=True)
        plans, problems = creation.plan(wanted)
        for name, problem in problems.items():
            yield Outcome(name, error=problem)
        yield from creation.run(plans)

    def set_nics(self, vm: Vm, nics: Sequence[NicWanted]) -> Outcome:
        """See api.Machines."""
        try:
            return self._set_nics(vm, nics)
        except libvirt.libvirtError as error:
            return Outcome(vm.name, vm.id, False, self._host.explain(vm.name, "its NICs could not be changed", error))

    def _set_nics(self, vm: Vm, nics: Sequence[NicWanted]) -> Outcome:
        networks = kvm_host.read_networks(self._host.connection)
        domains = kvm_host.read_domains(self._host)
        seen = domains.pop(vm.id, None)
        if seen is None:
            return Outcome(vm.name, vm.id, False, f"{vm.name}: it is gone from {self._host.endpoint}")
        taken = kvm_host.macs_in_use(domains)
        for nic in nics:
            if nic.mac in taken:
                text = f"{vm.name}: its MAC address {nic.mac} is that of {taken[nic.mac]}: give it another one, or none"
                return Outcome(vm.name, vm.id, False, text)
            if not networks.knows(nic.network):
                text = f"{vm.name}: there is no network or bridge {nic.network} on {self._host.endpoint}: make it, or correct the name"
                return Outcome(vm.name, vm.id, False, text)
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
        domain = kvm_domain.parse(seen.handle.XMLDesc(flags))
        devices = domain.find("devices")
        taken |= {mac: vm.name for mac in map(kvm_nics.mac_of, domain.findall("devices/interface")) if mac}
        macs = [new_mac(taken, vm.name) for nic in nics if nic.mac is None]
        if devices is None or not kvm_nics.change_nics(devices, nics, networks, macs):
            return Outcome(vm.name, vm.id)
        if seen.active:
            return Outcome(vm.name, vm.id, False, f"{vm.name}: it runs: shut it down before its NICs are changed")
        # Same name and uuid: the definition takes the place of the present one.
        self._host.connection.defineXMLFlags(ET.tostring(domain, encoding="unicode"), 0)
        return Outcome(vm.name, vm.id, True)

    def never_started(self, vm: Vm) -> bool:
        """See api.Machines. What tells are disks to which nothing was written since they were made; block devices tell nothing."""
        try:
            mark = kvm_domain.mark(kvm_domain.parse(vm.handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)))
            if mark is None or vm.id in self._host.list(libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE):
                return False
            return bool(mark.disks) and all(self._is_unwritten(path, mark.written.get(path)) for path in mark.disks)
        except libvirt.libvirtError:
            return False

    def _is_unwritten(self, path: str, written: str | None) -> bool:
        """Whether a disk is as it was made. written: see Mark."""
        handle = storage.find_volume(self._host.connection, path)
        if handle is None:
            return False
        disk = storage.read_volume(handle)
        return disk.allocation <= storage.UNWRITTEN if disk.base is not None else written is not None and disk.written == written

    def start(self, vms: Sequence[Vm]) -> Iterator[Outcome]:
        """See api.Machines."""
        return power.start(self._host, vms)

    def stop(self, vms: Sequence[Vm], timeout: float) -> Iterator[Outcome]:
        """See api.Machines."""
        return power.stop(self._host, vms, timeout)

    def migrate(self, vms: Sequence[Vm], destination: Mapping[str, str]) -> Iterator[Outcome]:
        """See api.Machines. destination: uri is the other host's for us; see docs/kvm.md for the others."""
        return Migration(self._host, self._drives, destination).run(vms)

    def delete_problems(self, vms: Sequence[Vm]) -> dict[str, str]:
        """See api.Machines."""
        run = deletion.Deletion(self._host, self._drives)
        run.look()
        return run.problems(vms)

    def remains(self, names: Sequence[str], delete: bool) -> Iterator[Outcome]:
        """See api.Machines."""
        return deletion.remains(self._host, self._drives, names, delete)

    def delete(self, vms: Sequence[Vm]) -> Iterator[Outcome]:
        """See api.Machines."""
        run = deletion.Deletion(self._host, self._drives)
        run.look()
        yield from run.run(vms)
