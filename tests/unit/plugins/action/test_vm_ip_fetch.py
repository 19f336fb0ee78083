# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.action.vm_ip_fetch import MAX_LINE, MAX_LINES, waiting_lines


def nic(number: int, **more: t.Any) -> dict[str, t.Any]:
    return {
        "vm": f"vm{number}",
        "nic": 0,
        "mac": "52:54:00:00:00:01",
        "required": True,
        "reason": "no_lease",
        "tries_left": 9,
        "message": "ask the DHCP server",
        **more,
    }


def test_a_line_for_each_required_nic() -> None:
    assert waiting_lines({"msg": "2 waited for", "waiting": [nic(1), nic(2, required=False)]}) == [
        "2 waited for",
        "  waiting for vm1 NIC 0 (52:54:00:00:00:01): no_lease (tries left: 9), ask the DHCP server",
    ]


def test_nothing_to_say() -> None:
    assert waiting_lines({}) == waiting_lines({"waiting": [nic(1, required=False)]}) == []


def test_many_are_cut_and_names_cannot_move_the_cursor() -> None:
    lines = waiting_lines({"msg": "x", "waiting": [nic(number, vm="a\x1b[2Jb\n", message="m" * 900) for number in range(100)]})
    assert len(lines) == MAX_LINES + 2 and lines[-1] == f"  and {100 - MAX_LINES} more"
    assert all(line.isprintable() and len(line) <= MAX_LINE for line in lines)
