# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""One run of a module that makes drives what its entries say, in a folder or on a hypervisor."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import hashlib
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import (
    compare,
    content,
    readers,
    retired,
    sealing,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image as images
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import (
    ConfigDriveError,
    DriveImageError,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import drive_rules
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    POWER_RUNNING,
    DriveError,
    HypervisorUnreachable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import drive_input, drive_passwords
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import drives as common

if t.TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveChange, DriveState, Vm

_T = t.TypeVar("_T")

# Bytes of images in memory at a time; their number is limited by Place.batch.
_BATCH_BYTES = images.MAX_SIZE
_RESTART = "its config drive is new to the running VM: the guest sees it after the VM has been shut down and started"


@dataclasses.dataclass(frozen=True)
class Spot:
    """The place of one drive. state: as it is now; vm: None in a folder, which knows no VMs."""

    name: str
    state: DriveState
    vm: Vm | None = None

    @property
    def foreign(self) -> bool:
        """Whether a foreign file is there (see drive_rules); in a folder only its bytes can tell, so False."""
        return self.state.file_exists and self.vm is not None and self.state.owner != self.vm.id


class Place(abc.ABC):
    """Where the drives of one run are: a folder or a hypervisor.

    result: the keys of every entry of the module's result, with their defaults. batch: how many drives are put at once.
    """

    result: t.ClassVar[Mapping[str, t.Any]]
    batch = 1

    @abc.abstractmethod
    def find(self, names: Sequence[str]) -> Iterator[tuple[str, Spot | Exception]]:
        """The spot of each drive, or why it has none."""

    @abc.abstractmethod
    def facts(self, spot: Spot) -> dict[str, t.Any]:
        """The result's keys about the spot."""

    @abc.abstractmethod
    def read(self, spot: Spot) -> bytes | None:
        """The bytes of the spot's drive; None if there is none."""

    @abc.abstractmethod
    def put(self, jobs: Sequence[tuple[Spot, bytes]]) -> Iterator[tuple[str, DriveChange | Exception]]:
        """Puts drives; yields the name and outcome of each as it is done."""

    @abc.abstractmethod
    def remove(self, spots: Sequence[Spot]) -> Iterator[tuple[str, DriveChange | Exception]]:
        """Removes drives; yields as put() does."""

    def eject(self, spots: Sequence[Spot]) -> Iterator[tuple[str, DriveChange | Exception]]:
        """Ejects drives; yields as put() does."""
        raise NotImplementedError

    def move(self, spots: Sequence[Spot]) -> Iterator[tuple[str, DriveChange | Exception]]:
        """Moves drives; yields as put() does."""
        raise NotImplementedError

    def unconfirmed(self, spots: Sequence[Spot], digests: Mapping[str, Collection[str]]) -> dict[str, str]:
        """By name, why a guest is not known to have set the password of its drive. digests: by name, of the drives."""
        raise NotImplementedError

    def system_uuid(self, spot: Spot) -> str | None:
        """What the guest's firmware tells it as such; None if that is not known."""
        return None

    def goes_along(self, spot: Spot) -> bool:
        """Whether move() has something to do for the spot."""
        raise NotImplementedError

    def changing(self) -> contextlib.AbstractContextManager[None]:
        """Around all changes of a run; not entered in check mode."""
        return contextlib.nullcontext()


@dataclasses.dataclass
class _Plan:
    """What is to be on one drive.

    before, old: the drive that is there, and its bytes; None if there is none, or it was not read. same: whether it is right.
    """

    description: DriveDescription
    files: Mapping[str, bytes]
    label: str
    owner: str | None
    before: images.Image | None = None
    old: bytes | None = dataclasses.field(default=None, repr=False)
    same: bool = False
    _built: bytes | None = dataclasses.field(default=None, repr=False)

    def build(self) -> bytes:
        """The image."""
        if self._built is None:
            self._built = images.build(self.files, self.label, self.owner)
        return self._built

    def compare(self, before: images.Image | None, old: bytes | None) -> None:
        self.before, self.old = before, old
        self.same = before is not None and compare.is_current(before, self.files, self.label, self.owner)

    @property
    def previous_instance_id(self) -> str | None:
        """The instance id on the drive that is there; None if there is none."""
        if self.before is not None:
            return compare.description_of(self.before, self.description.name).metadata["instance_id"]
        return self.description.metadata["instance_id"] if self.same else None


class DriveRun:
    """Makes drives as the module's option state says. Every entry is tried; end() fails the module if one failed.

    errors: sentences by name; before carry_out(), about the entries themselves. finished: names of drives whose outcome is known.
    """

    def __init__(self, module: AnsibleModule, entries: Sequence[Mapping[str, t.Any]], result: Mapping[str, t.Any]) -> None:
        """Raises ConfigDriveError if label or layouts are wrong, MissingLibrary if it will be needed."""
        self.module = module
        self.state: str = module.params["state"]
        self.label: str = module.params["label"]
        self.layouts: list[str] = module.params["layouts"]
        self.take_over: bool = module.params["take_over"]
        self.reinsert: bool = module.params.get("reinsert", True)
        self.keep_unread: bool = module.params.get("keep_unread", True)
        drive_input.check_options(self.label, self.layouts)
        if self.state in ("present", "updated", "retired"):  # the others build no image
            images.require_pycdlib()
        if self.state not in ("present", "updated"):  # the drive goes, moves or stays: its data do not matter
            entries = [drive_input.identity(entry) for entry in entries]
        self.entries = {entry["name"]: entry for entry in entries}
        self.descriptions, self.errors = drive_input.describe(entries)
        self.results = {name: dict(result, name=name) for name in self.entries}
        self.warnings: dict[str, tuple[str, ...]] = {}
        self.restarts: dict[str, str | None] = {}
        self.diffs: list[dict[str, str]] = []
        self.finished: set[str] = set()
        self._check_descriptions()

    def _check_descriptions(self) -> None:
        """Checks that need no drive, so that check mode makes them for a VM that does not exist yet as well."""
        for name, description in self.descriptions.items():
            self.warnings[name] = ()
            if self.module.check_mode and description.password_public_key:
                self.results[name]["new_password"] = True  # unless the drive turns out to have one
            if self.state == "present":
                try:
                    self.warnings[name] += drive_input.check_reader(description, self.label, self.layouts)
                except ConfigDriveError as error:
                    self.errors[name] = drive_input.named(name, error)

    def carry_out(self, place: Place) -> None:
        """Does the run; in check mode only notes what would change."""
        spots = list(self._spots(place))
        try:
            with contextlib.nullcontext() if self.module.check_mode else place.changing():
                if self.state in ("present", "updated", "followed"):
                    self._put_all(place, spots)
                elif self.state == "absent":
                    self._do(place.remove, [spot for spot in spots if self._tried(spot, lambda spot: self._absent(place, spot))])
                elif self.state == "retired":
                    for first in range(0, len(spots), place.batch):
                        self._retire(place, spots[first : first + place.batch])
                elif self.state == "ejected":
                    self._do(place.eject, [spot for spot in spots if self._ejected(spot)])
                else:
                    self._do(place.move, [spot for spot in spots if self._moved(place, spot)])
        except HypervisorUnreachable as error:  # an error of all drives that are not finished
            for name, result in self.results.items():
                if name not in self.finished and name not in self.errors:
                    self.errors[name] = str(error)
                    result["changed"] = False

    def end(self) -> t.NoReturn:
        """Ends the module."""
        common.warn(self.module, self.warnings)
        for name, result in self.results.items():
            result["error"] = self.errors.get(name)
            if result.get("restart_required") and result["error"] is None:
                self.module.warn(self.restarts.get(name) or f"{name}: {_RESTART}")
        ending: dict[str, t.Any] = {
            "changed": any(result["changed"] for result in self.results.values()),
            "drives": list(self.results.values()),
        }
        if self.module._diff:
            ending["diff"] = self.diffs
        common.exit_with(self.module, ending, self.errors)

    def _spots(self, place: Place) -> Iterator[Spot]:
        for name, found in place.find([name for name in self.results if name in self.descriptions]):
            if isinstance(found, Exception):
                self._failed(name, found)
                continue
            self.results[name].update(place.facts(found))
            if name not in self.errors:
                yield found

    def _tried(self, spot: Spot, act: Callable[[Spot], _T]) -> _T | None:
        try:
            return act(spot)
        except (ConfigDriveError, DriveError) as error:
            self._failed(spot.name, error)
            return None

    def _failed(self, name: str, error: Exception) -> None:
        self.errors[name] = drive_input.named(name, error)
        self.results[name].update(changed=False, new_password=False, encrypted_password=None)

    def _put_all(self, place: Place, spots: Sequence[Spot]) -> None:
        jobs: list[tuple[Spot, bytes]] = []
        for spot in spots:
            data = self._tried(spot, lambda spot: (self._followed if self.state == "followed" else self._plan)(place, spot))
            if data is not None:
                jobs.append((spot, data))
            if len(jobs) >= place.batch or sum(len(data) for _spot, data in jobs) >= _BATCH_BYTES:
                self._do(place.put, jobs)
                jobs = []
        self._do(place.put, jobs)

    def _do(self, act: Callable[[list[_T]], Iterator[tuple[str, DriveChange | Exception]]], jobs: list[_T]) -> None:
        if self.module.check_mode or not jobs:
            return
        for name, done in act(jobs):
            if isinstance(done, Exception):
                self._failed(name, done)
                continue
            result = self.results[name]
            self.finished.add(name)
            self.restarts[name] = done.message
            result["changed"] = done.changed
            if "location" in result:
                result.update(location=done.location, slot=done.slot, restart_required=done.restart_required)

    def _plan(self, place: Place, spot: Spot) -> bytes | None:
        """The bytes to be put; None if the drive is right as it is."""
        if spot.state.problem is not None and not (spot.foreign and self.take_over):
            raise DriveError(spot.state.problem)
        description = self.descriptions[spot.name]
        if spot.vm is not None:
            description = description.for_vm(spot.vm.id)
        plan = (self._updated if self.state == "updated" else self._present)(place, spot, description)
        data = plan.old if plan.same and plan.old is not None else plan.build()
        result = self.results[spot.name]
        result["sha256"] = plan.before.sha256 if plan.same and plan.before is not None else hashlib.sha256(data).hexdigest()
        if result["new_password"] and self.module.check_mode:
            result["sha256"] = None  # its password is not made yet
        result["acts_on_refresh"] = readers.acts_on_refresh(plan.description, plan.previous_instance_id, place.system_uuid(spot))
        if "size" in result:
            result["size"] = len(data)
        if "restart_required" in result:
            result["restart_required"] = not spot.state.can_attach_now
        if plan.same and (spot.state.attached or (spot.state.ejected and self.state == "present" and not self.reinsert)):
            self.finished.add(spot.name)
            if spot.state.ejected:
                result.update(ejected=True, restart_required=False)
            return None
        result["changed"] = True
        self._diff(spot, [] if plan.same else compare.differences(plan.before, plan.files, plan.label, plan.owner))
        return data

    def _present(self, place: Place, spot: Spot, description: DriveDescription) -> _Plan:
        owner = spot.vm.id if spot.vm is not None else description.metadata.get("vm_id") or None
        plan = _Plan(description, content.files_of(description, self.layouts), self.label, owner)
        if spot.state.sha256 is not None and not spot.foreign and description.password_public_key is None:
            plan.same = spot.state.sha256 == hashlib.sha256(plan.build()).hexdigest()
            if plan.same:
                return plan
        before, old = self._before(place, spot, owner)
        mine = before is not None and not self._is_foreign(before, owner)
        settled = self._with_password(description, before.files if before is not None and mine else {})
        if settled.files or settled.description != description:
            files = {**content.files_of(settled.description, self.layouts), **settled.files}
            plan = _Plan(settled.description, files, self.label, owner)
        # Another version of the library that writes images may lay the same drive out differently.
        plan.compare(before, old)
        return plan

    def _with_password(self, description: DriveDescription, before: Mapping[str, bytes]) -> drive_passwords.Settled:
        """The description with the password for the drive; a new one is put into the result, encrypted."""
        settled = drive_passwords.settle(description, before, self.state == "updated", not self.module.check_mode)
        result, password = self.results[description.name], settled.description.password
        result["new_password"] = settled.made
        if settled.made and password and description.password_public_key and not self.module.check_mode:
            self.module.no_log_values.add(password)
            result["encrypted_password"] = sealing.sealer(description.password_public_key)(password)
        return settled

    def _updated(self, place: Place, spot: Spot, description: DriveDescription) -> _Plan:
        owner = spot.vm.id if spot.vm is not None else description.metadata.get("vm_id") or None
        before, old = self._before(place, spot, owner)
        if before is None or before.intact is False:
            what = (
                f"it has no config drive ({spot.state.location} is not there)"
                if before is None
                else "its config drive is damaged"
            )
            raise DriveImageError(
                f"{what}, so there is nothing of which anything could be kept: give all its data with state=present"
            )
        settled = self._with_password(description, before.files)
        files = compare.change(before, **drive_input.parts(self.entries[spot.name], settled.description))
        files.pop(content.RETIRED_PATH, None)
        files.update(settled.files)
        after = compare.description_of(dataclasses.replace(before, files=files), spot.name, description.reader)
        after = dataclasses.replace(after, doubts=description.doubts)
        self.warnings[spot.name] += drive_input.check_reader(after, before.label, compare.layouts_of(files))
        plan = _Plan(after, files, before.label, owner or before.owner)
        plan.compare(before, old)
        return plan

    def _absent(self, place: Place, spot: Spot) -> bool:
        """Whether there is something to remove."""
        state = spot.state
        if spot.foreign and state.problem is not None and not self.take_over:
            raise DriveError(state.problem)
        if not state.file_exists and not state.attached:
            self.finished.add(spot.name)
            return False
        before = None
        if state.file_exists and (self.module._diff or spot.vm is None or spot.foreign):
            before, _data = self._before(place, spot, self.descriptions[spot.name].metadata.get("vm_id"))
        self._diff(spot, [] if before is None else compare.removal(before), attached=True)
        self.results[spot.name].update(changed=True, sha256=None)
        return True

    def _followed(self, place: Place, spot: Spot) -> bytes | None:
        """The bytes to be put where the VM is now, of the drive that it has elsewhere; None if there is nothing to do."""
        state, result = spot.state, self.results[spot.name]
        result["lost"] = not state.file_exists
        result["ejected"] = state.ejected
        if not state.file_exists or state.attached or state.ejected:
            self.finished.add(spot.name)
            return None
        if state.problem is not None:
            raise DriveError(state.problem)
        before, data = self._before(place, spot, None)
        if before is None or data is None or not before.intact:
            result["lost"] = True  # a damaged drive counts as lost
            self.finished.add(spot.name)
            return None
        result.update(changed=True, sha256=before.sha256, restart_required=not state.can_attach_now)
        self._diff(spot, [])
        return data

    def _ejected(self, spot: Spot) -> bool:
        """Whether there is a drive to eject."""
        state, result = spot.state, self.results[spot.name]
        running = spot.vm is not None and spot.vm.power_state == POWER_RUNNING
        result["unread"] = state.attached and drive_rules.is_unread(running, state.unread)
        goes = state.attached and not (result["unread"] and self.keep_unread)
        if not goes:
            self.finished.add(spot.name)
            return False
        result.update(changed=True, ejected=True)
        if self.module._diff:
            shown = common.diff(state.location, [])
            shown["before"] = f"in CD/DVD drive: {state.slot}\n"
            self.diffs.append(shown)
        return True

    def _retire(self, place: Place, spots: Sequence[Spot]) -> None:
        """Removes the passwords from the drives whose guests have set them."""
        holders: dict[str, tuple[Spot, images.Image, str]] = {}
        digests: dict[str, set[str]] = {}
        for spot in spots:
            before, data = self._tried(spot, lambda spot: self._before(place, spot, None)) or (None, None)
            password = compare.password_of(before.files) if before is not None else None
            if before is not None and data is not None and password:
                holders[spot.name] = spot, before, password
                # Of the image, by which the guest scripts confirm, and of the password, by which a guest with cloud-init does.
                told = images.digest_of(data), compare.confirmation_of(before.files)
                digests[spot.name] = {digest for digest in told if digest is not None}
        reasons = place.unconfirmed([spot for spot, _before, _password in holders.values()], digests)
        jobs = []
        for name, (spot, before, password) in holders.items():
            self.results[name]["unconfirmed"] = reasons.get(name)
            if name not in reasons:
                try:
                    jobs.append((spot, self._without(password, spot, before)))
                except ConfigDriveError as error:
                    self._failed(name, error)
        self.finished.update({spot.name for spot in spots} - {spot.name for spot, _data in jobs})
        self._do(place.put, jobs)
        self._do(place.eject, [spot for spot, _data in jobs if spot.state.ejected and spot.name not in self.errors])

    def _without(self, password: str, spot: Spot, before: images.Image) -> bytes:
        """The drive without its password, to be put. Raises DriveInputError if its reader needs a password on it."""
        files = compare.change(before, password="")
        after = compare.description_of(dataclasses.replace(before, files=files), spot.name, self.descriptions[spot.name].reader)
        drive_input.check_reader(after, before.label, compare.layouts_of(files))
        files[content.RETIRED_PATH] = retired.mark(password)
        plan = _Plan(after, files, before.label, before.owner)
        self.results[spot.name].update(
            changed=True,
            sha256=None if self.module.check_mode else hashlib.sha256(plan.build()).hexdigest(),
            ejected=spot.state.ejected,
        )
        self._diff(spot, compare.differences(before, files, before.label, before.owner), attached=True)
        return plan.build()

    def _moved(self, place: Place, spot: Spot) -> bool:
        goes = place.goes_along(spot)
        self.results[spot.name]["changed"] = goes
        if not goes:
            self.finished.add(spot.name)
        return goes

    def _before(self, place: Place, spot: Spot, owner: str | None) -> tuple[images.Image | None, bytes | None]:
        """The drive that is there and its bytes. Raises DriveImageError for a file that is not this run's to replace."""
        data = place.read(spot) if spot.state.file_exists else None
        if data is None:
            return None, None
        try:
            image = images.read(data, modes=False)
        except DriveImageError:
            if not images.is_ours(data):
                raise DriveImageError(drive_rules.not_a_drive(spot.state.location)) from None
            image = images.damaged(data)
        if image.intact is None and not compare.layouts_of(image.files):
            raise DriveImageError(drive_rules.not_a_drive(spot.state.location))
        if not self.take_over and self._is_foreign(image, owner):
            raise DriveImageError(drive_rules.foreign(spot.state.location, image.owner))
        return image, data

    def _is_foreign(self, image: images.Image, owner: str | None) -> bool:
        """Whether the drive is another program's, or another VM's than the owner's. Without an owner no VM is another one."""
        if image.intact is None:
            return self.state != "updated"  # an update keeps what the other program wrote
        return owner is not None and image.owner is not None and image.owner != owner

    def _diff(self, spot: Spot, found: Sequence[compare.Difference], attached: bool | None = None) -> None:
        if not self.module._diff:
            return
        shown = common.diff(spot.state.location, found)
        if spot.vm is not None and not (spot.state.attached if attached is None else attached):
            shown["after"] += f"in CD/DVD drive: {spot.state.slot}\n"
        self.diffs.append(shown)
