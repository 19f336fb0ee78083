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

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.host import Host


class KvmInventory(Inventory):
    """See api.Inventory.

    libvirt knows no templates: every domain is a VM, also one that others are clones of, and is_template is never true. What
    keeps such a domain from being started or deleted is found out when somebody is about to. ours: see domain.mark().
    """

    def __init__(self, host: Host) -> None:
        self._host = host

    def vms(self, names: Sequence[str] | None = None) -> VmList:
        """See api.Inventory. libvirt has one namespace for names, so a name is never found twice."""
        domains = {domain.name(): domain for domain in self._host.list().values()}
        found: dict[str, Vm] = {}
        problems: dict[str, str] = {}
        wanted = sorted(domains) if names is None else names
        for name, vm, error in self._host.links.each_here(lambda _c, name: _read_vm(domains[name]), list(wanted)):
            if vm is not None:
                found[name] = vm
            else:
                self._note(name, error, names is not None, problems)
        return VmList(
            tuple(found[name] for name in wanted if name in found), {name: problems[name] for name in wanted if name in problems}
        )

    def _note(self, name: str, error: Exception | None, asked: bool, problems: dict[str, str]) -> None:
        endpoint = self._host.endpoint
        if not is_alive(self._host.connection):
            raise HypervisorUnreachable(f"{endpoint}: the connection broke; run the task again") from None
        if isinstance(error, libvirt.libvirtError) and error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            problems[name] = f"{name} could not be read: {error.get_error_message() or error}"
        elif not isinstance(error, (KeyError, libvirt.libvirtError)):
            raise t.cast("Exception", error)
        elif asked:
            problems[name] = f"there is no VM {name} on {endpoint}: check the name, and that it is on this hypervisor"


def _read_vm(domain: t.Any) -> Vm:
    power = _power_state(domain.state()[0])
    number = domain.ID()
    element = kvm_domain.parse(domain.XMLDesc(0))
    return Vm(
        name=domain.name(),
        id=domain.UUIDString().lower(),
        power_state=power,
        nics=kvm_domain.nics(element),
        handle=domain,
        # libvirtd counts this number up with each start, and begins at 1 again only if it was restarted while no VM ran.
        boot_token=str(number) if power != POWER_STOPPED and number > 0 else None,
        ours=kvm_domain.mark(element) is not None,
    )


def _power_state(state: int) -> str:
    if state in (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED, libvirt.VIR_DOMAIN_SHUTDOWN):
        return POWER_RUNNING
    if state == libvirt.VIR_DOMAIN_PAUSED:
        return POWER_PAUSED
    if state == libvirt.VIR_DOMAIN_PMSUSPENDED:
        return POWER_SUSPENDED
    return POWER_STOPPED
