# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Files of a guest, read through its QEMU guest agent, which runs nothing for it."""

from __future__ import annotations

import base64
import json
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt, libvirt_qemu

if t.TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm

# Where our scripts for Windows write what those for Linux write at the place that is asked for.
ON_WINDOWS = {_defaults.DRIVE_SEEN: r"C:\Program Files\ConfigDrive\state\drive-seen"}
MAX_SIZE = 8192  # bytes of a file; the rest of it is left
_LONGEST_REPLY = 4 * MAX_SIZE


def read(vm: Vm, paths: Sequence[str], timeout: float) -> dict[str, bytes | None]:
    """See api.Hypervisor.guest_files(). An agent that refuses, hangs or talks nonsense is not asked for the paths left."""
    found: dict[str, bytes | None] = {}
    try:
        for path in paths:
            found[path] = _file(vm, path, timeout)
    except (libvirt.libvirtError, ValueError, LookupError, TypeError, RecursionError):
        pass
    return found


def _file(vm: Vm, path: str, timeout: float) -> bytes | None:
    try:
        handle = _ask(vm, timeout, "guest-file-open", path=path, mode="r")
    except libvirt.libvirtError as error:
        if "No such file" in str(error):
            return None
        # The agent for Windows says why in the language of its system (qga/commands-win32.c), that for Linux with the mode.
        if path in ON_WINDOWS and "failed to open file" in str(error) and "(mode:" not in str(error):
            return _file(vm, ON_WINDOWS[path], timeout)
        raise
    if not isinstance(handle, int):
        raise TypeError("a handle is a number")
    try:
        content = _ask(vm, timeout, "guest-file-read", handle=handle, count=MAX_SIZE)
    finally:
        _ask(vm, timeout, "guest-file-close", handle=handle)
    return base64.b64decode(content["buf-b64"], validate=True)[:MAX_SIZE]


def _ask(vm: Vm, timeout: float, command: str, **arguments: t.Any) -> t.Any:
    text = json.dumps({"execute": command, "arguments": arguments})
    reply = libvirt_qemu.qemuAgentCommand(vm.handle, text, max(1, int(timeout)), 0)
    if len(reply) > _LONGEST_REPLY:
        raise ValueError("too long")
    return json.loads(reply)["return"]
