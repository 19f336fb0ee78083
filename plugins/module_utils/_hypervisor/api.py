# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The one interface behind which the hypervisors differ.

`connect.open_hypervisor()` returns an object with these methods. Drivers know no database and no Ansible.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import MAX_NAME, plain, plain_name

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import Reading

POWER_RUNNING = "running"
POWER_STOPPED = "stopped"
POWER_PAUSED = "paused"
POWER_SUSPENDED = "suspended"


class HypervisorError(Exception):
    """Something a user can cause or must know; the message names the endpoint or the VM and the way out.

    Never carries a secret; modules show it without a traceback.
    """


class HypervisorUnreachable(HypervisorError):
    """No connection, login refused, or the connection broke and one clean new try failed."""


class VmNotFound(HypervisorError):
    """No VM of that name, or more than one."""


class DriveError(HypervisorError):
    """The config drive of one VM could not be read, put, moved or removed; other VMs are not affected."""


class MissingLibrary(HypervisorError):
    """A driver's Python library is not installed on the controller."""

    def __init__(self, library: str, url: str, traceback: str | None) -> None:
        super().__init__(f"the Python library {library} is needed ({url})")
        self.library = library
        self.url = url
        self.traceback = traceback


@dataclasses.dataclass(frozen=True)
class Nic:
    """device: position on the VM, counted from 0; mac: lower case with colons; network: bridge, network or port group."""

    device: int
    mac: str
    network: str | None = None

    def __post_init__(self) -> None:
        if self.network is not None:
            object.__setattr__(self, "network", plain(self.network, MAX_NAME))


@dataclasses.dataclass(frozen=True)
class Vm:
    """One VM. id is the hypervisor's UUID in lower case; handle is the driver's own and nobody else's.

    name: made plain here, whatever the driver gives (see _text.plain_name): tenants choose it. A driver that needs the name as
    the hypervisor has it takes it from its handle.
    """

    name: str
    id: str
    power_state: str
    nics: tuple[Nic, ...] = ()
    handle: t.Any = dataclasses.field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", plain_name(self.name, self.id))


@dataclasses.dataclass(frozen=True)
class VmList:
    """vms in the order asked (or by name); problems: one sentence for each name not found or found more than once.

    ambiguous: those of the names with a problem that fit several VMs. Where all VMs are listed each of them is in vms.
    """

    vms: tuple[Vm, ...]
    problems: dict[str, str] = dataclasses.field(default_factory=dict)
    ambiguous: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Observation:
    """What the sources said about one VM: readings of the first source that gave a usable one, or a reason."""

    vm: Vm
    readings: tuple[Reading, ...] = ()
    source: str | None = None
    reason: str | None = None
    message: str | None = None

    def __post_init__(self) -> None:
        if self.message is not None:
            object.__setattr__(self, "message", plain(self.message))  # it may quote the guest


@dataclasses.dataclass(frozen=True)
class DriveState:
    """The config drive of one VM as it is now.

    location: where its ISO is or would be, the way the hypervisor writes it.
    slot: the CD/DVD drive it is or would be in (libvirt target, VBD userdevice, VMware device label).
    file_exists, attached: of this VM's ISO; attached is true only if the drive holds exactly that file.
    sha256, size: of the ISO's bytes where the hypervisor can tell, else None.
    owner: the VM id in the ISO's owner mark; None if there is no file or no mark.
    can_attach_now: False when the VM must be shut down and started before the guest can see a drive.
    problem: why the drive cannot be put (a foreign file in its place, no free slot, ...); None if it can.
    """

    location: str
    slot: str | None = None
    file_exists: bool = False
    attached: bool = False
    sha256: str | None = None
    size: int | None = None
    owner: str | None = None
    can_attach_now: bool = True
    problem: str | None = None


@dataclasses.dataclass(frozen=True)
class DriveChange:
    """What put, move or remove did; restart_required: the guest sees it only after a power cycle."""

    changed: bool
    location: str
    slot: str | None = None
    restart_required: bool = False
    message: str | None = None


class Hypervisor(t.Protocol):
    """One connection to one hypervisor (a KVM host, a XenServer pool, a vCenter or ESXi host)."""

    type: str  # kvm | xenserver | vmware
    endpoint: str  # for messages; no secret in it
    sources: tuple[str, ...]  # those this hypervisor has; the caller asks for no others
    default_sources: tuple[str, ...]
    moves_vms: bool  # move_config_drive() migrates the VM as well, with or without a drive

    def vms(self, names: Sequence[str] | None = None) -> VmList:
        """All VMs (no templates, no snapshots) or the named ones, in a fixed number of round trips where possible."""

    def addresses(self, vms: Sequence[Vm], sources: Sequence[str], workers: int, timeout: float) -> Iterator[Observation]:
        """One Observation per VM, as they arrive; never raises for one VM. timeout: seconds per VM and source."""

    def config_drives(self, vms: Sequence[Vm]) -> dict[str, DriveState | DriveError]:
        """State of each VM's drive by VM id; reads only. An error of one VM is a value, not an exception."""

    def read_config_drive(self, vm: Vm) -> bytes | None:
        """The bytes of this VM's ISO, or None if there is none. At most _config_drive.image.MAX_SIZE."""

    def put_config_drive(self, vm: Vm, iso: bytes) -> DriveChange:
        """Makes the VM have exactly these bytes as its drive. Idempotent; the guest never sees half a file.

        The caller has looked at config_drives(); a foreign file or a missing slot raises DriveError before any change.
        """

    def remove_config_drive(self, vm: Vm) -> DriveChange:
        """Ejects and deletes the VM's ISO; a missing one is no error. Never touches a file with another owner."""

    def move_config_drive(self, vm: Vm, destination: str) -> DriveChange:
        """Brings the ISO along when the VM moves to another host or datastore; resumable."""

    def close(self) -> None:
        """Ends the session. Safe to call twice."""


class Watching(t.Protocol):
    """What the drivers of VMware and XenServer can do beyond a Hypervisor; no module uses it yet."""

    def watch(self, vms: Sequence[Vm], timeout: float) -> Iterator[Observation]:
        """Observations pushed by the hypervisor until timeout (seconds) is over."""
