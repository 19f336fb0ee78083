# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which files on a hypervisor are whose, and which may go."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import drive_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.drive_rules import LEFTOVER_SECONDS, Found, orphan

OLD = LEFTOVER_SECONDS + 1


@pytest.mark.parametrize(
    ("changes", "here", "elsewhere", "reason"),
    [
        ({}, [], [], "vm_gone"),
        ({}, [], ["id1"], "elsewhere"),
        ({"replaced": True}, ["id1"], [], "left_behind"),
        ({}, ["id1"], [], None),  # the only drive of a VM that is here
        ({"used": True}, [], [], None),
        ({"belongs": True}, ["id1"], [], None),
        ({"used": True, "replaced": True}, ["id1"], ["id1"], None),
    ],
)
def test_an_orphan_is_used_by_nobody_and_no_vms_only_drive(
    changes: dict[str, t.Any], here: list[str], elsewhere: list[str], reason: str | None
) -> None:
    found = orphan(
        Found(**{"owner": "id1", "used": False, "belongs": False, "replaced": False, "age": OLD, **changes}), here, elsewhere
    )
    assert found == (None if reason is None else (reason, None))


@pytest.mark.parametrize(("age", "kept"), [(0.0, True), (float(LEFTOVER_SECONDS), True), (float(OLD), False), (None, False)])
def test_a_young_file_is_kept_because_its_vm_may_be_coming(age: float | None, kept: bool) -> None:
    found = orphan(Found("id1", used=False, belongs=False, replaced=False, age=age), [], [])
    assert found is not None and found[0] == "vm_gone"
    assert (found[1] is not None) is kept


@pytest.mark.parametrize(
    ("running", "unread", "kept"), [(True, False, False), (True, True, True), (False, False, True), (False, True, True)]
)
def test_a_drive_stays_until_the_guest_was_started_with_it(running: bool, unread: bool, kept: bool) -> None:
    assert drive_rules.is_unread(running, unread) is kept


def test_who_owns_a_file_is_told() -> None:
    assert "no config drive of this collection" in drive_rules.foreign("[ds] web1.iso", None)
    assert "the config drive of the VM with id id2" in drive_rules.foreign("[ds] web1.iso", "id2")
