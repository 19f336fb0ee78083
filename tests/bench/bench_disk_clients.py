#!/usr/bin/env python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measures how long after DHCPACK a guest without a guest agent is found by its disk, for each DHCP client: cold boots.

BENCH_BOOTS: new clones of each client (20); BENCH_STARTS: how often each is started (1), the power cut in between: starts after the
first one are told apart, for a client then writes over the lease file of the start before. BENCH_CLIENTS: the clients' names;
BENCH_AT_ONCE: guests at once (1); BENCH_PATIENCE: seconds until a boot counts as not found. The exit code says whether 95 % of the
boots of the clients that keep their lease on the disk were found within 15 seconds.
"""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import re
import sys
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".build" / "collections"))

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import driver
from ansible_collections.vmops.external_dhcp.tests.integration.disk_guests import make_guest
from ansible_collections.vmops.external_dhcp.tests.integration.kvm_host import KvmHost, rig, wait_for

NAME = os.environ.get("VMOPS_TEST_KVM_RIG") or f"itb{os.getpid()}"
CLIENTS = os.environ.get("BENCH_CLIENTS", "dhclient dhcpcd NetworkManager systemd-networkd").split()
BOOTS = int(os.environ.get("BENCH_BOOTS", "20"))
STARTS = int(os.environ.get("BENCH_STARTS", "1"))
AT_ONCE = int(os.environ.get("BENCH_AT_ONCE", "1"))
PATIENCE = float(os.environ.get("BENCH_PATIENCE", "75"))
GOAL, SHARE = 15.0, 0.95
SILENT = ("systemd-networkd",)  # keep nothing on the disk


def guest(kvm: KvmHost, host: t.Any, name: str, client: str) -> list[tuple[float | None, str]]:
    """Of each start of one guest: seconds from DHCPACK until the disk told the address (None: it did not), and the last message."""
    found = []
    mac = make_guest(kvm, name, client, start=False)
    try:
        for _start in range(STARTS):
            found.append(boot(kvm, host, name, mac))
            kvm.virsh("destroy", name)
    finally:
        kvm.undefine(name)
    return found


def boot(kvm: KvmHost, host: t.Any, name: str, mac: str) -> tuple[float | None, str]:
    log = pathlib.Path(kvm.status["DHCP_LOG"])
    seen = log.stat().st_size
    kvm.virsh("start", name)

    def acked() -> str:
        with log.open("rb") as stream:
            stream.seek(seen)
            found = re.findall(rb"DHCPACK\([^)]*\) ([0-9.]+) " + mac.encode(), stream.read())
        return found[-1].decode() if found else ""

    address = wait_for("DHCPACK", acked, 240)
    start = time.monotonic()
    message = ""
    vms = host.inventory.vms([name]).vms
    while time.monotonic() - start < PATIENCE:
        for answer in host.addresses.read(vms, ["lease_file"], 1, 10):
            if answer.readings:
                took = time.monotonic() - start
                assert answer.readings[0].addresses[0] == address, answer
                return took, ""
            message = answer.message or ""
        time.sleep(0.5)
    return None, message


def row(what: str, boots: list[tuple[float | None, str]]) -> int:
    """Prints it; how many boots were found in time."""
    times = sorted(took for took, _message in boots if took is not None)
    soon = sum(took <= GOAL for took in times)
    figures = f"{times[len(times) // 2]:.1f}, {times[int(len(times) * 0.95)]:.1f}, {times[-1]:.1f}" if times else "-"
    last = next((message for _took, message in boots if message), "")
    print(f"{what:<32} {len(boots):5}  {len(times):5}  {soon:11}  {figures}   {last}", flush=True)
    return soon


def main() -> int:
    """Prints a row for each client; 0 when the goal is met."""
    rig("kvm", "up", "--name", NAME, "--with-dhcp-clients")
    rig("dhcp", "up", "--name", NAME)
    good = True
    try:
        kvm = KvmHost(NAME)
        host = driver.connect(kvm.hypervisor)
        print(f"{'client':<32} boots  found  within 15 s  seconds after DHCPACK: median, 95 %, longest", flush=True)
        for client in CLIENTS:
            with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
                names = [f"it-{client.lower()}-{number}" for number in range(BOOTS)]
                guests = list(pool.map(lambda name: guest(kvm, host, name, client), names))  # noqa: B023  # ended in the loop
            boots = {client: [starts[0] for starts in guests], f"{client}, started again": [s for g in guests for s in g[1:]]}
            for what, those in boots.items():
                good &= not those or row(what, those) >= SHARE * len(those) or client in SILENT
        host.close()
    finally:
        if not os.environ.get("VMOPS_TEST_KVM_RIG"):
            rig("kvm", "down", "--name", NAME)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
