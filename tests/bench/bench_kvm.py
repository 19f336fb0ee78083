#!/usr/bin/env python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measures the life of many VMs on the KVM rig: created, checked, deleted, with calls counted. Printed, not asserted.

The VMs are not started: that measures the machine, not the driver. BENCH_VMS is their number.
"""

from __future__ import annotations

import collections
import json
import os
import pathlib
import subprocess
import sys
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
RIG = ROOT / "tests" / "rigs" / "kvm" / "rig"
MANY = int(os.environ.get("BENCH_VMS", "100"))
NAME = "benchkvm"
# libvirt-python's methods that do not ask libvirtd: they read what the handle holds.
LOCAL = {"name", "UUIDString", "UUID", "ID", "connect", "__del__", "__init__", "c_pointer", "isAlive", "registerCloseCallback"}

sys.path.insert(0, str(ROOT / ".build" / "collections"))


def count_calls(libvirt: t.Any) -> collections.Counter[str]:
    """Counts every method of libvirt's classes that is a call to libvirtd."""
    calls: collections.Counter[str] = collections.Counter()

    def counted(name: str, method: t.Any) -> t.Any:
        def call(*words: t.Any, **named: t.Any) -> t.Any:
            calls[name] += 1
            return method(*words, **named)

        return call

    for kind in (libvirt.virConnect, libvirt.virDomain, libvirt.virStoragePool, libvirt.virStorageVol):
        for name, method in list(vars(kind).items()):
            if callable(method) and not name.startswith("_") and name not in LOCAL:
                setattr(kind, name, counted(name, method))
    return calls


def main() -> None:
    import libvirt

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import VmWanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import driver

    given = os.environ.get("VMOPS_TEST_KVM_RIG")
    name = given or NAME
    if not given:
        subprocess.run([RIG, "up", "--name", name], check=True, stdout=subprocess.PIPE)
    try:
        status = json.loads(subprocess.run([RIG, "status", "--name", name, "--json"], check=True, capture_output=True).stdout)
        calls = count_calls(libvirt)
        host = driver.connect({"uri": status["URI"]})
        print(f"{MANY} VMs, linked clones of {status['TEMPLATE']}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}\n")
        print(f"{'step':<22}{'seconds':>9}{'calls':>8}{'per VM':>8}")
        wanted = [VmWanted(f"bench{number:03d}", status["TEMPLATE"]) for number in range(MANY)]

        def step(what: str, work: t.Callable[[], t.Any]) -> t.Any:
            calls.clear()
            began = time.monotonic()
            result = work()
            took = time.monotonic() - began
            count = sum(calls.values())
            print(f"{what:<22}{took:>9.2f}{count:>8}{count / MANY:>8.1f}")
            return result

        def done(outcomes: t.Iterable[t.Any]) -> None:
            for outcome in outcomes:
                if outcome.error:
                    sys.exit(outcome.error)

        # libvirtd asks QEMU what it can do at its first definition, which takes seconds and is not the driver's.
        done(host.machines.create([VmWanted("bench-first", status["TEMPLATE"])]))
        step("check", lambda: host.machines.check(wanted))
        step("create and define", lambda: done(host.machines.create(wanted)))
        found = step("read", lambda: host.inventory.vms([vm.name for vm in wanted])).vms
        step("may they be deleted", lambda: host.machines.delete_problems(found))
        step("delete", lambda: done(host.machines.delete(found)))
        done(host.machines.delete(host.inventory.vms(["bench-first"]).vms))
        host.close()
    finally:
        if not given:
            subprocess.run([RIG, "down", "--name", name], check=True, stdout=subprocess.PIPE)


if __name__ == "__main__":
    main()
