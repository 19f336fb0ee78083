# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The report on a template's system, as data for JSON."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template import cloud_init, identity, intervals, lint
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.agents import AGENTS
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.system import System

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.files import Files
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.rules import Wanted


def report(files: Files, wanted: Wanted, init: str | None) -> dict[str, t.Any]:
    """The system's facts, its problems, and what cleaning would remove; see the module vm_template_info."""
    system = System(files, init)
    return {
        "system": _facts(system, wanted),
        "problems": [dict(dataclasses.asdict(item), paths=list(item.paths)[:50]) for item in lint.problems(system, wanted)],
        "leftovers": [f"/{path}" for path in identity.leftovers(system)][:500],
    }


def _facts(system: System, wanted: Wanted) -> dict[str, t.Any]:
    agent = None if wanted.hypervisor is None else AGENTS[wanted.hypervisor]
    return {
        "distribution": system.distribution or None,
        "version": system.release.get("VERSION_ID"),
        "family": system.family or None,
        "init": system.init,
        "settings_path": f"/{system.settings_path}",
        "kernels": sorted(system.kernels()),
        "cloud_init": cloud_init.is_in(system),
        "agent": None if agent is None else agent.is_in(system),
        "agent_services": [] if agent is None else agent.services_in(system),
        "agent_packages": [] if agent is None else list(agent.packages_for(system)),
        "agent_settings": [
            {"path": f"/{found.path}", "content": found.content, "mode": f"{found.mode:04o}"}
            for found in intervals.late(system, wanted)
            if found.content is not None
        ],
    }
