# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Body of the module vm_dns_records."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns import keys, names, plan
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.authority import Server
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.dns_import import dnspython
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.model import OWNER, Conflict, DnsError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary, OptionError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.dns_follow import Follower
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.dns_sync import Request, read_rules, sync
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.missing import fail_for
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.nic_record import record_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._names import names_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import NAMED, first_of, plain_name

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.model import Step
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.run import Outcome

MAX_CONFLICTS = 1000
MAX_TTL = 2**31 - 1


def run_module(module: AnsibleModule) -> None:
    """Makes the server's names what the record says, and ends the module with the changes and conflicts."""
    try:
        dnspython()
        rules = read_rules({**module.params, "only_networks": module.params["server"]["networks"]})
        request = _request(module)
        with record_of(module) as store:
            if not store.database.exists():
                raise DnsError(
                    f"{store.database.where} does not exist or has no tables yet: nothing was changed; poll the addresses first"
                )
            outcome = sync(store, rules, request)
    except MissingLibrary as error:
        fail_for(module, error)
    except DnsError as error:
        module.fail_json(msg=str(error))
    result = _result(module, outcome)
    problem = outcome.problem
    if problem is None and module.params["fail_on_conflicts"] and outcome.conflicts:
        problem = _summary(outcome.conflicts)
    if problem is not None:
        module.fail_json(**{**result, "msg": problem})
    warn_of(module, outcome.conflicts)
    for late in outcome.behind:
        module.warn(f"{late} after {module.params['server']['wait']:g} s")
    module.exit_json(**result)


def _request(module: AnsibleModule) -> Request:
    params = module.params
    try:
        vms = names_of(params["vms"], "vms")
    except OptionError as error:
        raise DnsError(str(error)) from None
    for option, least, most in (("ttl", 0, MAX_TTL), ("changed_within", 1, MAX_TTL)):
        value = params[option]
        if value is not None and not least <= value <= most:
            raise DnsError(f"{option} is {value}: it must be from {least} to {most}")
    for option in ("owner", "former_owners"):
        for owner in [params[option]] if option == "owner" else params[option]:
            if owner is not None and not OWNER.fullmatch(owner):
                raise DnsError(f"{option} has {owner[:80]!r}: give up to 64 letters, digits, dots, hyphens and underscores")
    server = read_server(module, params["server"])
    return Request(
        server=server,
        state=params["state"],
        hypervisors=params["hypervisor_name"],
        vms=None if vms is None else [plain_name(name) for name in vms],
        changed_within=params["changed_within"],
        owner=params["owner"],
        former_owners=params["former_owners"],
        ttl=params["ttl"],
        read=params["server"]["read"],
        secondaries=[_secondary(text, server) for text in params["server"]["secondaries"]],
        wait=params["server"]["wait"],
        check_mode=module.check_mode,
    )


def read_server(module: AnsibleModule, given: Mapping[str, t.Any]) -> Server:
    """The server of an option; its key is masked in the module's output. Raises DnsError."""
    if given["key_file"] and (given["key_name"] or given["key_secret"]):
        raise DnsError("server has key_file and key_name or key_secret: give the key in one way")
    key = (
        keys.read_key_file(given["key_file"])
        if given["key_file"]
        else keys.make_key(given["key_name"], given["key_secret"], given["key_algorithm"])
    )
    if key is not None:
        module.no_log_values.add(key.secret)  # Ansible does not know one that comes from a file
    if given["timeout"] <= 0:
        raise DnsError(f"server.timeout is {given['timeout']}: it must be above 0")
    zones = None if given["zones"] is None else tuple(names.check_zone(zone) for zone in given["zones"])
    return Server(given["host"], _port(given["port"], "server.port"), key, given["timeout"], zones)


def follower(module: AnsibleModule) -> Follower | None:
    """The follower that brings changes into DNS while a module looks (option dns); None without the option. Raises DnsError."""
    given = module.params["dns"]
    if not given or module.check_mode:
        return None
    dnspython()
    targets = []
    for server in given["servers"]:
        where = read_server(module, server)
        request = Request(
            server=where,
            hypervisors=[module.params["hypervisor_name"]],
            owner=given["owner"] or None,
            former_owners=given["former_owners"],
            ttl=given["ttl"],
            read=server["read"],
        )
        targets.append((read_rules({**given, "only_networks": server["networks"]}), request))
    return Follower(lambda: RecordStore(Database(module.params["record"])), targets)


def _secondary(text: str, primary: Server) -> Server:
    """The server in a text HOST or HOST:PORT; an IPv6 address with a port is in brackets."""
    host, _sep, port = text.rpartition(":") if text.count(":") == 1 or "]:" in text else (text, "", "53")
    number = int(port) if port.isdigit() else 0
    return Server(host.strip("[]"), _port(number, f"the port of {text!r} in server.secondaries"), primary.key, primary.timeout)


def _port(number: int, what: str) -> int:
    if not 0 < number < 65536:
        raise DnsError(f"{what} is {number}: it must be from 1 to 65535")
    return number


def _result(module: AnsibleModule, outcome: Outcome) -> dict[str, t.Any]:
    result: dict[str, t.Any] = {
        "changed": bool(outcome.steps),
        "changes": [_change(step) for step in outcome.steps],
        "conflicts": [conflict_result(conflict) for conflict in outcome.conflicts[:MAX_CONFLICTS]],
        "pairs": len(outcome.kept),
        "transactions": outcome.transactions,
        "messages": outcome.messages,
        "zones": outcome.zones,
        "transferred": outcome.transferred,
        "behind": outcome.behind,
    }
    counts = {what: sum(change["change"] == what for change in result["changes"]) for what in ("added", "changed", "removed")}
    result["msg"] = (
        ", ".join(f"{count} {what}" for what, count in counts.items())
        + f"; {len(outcome.kept)} names and addresses, {len(outcome.conflicts)} conflicts"
    )
    if module._diff:
        result["diff"] = {"before": _shown(outcome.steps, before=True), "after": _shown(outcome.steps, before=False)}
    return result


def _change(step: Step) -> dict[str, t.Any]:
    what = "removed" if step.after is None else "changed" if step.before.marks else "added"
    sets = step.after.sets if step.after is not None else step.before.sets
    return {"name": step.name, "change": what, "data": sorted(value for _ttl, texts in sets.values() for value in texts)}


def conflict_result(conflict: Conflict) -> dict[str, t.Any]:
    """A conflict as modules return it."""
    return {
        "vm_name": conflict.lease.vm_name,
        "vm_id": conflict.lease.vm_id,
        "hypervisor_name": conflict.lease.hypervisor,
        "device": conflict.lease.device,
        "name": conflict.name,
        "address": conflict.address,
        "reason": conflict.reason,
        "message": conflict.message,
    }


def warn_of(module: AnsibleModule, conflicts: Sequence[Conflict]) -> None:
    """A warning for each of the first few conflicts, and one for all others."""
    for conflict in conflicts[:NAMED]:
        module.warn(conflict.message)
    if len(conflicts) > NAMED:
        module.warn(f"and {len(conflicts) - NAMED} more VMs or addresses without a name: see conflicts")


def _summary(conflicts: Sequence[Conflict]) -> str:
    more = ", see conflicts" if len(conflicts) > NAMED else ""
    return f"not all VMs have their names: {first_of([one.message for one in conflicts], between='; ')}{more}"


def _shown(steps: Sequence[Step], before: bool) -> str:
    lines: list[str] = []
    for step in steps:
        if before:
            mark = step.before.mark
            lines += plan.lines(step.before.sets, step.name, mark.text if mark else None)
        elif step.after is not None:
            lines += plan.lines(step.after.sets, step.name, step.after.mark.text)
    return "".join(line + "\n" for line in lines)
