# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import pathlib
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import NicWanted
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import NicFacts, VmFacts
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.modules import fake_machines as fake

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.tests.unit.conftest import RunModule

HYPERVISOR = {"type": "kvm", "uri": "qemu:///system"}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> fake.FakeHypervisor:
    found = fake.install(monkeypatch)
    found.add("debian")
    return found


def options(*vms: t.Any, **more: t.Any) -> dict[str, t.Any]:
    entries = [vm if isinstance(vm, dict) else {"name": vm, "template": "debian", "nics": [{"network": "br0"}]} for vm in vms]
    return {"hypervisor": HYPERVISOR, "vms": entries, **more}


def errors(result: dict[str, t.Any]) -> dict[str, str]:
    return {vm["name"]: vm["error"] for vm in result["vms"]}


def absent(*names: str, **more: t.Any) -> dict[str, t.Any]:
    return options(*({"name": name} for name in names), state="absent", **more)


# -- present


def test_missing_vms_are_made_once(host: fake.FakeHypervisor, run_module: RunModule):
    there = host.add("web2", power_state="running")
    first = run_module("vm", options("web1", "web2", "web3"))
    assert first["changed"] and [(vm["name"], vm["changed"]) for vm in first["vms"]] == [
        ("web1", True),
        ("web2", False),
        ("web3", True),
    ]
    assert first["vms"][1]["id"] == there.id and first["vms"][0]["id"] == host.named("web1").id
    assert [vm["power_state"] for vm in first["vms"]] == [None, "running", None]
    assert [[nic["mac"] for nic in vm["nics"]] for vm in first["vms"]] == [[], [nic.mac for nic in there.nics], []]
    assert host.log == [("create", "web1"), ("create", "web3")]
    assert not run_module("vm", options("web1", "web2", "web3"))["changed"]


def test_what_is_asked_for_reaches_the_driver(host: fake.FakeHypervisor, run_module: RunModule):
    entry = {
        "name": "web1",
        "template": "debian",
        "nics": [{"network": "br1", "mac": "52-54-00-AA-BB-CC"}, {"network": "br0"}],
        "full_clone": True,
        "memory": 2048,
        "cpus": 4,
        "disk_size": 20,
        "placement": {"host": "h2"},
    }
    run_module("vm", options(entry, placement={"host": "h1", "datastore": "fast"}))
    (wanted,) = host.wanted
    assert wanted.nics == (NicWanted("br1", "52:54:00:aa:bb:cc"), NicWanted("br0"))
    assert (wanted.full_clone, wanted.memory, wanted.cpus, wanted.disk_size) == (True, 2048, 4, 20 << 30)
    assert wanted.placement == {"host": "h2", "datastore": "fast"}
    run_module("vm", options({"name": "web2", "template": "debian"}))
    assert host.wanted[1].nics is None and not host.wanted[1].full_clone


def test_check_mode_and_diff_tell_and_do_nothing(host: fake.FakeHypervisor, run_module: RunModule):
    told = run_module("vm", options("web1"), check_mode=True, diff=True)
    assert told["changed"] and host.log == [] and told["vms"][0]["id"] is None
    assert "NIC 0: br0" in told["diff"][0]["after"] and told["diff"][0]["before"] == ""
    assert run_module("vm", options("web1"), diff=True)["diff"] == told["diff"]


def test_one_failing_vm_does_not_stop_the_others(host: fake.FakeHypervisor, run_module: RunModule):
    host.trouble["create", "web2"] = "no space"
    result = run_module("vm", options("web1", "web2", "web3"), fails=True)
    assert errors(result) == {"web1": None, "web2": "web2: no space", "web3": None}
    assert result["msg"] == "1 of 3 VMs failed: web2: no space" and result["changed"]


def test_errors_of_vms_can_be_left_to_the_caller(host: fake.FakeHypervisor, run_module: RunModule):
    host.trouble["create", "web2"] = "no space"
    result = run_module("vm", options("web1", "web2", ignore_vm_errors=True))
    assert errors(result) == {"web1": None, "web2": "web2: no space"}
    assert "debain" in run_module("vm", options({"name": "x", "template": "debain"}, ignore_vm_errors=True), fails=True)["msg"]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"name": "web1"}, ["web1", "no template"]),
        ({"name": "web1", "template": "debain"}, ["web1", "debain"]),
        ({"name": "web1", "template": "debian", "nics": [{"network": "br9"}]}, ["web1", "br9"]),
        ({"name": "web1", "template": "debian", "nics": [{"network": "br0", "mac": "5254"}]}, ["web1", "mac", "5254"]),
        ({"name": "web1", "template": "debian", "memory": 0}, ["web1", "memory is 0"]),
        ({"name": "web1", "template": "debian", "placement": {"cluster": "c"}}, ["placement", "cluster", "host, datastore"]),
        ({"name": "web2", "template": "debian"}, ["web2", "more than once"]),
        ({"template": "debian"}, ["vms[1]", "no name"]),
    ],
)
def test_mistakes_are_told_before_anything_is_changed(
    host: fake.FakeHypervisor, run_module: RunModule, entry: dict[str, t.Any], words: list[str]
):
    result = run_module("vm", options("web2", entry), fails=True)
    assert result["msg"].startswith("nothing was changed: ") and result["vms"] == [] and host.log == []
    assert [word for word in words if word not in result["msg"]] == []


def test_a_broken_connection_tells_what_was_done(host: fake.FakeHypervisor, run_module: RunModule):
    host.breaks_after = 1
    result = run_module("vm", options("web1", "web2", "web3"), fails=True)
    assert errors(result) == {"web1": None, "web2": "web2: the connection broke", "web3": "web3: the connection broke"}
    assert result["vms"][0]["changed"]


def test_a_name_of_several_vms_is_an_error_of_that_vm(host: fake.FakeHypervisor, run_module: RunModule):
    host.add("twin"), host.add("twin")
    result = run_module("vm", options("twin", "web1"), fails=True)
    assert "2 VMs" in errors(result)["twin"] and errors(result)["web1"] is None
    assert host.log == [("create", "web1")]


def test_nics_that_differ_are_told_and_mended_on_request(host: fake.FakeHypervisor, run_module: RunModule):
    vm = host.add("web1", networks=["br1"])
    told = run_module("vm", options("web1"))
    (warning,) = told["vms"][0]["warnings"]
    assert not told["changed"] and "NIC 0: br1" in warning and "update_nics" in warning
    assert warning in str(told["warnings"])
    assert run_module("vm", options("web1", update_nics=True), check_mode=True)["changed"] and host.log == []
    done = run_module("vm", options("web1", update_nics=True), diff=True)
    assert done["changed"] and host.named("web1").nics[0].network == "br0" and "br1" in done["diff"][0]["before"]
    again = run_module("vm", options("web1", update_nics=True))
    assert not again["changed"] and again["vms"][0]["warnings"] == []
    host._replace(vm, nics=vm.nics, power_state="running")
    runs = run_module("vm", options("web1", update_nics=True))
    assert not runs["changed"] and "powered off" in runs["vms"][0]["warnings"][0]


def test_nics_that_differ_are_mended_without_request_before_the_first_start(host: fake.FakeHypervisor, run_module: RunModule):
    host.add("web1", networks=["br1"], ours=True)
    host.add("web2", networks=["br1"])
    host.add("web3", networks=["br1"], ours=True, power_state="running")
    host.fresh = {"web1", "web2", "web3"}
    told = run_module("vm", options("web1", "web2", "web3"), check_mode=True, diff=True)
    assert [vm["changed"] for vm in told["vms"]] == [True, False, False] and host.log == []
    assert "br1" in told["diff"][0]["before"] and "br0" in told["diff"][0]["after"]
    done = run_module("vm", options("web1", "web2", "web3"))
    assert host.log == [("set_nics", "web1")] and host.named("web1").nics[0].network == "br0"
    assert done["vms"][0]["warnings"] == [] and all("update_nics" in vm["warnings"][0] for vm in done["vms"][1:])
    assert not run_module("vm", options("web1"))["changed"]
    # It has run since: only told.
    host._replace(host.named("web1"), nics=host.named("web2").nics)
    host.fresh = set()
    assert "update_nics" in run_module("vm", options("web1"))["vms"][0]["warnings"][0] and len(host.log) == 1


# -- absent


def enter(record: str, hypervisor: str, *vms: t.Any) -> None:
    with RecordStore.open(record) as store:
        store.database.prepare()
        store.enter(hypervisor, [VmFacts(vm.name, vm.id, (NicFacts(0, f"52:54:00:00:00:{n:02x}"),)) for n, vm in enumerate(vms)])


def recorded(record: str) -> list[str]:
    with RecordStore.open(record) as store:
        return [nic.vm_id for nic in store.nics()]


def test_a_vm_of_ours_is_powered_off_and_deleted_once(host: fake.FakeHypervisor, run_module: RunModule):
    host.add("web1", power_state="running", ours=True)
    owned = host.add("web2")
    host.owners[owned.id] = owned.id
    told = run_module("vm", absent("web1", "web2", "gone"), check_mode=True, diff=True)
    assert told["changed"] and host.log == [] and "running" in told["diff"][0]["before"]
    done = run_module("vm", absent("web1", "web2", "gone"))
    assert host.log == [("stop", "web1"), ("delete", "web1"), ("delete", "web2")] and host.timeouts == [0]
    assert [vm["changed"] for vm in done["vms"]] == [True, True, False]
    assert not run_module("vm", absent("web1", "web2", "gone"))["changed"]


def test_a_vm_without_a_mark_is_not_deleted_by_its_name(host: fake.FakeHypervisor, run_module: RunModule, tmp_path: pathlib.Path):
    foreign = host.add("db1", power_state="running")
    host.owners[foreign.id] = "00000000-0000-4000-8000-000000000099"
    record = f"sqlite:///{tmp_path}/record.db"
    enter(record, "kvm02", foreign)
    for more in ({}, {"record": record, "hypervisor_name": "kvm01"}):
        result = run_module("vm", absent("db1", **more), fails=True)
        assert "no mark" in result["msg"] and foreign.id in result["msg"] and host.log == []
    assert run_module("vm", absent("db1", record=record, hypervisor_name="kvm02"), check_mode=True)["changed"]
    assert run_module("vm", options({"name": "web9", "id": foreign.id}, state="absent"))["changed"]
    assert [vm.name for vm in host.there] == ["debian"]


def test_entries_in_the_record_go_with_their_vms(host: fake.FakeHypervisor, run_module: RunModule, tmp_path: pathlib.Path):
    kept, gone = host.add("web1", ours=True), host.add("web2", ours=True)
    record = f"sqlite:///{tmp_path}/record.db"
    enter(record, "kvm01", kept, gone, dataclasses.replace(gone, id="00000000-0000-4000-8000-000000000099"))
    host.trouble["delete", "web1"] = "it is held"
    asked = absent("web1", "web2", "gone", record=record, hypervisor_name="kvm01")
    told = run_module("vm", asked, check_mode=True, diff=True)
    assert "in the record: NIC 0" in told["diff"][-1]["before"] and len(recorded(record)) == 3
    # One that is still there keeps its entry; a former VM of a name that goes has none left.
    assert errors(run_module("vm", asked, fails=True)) == {"web1": "web1: it is held", "web2": None, "gone": None}
    assert recorded(record) == [kept.id]
    del host.trouble["delete", "web1"]
    host.there.remove(kept)  # by somebody else
    done = run_module("vm", asked)
    assert [vm["changed"] for vm in done["vms"]] == [True, False, False] and recorded(record) == []
    assert not run_module("vm", asked)["changed"]


def test_the_id_decides_among_vms_of_one_name(host: fake.FakeHypervisor, run_module: RunModule):
    first, second = host.add("twin", ours=True), host.add("twin", ours=True)
    result = run_module("vm", absent("twin"), fails=True)
    assert "2 VMs" in result["msg"] and not result["changed"] and host.log == []
    host.there.remove(first)  # the fake finds by name when it deletes
    assert run_module("vm", options({"name": "twin", "id": second.id}, state="absent"))["changed"]


def test_what_others_use_is_refused_before_the_power_off(host: fake.FakeHypervisor, run_module: RunModule):
    host.add("golden", power_state="running", ours=True)
    host.add("web1", ours=True)
    host.in_use["golden"] = "its disk is the base of web1's"
    result = run_module("vm", absent("golden", "web1"), fails=True, diff=True)
    assert errors(result) == {"golden": "golden: its disk is the base of web1's", "web1": None}
    assert host.log == [("delete", "web1")]
    assert [one["before_header"] for one in result["diff"]] == ["web1"]


def test_what_is_off_is_looked_at_once(host: fake.FakeHypervisor, run_module: RunModule):
    host.add("golden", ours=True)
    host.add("web1", ours=True)
    host.in_use["golden"] = "its disk is the base of web1's"
    told = run_module("vm", absent("golden", "web1"), check_mode=True, fails=True)
    assert host.checked == [["golden", "web1"]]
    done = run_module("vm", absent("golden", "web1"), fails=True)
    assert done["vms"] == told["vms"] and len(host.checked) == 1, "delete() looks for itself"


def test_what_could_not_be_powered_off_is_not_deleted(host: fake.FakeHypervisor, run_module: RunModule):
    host.add("web1", power_state="running", ours=True)
    host.trouble["stop", "web1"] = "it hangs"
    assert errors(run_module("vm", absent("web1"), fails=True)) == {"web1": "web1: it hangs"}
    assert host.log == [("stop", "web1")]
