# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Linux system without a network: this machine's own or another, below a layer that takes all changes, in namespaces of its own."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
import typing as t

import pytest

_START = """
mount --make-rprivate /
mount -t tmpfs tmpfs "$1/layer"
mkdir "$1/layer/upper" "$1/layer/work"
cp -a "$1/upper/." "$1/layer/upper/"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/layer/upper,workdir=$1/layer/work" "$1/system" || exit 77
mount -t proc proc "$1/system/proc"
mount --bind /dev "$1/system/dev"
for folder in run tmp var/tmp; do mount -t tmpfs tmpfs "$1/system/$folder"; done
echo started
exec sleep infinity
"""


class GuestSystem(t.NamedTuple):
    """pid: of its first process. root: its root folder, as that process sees it."""

    pid: int
    root: pathlib.Path

    def path(self, path: str) -> pathlib.Path:
        """Where this machine finds a file of it."""
        return pathlib.Path(f"/proc/{self.pid}/root/{self.root}/{path}")

    def entered(self) -> list[str]:
        """The beginning of a command that sees its root folder, and its processes."""
        return ["nsenter", "-t", str(self.pid), "-m", "-p", "--"]


@contextlib.contextmanager
def guest_system(base: pathlib.Path, files: dict[str, str], below: str = "/") -> t.Iterator[GuestSystem]:
    """Runs until the block ends. files: by their paths, what it has beside what is below."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("this needs root and unshare")
    for name in ("layer", "system", "upper"):
        (base / name).mkdir()
    for path, content in files.items():
        (base / "upper" / path).parent.mkdir(parents=True, exist_ok=True)
        (base / "upper" / path).write_text(content)
    command = ["unshare", "-m", "-n", "-p", "--fork", "--kill-child", "sh", "-c", _START, "sh", str(base), below]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or process.stdout.readline() != "started\n":
                pytest.skip("no overlay file system here")
            children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            yield GuestSystem(int(children), base / "system")
        finally:
            process.kill()
