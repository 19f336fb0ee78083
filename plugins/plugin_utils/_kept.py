# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What several looks of one task found, as one result."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.results import LOOK_LISTS, within


class Kept:
    """What all looks of a task found, not only the last: no more than `limit` entries, and how many are left out."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lists: dict[str, list[t.Any]] = {name: [] for name in LOOK_LISTS if name != "waiting"}
        self._omitted: dict[str, int] = {}

    def take(self, outcome: dict[str, t.Any]) -> None:
        """Adds what one look found."""
        for name, entries in self._lists.items():
            new = outcome.get(name) or []
            room = max(0, self.limit - len(entries))
            entries.extend(new[:room])
            left_out = len(new[room:]) + (outcome.get("omitted") or {}).get(name, 0)
            self._omitted[name] = self._omitted.get(name, 0) + left_out

    def told(self, last: dict[str, t.Any]) -> dict[str, t.Any]:
        """For the result of the task; who is waited for, the last look says."""
        waiting = (last.get("omitted") or {}).get("waiting", 0)
        lists, omitted = within(
            self.limit, {**self._lists, "waiting": last.get("waiting") or []}, {**self._omitted, "waiting": waiting}
        )
        return {**lists, "omitted": omitted}
