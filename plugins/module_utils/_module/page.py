# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Pages of long results: the options limit and offset, and the warning about what is on further pages."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible.module_utils.basic import AnsibleModule

    Entry = t.TypeVar("Entry")

LENGTH = 5000  # entries of a page whose limit is not set
MAX_NUMBER = 2**62 - 1  # limit and offset together must fit into an integer of the databases


def check(module: AnsibleModule, **least: int) -> None:
    """Ends the module if one of these options is below its least value, or too large for a database."""
    for option, number in least.items():
        value = module.params[option]
        if value is not None and not number <= value <= MAX_NUMBER:
            module.fail_json(msg=f"{option} is {value}: it must be from {number} to {MAX_NUMBER}")


def length(module: AnsibleModule, option: str) -> int | None:
    """How many entries a page has by this option: LENGTH if it is not set; None, which means all, if it is 0."""
    limit = module.params[option]
    return LENGTH if limit is None else limit or None


def page_of(module: AnsibleModule, what: str, entries: Sequence[Entry]) -> Sequence[Entry]:
    """The page of the entries that the options limit and offset ask for; what: what they are, for people."""
    page = entries[module.params["offset"] :][: length(module, "limit")]
    warn_of_more(module, what, len(page), len(entries), "limit", "offset")
    return page


def warn_of_more(module: AnsibleModule, what: str, count: int, total: int, limit: str, offset: str) -> None:
    """Warns that `count` entries are not the last ones of `total`, if the user set no limit."""
    end = module.params[offset] + count
    if module.params[limit] is None and count and end < total:
        module.warn(f"these are {count} of {total} {what}: the next ones come with {offset}={end}, all at once with {limit}=0")
