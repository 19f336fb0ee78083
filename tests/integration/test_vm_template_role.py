# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role vm_template on a Linux system, over the chroot connection: see guest_system."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.tests.integration.guest_system import GuestSystem, guest_system

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "roles/vm_template/files/linux"
PLAY = """
- hosts: all
  gather_facts: false
  environment:
    SYSTEMD_OFFLINE: "1"  # its programs must not speak to this machine's own systemd
  tasks:
    - ansible.builtin.include_role:
        name: vmops.external_dhcp.vm_template
        tasks_from: "{{ entry }}"
"""


class System(t.NamedTuple):
    """A system to be changed, and the folder of the playbooks for it."""

    guest: GuestSystem
    base: pathlib.Path

    def path(self, path: str) -> pathlib.Path:
        """Where this machine finds a file of it."""
        return self.guest.path(path)

    def put(self, path: str, content: str = "") -> None:
        """Writes a file, and the folders it is in."""
        self.path(path).parent.mkdir(parents=True, exist_ok=True)
        self.path(path).write_text(content)

    def play(self, entry: str, *options: str, **variables: t.Any) -> tuple[dict[str, int], str]:
        """The recap's numbers and what a failed task says. options: of ansible-playbook."""
        given = {"entry": entry, "vm_template_install_agent": False, "vm_template_hypervisor": "kvm", **variables}
        (self.base / "play.yml").write_text(PLAY)
        command = [
            *self.guest.entered(),
            "ansible-playbook",
            "-i",
            f"{self.guest.root},",
            "-c",
            "community.general.chroot",
            str(self.base / "play.yml"),
            *options,
        ]
        command += ["-e", json.dumps(given), "-e", "ansible_python_interpreter=/usr/bin/python3"]
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": f"{ROOT}/.build/collections:{os.environ.get('ANSIBLE_COLLECTIONS_PATH', '')}".rstrip(":"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "LC_ALL": "C.UTF-8",
        }
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        recap = done.stdout.rsplit("PLAY RECAP", 1)[-1]
        numbers = {name: int(value) for name, value in (word.split("=") for word in recap.split() if "=" in word)}
        assert "failed" in numbers, done.stdout + done.stderr
        return numbers, done.stdout + done.stderr


@pytest.fixture
def system(tmp_path: pathlib.Path) -> t.Iterator[System]:
    for program in ("ansible-playbook", "systemctl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    files = {
        "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
        "etc/hostname": "this-machine\n",
        "root/.ssh/authorized_keys": "",
        "etc/ssh/ssh_host_ed25519_key": "another machine's",
        "var/lib/dhcp/dhclient.eth0.leases": "lease {}",
        "var/lib/config-drive/password": "sha512 x y",
    }
    (tmp_path / "guest").mkdir()
    with guest_system(tmp_path / "guest", files) as guest:
        yield System(guest, tmp_path)


def test_install_clean_verify(system: System) -> None:
    system.put("usr/sbin/cloud-set-guest-password")
    system.put("usr/local/sbin/config-drive-boot.sh", "# somebody's change\n")
    numbers, said = system.play("verify", vm_template_init="systemd")
    assert (numbers["failed"], numbers["changed"]) == (1, 0)
    for problem in (
        *("missing or changed in /usr/local/sbin: cloud-set-vm-hostname.sh, cloud-set-vm-password.sh", "config-drive-boot.sh"),
        *("the systemd starter is not enabled", "no guest agent for kvm"),
        *("/etc/machine-id is not empty", "/etc/ssh/ssh_host_ed25519_key", "/var/lib/dhcp/dhclient.eth0.leases"),
        *(
            "/var/lib/config-drive/password",
            "ask the DHCP server for passwords and keys: /usr/sbin/cloud-set-guest-password (remove them)",
            "/etc/hostname has a name",
        ),
    ):
        assert problem in said, said

    options = {"vm_template_init": "systemd", "vm_template_clean": True, "vm_template_label": "config-2"}
    numbers, said = system.play("linux", **options)
    assert numbers["failed"] == 0, said
    for path in SCRIPTS.glob("*.sh"):
        assert system.path(f"usr/local/sbin/{path.name}").read_bytes() == path.read_bytes()
        assert system.path(f"usr/local/sbin/{path.name}").stat().st_mode & 0o777 == (
            0o644 if path.name == "config-drive-lib.sh" else 0o755
        )
    assert "CONFIG_DRIVE_LABEL=config-2" in system.path("etc/default/config-drive").read_text()
    assert system.path("etc/machine-id").read_bytes() == b""
    assert system.path("etc/hostname").read_bytes() == b""
    assert system.path("etc/systemd/system/multi-user.target.wants/config-drive.service").is_symlink()

    numbers, said = system.play("linux", **options)
    assert (numbers["failed"], numbers["changed"]) == (0, 0), said

    system.path("usr/sbin/cloud-set-guest-password").unlink()
    system.put("usr/sbin/qemu-ga")
    system.put("usr/lib/systemd/system/qemu-guest-agent.service", "[Service]\nExecStart=/usr/sbin/qemu-ga\n[Install]\n")  # static
    numbers, said = system.play("verify", vm_template_init="systemd")
    assert (numbers["failed"], numbers["changed"]) == (0, 0), said
    assert "is ready to be a template" in said


AGENT_UNIT = "[Service]\nExecStart=/usr/sbin/qemu-ga\n[Install]\nWantedBy=multi-user.target\n"


def test_the_guest_agent_is_enabled(system: System) -> None:
    options = {"vm_template_init": "systemd", "vm_template_verify_clean": False}
    system.put("usr/sbin/qemu-ga")
    system.put("usr/lib/systemd/system/qemu-guest-agent.service", AGENT_UNIT)
    numbers, said = system.play("linux", **options)
    assert numbers["failed"] == 0, said
    numbers, said = system.play("verify", **options)
    assert numbers["failed"] == 1
    assert "the guest agent for kvm is there, but none of its services is enabled (qemu-guest-agent) (run" in said
    for changed in (1, 0):
        numbers, said = system.play("linux", vm_template_install_agent=True, **options)
        assert (numbers["failed"], numbers["changed"]) == (0, changed), said
    numbers, said = system.play("verify", **options)
    assert (numbers["failed"], numbers["changed"]) == (0, 0), said


XE_UNIT = "[Service]\nExecStart=/usr/sbin/xe-daemon\n[Install]\nWantedBy=multi-user.target\n"


def test_the_guest_agent_s_interval_is_lowered(system: System) -> None:
    options = {"vm_template_init": "systemd", "vm_template_verify_clean": False, "vm_template_hypervisor": "xenserver"}
    system.put("usr/sbin/xe-daemon")
    system.put("usr/lib/systemd/system/xe-linux-distribution.service", XE_UNIT)
    system.put("etc/systemd/system/multi-user.target.wants/xe-linux-distribution.service", XE_UNIT)
    drop_in = system.path("etc/systemd/system/xe-linux-distribution.service.d/zz-config-drive-interval.conf")
    numbers, said = system.play("linux", "--check", **options)
    assert numbers["failed"] == 0 and not drop_in.parent.exists(), said
    numbers, said = system.play("linux", **options)
    assert numbers["failed"] == 0, said
    assert drop_in.read_text().endswith("\nExecStart=\nExecStart=/usr/sbin/xe-daemon -i 5\n")
    numbers, said = system.play("linux", **options)
    assert (numbers["failed"], numbers["changed"]) == (0, 0), said
    numbers, said = system.play("verify", vm_template_agent_interval=2, **options)
    assert numbers["failed"] == 1
    assert "xe-daemon tells its addresses every 5 seconds, not every 2: a clone's is known late" in said


def test_an_agent_without_a_package_is_named(system: System) -> None:
    options = {"vm_template_init": "systemd", "vm_template_install_agent": True, "vm_template_hypervisor": "xenserver"}
    numbers, said = system.play("linux", **options)
    assert numbers["failed"] == 1
    assert "has no package of the guest agent for xenserver: install it from the hypervisor's guest tools" in said


def test_a_kernel_that_cannot_see_the_drive_is_named(system: System) -> None:
    for kernel, modules in {
        "6.1-all": "kernel/fs/isofs/isofs.ko.xz:\nkernel/drivers/scsi/sr_mod.ko.xz: kernel/x.ko\nkernel/drivers/ata/ahci.ko.xz:\n",
        "6.1-cloud": "kernel/fs/isofs/isofs.ko:\nkernel/drivers/scsi/sr_mod.ko:\n",
        "6.1-tiny": "kernel/drivers/ata/ahci.ko:\nkernel/drivers/scsi/sr_mod.ko:\n",
    }.items():
        system.put(f"usr/lib/modules/{kernel}/modules.dep", modules)
        system.put(f"usr/lib/modules/{kernel}/modules.builtin", "kernel/fs/ext4/ext4.ko\n")
    numbers, said = system.play("verify", vm_template_init="systemd")
    assert numbers["failed"] == 1
    assert "6.1-cloud lacks ahci or ata-piix or virtio-scsi or xen-blkfront; 6.1-tiny lacks isofs (install" in said
    system.put("usr/lib/modules/6.1-tiny/modules.builtin", "kernel/fs/isofs/isofs.ko\n")
    system.put("usr/lib/modules/6.1-cloud/modules.builtin", "kernel/drivers/ata/ata_piix.ko\n")
    numbers, said = system.play("verify", vm_template_init="systemd")
    assert "lacks the driver" not in said


def test_sysv(system: System) -> None:
    if shutil.which("update-rc.d") is None:
        pytest.skip("update-rc.d is not installed")
    system.put("usr/sbin/qemu-ga")
    script = "#!/bin/sh\n### BEGIN INIT INFO\n# Provides: qemu-guest-agent\n# Required-Start:\n# Required-Stop:\n"
    system.put("etc/init.d/qemu-guest-agent", script + "# Default-Start: 2 3 4 5\n# Default-Stop:\n### END INIT INFO\n")
    system.path("etc/init.d/qemu-guest-agent").chmod(0o755)
    numbers, said = system.play("linux", vm_template_init="sysv", vm_template_install_agent=True)
    assert numbers["failed"] == 0, said
    assert system.path("etc/rc3.d/S01qemu-guest-agent").is_symlink()
    assert system.path("etc/rc3.d/S01config-drive").is_symlink()
    assert system.path("etc/init.d/config-drive").stat().st_mode & 0o777 == 0o755
    numbers, said = system.play("verify", vm_template_init="sysv", vm_template_verify_clean=False)
    assert (numbers["failed"], numbers["changed"]) == (0, 0), said


def test_wrong_variable_is_named(system: System) -> None:
    numbers, said = system.play("linux", vm_template_init="upstart")
    assert numbers["failed"] == 1
    assert "vm_template_init" in said
