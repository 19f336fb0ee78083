# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What to do about XAPI's errors, by their codes."""

from __future__ import annotations

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import XapiError

# Codes that a second run at the same moment leads to.
_RACE = "another run may be at work on this VM at the same moment: run the task again"
_HELD = "the guest holds the medium: unmount it there, or shut the VM down"
_ADVICE = {
    **dict.fromkeys(("HANDLE_INVALID", "VDI_IN_USE", "VDI_MISSING", "VBD_NOT_EMPTY", "DEVICE_ALREADY_EXISTS"), _RACE),
    "OTHER_OPERATION_IN_PROGRESS": "another operation is under way on this VM: run the task again when it has ended",
    "OPERATION_BLOCKED": (
        "somebody blocked this operation on the VM (blocked_operations): lift that first, if it is meant to be done"
    ),
    "DEVICE_DETACH_REJECTED": _HELD,
    "VBD_TRAY_LOCKED": _HELD,
    "RBAC_PERMISSION_DENIED": (
        "give hypervisor.username a higher role in XAPI: pool-operator is enough for everything, and docs/xenserver.md (Rights) "
        "tells what is enough for less"
    ),
}


def advice(error: Exception) -> str:
    """What to do about an error, as a clause to follow its text; empty if there is no advice."""
    known = _ADVICE.get(error.code) if isinstance(error, XapiError) else None
    return f"; {known}" if known else ""
