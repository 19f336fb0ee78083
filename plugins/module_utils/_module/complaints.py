# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Sentences on what a user wants a look to fail for (option fail_on), although the look itself went well."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import iso
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import first_of

if t.TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import LookNote, NicRecord

STALE_LOOKS = 3  # intervals without a good look


def complaints(fail_on: Sequence[str], gave_up: Sequence[NicRecord], lost: Sequence[NicRecord], old: Sequence[str]) -> list[str]:
    """A sentence for each kind of complaint in fail_on that there is a cause for. old: the sentences of stale()."""
    found = []
    needed = [nic for nic in gave_up if nic.required]
    if "gave_up" in fail_on and needed:
        found.append(f"given up: {_named(needed)}")
    if "lost" in fail_on and lost:
        found.append(f"address lost: {_named(lost)}")
    return found + (list(old) if "stale" in fail_on else [])


def stale(notes: Sequence[LookNote], now: datetime.datetime) -> list[str]:
    """A sentence for each hypervisor without a good look for STALE_LOOKS of its intervals."""
    found = []
    for note in notes:
        since = note.good_at
        if since is not None and (now - since).total_seconds() <= STALE_LOOKS * note.interval_seconds:
            continue
        if since is None and note.problem is None:
            continue
        when = (
            "has never been looked at without a problem"
            if since is None
            else f"was last looked at without a problem at {iso(since)}"
        )
        way_out = note.problem or "if it is gone or renamed, give vm_nic_record its hypervisor_name with state: retired"
        found.append(f"the hypervisor {note.name} {when}: {way_out}")
    return found


def _named(nics: Sequence[NicRecord]) -> str:
    return first_of([f"{nic.vm_name} NIC {nic.device} ({nic.last_reason})" for nic in nics])
