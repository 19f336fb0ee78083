# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the modules with the option O(drives) share: its entries, its secrets, what is said about many drives at once."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import compare, content, readers
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image as images
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import (
    ConfigDriveError,
    DriveInputError,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.passwords import STAND_IN
from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.missing import fail_for
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import first_of

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


_SECRET_TEXTS = ("password", "password_hash", "user_data_base64")
# A shorter text is found in too many innocent places to be masked everywhere.
_SHORTEST_MASKED = 4
_NAMED_IN_MESSAGES = 5
# From this version of ansible-core on, JSON text that comes out of a template stays text.


class DriveModule(AnsibleModule):
    """A module with the option O(drives).

    Ansible ends a module with a wrong argument before its body runs, and masks every text of O(drives) in the sentence then: with
    a VM called C(a), each letter a of it. What is no secret is taken out of the masked texts there, too.
    """

    def __init__(self, **given: t.Any) -> None:
        self._arguments_are_good = False
        super().__init__(**given)
        self._arguments_are_good = True

    def fail_json(self, *args: t.Any, **kwargs: t.Any) -> t.NoReturn:
        if not self._arguments_are_good:
            entries = self.params.get("drives")
            if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries):
                take_drives(self)
        super().fail_json(*args, **kwargs)
        raise AssertionError("not reached")


def take_drives(module: AnsibleModule) -> list[dict[str, t.Any]]:
    """Takes the entries of O(drives) out of the module's parameters and returns them. Modules call it first.

    Ansible can show the parameters whenever a module ends, so only the names stay in them. It also masks every text of an option
    that is no_log as a whole (see _argspec.drives()); of those texts only the secrets stay masked.
    """
    entries = module.params.get("drives") or []
    if entries:
        module.params["drives"] = [{"name": entry.get("name")} for entry in entries]
    module.no_log_values = secrets_of(entries) | _other_secrets(module.argument_spec, module.params)
    return entries


def _other_secrets(spec: Mapping[str, t.Any], params: Mapping[str, t.Any]) -> set[str]:
    """The values of all other options that are no_log, such as the password of the connection."""
    found: set[str] = set()
    for name, option in spec.items():
        value = params.get(name)
        if name == "drives" or value is None:
            continue
        if option.get("no_log"):
            found.add(str(value))
        for inner in (value if isinstance(value, list) else [value]) if option.get("options") else ():
            if isinstance(inner, dict):  # else it is wrong, and Ansible says so
                found |= _other_secrets(option["options"], inner)
    return found - {""}


def secrets_of(entries: Iterable[Mapping[str, t.Any]]) -> set[str]:
    """The texts of the entries that must not be shown.

    The values of a user data mapping are left out: they are ordinary words (V(web), V(1)) that would be masked in names and
    paths; no result or message holds user data to begin with.
    """
    found: set[str] = set()
    for entry in entries:
        for option in _SECRET_TEXTS:
            found.add(str(entry.get(option) or ""))
        for option in ("user_data", "ssh_keys", "vendor_data"):
            value = entry.get(option)
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str):
                    found.add(text.strip())
    return {text for text in found if len(text) >= _SHORTEST_MASKED}


def exit_with(module: AnsibleModule, result: dict[str, t.Any], errors: Mapping[str, str] | None = None) -> t.NoReturn:
    """Ends the module; with errors (sentences by drive) it fails unless told otherwise, after all that could be done was done.

    Ansible compares every text of a result with every secret, which takes longer than the work itself for a thousand
    drives. The results hold no secret; that is made sure of here in one pass, and what is found is left for Ansible to mask.
    """
    if module.params.get("ignore_vm_errors"):
        errors = None  # each is in its drive's result
    if errors:
        result["msg"] = f"{len(errors)} of {len(result['drives'])} drives failed: {summary(errors)}"
    text = json.dumps([result, module.params], ensure_ascii=False, default=str)
    module.no_log_values = {secret for secret in module.no_log_values if json.dumps(secret, ensure_ascii=False)[1:-1] in text}
    if errors:
        module.fail_json(**result)
    module.exit_json(**result)
    raise AssertionError("not reached")


def identity(entry: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Of an entry, only whose drive it is about, and what reads it."""
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
    images.check_label(label)
    if not layouts:
        raise DriveInputError(f"layouts is empty: give at least one of {', '.join(content.LAYOUTS)}")


def check_reader(description: DriveDescription, label: str, layouts: Sequence[str]) -> tuple[str, ...]:
    """What the drive's reader would not do, as warnings. Raises DriveInputError for what it could not use."""
    if description.password_public_key and not description.password:
        description = dataclasses.replace(description, password=STAND_IN)
    verdict = readers.check(description, label, layouts)
    if verdict.errors:
        raise DriveInputError("; ".join(verdict.errors))
    return verdict.warnings


def input_errors(entries: Sequence[Mapping[str, t.Any]], label: str, layouts: Sequence[str]) -> dict[str, str]:
    """What is wrong with entries that are all that will be on their drives, by name; "" for what is wrong with all of them."""
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


@contextlib.contextmanager
def ending(module: AnsibleModule) -> Iterator[None]:
    """Around a module's body: an error that is about no one drive ends it before anything was done."""
    try:
        yield
    except MissingLibrary as error:
        fail_for(module, error)
    except ConfigDriveError as error:
        module.fail_json(msg=f"nothing was changed: {error}", changed=False, drives=[])


def parts(entry: Mapping[str, t.Any], description: DriveDescription) -> dict[str, t.Any]:
    """What an entry says of the parts of a drive, as compare.change() takes it.

    None for what it does not mention, empty for what it takes away.
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


def warn(module: AnsibleModule, warnings: Mapping[str, Sequence[str]]) -> None:
    """Gives each warning once, with the names of the drives it is about. warnings: sentences by drive."""
    by_text: dict[str, list[str]] = {}
    for name, texts in warnings.items():
        for text in texts:
            by_text.setdefault(text, []).append(name)
    for text, names in by_text.items():
        module.warn(f"drive {first_of(names, _NAMED_IN_MESSAGES)}: {text}")


def summary(errors: Mapping[str, str]) -> str:
    """The first few of many errors; each drive's own is in its result."""
    return first_of(list(errors.values()), _NAMED_IN_MESSAGES, "; ")


def diff(header: str, found: Sequence[compare.Difference]) -> dict[str, str]:
    """What differs, the way Ansible shows it: a line per file with its size and digest, never its content."""
    return {
        "before_header": header,
        "after_header": header,
        "before": "".join(f"{item.what}: {_state(item.before)}\n" for item in found if item.before is not None),
        "after": "".join(f"{item.what}: {_state(item.after)}\n" for item in found if item.after is not None),
    }


def _state(state: compare.FileState | str | None) -> str:
    if isinstance(state, compare.FileState):
        return f"{state.size} bytes, {state.digest}"
    return str(state)
