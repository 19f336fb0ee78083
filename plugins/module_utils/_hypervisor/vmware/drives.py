# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Config drives on VMware: an ISO beside the VM's first disk, in the VM's second CD/DVD drive.

A drive is staged, read back, and then given its name while no running VM has a file of that name connected. So a guest sees the
old drive, none, or the new one, and never a part of one. The next run removes the staged file of a run that was cut short.
"""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
import time
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.image import read_owner
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import drive_rules, workers
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    DriveChange,
    DriveError,
    Drives,
    DriveState,
    HypervisorError,
    HypervisorUnreachable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.drive_rules import OrphanDrive, OrphanList
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.cd_specs import edited_drive
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.connection import KEPT_CONNECTIONS
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.drive_steps import Steps
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.drive_view import Looker, TryAgain, Work
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.files import DatastoreFiles
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.orphans import Orphans

if t.TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.datacenters import Datacenters
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.drive_view import Machine, View
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session

_READERS = 8  # files read at once
_READ_SECONDS = 600.0  # for one file
_CHUNK = 100  # VMs read in one go before their drives are changed
_ATTEMPTS = 8  # when somebody else changes the VM at the same moment
_PAUSE = 0.25  # seconds, times the number of the attempt


class VMwareDrives(Drives):
    """The config drives of the VMs of one vCenter or ESXi host."""

    side_by_side = KEPT_CONNECTIONS

    def __init__(self, session: Session, datacenters: Datacenters) -> None:
        self._session = session
        self._files = DatastoreFiles(session)
        self._looker = Looker(session, self._files, datacenters)
        self._steps = Steps(session, self._files, datacenters)
        self._orphans = Orphans(session, self._files, datacenters)
        self._ready: dict[str, Machine] = {}  # by VM id: read in bulk, for the first attempt

    def close(self) -> None:
        """Closes the connections for files."""
        self._files.close()

    # --- looking ---

    def states(self, vms: Sequence[Vm]) -> dict[str, DriveState | DriveError]:
        """See api.Drives: one read for all VMs, and one request per VM for the bytes of its file."""
        machines = self._session.run(lambda: self._looker.machines(vms))
        found: dict[str, DriveState | DriveError] = {}
        ready = []
        for vm in vms:
            machine = machines[vm.id]
            if isinstance(machine, DriveError):
                found[vm.id] = machine
            else:
                ready.append(machine)
        for machine, view, error in workers.each(self._view_of, ready, _READERS, _READ_SECONDS):
            vm = machine.vm
            if view is not None:
                found[vm.id] = view.state()
            elif isinstance(error, DriveError):
                found[vm.id] = error
            elif isinstance(error, (HypervisorError, workers.TimedOut)):
                found[vm.id] = DriveError(f"{vm.name}: {error}")
            else:
                raise error or AssertionError("a view or an error")
        return found

    def _view_of(self, machine: Machine) -> View:
        return self._session.run(lambda: self._looker.look(machine))

    def inserted(self, vms: Sequence[Vm]) -> dict[str, DriveState | DriveError]:
        """See api.Drives: one read for all VMs, and a look into the folder of each that has the drive in."""
        found: dict[str, DriveState | DriveError] = {}
        ready = []
        for number, machine in self._session.run(lambda: self._looker.machines(vms)).items():
            if isinstance(machine, DriveError):
                found[number] = machine
            elif any(d.iso == str(machine.location) and (d.connected or d.start_connected) for d in machine.devices.drives):
                ready.append(machine)
        for machine, state, error in workers.each(self._inserted, ready, _READERS, _READ_SECONDS):
            if state is None and not isinstance(error, (HypervisorError, workers.TimedOut)):
                raise error or AssertionError("a state or an error")
            found[machine.vm.id] = state or DriveError(f"{machine.vm.name}: {error}")
        return found

    def _inserted(self, machine: Machine) -> DriveState:
        place = str(machine.location)
        slot = next(d.label for d in machine.devices.ordered_drives() if d.iso == place)
        unread = self._session.run(lambda: self._steps.is_unread(machine))
        return DriveState(place, slot, True, True, unread=unread)

    def read(self, vm: Vm) -> bytes | None:
        """See api.Drives: the file at its place, else the one in the VM's drive, if it is this VM's."""

        def operation(_work: Work) -> bytes | None:
            view = self._looker.look(self._machine(vm))
            for location in (*([view.machine.location] if view.owner == vm.id else []), *view.strays):
                content = self._files.read(location, keep=True)
                if content is not None and read_owner(content.head) == vm.id:
                    return content.data
            return None

        return self._run(vm, operation)

    def read_foreign(self, vm: Vm) -> bytes | None:
        """See api.Drives."""

        def operation(_work: Work) -> bytes | None:
            view = self._looker.look(self._machine(vm))
            content = self._files.read(view.machine.location, keep=True) if view.foreign else None
            return None if content is None or read_owner(content.head) == vm.id else content.data

        return self._run(vm, operation)

    def discard_foreign(self, vm: Vm) -> None:
        """See api.Drives."""
        self._change(vm, lambda work: self._discard(vm, work))

    def _discard(self, vm: Vm, work: Work) -> DriveChange:
        view = self._looker.look(self._machine(vm, work))
        location = view.machine.location
        if view.foreign:
            holding = [drive for drive in view.machine.devices.drives if drive.iso == str(location)]
            self._steps.reconfigure(view.machine, [edited_drive(drive, None) for drive in holding])
            self._steps.delete(location, view.machine, view.owner)
        return DriveChange(changed=bool(view.foreign), location=str(location))

    def _machine(self, vm: Vm, work: Work | None = None) -> Machine:
        machine: Machine | DriveError | None = self._ready.pop(vm.id, None)
        if machine is None:
            machine = self._looker.machines([vm])[vm.id]
        if isinstance(machine, DriveError):
            raise machine
        return machine if work is None else dataclasses.replace(machine, work=work)

    def orphans(self, elsewhere: Collection[str]) -> OrphanList:
        """See api.Drives: all datastores, whatever hypervisor.datacenter and hypervisor.folder say."""
        return self._orphans.find(elsewhere)

    def delete_orphans(self, drives: Sequence[OrphanDrive]) -> Iterator[tuple[OrphanDrive, bool | DriveError]]:
        """See api.Drives."""
        return self._orphans.delete(drives)

    # --- changing ---

    def put(self, jobs: Sequence[tuple[Vm, bytes]]) -> Iterator[tuple[Vm, DriveChange | DriveError]]:
        """See api.Drives."""
        for start in range(0, len(jobs), _CHUNK):
            part = jobs[start : start + _CHUNK]
            self._read_ahead([vm for vm, _iso in part])
            yield from super().put(part)

    def remove(self, vms: Sequence[Vm]) -> Iterator[tuple[Vm, DriveChange | DriveError]]:
        """See api.Drives."""
        for start in range(0, len(vms), _CHUNK):
            self._read_ahead(vms[start : start + _CHUNK])
            yield from super().remove(vms[start : start + _CHUNK])

    def _read_ahead(self, vms: Sequence[Vm]) -> None:
        """Reads VMs for their first attempt. vCenter refuses to change one that has changed since, and it is read again."""
        machines = self._session.run(lambda: self._looker.machines(vms))
        self._ready = {number: one for number, one in machines.items() if not isinstance(one, DriveError)}

    def put_one(self, vm: Vm, iso: bytes) -> DriveChange:
        """See api.Drives."""
        if read_owner(iso) != vm.id:
            raise DriveError(f"{vm.name}: the drive to be put is not marked for this VM (id {vm.id})")
        return self._change(vm, lambda work: self._put(vm, iso, work))

    def _put(self, vm: Vm, iso: bytes, work: Work, out: bool = False) -> DriveChange:
        view = self._looker.look(self._machine(vm, work))
        problem = view.foreign or view.slot.problem
        if problem:
            raise DriveError(f"{vm.name}: {problem}")
        machine, slot = view.machine, view.slot
        changed = False
        if view.file is None or view.file.sha256 != hashlib.sha256(iso).hexdigest():
            self._steps.write(view, iso)
            changed = True
        if not slot.hot:
            return DriveChange(
                changed=changed,
                location=str(machine.location),
                slot=slot.label,
                restart_required=True,
                message=drive_rules.restart_needed(vm.name),
            )
        kept = self._steps.delete_strays(view)
        if view.wrong_drives or (not view.placed if out else not view.attached or (changed and machine.running)):
            self._steps.attach(view, out)
            changed = True
        if kept is not None:
            raise kept
        return DriveChange(changed=changed, location=str(machine.location), slot=slot.label)

    def remove_one(self, vm: Vm) -> DriveChange:
        """See api.Drives. The CD/DVD drive stays and is empty."""
        return self._change(vm, lambda work: self._remove(vm, work))

    def erase(self, vms: Sequence[Vm]) -> Iterator[tuple[Vm, DriveChange | DriveError]]:
        """remove() for VMs that are off and about to be deleted: the ISO goes, the CD/DVD drive goes with the VM."""
        for start in range(0, len(vms), _CHUNK):
            self._read_ahead(vms[start : start + _CHUNK])
            yield from self._each(vms[start : start + _CHUNK], lambda vm: self._change(vm, lambda work: self._erase(vm, work)))

    def _erase(self, vm: Vm, work: Work) -> DriveChange:
        machine = self._machine(vm, work)
        search = self._steps.find_leftovers(machine)  # goes on while the drive is deleted
        for location in (machine.location, *(other for _drive, other in self._looker.other_media(machine) if other)):
            self._steps.delete(location, machine, vm.id)
        self._steps.remove_leftovers(machine, search)
        return DriveChange(changed=True, location=str(machine.location))

    def _remove(self, vm: Vm, work: Work) -> DriveChange:
        view = self._looker.look(self._machine(vm, work))
        machine = view.machine
        own = view.file is not None and view.foreign is None
        media = {str(stray) for stray in view.strays}
        if own or view.file is None:
            media.add(str(machine.location))
        holding = [drive for drive in machine.devices.drives if drive.iso in media]
        changed = bool(holding or own or view.strays)
        self._steps.reconfigure(machine, [edited_drive(drive, None) for drive in holding])
        for location in (*([machine.location] if own else []), *view.strays):
            self._steps.delete(location, machine, vm.id)
        self._steps.remove_leftovers(machine)
        return DriveChange(
            changed=changed,
            location=str(machine.location),
            slot=view.slot.label,
            message=view.foreign,
        )

    def move_one(self, vm: Vm, destination: str) -> DriveChange:
        """See api.Drives. destination: the datastore that the VM's first disk is to be on, or empty for where it is.

        While the disk is elsewhere, the drive is disconnected, so that a host which does not see the ISO can take the VM. Once it
        is there, the ISO follows.
        """
        return self._change(vm, lambda work: self._move_drive(vm, destination, work))

    def release(self, vms: Sequence[Vm]) -> Iterator[tuple[Vm, DriveError | None]]:
        """Disconnects the drives of VMs that are about to move: a host that does not see the ISO would not take them."""
        for vm, change in self._each(vms, lambda vm: self._change(vm, lambda work: self._release(vm, work))):
            yield vm, change if isinstance(change, DriveError) else None

    def _release(self, vm: Vm, work: Work) -> DriveChange:
        view = self._looker.look(self._machine(vm, work))
        media = [view.machine.location, *view.strays] if view.foreign is None else [*view.strays]
        self._steps.disconnect(view, media)
        return DriveChange(changed=False, location=str(view.machine.location))

    def _move_drive(self, vm: Vm, destination: str, work: Work) -> DriveChange:
        view = self._looker.look(self._machine(vm, work))
        machine = view.machine
        own = view.file is not None and view.foreign is None
        if not own and not view.strays:
            return DriveChange(changed=False, location=str(machine.location), message=f"{vm.name} has no config drive to move")
        if destination and destination != machine.location.datastore:
            connected = any(d.connected for d in machine.devices.drives if d.iso == str(machine.location))
            self._steps.disconnect(view, [machine.location])
            return DriveChange(
                changed=connected,
                location=str(machine.location),
                slot=view.slot.label,
                message=f"{vm.name}: the drive follows when the first disk is on {destination}",
            )
        content = self._files.read(machine.location if own else view.strays[0], keep=True)
        if content is None or content.data is None or read_owner(content.head) != vm.id:
            raise TryAgain("the drive's file was changed by somebody else")
        return self._put(vm, content.data, work, out=view.ejected)

    def eject_one(self, vm: Vm) -> DriveChange:
        """See api.Drives. The CD/DVD drive keeps the file's name, and is connected neither now nor at power on."""
        return self._change(vm, lambda work: self._eject(vm, work))

    def _eject(self, vm: Vm, work: Work) -> DriveChange:
        view = self._looker.look(self._machine(vm, work))
        if view.foreign:
            raise DriveError(f"{vm.name}: {view.foreign}")
        return DriveChange(self._steps.take_out(view), str(view.machine.location), view.slot.label)

    # --- steps ---

    def _change(self, vm: Vm, operation: Callable[[Work], DriveChange]) -> DriveChange:
        """Runs an operation; what an attempt changed before the connection was lost counts as changed."""
        work = Work()
        if self._session.read_only:
            raise DriveError(f"{vm.name}: {self._session.read_only}")
        try:
            change = self._run(vm, operation, work)
        except DriveError as error:
            gone = self._clear_up(vm, work)
            if gone is None:
                raise
            raise DriveError(gone) from error
        return dataclasses.replace(change, changed=change.changed or bool(work.begun))

    def _clear_up(self, vm: Vm, work: Work) -> str | None:
        """Deletes the drive of a VM that was deleted meanwhile, and returns a sentence on it. None if the VM is still there."""
        machine = work.placed
        if machine is None:
            return None
        try:
            if self._session.run(lambda: self._looker.exists(vm)):
                return None
            self._session.run(lambda: self._steps.clear_place(machine))
        except (HypervisorError, TryAgain) as error:
            return f"{vm.name} is gone meanwhile: delete {machine.location}, which may hold its secrets ({error})"
        return f"{vm.name} is gone from {self._session.endpoint}: its config drive was deleted"

    def _run(self, vm: Vm, operation: Callable[[Work], t.Any], work: Work | None = None) -> t.Any:
        """Runs an operation that begins with a look; again when the session was lost or somebody else changed the VM."""
        begun = work or Work()

        def attempts() -> t.Any:
            for attempt in range(_ATTEMPTS):
                try:
                    return operation(begun)
                except TryAgain as reason:
                    last = str(reason) or "the VM is being changed by somebody else"
                    time.sleep(_PAUSE * (attempt + 1) * (0.5 + secrets.randbelow(1000) / 1000))
            raise DriveError(f"{vm.name}: {last}; try again when that is done")

        try:
            return self._session.run(attempts)
        except (DriveError, HypervisorUnreachable):
            raise
        except HypervisorError as error:
            raise DriveError(f"{vm.name}: {error}") from None
