# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import json

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import compare, content, image
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import DriveImageError

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK7YRMRPaZtPzotKgLW++8AwCP9aBcDtqBtkAXDUghyI ops"
OPTION = {
    "metadata": {"vm_id": "id-1", "zone": "z1"},
    "password": "Ab2-Cd3-Ef4",
    "ssh_keys": [KEY],
    "user_data": {"role": "web"},
    "vendor_data": {"x": 1},
}


def files(layouts=content.LAYOUTS, **option):
    return content.files_of(DriveDescription.from_option({"name": "web1", **OPTION, **option}), layouts)


def drive(label="config", owner="id-1", layouts=content.LAYOUTS, **option):
    return image.read(image.build(files(layouts, **option), label, owner))


@pytest.mark.parametrize(
    "wanted, current",
    [
        ((files(), "config", "id-1"), True),
        ((files(password="other-Pw1"), "config", "id-1"), False),
        ((files(), "config-2", "id-1"), False),
        ((files(), "config", "id-2"), False),
        ((files(), "config", None), False),
        (({}, "config", "id-1"), False),
    ],
)
def test_is_current(wanted, current):
    assert compare.is_current(drive(), *wanted) is current
    assert (compare.differences(drive(), *wanted) == []) is current


@pytest.mark.parametrize("field, value", [("intact", False), ("intact", None), ("layout_format", 0), ("joliet_label", None)])
def test_a_drive_that_is_not_as_built_is_not_current(field, value):
    assert not compare.is_current(dataclasses.replace(drive(), **{field: value}), files(), "config", "id-1")


def test_current_means_the_bytes_a_build_would_give():
    data = image.build(files(), "config", "id-1")
    assert compare.is_current(image.read(data), files(), "config", "id-1")
    assert image.build(files(), "config", "id-1") == data


def test_differences_name_files_and_sizes_and_never_contents():
    found = compare.differences(
        drive(), files(password="other-Pw1", metadata={"vm_id": "id-1", "zone": "z2"}), "config-2", "id-1"
    )
    assert [item.what for item in found] == [
        "label",
        "Joliet label",
        "cloudstack/metadata/zone.txt",
        "cloudstack/password/vm-password-md5checksum.txt",
        "cloudstack/password/vm_password.txt",
        "cloudstack/password/vm_password_md5checksum.txt",
        "openstack/latest/meta_data.json",
    ]
    text = repr(found)
    for secret in ("Ab2-Cd3-Ef4", "other-Pw1", KEY):
        assert secret not in text
    password = found[4]
    assert (password.before.size, password.after.size) == (11, 9)
    assert password.before.digest.startswith("keyed:") and password.before.digest != password.after.digest
    assert found[2].before.digest.startswith("sha256:") and found[2].before.size == len("z1")
    assert found[0] == compare.Difference("label", "config", "config-2")


def test_another_owner_is_a_difference():
    assert compare.differences(drive(), files(), "config", "id-2") == [compare.Difference("owner", "id-1", "id-2")]


def test_a_missing_drive_differs_in_everything():
    found = compare.differences(None, files(), "config", "id-1")
    assert len(found) == len(files()) + 3 and all(item.before is None for item in found)


def test_a_drive_built_elsewhere_does_not_differ_for_that():
    elsewhere = dataclasses.replace(drive(owner=None), intact=None, layout_format=None)
    assert compare.differences(elsewhere, files(), "config", None) == []


def test_changed_bytes_outside_of_files_are_a_difference():
    found = compare.differences(dataclasses.replace(drive(), intact=False), files(), "config", "id-1")
    assert found == [compare.Difference("image", "its bytes were changed after it was built", "as built")]


def test_what_is_lost_with_a_drive():
    found = compare.removal(drive())
    assert [item.what for item in found] == ["label", "owner", *files()] and all(item.after is None for item in found)
    states = {item.what: item.before for item in found}
    assert (states["label"], states["owner"]) == ("config", "id-1")
    assert states[content.USER_DATA_PATH] == compare.file_state(content.USER_DATA_PATH, b"role=web")


@pytest.mark.parametrize("layouts", [["cloudstack"], ["openstack"], ["cloudstack", "openstack"]])
@pytest.mark.parametrize(
    "option, parts",
    [
        ({"password": "other-Pw1"}, {"password": "other-Pw1"}),
        ({"ssh_keys": [KEY, KEY.replace("I ops", "J two")]}, {"ssh_keys": (KEY, KEY.replace("I ops", "J two"))}),
        ({"user_data": b"\x00\x01"}, {"user_data": b"\x00\x01"}),
        ({"user_data": ""}, {"user_data": b""}),
        ({"password": ""}, {"password": ""}),
        ({"metadata": {"vm_id": "id-1", "zone": "z2"}}, {"metadata": {"zone": "z2"}}),
        ({"metadata": {"vm_id": "id-1"}}, {"metadata": {"zone": ""}}),
    ],
)
def test_changing_one_part_gives_what_building_anew_would(layouts, option, parts):
    assert compare.change(drive(layouts=layouts), **parts) == files(layouts, **option)


def test_changing_nothing_keeps_every_byte():
    assert compare.change(drive()) == files()


def test_keys_that_are_taken_away_leave_an_empty_file():
    changed = compare.change(drive(), ssh_keys=())
    assert [changed[path] for path in content.PUBLIC_KEYS_PATHS] == [b"", b""]
    assert not {"public_keys", "keys"} & set(json.loads(changed[content.META_DATA_JSON]))


def test_what_nobody_knows_is_kept():
    strange = {
        **files(),
        "openstack/latest/meta_data.json": b'{"uuid": "u", "meta": {"a": [1]}, "admin_pass": "old"}',
        "x/y": b"\xff",
    }
    before = image.read(image.build(strange))
    changed = compare.change(before, password="other-Pw1")
    assert changed["x/y"] == b"\xff"
    assert json.loads(changed["openstack/latest/meta_data.json"]) == {"uuid": "u", "meta": {"a": [1]}, "admin_pass": "other-Pw1"}
    assert compare.change(before, user_data=b"x")["openstack/latest/meta_data.json"] == strange["openstack/latest/meta_data.json"]


@pytest.mark.parametrize("changes", [{"password": "other-Pw1"}, {"password_hash": "$6$salt$" + "b" * 20}, {"password": ""}])
def test_the_password_for_cloud_init_is_changed_too(changes):
    before = drive(reader="cloud_init", vendor_data="#cloud-config\n{}")
    expected = files(reader="cloud_init", vendor_data="#cloud-config\n{}", **{"password": None, **changes})
    assert compare.change(before, **changes) == expected


@pytest.mark.parametrize(
    "built_for, changed_for, told",
    [
        ("cloudbase_init", "cloudbase_init", True),
        ("cloudbase_init", None, True),
        ("cloudbase_init", "ours", False),
        ("ours", None, False),
        (None, None, False),
        (None, "cloudbase_init", True),
        ("cloud_init", None, False),
        ("cloud_init", "cloud_init", False),
    ],
)
def test_only_the_reader_that_needs_it_finds_a_new_password_in_the_metadata(built_for, changed_for, told):
    changed = compare.change(drive(reader=built_for), password="other-Pw1", reader=changed_for)
    assert json.loads(changed[content.META_DATA_JSON]).get("admin_pass") == ("other-Pw1" if told else None)


def test_vendor_data_without_a_password_gets_none():
    assert compare.change(drive(), password="other-Pw1")[content.VENDOR_DATA_JSON] == files()[content.VENDOR_DATA_JSON]


def test_a_first_password_is_told_to_cloud_init_if_it_reads_the_drive():
    before = drive(reader="cloud_init", password=None)
    assert compare.change(before, password="other-Pw1", reader="cloud_init") == files(reader="cloud_init", password="other-Pw1")


def test_vendor_data_that_held_only_the_password_goes_with_it():
    assert content.VENDOR_DATA_JSON not in compare.change(drive(reader="cloud_init", vendor_data=None), password="")


@pytest.mark.parametrize("content_of_json", [b"[1]", b"{", b"\xff", b"[" * 100_000])
def test_a_meta_data_json_that_is_none_is_told_without_quoting_it(content_of_json):
    before = image.read(image.build({**files(), content.META_DATA_JSON: content_of_json}))
    with pytest.raises(DriveImageError, match="meta_data.json on the drive is not") as caught:
        compare.change(before, password="x")
    assert caught.value.__cause__ is None and len(str(caught.value)) < 100


def test_what_is_no_config_drive_cannot_be_changed():
    with pytest.raises(DriveImageError, match="^the image is no config drive: .* nor openstack/latest/meta_data.json$"):
        compare.change(image.read(image.build({"a": b""})), password="x")
    with pytest.raises(DriveImageError, match="^the drive has no openstack/latest/meta_data.json: .* can set a password_hash$"):
        compare.change(drive(layouts=["cloudstack"]), password_hash="$6$salt$abcdefgh")


@pytest.mark.parametrize("layouts", [["cloudstack"], ["openstack"], ["cloudstack", "openstack"]])
def test_what_a_drive_says_of_its_vm(layouts):
    reader = None if "cloudstack" in layouts else "cloudbase_init"
    found = compare.description_of(drive(layouts=layouts, reader=reader), "web1", "ours")
    assert (found.name, found.password, found.ssh_keys) == ("web1", "Ab2-Cd3-Ef4", (KEY,))
    assert (found.user_data, found.reader) == (b"role=web", "ours")
    assert found.metadata == {"instance_id": "id-1"}
    assert compare.layouts_of(files(layouts)) == tuple(layouts)


@pytest.mark.parametrize(
    "document", [b"[]", b'{"public_keys": 7, "admin_pass": [], "uuid": null}', b"{", b'{"public_keys": {"a": 1}}']
)
def test_a_strange_meta_data_json_says_nothing(document):
    found = compare.description_of(image.read(image.build({content.META_DATA_JSON: document})), "x")
    assert (found.password, found.ssh_keys, found.metadata) == (None, (), {"instance_id": ""})


def test_texts_that_are_none_are_shown_as_far_as_they_are_text():
    described = compare.description_of(image.read(image.build({content.PASSWORD_PATH: b"a\xff"})), "x")
    assert (described.password, described.ssh_keys, described.metadata) == ("a\ufffd", (), {"instance_id": ""})


TOLD = json.dumps({"cloud-init": ["#!/bin/sh", content.cloud_init_password("told-Pw1")]}).encode()
HASH_TOLD = json.dumps(content.cloud_init_password("$6$salt$abcdefgh", hashed=True)).encode()


@pytest.mark.parametrize(
    "held, password",
    [
        ({content.PASSWORD_PATH: b"a\xff", content.META_DATA_JSON: b'{"admin_pass": "other"}'}, "a\ufffd"),
        ({content.META_DATA_JSON: b'{"admin_pass": "Ab2-Cd3"}', content.VENDOR_DATA_JSON: TOLD}, "Ab2-Cd3"),
        ({content.META_DATA_JSON: b'{"admin_pass": ""}', content.VENDOR_DATA_JSON: TOLD}, "told-Pw1"),
        ({content.META_DATA_JSON: b'{"admin_pass": 7}'}, None),
        ({content.VENDOR_DATA_JSON: TOLD}, "told-Pw1"),
        ({content.VENDOR_DATA_JSON: HASH_TOLD}, None),
        ({content.META_DATA_JSON: b"{}", content.VENDOR_DATA_JSON: b"{"}, None),
        ({content.META_DATA_JSON: b"[]", content.VENDOR_DATA_JSON: TOLD}, None),
        ({}, None),
    ],
)
def test_the_password_on_a_drive_wherever_it_is(held, password):
    assert compare.password_of(held) == password


def test_two_keys_on_a_drive_are_two():
    two = (KEY, KEY.replace("I ops", "J two"))
    assert compare.description_of(drive(layouts=["cloudstack"], ssh_keys=list(two)), "x").ssh_keys == two


@pytest.mark.parametrize(
    "vendor_data, told",
    [(None, True), ({"x": 1}, True), ({"cloud-init": content.cloud_init_password("old-Pw1")}, False)],
)
def test_a_drive_of_nobody_known_keeps_its_password_in_the_metadata_unless_cloud_init_is_told_it(vendor_data, told):
    before = {content.META_DATA_JSON: b'{"uuid": "u", "admin_pass": "old-Pw1"}'}
    if vendor_data is not None:
        before[content.VENDOR_DATA_JSON] = json.dumps(vendor_data).encode()
    after = compare.change(image.read(image.build(before)), password="new-Pw1")
    assert json.loads(after[content.META_DATA_JSON]).get("admin_pass") == ("new-Pw1" if told else None)
