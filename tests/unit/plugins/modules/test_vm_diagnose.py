# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module, with the KVM driver on a libvirt in this process, and what its action plugin prints."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.action import vm_diagnose as action
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image as images
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.domain import MARK
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import page
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._hypervisor.kvm import fake_libvirt as fake

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.tests.unit.conftest import RunModule

NETWORKS = [{"name": "br0", "vlan": 120, "cidr": "10.99.0.0/24", "ip_range": "10.99.0.50-10.99.0.60"}]


def mac(number: int) -> str:
    return f"52:54:00:00:00:{number:02x}"


def answer(number: int, *addresses: str) -> dict[str, t.Any]:
    return {"eth0": {"hwaddr": mac(number), "addrs": [{"addr": address} for address in addresses]}}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> fake.Host:
    found = fake.Host()
    fake.install(monkeypatch, found)
    found.domain("web1", state=fake.RUNNING, macs=[mac(1)], answers=answer(1, "10.99.0.51", "fe80::1"))
    found.domain("web2", state=fake.RUNNING, macs=[mac(2)], answers=answer(2, "169.254.7.9"))
    web3 = found.domain("web3", macs=[mac(3)])
    web3.config = web3.config.replace(
        "<os>",
        f"<metadata><v:vm xmlns:v='{MARK}' id='{web3.UUIDString().lower()}'/></metadata><uuid>{web3.UUIDString()}</uuid><os>",
    )
    found.domain("template", macs=[mac(7)])
    found.domain("web4", state=fake.RUNNING, macs=[mac(4)], answers=answer(4, "192.168.7.7"))
    return found


@pytest.fixture
def options(tmp_path: pathlib.Path) -> dict[str, t.Any]:
    return {
        "hypervisor": {"type": "kvm", "uri": "qemu:///system"},
        "hypervisor_name": "kvm01",
        "record": f"sqlite:///{tmp_path}/record.db",
        "networks": NETWORKS,
        "sources": ["agent"],
        "drives": "none",
    }


def told(result: dict[str, t.Any]) -> dict[str, tuple[str, str | None]]:
    return {vm["name"]: (vm["status"], vm["check"]) for vm in result["vms"]}


def test_before_and_after_the_first_look(
    host: fake.Host, options: dict[str, t.Any], run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run_module("vm_diagnose", options)
    assert told(before)["web1"] == ("failed", "record")
    assert [check["check"] for check in before["hypervisor"]["checks"]] == ["hypervisor", "last_look"]
    run_module("vm_ip_fetch", {**{key: options[key] for key in options if key != "drives"}, "syslog": False})
    after = run_module("vm_diagnose", options)
    assert told(after) == {
        "web1": ("ok", None),
        "web2": ("failed", "dhcp"),
        "web3": ("warning", "power"),
        "web4": ("failed", "address_network"),
    }
    assert [vm["name"] for vm in after["vms"]] == ["web2", "web4", "web3", "web1"], "what needs a person comes first"
    assert after["counts"] == {"failed": 2, "warning": 1, "unknown": 0, "ok": 1} and not after["changed"]
    assert after["left_out"] == 1 and "1 more, such as templates and stopped ones of others, are not watched" in after["msg"]
    ours = run_module("vm_diagnose", {**options, "record": f"{options['record']}2", "vm_filter": {"exclude_names": ["web[24]"]}})
    assert set(told(ours)) == {"web1", "web3"} and ours["left_out"] == 3
    assert "vm_filter.tags" in run_module("vm_diagnose", {**options, "vm_filter": {"tags": ["a"]}}, fails=True)["msg"]
    assert told(run_module("vm_diagnose", {**options, "vms": ["template"]}))["template"] == ("warning", "power"), (
        "it is asked for"
    )
    assert after["networks"][0] == {
        "name": "br0",
        "vlan": "120",
        "cidrs": ["10.99.0.0/24"],
        "ip_range": "10.99.0.50-10.99.0.60",
        "size": 11,
        "used": 1,
    }
    some = run_module("vm_diagnose", {**options, "limit": 2, "offset": 1})
    assert list(told(some)) == ["web4", "web3"] and some["total"] == 4 and some["counts"] == after["counts"]
    monkeypatch.setattr(page, "LENGTH", 3)
    assert (
        len(run_module("vm_diagnose", options)["vms"]) == 3
        and len(run_module("vm_diagnose", {**options, "limit": 0})["vms"]) == 4
    )
    web1 = after["vms"][-1]
    assert web1["checks"] == []
    assert run_module("vm_diagnose", {**options, "detail": True, "vms": ["web1"]})["vms"][0]["checks"][0]["status"] == "ok"


def test_names_that_are_not_there_and_vms_that_are_gone(
    host: fake.Host, options: dict[str, t.Any], run_module: RunModule
) -> None:
    run_module("vm_ip_fetch", {**{key: options[key] for key in options if key != "drives"}, "syslog": False})
    del host.domains["web1"]
    assert told(run_module("vm_diagnose", {**options, "vms": ["nobody", "web3"]})) == {
        "nobody": ("failed", "vm"),
        "web3": ("warning", "power"),
    }
    gone = run_module("vm_diagnose", options)
    assert told(gone)["web1"] == ("failed", "vm") and "has no such VM any more" in gone["vms"][0]["verdict"]


def test_a_clone_with_the_same_machine_id_is_told_from_the_address(
    host: fake.Host, options: dict[str, t.Any], run_module: RunModule
) -> None:
    host.domains["web2"].answers = answer(2, "10.99.0.51")
    run_module("vm_ip_fetch", {**{key: options[key] for key in options if key != "drives"}, "syslog": False})
    found = run_module("vm_diagnose", {**options, "vms": ["web2"]})
    assert told(found) == {"web2": ("failed", "duplicate_address")}
    assert "web1 on kvm01" in found["vms"][0]["verdict"]


def test_a_record_that_cannot_be_read_is_a_verdict_and_a_wrong_option_is_not(
    host: fake.Host, options: dict[str, t.Any], run_module: RunModule, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "record.db").write_bytes(b"this is no database at all" * 100)
    found = run_module("vm_diagnose", {**options, "vms": ["web1"]})
    assert told(found) == {"web1": ("failed", "last_look")} and "record.db" in found["vms"][0]["verdict"]
    for more, words in (
        ({"workers": 0}, "workers is 0"),
        ({"timeout": 0}, "timeout is 0"),
        ({"sources": ["tools"]}, "sources has 'tools'"),
        ({"networks": [{"cidr": "10.0.0.0/8"}]}, "networks[0] is"),
        ({"networks": [{"name": "x", "ip_range": "y"}]}, "networks[0] (x): "),
    ):
        assert words in run_module("vm_diagnose", {**options, **more}, fails=True)["msg"]


def test_what_guests_say_is_plain_in_results_and_on_the_screen(
    host: fake.Host, options: dict[str, t.Any], run_module: RunModule
) -> None:
    host.domain("a\u202e\u009bb", state=fake.RUNNING, macs=[mac(9)], answers=answer(9, "\x1b]0;x\x07", "169.254.1.1\n"))
    result = run_module("vm_diagnose", options)
    lines = action.lines(result)
    assert all(line.isprintable() for line in lines)
    assert any(r"a\u202e\x9bb" in line for line in lines)


def test_the_table_has_verdict_and_next_step(host: fake.Host, options: dict[str, t.Any], run_module: RunModule) -> None:
    run_module("vm_ip_fetch", {**{key: options[key] for key in options if key != "drives"}, "syslog": False})
    host.domains["web1"].config = host.domains["web1"].live = host.domains["web1"].live.replace(
        "<target dev='hdd'", f"<source file='{fake.FOLDER}/web1.iso'/><target dev='hdd'"
    )
    host.files["web1.iso"] = images.build(
        {"openstack/latest/meta_data.json": b"{}"}, "config", host.domains["web1"].UUIDString().lower()
    )
    lines = action.lines(run_module("vm_diagnose", {**options, "drives": "contents"}))
    at = next(place for place, line in enumerate(lines) if line.startswith("!! web2  NIC 0 has given itself 169.254.7.9"))
    assert lines[at + 1].strip().startswith("next: see that the DHCP server serves br0 (VLAN 120)")
    assert any(line.startswith("   web1  nothing is wrong; it has 10.99.0.51") for line in lines)


def test_an_account_that_may_not_read_networks_has_the_rest_judged(
    host: fake.Host, options: dict[str, t.Any], run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: fake.Connection, flags: int) -> t.NoReturn:
        raise fake.LibvirtError("VIR_ERR_ACCESS_DENIED", "access denied: 'network' denied access")

    monkeypatch.setattr(fake.Connection, "listAllNetworks", refuse)
    assert told(run_module("vm_diagnose", options))["web2"] == ("failed", "dhcp")


IDENTITY = b"0123456789abcdef0123456789abcdef\n"


def test_what_the_guests_files_say_is_told_and_each_is_closed(
    host: fake.Host, options: dict[str, t.Any], run_module: RunModule
) -> None:
    run_module("vm_ip_fetch", {**{key: options[key] for key in options if key != "drives"}, "syslog": False})
    host.domains["web1"].files = {"/etc/machine-id": IDENTITY}
    host.domains["web4"].files = {"/etc/machine-id": IDENTITY}
    host.domains["web4"].answers = answer(4, "10.99.0.54")
    found = run_module("vm_diagnose", options)
    assert told(found)["web1"] == ("warning", "machine_id") and told(found)["web2"] == ("failed", "dhcp")
    web1 = next(vm for vm in found["vms"] if vm["name"] == "web1")
    assert "web1 has the machine-id of web4" in web1["verdict"] and IDENTITY.decode().strip() not in str(found)
    assert host.domains["web1"].opened == host.domains["web1"].closed == ["/etc/machine-id"]


@pytest.mark.parametrize(
    "content",
    [
        b"uninitialized\n",
        b"0123456789ABCDEF" * 2,
        IDENTITY * 1000,
        "x" * 100_000,
        "[" * 20_000,
        '{"return": {"buf-b64": "%"}}',
        "{}",
    ],
)
def test_a_guest_that_lies_about_its_files_says_nothing(
    host: fake.Host, options: dict[str, t.Any], run_module: RunModule, content: t.Any
) -> None:
    run_module("vm_ip_fetch", {**{key: options[key] for key in options if key != "drives"}, "syslog": False})
    for name in ("web1", "web2"):
        host.domains[name].files = {"/etc/machine-id": content}
    assert told(run_module("vm_diagnose", {**options, "vms": ["web1", "web2"]}))["web1"] == ("ok", None)
    assert host.domains["web1"].opened == host.domains["web1"].closed
