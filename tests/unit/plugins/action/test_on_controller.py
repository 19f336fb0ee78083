# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action plugins of the modules, run by ansible-playbook itself."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
from ansible.release import __version__ as core_version

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image

ROOT = pathlib.Path(__file__).resolve().parents[4]
OLD = core_version.startswith("2.18.")
JSON_TEXT = '{"a": 1, "b": "x"}'


def play(folder: pathlib.Path, tasks: list[dict[str, t.Any]], variables: dict[str, t.Any], **more: t.Any) -> tuple[int, str]:
    """A play on this machine; its exit status and what it said."""
    ansible = pathlib.Path(sys.executable).with_name("ansible-playbook")
    if not ansible.exists():
        pytest.skip("there is no ansible-playbook beside this Python")
    (folder / "data.json").write_text(JSON_TEXT)
    (folder / "inventory.json").write_text(json.dumps({"all": {"hosts": {"here": variables}}}))
    content = {"hosts": "all", "gather_facts": False, "connection": "local", "tasks": tasks, **more}
    (folder / "play.json").write_text(json.dumps([content]))
    found = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build" / "collections"), "ANSIBLE_NOCOLOR": "1"}
    command = [str(ansible), "-vvv", "-i", "inventory.json", "play.json"]
    done = subprocess.run(command, cwd=folder, env=found, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def drive(name: str, **more: t.Any) -> dict[str, t.Any]:
    return {"vmops.external_dhcp.config_drive_iso": {"dest": "out", "drives": [{"name": name, **more}]}}


def user_data(folder: pathlib.Path, name: str) -> str:
    files = image.read((folder / "out" / f"{name}.iso").read_bytes()).files
    return files["cloudstack/userdata/user_data.txt"].decode()


HERE = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}


def test_text_stays_text_and_what_may_not_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "out").mkdir(mode=0o700)
    variables = {**HERE, "text": "{{ lookup('ansible.builtin.file', 'data.json') }}", "mapping": {"b": 2, "a": 1}}
    tasks = [
        drive("literal", user_data={"b": 2, "a": 1}),
        drive("variable", user_data="{{ mapping }}"),
        drive("plain", user_data=JSON_TEXT),
        drive("encoded", user_data_base64="{{ lookup('ansible.builtin.file', 'data.json') | b64encode }}"),
        drive("template", user_data="{{ text }}"),
    ]
    status, said = play(tmp_path, tasks, variables)
    assert user_data(tmp_path, "literal") == user_data(tmp_path, "variable") == "a=1\nb=2"
    assert user_data(tmp_path, "plain") == user_data(tmp_path, "encoded") == JSON_TEXT
    if OLD:
        assert status == 2 and "nothing was changed: drive template: user_data is a mapping, and ansible-core 2.18" in said
        assert not (tmp_path / "out" / "template.iso").exists()
    else:
        assert status == 0 and user_data(tmp_path, "template") == JSON_TEXT


@pytest.mark.parametrize("here", [True, False])
def test_a_module_runs_as_ansible_runs_it(tmp_path: pathlib.Path, here: bool) -> None:
    """Options, defaults, environment, check mode, diff, warnings, errors and secrets are the same, packed up or not."""
    (tmp_path / "out").mkdir(mode=0o700)
    secret = base64.b64encode(b"do-not-show-me").decode()
    variables = {"ansible_python_interpreter": "{{ ansible_playbook_python }}" if here else sys.executable + " "}
    info = {"vmops.external_dhcp.vm_nic_record_info": {"vms": " web1, web2 "}, "register": "found"}
    tasks = [
        {**drive("web1", password="Hide-this-1!", reader="cloudstack"), "check_mode": True, "diff": True},
        {**drive("web1", user_data_base64=secret), "register": "made"},
        {
            "ansible.builtin.assert": {
                "that": ["made is changed", "made.drives[0].name == 'web1'", "made.warnings is not defined"]
            }
        },
        {**info, "environment": {"EXTERNAL_DHCP_RECORD": "sqlite:///{{ playbook_dir }}/record.db"}},
        {"ansible.builtin.assert": {"that": ["found.nics == []", "'record.db' in found.warnings[0]"]}},
        {"vmops.external_dhcp.vm_power": {"hypervisor": {"type": "kvm"}, "vms": ["a", ""], "state": "running"}},
    ]
    status, said = play(
        tmp_path, tasks, variables, module_defaults={"vmops.external_dhcp.config_drive_iso": {"label": "config-2"}}
    )
    assert status == 2, said
    assert image.read((tmp_path / "out" / "web1.iso").read_bytes()).label == "config-2"
    assert "nothing was changed: vms has an empty name" in said
    assert "web1.iso" in said and "Hide-this" not in said and secret not in said and "do-not-show-me" not in said
    assert ("Using module file" in said) != here  # how Ansible packs up and runs every other module
