#!/usr/bin/env python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measures reading addresses of XenServer VMs on the XAPI rig, against community.general on the same VMs, and the life of VMs.

Reading goes through ansible-playbook and is timed with its start-up; CPU is that of the module's own process. The life of 100 VMs
(create, drives, start, stop, delete) goes through the driver. Calls are counted by the rig. The exit code says whether the goals of
reading are met; what life costs is printed.
"""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import typing as t

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
RIG = ROOT / "tests" / "rigs" / "xapi" / "rig"
STATE = pathlib.Path(
    os.environ.get("VMOPS_RIG_DIR") or "/var/tmp/vmops-external-dhcp" + (f"-{os.getuid()}" if os.getuid() else "")
)
MANY = int(os.environ.get("BENCH_VMS", "1000"))
COMPARED = int(os.environ.get("BENCH_COMPARED", "100"))
LIVING = int(os.environ.get("BENCH_LIVING", "100"))
MAX_CALLS = 3
MAX_CPU = 2.0
CALLS_RATIO = 100
WALL_RATIO = 10

# Runs a module under the real interpreter and leaves its CPU time and peak memory in a file.
INTERPRETER = """\
#!{python}
import resource, subprocess, sys
code = subprocess.call([{python!r}, *sys.argv[1:]])
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
with open({report!r}, "a") as report:
    print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024, file=report)
sys.exit(code)
"""


class Rig:
    """A rig of its own, with running VMs that all report an address."""

    def __init__(self, vms: int) -> None:
        self.name = f"bench{vms}"
        subprocess.run(
            [RIG, "up", "--name", self.name, "--vms", str(vms), "--templates", "50"], check=True, stdout=subprocess.PIPE
        )
        self.connection = yaml.safe_load((STATE / f"{self.name}-xapi" / "hypervisor.yml").read_text())["hypervisor"]
        self.vms = [f"vm{number:03d}" for number in range(1, vms + 1)]
        for number, name in enumerate(self.vms):
            address = f"10.99.{number // 250}.{number % 250 + 1}"
            self.control(do="power", vm=name, state="start")
            self.control(
                do="agent", vm=name, networks={"0/ip": address, "0/ipv4/0": address, "0/ipv6/0": "fe80::216:3eff:fe00:1"}
            )
        self.calls()

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_exc: object) -> None:
        subprocess.run([RIG, "down", "--name", self.name], check=True, stdout=subprocess.PIPE)

    def control(self, **command: t.Any) -> t.Any:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(STATE / f"{self.name}-xapi" / "control.sock"))
            sock.sendall(json.dumps(command).encode() + b"\n")
            answer = json.loads(b"".join(iter(lambda: sock.recv(1 << 16), b"")))
        if not answer["ok"]:
            sys.exit(f"the rig refused {command}: {answer['error']}")
        return answer["result"]

    def calls(self) -> int:
        """How many requests there were since the last question."""
        return len(self.control(do="calls"))


class Measured(t.NamedTuple):
    wall: float
    calls: int
    cpu: float
    peak: int
    result: t.Any


def play(rig: Rig, folder: pathlib.Path, module: str, options: dict[str, t.Any], loop: list[str] | None = None) -> Measured:
    """One task in a playbook; wall time from the start of ansible-playbook to its end."""
    report = folder / "report"
    report.unlink(missing_ok=True)
    interpreter = folder / "python"
    interpreter.write_text(INTERPRETER.format(python=sys.executable, report=str(report)))
    interpreter.chmod(0o755)
    task: dict[str, t.Any] = {module: options, "register": "found"}
    if loop is not None:
        task.update(loop=loop, loop_control={"label": "{{ item }}"})
    show: dict[str, t.Any] = {"name": "Result", "ansible.builtin.debug": {"msg": "{{ found | to_json }}"}}
    playbook = [{"hosts": "all", "connection": "local", "gather_facts": False, "tasks": [task, show]}]
    (folder / "play.yml").write_text(yaml.safe_dump(playbook))
    env = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build" / "collections"),
        "SSL_CERT_FILE": rig.connection["ca_path"],
        "ANSIBLE_FORCE_COLOR": "0",
    }
    command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", "pool,", "-e"]
    rig.calls()
    start = time.perf_counter()
    printed = run(command + [f"ansible_python_interpreter={interpreter}", str(folder / "play.yml")], env)
    wall = time.perf_counter() - start
    calls = rig.calls()
    rows = [line.split() for line in report.read_text().splitlines()]
    cpu, peak = sum(float(r[0]) for r in rows), max(int(r[1]) for r in rows)
    shown, _end = json.JSONDecoder().raw_decode(printed.partition("TASK [Result]")[2].partition("=> ")[2])
    return Measured(wall, calls, cpu, peak, json.loads(shown["msg"]))


def run(command: list[str], env: dict[str, str]) -> str:
    done = subprocess.run(command, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def row(what: str, found: Measured) -> None:
    print(f"{what:<46} {found.wall:8.2f} {found.calls:8d} {found.cpu:8.2f} {found.peak:8d}")


def life(count: int) -> None:
    """What each step costs for this many VMs, each with a NIC on the template's network, on another, and with a MAC."""
    sys.path.insert(0, str(ROOT / ".build" / "collections"))
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import api, connect

    macs = iter(range(1, 1 << 16))
    kinds: dict[str, t.Callable[[], api.NicWanted]] = {
        "the template's network": lambda: api.NicWanted("corp-vlan120"),
        "another network": lambda: api.NicWanted("corp-vlan130"),
        "another network, MAC given": lambda: api.NicWanted("corp-vlan130", "02:00:00:00:%02x:%02x" % divmod(next(macs), 256)),
    }
    print(f"\n{f'{count} VMs, through the driver':<46} {'wall s':>8} {'calls':>8}")
    with Rig(0) as rig:
        hypervisor = connect.open_hypervisor(rig.connection)
        for kind, nic in kinds.items():
            names = [f"{kind.replace(' ', '-').replace(',', '')[:12]}-{number:03d}" for number in range(count)]
            wanted = [api.VmWanted(name, "debian-12", nics=(nic(),)) for name in names]
            costs = Costs(rig)
            costs.of(f"create, {kind}", lambda w=wanted: list(hypervisor.machines.create(w)))
            vms = list(hypervisor.inventory.vms(names).vms)
            costs.of("start", lambda v=vms: list(hypervisor.machines.start(v)))
            print(f"{'create and start together':<46} {costs.wall:8.2f} {costs.calls:8d}")
            costs.of("stop, at once", lambda v=vms: list(hypervisor.machines.stop(v, 0)))
            jobs = [(vm, image.build({"openstack/latest/meta_data.json": b"{}"}, owner=vm.id)) for vm in vms]
            costs.of("new config drives", lambda j=jobs: list(hypervisor.drives.put(j)))
            costs.of("delete, with the drives", lambda v=vms: list(hypervisor.machines.delete(v)))
        hypervisor.close()


class Costs:
    """Prints what each step took; wall and calls are the sums so far."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.wall = 0.0
        self.calls = 0
        rig.calls()

    def of(self, what: str, step: t.Callable[[], list[t.Any]]) -> None:
        began = time.perf_counter()
        done = step()
        wall, calls = time.perf_counter() - began, self.rig.calls()
        bad = [
            entry
            for entry in done
            if getattr(entry, "error", None) or (isinstance(entry, tuple) and isinstance(entry[1], Exception))
        ]
        if bad:
            sys.exit(f"{what}: {len(bad)} failed, among them {bad[0]}")
        self.wall += wall
        self.calls += calls
        print(f"{what:<46} {wall:8.2f} {calls:8d}")


def main() -> int:
    link = ROOT / ".build" / "collections" / "ansible_collections" / "vmops" / "external_dhcp"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(ROOT, target_is_directory=True)
    failed = []
    print(f"{'':<46} {'wall s':>8} {'calls':>8} {'CPU s':>8} {'peak MiB':>8}")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with Rig(MANY) as rig:
            ours = play(rig, folder, "vmops.external_dhcp.vm_ip_info", {"hypervisor": rig.connection})
        row(f"vm_ip_info, {MANY} VMs", ours)
        found = [vm["nics"][0]["ip4_address"] for vm in ours.result["vms"]]
        if len(found) != MANY or None in found:
            failed.append(f"{len(found)} VMs and {found.count(None)} without an address, of {MANY}")
        if ours.calls > MAX_CALLS:
            failed.append(f"{ours.calls} calls, more than {MAX_CALLS}")
        if ours.cpu > MAX_CPU:
            failed.append(f"{ours.cpu:.2f} s CPU, more than {MAX_CPU}")
        with Rig(COMPARED) as rig:
            ours = play(rig, folder, "vmops.external_dhcp.vm_ip_info", {"hypervisor": rig.connection, "vms": rig.vms})
            row(f"vm_ip_info, {COMPARED} VMs", ours)
            connection = {
                "hostname": f"https://{rig.connection['host']}:{rig.connection['port']}",
                "username": rig.connection["username"],
                "password": rig.connection["password"],
            }
            theirs = play(
                rig, folder, "community.general.xenserver_guest_info", {**connection, "name": "{{ item }}"}, loop=rig.vms
            )
        row(f"community.general.xenserver_guest_info, {COMPARED} VMs", theirs)
        mine = {vm["name"]: vm["nics"][0]["ip4_address"] for vm in ours.result["vms"]}
        other = {r["instance"]["name"]: r["instance"]["networks"][0]["ip"] for r in theirs.result["results"]}
        if mine != other:
            failed.append("the two do not give the same addresses")
        calls, wall = theirs.calls / ours.calls, theirs.wall / ours.wall
        print(f"\n{calls:.0f} times fewer calls (goal {CALLS_RATIO}), {wall:.1f} times less time (goal {WALL_RATIO})")
        if calls < CALLS_RATIO:
            failed.append(f"only {calls:.0f} times fewer calls")
        if wall < WALL_RATIO:
            failed.append(f"only {wall:.1f} times less time")
    life(LIVING)
    for text in failed:
        print(f"missed: {text}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
