# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests without a guest agent, found by what they keep on their disks: read from running QEMUs, killed in the midst of it.

The tests share one guest, in this order.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import subprocess
import sys
import time
import typing as t
import xml.etree.ElementTree as ET

import libvirt
import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk.reader import DiskReader
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import backup, disk_files, driver
from ansible_collections.vmops.external_dhcp.tests.integration.disk_guests import NAME, make_guest
from ansible_collections.vmops.external_dhcp.tests.integration.kvm_host import ROOT, KvmHost, wait_for

KILLS = 50


@pytest.fixture(scope="module")
def mac(kvm: KvmHost) -> t.Iterator[str]:
    """The MAC of a running guest that has no agent."""
    yield make_guest(kvm, NAME)
    kvm.dhcp("start")
    kvm.undefine(NAME)


def options(kvm: KvmHost, **more: t.Any) -> dict[str, t.Any]:
    return {"hypervisor": kvm.hypervisor, "vms": [NAME], **more}


def job(kvm: KvmHost) -> str:
    """The XML of the guest's backup job, an empty text if it has none."""
    done = subprocess.run(["virsh", "-q", "-c", kvm.uri, "backup-dumpxml", NAME], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def left_over(kvm: KvmHost) -> list[str]:
    return [file for file in kvm.files() if "scratch" in file]


def no_trace(kvm: KvmHost) -> None:
    """Neither a job nor its file is there; libvirt removes the file a moment after the job."""
    assert job(kvm) == ""
    wait_for("the scratch file is gone", lambda: left_over(kvm) == [], 10)


@pytest.mark.matrix(hypervisor="KVM", guest="Debian 12, BusyBox init", reader="our scripts", how="real", proves=["address: disk"])
def test_the_lease_file_of_a_guest_without_an_agent(kvm: KvmHost, mac: str, run_module: t.Any):
    started = wait_for("the server gave a lease", lambda: kvm.leases().get(mac)) and time.monotonic()

    def found() -> dict[str, t.Any] | None:
        nic = run_module("vm_ip_info", options(kvm))["vms"][0]["nics"][0]
        return nic if nic["ip4_address"] else None

    nic = wait_for("its disk tells the address", found, 60)
    print(f"found {time.monotonic() - started:.1f} s after the lease")
    assert (nic["ip4_address"], nic["source"]) == (kvm.leases()[mac], "lease_file")
    no_trace(kvm)


def test_a_job_of_somebody_elses_is_left_alone(kvm: KvmHost, mac: str, run_module: t.Any, tmp_path: pathlib.Path):
    theirs = tmp_path / "backup.xml"
    theirs.write_text(
        "<domainbackup mode='pull'><server transport='unix' socket='/var/lib/libvirt/qemu/theirs.nbd'/><disks>"
        "<disk name='vda' backup='yes' type='file'><scratch file='/var/lib/libvirt/images/theirs.scratch'/></disk>"
        "</disks></domainbackup>"
    )
    kvm.virsh("backup-begin", NAME, str(theirs))
    try:
        nic = run_module("vm_ip_info", options(kvm, sources=["lease_file"]))["vms"][0]["nics"][0]
        assert "theirs.nbd" in job(kvm)
    finally:
        kvm.virsh("domjobabort", NAME)
    # From the disk's file, which may be behind: an address, or a sentence that says why it was read that way.
    assert nic["ip4_address"] == kvm.leases()[mac] or "a backup of somebody else's is under way" in nic["message"]
    wait_for("their job is over", lambda: job(kvm) == "" and not left_over(kvm), 20)


def test_its_files_in_ranges_through_libvirt(kvm: KvmHost, mac: str):
    """As from another machine that has no way to QEMU's socket: the clone's file and the one below, from the storage pool."""
    host = driver.connect(kvm.hypervisor)
    (vm,) = host.inventory.vms([NAME]).vms
    disks, _others = disk_files.disks_of(ET.fromstring(vm.handle.XMLDesc(0)))
    files = disk_files.open_files(vm.handle.connect(), disks, None)
    reader = DiskReader()
    seen = wait_for("the lease is in the file", lambda: _lease(reader, files), 120)
    assert seen.fetched < 4 << 20 and len(files[0]) == 2
    assert seen.leases[0].address == kvm.leases()[mac]
    reader.close()
    host.close()


def _lease(reader: DiskReader, files: t.Any) -> t.Any:
    seen = reader.read(files)
    return seen if seen.leases else None


def test_what_a_killed_task_left_is_ended_by_the_next_look(kvm: KvmHost, mac: str, run_module: t.Any, tmp_path: pathlib.Path):
    """As if even the guard had been killed: a job of ours whose maker is dead."""
    child = subprocess.Popen(["true"])
    child.wait()
    name = f"ext-dhcp-{int(time.time()) + 3600:08x}-{backup.machine()}-{child.pid:x}-1.nbd"
    scratch = f"/var/lib/libvirt/images/ext-dhcp-{kvm.virsh('domuuid', NAME)}-vda.scratch"
    ours = tmp_path / "backup.xml"
    ours.write_text(
        f"<domainbackup mode='pull'><server transport='unix' socket='/var/lib/libvirt/qemu/{name}'/><disks>"
        f"<disk name='vda' backup='yes' type='file'><scratch file='{scratch}'/></disk></disks></domainbackup>"
    )
    kvm.virsh("backup-begin", NAME, str(ours))
    assert name in job(kvm) and left_over(kvm) != []
    nic = run_module("vm_ip_info", options(kvm, sources=["lease_file"]))["vms"][0]["nics"][0]
    assert nic["ip4_address"] == kvm.leases()[mac]
    no_trace(kvm)


def test_a_scratch_file_that_a_killed_libvirtd_left(kvm: KvmHost, mac: str, run_module: t.Any):
    scratch = kvm.images / f"ext-dhcp-{kvm.virsh('domuuid', NAME)}-vda.scratch"
    scratch.write_bytes(b"left over")
    kvm.virsh("pool-refresh", "default")
    nic = run_module("vm_ip_info", options(kvm, sources=["lease_file"]))["vms"][0]["nics"][0]
    assert nic["ip4_address"] == kvm.leases()[mac]
    no_trace(kvm)


def test_two_tasks_at_once(kvm: KvmHost, mac: str):
    words = [sys.executable, "-m", "ansible_collections.vmops.external_dhcp.plugins.modules.vm_ip_info"]
    given = json.dumps({"ANSIBLE_MODULE_ARGS": options(kvm, sources=["lease_file"])})
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".build" / "collections")}
    running = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) for _n in range(3)
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write(given)
        process.stdin.close()
    for process in running:
        assert process.stdout is not None
        nic = json.loads(process.stdout.read())["vms"][0]["nics"][0]
        assert process.wait() == 0
        assert nic["ip4_address"] == kvm.leases()[mac] or "read by another task" in nic["message"], nic
    no_trace(kvm)


def test_what_others_see_of_a_job_of_ours(kvm: KvmHost, mac: str):
    """A snapshot waits for its end, a block job of the same disk is refused until then."""
    host = driver.connect(kvm.hypervisor)
    (vm,) = host.inventory.vms([NAME]).vms
    _disks, others = disk_files.disks_of(ET.fromstring(vm.handle.XMLDesc(0)))
    path = backup.socket_path(vm.handle, time.time() + 60)
    backup.begin(vm.handle, path, ["vda"], others, "/var/lib/libvirt/images")
    try:
        words = ["virsh", "-q", "-c", kvm.uri, "snapshot-create-as", NAME, "memory"]
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as snapshot:
            time.sleep(2)
            assert snapshot.poll() is None
            done = kvm.virsh("blockcopy", NAME, "vda", "/var/lib/libvirt/images/it-disk.copy", "--wait", "--finish", check=False)
            assert done == "" and "it-disk.copy" not in kvm.files()
            assert backup.end(vm.handle, path)
            assert snapshot.wait(60) == 0
        kvm.virsh("snapshot-delete", NAME, "memory")
    finally:
        backup.end(vm.handle, path)
        host.close()
    no_trace(kvm)


def test_killed_at_fifty_moments(kvm: KvmHost, mac: str, run_module: t.Any):
    """A SIGKILL of the module at any moment: its guard ends the job at once, and nothing of it is left after the next look."""
    words = [sys.executable, "-m", "ansible_collections.vmops.external_dhcp.plugins.modules.vm_ip_info"]
    given = json.dumps({"ANSIBLE_MODULE_ARGS": options(kvm, sources=["lease_file"])})
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".build" / "collections")}
    started = time.monotonic()
    subprocess.run(words, input=given, stdout=subprocess.DEVNULL, text=True, env=environment, check=True)
    whole = time.monotonic() - started
    domain = libvirt.open(kvm.uri).lookupByName(NAME)

    def busy() -> bool:
        """Asks as fast as it can be asked; virsh takes longer to start than a job lasts."""
        try:
            return bool(domain.backupGetXMLDesc())
        except libvirt.libvirtError:
            return False

    chance = random.Random(50)
    caught = 0
    for kill in range(KILLS):
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment) as process:
            assert process.stdin is not None
            process.stdin.write(given)
            process.stdin.close()
            moment = time.monotonic() + whole * chance.uniform(0.2, 1)
            # A job lasts a fraction of a second: every second kill comes as soon as there is one.
            while (process.poll() is None and not busy()) if kill % 2 else time.monotonic() < moment:
                time.sleep(0.002)
            caught += busy()
            process.kill()
        wait_for("the guard has ended the job", lambda: job(kvm) == "" and left_over(kvm) == [], 20)
    print(f"{caught} of {KILLS} kills met a running job")
    assert caught > 0
    nic = run_module("vm_ip_info", options(kvm, sources=["lease_file"]))["vms"][0]["nics"][0]
    assert nic["ip4_address"] == kvm.leases()[mac]
    no_trace(kvm)


def test_a_lease_from_before_the_start_does_not_count(kvm: KvmHost, mac: str, run_module: t.Any):
    kvm.dhcp("stop")
    try:
        kvm.virsh("destroy", NAME)
        kvm.virsh("start", NAME)
        wait_for("it is up again", lambda: "network" in kvm.serial_log(NAME).rpartition("BOOT[0.")[2])

        def told() -> str:
            nic = run_module("vm_ip_info", options(kvm, sources=["lease_file"]))["vms"][0]["nics"][0]
            assert nic["ip4_address"] is None
            return nic["message"] if "before the guest was started" in nic["message"] else ""

        wait_for("its disk says when it was started", told, 60)
    finally:
        kvm.dhcp("start")
    wait_for(
        "the new lease is found",
        lambda: run_module("vm_ip_info", options(kvm, sources=["lease_file"]))["vms"][0]["nics"][0]["ip4_address"],
    )
