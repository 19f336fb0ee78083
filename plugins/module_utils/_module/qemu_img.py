# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Conversion of disk images by qemu-img, which opens the image alone and follows no name of another file in it."""

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
SECONDS = 4 * 3600  # enough for some hundred gigabytes on a slow disk
# qemu's names of the formats, and its options for those that have several kinds.
_NAMES = {
    formats.RAW: "raw",
    formats.FIXED_VHD: "raw",
    formats.QCOW2: "qcow2",
    formats.VHD: "vpc",
    formats.VMDK: "vmdk",
    formats.STREAM_VMDK: "vmdk",
}
_OPTIONS = {
    formats.VHD: ("-o", "subformat=dynamic,force_size=on"),  # else the size is rounded to whole cylinders
    formats.STREAM_VMDK: ("-o", "subformat=streamOptimized,adapter_type=lsilogic"),
}


@contextlib.contextmanager
def image_errors(module: AnsibleModule) -> Iterator[None]:
    """Ends the module with an error of its option image, or of the file."""
    try:
        yield
    except ImageError as error:
        module.fail_json(msg=f"image {module.params['image']} {error}")
    except OSError as error:
        module.fail_json(msg=f"image is {module.params['image']}: {error.strerror or error}")


def need(image: DiskImage, forms: Sequence[str]) -> None:
    """Raises ImageError if the image must be converted to one of these formats and there is no qemu-img."""
    if image.form not in forms and shutil.which("qemu-img") is None:
        raise ImageError(
            f"is {image.form}, and is converted to {forms[0]} with qemu-img, which is not on this machine: {INSTALL}"
        )


@contextlib.contextmanager
def in_form(module: AnsibleModule, image: DiskImage, forms: Sequence[str]) -> Iterator[DiskImage]:
    """The image if it has one of these formats, else a copy in the first of them, for the block. Raises ImageError, OSError.

    The copy is made beside the image if possible, as there is usually room for images. It has no name, so it is gone when this
    process ends, however that happens.
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
    """The path of a file without a name, in this process and in a child that it is passed to."""
    return f"/dev/fd/{file.fileno()}"


def source(form: str, path: str, offset: int = 0, length: int | None = None) -> str:
    """A source for qemu-img: an image without those that it is based on. offset, length: its part of the file, in bytes."""
    part: dict[str, t.Any] = {"driver": "raw", "offset": offset, "file": {"driver": "file", "filename": path}}
    if length is not None:
        part["size"] = length
    return "json:" + json.dumps({"driver": _NAMES[form], "backing": None, "file": part})


def convert(what: str, form: str, dest: str | t.IO[bytes]) -> None:
    """Makes a sparse copy of a source() in this format. dest: a file, or the path of a new one (mode 0600). Raises ImageError."""
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
