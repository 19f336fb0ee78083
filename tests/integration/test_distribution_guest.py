# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A whole Debian, as its packages make it, becomes a template offline; a clone of it boots with systemd and reads its drive.

Minutes under emulation, so only with VMOPS_TEST_DISTRIBUTION=1, as `make matrix` sets it. What it shows of the start is what no unit
test can: that config-drive.service is early enough for the DHCP server to be told the clone's name, and makes no circle of units.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import secrets
import shutil
import subprocess
import sys
import typing as t
import xml.etree.ElementTree as ET

import pytest

from ansible_collections.vmops.external_dhcp.tests.integration.kvm_host import RIGS, KvmHost, wait_for

pytestmark = pytest.mark.skipif(not os.environ.get("VMOPS_TEST_DISTRIBUTION"), reason="minutes: set VMOPS_TEST_DISTRIBUTION=1")

TEMPLATE, CLONE = "it-whole-debian", "it-whole-clone"
CLOUD, CLOUD_CLONE = "it-cloud-debian", "it-cloud-clone"
#: Seconds for a boot, with all of systemd's services, on a busy machine.
PATIENCE = 900


@dataclasses.dataclass
class Site:
    kvm: KvmHost
    folder: pathlib.Path
    password: str
    key: str


def built(*words: str) -> dict[str, str]:
    """The paths that distribution.py prints."""
    command = [sys.executable, "-B", str(RIGS / "kvm" / "distribution.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(line.split("=") for line in done.stdout.split())


def definition(kvm: KvmHost) -> str:
    """The rig's template machine with this disk and its own kernel and initramfs, and the memory that a whole system needs."""
    domain = ET.fromstring(kvm.virsh("dumpxml", "--inactive", kvm.status["TEMPLATE"]))
    for name in ("uuid", "description"):
        domain.remove(t.cast("ET.Element", domain.find(name)))
    texts = {"name": TEMPLATE, "memory": "524288", "currentMemory": "524288", "os/kernel": "kernel", "os/initrd": "initrd"}
    for path, text in texts.items():
        found = t.cast("ET.Element", domain.find(path))
        found.text = f"{kvm.status['IMAGES']}/{TEMPLATE}.{text}" if path.startswith("os/") else text
    # As its own boot loader would start it, with the console where the test listens.
    own = "root=/dev/vda1 ro console=ttyS0 net.ifnames=0 mitigations=off no_timer_check"
    t.cast("ET.Element", domain.find("os/cmdline")).text = own
    t.cast("ET.Element", domain.find("devices/disk/source")).set("file", f"{kvm.status['IMAGES']}/{TEMPLATE}.disk")
    for interface in domain.findall("devices/interface/mac"):
        interface.set("address", "52:54:00:0d:0d:01")
    return ET.tostring(domain, encoding="unicode")


@pytest.fixture
def site(kvm: KvmHost, tmp_path: pathlib.Path) -> t.Iterator[Site]:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "owner", "-f", str(tmp_path / "key")], check=True)
    try:
        yield Site(kvm, tmp_path, f"Pw-{secrets.token_hex(6)}", (tmp_path / "key.pub").read_text().strip())
    finally:
        for name in (CLONE, TEMPLATE, CLOUD_CLONE, CLOUD):
            kvm.undefine(name)


def inventory(site: Site, **host: t.Any) -> pathlib.Path:
    """Of the one host kvm01 with these variables."""
    path = site.folder / "inventory.json"
    path.write_text(json.dumps({"all": {"hosts": {"kvm01": host}}}), encoding="utf-8")
    return path


def prepare(site: Site, tasks_from: str) -> t.Any:
    """The role's entry point, on this machine, for the distribution's disk."""
    role = {"ansible.builtin.include_role": {"name": "vmops.external_dhcp.vm_template", "tasks_from": tasks_from}}
    path = site.folder / "play.yml"
    path.write_text(json.dumps([{"hosts": "kvm01", "gather_facts": False, "tasks": [role]}]), encoding="utf-8")
    host = inventory(
        site,
        ansible_connection="local",
        ansible_python_interpreter=sys.executable,
        vm_template_image=str(site.kvm.images / f"{TEMPLATE}.disk"),
        vm_template_hypervisor="kvm",
        vm_template_bus="ide",
        vm_template_run_user_data=True,
        vm_template_image_method="chroot",
    )
    return site.kvm.playbook(str(path), host)


def deploy(site: Site, name: str, template: str, **more: t.Any) -> None:
    vm = {
        "name": name,
        "template": template,
        "networks": ["corp"],
        "password": site.password,
        "ssh_keys": [site.key],
        "user_data": "#!/bin/sh\necho ran as $(hostname) >>/root/it-script\n",
    }
    host = inventory(
        site,
        hypervisor=site.kvm.hypervisor,
        external_dhcp_record=f"sqlite:///{site.folder / 'record.db'}",
        shared_networks=[{"name": "corp", "bridge": site.kvm.status["BRIDGE"], "cidr": site.kvm.status["CIDR"]}],
        vms=[{**vm, **more}],
        **({"vm_drive_label": "config-2"} if more.get("reader") == "cloud_init" else {}),
    )
    site.kvm.playbook("deploy_vms", host, vm_wait=False).good()


def wait_until_up(site: Site) -> None:
    site.kvm.agent_answers(CLONE, PATIENCE)
    # All services have started, also the one with the user data.
    wait_for("the end of the boot", lambda: not site.kvm.agent(CLONE, "systemctl list-jobs --no-legend").strip(), PATIENCE)


def leases(site: Site) -> dict[str, str]:
    told = subprocess.run(
        [str(RIGS / "dhcp" / "rig"), "leases", "--name", site.kvm.name, "--json"], capture_output=True, text=True, check=True
    )
    return {lease["hostname"]: lease["address"] for lease in json.loads(told.stdout)}


def started(site: Site, unit: str, what: str) -> int:
    """Microseconds after power-on."""
    return int(site.kvm.agent(CLONE, f"systemctl show -P {what}TimestampMonotonic {unit}"))


@pytest.mark.matrix(
    hypervisor="KVM", guest="Debian 12, systemd", reader="our scripts", how="real", proves=["user data", "password", "SSH key"]
)
def test_a_whole_debian_12_becomes_a_template_and_its_clone_reads_its_drive(site: Site) -> None:
    a_template_and_its_clone(site, "bookworm")


@pytest.mark.matrix(
    hypervisor="KVM", guest="Debian 13, systemd", reader="our scripts", how="real", proves=["user data", "password", "SSH key"]
)
def test_a_whole_debian_13_becomes_a_template_and_its_clone_reads_its_drive(site: Site) -> None:
    a_template_and_its_clone(site, "trixie")


def a_template_and_its_clone(site: Site, suite: str) -> None:
    for name, path in built(suite).items():
        shutil.copyfile(path, site.kvm.images / f"{TEMPLATE}.{name}")
    before = prepare(site, "verify_image")
    assert before.returncode != 0 and "is not ready to be a template" in before.output
    made = prepare(site, "image").good()
    assert made.recap["changed"] == 1 and "is ready to be a template" in made.output
    assert prepare(site, "image").good().recap["changed"] == 0

    site.kvm.define(definition(site.kvm))
    deploy(site, CLONE, TEMPLATE)
    wait_until_up(site)
    print(
        site.kvm.agent(
            CLONE, "systemd-analyze time; systemd-analyze blame | head -5; journalctl -b -o short-monotonic -t kernel -n 1"
        )
    )
    assert site.kvm.agent(CLONE, "systemctl --failed --no-legend --plain") == ""
    assert "rdering cycle" not in site.kvm.agent(CLONE, "journalctl -b --no-pager -o cat")
    # Read, before the network began; and the server knows the name, not the template's.
    read, network = started(site, "config-drive.service", "ActiveEnter"), started(site, "networking.service", "InactiveExit")
    assert 0 < read < network
    assert CLONE in leases(site) and "builder" not in leases(site)
    assert site.kvm.agent(CLONE, "hostname; cat /etc/hostname").split() == [CLONE, CLONE]
    assert site.kvm.agent(CLONE, "cat /root/.ssh/authorized_keys").count(site.key) == 1
    assert site.kvm.agent(CLONE, "cat /root/it-script") == f"ran as {CLONE}\n"
    assert "ssh_host_ed25519_key" in site.kvm.agent(CLONE, "ls /etc/ssh")
    assert not site.kvm.login(CLONE, f"{site.password}x")
    assert site.kvm.login(CLONE, site.password)

    # What the owner changes stays, and nothing is done twice.
    site.kvm.agent(
        CLONE, "cat >/root/new; chpasswd </root/new; rm /root/new; echo renamed >/etc/hostname", f"root:{site.password}Own\n"
    )
    site.kvm.virsh("shutdown", "--mode", "agent", CLONE)
    wait_for("the end", lambda: site.kvm.virsh("domstate", CLONE) == "shut off", PATIENCE)
    site.kvm.virsh("start", CLONE)
    wait_until_up(site)
    assert site.kvm.agent(CLONE, "hostname") == "renamed\n"
    assert site.kvm.agent(CLONE, "cat /root/it-script") == f"ran as {CLONE}\n"
    said = site.kvm.agent(CLONE, "journalctl -b --no-pager -o cat -t cloud-set-vm-password.sh -t cloud-set-vm-hostname.sh")
    assert " set" not in said, said
    assert site.kvm.login(CLONE, f"{site.password}Own")


@pytest.mark.matrix(
    hypervisor="KVM",
    guest="Debian 12, systemd",
    reader="cloud-init",
    how="real",
    proves=["user data", "password", "SSH key"],
)
@pytest.mark.parametrize("efi", [False, True], ids=["BIOS", "UEFI"])
def test_a_cloud_image_becomes_a_template_unchanged(site: Site, efi: bool) -> None:
    """Its own boot loader starts its own kernel in the machine that the import makes."""
    host = inventory(site, hypervisor=site.kvm.hypervisor)
    image = {
        "vm_template_image": built("cloud-image")["disk"],
        "vm_template_import_name": CLOUD,
        "vm_template_import_network": site.kvm.status["BRIDGE"],
        "vm_template_import_efi": efi,
    }
    assert site.kvm.playbook("import_cloud_image", host, **image).good().recap["changed"] == 1
    assert site.kvm.playbook("import_cloud_image", host, **image).good().recap["changed"] == 0
    deploy(site, CLOUD_CLONE, CLOUD, reader="cloud_init")
    assert wait_for("its lease", lambda: CLOUD_CLONE in leases(site), PATIENCE)
    with site.kvm.console(CLOUD_CLONE) as console:
        assert wait_for("the password", lambda: console.login("root", site.password), PATIENCE)
        assert console.run("cloud-init status --wait").strip().endswith("status: done")
        assert "DataSourceConfigDrive [net,ver=2][source=/dev/sr" in console.run("cat /run/cloud-init/result.json")
        assert console.run("hostname") == CLOUD_CLONE
        assert console.run("test -d /sys/firmware/efi && echo UEFI || echo BIOS") == ("UEFI" if efi else "BIOS")
        assert console.run("cat /root/it-script") == f"ran as {CLOUD_CLONE}"
        assert site.key in console.run("cat /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys")
        console.leave()
