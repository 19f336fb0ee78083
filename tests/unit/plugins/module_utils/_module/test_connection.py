# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import connection


class Ended(Exception):
    """The module called fail_json()."""


class Module:
    def __init__(self) -> None:
        self.params = {"hypervisor": {"type": "kvm"}}
        self.failure: dict[str, t.Any] = {}

    def fail_json(self, **result: t.Any) -> t.NoReturn:
        self.failure = result
        raise Ended


class Driver:
    type = "kvm"
    sources = ("agent", "arp")
    default_sources = ("agent",)

    def __init__(self) -> None:
        self.addresses = self
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    found = Driver()
    monkeypatch.setattr(connection, "open_hypervisor", lambda description: found)
    return found


def test_the_connection_is_closed_whatever_happens(driver: Driver):
    module = Module()
    with connection.hypervisor_of(module) as hypervisor:
        assert hypervisor is driver and driver.closed == 0
    assert driver.closed == 1
    with pytest.raises(ZeroDivisionError), connection.hypervisor_of(module):
        raise ZeroDivisionError
    assert driver.closed == 2 and module.failure == {}


def test_errors_of_the_hypervisor_are_the_modules_message(driver: Driver):
    module = Module()
    with pytest.raises(Ended), connection.hypervisor_of(module):
        raise HypervisorError("kvm01: the connection broke")
    assert module.failure == {"msg": "kvm01: the connection broke"} and driver.closed == 1


def test_a_missing_library_is_named_with_its_traceback(monkeypatch: pytest.MonkeyPatch):
    def missing(description: t.Any) -> t.NoReturn:
        raise MissingLibrary("libvirt-python", "Traceback: no module", url="https://libvirt.org/")

    monkeypatch.setattr(connection, "open_hypervisor", missing)
    module = Module()
    with pytest.raises(Ended), connection.hypervisor_of(module):
        raise AssertionError("there is nothing to do without it")
    assert "libvirt-python" in module.failure["msg"] and module.failure["exception"] == "Traceback: no module"


def test_sources_are_the_drivers_own_or_those_asked_for(driver: Driver):
    module = Module()
    assert connection.check_sources(driver, None) == ["agent"]
    assert connection.check_sources(driver, []) == []
    assert connection.check_sources(driver, ["arp", "agent"]) == ["arp", "agent"]
    with pytest.raises(Ended), connection.hypervisor_of(module) as hypervisor:
        connection.check_sources(hypervisor, ["agent", "tools"])
    assert module.failure["msg"] == "sources has 'tools': for hypervisor.type kvm use agent, arp"
