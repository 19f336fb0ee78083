# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the page says, before it is a page."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _whole_file
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils import _report_data, _report_networks, _report_page
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.plugin_utils.report_sample import NOW, look, nic, sample

if t.TYPE_CHECKING:
    from collections.abc import Sequence


def data(
    nics: Sequence[dict[str, t.Any]], *hypervisors: dict[str, t.Any], looks: Sequence[dict[str, t.Any]] = ()
) -> dict[str, t.Any]:
    return _report_data.page_data(_report_data.Recorded("record", list(nics), [], list(looks), []), list(hypervisors), NOW, "VMs")


def rows(page: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    found = [dict(zip(page["columns"], row)) for row in page["rows"]]
    return {row["vm"]: row for row in found}


def test_every_state_of_a_nic_has_its_status() -> None:
    one = nic(1, 1)
    page = data(
        [
            {**one, "vm_name": "well"},
            {**one, "vm_name": "outside", "in_range": False, "ip_range": "10.99.0.1-10.99.0.9"},
            {**one, "vm_name": "suspect", "suspect": True},
            {**one, "vm_name": "taken", "last_reason": "address_taken"},
            {
                **one,
                "vm_name": "waiting",
                "fetch_state": "pending",
                "address": None,
                "ip4_address": None,
                "last_reason": "no_lease",
            },
            {**one, "vm_name": "given up", "fetch_state": "gave_up", "address": None, "ip4_address": None},
            {**one, "vm_name": "off", "fetch_state": "stopped", "address": None, "ip4_address": None},
        ]
    )
    assert {name: row["status"] for name, row in rows(page).items()} == {
        "well": "found",
        "outside": "attention",
        "suspect": "attention",
        "taken": "attention",
        "waiting": "waiting",
        "given up": "attention",
        "off": "off",
    }
    assert "outside of the announced range 10.99.0.1-10.99.0.9" in rows(page)["outside"]["message"]
    assert page["rows"][0][0] == "attention", "what needs a person comes first"


def test_what_the_hypervisor_says_now_is_joined_by_id_and_mac() -> None:
    gone, there = nic(1, 1, vm_name="gone"), nic(2, 1, vm_name="there")
    vms = [
        {
            "name": "there",
            "id": there["vm_id"],
            "power_state": "running",
            "nics": [{"device": 0, "mac": there["mac"], "network": "corp"}],
        },
        {
            "name": "new",
            "id": "n",
            "power_state": "running",
            "nics": [{"device": 0, "mac": "52:54:00:00:00:99", "network": "corp"}],
        },
        {
            "name": "idle",
            "id": "i",
            "power_state": "stopped",
            "nics": [{"device": 0, "mac": "52:54:00:00:00:98", "network": "corp"}],
        },
    ]
    found = rows(data([gone, there], {"name": "kvm01", "vms": vms}))
    assert {name: (row["status"], row["power"]) for name, row in found.items()} == {
        "gone": ("attention", "gone"),
        "there": ("found", "running"),
        "new": ("not_recorded", "running"),
        "idle": ("off", "stopped"),
    }
    unread = rows(data([gone, there], {"name": "kvm01", "vms": [], "problem": "no connection"}))
    assert {row["status"] for row in unread.values()} == {"found"}, "nobody knows whether a VM is gone that could not be read"


def test_the_health_of_a_hypervisor_is_that_of_its_last_look() -> None:
    looks = [
        look("late", [], 5),
        {**look("bad", [], 0), "problem": "login refused"},
        look("unread", [], 1),
        look("well", [], 2),
    ]
    page = data([], {"name": "unread", "problem": "no connection"}, {"name": "never", "vms": []}, looks=looks)
    states = {one["name"]: (one["state"], one["problem"]) for one in page["hypervisors"]}
    assert {name: state for name, (state, _problem) in states.items()} == {
        "bad": "failed",
        "late": "warning",
        "never": "warning",
        "unread": "failed",
        "well": "ok",
    }
    assert (states["bad"][1], states["unread"][1]) == ("login refused", "no connection")


def test_a_failed_diagnosis_needs_attention_and_is_on_the_page() -> None:
    one = nic(1, 1)
    checks = [{"check": "drive_label", "status": "failed", "message": "it has the label x", "next_step": "build it again"}]
    vm = {
        "name": one["vm_name"],
        "id": one["vm_id"],
        "status": "failed",
        "verdict": "wrong label",
        "next_step": "build",
        "checks": checks,
    }
    page = data([one], {"name": "kvm01", "diagnosis": [vm]})
    assert page["counts"]["attention"] == 1
    (found,) = page["diagnosis"].values()
    assert found["checks"] == [["drive_label", "failed", "it has the label x", "build it again"]]


@pytest.mark.parametrize(
    ("used", "state", "percent", "outside"),
    [
        ([], "ok", 0, 0),
        (["10.99.0.50", "10.99.0.51"], "ok", 20, 0),
        ([f"10.99.0.{last}" for last in range(50, 59)], "nearly_full", 90, 0),
        ([f"10.99.0.{last}" for last in range(50, 61)], "full", 100, 1),
    ],
)
def test_how_full_a_range_is(used: list[str], state: str, percent: int, outside: int) -> None:
    nics = [{"hypervisor_name": "kvm01", "network": "br-corp", "ip4_address": address} for address in used]
    network = {"name": "corp", "bridge": "br-corp", "cidr": "10.99.0.0/24", "ip_range": "10.99.0.50-10.99.0.59"}
    (found,) = _report_networks.networks_of([{"name": "kvm01", "networks": [network]}], nics)
    assert (found["state"], found["percent"], found["outside"], found["size"]) == (state, percent, outside, 10)
    cells = found["cells"]["cells"]
    assert len(cells) == 256 and sum(cell["inside"] for cell in cells) == 10
    assert sum(cell["level"] == 4 for cell in cells) == len(used)


def test_networks_of_several_hypervisors_are_one_and_wrong_ones_do_no_harm() -> None:
    corp = {"name": "corp", "cidr": "10.0.0.0/8", "ip_range": "10.0.0.1-10.255.255.254"}
    nics = [{"hypervisor_name": name, "network": "corp", "ip4_address": "10.1.1.1"} for name in ("a", "b")]
    given = [
        {"name": "a", "networks": [corp, "plain", 7, {"cidr": "x"}]},
        {"name": "b", "networks": [corp, {"name": "bad", "cidr": 5, "ip_range": "y"}]},
    ]
    found = {one["name"]: one for one in _report_networks.networks_of(given, nics)}
    assert (found["corp"]["on"], found["corp"]["addresses"], found["corp"]["twice"]) == (["a", "b"], 1, ["10.1.1.1"])
    assert len(found["corp"]["cells"]["cells"]) == 256
    assert found["bad"]["cells"] is None and found["plain"]["size"] is None


def test_no_text_can_end_the_script_element_or_become_markup() -> None:
    name = "</script><script>alert(1)</script><!--\u2028\u202e&amp;"
    page = _report_page.page(
        data([nic(1, 1, vm_name=name, network=name, fetch_state="gave_up", last_message=name, hypervisor_name=name)])
    )
    assert page.count("<script") == page.count("</script>") == 2
    assert "alert(1)</script>" not in page and "\u202e" not in page and "\u2028" not in page


def test_the_digest_tells_whether_the_page_says_anything_else(tmp_path: pathlib.Path) -> None:
    first, given = sample(3)
    one = _report_data.page_data(first, given, NOW, "VMs")
    path = tmp_path / "page.html"
    _whole_file.write(str(path), _report_page.page(one).encode(), 0o640)
    assert path.stat().st_mode & 0o777 == 0o640
    assert _report_page.digest_of_file(str(path)) == _report_page.digest({**one, "made_at": "later"})
    assert _report_page.digest_of_file(str(path)) != _report_page.digest({**one, "title": "other"})
    assert list(tmp_path.iterdir()) == [path]
    assert _report_page.digest_of_file(str(tmp_path / "none")) is None
