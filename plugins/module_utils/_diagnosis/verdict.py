# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""All checks of one VM, and the one sentence that they come to."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis.checks import CHECKS
from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis.facts import (
    FAILED,
    OK,
    STATUSES,
    UNKNOWN,
    WARNING,
)

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis.facts import Finding, SiteFacts, VmFacts

# Checks of which one that fails leaves nothing for the others to say.
_FINAL = ("hypervisor", "vm")
# What is no fault by itself: it is told, and does not make a VM's status.
_ASIDE = ("source",)
# About the site: they explain why a VM's address is not known, and are no fault of one whose addresses are.
_SITE = ("last_look", "lock")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """status: the worst of the findings; check: the one that explains most; findings: all of them, in the order of causes."""

    status: str
    check: str | None
    message: str
    next_step: str | None
    findings: tuple[Finding, ...]


def diagnose(site: SiteFacts, vm: VmFacts) -> Verdict:
    """Goes through all checks of one VM."""
    findings: list[Finding] = []
    for check in CHECKS:
        found = list(check(site, vm))
        findings += found
        if any(one.check in _FINAL and one.status == FAILED for one in found):
            break
    settled = bool(vm.nics) and all(one.recorded is not None and one.recorded.state == "found" for one in vm.nics)
    aside = (*_ASIDE, *_SITE) if settled else _ASIDE
    telling = [one for one in findings if one.check not in aside and not cannot_be_seen(one)]
    for status in (FAILED, WARNING, UNKNOWN):
        worst = next((one for one in telling if one.status == status), None)
        if worst is not None:
            others = sum(one.status == status for one in telling) - 1
            more = f" ({others} more below)" if others else ""
            return Verdict(status, worst.check, worst.message + more, worst.next_step, tuple(findings))
    addresses = ", ".join(
        sorted({text for one in vm.nics for text in [one.address or (one.recorded and one.recorded.address)] if text})
    )
    return Verdict(
        OK, None, f"nothing is wrong; {f'it has {addresses}' if addresses else 'no address was asked for'}", None, tuple(findings)
    )


def cannot_be_seen(one: Finding) -> bool:
    """Whether it tells only that nobody outside of the guest can tell: true of most VMs, and no fault of any."""
    return one.check == "scripts" and one.status == UNKNOWN


def worst_first(verdicts: list[tuple[VmFacts, Verdict]]) -> list[tuple[VmFacts, Verdict]]:
    """What needs a person first, then by name."""
    return sorted(verdicts, key=lambda pair: (STATUSES.index(pair[1].status), pair[0].name))
