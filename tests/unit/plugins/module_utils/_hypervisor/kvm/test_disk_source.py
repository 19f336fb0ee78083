# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sources that read disks: when they are asked, and what becomes of what was found or not."""

from __future__ import annotations

import contextlib
import os
import pathlib
import time
import types
import typing as t
import xml.etree.ElementTree as ET

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk.reader import Examined, Missing, Unreadable
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.lease import Lease
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import POWER_RUNNING, Nic, Vm
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import (
    addresses,
    disk_files,
    disk_source,
    interface_sources,
    libguestfs_source,
)

MAC = "52:54:00:6b:3c:58"
XML = """<domain><name>web1</name><devices>
  <disk type='file' device='cdrom'><target dev='hdc'/></disk>
  <disk type='file' device='disk'><driver type='qcow2'/><source file='/i/data.qcow2'/><target dev='vdb'/></disk>
  <disk type='file' device='disk'><driver type='qcow2'/><source file='/i/web1.qcow2'/><boot order='1'/>
    <backingStore type='file'><format type='raw'/><source file='/i/base.img'/><backingStore/></backingStore><target dev='vda'/></disk>
  <interface type='bridge'><mac address='52:54:00:6b:3c:58'/><target dev='vnet3'/></interface></devices></domain>"""


class LibvirtError(Exception):
    def get_error_code(self) -> int:
        return self.args[0]

    def get_error_message(self) -> str:
        return {86: "QEMU guest agent is not connected", 74: "QEMU guest agent is not configured"}[self.args[0]]


class Domain:
    """sent: packets the guest has sent; agent: what its agent answers, None for no agent; channel: whether it has one for it."""

    def __init__(self, sent: int = 9, agent: t.Any = None, channel: bool = True) -> None:
        self.sent = sent
        self.agent = agent
        self.channel = channel

    def XMLDesc(self, flags: int) -> str:
        return XML

    def interfaceStats(self, device: str) -> tuple[int, ...]:
        assert device == "vnet3"
        return (90, 1, 0, 0, 0, self.sent, 0, 0)

    def interfaceAddresses(self, source: int, flags: int) -> t.Any:
        if source == 1 and self.agent is None:
            raise LibvirtError(86 if self.channel else 74)
        return self.agent if source == 1 else {}


def examined(
    *leases: Lease, system: str | None = "linux", notes: t.Sequence[str] = (), started: float | None = None
) -> t.Callable[..., t.Any]:
    return lambda *words: (Examined(leases, started or time.time() - 100, system, tuple(notes)), "")


def fresh(address: str = "10.99.0.57") -> Lease:
    return Lease("dhclient", address, "eth0", obtained=time.time() - 50, expires=time.time() + 500)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., t.Any]:
    """The observation of one VM; given how its disk is read, and the guest."""
    library = types.SimpleNamespace(
        libvirtError=LibvirtError,
        VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT=1,
        VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP=2,
        VIR_ERR_AGENT_UNRESPONSIVE=86,
        VIR_ERR_ARGUMENT_UNSUPPORTED=74,
        VIR_ERR_NO_DOMAIN=42,
        VIR_ERR_OPERATION_INVALID=55,
    )
    for module in (addresses, disk_source, interface_sources):
        monkeypatch.setattr(module, "libvirt", library)
    monkeypatch.setattr(addresses, "is_alive", lambda connection: True)

    def run(examine: t.Any, domain: Domain | None = None, sources: t.Sequence[str] | None = None, timeout: float = 5) -> t.Any:
        monkeypatch.setattr(disk_source.KvmDisks, "_examine", lambda self, *words: examine(*words))
        found = addresses.KvmAddresses(None, "qemu:///system", "/var/lib/libvirt/images")
        vm = Vm("web1", "1c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10", POWER_RUNNING, (Nic(0, MAC),), domain or Domain())
        (seen,) = found.read([vm], found.default_sources if sources is None else sources, 2, 5)
        found.close()
        return seen

    return run


def never(*words: t.Any) -> t.NoReturn:
    raise AssertionError("the disk was read")


def raising(error: Exception) -> t.Callable[..., t.Any]:
    def examine(*words: t.Any) -> t.NoReturn:
        raise error

    return examine


def test_the_order_of_the_sources():
    assert addresses.KvmAddresses.default_sources == ("agent", "lease_file", "registry", "arp")
    assert addresses.KvmAddresses.sources == (*addresses.KvmAddresses.default_sources, "libguestfs")


def test_a_guest_whose_agent_answers_is_never_read_from_its_disk(ask: t.Callable[..., t.Any]):
    seen = ask(never, Domain(agent={"eth0": {"hwaddr": MAC, "addrs": None}}))
    assert seen.source == "agent"


def test_a_lease_is_found(ask: t.Callable[..., t.Any]):
    seen = ask(examined(fresh()))
    assert (seen.source, seen.readings[0].addresses) == ("lease_file", ("10.99.0.57",))


def test_a_registry_is_the_other_sources(ask: t.Callable[..., t.Any]):
    windows = examined(fresh(), system="windows")
    assert ask(windows).source == "registry"
    alone = ask(windows, sources=["lease_file"])
    assert alone.source is None and "for source registry to read" in alone.message


def test_the_disk_is_read_once_for_both_sources(ask: t.Callable[..., t.Any]):
    times = []

    def examine(*words: t.Any) -> t.Any:
        times.append(1)
        return examined()()

    seen = ask(examine, sources=["lease_file", "registry"])
    assert len(times) == 1 and seen.message == "there is no lease on its disk"


def test_before_the_guest_has_sent_anything_its_disk_is_of_its_last_start(ask: t.Callable[..., t.Any]):
    seen = ask(never, Domain(sent=0), sources=["lease_file"])
    assert seen.reason == "no_lease" and "has sent no packet since it was started" in seen.message


@pytest.mark.parametrize(
    ("examine", "reason", "words"),
    [
        (raising(Missing("pip install -r requirements-disks.txt")), "source_unavailable", "requirements-disks.txt"),
        (raising(Unreadable("took longer", late=True)), "timeout", "took longer"),
        (raising(Unreadable("damaged")), "source_unavailable", "damaged"),
        (raising(disk_files.NoFile("no storage pool has /x")), "source_unavailable", "no storage pool has /x"),
        (raising(PermissionError(13, "denied")), "source_unavailable", "denied"),
        (examined(system=None, notes=["encrypted"]), "disk_encrypted", "only the guest can read it"),
        (examined(system=None), "source_unavailable", "no system was found"),
        (examined(system=None, notes=["unreadable_xfs"]), "source_unavailable", "its file systems (xfs) could not be read"),
        (examined(), "no_lease", "no lease on its disk"),
        (examined(notes=["networkd"]), "no_lease", "systemd-networkd"),
        (examined(notes=["networkd_log"], started=time.time() - 300), "no_lease", "(yet)"),
        (examined(notes=["udhcpc"]), "no_lease", "udhcpc"),
        (examined(notes=["networkd"], started=time.time() - 300), "no_lease", "keeps no journal"),
        (examined(notes=["udhcpc"], started=time.time() - 300), "no_lease", "keeps no lease"),
        (examined(fresh(), notes=["networkd"], started=time.time()), "no_lease", "systemd-networkd"),
        (examined(notes=["empty_file"]), "no_lease", "still empty"),
        (examined(fresh(), started=time.time()), "no_lease", "from before the guest was started"),
        (lambda *words: (Examined((), 1.0, "linux", ()), "a backup"), "no_lease", "read from its file"),
    ],
)
def test_why_there_is_no_address(ask: t.Callable[..., t.Any], examine: t.Any, reason: str, words: str):
    alone = ask(examine, sources=["lease_file", "registry"])
    assert (alone.source, alone.reason) == (None, reason) and words in alone.message
    # Without a channel for an agent there is nothing to wait for, unless another source could answer yet.
    lasting = words in (
        "only the guest can read it",
        "no system was found",
        "its file systems (xfs) could not be read",
        "keeps no journal",
        "keeps no lease",
    )
    for sources in (["agent", "lease_file", "registry"], ["agent", "lease_file", "registry", "arp"]):
        hopeless = ask(examine, Domain(channel=False), sources=sources)
        assert hopeless.reason == ("no_agent_channel" if lasting else "no_guest_tools")
        assert "has no channel" in hopeless.message and words in hopeless.message
    assert ask(examine, Domain(channel=False), sources=["agent", "arp"]).reason == "no_guest_tools"
    # After the agent its reason stays, and what the disk told is added; an encrypted disk is a reason of its own.
    both = ask(examine)
    assert both.reason == ("disk_encrypted" if reason == "disk_encrypted" else "no_guest_tools")
    assert both.message.startswith("the QEMU guest agent does not answer") and words in both.message
    assert "arp" not in both.message


def test_a_disk_that_was_read_behind_the_guests_back_is_asked_again(ask: t.Callable[..., t.Any]):
    seen = ask(lambda *words: (Examined((), None, None, ()), "a backup"), Domain(channel=False))
    assert seen.reason == "no_guest_tools" and "no system was found" in seen.message


def test_which_disks_are_read_and_in_which_order():
    disks, others = disk_files.disks_of(ET.fromstring(XML))
    assert [disk.target for disk in disks] == ["vda", "vdb"] and others == ["hdc"]
    assert disks[0].files == (("/i/web1.qcow2", "qcow2"), ("/i/base.img", "raw"))
    assert not disk_files.has_job(ET.fromstring(XML))
    assert disk_files.has_job(ET.fromstring(XML.replace("<boot", "<mirror type='file'/><boot")))


def test_files_of_this_machine(tmp_path: pathlib.Path):
    path = tmp_path / "disk"
    path.write_bytes(b"0123456789")
    file = disk_files.LocalFile(str(path), "raw")
    assert (file.size, file.read(2, 3)) == (10, b"234")
    with pytest.raises(OSError, match="shorter"):
        file.read(8, 3)
    file.close()
    with pytest.raises(OSError, match="no file"):
        disk_files.LocalFile(str(tmp_path), "raw")


def test_a_network_disk_is_not_read_as_a_file():
    disk = disk_files.Disk("vda", ((None, "raw"),))
    with pytest.raises(disk_files.NoFile, match="disk vda is not read"):
        disk_files.open_files(None, [disk], "")


# libguestfs's output ------------------------------------------------------------------------------------------------------


def test_what_tune2fs_and_virt_win_reg_print():
    text = "Last mount time:          Thu Nov 26 16:53:41 2026\nLast write time:          Thu Nov 26 16:53:42 2026\n"
    assert libguestfs_source.mounted(text) == 1795712021.0
    assert libguestfs_source.mounted("Last mount time:          n/a\n") is None
    text = (
        "[HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Services\\Tcpip\\Parameters\\Interfaces\\{1C1F6C56}]\n"
        '"EnableDHCP"=dword:00000001\n'
        '"DhcpIPAddress"=hex(1):31,00,30,00,2e,00,39,00,39,00,2e,00,30,00,2e,00,35,00,37,00,00,00\n'
        '"LeaseObtainedTime"=dword:6b083c15\n"LeaseTerminatesTime"=dword:6b083e6d\n\n'
        "[HKEY_LOCAL_MACHINE\\...\\{2}]\n"
        '"DhcpIPAddress"="0.0.0.0"\n'
    )
    assert libguestfs_source.registry_leases(text) == [Lease("Windows", "10.99.0.57", obtained=0x6B083C15, expires=0x6B083E6D)]
    assert libguestfs_source.registry_leases('"DhcpIPAddress"=hex(1):zz\n"DhcpIPAddress"=$(reboot)\n') == []


def test_without_libguestfs_its_package_is_named(ask: t.Callable[..., t.Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(libguestfs_source.shutil, "which", lambda program: None)
    seen = ask(never, sources=["libguestfs"])
    assert seen.reason == "source_unavailable" and "libguestfs-tools" in seen.message


def test_libguestfs_runs_its_tools_by_their_words_and_ends_them_at_the_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
):
    for name in ("guestfish", "virt-win-reg"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/words\ncat >{tmp_path}/script\ncat {tmp_path}/answer\n')
        program.chmod(0o755)
    mounted = time.strftime("%a %b %d %H:%M:%S %Y", time.gmtime(time.time() - 300))
    expires = time.strftime("%w %Y/%m/%d %H:%M:%S", time.gmtime(time.time() + 500))
    (tmp_path / "answer").write_text(
        f"Last mount time:          {mounted}\n"
        f"lease {{\n  fixed-address 10.99.0.57;\n  option dhcp-lease-time 600;\n  expire {expires};\n}}\n"
    )
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    source = libguestfs_source.LibguestfsSource(t.cast("t.Any", types.SimpleNamespace(uri="qemu:///system")))
    vm = Vm("web1; reboot", "1c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10", POWER_RUNNING, (Nic(0, MAC),))
    assert [reading.addresses for reading in source.ask(vm, 5).readings] == [("10.99.0.57",)]
    words = ["--ro", "-c", "qemu:///system", "-i", "-d", vm.id]
    assert (tmp_path / "words").read_text().splitlines() == words
    assert "-glob tail-n 200 /var/lib/dhclient/dhclient*.lease*\n" in (tmp_path / "script").read_text()
    (tmp_path / "guestfish").write_text("#!/bin/sh\nexec sleep 60\n")
    started = time.monotonic()
    answer = source.ask(vm, 0.5)
    assert answer.reason == "timeout" and "within 0.5 s" in (answer.message or "") and time.monotonic() - started < 50


@pytest.mark.parametrize(
    ("channel", "jobs"), [("", 1), ("<channel><target name='org.qemu.guest_agent.0' state='disconnected'/></channel>", 0)]
)
def test_no_job_is_begun_while_an_agent_may_connect(
    channel: str, jobs: int, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
):
    """libvirt missed that an agent had connected while looks followed each other, each with its backup job."""
    begun = []

    def served(*words: t.Any) -> t.Any:
        begun.append(words)
        raise disk_source.backup.NoBackup("refused")

    monkeypatch.setattr(disk_source.KvmDisks, "_served", served)
    monkeypatch.setattr(disk_source.disk_files, "open_files", lambda *words: [])
    disks = disk_source.KvmDisks.__new__(disk_source.KvmDisks)
    disks._connection = None
    disks._channel = types.SimpleNamespace(root=lambda: None)
    disks._reader = types.SimpleNamespace(read=lambda files, left: examined()()[0])
    _seen, beside = disks._examine(t.cast("t.Any", None), ET.fromstring(XML.replace("</devices>", channel + "</devices>")), 1e12)
    assert len(begun) == jobs and beside


def test_a_job_is_begun_when_the_disk_can_be_read_at_once_and_is_short(monkeypatch: pytest.MonkeyPatch):
    """Others' jobs wait or are refused while it lasts; libvirt lets them wait for 30 seconds."""
    order: list[str] = []
    limits: list[float] = []

    def missing() -> None:
        order.append("wait")
        raise Missing("pip install -r requirements-disks.txt")

    def read(files: t.Any, limit: float) -> Examined:
        limits.append(limit)
        return examined()()[0]

    monkeypatch.setattr(disk_source.backup, "socket_path", lambda *words: "/x.nbd")
    monkeypatch.setattr(disk_source.backup, "begin", lambda *words: order.append("begin"))
    monkeypatch.setattr(disk_source.backup, "end", lambda *words: order.append("end"))
    monkeypatch.setattr(disk_source.nbd, "NbdExport", lambda channel, target: types.SimpleNamespace(close=lambda: None))
    disks = disk_source.KvmDisks.__new__(disk_source.KvmDisks)
    disks._image_dir = "/i"
    disks._channel = types.SimpleNamespace(check=lambda: None, connect=lambda path, limit: limits.append(limit))
    disks._guard = types.SimpleNamespace(watching=lambda *words: contextlib.nullcontext())
    disks._reader = types.SimpleNamespace(wait=lambda: order.append("wait"), read=read)
    vm = Vm("web1", "1c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10", POWER_RUNNING, (Nic(0, MAC),), Domain())
    assert disks._examine(vm, ET.fromstring(XML), time.monotonic() + 600)[1] == ""
    assert order == ["wait", "begin", "end"]
    assert len(limits) == 3 and all(0 < limit <= 15 for limit in limits)
    disks._reader = types.SimpleNamespace(wait=missing)
    with pytest.raises(Missing), disks._served(vm, [], [], 1e12):
        pass
    assert order[3:] == ["wait"]
