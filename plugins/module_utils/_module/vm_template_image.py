# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Body of the module vm_template_image."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import posixpath
import re
import shutil
import stat
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template import chroot, customize, image
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.formats import RAW, ImageError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.steps import INSTALL, Job, Step
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import qemu_img
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.template_options import wanted_of

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible.module_utils.basic import AnsibleModule

CUSTOMIZE, CHROOT = "virt_customize", "chroot"
_SERVICE = re.compile(r"[A-Za-z0-9@._-]+")


def run_module(module: AnsibleModule) -> None:
    """Makes the image's system a template if it is none yet, and ends the module with what was done."""
    params = module.params
    path = os.path.realpath(params["image"])
    job = _job(module)
    init = None if params["init"] == "auto" else params["init"]
    try:
        with _alone(path):
            form = image.need_own(path, None if params["image_format"] == "auto" else params["image_format"])
            steps = image.plan(path, form, job, init)
            method = _method(params["method"])
            said = [step.sentence for step in steps]
            if steps and not module.check_mode:
                said = _carry_out(module, path, form, job, init, steps, method)
    except (ImageError, chroot.Failed) as error:
        module.fail_json(msg=f"image {params['image']}: {error}")
    except OSError as error:
        module.fail_json(msg=f"image is {params['image']}: {error.strerror}")
    module.exit_json(
        changed=bool(steps),
        done=said,
        method=method if steps else None,
        diff={"before": "", "after": "".join(f"{line}\n" for line in said)},
    )


def _job(module: AnsibleModule) -> Job:
    params = module.params
    files = {}
    for entry in params["files"]:
        path = posixpath.normpath(entry["path"])
        if not path.startswith("/") or "\0" in path or "\n" in path:
            module.fail_json(msg=f"files has the path {entry['path']!r}: it must be one from the image's root, beginning with /")
        if not re.fullmatch(r"0?[0-7]{3}", entry["mode"]):
            module.fail_json(msg=f"files has the mode {entry['mode']!r} for {path}: it must be like 0755")
        files[path.lstrip("/")] = (entry["content"], int(entry["mode"], 8))
    for name in params["services"]:
        if not _SERVICE.fullmatch(name):
            module.fail_json(msg=f"services has {name!r}, which is no name of a service")
    return Job(wanted_of(module), files, tuple(params["services"]), params["install"])


def _method(asked: str) -> str:
    if asked != "auto":
        return asked
    return CUSTOMIZE if shutil.which("virt-customize") else CHROOT


@contextlib.contextmanager
def _alone(path: str) -> Iterator[None]:
    """Keeps other runs from the image, and deletes what a killed run left beside it. Raises ImageError."""
    with open(path, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ImageError("is no file")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ImageError("is being prepared by another run") from None
        for left in glob.glob(glob.escape(_beside(path, "")) + "*"):
            with contextlib.suppress(OSError):
                os.unlink(left)
        yield


def _beside(path: str, name: str) -> str:
    folder, base = os.path.split(path)
    return os.path.join(folder, f".{base}.vm-template.{name}")


def _carry_out(
    module: AnsibleModule, path: str, form: str, job: Job, init: str | None, steps: list[Step], method: str
) -> list[str]:
    """Does the steps on a copy, which then replaces the image; returns a sentence for each."""
    timeout = module.params["timeout"]
    raw = RAW if method == CHROOT else form
    copy, ready = _beside(path, "copy"), _beside(path, "ready")
    try:
        qemu_img.convert(qemu_img.source(form, path), raw, copy)
        if method == CHROOT:
            done = chroot.run(copy, job, init, timeout)
        else:
            done = _customize(copy, raw, job, init, steps, timeout)
        if raw != form:
            qemu_img.convert(qemu_img.source(raw, copy), form, ready)
        else:
            os.rename(copy, ready)
        before = os.stat(path)
        os.chmod(ready, stat.S_IMODE(before.st_mode))
        if os.geteuid() == 0:
            os.chown(ready, before.st_uid, before.st_gid)
        os.rename(ready, path)
        return done
    finally:
        for left in (copy, ready):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(left)


def _customize(copy: str, form: str, job: Job, init: str | None, steps: list[Step], timeout: float) -> list[str]:
    done = []
    for _attempt in range(2):
        # Packages come first: what they bring decides what is left to do.
        installs = [step for step in steps if step.do == INSTALL]
        customize.run(copy, form, installs or steps, timeout)
        done += [step.sentence for step in installs or steps]
        if not installs:
            break
        steps = image.plan(copy, form, job, init)
        if any(step.do == INSTALL for step in steps):
            raise chroot.Failed(f"{', '.join(installs[0].words)}: installed, and still not there")
        if not steps:
            break
    return done
