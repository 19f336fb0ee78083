# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleLookupError
from ansible.plugins.loader import lookup_loader

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.passwords import password_problem


@pytest.fixture
def lookup():
    return lookup_loader.get("vmops.external_dhcp.vm_password")


def test_a_new_password_each_time(lookup):
    (first,), (second,) = lookup.run([]), lookup.run([], length="20")
    assert (len(first), len(second)) == (16, 20) and first != second[:16]
    assert password_problem(first) is None


def test_what_is_refused(lookup):
    with pytest.raises(AnsibleLookupError, match="12 to 127"):
        lookup.run([], length=8)
    with pytest.raises(AnsibleLookupError, match="no terms"):
        lookup.run(["/path"])


def test_a_file_keeps_it_for_its_owner_alone(lookup, tmp_path):
    path = tmp_path / "web1"
    (first,) = lookup.run([], file=str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == f"{first}\n"
    assert lookup.run([], file=str(path)) == [first]
    path.unlink()
    assert lookup.run([], file=str(path)) != [first]


def test_files_that_are_refused_and_never_quoted(lookup, tmp_path):
    path = tmp_path / "web1"
    path.write_text("Open-Secret-1\n")
    path.chmod(0o644)
    with pytest.raises(AnsibleLookupError, match="nobody else can read") as caught:
        lookup.run([], file=str(path))
    assert "Open-Secret-1" not in str(caught.value)
    path.chmod(0o600)
    path.write_text("two\nlines\n")
    with pytest.raises(AnsibleLookupError, match="one password in one line"):
        lookup.run([], file=str(path))
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("link", "dangling", "web1/below"):
        with pytest.raises(AnsibleLookupError, match="file is"):
            lookup.run([], file=str(tmp_path / name))
    assert not (tmp_path / "nowhere").exists()


def test_a_missing_folder_is_made_for_its_owner_alone(lookup, tmp_path):
    lookup.run([], file=str(tmp_path / "secrets" / "web1"))
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
