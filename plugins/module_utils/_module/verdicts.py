# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.


"""The policy's verdicts on the observation of one VM."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import (
    REASON_SOURCE_UNAVAILABLE,
    REASON_VM_NOT_FOUND,
    NicAddress,
    NicRules,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.policy import decide_vm
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import POWER_STOPPED
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.watched import booted_at

if t.TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Observation, Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import NicRecord


class Answer(t.NamedTuple):
    """One NIC's verdict. claim: as it was claimed; nic: with the VM's name and the NIC's place as the hypervisor has them now."""

    claim: NicRecord
    nic: NicRecord
    verdict: NicAddress
    vm_off: bool = False


def verdicts(seen: Observation, claimed: Sequence[NicRecord]) -> list[Answer]:
    """The verdict on each claimed NIC. A VM that the policy cannot judge gets a verdict, too, and no exception."""
    devices = {nic.mac: nic.device for nic in seen.vm.nics}
    here = [(claim, _up_to_date(claim, seen.vm, devices.get(claim.mac, claim.device))) for claim in claimed]
    if seen.source is None:
        nothing = NicAddress(reason=seen.reason or REASON_SOURCE_UNAVAILABLE, message=seen.message)
        return [Answer(claim, nic, nothing, vm_off=seen.vm.power_state == POWER_STOPPED) for claim, nic in here]
    rules = {nic.device: NicRules(nic.cidrs, nic.ip_range, nic.ignore_interfaces, nic.family_order) for _claim, nic in here}
    previous = {nic.device: nic.ip4_address for _claim, nic in here if nic.ip4_address}
    try:
        decided = decide_vm([(nic.device, nic.mac) for nic in seen.vm.nics], seen.readings, rules, seen.source, previous)
    except Exception as error:  # whatever a guest managed to say must not stop the others
        broken = NicAddress(reason=REASON_SOURCE_UNAVAILABLE, message=f"the answer could not be read: {error!r}"[:200])
        return [Answer(claim, nic, broken) for claim, nic in here]
    removed = NicAddress(reason=REASON_VM_NOT_FOUND, message="the VM has no NIC with this MAC any more: synchronize the record")
    return [Answer(claim, nic, decided[nic.device] if nic.mac in devices else removed) for claim, nic in here]


def _up_to_date(nic: NicRecord, vm: Vm, device: int) -> NicRecord:
    """The NIC with its VM's name and its place as the hypervisor has them now, and the start that was looked at if none is known."""
    now: dict[str, t.Any] = {"vm_name": vm.name or nic.vm_name, "device": device}
    if nic.booted_at is None and nic.boot_token is None:
        now |= {"booted_at": booted_at(vm), "boot_token": vm.boot_token}
    return nic.but(**now)
