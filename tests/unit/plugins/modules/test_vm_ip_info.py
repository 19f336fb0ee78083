# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module, with the KVM driver on a libvirt in this process."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.addresses import KvmAddresses
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import page
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._hypervisor.kvm import fake_libvirt as fake

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.tests.unit.conftest import RunModule

HYPERVISOR = {"type": "kvm", "uri": "qemu:///system"}


def mac(number: int) -> str:
    return f"52:54:00:00:00:{number:02x}"


def answer(number: int, *addresses: str) -> dict[str, t.Any]:
    return {"eth0": {"hwaddr": mac(number), "addrs": [{"addr": address} for address in addresses]}}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> fake.Host:
    found = fake.Host()
    fake.install(monkeypatch, found)
    found.domain("web1", state=fake.RUNNING, macs=[mac(1)], answers=answer(1, "10.99.0.51", "fe80::1", "2001:db8::1"))
    found.domain("web2", state=fake.RUNNING, macs=[mac(2)], answers=answer(2, "192.168.7.7"))
    found.domain("web3", macs=[mac(3)])
    return found


def nics(result: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    return {vm["name"]: vm["nics"][0] for vm in result["vms"] if vm["nics"]}


def test_a_page_asks_its_own_guests_only(host: fake.Host, run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    read = KvmAddresses.read
    monkeypatch.setattr(
        KvmAddresses, "read", lambda self, vms, *rest: asked.extend(vm.name for vm in vms) or read(self, vms, *rest)
    )
    first, second = (run_module("vm_ip_info", {"hypervisor": HYPERVISOR, "limit": 2, "offset": offset}) for offset in (0, 2))
    assert ([vm["name"] for vm in first["vms"]], first["total"]) == (["web1", "web2"], 3)
    assert ([vm["name"] for vm in second["vms"]], second["total"]) == (["web3"], 3)
    assert asked == ["web1", "web2", "web3"]
    named = run_module("vm_ip_info", {"hypervisor": HYPERVISOR, "vms": ["web3", "nobody", "web1"], "limit": 1, "offset": 1})
    assert ([vm["name"] for vm in named["vms"]], named["total"], len(asked)) == (["nobody"], 3, 3)
    refused = run_module("vm_ip_info", {"hypervisor": HYPERVISOR, "limit": -1}, fails=True)
    assert refused["msg"].startswith("limit is -1: it must be from 0 to")
    monkeypatch.setattr(page, "LENGTH", 2)
    asked.clear()
    short = run_module("vm_ip_info", {"hypervisor": HYPERVISOR})
    assert "these are 2 of 3 VMs: the next ones come with offset=2, all at once with limit=0" in str(short["warnings"])
    assert len(asked) == len(short["vms"]) == 2
    every = run_module("vm_ip_info", {"hypervisor": HYPERVISOR, "limit": 0})
    assert len(every["vms"]) == 3 and "warnings" not in every


def test_all_vms_or_the_named_ones_in_their_order(host: fake.Host, run_module: RunModule):
    every = run_module("vm_ip_info", {"hypervisor": HYPERVISOR})
    assert [vm["name"] for vm in every["vms"]] == ["web1", "web2", "web3"] and not every["changed"]
    nic = nics(every)["web1"]
    assert (nic["ip4_address"], nic["ip6_addresses"], nic["source"], nic["reason"]) == (
        "10.99.0.51",
        ["2001:db8::1"],
        "agent",
        None,
    )
    named = run_module("vm_ip_info", {"hypervisor": HYPERVISOR, "vms": ["web3", "nobody", "web1", "web3"]})
    assert [(vm["name"], vm["reason"]) for vm in named["vms"]] == [
        ("web3", "vm_not_running"),
        ("nobody", "vm_not_found"),
        ("web1", None),
    ]
    text = run_module("vm_ip_info", {"hypervisor": HYPERVISOR, "vms": " web3, web1"})
    assert [vm["name"] for vm in text["vms"]] == ["web3", "web1"]
    assert "vms has an empty name" in run_module("vm_ip_info", {"hypervisor": HYPERVISOR, "vms": "web1,"}, fails=True)["msg"]


def test_addresses_outside_of_the_networks_cidr_do_not_count(host: fake.Host, run_module: RunModule):
    result = run_module("vm_ip_info", {"hypervisor": HYPERVISOR, "cidrs": {"br0": ["10.99.0.0/24"]}})
    assert nics(result)["web1"]["ip4_address"] == "10.99.0.51"
    assert (nics(result)["web2"]["ip4_address"], nics(result)["web2"]["reason"]) == (None, "filtered_out")


def test_without_sources_no_guest_is_asked(host: fake.Host, run_module: RunModule):
    host.domains["web1"].answers = AssertionError("asked")
    result = run_module("vm_ip_info", {"hypervisor": HYPERVISOR, "sources": []})
    assert [vm["power_state"] for vm in result["vms"]] == ["running", "running", "stopped"]
    assert {nic["ip4_address"] for nic in nics(result).values()} == {None}


def test_wrong_options_are_named(host: fake.Host, run_module: RunModule):
    for more, words in (
        ({"sources": ["tools"]}, "sources has 'tools': for hypervisor.type kvm use agent, lease_file, registry, arp, libguestfs"),
        ({"cidrs": {"br0": "10.99.0.0/99"}}, "cidrs.br0: "),
        ({"cidrs": {"br0": 7}}, "cidrs.br0: "),
        ({"workers": 0}, "workers is 0"),
        ({"timeout": 0}, "timeout is 0"),
    ):
        assert words in run_module("vm_ip_info", {"hypervisor": HYPERVISOR, **more}, fails=True)["msg"]


def test_a_vm_that_cannot_be_read_is_told_apart_from_one_that_is_not_there(host: fake.Host, run_module: RunModule):
    def trouble(what: str, name: str) -> None:
        if what == "state" and name == "web2":
            raise fake.LibvirtError("VIR_ERR_OPERATION_INVALID", "its definition is broken")

    host.trouble = trouble
    result = run_module("vm_ip_info", {"hypervisor": HYPERVISOR})
    assert [vm["name"] for vm in result["vms"]] == ["web1", "web3", "web2"]
    assert "its definition is broken" in result["vms"][2]["message"]


def test_a_thousand_vms_are_a_small_result(host: fake.Host, run_module: RunModule):
    for number in range(1000):
        address = f"10.99.{number // 250}.{number % 250 + 1}"
        host.domain(
            f"vm{number:04}",
            state=fake.RUNNING,
            macs=[f"52:54:01:00:{number >> 8:02x}:{number & 255:02x}"],
            answers={
                "eth0": {
                    "hwaddr": f"52:54:01:00:{number >> 8:02x}:{number & 255:02x}",
                    "addrs": [{"addr": address}, {"addr": f"fe80::5054:1ff:fe00:{number:x}"}],
                }
            },
        )
    result = run_module("vm_ip_info", {"hypervisor": HYPERVISOR})
    assert sum(nic["ip4_address"] is not None for nic in nics(result).values()) == 1002
    assert len(json.dumps(result)) < 600_000


def test_names_are_shown_in_plain_text_and_found_as_shown_or_by_id(host: fake.Host, run_module: RunModule):
    host.domain("bad\x9b\u202e", state=fake.RUNNING, macs=[mac(4)])
    host.domain("x" * 10_000, state=fake.RUNNING, macs=[mac(5)])
    every = run_module("vm_ip_info", {"hypervisor": HYPERVISOR, "sources": []})["vms"]
    assert [vm["name"] for vm in every[:4]] == [r"bad\x9b\u202e", "web1", "web2", "web3"]
    assert len(every[4]["name"]) == 255
    for asked in ("bad\x9b\u202e", r"bad\x9b\u202e", every[0]["id"].upper()):
        assert run_module("vm_ip_info", {"hypervisor": HYPERVISOR, "vms": [asked], "sources": []})["vms"] == every[:1]
    both = run_module("vm_ip_info", {"hypervisor": HYPERVISOR, "vms": [every[0]["id"], r"no\n", every[0]["name"]], "sources": []})
    assert [(vm["id"], vm["reason"]) for vm in both["vms"]] == [(every[0]["id"], None), (None, "vm_not_found")]


def test_names_that_are_shown_alike_are_told_apart_by_id(host: fake.Host, run_module: RunModule):
    host.domain("twin\u200d", state=fake.RUNNING, macs=[mac(4)])
    host.domain(r"twin\u200d", state=fake.RUNNING, macs=[mac(5)])
    (first, *_rest) = [vm for vm in run_module("vm_ip_info", {"hypervisor": HYPERVISOR})["vms"] if vm["name"].startswith("twin")]
    assert run_module("vm_ip_info", {"hypervisor": HYPERVISOR, "vms": [first["id"]]})["vms"][0]["nics"] == first["nics"]


def test_a_vm_that_could_not_be_read_is_not_one_that_is_gone(host: fake.Host, run_module: RunModule):
    host.domains["web2"].XMLDesc = lambda flags: (one for one in ()).throw(fake.LibvirtError("VIR_ERR_INTERNAL_ERROR", "no\x9b"))
    entry = run_module("vm_ip_info", {"hypervisor": HYPERVISOR, "sources": []})["vms"][-1]
    assert (entry["name"], entry["id"], entry["reason"]) == ("web2", None, "source_unavailable")
    assert entry["message"] == r"web2 could not be read: no\x9b"
