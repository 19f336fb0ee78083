# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import types
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.action import vm_ip_fetch
from ansible_collections.vmops.external_dhcp.plugins.action.vm_ip_fetch import MAX_LINE, MAX_LINES, story_lines, waiting_lines


def nic(number: int, **more: t.Any) -> dict[str, t.Any]:
    return {
        "vm": f"vm{number}",
        "nic": 0,
        "mac": "52:54:00:00:00:01",
        "required": True,
        "reason": "no_lease",
        "tries_left": 9,
        "message": "ask the DHCP server",
        **more,
    }


def test_a_line_for_each_required_nic() -> None:
    assert waiting_lines({"msg": "2 waited for", "waiting": [nic(1), nic(2, required=False)]}) == [
        "2 waited for",
        "  waiting for vm1 NIC 0 (52:54:00:00:00:01): no_lease (tries left: 9), ask the DHCP server",
    ]


def test_nothing_to_say() -> None:
    assert waiting_lines({}) == waiting_lines({"waiting": [nic(1, required=False)]}) == []


def test_many_are_cut_and_names_cannot_move_the_cursor() -> None:
    lines = waiting_lines({"msg": "x", "waiting": [nic(number, vm="a\x1b[2Jb\n", message="m" * 900) for number in range(100)]})
    assert len(lines) == MAX_LINES + 2 and lines[-1] == f"  and {100 - MAX_LINES} more"
    assert all(line.isprintable() and len(line) <= MAX_LINE for line in lines)


def test_a_look_tells_its_story() -> None:
    six = {**FOUND, "ip4_address": None, "ip6_addresses": ["2001:db8::5"], "previous_address": "2001:db8::4"}
    result = {
        "msg": "m",
        "found": [FOUND, six],
        "lost": [nic(3)],
        "gave_up": [nic(4)],
        "reconciled": {"entered": ["web1", "web2"]},
    }
    assert story_lines(result) == [
        "  entered: web1, web2",
        "  found web1 NIC 0 (52:54:00:00:00:02): 10.0.0.5 (agent)",
        "  found web1 NIC 0 (52:54:00:00:00:02): 2001:db8::5 (agent, before 2001:db8::4)",
        "  lost vm3 NIC 0 (52:54:00:00:00:01): no_lease, ask the DHCP server",
        "  given up vm4 NIC 0 (52:54:00:00:00:01): no_lease, ask the DHCP server",
        "m",
    ]
    assert story_lines({"msg": "nothing is waited for"}) == []
    many = story_lines({"msg": "m", "found": [{**FOUND, "vm": "x\x9b" * 500}] * 10000})
    assert len(many) == MAX_LINES + 2 and all(len(line) <= MAX_LINE and line.isprintable() for line in many)


class Action(vm_ip_fetch.ActionModule):
    """The plugin with a module that answers as a list says."""

    def __init__(self, answers: list[dict[str, t.Any]], check_mode: bool = False, **options: t.Any) -> None:
        self._task = types.SimpleNamespace(args=options, until=None, check_mode=check_mode)
        self.answers = answers
        self.asked = 0
        self.given: list[t.Any] = []

    def _execute_module(self, **given: t.Any) -> dict[str, t.Any]:
        self.asked += 1
        self.given.append(given.get("module_args"))
        return dict(self.answers[self.asked - 1])


FOUND = {"vm": "web1", "nic": 0, "mac": "52:54:00:00:00:02", "ip4_address": "10.0.0.5", "ip6_addresses": [], "source": "agent"}


def answer(pending: int, **more: t.Any) -> dict[str, t.Any]:
    return {
        "changed": False,
        "pending": pending,
        "found": [],
        "gave_up": [],
        "lost": [],
        "waiting": [nic(1)] * pending,
        "msg": "m",
        **more,
    }


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(vm_ip_fetch.OnController, "run", lambda self, tmp=None, task_vars=None: {})
    monkeypatch.setattr(vm_ip_fetch.display, "display", lines.append)
    monkeypatch.setattr(vm_ip_fetch.time, "sleep", lambda seconds: lines.append(f"slept {seconds}"))
    return lines


def test_it_looks_until_nothing_is_waited_for(shown: list[str]) -> None:
    gone = {"failed": True, "msg": "not reached\x9b", "pending": 2, "waiting": []}
    action = Action([answer(2, found=[FOUND], changed=True), gone, answer(0, found=[FOUND]), answer(0)], looks="9", pause=7)
    result = action.run(task_vars={"inventory_hostname": "kvm01"})
    assert (action.asked, result["looks"], result["found"], result["changed"]) == (3, 3, [FOUND, FOUND], True)
    assert not result.get("failed")
    assert shown.count("slept 7") == 2 and r"[kvm01] not reached\x9b" in shown
    assert shown[0] == "[kvm01] m" and "looking again in 7 s, 8 more times at most" in shown[3]


def test_all_looks_together_keep_to_the_limit_and_count_what_they_leave_out(shown: list[str]) -> None:
    looks = [
        answer(2, found=[FOUND, FOUND], waiting=[nic(1)], omitted={"found": 3, "waiting": 4}),
        answer(1, found=[FOUND], gave_up=[nic(2)], waiting=[nic(3)], omitted={"waiting": 5}),
        answer(0, found=[FOUND], waiting=[nic(4, required=False)], omitted={}),
    ]
    result = Action(looks, looks=9, limit=3).run(task_vars={})
    assert (result["lost"], result["gave_up"], result["found"], result["waiting"]) == ([], [nic(2)], [FOUND, FOUND], [])
    # Three were left out by the first look; of four that it and the others listed two are kept. One is waited for.
    assert result["omitted"] == {"found": 3 + 2, "waiting": 1}


def test_a_complaint_of_an_earlier_look_makes_the_task_fail_at_its_end(shown: list[str]) -> None:
    lost = {"failed": True, "msg": "address lost: web1", "complaints": ["address lost: web1"], "lost": [nic(1)]}
    action = Action([answer(1, **lost), answer(0)], looks=3)
    result = action.run(task_vars={})
    assert action.asked == 2 and result["failed"] and result["msg"] == "address lost: web1" and len(result["lost"]) == 1
    # Nothing is waited for after such a look: there is no reason for another one.
    action = Action([answer(0, **lost), answer(0)], looks=3)
    assert action.run(task_vars={})["failed"] and action.asked == 1
    result = Action([answer(1, **lost), answer(1)], looks=2).run(task_vars={})
    assert result["msg"] == "address lost: web1; after 2 looks: m"


def test_nics_that_were_given_up_come_back_once_and_not_with_each_look(shown: list[str]) -> None:
    action = Action([answer(1), answer(1), answer(0)], looks=9, rearm=True)
    action.run(task_vars={})
    assert [words["rearm"] for words in action.given] == [True, False, False]


def test_the_time_of_listening_is_no_time_of_sleeping(shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    action = Action([answer(1), answer(1), answer(0)], looks=9, pause=7, watch=5)
    monkeypatch.setattr(vm_ip_fetch.time, "monotonic", lambda: 5.0 * action.asked)
    action.run(task_vars={})
    assert shown.count("slept 2") == 2
    # Without it a look takes what it takes, and the pause comes on top.
    action = Action([answer(1), answer(0)], looks=9, pause=7)
    action.run(task_vars={})
    assert shown.count("slept 7") == 1


def test_it_fails_if_something_is_still_waited_for(shown: list[str]) -> None:
    result = Action([answer(1), answer(1)], looks=2, interval=5).run(task_vars={})
    assert (result["failed"], result["msg"]) == (True, "after 2 looks: m") and shown.count("slept 5") == 1


@pytest.mark.parametrize(
    ("first", "options"),
    [
        (answer(1), {}),
        (answer(1), {"looks": "many"}),
        ({"failed": True, "msg": "interval is 0"}, {"looks": 9}),
        (answer(1), {"looks": 9, "check_mode": True}),
    ],
)
def test_it_looks_once(shown: list[str], first: dict[str, t.Any], options: dict[str, t.Any]) -> None:
    action = Action([first], **options)
    assert action.run(task_vars={}) == first and action.asked == 1 and shown == []
