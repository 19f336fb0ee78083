# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way into a guest through its hypervisor, as the connection plugins document it; what has none is refused with the way out."""

from __future__ import annotations

import pathlib
import re
import typing as t

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from ansible_collections.vmops.external_dhcp.plugins.filter.guest_channel import FilterModule

guest_channel = FilterModule().filters()["guest_channel"]
ROOT = pathlib.Path(__file__).resolve().parents[4]
KVM = {"type": "kvm", "uri": "qemu+ssh://root@kvm01/system"}
VMWARE = {"type": "vmware", "host": "vc", "username": "u", "password": "p", "datacenter": "DC1", "validate_certs": False}
PLUGINS = ((KVM, "community.libvirt"), (VMWARE, "community.vmware"))


def test_kvm() -> None:
    assert guest_channel(KVM, "golden") == {
        "hypervisor": "kvm",
        "ansible_connection": "community.libvirt.libvirt_qemu",
        "ansible_host": "golden",
        "ansible_libvirt_uri": KVM["uri"],
    }


@pytest.mark.parametrize(
    ("more", "path"),
    [({}, "DC1/vm/golden%2f1"), ({"folder": "/DC1/vm/templates", "datacenter": "DC2"}, "DC1/vm/templates/golden%2f1")],
)
def test_vmware(more: dict[str, str], path: str) -> None:
    made = guest_channel({**VMWARE, **more}, "golden/1", password="secret")
    assert (made["ansible_vmware_guest_path"], made["ansible_vmware_validate_certs"], made["ansible_vmware_port"]) == (
        path,
        False,
        443,
    )
    assert (made["ansible_vmware_tools_user"], made["ansible_vmware_tools_password"]) == ("root", "secret")


@pytest.mark.parametrize(("hypervisor", "collection"), PLUGINS)
def test_the_plugins_read_these_variables(hypervisor: dict[str, t.Any], collection: str) -> None:
    made = guest_channel(hypervisor, "golden", password="x")
    folder = pytest.importorskip(f"ansible_collections.{collection}").__path__[0]
    plugin = made["ansible_connection"].rpartition(".")[2]
    source = pathlib.Path(folder, "plugins/connection", f"{plugin}.py").read_text()
    documentation = re.search(r"DOCUMENTATION = r?(\"\"\"|''')(.*?)\1", source, re.DOTALL)
    assert documentation is not None
    options = yaml.safe_load(documentation.group(2))["options"].values()
    read = {entry["name"] for option in options for entry in option.get("vars", ())}
    assert set(made) - {"hypervisor", "ansible_connection"} <= read


@pytest.mark.parametrize(
    ("hypervisor", "message"),
    [
        ({"type": "xenserver", "host": "x"}, "xenserver, which has no channel .*entry point linux.*entry point image"),
        ({"type": "kvm"}, "hypervisor.uri is not set"),
        ({**VMWARE, "datacenter": None}, "say where the VM golden is"),
        ({**VMWARE, "username": ""}, "hypervisor.username is not set"),
        ({"type": "hyperv"}, "'hyperv', not kvm or vmware"),
        ("kvm", "must be a mapping"),
    ],
)
def test_what_is_no_channel(hypervisor: t.Any, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        guest_channel(hypervisor, "golden", password="x")


def test_vmware_needs_a_password() -> None:
    with pytest.raises(AnsibleFilterError, match="vm_template_guest_password is not set"):
        guest_channel(VMWARE, "golden")


def test_the_role_passes_on_all_that_the_filter_makes() -> None:
    (task,) = yaml.safe_load((ROOT / "roles/vm_template/tasks/guest_channel.yml").read_text())
    made = set(guest_channel(KVM, "a")) | set(guest_channel(VMWARE, "a", password="x"))
    assert made - {"hypervisor"} <= set(task["vars"])
