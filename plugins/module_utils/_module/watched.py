# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Which VMs and NICs of a hypervisor the record watches."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.policy import normalize_mac
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import POWER_RUNNING, POWER_STOPPED
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import MAX_DEVICE, NicFacts, VmFacts
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.reconcile import Picture
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import MAX_NAME, first_of, plain

if t.TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Hypervisor, Vm, VmList
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.look import Request
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.vm_filter import VmFilter

_RUNNING = {POWER_RUNNING: True, POWER_STOPPED: False}


def pictured(hypervisor: Hypervisor, request: Request, read_at: datetime.datetime) -> tuple[VmList, Picture]:
    """All VMs of a hypervisor, and a picture of them for the record.

    Only VMs that request.vm_filter chooses enter the record, with their NICs in request.networks; without both options none does.
    VMs that are in the record already are kept up to date in any case.
    """
    chosen, networks = request.vm_filter, request.networks
    read_labels(hypervisor, chosen)
    listed = hypervisor.inventory.vms(None)
    vms = []
    unread = set(listed.problems)
    for vm in listed.vms:
        ours = not vm.is_template and (chosen is None or chosen.chooses(vm.name, vm.folder, vm.tags or ()))
        nics = _nics(vm, networks, ours and (networks is not None or chosen is not None))
        if nics is None:
            unread.update((vm.id, vm.name))
        else:
            running = _RUNNING.get(vm.power_state)
            vms.append(VmFacts(vm.name, vm.id, nics, running, booted_at(vm), vm.boot_token, folder=vm.folder, tags=vm.tags))
    return listed, Picture(request.hypervisor_name, vms, read_at, unread=frozenset(unread))


def read_labels(hypervisor: Hypervisor, chosen: VmFilter | None) -> None:
    """Has the inventory read folders and tags if the filter goes by them."""
    hypervisor.inventory.tag_patterns = chosen.tag_patterns if chosen is not None and chosen.needs_labels else None


def strangers(vms: Sequence[Vm], networks: Collection[str] | None) -> list[str]:
    """A warning if there are NICs, but none in these networks: with a mistyped name, looks would go well and find nothing."""
    theirs = {nic.network for vm in vms for nic in vm.nics if nic.network}
    if networks is None or not theirs or not theirs.isdisjoint(networks):
        return []
    return [
        f"no VM here has a NIC in {_names(networks)}; theirs are in {_names(theirs)}: bridge, or the name, of a shared network must be what"
        " the hypervisor calls it"
    ]


def _names(names: Collection[str]) -> str:
    return first_of([plain(name, MAX_NAME) for name in sorted(names)])


def booted_at(vm: Vm) -> datetime.datetime | None:
    """The VM's boot time, in UTC; None if it is not known."""
    return None if vm.boot_time is None else datetime.datetime.fromtimestamp(vm.boot_time, datetime.timezone.utc)


def _nics(vm: Vm, networks: Mapping[str, Mapping[str, t.Any]] | None, ours: bool) -> tuple[NicFacts, ...] | None:
    """The VM's NICs for the record; None if they cannot be told apart, so that the record leaves them as they are."""
    nics = []
    for nic in vm.nics:
        mac = normalize_mac(nic.mac)
        if mac is None or not 0 <= nic.device <= MAX_DEVICE:
            return None
        rules = {} if networks is None else networks.get(nic.network or "")
        nics.append(NicFacts(nic.device, mac, nic.network, watched=ours and rules is not None, network_rules=rules or {}))
    macs = [nic.mac for nic in nics]
    return tuple(nics) if len(set(macs)) == len(macs) else None
