# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils import _json_text
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._vm_plan import vm_plan

VARIABLES = {
    "common": {"role": "web"},
    "text": "{{ lookup('ansible.builtin.file', 'data.json') }}",
    "again": "{{ common }}",
    "loop": "{{ loop }}",
    "mine": [{"name": "web1", "user_data": {"a": 1}}],
    "vm_list": "{{ mine | default([]) }}",
}


@pytest.fixture(autouse=True)
def _on_core_2_18(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_json_text, "core_version", "2.18.19")


@pytest.mark.parametrize("written", [{"a": 1}, "{{ common }}", "{{common|default({})}}", "{{ again }}", {"a": "{{ text }}"}])
def test_a_mapping_that_stands_as_one_is_known(written: t.Any) -> None:
    entries = [{"name": "web1", "user_data": {"a": 1}}]
    assert _json_text.doubtful(entries, [{"name": "web1", "user_data": written}], VARIABLES) == []


@pytest.mark.parametrize("written", ["{{ text }}", VARIABLES["text"], "{{ loop }}", "{{ gone }}", "{{ common | to_json }}", None])
def test_a_mapping_out_of_a_template_may_have_been_text(written: t.Any) -> None:
    entries = [{"name": "web1", "user_data": "text"}, {"name": "web2", "user_data": {"a": 1}}]
    originals = [{"name": "web1"}, {"name": "web2", "user_data": written}]
    assert _json_text.doubtful(entries, originals, VARIABLES) == ["web2"]


def test_whole_lists_are_followed_as_far_as_they_are_variables() -> None:
    entries = [{"name": "web1", "user_data": {"a": 1}}]
    assert _json_text.doubtful(entries, "{{ vm_list }}", VARIABLES) == []
    for unknown in ("{{ mine + others }}", "{{ others }}", None, [], "text"):
        assert _json_text.doubtful(entries, unknown, VARIABLES) == ["web1"]
    for no_list in (None, "text", {"a": 1}, [7]):
        assert _json_text.doubtful(no_list, "{{ vm_list }}", VARIABLES) == []


@pytest.mark.parametrize("version", ["2.19.0", "2.21.5", "2.22.0.dev0"])
def test_newer_versions_leave_text_alone(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(_json_text, "core_version", version)
    assert _json_text.doubtful([{"name": "web1", "user_data": {"a": 1}}], None, {}) == []


def test_a_plan_for_drives_refuses_it_and_says_the_way_out() -> None:
    vms = [{"name": "web1", "user_data": {"b": 2, "a": 1}}]
    with pytest.raises(OptionError, match=r"^vms, web1: user_data is a mapping, and ansible-core 2.18.19 .*user_data_base64"):
        vm_plan(vms, label="config", doubtful=["web1"])
    assert vm_plan(vms, doubtful=["web1"])[0]["drive"]["user_data"] == {"b": 2, "a": 1}  # no drive is made of it
    assert vm_plan(vms, label="config")[0]["drive"]["user_data"] == "a=1\nb=2"
