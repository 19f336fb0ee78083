# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A VM without a network becomes a template through its QEMU guest agent.

Once with the agent alone, the test guest's own program in the test guest's own files: seconds. And, with VMOPS_TEST_DISTRIBUTION=1, in a
real guest, where each task takes seconds under emulation.
"""

from __future__ import annotations

import json
import os
import pathlib
import secrets
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.tests.integration.guest_system import guest_system
from ansible_collections.vmops.external_dhcp.tests.integration.kvm_host import (
    RIGS,
    ROOT,
    KvmHost,
    Played,
    playbook,
    rig,
    wait_for,
)

SCRIPTS = ROOT / "roles/vm_template/files/linux"
GOLDEN = "it-golden"
FSTAB, FAULT = "/etc/fstab", "/dev/vda1 / ext4 rw 0 0\n/dev/sr1 /media iso9660 ro 0 0\n"
MENDED = FAULT.splitlines(keepends=True)[0]
#: The guest's own password, and that on its drive: what nobody must see.
CANARY, PASSWORD = (f"canary-{secrets.token_hex(8)}" for _unused in range(2))


class Guest(t.NamedTuple):
    """run: a command in the guest, with what it reads; the result is what it prints. env: for ansible-playbook."""

    hypervisor: dict[str, str]
    run: t.Callable[..., str]
    env: dict[str, str]


@pytest.fixture
def agent_alone(tmp_path: pathlib.Path) -> t.Iterator[Guest]:
    """The guest's agent, as it is installed there, with a socket of this machine for its virtio port."""
    if os.geteuid() != 0:
        pytest.skip("building the guest's image needs root")
    sys.path[:0] = [path for path in (str(RIGS), str(RIGS / "kvm")) if path not in sys.path]
    import image
    import layer

    below = layer.layered(image.base(), "cloud-init", layer.CLOUD_INIT) / "rootfs"
    with guest_system(tmp_path, {}, str(below)) as system:
        inside = ["nsenter", "-t", str(system.pid), "-n", "--", *system.entered(), "chroot", str(system.root)]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}

        def run(command: str, stdin: str = "") -> str:
            words = [*inside, "sh", "-c", command]
            return subprocess.run(words, env=environment, input=stdin, capture_output=True, text=True, check=True).stdout

        run("qemu-ga --daemonize --method=unix-listen --path=/run/agent")
        uri = f"qemu+unix:///{GOLDEN}?socket={system.path('run/agent')}"
        yield Guest({"type": "kvm", "uri": uri}, run, {"PYTHONPATH": str(ROOT / "tests/integration/agent_alone")})


@pytest.fixture
def vm(kvm: KvmHost, tmp_path: pathlib.Path) -> t.Iterator[Guest]:
    """A running VM whose NIC is down: Debian 12 with Python, BusyBox as its init and init scripts of SysV's kind."""
    if not os.environ.get("VMOPS_TEST_DISTRIBUTION"):
        pytest.skip("minutes: set VMOPS_TEST_DISTRIBUTION=1")
    rig("kvm", "up", "--name", kvm.name, "--with-cloud-init")
    template = json.loads(rig("kvm", "status", "--name", kvm.name, "--json"))["TEMPLATE_CLOUD_INIT"]
    host = {
        "hypervisor": kvm.hypervisor,
        "external_dhcp_record": f"sqlite:///{tmp_path / 'record.db'}",
        "shared_networks": [{"name": "corp", "bridge": kvm.status["BRIDGE"], "cidr": kvm.status["CIDR"]}],
        "vms": [{"name": GOLDEN, "template": template, "networks": ["corp"], "password": PASSWORD}],
    }
    inventory = tmp_path / "deploy.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"kvm01": host}}}))
    try:
        playbook("deploy_vms", inventory, vm_wait=False).good()
        mac = kvm.virsh("domiflist", GOLDEN).split()[-1]
        kvm.virsh("domif-setlink", GOLDEN, mac, "down")
        wait_for("its boot", lambda: "] ready" in kvm.serial_log(GOLDEN))
        kvm.agent_answers(GOLDEN)
        yield Guest(kvm.hypervisor, lambda command, stdin="": kvm.agent(GOLDEN, command, stdin), {})
    finally:
        kvm.undefine(GOLDEN)


def prepare(guest: Guest, folder: pathlib.Path) -> Played:
    """The playbook, with as much output as an administrator who looks for a fault would ask for."""
    inventory = folder / "inventory.json"
    host = {"hypervisor": guest.hypervisor, "vm_template_guest": GOLDEN, "vm_template_guest_password": CANARY}
    inventory.write_text(json.dumps({"all": {"hosts": {"kvm01": {**host, "vm_template_install_agent": False}}}}))
    played = playbook("prepare_template_vm", inventory, "-vvv", env=guest.env, target="kvm01")
    assert CANARY not in played.output and PASSWORD not in played.output
    return played


def becomes_a_template(guest: Guest, folder: pathlib.Path) -> None:
    """First with a mistake in it, which is named when the scripts are installed; without it nothing more is to be done."""
    guest.run(f"cat >{FSTAB}", FAULT)
    first = prepare(guest, folder)
    said = " ".join(first.output.split())
    assert (
        first.returncode != 0 and "kvm01 is not ready to be a template: /etc/fstab mounts the CD/DVD drive (/dev/sr1" in said
    ), said
    assert first.recap["changed"] > 0
    for path in sorted(SCRIPTS.glob("*.sh")):
        assert guest.run(f"cat /usr/local/sbin/{path.name}") == path.read_text(), path.name
    assert guest.run("readlink /etc/rc[2S].d/S*config-drive") == "../init.d/config-drive\n"
    guest.run(f"cat >{FSTAB}", MENDED)
    second = prepare(guest, folder).good()
    assert second.recap["changed"] == 0 and "kvm01 is ready to be a template" in second.output


def test_through_the_agent_alone(agent_alone: Guest, tmp_path: pathlib.Path) -> None:
    assert agent_alone.run("ip -brief link").split()[:2] == ["lo", "DOWN"]
    becomes_a_template(agent_alone, tmp_path)


def test_in_a_real_guest_whose_nic_is_down(vm: Guest, kvm: KvmHost, tmp_path: pathlib.Path) -> None:
    assert "NO-CARRIER" in vm.run("ip link show eth0")
    becomes_a_template(vm, tmp_path)
    assert "NO-CARRIER" in vm.run("ip link show eth0")
    # What the next start of a clone would do.
    vm.run("/etc/init.d/config-drive start")
    assert vm.run("cat /var/lib/config-drive/drive-seen").startswith("0 ")
    assert kvm.login(GOLDEN, PASSWORD)
