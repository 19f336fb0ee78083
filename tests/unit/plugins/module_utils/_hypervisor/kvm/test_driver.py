# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""KVM: connection, VMs, and what guests and libvirt may answer when they are asked for addresses."""

from __future__ import annotations

import threading
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    HypervisorError,
    HypervisorUnreachable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import driver as kvm
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import session
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._hypervisor.kvm import fake_libvirt as fake

MAC = "52:54:00:00:00:01"
ETH0 = {"hwaddr": MAC, "addrs": [{"addr": "10.99.0.57", "prefix": 24, "type": 0}]}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> fake.Host:
    found = fake.Host()
    fake.install(monkeypatch, found)
    return found


def connect(**options: t.Any) -> t.Any:
    return kvm.connect({"uri": "qemu:///system", **options})


def ask(host: fake.Host, answers: t.Any, sources: t.Sequence[str] = ("agent",), timeout: float = 10) -> t.Any:
    """The one observation of a running VM whose guest answers like this."""
    host.domain("web1", state=fake.RUNNING, answers=answers)
    driver = connect()
    (seen,) = driver.addresses.read(driver.inventory.vms(["web1"]).vms, sources, 2, timeout)
    return seen


# Connecting -----------------------------------------------------------------------------------------------------------------


def test_a_connection_needs_a_uri(host: fake.Host):
    with pytest.raises(HypervisorError, match="hypervisor.uri is not set.*qemu:///system"):
        kvm.connect({"uri": None})


def test_without_the_library_it_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(session, "libvirt", None)
    with pytest.raises(MissingLibrary, match="libvirt-python"):
        connect()


def test_a_refused_connection_names_the_uri(host: fake.Host, monkeypatch: pytest.MonkeyPatch):
    def refused(uri: str) -> t.NoReturn:
        raise fake.LibvirtError("VIR_ERR_SYSTEM_ERROR", "Failed to connect socket: Connection refused")

    monkeypatch.setattr(session.libvirt, "open", refused)
    with pytest.raises(HypervisorUnreachable, match="hypervisor.uri qemu:///system: no connection: .*refused"):
        connect()


def test_a_connection_that_hangs_is_given_up(host: fake.Host, monkeypatch: pytest.MonkeyPatch):
    release = threading.Event()
    monkeypatch.setattr(session.libvirt, "open", lambda uri: release.wait(60))
    with pytest.raises(HypervisorUnreachable, match="no connection within 0.05 s"):
        connect(connect_timeout=0.05)
    release.set()


# VMs ------------------------------------------------------------------------------------------------------------------------


def test_vms_in_the_order_asked_or_by_name(host: fake.Host):
    for name, state in (("b", fake.RUNNING), ("a", fake.SHUTOFF), ("c", fake.PAUSED), ("d", fake.PMSUSPENDED)):
        host.domain(name, state=state, macs=("52:54:00:AA:00:01", "52:54:00:AA:00:02"))
    driver = connect()
    found = driver.inventory.vms()
    assert [(vm.name, vm.power_state) for vm in found.vms] == [
        ("a", "stopped"),
        ("b", "running"),
        ("c", "paused"),
        ("d", "suspended"),
    ]
    assert found.problems == {}
    assert [(nic.device, nic.mac, nic.network) for nic in found.vms[0].nics] == [
        (0, "52:54:00:aa:00:01", "br0"),
        (1, "52:54:00:aa:00:02", "br0"),
    ]
    assert found.vms[0].id == found.vms[0].id.lower()
    named = driver.inventory.vms(["c", "nobody", "a"])
    assert [vm.name for vm in named.vms] == ["c", "a"]
    assert "there is no VM nobody on qemu:///system" in named.problems["nobody"]


def test_a_restart_shows_in_the_token_of_the_start(host: fake.Host):
    domain = host.domain("a", state=fake.RUNNING)
    host.domain("b")

    def tokens() -> list[str | None]:
        return [vm.boot_token for vm in connect().inventory.vms().vms]

    (first, off) = tokens()
    assert first is not None and off is None and tokens() == [first, None]
    domain.destroyFlags(0)
    assert tokens() == [None, None]
    domain.createWithFlags(0)
    assert tokens()[0] not in (None, first)


def test_one_bad_vm_does_not_hide_the_others(host: fake.Host):
    for name in ("a", "b", "c"):
        host.domain(name)

    def trouble(what: str, name: str) -> None:
        if what == "state" and name == "b":
            raise fake.LibvirtError("VIR_ERR_OPERATION_INVALID", "something about b")
        if what == "xml" and name == "c":
            raise fake.LibvirtError("VIR_ERR_NO_DOMAIN", "Domain not found")

    host.trouble = trouble
    found = connect().inventory.vms()
    assert [vm.name for vm in found.vms] == ["a"]
    assert found.problems == {"b": "b could not be read: something about b"}  # c was deleted since it was listed
    named = connect().inventory.vms(["c", "b", "a"])
    assert [vm.name for vm in named.vms] == ["a"] and "there is no VM c" in named.problems["c"]


def test_a_connection_that_breaks_while_vms_are_read(host: fake.Host):
    host.domain("a")

    def trouble(what: str, name: str) -> None:
        if what == "state":
            host.alive = False
            raise fake.LibvirtError("VIR_ERR_INTERNAL_ERROR", "client socket is closed")

    host.trouble = trouble
    with pytest.raises(HypervisorUnreachable, match="the connection broke"):
        connect().inventory.vms()


# Addresses ------------------------------------------------------------------------------------------------------------------


def test_an_answer_of_the_agent(host: fake.Host):
    seen = ask(host, {"lo": {"hwaddr": "00:00:00:00:00:00", "addrs": [{"addr": "127.0.0.1"}]}, "eth0": ETH0})
    assert (seen.source, seen.reason) == ("agent", None)
    (eth0,) = (reading for reading in seen.readings if reading.mac == MAC)
    assert (eth0.interface, tuple(eth0.addresses)) == ("eth0", ("10.99.0.57",))


@pytest.mark.parametrize(
    "answer",
    [
        {"eth0": ETH0, **{f"veth{number:05}": {"hwaddr": None, "addrs": None} for number in range(10_000)}},
        {**{f"a{number:05}": {"hwaddr": "ee:ee:ee:ee:ee:ee", "addrs": [{}] * 10} for number in range(10_000)}, "eth0": ETH0},
        {"eth0": ETH0, "junk": {"addrs": None}, "more": {"hwaddr": 7, "addrs": [{"addr": None}, {"addr": "\0" * 99}]}},
        {"eth0": {**ETH0, "hwaddr": MAC.upper()}, "": {}},
    ],
)
def test_hostile_answers_do_not_hide_the_nic(host: fake.Host, answer: t.Any):
    seen = ask(host, answer)
    assert seen.reason is None and len(seen.readings) <= 256
    assert [tuple(reading.addresses) for reading in seen.readings if str(reading.mac).lower() == MAC] == [("10.99.0.57",)]


@pytest.mark.parametrize("answer", [{"eth0": None}, {"eth0": {"addrs": 5}}, {"eth0": {"addrs": [7]}}, 7, ["x"]])
def test_answers_that_are_none(host: fake.Host, answer: t.Any):
    seen = ask(host, answer)
    assert (seen.source, seen.reason) == (None, "source_unavailable")
    assert "could not be read" in seen.message and len(seen.message) < 400


@pytest.mark.parametrize(
    ("code", "text", "reason", "words"),
    [
        ("VIR_ERR_AGENT_UNRESPONSIVE", "QEMU guest agent is not connected", "no_guest_tools", "qemu-guest-agent is installed"),
        ("VIR_ERR_AGENT_UNRESPONSIVE", "guest agent command timed out", "timeout", "overloaded"),
        ("VIR_ERR_ARGUMENT_UNSUPPORTED", "QEMU guest agent is not configured", "no_agent_channel", "has no channel"),
        (
            "VIR_ERR_INTERNAL_ERROR",
            "The command guest-network-get-interfaces has been disabled",
            "guest_tools_blocked",
            "block-rpcs",
        ),
        ("VIR_ERR_INTERNAL_ERROR", "The command x has not been found", "guest_tools_blocked", "allow-rpcs"),
        ("VIR_ERR_OPERATION_INVALID", "domain is not running", "vm_not_running", "start it"),
        ("VIR_ERR_NO_DOMAIN", "Domain not found", "vm_not_found", "gone"),
        ("VIR_ERR_INTERNAL_ERROR", "something else", "source_unavailable", "something else"),
    ],
)
def test_errors_become_reasons(host: fake.Host, code: str, text: str, reason: str, words: str):
    seen = ask(host, fake.LibvirtError(code, text))
    assert (seen.source, seen.reason, seen.readings) == (None, reason, ())
    assert "web1" not in seen.message and words in seen.message


def test_arp_that_raises_is_no_answer_and_the_agents_reason_is_told(host: fake.Host):
    def answers(source: int) -> t.Any:
        if source == fake.ARP:
            return fake.LibvirtError("VIR_ERR_INTERNAL_ERROR", "wrong nlmsg len")
        return fake.LibvirtError("VIR_ERR_AGENT_UNRESPONSIVE", "QEMU guest agent is not connected")

    assert ask(host, answers, ("agent", "arp")).reason == "no_guest_tools"
    alone = ask(host, answers, ("arp",))
    assert alone.reason == "source_unavailable" and "wrong nlmsg len" in alone.message
    assert ask(host, {}, ("arp",)).message == "source arp knows no address"


def test_without_a_channel_it_may_still_be_a_source_that_answers_later(host: fake.Host):
    def answers(source: int) -> t.Any:
        return (
            {} if source == fake.ARP else fake.LibvirtError("VIR_ERR_ARGUMENT_UNSUPPORTED", "QEMU guest agent is not configured")
        )

    seen = ask(host, answers, ("agent", "arp"))
    assert seen.reason == "no_guest_tools" and "has no channel" in seen.message


@pytest.mark.matrix(hypervisor="KVM", guest="none", reader="none", how="own simulator", proves=["address: ARP"])
def test_arp_helps_where_the_agent_does_not(host: fake.Host):
    def answers(source: int) -> t.Any:
        if source == fake.AGENT:
            return fake.LibvirtError("VIR_ERR_AGENT_UNRESPONSIVE", "QEMU guest agent is not connected")
        return {"vnet3": ETH0}

    seen = ask(host, answers, ("agent", "arp"))
    assert seen.source == "arp" and seen.readings[0].interface is None  # vnet3 is the host's name, not the guest's


def test_a_guest_that_hangs_is_told_and_the_others_are_found(host: fake.Host):
    release = threading.Event()
    host.domain("web1", state=fake.RUNNING, answers=lambda source: release.wait(60))
    host.domain("web2", state=fake.RUNNING, answers={"eth0": ETH0})
    host.domain("web3")
    host.domain("web4", state=fake.PAUSED)
    driver = connect()
    seen = {answer.vm.name: answer for answer in driver.addresses.read(driver.inventory.vms().vms, ("agent",), 4, 0.2)}
    release.set()
    assert {name: answer.reason for name, answer in seen.items()} == {
        "web1": "timeout",
        "web2": None,
        "web3": "vm_not_running",
        "web4": "vm_not_running",
    }
    assert "0.2 s" in seen["web1"].message and "it is paused" in seen["web4"].message


def test_a_connection_that_breaks_is_no_fault_of_the_guests(host: fake.Host):
    def answers(source: int) -> t.Any:
        host.alive = False
        return fake.LibvirtError("VIR_ERR_INTERNAL_ERROR", "client socket is closed")

    with pytest.raises(HypervisorUnreachable, match="qemu:///system: the connection broke"):
        ask(host, answers)
