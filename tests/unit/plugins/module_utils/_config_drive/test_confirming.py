# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import compare, confirming, content, image
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import DriveInputError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis import guest

PASSWORD = "Ab2 'x' \\ \"y\" \U0001f511"


def drive(**option: t.Any) -> image.Image:
    entry = {"name": "web1", "reader": "cloud_init", "confirm_password": True, "password": PASSWORD, **option}
    return image.read(image.build(content.files_of(DriveDescription.from_option(entry))))


def parts(found: t.Mapping[str, bytes]) -> list[t.Any]:
    return content.vendor_data_parts(json.loads(found[content.VENDOR_DATA_JSON]))


class Machine:
    """Whose files the script takes for the guest's. told: what stands for programs of hypervisors' guest tools was called with."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        self.program("cloud-init", f"#! {sys.executable}\n")
        for name in ("vmware-rpctool", "xenstore-write"):
            self.program(name, f'#!/bin/sh\necho {name} "$*" >>{folder}/told\n')

    def program(self, name: str, text: str) -> None:
        (self.folder / "bin" / name).write_text(text)
        (self.folder / "bin" / name).chmod(0o755)

    def run(self, script: str, stored: str) -> str | None:
        """The confirmation, if one was left. stored: root's field of /etc/shadow."""
        (self.folder / "shadow").write_text(f"daemon:*:1::::::\nroot:{stored}:1::::::\n")
        text = script.replace("/etc/shadow", f"{self.folder}/shadow").replace("/var/lib/config-drive", f"{self.folder}/state")
        self.program("part-001", text)
        done = subprocess.run(
            [str(self.folder / "bin/part-001")],
            env={"PATH": f"{self.folder}/bin:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=True,
        )
        mark = self.folder / "state/drive-seen"
        assert done.stderr == "" and ("not confirmed" in done.stdout) != mark.exists()
        return mark.read_text() if mark.exists() else None


def hashed(password: str, *words: str) -> str:
    made = subprocess.run(["openssl", "passwd", *words, "-stdin"], input=password, capture_output=True, text=True, check=True)
    return made.stdout.strip()


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("way", ["-6", "-5"])
def test_a_guest_in_which_root_has_the_password_confirms_that_drive(machine: Machine, way: str) -> None:
    one = drive()
    told = machine.run(parts(one.files)[-1], hashed(PASSWORD, way))
    digest = compare.confirmation_of(one.files)
    assert told == f"0 web1 {digest}\n"
    assert guest.why_unconfirmed(guest.drive_seen(told.encode()), {str(digest)}, booted=False) is None
    assert ((machine.folder / "state").stat().st_mode & 0o777, (machine.folder / "state/drive-seen").stat().st_mode & 0o777) == (
        0o700,
        0o600,
    )
    assert (machine.folder / "told").read_text().splitlines() == [
        f"vmware-rpctool info-set guestinfo.config-drive 0 web1 {digest}",
        f"xenstore-write vm-data/config-drive 0 web1 {digest}",
    ]


def test_a_guest_in_which_root_has_another_password_or_none_confirms_nothing(machine: Machine) -> None:
    script = parts(drive().files)[-1]
    # "!" locks the password that follows.
    for stored in (hashed("other-Pw1", "-6"), "!" + hashed(PASSWORD, "-6"), "*", "", "$6$", "$y$"):
        assert machine.run(script, stored) is None, stored


def test_only_asked_for_and_only_with_a_password_that_cloud_init_sets() -> None:
    assert confirming.is_script(parts(drive().files)[-1])
    assert compare.password_of(drive().files) == PASSWORD
    assert compare.confirmation_of(drive(confirm_password=False).files) is None
    assert compare.confirmation_of(drive(password=None, password_hash="$6$salt$abcdefgh").files) is None
    assert compare.confirmation_of(drive(password=None).files) is None
    with pytest.raises(DriveInputError, match="^drive web1: confirm_password is for guests that cloud-init sets up: set reader"):
        drive(reader="ours")


def test_the_owners_vendor_data_are_kept() -> None:
    given = parts(drive(vendor_data="#!/bin/sh\ntrue\n").files)
    assert given[0] == "#!/bin/sh\ntrue\n" and len(given) == 3 and not confirming.is_script(given[0])


def test_the_digest_is_the_same_for_the_same_drive_and_another_for_another_password_instance_or_vm() -> None:
    found = {
        compare.confirmation_of(drive(**more).files)
        for more in (
            {},
            {},
            {"password": "other-Pw1"},
            {"metadata": {"instance_id": "i-2"}},
            {"name": "web2"},
            {"user_data": "x"},
        )
    }
    assert len(found) == 4


def test_a_changed_password_takes_its_script_along_and_one_that_is_taken_off_takes_it_away() -> None:
    before = drive()
    after = compare.change(before, password="other-Pw1", reader="cloud_init")
    assert after == drive(password="other-Pw1").files
    assert content.VENDOR_DATA_JSON not in compare.change(before, password="")
    hash_alone = compare.change(before, password_hash="$6$salt$abcdefgh")
    assert len(parts(hash_alone)) == 1
    # A drive that confirms nothing does not begin to.
    assert (
        compare.confirmation_of(compare.change(drive(confirm_password=False), password="other-Pw1", reader="cloud_init")) is None
    )
