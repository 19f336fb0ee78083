# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A private folder of config drives, one file for each VM: <folder>/<name>.iso."""

from __future__ import annotations

import contextlib
import os
import stat
import time
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _whole_file
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image as images
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import DriveImageError, DriveInputError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import drive_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveState

if t.TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER_MODE = 0o700
FILE_MODE = 0o600

_STAGED = (".config-drive-", ".tmp")  # prefix, suffix


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The bytes of an image file, which is a regular file of at most MAX_SIZE. Raises DriveImageError."""
    try:
        # O_NONBLOCK: so as not to hang on a named pipe.
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError as exc:
        raise DriveImageError(f"the image {os.fspath(path)} cannot be read: {exc.strerror}") from exc
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise DriveImageError(f"{os.fspath(path)} is not a file")
        if status.st_size > images.MAX_SIZE:
            raise images.too_large(status.st_size, f"{os.fspath(path)} is")
        with os.fdopen(fd, "rb", closefd=False) as stream:
            return stream.read(images.MAX_SIZE + 1)
    finally:
        os.close(fd)


class DriveFolder:
    """Reads, writes and removes drives. Every write is atomic: no reader sees half a drive."""

    def __init__(self, path: str) -> None:
        """Raises DriveInputError for an empty path, which would be the current folder."""
        if not path.strip():
            raise DriveInputError("dest is empty: name the folder of the images")
        self.path = os.path.abspath(path)

    def file(self, name: str) -> str:
        return os.path.join(self.path, name + ".iso")

    def check(self) -> bool:
        """Whether the folder exists. Raises DriveInputError if it is no folder, or another account could change it."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return False
        except OSError as exc:
            raise DriveInputError(f"dest is {self.path}, which cannot be used: {exc.strerror}") from exc
        if not stat.S_ISDIR(status.st_mode):
            raise DriveInputError(f"dest is {self.path}, which is not a folder")
        if status.st_uid not in (os.geteuid(), 0):
            raise DriveInputError(
                f"dest is {self.path}, which belongs to another account (uid {status.st_uid}): drives hold secrets; name a folder that"
                " does not exist yet, or one of the account that runs the module"
            )
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise DriveInputError(
                f"dest is {self.path}, where other accounts may write (mode {stat.S_IMODE(status.st_mode):04o}): drives hold secrets;"
                f" name a folder that does not exist yet (it is made with mode {FOLDER_MODE:04o}) or take these rights away"
            )
        return True

    def create(self) -> None:
        """Makes the folder and those missing above it, all for the owner alone.

        Raises DriveInputError if that fails, or if another account has made one meanwhile.
        """
        missing = []
        path = self.path
        while not os.path.lexists(path):
            missing.append(path)
            path = os.path.dirname(path)
        for path in reversed(missing):
            try:
                with contextlib.suppress(FileExistsError):  # another run has just made it
                    os.mkdir(path, FOLDER_MODE)
            except OSError as exc:
                raise DriveInputError(f"dest is {self.path}, but {path} cannot be made: {exc.strerror}") from exc
        self.check()

    def read(self, name: str) -> bytes | None:
        """The drive's bytes, None if there is no file. Raises DriveImageError, also for a link."""
        path = self.file(name)
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise DriveImageError(f"{path} cannot be read: {exc.strerror}") from exc
        if not stat.S_ISREG(status.st_mode):
            raise DriveImageError(f"{path} is not a file: remove it, or choose another dest")
        return read_bytes(path)

    def state(self, name: str) -> DriveState:
        """The state of the drive's file. attached: whether its mode is right, so that only its bytes can be wrong."""
        path = self.file(name)
        try:
            mode = os.lstat(path).st_mode
        except OSError:  # read() raises it
            return DriveState(path, file_exists=os.path.lexists(path))
        return DriveState(path, file_exists=True, attached=not stat.S_IMODE(mode) & ~FILE_MODE)

    def write(self, name: str, data: bytes) -> None:
        """Puts the drive in place of the one before: whole and on the disk, or not at all. Raises DriveImageError."""
        try:
            _whole_file.write(self.file(name), data, FILE_MODE, _STAGED, sync=True)
        except OSError as exc:
            raise DriveImageError(f"{self.file(name)} cannot be written: {exc.strerror}") from exc

    def remove(self, name: str) -> None:
        """Deletes the drive; a missing one is no error."""
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.file(name))
        except OSError as exc:
            raise DriveImageError(f"{self.file(name)} cannot be removed: {exc.strerror}") from exc

    def _remove_left_overs(self) -> None:
        with contextlib.suppress(OSError), os.scandir(self.path) as found:
            for item in found:
                if item.name.startswith(_STAGED[0]) and item.name.endswith(_STAGED[1]):
                    with contextlib.suppress(OSError):
                        if drive_rules.is_left_over(time.time() - item.stat(follow_symlinks=False).st_mtime):
                            os.unlink(item.path)

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Around all changes: deletes left-overs first, and writes the folder itself to the disk at the end.

        Not for check mode, as it changes the folder.
        """
        self._remove_left_overs()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # not every file system can; the files themselves are safe
                fd = os.open(self.path, os.O_RDONLY)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
