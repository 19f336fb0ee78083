# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record as a state machine against a model of a few lines: any order of starts, stops, polls and guests' moods."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import tempfile
import typing as t

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorUnreachable
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_ip_fetch import Request, fetch
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import PollSettings
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._nic_record.fake_hypervisor import (
    FakeHypervisor,
    guest,
)

COUNT = 2
MAX_RETRY = 3
INTERVAL = 180
SUSPECT = 2
which = st.integers(0, COUNT - 1)
# What the guest agent says: nobody answers, no address, or one. No two guests have the same.
MOODS = st.sampled_from([None, (), (), ("10.{}.0.1",), ("10.{}.0.2",)])


def said(number: int, mood: tuple[str, ...] | None) -> dict[int, tuple[str, ...]] | None:
    return None if mood is None else {0: tuple(address.format(number) for address in mood)}


@dataclasses.dataclass
class Expected:
    """The model of one NIC, written from the rules as they are told to users. due: seconds, None when not in the queue."""

    state: str = "pending"
    tries: int = MAX_RETRY
    due: float | None = 0
    address: str | None = None
    entered: float = 0  # when it got all its tries
    seen_at: float = -1  # when it had the address, or another one, last
    suspect: int = 0
    seen_off: bool = False
    again: bool = False  # found, and its next look is set, whether or not the next poll asks for re-checks

    @property
    def seen(self) -> bool:
        """A look of the moment in which it entered counts: most VMs enter in the look that finds them."""
        return self.seen_at >= self.entered


class RecordMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.seconds = 0.0
        self.guests = [guest(number) for number in range(COUNT)]
        self.hypervisor = FakeHypervisor(self.guests)
        self.expected: dict[int, Expected] = {}
        self.events: list[tuple[str, str]] = []
        self.store = RecordStore(Database(f"sqlite:///{pathlib.Path(self.folder.name)}/record.db"), self.now)

    def now(self) -> datetime.datetime:
        return datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC) + datetime.timedelta(seconds=self.seconds)

    def teardown(self) -> None:
        self.store.database.close()
        self.folder.cleanup()

    @initialize()
    def create(self) -> None:
        self.store.database.prepare(self.now())
        for number in range(COUNT):
            self.enter(number, False)

    # -- what happens to guests ----------------------------------------------------------------------------------------

    @rule(number=which, state=st.sampled_from(["running", "stopped"]))
    def power(self, number: int, state: str) -> None:
        self.guests[number].power_state = state

    @rule(seconds=st.sampled_from([10, 100, 180, 1000]))
    def time_passes(self, seconds: int) -> None:
        self.seconds += seconds

    # -- what is told to the record ------------------------------------------------------------------------------------

    @rule(number=which, rearm=st.booleans())
    def enter(self, number: int, rearm: bool) -> None:
        self.store.enter("kvm01", [self.guests[number].facts()], max_tries=MAX_RETRY, rearm=rearm)
        known = self.expected.get(number)
        if known is None:
            self.expected[number] = Expected(due=self.seconds, entered=self.seconds)
        elif rearm or known.state == "stopped":
            self.expected[number] = Expected(due=self.seconds, address=known.address, entered=self.seconds, seen_at=known.seen_at)

    @rule(number=which)
    def stop(self, number: int) -> None:
        self.store.stop("kvm01", [self.guests[number].facts()])
        if number in self.expected:
            self.expected[number] = Expected("stopped", 0, None)

    @rule(number=which)
    def remove(self, number: int) -> None:
        self.store.remove("kvm01", [self.guests[number].facts()])
        self.expected.pop(number, None)

    # -- polls ---------------------------------------------------------------------------------------------------------

    @rule(recheck=st.sampled_from([0, 600]), reachable=st.sampled_from([True, True, True, False]))
    def poll(self, recheck: int, reachable: bool) -> None:
        wanted = PollSettings(INTERVAL, MAX_RETRY, recheck, 0, SUSPECT)
        self.hypervisor.fail_connect = None if reachable else HypervisorUnreachable("gone")
        before = dict(self.hypervisor.looks)
        result = fetch(self.store, self.hypervisor.connect, Request("kvm01", wanted))
        looked = {number for number in range(COUNT) if self.looks(number) != before.get(self.guests[number].id, 0)}
        due = {number for number, nic in self.expected.items() if self.is_due(nic, recheck)}
        assert looked == (due if reachable else set())
        assert result.looked_at == len(looked)
        assert (result.problem is None) == (reachable or not due)
        for number in sorted(due):
            self.expect_look(number, recheck) if reachable else self.expect_nothing(number)

    @rule(number=which, mood=MOODS)
    def changes(self, number: int, mood: tuple[str, ...] | None) -> None:
        self.guests[number].answers = said(number, mood)

    @rule(
        moods=st.lists(MOODS, min_size=COUNT, max_size=COUNT),
        often=st.booleans(),
    )
    def some_time_later(self, moods: list[t.Any], often: bool) -> None:
        """Several things at once, which chance alone would seldom put in a row."""
        for number, mood in enumerate(moods):
            self.guests[number].answers = said(number, mood)
        self.seconds += 1000
        self.poll(600 if often else 0, True)

    def looks(self, number: int) -> int:
        return self.hypervisor.looks.get(self.guests[number].id, 0)

    def is_due(self, nic: Expected, recheck: int) -> bool:
        return (
            nic.due is not None
            and nic.due <= self.seconds + INTERVAL / 10
            and (nic.state == "pending" or recheck > 0 or nic.again)
        )

    def expect_nothing(self, number: int) -> None:
        self.expected[number].due = self.seconds + INTERVAL
        # A VM leaves the queue when two looks in a row find it off; the reason of a poll without a look stands in between.
        self.expected[number].seen_off = False
        self.expected[number].again = True

    def expect_look(self, number: int, recheck: int) -> None:
        nic, one = self.expected[number], self.guests[number]
        off = one.power_state != "running"
        if off and nic.seen_off:
            self.expected[number] = Expected("stopped", 0, None)
            return
        nic.seen_off = off
        address = None if off or not one.answers else next(iter(one.answers.get(0, ())), None)
        if address:
            nic.state, nic.tries, nic.address, nic.seen_at, nic.suspect = "found", MAX_RETRY, address, self.seconds, 0
            # Without a re-check the row remembers when it was seen, for whoever wants one later.
            nic.due = self.seconds + (recheck or 600)
            nic.again = recheck > 0
            return
        nic.due = self.seconds + INTERVAL
        nic.again = True
        heard = not off and one.answers is not None
        if heard and nic.address and nic.seen:
            nic.suspect += 1
            if nic.suspect == SUSPECT:
                nic.address, nic.suspect = None, 0
                if nic.state == "found":
                    nic.state = "pending"
                    return
        if nic.state == "pending":
            nic.tries -= 1
            if nic.tries == 0:
                nic.state, nic.due = "gave_up", None
                if heard and not nic.seen:
                    nic.address = None  # from before: it may keep it until all tries are used up

    # -- what is always true -------------------------------------------------------------------------------------------

    @invariant()
    def agrees(self) -> None:
        if not self.store.database.exists():
            return
        rows = {nic.vm_id: nic for nic in self.store.nics()}
        assert set(rows) == {self.guests[number].id for number in self.expected}
        for number, nic in self.expected.items():
            row = rows[self.guests[number].id]
            assert (row.fetch_state, row.tries_left, row.ip4_address) == (nic.state, nic.tries, nic.address)
            assert row.claim_token is None
        pending = sum(nic.state == "pending" for nic in self.expected.values())
        counts = self.store.counts("kvm01", PollSettings(), self.now())
        waiting = self.store.waiting("kvm01")
        assert counts.pending == pending == len(waiting.nics) == waiting.total

    @invariant()
    def events_tell_the_story(self) -> None:
        """Replaying the events of one NIC gives its address, and no event is out of turn."""
        if not self.store.database.exists():
            return
        known: dict[str, str | None] = {}
        for event in self.store.events(limit=100000):
            if event.type.endswith(("FETCHED", "CHANGED")):
                assert event.address and event.address != event.previous_address
                known[event.vm_id] = event.address
            elif event.type.endswith("LOST"):
                assert known[event.vm_id] == event.previous_address
                known[event.vm_id] = None
            else:
                assert event.type.endswith("GAVE.UP") and event.reason
        for nic in self.store.nics():
            if nic.ip4_address:
                assert known[nic.vm_id] == nic.ip4_address


TestRecordMachine: t.Any = RecordMachine.TestCase
TestRecordMachine.settings = settings(
    max_examples=50, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
