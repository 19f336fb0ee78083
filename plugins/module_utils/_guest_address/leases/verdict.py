# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Which of the leases on a guest's disk count: those of this start of the guest that have not run out.

A cloned disk carries its parent's lease until the first renewal, and a stopped guest's disk its last one. A lease from before
the start therefore never counts. All times are the guest's own, so its clock need not be right.
"""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import Reading

if t.TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.lease import Lease

# Seconds: times on disks are cut to whole seconds, and a lease's beginning is computed from two of them.
SLACK = 3
# A guest whose clock is this much ahead of ours or more is not asked whether its lease has run out by our clock.
_SKEW = 300


class Verdict(t.NamedTuple):
    """readings: newest lease first; problem: why there is none, one sentence, None if there are some."""

    readings: tuple[Reading, ...]
    problem: t.Optional[str] = None


def judge(leases: Sequence[Lease], started: float | None, macs: Collection[str], now: float) -> Verdict:
    """macs: of the VM's NICs. started: of the guest, by its own clock; None: unknown. now: by ours."""
    if not leases:
        return Verdict((), "there is no lease on its disk")
    problem = None
    fresh = []
    for lease in leases:
        why = _why_not(lease, started, macs, now)
        if why is None:
            fresh.append(lease)
        else:
            problem = problem or why
    if not fresh:
        return Verdict((), problem)
    fresh.sort(key=lambda lease: lease.obtained or 0, reverse=True)
    newest: dict[object, Lease] = {}
    for lease in fresh:
        # An interface that changed its client has leases of both; two interfaces never share an address.
        newest.setdefault(lease.interface or lease.mac or lease.address, lease)
    return Verdict(tuple(Reading((lease.address,), mac=lease.mac, interface=lease.interface) for lease in newest.values()))


def _why_not(lease: Lease, started: float | None, macs: Collection[str], now: float) -> str | None:
    text = f"the lease of {lease.address} on its disk ({lease.client})"
    if lease.mac is not None and lease.mac not in macs:
        return f"{text} is another machine's: a cloned disk keeps its parent's lease until the guest has its own"
    if started is None:
        if lease.mac is None:
            return f"nothing on its disk tells whether {text[4:]} is from before the guest was started"
    elif lease.obtained is None or lease.obtained < started - SLACK:
        return f"{text} is from before the guest was started; the guest has no newer one yet"
    if lease.expires is not None and lease.expires < now - _SKEW:
        return f"{text} has run out"
    return None
