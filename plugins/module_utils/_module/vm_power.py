# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Body of the module vm_power: starts, stops or restarts the listed VMs."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import POWER_RUNNING, POWER_STOPPED
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import vm_results as common
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.connection import find_vms, hypervisor_of

if t.TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Hypervisor, Vm


def run_module(module: AnsibleModule) -> None:
    """Changes the VMs that are not in the wanted state, and ends the module with one result for each VM asked for."""
    names, state, timeout = common.read_names(module), module.params["state"], module.params["timeout"]
    if timeout < 0:
        common.refuse(module, f"timeout is {timeout:g}: it must not be below 0")
    results = common.Results(names)
    with hypervisor_of(module) as hypervisor:
        found = find_vms(hypervisor, names)
        results.found(found)
        for key, problem in found.problems.items():
            results.fail(key, problem.message)
        vms = [vm for vm in found.vms if _is_to_change(vm, state)]
        if module.check_mode:
            _predict(found.vms, vms, state, results)
        else:
            _change(hypervisor, vms, state, timeout, results)
            _read_again(hypervisor, found.vms, bool(vms), results)
    for vm in found.vms:
        result = results.of(vm)
        if result["changed"]:
            results.differ(vm.name, [vm.power_state], ["restarted"] if state == "restarted" else [result["power_state"]])
    results.end(module)


def _is_to_change(vm: Vm, state: str) -> bool:
    if state == "running":
        return vm.power_state != POWER_RUNNING
    return vm.power_state != POWER_STOPPED


def _change(hypervisor: Hypervisor, vms: Sequence[Vm], state: str, timeout: float, results: common.Results) -> None:
    if vms and state != "running":
        results.take(hypervisor.machines.stop(vms, timeout), vms)
    to_start = results.good(vms) if state != "stopped" else []
    if to_start:
        results.take(hypervisor.machines.start(to_start), to_start)


def _predict(vms: Sequence[Vm], changing: Sequence[Vm], state: str, results: common.Results) -> None:
    for vm in vms:
        results.show(vm)
    for vm in changing:
        results.of(vm).update(changed=True, power_state=POWER_STOPPED if state == "stopped" else POWER_RUNNING)


def _read_again(hypervisor: Hypervisor, vms: Sequence[Vm], changed: bool, results: common.Results) -> None:
    """Notes power states and NICs as they are now: a NIC may get its MAC at the first start."""
    now = {vm.id: vm for vm in vms}
    if changed:
        keys = [key for key, result in results.by_asked.items() if result["id"] is not None]
        now |= {vm.id: vm for vm in find_vms(hypervisor, keys).vms}
    for vm in vms:
        results.show(now[vm.id])
