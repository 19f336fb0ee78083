# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image, iso9660
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.content import files_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import (
    DriveImageError,
    DriveInputError,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.labels import check_label
from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary

OWNER = "1c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10"
# A change of this value means that drives built before count as changed: raise image.FORMAT with it.
GOLDEN = "0633180f55837f07fa44d17c0454f04e04d13dc46824441ec0395b7f7870cddf"

# The folder that holds ansible_collections, however this test was started
COLLECTIONS = pathlib.Path(image.__file__).parents[6]

# Builds the golden drive in an interpreter of its own, with the clock at another time.
SCRIPT = """
import sys, time
shift = float(sys.argv[1])
real = time.time
time.time = lambda: real() + shift
sys.path[:0] = sys.argv[2:]
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.content import files_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription
import hashlib, locale
locale.setlocale(locale.LC_ALL, "")
description = DriveDescription.from_option({
    "name": "web1",
    "metadata": {"vm_id": "1c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10", "availability_zone": "Z\\u00fcrich"},
    "user_data": {"role": "web", "tier": "front"}, "password": "Ab2-Cd3-Ef4-Gh5", "reader": "cloudbase_init",
})
data = image.build(files_of(description), "config", description.metadata["vm_id"])
print(hashlib.sha256(data).hexdigest())
"""


def golden_digest(python=sys.executable, clock=0.0, **environment):
    """The digest that another process finds. Python's own locale and hash seed are part of what must not matter."""
    import pycdlib

    paths = [str(COLLECTIONS), str(pathlib.Path(pycdlib.__file__).parents[1])]
    process = subprocess.run(
        [python, "-I", "-c", SCRIPT, str(clock), *paths],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


@pytest.mark.parametrize(
    "clock, environment",
    [
        (0, {}),
        (-10_000_000, {"TZ": "Asia/Kolkata"}),
        (400_000_000, {"TZ": "America/St_Johns", "LC_ALL": "C"}),
        (0, {"TZ": "Pacific/Kiritimati", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "1"}),
        (3, {"LANG": "tr_TR.UTF-8", "PYTHONUTF8": "0"}),
    ],
)
def test_the_same_bytes_whatever_clock_time_zone_and_locale(clock, environment):
    try:
        assert golden_digest(clock=clock, **environment) == GOLDEN
    except AssertionError as exc:
        if "unsupported locale" in str(exc):
            pytest.skip("this machine has no such locale")
        raise


def other_pythons():
    """Interpreters of other versions that this machine has."""
    places = [*pathlib.Path("/usr/bin").glob("python3.[0-9]*"), *pathlib.Path("/usr/local/bin").glob("python3.[0-9]*")]
    places += pathlib.Path(os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))).glob("versions/*/bin/python3.[0-9]*")
    mine = f"python3.{sys.version_info[1]}"
    found = {place.name: str(place) for place in sorted(places) if place.name.removeprefix("python3.").isdigit()}
    return [path for name, path in sorted(found.items()) if name != mine and int(name.removeprefix("python3.")) >= 8]


def test_the_same_bytes_under_every_python_of_this_machine():
    pythons = other_pythons()
    if not pythons:
        pytest.skip("this machine has one Python only")
    assert {python: golden_digest(python) for python in pythons} == dict.fromkeys(pythons, GOLDEN)


def description(**option):
    return DriveDescription.from_option({"name": "web1", "metadata": {"vm_id": OWNER}, **option})


FILES = files_of(description(password="Ab2-Cd3-Ef4-Gh5", user_data={"role": "web"}))


def test_what_was_built_is_what_is_read():
    data = image.build(FILES, "config-2", OWNER)
    found = image.read(data)
    assert found.files == FILES
    assert (found.label, found.joliet_label, found.owner) == ("config-2", "config-2", OWNER)
    assert (found.sha256, found.size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert found.intact is True
    assert set(found.modes.values()) == {0o100555} and set(found.modes) == set(FILES)


def test_the_fast_way_reads_the_same_and_only_what_is_intact():
    data = image.build(FILES, "config-2", OWNER)
    fast, full = image.read(data, modes=False), image.read(data)
    assert fast.modes == {} and dataclasses.replace(fast, modes=full.modes) == full
    changed = data.replace(b"\x00v\x00m\x00_\x00p", b"\x00x\x00m\x00_\x00p")
    found = image.read(changed, modes=False)
    assert found.intact is False and set(found.files) == set(FILES)


def test_folders_are_readable_and_nothing_is_writable():
    iso = iso9660.Iso(image.build(FILES))
    modes = {record.mode for record in iso.records(iso.primary) if record.is_directory}
    assert modes == {0o040555}


def test_joliet_and_plain_names_hold_the_same_contents():
    data = image.build(FILES)
    iso = iso9660.Iso(data)
    joliet = {record.path: iso.content(record) for record in iso.records(iso.joliet) if not record.is_directory}
    assert joliet == FILES
    iso.rock_ridge = False
    plain = [iso.content(record) for record in iso.records(iso.primary) if not record.is_directory]
    assert sorted(plain) == sorted(FILES.values())


def test_every_date_is_the_same():
    data = image.build(FILES)
    iso = iso9660.Iso(data)
    dates = {data[record.at + 18 : record.at + 25] for volume in iso.volumes for record in iso.records(volume)}
    assert dates == {b"\x64\x01\x01\x00\x00\x00\x00"}
    assert data.count(b"2000010100000000\x00") == 4


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.lists(
            st.text(
                st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters='*/:;?\\<>|"'),
                min_size=1,
                max_size=20,
            ).filter(lambda name: name not in (".", "..") and name == name.strip() and ord(max(name)) < 0x10000),
            min_size=1,
            max_size=4,
        ).map("/".join),
        st.binary(max_size=5000),
        max_size=12,
    ),
    st.text(alphabet="abcXYZ019_-.", min_size=1, max_size=16).filter(lambda text: text[0] not in "-."),
    st.one_of(st.none(), st.text(alphabet="abcdef0123456789-", min_size=1, max_size=100).filter(lambda text: text[0] != "-")),
)
def test_anything_that_can_be_built_is_read_back(files, label, owner):
    folders = {path[:position] for path in files for position, character in enumerate(path) if character == "/"}
    if folders & set(files):
        return  # no path can be a file and a folder
    data = image.build(files, label, owner)
    found = image.read(data)
    assert (found.files, found.label, found.joliet_label, found.owner, found.intact) == (files, label, label, owner, True)
    iso = iso9660.Iso(data)
    assert {record.path: iso.content(record) for record in iso.records(iso.joliet) if not record.is_directory} == files


@pytest.mark.parametrize("label", ["c" * 17, "", "-x", "a/b", "ä", "a ", "a\n", "config;1"])
def test_labels_that_cannot_be(label):
    with pytest.raises(DriveInputError, match="label"):
        image.build({}, label)


def test_a_label_too_long_is_told_the_limit():
    with pytest.raises(DriveInputError, match=r"17 characters: it can have at most 16"):
        check_label("x" * 17)
    for label in ("config", "config-2", "CONFIG-2", "cidata", "x" * 16):
        check_label(label)


@pytest.mark.parametrize(
    "path", ["", "/a", "a/", "a//b", "./a", "a/..", "a\x00", "a:b", "a*", "a\\b", "x" * 65, "/".join("abcdefgh"), "ü" * 65]
)
def test_paths_that_cannot_be(path):
    with pytest.raises(DriveInputError, match="path"):
        image.build({path: b""})


@pytest.mark.parametrize("owner", ["", "a b", "a\n", "é", "x" * 101, "=", "a;b"])
def test_owners_that_cannot_be_marked(owner):
    with pytest.raises(DriveInputError, match="id"):
        image.build({}, owner=owner)


def test_sixty_four_mebibytes_are_the_limit(monkeypatch):
    with pytest.raises(DriveImageError, match="64 MiB"):
        image.build({"a": bytes(image.MAX_SIZE + 1)})
    monkeypatch.setattr(image, "MAX_SIZE", 90_000)
    small = image.build({"a": b"x"})
    with pytest.raises(DriveImageError, match="can have at most 90000"):
        image.build({"a": bytes(80_000)})
    with pytest.raises(DriveImageError, match="bytes large"):
        image.read(small + bytes(90_000))


def test_the_owner_is_in_the_first_64_kib():
    data = image.build(FILES, owner=OWNER)
    assert image.read_owner(data[:65536]) == OWNER
    assert image.is_ours(data[:65536])
    ownerless = image.build(FILES)
    assert image.read_owner(ownerless) is None and image.is_ours(ownerless)


@pytest.mark.parametrize("data", [b"", b"x" * 70000, bytes(32768) + b"\x01CD001\x01" + bytes(3000)])
def test_a_foreign_file_has_no_owner(data):
    assert image.read_owner(data) is None and not image.is_ours(data)


def test_a_mark_in_user_data_marks_nothing():
    mark = b"VMOPS.EXTERNAL_DHCP FORMAT=1 VM=evil SHA256=" + b"0" * 64
    data = image.build({"user_data": mark * 100}, owner=OWNER)
    assert image.read_owner(data) == OWNER


def test_every_changed_byte_is_found():
    data = image.build({"a": b"secret"}, owner=OWNER)
    for position in (0, 32769, 40000, data.index(b"secret"), len(data) - 1):
        changed = bytearray(data)
        changed[position] ^= 1
        try:
            assert image.read(bytes(changed)).intact is not True
        except DriveImageError:
            pass
    assert image.read(data + b"\x00").intact is False


def test_a_damaged_drive_keeps_its_owner():
    data = image.build(FILES, owner=OWNER)[:50000]
    with pytest.raises(DriveImageError):
        image.read(data)
    found = image.damaged(data)
    assert (found.owner, found.files, found.intact, found.size) == (OWNER, {}, False, 50000)


def test_without_pycdlib_the_error_names_it(monkeypatch):
    monkeypatch.setattr(image, "PYCDLIB_IMPORT_ERROR", "the traceback")
    with pytest.raises(MissingLibrary, match="pycdlib") as caught:
        image.build({})
    assert caught.value.traceback == "the traceback"


def test_secrets_are_not_in_the_representation_of_an_image():
    assert "Ab2-Cd3-Ef4-Gh5" not in repr(image.read(image.build(FILES)))
