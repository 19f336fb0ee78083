# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Deletion of a VM with the disks that are its alone."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.flows import Call
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import NULL
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import XapiError

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.flows import Flow
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import Picture, Record

DESTROY_SECONDS = 1800.0


def destroy(picture: Picture, ref: str) -> Flow:
    """Destroys a VM that is powered off and its snapshots, each with its own disks.

    The VM is destroyed last, so that the next run can finish one that was cut short.
    """
    vm = picture.get("vm", ref)
    if vm is None:
        return
    for snapshot in vm["snapshots"]:
        yield from destroy(picture, snapshot)
    for vdi in own_disks(picture, ref, vm)[0]:
        yield from _unless_gone(Call("VDI.destroy", (vdi,), DESTROY_SECONDS))
    yield from _unless_gone(Call("VM.destroy", (ref,), DESTROY_SECONDS))


def own_disks(picture: Picture, ref: str, vm: Record) -> tuple[list[str], list[tuple[str, str]]]:
    """VDIs that are the VM's alone, and (disk, VM) names for each disk that another VM has too.

    A disk in an ISO SR, or one that is sharable, is neither.
    """
    own: list[str] = []
    shared: list[tuple[str, str]] = []
    candidates = [vm["suspend_VDI"]]
    for one in vm["VBDs"]:
        vbd = picture.get("vbd", one)
        if vbd is not None and vbd["type"] == "Disk":
            candidates.append(vbd["VDI"])
    for one in candidates:
        vdi = picture.get("vdi", one)
        if vdi is None or vdi["sharable"] or (picture.get("sr", vdi["SR"]) or {"content_type": "iso"})["content_type"] == "iso":
            continue
        others = [user for user in _users(picture, vdi) if user != ref]
        if others:
            shared.extend((vdi["name_label"], _name(picture, user)) for user in others)
        elif one not in own:
            own.append(one)
    return own, shared


def _users(picture: Picture, vdi: Record) -> list[str]:
    """The VMs that have this disk, without control domains, which have it while XAPI exports it."""
    vbds = [picture.get("vbd", one) for one in vdi["VBDs"]]
    users = [vbd["VM"] for vbd in vbds if vbd is not None and vbd["VM"] != NULL]
    return [user for user in users if not (picture.get("vm", user) or {"is_control_domain": False})["is_control_domain"]]


def _name(picture: Picture, vm: str) -> str:
    record = picture.get("vm", vm)
    return record["name_label"] if record else vm


def _unless_gone(call: Call) -> Flow:
    try:
        yield call
    except XapiError as error:
        if error.code != "HANDLE_INVALID":
            raise
