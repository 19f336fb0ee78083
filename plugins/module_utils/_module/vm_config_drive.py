# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Body of the module vm_config_drive: every listed VM has exactly its drive, or none."""

from __future__ import annotations

import dataclasses
import hashlib
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import compare, content, image, readers
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import ConfigDriveError, MissingPycdlib
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveError, HypervisorUnreachable
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.connection import hypervisor_of

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible.module_utils.basic import AnsibleModule
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveChange, DriveState, Hypervisor, Vm

STATE_PRESENT = "present"


@dataclasses.dataclass
class _Entry:
    """One entry of the option drives on its way through the module; error ends its way, never that of the others."""

    name: str
    option: Mapping[str, t.Any]
    vm: Vm | None = None
    state: DriveState | None = None
    sha256: str | None = None
    changed: bool = False
    restart_required: bool = False
    location: str | None = None
    slot: str | None = None
    acts_on_refresh: bool | None = None
    message: str | None = None
    error: str | None = None
    differences: Sequence[compare.Difference] = ()

    def result(self) -> dict[str, t.Any]:
        return {
            "name": self.name,
            "location": self.location,
            "slot": self.slot,
            "sha256": self.sha256,
            "changed": self.changed,
            "restart_required": self.restart_required,
            "acts_on_refresh": self.acts_on_refresh,
            "message": self.message,
            "error": self.error,
        }


def run_module(module: AnsibleModule) -> None:
    """Checks all entries, reads all drives, then changes what differs; ends the module with one result per entry."""
    params = module.params
    entries = [_Entry(option["name"], option) for option in params["drives"]]
    present = params["state"] == STATE_PRESENT
    _check_input(module, entries, present)
    with hypervisor_of(module) as hypervisor:
        _find(hypervisor, entries)
        for entry in entries:
            if entry.error is not None or entry.vm is None or entry.state is None:
                continue
            try:
                if present:
                    _make_present(module, hypervisor, entry, entry.vm, entry.state)
                else:
                    _make_absent(module, hypervisor, entry, entry.vm, entry.state)
            except MissingPycdlib:
                raise
            except (ConfigDriveError, DriveError) as error:
                entry.error = str(error)
            except HypervisorUnreachable as error:
                # The connection is gone for all that follow as well; say so, with what was done before.
                _give_up(entries, entry, str(error))
                break
    _finish(module, entries)


def _check_input(module: AnsibleModule, entries: Sequence[_Entry], present: bool) -> None:
    """Everything that can be known to be wrong without the hypervisor; nothing has been changed when it fails."""
    params = module.params
    problems: list[str] = []
    names = [entry.name for entry in entries]
    problems += [f"drives has {name} more than once: one entry per VM" for name in sorted({n for n in names if names.count(n) > 1})]
    if present:
        try:
            image.check_label(params["label"])
        except ConfigDriveError as error:
            problems.append(str(error))
        for entry in entries:
            try:
                description = DriveDescription.from_option(entry.option)
                content.files_of(description, params["layouts"])
            except ConfigDriveError as error:
                problems.append(str(error))
                continue
            verdict = readers.check(description, params["label"], params["layouts"])
            problems += [f"drive {entry.name}: {problem}" for problem in verdict.errors if not params["merge"]]
            for warning in verdict.warnings:
                module.warn(f"drive {entry.name}: {warning}")
    if problems:
        module.fail_json(msg="nothing was changed: " + "; ".join(dict.fromkeys(problems)), drives=[])


def _find(hypervisor: Hypervisor, entries: Sequence[_Entry]) -> None:
    found = hypervisor.vms([entry.name for entry in entries])
    by_name = {vm.name: vm for vm in found.vms}
    states = hypervisor.config_drives(found.vms)
    for entry in entries:
        entry.vm = by_name.get(entry.name)
        if entry.vm is None:
            entry.error = found.problems[entry.name]
            continue
        state = states[entry.vm.id]
        if isinstance(state, DriveError):
            entry.error = str(state)
            continue
        entry.state = state
        entry.location = state.location
        entry.slot = state.slot
        entry.sha256 = state.sha256


def _make_present(module: AnsibleModule, hypervisor: Hypervisor, entry: _Entry, vm: Vm, state: DriveState) -> None:
    params = module.params
    if state.problem is not None:
        raise DriveError(f"{vm.name}: {state.problem}")
    current = None
    if state.file_exists and (params["merge"] or module._diff):  # pylint: disable=protected-access
        current = _read(hypervisor, vm)
    if params["merge"] and current is None:
        raise DriveError(f"{vm.name}: merge is true, but the VM has no config drive to keep anything of: give all its data, without merge")
    description = DriveDescription.from_option(entry.option, owner=vm.id)
    if params["merge"] and current is not None:
        files = _merged_files(current, description, entry.option)
        label = current.label
    else:
        files = content.files_of(description, params["layouts"])
        label = params["label"]
    iso = image.build(files, label, vm.id)
    digest = hashlib.sha256(iso).hexdigest()
    same_bytes = state.sha256 == digest
    if not same_bytes and state.file_exists:
        current = current or _read(hypervisor, vm)
        if current is not None and compare.is_current(current, files, label, vm.id):
            # Another version of pycdlib may lay out the same drive differently: no reason to replace it.
            same_bytes, digest = True, state.sha256 or digest
    if not same_bytes:
        entry.differences = _differences(current, files, label, vm.id)
    previous = None if current is None else compare.instance_id(current)
    entry.acts_on_refresh = readers.check(description, label, params["layouts"], previous).acts_on_refresh
    entry.sha256 = digest
    entry.changed = not (same_bytes and state.attached)
    entry.restart_required = not state.can_attach_now
    if entry.changed and not module.check_mode:
        _note(entry, hypervisor.put_config_drive(vm, iso))


def _make_absent(module: AnsibleModule, hypervisor: Hypervisor, entry: _Entry, vm: Vm, state: DriveState) -> None:
    entry.changed = state.attached or (state.file_exists and state.owner == vm.id)
    entry.sha256 = None
    if state.file_exists and state.owner != vm.id:
        raise DriveError(f"{vm.name}: {state.problem}")
    if entry.changed and module._diff:  # pylint: disable=protected-access
        current = _read(hypervisor, vm)
        if current is not None:
            entry.differences = compare.differences(current, {}, current.label)
    if entry.changed and not module.check_mode:
        _note(entry, hypervisor.remove_config_drive(vm))


def _read(hypervisor: Hypervisor, vm: Vm) -> image.Image | None:
    data = hypervisor.read_config_drive(vm)
    return None if data is None else image.read(data)


def _merged_files(current: image.Image, description: DriveDescription, option: Mapping[str, t.Any]) -> dict[str, bytes]:
    """The drive's files with what the entry gives in place of what was there."""

    def given(*names: str) -> bool:
        return any(option.get(name) is not None for name in names)

    metadata = {key: description.metadata[key] for key in description.metadata if key in (option.get("metadata") or {})}
    return compare.change(
        current,
        password=(description.password or "") if given("password") else None,
        ssh_keys=description.ssh_keys if given("ssh_keys") else None,
        user_data=(description.user_data or b"") if given("user_data", "user_data_base64") else None,
        metadata=metadata or None,
    )


def _differences(
    current: image.Image | None, files: Mapping[str, bytes], label: str, owner: str
) -> Sequence[compare.Difference]:
    if current is not None:
        return compare.differences(current, files, label, owner)
    return [compare.Difference(path, None, compare.file_state(path, data)) for path, data in files.items()]


def _note(entry: _Entry, change: DriveChange) -> None:
    entry.changed = change.changed
    entry.location = change.location
    entry.slot = change.slot
    entry.restart_required = change.restart_required
    entry.message = change.message


def _give_up(entries: Sequence[_Entry], at: _Entry, message: str) -> None:
    reached = False
    for entry in entries:
        reached = reached or entry is at
        if reached and entry.error is None:
            entry.error = message


def _finish(module: AnsibleModule, entries: Sequence[_Entry]) -> None:
    result: dict[str, t.Any] = {
        "changed": any(entry.changed and entry.error is None for entry in entries),
        "drives": [entry.result() for entry in entries],
    }
    if module._diff:  # pylint: disable=protected-access
        result["diff"] = [_diff(entry) for entry in entries if entry.changed]
    for entry in entries:
        if entry.restart_required and entry.error is None:
            module.warn(
                entry.message or f"{entry.name} sees its config drive only after it has been shut down and started: it runs without a drive for it"
            )
    failed = [entry for entry in entries if entry.error is not None]
    if failed:
        shown = "; ".join(str(entry.error) for entry in failed[:10])
        more = f"; and {len(failed) - 10} more, see drives" if len(failed) > 10 else ""
        module.fail_json(msg=f"{len(failed)} of {len(entries)} config drives failed: {shown}{more}", **result)
    module.exit_json(**result)


def _diff(entry: _Entry) -> dict[str, t.Any]:
    before, after = [], []
    for difference in entry.differences:
        before += _diff_lines(difference.what, difference.before)
        after += _diff_lines(difference.what, difference.after)
    if entry.state is not None and not entry.state.attached:
        after.append(f"in drive {entry.slot}")
    header = str(entry.location)
    return {"before_header": header, "after_header": header, "before": "\n".join(before) + "\n", "after": "\n".join(after) + "\n"}


def _diff_lines(what: str, value: compare.FileState | str | None) -> list[str]:
    if value is None:
        return []
    if isinstance(value, compare.FileState):
        return [f"{what}: {value.size} bytes, {value.digest}"]
    return [f"{what}: {value}"]
