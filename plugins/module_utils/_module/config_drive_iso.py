# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Bodies of the modules config_drive_iso and config_drive_iso_info."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
import typing as t

from ansible.module_utils.basic import missing_required_lib

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import compare, content
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image as images
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import (
    ConfigDriveError,
    DriveImageError,
    DriveInputError,
    MissingPycdlib,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.folder import DriveFolder
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import drives as common

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.image import Image

# Every entry of the result has these keys.
_RESULT: dict[str, t.Any] = {
    "name": None,
    "path": None,
    "sha256": None,
    "size": None,
    "changed": False,
    "acts_on_refresh": None,
    "error": None,
}


def run_module(module: AnsibleModule) -> None:
    """Makes every listed drive as O(state) says and ends the module with one entry for each of them."""
    entries = common.take_drives(module)
    try:
        _Run(module, entries).all()
    except MissingPycdlib as exc:
        module.fail_json(msg=missing_required_lib(exc.library, url=exc.url), exception=exc.traceback)
    except ConfigDriveError as exc:  # of the folder or the label: nothing was begun
        module.fail_json(msg=str(exc))


class _Run:
    """One run of config_drive_iso."""

    def __init__(self, module: AnsibleModule, entries: Sequence[Mapping[str, t.Any]]) -> None:
        self.module = module
        self.entries = entries
        self.label: str = module.params["label"]
        self.layouts: list[str] = module.params["layouts"]
        self.folder = DriveFolder(module.params["dest"])
        self.diffs: list[dict[str, str]] = []
        self.warnings: dict[str, tuple[str, ...]] = {}

    def all(self) -> None:
        state = self.module.params["state"]
        images.check_label(self.label)
        if not self.layouts:
            raise DriveInputError(f"layouts is empty: give at least one of {', '.join(content.LAYOUTS)}")
        if state != "absent":
            images.require_pycdlib()
        exists = self.folder.check()
        changed = state == "present" and not exists
        if changed and not self.module.check_mode:
            self.folder.create()
        entries = self.entries
        if state == "absent":  # whatever else an entry says: the drive goes
            entries = [{"name": entry["name"]} for entry in entries]
        descriptions, errors = common.describe(entries)
        act = {"present": self._present, "updated": self._updated, "absent": self._absent}[state]
        results = []
        with self.folder.settled():
            for entry in {entry["name"]: entry for entry in entries}.values():
                name = entry["name"]
                result = dict(_RESULT, name=name, error=errors.get(name))
                if name in descriptions:
                    result["path"] = self.folder.file(name)
                    try:
                        result.update(act(descriptions[name], entry))
                    except ConfigDriveError as exc:
                        result["error"] = errors[name] = _named(name, exc)
                results.append(result)
        common.warn(self.module, self.warnings)
        ending: dict[str, t.Any] = {"changed": changed or any(result["changed"] for result in results), "drives": results}
        if self.module._diff:
            ending["diff"] = self.diffs
        common.exit_with(self.module, ending, errors)

    def _present(self, description: DriveDescription, entry: Mapping[str, t.Any]) -> dict[str, t.Any]:
        name, owner = description.name, description.metadata.get("vm_id") or None
        before = self._before(name)
        acts = self._check(description, self.label, self.layouts, before)
        files = content.files_of(description, self.layouts)
        return {**self._put(name, before, files, self.label, owner), "acts_on_refresh": acts}

    def _updated(self, description: DriveDescription, entry: Mapping[str, t.Any]) -> dict[str, t.Any]:
        name = description.name
        before = self._before(name)
        if before is None:
            raise DriveImageError(
                f"{self.folder.file(name)} is not there, so nothing of it can be kept: build it with state=present"
            )
        files = compare.change(before, **common.parts(entry, description))
        after = compare.description_of(dataclasses.replace(before, files=files), name, description.reader)
        acts = self._check(after, before.label, compare.layouts_of(files), before)
        return {**self._put(name, before, files, before.label, before.owner), "acts_on_refresh": acts}

    def _absent(self, description: DriveDescription, entry: Mapping[str, t.Any]) -> dict[str, t.Any]:
        before = self._before(description.name)
        if before is None:
            return {"changed": False}
        self._diff(self.folder.file(description.name), compare.removal(before))
        if not self.module.check_mode:
            self.folder.remove(description.name)
        return {"changed": True}

    def _before(self, name: str) -> Image | None:
        """The drive that is there. Raises DriveImageError for a file that is something else: it is nobody's to replace."""
        data = self.folder.read(name)
        if data is None:
            return None
        try:
            before = images.read(data, modes=False)
        except DriveImageError:
            if images.is_ours(data):  # damaged, but certainly ours
                return images.damaged(data)
        else:
            if before.intact is not None or compare.layouts_of(before.files):
                return before
        raise DriveImageError(f"{self.folder.file(name)} is not a config drive: move it away, or choose another dest")

    def _check(self, description: DriveDescription, label: str, layouts: Sequence[str], before: Image | None) -> bool | None:
        acts, warnings = common.checked(description, label, layouts, before)
        self.warnings[description.name] = warnings
        return acts

    def _put(
        self, name: str, before: Image | None, files: Mapping[str, bytes], label: str, owner: str | None
    ) -> dict[str, t.Any]:
        if before is not None and compare.is_current(before, files, label, owner):
            open_to_others = not self.folder.is_private(name)
            if open_to_others and not self.module.check_mode:
                self.folder.make_private(name)
            return {"sha256": before.sha256, "size": before.size, "changed": open_to_others}
        data = images.build(files, label, owner)
        if not self.module.check_mode:
            self.folder.write(name, data)
        self._diff(self.folder.file(name), compare.differences(before, files, label, owner))
        return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "changed": True}

    def _diff(self, header: str, found: Sequence[compare.Difference]) -> None:
        if self.module._diff:
            self.diffs.append(common.diff(header, found))


def _named(name: str, exc: ConfigDriveError) -> str:
    text = str(exc)
    return text if text.startswith(f"drive {name}: ") else f"drive {name}: {text}"


def run_info(module: AnsibleModule) -> None:
    """Opens drives and ends the module with what is in them and, against descriptions, what differs."""
    entries = common.take_drives(module)
    wanted = module.params["contents"]
    if wanted == "all" and not module.no_log:
        module.fail_json(
            msg="contents=all returns passwords and user data: set no_log: true on the task, so that they are not shown or logged"
        )
    try:
        images.check_label(module.params["label"])
    except ConfigDriveError as exc:
        module.fail_json(msg=str(exc))
    descriptions, errors = common.describe(entries)
    paths = [(None, path) for path in module.params["paths"] or []]
    if entries:
        folder = DriveFolder(module.params["dest"])
        paths += [(name, folder.file(name)) for name in dict.fromkeys(entry["name"] for entry in entries)]
    results = []
    for name, path in paths:
        result = dict(_INFO, name=name, path=path, error=errors.get(name) if name else None)
        if result["error"] is None:
            try:
                result.update(_look(module, path, descriptions.get(name) if name else None, wanted))
            except ConfigDriveError as exc:
                result["error"] = errors[path] = _named(name, exc) if name else f"{path}: {exc}"
        results.append(result)
    common.exit_with(module, {"changed": False, "drives": results}, errors)


# Every entry of the result of the info module has these keys.
_INFO: dict[str, t.Any] = {
    "name": None,
    "path": None,
    "exists": False,
    "label": None,
    "joliet_label": None,
    "owner": None,
    "intact": None,
    "sha256": None,
    "size": None,
    "files": [],
    "matches": None,
    "differences": None,
    "error": None,
}


def _look(module: AnsibleModule, path: str, description: DriveDescription | None, wanted: str) -> dict[str, t.Any]:
    image = images.read(path) if os.path.lexists(path) else None
    result: dict[str, t.Any] = {"exists": image is not None}
    if image is not None:
        result.update(
            label=image.label,
            joliet_label=image.joliet_label,
            owner=image.owner,
            intact=image.intact,
            sha256=image.sha256,
            size=image.size,
            files=[_file(image, name, wanted) for name in image.files],
        )
    if description is not None:
        owner = description.metadata.get("vm_id") or None
        files = content.files_of(description, module.params["layouts"])
        found = compare.differences(image, files, module.params["label"], owner)
        result.update(matches=not found, differences=[dataclasses.asdict(item) for item in found])
    return result


def _file(image: Image, path: str, wanted: str) -> dict[str, t.Any]:
    data = image.files[path]
    entry: dict[str, t.Any] = {
        "path": path,
        "secret": content.is_secret(path),
        **dataclasses.asdict(compare.file_state(path, data)),
    }
    if path in image.modes:
        entry["mode"] = f"{image.modes[path] & 0o7777:04o}"
    if wanted == "all" or (wanted == "metadata" and not content.is_secret(path)):
        try:
            entry["content"] = data.decode("utf-8")
        except UnicodeDecodeError:
            entry["content_base64"] = base64.b64encode(data).decode("ascii")
    return entry
