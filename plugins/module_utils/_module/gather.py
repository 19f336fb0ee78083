# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Hints gathered by VM: which VMs are to be read, and when. All times are given by the caller, in seconds of one clock."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HINT_GUEST, HINT_HERE, HINT_VM

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Hint

GATHER = 0.1  # seconds between the first hint and the reading, so that it has the VMs of later hints as well
MOST = 500  # VMs in one reading
# Between two lists of all VMs: this many times as long as the list took, and at least this many seconds.
LISTING_PART = 4
LISTING_PAUSE = 1.0


@dataclasses.dataclass(frozen=True)
class Wanted:
    """One VM to be read. kind: HINT_GUEST or HINT_HERE; since: when the hint came; due: when to read; step: readings so far."""

    kind: str
    since: float
    due: float
    step: int = 0


class Gather:
    """The VMs that hints have named, each once: the newest hint counts."""

    def __init__(self, again: Sequence[float] = ()) -> None:
        """again: seconds after a hint at which a VM whose address is still missing is read once more."""
        self.again = tuple(again)
        self._vms: dict[str, Wanted] = {}
        self._list_from = 0.0
        self._list_wanted: float | None = None  # since when

    def add(self, hints: Iterable[Hint], now: float) -> None:
        """Adds hints."""
        for vm_id, kind in hints:
            if kind == HINT_VM:
                self.want_list(now)
                continue
            old = self._vms.get(vm_id)
            due = now + GATHER if old is None else min(old.due, now + GATHER)
            if kind == HINT_HERE and old is not None:
                self._vms[vm_id] = dataclasses.replace(old, due=due)
            else:
                self._vms[vm_id] = Wanted(kind, now, due)

    def want_list(self, now: float) -> None:
        """Asks for a list of all VMs; see list_due()."""
        if self._list_wanted is None:
            self._list_wanted = now + GATHER

    def listed(self, began: float, ended: float) -> None:
        """Notes that all VMs were listed. A list that was asked for before it began is done."""
        if self._list_wanted is not None and self._list_wanted - GATHER <= began:
            self._list_wanted = None
        self._list_from = ended + max(LISTING_PAUSE, LISTING_PART * (ended - began))

    def list_due(self, now: float) -> bool:
        """Whether all VMs are to be listed now."""
        return self._list_wanted is not None and max(self._list_wanted, self._list_from) <= now

    def next(self) -> float | None:
        """The time of the next reading or list; None if there is none."""
        times = [one.due for one in self._vms.values()]
        if self._list_wanted is not None:
            times.append(max(self._list_wanted, self._list_from))
        return min(times, default=None)

    def take(self, now: float) -> dict[str, Wanted]:
        """Removes and returns the VMs to be read now; those due very soon are among them."""
        due = sorted((one.due, vm_id) for vm_id, one in self._vms.items() if one.due <= now + GATHER)
        if not due or due[0][0] > now:
            return {}
        return {vm_id: self._vms.pop(vm_id) for _due, vm_id in due[:MOST]}

    def put_back(self, taken: Mapping[str, Wanted], due: float) -> None:
        """Takes back VMs that could not be read, for the time `due`; a newer hint counts. No list is due before it either."""
        self._list_from = max(self._list_from, due)
        for vm_id, one in taken.items():
            self._vms.setdefault(vm_id, dataclasses.replace(one, due=due))

    def missed(self, vm_id: str, one: Wanted, now: float) -> None:
        """Notes that a VM was read without an address: it is read again as `again` says, if it does."""
        steps = [number for number, after in enumerate(self.again) if number >= one.step and one.since + after > now]
        if steps:
            again = dataclasses.replace(one, due=one.since + self.again[steps[0]], step=steps[0] + 1)
            self._vms.setdefault(vm_id, again)

    def later(self, vm_id: str, now: float, seconds: float) -> None:
        """Asks for another reading after so many seconds: its address must be unchanged for so long."""
        self._vms.setdefault(vm_id, Wanted(HINT_GUEST, now, now + seconds))

    def __len__(self) -> int:
        return len(self._vms)
