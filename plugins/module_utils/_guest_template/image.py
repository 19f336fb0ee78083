# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Checks an image in a process of its own, which has limits and gets nothing but the image's open file."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template import formats, steps
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.formats import QCOW2, RAW, ImageError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.rules import Wanted
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.system import System

INSTALL = "pip install -r requirements-disks.txt (it is in the collection's folder), for the Python that runs the module"
# memory: bytes; cpu, wall: seconds. An image with thousands of files takes a few seconds.
LIMITS = {"memory": 1 << 30, "cpu": 60, "wall": 120}
_BOOT = f"import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {__name__} import child; child()"


def need_own(path: str, form: str | None) -> str:
    """The format of an image that can be worked on as it is, raw or qcow2. Raises ImageError, OSError."""
    found = formats.look_at(path, form).form
    if found not in (RAW, QCOW2):
        raise ImageError(f"is a {found} image: convert it first (qemu-img convert -O qcow2)")
    return found


def look(path: str, form: str | None, wanted: Wanted, init: str | None) -> dict[str, t.Any]:
    """The report on the image's system; see report.report(). form: None tells it by the bytes. Raises ImageError, OSError."""
    return _ask(path, form, {"wanted": dataclasses.asdict(wanted), "init": init})


def plan(path: str, form: str | None, job: steps.Job, init: str | None) -> list[steps.Step]:
    """The steps to be done in the image; see steps.plan(). Raises ImageError, OSError."""
    answer = _ask(path, form, {"job": dataclasses.asdict(job), "wanted": dataclasses.asdict(job.wanted), "init": init})
    return [steps.Step(**dict(entry, words=tuple(entry["words"]))) for entry in answer["steps"]]


def _ask(path: str, form: str | None, order: dict[str, t.Any]) -> dict[str, t.Any]:
    order["format"] = need_own(path, form)
    own = __file__.rpartition(os.sep + __name__.partition(".")[0] + os.sep)[0]
    path_entries = [os.path.abspath(entry) for entry in (own, *sys.path) if entry]
    with open(path, "rb") as image:
        try:
            done = subprocess.run(  # pylint: disable=ansible-bad-function  # not for modules: it passes an open file
                [sys.executable, "-I", "-B", "-c", _BOOT, json.dumps(path_entries), str(image.fileno())],
                pass_fds=[image.fileno()],
                input=json.dumps(order).encode(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                timeout=LIMITS["wall"] + 10,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ImageError("was not read in time") from None
    try:
        answer: dict[str, t.Any] = json.loads(done.stdout)
    except ValueError:
        raise ImageError("was not read within the limits of time and memory: what is on it may be damaged") from None
    if "failed" in answer:
        raise ImageError(str(answer["failed"])[:300])
    return answer


def child() -> None:
    """The process that _ask() starts: an order on stdin, the image's file descriptor as last argument, the answer on stdout."""
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk import (
        chain,
        dissect_import,
        examine,
    )
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk import (
        child as confined,
    )
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk.blocks import Blocks
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template import disk_files, report

    order = json.load(sys.stdin)
    number = int(sys.argv[-1])
    missing = dissect_import.load(dissect_import.PARTS)
    if missing is not None:
        json.dump({"failed": f"needs a library that reads disks ({missing}): {INSTALL}"}, sys.stdout)
        return
    examine.warm_up()
    size = os.lseek(number, 0, os.SEEK_END)
    confined.confine(LIMITS)
    try:
        blocks = Blocks(size, lambda offset, length: os.pread(number, length, offset))
        files = disk_files.system_of([chain.stack([(order["format"], blocks)])])
        answer: dict[str, t.Any]
        if "job" in order:
            job = steps.job_of(order["job"])
            answer = {"steps": [dataclasses.asdict(step) for step in steps.plan(System(files, order["init"]), job)]}
        else:
            answer = report.report(files, Wanted(**order["wanted"]), order["init"])
    except (steps.Impossible, disk_files.NoSystem) as error:
        answer = {"failed": str(error)}
    except chain.ChainError as error:
        answer = {"failed": f"cannot be read: {error}"}
    except Exception as error:  # pylint: disable=broad-except  # the libraries raise anything for what is damaged
        answer = {"failed": f"cannot be read ({type(error).__name__}): what is on it may be damaged"}
    json.dump(answer, sys.stdout)
