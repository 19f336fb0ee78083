# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._nic_table import HEADER, nic_rows, table


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


def test_the_table_is_aligned_and_shows_why_there_is_no_address():
    lines = table(
        nic_rows([vm("web1"), vm("a-much-longer-name", "stopped", ("m7",))], [recorded("web1", "m0", ip4_address="10.0.0.5")])
    )
    assert lines[0].split() == "VM POWER NIC MAC NETWORK ADDRESS SOURCE LAST SEEN".split()
    column = lines[0].index("ADDRESS")
    assert lines[1][column:].startswith("10.0.0.5")
    assert lines[2][column:].startswith("- (vm_not_running)")
    assert len(HEADER) == 8


def test_hostile_names_stay_on_one_short_line():
    (line,) = table(nic_rows([vm("x\x1b[2J\n" + "y" * 500)], []))[1:]
    assert "\x1b" not in line
    assert "\n" not in line
    assert len(line) < 200
