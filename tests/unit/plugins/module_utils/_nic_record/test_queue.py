# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The queue's rules one by one, on plain values."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import NicAddress
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import queue
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import (
    NicFacts,
    NicRecord,
    PollSettings,
    VmFacts,
)

T0 = datetime.datetime(2026, 11, 22, 8, 0, tzinfo=datetime.UTC)
NOTHING = NicAddress(reason="no_lease", message="no lease")
FILTERED = NicAddress(reason="filtered_out", addresses=("192.168.1.1",), source="agent")
UNHEARD = NicAddress(reason="no_guest_tools", message="nobody answers")
OFF = NicAddress(reason="vm_not_running", message="it is stopped")


def at(seconds: float) -> datetime.datetime:
    return T0 + datetime.timedelta(seconds=seconds)


def has(address: str, *ip6: str) -> NicAddress:
    return NicAddress(ip4_address=address, ip6_addresses=ip6, addresses=(address, *ip6), source="agent")


def entered(known: NicRecord | None = None, seconds: float = 0, **more: t.Any) -> NicRecord:
    rules = {name: more.pop(name) for name in list(more) if name in NicFacts.__dataclass_fields__}
    nic = NicFacts(device=0, mac="52:54:00:00:00:01", network="corp", **rules)
    return queue.enter(known, "kvm01", VmFacts("web1", "id1", (nic,)), nic, at(seconds), **more)


def look(nic: NicRecord, verdict: NicAddress, seconds: float = 0, **settings: t.Any) -> tuple[NicRecord, list[str]]:
    vm_off = settings.pop("vm_off", False)
    nic, events = queue.after_reading(nic, verdict, PollSettings(**settings), at(seconds), vm_off=vm_off)
    return nic, [event.type.rpartition("IP.")[2] for event in events]


def test_a_new_nic_is_due_at_once_with_ten_tries_and_no_address() -> None:
    nic = entered()
    assert (nic.fetch_state, nic.tries_left, nic.next_try_at, nic.ip4_address) == ("pending", 10, T0, None)


def test_success_takes_it_out_and_tells() -> None:
    nic, events = queue.after_reading(entered(), has("10.0.0.1", "fd00::1"), PollSettings(), at(5))
    assert (nic.fetch_state, nic.ip4_address, nic.ip6_addresses, nic.source) == ("found", "10.0.0.1", ("fd00::1",), "agent")
    assert (nic.next_try_at, nic.last_reason, nic.first_seen_at, nic.last_seen_at) == (None, None, at(5), at(5))
    (event,) = events
    assert (event.type, event.address, event.previous_address) == ("EXTERNAL.DHCP.VM.IP.FETCHED", "10.0.0.1", None)


def test_ten_failed_tries_end_with_giving_up() -> None:
    nic = entered()
    for number in range(9):
        nic, events = look(nic, UNHEARD, number * 180)
        assert (nic.fetch_state, nic.tries_left, events) == ("pending", 9 - number, [])
        assert nic.next_try_at == at(number * 180 + 180)
    nic, events = look(nic, UNHEARD, 1620)
    assert (nic.fetch_state, nic.tries_left, nic.next_try_at, events) == ("gave_up", 0, None, ["GAVE.UP"])
    assert (nic.last_reason, nic.last_message) == ("no_guest_tools", "nobody answers")


def test_what_asking_again_cannot_mend_is_given_up_at_once_and_not_for_good() -> None:
    never = NicAddress(reason="no_agent_channel", message="it has no channel: add one")
    nic, events = look(entered(), never)
    assert (nic.fetch_state, nic.tries_left, nic.next_try_at, events) == ("gave_up", 0, None, ["GAVE.UP"])
    assert (nic.last_reason, nic.last_message) == ("no_agent_channel", "it has no channel: add one")
    again, events = look(nic, never, 3600)
    assert (again.fetch_state, events) == ("gave_up", []), "the slow look is no news"
    assert look(nic, has("10.0.0.1"), 3600)[0].fetch_state == "found"
    assert entered(nic, 60, rearm=True).tries_left == 10
    known, events = look(look(entered(), has("10.0.0.1"))[0], never, 60)
    assert (known.fetch_state, known.ip4_address, events) == ("found", "10.0.0.1", [])


def test_the_limit_is_the_nics_own_or_the_polls() -> None:
    assert look(entered(), UNHEARD, max_retry=1)[0].fetch_state == "gave_up"
    nic = entered(max_tries=2)
    assert nic.tries_left == 2
    assert look(nic, UNHEARD, max_retry=1)[0].tries_left == 1


def test_entering_again_changes_nothing_in_any_state() -> None:
    pending, _told = look(entered(), UNHEARD)
    found, _told = look(entered(), has("10.0.0.1"))
    gave_up, _told = look(entered(), UNHEARD, max_retry=1)
    for nic in (pending, found, gave_up):
        assert entered(nic, 999) == nic


@pytest.mark.parametrize("how", [{"rearm": True}, {"cidrs": ("10.0.0.0/24",)}, {"family_order": (6, 4)}])
def test_rearming_gives_all_tries_and_keeps_the_address(how: dict[str, t.Any]) -> None:
    found, _told = look(entered(), has("10.0.0.1"))
    nic = entered(found, 60, **how)
    assert (nic.fetch_state, nic.tries_left, nic.next_try_at, nic.ip4_address) == ("pending", 10, at(60), "10.0.0.1")


def test_a_changed_fact_ends_a_look_under_way() -> None:
    claimed = entered()._replace(claim_token="x")
    assert entered(claimed).claim_token == "x"
    assert entered(claimed, required=False).claim_token is None


def test_stop_forgets_the_address_and_start_tells_if_it_is_another_one() -> None:
    found, _told = look(entered(), has("10.0.0.1"))
    off = queue.stop(found, at(10))
    assert (off.fetch_state, off.ip4_address, off.previous_address, off.next_try_at) == ("stopped", None, "10.0.0.1", None)
    assert queue.stop(off, at(20)) == off
    on = entered(off, 30)
    assert (on.fetch_state, on.tries_left, on.ip4_address) == ("pending", 10, None)
    nic, events = queue.after_reading(on, has("10.0.0.2"), PollSettings(), at(40))
    assert [(event.type[-7:], event.address, event.previous_address) for event in events] == [("CHANGED", "10.0.0.2", "10.0.0.1")]
    assert look(on, has("10.0.0.1"))[1] == ["FETCHED"]
    assert nic.previous_address == "10.0.0.1"


def test_a_vm_seen_off_twice_leaves_the_queue_but_a_restart_does_not() -> None:
    once, events = look(entered(), OFF, vm_off=True)
    assert (once.fetch_state, once.tries_left, events) == ("pending", 9, [])
    twice, events = look(once, OFF, 180, vm_off=True)
    assert (twice.fetch_state, twice.tries_left, events) == ("stopped", 0, [])
    assert look(look(once, UNHEARD)[0], OFF, vm_off=True)[0].fetch_state == "pending"
    paused, _told = look(look(entered(), OFF)[0], OFF)
    assert (paused.fetch_state, paused.tries_left) == ("pending", 8)


def test_an_unreachable_hypervisor_takes_no_try() -> None:
    nic = queue.unreachable(entered(), PollSettings(), at(0), "no connection")
    assert (nic.tries_left, nic.tries_failed, nic.next_try_at) == (10, 0, at(180))
    assert (nic.fetch_state, nic.last_reason, nic.last_message) == ("pending", "hypervisor_unreachable", "no connection")


# -- re-check, suspect, lost -------------------------------------------------------------------------------------------


def test_without_a_recheck_interval_found_is_never_due() -> None:
    assert look(entered(), has("10.0.0.1"))[0].next_try_at is None
    assert look(entered(), has("10.0.0.1"), recheck_interval=600)[0].next_try_at == at(600)


def test_a_recheck_that_confirms_is_no_news_and_one_that_differs_is() -> None:
    nic, _told = look(entered(), has("10.0.0.1"), recheck_interval=600)
    nic, events = look(nic, has("10.0.0.1"), 600, recheck_interval=600)
    assert (events, nic.first_seen_at, nic.last_seen_at, nic.next_try_at) == ([], at(0), at(600), at(1200))
    nic, events = look(nic, has("10.0.0.2"), 1200, recheck_interval=600)
    assert (events, nic.ip4_address, nic.previous_address, nic.first_seen_at) == (["CHANGED"], "10.0.0.2", "10.0.0.1", at(1200))


def test_a_good_address_survives_every_reading_that_failed() -> None:
    nic, _told = look(entered(), has("10.0.0.1"), recheck_interval=600)
    for number in range(1, 50):
        nic, events = look(nic, UNHEARD, number * 600, recheck_interval=600)
        assert (nic.fetch_state, nic.ip4_address, nic.suspect_readings, events) == ("found", "10.0.0.1", 0, [])
        assert nic.next_try_at == at(number * 600 + 180)


@pytest.mark.parametrize("empty", [NOTHING, FILTERED])
def test_a_good_address_is_suspect_and_lost_only_after_three_empty_readings(empty: NicAddress) -> None:
    nic, _told = look(entered(), has("10.0.0.1"), recheck_interval=600)
    nic, events = look(nic, empty, recheck_interval=600)
    assert (nic.fetch_state, nic.ip4_address, nic.suspect_readings, events) == ("found", "10.0.0.1", 1, [])
    nic, _told = look(nic, UNHEARD, recheck_interval=600)
    nic, events = look(nic, empty, recheck_interval=600)
    assert (nic.ip4_address, nic.suspect_readings, events) == ("10.0.0.1", 2, [])
    back, events = look(nic, has("10.0.0.1"), recheck_interval=600)
    assert (back.suspect_readings, events) == (0, [])
    lost, events = look(nic, empty, recheck_interval=600)
    assert (lost.fetch_state, lost.ip4_address, lost.previous_address, events) == ("pending", None, "10.0.0.1", ["LOST"])
    assert (lost.tries_left, lost.source) == (10, None)
    assert look(lost, has("10.0.0.1"))[1] == ["FETCHED"]


def test_a_rearmed_address_is_lost_in_the_queue_and_the_tries_go_on() -> None:
    nic = entered(look(entered(), has("10.0.0.1"))[0], rearm=True)
    told = []
    for number in range(10):
        nic, events = look(nic, NOTHING, number * 180)
        told += [(number, event) for event in events]
    assert told == [(2, "LOST"), (9, "GAVE.UP")]


# -- settle window -----------------------------------------------------------------------------------------------------


def test_an_address_counts_when_it_has_stood() -> None:
    nic, events = look(entered(), has("10.0.0.1"), 0, settle=30)
    assert (nic.fetch_state, nic.ip4_address, nic.tries_left, nic.last_reason, events) == ("pending", None, 10, "settling", [])
    assert nic.next_try_at == at(30)
    nic, events = look(nic, has("10.0.0.1"), 20, settle=30)
    assert (nic.fetch_state, nic.next_try_at, nic.tries_left, events) == ("pending", at(30), 10, [])
    nic, events = look(nic, has("10.0.0.1"), 30, settle=30)
    assert (nic.fetch_state, nic.ip4_address, events) == ("found", "10.0.0.1", ["FETCHED"])


def test_first_one_then_another_inside_the_window_records_only_the_last() -> None:
    told = []
    nic = entered()
    for seconds, address in ((0, "192.168.0.9"), (10, "10.0.0.1"), (20, "10.0.0.2"), (50, "10.0.0.2")):
        nic, events = look(nic, has(address), seconds, settle=30)
        told += events
    assert (told, nic.ip4_address, nic.previous_address) == (["FETCHED"], "10.0.0.2", None)


def test_an_address_that_never_settles_uses_up_the_tries() -> None:
    nic = entered()
    for number in range(11):
        nic, events = look(nic, has(f"10.0.0.{number}"), number, settle=30)
    assert (nic.fetch_state, events) == ("gave_up", ["GAVE.UP"])


def test_an_empty_reading_ends_the_window_and_a_failed_one_does_not() -> None:
    nic, _told = look(entered(), has("10.0.0.1"), 0, settle=30)
    failed, _told = look(nic, UNHEARD, 10, settle=30)
    assert look(failed, has("10.0.0.1"), 31, settle=30)[0].fetch_state == "found"
    empty, _told = look(nic, NOTHING, 10, settle=30)
    assert look(empty, has("10.0.0.1"), 31, settle=30)[0].fetch_state == "pending"


def test_a_known_address_needs_no_settling_and_its_successor_does() -> None:
    nic, _told = look(entered(), has("10.0.0.1"), recheck_interval=600)
    assert look(nic, has("10.0.0.1"), 600, settle=30, recheck_interval=600)[0].last_seen_at == at(600)
    nic, events = look(nic, has("10.0.0.2"), 600, settle=30, recheck_interval=600)
    assert (nic.fetch_state, nic.ip4_address, events) == ("found", "10.0.0.1", [])
    assert look(nic, has("10.0.0.2"), 630, settle=30, recheck_interval=600)[1] == ["CHANGED"]


# -- families ----------------------------------------------------------------------------------------------------------


def test_ipv6_alone_ends_the_wait_only_where_it_comes_first() -> None:
    only6 = NicAddress(ip6_addresses=("fd00::1",), addresses=("fd00::1",), source="agent", reason="no_lease")
    nic, events = look(entered(), only6)
    assert (nic.fetch_state, nic.ip6_addresses, nic.tries_left, events) == ("pending", ("fd00::1",), 9, [])
    nic, events = look(entered(family_order=(6, 4)), only6)
    assert (nic.fetch_state, nic.ip4_address, nic.address, events) == ("found", None, "fd00::1", ["FETCHED"])
    nic, events = look(entered(family_order=(6,)), has("10.0.0.1"))
    assert (nic.fetch_state, nic.ip4_address, nic.tries_left) == ("pending", "10.0.0.1", 9)


def test_a_nic_that_vanishes_with_an_address_is_told() -> None:
    assert queue.vanish(entered(), at(0)) == []
    (event,) = queue.vanish(look(entered(), has("10.0.0.1"))[0], at(9))
    assert (event.type, event.previous_address, event.reason) == ("EXTERNAL.DHCP.VM.IP.LOST", "10.0.0.1", "vm_not_found")


def test_a_person_who_wants_it_to_be_looked_for_again_gives_it_all_its_tries() -> None:
    gave_up, _told = look(look(entered(max_tries=2), UNHEARD)[0], UNHEARD, 180)
    assert (gave_up.fetch_state, gave_up.tries_left) == ("gave_up", 0)
    nic = queue.rearm(gave_up, at(400))
    assert (nic.fetch_state, nic.tries_left, nic.tries_failed, nic.max_tries) == ("pending", 2, 0, 2)
    assert (nic.next_try_at, nic.entered_at, nic.updated_at, nic.last_reason) == (at(400), at(400), at(400), None)
    assert nic.mac == gave_up.mac


def test_an_address_that_another_nic_was_seen_with_is_suspect_and_due_at_once() -> None:
    known, _told = look(entered(), has("10.0.0.1"))
    taker = known._replace(vm_name="web2", device=1, mac="52:54:00:00:00:02", hypervisor_name="kvm02")
    nic = queue.doubt(known._replace(claim_token="a look under way"), taker, at(60))
    assert (nic.fetch_state, nic.ip4_address, nic.suspect_readings, nic.claim_token) == ("found", "10.0.0.1", 1, None)
    assert (nic.next_try_at, nic.updated_at, nic.last_reason) == (at(60), at(60), "address_taken")
    assert nic.last_message == (
        "10.0.0.1 was given to web2 NIC 1 (52:54:00:00:00:02) on kvm02 too: one of the two has it no longer, or the DHCP server gave it twice"
    )
    # Doubts that there were already are not forgotten.
    assert queue.doubt(known._replace(suspect_readings=2), taker, at(60)).suspect_readings == 2


def test_stopping_what_is_stopped_changes_nothing() -> None:
    off = queue.stop(look(entered(), has("10.0.0.1"))[0], at(60))
    assert queue.stop(off, at(120)) is off


WAS = look(entered(max_tries=3), has("10.0.0.1", "fd00::1"))[0]._replace(
    tries_failed=1,
    suspect_readings=2,
    candidate_address="10.0.0.9",
    candidate_since=at(1),
    in_range=True,
    claim_token="a look under way",
    booted_at=at(2),
    boot_token="boot 1",
    last_reason="no_lease",
    last_message="no lease",
)


def test_a_stopped_nic_keeps_nothing_but_what_it_was() -> None:
    assert queue.stop(WAS, at(60)) == WAS._replace(
        fetch_state="stopped",
        tries_left=0,
        next_try_at=None,
        ip4_address=None,
        ip6_addresses=(),
        addresses=(),
        in_range=None,
        source=None,
        previous_address="10.0.0.1",
        suspect_readings=0,
        candidate_address=None,
        candidate_since=None,
        last_reason="vm_not_running",
        last_message=None,
        claim_token=None,
        updated_at=at(60),
    )


def test_a_rearmed_nic_keeps_its_address_and_nothing_of_its_tries() -> None:
    assert queue.rearm(WAS, at(60)) == WAS._replace(
        fetch_state="pending",
        tries_left=3,
        tries_failed=0,
        next_try_at=at(60),
        entered_at=at(60),
        last_reason=None,
        last_message=None,
        suspect_readings=0,
        candidate_address=None,
        candidate_since=None,
        claim_token=None,
        booted_at=None,
        boot_token=None,
        updated_at=at(60),
    )


def test_a_found_nic_has_what_was_read_and_nothing_of_its_tries() -> None:
    read = dataclasses.replace(has("10.0.0.2", "fd00::2"), in_range=False, message="outside of the range")
    nic, (event,) = queue.after_reading(WAS, read, PollSettings(recheck_interval=600), at(60))
    assert nic == WAS._replace(
        fetch_state="found",
        ip4_address="10.0.0.2",
        ip6_addresses=("fd00::2",),
        addresses=("10.0.0.2", "fd00::2"),
        in_range=False,
        source="agent",
        previous_address="10.0.0.1",
        tries_failed=0,
        tries_left=3,
        next_try_at=at(660),
        last_reason=None,
        last_message="outside of the range",
        suspect_readings=0,
        candidate_address=None,
        candidate_since=None,
        claim_token=None,
        first_seen_at=at(60),
        last_seen_at=at(60),
        last_try_at=at(60),
        updated_at=at(60),
    )
    assert (event.at, event.address, event.previous_address, event.message) == (
        at(60), "10.0.0.2", "10.0.0.1", "outside of the range",
    )  # fmt: skip


def test_an_event_names_the_nic_the_time_and_the_reason() -> None:
    where = {
        "hypervisor_name": "kvm01", "vm_id": "id1", "vm_name": "web1", "device": 0, "mac": "52:54:00:00:00:01", "network": "corp",
    }  # fmt: skip
    (gone,) = queue.vanish(WAS, at(60))
    _nic, (given_up,) = queue.after_reading(entered(), UNHEARD, PollSettings(max_retry=1), at(60))
    _nic, (lost,) = queue.after_reading(WAS, NOTHING, PollSettings(suspect_readings=3), at(60))
    for event in (gone, given_up, lost):
        assert event.at == at(60) and {name: getattr(event, name) for name in where} == where
    assert (gone.source, gone.previous_address, gone.reason, gone.message) == (
        "agent", "10.0.0.1", "vm_not_found", "the VM or its NIC is no longer on the hypervisor",
    )  # fmt: skip
    assert (given_up.reason, given_up.message) == ("no_guest_tools", "nobody answers")
    assert (lost.type, lost.previous_address, lost.reason, lost.message) == (
        "EXTERNAL.DHCP.VM.IP.LOST", "10.0.0.1", "no_lease", "no lease",
    )  # fmt: skip


def test_a_restarted_nic_loses_its_address_with_its_last_try_and_only_if_the_guest_was_heard() -> None:
    known, _told = look(entered(max_tries=2), has("10.0.0.1"))
    for verdict, address, told in ((NOTHING, None, ["LOST", "GAVE.UP"]), (UNHEARD, "10.0.0.1", ["GAVE.UP"])):
        nic = entered(known, 60, rearm=True, max_tries=2)
        nic, events = look(nic, verdict, 70)
        assert (nic.fetch_state, nic.tries_left, nic.ip4_address, events) == ("pending", 1, "10.0.0.1", [])
        nic, events = look(nic, verdict, 80)
        assert (nic.fetch_state, nic.tries_left, nic.ip4_address, events) == ("gave_up", 0, address, told)


def test_what_a_guest_has_beside_an_address_is_kept_while_it_is_waited_for() -> None:
    nic, _told = look(entered(), FILTERED)
    assert (nic.fetch_state, nic.addresses, nic.ip4_address) == ("pending", ("192.168.1.1",), None)
