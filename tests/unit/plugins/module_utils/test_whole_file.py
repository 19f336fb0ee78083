# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _whole_file


def test_the_file_is_replaced_with_its_mode(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    _whole_file.write(str(path), b"new", 0o640, sync=True)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o640)
    assert os.listdir(tmp_path) == ["file"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        _whole_file.write(str(path), b"new", 0o640, sync=True)
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["file"])
