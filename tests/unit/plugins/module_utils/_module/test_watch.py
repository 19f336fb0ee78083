# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A watcher and a hypervisor that says what the test tells it to say."""

from __future__ import annotations

import contextlib
import pathlib
import queue
import threading
import time
import types
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    HINT_GUEST,
    HINT_HERE,
    HINT_VM,
    Hint,
    HypervisorUnreachable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import watch as watching
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.look import MOMENTS, Request, fetch
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.watch import Watcher
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.lock import SCOPE_HYPERVISOR, PollLock
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import PollSettings
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._module.listening import at_work
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._nic_record.fake_hypervisor import (
    FakeHypervisor,
    Guest,
    guest,
)

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CORP: dict[str, dict[str, t.Any]] = {"corp": {}}
AGAIN = tuple(number / 5 for number in range(1, 600))  # so many, because a busy machine misses some


class Voice(FakeHypervisor):
    """A hypervisor that speaks."""

    def __init__(self, guests: t.Iterable[Guest]) -> None:
        super().__init__(guests)
        self.events = self
        self.again: tuple[float, ...] = ()
        self.free = False
        self.box: queue.Queue[list[Hint] | Exception] = queue.Queue()

    def say(self, kind: str, *guests: Guest) -> None:
        self.box.put([Hint(one.id, kind) for one in guests])

    def listen(self, stop: threading.Event, look_up: float) -> Iterator[list[Hint]]:
        yield [Hint(one.id, HINT_HERE) for one in self.guests if one.answers]
        while not stop.is_set():
            try:
                said = self.box.get(timeout=0.02)
            except queue.Empty:
                continue
            if isinstance(said, Exception):
                raise said
            yield said


class Site:
    def __init__(self, folder: pathlib.Path) -> None:
        self.url = f"sqlite:///{folder}/record.db"
        self.store = RecordStore(Database(self.url))
        self.store.database.prepare()
        self.voice = Voice([])
        self.watchers: list[Watcher] = []

    def guest(self, number: int, **more: t.Any) -> Guest:
        one = guest(number, **more)
        self.voice.guests.append(one)
        return one

    def request(self, **more: t.Any) -> Request:
        return Request("kvm01", reconcile=True, networks=CORP, **more)

    def look(self, **more: t.Any) -> t.Any:
        return fetch(self.store, self.voice.connect, self.request(**more))

    def watcher(self, **more: t.Any) -> Watcher:
        return Watcher(RecordStore(Database(self.url)), self.voice.connect, self.request(**more))

    @contextlib.contextmanager
    def watched(self, **more: t.Any) -> Iterator[Watcher]:
        """A watcher at work in a thread of its own."""
        with working(self.watcher(**more)) as watcher:
            yield watcher

    def nic(self, one: Guest) -> t.Any:
        (nic,) = [nic for nic in self.store.nics() if nic.vm_id == one.id]
        return nic

    def events(self) -> list[str]:
        return [f"{event.vm_name} {event.type.rpartition('IP.')[2]}" for event in self.store.events()]


def working(watcher: Watcher) -> contextlib.AbstractContextManager[Watcher]:
    return at_work(watcher, watcher.stop, turn=30, listen=120, end=20)


def until(condition: Callable[[], t.Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


@pytest.fixture
def site(tmp_path: pathlib.Path) -> Iterator[Site]:
    one = Site(tmp_path)
    yield one
    one.store.database.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STANDBY_SECONDS", "BUSY_SECONDS", "FIRST_PAUSE"):
        monkeypatch.setattr(watching, name, 0.05)


def test_a_hint_leads_to_a_reading_and_an_event(site: Site) -> None:
    one = site.guest(1)
    site.look()
    before = site.nic(one)
    with site.watched():
        one.answers = {0: ["10.0.0.1"]}
        site.voice.say(HINT_GUEST, one)
        until(lambda: site.nic(one).fetch_state == "found")
    assert site.events() == ["vm1 FETCHED"]
    assert (before.tries_failed, site.nic(one).tries_failed) == (1, 0)


def test_an_empty_reading_takes_no_try_and_is_repeated_until_the_lease_is_there(site: Site) -> None:
    one = site.guest(1)
    site.look()
    before = site.nic(one)
    site.voice.again = AGAIN
    with site.watched() as watcher:
        site.voice.say(HINT_GUEST, one)
        until(lambda: site.voice.looks[one.id] >= 4)
        kept = site.nic(one)
        one.answers = {0: ["10.0.0.1"]}
        until(lambda: site.nic(one).fetch_state == "found")
        assert watcher.watch.hints >= 1
    assert (kept.tries_left, kept.tries_failed, kept.next_try_at) == (before.tries_left, before.tries_failed, before.next_try_at)
    assert site.nic(one).claim_token is None


def test_a_new_vm_is_asked_once_until_somebody_is_there_to_answer(site: Site) -> None:
    site.look()
    site.voice.again = AGAIN
    with site.watched() as watcher:
        until(lambda: watcher.known is not None)
        one = site.guest(1, answers=None)
        site.voice.say(HINT_VM, one)
        until(lambda: site.voice.looks.get(one.id))
        until(lambda: not len(watcher.gather))
        time.sleep(0.5)
        assert site.voice.looks[one.id] == 1
        # Somebody has come, and is slow.
        site.voice.say(HINT_GUEST, one)
        until(lambda: site.voice.looks[one.id] >= 4)
        one.answers = {0: ["10.0.0.1"]}
        until(lambda: site.nic(one).fetch_state == "found")


def test_found_and_given_up_nics_are_reached_and_stopped_ones_are_not(site: Site) -> None:
    found, gone, off = site.guest(1, answers={0: ["10.0.0.1"]}), site.guest(2, answers=None), site.guest(3, power_state="stopped")
    site.store.enter("kvm01", [off.facts()])
    site.look(settings=PollSettings(max_retry=1))
    site.look(settings=PollSettings(max_retry=1))
    assert {nic.vm_name: nic.fetch_state for nic in site.store.nics()} == {"vm1": "found", "vm2": "gave_up", "vm3": "stopped"}
    asked = dict(site.voice.looks)
    with site.watched():
        found.answers, gone.answers, off.answers = {0: ["10.0.0.11"]}, {0: ["10.0.0.12"]}, {0: ["10.0.0.13"]}
        site.voice.say(HINT_GUEST, found, gone, off)
        until(lambda: len(site.store.events()) >= 4)
    assert site.events()[-2:] == ["vm1 CHANGED", "vm2 FETCHED"]
    assert site.nic(found).ip4_address == "10.0.0.11" and site.nic(off).fetch_state == "stopped"
    assert site.voice.looks.get(off.id) == asked.get(off.id)


def test_a_known_address_survives_empty_readings(site: Site) -> None:
    one = site.guest(1, answers={0: ["10.0.0.1"]})
    site.look()
    with site.watched(settings=PollSettings(suspect_readings=1)) as watcher:
        one.answers = {}
        for number in range(1, 4):
            site.voice.say(HINT_GUEST, one)
            until(lambda number=number: watcher.watch.readings >= number)
    nic = site.nic(one)
    assert (nic.fetch_state, nic.ip4_address, nic.suspect_readings) == ("found", "10.0.0.1", 0)


def test_presence_is_no_news(site: Site) -> None:
    found, pending = site.guest(1, answers={0: ["10.0.0.1"]}), site.guest(2)
    site.look()
    pending.answers = {0: ["10.0.0.2"]}  # between the look and the listening
    asked = site.voice.looks[found.id]
    with site.watched():
        until(lambda: site.nic(pending).fetch_state == "found")
    assert site.voice.looks[found.id] == asked


def test_where_reading_is_free_known_addresses_are_compared_when_listening_begins(site: Site) -> None:
    same, other = site.guest(1, answers={0: ["10.0.0.1"]}), site.guest(2, answers={0: ["10.0.0.2"]})
    site.look()
    site.voice.free = True
    before = site.nic(same)
    other.answers = {0: ["10.0.0.22"]}
    with site.watched():
        until(lambda: site.nic(other).ip4_address == "10.0.0.22")
    assert site.nic(same) == before


def test_vms_that_come_and_go(site: Site) -> None:
    one = site.guest(1, answers={0: ["10.0.0.1"]})
    site.look()
    with site.watched() as watcher:
        two = site.guest(2, answers={0: ["10.0.0.2"]})
        site.voice.say(HINT_VM, two)
        until(lambda: len(site.store.events()) == 2)
        site.voice.guests.remove(one)
        site.voice.say(HINT_VM, one)
        until(lambda: [nic.vm_name for nic in site.store.nics()] == ["vm2"])
        until(lambda: watcher.watch.poll.told)
    assert site.events() == ["vm1 FETCHED", "vm2 FETCHED", "vm1 LOST"]
    assert watcher.watch.poll.told == {"entered": ["vm2"], "removed": ["vm1"]}
    assert [nic.vm_name for nic in watcher.watch.poll.found] == ["vm2"]


def test_a_connection_that_breaks_is_made_anew_and_nothing_is_missed(site: Site) -> None:
    one = site.guest(1)
    site.look()
    with site.watched() as watcher:
        until(lambda: site.voice.connections == 2)
        site.voice.fail_connect = HypervisorUnreachable("no way")
        site.voice.box.put(HypervisorUnreachable("cut"))
        until(lambda: site.voice.connections >= 4)
        one.answers = {0: ["10.0.0.1"]}  # nobody hears it
        two = site.guest(2, answers={0: ["10.0.0.2"]})
        site.voice.fail_connect = None
        until(lambda: site.nic(one).fetch_state == "found" and any(nic.vm_id == two.id for nic in site.store.nics()))
        until(lambda: site.nic(two).fetch_state == "found")
    assert watcher.watch.poll.warnings == ["cut", "no way"]
    assert watcher.watch.reconnects >= 2
    assert site.voice.closed == 3  # of the look, of what was cut, and of what came after it


def test_a_reading_that_finds_the_hypervisor_gone_is_made_again(site: Site) -> None:
    one = site.guest(1)
    site.look()
    with site.watched():
        until(lambda: site.voice.connections == 2)
        site.voice.fail_after = (0, HypervisorUnreachable("just now"))
        one.answers = {0: ["10.0.0.1"]}
        site.voice.say(HINT_GUEST, one)
        until(lambda: site.voice.connections >= 3)
        site.voice.fail_after = None
        until(lambda: site.nic(one).fetch_state == "found")


def test_while_a_poller_has_the_lock_hints_wait(site: Site) -> None:
    one = site.guest(1)
    site.look()
    lock = PollLock(site.store.database, "kvm01", SCOPE_HYPERVISOR)
    assert lock.acquire()
    with site.watched(), lock:
        one.answers = {0: ["10.0.0.1"]}
        site.voice.say(HINT_GUEST, one)
        time.sleep(0.4)
        assert site.nic(one).fetch_state == "pending"
        lock.release()
        until(lambda: site.nic(one).fetch_state == "found")


def test_looks_go_on_beside_a_watcher(site: Site) -> None:
    one = site.guest(1, answers={0: ["10.0.0.1"]})
    with site.watched() as watcher:
        until(watcher.holds_turn)
        assert not site.look().skipped
        until(lambda: site.nic(one).fetch_state == "found")


def test_a_look_waits_for_the_moment_of_a_watcher_and_not_for_another_poller(site: Site) -> None:
    site.guest(1, answers={0: ["10.0.0.1"]})
    lock = PollLock(site.store.database, "kvm01", SCOPE_HYPERVISOR)
    assert lock.acquire()
    with lock:
        began = time.monotonic()
        assert site.look().skipped and time.monotonic() - began < MOMENTS
        with site.watched() as watcher:
            until(watcher.holds_turn)
            threading.Timer(0.3, lock.release).start()
            assert not site.look().skipped


def test_one_watcher_at_a_time_and_the_next_takes_over(site: Site) -> None:
    one = site.guest(1)
    site.look()
    with site.watched() as first:
        until(first.holds_turn)
        second = site.watcher()
        assert not second.take_turn(0.3) and second.watch.stood_by >= 0.3
        with working(second):
            first.stop.set()
            until(second.holds_turn)
            one.answers = {0: ["10.0.0.1"]}
            site.voice.say(HINT_GUEST, one)
            until(lambda: site.nic(one).fetch_state == "found")


def test_watchers_of_two_hypervisors_and_of_all_scopes_do_not_meet(site: Site) -> None:
    one = site.guest(1, answers={0: ["10.0.0.1"]})
    with site.watched() as watcher:
        until(watcher.holds_turn)
        assert Watcher(site.store, site.voice.connect, Request("kvm02")).take_turn(0)
        assert not site.look(lock_scope="global").skipped
        until(lambda: site.nic(one).fetch_state == "found")


def test_a_new_address_that_must_stand_first_is_read_again_when_it_has(site: Site) -> None:
    one = site.guest(1)
    site.look()
    with site.watched(settings=PollSettings(settle=0.5)):
        one.answers = {0: ["10.0.0.1"]}
        site.voice.say(HINT_GUEST, one)
        until(lambda: site.nic(one).candidate_address == "10.0.0.1")
        until(lambda: site.nic(one).fetch_state == "found")
    assert site.nic(one).tries_failed == 0


def test_only_the_named_vms(site: Site) -> None:
    one, two = site.guest(1), site.guest(2)
    site.look()
    request = Request("kvm01", vms=["vm2"])
    one.answers, two.answers = {0: ["10.0.0.1"]}, {0: ["10.0.0.2"]}
    with Watcher(site.store, site.voice.connect, request) as watcher:
        assert watcher.take_turn(0)
        watcher.listen(60, enough=lambda: site.nic(two).fetch_state == "found")
    assert site.nic(one).fetch_state == "pending" and site.nic(two).fetch_state == "found"


def test_sources_that_events_are_not_about_are_not_asked(site: Site) -> None:
    one = site.guest(1)
    site.look(sources=["arp"])
    asked = dict(site.voice.looks)
    with Watcher(site.store, site.voice.connect, site.request(sources=["arp"])) as watcher:
        assert watcher.take_turn(0)
        site.voice.say(HINT_GUEST, one)
        site.voice.events = types.SimpleNamespace(sources=("agent",), again=(), free=False, listen=site.voice.listen)
        watcher.listen(0.6)
    assert site.voice.looks == asked
