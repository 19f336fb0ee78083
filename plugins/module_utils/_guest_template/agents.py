# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The guest agent of each hypervisor: its packages, files and services."""

from __future__ import annotations

import dataclasses
import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.system import System


@dataclasses.dataclass(frozen=True)
class Agent:
    """packages: by the distribution's id, else by its family, else by ''; without any it comes with the hypervisor's guest tools.
    files: one of them shows that the agent is installed. services: the names that distributions give its service.
    """

    packages: Mapping[str, tuple[str, ...]]
    files: tuple[str, ...]
    services: tuple[str, ...]

    def is_in(self, system: System) -> bool:
        """Whether it is installed."""
        return any(system.files.is_file(path) for path in self.files)

    def services_in(self, system: System) -> list[str]:
        """Those of its services that the system defines."""
        return [name for name in self.services if system.has_service(name)]

    def packages_for(self, system: System) -> tuple[str, ...]:
        """The packages to install; none if the distribution has none."""
        for name in (system.distribution, system.family, ""):
            if name in self.packages:
                return self.packages[name]
        return ()


AGENTS: Mapping[str, Agent] = {
    "kvm": Agent(
        {"": ("qemu-guest-agent",)},
        ("usr/sbin/qemu-ga", "usr/bin/qemu-ga"),
        ("qemu-guest-agent", "qemu-ga"),
    ),
    "vmware": Agent(
        # On Alpine the second package is what reports addresses.
        {"": ("open-vm-tools",), "alpine": ("open-vm-tools", "open-vm-tools-guestinfo")},
        ("usr/bin/vmtoolsd", "usr/sbin/vmtoolsd"),
        ("open-vm-tools", "vmtoolsd"),
    ),
    "xenserver": Agent(
        # RedHat: from Fedora or EPEL.
        {"ubuntu": ("xe-guest-utilities",), "RedHat": ("xe-guest-utilities-latest",), "alpine": ("xe-guest-utilities",)},
        ("usr/sbin/xe-daemon", "usr/sbin/xen-guest-agent", "usr/bin/xen-guest-agent"),
        ("xe-daemon", "xe-linux-distribution", "xe-guest-utilities", "xen-guest-agent"),
    ),
}
