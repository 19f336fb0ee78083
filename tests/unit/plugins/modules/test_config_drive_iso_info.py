# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.content import files_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription

WEB1 = {"name": "web1", "metadata": {"vm_id": "id-1", "zone": "z1"}, "password": "CANARYpw1", "user_data_base64": "/wBDQU5BUlk="}


@pytest.fixture
def dest(tmp_path):
    files = files_of(DriveDescription.from_option(WEB1))
    (tmp_path / "web1.iso").write_bytes(image.build(files, "config", "id-1"))
    return tmp_path


@pytest.fixture
def info(run_module, dest):
    def run(fails=False, **options):
        return run_module("config_drive_iso_info", options, fails=fails)

    return run


def test_a_drive_is_read_without_its_secrets(info, dest):
    result = info(paths=[str(dest / "web1.iso")], contents="metadata")
    assert result["changed"] is False
    (drive,) = result["drives"]
    read = image.read((dest / "web1.iso").read_bytes())
    for key in ("label", "joliet_label", "owner", "intact", "sha256", "size"):
        assert drive[key] == getattr(read, key)
    assert (drive["exists"], drive["name"], drive["matches"], drive["differences"], drive["error"]) == (
        True,
        None,
        None,
        None,
        None,
    )
    by_path = {entry["path"]: entry for entry in drive["files"]}
    assert {path: entry["size"] for path, entry in by_path.items()} == {path: len(data) for path, data in read.files.items()}
    assert by_path["cloudstack/metadata/zone.txt"]["content"] == "z1"
    assert by_path["cloudstack/metadata/zone.txt"]["mode"] == "0555"
    assert all("content" not in entry and "content_base64" not in entry for entry in by_path.values() if entry["secret"])
    assert "CANARY" not in json.dumps(result)


def test_no_contents_unless_asked_for(info, dest):
    (drive,) = info(paths=[str(dest / "web1.iso")])["drives"]
    assert drive["files"] and not any("content" in entry for entry in drive["files"])


def test_secrets_are_refused_unless_the_task_hides_them(run_module, dest):
    options = {"paths": [str(dest / "web1.iso")], "contents": "all"}
    assert "no_log: true" in run_module("config_drive_iso_info", options, fails=True)["msg"]
    (drive,) = run_module("config_drive_iso_info", {**options, "_ansible_no_log": True})["drives"]
    by_path = {entry["path"]: entry for entry in drive["files"]}
    assert by_path["cloudstack/password/vm_password.txt"]["content"] == "CANARYpw1"
    assert base64.b64decode(by_path["openstack/latest/user_data"]["content_base64"]) == b"\xff\x00CANARY"


def test_drives_are_compared_with_their_descriptions(info, dest):
    other = {**WEB1, "password": "CANARYpw2"}
    assert info(dest=str(dest), drives=[WEB1])["drives"][0]["matches"] is True
    result = info(dest=str(dest), drives=[other, {"name": "missing"}])
    web1, missing = result["drives"]
    assert (web1["name"], web1["matches"]) == ("web1", False)
    assert [item["what"] for item in web1["differences"]] == [
        "cloudstack/password/vm-password-md5checksum.txt",
        "cloudstack/password/vm_password.txt",
        "cloudstack/password/vm_password_md5checksum.txt",
    ]
    assert (missing["exists"], missing["matches"]) == (False, False)
    assert "CANARY" not in json.dumps(result)
    assert info(dest=str(dest), drives=[WEB1], label="config-2")["drives"][0]["matches"] is False


def test_what_cannot_be_read_fails_at_the_end(info, dest):
    (dest / "bad").write_bytes(b"x")
    result = info(paths=[str(dest / "bad"), str(dest / "web1.iso"), str(dest / "gone")], fails=True)
    assert (
        result["msg"]
        == f"1 of 3 drives failed: {dest}/bad: the image is no ISO 9660 file system: it has no primary volume descriptor"
    )
    assert [drive["exists"] for drive in result["drives"]] == [False, True, False]


@pytest.mark.parametrize(
    "options, part",
    [
        ({}, "one of the following is required"),
        ({"drives": [WEB1]}, "required together"),
        ({"paths": ["/x"], "label": "a/b"}, "label is"),
    ],
)
def test_options_that_make_no_sense(info, options, part):
    assert part in info(fails=True, **options)["msg"]
