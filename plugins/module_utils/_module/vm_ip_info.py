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
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import page
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.connection import (
    Problem,
    check_sources,
    find_vms,
    hypervisor_of,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.names import read_vms
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Observation, Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.connection import FoundVms


def run_module(module: AnsibleModule) -> None:
    """Reads the VMs, asks their guests, and ends the module with one entry for each VM asked for."""
    params = module.params
    rules = _rules_by_network(module)
    if params["workers"] < 1:
        module.fail_json(msg=f"workers is {params['workers']}: it must be at least 1")
    if params["timeout"] <= 0:
        module.fail_json(msg=f"timeout is {params['timeout']:g}: it must be above 0")
    page.check(module, limit=0, offset=0)
    names = read_vms(module)
    with hypervisor_of(module) as hypervisor:
        sources = check_sources(hypervisor, params["sources"])
        found = find_vms(hypervisor, names)
        asked = _asked(names, found)
        shown = page.page_of(module, "VMs", asked)
        vms = [one for one in shown if not isinstance(one, str)]
        observations = {}
        if sources and vms:
            for seen in hypervisor.addresses.read(vms, sources, params["workers"], params["timeout"]):
                observations[seen.vm.id] = seen
    entries = [
        _missing_result(one, found.problems[one]) if isinstance(one, str) else _vm_result(one, observations.get(one.id), rules)
        for one in shown
    ]
    module.exit_json(changed=False, total=len(asked), vms=entries)


def _asked(names: Sequence[str] | None, found: FoundVms) -> list[Vm | str]:
    """The VMs asked for, in that order and each once; a name or id stands for one that was not found."""
    if names is None:
        return [*found.vms, *found.problems]
    asked: dict[tuple[str, bool], Vm | str] = {}
    for name in names:
        vm = found.asked.get(name)
        asked.setdefault((name, False) if vm is None else (vm.id, True), name if vm is None else vm)
    return list(asked.values())


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
