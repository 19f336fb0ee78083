# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""User data that was JSON text before a template of ansible-core 2.18 made a mapping of it.

The template's result does not show which it was, but what the user wrote does: a mapping that is written as one in a task or variable
is one; a mapping that comes out of a template may have been text.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping, Sequence

from ansible.release import __version__ as core_version

_KEEPS_TEXT = (2, 19)
# A template that is nothing but a variable, with or without a default.
_VARIABLE = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*(?:\|\s*default\([^()]*\)\s*)?\}\}")
_LONGEST_CHAIN = 20


def doubtful(entries: t.Any, written: t.Any, variables: Mapping[str, t.Any]) -> list[str]:
    """Names of those entries whose user_data is a mapping now, and is not known to have been one; none on ansible-core 2.19 or later.

    entries: VMs or drives, templated. written: the same entries, not templated. variables: not templated.
    """
    if tuple(map(int, core_version.split(".")[:2])) >= _KEEPS_TEXT or not _is_list(entries):
        return []
    originals = _looked_up(written, variables)
    if not _is_list(originals) or len(originals) != len(entries):
        originals = [None] * len(entries)
    return [
        str(entry.get("name"))
        for entry, original in zip(entries, originals, strict=True)
        if isinstance(entry, Mapping)
        and isinstance(entry.get("user_data"), Mapping)
        and not _was_mapping(_looked_up(original, variables), variables)
    ]


def sentence(name: str) -> str:
    """What to tell about the VM or drive `name`, and the way out."""
    return (
        f"{name}: user_data is a mapping, and ansible-core {core_version} makes a mapping of JSON text as well, so that nobody can tell "
        """which was given: give JSON text as user_data_base64: "{{ lookup('ansible.builtin.file', 'data.json') | b64encode }}", and write """
        "a mapping that is to become key=value lines into the entry itself, not into a template"
    )


def _was_mapping(entry: t.Any, variables: Mapping[str, t.Any]) -> bool:
    return isinstance(entry, Mapping) and isinstance(_looked_up(entry.get("user_data"), variables), Mapping)


def _looked_up(value: t.Any, variables: Mapping[str, t.Any]) -> t.Any:
    """The untemplated value of the variable that the template `value` consists of, step by step; every other value as it is."""
    for _step in range(_LONGEST_CHAIN):
        match = _VARIABLE.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None or match[1] not in variables:
            break
        value = variables[match[1]]
    return value


def _is_list(value: t.Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
