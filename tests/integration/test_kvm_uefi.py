# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""VMs with UEFI: the firmware (OVMF) starts the guests' kernel, each with variables of its own, which go with the VM."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import typing as t
import xml.etree.ElementTree as ET

import pytest

from ansible_collections.vmops.external_dhcp.tests.integration.kvm_host import KvmHost, playbook, wait_for

TEMPLATE, VMS = "it-uefi", ("it-uefi1", "it-uefi2")
CODE, VARIABLES = "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"


def definition(kvm: KvmHost) -> str:
    """The rig's machine q35 with firmware, which needs the kernel as its package has it."""
    domain = ET.fromstring(kvm.virsh("dumpxml", "--inactive", kvm.status["TEMPLATE_Q35"]))
    for name in ("uuid", "description"):
        domain.remove(t.cast("ET.Element", domain.find(name)))
    t.cast("ET.Element", domain.find("name")).text = TEMPLATE
    system = t.cast("ET.Element", domain.find("os"))
    kernel = t.cast("ET.Element", system.find("kernel"))
    kernel.text = str(kernel.text).replace(".vmlinux", ".vmlinuz")
    ET.SubElement(system, "loader", {"readonly": "yes", "type": "pflash"}).text = CODE
    ET.SubElement(system, "nvram", {"template": VARIABLES})
    for log in domain.findall("devices/serial/log"):
        log.set("file", f"/var/log/libvirt/qemu/{TEMPLATE}.serial.log")
    for interface in domain.findall("devices/interface/mac"):
        interface.set("address", "52:54:00:0e:0f:01")
    return ET.tostring(domain, encoding="unicode")


@pytest.fixture
def inventory(kvm: KvmHost, tmp_path: pathlib.Path) -> t.Iterator[pathlib.Path]:
    host = {
        "hypervisor": kvm.hypervisor,
        "external_dhcp_record": f"sqlite:///{tmp_path / 'record.db'}",
        "shared_networks": [{"name": "corp", "bridge": kvm.status["BRIDGE"], "cidr": kvm.status["CIDR"]}],
        "vms": [{"name": name, "template": TEMPLATE, "networks": ["corp"], "user_data": f"for {name}"} for name in VMS],
    }
    path = tmp_path / "inventory.json"
    path.write_text(json.dumps({"all": {"hosts": {"kvm01": host}}}))
    try:
        yield path
    finally:
        for name in (*VMS, TEMPLATE):
            kvm.undefine(name)


def test_two_clones_boot_with_uefi_variables_of_their_own(kvm: KvmHost, inventory: pathlib.Path) -> None:
    folder = pathlib.Path(kvm.status["STATE_DIR"]) / "libvirt/lib/qemu/nvram"
    folder.mkdir(parents=True, exist_ok=True)
    kvm.define(definition(kvm))
    # Those of a template that was started.
    shutil.copyfile(VARIABLES, folder / f"{TEMPLATE}_VARS.fd")
    before = (folder / f"{TEMPLATE}_VARS.fd").read_bytes()

    def files() -> set[str]:
        return {file for file in os.listdir(folder) if file.startswith(TEMPLATE)}

    playbook("deploy_vms", inventory, vm_wait=False).good()
    wait_for("their boots", lambda: all("] ready" in kvm.serial_log(name) for name in VMS))
    for name in VMS:
        assert kvm.agent(name, "ls /sys/firmware/efi/fw_platform_size /var/lib/config-drive/drive-seen").count("\n") == 2
        assert kvm.agent(name, "cat /var/lib/config-drive/user-data") == f"for {name}"
    assert files() == {f"{name}_VARS.fd" for name in (TEMPLATE, *VMS)}
    assert (folder / f"{TEMPLATE}_VARS.fd").read_bytes() == before
    assert all((folder / f"{name}_VARS.fd").read_bytes() != before for name in VMS), "the firmware wrote into them"

    playbook("destroy_vms", inventory, vm_names=[VMS[0]]).good()
    assert files() == {f"{name}_VARS.fd" for name in (TEMPLATE, VMS[1])}
    assert kvm.virsh("domstate", VMS[1]) == "running"
    kvm.agent_answers(VMS[1])
