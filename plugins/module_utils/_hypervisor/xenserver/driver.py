# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""XenServer and XCP-ng through XAPI: one session at a pool's master, and its parts."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    Hypervisor,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.addresses import XenAddresses
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.drives import XenDrives
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.events import XenEvents
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.images import XenImages
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.inventory import XenInventory
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.machines import XenMachines
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.networks import XenNetworks
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import INVENTORY, Picture
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import Session

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm


# The variables that XenServer's own clients and community.general read, for options that are not set.
_ENVIRONMENT = {"host": "XENSERVER_HOST", "username": "XENSERVER_USER", "password": "XENSERVER_PASSWORD"}


def connect(description: Mapping[str, t.Any]) -> XenPool:
    """Logs in at the pool's master. description['host'] names it, or any other host of the pool."""
    fallback = {option: os.environ.get(name) for option, name in _ENVIRONMENT.items() if not description.get(option)}
    description = {**description, **fallback}
    return XenPool(Session(description), description)


class XenPool(Hypervisor):
    """See api.Hypervisor."""

    type = "xenserver"

    def __init__(self, session: Session, description: Mapping[str, t.Any]) -> None:
        self._session = session
        # One look serves inventory.vms() and the addresses.read() after it: three calls in all, for any number of VMs.
        picture = Picture(session, INVENTORY)
        self._picture = picture
        self.inventory = XenInventory(session, picture)
        self.addresses = XenAddresses(picture)
        drives = XenDrives(session, description)
        self.drives = drives
        self.machines = XenMachines(session, drives)
        self.events = XenEvents(session, picture)
        self.networks = XenNetworks(session)
        self.images = XenImages(session)

    @property
    def endpoint(self) -> str:  # type: ignore[override]
        """https URL of the pool's master, which is another after a failover."""
        return self._session.endpoint

    def guest_files(
        self, vms: Sequence[Vm], paths: Sequence[str], workers: int, timeout: float
    ) -> dict[str, dict[str, bytes | None]]:
        """See api.Hypervisor. No guest is asked: what it wrote below vm-data is in the VM's record."""
        if _defaults.DRIVE_SEEN not in paths:
            return {}
        found: dict[str, dict[str, bytes | None]] = {}
        for vm in vms:
            told = ((self._picture.get("vm", vm.handle) or {}).get("xenstore_data") or {}).get(_defaults.DRIVE_SEEN_XENSTORE)
            if told is not None:
                found[vm.id] = {_defaults.DRIVE_SEEN: str(told).encode()}
        return found

    def close(self) -> None:
        """See api.Hypervisor."""
        self._session.close()
