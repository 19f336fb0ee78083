# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The examples of the documentation, run as they stand but for the folder."""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import subprocess
import sys

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLLECTION = "ansible_collections.vmops.external_dhcp.plugins"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK7YRMRPaZtPzotKgLW++8AwCP9aBcDtqBtkAXDUghyI ops"
VARIABLES = {
    "vault_web1_password": "Ab2-Cd3-Ef4",
    "vault_web1_new_password": "Gh5-Jk6-Mn7",
    "vault_db1_password_hash": "$6$saltsalt$" + "a" * 86,
    "vms": [{"name": "web1", "password": "Gh5-Jk6-Mn7"}],
}


def examples(name, place):
    text = importlib.import_module(f"{COLLECTION}.{name}").EXAMPLES
    return yaml.safe_load(text.replace("/var/lib/config-drives", str(place / "drives")))


def play(tasks, place):
    (place / ".ssh").mkdir(exist_ok=True)
    (place / ".ssh/id_ed25519.pub").write_text(KEY + "\n")
    playbook = place / "play.json"
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "vars": VARIABLES, "tasks": tasks}]))
    environment = {
        **os.environ,
        "HOME": str(place),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build" / "collections"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }
    program = str(pathlib.Path(sys.executable).with_name("ansible-playbook"))
    command = [program, "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}", str(playbook)]
    # In its folder, for an example may write into the current one.
    return subprocess.run(
        command, env=environment, cwd=place, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


@pytest.fixture
def place(tmp_path):
    tmp_path.chmod(0o700)
    return tmp_path


def test_examples_of_config_drive_iso(place):
    tasks = examples("modules.config_drive_iso", place)
    process = play(tasks, place)
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr
    assert f"changed={len(tasks)} " in process.stdout
    assert sorted(os.listdir(place / "drives")) == ["db1.iso", "web1.iso"]
    kept = play(tasks[1:3], place)
    assert "changed=1 " in kept.stdout, kept.stdout  # db2 again, which the last example deleted


def test_examples_of_config_drive_iso_info(place):
    drive = {"dest": str(place / "drives"), "drives": VARIABLES["vms"]}
    tasks = [{"vmops.external_dhcp.config_drive_iso": drive}, *examples("modules.config_drive_iso_info", place)]
    process = play(tasks, place)
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr
    tampered = [{"vmops.external_dhcp.config_drive_iso": {**drive, "drives": [{"name": "web1"}]}}, tasks[2]]
    assert play(tampered, place).returncode == 2


def test_examples_of_the_lookup(place):
    made, kept = examples("lookup.vm_password", place)
    check = {"ansible.builtin.assert": {"that": ["passwords.web1 | length == 20", "passwords.web1 != passwords.web2"]}}
    again = {"ansible.builtin.set_fact": {"before": "{{ passwords }}"}}
    same = {"ansible.builtin.assert": {"that": ["passwords == before", "passwords.web1 | length == 16"]}}
    process = play([made, check, kept, again, kept, same], place)
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr
