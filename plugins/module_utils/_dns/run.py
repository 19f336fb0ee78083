# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""One server brought up to date: zones found, names read, changed, and read again until they are as they should be."""

from __future__ import annotations

import dataclasses
import itertools
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns import plan
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.authority import (
    Connection,
    Server,
    TransferRefused,
    parents,
    wait_for_secondaries,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.model import Conflict, DnsError, Found, Pair, Step
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.names import reverse_name
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.update import apply
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import first_of

if t.TYPE_CHECKING:
    from collections.abc import Collection, Sequence

ROUNDS = 4  # of reading and changing; each but the first is for what others changed meanwhile
FEW = 100  # names that are read one by one rather than with their whole zones
HOPS = 3  # from an address of ours to its name, from that name to its other addresses

READ_AUTO = "auto"
READ_TRANSFER = "transfer"
READ_QUERIES = "queries"


@dataclasses.dataclass(frozen=True)
class Target:
    """What one server is to have. candidates: names that were ours once, perhaps; domains: whose zones may have some.

    secondaries: servers that are waited for, for `wait` seconds.
    """

    server: Server
    pairs: Sequence[Pair]
    scope: plan.Scope
    candidates: Collection[str]
    domains: Collection[str]
    elsewhere: Collection[str] = ()
    ttl: int = 300
    read: str = READ_AUTO
    secondaries: Sequence[Server] = ()
    wait: float = 30
    check_mode: bool = False


@dataclasses.dataclass
class Outcome:
    """What was done, or would be in check mode. problem: why it is not finished; what is in steps is done all the same."""

    steps: list[Step] = dataclasses.field(default_factory=list)
    conflicts: list[Conflict] = dataclasses.field(default_factory=list)
    kept: list[Pair] = dataclasses.field(default_factory=list)
    transactions: int = 0
    messages: int = 0
    zones: list[str] = dataclasses.field(default_factory=list)
    transferred: bool = False
    behind: list[str] = dataclasses.field(default_factory=list)
    problem: str | None = None


def bring_up_to_date(target: Target) -> Outcome:
    """Never raises DnsError: what was done before it is in the outcome, beside the problem."""
    outcome = Outcome()
    connection = None
    try:
        connection = Connection(target.server)
        _Run(target, connection, outcome).run()
    except DnsError as error:
        outcome.problem = str(error)
        if outcome.steps and not target.check_mode:
            outcome.problem += f" ({len(outcome.steps)} names were changed before)"
    finally:
        if connection is not None:
            outcome.messages = connection.messages
            connection.close()
    return outcome


class _Run:
    def __init__(self, target: Target, connection: Connection, outcome: Outcome) -> None:
        self.target, self.connection, self.outcome = target, connection, outcome
        self.zones: dict[str, str | None] = {}  # by domain

    def run(self) -> None:
        target, outcome = self.target, self.outcome
        names = {*target.candidates, *itertools.chain.from_iterable(_names(pair) for pair in target.pairs)}
        self._find_zones(names)
        found = self._read(names)
        todo: list[Step] = []
        for _unused in range(ROUNDS):
            outcome.kept, outcome.conflicts = plan.settle(
                target.pairs, found, target.scope, lambda name: self.zone_of(name) is not None
            )
            wanted = plan.nodes(outcome.kept, target.scope.owners[0], target.ttl)
            todo = plan.steps(wanted, found, target.scope, target.elsewhere)
            if not todo or target.check_mode:
                outcome.steps += todo
                break
            taken = self._change(todo)
            found = {**found, **self._read({step.name for step in todo}, again=True)}
            # What looks free and is not has data of a kind that nobody asked for.
            found.update({name: Found(name, {}, frozenset(("other data",))) for name in taken if found[name].empty})
        else:
            named = first_of([step.name for step in todo])
            raise DnsError(
                f"{target.server.where}: {len(todo)} names are not as they were written ({named}): something else changes them, too"
            )
        if outcome.steps and not target.check_mode and target.secondaries:
            touched = {zone for zone in (self.zone_of(step.name) for step in outcome.steps) if zone}
            serials = {zone: self.connection.serial(zone) for zone in sorted(touched)}
            known = {zone: serial for zone, serial in serials.items() if serial is not None}
            outcome.behind = wait_for_secondaries(target.secondaries, known, target.wait)

    # -- zones -------------------------------------------------------------------------------------------------------

    def zone_of(self, name: str) -> str | None:
        explicit = self.target.server.zones
        if explicit is not None:
            fitting = [zone for zone in explicit if name == zone or name.endswith("." + zone)]
            return max(fitting, key=len, default=None)
        (parent,) = parents([name])
        return self._zone_of_domain(parent)

    def _find_zones(self, names: Collection[str]) -> None:
        zones = set(self.target.server.zones or ())
        if self.target.server.zones is None:
            found = {self._zone_of_domain(domain) for domain in {*self.target.domains, *parents(names)}}
            zones = {zone for zone in found if zone is not None}
        self.outcome.zones = sorted(zones)

    def _zone_of_domain(self, domain: str) -> str | None:
        if domain not in self.zones:
            self.zones[domain] = self.connection.zone_of(domain)
        return self.zones[domain]

    # -- reading -----------------------------------------------------------------------------------------------------

    def _read(self, names: Collection[str], again: bool = False) -> dict[str, Found]:
        read = self.target.read
        partial = again or self.target.scope.vms is not None
        if read == READ_QUERIES or (read == READ_AUTO and partial and len(names) <= FEW):
            return self._ask(names)
        found: dict[str, Found] = {}
        try:
            for zone in self.outcome.zones:
                found.update(self.connection.transfer(zone))
        except TransferRefused:
            if read == READ_TRANSFER:
                raise
            return self._ask(names)
        self.outcome.transferred = True
        # A name that is gone must not stay as it was read before.
        return {**{name: Found(name, {}) for name in names}, **found}

    def _ask(self, names: Collection[str]) -> dict[str, Found]:
        """These names, and those of ours that they lead to: a renamed VM's old name is known by its address only."""
        found: dict[str, Found] = {}
        new = {name for name in names if self.zone_of(name) is not None}
        for _unused in range(HOPS):
            found.update(self.connection.ask(sorted(new)))
            led = {name for one in new for name in self._leads_to(found[one])}
            new = {name for name in led - set(found) if self.zone_of(name) is not None}
            if not new:
                break
        return found

    def _leads_to(self, found: Found) -> set[str]:
        if self.target.scope.ours(found) is None:
            return set()
        values = {value for _ttl, texts in found.sets.values() for value in texts}
        return values if plan.is_reverse(found.name) else {reverse_name(value) for value in values}

    # -- changing ----------------------------------------------------------------------------------------------------

    def _change(self, todo: Sequence[Step]) -> set[str]:
        """Returns the names that were not as they were read; what comes after the first of them is left for the next round.

        Else a reverse name would be written whose name is somebody else's.
        """
        for _phase, phase in itertools.groupby(todo, key=lambda step: (step.after is None, plan.is_reverse(step.name))):
            left = set()
            by_zone: dict[str, list[Step]] = {}
            for step in phase:
                by_zone.setdefault(self.zone_of(step.name) or "", []).append(step)
                left.add(step.name)
            for zone, steps in by_zone.items():
                for done in apply(self.connection, zone, steps):
                    self.outcome.transactions += 1
                    self.outcome.steps += done
                    left -= {step.name for step in done}
            if left:
                return left
        return set()


def _names(pair: Pair) -> list[str]:
    return [pair.name] + ([pair.reverse] if pair.reverse else [])
