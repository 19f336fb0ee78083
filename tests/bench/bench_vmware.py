# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""VMware: what one task costs, beside the modules of community.vmware on the same simulator in the same run.

Calls and CPU seconds can be compared between machines; wall time is an order of magnitude. A simulator on the same machine
answers in a millisecond, which no vCenter does: the comparison of wall times lets every call take some milliseconds more
(--latency), and shows what it is without that, too. On a busy machine Ansible's own start-up weighs more in the short run.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
import typing as t

from pyVim.task import WaitForTask

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "rigs" / "vcenter"))
from vcenter_admin import Admin
from vcenter_rig import VCenterRig

TEMPLATE = "DC0_C0_RP0_VM0"

# What is promised: CPU seconds for 1,000 VMs, and how many times fewer calls and less wall time than the others.
CPU_SECONDS = 2.0
FEWER_CALLS = 50
LESS_WALL = 10


class Cost(t.NamedTuple):
    """Of one run: wall seconds, CPU seconds of the process and its children, calls that the server counted."""

    wall: float
    cpu: float
    calls: int


def measure(rig: VCenterRig, command: list[str], **more: t.Any) -> Cost:
    """Runs a command to its end; a failure ends the measurement with what it said."""
    rig.calls(reset=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **more)
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stdout.decode(errors="replace")[-4000:])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu, sum(rig.calls(reset=True).values()))


def environment() -> dict[str, str]:
    """Lets Ansible find this checkout under its full name."""
    tree = ROOT / ".build" / "collections"
    link = tree / "ansible_collections" / "vmops" / "external_dhcp"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(ROOT, target_is_directory=True)
    # A user's Python keeps the byte code of modules; without it, every task compiles them anew.
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "ANSIBLE_COLLECTIONS_PATH": str(tree), "ANSIBLE_LOCALHOST_WARNING": "false"}


def module(rig: VCenterRig, name: str, options: dict[str, t.Any], folder: pathlib.Path) -> Cost:
    """One module as Ansible starts it on the controller, without the playbook around it."""
    arguments = folder / "arguments.json"
    arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": options}))
    # The collection's own loader, as a module payload has none of it.
    code = (
        "import runpy, sys; sys.argv = ['module', sys.argv[1]];"
        f"runpy.run_module('ansible_collections.vmops.external_dhcp.plugins.modules.{name}', run_name='__main__')"
    )
    found = {**environment(), "PYTHONPATH": str(ROOT / ".build" / "collections")}
    return measure(rig, [sys.executable, "-c", code, str(arguments)], env=found)


def play(rig: VCenterRig, tasks: list[dict[str, t.Any]], folder: pathlib.Path) -> Cost:
    """A playbook with these tasks, start-up included."""
    facts = rig.facts
    connection = {
        k: facts[v] for k, v in (("hostname", "host"), ("port", "port"), ("username", "username"), ("password", "password"))
    }
    content = [
        {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "module_defaults": {"group/community.vmware.vmware": connection},
            "environment": {"SSL_CERT_FILE": facts["ca_path"]},
            "vars": {"ansible_python_interpreter": sys.executable},
            "tasks": tasks,
        }
    ]
    path = folder / "play.json"
    path.write_text(json.dumps(content))
    ansible = pathlib.Path(sys.executable).with_name("ansible-playbook")
    return measure(rig, [str(ansible), "-i", "localhost,", str(path)], env=environment())


def fill(rig: VCenterRig) -> list[str]:
    """Lets every guest report two NICs with three addresses each; the names of the VMs."""
    guests = []
    for number, vm in enumerate(rig.vms()):
        nics = [
            {
                "mac": mac,
                "device_config_id": 4000 + device,
                "connected": True,
                "addresses": [
                    {"ip": f"10.{99 + device}.{number >> 8}.{number & 255}", "prefix": 16},
                    {"ip": f"2001:db8:{device}::{number:x}", "prefix": 64},
                    {"ip": f"fe80::{number:x}", "prefix": 64},
                ],
            }
            for device, mac in enumerate(vm["macs"])
        ]
        guests.append(
            {"vm": vm["name"], "tools_running": "guestToolsRunning", "tools_version": "guestToolsCurrent", "nics": nics}
        )
    rig.guests(*guests)
    return sorted(guest["vm"] for guest in guests)


def life(rig: VCenterRig, number: int) -> None:
    """What the life of VMs costs: the driver alone, in a process of its own."""
    code = f"""
import json, sys, time
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import NicWanted, VmWanted
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.connect import open_hypervisor
sys.path.insert(0, {str(ROOT / "tests" / "rigs" / "vcenter")!r})
from vcenter_rig import VCenterRig
rig = VCenterRig("itbenchm")
rig.facts, description = json.load(sys.stdin)
driver = open_hypervisor(description)
wanted = [VmWanted(f"web{{n}}", "{TEMPLATE}", (NicWanted("VM Network"),)) for n in range({number})]
def measured(text, action):
    rig.calls(reset=True)
    wall, cpu = time.monotonic(), time.process_time()
    done = list(action())
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    bad = [one for one in done if getattr(one, "error", None) or isinstance(one, Exception)]
    if bad:
        raise SystemExit(str(bad[:3]))
    print(f"{{text:<52}} {{wall:8.2f}} {{cpu:8.2f}} {{sum(rig.calls(reset=True).values()):8d}}", flush=True)
measured("driver: check and create {number} VMs", lambda: [*driver.machines.check(wanted), *driver.machines.create(wanted)])
vms = list(driver.inventory.vms([one.name for one in wanted]).vms)
isos = [(vm, image.build({{"cloudstack/metadata/local_hostname": vm.name.encode()}}, "config", vm.id)) for vm in vms]
measured("driver: {number} new drives", lambda: [change for vm, change in driver.drives.put(isos)])
measured("driver: start {number} VMs", lambda: driver.machines.start(vms))
rig.guests(*({{"vm": vm.name, "tools_running": "guestToolsRunning", "tools_version": "guestToolsCurrent"}} for vm in vms))
measured("driver: stop {number} VMs, their guests asked", lambda: driver.machines.stop(vms, 60))
measured("driver: delete {number} VMs with their drives", lambda: driver.machines.delete(vms))
driver.close()
"""
    found = {**environment(), "PYTHONPATH": str(ROOT / ".build" / "collections")}
    subprocess.run([sys.executable, "-c", code], input=json.dumps([rig.facts, rig.description()]).encode(), env=found, check=True)


def life_of_others(rig: VCenterRig, number: int, folder: pathlib.Path) -> None:
    """The same by a loop over the modules of community.vmware, for fewer VMs: it takes a process and some tens of calls for each."""
    common = {"datacenter": "DC0", "name": "{{ item }}"}
    loop = {"loop": [f"loop{n}" for n in range(number)]}
    steps = {
        "create": {
            "vmware_guest": {**common, "template": TEMPLATE, "folder": "/DC0/vm", "cluster": "DC0_C0", "state": "present"}
        },
        "start": {"vmware_guest_powerstate": {**common, "state": "powered-on"}},
        "stop": {"vmware_guest_powerstate": {**common, "state": "powered-off"}},
        "delete": {"vmware_guest": {**common, "state": "absent"}},
    }
    for text, step in steps.items():
        task = {f"community.vmware.{name}": arguments for name, arguments in step.items()}
        row(f"playbook: {text} {number} VMs, a loop of community.vmware", play(rig, [{**task, **loop}], folder))


def life_by_playbooks(rig: VCenterRig, number: int, folder: pathlib.Path) -> None:
    """The same as a user does it: the playbooks of the collection, start-up, record and the table at the end included."""
    host = {
        "hypervisor": rig.description(),
        "external_dhcp_record": f"sqlite:///{folder}/record.db",
        "shared_networks": [{"name": "corp", "bridge": "VM Network", "cidr": "10.99.0.0/16"}],
        "vms": [
            {
                "name": f"web{n}",
                "template": TEMPLATE,
                "networks": ["corp"],
                "user_data": {"role": "web"},
                "password": f"Bench-secret-{n}",
            }
            for n in range(number)
        ],
    }
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"vc01": host}}}))
    names = json.dumps({"vm_names": [vm["name"] for vm in host["vms"]]})
    for name, text, arguments in (
        ("deploy_vms", "", ["-e", "vm_wait=false"]),
        ("deploy_vms", ", nothing to change", ["-e", "vm_wait=false"]),
        ("stop_vms", "", []),
        ("start_vms", "", []),
        ("destroy_vms", "", ["-e", names]),
    ):
        rig.guests(
            *(
                {"vm": vm["name"], "tools_running": "guestToolsRunning", "tools_version": "guestToolsCurrent"}
                for vm in rig.vms()
                if vm["name"].startswith("web")
            )
        )
        ansible = str(pathlib.Path(sys.executable).with_name("ansible-playbook"))
        cost = measure(rig, [ansible, "-i", str(inventory), f"vmops.external_dhcp.{name}", *arguments], env=environment())
        row(f"playbook: {name}, {number} VMs{text}", cost)


def row(text: str, cost: Cost) -> None:
    print(f"{text:<52} {cost.wall:8.2f} {cost.cpu:8.2f} {cost.calls:8d}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vms", type=int, default=1000, help="VMs of the large simulator")
    parser.add_argument("--compared", type=int, default=100, help="VMs on which the modules are compared")
    parser.add_argument("--latency", type=int, default=10, help="milliseconds that each call takes in the comparison")
    parser.add_argument("--life", type=int, default=100, help="VMs that are created, started, stopped and deleted")
    parser.add_argument("--life-loop", type=int, default=3, help="VMs with which a loop of community.vmware does the same")
    parser.add_argument("--only-life", action="store_true", help="nothing else is measured")
    options = parser.parse_args()
    missed: list[str] = []

    def promise(text: str, kept: bool, wall: bool = False) -> None:
        """Wall time is told, with the load it was measured under, and fails nothing."""
        load = f" (load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs)" if wall else ""
        print(f"  {'kept' if kept else 'MISSED'}: {text}{load}", flush=True)
        if not kept and not wall:
            missed.append(text)

    print(f"{'':<52} {'wall s':>8} {'CPU s':>8} {'calls':>8}")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with VCenterRig("itbenchm", vms=1, off=True, delay=f"{options.latency}ms", task_delay="50ms") as rig:
            with Admin(rig) as admin:
                WaitForTask(admin.vm(TEMPLATE).CreateSnapshot_Task("base", "", False, False))
                admin.vm(TEMPLATE).MarkAsTemplate()
            life(rig, options.life)
            life_by_playbooks(rig, options.life, folder)
            if options.life_loop:
                life_of_others(rig, options.life_loop, folder)
        if options.only_life:
            return 0
        with VCenterRig("itbenchl", vms=options.vms, nics=2) as rig:
            fill(rig)
            cost = module(rig, "vm_ip_info", {"hypervisor": rig.description()}, folder)
            row(f"vm_ip_info, {options.vms} VMs, the module alone", cost)
            promise(f"{options.vms} VMs in at most {CPU_SECONDS:g} s CPU: {cost.cpu:.2f} s", cost.cpu <= CPU_SECONDS)

        number = options.compared
        bulk = [{"community.vmware.vmware_vm_info": {}}]
        with VCenterRig("itbenchs", vms=number, nics=2) as rig:
            fill(rig)
            ours = play(rig, [{"vmops.external_dhcp.vm_ip_info": {"hypervisor": rig.description()}}], folder)
            row(f"playbook: vm_ip_info, {number} VMs, no latency", ours)
            cost = play(rig, bulk, folder)
            row(f"playbook: vmware_vm_info, {number} VMs, no latency", cost)
            print(f"  {cost.calls / ours.calls:.0f} times fewer calls, {cost.wall / ours.wall:.1f} times less wall time")

        with VCenterRig("itbenchs", vms=number, nics=2, delay=f"{options.latency}ms") as rig:
            names = fill(rig)
            info = {"hypervisor": rig.description()}
            ours = play(rig, [{"vmops.external_dhcp.vm_ip_info": info}], folder)
            row(f"playbook: vm_ip_info, {number} VMs, {options.latency} ms a call", ours)
            others = {
                "vmware_vm_info": bulk,
                "a loop of vmware_guest_info": [
                    {
                        "community.vmware.vmware_guest_info": {"datacenter": "DC0", "name": "{{ item }}"},
                        "loop": names,
                        "loop_control": {"label": "{{ item }}"},
                    }
                ],
            }
            for text, tasks in others.items():
                cost = play(rig, tasks, folder)
                row(f"playbook: {text}, {number} VMs", cost)
                calls, wall = cost.calls / ours.calls, cost.wall / ours.wall
                promise(f"{FEWER_CALLS} times fewer calls than {text}: {calls:.0f} times", calls >= FEWER_CALLS)
                promise(f"{LESS_WALL} times less wall time than {text}: {wall:.1f} times", wall >= LESS_WALL, wall=True)

            with Admin(rig) as admin:
                for vm in names:
                    admin.vm(vm).PowerOffVM_Task()
            drives = [{"name": vm, "user_data": "#cloud-config\n", "password": "Bench-secret-1"} for vm in names]
            task = [{"vmops.external_dhcp.vm_config_drive": {**info, "drives": drives}}]
            cost = play(rig, task, folder)
            row(f"playbook: vm_config_drive, {number} new drives, one task", cost)
            promise(f"{number} drives are there: {len(rig.isos())}", len(rig.isos()) == number)
            row("playbook: the same again, nothing to change", play(rig, task, folder))
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
