# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reconcile as a state machine: whatever others do on two hypervisors, after a look at both the record says what is true.

Tries are few, so that NICs are given up; a restart, a request and the slow look each bring them back.
"""

from __future__ import annotations

import datetime
import pathlib
import tempfile
import typing as t

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorUnreachable
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_ip_fetch import Request, fetch
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import PollSettings
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._nic_record.fake_hypervisor import (
    FakeHypervisor,
    Guest,
    guest,
)

NAMES = ("kvm01", "kvm02")
INTERVAL = 180
which = st.integers(0, 9)
RELOOK = 1000
SETTINGS = PollSettings(interval=INTERVAL, max_retry=2, recheck_interval=1, relook_interval=RELOOK)


class ReconcileMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.seconds = 0.0
        self.made = 0
        self.restarted: set[str] = set()  # ids of VMs, since a look at their hypervisor
        self.hypervisors = {name: FakeHypervisor([]) for name in NAMES}
        self.store = RecordStore(Database(f"sqlite:///{pathlib.Path(self.folder.name)}/record.db"), self.now)
        self.store.database.prepare(self.now())
        for name in NAMES:
            self.create(name, True)
        self.look_at_all()

    def now(self) -> datetime.datetime:
        return datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC) + datetime.timedelta(seconds=self.seconds)

    def teardown(self) -> None:
        self.store.database.close()
        self.folder.cleanup()

    def places(self) -> list[tuple[str, Guest]]:
        return [(name, one) for name in NAMES for one in self.hypervisors[name].guests]

    def some(self, number: int) -> tuple[str, Guest] | None:
        places = self.places()
        return places[number % len(places)] if places else None

    # -- what others do ------------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), running=st.booleans())
    def create(self, name: str, running: bool) -> None:
        self.made += 1
        one = guest(self.made, nics=1 + self.made % 2, power_state="running" if running else "stopped")
        one.boot_time = self.now().timestamp()
        one.answers = {0: [f"10.{self.made}.0.1"]}
        self.hypervisors[name].guests.append(one)

    @rule(number=which)
    def destroy(self, number: int) -> None:
        if found := self.some(number):
            self.hypervisors[found[0]].guests.remove(found[1])

    @rule(number=which, state=st.sampled_from(["running", "stopped", "paused"]))
    def power(self, number: int, state: str) -> None:
        if found := self.some(number):
            if state == "running" and found[1].power_state == "stopped":
                found[1].boot_time = self.now().timestamp()
            found[1].power_state = state

    @rule(number=which, lease=st.integers(0, 3))
    def restart(self, number: int, lease: int) -> None:
        if found := self.some(number):
            found[1].boot_time = self.now().timestamp()
            found[1].answers = {0: [f"10.{int(found[1].id[-6:])}.0.{lease}"]} if lease else None
            self.restarted.add(found[1].id)

    @rule(number=which, name=st.sampled_from(["web", "db", "web1"]))
    def rename(self, number: int, name: str) -> None:
        if found := self.some(number):
            found[1].name = name

    @rule(number=which)
    def move(self, number: int) -> None:
        if found := self.some(number):
            self.hypervisors[found[0]].guests.remove(found[1])
            self.hypervisors[next(name for name in NAMES if name != found[0])].guests.append(found[1])

    @rule(number=which)
    def another_nic(self, number: int) -> None:
        if found := self.some(number):
            self.made += 1
            found[1].macs = (*found[1].macs[:1], f"52:54:ff:00:00:{self.made:02x}")

    @rule(number=which, quiet=st.sampled_from([None, {0: []}]))
    def silence(self, number: int, quiet: t.Any) -> None:
        if found := self.some(number):
            found[1].answers = quiet

    # -- what is told to the record, true or not -----------------------------------------------------------------------

    @rule(number=which, name=st.sampled_from(NAMES), what=st.sampled_from(["enter", "stop", "remove"]))
    def tell(self, number: int, name: str, what: str) -> None:
        if found := self.some(number):
            getattr(self.store, what)(name, [found[1].facts()])

    # -- looks ---------------------------------------------------------------------------------------------------------

    def look(self, name: str, rearm: bool = False) -> None:
        fake = self.hypervisors[name]
        before = self.given_up(*NAMES)
        request = Request(name, SETTINGS, reconcile=True, networks={"corp": {}}, rearm=rearm)
        assert fetch(self.store, fake.connect, request).problem is None
        running = {one.id for one in fake.guests if one.power_state == "running"}
        again = {nic for nic in before if rearm and nic[0] in running}
        # A VM that came from another hypervisor may have its old row there until that one is looked at.
        still = self.given_up(name)
        assert not still & again, "all tries again for those that somebody asks for"
        assert not {vm_id for vm_id, _mac in still} & self.restarted & running, "all tries again for a VM that was restarted"
        self.restarted -= running

    def given_up(self, *names: str) -> set[tuple[str, str]]:
        return {(nic.vm_id, nic.mac) for nic in self.store.nics(hypervisor_names=names, states=["gave_up"])}

    @rule(name=st.sampled_from(NAMES))
    def look_at_one(self, name: str) -> None:
        self.seconds += INTERVAL
        self.look(name)

    @rule(name=st.sampled_from(NAMES))
    def somebody_asks_for_the_given_up(self, name: str) -> None:
        self.seconds += INTERVAL
        self.look(name, rearm=True)

    @rule()
    def the_slow_look(self) -> None:
        self.seconds += RELOOK
        self.look_at_all()
        self.agrees(gone_is_gone=False, all_asked=True)

    @rule(name=st.sampled_from(NAMES))
    def nobody_answers(self, name: str) -> None:
        self.seconds += INTERVAL
        self.hypervisors[name].fail_connect = HypervisorUnreachable("gone")
        before = {(nic.vm_id, nic.mac): (nic.fetch_state, nic.address) for nic in self.store.nics()}
        fetch(self.store, self.hypervisors[name].connect, Request(name, SETTINGS, reconcile=True, networks={"corp": {}}))
        self.hypervisors[name].fail_connect = None
        assert {(nic.vm_id, nic.mac): (nic.fetch_state, nic.address) for nic in self.store.nics()} == before

    @rule()
    def look_at_all(self) -> None:
        self.seconds += INTERVAL
        for name in NAMES:
            self.look(name)
        self.agrees(gone_is_gone=False)

    @rule()
    def look_at_all_for_a_while(self) -> None:
        for _unused in range(3):
            self.look_at_all()
        self.agrees(gone_is_gone=True)

    def agrees(self, gone_is_gone: bool, all_asked: bool = False) -> None:
        """all_asked: also the NICs that were given up."""
        rows = {(nic.hypervisor_name, nic.vm_id, nic.mac): nic for nic in self.store.nics()}
        assert len({(vm, mac) for _name, vm, mac in rows}) == len(rows), "one VM is one VM"
        there = {(name, one.id, mac) for name, one in self.places() for mac in one.macs}
        ghosts = [nic for key, nic in rows.items() if key not in there]
        assert all(nic.fetch_state == "stopped" and nic.address is None for nic in ghosts)
        assert not (gone_is_gone and ghosts)
        for name, one in self.places():
            for device, mac in enumerate(one.macs):
                row = rows.get((name, one.id, mac))
                address = next(iter((one.answers or {}).get(device, ())), None)
                if one.power_state == "running":
                    assert row is not None and (row.vm_name, row.device) == (one.name, device)
                    assert row.fetch_state in ("pending", "found", "gave_up")
                    if address is not None and (all_asked or row.fetch_state != "gave_up"):
                        assert (row.fetch_state, row.ip4_address) == ("found", address)
                elif one.power_state == "stopped" and row is not None:
                    assert (row.fetch_state, row.address) == ("stopped", None)


def test_a_vm_that_was_given_up_and_moved_is_asked_for_where_it_is_now() -> None:
    site = ReconcileMachine()
    try:
        site.restart(lease=0, number=0)
        site.look_at_all_for_a_while()
        assert len(site.given_up("kvm01")) == 2, "both of its NICs"
        site.move(number=0)
        site.somebody_asks_for_the_given_up(name="kvm02")
        assert (len(site.given_up("kvm01")), len(site.given_up("kvm02"))) == (2, 0), "until kvm01 is looked at"
        site.look_at_one(name="kvm01")
        assert site.given_up("kvm01") == set()
    finally:
        site.teardown()


TestReconcileMachine: t.Any = ReconcileMachine.TestCase
TestReconcileMachine.settings = settings(
    max_examples=30, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
