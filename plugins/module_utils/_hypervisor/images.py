# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The part of a Hypervisor that makes VMs of disk images; see api."""

from __future__ import annotations

import abc
import dataclasses
import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.formats import DiskImage
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm


@dataclasses.dataclass(frozen=True)
class ImageWanted:
    """A VM that is to be the template of others, to be made of a disk image.

    image: on this machine, of one of Images.forms. source: its file's name. network: of its NIC. bus: one of Images.buses.
    memory: MiB; cpus: number. placement: see VmWanted.
    """

    name: str
    image: DiskImage
    source: str
    network: str
    bus: str
    memory: int
    cpus: int
    efi: bool = False
    placement: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Images(abc.ABC):
    """VMs made of disk images.

    forms: of images that the hypervisor takes; others are converted to the first. buses: of CD/DVD drives, the default first.
    drivers: Linux's, of the disk and the NIC that such a VM has.
    """

    forms: tuple[str, ...]
    buses: tuple[str, ...]
    drivers: tuple[str, ...]

    @abc.abstractmethod
    def is_made(self, vm: Vm) -> bool:
        """Whether make() has made this VM, as far as its marks tell."""

    def finish(self, vm: Vm, change: bool) -> bool:
        """Whether a run that was cut short left something undone of a VM that it made of an image; with change it is done.

        Raises MachineError. The default is for a hypervisor that finds such VMs when it makes them anew.
        """
        return False

    @abc.abstractmethod
    def make(self, wanted: ImageWanted, change: bool) -> str:
        """Makes a VM of a disk image, powered off and marked as ours, and returns its id. The caller has checked its name.

        change: False only checks; the id is empty. Raises MachineError, after what was made is undone.
        """
