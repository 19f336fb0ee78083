# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""VMs made of disk images; not here yet."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template import formats
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import MachineError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.images import Images

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.images import ImageWanted


class VMwareImages(Images):
    """See images.Images."""

    forms = (formats.STREAM_VMDK,)
    buses = ("sata", "ide")
    drivers = ("vmw_pvscsi", "vmxnet3")

    def is_made(self, vm: Vm) -> bool:
        """See images.Images. Clones are no templates."""
        return vm.ours and vm.is_template

    def make(self, wanted: ImageWanted, change: bool) -> str:
        """See images.Images."""
        raise MachineError("a template cannot be made of an image on VMware yet: import the image with its own tools")
