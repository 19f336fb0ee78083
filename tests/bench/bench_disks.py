#!/usr/bin/env python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measures finding a guest without a guest agent by its disk, against guestfish and virt-cat on the same running guest.

One guest runs on the KVM rig. The second VM of a task is the same one, read again; ten VMs are ten readings of it by ten
workers, each of its files, since a VM has one backup job at a time. The exit code says whether the goals are met.
BENCH_LIBGUESTFS=0 leaves out the comparison, which takes minutes where there is no hardware virtualization.
"""

from __future__ import annotations

import os
import pathlib
import resource
import shutil
import subprocess
import sys
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".build" / "collections"))

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk.reader import DiskReader
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import workers
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import disk_files, driver
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import domain as domains
from ansible_collections.vmops.external_dhcp.tests.integration.disk_guests import make_guest
from ansible_collections.vmops.external_dhcp.tests.integration.kvm_host import KvmHost, rig, wait_for

NAME = os.environ.get("VMOPS_TEST_KVM_RIG") or f"itb{os.getpid()}"
GUEST = "it-bench"
FIRST_WALL, FIRST_CPU, NEXT_WALL, FETCHED, RATIO = 1.5, 1.0, 0.4, 2 << 20, 50

CHILD = """
import sys, time
sys.path.insert(0, {path!r})
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import driver
host = driver.connect({description!r})
vms = host.inventory.vms([{guest!r}]).vms
for _look in range({looks}):
    started = time.monotonic()
    (seen,) = host.addresses.read(vms, [{source!r}], 1, {timeout})
    assert seen.readings, seen
    print(time.monotonic() - started, flush=True)
host.close()
"""


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def script(host: KvmHost, source: str, looks: int, timeout: int) -> str:
    """A task that looks for the guest with one source."""
    path = str(ROOT / ".build" / "collections")
    return CHILD.format(path=path, description=host.hypervisor, guest=GUEST, source=source, looks=looks, timeout=timeout)


def task(host: KvmHost) -> tuple[list[float], float]:
    """Seconds of each look of one task, and its processor time with all its processes and its start."""
    before = cpu()
    words = [sys.executable, "-c", script(host, "lease_file", 3, 10)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()], cpu() - before


def side_by_side(host: KvmHost) -> tuple[float, int]:
    """Seconds for ten disks, read from their files by ten workers, and the bytes of one."""
    connection = driver.connect(host.hypervisor)
    (vm,) = connection.inventory.vms([GUEST]).vms
    disks, _others = disk_files.disks_of(domains.parse(vm.handle.XMLDesc(0)))
    reader = DiskReader()
    root = connection.addresses._host.uri and f"/proc/{host.libvirtd_pid()}/root"

    def read(_number: int) -> int:
        files = disk_files.open_files(None, disks, root)
        try:
            return reader.read(files).fetched
        finally:
            disk_files.close_files(files)

    started = time.monotonic()
    fetched = [result for _item, result, _error in workers.each(read, range(10), 10, 60)]
    seconds = time.monotonic() - started
    reader.close()
    connection.close()
    assert None not in fetched
    return seconds, max(t.cast("list[int]", fetched))


def compared(host: KvmHost) -> dict[str, float]:
    """Seconds of the specification's commands for the same file of the same running guest, and of our source that runs them.

    In the folders and the network of the rig's libvirtd, where the disk's path is the one that libvirt tells.
    """
    lease = "/var/lib/dhcp/dhclient.eth0.leases"
    inside = ["nsenter", f"--target={host.libvirtd_pid()}", "--mount", "--net"]
    environment = {**os.environ, "LIBGUESTFS_BACKEND": "direct"}
    if host.status["DOMAIN_TYPE"] != "kvm":
        environment["LIBGUESTFS_BACKEND_SETTINGS"] = "force_tcg"
    of_guest = ["-c", host.uri, "-d", GUEST]
    source = script(host, "libguestfs", 1, 600)
    found = {}
    for name, words, expected in (
        ("guestfish --ro -i -d", ["guestfish", "--ro", "-i", *of_guest, "download", lease, "-"], "fixed-address"),
        ("virt-cat -d", ["virt-cat", *of_guest, lease], "fixed-address"),
        ("source libguestfs", [sys.executable, "-c", source], "."),
    ):
        if shutil.which(words[0]) is None:
            continue
        started = time.monotonic()
        done = subprocess.run([*inside, *words], env=environment, capture_output=True, text=True, timeout=700, check=False)
        found[name] = time.monotonic() - started
        if done.returncode or expected not in done.stdout:
            print(f"{name} failed: {done.stderr.strip()[-300:]}")
            del found[name]
    return found


def main() -> int:
    """Prints a table; 0 when the goals are met."""
    rig("kvm", "up", "--name", NAME)
    rig("dhcp", "up", "--name", NAME)
    try:
        host = KvmHost(NAME)
        mac = make_guest(host, GUEST)
        wait_for("the server gave a lease", lambda: host.leases().get(mac))
        acked = time.monotonic()
        while True:
            try:
                looks, _cpu = task(host)
                break
            except subprocess.CalledProcessError:
                if time.monotonic() - acked > 120:
                    raise
        first_found = time.monotonic() - acked
        runs = [task(host) for _run in range(5)]
        firsts, nexts = sorted(looks[0] for looks, _used in runs), sorted(looks[1] for looks, _used in runs)
        used = sorted(value for _looks, value in runs)
        ten, fetched = side_by_side(host)
        others = {} if os.environ.get("BENCH_LIBGUESTFS") == "0" else compared(host)
        print(f"hardware virtualization: {'yes' if host.status['DOMAIN_TYPE'] == 'kvm' else 'no (emulation)'}")
        print(f"found after the lease       {first_found:8.1f} s")
        print(f"first VM of a task          {firsts[2]:8.2f} s  (goal {FIRST_WALL})   task: {used[2]:.2f} s of CPU for 3 looks")
        print(f"second VM of a task         {nexts[2]:8.2f} s  (goal {NEXT_WALL})")
        print(f"read from the disk          {fetched / (1 << 20):8.2f} MiB (goal {FETCHED >> 20})")
        print(f"10 disks, 10 workers        {ten:8.2f} s")
        for name, seconds in others.items():
            print(
                f"{name:<27} {seconds:8.1f} s  ({seconds / firsts[2]:.0f} times the first VM, {seconds / nexts[2]:.0f} times the second)"
            )
        good = firsts[2] <= FIRST_WALL and nexts[2] <= NEXT_WALL and used[2] <= FIRST_CPU * 3 and fetched <= FETCHED
        return 0 if good and all(seconds >= RATIO * firsts[2] for seconds in others.values()) else 1
    finally:
        if not os.environ.get("VMOPS_TEST_KVM_RIG"):
            rig("kvm", "down", "--name", NAME)


if __name__ == "__main__":
    sys.exit(main())
