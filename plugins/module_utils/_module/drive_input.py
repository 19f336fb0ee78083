# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the entries of the option drives say, and what is wrong with them. Filters use it, too: it needs no library of images."""

from __future__ import annotations

import collections
import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import content, readers
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import ConfigDriveError, DriveInputError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.labels import check_label
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.passwords import STAND_IN
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import first_of

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def identity(entry: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The entry's name, VM id and reader, without its data."""
    metadata = entry.get("metadata") or {}
    vm_id = next((metadata[key] for key in ("vm_id", "vm-id") if metadata.get(key)), None)
    return {"name": entry["name"], "metadata": {"vm_id": vm_id}, "reader": entry.get("reader")}


def describe(entries: Sequence[Mapping[str, t.Any]]) -> tuple[dict[str, DriveDescription], dict[str, str]]:
    """The descriptions by name, and what is wrong with the others, by name."""
    descriptions: dict[str, DriveDescription] = {}
    errors: dict[str, str] = {}
    counts = collections.Counter(str(entry.get("name")) for entry in entries)
    for entry in entries:
        name = str(entry.get("name"))
        if counts[name] > 1:
            errors[name] = f"drive {name} is in the list {counts[name]} times: keep one of them"
            continue
        try:
            descriptions[name] = DriveDescription.from_option(entry)
        except DriveInputError as exc:
            errors[name] = str(exc)
    return descriptions, errors


def check_options(label: str, layouts: Sequence[str]) -> None:
    """Raises DriveInputError for a label or layouts that no drive can have."""
    check_label(label)
    if not layouts:
        raise DriveInputError(f"layouts is empty: give at least one of {', '.join(content.LAYOUTS)}")


def check_reader(description: DriveDescription, label: str, layouts: Sequence[str]) -> tuple[str, ...]:
    """Warnings about what the drive's reader will not do. Raises DriveInputError for a drive that it cannot use."""
    if description.password_public_key and not description.password:
        description = dataclasses.replace(description, password=STAND_IN)
    verdict = readers.check(description, label, layouts)
    if verdict.errors:
        raise DriveInputError("; ".join(verdict.errors))
    return verdict.warnings


def input_errors(entries: Sequence[Mapping[str, t.Any]], label: str, layouts: Sequence[str]) -> dict[str, str]:
    """What is wrong with entries that describe whole drives, by name; "" for what is wrong with the options."""
    try:
        check_options(label, layouts)
    except ConfigDriveError as error:
        return {"": str(error)}
    descriptions, errors = describe(entries)
    for name, description in descriptions.items():
        try:
            content.files_of(description, layouts)
            check_reader(description, label, layouts)
        except ConfigDriveError as error:
            errors[name] = named(name, error)
    return errors


def named(name: str, error: Exception) -> str:
    """The error as a sentence that names the drive."""
    text = str(error)
    return text if text.startswith((f"drive {name}: ", f"{name}: ", f"{name} ")) else f"drive {name}: {text}"


def parts(entry: Mapping[str, t.Any], description: DriveDescription) -> dict[str, t.Any]:
    """The entry's changes of the parts of a drive, as compare.change() takes them.

    None for a part that it does not mention, empty for one that it removes.
    """
    user_data = description.user_data
    if user_data is None and (entry.get("user_data") is not None or entry.get("user_data_base64") is not None):
        user_data = b""
    return {
        "password": "" if entry.get("password") == "" else description.password,
        "password_hash": description.password_hash,
        "reader": description.reader,
        "ssh_keys": description.ssh_keys,
        "user_data": user_data,
        "metadata": {key: value for key, value in description.metadata.items() if _mentions(entry.get("metadata") or {}, key)},
    }


def _mentions(metadata: Mapping[str, t.Any], key: str) -> bool:
    return any(given.replace("-", "_") == key.replace("-", "_") for given in metadata)


def summary(errors: Mapping[str, str]) -> str:
    """The first few of many errors; each drive's own is in its result."""
    return first_of(list(errors.values()), between="; ")
