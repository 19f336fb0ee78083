# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A private folder of config drives, one file for each VM: <folder>/<name>.iso."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import time
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image as images
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import DriveImageError, DriveInputError

if t.TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER_MODE = 0o700
FILE_MODE = 0o600

_TEMPORARY = (".config-drive-", ".tmp")  # prefix, suffix
# Older ones belong to nobody any more: a killed run has left them.
_STALE_AFTER = 3600.0  # seconds


class DriveFolder:
    """Reads, writes and removes drives; every write is atomic, so that no reader ever sees half a drive."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)

    def file(self, name: str) -> str:
        return os.path.join(self.path, name + ".iso")

    def check(self) -> bool:
        """Whether the folder exists. Raises DriveInputError if it cannot be used: no folder, or others could put files in it."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return False
        except OSError as exc:
            raise DriveInputError(f"dest is {self.path}, which cannot be used: {exc.strerror}") from exc
        if not stat.S_ISDIR(status.st_mode):
            raise DriveInputError(f"dest is {self.path}, which is not a folder")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise DriveInputError(
                f"dest is {self.path}, where other accounts may write (mode {stat.S_IMODE(status.st_mode):04o}): drives hold secrets;"
                f" name a folder that does not exist yet (it is made with mode {FOLDER_MODE:04o}) or take these rights away"
            )
        return True

    def create(self) -> None:
        """Makes the folder and what is missing above it, none of it open to others. Raises DriveInputError if that fails."""
        missing = []
        path = self.path
        while not os.path.lexists(path):
            missing.append(path)
            path = os.path.dirname(path)
        for path in reversed(missing):
            try:
                with contextlib.suppress(FileExistsError):  # another process that builds drives was faster
                    os.mkdir(path, FOLDER_MODE)
            except OSError as exc:
                raise DriveInputError(f"dest is {self.path}, but {path} cannot be made: {exc.strerror}") from exc

    def read(self, name: str) -> bytes | None:
        """The drive's bytes, None if there is no file. A link is not followed: the drive's file is to be no link."""
        path = self.file(name)
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise DriveImageError(f"{path} cannot be read: {exc.strerror}") from exc
        if not stat.S_ISREG(status.st_mode):
            raise DriveImageError(f"{path} is not a file: remove it, or choose another dest")
        return images.read_bytes(path)

    def is_private(self, name: str) -> bool:
        """Whether the drive's file is open to its owner alone."""
        return not stat.S_IMODE(os.lstat(self.file(name)).st_mode) & ~FILE_MODE

    def make_private(self, name: str) -> None:
        os.chmod(self.file(name), FILE_MODE)

    def write(self, name: str, data: bytes) -> None:
        """Puts the drive in place of the one before: whole and on the disk, or not at all. Raises DriveImageError."""
        try:
            fd, temporary = tempfile.mkstemp(prefix=_TEMPORARY[0], suffix=_TEMPORARY[1], dir=self.path)  # 0600 from the start
            try:
                with os.fdopen(fd, "wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(fd)
                os.replace(temporary, self.file(name))
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
        except OSError as exc:
            raise DriveImageError(f"{self.file(name)} cannot be written: {exc.strerror}") from exc

    def remove(self, name: str) -> None:
        """Deletes the drive; a missing one is no error."""
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.file(name))
        except OSError as exc:
            raise DriveImageError(f"{self.file(name)} cannot be removed: {exc.strerror}") from exc

    def _remove_stale(self) -> None:
        """Temporary files hold secrets as well: they are not to stay for ever."""
        with contextlib.suppress(OSError), os.scandir(self.path) as found:
            for item in found:
                if item.name.startswith(_TEMPORARY[0]) and item.name.endswith(_TEMPORARY[1]):
                    with contextlib.suppress(OSError):
                        if time.time() - item.stat(follow_symlinks=False).st_mtime > _STALE_AFTER:
                            os.unlink(item.path)

    @contextlib.contextmanager
    def settled(self) -> Iterator[None]:
        """Around all writes: what a killed run has left is removed, and the names are on the disk too when it is left."""
        self._remove_stale()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # not every file system can; the files themselves are safe
                fd = os.open(self.path, os.O_RDONLY)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
