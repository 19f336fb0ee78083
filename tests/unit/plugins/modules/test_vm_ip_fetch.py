# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib
import json
import pathlib
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.action.vm_ip_fetch import story_lines, waiting_lines
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorUnreachable
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._nic_record.fake_hypervisor import (
    FakeHypervisor,
    guest,
)

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.tests.unit.conftest import RunModule


@pytest.fixture
def hypervisor(monkeypatch: pytest.MonkeyPatch) -> FakeHypervisor:
    fake = FakeHypervisor([])
    body = importlib.import_module("ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_ip_fetch")
    monkeypatch.setattr(body, "open_hypervisor", lambda description: fake.connect())
    return fake


@pytest.fixture
def options(tmp_path: pathlib.Path) -> dict[str, t.Any]:
    return {"record": f"sqlite:///{tmp_path}/record.db", "hypervisor_name": "kvm01", "syslog": False}


def enter(run_module: RunModule, options: dict[str, t.Any], hypervisor: FakeHypervisor, **rules: t.Any) -> None:
    vms = [
        {
            "name": g.name,
            "id": g.id,
            "nics": [{"device": d, "mac": m, "network": g.network, **rules} for d, m in enumerate(g.macs)],
        }
        for g in hypervisor.guests
    ]
    run_module("vm_nic_record", {**options, "vms": vms})


def fetch(run_module: RunModule, options: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    fails, check_mode = more.pop("fails", False), more.pop("check_mode", False)
    words = {**options, "hypervisor": {"type": "kvm"}, "reconcile": False, **more}
    return run_module("vm_ip_fetch", words, fails=fails, check_mode=check_mode)


def test_finds_waits_and_says_why(run_module: RunModule, options: dict[str, t.Any], hypervisor: FakeHypervisor) -> None:
    hypervisor.guests = [
        guest(1, answers={0: ["10.99.0.57", "fe80::1"]}),
        guest(2, answers={0: []}),
        guest(3, answers=None),
        guest(4, power_state="stopped"),
    ]
    enter(run_module, options, hypervisor, ip_range="10.99.0.50-10.99.0.60")
    result = fetch(run_module, options)
    assert result["changed"] and result["pending"] == 3 and result["looked_at"] == 4
    (found,) = result["found"]
    assert (found["vm"], found["nic"], found["ip4_address"], found["source"], found["in_range"]) == (
        ("vm1", 0, "10.99.0.57", "agent", True)
    )
    assert [(w["vm"], w["reason"], w["tries_left"]) for w in result["waiting"]] == [
        ("vm2", "no_lease", 9),
        ("vm3", "no_guest_tools", 9),
        ("vm4", "vm_not_running", 9),
    ]
    assert result["waiting"][1]["message"] == "vm3: nobody answers"
    assert result["msg"] == "4 looked at, 1 found, 0 given up; 3 waited for"
    assert (hypervisor.connections, hypervisor.closed) == (1, 1)
    # Nothing is due now: no connection is made.
    again = fetch(run_module, options)
    assert not again["changed"] and again["pending"] == 3 and again["looked_at"] == 0
    assert hypervisor.connections == 1
    events = run_module("vm_nic_record_info", {"record": options["record"], "events": True})["events"]
    assert [(e["type"], e["vm_name"], e["address"]) for e in events] == [("EXTERNAL.DHCP.VM.IP.FETCHED", "vm1", "10.99.0.57")]


def test_an_unreachable_hypervisor_fails_and_takes_no_try(
    run_module: RunModule, options: dict[str, t.Any], hypervisor: FakeHypervisor
) -> None:
    hypervisor.guests = [guest(1)]
    enter(run_module, options, hypervisor)
    hypervisor.fail_connect = HypervisorUnreachable("hypervisor.uri qemu:///system: no connection")
    result = fetch(run_module, options, fails=True)
    assert result["msg"] == "hypervisor.uri qemu:///system: no connection"
    assert result["pending"] == 1
    (waiting,) = result["waiting"]
    assert (waiting["reason"], waiting["tries_left"]) == ("hypervisor_unreachable", 10)
    assert waiting["message"] == "hypervisor.uri qemu:///system: no connection"
    # It is due after the interval only.
    assert fetch(run_module, options)["pending"] == 1
    assert hypervisor.connections == 1


def test_optional_nics_are_polled_and_not_waited_for(
    run_module: RunModule, options: dict[str, t.Any], hypervisor: FakeHypervisor
) -> None:
    hypervisor.guests = [guest(1, nics=2, answers={0: ["10.99.0.57"], 1: []})]
    one = hypervisor.guests[0]
    nics = [{"device": 0, "mac": one.macs[0]}, {"device": 1, "mac": one.macs[1], "required": False}]
    run_module("vm_nic_record", {**options, "vms": [{"name": one.name, "id": one.id, "nics": nics}]})
    result = fetch(run_module, options)
    assert result["pending"] == 0
    assert [(w["nic"], w["required"]) for w in result["waiting"]] == [(1, False)]
    assert result["msg"] == "2 looked at, 1 found, 0 given up; 0 waited for and 1 not required"


def test_only_the_named_vms(run_module: RunModule, options: dict[str, t.Any], hypervisor: FakeHypervisor) -> None:
    hypervisor.guests = [guest(1), guest(2)]
    enter(run_module, options, hypervisor)
    result = fetch(run_module, options, vms=["vm2"])
    assert (result["pending"], result["looked_at"]) == (1, 1)
    assert hypervisor.looks == {hypervisor.guests[1].id: 1}


def test_check_mode_looks_at_nobody(run_module: RunModule, options: dict[str, t.Any], hypervisor: FakeHypervisor) -> None:
    assert fetch(run_module, options, check_mode=True)["pending"] == 0
    assert not pathlib.Path(options["record"][len("sqlite:///") :]).exists()
    hypervisor.guests = [guest(1)]
    enter(run_module, options, hypervisor)
    result = fetch(run_module, options, check_mode=True)
    assert (result["pending"], result["changed"], hypervisor.connections) == (1, False, 0)


def test_one_look_makes_the_record_agree_and_tells(
    run_module: RunModule, options: dict[str, t.Any], hypervisor: FakeHypervisor
) -> None:
    hypervisor.guests = [guest(1, answers={0: ["10.99.0.57"]}), guest(2, network="other"), guest(3, answers={0: []})]
    networks = [{"name": "corp-vlan120", "bridge": "corp", "cidr": "10.99.0.0/24"}]
    first = fetch(run_module, options, reconcile=True, networks=networks)
    assert first["changed"] and first["reconciled"] == {"entered": ["vm1", "vm3"]}
    assert first["msg"] == "2 entered, 2 looked at, 1 found, 0 given up; 1 waited for"
    again = fetch(run_module, options, reconcile=True, networks=networks)
    assert (again["changed"], again["reconciled"], again["looked_at"]) == (False, {}, 0)
    hypervisor.guests.pop(0)
    gone = fetch(run_module, options, reconcile=True, networks=networks)
    assert gone["changed"] and gone["reconciled"] == {"removed": ["vm1"]}
    # For some VMs by name nothing else is read.
    assert fetch(run_module, options, reconcile=True, networks=networks, vms=["vm9"])["reconciled"] == {}


def names_of(run_module: RunModule, options: dict[str, t.Any]) -> list[str]:
    return [nic["vm_name"] for nic in run_module("vm_nic_record_info", {"record": options["record"]})["nics"]]


def test_a_rule_says_which_vms_are_ours(run_module: RunModule, options: dict[str, t.Any], hypervisor: FakeHypervisor) -> None:
    hypervisor.guests = [guest(1), guest(2), guest(11), guest(12, network="lab")]
    rule = {"names": ["vm1*"], "exclude_names": ["vm11"]}
    assert fetch(run_module, options, reconcile=True, networks=["corp"], vm_filter=rule)["reconciled"] == {"entered": ["vm1"]}
    # Without networks those of all networks; what is in the record stays there.
    assert fetch(run_module, options, reconcile=True, vm_filter={"names": ["vm12"]})["reconciled"] == {"entered": ["vm12"]}
    assert names_of(run_module, options) == ["vm1", "vm12"]
    refused = fetch(run_module, options, reconcile=True, vm_filter={"tags": ["x"]}, fails=True)
    assert refused["msg"] == "vm_filter.tags: VMs of hypervisor.type kvm have no tags: choose them by names"


def test_a_look_can_leave_guests_alone(run_module: RunModule, options: dict[str, t.Any], hypervisor: FakeHypervisor) -> None:
    hypervisor.guests = [guest(1, answers={0: ["10.99.0.57"]})]
    words = {"reconcile": True, "networks": ["corp"], "sources": []}
    planned = fetch(run_module, options, **words, check_mode=True)
    assert planned["changed"] and planned["reconciled"] == {"entered": ["vm1"]} and planned["pending"] == 0
    result = fetch(run_module, options, **words)
    assert result["changed"] and result["pending"] == 1 and result["looked_at"] == 0 and not hypervisor.looks
    assert result["waiting"][0]["tries_left"] == 10
    assert not fetch(run_module, options, **words)["changed"]


def test_a_bad_network_is_named(run_module: RunModule, options: dict[str, t.Any], hypervisor: FakeHypervisor) -> None:
    result = fetch(run_module, options, fails=True, networks=[{"cidr": "10.0.0.0/8"}])
    assert result["msg"].startswith("networks[0] is")


def test_asked_to_look_again_for_those_given_up(
    run_module: RunModule, options: dict[str, t.Any], hypervisor: FakeHypervisor
) -> None:
    hypervisor.guests = [guest(1, answers={0: []})]
    enter(run_module, options, hypervisor)
    assert fetch(run_module, options, max_retry=1)["gave_up"]
    assert fetch(run_module, options)["looked_at"] == 0
    again = fetch(run_module, options, rearm=True)
    assert (again["changed"], again["looked_at"], again["pending"]) == (True, 1, 1)
    assert again["msg"].startswith("1 looked for again, 1 looked at, 0 found")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("relook_interval", -1),
        ("lock_wait", -1),
        ("interval", 0),
        ("max_retry", 0),
        ("workers", 0),
        ("timeout", 0),
        ("settle", -1),
        ("suspect_readings", 0),
    ],
)
def test_senseless_numbers_are_refused(
    run_module: RunModule, options: dict[str, t.Any], hypervisor: FakeHypervisor, option: str, value: int
) -> None:
    result = fetch(run_module, options, fails=True, **{option: value})
    assert result["msg"].startswith(f"{option} is {value}")


def test_an_unknown_source_is_named(run_module: RunModule, options: dict[str, t.Any], hypervisor: FakeHypervisor) -> None:
    hypervisor.guests = [guest(1)]
    enter(run_module, options, hypervisor)
    result = fetch(run_module, options, fails=True, sources=["registry"])
    assert result["msg"] == "sources has 'registry': for hypervisor.type kvm use agent, arp"
    assert result["waiting"][0]["tries_left"] == 10


def test_the_longest_result_stays_below_what_awx_keeps(
    run_module: RunModule, options: dict[str, t.Any], hypervisor: FakeHypervisor
) -> None:
    """Ten thousand VMs wait; AWX and ansible-runner drop what has more than 700,000 characters."""
    hypervisor.guests = [guest(number, answers={0: []}, network="corporate-vlan120") for number in range(10_000)]
    for one in hypervisor.guests:
        one.name = f"customer-web-frontend-{one.name}"
    result = fetch(run_module, options, reconcile=True, networks=["corporate-vlan120"])
    page = run_module("vm_nic_record_info", {"record": options["record"], "nic_limit": 2, "nic_offset": 9999})
    assert page["total"] == 10_000 and len(page["nics"]) == 1
    assert result["pending"] == result["looked_at"] == 10_000 and result["omitted"] == {"waiting": 9000}
    assert len(result["waiting"]) == 1000 and len(json.dumps(result)) < 500_000
    assert all(len(line) < 300 for line in [*story_lines(result), *waiting_lines(result)])


def test_a_thousand_vms_stay_below_what_awx_keeps(
    run_module: RunModule, options: dict[str, t.Any], hypervisor: FakeHypervisor
) -> None:
    """AWX and ansible-runner drop the result of a task above 700,000 characters."""
    limit = 600_000
    ip6 = ["2001:db8:1234:5678:5054:ff:fe12:3456", "fd12:3456:789a:1::1234"]
    hypervisor.guests = [guest(number, answers={0: []}) for number in range(1000)]
    for number, one in enumerate(hypervisor.guests):
        one.name = f"customer-web-frontend-{number:04d}"
        one.network = "corporate-vlan120"
    enter(run_module, options, hypervisor)
    waiting = fetch(run_module, options, max_retry=2, interval=1)
    assert len(waiting["waiting"]) == 1000 and len(str(waiting)) < limit
    for number, one in enumerate(hypervisor.guests):
        one.answers = {0: [f"10.99.{number >> 8}.{number & 255}", *ip6]}
    entries = [
        {"name": g.name, "id": g.id, "nics": [{"device": 0, "mac": g.macs[0], "network": g.network}]} for g in hypervisor.guests
    ]
    entered = run_module("vm_nic_record", {**options, "vms": entries, "rearm": True})
    assert len(entered["nics"]) == 1000 and len(str(entered)) < limit
    found = fetch(run_module, options)
    assert len(found["found"]) == 1000 and len(str(found)) < limit
    listed = run_module("vm_nic_record_info", {"record": options["record"]})
    assert len(listed["nics"]) == 1000 and len(str(listed)) < limit
    for one in hypervisor.guests:
        one.answers = {0: []}
    run_module("vm_nic_record", {**options, "vms": entries, "rearm": True})
    # A NIC that lost its address with its last try is told of in both lists.
    gave_up = fetch(run_module, options, max_retry=1, limit=2000)
    assert len(gave_up["gave_up"]) == 1000 and len(str(gave_up)) < limit
