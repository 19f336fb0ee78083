# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks the KVM and DHCP rigs themselves, with times: python3 tests/rigs/kvm/check.py

A machine cloned by hand boots, gets leases from the server, and its agent answers; the rig survives a killed daemon and a killed
`up`; two rigs run side by side; at the end nothing is left. With pexpect installed the console is checked too.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import librig
from librig import RigError, run, say, wait_for

HERE = Path(__file__).resolve().parent
RIGS = {"kvm": HERE / "rig", "dhcp": HERE.parent / "dhcp" / "rig"}
PROGRAMS = ("libvirtd", "virtqemud", "virtlogd", "qemu-system-x86_64", "dnsmasq")
#: Seconds for a boot under emulation on a busy machine.
BOOT_LIMIT = 180
EXAMPLE_MACS = ("52:54:00:0c:0c:01", "52:54:00:0c:0c:02")


def expect(condition: object, sentence: str) -> None:
    if not condition:
        raise RigError(f"not true: {sentence}")


class Clock:
    """Prints how long each step took."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def lap(self, what: str) -> float:
        took = time.monotonic() - self.started
        say(f"{took:7.1f} s  {what}")
        self.started = time.monotonic()
        return took


def rig(kind: str, name: str, *words: str) -> str:
    return run(RIGS[kind], words[0], "--name", name, *words[1:], timeout=1200).stdout


def status(name: str) -> dict[str, t.Any]:
    return dict(json.loads(rig("kvm", name, "status", "--json")))


def machine_state() -> dict[str, object]:
    """The state of the machine that a rig must leave as it was."""
    processes = []
    for entry in os.listdir("/proc"):
        program = librig.program_of(int(entry)) if entry.isdigit() else None
        if program in PROGRAMS:
            processes.append((int(entry), program))

    def listing(folder: str) -> list[str]:
        return sorted(str(path) for path in Path(folder).rglob("*")) if os.path.isdir(folder) else ["no such folder"]

    return {
        "processes": sorted(processes),
        "network namespaces": sorted(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else [],
        "links": sorted(os.listdir("/sys/class/net")),
        "mounts": sorted(
            line.split()[1] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines() if "/netns" not in line
        ),
        "/dev/kvm": os.stat("/dev/kvm").st_mode if os.path.exists("/dev/kvm") else None,
        **{folder: listing(folder) for folder in ("/etc/libvirt", "/run/libvirt", "/var/lib/libvirt", "/var/log/libvirt")},
    }


def only_of(state: dict[str, object], namespaces: t.Collection[str]) -> dict[str, object]:
    """The state without what belongs to other rigs that are up at the same time."""
    mine = dict(state)
    mine["network namespaces"] = [
        name for name in t.cast("list[str]", state["network namespaces"]) if not name.startswith("vmops-") or name in namespaces
    ]
    mine["processes"] = [
        found for found in t.cast("list[tuple[int, str]]", state["processes"]) if not of_other_rig(found[0], namespaces)
    ]
    return mine


def of_other_rig(pid: int, namespaces: t.Collection[str]) -> bool:
    """Whether a process is in another rig's namespace than these, or is a rig's short probe outside of all namespaces."""
    try:
        inode = os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return True
    if inode == os.stat("/proc/self/ns/net").st_ino and str(librig.program_of(pid)).startswith("qemu"):
        return True
    for name in os.listdir("/run/netns") if os.path.isdir("/run/netns") else []:
        if name.startswith("vmops-") and name not in namespaces and os.stat(f"/run/netns/{name}").st_ino == inode:
            return True
    return False


def clone(values: t.Mapping[str, t.Any], name: str, macs: t.Sequence[str]) -> None:
    """A machine with an overlay on the template's disk and one NIC per MAC, made with virsh and qemu-img alone."""
    template, images = values["TEMPLATE"], Path(values["IMAGES_HOST"])
    virsh = ("virsh", "-q", "-c", values["URI"])
    root = ElementTree.fromstring(run(*virsh, "dumpxml", "--inactive", template).stdout)
    t.cast(ElementTree.Element, root.find("name")).text = name
    root.remove(t.cast(ElementTree.Element, root.find("uuid")))
    t.cast(ElementTree.Element, root.find("devices/disk[@device='disk']/source")).set("file", f"{values['IMAGES']}/{name}.qcow2")
    for log in root.iter("log"):
        log.set("file", f"/var/log/libvirt/qemu/{name}.serial.log")
    devices = t.cast(ElementTree.Element, root.find("devices"))
    nic = t.cast(ElementTree.Element, devices.find("interface"))
    devices.remove(nic)
    for old in [*nic.findall("mac"), *nic.findall("address")]:
        nic.remove(old)
    for mac in macs:
        copy = ElementTree.fromstring(ElementTree.tostring(nic))
        ElementTree.SubElement(copy, "mac", address=mac)
        devices.append(copy)
    backing = f"{values['IMAGES']}/{template}.qcow2"
    size = json.loads(run("qemu-img", "info", "--output=json", images / f"{template}.qcow2").stdout)["virtual-size"]
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", backing, "-u", images / f"{name}.qcow2", str(size))
    xml = images.parent / f"{name}.xml"
    xml.write_bytes(ElementTree.tostring(root))
    run(*virsh, "define", str(xml))
    xml.unlink()


def leases(name: str) -> dict[str, str]:
    return {words[0]: words[1] for words in (line.split() for line in rig("dhcp", name, "leases").splitlines())}


def check_machine(name: str, values: t.Mapping[str, t.Any], clock: Clock) -> None:
    virsh = ("virsh", "-q", "-c", values["URI"])
    clone(values, "box", EXAMPLE_MACS)
    run(*virsh, "start", "box")
    clock.lap("cloned and started a machine with two NICs")
    wait_for("leases of both NICs", lambda: len(leases(name)) == 2, BOOT_LIMIT, 0.3)
    clock.lap("boot to the second lease")
    known = leases(name)
    expect(set(known) == set(EXAMPLE_MACS), f"the leases are those of {EXAMPLE_MACS}: {known}")
    log = Path(values["DHCP_LOG"]).read_text(errors="replace")
    for mac, address in known.items():
        expect(
            any("DHCPACK" in line and address in line and mac in line for line in log.splitlines()),
            f"the server's log has a DHCPACK of {address} to {mac}",
        )
    asked = (*virsh, "domifaddr", "box", "--source", "agent", "--full")

    def from_agent() -> dict[str, str]:
        rows = [line.split() for line in run(*asked, check=False).stdout.splitlines()]
        return {row[1]: row[3].split("/")[0] for row in rows if len(row) == 4 and row[2] == "ipv4" and row[0] != "lo"}

    wait_for("the agent's answer with both addresses", lambda: from_agent() == known, 60, 0.3)
    clock.lap("the agent tells the same addresses as the server")
    arp = run(*virsh, "domifaddr", "box", "--source", "lease").stdout.strip()
    expect(not arp, f"libvirt itself knows of no lease: {arp}")
    marks = (Path(values["SERIAL_LOGS"]) / "box.serial.log").read_text(errors="replace")
    expect("BOOT[" in marks, "the serial log has the boot's marks")


def check_console(values: t.Mapping[str, t.Any], clock: Clock) -> None:
    try:
        import console
    except ImportError:
        say("           (pexpect is not installed: the console is not checked)")
        return
    expect(not console.login(values["URI"], "box", "root", "anything"), "root is locked while no drive has set a password")
    clock.lap("console: root is locked")
    virsh = ("virsh", "-q", "-c", values["URI"])
    # The password is set through the agent, because this check is about the console; the drive has checks of its own.
    run(*virsh, "set-user-password", "box", "root", "--password", "Tested-1")
    for password, wanted in (("Tested-1", True), ("Tested-2", False), ("", False), ("Tested-1", True)):
        expect(console.login(values["URI"], "box", "root", password) is wanted, f"the console says {wanted} to {password!r}")
    names = console.run(values["URI"], "box", "root", "Tested-1", "ls /sys/class/net\nls /usr/local/sbin").split()
    expect(
        {"eth0", "eth1", "config-drive-read.sh", "cloud-set-vm-password.sh"} <= set(names),
        f"NICs and guest scripts are in the guest: {names}",
    )
    clock.lap("console: right, wrong, empty and right password, and a command")


def check_faults(name: str, values: t.Mapping[str, t.Any], clock: Clock) -> None:
    rig("dhcp", name, "stop")
    expect(status(name)["DHCP"] == "stopped", "the DHCP server is stopped")
    before = leases(name)
    rig("dhcp", name, "start")
    expect(status(name)["DHCP"] == "up" and leases(name) == before, "the DHCP server is back with its leases")
    clock.lap("DHCP server stopped and started")
    daemon = librig.read_pid(Path(values["STATE_DIR"]) / "pids" / "libvirtd.pid", "libvirtd")
    if daemon:
        os.kill(daemon, signal.SIGKILL)
        wait_for("the daemon's end", lambda: librig.program_of(daemon) is None, 5)
        rig("kvm", name, "up")
        running = run("virsh", "-q", "-c", values["URI"], "list", "--name").stdout.split()
        expect(running == ["box"], f"the machine outlived libvirtd: {running}")
        clock.lap("libvirtd killed and brought back by `up`, the machine running on")


def check_killed_up(name: str) -> None:
    for seconds in (0.3, 0.8, 1.3):
        process = subprocess.Popen(
            [str(RIGS["kvm"]), "up", "--name", name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            # Only the command is killed: `down` must find whatever it started.
            process.kill()
            process.wait()
        rig("kvm", name, "down")
        expect(not Path(librig.Rig(name).state).exists(), "`down` removed what a killed `up` left")


def check(name: str) -> None:
    names = (name, f"{name}2", f"{name}3")
    namespaces = [found for each in names for found in (librig.Rig(each).hypervisor_netns, librig.Rig(each).dhcp_netns)]
    before = only_of(machine_state(), namespaces)
    clock = Clock()
    try:
        rig("kvm", name, "up")
        clock.lap("kvm up")
        rig("dhcp", name, "up")
        clock.lap("dhcp up")
        rig("kvm", name, "up")
        expect(clock.lap("kvm up once more") < 2, "`up` takes less than 2 s when it is up")
        values = status(name)
        expect(values["KVM"] == "up" and values["DHCP"] == "up", f"both rigs are up: {values}")
        say(f"           domain type {values['DOMAIN_TYPE']}: {values['DOMAIN_TYPE_REASON']}")
        clock.lap("status")
        check_machine(name, values, clock)
        check_console(values, clock)
        check_faults(name, values, clock)
        rig("kvm", names[1], "up")
        clock.lap("a second rig beside it")
        expect(
            run("virsh", "-q", "-c", status(names[1])["URI"], "list", "--name").stdout.split() == [],
            "no machine in the second rig",
        )
        rig("kvm", names[1], "down")
        expect(status(name)["KVM"] == "up", "the first rig is still up")
        check_killed_up(names[2])
        clock.lap("second rig down, an `up` killed three times")
        rig("kvm", name, "down")
        clock.lap("down, with a machine running")
    finally:
        for each in names:
            rig("kvm", each, "down")
    after = only_of(machine_state(), namespaces)
    new = set(t.cast("list[t.Any]", after.pop("processes"))) - set(t.cast("list[t.Any]", before.pop("processes")))
    expect(not new, f"no process is left: {sorted(new)}")
    for what, was in before.items():
        expect(after[what] == was, f"{what} as before.\n  before: {was}\n  after:  {after[what]}")
    say("           nothing left: processes, namespaces, links, mounts and libvirt's folders are as before")


def command() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="check", help="name of the rig to make (default: %(default)s)")
    arguments = parser.parse_args()
    librig.become_root()
    check(arguments.name)
    say("all true")
    return 0


if __name__ == "__main__":
    librig.main(command)
