# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans against zones in memory: nothing foreign is touched, pairs are whole, and a plan that was done leaves nothing to do."""

from __future__ import annotations

import typing as t

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns import names, plan
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.model import Conflict, Found, Lease, Mark, Pair, digest

RULES = names.Rules({}, "x.test")
OURS, THEIRS = Mark("us", digest("kvm01"), digest("vm-1")), Mark("them", digest("kvm01"), digest("vm-1"))
Zone = dict[str, Found]


def lease(vm: int, *addresses: str, name: str | None = None, row: int | None = None, hypervisor: str = "kvm01") -> Lease:
    return Lease(hypervisor, f"vm-{vm}", name or f"web{vm}", 0, "corp", addresses, vm if row is None else row)


def done(zone: Zone, steps: t.Iterable[t.Any]) -> Zone:
    """The zone after these steps, with the conditions that the server would check."""
    zone = dict(zone)
    for step in steps:
        there = zone.get(step.name, Found(step.name, {}))
        assert there == step.before, "the condition"
        assert step.before.empty or step.before.marks, "never a name with data and no mark"
        marks = frozenset((step.after.mark.text,)) if step.after else frozenset()
        zone[step.name] = Found(step.name, step.after.sets if step.after else {}, there.others, marks)
    return {name: found for name, found in zone.items() if not found.empty}


def planned(
    leases: list[Lease], zone: Zone, alive: list[Lease] | None = None, **scope: t.Any
) -> tuple[list[t.Any], list[Conflict], list[Pair]]:
    everybody = leases if alive is None else alive
    addresses: dict[str, set[str]] = {}
    for one in everybody:
        addresses.setdefault(one.vm, set()).update(one.addresses)
    within = plan.Scope(("us", "once"), addresses, **scope)
    pairs, conflicts = names.pairs(leases, RULES)
    kept, more = plan.settle(pairs, zone, within, lambda name: True)
    return plan.steps(plan.nodes(kept, "us", 300), zone, within), conflicts + more, kept


def test_new_names_come_before_old_ones_go_and_forward_before_reverse() -> None:
    steps, _conflicts, _kept = planned([lease(1, "10.0.0.1")], {})
    zone = done({}, steps)
    steps, conflicts, _kept = planned([lease(1, "10.0.0.2")], zone)
    assert [step.name for step in steps] == ["web1.x.test", "2.0.0.10.in-addr.arpa", "1.0.0.10.in-addr.arpa"] and conflicts == []
    after = done(zone, steps)
    assert after["web1.x.test"].sets == {"A": (300, frozenset(("10.0.0.2",)))} and len(after) == 2


def test_an_address_that_another_vm_has_now() -> None:
    zone = done({}, planned([lease(1, "10.0.0.1"), lease(2, "10.0.0.2")], {})[0])
    # It was the address of web1, which is alive and has another one.
    steps, conflicts, _kept = planned([lease(1, "10.0.0.3"), lease(2, "10.0.0.1")], zone)
    assert conflicts == [] and done(zone, steps)["1.0.0.10.in-addr.arpa"].sets["PTR"][1] == {"web2.x.test"}
    # Somebody who says that it has another one's address gets it not.
    _steps, conflicts, kept = planned([lease(1, "10.0.0.1"), lease(2, "10.0.0.1")], zone)
    assert [(one.lease.vm_name, one.reason) for one in conflicts] == [("web2", "taken")] and len(kept) == 1


def test_who_has_a_name_keeps_it_and_else_the_older_one_gets_it() -> None:
    old, new = lease(1, "10.0.0.1", name="web"), lease(2, "10.0.0.2", name="WEB")
    _steps, conflicts, kept = planned([new, old], {})
    assert [one.lease for one in conflicts] == [new] and [pair.lease for pair in kept] == [old]
    zone = done({}, planned([new], {})[0])
    _steps, conflicts, kept = planned([new, old], zone)
    assert [one.lease for one in conflicts] == [old] and [pair.lease for pair in kept] == [new]


def test_a_half_of_a_pair_is_not_written() -> None:
    foreign = Found("1.0.0.10.in-addr.arpa", {"PTR": (60, frozenset(("printer.x.test",)))})
    steps, conflicts, _kept = planned([lease(1, "10.0.0.1")], {foreign.name: foreign})
    assert steps == [] and conflicts[0].reason == "foreign" and "PTR printer.x.test" in conflicts[0].message


def test_what_the_mark_says() -> None:
    data = {"A": (300, frozenset(("10.0.0.9",)))}
    for marks, expected in (
        ((), "foreign"),
        ((THEIRS.text,), "foreign"),
        ((OURS.text, THEIRS.text), "foreign"),
        ((OURS.text + " ",), "foreign"),
        ((OURS.text,), None),
        ((Mark("once", OURS.hypervisor, OURS.vm).text,), None),
    ):
        found = Found("web1.x.test", data, frozenset(), frozenset(marks))
        steps, conflicts, _kept = planned([lease(1, "10.0.0.1")], {found.name: found})
        assert [one.reason for one in conflicts] == ([expected] if expected else []) and bool(steps) is (expected is None)
    alias = Found("web1.x.test", {}, frozenset(("CNAME",)), frozenset((OURS.text,)))
    assert planned([lease(1, "10.0.0.1")], {alias.name: alias})[1][0].reason == "foreign"
    mail = Found("web1.x.test", data, frozenset(("MX",)), frozenset((OURS.text,)))
    assert planned([lease(1, "10.0.0.1")], {mail.name: mail})[1] == [], "data of others beside ours stays and is no hindrance"


def test_a_run_removes_only_what_it_is_about() -> None:
    leases = [lease(1, "10.0.0.1"), lease(2, "10.0.0.2", hypervisor="kvm02"), lease(3, "10.0.0.3")]
    zone = done({}, planned(leases, {})[0])

    def removed(**scope: t.Any) -> set[str]:
        steps, _conflicts, _kept = planned([], zone, alive=scope.pop("alive", []), **scope)
        return {step.name for step in steps if not plan.is_reverse(step.name)}

    assert removed() == {"web1.x.test", "web2.x.test", "web3.x.test"}
    assert removed(hypervisors={digest("kvm02")}) == {"web2.x.test"}
    assert removed(vms={digest("vm-1")}) == {"web1.x.test"}
    assert removed(vms=set(), names={"web3.x.test"}) == {"web3.x.test"}
    assert removed(vms=set(), names={"web3.x.test"}, alive=leases) == set(), "its VM lives, and nobody asked for it"


_hosts = st.builds(
    lease,
    st.integers(1, 5),
    st.integers(1, 6).map(lambda number: f"10.0.0.{number}"),
    name=st.sampled_from(["web1", "web2", "web3", "WEB2", "bad name", "wpad"]),
    hypervisor=st.sampled_from(["kvm01", "kvm02"]),
)
_names = st.sampled_from(
    [f"web{number}.x.test" for number in (1, 2, 3)] + [f"{number}.0.0.10.in-addr.arpa" for number in range(1, 7)]
)
_marks = st.sampled_from([(), (OURS.text,), (THEIRS.text,), ("?",), (OURS.text, "?")])


@st.composite
def _found(draw: t.Any) -> Found:
    name = draw(_names)
    value = ("PTR", "web1.x.test") if plan.is_reverse(name) else ("A", "10.0.0.1")
    sets = draw(st.sampled_from([{}, {value[0]: (300, frozenset((value[1],)))}]))
    return Found(
        name, sets, draw(st.sampled_from([frozenset(), frozenset(("MX",)), frozenset(("CNAME",))])), frozenset(draw(_marks))
    )


@given(st.lists(_hosts, max_size=8), st.lists(_found(), max_size=6))
def test_any_record_and_any_zone(leases: list[Lease], found: list[Found]) -> None:
    zone = before = {one.name: one for one in found if not one.empty}
    for _round in range(6):
        steps, conflicts, kept = planned(leases, zone)
        if not steps:
            break
        zone = done(zone, steps)
    assert steps == [], "it comes to rest"
    ours = plan.Scope(("us", "once"), {})
    for name, one in before.items():
        if ours.ours(one) is None:
            assert zone.get(name) == one, "what has no mark of ours is as it was"
        assert zone.get(name, Found(name, {})).others == one.others
    for name, one in zone.items():
        if ours.ours(one) is not None and plan.is_reverse(name):
            (target,) = one.sets["PTR"][1]
            address = ".".join(reversed(name.split(".")[:4]))
            assert address in zone[target].sets["A"][1], "pairs are whole"
    assert len({pair.address for pair in kept}) == len({(pair.address, pair.name) for pair in kept}), "an address has one name"
    assert all(conflict.message.isprintable() for conflict in conflicts)
    wanted, nameless = names.pairs(leases, RULES)
    assert len(kept) + len(conflicts) == len(wanted) + len(nameless), "each is registered or reported"
