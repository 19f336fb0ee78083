# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import description, readers
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.content import LAYOUTS
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK7YRMRPaZtPzotKgLW++8AwCP9aBcDtqBtkAXDUghyI ops"
KEY2 = KEY.replace("I ops", "J two")
PASSWORD = "Ab2-Cd3-Ef4"


def check(label="config-2", layouts=LAYOUTS, **option):
    return readers.check(DriveDescription.from_option({"name": "web1", **option}), label, layouts)


def full(reader):
    """An entry without anything that this reader minds."""
    option = {"reader": reader, "password": PASSWORD, "ssh_keys": [KEY]}
    return {**option, "user_data": "#cloud-config\n{}"} if reader == "cloud_init" else option


def test_the_table_names_every_reader():
    assert tuple(readers.READERS) == description.READERS


@pytest.mark.parametrize("reader", description.READERS)
def test_every_reader_is_content_with_config_2_and_both_layouts(reader):
    verdict = check(**full(reader))
    assert (verdict.errors, verdict.warnings) == ((), ())


@pytest.mark.parametrize(
    "reader, label, errors, warnings",
    [
        ("ours", "config", 0, 0),
        ("ours", "CONFIG-2", 0, 1),
        ("ours", "data", 0, 1),
        ("cloudstack", "config", 0, 1),
        ("cloudstack", "CONFIG-2", 1, 0),
        ("cloudstack_combined", "config", 1, 0),
        ("cloud_init", "config", 0, 1),
        ("cloud_init", "Config-2", 0, 1),
        ("cloud_init", "CONFIG-2", 0, 0),
        ("cloudbase_init", "config", 1, 0),
        ("cloudbase_init", "Config-2", 0, 0),
    ],
)
def test_labels(reader, label, errors, warnings):
    verdict = check(label, **full(reader))
    assert (len(verdict.errors), len(verdict.warnings)) == (errors, warnings)
    assert all(f"label is {label}" in text for text in verdict.errors + verdict.warnings)


@pytest.mark.parametrize("reader", description.READERS)
def test_a_missing_layout_is_refused(reader):
    wanted = readers.READERS[reader].layout
    other = [layout for layout in LAYOUTS if layout != wanted]
    assert f"layouts lacks {wanted}" in check(layouts=other, **full(reader)).errors[0]
    assert check(layouts=[wanted], **full(reader)).errors == ()


@pytest.mark.parametrize(
    "label, layouts, warns",
    [
        ("config", LAYOUTS, False),
        ("config", ["cloudstack"], False),
        ("config", ["openstack"], True),
        ("config-2", ["openstack"], False),
        ("config-2", ["cloudstack"], False),
        ("CONFIG-2", ["cloudstack"], True),
        ("cidata", LAYOUTS, True),
    ],
)
def test_label_and_layouts_without_a_reader(label, layouts, warns):
    verdict = check(label, layouts)
    assert bool(verdict.warnings) == warns
    assert verdict.errors == ()


def test_the_old_script_takes_one_key_only():
    assert "more than one key" in check(reader="cloudstack", ssh_keys=[KEY, KEY2]).errors[0]
    for reader in ("ours", "cloud_init", "cloudbase_init"):
        assert check(reader=reader, password=PASSWORD, ssh_keys=[KEY, KEY2]).errors == ()


def test_the_combined_script_would_not_install_a_second_key_later():
    (error,) = check(reader="cloudstack_combined", password=PASSWORD, ssh_keys=[KEY, KEY2]).errors
    assert error.startswith("ssh_keys has more than one key: the guest script installs none of them once")


@pytest.mark.parametrize("reader", ["cloudstack", "cloudstack_combined"])
def test_the_genuine_scripts_alter_or_skip_keys_with_options(reader):
    (error,) = check(reader=reader, password=PASSWORD, ssh_keys=["no-pty " + KEY]).errors
    assert error.startswith("ssh_keys entry 1 has options before the key")


def test_the_old_script_expands_the_comment_of_a_key():
    (error,) = check(reader="cloudstack", ssh_keys=[KEY + " at *.example.com"]).errors
    assert error.startswith("ssh_keys entry 1 has one of the characters") and "example.com" not in error
    assert check(reader="cloudstack_combined", password=PASSWORD, ssh_keys=[KEY + " *"]).errors == ()


@pytest.mark.parametrize("reader, warned", [("cloudstack", True), ("ours", False), ("cloud_init", False)])
def test_the_genuine_script_for_windows_knows_ascii_alone(reader, warned):
    assert any("beyond ASCII" in text for text in check(reader=reader, password="Zürich-1291").warnings) is warned


@pytest.mark.parametrize("reader", [None, *description.READERS])
@pytest.mark.parametrize(
    "password, part", [("a", "fewer than 8 characters"), ("12345678", "digits alone"), ("aaaa1111", "different")]
)
def test_a_weak_password_is_told(reader, password, part):
    (warning,) = [
        text for text in check(reader=reader, password=password, ssh_keys=[KEY]).warnings if text.startswith("password ")
    ][:1]
    assert part in warning


def test_a_number_for_a_password_is_told():
    assert any("password is a number" in text for text in check(password=12345678).warnings)
    assert not any("password is a number" in text for text in check(password="12345678").warnings)


@pytest.mark.parametrize(
    "reader, label, warned",
    [("ours", "config", True), (None, "config", True), (None, "config-2", False), ("cloud_init", "config-2", False)],
)
def test_cloud_config_that_nobody_carries_out_is_told(reader, label, warned):
    verdict = check(label, reader=reader, user_data="#cloud-config\n{}")
    assert any("user_data is #cloud-config" in text for text in verdict.warnings) is warned


def test_a_password_without_a_reader_is_for_guest_scripts():
    assert "reader is not given" in check("config-2", password=PASSWORD).warnings[0]
    assert check("config", password=PASSWORD).warnings == ()
    assert check("config-2", ["cloudstack"], password=PASSWORD).warnings == ()
    assert "password has no place in the layout openstack" in check("config-2", ["openstack"], password=PASSWORD).errors[0]


@pytest.mark.parametrize(
    "option, missing",
    [
        ({}, "password and ssh_keys"),
        ({"password": PASSWORD}, "ssh_keys"),
        ({"ssh_keys": [KEY]}, "password"),
        ({"password": PASSWORD, "ssh_keys": []}, "ssh_keys"),
    ],
)
def test_the_combined_script_must_not_be_left_to_ask_the_dhcp_server(option, missing):
    (error,) = check(reader="cloudstack_combined", **option).errors
    assert error.startswith(f"{missing} must be given") and "DHCP server" in error


def test_our_scripts_leave_keys_with_options_out():
    assert "ssh_keys entry 2 has options" in check(reader="ours", ssh_keys=[KEY, "no-pty " + KEY2]).errors[0]


@pytest.mark.parametrize("data", ["a=1", {"a": 1}])
def test_cloud_init_does_nothing_with_key_value_lines(data):
    assert "does nothing with it" in check(reader="cloud_init", user_data=data).warnings[0]


@pytest.mark.parametrize(
    "data",
    [
        "#cloud-config\n{}",
        "#!/bin/sh\n",
        "Content-Type: multipart/mixed\nMIME-Version: 1.0\n",
        b"\x1f\x8b\x08\x00",
        "## template: jinja\n",
    ],
)
def test_user_data_that_cloud_init_knows(data):
    assert check(reader="cloud_init", user_data=data).warnings == ()


def test_user_data_with_a_password_of_its_own():
    text = "#cloud-config\nchpasswd: {}\n"
    assert "prefers" in check(reader="cloud_init", user_data=text, password=PASSWORD).warnings[0]
    assert check(reader="cloud_init", user_data=text).warnings == ()


def test_cloudbase_init_without_a_password_makes_up_one():
    assert "random one" in check(reader="cloudbase_init").warnings[0]


@pytest.mark.parametrize("reader", [None, *description.READERS])
def test_a_hash_is_for_cloud_init_only(reader):
    verdict = check(reader=reader, password_hash="$6$salt$abcdefgh", ssh_keys=[KEY])
    assert any("password_hash" in error for error in verdict.errors) == (reader != "cloud_init")


def test_passwords_are_judged_for_their_reader():
    (error,) = check(password="Ab2 Cd3").errors
    assert error.startswith("password has a blank") and "Ab2 Cd3" not in error
    assert check(reader="ours", password="Ab2 Cd3").errors == ()


@pytest.mark.parametrize(
    "reader, previous, acts",
    [
        (None, None, None),
        ("ours", None, True),
        ("ours", "web1", True),
        ("cloudstack", "web1", True),
        ("cloudstack_combined", "web1", True),
        ("cloud_init", "web1", False),
        ("cloud_init", None, False),
        ("cloud_init", "another", True),
        ("cloudbase_init", "web1", False),
        ("cloudbase_init", "another", True),
    ],
)
def test_whether_the_guest_acts_on_a_refreshed_drive(reader, previous, acts):
    description = DriveDescription.from_option({"name": "web1", "reader": reader})
    assert readers.acts_on_refresh(description, previous) is acts
    # cloud-init that was set up with the id of its machine never looks at a drive again.
    of_the_machine = readers.acts_on_refresh(description, previous, system_uuid="another")
    assert of_the_machine is (False if (reader, previous) == ("cloud_init", "another") else acts)
