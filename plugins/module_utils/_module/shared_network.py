# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Body of the module shared_network: the listed networks exist on their hypervisor, or do not."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._entries import nearest
from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import network_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorUnreachable
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.connection import LONGEST_ERROR, hypervisor_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_results import NO_ANSWER, named
from ansible_collections.vmops.external_dhcp.plugins.module_utils._names import names_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import first_of, plain

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Hypervisor, NetworkState, Outcome
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.network_rules import SharedNetwork

_NOT_OURS = "it has no vlan: it is not made or removed here, only looked at"


def run_module(module: AnsibleModule) -> None:
    """Makes or removes the networks together, and ends the module with one result for each."""
    params = module.params
    try:
        networks = _networks(params)
    except OptionError as error:
        module.fail_json(msg=f"nothing was changed: {plain(str(error), LONGEST_ERROR)}", changed=False, networks=[])
    run = _Run(networks, params["state"])
    with hypervisor_of(module) as hypervisor:
        todo = run.look(hypervisor)
        if module.check_mode:
            run.predict(todo)
        elif todo:
            change = hypervisor.networks.make if params["state"] == "present" else hypervisor.networks.remove
            run.take(change([run.wanted[name] for name in todo]), todo)
    if params["state"] == "present":
        for warning in network_rules.overlaps(networks, _announced(params["announced"] or ())):
            module.warn(warning)
    run.end(module)


def _networks(params: Mapping[str, t.Any]) -> list[SharedNetwork]:
    """The chosen entries; those without bridge or hosts get the module's."""
    networks = network_rules.read_networks(params["networks"], "networks")
    names = names_of(params["names"], "names")
    known = [network.name for network in networks]
    for name in names or ():
        if name not in known:
            raise OptionError(f"names has {name!r}, which is not in networks{nearest(name, known)}")
    bridge, hosts = params["bridge"] or None, tuple(params["hosts"] or ())
    return [
        network
        if network.vlan is None
        else dataclasses.replace(network, bridge=network.bridge or bridge, hosts=network.hosts or hosts)
        for network in networks
        if names is None or network.name in names
    ]


def _announced(given: Iterable[t.Any]) -> list[SharedNetwork]:
    """Networks of other hypervisors, without those that cannot be used: the module's run for their hypervisor says so."""
    found = []
    for entry in given:
        try:
            found += network_rules.read_networks([entry])
        except OptionError:
            continue
    return found


class _Run:
    """The results of one run, by the networks' names."""

    def __init__(self, networks: Sequence[SharedNetwork], state: str) -> None:
        self._networks = networks
        self._present = state == "present"
        self.wanted = {one.name: one.wanted for one in networks}
        self.results: dict[str, dict[str, t.Any]] = {}
        self.diffs: list[dict[str, str]] = []

    def look(self, hypervisor: Hypervisor) -> list[str]:
        """Reads the networks, and returns the names of those to be changed."""
        states = hypervisor.networks.states([self.wanted[one.name] for one in self._networks], users=not self._present)
        todo = []
        for network, state in zip(self._networks, states):
            made = network.vlan is not None
            problem = state.problem if self._present else state.keep if made and state.before else None
            target = state.after if self._present else ()
            self.results[network.name] = {
                "name": network.name,
                "network": network.nic_network,
                "vlan": network.vlan,
                "exists": bool(state.before),
                "users": [plain(user) for user in state.users],
                "changed": False,
                "error": None if problem is None else named(network.name, problem),
                "message": None if made else _NOT_OURS,
            }
            if made and problem is None and state.before != target:
                todo.append(network.name)
                self._differ(network, state, target)
        return todo

    def predict(self, todo: Sequence[str]) -> None:
        """Notes the changes that would be made, for check mode."""
        for name in todo:
            self.results[name]["changed"] = True

    def take(self, outcomes: Iterator[Outcome], todo: Sequence[str]) -> None:
        """Notes what became of the networks. A broken connection is the error of those without an outcome."""
        waiting = dict.fromkeys(todo)
        why = NO_ANSWER
        try:
            for outcome in outcomes:
                waiting.pop(outcome.name, None)
                result = self.results[outcome.name]
                result["changed"] = outcome.changed
                if outcome.error is not None:
                    result["error"] = named(outcome.name, outcome.error)
                else:
                    result["exists"] = self._present
        except HypervisorUnreachable as error:
            why = str(error)
        for name in waiting:
            self.results[name]["error"] = named(name, why)

    def _differ(self, network: SharedNetwork, state: NetworkState, target: Sequence[str]) -> None:
        texts = {"before": state.before, "after": target}
        self.diffs.append(
            {f"{side}_header": network.name for side in texts}
            | {side: "".join(f"{plain(line)}\n" for line in lines) for side, lines in texts.items()}
        )

    def end(self, module: AnsibleModule) -> t.NoReturn:
        """Ends the module; it fails if one network failed, after all others were done."""
        results = list(self.results.values())
        ending: dict[str, t.Any] = {"changed": any(result["changed"] for result in results), "networks": results}
        if module._diff:
            ending["diff"] = self.diffs
        errors = [result["error"] for result in results if result["error"] is not None]
        if errors:
            told = first_of(errors, between="; ")
            module.fail_json(msg=f"{len(errors)} of {len(results)} networks failed: {told}", **ending)
        module.exit_json(**ending)
        raise AssertionError("that ends the module")  # pragma: no cover
