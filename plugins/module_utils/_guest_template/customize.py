# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Does a job in an image with virt-customize of libguestfs, which needs no root and takes images of other architectures."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.chroot import Failed
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.steps import INSTALL, LINK, PUT, Step

if t.TYPE_CHECKING:
    from collections.abc import Sequence

# Names that are safe: virt-customize hands them to commands of its appliance, and --delete expands patterns.
_PLAIN = re.compile(r"[A-Za-z0-9._@+~/-]+")


def options(steps: Sequence[Step], folder: str) -> list[str]:
    """virt-customize's arguments for the steps. folder: where the contents of files are written to. Raises Failed."""
    words: list[str] = []
    for number, step in enumerate(steps):
        for text in (step.path, *step.words, step.content if step.do == LINK else ""):
            if text and not _PLAIN.fullmatch(text):
                raise Failed(f"{text!r} in the image has a name that virt-customize would not take as it is: remove it by hand")
        path = f"/{step.path}"
        if step.do == INSTALL:
            words += ["--install", ",".join(step.words)]
        elif step.do == LINK:
            words += ["--mkdir", os.path.dirname(path), "--link", f"{step.content}:{path}"]
        elif step.do == PUT:
            content = os.path.join(folder, str(number))
            with open(content, "x", encoding="utf-8", newline="") as stream:
                stream.write(step.content)
            words += ["--mkdir", os.path.dirname(path), "--upload", f"{content}:{path}", "--chmod", f"0{step.mode:o}:{path}"]
        else:
            words += ["--delete", path]
    return words


def run(disk: str, form: str, steps: Sequence[Step], timeout: float) -> None:
    """Does the steps in a disk of this format. timeout: seconds. Raises Failed."""
    with tempfile.TemporaryDirectory(prefix="vm-template.") as folder:
        words = ["virt-customize", "--quiet", "--no-logfile", "--format", form, "-a", disk, *options(steps, folder)]
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function  # its group is ended with it
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            said, _err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"virt-customize took longer than timeout ({timeout:g} s) and was ended") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode != 0:
        lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
        raise Failed(f"virt-customize ended with {process.returncode}: {'; '.join(lines[:3])[:600]}")
