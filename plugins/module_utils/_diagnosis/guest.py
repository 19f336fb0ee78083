# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What some files of a guest say. The guest wrote them: only what has the expected form is taken from them."""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis.facts import GuestFacts

if t.TYPE_CHECKING:
    from collections.abc import Mapping

MACHINE_ID = "/etc/machine-id"
DRIVE_SEEN = "/var/lib/config-drive/drive-seen"
SCRIPTS = "/usr/local/sbin/config-drive-boot.sh"
CLOUD_INIT = "/run/cloud-init/result.json"
FILES = (MACHINE_ID, DRIVE_SEEN, SCRIPTS, CLOUD_INIT)

_ID = re.compile(rb"[0-9a-f]{32}\n?")
_SEEN = re.compile(rb"([01]) ([A-Za-z0-9._:-]{1,128})\n?")
_DATASOURCE = re.compile(r"DataSource([A-Za-z0-9]{1,40})\b")


def machine_id(files: Mapping[str, bytes | None]) -> bytes | None:
    """The guest's machine-id; None where it has none, or none that it keeps."""
    found = files.get(MACHINE_ID)
    return found.strip() if found is not None and _ID.fullmatch(found) else None


def guest_facts(files: Mapping[str, bytes | None]) -> GuestFacts | None:
    """files: by path, of FILES those that could be asked for, None for one that is not there. None where nothing can be told."""
    if not all(path in files for path in FILES):
        return None
    seen = files[DRIVE_SEEN]
    if seen is None and files[MACHINE_ID] is None:
        return None  # no Linux guest as we know it
    told = None if seen is None else _SEEN.fullmatch(seen)
    return GuestFacts(
        installed=files[SCRIPTS] is not None,
        seen=seen is not None,
        failed=None if told is None else told[1] == b"1",
        instance=None if told is None or told[2] == b"-" else told[2].decode(),
        datasource=_datasource(files[CLOUD_INIT]),
    )


def _datasource(result: bytes | None) -> str | None:
    """Such as ConfigDrive; None while cloud-init is not there, or not done."""
    try:
        found = _DATASOURCE.match(json.loads(result or b"")["v1"]["datasource"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return found[1] if found else None
