# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Body of the module vm_config_drive: gives every listed VM exactly its drive, or none."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.content import READER_OURS
from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis import guest as guests
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import drive_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    POWER_RUNNING,
    DriveChange,
    DriveError,
    DriveState,
    VmNotFound,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import drive_input
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import drives as common
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.connection import hypervisor_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.drive_run import DriveRun, Place, Spot
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain_name

if t.TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterator, Mapping, Sequence

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Hypervisor, Vm


def run_module(module: AnsibleModule) -> None:
    """Checks all entries, reads all drives, then changes what differs; ends the module with one result per entry."""
    entries = common.take_drives(module)
    with common.ending(module):
        run = DriveRun(module, entries, HypervisorPlace.result)
    if run.errors:
        common.warn(module, run.warnings)
        module.fail_json(msg=f"nothing was changed: {drive_input.summary(run.errors)}", changed=False, drives=[])
    with hypervisor_of(module) as hypervisor:
        run.carry_out(HypervisorPlace(hypervisor, module.params, run.descriptions))
    run.end()


class HypervisorPlace(Place):
    """The VMs of one hypervisor. options: the module's, of which destination, missing, state and confirmation are used."""

    result: t.ClassVar[dict[str, t.Any]] = {
        "name": None,
        "location": None,
        "slot": None,
        "sha256": None,
        "changed": False,
        "restart_required": False,
        "ejected": False,
        "unread": False,
        "lost": False,
        "unconfirmed": None,
        "acts_on_refresh": None,
        "new_password": False,
        "encrypted_password": None,
        "error": None,
    }
    batch = 100

    def __init__(
        self, hypervisor: Hypervisor, options: Mapping[str, t.Any], descriptions: Mapping[str, DriveDescription]
    ) -> None:
        self.hypervisor = hypervisor
        self.drives = hypervisor.drives
        self.destination = options["destination"]
        self.skip_missing = options["missing"] == "skip"
        self.ejects = options["state"] == "ejected"
        self.boot_confirms = options["confirmation"] == "boot"
        self.readers = {name: description.reader for name, description in descriptions.items()}

    def find(self, names: Sequence[str]) -> Iterator[tuple[str, Spot | Exception]]:
        found = self.hypervisor.inventory.vms(names)
        for name, problem in found.problems.items():
            if name in found.ambiguous or not self.skip_missing:
                yield name, VmNotFound(problem)
        # To eject drives, only those in a slot need to be known, and no file is read.
        states = self.drives.inserted(found.vms) if self.ejects else self.drives.states(found.vms)
        given = {plain_name(name): name for name in names}
        for vm in found.vms:
            state, name = states.get(vm.id, DriveState("")), given[vm.name]
            yield name, state if isinstance(state, DriveError) else Spot(name, state, vm)

    def facts(self, spot: Spot) -> dict[str, t.Any]:
        return {"location": spot.state.location or None, "slot": spot.state.slot, "sha256": spot.state.sha256}

    def read(self, spot: Spot) -> bytes | None:
        return self.drives.read_foreign(_vm(spot)) if spot.foreign else self.drives.read(_vm(spot))

    def put(self, jobs: Sequence[tuple[Spot, bytes]]) -> Iterator[tuple[str, DriveChange | Exception]]:
        kept = yield from self._discard([spot for spot, _data in jobs])
        isos = [(_vm(spot), data) for spot, data in jobs if spot.name not in kept]
        yield from _by_name([spot for spot, _data in jobs], self.drives.put(isos))

    def remove(self, spots: Sequence[Spot]) -> Iterator[tuple[str, DriveChange | Exception]]:
        kept = yield from self._discard(spots)
        for name, done in _by_name(spots, self.drives.remove([_vm(spot) for spot in spots if spot.name not in kept])):
            foreign = name in {spot.name for spot in spots if spot.foreign}
            yield name, dataclasses.replace(done, changed=True) if foreign and isinstance(done, DriveChange) else done

    def _discard(self, spots: Sequence[Spot]) -> Generator[tuple[str, Exception], None, set[str]]:
        """Deletes the foreign files among these; yields and returns those that could not be deleted."""
        kept = set()
        for spot in spots:
            if spot.foreign:
                try:
                    self.drives.discard_foreign(_vm(spot))
                except DriveError as error:
                    kept.add(spot.name)
                    yield spot.name, error
        return kept

    def eject(self, spots: Sequence[Spot]) -> Iterator[tuple[str, DriveChange | Exception]]:
        return _by_name(spots, self.drives.eject([_vm(spot) for spot in spots]))

    def move(self, spots: Sequence[Spot]) -> Iterator[tuple[str, DriveChange | Exception]]:
        return _by_name(spots, self.drives.move([_vm(spot) for spot in spots], str(self.destination)))

    def unconfirmed(self, spots: Sequence[Spot], digests: Mapping[str, Collection[str]]) -> dict[str, str]:
        vms = [_vm(spot) for spot in spots]
        asked = self.hypervisor.guest_files(vms, [_defaults.DRIVE_SEEN], _defaults.WORKERS, _defaults.GUEST_TIMEOUT)
        inserted = self.drives.inserted(vms) if self.boot_confirms else {}
        reasons = {}
        for spot, vm in zip(spots, vms):
            noted = guests.drive_seen(asked.get(vm.id, {}).get(_defaults.DRIVE_SEEN))
            seen = inserted.get(vm.id)
            booted = (
                isinstance(seen, DriveState)
                and not drive_rules.is_unread(vm.power_state == POWER_RUNNING, seen.unread)
                and self.readers[spot.name] == READER_OURS
            )
            reason = guests.why_unconfirmed(noted, digests[spot.name], booted)
            if reason is not None:
                reasons[spot.name] = reason
        return reasons

    def system_uuid(self, spot: Spot) -> str | None:
        return _vm(spot).id if self.hypervisor.id_in_firmware else None

    def goes_along(self, spot: Spot) -> bool:
        return spot.state.file_exists or spot.state.attached or self.drives.moves_vms


def _vm(spot: Spot) -> Vm:
    return t.cast("Vm", spot.vm)


def _by_name(
    spots: Sequence[Spot], outcomes: Iterator[tuple[Vm, DriveChange | DriveError]]
) -> Iterator[tuple[str, DriveChange | Exception]]:
    """The outcomes by the names in the entries."""
    names = {_vm(spot).id: spot.name for spot in spots}
    return ((names[vm.id], done) for vm, done in outcomes)
