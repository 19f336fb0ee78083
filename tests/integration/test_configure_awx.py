# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role configure_awx against a stand-in of AWX's API, with the modules of awx.awx: all objects once, and no change the second time."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.tests.unit.doc_commands import PAGES, ROOT, commands

sys.path[:0] = [str(ROOT / "tests/rigs/awx")]

import awx_api

SETTINGS: dict[str, t.Any] = {
    "configure_awx_project": {"scm_url": "https://git.example.com/automation.git", "scm_branch": "main"},
    "configure_awx_execution_environment": {"image": "external-dhcp-ee:latest"},
    "configure_awx_record_url": "postgresql://vmops:canary-record@db.example.com/record",
    "configure_awx_watch": 170,
    "configure_awx_retire_at": "03:15",
    "configure_awx_notification": {
        "notification_type": "webhook",
        "notification_configuration": {
            "url": "https://chat.example.com/hook",
            "http_method": "POST",
            "headers": {"X-Key": "canary-hook"},
        },
    },
    "configure_awx_hypervisors": [
        {
            "name": "kvm01",
            "hypervisor": {"type": "kvm", "uri": "qemu+ssh://root@kvm01.example.com/system"},
            "credential": {"ssh_key": "-----BEGIN OPENSSH PRIVATE KEY-----\ncanary-ssh-key\n-----END OPENSSH PRIVATE KEY-----\n"},
            "shared_networks": [{"name": "corp", "bridge": "br-corp"}],
        },
        {
            "name": "pool1",
            "hypervisor": {"type": "xenserver", "host": "xen1"},
            "credential": {"username": "root", "password": "canary-1"},
        },
        {
            "name": "pool2",
            "hypervisor": {"type": "xenserver", "host": "xen2"},
            "credential": {"username": "root", "password": "canary-2"},
        },
    ],
}


@pytest.fixture(scope="module")
def api():
    with awx_api.Server(awx_api.Awx(ROOT / "awx/project")) as server:
        yield server


def _configure(api: t.Any, folder: pathlib.Path, **settings: t.Any) -> str:
    (folder / "awx.yml").write_text(json.dumps({**SETTINGS, **settings}))
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": f"{os.environ['ANSIBLE_COLLECTIONS_PATH']}:{ROOT / '.build/awx'}",
        "CONTROLLER_HOST": api.url,
        "CONTROLLER_USERNAME": "admin",
        "CONTROLLER_PASSWORD": "secret",
    }
    (command,) = commands(PAGES["docs/awx.md"])
    words = [*shlex.split(command), "-v", "-i", "localhost,"]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert "canary" not in done.stdout + done.stderr
    return done.stdout


def test_all_objects_once_and_no_change_the_second_time(api, tmp_path) -> None:
    assert " changed=10 " in _configure(api, tmp_path)
    objects = api.awx.objects
    assert " changed=0 " in _configure(api, tmp_path)
    names = {place: [entry.get("name") for entry in entries.values()] for place, entries in objects.items()}
    assert names["hosts"] == ["kvm01", "pool1", "pool2"]
    assert len(names["job_templates"]) == len(set(names["job_templates"])) > 10
    # Both pools at once: a job can have one credential of a type, so each has a type of its own.
    assert len({entry["credential_type"] for entry in objects["credentials"].values()}) == 4
    (look,) = (number for number, entry in objects["job_templates"].items() if entry["playbook"] == "tick_vm_ips.yml")
    assert len(api.awx.linked["job_templates", look, "credentials"]) == 4
    (retire,) = (number for number, entry in objects["job_templates"].items() if entry["playbook"] == "retire_passwords.yml")
    assert retire in [entry["unified_job_template"] for entry in objects["schedules"].values()]
    assert json.loads(objects["job_templates"][look]["extra_vars"]) == {"vm_ip_poll_watch": 170}
    assert "canary" not in json.dumps(
        {place: entries for place, entries in objects.items() if place not in ("credentials", "notification_templates")}
    )
    assert api.awx.tokens == {}, "a token was left in AWX"


def test_what_a_job_finds_in_its_environment_is_what_the_inventory_looks_up(api) -> None:
    """The injectors of the credential types and the hosts' variables speak of the same environment variables."""
    injected = {name for entry in api.awx.objects["credential_types"].values() for name in entry["injectors"]["env"]}
    looked_up = set(re.findall(r"EXTERNAL_DHCP_[A-Z0-9_]+", json.dumps(list(api.awx.objects["hosts"].values()))))
    assert looked_up == injected - {"EXTERNAL_DHCP_RECORD", "EXTERNAL_DHCP_DNS_KEY"}
    assert len(looked_up) == 5
