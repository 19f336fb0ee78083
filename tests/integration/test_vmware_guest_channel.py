# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A template VM without a network is prepared through VMware's guest operations, in a guest of the vCenter rig."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import time
import typing as t

import pytest
import requests
from pyVmomi import vim

from ansible_collections.vmops.external_dhcp.tests.integration.guest_system import GuestSystem, guest_system

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "rigs" / "vcenter"))
from vcenter_admin import Admin
from vcenter_rig import VCenterRig

VM = "DC0_C0_RP0_VM0"
PASSWORD = "guest-secret-5"
SCRIPTS = ROOT / "roles/vm_template/files/linux"


def account(password: str = PASSWORD) -> t.Any:
    return vim.NamePasswordAuthentication(username="root", password=password, interactiveSession=False)


@pytest.fixture(scope="module")
def rig() -> t.Iterator[VCenterRig]:
    with VCenterRig("itvmguest", vms=1) as running:
        yield running


@pytest.fixture(scope="module")
def guest(rig: VCenterRig, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[GuestSystem]:
    files = {
        "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
        "etc/hostname": "golden\n",
        "usr/bin/vmtoolsd": "",
        "usr/lib/systemd/system/open-vm-tools.service": "[Service]\nExecStart=/usr/bin/vmtoolsd\n[Install]\nWantedBy=multi-user.target\n",
        "etc/systemd/system/multi-user.target.wants/open-vm-tools.service": "",
    }
    with guest_system(tmp_path_factory.mktemp("guest"), files) as running:
        rig.guests({"vm": VM, "tools_running": "guestToolsRunning", "tools_version": "guestToolsUnmanaged"})
        rig.guest_system(VM, running.pid, str(running.root), "root", PASSWORD)
        yield running


def prepare(rig: VCenterRig, tmp_path: pathlib.Path, password: str = PASSWORD, **variables: t.Any) -> tuple[dict[str, int], str]:
    """The recap's numbers, and all that was said."""
    inventory = tmp_path / "hosts.json"
    host = {"hypervisor": rig.description(datacenter="DC0"), "vm_template_guest_password": password}
    inventory.write_text(json.dumps({"all": {"hosts": {"vc01": host}}}))
    given = {
        "target": "vc01",
        "vm_template_guest": VM,
        "vm_template_init": "systemd",
        "vm_template_install_agent": False,
        "vm_template_verify_clean": False,
        "ansible_vmware_tools_exec_command_sleep_interval": 0.05,
        **variables,
    }
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": f"{ROOT}/.build/collections:{os.environ.get('ANSIBLE_COLLECTIONS_PATH', '')}".rstrip(":"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
        # The connection plugin has no option for the CA.
        "SSL_CERT_FILE": rig.facts["ca_path"],
        "REQUESTS_CA_BUNDLE": rig.facts["ca_path"],
    }
    command = [
        str(pathlib.Path(sys.executable).with_name("ansible-playbook")),
        "-vvv",
        "-i",
        str(inventory),
        "-e",
        json.dumps(given),
    ]
    done = subprocess.run(
        [*command, "vmops.external_dhcp.prepare_template_vm"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    recap = done.stdout.rsplit("PLAY RECAP", 1)[-1]
    numbers = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", recap)}
    said = done.stdout + done.stderr
    assert "failed" in numbers and PASSWORD not in said and "rig-password" not in said, said
    return numbers, said


def test_a_vm_is_prepared(rig: VCenterRig, guest: GuestSystem, tmp_path: pathlib.Path) -> None:
    numbers, said = prepare(rig, tmp_path, vm_template_clean=True)
    assert numbers["failed"] == 0 and "vc01 is ready to be a template" in said, said
    for path in SCRIPTS.glob("*.sh"):
        assert guest.path(f"usr/local/sbin/{path.name}").read_bytes() == path.read_bytes()
    assert guest.path("etc/systemd/system/multi-user.target.wants/config-drive.service").is_symlink()
    assert "poll-interval=5" in guest.path("etc/vmware-tools/tools.conf").read_text()
    assert guest.path("etc/machine-id").read_bytes() == b""
    # Nothing is left of what Ansible and its connection put there.
    assert list(guest.path("tmp/vmware-root").iterdir()) == []
    assert [one.name for one in guest.path("var/tmp").glob("ansible-tmp-*")] == []


def test_the_guest_lets_nobody_in(rig: VCenterRig, guest: GuestSystem, tmp_path: pathlib.Path) -> None:
    numbers, said = prepare(rig, tmp_path, password="not-the-guest's")
    assert numbers["changed"] == 0 and numbers["failed"] + numbers["unreachable"] == 1
    assert "VM Login Error" in said and "not-the-guest's" not in said


# --- the rig's guests are as strict as the API's reference ---


@pytest.fixture
def admin(rig: VCenterRig) -> t.Iterator[Admin]:
    with Admin(rig) as found:
        yield found


def test_who_may_enter(rig: VCenterRig, guest: GuestSystem, admin: Admin) -> None:
    manager, vm = admin.content.guestOperationsManager.authManager, admin.vm(VM)
    manager.ValidateCredentialsInGuest(vm=vm, auth=account())
    with pytest.raises(vim.fault.InvalidGuestLogin):
        manager.ValidateCredentialsInGuest(vm=vm, auth=account("wrong"))
    rig.deny((VM, "VirtualMachine.GuestOperations.Query", 0))
    with pytest.raises(vim.fault.NoPermission) as caught:
        manager.ValidateCredentialsInGuest(vm=vm, auth=account())
    assert caught.value.privilegeId == "VirtualMachine.GuestOperations.Query"
    rig.deny()
    rig.guests({"vm": VM, "tools_running": "guestToolsNotRunning"})
    with pytest.raises(vim.fault.GuestOperationsUnavailable):
        manager.ValidateCredentialsInGuest(vm=vm, auth=account())
    rig.guests({"vm": VM, "tools_running": "guestToolsRunning"})


def test_files(rig: VCenterRig, guest: GuestSystem, admin: Admin) -> None:
    manager, known = admin.content.guestOperationsManager.fileManager, {"vm": admin.vm(VM), "auth": account()}

    def send(path: str, data: bytes, size: int, overwrite: bool = True) -> tuple[str, int]:
        url = manager.InitiateFileTransferToGuest(
            **known, guestFilePath=path, fileAttributes=vim.GuestFileAttributes(), fileSize=size, overwrite=overwrite
        )
        url = url.replace("*:443", f"{rig.facts['host']}:{rig.facts['port']}")
        return url, requests.put(url, data=data, verify=rig.facts["ca_path"], timeout=30).status_code

    path = manager.CreateTemporaryFileInGuest(**known, prefix="a", suffix=".b")
    assert path.startswith("/tmp/vmware-root/a") and path.endswith(".b") and guest.path(path[1:]).stat().st_mode & 0o777 == 0o600
    assert send(path, b"12345", 4)[1] == 400 and guest.path(path[1:]).read_bytes() == b""
    url, status = send(path, b"12345", 5)
    assert status == 200 and guest.path(path[1:]).read_bytes() == b"12345"
    assert requests.put(url, data=b"54321", verify=rig.facts["ca_path"], timeout=30).status_code == 404
    with pytest.raises(vim.fault.FileAlreadyExists):
        send(path, b"1", 1, overwrite=False)
    with pytest.raises(vim.fault.FileNotFound):
        send("/no/such/folder/file", b"1", 1)
    with pytest.raises(vim.fault.NotAFile):
        send("/etc", b"1", 1)
    told = manager.InitiateFileTransferFromGuest(**known, guestFilePath=path)
    assert told.size == 5
    manager.DeleteFileInGuest(**known, filePath=path)
    with pytest.raises(vim.fault.FileNotFound):
        manager.DeleteFileInGuest(**known, filePath=path)


def test_programs(guest: GuestSystem, admin: Admin) -> None:
    manager, known = admin.content.guestOperationsManager.processManager, {"vm": admin.vm(VM), "auth": account()}
    spec = vim.GuestProgramSpec(programPath="/bin/sh", arguments="-c 'ls /sys/class/net; exit 3' >/var/tmp/out 2>&1")
    pid = manager.StartProgramInGuest(**known, spec=spec)
    while manager.ListProcessesInGuest(**known, pids=[pid])[0].endTime is None:
        time.sleep(0.05)
    assert manager.ListProcessesInGuest(**known, pids=[pid, 4_000_000])[0].exitCode == 3
    assert guest.path("var/tmp/out").exists()
    for program in ("sh", "/bin/no-such-program", "/etc/hostname"):
        with pytest.raises(vim.fault.FileNotFound):
            manager.StartProgramInGuest(**known, spec=vim.GuestProgramSpec(programPath=program, arguments=""))
