# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The one interface behind which the hypervisors differ: a Hypervisor and its parts.

`connect.open_hypervisor()` returns a Hypervisor. A driver is one folder beside this file, with a class for each part; drivers
know no database and no Ansible.
"""

from __future__ import annotations

import abc
import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import UserError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import workers as bounded
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import MAX_NAME, plain, plain_name

if t.TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import Reading
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.drive_rules import OrphanDrive, OrphanList
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.images import Images

POWER_RUNNING, POWER_STOPPED, POWER_PAUSED, POWER_SUSPENDED = "running", "stopped", "paused", "suspended"


class HypervisorError(UserError):
    """What a user can cause or must know about. The message names the endpoint or VM and the way out, and holds no secret."""


class HypervisorUnreachable(HypervisorError):
    """No connection, login refused, or the connection broke and one clean new try failed."""


class VmNotFound(HypervisorError):
    """No VM of that name, or more than one."""


class DriveError(HypervisorError):
    """The config drive of one VM could not be read, put, moved or removed; other VMs are not affected."""


class MachineError(HypervisorError):
    """One VM could not be created, started, stopped, migrated or deleted; other VMs are not affected."""


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
    """One VM.

    name: made plain here, whatever the driver gives (see _text.plain_name): tenants choose it. A driver that needs the name as
    the hypervisor has it takes it from its handle.
    id: the hypervisor's UUID in lower case. handle: the driver's own and nobody else's.
    boot_time: when it was started, in seconds since the epoch; None where reading it would cost another call.
    boot_token: where boot_time is None, a value that most restarts change and that stays while the VM runs; else None.
    ours: whether it carries the mark that machines.create() gives.
    is_template: a template is found only when it is asked for by name.
    folder, tags: see _text.plain_path(), plain_tags(); None where the hypervisor has no such thing, or it was not read.
    """

    name: str
    id: str
    power_state: str
    nics: tuple[Nic, ...] = ()
    handle: t.Any = dataclasses.field(default=None, compare=False, repr=False)
    boot_time: float | None = None
    boot_token: str | None = None
    ours: bool = False
    is_template: bool = False
    folder: str | None = None
    tags: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", plain_name(self.name, self.id))


@dataclasses.dataclass(frozen=True)
class VmList:
    """vms: in the order of the names asked for, else by name. problems: by name, why it stands for no VM, in a sentence.

    ambiguous: the names that fit several VMs; where all VMs are listed, vms has each of them all the same.
    """

    vms: tuple[Vm, ...]
    problems: dict[str, str] = dataclasses.field(default_factory=dict)
    ambiguous: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Observation:
    """What the sources said about one VM: readings of the first that gave a usable one, or a reason and a message without its name."""

    vm: Vm
    readings: tuple[Reading, ...] = ()
    source: str | None = None
    reason: str | None = None
    message: str | None = None

    def __post_init__(self) -> None:
        if self.message is not None:
            object.__setattr__(self, "message", plain(self.message))  # it may quote the guest


# What a hint is about. HERE: nothing happened; the VM is there, and its guest may have an address. GUEST: the addresses that the
# guest reports may have changed. VM: it was started, stopped, created, changed or deleted.
HINT_HERE, HINT_GUEST, HINT_VM = "here", "guest", "vm"


class Hint(t.NamedTuple):
    """Something happened to a VM; vm_id as in Vm."""

    vm_id: str
    kind: str


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
    ejected: the file is whole, and was taken out of its slot on purpose (Drives.eject()).
    unread: the VM has not been started since the drive was put, so its guest may not have read it; only inserted() sets it.
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
    ejected: bool = False
    unread: bool = False


@dataclasses.dataclass(frozen=True)
class DriveChange:
    """What put, move, eject or remove did; restart_required: the guest sees it only after a power cycle."""

    changed: bool
    location: str
    slot: str | None = None
    restart_required: bool = False
    message: str | None = None


@dataclasses.dataclass(frozen=True)
class NicWanted:
    """A NIC of a VM to be created. network: bridge, network or port group as the hypervisor names it; mac: None for a new one."""

    network: str
    mac: str | None = None


@dataclasses.dataclass(frozen=True)
class VmWanted:
    """A VM to be created from a template.

    nics: all that it is to have, in order; surplus NICs of the template are removed. None keeps the template's, with new MACs.
    full_clone: copies the disks; otherwise the clone shares the template's (a linked clone), where the storage can do that.
    memory: MiB; cpus: number; disk_size: bytes of the first disk. None keeps what the template has. A disk only grows.
    placement: the driver's own keys (docs of the module vm): host, cluster, resource_pool, folder, datastore, storage_pool, ...
    """

    name: str
    template: str
    nics: tuple[NicWanted, ...] | None = None
    full_clone: bool = False
    memory: int | None = None
    cpus: int | None = None
    disk_size: int | None = None
    placement: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one VM in a bulk operation.

    id: None if it was not created. changed: whether anything was done, also when error is set. warnings: sentences.
    """

    name: str
    id: str | None = None
    changed: bool = False
    error: str | None = None
    warnings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class NetworkWanted:
    """What a driver needs to know of a network_rules.SharedNetwork; see there.

    vlan: None for a network that is there already and is only looked at, under `name`.
    """

    name: str
    vlan: int | None = None
    bridge: str | None = None
    hosts: tuple[str, ...] = ()
    host_vlan: bool = False
    openvswitch: bool | None = None
    description: str = ""


@dataclasses.dataclass(frozen=True)
class NetworkState:
    """One network as it is now.

    before, after: what it is and what make() would make of it, a line for each fact; empty where there is no network.
    problem: why it cannot be made, or be a shared one at all. keep: why it cannot be removed. Sentences, None if nothing is in
    the way. users: names of the VMs (and others) on it.
    """

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    problem: str | None = None
    keep: str | None = None
    users: tuple[str, ...] = ()


class Inventory(abc.ABC):
    """What VMs there are."""

    #: Set by a caller that needs the VMs' folders, and their tags that fit these patterns; some drivers need other calls for them.
    tag_patterns: tuple[str, ...] | None = None

    @abc.abstractmethod
    def vms(self, names: Sequence[str] | None = None) -> VmList:
        """All VMs (no templates, no snapshots) or the named ones, in a fixed number of round trips where possible."""


class Addresses(abc.ABC):
    """What the guests' addresses are.

    sources: those this hypervisor has; the caller asks for no others. default_sources: asked in this order unless told otherwise.
    """

    sources: tuple[str, ...]
    default_sources: tuple[str, ...]

    @abc.abstractmethod
    def read(self, vms: Sequence[Vm], sources: Sequence[str], workers: int, timeout: float) -> Iterator[Observation]:
        """One Observation per VM, as they arrive; never raises for one VM. timeout: seconds per VM and source."""

    def close(self) -> None:  # noqa: B027  # most have nothing to end
        """Ends what reading has started."""


class Drives(abc.ABC):
    """The config drives. put, remove, eject and move take many VMs and yield (vm, DriveChange or DriveError) as each is done."""

    side_by_side = 1  # how many drives are worked on at once
    #: Whether move() migrates the VM as well, with or without a drive.
    moves_vms = False

    @abc.abstractmethod
    def states(self, vms: Sequence[Vm]) -> dict[str, DriveState | DriveError]:
        """The state of each VM's drive by VM id; reads only. An error of one VM is a value, not an exception."""

    @abc.abstractmethod
    def inserted(self, vms: Sequence[Vm]) -> dict[str, DriveState | DriveError]:
        """By VM id, the VMs that have a drive in a slot: with location, slot, attached (true) and unread.

        Cheap: it goes by the file's place and reads no file, so it does not tell what is in it.
        """

    @abc.abstractmethod
    def read(self, vm: Vm) -> bytes | None:
        """The bytes of this VM's ISO, or None if there is none. At most _config_drive.image.MAX_SIZE."""

    @abc.abstractmethod
    def read_foreign(self, vm: Vm) -> bytes | None:
        """The bytes of the file in the place of this VM's drive if it is foreign (see drive_rules), else None."""

    @abc.abstractmethod
    def discard_foreign(self, vm: Vm) -> None:
        """Takes a foreign file in the place of this VM's drive out of the VM and deletes it. The caller has checked it."""

    @abc.abstractmethod
    def put_one(self, vm: Vm, iso: bytes) -> DriveChange:
        """Makes the VM have exactly these bytes as its drive. Idempotent; the guest never sees half a file.

        The caller has checked states(); a foreign file or a missing slot raises DriveError before any change.
        """

    @abc.abstractmethod
    def remove_one(self, vm: Vm) -> DriveChange:
        """Ejects and deletes the VM's ISO; a missing one is no error. Never touches a file with another owner."""

    @abc.abstractmethod
    def eject_one(self, vm: Vm) -> DriveChange:
        """Takes the VM's ISO out of its slot, which stays, and keeps the file; states() then says ejected until it is put again."""

    @abc.abstractmethod
    def move_one(self, vm: Vm, destination: str) -> DriveChange:
        """Brings the ISO along when the VM moves to another host or datastore; resumable."""

    @abc.abstractmethod
    def orphans(self, elsewhere: Collection[str]) -> OrphanList:
        """The orphans in every place of the hypervisor that may hold drives (see drive_rules.orphan()). Changes nothing.

        elsewhere: ids of VMs that are known to be on other hypervisors. Only a file's own mark tells whose drive it is.
        """

    @abc.abstractmethod
    def delete_orphans(self, drives: Sequence[OrphanDrive]) -> Iterator[tuple[OrphanDrive, bool | DriveError]]:
        """Deletes these, each after a last look at its mark and at what VMs have in their drives; False if it is gone already."""

    def close(self) -> None:  # noqa: B027  # most have nothing to end
        """Ends what the other methods have started, such as connections of their own."""

    def put(self, jobs: Sequence[tuple[Vm, bytes]]) -> Iterator[tuple[Vm, DriveChange | DriveError]]:
        """put_one() for many VMs. HypervisorUnreachable ends it."""
        isos = {vm.id: iso for vm, iso in jobs}
        return self._each([vm for vm, _iso in jobs], lambda vm: self.put_one(vm, isos[vm.id]))

    def remove(self, vms: Sequence[Vm]) -> Iterator[tuple[Vm, DriveChange | DriveError]]:
        """remove_one() for many VMs."""
        return self._each(vms, self.remove_one)

    def eject(self, vms: Sequence[Vm]) -> Iterator[tuple[Vm, DriveChange | DriveError]]:
        """eject_one() for many VMs."""
        return self._each(vms, self.eject_one)

    def move(self, vms: Sequence[Vm], destination: str) -> Iterator[tuple[Vm, DriveChange | DriveError]]:
        """move_one() for many VMs."""
        return self._each(vms, lambda vm: self.move_one(vm, destination))

    def _each(self, vms: Sequence[Vm], change: Callable[[Vm], DriveChange]) -> Iterator[tuple[Vm, DriveChange | DriveError]]:
        for vm, done, error in bounded.each(change, vms, self.side_by_side, timeout=None):
            if error is None:
                yield vm, t.cast("DriveChange", done)
            elif isinstance(error, DriveError):
                yield vm, error
            else:
                raise error


class Machines(abc.ABC):
    """The life of the VMs, many at once: one Outcome per VM as each is done, an error of one VM being its own.

    Every operation can be run again after a run that was cut short and goes on from what it finds.
    """

    #: Keys of VmWanted.placement and of a migration's destination that this hypervisor knows.
    placement_keys: tuple[str, ...] = ()
    destination_keys: tuple[str, ...] = ()

    @abc.abstractmethod
    def check(self, wanted: Sequence[VmWanted]) -> dict[str, str]:
        """What stands against creating these VMs: a sentence by name. Reads only: templates, networks, names, placement."""

    @abc.abstractmethod
    def create(self, wanted: Sequence[VmWanted]) -> Iterator[Outcome]:
        """Creates the VMs, powered off and marked as ours. The caller has checked check() and that none of them exists.

        What fails half-way is undone; where that fails too, the error names what was left.
        """

    @abc.abstractmethod
    def set_nics(self, vm: Vm, nics: Sequence[NicWanted]) -> Outcome:
        """Gives a VM that is powered off exactly these NICs; a NIC whose network and MAC fit stays as it is."""

    def never_started(self, vm: Vm) -> bool:
        """Whether a VM of ours, which is off, surely has not run since it was created; False where this cannot be told."""
        return False

    @abc.abstractmethod
    def start(self, vms: Sequence[Vm]) -> Iterator[Outcome]:
        """Powers on; a VM that runs is left alone (changed is false)."""

    @abc.abstractmethod
    def stop(self, vms: Sequence[Vm], timeout: float) -> Iterator[Outcome]:
        """Asks all guests to shut down, and powers off those still on after timeout seconds; 0 powers off at once."""

    @abc.abstractmethod
    def migrate(self, vms: Sequence[Vm], destination: Mapping[str, str]) -> Iterator[Outcome]:
        """Moves VMs to destination (keys: destination_keys), running or not, with their drives; nothing stays at the source."""

    @abc.abstractmethod
    def delete_problems(self, vms: Sequence[Vm]) -> dict[str, str]:
        """What stands against deleting: a sentence by VM id (a template others are clones of, a disk of somebody else's, ...).

        That a VM runs is no problem: the caller asks before it powers the VM off.
        """

    @abc.abstractmethod
    def delete(self, vms: Sequence[Vm]) -> Iterator[Outcome]:
        """Deletes VMs that are powered off, by id: with their disks, NVRAM, snapshots and drive, never what others use."""

    def remains(self, names: Sequence[str], delete: bool) -> Iterator[Outcome]:
        """Deletes what is left of VMs of these names that were deleted by other means; no Outcome for a name with nothing left.

        What carries our mark is deleted (changed is true; with delete=False it only would be), the rest is named in warnings.
        """
        return iter(())


class Events(abc.ABC):
    """What the hypervisor says by itself. A hint never carries an address: it leads to a reading of that VM.

    sources: those of Addresses that hints are about; a hint makes only these be asked.
    again: seconds after a hint at which a VM whose address is missing is read once more; empty where no hint comes too early.
    free: whether reading costs no more for many VMs than for one, so that all can be compared when listening begins.
    """

    sources: tuple[str, ...]
    again: tuple[float, ...] = ()
    free = False

    @abc.abstractmethod
    def listen(self, stop: threading.Event, look_up: float) -> Iterator[list[Hint]]:
        """Hints as they come, perhaps an empty list now and then; ends when stop is set, which it sees every look_up seconds.

        It begins with a HINT_HERE for every VM whose guest may have an address, so that nothing that happened before is missed.
        One call at a time; other threads can use the other parts meanwhile. Raises HypervisorUnreachable for a lost connection.
        """


class Networks(abc.ABC):
    """Shared networks, many at once: one Outcome (without an id) per network, an error of one being its own.

    A network never serves DHCP or DNS itself, and one that is there is never changed (see network_rules).
    """

    @abc.abstractmethod
    def states(self, wanted: Sequence[NetworkWanted], users: bool) -> list[NetworkState]:
        """The networks in the order of wanted; reads only. users: whether to see who is on them, which means reading all VMs."""

    @abc.abstractmethod
    def make(self, wanted: Sequence[NetworkWanted]) -> Iterator[Outcome]:
        """Makes networks with a VLAN, or what is missing of them. The caller has checked states().

        What fails half-way is undone, or left for the next run, which goes on from what it finds.
        """

    @abc.abstractmethod
    def remove(self, wanted: Sequence[NetworkWanted]) -> Iterator[Outcome]:
        """Removes networks that are as described and that nobody uses. The caller has checked states()."""


class Hypervisor(abc.ABC):
    """One connection to one hypervisor (a KVM host, a XenServer pool, a vCenter or ESXi host) and its parts.

    type: kvm, xenserver or vmware. endpoint: for messages; no secret in it.
    """

    type: str
    endpoint: str
    id_in_firmware = True  # whether a VM's id is also the system UUID that its firmware tells the guest
    inventory: Inventory
    addresses: Addresses
    drives: Drives
    machines: Machines
    events: Events
    networks: Networks
    images: Images

    def guest_files(
        self, vms: Sequence[Vm], paths: Sequence[str], workers: int, timeout: float
    ) -> dict[str, dict[str, bytes | None]]:
        """By VM id and path, the beginnings of these files of running guests; None for a file that does not exist.

        The guest decides what is in them. A path that could not be read is left out. A hypervisor that needs an account of the
        guest's to read files has only _defaults.DRIVE_SEEN, of stopped VMs too, if the guest scripts handed it to its tools.
        timeout: seconds per file.
        """
        return {}

    @abc.abstractmethod
    def close(self) -> None:
        """Ends the session. Safe to call twice."""
