# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.lease import Lease
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.verdict import judge

MAC = "52:54:00:6b:3c:58"
NOW = 1795712400.0


def lease(address: str = "10.0.0.5", **options: object) -> Lease:
    given: dict[str, object] = {"obtained": NOW - 10, "expires": NOW + 600}
    given.update(options)
    return Lease("dhclient", address, **given)  # type: ignore[arg-type]


def test_a_lease_of_this_start_counts():
    verdict = judge([lease()], NOW - 20, [MAC], NOW)
    assert verdict.problem is None and verdict.readings[0].addresses == ("10.0.0.5",)


@pytest.mark.parametrize(
    ("given", "started", "words"),
    [
        (None, NOW - 20, "no lease on its disk"),
        ({"obtained": NOW - 60}, NOW - 20, "before the guest was started"),
        ({"obtained": None}, NOW - 20, "before the guest was started"),
        ({"expires": NOW - 1000}, NOW - 20, "has run out"),
        ({"mac": "52:54:00:00:00:99"}, NOW - 20, "another machine's"),
        ({}, None, "nothing on its disk tells whether"),
    ],
)
def test_why_none_counts(given: dict[str, object] | None, started: float | None, words: str):
    verdict = judge([] if given is None else [lease(**given)], started, [MAC], NOW)
    assert verdict.readings == () and words in str(verdict.problem)


def test_a_lease_with_the_nics_mac_needs_no_start():
    assert judge([lease(mac=MAC)], None, [MAC], NOW).readings[0].mac == MAC


def test_of_one_interface_the_newest_counts_whatever_client_wrote_it():
    old, new = lease("10.0.0.5", interface="eth0", obtained=NOW - 15), lease("10.0.0.6", interface="eth0")
    other = lease("10.0.1.7", interface="eth1", obtained=NOW - 12)
    readings = judge([old, new, other], NOW - 20, [MAC], NOW).readings
    assert [reading.addresses for reading in readings] == [("10.0.0.6",), ("10.0.1.7",)]


@given(st.floats(0, 2e9), st.floats(0, 2e9), st.one_of(st.none(), st.floats(0, 2e9)))
def test_nothing_from_before_the_start_ever_counts(obtained: float, started: float, expires: float | None):
    verdict = judge([lease(obtained=obtained, expires=expires)], started, [MAC], NOW)
    assert not verdict.readings or obtained >= started - 3
