# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Bodies of the modules config_drive_iso and config_drive_iso_info."""

from __future__ import annotations

import base64
import dataclasses
import os
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import compare, content
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image as images
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import ConfigDriveError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveChange
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import drive_input
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import drives as common
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.drive_folder import DriveFolder, read_bytes
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.drive_run import DriveRun, Place, Spot

if t.TYPE_CHECKING:
    import contextlib
    from collections.abc import Iterator, Sequence

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.image import Image


def run_module(module: AnsibleModule) -> None:
    """Makes every listed drive as O(state) says, and ends the module with one entry for each."""
    entries = common.take_drives(module)
    with common.ending(module):
        place = FolderPlace(module.params["dest"])
        run = DriveRun(module, entries, place.result)
        run.carry_out(place)
    run.end()


class FolderPlace(Place):
    """A folder of images on the host that runs the module."""

    result: t.ClassVar[dict[str, t.Any]] = {
        "name": None,
        "path": None,
        "sha256": None,
        "size": None,
        "changed": False,
        "acts_on_refresh": None,
        "new_password": False,
        "encrypted_password": None,
        "error": None,
    }

    def __init__(self, dest: str) -> None:
        """Raises DriveInputError if the folder cannot be used."""
        self.folder = DriveFolder(dest)
        self.exists = self.folder.check()

    def find(self, names: Sequence[str]) -> Iterator[tuple[str, Spot | Exception]]:
        for name in names:
            yield name, Spot(name, self.folder.state(name))

    def facts(self, spot: Spot) -> dict[str, t.Any]:
        return {"path": spot.state.location}

    def read(self, spot: Spot) -> bytes | None:
        return self.folder.read(spot.name)

    def put(self, jobs: Sequence[tuple[Spot, bytes]]) -> Iterator[tuple[str, DriveChange | Exception]]:
        if not self.exists:
            self.folder.create()
            self.exists = True
        for spot, data in jobs:
            try:
                self.folder.write(spot.name, data)
                yield spot.name, DriveChange(True, spot.state.location)
            except ConfigDriveError as error:
                yield spot.name, error

    def remove(self, spots: Sequence[Spot]) -> Iterator[tuple[str, DriveChange | Exception]]:
        for spot in spots:
            try:
                self.folder.remove(spot.name)
                yield spot.name, DriveChange(True, spot.state.location)
            except ConfigDriveError as error:
                yield spot.name, error

    def changing(self) -> contextlib.AbstractContextManager[None]:
        return self.folder.changing()


def run_info(module: AnsibleModule) -> None:
    """Reads drives, and ends the module with what is on them and, for those with a description, what differs."""
    entries = common.take_drives(module)
    wanted = module.params["contents"]
    if wanted == "all" and not module.no_log:
        module.fail_json(
            msg="contents=all returns passwords and user data: set no_log: true on the task, so that they are not shown or logged"
        )
    with common.ending(module):
        drive_input.check_options(module.params["label"], module.params["layouts"])
    descriptions, errors = drive_input.describe(entries)
    paths = [(None, path) for path in module.params["paths"] or []]
    if entries:
        with common.ending(module):
            folder = DriveFolder(module.params["dest"])
        paths += [(name, folder.file(name)) for name in dict.fromkeys(entry["name"] for entry in entries)]
    results = []
    for name, path in paths:
        result = dict(_INFO, name=name, path=path, error=errors.get(name) if name else None)
        if result["error"] is None:
            try:
                result.update(_look(module, path, descriptions.get(name) if name else None, wanted))
            except ConfigDriveError as exc:
                result["error"] = errors[path] = drive_input.named(name, exc) if name else f"{path}: {exc}"
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
    image = images.read(read_bytes(path)) if os.path.lexists(path) else None
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
