# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hints gathered by VM, with a clock of our own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HINT_GUEST, HINT_HERE, HINT_VM, Hint
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.gather import GATHER, MOST, Gather

AGAIN = (0.3, 1.5, 5)


def guest(*vms: str) -> list[Hint]:
    return [Hint(vm, HINT_GUEST) for vm in vms]


def test_a_hint_is_due_when_others_had_the_time_to_come() -> None:
    gather = Gather()
    assert gather.next() is None and gather.take(100.0) == {}
    gather.add(guest("a"), 100.0)
    assert gather.next() == pytest.approx(100.0 + GATHER)
    assert gather.take(100.05) == {}
    gather.add(guest("b", "a"), 100.08)
    # The second VM is read with the first, although its own time has not come.
    assert set(gather.take(100.1)) == {"a", "b"}
    assert len(gather) == 0 and gather.next() is None


def test_many_hints_of_a_vm_are_one_reading() -> None:
    gather = Gather()
    for number in range(13):
        gather.add(guest("a"), 10 + number / 100)
    assert len(gather) == 1 and list(gather.take(10.2)) == ["a"]


def test_a_storm_is_read_in_parts() -> None:
    gather = Gather()
    gather.add(guest(*(f"vm{n}" for n in range(MOST + 7))), 0.0)
    assert len(gather.take(1.0)) == MOST
    assert len(gather.take(1.0)) == 7


def test_news_are_more_than_presence_whatever_came_first() -> None:
    gather = Gather()
    gather.add([Hint("a", HINT_HERE), Hint("b", HINT_GUEST)], 0.0)
    gather.add([Hint("a", HINT_GUEST), Hint("b", HINT_HERE)], 0.0)
    assert {vm: one.kind for vm, one in gather.take(1.0).items()} == {"a": HINT_GUEST, "b": HINT_GUEST}


def test_an_address_that_is_missing_is_looked_for_again_and_again_and_then_left_to_the_schedule() -> None:
    gather = Gather(AGAIN)
    gather.add(guest("a"), 100.0)
    now, times = 100.0, []
    while (due := gather.next()) is not None:
        now = due
        taken = gather.take(now)
        times.append(round(now - 100.0, 3))
        gather.missed("a", taken["a"], now)
    assert times == [GATHER, *AGAIN]


def test_times_that_have_passed_while_it_was_read_are_left_out() -> None:
    gather = Gather(AGAIN)
    gather.add(guest("a"), 100.0)
    taken = gather.take(100.2)
    gather.missed("a", taken["a"], 102.0)
    assert gather.next() == 105.0


def test_a_hint_that_came_during_the_reading_counts_more_than_its_outcome() -> None:
    gather = Gather(AGAIN)
    gather.add(guest("a"), 100.0)
    taken = gather.take(100.2)
    gather.add(guest("a"), 100.25)
    gather.missed("a", taken["a"], 100.26)
    assert gather.next() == pytest.approx(100.25 + GATHER)
    gather.put_back(taken, 200.0)
    assert gather.take(100.4)["a"].since == 100.25


def test_what_could_not_be_claimed_is_kept() -> None:
    gather = Gather()
    gather.add(guest("a", "b"), 0.0)
    gather.want_list(0.0)
    gather.put_back(gather.take(0.2), 0.7)
    assert gather.next() == 0.7 and not gather.list_due(0.6) and gather.list_due(0.7)
    assert set(gather.take(0.7)) == {"a", "b"}


def test_lists_of_all_vms_take_a_part_of_the_time_only() -> None:
    gather = Gather()
    gather.add([Hint("a", HINT_VM), Hint("", HINT_VM)], 0.0)
    assert not gather.list_due(0.05) and gather.list_due(0.1)
    gather.add([Hint("b", HINT_VM)], 0.1)
    gather.listed(0.1, 2.1)  # two seconds
    assert gather.next() is None
    gather.add([Hint("c", HINT_VM)], 2.2)
    assert not gather.list_due(10.0) and gather.list_due(10.1)


def test_what_happened_while_the_list_was_read_needs_another() -> None:
    gather = Gather()
    gather.listed(0.0, 1.0)
    gather.add([Hint("a", HINT_VM)], 6.0)
    gather.listed(5.9, 7.0)
    assert gather.list_due(20.0)


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([HINT_GUEST, HINT_HERE]), st.floats(0, 5), st.booleans()), max_size=40
    )
)
def test_no_hint_is_lost_and_none_waits_for_ever(story: list[tuple[str, str, float, bool]]) -> None:
    gather = Gather(AGAIN)
    now, open_ = 0.0, {}
    for vm, kind, pause, found in story:
        gather.add([Hint(vm, kind)], now)
        open_.setdefault(vm, now)
        now += pause
        for taken, one in gather.take(now).items():
            open_.pop(taken, None)
            if not found:
                gather.missed(taken, one, now)
        assert set(open_) <= set(gather._vms)
    for vm in gather.take(now + GATHER):
        open_.pop(vm, None)
    assert not open_
    assert gather.next() is None or gather.next() <= now + max(AGAIN)
