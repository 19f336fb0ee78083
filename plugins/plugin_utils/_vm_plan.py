# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Checks and joins what a user wrote about VMs and shared networks; the roles work from the result."""

from __future__ import annotations

import collections
import typing as t
from collections.abc import Mapping, Sequence

from jinja2.runtime import Context

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.content import LAYOUTS
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import key_value_lines
from ansible_collections.vmops.external_dhcp.plugins.module_utils._entries import (
    check_keys,
    check_names_differ,
    entries_of,
    name_of,
    nearest,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.policy import normalize_mac
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import network_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.drive_input import input_errors, summary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._names import names_of
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils import _json_text

# The keys of an entry of vms that go unchanged to the module vm, and to vm_config_drive.
_MACHINE_KEYS = ("name", "template", "full_clone", "memory", "cpus", "disk_size", "placement")
_PASSWORD_KEYS = ("password", "password_hash", "password_public_key")
_DRIVE_KEYS = (
    *_PASSWORD_KEYS,
    "confirm_password",
    "ssh_keys",
    "user_data",
    "user_data_base64",
    "vendor_data",
    "metadata",
    "reader",
)
# Those of an entry of vms, and of its networks.
VM_KEYS = (*_MACHINE_KEYS, "networks", "password_enabled", *_DRIVE_KEYS, "extra")
VM_NETWORK_KEYS = ("name", "mac", "required", "ignore_interfaces", "cidr", "family_order")


def vm_plan(
    vms: Sequence[Mapping[str, t.Any]],
    shared_networks: Sequence[Mapping[str, t.Any]] = (),
    names: str | Sequence[str] | None = None,
    label: str | None = None,
    layouts: Sequence[str] = LAYOUTS,
    metadata: Mapping[str, t.Any] | None = None,
    doubtful: t.Collection[str] = (),
    password_public_key: str | None = None,
) -> list[dict[str, t.Any]]:
    """One entry per VM: name, template, nics (with the rules of their networks), machine (for vm) and drive (for vm_config_drive).

    names: only these VMs, in the order of vms; a name that is not among them is an error. label: if given, the data for the
    drives is checked as well, for drives with this label and these layouts. metadata: what every VM's drive carries unless the
    VM says otherwise. doubtful: names of VMs whose user_data may not be what the user wrote (see _json_text). password_public_key: for
    VMs with password_enabled that have neither a password nor a key of their own. Raises OptionError.
    """
    networks = _networks(shared_networks)
    if not isinstance(metadata or {}, Mapping):
        raise OptionError(f"vm_metadata is {metadata!r}: it must be a mapping, such as {{availability_zone: zone1}}")
    plan = []
    for position, vm in enumerate(entries_of("vms", vms)):
        plan.append(_vm(f"vms[{position}]", vm, networks, metadata or {}, password_public_key))
    check_names_differ("vms", [entry["name"] for entry in plan])
    names = names_of(names, "vm_names")
    if names is not None:
        known = {entry["name"] for entry in plan}
        for name in names:
            if name not in known:
                raise OptionError(f"vm_names has {name!r}, which is not in vms{nearest(name, known)}")
        plan = [entry for entry in plan if entry["name"] in names]
    if label is not None:
        _check_drives([entry["drive"] for entry in plan], label, layouts, doubtful)
    return plan


def doubtful_vms(context: Context, vms: t.Any) -> list[str]:
    """The option `doubtful` of vm_plan() for a filter, found from the untemplated variables of the role and the inventory."""
    # On ansible-core 2.18 the context is a chain of mappings that templates its items; the mappings themselves hold them untemplated.
    variables = collections.ChainMap(*getattr(context.parent, "maps", [context.parent]))
    return _json_text.doubtful(vms, variables.get("vm_list", variables.get("vms")), variables)


def _check_drives(drives: Sequence[dict[str, t.Any]], label: str, layouts: Sequence[str], doubtful: t.Collection[str]) -> None:
    for drive in drives:
        if drive["name"] in doubtful:
            raise OptionError(f"vms, {_json_text.sentence(drive['name'])}")
        if drive.get("password_public_key") == "":
            raise OptionError(
                f"vms, {drive['name']}: password_enabled is true, but there is no password: give one, best from a vault, or a "
                "password_public_key, to which one is encrypted that is made"
            )
    errors = input_errors(drives, label, layouts)
    if errors:
        raise OptionError(summary(errors))
    for drive in drives:
        if isinstance(drive.get("user_data"), Mapping):
            # From here on a text: it is known to be a mapping here, but would not be later on ansible-core 2.18.
            drive["user_data"] = key_value_lines(drive["name"], drive["user_data"]).decode()


def record_entries(found: Sequence[Mapping[str, t.Any]], plan: Sequence[Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """The VMs that vm_ip_info or vm_power found, with the rules of the plan for their NICs: what vm_nic_record takes."""
    rules = {entry["name"]: entry["nics"] for entry in plan}
    entries = []
    for vm in found:
        if vm.get("id") is None:
            continue
        nics = []
        for nic in vm["nics"]:
            rule: Mapping[str, t.Any] = next((r for r in rules.get(vm["name"], ()) if r["device"] == nic["device"]), {})
            nics.append(
                {
                    "device": nic["device"],
                    "mac": nic["mac"],
                    "network": nic["network"],
                    **{
                        key: rule[key]
                        for key in ("required", "cidrs", "ip_range", "ignore_interfaces", "family_order")
                        if rule.get(key) is not None
                    },
                }
            )
        # A running VM that was changed was started: its guest may have another address now.
        rearm = {"rearm": True} if vm.get("changed") else {}
        entries.append({"name": vm["name"], "id": vm["id"], "nics": nics, **rearm})
    return entries


def _vm(
    where: str,
    vm: Mapping[str, t.Any],
    networks: Mapping[str, Mapping[str, t.Any]],
    metadata: Mapping[str, t.Any],
    password_public_key: str | None,
) -> dict[str, t.Any]:
    name = name_of(where, vm, "VM")
    where = f"vms, {name}:"
    check_keys(where, vm, VM_KEYS)
    given = vm.get("networks") or ()
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise OptionError(f"{where} networks is {given!r}: it must be a list with an entry for each NIC, such as [{given}]")
    nics = [_nic(where, device, nic, networks) for device, nic in enumerate(given)]
    _check_sizes(where, vm)
    drive = {"name": name, **{key: vm[key] for key in _DRIVE_KEYS if vm.get(key) is not None}}
    drive.update(_new_password(where, vm, password_public_key))
    if metadata:
        drive["metadata"] = _with_defaults(vm.get("metadata") or {}, metadata)
    if nics:
        # What the VM's first network offers decides what its drive may carry.
        drive["services"] = list(nics[0].pop("services"))
        drive["network"] = nics[0]["shared_network"]
    for nic in nics:
        nic.pop("services", None)
    machine = {key: vm[key] for key in _MACHINE_KEYS if vm.get(key) is not None}
    if nics:
        machine["nics"] = [{key: nic[key] for key in ("network", "mac") if nic[key]} for nic in nics]
    return {"name": name, "template": vm.get("template"), "nics": nics, "machine": machine, "drive": drive}


def _new_password(where: str, vm: Mapping[str, t.Any], public_key: str | None) -> dict[str, str]:
    """The public key for a VM with password_enabled that has neither a password nor a key, empty if there is none; else nothing."""
    given = any(vm.get(key) for key in _PASSWORD_KEYS)
    if given and not vm.get("password_enabled", True):
        raise OptionError(f"{where} there is a password, but password_enabled is false: take one of them away")
    return {} if given or not vm.get("password_enabled") else {"password_public_key": public_key or ""}


def _check_sizes(where: str, vm: Mapping[str, t.Any]) -> None:
    for key, unit in (("memory", "MiB"), ("cpus", "CPUs"), ("disk_size", "GiB")):
        value = vm.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise OptionError(f"{where} {key} is {value!r}: it must be a number of {unit}")
    if not isinstance(vm.get("placement") or {}, Mapping):
        raise OptionError(f"{where} placement is {vm['placement']!r}: it must be a mapping")


def _with_defaults(own: t.Any, defaults: Mapping[str, t.Any]) -> t.Any:
    """The VM's own metadata, and the defaults for other keys; hyphen and underscore are the same in a key."""
    if not isinstance(own, Mapping):
        return own  # vm_config_drive says what is wrong with it
    mentioned = {str(key).replace("-", "_").lower() for key in own}
    return {**{key: value for key, value in defaults.items() if key.replace("-", "_").lower() not in mentioned}, **own}


def _nic(where: str, device: int, nic: t.Any, networks: Mapping[str, Mapping[str, t.Any]]) -> dict[str, t.Any]:
    if isinstance(nic, str):
        nic = {"name": nic}
    if not isinstance(nic, Mapping) or not nic.get("name"):
        raise OptionError(f"{where} networks[{device}] must be the name of a network, or a mapping with its name")
    where = f"{where} networks, {nic['name']}:"
    check_keys(where, nic, VM_NETWORK_KEYS)
    if nic["name"] not in networks:
        raise OptionError(f"{where} there is no such network in shared_networks{nearest(nic['name'], networks)}")
    network = networks[nic["name"]]
    mac = nic.get("mac")
    if mac is not None and normalize_mac(mac) is None:
        raise OptionError(f"{where} mac is {mac!r}, which is no MAC address such as 52:54:00:12:34:56")
    ignore = nic.get("ignore_interfaces") or []
    families = network_rules.family_order(where, nic.get("family_order")) or network["family_order"]
    return {
        "device": device,
        "shared_network": network["name"],
        "network": network["nic_network"],
        "mac": normalize_mac(mac),
        "required": bool(nic.get("required", True)),
        "cidrs": list(network_rules.cidrs_of(where, nic["cidr"])) if nic.get("cidr") else network["cidrs"],
        "ip_range": network["ip_range"],
        "ignore_interfaces": [ignore] if isinstance(ignore, str) else list(ignore),
        "services": network["services"],
        **({"family_order": families} if families else {}),
    }


def _networks(shared_networks: Sequence[Mapping[str, t.Any]]) -> dict[str, dict[str, t.Any]]:
    return {
        network.name: {
            "name": network.name,
            "nic_network": network.nic_network,
            "cidrs": list(network.cidrs),
            "family_order": network.family_order,
            "ip_range": network.ip_range,
            "services": list(network.services),
        }
        for network in network_rules.read_networks(shared_networks)
    }
