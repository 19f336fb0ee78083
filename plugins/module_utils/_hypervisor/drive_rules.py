# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Decisions on drives and their wording, for folders and all hypervisors: whose a drive is, and why one cannot be put or deleted.

A drive built here carries the id of its VM (its owner mark), or none if it was built for none. A file in the place of a VM's drive
is foreign if it does not carry this VM's id. It is touched only if the caller says so (take_over), and only if it is a config drive.
"""

from __future__ import annotations

import dataclasses
import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Collection

#: A staged file older than this many seconds is a left-over; a younger one may belong to a run that is at work now.
LEFTOVER_SECONDS = 3600.0


def foreign(location: str, owner: str | None) -> str:
    """Why a foreign file is not touched. owner: the id that it carries, None if it has none."""
    belongs = "no config drive of this collection" if owner is None else f"the config drive of the VM with id {owner}"
    return (
        f"{location} is {belongs}; make sure that no VM uses it and delete it, or rename the VM, or have a config drive replaced or"
        " deleted with take_over=true"
    )


def not_a_drive(location: str) -> str:
    """Why a file is not touched whatever the caller says."""
    return f"{location} is not a config drive: move it away, or choose another place"


def no_slot(way_out: str) -> str:
    """Why a drive cannot be put into a VM without a free slot. The first CD/DVD drive is for other media."""
    return f"it has no free CD/DVD drive after the first and no place for another one; {way_out}"


def restart_needed(vm_name: str) -> str:
    """The warning where a running VM cannot be given a slot: the file is in its place, and the guest cannot see it."""
    return (
        f"{vm_name} has no second CD/DVD drive, and none can be added while it runs: shut it down, run this again, start it (a reboot "
        "in the guest is not enough)"
    )


def seen_after_restart(vm_name: str, place: str) -> str:
    """The warning where a running VM is given a slot that it has from its next start. place: where, such as "at slot 2"."""
    return (
        f"{vm_name} runs without a CD/DVD drive for it; one was added {place}, and the guest will see it once the VM has been shut down "
        "and started (a reboot in the guest is not enough)"
    )


@dataclasses.dataclass(frozen=True)
class Found:
    """A file that carries our mark, as a driver found it.

    owner: the VM id in the mark. used: a VM has it in a slot. belongs: it is at the place of its VM's drive.
    replaced: a file at that place carries the same mark, so this one is a spare.
    age: seconds since it was written; None where the hypervisor cannot tell.
    """

    owner: str
    used: bool
    belongs: bool
    replaced: bool
    age: float | None = None


#: Where the VM of an orphan is: on no hypervisor; on another one; here, with another drive (it was moved or renamed).
ORPHAN_VM_GONE = "vm_gone"
ORPHAN_ELSEWHERE = "elsewhere"
ORPHAN_LEFT_BEHIND = "left_behind"
ORPHAN_REASONS = (ORPHAN_VM_GONE, ORPHAN_ELSEWHERE, ORPHAN_LEFT_BEHIND)


@dataclasses.dataclass(frozen=True)
class OrphanDrive:
    """A config drive of this collection that no VM uses.

    location: as the hypervisor writes it. owner: the VM id in its mark. reason: one of ORPHAN_REASONS.
    kept: why it is not to be deleted; None if it can be. handle: the driver's own.
    """

    location: str
    owner: str
    reason: str
    kept: str | None = None
    handle: t.Any = dataclasses.field(default=None, compare=False, repr=False)


@dataclasses.dataclass(frozen=True)
class OrphanList:
    """skipped: one sentence for each place that could not be looked at."""

    drives: tuple[OrphanDrive, ...]
    skipped: tuple[str, ...] = ()


def orphan(file: Found, here: Collection[str], elsewhere: Collection[str]) -> tuple[str, str | None] | None:
    """Why a marked file is an orphan, and why it is kept all the same; None if it is no orphan. here, elsewhere: ids of VMs."""
    if file.used or file.belongs or (file.owner in here and not file.replaced):
        return None
    kept = None
    if file.age is not None and not is_left_over(file.age):
        kept = f"it is younger than {LEFTOVER_SECONDS / 60:g} minutes: its VM may be on its way here"
    if file.owner in here:
        return ORPHAN_LEFT_BEHIND, kept
    return (ORPHAN_ELSEWHERE if file.owner in elsewhere else ORPHAN_VM_GONE), kept


def is_unread(running: bool, unread: bool) -> bool:
    """Whether a drive must stay in its slot because the guest may not have read it. unread: see api.DriveState."""
    return unread or not running


def is_left_over(age: float) -> bool:
    """Whether a staged file of this age (seconds) is deleted by the next run for its VM."""
    return age > LEFTOVER_SECONDS
