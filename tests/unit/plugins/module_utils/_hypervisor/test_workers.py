# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
import time

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import workers


class SlowClock:
    """A clock by which time limits end when the test says so: else it goes at a hundredth of the speed, lest a test hang."""

    def __init__(self):
        self._ahead = 0.0

    def skip(self, seconds):
        self._ahead += seconds

    def monotonic(self):
        return time.monotonic() / 100 + self._ahead


@pytest.fixture
def clock(monkeypatch):
    one = SlowClock()
    monkeypatch.setattr(workers, "time", one)
    return one


def test_every_item_is_called_once_and_errors_stay_with_their_item():
    def call(item):
        if item == 3:
            raise ValueError("three")
        return item * 2

    got = {item: (result, error) for item, result, error in workers.each(call, range(50), 4, 10)}
    assert sorted(got) == list(range(50))
    assert got[4] == (8, None)
    assert isinstance(got[3][1], ValueError)


def test_no_more_than_the_workers_run_at_once():
    lock = threading.Lock()
    now = most = 0
    gate = threading.Event()

    def call(item):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
            if most == 3:
                gate.set()
        gate.wait(5)
        with lock:
            now -= 1

    assert len(list(workers.each(call, range(20), 3, 10))) == 20
    assert most == 3


def test_a_call_that_hangs_is_left_behind_and_the_others_go_on(clock):
    release = threading.Event()

    def call(item):
        if item == 0:
            release.wait(60)
        return item

    got = {}
    for item, result, error in workers.each(call, range(5), 2, 0.2):
        got[item] = (result, error)
        if len(got) == 4:
            clock.skip(0.2)
    release.set()
    assert isinstance(got[0][1], workers.TimedOut)
    assert [got[i] for i in range(1, 5)] == [(i, None) for i in range(1, 5)]


def test_sixty_calls_that_hang_take_no_more_threads_than_there_are_workers():
    release = threading.Event()
    begun = []

    def call(item):
        begun.append(item)
        release.wait(60)

    began = time.monotonic()
    got = [(item, error) for item, _result, error in workers.each(call, range(60), 10, 0.3)]
    took = time.monotonic() - began
    release.set()
    assert sorted(item for item, _error in got) == list(range(60))
    assert all(isinstance(error, workers.TimedOut) for _item, error in got)
    assert len(begun) == 10
    assert took < 10, "as long as the limit and once more, not once for each of the fifty that are left"
    assert "not asked: 10 calls hang" in str(got[-1][1])


def test_a_worker_that_comes_back_late_is_used_again(clock):
    release = threading.Event()

    def call(item):
        if item == 0:
            clock.skip(0.3)
            release.wait(60)
        return item

    got = {}
    for item, result, error in workers.each(call, range(5), 1, 0.3):
        got[item] = (result, error)
        if isinstance(error, workers.TimedOut):
            release.set()
    assert isinstance(got[0][1], workers.TimedOut)
    assert [got[i] for i in range(1, 5)] == [(i, None) for i in range(1, 5)]


def test_calls_that_hang_are_bounded_for_the_whole_process():
    release = threading.Event()
    before = threading.active_count()
    for _unused in range(workers.MAX_LEFT_BEHIND + 20):
        with pytest.raises(workers.TimedOut):
            workers.within(lambda: release.wait(60), 0.01)
    assert threading.active_count() - before <= workers.MAX_LEFT_BEHIND
    release.set()
    limit = time.monotonic() + 10
    while workers._left_behind and time.monotonic() < limit:
        time.sleep(0.01)
    assert workers.within(lambda: 5, 5) == 5


def test_within_returns_raises_or_times_out():
    assert workers.within(lambda: 5, 5) == 5
    with pytest.raises(KeyError):
        workers.within(lambda: {}["x"], 5)
    release = threading.Event()
    with pytest.raises(workers.TimedOut):
        workers.within(lambda: release.wait(60), 0.1)
    release.set()
