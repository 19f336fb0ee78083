# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the modules vm, vm_power and vm_migrate share: results of many VMs."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorUnreachable
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.connection import LONGEST_ERROR
from ansible_collections.vmops.external_dhcp.plugins.module_utils._names import names_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import first_of, plain

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Outcome, Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.connection import FoundVms

NO_ANSWER = "nothing was heard of it; look at the hypervisor, and run this again"


def read_names(module: AnsibleModule) -> list[str]:
    """The option `vms` of a module that takes names or ids; ends the module if it cannot be used."""
    try:
        return names_of(module.params["vms"], "vms") or []
    except OptionError as error:
        refuse(module, str(error))


def refuse(module: AnsibleModule, *reasons: str) -> t.NoReturn:
    """Ends the module before anything was changed."""
    module.fail_json(msg=f"nothing was changed: {first_of(reasons, between='; ')}", changed=False, vms=[])
    raise AssertionError("that ends the module")  # pragma: no cover


def named(name: str, text: str) -> str:
    """The text as a sentence that begins with the VM's name."""
    text = plain(text, LONGEST_ERROR)
    return text if text.startswith((f"{name}:", f"{name} ")) else f"{name}: {text}"


class Results:
    """One result for each VM asked for, in that order: name, id, changed, error, warnings, and power state and NICs.

    asked: the names or ids that were given. stay: False if the VMs are to be deleted, so that the last two are left out.
    """

    def __init__(self, asked: Iterable[str], stay: bool = True) -> None:
        self.by_asked: dict[str, dict[str, t.Any]] = {
            key: {"name": key, "id": None, "changed": False, "error": None, "warnings": []} for key in asked
        }
        for result in self.by_asked.values() if stay else ():
            result.update(power_state=None, nics=[])
        self._by_id: dict[str, dict[str, t.Any]] = {}
        self.diffs: list[dict[str, str]] = []

    def found(self, found: FoundVms) -> None:
        """Notes the ids of the VMs that are there; of a VM that was asked for twice only the first result is kept."""
        for key, vm in found.asked.items():
            if vm.id in self._by_id:
                del self.by_asked[key]
                continue
            self._by_id[vm.id] = self.by_asked[key]
            # The caller knows the VM by the name that it gave.
            self.by_asked[key].update(name=vm.name if key.lower() == vm.id else key, id=vm.id)

    def of(self, vm: Vm) -> dict[str, t.Any]:
        return self._by_id[vm.id]

    def show(self, vm: Vm) -> None:
        """Notes the VM's power state and NICs."""
        self.of(vm).update(power_state=vm.power_state, nics=_nics_of(vm))

    def fail(self, key: str, error: str) -> None:
        result = self.by_asked[key]
        result["error"] = named(result["name"], error)

    def good(self, vms: Iterable[Vm]) -> list[Vm]:
        """The VMs without an error so far."""
        return [vm for vm in vms if self.of(vm)["error"] is None]

    def take(self, outcomes: Iterator[Outcome], expected: Sequence[Vm | str]) -> None:
        """Notes what became of the expected VMs; VMs to be created are given by their names.

        A broken connection is the error of those without an outcome.
        """
        open_ones = {one if isinstance(one, str) else one.id: self._result(one) for one in expected}
        why = NO_ANSWER
        try:
            for outcome in outcomes:
                result = open_ones.pop(outcome.id or "", None) or open_ones.pop(outcome.name)
                result["id"] = outcome.id or result["id"]
                result["changed"] = result["changed"] or outcome.changed
                result["warnings"] += [named(result["name"], warning) for warning in outcome.warnings]
                if outcome.error is not None:
                    result["error"] = named(result["name"], outcome.error)
        except HypervisorUnreachable as error:
            why = str(error)
        for result in open_ones.values():
            result["error"] = result["error"] or named(result["name"], why)

    def _result(self, one: Vm | str) -> dict[str, t.Any]:
        return self.by_asked[one] if isinstance(one, str) else self.of(one)

    def differ(self, name: str, before: Sequence[str], after: Sequence[str]) -> None:
        """Adds lines about one VM to the diff."""
        texts = {"before": before, "after": after}
        self.diffs.append(
            {f"{side}_header": name for side in texts} | {side: "".join(f"{line}\n" for line in texts[side]) for side in texts}
        )

    def end(self, module: AnsibleModule) -> t.NoReturn:
        """Ends the module; it fails if a VM failed, unless ignore_vm_errors is set."""
        results = list(self.by_asked.values())
        for warning in dict.fromkeys(warning for result in results for warning in result["warnings"]):
            module.warn(warning)
        ending: dict[str, t.Any] = {"changed": any(result["changed"] for result in results), "vms": results}
        if module._diff:
            ending["diff"] = self.diffs
        errors = [result["error"] for result in results if result["error"] is not None]
        if errors and not module.params["ignore_vm_errors"]:
            module.fail_json(msg=f"{len(errors)} of {len(results)} VMs failed: {first_of(errors, between='; ')}", **ending)
        module.exit_json(**ending)
        raise AssertionError("that ends the module")  # pragma: no cover


def _nics_of(vm: Vm) -> list[dict[str, t.Any]]:
    """A VM's NICs, in the shape that the module vm_nic_record takes."""
    return [{"device": nic.device, "mac": nic.mac, "network": nic.network} for nic in vm.nics]


def destination_or_placement(given: Mapping[str, t.Any] | None, known: Sequence[str], option: str, kind: str) -> dict[str, str]:
    """The keys of a mapping that have a value. Raises OptionError for a key that this kind of hypervisor does not know."""
    chosen = {str(key): str(value) for key, value in (given or {}).items() if value not in (None, "")}
    for key in chosen:
        if key not in known:
            use = f"use {', '.join(known)}" if known else "there are none"
            raise OptionError(f"{option} has {key!r}, which hypervisor.type {kind} does not know: {use}")
    return chosen
