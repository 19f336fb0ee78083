# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The names of VMs that a user gave, as a list."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError


def names_of(value: t.Any, option: str) -> list[str] | None:
    """The names in the order given, each once; None where none were given, which means all.

    A list is taken as it is. A text, as C(-e) gives it, is a list in JSON, or names with commas between them and perhaps blanks
    around them. option: its name, for messages. Raises OptionError.
    """
    if value is None:
        return None
    words = _split(value, option) if isinstance(value, str) else value
    if not isinstance(words, (list, tuple)):
        raise OptionError(f"{option} is {words!r}, which is no list of names: {_way_out(option)}")
    for word in words:
        if not isinstance(word, str):
            raise OptionError(f"{option} has {word!r}, which is no text: put names in quotes; {_way_out(option)}")
        if not word.strip():
            raise OptionError(f"{option} has an empty name: {_way_out(option)}")
    return list(dict.fromkeys(str(word) for word in words))


def _split(text: str, option: str) -> t.Any:
    if text.strip()[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except ValueError:
            raise OptionError(f"{option} is {text!r}, which is no list in JSON: {_way_out(option)}") from None
    return [word.strip() for word in text.split(",")]


def _way_out(option: str) -> str:
    if not option.startswith("vm_"):  # an option of a module, not a variable
        return "give a list such as [web1, web2], or a text with commas between the names"
    return f"""use -e {option}=web1,web2 or -e '{{"{option}": ["web1", "web2"]}}'"""
