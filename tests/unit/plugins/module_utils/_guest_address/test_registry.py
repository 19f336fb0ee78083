# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is read in a Windows registry, from plain values; real hives are read in the tests of whole disks."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address import registry

ADAPTERS = "Control\\Class\\{4d36e972-e325-11ce-bfc1-08002be10318}"
INTERFACES = "Services\\Tcpip\\Parameters\\Interfaces"
BOUND = {"DhcpIPAddress": "10.99.0.7", "EnableDHCP": 1, "LeaseObtainedTime": 1764000000, "LeaseTerminatesTime": 1764003600}


def filetime(seconds: float) -> int:
    """Unix seconds as Windows counts them."""
    return int((seconds + 11644473600) * 10**7)


class Key:
    """A key, by the paths below it."""

    def __init__(self, name: str = "", keys: dict[str, Key] | None = None, written: int = 0, **values: t.Any) -> None:
        self.name, self.keys, self.values, self.written = name, keys or {}, values, written

    def child(self, path: str) -> Key | None:
        return self.keys.get(path)

    def children(self) -> t.Iterable[Key]:
        return self.keys.values()

    def value(self, name: str) -> t.Any:
        return self.values.get(name)


def several(*keys: Key) -> Key:
    return Key(keys={key.name: key for key in keys})


def hive(control_set: dict[str, Key], current: t.Any = 2) -> Key:
    return Key(keys={"Select": Key(Current=current), "ControlSet002": Key(keys=control_set)})


def leases(*interfaces: Key, **more: Key) -> list[tuple[str, str | None, float | None, float | None]]:
    found = registry.leases(hive({INTERFACES: several(*interfaces), **more}))
    return [(lease.address, lease.mac, lease.obtained, lease.expires) for lease in found]


def test_the_leases_of_the_control_set_that_is_in_use() -> None:
    assert leases(Key("{a}", **BOUND)) == [("10.99.0.7", None, 1764000000, 1764003600)]


@pytest.mark.parametrize(
    "changes", [{"EnableDHCP": 0}, {"DhcpIPAddress": "0.0.0.0"}, {"DhcpIPAddress": None}, {"DhcpIPAddress": b"\xff"}]
)
def test_an_interface_without_a_lease_has_none(changes: dict[str, t.Any]) -> None:
    assert leases(Key("{a}", **{**BOUND, **changes})) == []


def test_a_lease_for_ever_does_not_end() -> None:
    assert leases(Key("{a}", **BOUND, Lease=0xFFFFFFFF)) == [("10.99.0.7", None, 1764000000, None)]


def test_times_since_the_systems_start_are_counted_from_when_the_key_was_written() -> None:
    key = Key("{a}", written=filetime(1764000000), **{**BOUND, "LeaseObtainedTime": 50, "LeaseTerminatesTime": 3650})
    assert leases(key) == [("10.99.0.7", None, 1764000000, 1764003600)]
    key.written = 0
    assert leases(key) == [("10.99.0.7", None, None, None)]


def test_macs_are_those_in_use_before_those_that_were_set() -> None:
    adapters = several(
        Key("0001", NetCfgInstanceId="{A}", NetworkAddress="52-54-00-00-00-0A"),
        Key("0002", NetCfgInstanceId="{B}", NetworkAddress="5254000000bb"),
        Key("0003", NetCfgInstanceId=7, NetworkAddress="5254000000cc"),
        Key("0004", NetCfgInstanceId="{C}", NetworkAddress=b"52"),
    )
    in_use = several(
        Key("{A}", {"Kernel": Key(CurrentAddress=bytes.fromhex("5254000000aa"))}),
        Key("{C}", {"Kernel": Key(CurrentAddress="5254000000cc")}),
        Key("{D}"),
    )
    more = {ADAPTERS: adapters, "Control\\NetworkSetup2\\Interfaces": in_use}
    found = leases(Key("{a}", **BOUND), Key("{b}", **BOUND), Key("{c}", **BOUND), Key("{d}", **BOUND), **more)
    assert [mac for _address, mac, _obtained, _expires in found] == ["52:54:00:00:00:aa", "52:54:00:00:00:bb", None, None]


@pytest.mark.parametrize("current", [None, "2", 0, 1000, 3])
def test_a_hive_that_does_not_say_which_control_set_it_uses(current: t.Any) -> None:
    root = hive({INTERFACES: several(Key("{a}", **BOUND))}, current)
    assert registry.leases(root) == [] and registry.stopped(root) is None


def test_a_hive_without_anything() -> None:
    assert registry.leases(Key()) == [] and registry.leases(hive({})) == [] and registry.stopped(hive({})) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (filetime(1764000000).to_bytes(8, "little"), 1764000000),
        (b"\xff" * 8, None),
        (b"\0" * 8, None),
        (b"short", None),
        (1, None),
    ],
)
def test_when_windows_was_shut_down(value: t.Any, seconds: float | None) -> None:
    assert registry.stopped(hive({"Control\\Windows": Key(ShutdownTime=value)})) == seconds
