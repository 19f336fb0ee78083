# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What is decided and worded once about drives, for folders and all hypervisors: whose one is, and what stands against it.

A drive built here carries the id of its VM (its owner mark), or none if it was built for none. A file in the place of a VM's drive
is foreign if it does not carry this VM's id. Nobody touches a foreign file but for a caller that says so (take_over), and then only
if it is a config drive.
"""

from __future__ import annotations

#: Staged files (a drive under a name of its own, until it is whole) that are older than this many seconds are a killed run's
#: left-over; younger ones may be a run's that is at work now.
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
    """What is to be done where a slot cannot be made in a VM that runs: the file is there, and the guest cannot see it."""
    return (
        f"{vm_name} has no second CD/DVD drive, and none can be added while it runs: shut it down, run this again, start it (a reboot "
        "in the guest is not enough)"
    )


def seen_after_restart(vm_name: str, place: str) -> str:
    """What is to be done where the slot is made for the next start of a VM that runs. place: where, such as "at slot 2"."""
    return (
        f"{vm_name} runs without a CD/DVD drive for it; one was added {place}, and the guest will see it once the VM has been shut down "
        "and started (a reboot in the guest is not enough)"
    )


def is_unread(running: bool, unread: bool) -> bool:
    """Whether a drive is to stay in its slot because the guest may not have read it: it has not been started with it.

    unread: the VM runs, and has not been started since the drive was put.
    """
    return unread or not running


def is_left_over(age: float) -> bool:
    """Whether a staged file of this age (seconds) is deleted by the next run for its VM."""
    return age > LEFTOVER_SECONDS
