# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import types
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.model import Conflict
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_dns_records import warn_of


def test_conflicts_beyond_the_first_five_are_counted_in_one_warning() -> None:
    told: list[str] = []
    module = t.cast("t.Any", types.SimpleNamespace(warn=told.append))
    warn_of(module, [Conflict(t.cast("t.Any", None), "taken", f"conflict {number}") for number in range(7)])
    assert told == [*(f"conflict {number}" for number in range(5)), "and 2 more VMs or addresses without a name: see conflicts"]
