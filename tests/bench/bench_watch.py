#!/usr/bin/env python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Listening: how soon an address is in the record after the guest has it, and what listening costs while nothing happens.

Event to record on the XAPI and vCenter simulators, and lease to record on real KVM with the guest agent (BENCH_BOOTS boots of a guest
with dhclient, or with the client that BENCH_CLIENT names, such as systemd-networkd).
VMs with nothing to tell: CPU and memory of a listener, on both rigs and without a driver.
Words choose: bench_watch.py xapi vcenter idle kvm
"""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
for folder in ("tests/integration", "tests/rigs/xapi", "tests/rigs/vcenter", ".build/collections"):
    sys.path.insert(0, str(ROOT / folder))

from watching import Watched, record_in, until

EVENTS = int(os.environ.get("BENCH_EVENTS", "60"))
BOOTS = int(os.environ.get("BENCH_BOOTS", "5"))
CLIENT = os.environ.get("BENCH_CLIENT")
IDLE = int(os.environ.get("BENCH_IDLE", "10000"))
VMS = int(os.environ.get("BENCH_VMS", "1000"))
IDLE_SECONDS = float(os.environ.get("BENCH_SECONDS", "60"))


def row(what: str, seconds: list[float]) -> None:
    """Median, 95 % and the longest."""
    ordered = sorted(seconds)
    late = ordered[max(0, -(-len(ordered) * 95 // 100) - 1)]
    print(f"{what:<44}{len(ordered):>6}{statistics.median(ordered):>10.3f}{late:>10.3f}{ordered[-1]:>10.3f}", flush=True)


def events(site: Watched, what: str, names: list[str], tell: t.Callable[[str, str], None]) -> None:
    """One guest after the other gets another address; each is waited for in the record."""
    times = []
    with site.watching() as watcher:
        until(lambda: site.listening(watcher), 60)
        time.sleep(2)
        for number in range(EVENTS):
            name, address = names[number % len(names)], f"10.99.{number // 200}.{number % 200 + 1}"
            tell(name, address)
            times.append(until(lambda name=name, address=address: site.address(name) == address, 60))
            time.sleep(0.05)
    row(what, times)


def xapi(folder: pathlib.Path) -> None:
    from xapi_rig.rigging import Rig

    with Rig(folder / "xapi").start() as rig:
        vms = {f"vm{number}": rig.vm(f"vm{number}") for number in range(100)}
        for vm in vms.values():
            rig.power(vm, "start")
        site = Watched(record_in(folder), rig.description(), ["corp-vlan120"])
        site.look()
        events(site, "XAPI rig, 100 VMs: event to record", list(vms), lambda name, ip: rig.pool.agent(vms[name], {"0/ip": ip}))


def vcenter(folder: pathlib.Path) -> None:
    from vcenter_rig import VCenterRig

    with VCenterRig("benchwatch", vms=20, nics=1) as rig:
        site = Watched(record_in(folder), rig.description(), ["DC0_DVPG0"])
        site.look()
        macs = {nic.vm_name: nic.mac for nic in site.store.nics()}

        def tell(name: str, ip: str) -> None:
            rig.guests(_reporting(name, macs[name], ip))

        events(site, "vCenter rig, 20 VMs: event to record", sorted(macs), tell)


def _reporting(name: str, mac: str, ip: str) -> dict[str, t.Any]:
    """A guest of the vCenter rig whose VMware Tools report this address."""
    nic = {"mac": mac, "device_config_id": 4000, "connected": True, "addresses": [{"ip": ip, "prefix": 24}]}
    return {"vm": name, "tools_running": "guestToolsRunning", "tools_version": "guestToolsCurrent", "nics": [nic]}


_LISTENER = """
import importlib, json, resource, sys, time
sys.path[:0] = json.loads(sys.argv[1])
from watching import Watched
words = json.loads(sys.argv[2])
site = Watched(words["url"], words["description"], words["networks"])
def used():
    return resource.getrusage(resource.RUSAGE_SELF)
if words["fake"]:
    tests = "ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils"
    guest = importlib.import_module(tests + "._nic_record.fake_hypervisor").guest
    voice = importlib.import_module(tests + "._module.test_watch").Voice(
        guest(n, answers={0: [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"]}) for n in range(words["fake"])
    )
    voice.free = True
    site.connect = voice.connect
begun = used()
poll = site.look()
looked = used()
with site.watching() as watcher:
    while not site.listening(watcher) or len(watcher.gather):
        time.sleep(0.2)
    time.sleep(2)
    ready = used()
    time.sleep(words["seconds"])
    done = used()
def cpu(a, b):
    return b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime
print(json.dumps({"vms": poll.vms, "look": cpu(begun, looked), "start": cpu(looked, ready), "idle": cpu(ready, done),
                  "memory": done.ru_maxrss / 1024}))
"""


def idle(folder: pathlib.Path) -> None:
    """VMs with addresses and nothing happening; the listener in a process of its own.

    The rigs have BENCH_VMS of them: 10,000 are more than the XAPI rig can say in one answer within minutes, and the vCenter rig, which
    reads all VMs again and again for a waiting call, then takes gigabytes. 10,000 (BENCH_IDLE) has a hypervisor in the listener's own
    process that answers at once: what the record and the gathering cost, without a driver.
    """
    from vcenter_rig import VCenterRig
    from xapi_rig.rigging import Rig

    with Rig(folder / "idle").start() as rig:
        for number in range(VMS):
            vm = rig.vm(f"vm{number}", disks=0, cd=None)
            rig.power(vm, "start")
            rig.pool.agent(vm, {"0/ip": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"})
        _idle("XAPI rig", folder / "rig.db", rig.description(connect_timeout=600), "corp-vlan120", 0)
    with VCenterRig("benchidle", vms=VMS, nics=1) as rig:
        site = Watched(record_in(folder), rig.description(), ["DC0_DVPG0"])
        site.look()
        nics = enumerate(site.store.nics(), 1)
        rig.guests(*(_reporting(nic.vm_name, nic.mac, f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n, nic in nics))
        _idle("vCenter rig", folder / "vcenter.db", rig.description(), "DC0_DVPG0", 0)
    _idle("no driver", folder / "fake.db", {"type": "kvm"}, "corp", IDLE)


def _idle(what: str, record: pathlib.Path, description: dict[str, t.Any], network: str, fake: int) -> None:
    words = {
        "url": f"sqlite:///{record}", "description": description, "networks": [network], "seconds": IDLE_SECONDS, "fake": fake,
    }  # fmt: skip
    command = [sys.executable, "-c", _LISTENER, json.dumps(sys.path), json.dumps(words)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(
        f"{what}, {found['vms']} idle VMs: first look {found['look']:.1f} CPU-s, begin of listening {found['start']:.1f} CPU-s,"
        f" then {found['idle'] * 3600 / IDLE_SECONDS:.0f} CPU-s per hour ({100 * found['idle'] / IDLE_SECONDS:.2f} %),"
        f" {found['memory']:.0f} MiB at most",
        flush=True,
    )


def kvm(folder: pathlib.Path) -> None:
    """A guest is powered off and on; from the write of the lease file to the record."""
    from kvm_host import KvmHost, rig

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HINT_GUEST, NicWanted, VmWanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.addresses import KvmAddresses

    empty = [0.0]  # when the guest was last asked and had no address
    read = KvmAddresses.read

    def timed(*words: t.Any, **more: t.Any) -> t.Iterator[t.Any]:
        asked = time.time()
        for seen in read(*words, **more):
            if not any("." in address and address[:4] != "127." for one in seen.readings for address in one.addresses):
                empty[0] = asked
            yield seen

    KvmAddresses.read = timed  # type: ignore[method-assign]
    name = os.environ.get("VMOPS_TEST_KVM_RIG") or "benchwatch"
    try:
        rig("kvm", "up", "--name", name, *(["--with-dhcp-clients"] if CLIENT else []))
        rig("dhcp", "up", "--name", name)
        host = KvmHost(name)
        lease_file = pathlib.Path(json.loads(rig("dhcp", "status", "--name", name, "--json"))["LEASE_FILE"])
        site = Watched(record_in(folder), host.hypervisor, [host.status["BRIDGE"]])
        driver = site.connect()
        template = host.status["TEMPLATE_DHCP_CLIENTS" if CLIENT else "TEMPLATE"]
        wanted = VmWanted("watched", template, nics=(NicWanted(host.status["BRIDGE"]),))
        times, heard, boots, own = [], [], [], []
        try:
            for outcome in driver.machines.create([wanted]):
                assert outcome.error is None, outcome.error
            if CLIENT:
                host.define(host.virsh("dumpxml", "watched").replace("</cmdline>", f" rig_client={CLIENT}</cmdline>"))
            with site.watching(BOOTS * 300) as watcher:
                until(lambda: site.listening(watcher), 60)
                connected = [0.0]  # when an agent did last
                add = watcher.gather.add

                def noted(hints: list[t.Any], now: float) -> None:
                    if any(hint.kind == HINT_GUEST for hint in hints):
                        connected[0] = time.time()
                    add(hints, now)

                watcher.gather.add = noted  # type: ignore[method-assign]
                for _number in range(BOOTS):
                    before = lease_file.stat().st_mtime_ns
                    began = time.time()
                    host.virsh("start", "watched")
                    until(lambda before=before: lease_file.stat().st_mtime_ns != before, 300)
                    until(lambda: (nic := site.nic("watched")) is not None and nic.fetch_state == "found", 120)
                    found = time.time()
                    nic = site.nic("watched")
                    # A client that was new to the server at each boot has more leases than one.
                    leases = json.loads(rig("dhcp", "leases", "--name", name, "--json"))
                    assert nic is not None and (nic.mac, nic.ip4_address) in {(one["mac"], one["address"]) for one in leases}
                    leased = lease_file.stat().st_mtime_ns / 1e9
                    times.append(found - leased)
                    heard.append(found - max(leased, connected[0]))
                    boots.append(found - began)
                    own.append(found - empty[0])
                    host.virsh("destroy", "watched")
                    until(lambda: (nic := site.nic("watched")) is not None and nic.fetch_state == "stopped", 60)
        finally:
            for what, found_in in (
                ("lease to record", times),
                ("lease and agent's channel to record", heard),
                ("last reading without it to record", own),
                ("power on to record", boots),
            ):
                if found_in:
                    row(f"KVM, {what}", found_in)
            host.virsh("destroy", "watched", check=False)
            for outcome in driver.machines.delete(driver.inventory.vms(["watched"]).vms):
                assert outcome.error is None, outcome.error
            driver.close()
    finally:
        if not os.environ.get("VMOPS_TEST_KVM_RIG"):
            rig("kvm", "down", "--name", name)


def main() -> None:
    steps = {"xapi": xapi, "vcenter": vcenter, "idle": idle, "kvm": kvm}
    chosen = [word for word in sys.argv[1:] if word in steps] or list(steps)
    print(
        f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}\n\n{'seconds':<44}{'events':>6}{'median':>10}{'95 %':>10}{'most':>10}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for word in chosen:
            place = pathlib.Path(folder) / word
            place.mkdir()
            steps[word](place)


if __name__ == "__main__":
    main()
