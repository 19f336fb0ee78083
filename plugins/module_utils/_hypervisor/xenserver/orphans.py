# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Config drives that no VM of a pool uses, in all of its ISO SRs."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.image import HEAD_SIZE, MAX_SIZE, read_owner
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import drive_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    DriveError,
    HypervisorError,
    HypervisorUnreachable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.drive_rules import OrphanDrive, OrphanList
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.drive_plan import DIGEST_KEY, OWNER_KEY
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import NULL

if t.TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.media import Media
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import Picture, Record


def find(picture: Picture, media: Media, elsewhere: Collection[str]) -> OrphanList:
    """See api.Drives.orphans()."""
    picture.refresh()
    skipped: list[str] = []
    srs = []
    for ref, sr in picture.records["sr"].items():
        if sr["content_type"] != "iso":
            continue
        if any(map(picture.live, picture.sr_hosts(ref))):
            srs.append(ref)
        else:
            skipped.append(f"{_label(sr)} is plugged on no host that is up: what is in it cannot be told")
    media.verify(srs)
    picture.refresh()
    here = {vm["uuid"].lower() for vm in picture.records["vm"].values() if not vm["is_control_domain"]}
    drives = []
    for ref in srs:
        broken = media.broken(ref)
        if broken is not None:
            skipped.append(f"{_label(picture.records['sr'][ref])}: {broken}")
            continue
        for vdi, owner in _marked(picture, media, ref, skipped):
            found = drive_rules.Found(owner, _is_used(picture, vdi), *_place(picture, media, vdi, owner))
            verdict = drive_rules.orphan(found, here, elsewhere)
            if verdict is not None:
                drives.append(OrphanDrive(_location(picture, media, ref, vdi), owner, *verdict, handle=vdi))
    return OrphanList(tuple(sorted(drives, key=lambda drive: drive.location)), tuple(sorted(skipped)))


def delete(picture: Picture, media: Media, drive: OrphanDrive) -> bool:
    """One of api.Drives.delete_orphans(). Raises DriveError, XapiError."""
    picture.refresh()
    vdi = picture.get("vdi", drive.handle)
    if vdi is None:
        return False
    if _is_used(picture, drive.handle) or _owner(picture, media, drive.handle) != drive.owner:
        raise DriveError(f"{drive.location} was changed, or is used by a VM now: it was left")
    media.destroy(drive.handle)
    return True


def _marked(picture: Picture, media: Media, sr: str, skipped: list[str]) -> Iterator[tuple[str, str]]:
    """The VDIs of the SR that carry a mark, with the owners in it; skipped gets a sentence on those that cannot be read."""
    for ref in picture.records["sr"][sr]["VDIs"]:
        try:
            owner = _owner(picture, media, ref)
        except HypervisorUnreachable:
            raise
        except HypervisorError as error:
            skipped.append(f"{_location(picture, media, sr, ref)} could not be read: {error}")
            continue
        if owner is not None:
            yield ref, owner


def _owner(picture: Picture, media: Media, ref: str) -> str | None:
    """The owner of a VDI, by the mark in its bytes; by XAPI's record only if it was never written to the end."""
    vdi = picture.get("vdi", ref)
    if vdi is None or int(vdi["virtual_size"]) > MAX_SIZE:
        return None
    config = vdi["other_config"]
    if OWNER_KEY in config and DIGEST_KEY not in config:
        return config[OWNER_KEY]
    owner = read_owner(media.bytes(ref, HEAD_SIZE))
    return owner if OWNER_KEY not in config or config[OWNER_KEY] == owner else None


def _is_used(picture: Picture, ref: str) -> bool:
    """Whether a VM or snapshot has it in a CD drive. The control domain does not count: it has it while XAPI exports it."""
    for one in (picture.get("vdi", ref) or {"VBDs": ()})["VBDs"]:
        vbd = picture.get("vbd", one)
        vm = None if vbd is None or vbd["VM"] == NULL else picture.get("vm", vbd["VM"])
        if vm is not None and not vm["is_control_domain"]:
            return True
    return False


def _place(picture: Picture, media: Media, ref: str, owner: str) -> tuple[bool, bool]:
    """See drive_rules.Found: belongs, replaced."""
    vm = picture.vm_of(owner)
    if vm is None:
        return False, False
    drive = media.planner.drive_of(vm)
    return drive == ref, drive is not None and drive != ref


def _location(picture: Picture, media: Media, sr: str, ref: str) -> str:
    """The file with its folder and host, or with its SR if that is shared or plugged nowhere."""
    record = picture.records["sr"][sr]
    file = (picture.get("vdi", ref) or {"location": ref})["location"]
    hosts = picture.sr_hosts(sr)
    if record["shared"] or not hosts:
        return f"{_label(record)}: {file}"
    return f"{media.planner.host_label(hosts[0])}: {media.planner.location(sr, hosts[0], file)}"


def _label(sr: Record) -> str:
    return f"the repository {sr['name_label']} ({sr['uuid']})"
