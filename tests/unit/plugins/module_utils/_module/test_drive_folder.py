# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import DriveImageError, DriveInputError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.drive_folder import DriveFolder, read_bytes

DATA = image.build({"a": b"x"})


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def folder(tmp_path):
    """A folder that exists, whatever the umask is."""
    before = os.umask(0)
    place = DriveFolder(str(tmp_path / "a" / "drives"))
    place.create()
    yield place
    os.umask(before)


def test_the_folder_is_private_with_all_that_is_made_above_it(folder, tmp_path):
    assert mode(folder.path) == mode(tmp_path / "a") == 0o700
    assert folder.check()
    folder.create()


def test_a_missing_folder_is_not_made_by_looking(tmp_path):
    place = DriveFolder(str(tmp_path / "x"))
    assert place.check() is False and place.read("web1") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong, refused", [(0o777, True), (0o770, True), (0o1777, True), (0o755, False), (0o711, False), (0o700, False)]
)
def test_a_folder_that_others_may_write_to_is_refused(tmp_path, wrong, refused):
    tmp_path.chmod(wrong)
    place = DriveFolder(str(tmp_path))
    if refused:
        with pytest.raises(DriveInputError, match=f"other accounts may write \\(mode {wrong:04o}"):
            place.check()
    else:
        assert place.check()
    assert mode(tmp_path) == wrong


@pytest.mark.parametrize("path", ["", " "])
def test_no_path_is_not_the_current_folder(path):
    with pytest.raises(DriveInputError, match="dest is empty"):
        DriveFolder(path)


def test_a_folder_of_another_account_is_refused(tmp_path, monkeypatch):
    place = tmp_path / "drives"
    place.mkdir(0o700)
    if os.geteuid() == 0:
        os.chown(place, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(DriveInputError, match="belongs to another account"):
        DriveFolder(str(place)).check()


def test_a_folder_that_another_account_made_first_is_refused(tmp_path, monkeypatch):
    real = os.mkdir

    def overtaken(path, _mode):
        real(path)
        os.chmod(path, 0o777)
        raise FileExistsError

    monkeypatch.setattr(os, "mkdir", overtaken)
    with pytest.raises(DriveInputError, match="other accounts may write"):
        DriveFolder(str(tmp_path / "drives")).create()


def test_what_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DriveInputError, match="not a folder"):
        DriveFolder(str(tmp_path / "file")).check()
    with pytest.raises(DriveInputError, match="cannot be"):
        DriveFolder(str(tmp_path / "file" / "x")).create()


def test_a_drive_is_written_for_its_owner_alone(folder):
    folder.write("web1", DATA)
    assert mode(folder.file("web1")) == 0o600
    assert folder.read("web1") == DATA and folder.state("web1").attached
    assert os.listdir(folder.path) == ["web1.iso"]


def test_wider_rights_are_seen_and_taken_away(folder):
    assert (folder.state("web1").file_exists, folder.state("web1").attached) == (False, False)
    folder.write("web1", DATA)
    os.chmod(folder.file("web1"), 0o640)
    assert (folder.state("web1").file_exists, folder.state("web1").attached) == (True, False)
    folder.write("web1", DATA)
    assert mode(folder.file("web1")) == 0o600


def test_a_drive_that_cannot_be_written_leaves_the_old_one_and_no_rest(folder, monkeypatch):
    folder.write("web1", DATA)

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DriveImageError, match=r"web1.iso cannot be written: No space left"):
        folder.write("web1", b"new")
    assert folder.read("web1") == DATA and os.listdir(folder.path) == ["web1.iso"]


def test_an_interrupted_write_leaves_no_rest(folder, monkeypatch):
    def interrupt(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        folder.write("web1", DATA)
    assert os.listdir(folder.path) == []


def test_the_new_bytes_are_on_the_disk_before_they_take_the_name(folder, monkeypatch):
    steps = []
    real_fsync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append("fsync"), real_fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda *paths: (steps.append("replace"), real_replace(*paths)))
    with folder.changing():
        folder.write("web1", DATA)
    assert steps == ["fsync", "replace", "fsync"]


def test_a_link_is_neither_read_nor_followed(folder, tmp_path):
    target = tmp_path / "target"
    target.write_bytes(DATA)
    os.symlink(target, folder.file("web1"))
    with pytest.raises(DriveImageError, match="not a file"):
        folder.read("web1")
    os.mkdir(folder.file("web2"))
    with pytest.raises(DriveImageError, match="not a file"):
        folder.read("web2")


def test_removing(folder):
    folder.write("web1", DATA)
    folder.remove("web1")
    folder.remove("web1")
    assert folder.read("web1") is None
    os.mkdir(folder.file("web2"))
    with pytest.raises(DriveImageError, match="cannot be removed"):
        folder.remove("web2")


def test_what_a_killed_run_left_is_removed_but_not_what_another_is_writing(folder):
    names = (".config-drive-old.tmp", ".config-drive-new.tmp", ".config-drive-old.keep", "old.tmp")
    for name in names:
        path = os.path.join(folder.path, name)
        with open(path, "wb"):
            pass
        if name != ".config-drive-new.tmp":
            os.utime(path, (1, 1))
    with folder.changing():
        pass
    assert sorted(os.listdir(folder.path)) == sorted(names[1:])


def test_paths_that_are_no_image(tmp_path, monkeypatch):
    (tmp_path / "x.iso").write_bytes(DATA)
    assert read_bytes(tmp_path / "x.iso") == read_bytes(str(tmp_path / "x.iso")) == DATA
    with pytest.raises(DriveImageError, match="No such file"):
        read_bytes(tmp_path / "missing")
    with pytest.raises(DriveImageError, match="not a file"):
        read_bytes(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DriveImageError, match="not a file"):
        read_bytes(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 100)
    monkeypatch.setattr(image, "MAX_SIZE", 99)
    with pytest.raises(DriveImageError, match="100 bytes large"):
        read_bytes(tmp_path / "large")
