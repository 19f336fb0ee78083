# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the modules with the option O(drives) share: its entries, its secrets, messages about many drives."""

from __future__ import annotations

import contextlib
import json
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import compare
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import ConfigDriveError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.drive_input import summary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.missing import fail_for
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import first_of

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


_SECRET_TEXTS = ("password", "password_hash", "user_data_base64")
# Characters; a shorter text is part of too many harmless words to be masked everywhere.
_SHORTEST_MASKED = 4


class DriveModule(AnsibleModule):
    """A module with the option O(drives).

    Ansible itself ends a module with a wrong argument, and masks every text of O(drives) in the message: each letter a for
    a VM called C(a). So what is no secret is taken out of the masked texts before.
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
    """Takes the entries of O(drives) out of the module's parameters and returns them. Modules call this first.

    Ansible may show the parameters when a module ends, so only names stay in them. It also masks every text of an option that is
    no_log as a whole (see _argspec.drives()); after this, only the secrets are masked.
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

    The values of a user data mapping are left out: no result or message holds user data, and common words (V(web), V(1)) would be
    masked in names and paths.
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
    """Ends the module. errors: sentences by drive; with any the module fails, unless ignore_vm_errors is set.

    Ansible compares every text of a result with every secret, which takes longer than the work itself for a thousand drives. No
    result should hold a secret: this checks it in one pass, and leaves only those that were found for Ansible to mask.
    """
    if module.params.get("ignore_vm_errors"):
        errors = None  # each drive's result has its error
    if errors:
        result["msg"] = f"{len(errors)} of {len(result['drives'])} drives failed: {summary(errors)}"
    text = json.dumps([result, module.params], ensure_ascii=False, default=str)
    module.no_log_values = {secret for secret in module.no_log_values if json.dumps(secret, ensure_ascii=False)[1:-1] in text}
    if errors:
        module.fail_json(**result)
    module.exit_json(**result)
    raise AssertionError("not reached")


@contextlib.contextmanager
def ending(module: AnsibleModule) -> Iterator[None]:
    """Around the checks of a module: an error ends it before anything was changed."""
    try:
        yield
    except MissingLibrary as error:
        fail_for(module, error)
    except ConfigDriveError as error:
        module.fail_json(msg=f"nothing was changed: {error}", changed=False, drives=[])


def warn(module: AnsibleModule, warnings: Mapping[str, Sequence[str]]) -> None:
    """Gives each warning once, with the names of the drives it is about. warnings: sentences by drive."""
    by_text: dict[str, list[str]] = {}
    for name, texts in warnings.items():
        for text in texts:
            by_text.setdefault(text, []).append(name)
    for text, names in by_text.items():
        module.warn(f"drive {first_of(names)}: {text}")


def diff(header: str, found: Sequence[compare.Difference]) -> dict[str, str]:
    """A diff for Ansible: a line for each file with its size and digest, never its content."""
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
