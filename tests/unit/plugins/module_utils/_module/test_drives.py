# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import types

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec, _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import content, description
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.compare import Difference, FileState
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import drive_input, drives


class Ended(Exception):
    """In place of the end of the process."""


SPEC = {"drives": {"no_log": True}, "label": {}, "hypervisor": {"options": {"host": {}, "password": {"no_log": True}}}}


def fake_module(entries, secrets=()):
    def end(**result):
        module.result = result
        raise Ended

    params = {"drives": entries, "label": "config", "hypervisor": {"host": "h1", "password": "conn-pw"}}
    module = types.SimpleNamespace(
        params=params, argument_spec=SPEC, no_log_values=set(secrets), exit_json=end, fail_json=end, warnings=[], result=None
    )
    module.warn = module.warnings.append
    return module


def test_the_option_agrees_with_the_pure_part():
    spec = _argspec.drives()
    options = spec["drives"]["options"]
    assert tuple(options["reader"]["choices"]) == description.READERS
    assert tuple(options["services"]["choices"]) == description.SERVICES
    assert tuple(spec["layouts"]["choices"]) == tuple(spec["layouts"]["default"]) == content.LAYOUTS
    assert spec["label"]["default"] == _defaults.LABEL
    assert spec["drives"]["no_log"] is True
    secret = {"user_data", "user_data_base64", "password", "password_hash", "ssh_keys", "vendor_data"}
    assert {name for name, option in options.items() if option.get("no_log")} == secret


def test_only_real_secrets_stay_masked():
    entries = [
        {
            "name": "web1",
            "password": "Ab2-Cd3",
            "user_data": "text data",
            "ssh_keys": ["key one", "key two"],
            "metadata": {"zone": "z1"},
        },
        {
            "name": "web2",
            "password": None,
            "user_data": {"role": "web", "tier": "front"},
            "vendor_data": "#cloud-config",
            "ssh_keys": "key",
        },
        {"name": "web3", "password_hash": "$6$hash", "user_data_base64": "eA==", "vendor_data": {"a": "b"}},
    ]
    module = fake_module(entries, secrets={"web1", "z1", "front", "Ab2-Cd3", "conn-pw"})
    assert drives.take_drives(module) is entries
    assert module.no_log_values == {"Ab2-Cd3", "text data", "key one", "key two", "#cloud-config", "$6$hash", "eA==", "conn-pw"}


def test_only_names_stay_in_the_parameters():
    """Ansible shows the parameters of a module at its end, however it ends."""
    module = fake_module([{"name": "web1", "user_data": {"role": "CANARY"}, "password": "CANARY"}])
    assert drives.take_drives(module)[0]["password"] == "CANARY"
    assert module.params["drives"] == [{"name": "web1"}]


def test_without_drives_nothing_is_taken():
    module = fake_module(None)
    assert drives.take_drives(module) == [] and module.params["drives"] is None


def test_a_secret_that_got_into_the_result_is_left_for_ansible_to_mask():
    module = fake_module([{"name": "web1"}], secrets={"Ab2-Cd3", 'with "quote"\n', "other"})
    with pytest.raises(Ended):
        drives.exit_with(module, {"changed": False, "drives": [], "x": 'Ab2-Cd3 and with "quote"\n'})
    assert module.no_log_values == {"Ab2-Cd3", 'with "quote"\n'}


def test_the_password_of_the_connection_is_masked_in_the_parameters():
    module = fake_module([{"name": "web1"}])
    drives.take_drives(module)
    with pytest.raises(Ended):
        drives.exit_with(module, {"changed": False, "drives": []})
    assert module.no_log_values == {"conn-pw"}


def test_errors_are_counted_and_told():
    module = fake_module([{"name": "web1"}])
    with pytest.raises(Ended):
        drives.exit_with(module, {"changed": True, "drives": [{}, {}]}, {"web1": "drive web1: wrong"})
    assert module.result["msg"] == "1 of 2 drives failed: drive web1: wrong"


def test_descriptions_and_what_is_wrong_with_the_others():
    found, errors = drive_input.describe([{"name": "a"}, {"name": "b", "services": ["x"]}, {"name": "c"}, {"name": "c"}])
    assert list(found) == ["a"]
    assert set(errors) == {"b", "c"} and "2 times" in errors["c"]


def test_the_diff_shows_states_and_no_more():
    found = [
        Difference("label", None, "config"),
        Difference("a", FileState(1, "keyed:1"), None),
        Difference("b", FileState(2, "sha256:2"), FileState(3, "sha256:3")),
    ]
    assert drives.diff("x.iso", found) == {
        "before_header": "x.iso",
        "after_header": "x.iso",
        "before": "a: 1 bytes, keyed:1\nb: 2 bytes, sha256:2\n",
        "after": "label: config\nb: 3 bytes, sha256:3\n",
    }


def test_equal_warnings_are_one():
    module = fake_module([])
    drives.warn(module, {"a": ("x", "y"), "b": ("x",)})
    assert module.warnings == ["drive a, b: x", "drive a: y"]
