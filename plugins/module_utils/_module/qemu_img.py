# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Disk images in another format, made by qemu-img, which is given the image alone and follows no name in it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template import formats
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.formats import ImageError

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.formats import DiskImage

INSTALL = "install it: package qemu-utils on Debian and Ubuntu, qemu-img on Fedora, RHEL, SUSE and Alpine"
# An image of some hundred gigabytes on a slow disk; one that takes longer was made to.
SECONDS = 4 * 3600
# What qemu calls the formats, and how it is to write those that have several kinds.
_NAMES = {
    formats.RAW: "raw",
    formats.FIXED_VHD: "raw",
    formats.QCOW2: "qcow2",
    formats.VHD: "vpc",
    formats.VMDK: "vmdk",
    formats.STREAM_VMDK: "vmdk",
}
_OPTIONS = {
    formats.VHD: ("-o", "subformat=dynamic,force_size=on"),  # else the disk has as many bytes as some cylinders
    formats.STREAM_VMDK: ("-o", "subformat=streamOptimized,adapter_type=lsilogic"),
}


@contextlib.contextmanager
def image_errors(module: AnsibleModule) -> Iterator[None]:
    """What is wrong with the module's option image, or with its file, ends the module."""
    try:
        yield
    except ImageError as error:
        module.fail_json(msg=f"image {module.params['image']} {error}")
    except OSError as error:
        module.fail_json(msg=f"image is {module.params['image']}: {error.strerror or error}")


def need(image: DiskImage, forms: Sequence[str]) -> None:
    """Raises ImageError if the image has none of these formats and cannot be given one, for want of qemu-img."""
    if image.form not in forms and shutil.which("qemu-img") is None:
        raise ImageError(
            f"is {image.form}, and is converted to {forms[0]} with qemu-img, which is not on this machine: {INSTALL}"
        )


@contextlib.contextmanager
def in_form(module: AnsibleModule, image: DiskImage, forms: Sequence[str]) -> Iterator[DiskImage]:
    """The image if it has one of these formats, else a copy in the first of them, for the block. Raises ImageError, OSError.

    The copy is made beside the image, where there is room for images as a rule, if that can be written to. It has no name, so that it
    goes with this process, however that ends.
    """
    if image.form in forms:
        yield image
        return
    need(image, forms)
    folder = os.path.dirname(os.path.abspath(image.path))
    with tempfile.TemporaryFile(dir=folder if os.access(folder, os.W_OK) else module.tmpdir) as copy:
        convert(source(image.form, image.path, image.offset, image.length), forms[0], copy)
        yield formats.look_at(_path(copy), formats.VMDK if forms[0] == formats.STREAM_VMDK else forms[0])


def _path(file: t.IO[bytes]) -> str:
    """By which a file without a name is opened, here and in a child that it is passed to."""
    return f"/dev/fd/{file.fileno()}"


def source(form: str, path: str, offset: int = 0, length: int | None = None) -> str:
    """What qemu-img is to read, without what lies below an image."""
    part: dict[str, t.Any] = {"driver": "raw", "offset": offset, "file": {"driver": "file", "filename": path}}
    if length is not None:
        part["size"] = length
    return "json:" + json.dumps({"driver": _NAMES[form], "backing": None, "file": part})


def convert(what: str, form: str, dest: str | t.IO[bytes]) -> None:
    """A sparse copy of a source() in a format. dest: a file, or the path of a new one, for its owner alone. Raises ImageError."""
    program = shutil.which("qemu-img")
    if program is None:
        raise ImageError(f"is converted with qemu-img, which is not on this machine: {INSTALL}")
    if isinstance(dest, str):
        os.close(os.open(dest, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    path, passed = (dest, ()) if isinstance(dest, str) else (_path(dest), (dest.fileno(),))
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # run_command() has no time limit
            [program, "convert", "-q", "-O", _NAMES[form], *_OPTIONS.get(form, ()), what, path],
            pass_fds=passed,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ImageError(f"was not converted to {form} within {SECONDS} s") from None
    if done.returncode != 0:
        raise ImageError(f"could not be converted to {form}: {done.stderr.decode(errors='replace').strip()[:300]}")
