# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Body of the module vm_ip_info."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import (
    NicAddress,
    NicRules,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.policy import (
    RuleError,
    decide_vm,
    parse_networks,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.connection import (
    Problem,
    check_sources,
    find_vms,
    hypervisor_of,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.names import read_vms
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain

if t.TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Observation, Vm


def run_module(module: AnsibleModule) -> None:
    """Reads the VMs, asks their guests, and ends the module with one entry for each VM asked for."""
    params = module.params
    rules = _rules_by_network(module)
    if params["workers"] < 1:
        module.fail_json(msg=f"workers is {params['workers']}: it must be at least 1")
    if params["timeout"] <= 0:
        module.fail_json(msg=f"timeout is {params['timeout']:g}: it must be above 0")
    names = read_vms(module)
    with hypervisor_of(module) as hypervisor:
        sources = check_sources(hypervisor, params["sources"])
        found = find_vms(hypervisor, names)
        observations = {}
        if sources:
            for seen in hypervisor.addresses.read(found.vms, sources, params["workers"], params["timeout"]):
                observations[seen.vm.id] = seen
    results = {vm.id: _vm_result(vm, observations.get(vm.id), rules) for vm in found.vms}
    if names is None:
        entries = [*results.values(), *(_missing_result(name, problem) for name, problem in found.problems.items())]
    else:
        # Each VM once, also if it was asked for by its name and by its id.
        asked = dict.fromkeys(found.asked[name].id if name in found.asked else (name,) for name in names)
        entries = [results[key] if isinstance(key, str) else _missing_result(key[0], found.problems[key[0]]) for key in asked]
    module.exit_json(changed=False, vms=entries)


def _rules_by_network(module: AnsibleModule) -> dict[str, NicRules]:
    rules = {}
    for network, cidrs in (module.params["cidrs"] or {}).items():
        cidrs = [cidrs] if isinstance(cidrs, str) else cidrs
        try:
            parse_networks(cidrs)
        except (RuleError, TypeError) as error:
            module.fail_json(msg=f"cidrs.{network}: {error}")
        rules[network] = NicRules(cidrs=tuple(cidrs))
    return rules


def _vm_result(vm: Vm, seen: Observation | None, rules: Mapping[str, NicRules]) -> dict[str, t.Any]:
    verdicts: dict[int, NicAddress] = {}
    if seen is not None and seen.source is not None:
        by_device = {nic.device: rules[nic.network] for nic in vm.nics if nic.network is not None and nic.network in rules}
        verdicts = decide_vm([(nic.device, nic.mac) for nic in vm.nics], seen.readings, by_device, seen.source)
    elif seen is not None:
        verdicts = {nic.device: NicAddress(reason=seen.reason, message=seen.message) for nic in vm.nics}
    return {
        "name": vm.name,
        "id": vm.id,
        "power_state": vm.power_state,
        "reason": None if seen is None else seen.reason,
        "nics": [
            {"device": nic.device, "mac": nic.mac, "network": nic.network, **_address(verdicts.get(nic.device, NicAddress()))}
            for nic in vm.nics
        ],
    }


def _address(verdict: NicAddress) -> dict[str, t.Any]:
    return {
        "ip4_address": verdict.ip4_address,
        "ip6_addresses": list(verdict.ip6_addresses),
        "addresses": list(verdict.addresses),
        "source": verdict.source,
        "reason": verdict.reason,
        "message": None if verdict.message is None else plain(verdict.message),
    }


def _missing_result(name: str, problem: Problem) -> dict[str, t.Any]:
    return {
        "name": name,
        "id": None,
        "power_state": None,
        "reason": problem.reason,
        "message": problem.message,
        "nics": [],
    }
