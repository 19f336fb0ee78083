# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One poll with a hypervisor that misbehaves: what is found is kept, the others are looked at, nothing is lost."""

from __future__ import annotations

import datetime
import os
import pathlib
import threading
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorUnreachable
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import verdicts, vm_ip_fetch
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_ip_fetch import Request, fetch
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.lock import PollLock
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import NicFacts, PollSettings, VmFacts
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._nic_record.fake_hypervisor import (
    FakeHypervisor,
    guest,
)


class Site:
    def __init__(self, folder: pathlib.Path) -> None:
        self.seconds = 0.0
        self.store = RecordStore(Database(f"sqlite:///{folder}/record.db"), self.now)
        self.store.database.prepare()
        self.guests = [guest(number, answers={0: [f"10.0.0.{number}"]}) for number in range(1, 5)]
        self.hypervisor = FakeHypervisor(self.guests)
        self.store.enter("kvm01", [one.facts() for one in self.guests])

    def now(self) -> datetime.datetime:
        return datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC) + datetime.timedelta(seconds=self.seconds)

    def poll(self, **more: t.Any) -> vm_ip_fetch.Poll:
        return fetch(self.store, self.hypervisor.connect, Request("kvm01", **more))

    def states(self) -> dict[str, tuple[str, str | None, int]]:
        return {nic.vm_name: (nic.fetch_state, nic.last_reason, nic.tries_left) for nic in self.store.nics()}


@pytest.fixture
def site(tmp_path: pathlib.Path) -> Site:
    return Site(tmp_path)


FOUND = ("found", None, 10)


def test_a_driver_that_breaks_half_way_keeps_what_it_found(site: Site) -> None:
    site.hypervisor.fail_after = (2, HypervisorUnreachable("the connection broke"))
    poll = site.poll()
    assert poll.problem == "the connection broke" and poll.looked_at == 2
    gone = ("pending", "hypervisor_unreachable", 10)
    assert site.states() == {"vm1": FOUND, "vm2": FOUND, "vm3": gone, "vm4": gone}
    assert site.hypervisor.closed == 1
    site.hypervisor.fail_after = None
    assert site.poll().looked_at == 0, "due again after the interval only"
    site.seconds = 180
    assert site.poll().looked_at == 2
    assert set(site.states().values()) == {FOUND}


def test_a_driver_with_a_bug_fails_the_poll_and_costs_no_try(site: Site) -> None:
    site.hypervisor.fail_after = (1, ZeroDivisionError("oops"))
    poll = site.poll()
    assert poll.problem == "the driver failed: ZeroDivisionError: oops"
    assert site.states()["vm1"] == FOUND and site.states()["vm2"][2] == 10


def test_one_bad_vm_does_not_stop_the_others(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real = verdicts.decide_vm

    def decide(nics: t.Any, *more: t.Any) -> t.Any:
        if nics == [(0, site.guests[1].macs[0])]:
            raise RecursionError("a guest said something clever")
        return real(nics, *more)

    monkeypatch.setattr(verdicts, "decide_vm", decide)
    assert site.poll().problem is None
    assert site.states() == {"vm1": FOUND, "vm2": ("pending", "source_unavailable", 9), "vm3": FOUND, "vm4": FOUND}


def test_a_vm_that_the_driver_forgets_takes_a_try(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real = site.hypervisor.read
    monkeypatch.setattr(site.hypervisor, "read", lambda vms, *more: real(vms[:-1], *more))
    assert site.poll().looked_at == 4
    assert site.states()["vm4"] == ("pending", "source_unavailable", 9)


def test_renamed_vms_are_known_by_their_ids(site: Site) -> None:
    site.guests[0].name = "other"
    site.poll()
    assert site.states()["other"] == FOUND and "vm1" not in site.states()


def test_what_a_guest_put_into_names_and_messages_stops_nobody(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    real = site.hypervisor.read

    def addresses(vms: t.Any, *more: t.Any) -> t.Any:
        for seen in real(vms, *more):
            if seen.vm.name == "vm2":
                vm = dataclasses.replace(seen.vm, name="n\0" * 300)
                seen = dataclasses.replace(seen, vm=vm, readings=(), source=None, reason="timeout", message="m\0\ud800" * 900)
            yield seen

    monkeypatch.setattr(site.hypervisor, "read", addresses)
    site.poll()
    states = site.states()
    (shown,) = set(states) - {"vm1", "vm3", "vm4"}
    assert states == {"vm1": FOUND, shown: ("pending", "timeout", 9), "vm3": FOUND, "vm4": FOUND}
    assert shown.isprintable() and shown.startswith(r"n\x00n\x00") and len(shown) == 255
    message = site.store.nics(vms=[shown])[0].last_message or ""
    assert message.isprintable() and len(message) == 500


def test_two_vms_of_one_name(site: Site) -> None:
    site.guests[0].name = site.guests[1].name = "twin"
    site.store.remove("kvm01", [VmFacts("vm1"), VmFacts("vm2")])
    site.store.enter("kvm01", [one.facts() for one in site.guests])
    site.poll()
    assert {nic.vm_id: nic.ip4_address for nic in site.store.nics() if nic.vm_name == "twin"} == {
        site.guests[0].id: "10.0.0.1",
        site.guests[1].id: "10.0.0.2",
    }


def test_vms_that_are_gone_and_one_that_was_created_anew(site: Site) -> None:
    site.guests[1].id = "another-id"
    del site.hypervisor.guests[0]
    site.poll()
    nics = {nic.vm_name: nic for nic in site.store.nics()}
    assert site.states()["vm1"] == site.states()["vm2"] == ("pending", "vm_not_found", 9)
    assert nics["vm1"].last_message == "there is no VM vm1 on fake:///system"
    assert "another VM now (id another-id)" in (nics["vm2"].last_message or "")
    assert site.states()["vm3"] == FOUND


def test_a_nic_that_moved_and_one_that_was_taken_out(site: Site) -> None:
    nics = (NicFacts(0, "52:54:00:00:00:aa"), NicFacts(1, site.guests[0].macs[0]))
    site.store.enter("kvm01", [VmFacts("vm1", site.guests[0].id, nics)])
    site.poll()
    rows = {nic.mac: nic for nic in site.store.nics(vms=["vm1"])}
    assert (rows[site.guests[0].macs[0]].device, rows[site.guests[0].macs[0]].ip4_address) == (0, "10.0.0.1")
    assert rows["52:54:00:00:00:aa"].last_reason == "vm_not_found"


def test_an_answer_is_stored_before_the_next_guest_answers(site: Site) -> None:
    """Otherwise a poll that is killed would lose what it had found."""
    stored = threading.Event()

    def answer(one: t.Any) -> None:
        if one is site.guests[1]:
            assert stored.wait(30), "the first answer was kept back"

    site.hypervisor.on_answer = answer
    poll = fetch(site.store, site.hypervisor.connect, Request("kvm01"), log=lambda events: stored.set())
    assert poll.problem is None and len(poll.found) == 4


def test_a_late_answer_changes_nothing(site: Site) -> None:
    """Between the look and its answer: one VM is stopped, one is destroyed, one is started again."""

    def meanwhile(one: t.Any) -> None:
        if one is site.guests[0]:
            site.store.stop("kvm01", [VmFacts("vm1")])
            site.store.remove("kvm01", [VmFacts("vm2")])
            site.store.enter("kvm01", [site.guests[2].facts()], rearm=True)

    site.hypervisor.on_answer = meanwhile
    poll = site.poll()
    assert [nic.vm_name for nic in poll.found] == ["vm4"]
    assert site.states() == {
        "vm1": ("stopped", "vm_not_running", 0),
        "vm3": ("pending", None, 10),
        "vm4": FOUND,
    }
    assert site.poll().looked_at == 1, "the one that was started again is due at once"


def test_a_poll_nobody_waits_for_connects_nowhere(site: Site) -> None:
    site.poll()
    connections = site.hypervisor.connections
    assert site.poll().looked_at == 0
    assert site.hypervisor.connections == connections


def test_due_a_tenth_of_the_interval_early_and_counted_from_the_start(site: Site) -> None:
    for one in site.guests:
        one.answers = {0: []}
    site.hypervisor.on_answer = lambda one: setattr(site, "seconds", site.seconds + 5)  # a slow poll
    site.poll(settings=PollSettings(interval=100))
    for seconds, looked_at in ((89, 0), (90, 4)):
        site.seconds = seconds
        assert site.poll(settings=PollSettings(interval=100)).looked_at == looked_at


def test_rules_of_the_nic_are_given_to_the_policy(site: Site) -> None:
    site.store.enter("kvm01", [site.guests[0].facts(cidrs=("192.168.0.0/16",)), site.guests[1].facts(ignore_interfaces=("eth",))])
    site.store.enter("kvm01", [site.guests[2].facts(ip_range="10.0.0.100-10.0.0.200")])
    site.poll()
    assert site.states()["vm1"][1] == "filtered_out" and site.states()["vm2"][1] == "no_lease"
    assert {nic.vm_name: nic.in_range for nic in site.store.nics()}["vm3"] is False


def test_a_second_address_does_not_make_it_flap(site: Site) -> None:
    site.poll(settings=PollSettings(recheck_interval=60))
    site.guests[0].answers = {0: ["10.0.0.200", "10.0.0.1"]}
    site.seconds = 600
    assert site.poll(settings=PollSettings(recheck_interval=60)).found == []
    assert site.store.nics(vms=["vm1"])[0].ip4_address == "10.0.0.1"


def test_rechecks_begin_for_what_was_found_before_they_were_asked_for(site: Site) -> None:
    site.poll()
    site.guests[0].answers = {0: ["10.0.0.99"]}
    site.seconds = 100
    assert site.poll(settings=PollSettings(recheck_interval=600)).looked_at == 0
    site.seconds = 600
    poll = site.poll(settings=PollSettings(recheck_interval=600))
    assert poll.looked_at == 4 and [nic.ip4_address for nic in poll.found] == ["10.0.0.99"]


def test_a_clock_that_was_put_back_does_not_stop_polling(site: Site) -> None:
    for one in site.guests:
        one.answers = {0: []}
    site.seconds = 7200
    site.poll()
    site.seconds = 0  # two hours back
    assert site.poll().looked_at == 4
    assert site.poll().looked_at == 0, "and once per interval from then on"
    site.guests[0].answers = {0: ["10.0.0.1"]}
    rechecks = PollSettings(recheck_interval=600)
    site.seconds = 9000
    site.poll(settings=rechecks)
    site.seconds = 600
    assert site.poll(settings=rechecks).looked_at == 4
    site.seconds = 610
    assert site.poll(settings=rechecks).looked_at == 0


def test_a_lease_that_was_given_to_another_vm_makes_the_older_one_suspect(site: Site) -> None:
    site.guests[1].answers = {0: []}
    site.poll()
    site.seconds = 180
    site.guests[1].answers = {0: ["10.0.0.1"]}
    poll = site.poll()
    assert [nic.vm_name for nic in poll.found] == ["vm2"]
    (warning,) = poll.warnings
    assert "vm1 NIC 0 on kvm01 is suspect: 10.0.0.1 was given to vm2 NIC 0" in warning
    (older,) = site.store.nics(vms=["vm1"])
    assert (older.fetch_state, older.ip4_address, older.suspect_readings) == ("found", "10.0.0.1", 1)
    assert older.last_reason == "address_taken"
    site.guests[0].answers = {0: ["10.0.0.77"]}
    site.seconds = 181
    poll = site.poll()
    assert [(nic.vm_name, nic.ip4_address) for nic in poll.found] == [("vm1", "10.0.0.77")], "looked at at once"
    assert poll.warnings == []
    assert site.poll().looked_at == 0


def test_an_address_that_two_guests_claim_is_told_once(site: Site) -> None:
    site.guests[1].answers = {0: ["10.0.0.1"]}
    site.store.remove("kvm01", [VmFacts("vm2")])
    site.poll()
    site.store.enter("kvm01", [site.guests[1].facts()])
    assert len(site.poll().warnings) == 1
    poll = site.poll()
    assert poll.looked_at == 1 and poll.warnings == [] and poll.found == []
    assert site.poll().looked_at == 0


def test_the_same_address_in_another_network_is_another_address(site: Site) -> None:
    site.guests[1].answers = {0: ["10.0.0.1"]}
    site.guests[1].network = "elsewhere"
    site.store.remove("kvm01", [VmFacts("vm2")])
    site.poll()
    site.store.enter("kvm01", [site.guests[1].facts()])
    poll = site.poll()
    assert [nic.vm_name for nic in poll.found] == ["vm2"] and poll.warnings == []


@pytest.mark.parametrize(
    ("silent", "busy", "warned", "failed"),
    [
        (5, 30, None, None),
        (200, 200, "has given no sign of life since", None),
        (600, 600, None, "has given no sign of life since"),
        (5, 700, "has been at work since", None),
        (5, 2000, None, "has been at work since"),
    ],
)
def test_a_holder_of_the_lock_that_is_in_trouble_is_told(
    site: Site, silent: int, busy: int, warned: str | None, failed: str | None
) -> None:
    with PollLock(site.store.database, "kvm01", "hypervisor", site.now) as lock:
        assert lock.acquire()
        (taken,) = site.store.database.run(lambda c: c.exec_driver_sql("SELECT since FROM poll_locks").all())
        site.seconds = busy
        alive = str(site.now() - datetime.timedelta(seconds=silent))[:19]
        site.store.database.run(lambda c: c.exec_driver_sql("UPDATE poll_locks SET beat_at = ?", (alive,)), write=True)
        poll = site.poll()
    assert poll.skipped and taken
    told = f"process {os.getpid()} on"
    assert [warned in one and told in one for one in poll.warnings if warned] == ([True] if warned else [])
    assert (poll.problem is None) == (failed is None)
    assert failed is None or (failed in str(poll.problem) and told in str(poll.problem))
