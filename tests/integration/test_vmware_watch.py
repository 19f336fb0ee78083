# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Listening to vCenter: what VMware Tools reports is in the record without a poll."""

from __future__ import annotations

import pathlib
import sys
import threading
import time
import typing as t

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "rigs" / "vcenter"))

from vcenter_admin import Admin
from vcenter_rig import VCenterRig

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HINT_GUEST, HINT_HERE, HINT_VM
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.connect import open_hypervisor
from ansible_collections.vmops.external_dhcp.tests.integration.watching import Watched, record_in, until

VM = "DC0_C0_RP0_VM{}".format


@pytest.fixture(scope="module")
def rig() -> t.Iterator[VCenterRig]:
    with VCenterRig("itvmwatch", vms=4, nics=1) as running:
        yield running


@pytest.fixture
def site(rig: VCenterRig, tmp_path: pathlib.Path) -> t.Iterator[Watched]:
    rig.clear_faults()
    rig.guests(*({"vm": VM(n), "tools_running": "guestToolsNotRunning", "tools_version": "guestToolsCurrent"} for n in range(4)))
    one = Watched(record_in(tmp_path), rig.description(), ["DC0_DVPG0"])
    yield one
    one.store.database.close()
    assert rig.sessions() == 0


def tell(rig: VCenterRig, number: int, mac: str, address: str) -> None:
    nic = {"mac": mac, "device_config_id": 4000, "connected": True, "addresses": [{"ip": address, "prefix": 24}]}
    rig.guests({"vm": VM(number), "tools_running": "guestToolsRunning", "tools_version": "guestToolsCurrent", "nics": [nic]})


def mac_of(site: Watched, number: int) -> str:
    nic = site.nic(VM(number))
    assert nic is not None
    return nic.mac


def test_a_guest_gets_its_address_and_then_another_one(rig: VCenterRig, site: Watched) -> None:
    site.look()
    with site.watching() as watcher:
        until(lambda: site.listening(watcher))
        rig.calls(reset=True)
        tell(rig, 1, mac_of(site, 1), "10.99.0.77")
        until(lambda: site.address(VM(1)) == "10.99.0.77")
        # Waited for, not polled.
        assert rig.calls()["WaitForUpdatesEx"] <= 3
        tell(rig, 1, mac_of(site, 1), "10.99.0.78")
        until(lambda: site.address(VM(1)) == "10.99.0.78")
    assert site.events() == [f"{VM(1)} FETCHED 10.99.0.77", f"{VM(1)} CHANGED 10.99.0.78"]
    assert watcher.watch.poll.warnings == []


def test_vms_that_come_change_and_go(rig: VCenterRig, site: Watched) -> None:
    site.look()
    with site.watching() as watcher, Admin(rig) as admin:
        until(lambda: site.listening(watcher))
        admin.power(VM(2), on=False)
        until(lambda: (nic := site.nic(VM(2))) is not None and nic.fetch_state == "stopped")
        admin.power(VM(2), on=True)
        until(lambda: (nic := site.nic(VM(2))) is not None and nic.fetch_state == "pending")
        admin.clone(VM(2), "fresh", on=True)
        until(lambda: site.nic("fresh") is not None)
        admin.rename("fresh", "older")
        until(lambda: site.nic("older") is not None and site.nic("fresh") is None)
        admin.power("older", on=False)
        admin.destroy("older")
        until(lambda: site.nic("older") is None)


def test_the_end_of_the_session_loses_nothing(rig: VCenterRig, site: Watched) -> None:
    site.look()
    with site.watching() as watcher:
        until(lambda: site.listening(watcher))
        tell(rig, 0, mac_of(site, 0), "10.99.0.70")
        until(lambda: site.address(VM(0)) == "10.99.0.70")
        rig.revoke_sessions()
        tell(rig, 0, mac_of(site, 0), "10.99.0.71")
        tell(rig, 1, mac_of(site, 1), "10.99.0.72")
        until(lambda: (site.address(VM(0)), site.address(VM(1))) == ("10.99.0.71", "10.99.0.72"))


def test_a_connection_that_breaks_is_made_anew(rig: VCenterRig, site: Watched) -> None:
    site.look()
    with site.watching() as watcher:
        until(lambda: site.listening(watcher))
        rig.fault("*", "reset", count=6)
        tell(rig, 0, mac_of(site, 0), "10.99.0.73")
        until(lambda: site.address(VM(0)) == "10.99.0.73", 60)
        assert watcher.watch.reconnects >= 1 and watcher.watch.poll.warnings
    rig.revoke_sessions()  # of logouts that were cut


def test_hints_are_only_what_is_new(rig: VCenterRig, site: Watched) -> None:
    site.look()
    macs = [mac_of(site, number) for number in range(2)]
    tell(rig, 0, macs[0], "10.99.0.70")
    driver: t.Any = open_hypervisor(rig.description())
    names = {vm.id: vm.name for vm in driver.inventory.vms().vms}
    stop = threading.Event()
    listening = driver.events.listen(stop, 1.0)

    def hints() -> set[tuple[str, str]]:
        while not (some := next(listening)):
            pass
        return {(names.get(hint.vm_id, hint.vm_id), hint.kind) for hint in some}

    assert hints() == {(VM(0), HINT_HERE)}
    tell(rig, 0, macs[0], "10.99.0.70")
    tell(rig, 1, macs[1], "10.99.0.71")
    assert hints() == {(VM(1), HINT_GUEST)}
    with Admin(rig) as admin:
        admin.power(VM(3), on=False)
        assert (VM(3), HINT_VM) in hints()
        admin.power(VM(3), on=True)
    began = time.monotonic()
    stop.set()
    list(listening)
    assert time.monotonic() - began < 20
    driver.close()
