# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""VMware vSphere through pyVmomi: one session at a vCenter or a stand-alone ESXi host, and its parts."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    Hypervisor,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.addresses import VMwareAddresses
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.connection import endpoint_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.datacenters import Datacenters
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.drives import VMwareDrives
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.events import VMwareEvents
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.images import VMwareImages
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.inventory import VMwareInventory
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.machines import VMwareMachines
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.networks import VMwareNetworks
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import ObjectSpec, child_text
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.pyvmomi_import import IMPORT_TRACEBACK, vim
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm

_DRIVE_SEEN = f'config.extraConfig["{_defaults.DRIVE_SEEN_VMWARE}"]'


def connect(description: Mapping[str, t.Any]) -> VMware:
    """Logs in to the server that description['host'] names.

    What is not set comes from the environment variables that the VMware collections use (VMWARE_HOST, VMWARE_USER, ...).
    """
    if vim is None:
        raise MissingLibrary("pyVmomi", IMPORT_TRACEBACK, url="https://github.com/vmware/pyvmomi")
    return VMware(Session(endpoint_of(description)), description.get("datacenter"), description.get("folder"))


class VMware(Hypervisor):
    """See api.Hypervisor."""

    type = "vmware"
    id_in_firmware = False  # which tells config.uuid; the id is config.instanceUuid

    def __init__(self, session: Session, datacenter: str | None = None, folder: str | None = None) -> None:
        """datacenter, folder: only the VMs below are looked at; folder is a path such as V(/DC0/vm/web)."""
        self.endpoint = str(session.endpoint)
        self._session = session
        self.inventory = VMwareInventory(session, datacenter, folder)
        self.addresses = VMwareAddresses(session)
        self.events = VMwareEvents(session, self.inventory)
        datacenters = Datacenters(session)
        self.drives = VMwareDrives(session, datacenters)
        self.machines = VMwareMachines(session, self.drives, datacenters, datacenter, folder)
        self.networks = VMwareNetworks(session, datacenter)
        self.images = VMwareImages(session, datacenter, folder)

    def guest_files(
        self, vms: Sequence[Vm], paths: Sequence[str], workers: int, timeout: float
    ) -> dict[str, dict[str, bytes | None]]:
        """See api.Hypervisor. One question for all VMs, so that workers and timeout have nothing to limit."""
        if _defaults.DRIVE_SEEN not in paths or not vms:
            return {}
        ids = {vm.handle.reference: vm.id for vm in vms}
        found = self._session.run(lambda: self._session.retrieve([ObjectSpec("VirtualMachine", (_DRIVE_SEEN,), tuple(ids))]))
        told = {ids[one.name]: option for one in found if (option := one.properties.get(_DRIVE_SEEN)) is not None}
        return {vm_id: {_defaults.DRIVE_SEEN: child_text(option, "value").encode()} for vm_id, option in told.items()}

    def close(self) -> None:
        """See api.Hypervisor."""
        self.drives.close()
        self._session.close()
