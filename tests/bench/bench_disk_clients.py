#!/usr/bin/env python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measures how long after DHCPACK a guest without a guest agent is found by its disk, for each DHCP client: cold boots.

BENCH_BOOTS: boots of each client (20); BENCH_CLIENTS: their names; BENCH_PATIENCE: seconds until a boot counts as not found.
The exit code says whether 95 % of the boots of the clients that keep their lease on the disk were found within 15 seconds.
"""

from __future__ import annotations

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

NAME = os.environ.get("VMOPS_TEST_KVM_RIG") or f"it-clients-{os.getpid()}"
CLIENTS = os.environ.get("BENCH_CLIENTS", "dhclient dhcpcd NetworkManager systemd-networkd").split()
BOOTS = int(os.environ.get("BENCH_BOOTS", "20"))
PATIENCE = float(os.environ.get("BENCH_PATIENCE", "75"))
GOAL, SHARE = 15.0, 0.95
SILENT = ("systemd-networkd",)  # keep nothing on the disk


def boot(kvm: KvmHost, host: t.Any, name: str, client: str) -> tuple[float | None, str]:
    """Seconds from DHCPACK until the disk tells the server's address (None: it does not), and the last message."""
    log = pathlib.Path(kvm.status["DHCP_LOG"])
    seen = log.stat().st_size
    mac = make_guest(kvm, name, client)
    try:

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
    finally:
        kvm.undefine(name)


def main() -> int:
    """Prints a row for each client; 0 when the goal is met."""
    rig("kvm", "up", "--name", NAME, "--with-dhcp-clients")
    rig("dhcp", "up", "--name", NAME)
    good = True
    try:
        kvm = KvmHost(NAME)
        host = driver.connect(kvm.hypervisor)
        print(f"{'client':<18} boots  found  within 15 s  seconds after DHCPACK: median, 95 %, longest", flush=True)
        for client in CLIENTS:
            times, last = [], ""
            for number in range(BOOTS):
                took, message = boot(kvm, host, f"it-{client.lower()}-{number}", client)
                last = message or last
                if took is not None:
                    times.append(took)
            times.sort()
            soon = sum(took <= GOAL for took in times)
            figures = f"{times[len(times) // 2]:.1f}, {times[int(len(times) * 0.95)]:.1f}, {times[-1]:.1f}" if times else "-"
            print(f"{client:<18} {BOOTS:5}  {len(times):5}  {soon:11}  {figures}   {last}", flush=True)
            good &= client in SILENT or soon >= SHARE * BOOTS
        host.close()
    finally:
        if not os.environ.get("VMOPS_TEST_KVM_RIG"):
            rig("kvm", "down", "--name", NAME)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
