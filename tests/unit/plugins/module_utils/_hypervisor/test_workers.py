# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import workers


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


def test_a_call_that_hangs_is_left_behind_and_the_others_go_on():
    release = threading.Event()

    def call(item):
        if item == 0:
            release.wait(60)
        return item

    got = {item: (result, error) for item, result, error in workers.each(call, range(5), 1, 0.2)}
    release.set()
    assert isinstance(got[0][1], workers.TimedOut)
    assert [got[i] for i in range(1, 5)] == [(i, None) for i in range(1, 5)]


def test_within_returns_raises_or_times_out():
    assert workers.within(lambda: 5, 5) == 5
    with pytest.raises(KeyError):
        workers.within(lambda: {}["x"], 5)
    release = threading.Event()
    with pytest.raises(workers.TimedOut):
        workers.within(lambda: release.wait(60), 0.1)
    release.set()
