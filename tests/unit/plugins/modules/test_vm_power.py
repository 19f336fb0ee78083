# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.tests.unit.plugins.modules import fake_machines as fake

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.tests.unit.conftest import RunModule

HYPERVISOR = {"type": "kvm", "uri": "qemu:///system"}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> fake.FakeHypervisor:
    found = fake.install(monkeypatch)
    found.add("runs", power_state="running")
    found.add("off")
    found.add("paused", power_state="paused")
    return found


def power(state: str, vms: t.Any = ("runs", "off"), **more: t.Any) -> dict[str, t.Any]:
    return {"hypervisor": HYPERVISOR, "vms": vms if isinstance(vms, str) else list(vms), "state": state, **more}


def by_name(result: dict[str, t.Any], key: str) -> dict[str, t.Any]:
    return {vm["name"]: vm[key] for vm in result["vms"]}


@pytest.mark.parametrize(
    ("state", "log", "after"),
    [
        ("running", [("start", "off")], "running"),
        ("stopped", [("stop", "runs")], "stopped"),
    ],
)
def test_what_is_not_so_yet_is_changed(host: fake.FakeHypervisor, run_module: RunModule, state: str, log: t.Any, after: str):
    told = run_module("vm_power", power(state), check_mode=True, diff=True)
    assert told["changed"] and host.log == []
    done = run_module("vm_power", power(state), diff=True)
    assert host.log == log and (done["diff"], by_name(done, "changed")) == (told["diff"], by_name(told, "changed"))
    assert set(by_name(done, "power_state").values()) == set(by_name(told, "power_state").values()) == {after}
    assert not run_module("vm_power", power(state))["changed"]


def test_the_result_can_go_into_the_record(host: fake.FakeHypervisor, run_module: RunModule):
    (vm,) = run_module("vm_power", power("running", "off"))["vms"]
    nic = host.named("off").nics[0]
    assert vm["nics"] == [{"device": 0, "mac": nic.mac, "network": "br0"}] and vm["id"] == host.named("off").id


def test_only_what_is_on_is_restarted(host: fake.FakeHypervisor, run_module: RunModule):
    result = run_module("vm_power", power("restarted", timeout=7))
    assert host.log == [("stop", "runs"), ("start", "runs")] and host.timeouts == [7]
    assert by_name(result, "power_state") == {"runs": "running", "off": "stopped"}
    assert by_name(result, "changed") == {"runs": True, "off": False}


def test_a_vm_that_did_not_stop_is_not_started(host: fake.FakeHypervisor, run_module: RunModule):
    host.trouble["stop", "runs"] = "it hangs"
    result = run_module("vm_power", power("restarted"), fails=True)
    assert host.log == [("stop", "runs")] and by_name(result, "error") == {"runs": "runs: it hangs", "off": None}


def test_a_paused_vm_is_stopped_and_started(host: fake.FakeHypervisor, run_module: RunModule):
    assert run_module("vm_power", power("running", ["paused"]))["changed"]
    host.add("paused2", power_state="paused")
    assert run_module("vm_power", power("stopped", ["paused2"]))["changed"]


def test_names_that_fit_none_or_several_are_errors_of_those_vms(host: fake.FakeHypervisor, run_module: RunModule):
    twins = [host.add("twin", power_state="running"), host.add("twin", power_state="running")]
    result = run_module("vm_power", power("stopped", ["twin", "ghost", "runs"]), fails=True)
    assert host.log == [("stop", "runs")] and [vm["changed"] for vm in result["vms"]] == [False, False, True]
    errors = by_name(result, "error")
    assert "2 VMs" in errors["twin"] and "no VM ghost" in errors["ghost"] and errors["runs"] is None
    assert by_name(result, "power_state") == {"twin": None, "ghost": None, "runs": "stopped"}
    host.there.remove(host.there[-1])
    assert run_module("vm_power", power("stopped", [twins[0].id]))["changed"]


def test_a_text_is_a_list_of_names(host: fake.FakeHypervisor, run_module: RunModule):
    run_module("vm_power", power("running", "off, paused"))
    assert host.log == [("start", "off"), ("start", "paused")]
    for bad in ("off,", {"off": 1}, [""]):
        result = run_module("vm_power", {**power("running"), "vms": bad}, fails=True)
        assert "nothing was changed: vms " in result["msg"]
    assert "timeout is -1" in run_module("vm_power", power("stopped", timeout=-1), fails=True)["msg"]


def test_a_vm_asked_for_by_name_and_id_is_one(host: fake.FakeHypervisor, run_module: RunModule):
    result = run_module("vm_power", power("running", ["off", host.named("off").id]))
    assert len(result["vms"]) == 1 and host.log == [("start", "off")]


def test_a_broken_connection_tells_what_was_done(host: fake.FakeHypervisor, run_module: RunModule):
    host.breaks_after = 1
    result = run_module("vm_power", power("running", ["off", "paused"]), fails=True)
    assert by_name(result, "error") == {"off": None, "paused": "paused: the connection broke"}
    assert result["vms"][0]["changed"]
