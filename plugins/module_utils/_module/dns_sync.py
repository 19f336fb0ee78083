# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""From the record to names in DNS: which leases there are, which of them a run is about, and the rules for their names.

sync() needs no Ansible, so a process that watches a hypervisor can use it as well. It reads the record each time.
"""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns import names, plan
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.authority import Server
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.model import Conflict, DnsError, Lease, Pair, digest
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.names import Rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.run import READ_AUTO, Outcome, Target, bring_up_to_date
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain

if t.TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import Event, NicRecord
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore

MANY_EVENTS = 20_000
STATE_PRESENT = "present"


@dataclasses.dataclass(frozen=True)
class Request:
    """Which names are to be changed on which server. hypervisors, vms: None means all; vms are names or ids.

    changed_within: seconds; only VMs that the record has news of from this time. owner: the one in our marks, by default the
    record's id. former_owners: others whose marks count as ours. ttl: seconds. wait: seconds for the secondaries.
    """

    server: Server
    state: str = STATE_PRESENT
    hypervisors: t.Sequence[str] | None = None
    vms: t.Sequence[str] | None = None
    changed_within: float | None = None
    owner: str | None = None
    former_owners: t.Sequence[str] = ()
    ttl: int = 300
    read: str = READ_AUTO
    secondaries: t.Sequence[Server] = ()
    wait: float = 30
    check_mode: bool = False


@dataclasses.dataclass(frozen=True)
class _Selected:
    """What a run is about. leases: those with an address. former: of these and of vanished VMs. vms: digests; None: all."""

    leases: list[Lease]
    former: list[Lease]
    vms: set[str] | None


def sync(store: RecordStore, rules: Rules, request: Request) -> Outcome:
    """Makes one server's names what the record says. Raises RecordError, DnsError; problems of the server are in the outcome."""
    rows = store.nics()
    selected = _select(store, rows, request)
    pairs: list[Pair] = []
    conflicts: list[Conflict] = []
    if request.state == STATE_PRESENT:
        pairs, conflicts = names.pairs(selected.leases, rules)
    owner = request.owner or store.record_id()
    if not owner:
        raise DnsError("the record has no id: say in owner whose the names are")
    everywhere = [_lease(nic) for nic in rows]
    alive: dict[str, set[str]] = {}
    for lease in everywhere:
        if lease.addresses:
            alive.setdefault(lease.vm, set()).update(lease.addresses)
    hypervisors = request.hypervisors
    others = () if hypervisors is None else [lease for lease in everywhere if lease.hypervisor not in hypervisors]
    candidates = _candidates(selected.leases + selected.former, rules)
    if request.vms is not None:
        candidates |= _by_templates(request, rules)
    scope = plan.Scope(
        owners=(owner, *request.former_owners),
        alive=alive,
        hypervisors=None if hypervisors is None else {digest(name) for name in hypervisors},
        vms=selected.vms,
        names={name for name in candidates if not plan.is_reverse(name)},
    )
    target = Target(
        server=request.server,
        pairs=pairs,
        scope=scope,
        candidates=candidates,
        domains={*rules.domains.values(), *([rules.domain] if rules.domain else [])},
        elsewhere={lease.vm for lease in others if lease.addresses},
        ttl=request.ttl,
        read=request.read,
        secondaries=request.secondaries,
        wait=request.wait,
        check_mode=request.check_mode,
    )
    outcome = bring_up_to_date(target)
    outcome.conflicts = conflicts + outcome.conflicts
    return outcome


def leases(rows: Iterable[NicRecord]) -> list[Lease]:
    """The leases of these NICs that have an address."""
    return [lease for lease in map(_lease, rows) if lease.addresses]


def _lease(nic: NicRecord) -> Lease:
    words = [nic.ip4_address, *nic.ip6_addresses]
    addresses = tuple(dict.fromkeys(address for address in words if address))
    return Lease(nic.hypervisor_name, nic.vm_id, nic.vm_name, nic.device, nic.network, addresses, nic.id or 0)


def _select(store: RecordStore, rows: Sequence[NicRecord], request: Request) -> _Selected:
    hypervisors = None if request.hypervisors is None else list(request.hypervisors)
    mine = [nic for nic in rows if hypervisors is None or nic.hypervisor_name in hypervisors]
    since = None
    if request.changed_within is not None:
        since = store.clock() - datetime.timedelta(seconds=request.changed_within)
    events = store.events(since=since, hypervisor_names=hypervisors, limit=MANY_EVENTS)
    wanted: set[str] | None = None
    if request.vms is not None or since is not None:
        given = set(request.vms or ())
        wanted = {nic.vm_id for nic in mine if nic.vm_id in given or nic.vm_name in given}
        wanted |= {event.vm_id for event in events if event.vm_id in given or event.vm_name in given}
        if since is not None:
            wanted |= {nic.vm_id for nic in mine if nic.updated_at >= since} | {event.vm_id for event in events}
    chosen = [nic for nic in mine if wanted is None or nic.vm_id in wanted]
    former = [_former(event) for event in events if wanted is None or event.vm_id in wanted]
    former += [dataclasses.replace(_lease(nic), addresses=(nic.previous_address,)) for nic in chosen if nic.previous_address]
    return _Selected(leases(chosen), former, None if wanted is None else {digest(vm_id) for vm_id in wanted})


def _former(event: Event) -> Lease:
    addresses = tuple(address for address in (event.address, event.previous_address) if address)
    return Lease(event.hypervisor_name, event.vm_id, event.vm_name, event.device, event.network, addresses)


def _candidates(found: Iterable[Lease], rules: Rules) -> set[str]:
    """The names of these leases, forward and reverse, by today's rules."""
    pairs, _conflicts = names.pairs(found, rules)
    return {name for pair in pairs for name in (pair.name, pair.reverse) if name}


def _by_templates(request: Request, rules: Rules) -> set[str]:
    """The names that the VMs asked for would have in any network, as the record does not know deleted ones."""
    found: set[str] = set()
    for vm in request.vms or ():
        for network in [*rules.domains, ""]:
            for hypervisor in request.hypervisors or ("",):
                try:
                    name = names.host_name(Lease(hypervisor, "", vm, 0, network, ()), rules)
                except ValueError:
                    continue
                if name:
                    found.add(name)
    return found


# -- the rules of options ----------------------------------------------------------------------------------------------


def read_rules(params: Mapping[str, t.Any]) -> Rules:
    """The rules of a module's options (doc fragment dns_names). Raises DnsError with the option, the value and the way out."""
    domain = names.check_domain(params["domain"], "domain") if params["domain"] else None
    domains = _domains(params["networks"], domain)
    if not domains and domain is None:
        raise DnsError(
            "no network has a domain: give domain, or dns_domain in an entry of networks, such as {name: corp, dns_domain: corp.example.com}"
        )
    given = {str(vm): str(label).strip().lower() for vm, label in (params["names"] or {}).items()}
    for vm, label in given.items():
        problem = names.label_problem(label)
        if problem:
            raise DnsError(f"names has {plain(label, 80)!r} for {plain(vm, 80)}: {problem}")
    families = [4, 6] if params["families"] is None else [int(family) for family in params["families"]]
    return Rules(
        domains=domains,
        domain=domain,
        template=names.check_template(params["name"]),
        names=given,
        families=families,
        ptr=params.get("ptr", True),
        reserved={str(name).lower() for name in params["reserved"]},
        networks=None if params.get("only_networks") is None else _all_names(params["only_networks"], params["networks"]),
    )


def _domains(given: Sequence[t.Any] | None, domain: str | None) -> dict[str, str]:
    found = {}
    for place, entry in enumerate(given or ()):
        entry = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(entry, dict) or not entry.get("name"):
            raise DnsError(
                f"networks[{place}] is {plain(str(entry), 100)!r}: give a name, or a dictionary with name and dns_domain"
            )
        own = entry.get("dns_domain")
        own = names.check_domain(str(own), f"networks[{place}].dns_domain") if own else domain
        if own is not None:
            found.update(dict.fromkeys(_names_of(entry), own))
    return found


def _all_names(only: Collection[str], given: Sequence[t.Any] | None) -> set[str]:
    """All names of these networks: a hypervisor may know a network by its bridge."""
    found = set(only)
    for entry in given or ():
        if isinstance(entry, dict) and entry.get("name") in only:
            found.update(_names_of(entry))
    return found


def _names_of(entry: Mapping[str, t.Any]) -> list[str]:
    return [plain(str(entry[key]), 255) for key in ("name", "bridge") if entry.get(key)]
