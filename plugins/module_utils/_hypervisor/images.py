# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The part of a Hypervisor that makes VMs of disk images; see api."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import MachineError

if t.TYPE_CHECKING:
    from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class ImageWanted:
    """A VM that is to be the template of others, to be made of a disk image.

    path: of the image on this machine; form: raw or qcow2; size: bytes of the disk that is in it. network: of its NIC. bus: of its
    CD/DVD drives. memory: MiB; cpus: number. placement: see VmWanted.
    """

    name: str
    path: str
    form: str
    size: int
    network: str
    bus: str
    memory: int
    cpus: int
    efi: bool = False
    placement: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Images:
    """This one is of the hypervisors that cannot."""

    def make(self, wanted: ImageWanted, change: bool) -> str:
        """Makes a VM of a disk image, powered off and marked as ours, and gives its id. The caller has looked that there is none.

        change: False only checks. Raises MachineError, and what was made is undone.
        """
        raise MachineError(
            "a template cannot be made of an image on this type of hypervisor yet: import the image with its own tools"
        )
