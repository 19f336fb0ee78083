# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks for unique marks that stand for secrets in the places where secrets get out while something runs."""

from __future__ import annotations

import os
import pathlib
import stat
import threading
import typing as t


class Watcher(threading.Thread):
    """Looks at all processes and at all files below a folder, again and again, until it is told to stop."""

    def __init__(self, place: pathlib.Path, marks: t.Iterable[str], pause: float = 0.02) -> None:
        super().__init__(daemon=True)
        self.pause = pause
        self.place = place
        self.marks = {mark: mark.encode() for mark in marks}
        self.ended = threading.Event()
        self.found: set[str] = set()
        self.processes: set[str] = set()
        self.rounds = 0
        self.whole = False

    def run(self) -> None:
        while not self.ended.wait(self.pause):
            self.look()
        self.whole = True

    def look(self) -> None:
        self.rounds += 1
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    text = (folder / name).read_bytes()
                except OSError:
                    continue
                self.processes.add(text[:200].decode(errors="replace"))
                self.found.update(f"{name} of a process: {mark}" for mark in self.marks_in(text))
        # os.walk passes over folders that are gone by now
        for path in [pathlib.Path(folder, name) for folder, _folders, names in os.walk(self.place) for name in names]:
            try:
                status = path.lstat()
                if not stat.S_ISREG(status.st_mode):
                    continue
                data = path.read_bytes()
            except OSError:
                continue
            if self.marks_in(data) and not self.is_private(path, status):
                self.found.add(f"{path}, mode {stat.S_IMODE(status.st_mode):04o}")

    def is_private(self, path: pathlib.Path, status: os.stat_result) -> bool:
        """Open to its owner only, by its own mode or by that of a folder above it (below the one that is watched)."""
        if not stat.S_IMODE(status.st_mode) & 0o077:
            return True
        try:
            return any(not stat.S_IMODE(folder.stat().st_mode) & 0o077 for folder in path.parents if self.place in folder.parents)
        except OSError:
            return True  # it is gone

    def marks_in(self, data: bytes) -> list[str]:
        return [mark for mark, text in self.marks.items() if text in data]
