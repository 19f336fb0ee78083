# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What is to be changed: the pairs that are wanted against what the zones have. Pure; asks and writes nothing.

A name is ours by its mark alone. Nothing is ever done to a name that has data and no mark of ours.
"""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.model import (
    FOREIGN,
    FORWARD,
    NO_ZONE,
    REVERSE,
    TAKEN,
    Conflict,
    Found,
    Mark,
    Node,
    Pair,
    Step,
    digest,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain

if t.TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence


class Scope(t.NamedTuple):
    """Which of our names a run may remove. hypervisors and vms are digests, None means all; names: of the VMs, in addition.

    owners: whose marks are ours; the first one is written. alive: the addresses of all VMs of the record that have some.
    """

    owners: Sequence[str]
    alive: Mapping[str, Collection[str]]
    hypervisors: Collection[str] | None = None
    vms: Collection[str] | None = None
    names: Collection[str] = ()

    def ours(self, found: Found | None) -> Mark | None:
        mark = found.mark if found is not None else None
        return mark if mark is not None and mark.owner in self.owners else None

    def may_remove(self, name: str, mark: Mark, elsewhere: Collection[str]) -> bool:
        """elsewhere: VMs of hypervisors that this run is not about; their own runs see to their names."""
        if mark.vm in elsewhere or (self.hypervisors is not None and mark.hypervisor not in self.hypervisors):
            return False
        return self.vms is None or mark.vm in self.vms or (name in self.names and mark.vm not in self.alive)


def settle(
    pairs: Iterable[Pair], found: Mapping[str, Found], scope: Scope, has_zone: Callable[[str], bool]
) -> tuple[list[Pair], list[Conflict]]:
    """The pairs that can be, and why the others cannot. Who has a name by its mark keeps it; else the older NIC gets it."""
    conflicts = []
    possible = []
    for pair in pairs:
        conflict = _foreign(pair, found, scope, has_zone)
        if conflict is None:
            possible.append(pair)
        else:
            conflicts.append(conflict)
    for which in ("name", "reverse"):
        winners: dict[str, Pair] = {}
        for pair in possible:
            key = getattr(pair, which)
            if key is not None and (key not in winners or _before(pair, winners[key], scope.ours(found.get(key)))):
                winners[key] = pair
        kept = []
        for pair in possible:
            winner = winners.get(getattr(pair, which) or "", pair)
            # One VM may have several addresses under one name, but one address has one name.
            same = pair.lease.vm == winner.lease.vm if which == "name" else pair == winner
            if same:
                kept.append(pair)
            else:
                what = pair.name if which == "name" else pair.address
                other = f"{plain(winner.lease.vm_name)} NIC {winner.lease.device} on {winner.lease.hypervisor}"
                conflicts.append(_conflict(pair, TAKEN, f"{what} is that of {other}"))
        possible = kept
    return possible, conflicts


def _before(pair: Pair, other: Pair, holder: Mark | None) -> bool:
    def rank(one: Pair) -> tuple[t.Any, ...]:
        return (holder is None or one.lease.vm != holder.vm, one.lease.row, one.lease.vm, one.name, one.address)

    return rank(pair) < rank(other)


def _foreign(pair: Pair, found: Mapping[str, Found], scope: Scope, has_zone: Callable[[str], bool]) -> Conflict | None:
    for name in (pair.name, pair.reverse):
        if name is None:
            continue
        if not has_zone(name):
            hint = "; with ptr: false it gets a name without one" if name == pair.reverse else ""
            return _conflict(pair, NO_ZONE, f"the server has no zone for {name}: add it there, or leave the network out{hint}")
        there = found.get(name)
        if there is None or there.empty:
            continue
        mark = scope.ours(there)
        if mark is None or "CNAME" in there.others:
            return _conflict(
                pair, FOREIGN, f"{name} is somebody else's and stays as it is ({_shown(there)}); remove it there if it is not"
            )
        if mark.vm == pair.lease.vm:
            continue
        addresses = scope.alive.get(mark.vm, ())
        if pair.address in addresses if name == pair.reverse else addresses:
            return _conflict(pair, TAKEN, f"{name} is that of another VM of the record, which has an address")
    return None


def _shown(found: Found) -> str:
    if found.mark is not None:
        return f"its mark has the owner {found.mark.owner}"
    words = [f"{rtype} {value}" for rtype, (_ttl, values) in sorted(found.sets.items()) for value in sorted(values)]
    return plain(", ".join((words + sorted(found.others))[:3]) or "a mark that was not written here", 120)


def _conflict(pair: Pair, reason: str, message: str) -> Conflict:
    who = f"{plain(pair.lease.vm_name)} NIC {pair.lease.device} ({pair.address})"
    return Conflict(pair.lease, reason, f"{who}: {message}", pair.name, pair.address)


def nodes(pairs: Iterable[Pair], owner: str, ttl: int) -> dict[str, Node]:
    """What every name of these settled pairs is to have."""
    values: dict[str, dict[str, set[str]]] = {}
    marks: dict[str, Mark] = {}
    for pair in pairs:
        mark = Mark(owner, digest(pair.lease.hypervisor), pair.lease.vm)
        rtype = "AAAA" if ":" in pair.address else "A"
        values.setdefault(pair.name, {}).setdefault(rtype, set()).add(pair.address)
        marks[pair.name] = mark
        if pair.reverse is not None:
            values.setdefault(pair.reverse, {}).setdefault("PTR", set()).add(pair.name)
            marks[pair.reverse] = mark
    return {
        name: Node(name, {rtype: (ttl, frozenset(texts)) for rtype, texts in sets.items()}, marks[name])
        for name, sets in values.items()
    }


def steps(wanted: Mapping[str, Node], found: Mapping[str, Found], scope: Scope, elsewhere: Collection[str] = ()) -> list[Step]:
    """New and changed names first, forward before reverse, so that a name is at its new address before the old one goes."""
    todo = []
    for name, node in wanted.items():
        there = found.get(name) or Found(name, {})
        if there.sets != node.sets or there.marks != frozenset((node.mark.text,)):
            todo.append(Step(name, there, node))
    for name, there in found.items():
        mark = scope.ours(there)
        if name not in wanted and mark is not None and scope.may_remove(name, mark, elsewhere):
            todo.append(Step(name, there, None))
    return sorted(todo, key=lambda step: (step.after is None, is_reverse(step.name), step.name))


def is_reverse(name: str) -> bool:
    return name.endswith((".in-addr.arpa", ".ip6.arpa"))


def types_of(name: str) -> tuple[str, ...]:
    """The types of records that are ours to change at a name of ours."""
    return REVERSE if is_reverse(name) else FORWARD


def lines(sets: Mapping[str, tuple[int, frozenset[str]]], name: str, mark: str | None) -> list[str]:
    """As in a zone file, for diffs."""
    shown = [f"{name} {ttl} {rtype} {value}" for rtype, (ttl, values) in sorted(sets.items()) for value in sorted(values)]
    return shown + ([f'{name} mark "{mark}"'] if mark else [])
