# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import DriveInputError

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK7YRMRPaZtPzotKgLW++8AwCP9aBcDtqBtkAXDUghyI ops"
KEY2 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINxYuU8ielPXCWiXjkphhMFuKCKhG87ti/d+gtFc6YF1 two"
SECRET = "Gr4n4t-Apfel"


def describe(**option):
    return DriveDescription.from_option({"name": "web1", **option})


def refused(**option):
    with pytest.raises(DriveInputError) as caught:
        describe(**option)
    return str(caught.value)


def test_the_least_entry_has_what_every_reader_needs():
    description = describe()
    assert description.metadata == {"instance_id": "web1", "local_hostname": "web1"}
    assert (description.user_data, description.password, description.ssh_keys, description.vendor_data) == (
        None,
        None,
        None,
        None,
    )


def test_none_is_the_same_as_not_given():
    nothing = dict.fromkeys(
        ("metadata", "user_data", "user_data_base64", "password", "ssh_keys", "services", "reader", "network")
    )
    assert describe(**nothing) == describe()


@pytest.mark.parametrize(
    "metadata, owner, instance_id, vm_id",
    [
        ({}, None, "web1", None),
        ({}, "id-1", "id-1", "id-1"),
        ({"vm_id": "id-2"}, "id-1", "id-2", "id-2"),
        ({"instance_id": "i-9"}, "id-1", "i-9", "id-1"),
        ({"instance-id": "i-9"}, None, "i-9", None),
        ({"instance-id": "web1"}, "id-1", "web1", "id-1"),
        ({"instance_id": ""}, "id-1", "id-1", "id-1"),
    ],
)
def test_instance_id_and_vm_id(metadata, owner, instance_id, vm_id):
    description = describe(metadata=metadata)
    if owner:
        description = description.for_vm(owner)
    assert description.metadata["instance_id"] == instance_id
    assert description.metadata.get("vm_id") == vm_id


def test_the_host_name_is_made_from_a_name_that_is_none():
    assert DriveDescription.from_option({"name": "Web server (new)_1"}).metadata["local_hostname"] == "Web-server-new-1"
    assert describe(metadata={"local_hostname": "a.example.com"}).metadata["local_hostname"] == "a.example.com"
    assert "metadata.local_hostname" in refused(metadata={"local_hostname": "-a-"})


def test_metadata_scalars_become_text_and_none_is_left_out():
    metadata = describe(metadata={"a": 1, "b": True, "c": 1.5, "d": None, "e": "Zürich", "local-ipv4": "10.0.0.1"}).metadata
    assert {key: metadata.get(key) for key in ("a", "b", "c", "d", "e", "local-ipv4")} == {
        "a": "1",
        "b": "true",
        "c": "1.5",
        "d": None,
        "e": "Zürich",
        "local-ipv4": "10.0.0.1",
    }


@pytest.mark.parametrize(
    "metadata, part",
    [
        ({"a b": "x"}, "'a b'"),
        ({"../x": "x"}, "'../x'"),
        ({"": "x"}, "''"),
        ({3: "x"}, "3"),
        ({"zone": "a\nb"}, "metadata.zone has a line break"),
        ({"zone": ["a"]}, "metadata.zone is a list"),
        ({"vm-id": "a", "vm_id": "b"}, "given twice"),
        ({"Zone": "a", "zone": "b"}, "metadata.zone is given twice, as Zone and zone"),
        ({"local-ipv4": "a", "Local_IPv4": "b"}, "given twice"),
        ({"VM_ID": "a"}, "write vm_id"),
        ({"Public-Keys": "a"}, "use ssh_keys"),
        ({"hostname": "a"}, "use local_hostname"),
        ({"uuid": "a"}, "use instance_id"),
        ({"name": "a"}, "the name of the entry"),
        ({"admin_pass": SECRET}, "use password"),
        ({"files": "a"}, "choose another key"),
        ({"zone": "\ud800"}, "not valid Unicode"),
        ({"public-keys": "a"}, "use ssh_keys"),
        ("text", "metadata is a str"),
    ],
)
def test_metadata_that_cannot_be_files(metadata, part):
    assert part in refused(metadata=metadata)


@pytest.mark.parametrize("name", ["", " ", None, "a/b", "../a", ".hidden", "a\n", "-a", "a" * 129, "a.", "a ", "é", 7])
def test_a_name_must_be_good_for_a_file_name(name):
    with pytest.raises(DriveInputError, match="name"):
        DriveDescription.from_option({"name": name})


@pytest.mark.parametrize("name", ["web1", "Web server (2)", "a", "_x", "web1.example.com", "i-2-3-VM", "a" * 128])
def test_names_that_are_good(name):
    assert DriveDescription.from_option({"name": name}).name == name


@pytest.mark.parametrize(
    "value, expected",
    [
        ("text\n", b"text\n"),
        ("Zürich", "Zürich".encode()),
        (b"\x00\xff", b"\x00\xff"),
        ({"b": 1, "a": "x y", "c": True, "d": None}, b"a=x y\nb=1\nc=true\nd="),
        ({}, None),
        ("", None),
        (42, b"42"),
    ],
)
def test_user_data(value, expected):
    assert describe(user_data=value).user_data == expected


def test_a_mapping_in_another_order_is_the_same_user_data():
    assert describe(user_data={"b": 1, "a": 2}) == describe(user_data={"a": 2, "b": 1})


def test_user_data_of_any_bytes_comes_as_base64():
    data = bytes(range(256)) * 3
    assert describe(user_data_base64=base64.encodebytes(data).decode()).user_data == data
    assert "user_data_base64 is not base64" in refused(user_data_base64=SECRET + "!")
    assert "leave one of them out" in refused(user_data="x", user_data_base64="eA==")


@pytest.mark.parametrize(
    "value, part",
    [
        ({"a=b": "x"}, "user_data has a key"),
        ({"": "x"}, "user_data has a key"),
        ({"#a": "x"}, "user_data has a key"),
        ({"a\nb": "x"}, "user_data has a key"),
        ({" a": "x"}, "user_data has a key"),
        ({"a": SECRET + "\nb"}, "user_data.a has a line break"),
        ({"a": [SECRET]}, "user_data.a is a list"),
        ({"a": {"b": SECRET}}, "give JSON as user_data_base64"),
        ({"a": "\ud800"}, "not valid Unicode"),
        ([SECRET], "user_data is a list"),
        ([SECRET], "give JSON as user_data_base64"),
        ("\ud800", "not valid Unicode"),
    ],
)
def test_user_data_that_cannot_be_written(value, part):
    message = refused(user_data=value)
    assert message.startswith("drive web1: user_data") and part in message
    assert SECRET not in message


def test_ssh_keys_as_text_and_as_list():
    both = (KEY, KEY2)
    assert describe(ssh_keys=KEY).ssh_keys == (KEY,)
    assert describe(ssh_keys=f"# comment\n{KEY}\n\n{KEY2}\n").ssh_keys == both
    assert describe(ssh_keys=[KEY, f"{KEY2}\n{KEY}"]).ssh_keys == both
    assert describe(ssh_keys=[f"# comment\n\n{KEY}\n{KEY2}"]).ssh_keys == both
    assert describe(ssh_keys=[]).ssh_keys == ()
    assert describe(ssh_keys=None).ssh_keys is None


def test_an_ssh_key_may_have_options():
    line = 'from="10.0.0.1,10.0.0.2",no-pty ' + KEY
    assert describe(ssh_keys=line).ssh_keys == (line,)


@pytest.mark.parametrize(
    "value, part",
    [
        (["ssh-ed25519 " + SECRET], "ssh_keys entry 1 is not a public SSH key"),
        ([KEY, "ssh-rsa " + KEY.split()[1]], "ssh_keys entry 2 is not"),
        ([KEY.replace("IK7Y", "IK7*Y")], "ssh_keys entry 1 is not a public SSH key"),
        (["-----BEGIN OPENSSH PRIVATE KEY-----\n" + SECRET], "private key"),
        ([KEY[:-8] + "\x07"], "control character"),
        ([KEY + "x" * 9000], "longer than 8192"),
        ([KEY + "\ud800"], "not valid Unicode"),
        ([7], "is a int"),
        ({"a": KEY}, "ssh_keys is a dict"),
    ],
)
def test_what_is_no_ssh_key(value, part):
    message = refused(ssh_keys=value)
    assert part in message
    assert SECRET not in message and KEY.split()[1] not in message


def test_password_and_hash_exclude_each_other():
    hashed = "$6$salt$" + "a" * 86
    assert describe(password_hash=hashed).password_hash == hashed
    assert "leave one of them out" in refused(password=SECRET, password_hash=hashed)
    assert describe(password="").password is None
    assert describe(password=1234).password == "1234"
    assert "password is a bool" in refused(password=True)
    for wrong in (SECRET, "$6$", "plain$6$x"):
        message = refused(password_hash=wrong)
        assert "password_hash is not a crypt(3) hash" in message and wrong not in message.replace("$6$salt$hash", "")


@pytest.mark.parametrize("value", ["#cloud-config\n{}", {"a": [1, {"b": None}]}, ["a"]])
def test_vendor_data(value):
    assert describe(vendor_data=value).vendor_data == value


@pytest.mark.parametrize("value", [7, {1: "a", "b": "c"}, {"a": {1, 2}}, "\ud800", {"a": float("nan")}, [float("inf")]])
def test_vendor_data_that_is_no_json(value):
    assert "vendor_data" in refused(vendor_data=value)


def test_unknown_reader_and_service():
    assert "reader is 'x'" in refused(reader="x")
    assert "services has 'dhcp'" in refused(services=["dhcp"])


@pytest.mark.parametrize(
    "part", [{"user_data": "x"}, {"password": SECRET}, {"ssh_keys": KEY}, {"vendor_data": "x"}, {"user_data_base64": "eA=="}]
)
def test_without_the_service_the_drive_carries_metadata_only(part):
    assert describe(services=["userdata"], **part)
    message = refused(services=[], network="corp-vlan120", **part)
    assert "network corp-vlan120 has no service userdata" in message
    assert next(iter(part)).replace("_base64", "") in message and SECRET not in message
    assert describe(services=[], metadata={"zone": "a"}, ssh_keys=[], password="", user_data="").services == ()
    assert "the VM's network has no service" in refused(services=[], **part)


def test_secrets_are_not_in_the_representation():
    description = describe(password=SECRET, user_data=SECRET, ssh_keys=KEY, vendor_data=SECRET)
    assert SECRET not in repr(description) and KEY not in repr(description)
    assert SECRET not in repr(describe(password_hash="$6$x$" + SECRET))


@pytest.mark.parametrize(
    "option, sentence",
    [
        ({"name": " "}, "drives: every entry needs a name, the name of its VM"),
        (
            {"name": "a/b"},
            "drive 'a/b': the name becomes a file name: use at most 128 letters, digits, blanks and ._+@=,()-,"
            " beginning with a letter, a digit or _ and not ending in a blank or a dot",
        ),
        ({"password": []}, "drive web1: password is a list: it must be text"),
        ({"password_hash": []}, "drive web1: password_hash is a list: it must be text"),
        ({"network": []}, "drive web1: network is a list: it must be text"),
        (
            {"password": SECRET, "password_hash": "$6$salt$" + "b" * 20},
            "drive web1: password is given together with password_hash: leave one of them out",
        ),
        (
            {"password_hash": SECRET},
            "drive web1: password_hash is not a crypt(3) hash such as $6$salt$hash: make one with the filter password_hash",
        ),
        (
            {"reader": "nobody"},
            "drive web1: reader is 'nobody': it must be one of ours, cloudstack, cloudstack_combined, cloud_init, cloudbase_init",
        ),
        ({"services": ["dns"]}, "drive web1: services has 'dns': it is either empty or [userdata]"),
        ({"metadata": ["a"]}, "drive web1: metadata is a list: it must be a mapping"),
        (
            {"metadata": {"a b": "c"}},
            "drive web1: metadata has the key 'a b': a key becomes a file name: use letters, digits, dots, hyphens and underscores,"
            " at most 100",
        ),
        (
            {"metadata": {"a-b": "1", "A_B": "2"}},
            "drive web1: metadata.A_B is given twice, as a-b and A_B: both spellings with hyphens and underscores are always written,"
            " and not every guest tells upper case from lower; keep one",
        ),
        (
            {"metadata": {"uuid": "1"}},
            "drive web1: metadata.uuid is a name that the drive writes itself or that readers take for something else: use instance_id",
        ),
        (
            {"metadata": {"VM_id": "1"}},
            "drive web1: metadata.VM_id differs from vm_id in upper and lower case alone: write vm_id",
        ),
        ({"metadata": {"a": [1]}}, "drive web1: metadata.a is a list: it must be text, a number or a boolean"),
        (
            {"metadata": {"a": "b\nc"}},
            "drive web1: metadata.a has a line break or another control character: metadata is one line per key",
        ),
        ({"metadata": {"a": "\ud800"}}, "drive web1: metadata.a is not valid Unicode text"),
        (
            {"metadata": {"local_hostname": "-"}},
            "drive web1: metadata.local_hostname is '-': a host name has labels of at most 63 letters, digits and hyphens, divided by"
            " dots",
        ),
        (
            {"user_data": "a", "user_data_base64": "YQ=="},
            "drive web1: user_data is given together with user_data_base64: leave one of them out",
        ),
        ({"user_data_base64": "YQ==!"}, "drive web1: user_data_base64 is not base64"),
        ({"user_data": "\ud800"}, "drive web1: user_data is not valid Unicode text: give bytes as user_data_base64"),
        ({"user_data": {"a": "\ud800"}}, "drive web1: user_data is not valid Unicode text: give bytes as user_data_base64"),
        (
            {"user_data": {"a=b": 1}},
            "drive web1: user_data has a key that cannot stand before = in a key=value line (empty, with =, a line break, outer blanks"
            " or a leading #)",
        ),
        (
            {"user_data": {"a": "b\nc"}},
            "drive web1: user_data.a has a line break: give the whole user data as text to carry more than one line per key",
        ),
        ({"password_public_key": []}, "drive web1: password_public_key is a list: it must be text"),
        ({"ssh_keys": 7}, "drive web1: ssh_keys is a int: give one public key or a list of them"),
        ({"ssh_keys": [KEY, 7]}, "drive web1: ssh_keys entry 2 is a int: a public key is text"),
        (
            {"ssh_keys": ["-----BEGIN OPENSSH PRIVATE KEY-----"]},
            "drive web1: ssh_keys entry 1 is a private key: give the public one (the file that ends in .pub)",
        ),
        (
            {"ssh_keys": [f"{KEY} \x07"]},
            "drive web1: ssh_keys entry 1 has a control character: a line of authorized_keys reads [options] type base64 [comment]",
        ),
        (
            {"ssh_keys": [f"{KEY} \ud800"]},
            "drive web1: ssh_keys entry 1 is not valid Unicode text: a line of authorized_keys reads [options] type base64 [comment]",
        ),
        (
            {"vendor_data": {"a": float("nan")}},
            "drive web1: vendor_data cannot be written as JSON: use texts as keys, and texts, numbers (JSON has no nan and no inf),"
            " lists and mappings as values",
        ),
        (
            {"vendor_data": 7},
            "drive web1: vendor_data is a int: give text (such as #cloud-config) or a mapping for vendor_data.json",
        ),
        (
            {"services": [], "network": "lab", "user_data": "a", "password": SECRET, "ssh_keys": [KEY], "vendor_data": "b"},
            "drive web1: user_data, password, ssh_keys, vendor_data cannot be delivered: the network lab has no service userdata; add"
            " userdata to the network's services or leave out user_data, password, ssh_keys, vendor_data",
        ),
        (
            {"services": [], "password_hash": "$6$salt$" + "b" * 20},
            "drive web1: password_hash cannot be delivered: the VM's network has no service userdata; add userdata to the network's"
            " services or leave out password_hash",
        ),
    ],
)
def test_a_refusal_names_the_drive_the_option_and_the_way_out(option, sentence):
    assert refused(**option) == sentence


def test_a_password_that_is_a_number_is_taken_and_doubted():
    doubt = "password is a number: YAML may have changed it (0123 becomes 83); put it in quotes"
    assert (describe(password=83).password, describe(password=83).doubts) == ("83", (doubt,))
    assert describe(password="83").doubts == () == describe(password="").doubts


@pytest.mark.parametrize(
    "name, hostname",
    [("_", "vm"), ("X web (2)", "X-web-2"), ("_a", "a"), ("a" * 62 + " b", "a" * 62), ("a" * 63 + " b", "a" * 63)],
)
def test_the_nearest_host_name(name, hostname):
    assert describe(name=name).metadata["local_hostname"] == hostname


@pytest.mark.parametrize("value, text", [(True, "true"), (False, "false"), (0, "0"), (1.5, "1.5")])
def test_scalars_as_yaml_writes_them(value, text):
    assert describe(metadata={"a": value}).metadata["a"] == text
    assert describe(user_data={"a": value}).user_data == f"a={text}".encode()


@pytest.mark.parametrize("value", [None, "", {}])
def test_empty_vendor_data_is_none(value):
    assert describe(vendor_data=value).vendor_data is None


def test_lines_between_keys_are_passed_over_and_tabs_are_blanks():
    tabs = KEY.replace(" ", "\t")
    assert describe(ssh_keys=f"# of ops\n\n{tabs}\n# of two\n{KEY2}").ssh_keys == (tabs, KEY2)


def test_the_key_is_found_behind_options_that_look_like_one():
    """A word in the options that is a type of key, followed by one that is no base64 or another key's."""
    behind = f"ssh-rsa ! {KEY}"
    assert describe(ssh_keys=[behind]).ssh_keys == (behind,)


def test_the_longest_key():
    longest = KEY + "x" * (8192 - len(KEY))
    assert describe(ssh_keys=[longest]).ssh_keys == (longest,)
    assert "is longer than 8192 characters" in refused(ssh_keys=[longest + "x"])
