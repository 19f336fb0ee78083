# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""VMware: connection options, what VMware Tools reported, files of a datastore."""

from __future__ import annotations

import typing as t
from xml.etree import ElementTree

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError, Nic, Vm
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware import driver as vmware
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.addresses import observe
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.connection import endpoint_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.files import Location
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.inventory import Handle
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import ObjectData

GIVEN = {"type": "vmware", "host": "vcenter.example.com", "username": "u", "password": "top-secret"}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "USER", "PASSWORD", "PORT", "PROXY_HOST", "PROXY_PORT"):
        monkeypatch.delenv(f"VMWARE_{name}", raising=False)


# --- connection ---


def test_defaults() -> None:
    endpoint = endpoint_of(GIVEN)
    assert (endpoint.port, endpoint.verify, endpoint.timeout, endpoint.proxy_host) == (443, True, 30.0, None)


def test_options_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("HOST", "other"), ("USER", "other"), ("PASSWORD", "other"), ("PORT", "1")):
        monkeypatch.setenv(f"VMWARE_{name}", value)
    endpoint = endpoint_of({**GIVEN, "port": 8443})
    assert (endpoint.host, endpoint.username, endpoint.password, endpoint.port) == (
        "vcenter.example.com",
        "u",
        "top-secret",
        8443,
    )
    endpoint = endpoint_of({"type": "vmware"})
    assert (endpoint.host, endpoint.username, endpoint.password, endpoint.port) == ("other", "other", "other", 1)


@pytest.mark.parametrize("option", ["host", "username", "password"])
def test_what_is_missing_is_named(option: str) -> None:
    with pytest.raises(HypervisorError, match=rf"hypervisor\.{option} is not set"):
        endpoint_of({**GIVEN, option: None})


@pytest.mark.parametrize("port", [0, 70000, "x"])
def test_port_that_is_none(port: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HypervisorError, match=r"hypervisor\.port is"):
        endpoint_of({**GIVEN, "port": port})


def test_host_must_be_no_url() -> None:
    with pytest.raises(HypervisorError, match="give the name or address alone"):
        endpoint_of({**GIVEN, "host": "https://vcenter.example.com/sdk"})


def test_password_does_not_show() -> None:
    endpoint = endpoint_of(GIVEN)
    assert "top-secret" not in f"{endpoint} {endpoint!r} {[endpoint]}"


def test_ca_file_that_cannot_be_read(tmp_path: t.Any) -> None:
    with pytest.raises(HypervisorError, match=r"hypervisor\.ca_path .*missing\.pem"):
        endpoint_of({**GIVEN, "ca_path": str(tmp_path / "missing.pem")}).context()
    (tmp_path / "no.pem").write_text("no certificate")
    with pytest.raises(HypervisorError, match=r"hypervisor\.ca_path"):
        endpoint_of({**GIVEN, "ca_path": str(tmp_path / "no.pem")}).context()


def test_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vmware, "vim", None)
    with pytest.raises(MissingLibrary, match="pyVmomi"):
        vmware.connect(GIVEN)


# --- VMware Tools ---

MAC = "00:50:56:80:00:01"


def machine() -> Vm:
    return Vm("web", "id-1", "running", (Nic(0, MAC, "net"),), Handle("vm-1", (4000,)))


def guest(net: str = "", **properties: str) -> ObjectData:
    given = {
        "runtime.powerState": "poweredOn",
        "guest.toolsRunningStatus": "guestToolsRunning",
        "guest.toolsVersionStatus2": "guestToolsCurrent",
        **{key.replace("__", "."): value for key, value in properties.items()},
    }
    found = {}
    for key, value in given.items():
        element = ElementTree.Element("val")
        element.text = value
        found[key] = element
    found["guest.net"] = ElementTree.fromstring(f'<val xmlns="urn:vim25">{net}</val>')
    return ObjectData("VirtualMachine", "vm-1", found)


def nic(addresses: str, mac: str = MAC, key: int = 4000) -> str:
    return f"<GuestNicInfo>{addresses}<macAddress>{mac}</macAddress><deviceConfigId>{key}</deviceConfigId></GuestNicInfo>"


def test_plain_addresses() -> None:
    seen = observe(machine(), guest(nic("<ipAddress>10.99.0.7</ipAddress><ipAddress>fe80::1</ipAddress>")))
    (reading,) = seen.readings
    assert (seen.source, reading.mac, reading.device, reading.addresses) == ("tools", MAC, 0, ("10.99.0.7", "fe80::1"))


def test_detailed_addresses_without_those_nobody_can_use() -> None:
    states = ["preferred", "duplicate", "tentative", "unknown", "invalid", "inaccessible", ""]
    detail = "".join(
        f"<ipAddress><ipAddress>10.99.0.{n}</ipAddress><state>{state}</state></ipAddress>" for n, state in enumerate(states)
    )
    seen = observe(machine(), guest(nic(f"<ipConfig>{detail}</ipConfig>")))
    assert seen.readings[0].addresses == ("10.99.0.0", "10.99.0.3", "10.99.0.6")


def test_interface_of_the_guests_own_has_no_device() -> None:
    seen = observe(machine(), guest(nic("<ipAddress>172.17.0.1</ipAddress>", "02:42:00:00:00:01", -1)))
    assert seen.readings[0].device is None


@pytest.mark.parametrize("key", ["", "x", "99999999999999999999"])
def test_device_that_makes_no_sense(key: t.Any) -> None:
    seen = observe(machine(), guest(nic("<ipAddress>10.99.0.7</ipAddress>", key=key)))
    assert (seen.readings[0].device, seen.readings[0].mac) == (None, MAC)


def test_what_one_guest_can_make_us_carry_is_bounded() -> None:
    flood = nic("".join(f"<ipAddress>10.0.0.{n}</ipAddress>" for n in range(10_000)), "x" * 10_000)
    long = nic(f"<ipAddress>{'1' * 10_000}</ipAddress>")
    seen = observe(machine(), guest(flood + long * 1000))
    assert len(seen.readings) == 256
    assert len(seen.readings[0].addresses) == 64
    assert len(seen.readings[0].mac or "") == 64
    assert seen.readings[1].addresses == ()


@pytest.mark.parametrize(
    ("data", "reason", "word"),
    [
        (None, "vm_not_found", "gone"),
        (guest(runtime__powerState="poweredOff"), "vm_not_running", "stopped"),
        (guest(runtime__powerState="suspended"), "vm_not_running", "suspended"),
        (
            guest(guest__toolsRunningStatus="guestToolsNotRunning", guest__toolsVersionStatus2="guestToolsNotInstalled"),
            "no_guest_tools",
            "not installed",
        ),
        (guest(guest__toolsRunningStatus="guestToolsNotRunning"), "no_guest_tools", "does not run"),
        (guest(guest__toolsRunningStatus=""), "no_guest_tools", "does not run"),
        (guest(), "no_lease", "no address yet"),
        (guest(nic("")), "no_lease", "no address yet"),
    ],
)
def test_reasons(data: ObjectData | None, reason: str, word: str) -> None:
    seen = observe(machine(), data)
    assert (seen.reason, seen.source, seen.readings) == (reason, None, ())
    assert word in (seen.message or "") and "web" not in (seen.message or "")


# --- files ---


def test_url_of_a_file_with_every_odd_character() -> None:
    location = Location("dc/one & two", "ds [1]", "a%2fb #?/x+y&z é.iso")
    assert location.url() == "/folder/a%252fb%20%23%3F/x%2By%26z%20%C3%A9.iso?dcPath=dc%2Fone%20%26%20two&dsName=ds%20%5B1%5D"
    assert str(location) == "[ds [1]] a%2fb #?/x+y&z é.iso"


def test_file_beside_another() -> None:
    assert Location("dc", "ds", "web/web.iso").beside("x").path == "web/x"
    assert Location("dc", "ds", "web.iso").beside("x").path == "x"
    assert Location("dc", "ds", "a/b/c.iso").folder == "a/b"
