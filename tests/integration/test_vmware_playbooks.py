# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks on VMware, against the vCenter rig: what a user does in the life of a VM."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image
from ansible_collections.vmops.external_dhcp.tests.integration.made_passwords import Receiver

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "rigs" / "vcenter"))
from vcenter_admin import Admin
from vcenter_rig import VCenterRig

WEB1, WEB2 = "web1", "web 2 (blue)"
PASSWORD, NEW_PASSWORD = "First-secret-7", "Second-secret-8"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB web1"


@pytest.fixture(scope="module")
def rig() -> t.Iterator[VCenterRig]:
    with VCenterRig("itvmplay", vms=1, datastores=2) as running, Admin(running) as admin:
        # A template with an installation medium left in its drive.
        admin.clone("DC0_C0_RP0_VM0", "golden")
        running.file("[LocalDS_0] install.iso").write_bytes(b"x" * 5000)
        admin.insert("golden", "CD/DVD drive 1", "[LocalDS_0] install.iso")
        admin.vm("golden").MarkAsTemplate()
        yield running


@pytest.fixture(scope="module")
def inventory(rig: VCenterRig, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("inventory")
    description = rig.description(datacenter="DC0")
    host = {
        "hypervisor": description,
        "external_dhcp_record": f"sqlite:///{folder}/record.db",
        "shared_networks": [
            {"name": "corp", "bridge": "DC0_DVPG0", "cidr": "10.99.0.0/24", "services": ["userdata"]},
            {"name": "back", "bridge": "VM Network", "cidr": "10.98.0.0/24"},
        ],
        "vms": [
            {
                "name": WEB1,
                "template": "golden",
                "networks": ["corp", {"name": "back", "mac": "00:50:56:3f:00:01"}],
                "password": PASSWORD,
                "ssh_keys": [KEY],
                "user_data": {"role": "web"},
            },
            {"name": WEB2, "template": "golden", "networks": ["corp"], "user_data": {"role": "blue"}},
        ],
    }
    path = folder / "inventory.json"
    path.write_text(json.dumps({"all": {"hosts": {"vc01": host}}}))
    return path


def play(inventory: pathlib.Path, name: str, *arguments: str, fails: bool = False) -> str:
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build" / "collections"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
    }
    command = [str(pathlib.Path(sys.executable).with_name("ansible-playbook")), "-vvv", "-i", str(inventory)]
    done = subprocess.run(
        [*command, f"vmops.external_dhcp.{name}", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=600,
        check=False,
    )
    text = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, text
    for secret in (PASSWORD, NEW_PASSWORD, "rig-password"):
        assert secret not in text
    return text


def changes(text: str) -> int:
    found = re.search(r"vc01\s+: ok=\d+\s+changed=(\d+)", text)
    assert found, text
    return int(found.group(1))


def drive_files(rig: VCenterRig, location: str) -> dict[str, bytes]:
    return dict(image.read(rig.file(location).read_bytes()).files)


def check(rig: VCenterRig, name: str, datastore: str = "LocalDS_0", on: bool = True) -> str:
    vm = rig.vm(name)
    assert vm is not None and (vm["power_state"] == "poweredOn") == on
    location = f"[{datastore}] {name}/{name}.iso"
    assert {d["Label"]: (d["File"], d["Connected"]) for d in vm["drives"]} == {
        "CD/DVD drive 1": ("", False),
        "CD/DVD drive 2": (location, on),
    }
    return location


@pytest.mark.matrix(
    hypervisor="VMware",
    guest="none",
    reader="none",
    how="third-party simulator",
    proves=["user data", "password", "SSH key", "address: guest tools"],
)
def test_life_of_vms(rig: VCenterRig, inventory: pathlib.Path) -> None:
    # Check mode shows what would be made.
    text = play(inventory, "deploy_vms", "--check")
    assert "[vc01] 2 VMs, 0 addresses, 2 would be made" in text
    assert re.search(rf"^  {WEB1} .*- \(would be made\)", text, re.MULTILINE)
    # Deploy.
    text = play(inventory, "deploy_vms", "-e", "vm_wait=false")
    first = drive_files(rig, check(rig, WEB1))
    check(rig, WEB2)
    for given in (PASSWORD, KEY, "role=web"):
        assert any(given.encode() in data for data in first.values())
    macs = rig.vm(WEB1)["macs"]
    assert len(macs) == 2 and macs[1] == "00:50:56:3f:00:01" and len(rig.vm(WEB2)["macs"]) == 1
    assert re.search(rf"{WEB1} +running +0 +{macs[0]} +DC0_DVPG0", text)
    assert re.search(rf"{WEB1} +running +1 +{macs[1]} +VM Network", text)

    # Again: nothing to do. What was read to see that is shown; only the VMs and their drives are asked for.
    rig.calls(reset=True)
    again = play(inventory, "deploy_vms", "-e", "vm_wait=false")
    assert changes(again) == 0 and rig.calls()["Login"] == 2
    assert re.search(rf"{WEB1} +running +1 +{macs[1]} +VM Network", again)

    # The guests come up, and their addresses are found.
    rig.guests(
        *(
            {
                "vm": name,
                "tools_running": "guestToolsRunning",
                "tools_version": "guestToolsCurrent",
                "nics": [
                    {"mac": mac, "device_config_id": 4000 + n, "connected": True, "addresses": [{"ip": ip, "prefix": 24}]}
                    for n, (mac, ip) in enumerate(zip(rig.vm(name)["macs"], ips, strict=True))
                ],
            }
            for name, ips in ((WEB1, ["10.99.0.51", "10.98.0.51"]), (WEB2, ["10.99.0.52"]))
        )
    )
    # Others' VMs in the same network have no address, and would be waited for, too.
    play(inventory, "poll_vm_ips", "-e", json.dumps({"vm_names": [WEB1, WEB2]}))
    text = play(inventory, "list_vms")
    for address in ("10.99.0.51", "10.98.0.51", "10.99.0.52"):
        assert re.search(rf"{re.escape(address)} +tools", text), text

    # A new password, without a restart: the drive is refreshed while the VM runs.
    passwords = inventory.parent / "passwords.yml"
    passwords.write_text(json.dumps({"vm_passwords": {WEB1: NEW_PASSWORD}}))
    play(inventory, "reset_password", "-e", f"@{passwords}", "-e", "vm_password_restart=false")
    second = drive_files(rig, check(rig, WEB1))
    assert any(NEW_PASSWORD.encode() in data for data in second.values())
    assert not any(PASSWORD.encode() in data for data in second.values())
    assert {path for path in second if b"web" in second[path]} == {path for path in first if b"web" in first[path]}

    # Stop and start: a guest with VMware Tools is asked to shut down, another is powered off.
    rig.guests({"vm": WEB2, "tools_running": "guestToolsNotRunning", "tools_version": "guestToolsNotInstalled"})
    rig.calls(reset=True)
    play(inventory, "stop_vms")
    check(rig, WEB1, on=False)
    check(rig, WEB2, on=False)
    made = rig.calls()
    assert made["ShutdownGuest"] == 1 and made["PowerOffVM_Task"] == 1
    play(inventory, "start_vms", "-e", json.dumps({"vm_names": [WEB2]}))
    check(rig, WEB2)
    play(inventory, "start_vms", "-e", json.dumps({"vm_names": [WEB1]}))
    check(rig, WEB1)
    play(inventory, "sync_vms")
    assert changes(play(inventory, "sync_vms")) == 0

    # Migrate to another host and datastore, while it runs: the drive goes with the disks.
    where = {"vm_names": [WEB1], "vm_destination": {"host": "DC0_C0_H1", "datastore": "LocalDS_1"}}
    play(inventory, "migrate_vms", "-e", json.dumps(where))
    assert drive_files(rig, check(rig, WEB1, datastore="LocalDS_1")) == second
    assert rig.vm(WEB1)["host"] == "DC0_C0_H1"
    assert f"[LocalDS_0] {WEB1}/{WEB1}.iso" not in rig.isos()
    play(inventory, "migrate_vms", "-e", json.dumps({"vm_names": [WEB1], "vm_destination": {"host": "DC0_C0_H2"}}))
    assert rig.vm(WEB1)["host"] == "DC0_C0_H2"
    check(rig, WEB1, datastore="LocalDS_1")

    # Others move the one to another datastore, and HA starts the other on another host; its drive is gone. The drives are as before.
    with Admin(rig) as admin:
        admin.relocate(WEB1, datastore="LocalDS_0")
        admin.power(WEB2, on=False)
        admin.relocate(WEB2, host="DC0_C0_H1" if rig.vm(WEB2)["host"] != "DC0_C0_H1" else "DC0_C0_H0")
        rig.file(f"[LocalDS_0] {WEB2}/{WEB2}.iso").unlink()
        admin.power(WEB2, on=True)
    assert rig.isos() == ["[LocalDS_0] install.iso", f"[LocalDS_1] {WEB1}/{WEB1}.iso"], "the product leaves it behind"
    play(inventory, "reconcile_vms")
    assert drive_files(rig, check(rig, WEB1)) == second, "with the password that is in no inventory"
    assert any(b"blue" in data for data in drive_files(rig, check(rig, WEB2)).values())
    assert len(rig.isos()) == 3
    assert changes(play(inventory, "reconcile_vms")) == 0

    # A reader that acts once per instance id will not set the new password, and the playbook says so.
    host = json.loads(inventory.read_text())["all"]["hosts"]["vc01"]
    other = {
        "vms": [{**host["vms"][1], "reader": "cloud_init"}],
        "vm_passwords": {WEB2: NEW_PASSWORD},
        "vm_drive_label": "config-2",
    }
    passwords.write_text(json.dumps({**other, "vm_password_restart": False}))
    assert f"{WEB2}: cloud-init and cloudbase-init act once per instance id" in play(
        inventory, "reset_password", "-e", f"@{passwords}"
    )

    # Destroy: nothing of the VM is left, nothing of others is touched.
    play(inventory, "destroy_vms", "-e", json.dumps({"vm_names": [WEB1]}))
    assert rig.vm(WEB1) is None
    assert rig.isos() == ["[LocalDS_0] install.iso", f"[LocalDS_0] {WEB2}/{WEB2}.iso"]
    check(rig, WEB2)
    assert changes(play(inventory, "destroy_vms", "-e", json.dumps({"vm_names": [WEB1]}))) == 0
    assert rig.sessions() <= 1, "only the test's own"


def test_passwords_that_are_made(rig: VCenterRig, inventory: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Each is handed out once, encrypted, and is in the drive; no output with -vvv has it."""
    receiver = Receiver(tmp_path)
    options = tmp_path / "options.yml"
    vm = {"name": "made1", "template": "golden", "networks": ["corp"], "password_enabled": True, "reader": "ours"}
    options.write_text(json.dumps({"vms": [vm], "vm_password_public_key": receiver.public, "vm_wait": False}))
    seen = []

    def handed_out(name: str, *more: str) -> str | None:
        text = play(inventory, name, "--diff", "-e", f"@{options}", *more)
        seen.append(text)
        return receiver.handed_out("made1", text)

    assert handed_out("deploy_vms", "--check") is None and "made1: a password would be made" in seen[0]
    first = handed_out("deploy_vms")
    assert first is not None
    assert drive_files(rig, check(rig, "made1"))["cloudstack/password/vm_password.txt"] == first.encode()
    second = handed_out("reset_password", "-e", "vm_names=made1", "-e", "vm_password_restart=false")
    assert second not in (None, first)
    assert drive_files(rig, check(rig, "made1"))["cloudstack/password/vm_password.txt"] == str(second).encode()

    # The guest acts on the drive, and its tools tell vCenter so: the password goes, and no deployment puts it back.
    mark = f"0 made1 {image.digest_of(rig.file('[LocalDS_0] made1/made1.iso').read_bytes())}"
    with Admin(rig) as admin:
        admin.set_extra("made1", "guestinfo.config-drive", mark)
    handed_out("retire_passwords")
    assert changes(seen[-1]) == 1
    assert not any(str(second).encode() in data for data in drive_files(rig, check(rig, "made1")).values())
    assert handed_out("deploy_vms") is None and changes(seen[-1]) == 0
    assert not any(str(password) in text for password in (first, second) for text in seen)
