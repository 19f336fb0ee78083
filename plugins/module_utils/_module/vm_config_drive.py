# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Body of the module vm_config_drive: every listed VM has exactly its drive, or none."""

from __future__ import annotations

import dataclasses
import hashlib
import typing as t

from ansible.module_utils.basic import missing_required_lib

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import compare, content
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image as images
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import (
    ConfigDriveError,
    MissingPycdlib,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveError, HypervisorUnreachable
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import drives as common
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.connection import hypervisor_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain_name

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
        DriveChange,
        DriveState,
        Hypervisor,
        Vm,
    )


_RESTART = "its config drive is new to the running VM: the guest sees it after the VM has been shut down and started"

# Every entry of the result has these keys.
_RESULT: dict[str, t.Any] = {
    "name": None,
    "location": None,
    "slot": None,
    "sha256": None,
    "changed": False,
    "restart_required": False,
    "acts_on_refresh": None,
    "error": None,
}


@dataclasses.dataclass
class _Target:
    """One VM on its way through the module; result is its entry in what the module returns."""

    entry: Mapping[str, t.Any]
    vm: Vm
    state: DriveState
    result: dict[str, t.Any]


def run_module(module: AnsibleModule) -> None:
    """Checks all entries, reads all drives, then changes what differs; ends the module with one result per entry."""
    entries = common.take_drives(module)
    try:
        _check_input(module, entries)
        with hypervisor_of(module) as hypervisor:
            run = _Run(module, hypervisor, entries)
            run.all()
    except MissingPycdlib as error:
        module.fail_json(msg=missing_required_lib(error.library, url=error.url), exception=error.traceback)
    run.end()


def _check_input(module: AnsibleModule, entries: Sequence[Mapping[str, t.Any]]) -> None:
    """Everything that can be known to be wrong without the hypervisor; then nothing is done at all."""
    params = module.params
    if params["state"] in ("present", "updated"):
        images.require_pycdlib()
    errors = common.input_errors(entries, params["label"], params["layouts"], whole=params["state"] == "present")
    if errors:
        module.fail_json(msg=f"nothing was changed: {common.summary(errors)}", changed=False, drives=[])


class _Run:
    """One run of vm_config_drive."""

    def __init__(self, module: AnsibleModule, hypervisor: Hypervisor, entries: Sequence[Mapping[str, t.Any]]) -> None:
        self.module = module
        self.hypervisor = hypervisor
        self.entries = {entry["name"]: entry for entry in entries}
        self.results = {name: dict(_RESULT, name=name) for name in self.entries}
        self.diffs: list[dict[str, str]] = []
        self.warnings: dict[str, tuple[str, ...]] = {}
        self.restarts: dict[str, str | None] = {}

    def all(self) -> None:
        states = {"present": self._present, "updated": self._updated, "moved": self._moved, "absent": self._absent}
        act = states[self.module.params["state"]]
        for target in self._targets():
            try:
                act(target)
            except (ConfigDriveError, DriveError) as error:
                target.result["error"] = _named(target.vm.name, error)
            except HypervisorUnreachable as error:
                # The connection is gone for all that follow as well; what was done before is still told.
                for result in list(self.results.values())[list(self.results).index(target.vm.name) :]:
                    result["error"] = result["error"] or str(error)
                return

    def end(self) -> None:
        """Ends the module: it fails if one VM failed, after all others were done."""
        common.warn(self.module, self.warnings)
        for name, result in self.results.items():
            if result["restart_required"] and result["error"] is None:
                self.module.warn(self.restarts.get(name) or f"{name}: {_RESTART}")
        errors = {name: result["error"] for name, result in self.results.items() if result["error"] is not None}
        ending: dict[str, t.Any] = {
            "changed": any(result["changed"] for result in self.results.values()),
            "drives": list(self.results.values()),
        }
        if self.module._diff:
            ending["diff"] = self.diffs
        common.exit_with(self.module, ending, errors)

    def _targets(self) -> Sequence[_Target]:
        found = self.hypervisor.inventory.vms(list(self.entries))
        for name, problem in found.problems.items():
            self.results[name]["error"] = problem
        states = self.hypervisor.drives.states(found.vms)
        targets = []
        given = {plain_name(name): name for name in self.entries}
        for vm in found.vms:
            state, result = states[vm.id], self.results[given[vm.name]]
            if isinstance(state, DriveError):
                result["error"] = _named(vm.name, state)
                continue
            result.update(location=state.location, slot=state.slot, sha256=state.sha256)
            targets.append(_Target(self.entries[given[vm.name]], vm, state, result))
        return targets

    def _present(self, target: _Target) -> None:
        params = self.module.params
        description = self._description(target)
        before = self._before(target) if self._must_know(target, description) else None
        self._check(target, description, params["label"], params["layouts"], before)
        self._put(target, before, content.files_of(description, params["layouts"]), params["label"])

    def _updated(self, target: _Target) -> None:
        before = self._before(target)
        if before is None or before.intact is False:
            what = "it has no config drive" if before is None else "its config drive is damaged, so there is nothing"
            raise DriveError(f"{what} of which anything could be kept: give all its data with state=present")
        files = compare.change(before, **common.parts(target.entry, self._description(target)))
        after = compare.description_of(dataclasses.replace(before, files=files), target.vm.name, target.entry.get("reader"))
        self._check(target, after, before.label, compare.layouts_of(files), before)
        self._put(target, before, files, before.label)

    def _moved(self, target: _Target) -> None:
        if not target.state.file_exists and not target.state.attached and not self.hypervisor.drives.moves_vms:
            return  # it has none that could come along
        target.result["changed"] = True
        if not self.module.check_mode:
            self._note(target, self.hypervisor.drives.move_one(target.vm, self.module.params["destination"]))

    def _absent(self, target: _Target) -> None:
        state = target.state
        if state.file_exists and state.owner != target.vm.id:
            raise DriveError(str(state.problem))
        target.result["sha256"] = None
        if not state.file_exists and not state.attached:
            return
        before = self._before(target) if self.module._diff else None
        self._diff(state.location, [] if before is None else compare.removal(before))
        target.result["changed"] = True
        if not self.module.check_mode:
            self._note(target, self.hypervisor.drives.remove_one(target.vm))

    def _description(self, target: _Target) -> DriveDescription:
        descriptions, _errors = common.describe([target.entry], {target.vm.name: target.vm.id})
        return descriptions[target.vm.name]

    def _must_know(self, target: _Target, description: DriveDescription) -> bool:
        """Whether the drive there is must be read for more than its checksum."""
        return target.state.file_exists and (self.module._diff or description.reader is not None)

    def _before(self, target: _Target) -> images.Image | None:
        if not target.state.file_exists:
            return None
        if target.state.problem is not None and target.state.owner != target.vm.id:
            raise DriveError(target.state.problem)
        data = self.hypervisor.drives.read(target.vm)
        if data is None:
            return None
        try:
            return images.read(data)
        except ConfigDriveError:
            return images.damaged(data)  # its owner mark says that it is ours to replace

    def _check(
        self, target: _Target, description: DriveDescription, label: str, layouts: Sequence[str], before: images.Image | None
    ) -> None:
        target.result["acts_on_refresh"], warnings = common.checked(description, label, layouts, before)
        self.warnings[description.name] = warnings

    def _put(self, target: _Target, before: images.Image | None, files: Mapping[str, bytes], label: str) -> None:
        vm, state, result = target.vm, target.state, target.result
        if state.problem is not None:
            raise DriveError(state.problem)
        data = images.build(files, label, vm.id)
        digest = hashlib.sha256(data).hexdigest()
        same = state.sha256 == digest
        if not same and state.file_exists:
            before = before or self._before(target)
            # Another version of the library that writes images may lay the same drive out differently.
            same = before is not None and compare.is_current(before, files, label, vm.id)
        result["restart_required"] = not state.can_attach_now
        if same and state.attached:
            return
        result.update(changed=True, sha256=state.sha256 if same else digest)
        self._diff(state.location, [] if same else compare.differences(before, files, label, vm.id), state)
        if not self.module.check_mode:
            if same:  # only attached anew
                data = self.hypervisor.drives.read(vm) or data
            self._note(target, self.hypervisor.drives.put_one(vm, data))

    def _note(self, target: _Target, change: DriveChange) -> None:
        self.restarts[target.vm.name] = change.message
        target.result.update(
            changed=change.changed, location=change.location, slot=change.slot, restart_required=change.restart_required
        )

    def _diff(self, location: str, found: Sequence[compare.Difference], state: DriveState | None = None) -> None:
        if not self.module._diff:
            return
        shown = common.diff(location, found)
        if state is not None and not state.attached:
            shown["after"] += f"in CD/DVD drive: {state.slot}\n"
        self.diffs.append(shown)


def _named(name: str, error: Exception) -> str:
    text = str(error)
    return text if text.startswith((f"drive {name}: ", f"{name}: ", f"{name} ")) else f"{name}: {text}"
