# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One look at hypervisors that somebody else works on: the record is what they have, whatever it was told."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorUnreachable
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.look import Poll, Request, fetch, would_agree
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import NicFacts, PollSettings, VmFacts
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._nic_record.fake_hypervisor import (
    FakeHypervisor,
    Guest,
    guest,
)

CORP: dict[str, dict[str, t.Any]] = {"corp": {}}


class Site:
    """Two hypervisors with one record."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.seconds = 0.0
        self.store = RecordStore(Database(f"sqlite:///{folder}/record.db"), self.now)
        self.store.database.prepare()
        self.hypervisors = {"kvm01": FakeHypervisor([]), "kvm02": FakeHypervisor([])}

    def now(self) -> datetime.datetime:
        return datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC) + datetime.timedelta(seconds=self.seconds)

    def guest(self, number: int, hypervisor: str = "kvm01", **more: t.Any) -> Guest:
        one = guest(number, **{"answers": {0: [f"10.0.0.{number}"]}, **more})
        self.hypervisors[hypervisor].guests.append(one)
        return one

    def look(self, hypervisor: str = "kvm01", later: float = 180, **more: t.Any) -> Poll:
        self.seconds += later
        words = {"reconcile": True, "networks": CORP, **more}
        return fetch(self.store, self.hypervisors[hypervisor].connect, Request(hypervisor, **words))

    def rows(self) -> dict[str, tuple[str, str, str | None]]:
        return {nic.vm_name: (nic.hypervisor_name, nic.fetch_state, nic.ip4_address) for nic in self.store.nics()}

    def events(self) -> list[str]:
        return [f"{event.vm_name} {event.type.rpartition('IP.')[2]}" for event in self.store.events()]


@pytest.fixture
def site(tmp_path: pathlib.Path) -> t.Iterator[Site]:
    one = Site(tmp_path)
    yield one
    one.store.database.close()


def test_started_and_running_vms_enter_and_are_found_in_one_look(site: Site) -> None:
    site.guest(1)
    site.guest(2, power_state="stopped")
    site.guest(3, network="elsewhere")
    poll = site.look()
    assert site.rows() == {"vm1": ("kvm01", "found", "10.0.0.1")}
    assert (poll.told, poll.looked_at) == ({"entered": ["vm1"]}, 1)
    site.hypervisors["kvm01"].guests[1].power_state = "running"
    assert site.look().told == {"entered": ["vm2"]}
    assert site.rows()["vm2"] == ("kvm01", "found", "10.0.0.2")
    again = site.look()
    assert (again.told, again.looked_at, again.found) == ({}, 0, [])


def test_a_network_that_no_vm_is_in_is_told_with_those_that_they_are_in(site: Site) -> None:
    assert site.look().warnings == [], "no VM, nothing to tell"
    site.guest(1, network="corp-vlan120")
    told = site.look().warnings
    assert len(told) == 1 and "NIC in corp; theirs are in corp-vlan120" in told[0]
    request = Request("kvm01", reconcile=True, networks=CORP)
    assert would_agree(site.store, site.hypervisors["kvm01"].connect, request).warnings == told
    site.guest(2)
    assert site.look().warnings == []


def test_a_vm_is_found_in_the_look_that_enters_it_however_long_the_hypervisor_is_read(site: Site) -> None:
    site.guest(1)

    def slowly() -> t.Any:
        site.seconds += 60
        return site.hypervisors["kvm01"].connect()

    poll = fetch(site.store, slowly, Request("kvm01", reconcile=True, networks=CORP))
    assert (poll.told, poll.looked_at) == ({"entered": ["vm1"]}, 1)
    assert site.rows() == {"vm1": ("kvm01", "found", "10.0.0.1")}


def test_rules_of_the_network_are_the_nics(site: Site) -> None:
    site.guest(1)
    site.look(networks={"corp": {"cidrs": ("192.168.0.0/16",)}})
    assert site.store.nics()[0].last_reason == "filtered_out"


def test_without_networks_nothing_new_enters_and_what_is_there_is_kept_up_to_date(site: Site) -> None:
    one, _two = site.guest(1, network="lab"), site.guest(2)
    site.store.enter("kvm01", [one.facts()])
    one.name = "renamed"
    site.look(networks=None)
    assert site.rows() == {"renamed": ("kvm01", "found", "10.0.0.1")}
    one.power_state = "stopped"
    site.look(networks=None)
    assert site.rows() == {"renamed": ("kvm01", "stopped", None)}


def test_stopped_destroyed_and_renamed_by_others(site: Site) -> None:
    one, two, three = site.guest(1), site.guest(2), site.guest(3)
    site.look()
    one.power_state, three.name = "stopped", "other"
    site.hypervisors["kvm01"].guests.remove(two)
    poll = site.look()
    assert poll.told == {"stopped": ["vm1"], "removed": ["vm2"]}
    assert site.rows() == {"vm1": ("kvm01", "stopped", None), "other": ("kvm01", "found", "10.0.0.3")}
    assert site.events()[3:] == ["vm2 LOST"]


def test_a_nic_that_somebody_recorded_stays_although_its_network_is_not_watched(site: Site) -> None:
    one = site.guest(1, network="template-lan")
    site.store.enter("kvm01", [one.facts()])
    site.look()
    assert site.rows() == {"vm1": ("kvm01", "found", "10.0.0.1")}
    site.hypervisors["kvm01"].guests.clear()
    site.look()
    assert site.rows() == {}


def test_a_paused_vm_stays_as_it_is(site: Site) -> None:
    one = site.guest(1)
    site.look()
    one.power_state = "paused"
    assert site.look().told == {}
    assert site.rows() == {"vm1": ("kvm01", "found", "10.0.0.1")}


def test_re_made_under_its_name(site: Site) -> None:
    one = site.guest(1)
    site.guest(9, "kvm02")
    site.look("kvm02")
    site.look()
    site.hypervisors["kvm01"].guests[0] = dataclasses.replace(
        guest(7, answers={0: ["10.0.0.7"]}), name=one.name
    )  # fmt: skip
    poll = site.look()
    assert poll.told == {"entered": ["vm1"], "removed": ["vm1"]}
    assert site.rows()["vm1"] == ("kvm01", "found", "10.0.0.7")
    assert site.events()[2:] == ["vm1 LOST", "vm1 FETCHED"]


def test_a_restart_is_noticed_where_there_is_no_boot_time(site: Site) -> None:
    one = site.guest(1, boot_token="7")
    site.look()
    one.answers = {0: ["10.0.0.99"]}
    assert site.look().told == {} and site.rows()["vm1"][2] == "10.0.0.1", "nobody asks a found one again"
    one.boot_token = "9"
    assert site.look().told == {"restarted": ["vm1"]}
    assert site.rows()["vm1"] == ("kvm01", "found", "10.0.0.99") and site.events() == ["vm1 FETCHED", "vm1 CHANGED"]
    assert site.look().told == {}
    one.boot_token = None  # not told for once
    assert site.look().told == {}


@pytest.mark.parametrize("stopped", [True, False])
def test_a_start_that_the_record_was_told_of_is_no_second_one(site: Site, stopped: bool) -> None:
    one = site.guest(1, boot_token="7", boot_time=site.now().timestamp())
    site.look()
    if stopped:
        site.store.stop("kvm01", [VmFacts("vm1")])
    one.boot_token, one.boot_time = "8", site.now().timestamp() + 100
    site.store.enter("kvm01", [one.facts()], rearm=True)
    assert [nic.fetch_state for nic in site.store.nics()] == ["pending"]
    assert site.look().told == {} and site.rows()["vm1"][1] == "found"
    assert site.look().told == {}
    one.boot_token = "9"
    assert site.look().told == {"restarted": ["vm1"]}


@pytest.mark.parametrize("changes", [{"boot_token": "8"}, {"boot_time": 1_900_000_000.0}])
def test_a_restart_right_after_a_poll_by_name_is_noticed(site: Site, changes: dict[str, t.Any]) -> None:
    one = site.guest(1, boot_token="7", boot_time=site.now().timestamp())
    site.store.enter("kvm01", [one.facts()], rearm=True)
    assert site.look(vms=["vm1"], reconcile=False).found
    vars(one).update(changes)
    assert site.look().told == {"restarted": ["vm1"]}


def test_a_restarted_vm_with_a_new_lease_is_noticed(site: Site) -> None:
    one = site.guest(1, boot_time=site.now().timestamp())
    site.look()
    assert site.look().looked_at == 0
    one.boot_time = (one.boot_time or 0) + 10  # jitter of a reading
    assert site.look().told == {}
    one.boot_time = site.now().timestamp() + 60
    one.answers = {0: ["10.0.0.99"]}
    poll = site.look()
    assert poll.told == {"restarted": ["vm1"]}
    assert site.rows()["vm1"] == ("kvm01", "found", "10.0.0.99")
    assert site.events() == ["vm1 FETCHED", "vm1 CHANGED"]
    assert site.look().told == {}


@pytest.mark.parametrize("while_booting", [None, {0: []}, {0: ["169.254.1.1"]}])
def test_a_slow_boot_never_loses_the_address(site: Site, while_booting: t.Any) -> None:
    one = site.guest(1, boot_time=site.now().timestamp())
    site.look()
    one.boot_time = site.now().timestamp() + 100
    one.answers = while_booting
    for _unused in range(8):
        site.look()
        (nic,) = site.store.nics()
        assert (nic.fetch_state, nic.ip4_address) == ("pending", "10.0.0.1"), "kept until tries are used up"
    one.answers = {0: ["10.0.0.1"]}
    site.look()
    assert site.rows()["vm1"] == ("kvm01", "found", "10.0.0.1")
    assert site.events() == ["vm1 FETCHED", "vm1 FETCHED"], "no LOST before it"


def test_a_guest_that_has_no_lease_after_its_restart_loses_it_with_the_last_try(site: Site) -> None:
    one = site.guest(1, boot_time=site.now().timestamp())
    site.look()
    one.boot_time = site.now().timestamp() + 100
    one.answers = {0: []}
    for _unused in range(10):
        site.look()
    assert site.rows()["vm1"] == ("kvm01", "gave_up", None)
    assert site.events() == ["vm1 FETCHED", "vm1 LOST", "vm1 GAVE.UP"]


def test_nics_that_are_added_and_removed(site: Site) -> None:
    one = site.guest(1, nics=2, answers={0: ["10.0.0.1"], 1: ["10.0.0.2"]})
    site.look()
    one.macs, one.answers = ("52:54:00:00:00:aa", one.macs[1]), {0: ["10.0.0.5"], 1: ["10.0.0.2"]}
    site.look()
    assert {nic.mac: nic.ip4_address for nic in site.store.nics()} == {"52:54:00:00:00:aa": "10.0.0.5", one.macs[1]: "10.0.0.2"}
    assert site.events()[2:] == ["vm1 LOST", "vm1 FETCHED"]


@pytest.mark.parametrize("first", ["kvm01", "kvm02"])
def test_a_vm_moved_by_others_is_one_vm(site: Site, first: str) -> None:
    """Whichever hypervisor is looked at first after the move."""
    one = site.guest(1)
    site.guest(8, "kvm02")
    for name in site.hypervisors:
        site.look(name)
    site.hypervisors["kvm01"].guests.remove(one)
    site.hypervisors["kvm02"].guests.append(one)
    for name in sorted(site.hypervisors, key=lambda name: name != first):
        site.look(name, later=1)
    assert site.rows()["vm1"] == ("kvm02", "found", "10.0.0.1")
    assert len(site.store.nics()) == 2
    site.look("kvm01")
    site.look("kvm02")
    assert not [event for event in site.events() if "LOST" in event]
    assert site.rows()["vm1"] == ("kvm02", "found", "10.0.0.1")


def test_a_vm_that_turns_up_nowhere_is_lost_after_the_interval(site: Site) -> None:
    one = site.guest(1)
    site.guest(8, "kvm02")
    site.look("kvm02")
    site.look()
    site.hypervisors["kvm01"].guests.remove(one)
    site.look()
    assert site.rows()["vm1"] == ("kvm01", "stopped", None)
    site.look()
    assert "vm1" not in site.rows()
    (lost,) = [event for event in site.store.events() if event.type.endswith("LOST")]
    assert (lost.vm_name, lost.previous_address) == ("vm1", "10.0.0.1")


def test_a_vm_that_entered_after_the_reading_began_is_not_dropped(site: Site) -> None:
    site.guest(1)
    new = guest(5, answers={0: ["10.0.0.5"]})
    fake = site.hypervisors["kvm01"]
    real = fake.inventory.vms

    def vms(names: t.Any = None) -> t.Any:
        listed = real(names)
        site.seconds += 1  # created, started and recorded while the list was read
        site.store.enter("kvm01", [new.facts()])
        fake.guests.append(new)
        return listed

    fake.inventory.vms = vms  # type: ignore[method-assign]
    site.look()
    assert "vm5" in site.rows()


def test_a_vm_that_cannot_be_read_is_not_taken_for_gone(site: Site) -> None:
    one = site.guest(1, nics=2, answers={0: ["10.0.0.1"], 1: ["10.0.0.2"]})
    site.look()
    one.macs = (one.macs[0], one.macs[0])
    site.look()
    assert len(site.store.nics()) == 2


def test_an_unreachable_hypervisor_changes_nothing_and_says_so(site: Site) -> None:
    site.guest(1, answers={0: []})
    site.look()
    fake = site.hypervisors["kvm01"]
    fake.fail_connect = HypervisorUnreachable("no connection")
    poll = site.look()
    assert poll.problem == "no connection"
    (nic,) = site.store.nics()
    assert (nic.fetch_state, nic.last_reason, nic.tries_left) == ("pending", "hypervisor_unreachable", 9)
    fake.fail_connect, fake.fail_vms = None, HypervisorUnreachable("broke while listing")
    poll = site.look()
    assert poll.problem == "broke while listing"
    assert site.store.nics()[0].tries_left == 9


def test_a_given_up_nic_is_looked_at_again_slowly_without_a_try_and_one_event(site: Site) -> None:
    one = site.guest(1, answers={0: []})
    settings = PollSettings(max_retry=2, relook_interval=3600)
    for _unused in range(2):
        site.look(settings=settings)
    assert site.rows()["vm1"][1] == "gave_up"
    for _unused in range(3):
        assert site.look(settings=settings).looked_at == 0
    for _unused in range(2):
        assert site.look(settings=settings, later=3700).looked_at == 1
        assert site.rows()["vm1"][1] == "gave_up"
    assert site.events() == ["vm1 GAVE.UP"]
    one.answers = {0: ["10.0.0.1"]}
    site.look(settings=settings, later=3700)
    assert site.rows()["vm1"] == ("kvm01", "found", "10.0.0.1")
    assert site.events() == ["vm1 GAVE.UP", "vm1 FETCHED"]


def test_a_given_up_nic_comes_back_when_its_vm_restarts_and_when_it_is_asked_for(site: Site) -> None:
    one, two = (site.guest(number, answers={0: []}, boot_time=site.now().timestamp()) for number in (1, 2))
    site.look(settings=PollSettings(max_retry=1))
    assert {row[1] for row in site.rows().values()} == {"gave_up"}
    one.boot_time = site.now().timestamp() + 100
    assert site.look(settings=PollSettings(max_retry=3)).told == {"restarted": ["vm1"]}
    assert {name: row[1] for name, row in site.rows().items()} == {"vm1": "pending", "vm2": "gave_up"}
    two.answers = {0: ["10.0.0.2"]}
    poll = site.look(settings=PollSettings(max_retry=3), rearm=True)
    assert poll.rearmed == 1
    assert site.rows()["vm2"] == ("kvm01", "found", "10.0.0.2")


def test_after_an_outage_of_the_dhcp_server_every_vm_has_its_address(site: Site) -> None:
    """Forty minutes without leases; ticks every three minutes; the slow look finds them all within an interval of its time."""
    guests = [site.guest(number, answers={0: []}) for number in range(1, 21)]
    settings = PollSettings(relook_interval=3600)
    began = site.seconds
    while site.seconds - began < 2400:
        site.look(settings=settings)
    assert {row[1] for row in site.rows().values()} == {"gave_up"}
    for number, one in enumerate(guests, 1):
        one.answers = {0: [f"10.0.0.{number}"]}
    while site.seconds - began < 1800 + 3600 + 180:
        site.look(settings=settings)
    assert {row[1] for row in site.rows().values()} == {"found"}


def test_many_rows_that_agree_are_not_written(site: Site) -> None:
    for number in range(50):
        site.guest(number)
    site.look()
    before = [nic.updated_at for nic in site.store.nics()]
    site.look()
    assert [nic.updated_at for nic in site.store.nics()] == before


def test_what_was_told_before_makes_no_difference(site: Site) -> None:
    """Stopped, removed or entered wrongly by whoever: the look puts it right."""
    one, two = site.guest(1), site.guest(2, power_state="stopped")
    ghost = VmFacts("ghost", "no-such-id", (NicFacts(0, "52:54:00:00:00:99", "corp"),))
    site.store.enter("kvm01", [one.facts(), two.facts(), ghost])
    site.store.stop("kvm01", [one.facts()])
    site.look()
    assert site.rows() == {"vm1": ("kvm01", "found", "10.0.0.1"), "vm2": ("kvm01", "stopped", None)}
