# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Body of the module vm_nic_record."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.policy import (
    RuleError,
    normalize_mac,
    parse_networks,
    parse_range,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.network_rules import names_on_hypervisor
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.nic_record import record_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import eventlog
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import MAX_DEVICE, NicFacts, VmFacts
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.results import nic_result
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import MAX_NAME, first_of, plain, plain_name

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import Changes, NicRecord
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore


def run_module(module: AnsibleModule) -> None:
    """Checks every VM, changes the record for the good ones in one transaction, and fails if one was bad."""
    params = module.params
    try:
        networks = read_networks(params["networks"])
    except OptionError as error:
        module.fail_json(msg=str(error))
    vms, errors = _read_entries(params, networks)
    for option in ("hypervisor_name", "moved_from"):
        value = params[option]
        if value is not None and not (0 < len(value) <= MAX_NAME and value.isprintable()):
            module.fail_json(msg=f"{option} must have 1 to {MAX_NAME} printable characters")
    if params["state"] == "retired" and params["vms"] is not None:
        module.fail_json(
            msg="state is retired, which is about all VMs of the hypervisor: leave vms out, or use state: absent for these"
        )
    if params["max_retry"] is not None and params["max_retry"] < 1:
        module.fail_json(msg=f"max_retry is {params['max_retry']}: it must be at least 1")
    with record_of(module) as store:
        if not module.check_mode:
            store.database.prepare()
        vms = list(_without_ambiguous(store, params, vms, errors))
        changes = _change(store, params, vms, module.check_mode)
    if params["syslog"] and not module.check_mode:
        eventlog.write(changes.events)
    result: dict[str, t.Any] = {"changed": changes.changed, "nics": [nic_result(nic) for nic in changes.after]}
    if module._diff:
        result["diff"] = {"before": _shown(changes.before), "after": _shown(changes.after)}
    if errors:
        module.fail_json(msg=_summary(errors), errors=errors, **result)
    module.exit_json(**result)


def _without_ambiguous(
    store: RecordStore, params: Mapping[str, t.Any], vms: Sequence[VmFacts], errors: list[dict[str, t.Any]]
) -> Sequence[VmFacts]:
    """The VMs without those whose name fits several VMs of the record; each of those adds an error."""
    names = [vm.name for vm in vms if not vm.id]
    if not names or not store.database.exists():
        return vms
    ids: dict[str, set[str]] = {}
    for nic in store.nics(hypervisor_names=[params["hypervisor_name"]], vms=names):
        ids.setdefault(nic.vm_name, set()).add(nic.vm_id)
    several = {name: sorted(found) for name, found in ids.items() if len(found) > 1}
    for name, found in several.items():
        message = f"{name}: the record has {len(found)} VMs of this name ({first_of(found)}): give the id of the one meant"
        errors.append({"vm": name, "message": message})
    return [vm for vm in vms if vm.id or vm.name not in several]


def _change(store: RecordStore, params: Mapping[str, t.Any], vms: Sequence[VmFacts], check_mode: bool) -> Changes:
    name, state = params["hypervisor_name"], params["state"]
    if state == "pending":
        return store.enter(
            name,
            vms,
            max_tries=params["max_retry"],
            rearm=params["rearm"],
            moved_from=params["moved_from"],
            dry_run=check_mode,
        )
    if state == "stopped":
        return store.stop(name, vms, dry_run=check_mode)
    if state == "retired":
        return store.retire(name, dry_run=check_mode)
    return store.remove(name, vms, dry_run=check_mode)


def read_networks(given: Sequence[t.Any] | None) -> dict[str, dict[str, t.Any]] | None:
    """The rules for NICs without their own, by all names of each network; None if all networks count. Raises OptionError."""
    if given is None:
        return None
    networks: dict[str, dict[str, t.Any]] = {}
    for place, entry in enumerate(given):
        entry = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(entry, dict) or not entry.get("name"):
            raise OptionError(f"networks[{place}] is {entry!r}: give a name, or a dictionary with name")
        try:
            rules = _read_rules({**entry, "cidrs": entry.get("cidrs") or entry.get("cidr")})
        except OptionError as error:
            raise OptionError(f"networks[{place}] ({plain(str(entry['name']))}): {error}") from None
        for name in names_on_hypervisor(entry):
            networks[name] = {key: value for key, value in rules.items() if value is not None}
    return networks


def _read_entries(
    params: Mapping[str, t.Any], networks: Mapping[str, dict[str, t.Any]] | None
) -> tuple[list[VmFacts], list[dict[str, t.Any]]]:
    """The good entries, and an error for each bad one. Of an entry that is given twice, the second is bad."""
    vms: list[VmFacts] = []
    errors = []
    seen: dict[str, int] = {}
    for place, entry in enumerate(params["vms"] or ()):
        label = plain_name(str(entry.get("name") or ""), str(entry.get("id") or "")) or f"vms[{place}]"
        try:
            vm = _read_vm(entry, params, networks)
            first = seen.setdefault(vm.id or f"name {vm.name}", place)
            if first != place:
                raise OptionError(f"it is the same VM as vms[{first}]: give it once")
            vms.append(vm)
        except OptionError as error:
            errors.append({"vm": label, "message": f"vms[{place}] ({label}): {error}"})
    return vms, errors


def _read_vm(entry: Mapping[str, t.Any], params: Mapping[str, t.Any], networks: Mapping[str, dict[str, t.Any]] | None) -> VmFacts:
    queueing = params["state"] == "pending"
    vm_id = _text(entry, "id", 64, required=queueing, hint=entry.get("message"))
    # Tenants choose names: a bad one is made plain, and the id replaces a missing one.
    name = plain_name(str(entry.get("name") or ""), vm_id or "")
    if not name:
        raise OptionError("name and id are missing: give one of them")
    nics: tuple[NicFacts, ...] = ()
    if queueing:
        given = entry.get("nics")
        if not isinstance(given, list):
            raise OptionError("nics is missing: give a list, such as vm_ip_info returns")
        if networks is not None:
            # Before they are checked: errors of NICs in other networks do not matter.
            given = [nic for nic in given if not isinstance(nic, dict) or _network(nic) in networks]
        nics = tuple(_read_nic(nic) for nic in given)
        if networks is not None:
            nics = tuple(dataclasses.replace(nic, network_rules=networks[t.cast(str, nic.network)]) for nic in nics)
        macs = [nic.mac for nic in nics]
        double = next((mac for mac in macs if macs.count(mac) > 1), None)
        if double:
            raise OptionError(f"two of its NICs have the MAC {double}: nobody could tell their addresses apart")
    rearm = entry.get("rearm", False)
    if not isinstance(rearm, bool):
        raise OptionError(f"rearm is {rearm!r}: it must be true or false")
    return VmFacts(name, vm_id.lower() if vm_id else None, nics, rearm=rearm)


def _network(entry: Mapping[str, t.Any]) -> str | None:
    network = entry.get("network")
    return plain(str(network), MAX_NAME) if network not in (None, "") else None


def _read_nic(entry: t.Any) -> NicFacts:
    if not isinstance(entry, dict):
        raise OptionError("nics must be a list of dictionaries with device and mac")
    device: t.Any = entry.get("device")
    try:
        device = int(device)  # a template may have made it a text
    except (TypeError, ValueError):
        device = -1
    if not 0 <= device <= MAX_DEVICE:
        raise OptionError(f"nics[].device is {entry.get('device')!r}: give the NIC's position, counted from 0")
    mac = normalize_mac(entry.get("mac") if isinstance(entry.get("mac"), str) else None)
    if mac is None:
        raise OptionError(f"NIC {device}: mac is {entry.get('mac')!r}: give six bytes in hexadecimal, such as 52:54:00:12:34:56")
    try:
        rules = _read_rules(entry)
    except OptionError as error:
        raise OptionError(f"NIC {device}: {error}") from None
    return NicFacts(device=device, mac=mac, network=_network(entry), **rules)


def _read_rules(entry: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The rules of a NIC or network; None for those not given."""
    required = entry.get("required")
    if required is not None and not isinstance(required, bool):
        raise OptionError(f"required is {required!r}: it must be true or false")
    cidrs = _texts(entry, "cidrs")
    ip_range = _text(entry, "ip_range", 100)
    try:
        parse_networks(cidrs or ())
        parse_range(ip_range)
    except RuleError as error:
        raise OptionError(str(error)) from None
    families = entry.get("family_order")
    if families is not None:
        families = tuple(int(family) if str(family) in ("4", "6") else 0 for family in _list(families))
        if not families or 0 in families or len(set(families)) != len(families):
            raise OptionError(f"family_order is {entry['family_order']!r}: use [4, 6], [6, 4], [4] or [6]")
    return {
        "required": required,
        "cidrs": cidrs,
        "ip_range": ip_range,
        "ignore_interfaces": _texts(entry, "ignore_interfaces"),
        "family_order": families,
    }


def _text(entry: Mapping[str, t.Any], key: str, longest: int, required: bool = False, hint: t.Any = None) -> str | None:
    value = entry.get(key)
    if value is None or value == "":
        if required:
            raise OptionError(f"{key} is missing" + (f": {hint}" if hint else ""))
        return None
    value = str(value)
    if len(value) > longest or not value.isprintable():
        raise OptionError(f"{key} must be at most {longest} printable characters")
    return value


def _texts(entry: Mapping[str, t.Any], key: str) -> tuple[str, ...] | None:
    value = entry.get(key)
    if value is None:
        return None
    words = _list(value)
    if len(words) > 64 or not all(isinstance(word, str) and len(word) <= 64 and word.isprintable() for word in words):
        raise OptionError(f"{key} must be a list of at most 64 short texts")
    return tuple(words)


def _list(value: t.Any) -> list[t.Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _summary(errors: Sequence[Mapping[str, t.Any]]) -> str:
    more = f" (and {len(errors) - 1} more, see errors)" if len(errors) > 1 else ""
    return f"{errors[0]['message']}{more}"


def _shown(nics: Sequence[NicRecord]) -> dict[str, t.Any]:
    """One side of the diff, without times, which always change."""
    return {
        f"{nic.vm_name} {nic.device} {nic.mac}": {
            "hypervisor_name": nic.hypervisor_name,
            "network": nic.network,
            "fetch_state": nic.fetch_state,
            "tries_left": nic.tries_left,
            "ip4_address": nic.ip4_address,
            "required": nic.required,
            "cidrs": list(nic.cidrs),
            "ip_range": nic.ip_range,
            "ignore_interfaces": list(nic.ignore_interfaces),
            "family_order": list(nic.family_order),
        }
        for nic in nics
    }
