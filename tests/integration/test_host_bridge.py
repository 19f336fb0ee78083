# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bridge and the VLAN device of a KVM host, made by a real systemd-networkd in namespaces of its own, and asked for through D-Bus."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
NETWORKD = "/lib/systemd/systemd-networkd"
# That /sys cannot be written means that there is no udev: networkd would wait for what it says of each NIC.
HOST = f"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mount -t sysfs -o ro sysfs /sys
mount -t tmpfs tmpfs /etc/systemd/network
mkdir -p /run/dbus /run/systemd/netif /run/systemd/network /run/lock
chown -R systemd-network: /run/systemd/netif
ip link set lo up
ip link add eth0 type veth peer far
ip link set far up
printf '[Match]\\nName=eth0\\n\\n[Network]\\nAddress=192.0.2.1/24\\n' >/etc/systemd/network/10-wired.network
dbus-daemon --system --fork --nopidfile --nosyslog
{NETWORKD} 2>/dev/null &
for _ in $(seq 100); do networkctl status eth0 2>/dev/null | grep -q 10-wired && break; sleep 0.1; done
"$@" --check || true
echo CHECKED $(ls /etc/systemd/network)
"$@" || true
ip -br link show br-vlan120
ip -br address show eth0
ip link add known link eth0 type vlan id 9 2>/dev/null && echo "VLANs are known" || true
"""
STEP = """
    - name: STEP
      block:
        - {name: Role, ansible.builtin.include_role: {name: vmops.external_dhcp.shared_network, tasks_from: present}, vars: VARS}
      rescue:
        - {name: Told, ansible.builtin.debug: {msg: "STEP told {{ ansible_failed_result }}"}}
"""


def test_systemd_networkd_makes_them_once_and_what_is_missing_is_said(tmp_path: pathlib.Path) -> None:
    if os.geteuid() != 0 or not os.path.exists(NETWORKD) or shutil.which("dbus-daemon") is None:
        pytest.skip("needs root, systemd-networkd and dbus-daemon")
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        # Nobody is there: of the role only what comes before libvirt is looked at.
        "hypervisor": {"type": "kvm", "uri": "qemu+unix:///system?socket=/nowhere"},
        "shared_networks": [
            {"name": "corp-vlan120", "vlan": 120, "bridge": "br-vlan120", "host_vlan": True},
            {"name": "there", "bridge": "br0"},
        ],
        "shared_network_host_bridge": "systemd_networkd",
        "shared_network_host_nic": "eth0",
        "shared_network_host_timeout": 3,
    }
    (tmp_path / "inventory.json").write_text(json.dumps({"all": {"hosts": {"kvm01": variables}}}))
    steps = {"BAD": "{shared_network_host_nic: ''}", "FAR": "{shared_network_host_nic: far}", "FIRST": "{}", "AGAIN": "{}"}
    tasks = "".join(STEP.replace("STEP", step).replace("VARS", given) for step, given in steps.items())
    (tmp_path / "play.yml").write_text(f"- hosts: all\n  gather_facts: false\n  tasks:{tasks}")
    words = [str(pathlib.Path(sys.executable).with_name("ansible-playbook")), "-i", "inventory.json", "play.yml"]
    namespaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c", HOST, "host"]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build" / "collections"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(
        [*namespaces, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    checked, _mark, real = done.stdout.partition("CHECKED ")
    assert checked.count("changed: [kvm01] => (item=20-br-vlan120.netdev)") == 2, "said both times"
    assert real.splitlines()[0] == "10-wired.network", "and not done"
    bad, far, first, again = (re.findall(rf"{step} told .*", real)[0] for step in steps)
    assert "set shared_network_host_nic to the NIC that carries the VLANs" in bad
    assert "has no .network file for far" in far
    assert real.count("changed: [kvm01] => (item=20-br-vlan120.netdev)") == 1
    assert len(re.findall(r"Have them made\] \**\nchanged", real)) == 1
    state = real[real.index("PLAY RECAP") :]
    assert "br-vlan120" in state and "192.0.2.1/24" in state, "the bridge is there, and the NIC has its address still"
    if "VLANs are known" in state:
        assert "eth0.120@" in state and "/nowhere" in first and "/nowhere" in again
    else:
        assert "br-vlan120 is no bridge with the port eth0.120" in first and "the log of systemd_networkd" in again
