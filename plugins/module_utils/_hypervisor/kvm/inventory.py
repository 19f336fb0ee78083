# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The VMs of a KVM host."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    POWER_PAUSED,
    POWER_RUNNING,
    POWER_STOPPED,
    POWER_SUSPENDED,
    HypervisorUnreachable,
    Inventory,
    Vm,
    VmList,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import domain as kvm_domain
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import (
    libvirt,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.session import is_alive

if t.TYPE_CHECKING:
    from collections.abc import Sequence


class KvmInventory(Inventory):
    """See api.Inventory."""

    def __init__(self, connection: t.Any, endpoint: str) -> None:
        self.endpoint = endpoint
        self._connection = connection

    def vms(self, names: Sequence[str] | None = None) -> VmList:
        """See api.Inventory. libvirt has one namespace for names, so a name is never found twice."""
        try:
            domains = {domain.name(): domain for domain in self._connection.listAllDomains(0)}
        except libvirt.libvirtError as error:
            raise HypervisorUnreachable(f"{self.endpoint}: the VMs could not be listed: {error.get_error_message()}") from None
        found = []
        problems = {}
        for name in sorted(domains) if names is None else names:
            try:
                found.append(_read_vm(domains[name]))
            except (KeyError, libvirt.libvirtError) as error:
                if not is_alive(self._connection):
                    raise HypervisorUnreachable(f"{self.endpoint}: the connection broke; run the task again") from None
                if isinstance(error, libvirt.libvirtError) and error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    problems[name] = f"{name} could not be read: {error.get_error_message() or error}"
                elif names is not None:
                    problems[name] = (
                        f"there is no VM {name} on {self.endpoint}: check the name, and that it is on this hypervisor"
                    )
        return VmList(tuple(found), problems)


def _read_vm(domain: t.Any) -> Vm:
    state = domain.state()[0]
    element = kvm_domain.parse(domain.XMLDesc(0))
    return Vm(domain.name(), domain.UUIDString().lower(), _power_state(state), kvm_domain.nics(element), domain)


def _power_state(state: int) -> str:
    if state in (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED, libvirt.VIR_DOMAIN_SHUTDOWN):
        return POWER_RUNNING
    if state == libvirt.VIR_DOMAIN_PAUSED:
        return POWER_PAUSED
    if state == libvirt.VIR_DOMAIN_PMSUSPENDED:
        return POWER_SUSPENDED
    return POWER_STOPPED
