# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import csv
import datetime
import io
import json

import pytest
import yaml

from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._nic_table import (
    HEADER,
    document,
    nic_rows,
    summary,
    table,
)


def vm(name, power="running", macs=("m0",), **more):
    nics = [{"device": d, "mac": m, "network": "br0"} for d, m in enumerate(macs)]
    return {"name": name, "id": f"id-{name}", "power_state": power, "nics": nics, **more}


def recorded(name, mac, **more):
    return {"vm_name": name, "vm_id": f"id-{name}", "mac": mac, "device": 0, "network": "br0", **more}


def test_rows_join_hypervisor_and_record():
    rows = nic_rows(
        [vm("web1"), vm("web2", macs=("m1", "m2")), vm("off", "stopped", ("m3",))],
        [
            recorded(
                "web1", "m0", ip4_address="10.0.0.5", source="agent", last_seen_at="2026-01-01T00:00:00Z", fetch_state="found"
            ),
            recorded("web2", "m1", last_reason="no_lease", fetch_state="pending", tries_left=9),
            recorded("gone", "m9", fetch_state="stopped"),
        ],
    )
    assert [(r["vm"], r["ip4_address"], r["reason"]) for r in rows] == [
        ("web1", "10.0.0.5", None),
        ("web2", None, "no_lease"),
        ("web2", None, None),
        ("off", None, "vm_not_running"),
        ("gone", None, "vm_not_found"),
    ]


def test_a_vm_that_is_not_there_has_a_row():
    rows = nic_rows([{"name": "web9", "id": None, "power_state": None, "nics": [], "reason": "vm_not_found"}], [])
    assert [(row["vm"], row["reason"]) for row in rows] == [("web9", "vm_not_found")]
    # "selectattr('ip4_address')" fails at a key that is not there
    assert set(rows[0]) == set(nic_rows([vm("web1")], [])[0])
    assert rows[0]["ip4_address"] is None


def test_vms_that_would_be_made_are_told_and_not_marked():
    rows = nic_rows(
        [{"name": "web9", "id": None, "changed": True, "nics": []}, vm("web1")], [recorded("web1", "m0", ip4_address="10.0.0.5")]
    )
    assert [line[0] for line in table(rows)[1:]] == [" ", " "] and "- (would be made)" in table(rows)[1]
    assert summary(rows) == "2 VMs, 1 address, 1 would be made"


def test_the_table_is_aligned_and_shows_why_there_is_no_address():
    lines = table(
        nic_rows([vm("web1"), vm("a-much-longer-name", "stopped", ("m7",))], [recorded("web1", "m0", ip4_address="10.0.0.5")])
    )
    assert lines[0].split() == "VM POWER NIC MAC NETWORK ADDRESS SOURCE SEEN".split()
    column = lines[0].index("ADDRESS")
    assert lines[1][column:].startswith("10.0.0.5")
    assert lines[2][column:].startswith("- (vm_not_running)")
    assert len(HEADER) == 9


def test_hostile_names_stay_on_one_short_line():
    (line,) = table(nic_rows([vm("x\x1b[2J\n" + "y" * 500)], []))[1:]
    assert "\x1b" not in line
    assert "\n" not in line
    assert len(line) < 200


def test_the_address_that_counts_is_listed():
    rows = nic_rows(
        [vm("six"), vm("old", macs=("m1",)), vm("both", macs=("m2",)), vm("waits", macs=("m3",))],
        [
            recorded("six", "m0", address="fd00::6", ip4_address=None, ip6_addresses=["fd00::6"], fetch_state="found"),
            recorded("old", "m1", ip6_addresses=["fd00::1"], fetch_state="found"),
            recorded("both", "m2", address="fd00::2", ip4_address="10.0.0.2", ip6_addresses=["fd00::2"], fetch_state="found"),
            recorded(
                "waits",
                "m3",
                address=None,
                ip6_addresses=["fd00::3"],
                fetch_state="pending",
                last_reason="no_lease",
                tries_left=4,
            ),
        ],
    )
    assert [row["address"] for row in rows] == ["fd00::6", "fd00::1", "fd00::2", None]
    lines = table(rows)
    assert [line.split()[5] for line in lines[1:4]] == ["fd00::6", "fd00::1", "fd00::2"]
    assert "waiting (no_lease, tries left: 4)" in lines[4]
    assert summary(rows) == "4 VMs, 3 addresses, 1 waited for"


def test_what_needs_attention_is_marked():
    rows = nic_rows(
        [vm("bad"), vm("off", "stopped", ("m1",)), {"name": "twin", "id": None, "reason": "ambiguous_name", "nics": []}],
        [
            recorded("bad", "m0", fetch_state="gave_up", last_reason="no_lease"),
            recorded("off", "m1", fetch_state="stopped"),
            recorded("twin", "m2", fetch_state="pending", last_reason="no_lease", tries_left=1),
            recorded("gone", "m3", address="10.0.0.9", ip4_address="10.0.0.9", fetch_state="found"),
        ],
    )
    assert [(row["vm"], row["attention"]) for row in rows] == [
        ("bad", True), ("off", False), ("twin", True), ("twin", False), ("gone", True),
    ]  # fmt: skip
    assert [line[0] for line in table(rows)[1:]] == ["!", " ", "!", " ", "!"]
    assert summary(rows).endswith("3 marked ! need attention")
    assert summary(rows[:1]) == "1 VM, 0 addresses, 1 marked ! needs attention"


def test_times_are_ages():
    now = datetime.datetime(2026, 1, 3, tzinfo=datetime.UTC)
    times = [
        "2026-01-02T23:59:55Z",
        "2026-01-02T23:30:00Z",
        "2026-01-02T20:00:00Z",
        "2025-12-01T00:00:00Z",
        "2027-01-01T00:00:00Z",
    ]
    rows = [{"vm": "v", "address": "10.0.0.1", "last_seen": time} for time in times]
    assert [line.split("  ")[-1].strip() for line in table(rows, now=now)[1:]] == ["5 s", "30 min", "4 h", "33 d", "0 s"]


@pytest.mark.parametrize("width", [200, 120, 100, 79, 60, 40])
def test_the_table_fits_the_terminal(width):
    names = ["web1", "東京" * 30, "a-rather-long-name-of-a-vm-that-somebody-chose", "x" * 300]
    rows = nic_rows(
        [vm(name, macs=(f"52:54:00:00:00:{place:02x}",)) for place, name in enumerate(names)],
        [
            recorded(name, f"52:54:00:00:00:{place:02x}", address="10.99.100.100", source="guest_metrics", fetch_state="found")
            for place, name in enumerate(names)
        ],
    )
    from ansible.utils.display import get_text_width

    lines = table(rows, width)
    assert max(map(get_text_width, lines)) <= width
    assert all("10.99.100.100" in line for line in lines[1:]) and "web1" in lines[1]
    assert (lines[0].split() == list(HEADER[1:])) == (width >= 100)


@pytest.mark.parametrize("width", [120, 80, 60])
def test_names_are_not_cut_until_they_are_all_the_same(width):
    names = [f"web-server-number-{place}" for place in range(3)]
    rows = nic_rows([vm(name) for name in names], [recorded(name, "m0", address="10.99.100.100") for name in names])
    rows = [{**row, "network": "corp-vlan120-of-the-production", "mac": "52:54:00:00:00:01"} for row in rows]
    lines = table(rows, width)
    assert len({line.split()[0] for line in lines[1:]}) == 3 and max(map(len, lines)) <= width


def test_documents_are_complete_plain_and_no_formulas():
    rows = nic_rows(
        [vm("=cmd|'/c calc'!A1"), vm('a\u202eb,\n"c"', macs=("m1",))],
        [recorded("=cmd|'/c calc'!A1", "m0", ip4_address="10.0.0.1", ip6_addresses=["fd00::1", "fd00::2"], fetch_state="found")],
    )
    plain = [{**rows[0]}, {**rows[1], "vm": 'a\\u202eb,\\n"c"'}]
    assert json.loads(document(rows, "json")) == yaml.safe_load(document(rows, "yaml")) == plain
    first, second = csv.DictReader(io.StringIO(document(rows, "csv")))
    assert (first["vm"], first["ip6_addresses"]) == ("'=cmd|'/c calc'!A1", "fd00::1 fd00::2")
    assert second["vm"] == plain[1]["vm"]
    assert all(char.isprintable() or char == "\n" for form in ("csv", "json", "yaml") for char in document(rows, form))
    assert (document([], "json"), document([], "csv")) == ("[]", ",".join(rows[0]))
