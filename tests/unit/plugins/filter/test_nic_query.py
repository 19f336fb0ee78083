# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible.utils.unsafe_proxy import wrap_var

pytest.importorskip("jmespath")

from ansible_collections.vmops.external_dhcp.plugins.filter.nic_query import nic_query

ROWS = [
    {"vm": wrap_var("web1"), "reason": None, "device": 0},
    {"vm": "web2", "reason": wrap_var("no_lease"), "device": 0},
]


def test_a_question_is_answered():
    assert nic_query(ROWS, "[?reason].{vm: vm, why: reason}") == [{"vm": "web2", "why": "no_lease"}]
    assert nic_query(ROWS, "[?contains(vm, 'web1')].device") == [0]


def test_what_is_no_question_is_told():
    with pytest.raises(AnsibleFilterError, match="cannot be answered"):
        nic_query(ROWS, "[?")
