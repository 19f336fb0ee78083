# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What some files of a guest say. The guest wrote them: only what has the expected form is taken from them."""

from __future__ import annotations

import dataclasses
import json
import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._defaults import DRIVE_SEEN
from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis.facts import GuestFacts

if t.TYPE_CHECKING:
    from collections.abc import Collection, Mapping

MACHINE_ID = "/etc/machine-id"
SCRIPTS = "/usr/local/sbin/config-drive-boot.sh"
CLOUD_INIT = "/run/cloud-init/result.json"
FILES = (DRIVE_SEEN, MACHINE_ID, SCRIPTS, CLOUD_INIT)  # the first is the one that Windows guests may have

_ID = re.compile(rb"[0-9a-f]{32}\n?")
_SEEN = re.compile(rb"([01]) ([A-Za-z0-9._:-]{1,128})(?: ([0-9a-f]{64}|-))?\n?")
_DATASOURCE = re.compile(r"DataSource([A-Za-z0-9]{1,40})\b")


@dataclasses.dataclass(frozen=True)
class DriveSeen:
    """The confirmation of the guest scripts about the drive that they read last.

    failed: not all that is on it could be set. instance: its instance id. digest: of the drive whose password the guest has; None
    where the scripts set no password, or are too old to say it.
    """

    failed: bool
    instance: str | None = None
    digest: str | None = None


def drive_seen(told: bytes | None) -> DriveSeen | None:
    """What a confirmation says; None for anything that the scripts do not write."""
    parts = None if told is None else _SEEN.fullmatch(told)
    if parts is None:
        return None
    instance, digest = (None if part in (None, b"-") else part.decode() for part in parts.group(2, 3))
    return DriveSeen(parts[1] == b"1", instance, digest)


def why_unconfirmed(seen: DriveSeen | None, digests: Collection[str], booted: bool) -> str | None:
    """Why a guest is not known to have set the password of the drive with one of these digests; None if it has.

    booted: whether a start since the drive was put counts for a guest without a confirmation.
    """
    if seen is None:
        return None if booted else "its guest has not said that it read the drive, or not where that can be seen from here"
    if seen.digest is None or seen.digest not in digests:
        return "its guest has not said that it has set the password of this drive: its scripts have not read it yet, set none, or are older"
    return "its guest has read the drive, and could not set all that is on it" if seen.failed else None


def machine_id(files: Mapping[str, bytes | None]) -> bytes | None:
    """The guest's machine-id; None where it has none, or none that it keeps."""
    found = files.get(MACHINE_ID)
    return found.strip() if found is not None and _ID.fullmatch(found) else None


def guest_facts(files: Mapping[str, bytes | None]) -> GuestFacts | None:
    """files: by path, of FILES those that could be asked for, None for one that is not there. None where nothing can be told."""
    seen = files.get(DRIVE_SEEN)
    told = drive_seen(seen)
    if not all(path in files for path in FILES):
        # Where the hypervisor reads no files, its tools may have brought the confirmation.
        return None if told is None else GuestFacts(True, True, told.failed, told.instance, None)
    if seen is None and files[MACHINE_ID] is None:
        return None  # no Linux guest as we know it
    return GuestFacts(
        installed=files[SCRIPTS] is not None,
        seen=seen is not None,
        failed=None if told is None else told.failed,
        instance=None if told is None else told.instance,
        datasource=_datasource(files[CLOUD_INIT]),
    )


def _datasource(result: bytes | None) -> str | None:
    """Such as ConfigDrive; None while cloud-init is not there, or not done."""
    try:
        found = _DATASOURCE.match(json.loads(result or b"")["v1"]["datasource"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return found[1] if found else None
