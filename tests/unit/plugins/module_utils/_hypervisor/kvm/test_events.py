# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.events import KvmEvents


def test_a_guest_is_asked_for_a_minute_and_never_much_later_than_its_address_is_there() -> None:
    readings = (0.0, *KvmEvents.again)
    assert all(after - before <= max(0.2, before / 10) + 0.01 for before, after in itertools.pairwise(readings))
    assert 60 <= readings[-1] < 70 and len(readings) < 50
