# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Whose a drive is, decided and worded once for folders and all hypervisors.

A drive built here carries the id of its VM (its owner mark), or none if it was built for none. A file in the place of a VM's drive
is foreign if it does not carry this VM's id. Nobody touches a foreign file but for a caller that says so (take_over), and then only
if it is a config drive.
"""

from __future__ import annotations


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
