# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.vmops.external_dhcp.plugins.filter.vm_errors import FilterModule

vm_errors = FilterModule().filters()["vm_errors"]


def failed(item: t.Any, msg: str = "it says no") -> dict[str, t.Any]:
    return {"failed": True, "item": item, "msg": msg}


def test_only_what_failed_is_told():
    results = [failed("web1"), {"item": "web2", "changed": True}, {"item": "web3", "failed": False}]
    assert vm_errors(results, "it could not be started") == {"web1": "web1: it could not be started: it says no"}
    assert vm_errors([], "it could not be started") == {}


@pytest.mark.parametrize(
    ("item", "name"),
    [
        ("web1", None),
        ({"name": "web1"}, None),
        ([{"name": "web1"}, {"name": "web1.qcow2"}], "item.0.name"),
        ({"item": {"item": {"name": "web1"}}}, "item.item.item.name"),
    ],
)
def test_the_name_is_found(item, name):
    assert list(vm_errors([failed(item)], "it could not be cloned", name)) == ["web1"]


def test_a_result_without_a_name_is_said_to_have_none():
    with pytest.raises(AnsibleFilterError, match=r"a result has no item\.0\.name"):
        vm_errors([failed({"name": "web1"})], "it could not be cloned", "item.0.name")


def test_a_result_without_a_reason_says_so():
    assert vm_errors([{"failed": True, "item": "web1"}], "it could not be started")["web1"].endswith("no reason was given")


def test_a_reason_is_never_a_template():
    # what the mark is made of differs between versions of ansible-core; that there is one on 2.18 is what counts
    from ansible.utils.unsafe_proxy import wrap_var

    reason = vm_errors([failed("web1", "{{ lookup('pipe', 'id') }}")], "it could not be started")["web1"]
    assert type(reason) is type(wrap_var("{{ x }}"))
