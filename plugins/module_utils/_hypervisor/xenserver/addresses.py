# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The addresses of a XenServer pool's guests, as their agents report them to XAPI."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import (
    REASON_HYPERVISOR_UNREACHABLE,
    REASON_SOURCE_UNAVAILABLE,
    REASON_VM_NOT_FOUND,
    SOURCE_GUEST_METRICS,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    Addresses,
    HypervisorError,
    Observation,
    Vm,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.guest_metrics import observe
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.inventory import vm_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import Picture

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class XenAddresses(Addresses):
    """See api.Addresses."""

    default_sources: tuple[str, ...] = (SOURCE_GUEST_METRICS,)
    sources: tuple[str, ...] = (SOURCE_GUEST_METRICS,)

    def __init__(self, picture: Picture) -> None:
        self._picture = picture

    def read(self, vms: Sequence[Vm], sources: Sequence[str], workers: int, timeout: float) -> Iterator[Observation]:
        """See api.Addresses. workers and timeout are not used: one call serves all VMs."""
        if SOURCE_GUEST_METRICS not in sources:
            for vm in vms:
                text = f"on XenServer addresses come from {SOURCE_GUEST_METRICS}, not from {', '.join(sources)}"
                yield Observation(vm, reason=REASON_SOURCE_UNAVAILABLE, message=text)
            return
        try:
            if not self._picture.just_looked:
                self._picture.refresh()
            self._picture.just_looked = False
        except HypervisorError as error:
            for vm in vms:
                yield Observation(vm, reason=REASON_HYPERVISOR_UNREACHABLE, message=str(error))
            return
        for vm in vms:
            yield self._observe(vm)

    def _observe(self, vm: Vm) -> Observation:
        record = self._picture.get("vm", vm.handle)
        if record is None:
            return Observation(vm, reason=REASON_VM_NOT_FOUND, message="it is gone from the pool")
        # The power state and the NICs may have changed since the caller listed the VMs.
        now = vm_of(self._picture, vm.handle, record)
        guest = self._picture.get("vm_guest_metrics", record["guest_metrics"])
        return observe(now, guest, self._picture.get("vm_metrics", record["metrics"]))
