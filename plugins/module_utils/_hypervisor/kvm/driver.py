# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""KVM through libvirt: one connection and its parts."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import workers as bounded
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    Hypervisor,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import agent_files
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.addresses import KvmAddresses
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.drives import KvmDrives
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.events import KvmEvents
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.host import Host
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.images import KvmImages
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.inventory import KvmInventory
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.links import Links
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.machines import KvmMachines
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.networks import KvmNetworks
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.session import close_connection, open_connection

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm


def connect(description: Mapping[str, t.Any]) -> KvmHost:
    """A connection to the libvirtd that description['uri'] names, within description['connect_timeout'] seconds."""
    connection = open_connection(description)
    links = Links(connection, lambda: open_connection(description))
    image_dir = str(description.get("image_dir") or _defaults.IMAGE_DIR)
    return KvmHost(Host(links, description["uri"], image_dir, description.get("cd_bus") or None))


class KvmHost(Hypervisor):
    """See api.Hypervisor."""

    type = "kvm"

    def __init__(self, host: Host) -> None:
        self.endpoint = host.endpoint
        self._host = host
        self.inventory = KvmInventory(host)
        self.addresses = KvmAddresses(host.connection, host.endpoint, host.image_dir)
        self.drives = KvmDrives(host.connection, host.endpoint, host.image_dir, host.cd_bus)
        self.machines = KvmMachines(host, self.drives)
        self.events = KvmEvents(host)
        self.networks = KvmNetworks(host)
        self.images = KvmImages(host)

    def guest_files(
        self, vms: Sequence[Vm], paths: Sequence[str], workers: int, timeout: float
    ) -> dict[str, dict[str, bytes | None]]:
        """See api.Hypervisor."""
        asked = bounded.each(lambda vm: agent_files.read(vm, paths, timeout), vms, workers, 3 * timeout * len(paths))
        return {vm.id: files or {} for vm, files, _error in asked}

    def close(self) -> None:
        """See api.Hypervisor."""
        self.addresses.close()
        self._host.links.close()
        close_connection(self._host.connection)
