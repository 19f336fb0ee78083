# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of VMs: what becomes one, what does not, and that nothing a tenant chooses leads out of the domain."""

from __future__ import annotations

import re
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns import names
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.model import DnsError, Lease

CORP = "corp.example.com"


def lease(vm: str = "web1", *addresses: str, network: str = "corp", device: int = 0, hypervisor: str = "kvm01") -> Lease:
    return Lease(hypervisor, f"id-{vm}", vm, device, network, addresses or ("10.99.0.57",), 1)


def rules(**more: t.Any) -> names.Rules:
    return names.Rules(**{"domains": {"corp": CORP, "br-corp": CORP}, **more})


@pytest.mark.parametrize(
    ("vm", "more", "name"),
    [
        ("web1", {}, "web1.corp.example.com"),
        ("Web-1", {}, "web-1.corp.example.com"),
        ("web1.corp.example.com", {}, "web1.corp.example.com"),
        ("7", {}, "7.corp.example.com"),
        ("web1", {"template": "{vm}-{nic}"}, "web1-0.corp.example.com"),
        ("web1", {"template": "{{ vm }}.{{hypervisor}}"}, "web1.kvm01.corp.example.com"),
        ("Web Server", {"names": {"Web Server": "web"}}, "web.corp.example.com"),
        ("Web Server", {"names": {"id-Web Server": "web"}}, "web.corp.example.com"),
        ("proxy", {"names": {"proxy": "wpad"}}, "wpad.corp.example.com"),
        ("web1", {"domains": {}, "domain": "other.example.com"}, "web1.other.example.com"),
        ("web1", {"domains": {}}, None),
        ("web1", {"networks": ["lab"]}, None),
    ],
)
def test_name(vm: str, more: dict[str, t.Any], name: str | None) -> None:
    assert names.host_name(lease(vm), rules(**more)) == name


@pytest.mark.parametrize(
    "vm",
    [
        "Web Server",
        "web_1",
        "-web",
        "web-",
        "a.b",
        "web1.other.example.com",
        "bücher",
        "xn--bcher-kva",
        "w" * 64,
        "",
        "web\n1",
        "wpad",
        "WPAD",
        "*",
        "@",
    ],
)
def test_no_name(vm: str) -> None:
    pairs, conflicts = names.pairs([lease(vm)], rules())
    assert pairs == [] and [conflict.reason for conflict in conflicts] == ["bad_name"]
    assert conflicts[0].message.isprintable() and conflicts[0].message.endswith("give one in names")


@given(st.text(max_size=300), st.sampled_from(["{vm}", "{vm}-{nic}", "x{vm}", "{vm}.{network}"]))
def test_whatever_a_vm_is_called_it_stays_in_its_domain(vm: str, template: str) -> None:
    pairs, conflicts = names.pairs([lease(vm)], rules(template=template))
    assert len(pairs) + len(conflicts) == 1
    for pair in pairs:
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.corp)?\.corp\.example\.com", pair.name), pair.name
        assert len(names.mark_name(pair.name)) <= 253


@given(st.lists(st.one_of(st.text(max_size=50), st.ip_addresses().map(str)), max_size=50))
def test_whatever_a_guest_says_of_its_addresses(addresses: list[str]) -> None:
    pairs, _conflicts = names.pairs([lease("web1", *addresses)], rules())
    assert len(pairs) <= names.MAX_ADDRESSES
    assert all(pair.reverse and pair.reverse.endswith((".in-addr.arpa", ".ip6.arpa")) for pair in pairs)


def test_addresses_and_families() -> None:
    addresses = ("10.99.0.57", "fe80::1", "127.0.0.1", "2001:DB8::57", "2001:db8:0::57")
    pairs, _conflicts = names.pairs([lease("web1", *addresses)], rules())
    assert [pair.address for pair in pairs] == ["10.99.0.57", "2001:db8::57"]
    only4, _conflicts = names.pairs([lease("web1", *addresses)], rules(families=[4], ptr=False))
    assert [(pair.address, pair.reverse) for pair in only4] == [("10.99.0.57", None)]


@pytest.mark.parametrize(
    ("template", "part"),
    [
        ("{name}", "name is not known"),
        ("web", "the same name"),
        ("{vm}_x", "gives no DNS names"),
        ("{vm}..x", "gives no DNS names"),
        ("-{vm}", "gives"),
    ],
)
def test_bad_templates(template: str, part: str) -> None:
    with pytest.raises(DnsError, match=re.escape(part)):
        names.check_template(template)


@pytest.mark.parametrize("text", ["", ".", "a b", "ex_ample.com", "x" * 64 + ".com", "é.com"])
def test_bad_domains(text: str) -> None:
    with pytest.raises(DnsError, match="^domain is"):
        names.check_domain(text, "domain")


def test_domains_and_zones_are_brought_into_one_form() -> None:
    assert names.check_domain(" VMs.Example.COM. ", "domain") == "vms.example.com"
    assert names.check_zone("0/25.0.99.10.IN-ADDR.arpa.") == "0/25.0.99.10.in-addr.arpa"
    with pytest.raises(DnsError, match="server.zones has"):
        names.check_zone("a..b")
