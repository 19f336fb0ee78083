# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import stat
import typing as t

import pytest

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.tests.unit.conftest import RunModule

WEB1 = {
    "name": "web1",
    "id": "1C1F6C56-8C7E-4B4B-9A59-0F6F7A3C2D10",
    "power_state": "running",
    "nics": [
        {"device": 0, "mac": "52-54-00-6B-3C-58", "network": "corp", "ip4_address": None, "reason": "no_lease"},
        {"device": 1, "mac": "52:54:00:6b:3c:59", "network": "lab", "ip6_addresses": []},
    ],
}


@pytest.fixture
def record(tmp_path: pathlib.Path) -> str:
    return f"sqlite:///{tmp_path}/state/record.db"


def options(record: str, *vms: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    return {"record": record, "hypervisor_name": "kvm01", "vms": list(vms), "syslog": False, **more}


def listed(run_module: RunModule, record: str, **more: t.Any) -> list[dict[str, t.Any]]:
    return run_module("vm_nic_record_info", {"record": record, **more})["nics"]


def test_enters_once_and_is_then_unchanged(run_module: RunModule, record: str, tmp_path: pathlib.Path) -> None:
    first = run_module("vm_nic_record", options(record, WEB1), diff=True)
    assert first["changed"]
    assert [(nic["vm_name"], nic["device"], nic["mac"], nic["fetch_state"], nic["tries_left"]) for nic in first["nics"]] == [
        ("web1", 0, "52:54:00:6b:3c:58", "pending", 10),
        ("web1", 1, "52:54:00:6b:3c:59", "pending", 10),
    ]
    assert {nic["last_reason"] for nic in first["nics"]} == {"not_polled_yet"}
    assert {nic["ip4_address"] for nic in first["nics"]} == {None}
    assert first["diff"]["before"] == {}
    assert first["diff"]["after"]["web1 0 52:54:00:6b:3c:58"]["fetch_state"] == "pending"
    second = run_module("vm_nic_record", options(record, WEB1))
    assert not second["changed"]
    assert second["nics"] == first["nics"] == listed(run_module, record)
    mode = stat.S_IMODE((tmp_path / "state" / "record.db").stat().st_mode)
    assert (mode, stat.S_IMODE((tmp_path / "state").stat().st_mode)) == (0o600, 0o700)


def test_check_mode_predicts_and_creates_nothing(run_module: RunModule, record: str, tmp_path: pathlib.Path) -> None:
    predicted = run_module("vm_nic_record", options(record, WEB1), check_mode=True)
    assert predicted["changed"] and len(predicted["nics"]) == 2
    assert not (tmp_path / "state").exists()
    run_module("vm_nic_record", options(record, WEB1))
    assert not run_module("vm_nic_record", options(record, WEB1), check_mode=True)["changed"]
    assert run_module("vm_nic_record", options(record, {"name": "web1"}, state="absent"), check_mode=True)["changed"]
    assert len(listed(run_module, record)) == 2


def test_stop_takes_out_of_the_queue_and_start_puts_back(run_module: RunModule, record: str) -> None:
    run_module("vm_nic_record", options(record, WEB1, max_retry=3))
    stopped = run_module("vm_nic_record", options(record, {"name": "web1"}, state="stopped"))
    assert stopped["changed"]
    assert {nic["fetch_state"] for nic in stopped["nics"]} == {"stopped"}
    assert not run_module("vm_nic_record", options(record, {"id": WEB1["id"].lower(), "name": "x"}, state="stopped"))["changed"]
    started = run_module("vm_nic_record", options(record, WEB1))
    assert {(nic["fetch_state"], nic["tries_left"]) for nic in started["nics"]} == {("pending", 10)}


def test_a_retired_hypervisor_leaves_with_all_its_nics_and_no_others(run_module: RunModule, record: str) -> None:
    retire = {"record": record, "hypervisor_name": "kvm01", "state": "retired", "syslog": False}
    assert not run_module("vm_nic_record", retire, check_mode=True)["changed"], "there is no record yet"
    run_module("vm_nic_record", options(record, WEB1))
    run_module("vm_nic_record", {**options(record, {**WEB1, "id": "other"}), "hypervisor_name": "kvm02"})
    predicted = run_module("vm_nic_record", retire, check_mode=True, diff=True)
    assert predicted["changed"] and len(listed(run_module, record)) == 4
    assert (len(predicted["diff"]["before"]), predicted["diff"]["after"]) == (2, {})
    assert run_module("vm_nic_record", retire)["changed"]
    assert {nic["hypervisor_name"] for nic in listed(run_module, record)} == {"kvm02"}
    assert not run_module("vm_nic_record", retire)["changed"]


def test_what_is_about_all_vms_takes_no_vms_and_the_rest_needs_them(run_module: RunModule, record: str) -> None:
    refused = run_module("vm_nic_record", options(record, WEB1, state="retired"), fails=True)
    assert "leave vms out" in refused["msg"]
    words = {"record": record, "hypervisor_name": "kvm01", "state": "absent"}
    assert "vms" in run_module("vm_nic_record", words, fails=True)["msg"]


def test_absent_removes_only_the_named_vm_of_this_hypervisor(run_module: RunModule, record: str) -> None:
    other = {**WEB1, "name": "web2", "id": "other"}
    run_module("vm_nic_record", options(record, WEB1, other))
    run_module("vm_nic_record", {**options(record, WEB1), "hypervisor_name": "kvm02"})
    assert run_module("vm_nic_record", options(record, {"name": "web1"}, state="absent"))["changed"]
    left = [(nic["hypervisor_name"], nic["vm_name"]) for nic in listed(run_module, record)]
    assert left == [("kvm01", "web2")] * 2 + [("kvm02", "web1")] * 2
    assert not run_module("vm_nic_record", options(record, {"name": "web1"}, state="absent"))["changed"]


def test_a_nic_that_the_vm_no_longer_has_leaves(run_module: RunModule, record: str) -> None:
    run_module("vm_nic_record", options(record, WEB1))
    result = run_module("vm_nic_record", options(record, {**WEB1, "nics": WEB1["nics"][1:]}))
    assert result["changed"]
    assert [nic["device"] for nic in listed(run_module, record)] == [1]


def test_networks_limit_what_is_recorded(run_module: RunModule, record: str) -> None:
    result = run_module("vm_nic_record", options(record, WEB1, networks=["lab"]))
    assert [nic["network"] for nic in result["nics"]] == ["lab"]


def test_networks_give_rules_to_new_nics_without_rules(run_module: RunModule, record: str) -> None:
    networks = [
        "lab",
        {"name": "vlan120", "bridge": "corp", "cidr": "10.99.0.0/24", "ip_range": "10.99.0.5-10.99.0.9"},
    ]
    run_module("vm_nic_record", options(record, WEB1, networks=networks))
    nics = listed(run_module, record, detail=True)
    assert [(nic["network"], nic["cidrs"], nic["ip_range"]) for nic in nics] == [
        ("corp", ["10.99.0.0/24"], "10.99.0.5-10.99.0.9"),
        ("lab", [], None),
    ]
    # A rule of the NIC's own is not undone by the network's.
    own = {**WEB1, "nics": [{**WEB1["nics"][0], "cidrs": ["10.99.0.0/25"]}, WEB1["nics"][1]]}
    assert run_module("vm_nic_record", options(record, own, networks=networks))["changed"]
    assert not run_module("vm_nic_record", options(record, WEB1, networks=networks))["changed"]
    assert listed(run_module, record, detail=True)[0]["cidrs"] == ["10.99.0.0/25"]


def test_what_carries_several_networks_is_none_of_them(run_module: RunModule, record: str) -> None:
    carried = {"name": "vlan120", "bridge": "corp", "vlan": 120}
    assert run_module("vm_nic_record", options(record, WEB1, networks=[carried]))["nics"] == []
    own = {**carried, "host_vlan": True}
    assert [nic["network"] for nic in run_module("vm_nic_record", options(record, WEB1, networks=[own]))["nics"]] == ["corp"]


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"cidr": "10.0.0.0/8"}, "networks[0] is {'cidr': '10.0.0.0/8'}: give a name"),
        ({"name": "x", "cidr": "10.0.0.0/99"}, "networks[0] (x): '10.0.0.0/99' is not a network"),
        ({"name": "x", "family_order": [5]}, "networks[0] (x): family_order is [5]"),
    ],
)
def test_a_bad_network_is_refused(run_module: RunModule, record: str, network: t.Any, message: str) -> None:
    assert message in run_module("vm_nic_record", options(record, WEB1, networks=[network]), fails=True)["msg"]


def test_a_bad_vm_does_not_stop_the_others(run_module: RunModule, record: str) -> None:
    bad = [
        {"name": "noid", "nics": []},
        {**WEB1, "id": "x1", "name": "mac", "nics": [{"device": 0, "mac": "52:54:00"}]},
        {**WEB1, "id": "x2", "name": "cidr", "nics": [{"device": 0, "mac": "52:54:00:00:00:01", "cidrs": ["10.99.0.0/33"]}]},
        {**WEB1, "id": "x3", "name": "twice", "nics": [WEB1["nics"][0], WEB1["nics"][0]]},
        {**WEB1, "name": "same"},
        {"name": "bell\a", "id": "x4"},
    ]
    result = run_module("vm_nic_record", options(record, WEB1, *bad), fails=True)
    assert [error["vm"] for error in result["errors"]] == ["noid", "mac", "cidr", "twice", "same", r"bell\x07"]
    assert result["msg"] == "vms[1] (noid): id is missing (and 5 more, see errors)"
    messages = [error["message"] for error in result["errors"]]
    assert "mac is '52:54:00': give six bytes" in messages[1]
    assert "'10.99.0.0/33' is not a network in CIDR form" in messages[2]
    assert "two of its NICs have the MAC 52:54:00:6b:3c:58" in messages[3]
    assert "same VM as vms[0]" in messages[4]
    assert result["changed"]
    assert {nic["vm_name"] for nic in listed(run_module, record)} == {"web1"}


def test_rules_stay_when_they_are_not_given_again(run_module: RunModule, record: str) -> None:
    rules = {"required": False, "cidrs": ["10.99.0.0/24"], "ip_range": "10.99.0.50-10.99.0.150", "family_order": [6, 4]}
    with_rules = {**WEB1, "nics": [{**WEB1["nics"][0], **rules, "ignore_interfaces": ["docker"]}]}
    run_module("vm_nic_record", options(record, with_rules))
    assert not run_module("vm_nic_record", options(record, {**WEB1, "nics": WEB1["nics"][:1]}))["changed"]
    (nic,) = listed(run_module, record, detail=True)
    assert {name: nic[name] for name in rules} == rules
    assert nic["ignore_interfaces"] == ["docker"]


HOSTILE = {
    "line\nend\r": r"line\nend\r",
    "\x9b2J\x1b[31m": r"\x9b2J\x1b[31m",
    "\u202egnp.exe\u2066": r"\u202egnp.exe\u2066",
    "wide\u3000blank\xa0soft\xad": r"wide\u3000blank\xa0soft\xad",
    "\U0001f468\u200d\U0001f4bb": "\U0001f468\\u200d\U0001f4bb",
    "": "id5",
    "{{ lookup('pipe', 'id') }}": "{{ lookup('pipe', 'id') }}",
}


def test_a_vm_of_any_name_is_kept_by_its_id_and_shown_in_plain_text(run_module: RunModule, record: str) -> None:
    vms = [
        {**WEB1, "name": name, "id": f"id{place}", "nics": [{"device": 0, "mac": f"52:54:00:00:00:{place:02x}"}]}
        for place, name in enumerate([*HOSTILE, "x" * 10_000])
    ]
    result = run_module("vm_nic_record", options(record, *vms), diff=True)
    rows = {nic["vm_id"]: nic["vm_name"] for nic in listed(run_module, record)}
    assert [rows[f"id{place}"] for place in range(len(HOSTILE))] == list(HOSTILE.values())
    assert len(rows[f"id{len(HOSTILE)}"]) == 255
    assert all(text.isprintable() for text in result["diff"]["after"])
    # A name finds its VM as the hypervisor has it and as it is shown.
    for name, shown in HOSTILE.items():
        if name:
            assert len(listed(run_module, record, vms=[name])) == len(listed(run_module, record, vms=[shown])) == 1
    assert not run_module("vm_nic_record", options(record, *vms))["changed"]


def test_nics_of_other_networks_are_nobodys_concern(run_module: RunModule, record: str) -> None:
    odd = {**WEB1, "nics": [{"device": 0, "mac": "none", "network": "else\n"}, {"device": -5, "network": None}, WEB1["nics"][1]]}
    result = run_module("vm_nic_record", options(record, odd, networks=["lab"]))
    assert [nic["network"] for nic in result["nics"]] == ["lab"]


@pytest.mark.parametrize("state", ["stopped", "absent"])
def test_a_name_that_fits_several_is_an_error_and_the_id_decides(run_module: RunModule, record: str, state: str) -> None:
    twins = [{**WEB1, "name": "twin", "id": f"id{place}", "nics": [WEB1["nics"][place]]} for place in (0, 1)]
    run_module("vm_nic_record", options(record, *twins, {**WEB1, "name": "web2", "id": "id2", "nics": WEB1["nics"][:1]}))
    before = listed(run_module, record)
    result = run_module("vm_nic_record", options(record, {"name": "twin"}, {"name": "web2"}, state=state), fails=True)
    assert result["msg"] == "twin: the record has 2 VMs of this name (id0, id1): give the id of the one meant"
    after = listed(run_module, record)
    assert after[:2] == before[:2] and after[2:] != before[2:]
    assert run_module("vm_nic_record", options(record, {"name": "twin", "id": "id1"}, state=state))["changed"]
    assert listed(run_module, record)[0] == before[0]


def test_a_migrated_vm_takes_its_rows_along(run_module: RunModule, record: str) -> None:
    run_module("vm_nic_record", options(record, WEB1, max_retry=3))
    moved = {**options(record, WEB1), "hypervisor_name": "kvm02", "moved_from": "kvm01"}
    assert run_module("vm_nic_record", moved)["changed"]
    assert {(nic["hypervisor_name"], nic["device"]) for nic in listed(run_module, record)} == {("kvm02", 0), ("kvm02", 1)}
    # Somebody recorded it at the old place again, though it is at the new one: one row for each NIC is left.
    run_module("vm_nic_record", options(record, WEB1))
    assert run_module("vm_nic_record", moved)["changed"]
    assert {(nic["hypervisor_name"], nic["device"]) for nic in listed(run_module, record)} == {("kvm02", 0), ("kvm02", 1)}


@pytest.mark.parametrize(("option", "value"), [("hypervisor_name", ""), ("hypervisor_name", "a\nb"), ("moved_from", "x" * 256)])
def test_a_name_no_database_would_take(run_module: RunModule, record: str, option: str, value: str) -> None:
    result = run_module("vm_nic_record", {**options(record, WEB1), option: value}, fails=True)
    assert result["msg"] == f"{option} must have 1 to 255 printable characters"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://u:s3cret-word@db.example.com", "names no database on db.example.com"),
        ("oracle://u:s3cret-word@db/x", "names the database 'oracle'"),
        ("s3cret-word", "is not a database URL"),
        ("sqlite://", "must name a file"),
        ("sqlite:////x?password=s3cret-word", "must name a file"),
    ],
)
def test_a_bad_url_is_named_without_its_password(run_module: RunModule, url: str, message: str) -> None:
    result = run_module("vm_nic_record", options(url, WEB1), fails=True)
    assert message in result["msg"]
    assert "s3cret-word" not in str(result)


@pytest.mark.parametrize(("option", "value"), [("after_event", 2**70), ("after_event", -1), ("limit", 2**70), ("limit", 0)])
def test_numbers_no_database_counts_to(run_module: RunModule, record: str, option: str, value: int) -> None:
    run_module("vm_nic_record", options(record, WEB1))
    result = run_module("vm_nic_record_info", {"record": record, "events": True, option: value}, fails=True)
    assert f"{option} is {value}: it must be from" in result["msg"]
