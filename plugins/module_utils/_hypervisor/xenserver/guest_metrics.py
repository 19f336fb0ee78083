# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Addresses from VM_guest_metrics: which entries can be trusted, and which NIC they belong to."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import (
    REASON_NO_GUEST_TOOLS,
    REASON_NO_LEASE,
    REASON_VM_NOT_RUNNING,
    SOURCE_GUEST_METRICS,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.xe_networks import readings_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import POWER_RUNNING, Observation

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import Reading
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Nic, Vm

# What XAPI writes for "never".
_EPOCH = "19700101T00:00:00Z"
_DATE = re.compile(r"\d{8}T\d\d:\d\d:\d\dZ?")
_WAIT = "it reports about a minute after the guest has started"


def observe(vm: Vm, guest: Mapping[str, t.Any] | None, metrics: Mapping[str, t.Any] | None) -> Observation:
    """What the guest agent of one VM reported.

    guest, metrics: the records of VM_guest_metrics and VM_metrics, None where there is none. XAPI makes an empty record at every
    start, long before the guest agent reports; a report has the agent's version. A report from before the VM's start, or of an
    agent that has stopped, does not count.
    """
    if vm.power_state != POWER_RUNNING:
        return Observation(vm, reason=REASON_VM_NOT_RUNNING, message=f"it is {vm.power_state}: start it")
    if guest is None or "major" not in (guest.get("PV_drivers_version") or {}):
        text = f"no guest agent has reported since the VM started; install the XenServer VM Tools in the guest, {_WAIT}"
        return Observation(vm, reason=REASON_NO_GUEST_TOOLS, message=text)
    started = (metrics or {}).get("start_time", _EPOCH)
    updated = guest.get("last_updated", _EPOCH)
    if _DATE.fullmatch(str(updated)) and _DATE.fullmatch(str(started)) and str(updated) < str(started):
        text = f"what XAPI holds is older than the VM's start; the guest agent has not reported since, {_WAIT}"
        return Observation(vm, reason=REASON_NO_GUEST_TOOLS, message=text)
    if guest.get("live") is False:
        text = "the guest agent has stopped reporting, so its last address may be stale; start it again in the guest"
        return Observation(vm, reason=REASON_NO_GUEST_TOOLS, message=text)
    readings = attach(readings_of(guest.get("networks") or {}), vm.nics)
    if not readings:
        text = "the guest agent runs but reports no address; check that the DHCP server serves this network"
        return Observation(vm, reason=REASON_NO_LEASE, message=text)
    return Observation(vm, readings, SOURCE_GUEST_METRICS)


def attach(readings: Sequence[Reading], nics: Sequence[Nic]) -> tuple[Reading, ...]:
    """Gives each reading the MAC of the VIF with its device number.

    Old guest agents number the guest's own interfaces instead. A number without a VIF is dropped, and the policy finds the NIC by
    elimination or by network.
    """
    macs = {nic.device: nic.mac for nic in nics}
    joined = []
    for reading in readings:
        if reading.device is None or reading.mac is not None:
            joined.append(reading)
        elif reading.device in macs:
            joined.append(dataclasses.replace(reading, mac=macs[reading.device]))
        else:
            joined.append(dataclasses.replace(reading, device=None))
    return tuple(joined)
