# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    HypervisorUnreachable,
    Networks,
    NetworkState,
    NetworkWanted,
    Outcome,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import shared_network

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ansible_collections.vmops.external_dhcp.tests.unit.conftest import RunModule

HYPERVISOR = {"type": "kvm", "uri": "qemu:///system"}


class Fake(Networks):
    """there: the networks by name and what they are; troubles: by name, why one cannot be changed; cut: the connection breaks at it."""

    type = "kvm"

    def __init__(self) -> None:
        self.there: dict[str, tuple[str, ...]] = {}
        self.users: dict[str, tuple[str, ...]] = {}
        self.troubles: dict[str, str] = {}
        self.cut: str | None = None
        self.looked_for_users: bool | None = None
        self.asked: list[NetworkWanted] = []
        self.networks = self
        self.log: list[tuple[str, str]] = []

    def states(self, wanted: Sequence[NetworkWanted], users: bool) -> list[NetworkState]:
        self.looked_for_users = users
        self.asked = list(wanted)
        return [
            NetworkState(
                self.there.get(one.name, ()),
                (f"VLAN {one.vlan}",),
                self.troubles.get(f"make {one.name}"),
                f"{one.name} is used" if one.name in self.users else None,
                self.users.get(one.name, ()),
            )
            for one in wanted
        ]

    def make(self, wanted: Sequence[NetworkWanted]) -> Iterator[Outcome]:
        return self._change("make", wanted)

    def remove(self, wanted: Sequence[NetworkWanted]) -> Iterator[Outcome]:
        return self._change("remove", wanted)

    def _change(self, what: str, wanted: Sequence[NetworkWanted]) -> Iterator[Outcome]:
        for one in wanted:
            if one.name == self.cut:
                raise HypervisorUnreachable("the connection broke")
            self.log.append((what, one.name))
            if one.name in self.troubles:
                yield Outcome(one.name, error=f"{one.name}: {self.troubles[one.name]}")
                continue
            self.there.pop(one.name, None)
            if what == "make":
                self.there[one.name] = (f"VLAN {one.vlan}",)
            yield Outcome(one.name, changed=True)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Fake:
    found = Fake()
    monkeypatch.setattr(shared_network, "hypervisor_of", lambda module: contextlib.nullcontext(found))
    return found


def options(*names: str, **more: t.Any) -> dict[str, t.Any]:
    return {"hypervisor": HYPERVISOR, "networks": [{"name": name, "vlan": 7, "bridge": "br0"} for name in names], **more}


def test_what_is_missing_is_made_once_and_what_is_there_removed_once(host: Fake, run_module: RunModule):
    assert (
        run_module("shared_network", options("a", "b"))["changed"]
        and not run_module("shared_network", options("a", "b"))["changed"]
    )
    told = run_module("shared_network", options("a", "b"), check_mode=True, diff=True)
    assert not told["changed"] and told["diff"] == []
    gone = run_module("shared_network", options("a", "b", state="absent", names="a"), diff=True)
    assert gone["diff"] == [{"before_header": "a", "after_header": "a", "before": "VLAN 7\n", "after": ""}]
    assert [network["name"] for network in gone["networks"]] == ["a"] and not gone["networks"][0]["exists"]
    assert not run_module("shared_network", options("a", state="absent"))["changed"]
    assert host.log == [("make", "a"), ("make", "b"), ("remove", "a")]


def test_who_is_on_a_network_is_looked_for_only_where_it_matters(host: Fake, run_module: RunModule):
    run_module("shared_network", options("a"))
    assert host.looked_for_users is False
    run_module("shared_network", options("a", state="absent"))
    assert host.looked_for_users is True


def test_check_mode_tells_the_same_and_does_nothing(host: Fake, run_module: RunModule):
    told = run_module("shared_network", options("a"), check_mode=True, diff=True)
    assert told["changed"] and host.log == [] and not told["networks"][0]["exists"]
    assert run_module("shared_network", options("a"), diff=True)["diff"] == told["diff"]


def test_what_an_entry_leaves_open_comes_from_the_options(host: Fake, run_module: RunModule):
    networks = [
        {"name": "a", "vlan": 7},
        {"name": "b", "vlan": 8, "bridge": "br1", "hosts": ["x"]},
        {"name": "c"},
        {"name": "d", "bridge": "e"},
    ]
    run_module("shared_network", {"hypervisor": HYPERVISOR, "networks": networks, "bridge": "br0", "hosts": ["h1", "h2"]})
    assert [(one.name, one.vlan, one.bridge, one.hosts) for one in host.asked] == [
        ("a", 7, "br0", ("h1", "h2")),
        ("b", 8, "br1", ("x",)),
        ("c", None, None, ()),
        ("e", None, "e", ()),
    ]
    assert host.log == [("make", "a"), ("make", "b")]


def test_networks_without_a_vlan_are_never_changed(host: Fake, run_module: RunModule):
    host.there["c"] = ("something else",)
    told = run_module("shared_network", {"hypervisor": HYPERVISOR, "networks": [{"name": "c"}], "state": "absent"})
    assert not told["changed"] and host.log == [] and "no vlan" in told["networks"][0]["message"]


def test_one_that_fails_does_not_stop_the_others(host: Fake, run_module: RunModule):
    host.troubles = {"make a": "a: it serves DHCP", "b": "no"}
    told = run_module("shared_network", options("a", "b", "c"), fails=True)
    assert told["changed"] and [network["error"] for network in told["networks"]] == ["a: it serves DHCP", "b: no", None]
    assert told["msg"] == "2 of 3 networks failed: a: it serves DHCP; b: no" and host.log == [("make", "b"), ("make", "c")]


def test_a_cut_connection_is_the_error_of_those_not_heard_of(host: Fake, run_module: RunModule):
    host.cut = "b"
    told = run_module("shared_network", options("a", "b", "c"), fails=True)
    assert [network["changed"] for network in told["networks"]] == [True, False, False]
    assert [network["error"] for network in told["networks"]] == [None, "b: the connection broke", "c: the connection broke"]


def test_a_network_in_use_is_not_removed(host: Fake, run_module: RunModule):
    host.there["a"] = ("VLAN 7",)
    host.users["a"] = ("web1", "x\x1b[31m")
    told = run_module("shared_network", options("a", state="absent"), fails=True)
    assert "a is used" in told["msg"] and told["networks"][0]["users"] == ["web1", "x\\x1b[31m"] and host.log == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"networks": [{"name": "a", "vlan": 5000}]}, "networks, a: vlan is 5000"),
        ({"networks": [{"name": "a", "cidr": "10.0.0.0/24", "ip_range": "10.1.0.1-10.1.0.2"}]}, "is not in cidr 10.0.0.0/24"),
        ({"names": ["aa"]}, "names has 'aa', which is not in networks; did you mean a?"),
        ({"names": [7]}, "names has 7"),
    ],
)
def test_bad_input_is_refused_before_anything_is_read(host: Fake, run_module: RunModule, more: t.Any, words: str):
    told = run_module("shared_network", {**options("a"), **more}, fails=True)
    assert told["msg"].startswith("nothing was changed: ") and words in told["msg"] and host.asked == []


def test_ranges_are_compared_with_each_other_and_with_those_of_other_hypervisors(host: Fake, run_module: RunModule):
    one = {"name": "a", "vlan": 7, "ip_range": "10.0.0.1-10.0.0.9"}
    other = {"name": "b", "vlan": 8, "ip_range": "10.0.0.9-10.0.0.19"}
    both = {"hypervisor": HYPERVISOR, "networks": [one, other]}
    assert "addresses in common" in str(run_module("shared_network", both)["warnings"])
    told = run_module(
        "shared_network", {**both, "networks": [one], "announced": [one, other, "nonsense", {"name": "c", "vlan": "x"}]}
    )
    assert str(told["warnings"]).count("addresses in common") == 1
    assert "warnings" not in run_module("shared_network", {**both, "state": "absent"})
