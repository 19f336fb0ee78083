# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.tags import Tag, mistake

TAGS = [
    Tag("Env", "prod"),
    Tag("Env", "test"),
    Tag("Team", "web"),
    Tag("Owner", "web"),
    Tag("a/b", "c"),
    *(Tag(f"K{number}", "many") for number in range(7)),
]


@pytest.mark.parametrize(
    "pattern", ["Env/prod", "Env/*", "*/web", "*prod", "a/b/c", "E?v/[pt]*", "Env/no-such-*", "*/none", "x*"]
)
def test_patterns_that_can_be_meant(pattern: str) -> None:
    assert mistake(pattern, TAGS) is None


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("prod", "vm_filter has the tag prod without its category: write Env/prod"),
        ("web", "vm_filter has the tag web without its category: write one of Owner/web, Team/web, or */web for all of them"),
        ("pro?", "vm_filter has the tag pro? without its category: write Env/prod"),
        ("many", "without its category: write one of K0/many, K1/many, K2/many, K3/many, K4/many and 2 more, or */many for all"),
        (
            "Env/prd",
            "vm_filter has the tag Env/prd, which does not exist or is not visible to the account (that category has prod, test)",
        ),
        (
            "env/prod",
            "vm_filter has the tag env/prod, which does not exist or is not visible to the account: write category/tag as",
        ),
        ("none", "vm_filter has the tag none, which does not exist"),
        ("x\x1b", "vm_filter has the tag x\\x1b, which does not exist"),
    ],
)
def test_mistakes_are_named_with_the_way_out(pattern: str, message: str) -> None:
    assert message in str(mistake(pattern, TAGS))
