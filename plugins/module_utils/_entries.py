# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What is checked in every list of named entries that a user writes: the list, names and keys. All raise OptionError."""

from __future__ import annotations

import collections
import difflib
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError

if t.TYPE_CHECKING:
    from collections.abc import Iterable


def entries_of(option: str, value: t.Any) -> Sequence[Mapping[str, t.Any]]:
    """The value, if it is a list of mappings."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise OptionError(f"{option} must be a list of mappings")
    for position, entry in enumerate(value):
        if not isinstance(entry, Mapping):
            raise OptionError(f"{option}[{position}] must be a mapping with at least a name")
    return value


def name_of(place: str, entry: Mapping[str, t.Any], what: str) -> str:
    """The entry's name. place: of the entry in its list; what: what it is, both for messages."""
    name = entry.get("name")
    if name is None or name == "":
        raise OptionError(f"{place} has no name: every {what} needs one")
    if not isinstance(name, str):
        raise OptionError(f'{place} name is {name!r}, which YAML takes for no text: put it in quotes, such as "{name}"')
    return name


def check_keys(where: str, entry: Mapping[str, t.Any], known: Sequence[str]) -> None:
    """Refuses a key that is not known."""
    for key in entry:
        if key not in known:
            raise OptionError(f"{where} there is no key {key!r}{nearest(str(key), known)}; use {', '.join(known)}")


def check_names_differ(option: str, names: Iterable[str]) -> None:
    """Refuses two entries of one name."""
    twice = sorted(name for name, number in collections.Counter(names).items() if number > 1)
    if twice:
        raise OptionError(f"{option} has {twice[0]} more than once: names must differ")


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence that asks whether another name was meant; empty if none is near."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""
