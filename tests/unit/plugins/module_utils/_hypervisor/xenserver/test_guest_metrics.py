# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import Reading
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Nic, Vm
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.guest_metrics import attach, observe

NICS = (Nic(0, "02:16:3e:00:00:01"), Nic(1, "02:16:3e:00:00:02"))
VM = Vm("web1", "u", "running", NICS)
VERSION = {"major": "8", "minor": "4", "micro": "0", "build": "1"}
GUEST = {"networks": {"0/ip": "10.99.0.5"}, "live": True, "last_updated": "20260101T00:10:00Z", "PV_drivers_version": VERSION}


@pytest.mark.parametrize("start", ["20260101T00:10:00Z", "20260101T00:09:59Z", "19700101T00:00:00Z", "garbage"])
def test_metrics_as_new_as_the_start_are_trusted(start):
    seen = observe(VM, GUEST, {"start_time": start})
    assert seen.source == "guest_metrics"
    assert seen.readings == (Reading(("10.99.0.5",), mac="02:16:3e:00:00:01", device=0),)


def test_metrics_older_than_the_start_are_not():
    seen = observe(VM, GUEST, {"start_time": "20260101T00:10:01Z"})
    assert (seen.readings, seen.source, seen.reason) == ((), None, "no_guest_tools")


def test_without_vm_metrics_there_is_no_start_to_compare():
    assert observe(VM, GUEST, None).source == "guest_metrics"


@pytest.mark.parametrize("power", ["stopped", "paused", "suspended"])
def test_only_running_vms_have_addresses(power):
    seen = observe(Vm("web1", "u", power, NICS), GUEST, None)
    assert (seen.reason, seen.message) == ("vm_not_running", f"it is {power}: start it")


@pytest.mark.parametrize("reason_for", [None, {**GUEST, "live": False}, {**GUEST, "networks": {}}, {**GUEST, "networks": None}])
def test_every_reason_says_what_to_do(reason_for):
    seen = observe(VM, reason_for, None)
    assert seen.reason in ("no_guest_tools", "no_lease")
    assert "web1" not in seen.message
    assert any(word in seen.message for word in ("install", "start it again", "check"))


@pytest.mark.parametrize("version", [{}, None, {"build": "1"}])
def test_the_record_that_xapi_makes_at_every_start_is_no_report(version):
    """It says live, and it is as new as the start; nobody in the guest has said anything yet."""
    seen = observe(VM, {**GUEST, "networks": {}, "PV_drivers_version": version}, {"start_time": "20260101T00:10:00Z"})
    assert (seen.reason, seen.readings) == ("no_guest_tools", ())


def test_a_mac_from_the_guest_agent_is_kept():
    reading = Reading(("10.0.0.1",), mac="aa:bb:cc:dd:ee:ff")
    assert attach([reading], NICS) == (reading,)


def test_a_device_number_that_no_vif_has_is_no_device_number():
    assert attach([Reading(("10.0.0.1",), device=160)], NICS) == (Reading(("10.0.0.1",)),)
