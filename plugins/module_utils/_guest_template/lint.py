# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""All checks of a template: what would go wrong in its clones, and why."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template import (
    cloud_init,
    drive,
    identity,
    intervals,
    network,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.agents import AGENTS
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.rules import Problem

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.rules import Check, Wanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.system import System


def agent(system: System, wanted: Wanted) -> Iterator[Problem]:
    """The guest agent must be there: without it the hypervisor knows no address, and cannot ask the guest to shut down."""
    if wanted.hypervisor is None:
        return
    found = AGENTS[wanted.hypervisor]
    if not found.is_in(system):
        packages = ", ".join(found.packages_for(system)) or "from its guest tools"
        message = f"no guest agent for {wanted.hypervisor} ({packages}): its address will be hard to learn"
        yield Problem("agent", message, "run the entry point linux or image")
        return
    services = found.services_in(system)
    if not any(system.starts(name) for name in services):
        names = ", ".join(services or found.services)
        message = f"the guest agent for {wanted.hypervisor} is there, but none of its services is enabled ({names}"
        yield Problem("agent_service", message + ")", "run the entry point linux or image")


def blank(system: System, _wanted: Wanted) -> Iterator[Problem]:
    """It must be a Linux system that can be read: otherwise no other check makes sense."""
    if not system.release:
        yield Problem(
            "system", "there is no /etc/os-release: this is no Linux system, or its root is not read", "check the image"
        )


ALWAYS: tuple[Check, ...] = (agent, intervals.agent_interval, *drive.CHECKS, *cloud_init.CHECKS, *network.CHECKS)


def problems(system: System, wanted: Wanted) -> list[Problem]:
    """All problems, in the order of the checks."""
    found = list(blank(system, wanted))
    if found:
        return found
    for check in ALWAYS + (identity.CHECKS if wanted.cleaned else ()):
        found += check(system, wanted)
    return found
