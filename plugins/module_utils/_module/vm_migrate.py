# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Body of the module vm_migrate: moves the listed VMs, with their drives."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import vm_results as common
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.connection import find_vms, hypervisor_of

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def run_module(module: AnsibleModule) -> None:
    """Migrates the VMs together, and ends the module with one result for each VM asked for."""
    names = common.read_names(module)
    results = common.Results(names)
    with hypervisor_of(module) as hypervisor:
        keys = hypervisor.machines.destination_keys
        try:
            destination = common.destination_or_placement(module.params["destination"], keys, "destination", hypervisor.type)
        except OptionError as error:
            common.refuse(module, str(error))
        if not destination:
            common.refuse(module, f"destination is empty: give at least one of {', '.join(keys)}")
        found = find_vms(hypervisor, names)
        results.found(found)
        for key, problem in found.problems.items():
            results.fail(key, problem.message)
        vms = list(found.vms)
        if module.check_mode:
            for vm in vms:
                results.of(vm)["changed"] = True
        elif vms:
            results.take(hypervisor.machines.migrate(vms, destination), vms)
    where = ", ".join(f"{key} {value}" for key, value in destination.items())
    for vm in vms:
        # As they were before: a move changes neither, and the VM may be on another hypervisor now.
        results.show(vm)
        result = results.of(vm)
        if result["changed"] and result["error"] is None:
            results.differ(vm.name, ["where it was"], [where])
    results.end(module)
