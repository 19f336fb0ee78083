# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._vm_jobs import (
    JOBS,
    Request,
    outdated,
    problem_of,
    reset_drives,
)
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._vm_plan import vm_plan

NETWORKS = [{"name": "corp"}, {"name": "plain", "services": []}]
VMS: list[dict[str, t.Any]] = [
    {"name": "web1", "template": "golden", "networks": ["corp"], "password": "First-1-pw", "reader": "ours"},
    {"name": "web2", "networks": ["plain"]},
]


def problem(job: str, **more: t.Any) -> str:
    return problem_of(job, Request(**{"vms": VMS, "shared_networks": NETWORKS, "hypervisor": {"type": "kvm"}, **more}))


@pytest.mark.parametrize("job", JOBS)
def test_a_good_request_has_no_problem(job: str):
    destination, passwords = {"host": "h2"}, {"web1": "Second-2-pw"}
    for names in ("web1, web2", ["web2"], '["web1"]'):
        assert problem(job, names=names, label="config", destination=destination, passwords=passwords) == ""


@pytest.mark.parametrize("job", sorted(set(JOBS) - {"reset_password"}))
@pytest.mark.parametrize("names", ["web1,", "", [""], {"web1": 1}, 7])
def test_no_job_takes_what_is_no_list_of_names(job: str, names: t.Any):
    assert "vm_names" in problem(job, names=names)


@pytest.mark.parametrize("names", ["golden", "web1,golden", ["golden"], "golden "])
def test_a_template_is_never_destroyed(names: t.Any):
    assert "'golden', which is the template" in problem("destroy", names=names, destroy_others=True)


@pytest.mark.parametrize("names", ["db1", "web1, db1", ["db1"]])
def test_only_vms_of_the_inventory_are_destroyed_unless_told_otherwise(names: t.Any):
    said = problem("destroy", names=names)
    assert "'db1', which is not in vms" in said and "vm_destroy_others" in said
    assert problem("destroy", names=names, destroy_others=True) == ""


def test_what_is_wrong_with_an_entry_is_no_reason_to_keep_a_vm():
    assert problem("destroy", vms=[{"name": "web1", "ssh_key": "x"}], names="web1") == ""
    assert "did you mean web1" in problem("destroy", names="wbe1")


@pytest.mark.parametrize("job", ["destroy", "migrate"])
@pytest.mark.parametrize("names", [None, []])
def test_some_jobs_need_names(job: str, names: t.Any):
    assert "vm_names is empty" in problem(job, names=names, destination={"host": "h2"})


@pytest.mark.parametrize("destination", [None, {}, "host2", {"host": ""}])
def test_a_migration_needs_a_destination(destination: t.Any):
    assert "vm_destination" in problem("migrate", names="web1", destination=destination)


def test_the_data_of_the_drives_is_checked_before_a_deployment():
    vms = [{**VMS[0], "networks": ["plain"]}]
    assert "plain" in problem("deploy", vms=vms, label="config") and problem("start", vms=vms) == ""


@pytest.mark.parametrize(
    ("passwords", "words"),
    [
        (None, "vm_passwords must be a mapping"),
        ("Secret-3-pw", "vm_passwords must be a mapping"),
        ({}, "vm_passwords must be a mapping"),
        ({"wbe1": "Secret-3-pw"}, "did you mean web1"),
        ({"web1": ["Secret-3-pw"]}, "password"),
        ({"web2": "Secret-3-pw"}, "plain"),  # its network is for metadata only
    ],
)
def test_a_password_that_cannot_be_set_is_told_without_it(passwords: t.Any, words: str):
    said = problem("reset_password", passwords=passwords)
    assert words in said and "Secret-3" not in said


def test_a_reset_takes_services_and_reader_along():
    plan = vm_plan(VMS, NETWORKS)
    assert reset_drives({"web1": "Second-2-pw"}, plan) == [
        {"name": "web1", "password": "Second-2-pw", "services": ["userdata"], "network": "corp", "reader": "ours"}
    ]


def test_a_reset_makes_what_is_not_given():
    vms = [*VMS, {"name": "web3", "password_public_key": "age1own"}]
    entries = reset_drives({"web1": None, "web3": None}, vm_plan(vms, NETWORKS), "age1all")
    assert [(entry["name"], entry["password_public_key"], "password" in entry) for entry in entries] == [
        ("web1", "age1all", False),
        ("web3", "age1own", False),
    ]
    assert "vm_password_public_key is not set" in problem("reset_password", passwords={"web1": None})
    assert "is not a public key" in problem("reset_password", passwords={"web1": None}, password_public_key="key")
    # The one is in vms as well, and would come back; the other's drive keeps what it has.
    assert outdated({"web1": None, "web3": None}, vm_plan(vms, NETWORKS)) == ["web1"]


def test_whose_password_in_the_inventory_is_another_is_told():
    plan = vm_plan([*VMS, {"name": "web3", "password_hash": "$6$x$y"}, {"name": "web4"}], NETWORKS)
    assert outdated({"web1": "First-1-pw"}, plan) == []
    assert outdated({"web1": "Second-2-pw", "web3": "a", "web4": "b"}, plan) == ["web1", "web3", "web4"]


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("hypervisor", [None, {}, ""])
def test_a_host_without_its_variable_is_told_first_of_all(job: str, hypervisor: t.Any):
    said = problem(job, hypervisor=hypervisor, names="web1,")
    assert (
        said.startswith("this host has no variable hypervisor") and "set it in the inventory, such as hypervisor: {type:" in said
    )


def test_user_data_that_may_have_been_json_text_is_told_before_a_deployment_and_keeps_nobody_from_stopping():
    vms = [{"name": "web1", "user_data": {"a": 1}}]
    assert "user_data_base64" in problem("deploy", vms=vms, label="config", doubtful=["web1"])
    assert problem("stop", vms=vms, doubtful=["web1"]) == ""
