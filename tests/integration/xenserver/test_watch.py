# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Listening to XAPI: what a guest agent writes is in the record without a poll."""

from __future__ import annotations

import threading
import time
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HINT_GUEST, HINT_HERE, HINT_VM
from ansible_collections.vmops.external_dhcp.tests.integration.watching import Watched, record_in, until


@pytest.fixture
def site(rig, tmp_path):
    one = Watched(record_in(tmp_path), rig.description(), ["corp-vlan120"])
    yield one
    one.store.database.close()


def started(rig, name: str, **more: t.Any):
    vm = rig.vm(name, **more)
    rig.power(vm, "start")
    return vm


def test_a_guest_gets_its_address_and_then_another_one(rig, site):
    vm = started(rig, "web1")
    site.look()
    assert site.nic("web1").fetch_state == "pending"
    with site.watching() as watcher:
        until(watcher.holds_turn)
        rig.pool.agent(vm, {"0/ip": "10.99.0.77"})
        until(lambda: site.address("web1") == "10.99.0.77")
        rig.pool.agent(vm, {"0/ip": "10.99.0.78"})
        until(lambda: site.address("web1") == "10.99.0.78")
    assert site.events() == ["web1 FETCHED 10.99.0.77", "web1 CHANGED 10.99.0.78"]
    assert watcher.watch.poll.warnings == []


def test_vms_that_are_started_stopped_and_destroyed_by_others(rig, site):
    site.look()
    with site.watching() as watcher:
        until(watcher.holds_turn)
        vm = started(rig, "web1")
        until(lambda: site.nic("web1") is not None)
        rig.pool.agent(vm, {"0/ip": "10.99.0.77"})
        until(lambda: site.address("web1") == "10.99.0.77")
        rig.power(vm, "stop")
        until(lambda: site.nic("web1").fetch_state == "stopped")
        rig.power(vm, "start")
        until(lambda: site.nic("web1").fetch_state == "pending")
        rig.pool.agent(vm, {"0/ip": "10.99.0.77"})
        until(lambda: site.nic("web1").fetch_state == "found")
    assert site.events() == ["web1 FETCHED 10.99.0.77", "web1 FETCHED 10.99.0.77"]


def test_what_happened_between_the_look_and_the_listening(rig, site):
    vm = started(rig, "web1")
    site.look()
    rig.pool.agent(vm, {"0/ip": "10.99.0.77"})
    with site.watching():
        until(lambda: site.address("web1") == "10.99.0.77")


def test_a_session_that_ends_and_a_connection_that_breaks(rig, site):
    vm = started(rig, "web1")
    site.look()
    with site.watching() as watcher:
        until(lambda: site.listening(watcher))
        rig.pool.fault("event.from", "drop_before", count=4)
        rig.pool.agent(vm, {"0/ip": "10.99.0.77"})
        until(lambda: site.address("web1") == "10.99.0.77")
        for session in list(rig.pool.open_sessions):
            rig.pool.kill_session(session)
        rig.pool.agent(vm, {"0/ip": "10.99.0.78"})
        until(lambda: site.address("web1") == "10.99.0.78")


def test_two_watchers_and_one_that_is_killed(rig, site):
    vm = started(rig, "web1")
    site.look()
    with site.elsewhere() as other:
        with site.watching() as watcher:
            time.sleep(0.5)
            assert not watcher.holds_turn()
            rig.pool.agent(vm, {"0/ip": "10.99.0.77"})
            until(lambda: site.address("web1") == "10.99.0.77")
            other.kill()
            until(watcher.holds_turn, 10)
            rig.pool.agent(vm, {"0/ip": "10.99.0.78"})
            until(lambda: site.address("web1") == "10.99.0.78")
        assert watcher.watch.stood_by > 0.4
    # The killed one's sessions stay until XAPI drops them.
    rig.pool.open_sessions.clear()


def test_the_module_listens_after_its_look(rig, site, run_module):
    vm = started(rig, "web1")
    options = {
        "hypervisor": rig.description(), "hypervisor_name": "rig", "record": site.url, "networks": ["corp-vlan120"], "syslog": False,
    }  # fmt: skip
    threading.Timer(3.0, lambda: rig.pool.agent(vm, {"0/ip": "10.99.0.77"})).start()
    began = time.monotonic()
    result = run_module("vm_ip_fetch", {**options, "watch": 6})
    assert 5.5 < time.monotonic() - began < 40
    assert [nic["address"] for nic in result["found"]] == ["10.99.0.77"]
    assert (result["pending"], result["changed"], result["watched"]["readings"]) == (0, True, 1)
    # In a loop of looks it ends when nothing is waited for.
    began = time.monotonic()
    assert run_module("vm_ip_fetch", {**options, "watch": 60, "looks": 2})["pending"] == 0
    assert time.monotonic() - began < 50


def test_hints_are_only_what_is_new(rig, connect):
    vm, other = started(rig, "web1"), started(rig, "web2")
    rig.pool.agent(vm, {"0/ip": "10.99.0.77"})
    pool = connect()
    stop = threading.Event()
    listening = pool.events.listen(stop, 1.0)
    uuids = {"web1": vm["uuid"], "web2": other["uuid"]}

    def hints() -> set[tuple[str, str]]:
        names = {uuid: name for name, uuid in uuids.items()}
        return {(names.get(hint.vm_id, hint.vm_id), hint.kind) for hint in next(listening)}

    assert hints() == {("web1", HINT_HERE)}
    rig.pool.agent(vm, {"0/ip": "10.99.0.77"}, other={"data/ts": "1"})  # guest metrics are written anew, with nothing new
    assert hints() == set()
    rig.pool.agent(other, {"0/ip": "10.99.0.78"})
    assert hints() == {("web2", HINT_GUEST)}
    rig.power(vm, "stop")
    assert ("web1", HINT_VM) in hints()
    stop.set()
    listening.close()
