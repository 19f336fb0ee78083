# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import json

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import content
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import DriveInputError

KEYS = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK7YRMRPaZtPzotKgLW++8AwCP9aBcDtqBtkAXDUghyI ops",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINxYuU8ielPXCWiXjkphhMFuKCKhG87ti/d+gtFc6YF1 two",
)


def files(layouts=content.LAYOUTS, **option):
    return content.files_of(DriveDescription.from_option({"name": "web1", **option}), layouts)


def test_cloudstack_layout_has_both_spellings_of_every_name():
    found = files(
        ["cloudstack"],
        metadata={
            "service_offering": "Medium",
            "availability_zone": "zone-1",
            "cloud_identifier": "c1",
            "instance_id": "i-1",
            "vm_id": "v-1",
            "local-ipv4": "10.99.0.5",
            "plain": "x",
        },
        user_data="ud",
        password="Ab2-pass",
        ssh_keys=KEYS,
    )
    md5 = hashlib.md5(b"Ab2-pass").hexdigest().encode()
    keys = "\n".join(KEYS).encode()
    expected = {"plain": b"x"}
    for key, value in {
        "service_offering": b"Medium",
        "availability_zone": b"zone-1",
        "cloud_identifier": b"c1",
        "instance_id": b"i-1",
        "vm_id": b"v-1",
        "local_hostname": b"web1",
        "local_ipv4": b"10.99.0.5",
        "public_keys": keys,
    }.items():
        expected[key] = expected[key.replace("_", "-")] = value
    assert found == {
        **{f"cloudstack/metadata/{key}.txt": value for key, value in expected.items()},
        "cloudstack/password/vm_password.txt": b"Ab2-pass",
        "cloudstack/password/vm_password_md5checksum.txt": md5,
        "cloudstack/password/vm-password-md5checksum.txt": md5,
        "cloudstack/userdata/user_data.txt": b"ud",
    }
    assert list(found) == sorted(found)


def test_openstack_layout():
    found = files(
        ["openstack"],
        metadata={"availability_zone": "zone-1", "instance_id": "i-1", "service_offering": "Medium", "empty": ""},
        user_data=b"\x1f\x8b\x00",
        password="Ab2-pass",
        ssh_keys=KEYS,
        vendor_data={"x": "ü"},
        reader="cloudbase_init",
    )
    assert set(found) == {"openstack/latest/meta_data.json", "openstack/latest/user_data", "openstack/latest/vendor_data.json"}
    assert json.loads(found["openstack/latest/meta_data.json"]) == {
        "uuid": "i-1",
        "hostname": "web1",
        "name": "web1",
        "availability_zone": "zone-1",
        "service_offering": "Medium",
        "admin_pass": "Ab2-pass",
        "public_keys": {"key-0": KEYS[0], "key-1": KEYS[1]},
        "keys": [{"name": "key-0", "type": "ssh", "data": KEYS[0]}, {"name": "key-1", "type": "ssh", "data": KEYS[1]}],
    }
    assert found["openstack/latest/user_data"] == b"\x1f\x8b\x00"
    assert found["openstack/latest/vendor_data.json"] == '{\n "x": "ü"\n}'.encode()


def test_no_file_is_empty_or_ends_with_a_line_break_and_there_is_no_network_data():
    for option in ({}, {"metadata": {"zone": ""}}, {"password": "x", "user_data": {"a": 1}, "ssh_keys": KEYS}):
        found = files(**option)
        assert not any("network_data" in path for path in found)
        assert all(data and not data.endswith(b"\n") for data in found.values())
        assert "uuid" in json.loads(found["openstack/latest/meta_data.json"])


def test_metadata_only_where_the_network_has_no_services():
    found = files(services=[], ssh_keys=[], reader="ours", metadata={"zone": "z"})
    assert {path.rpartition("/")[0] for path in found} == {"cloudstack/metadata", "openstack/latest"}
    assert not any("key" in path for path in found)


def test_an_empty_list_of_keys_is_told_to_the_reader_that_understands_it():
    assert files(reader="ours", ssh_keys=[])["cloudstack/metadata/public-keys.txt"] == b""
    assert "cloudstack/metadata/public-keys.txt" not in files(ssh_keys=[])
    assert "cloudstack/metadata/public-keys.txt" not in files(reader="ours")


@pytest.mark.parametrize("layouts", [[], ["cloudstack", "nocloud"]])
def test_unknown_layouts(layouts):
    with pytest.raises(DriveInputError, match="^layouts is .*: give at least one of cloudstack, openstack$"):
        files(layouts)


def vendor(found):
    return json.loads(found["openstack/latest/vendor_data.json"])


def password_part(text):
    assert text.startswith("#cloud-config\n")
    return json.loads(text.partition("\n")[2])


def test_what_every_account_may_read_of_cloud_init_has_no_password():
    def document(**options):
        return json.loads(files(password="Ab2-pass", **options)["openstack/latest/meta_data.json"])

    for reader in (None, "ours", "cloudstack", "cloudstack_combined", "cloud_init"):
        assert "admin_pass" not in document(reader=reader)
    assert document(reader="cloudbase_init")["admin_pass"] == "Ab2-pass"


def test_cloud_init_is_told_the_password_in_the_vendor_data():
    quoted = "a\"b'c{}: #x"
    part = vendor(files(reader="cloud_init", password=quoted))["cloud-init"]
    assert password_part(part) == {"chpasswd": {"expire": False, "users": [{"name": "root", "password": quoted, "type": "text"}]}}
    yaml = pytest.importorskip("yaml")  # as cloud-init reads it: JSON's two surrogates for one character would be an error
    beyond = "Schlüssel-\U0001f511"
    part = vendor(files(reader="cloud_init", password=beyond))["cloud-init"]
    assert yaml.safe_load(part)["chpasswd"]["users"][0]["password"] == beyond
    hashed = "$6$salt$" + "a" * 86
    found = files(reader="cloud_init", password_hash=hashed)
    assert password_part(vendor(found)["cloud-init"])["chpasswd"]["users"] == [
        {"name": "root", "password": hashed, "type": "hash"}
    ]
    assert "admin_pass" not in json.loads(found["openstack/latest/meta_data.json"])
    assert not any("password" in path for path in found)
    assert "openstack/latest/vendor_data.json" not in files(reader="ours", password="x")


@pytest.mark.parametrize(
    "given, others, parts_before",
    [
        ("#cloud-config\n{}", {}, ["#cloud-config\n{}"]),
        (["a", "b"], {}, ["a", "b"]),
        ({"cloud-init": "a", "x": 1}, {"x": 1}, ["a"]),
        ({"cloud-init": ["a"], "x": 1}, {"x": 1}, ["a"]),
        ({"x": 1}, {"x": 1}, []),
    ],
)
def test_the_password_joins_vendor_data_that_is_given(given, others, parts_before):
    document = vendor(files(reader="cloud_init", password="pw", vendor_data=given))
    parts = document.pop("cloud-init")
    parts = parts if isinstance(parts, list) else [parts]
    assert document == others
    assert parts[:-1] == parts_before
    assert content.is_cloud_init_password(parts[-1])


def test_vendor_data_as_text_is_for_cloud_init():
    assert vendor(files(vendor_data="#cloud-config\n{}")) == {"cloud-init": "#cloud-config\n{}"}


@pytest.mark.parametrize(
    "part, password",
    [
        (content.cloud_init_password('Ab2-ü"'), 'Ab2-ü"'),
        (content.cloud_init_password("$6$salt$abcdefgh", hashed=True), None),
        ('#cloud-config\n{"chpasswd": {"users": []}}', None),
        ('#cloud-config\n{"chpasswd": {"users": [{"password": "x"}]}}', None),
        ('#cloud-config\n{"chpasswd": []}', None),
        ("#!/bin/sh\n", None),
        (None, None),
    ],
)
def test_the_password_is_read_from_what_tells_it_to_cloud_init(part, password):
    assert content.password_in(part) == password


def test_the_checksum_where_python_cannot_be_told_that_it_guards_nothing(monkeypatch):
    md5 = hashlib.md5

    def without_keywords(data: bytes) -> object:
        return md5(data)

    monkeypatch.setattr(hashlib, "md5", without_keywords)
    assert content.password_files("Ab2-pass")[content.PASSWORD_MD5_PATHS[0]] == md5(b"Ab2-pass").hexdigest().encode()


@pytest.mark.parametrize(
    "part", [None, 7, "", "#cloud-config\nusers: []", '#cloud-config\n{"users": []}', "#cloud-config\n{", "x"]
)
def test_what_is_not_our_password_part(part):
    assert not content.is_cloud_init_password(part)


def test_secret_is_everything_but_plain_metadata():
    found = files(metadata={"zone": "z"}, user_data="x", password="x", ssh_keys=KEYS, vendor_data="x")
    open_to_all = {path for path in found if not content.is_secret(path)}
    assert open_to_all == {
        f"cloudstack/metadata/{name}.txt" for name in ("instance-id", "instance_id", "local-hostname", "local_hostname", "zone")
    }
    assert content.is_secret("whatever/else")


def test_the_same_description_always_gives_the_same_files():
    option = {"metadata": {"b": "1", "a": "2"}, "user_data": {"y": 1, "x": 2}, "vendor_data": {"b": {"d": 1, "c": 2}, "a": 1}}
    turned = {"metadata": {"a": "2", "b": "1"}, "user_data": {"x": 2, "y": 1}, "vendor_data": {"a": 1, "b": {"c": 2, "d": 1}}}
    assert list(files(**option).items()) == list(files(**turned).items())
