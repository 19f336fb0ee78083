# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What a source of addresses is. The next one is one file with a class like these, and a line in addresses.SOURCES."""

from __future__ import annotations

import abc
import typing as t

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import Reading
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm


class Host:
    """What sources know of the KVM host: libvirt's connection, its URI, and the folder on the host that is ours to use.

    shared: what several sources use together, by its name.
    """

    def __init__(self, connection: t.Any, uri: str, image_dir: str) -> None:
        self.connection = connection
        self.uri = uri
        self.image_dir = image_dir
        self.shared: dict[str, t.Any] = {}


class Answer(t.NamedTuple):
    """readings: all that the source knows of the VM's addresses. Where there are none, reason and message may say why.

    message: goes on after the VM's name and a colon. reason: None leaves it to the other sources to say one.
    lasting: nothing else will be said until the VM is started anew.
    """

    readings: tuple[Reading, ...] = ()
    reason: t.Optional[str] = None
    message: t.Optional[str] = None
    lasting: bool = False


class AddressSource(abc.ABC):
    """One source, for one connection. Threads ask it, several VMs at once."""

    #: Its word in the option `sources`.
    name: str
    #: Whether its failure is told also where another source has failed before it.
    told = False

    def __init__(self, host: Host) -> None:
        self.host = host

    @abc.abstractmethod
    def ask(self, vm: Vm, timeout: float) -> Answer:
        """The answer for one running VM. Raises libvirtError; timeout (seconds) is also kept by whoever calls."""

    def meaning(self, vm: Vm, error: t.Any) -> tuple[str, str] | None:
        """Reason and message for a libvirtError of ask() that means something special here."""
        return None

    def forget(self) -> None:  # noqa: B027  # most remember nothing
        """A new round over the VMs begins: what was remembered for the last one no longer holds."""

    def close(self) -> None:  # noqa: B027
        """Ends what was started."""
