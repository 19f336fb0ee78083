# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is put into AWX fits together, and settings that make no sense are refused with the way out."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.vmops.external_dhcp.plugins.filter.awx_objects import FilterModule

awx_objects = FilterModule().filters()["awx_objects"]
ROOT = pathlib.Path(__file__).resolve().parents[4]
KVM = {"name": "kvm01", "hypervisor": {"type": "kvm", "uri": "qemu+ssh://root@kvm01/system?no_tty=1"}}
POOL = {
    "name": "pool-1",
    "hypervisor": {"type": "xenserver", "host": "xen1"},
    "credential": {"username": "root", "password": "x"},
}
SETTINGS = {"project": {"scm_url": "https://git.example.com/a.git"}, "hypervisors": [KVM, POOL]}


def _objects(**more: t.Any) -> dict[str, list[dict[str, t.Any]]]:
    return t.cast("dict[str, list[dict[str, t.Any]]]", awx_objects({**SETTINGS, **more}))


def test_everything_refers_to_what_is_made() -> None:
    made = _objects(
        notification={"notification_type": "slack"}, execution_environment={"image": "ee"}, record_url="sqlite:////r.db"
    )
    names = {kind: {entry["name"] for entry in entries} for kind, entries in made.items()}
    for template in made["controller_templates"]:
        assert {template["inventory"]} <= names["controller_inventories"]
        assert {template["project"]} <= names["controller_projects"]
        assert set(template["credentials"]) <= names["controller_credentials"]
        assert {template["execution_environment"]} <= names["controller_execution_environments"]
        assert set(template["notification_templates_error"]) <= names["controller_notifications"]
    assert {entry["unified_job_template"] for entry in made["controller_schedules"]} <= names["controller_templates"]
    (workflow,) = made["controller_workflows"]
    assert {node["unified_job_template"]["name"] for node in workflow["workflow_nodes"]} <= names["controller_templates"]


def test_each_job_has_its_playbook_in_the_project_folder() -> None:
    playbooks = {entry["playbook"] for entry in _objects()["controller_templates"]}
    project = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / "awx/project").glob("*.yml")}
    assert playbooks == set(project)
    ours = {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
    assert {play["ansible.builtin.import_playbook"].rpartition(".")[2] for plays in project.values() for play in plays} <= ours


def test_surveys_give_what_the_playbooks_take() -> None:
    for template in _objects()["controller_templates"]:
        text = (ROOT / "awx/project" / template["playbook"]).read_text()
        for question in template.get("survey_spec", {}).get("spec", ()):
            assert question["variable"] == "vm_names" or question["variable"] in text


def test_passwords_are_retired_on_a_schedule_that_is_asked_for() -> None:
    assert not [entry for entry in _objects()["controller_schedules"] if "retire" in entry["name"]]
    (schedule,) = (entry for entry in _objects(retire_at="03:15")["controller_schedules"] if "retire" in entry["name"])
    assert schedule["unified_job_template"] == "External DHCP: retire passwords"
    assert schedule["rrule"] == "DTSTART:20260101T031500Z RRULE:FREQ=DAILY;INTERVAL=1"


def test_the_account_of_a_host_is_looked_up_in_the_environment() -> None:
    kvm, pool = _objects()["controller_hosts"]
    assert kvm["variables"]["hypervisor"]["uri"] == (
        "qemu+ssh://root@kvm01/system?no_tty=1&keyfile={{ lookup('ansible.builtin.env', 'EXTERNAL_DHCP_KVM01_SSH_KEY') }}"
    )
    assert pool["variables"]["hypervisor"]["password"] == "{{ lookup('ansible.builtin.env', 'EXTERNAL_DHCP_POOL_1_PASSWORD') }}"


def test_dns_servers_without_a_key_get_the_credential_s() -> None:
    servers = [{"host": "ns1"}, {"host": "ns2", "key_file": "/etc/key"}]
    (inventory,) = _objects(inventory_variables={"dns_servers": servers}, dns_key="key k {};")["controller_inventories"]
    looked_up = {"host": "ns1", "key_file": "{{ lookup('ansible.builtin.env', 'EXTERNAL_DHCP_DNS_KEY') }}"}
    assert inventory["variables"]["dns_servers"] == [looked_up, servers[1]]


def test_without_an_account_no_credential_is_made() -> None:
    assert [entry["name"] for entry in _objects()["controller_credentials"]] == ["External DHCP: hypervisor pool-1"]


def test_passwords_are_in_credentials_only() -> None:
    made = _objects(
        record_url="postgresql://u:canary@db/r", hypervisors=[{**POOL, "credential": {"username": "u", "password": "canary"}}]
    )
    del made["controller_credentials"]
    assert "canary" not in json.dumps(made)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hypervisors": []}, "there is none"),
        ({"hypervisors": [{"name": "a", "hypervisor": {"type": "hyperv"}}]}, "'hyperv', not one of kvm, xenserver, vmware"),
        ({"hypervisors": [{**POOL, "hypervisor": {"type": "vmware", "password": "x"}}]}, "give it as credential"),
        ({"hypervisors": [POOL, {**POOL, "name": "pool.1"}]}, "pool-1 and pool.1 give one environment variable"),
        ({"watch": 180}, "do not fit into configure_awx_interval"),
        ({"interval": 0}, "between 1 and 1440 minutes"),
        ({"reconcile_at": "2am"}, "configure_awx_reconcile_at: '2am' is no time such as 02:15"),
        ({"retire_at": "24:00"}, "configure_awx_retire_at: '24:00' is no time such as 02:15"),
        ({"intervall": 3}, "there is no setting intervall"),
    ],
)
def test_wrong_settings(settings: dict[str, t.Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        _objects(**settings)
