# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.tests.unit.plugins.modules import fake_machines as fake

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.tests.unit.conftest import RunModule


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> fake.FakeHypervisor:
    found = fake.install(monkeypatch)
    found.add("web1", power_state="running")
    found.add("web2")
    return found


def migrate(vms: t.Any = ("web1", "web2"), **destination: t.Any) -> dict[str, t.Any]:
    return {"hypervisor": {"type": "kvm"}, "vms": list(vms), "destination": destination}


def test_vms_are_moved_together(host: fake.FakeHypervisor, run_module: RunModule):
    host.trouble["migrate to {'host': 'h2'}", "web1"] = "no room"
    told = run_module("vm_migrate", migrate(host="h2", datastore=None), check_mode=True)
    assert told["changed"] and host.log == []
    result = run_module("vm_migrate", migrate(["web1", "ghost", "web2"], host="h2", datastore=""), fails=True, diff=True)
    assert [vm["error"] is None for vm in result["vms"]] == [False, False, True]
    assert result["vms"][2]["nics"][0]["network"] == "br0" and result["vms"][2]["power_state"] == "stopped"
    assert [diff["after"] for diff in result["diff"]] == ["host h2\n"]


@pytest.mark.parametrize(
    ("destination", "words"),
    [({}, "destination is empty"), ({"host": ""}, "destination is empty"), ({"rack": "r1"}, "'rack'.*use host")],
)
def test_a_destination_that_is_none_is_refused(
    host: fake.FakeHypervisor, run_module: RunModule, destination: dict[str, str], words: str
):
    result = run_module("vm_migrate", migrate(**destination), fails=True)
    assert result["msg"].startswith("nothing was changed: ") and host.log == []
    assert re.search(words, result["msg"])
