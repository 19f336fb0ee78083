# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Playbooks called without names mean all VMs and networks, on the oldest ansible-core as well, which makes a text of none."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# libvirt's own test driver: a hypervisor in the module's process, with one VM and one network
INVENTORY = """
all:
  hosts:
    kvm01:
      hypervisor: {type: kvm, uri: "test:///default"}
      shared_networks: [{name: default, bridge: default}]
      ansible_python_interpreter: "{{ ansible_playbook_python }}"
      ansible_connection: local
      vm_ip_poll_sources: [agent]
"""


@pytest.mark.parametrize(
    ("playbook", "names"),
    [("sync_vms", ""), ("tick_vm_ips", ""), ("make_networks", ""), ("list_vms", ""), ("tick_vm_ips", "vm_names=")],
)
def test_no_names_are_all_and_empty_names_are_refused(playbook: str, names: str, tmp_path: pathlib.Path) -> None:
    pytest.importorskip("libvirt")
    ansible = pathlib.Path(sys.executable).with_name("ansible-playbook")
    if not ansible.exists():
        pytest.skip("there is no ansible-playbook beside this Python")
    (tmp_path / "inventory.yml").write_text(INVENTORY)
    found = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build" / "collections"), "ANSIBLE_NOCOLOR": "1"}
    found["EXTERNAL_DHCP_RECORD"] = f"sqlite:///{tmp_path / 'record.db'}"
    words = [str(ansible), "-i", "inventory.yml", f"vmops.external_dhcp.{playbook}", *(["-e", names] if names else [])]
    done = subprocess.run(words, cwd=tmp_path, env=found, capture_output=True, text=True, timeout=120, check=False)
    said = done.stdout + done.stderr
    assert ("empty" in said) == bool(names), said
    # What follows is not for libvirt's test driver: it knows no networks' flags, and its VM has no address to be found.
    assert bool(done.returncode) == bool(names) or playbook != "list_vms", said
