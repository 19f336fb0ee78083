# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Body of the module vm: makes the listed VMs exist, or not."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import REASON_VM_NOT_FOUND
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.policy import normalize_mac
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    POWER_STOPPED,
    DriveError,
    NicWanted,
    VmWanted,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import vm_results as common
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.connection import find_vms, hypervisor_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain_name

if t.TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Hypervisor, Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_recorded import RecordedVms

GIB = 1 << 30
_LEAST = {"memory": 1, "cpus": 1, "disk_size": 1}


def run_module(module: AnsibleModule) -> None:
    """Checks every entry, then makes or deletes what differs; ends the module with one result for each entry."""
    present = module.params["state"] == "present"
    try:
        entries = _read_entries(module.params["vms"], present)
    except OptionError as error:
        common.refuse(module, str(error))
    results = common.Results(entries, stay=present)
    with hypervisor_of(module) as hypervisor:
        (_make_present if present else _make_absent)(module, hypervisor, entries, results)
    results.end(module)


def _read_entries(given: Sequence[Mapping[str, t.Any]], present: bool) -> dict[str, Mapping[str, t.Any]]:
    """The entries by the id of their VM if they have one (with state absent), else by its name."""
    entries: dict[str, Mapping[str, t.Any]] = {}
    for place, entry in enumerate(given):
        name = entry.get("name") or ""
        key = name if present else (entry.get("id") or name)
        if not key.strip():
            raise OptionError(f"vms[{place}] has no name: every VM needs one")
        if key in entries:
            raise OptionError(f"vms has {key} more than once: keep one of them")
        for option, least in _LEAST.items():
            value = entry.get(option)
            if value is not None and value < least:
                raise OptionError(f"{name}: {option} is {value}: it must be at least {least}")
        entries[key] = entry
    return entries


# -- present -------------------------------------------------------------------------------------------------------------------


def _make_present(
    module: AnsibleModule, hypervisor: Hypervisor, entries: Mapping[str, Mapping[str, t.Any]], results: common.Results
) -> None:
    try:
        wanted = {name: _wanted(module, hypervisor, entry) for name, entry in entries.items()}
    except OptionError as error:
        common.refuse(module, str(error))
    found = find_vms(hypervisor, list(entries))
    results.found(found)
    for vm in found.vms:
        results.show(vm)
    missing = []
    for name, problem in found.problems.items():
        if problem.reason == REASON_VM_NOT_FOUND:
            missing.append(wanted[name])
        else:
            results.fail(name, problem.message)
    _create(module, hypervisor, missing, results)
    for name, vm in found.asked.items():
        if name in results.by_asked and wanted[name].nics is not None:
            _compare_nics(module, hypervisor, vm, t.cast("tuple[NicWanted, ...]", wanted[name].nics), results)


def _wanted(module: AnsibleModule, hypervisor: Hypervisor, entry: Mapping[str, t.Any]) -> VmWanted:
    name, size = entry["name"], entry.get("disk_size")
    placement = {**(module.params["placement"] or {}), **(entry.get("placement") or {})}
    return VmWanted(
        name=name,
        template=entry.get("template") or "",
        nics=None if entry.get("nics") is None else tuple(_nic(name, nic) for nic in entry["nics"]),
        full_clone=bool(entry.get("full_clone")),
        memory=entry.get("memory"),
        cpus=entry.get("cpus"),
        disk_size=None if size is None else size * GIB,
        placement=common.destination_or_placement(
            placement, hypervisor.machines.placement_keys, f"{name}: placement", hypervisor.type
        ),
    )


def _nic(name: str, nic: Mapping[str, t.Any]) -> NicWanted:
    mac = normalize_mac(nic.get("mac"))
    if nic.get("mac") and mac is None:
        raise OptionError(f"{name}: mac is {nic['mac']!r}, which is no MAC address such as 52:54:00:12:34:56")
    return NicWanted(nic["network"], mac)


def _create(module: AnsibleModule, hypervisor: Hypervisor, missing: Sequence[VmWanted], results: common.Results) -> None:
    if not missing:
        return
    problems = {
        vm.name: "it does not exist, and there is no template to make it from: give it a template"
        for vm in missing
        if not vm.template
    }
    problems |= hypervisor.machines.check([vm for vm in missing if vm.template])
    if problems:
        # A mistake of the user's, unlike an error of one VM, refuses the whole list.
        common.refuse(module, *dict.fromkeys(common.named(name, problem) for name, problem in problems.items()))
    for vm in missing:
        results.differ(vm.name, (), _described(vm))
    if module.check_mode:
        for vm in missing:
            results.by_asked[vm.name]["changed"] = True
    else:
        results.take(hypervisor.machines.create(missing), [vm.name for vm in missing])


def _described(vm: VmWanted) -> list[str]:
    lines = [f"template: {vm.template}{' (full clone)' if vm.full_clone else ''}"]
    lines += [f"NIC {device}: {nic.network}{f', {nic.mac}' if nic.mac else ''}" for device, nic in enumerate(vm.nics or ())]
    lines += [f"{option}: {value}" for option in _LEAST if (value := getattr(vm, option)) is not None]
    return lines + [f"{key}: {value}" for key, value in vm.placement.items()]


def _compare_nics(
    module: AnsibleModule, hypervisor: Hypervisor, vm: Vm, nics: Sequence[NicWanted], results: common.Results
) -> None:
    """Warns of NICs that are not as asked for or, with update_nics, changes them."""
    is_there = [(nic.network, nic.mac) for nic in sorted(vm.nics, key=lambda nic: nic.device)]
    if len(is_there) == len(nics) and all(
        network in (nic.network, None) and nic.mac in (mac, None) for nic, (network, mac) in zip(nics, is_there, strict=True)
    ):
        return
    before = [f"NIC {device}: {network}, {mac}" for device, (network, mac) in enumerate(is_there)]
    after = [f"NIC {device}: {nic.network}{f', {nic.mac}' if nic.mac else ''}" for device, nic in enumerate(nics)]
    differ = f"it has {'; '.join(before) or 'no NIC'}, and is to have {'; '.join(after) or 'none'}"
    result = results.of(vm)
    # Nobody knows the NICs of a VM that has never run: the user has just corrected what was asked for.
    fresh = vm.ours and vm.power_state == POWER_STOPPED and hypervisor.machines.never_started(vm)
    if not module.params["update_nics"] and not fresh:
        result["warnings"].append(f"{vm.name}: {differ}: power it off and set update_nics, or correct what was asked for")
        return
    if vm.power_state != POWER_STOPPED:
        result["warnings"].append(f"{vm.name}: {differ}: its NICs are changed only while it is powered off")
        return
    results.differ(vm.name, before, after)
    if module.check_mode:
        result["changed"] = True
    else:
        results.take(iter([hypervisor.machines.set_nics(vm, nics)]), [vm])


# -- absent --------------------------------------------------------------------------------------------------------------------


def _make_absent(
    module: AnsibleModule, hypervisor: Hypervisor, entries: Mapping[str, Mapping[str, t.Any]], results: common.Results
) -> None:
    recorded = _recorded(module, list(entries))
    found = find_vms(hypervisor, list(entries))
    results.found(found)
    for key, problem in found.problems.items():
        if problem.reason != REASON_VM_NOT_FOUND:
            results.fail(key, problem.message)
    gone = [
        key for key, problem in found.problems.items() if problem.reason == REASON_VM_NOT_FOUND and not entries[key].get("id")
    ]
    for left in hypervisor.machines.remains(gone, delete=not module.check_mode):
        results.by_asked[left.name].update(changed=left.changed, error=left.error, warnings=list(left.warnings))
    by_name = [vm for key, vm in found.asked.items() if not entries[key].get("id") and key.lower() != vm.id]
    for vm in _unmarked(hypervisor, by_name, recorded.ids if recorded else ()):
        results.of(vm)["error"] = (
            f"{vm.name}: it carries no mark of this collection, neither its own nor a config drive of its id, and is not in the "
            f"record: to delete it all the same, give its id {vm.id}"
        )
    going = results.good(found.vms)
    # delete() itself refuses VMs that others need; those that run must not be powered off before that is known.
    if module.check_mode or any(vm.power_state != POWER_STOPPED for vm in going):
        problems = hypervisor.machines.delete_problems(going)
        for vm in going:
            if vm.id in problems:
                results.of(vm)["error"] = common.named(vm.name, problems[vm.id])
        going = results.good(going)
    if module.check_mode:
        for vm in going:
            results.of(vm)["changed"] = True
    elif going:
        _delete(hypervisor, going, results)
    for vm in results.good(going):
        results.differ(vm.name, [f"id: {vm.id}", f"power state: {vm.power_state}"], ())
    if recorded:
        _forget(recorded, results)


def _recorded(module: AnsibleModule, asked: Sequence[str]) -> RecordedVms | None:
    if not module.params["hypervisor_name"]:
        return None
    # Imported here, as the library of databases takes long to load.
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_recorded import RecordedVms

    return RecordedVms(module, asked)


def _forget(recorded: RecordedVms, results: common.Results) -> None:
    """Deletes the entries of the VMs that are gone now."""
    kept = {text for key, one in results.by_asked.items() if one["error"] for text in (plain_name(key), one["name"], one["id"])}
    asked = {plain_name(key): result for key, result in results.by_asked.items()}
    for nic in recorded.forget(kept):
        result = asked[nic.vm_name if nic.vm_name in asked else nic.vm_id]
        result["changed"] = True
        results.differ(result["name"], [f"in the record: NIC {nic.device}, {nic.mac}"], ())


def _unmarked(hypervisor: Hypervisor, vms: Iterable[Vm], recorded: Collection[str]) -> list[Vm]:
    """The VMs that are not known as ours: neither by a mark of their own, nor by their drive, nor by the record."""
    unsure = [vm for vm in vms if not vm.ours and vm.id not in recorded]
    states = hypervisor.drives.states(unsure) if unsure else {}
    return [vm for vm in unsure if isinstance(state := states[vm.id], DriveError) or state.owner != vm.id]


def _delete(hypervisor: Hypervisor, vms: Sequence[Vm], results: common.Results) -> None:
    running = [vm for vm in vms if vm.power_state != POWER_STOPPED]
    if running:
        results.take(hypervisor.machines.stop(running, 0), running)
    stopped = results.good(vms)
    if stopped:
        results.take(hypervisor.machines.delete(stopped), stopped)
