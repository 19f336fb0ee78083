# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests with the distribution's cloud-init and nothing of ours in them, deployed by the playbook; what cloud-init says and did.

Two machines at once, since cloud-init takes its time under emulation: one whose drive has the label that cloud-init looks
for, and one with the default label. pytest's -s shows cloud-init's own words.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import pathlib
import secrets
import subprocess
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import compare, content, retired
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image as images
from ansible_collections.vmops.external_dhcp.tests.integration.kvm_host import KvmHost, rig, wait_for

#: Found by cloud-init as it is; and only by one that has been told.
FOUND, UNLABELLED = "it-ci-found", "it-ci-config"
#: Seconds for all of cloud-init's stages: half a minute on a quiet machine, many times that on a busy one.
PATIENCE = 600


@dataclasses.dataclass
class Site:
    kvm: KvmHost
    passwords: dict[str, str]
    keys: list[str]
    mark: str
    inventory: pathlib.Path

    def booted(self, domain: str) -> None:
        wait_for(f"{domain}'s boot", lambda: "] ready" in self.kvm.serial_log(domain), PATIENCE)
        self.kvm.agent_answers(domain, PATIENCE)


def hashed(password: str) -> str:
    command = ["openssl", "passwd", "-6", "-stdin"]
    return subprocess.run(command, input=password, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def site(kvm: KvmHost, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Site]:
    rig("kvm", "up", "--name", kvm.name, "--with-cloud-init")
    template = json.loads(rig("kvm", "status", "--name", kvm.name, "--json"))["TEMPLATE_CLOUD_INIT"]
    folder = tmp_path_factory.mktemp("site")
    keys = []
    for name in ("first", "second"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)], check=True)
        keys.append((folder / f"{name}.pub").read_text().strip())
    site = Site(
        kvm,
        {name: f"Pw-{secrets.token_hex(6)}" for name in (FOUND, UNLABELLED)},
        keys,
        secrets.token_hex(8),
        folder / "inventory.json",
    )
    # Both kinds of user data at once, the way cloud-init has for that.
    cloud_config = {"write_files": [{"path": "/etc/it-file", "content": site.mark, "permissions": "0640"}]}
    parts = [
        {"type": "text/cloud-config", "content": f"#cloud-config\n{json.dumps(cloud_config)}"},
        {"type": "text/x-shellscript", "content": f"#!/bin/sh\necho {site.mark} $(hostname) >>/root/it-script\n"},
    ]
    common = {"template": template, "networks": ["corp"], "reader": "cloud_init", "ssh_keys": keys}
    found = {
        **common,
        "name": FOUND,
        "password_hash": hashed(site.passwords[FOUND]),
        "user_data": f"#cloud-config-archive\n{json.dumps(parts)}",
    }
    unlabelled = {
        **common,
        "name": UNLABELLED,
        "password": site.passwords[UNLABELLED],
        "confirm_password": True,
        "user_data": parts[1]["content"],
    }
    host = {
        "hypervisor": kvm.hypervisor,
        "external_dhcp_record": f"sqlite:///{folder / 'record.db'}",
        "shared_networks": [{"name": "corp", "bridge": kvm.status["BRIDGE"], "cidr": kvm.status["CIDR"]}],
    }
    # A host of the inventory for each label: the role has one label for all VMs of a hypervisor.
    hosts = {
        "kvm01": {**host, "vms": [found], "vm_drive_label": "config-2"},
        "kvm02": {**host, "vms": [unlabelled], "vm_drive_layouts": ["openstack"]},
    }
    site.inventory.write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
    for name in (FOUND, UNLABELLED):
        # Of a machine of that name in a rig that was kept.
        (pathlib.Path(kvm.status["SERIAL_LOGS"]) / f"{name}.serial.log").unlink(missing_ok=True)
    try:
        yield deployed(site)
    finally:
        for name in (FOUND, UNLABELLED):
            kvm.undefine(name)


def deployed(site: Site) -> Site:
    played = site.kvm.playbook("deploy_vms", site.inventory, vm_wait=False).good()
    # Said beforehand, not found out afterwards.
    assert "cloud-init" in played.output and "datasource_list" in played.output
    return site


@pytest.mark.matrix(
    hypervisor="KVM", guest="Debian 12, BusyBox init", reader="cloud-init", how="real", proves=["user data", "password"]
)
def test_the_default_label_leaves_cloud_init_off_until_the_template_names_the_source(site: Site):
    site.booted(UNLABELLED)
    said = site.kvm.agent(UNLABELLED, "cat /run/cloud-init/ds-identify.log; ls /run/cloud-init /var/lib/cloud 2>&1")
    assert "FS_LABELS=config," in said or "FS_LABELS=rootfs,config" in said
    assert "No ds found" in said
    assert "result.json" not in said
    assert "cloud-init disabled" in site.kvm.serial_log(UNLABELLED)
    site.kvm.agent(UNLABELLED, "echo 'datasource_list: [ConfigDrive, None]' >/etc/cloud/cloud.cfg.d/99-source.cfg")
    # What the next boot of such a template would do.
    site.kvm.agent(UNLABELLED, "/etc/rc.guest early; /etc/rc.guest late")
    result = json.loads(site.kvm.agent(UNLABELLED, "cat /run/cloud-init/result.json"))
    assert result["v1"]["datasource"].startswith("DataSourceConfigDrive [net,ver=2][source=/dev/sr")
    assert result["v1"]["errors"] == []
    assert site.kvm.agent(UNLABELLED, "cat /root/it-script") == f"{site.mark} {UNLABELLED}\n"
    # Through standard input: the agent logs the commands it is given.
    password = site.passwords[UNLABELLED]
    encoded = base64.b64encode(password.encode()).decode()
    site.kvm.agent(UNLABELLED, "umask 077; cat >/root/secrets", f"{site.mark}\n{password}\n{encoded}\n")
    search = "find /run /var/lib /var/log /etc /home -xdev -type f {} -exec grep -lFf /root/secrets {{}} +"
    assert "/vendor-data.txt" in site.kvm.agent(UNLABELLED, search.format(""))
    assert site.kvm.agent(UNLABELLED, search.format("-perm -004")) == ""
    assert site.kvm.login(UNLABELLED, password)
    # The guest has said so, and so the drive need not hold it any longer.
    drive = site.kvm.images / f"{UNLABELLED}.iso"
    assert compare.password_of(images.read(drive.read_bytes()).files) == password
    site.kvm.playbook("retire_passwords", site.inventory, "--limit", "kvm02").good()
    after = images.read(drive.read_bytes()).files
    assert not any(secret in data for data in after.values() for secret in (password.encode(), encoded.encode()))
    assert retired.is_of(password, after[content.RETIRED_PATH])
    # Its instance id is the machine's UUID: the next start would not even look at a drive with another one.
    entry = {"name": UNLABELLED, "reader": "cloud_init", "metadata": {"instance_id": "another"}}
    options = {"hypervisor": site.kvm.hypervisor, "state": "updated", "drives": [entry]}
    (done,) = site.kvm.module("vm_config_drive", options)["drives"]
    assert (done["changed"], done["acts_on_refresh"]) == (True, False)
    site.kvm.agent(UNLABELLED, "rm -rf /run/cloud-init; /etc/rc.guest early")
    assert "restored from checked cache" in site.kvm.agent(UNLABELLED, "cat /var/log/cloud-init.log")
    assert "another" not in site.kvm.agent(UNLABELLED, "cat /var/lib/cloud/data/instance-id")


@pytest.mark.matrix(
    hypervisor="KVM",
    guest="Debian 12, BusyBox init",
    reader="cloud-init",
    how="real",
    proves=["user data", "password", "SSH key"],
)
def test_cloud_init_finds_the_drive_and_applies_all_of_it(site: Site):
    site.booted(FOUND)
    password = site.passwords[FOUND]
    assert not site.kvm.login(FOUND, f"{password}x")
    with site.kvm.console(FOUND) as console:
        assert console.login("root", password)
        identified = console.run("cat /run/cloud-init/cloud.cfg")
        status = console.run("cloud-init status --long")
        result = console.run("cat /run/cloud-init/result.json")
        instance = json.loads(console.run("cat /run/cloud-init/instance-data.json"))["v1"]
        print(f"\n# /run/cloud-init/cloud.cfg\n{identified}\n# cloud-init status --long\n{status}")
        print(f"# /run/cloud-init/result.json\n{result}\n# of /run/cloud-init/instance-data.json")
        shown = ("cloud_name", "platform", "subplatform", "instance_id", "local_hostname", "availability_zone")
        print(json.dumps({name: instance[name] for name in shown}, indent=1))
        marks = [line for line in site.kvm.serial_log(FOUND).splitlines() if line.startswith("BOOT[")]
        print("# when each stage had ended, in seconds since power-on", *marks, sep="\n")
        print(site.kvm.virsh("domstats", "--cpu-total", FOUND))
        assert "ConfigDrive" in identified
        assert "status: done" in status
        datasource = json.loads(result)["v1"]["datasource"]
        assert datasource.startswith("DataSourceConfigDrive [net,ver=2][source=/dev/sr")
        assert json.loads(result)["v1"]["errors"] == []
        assert (instance["cloud_name"], instance["platform"]) == ("configdrive", "configdrive")
        assert instance["local_hostname"] == FOUND
        assert instance["public_ssh_keys"] == site.keys
        assert console.run("hostname; cat /etc/hostname").split() == [FOUND, FOUND]
        assert set(console.run("cat /home/*/.ssh/authorized_keys").splitlines()) == set(site.keys)
        # The template's own rule: whoever logs in as root is told to be somebody else.
        assert console.run("grep -c '^[^ ]*command=.*ssh-ed25519 ' /root/.ssh/authorized_keys") == "2"
        assert console.run("cat /etc/it-file; stat -c ' %a %U' /etc/it-file") == f"{site.mark} 640 root"
        assert console.run("cat /root/it-script").strip() == f"{site.mark} {FOUND}"
        console.leave()
