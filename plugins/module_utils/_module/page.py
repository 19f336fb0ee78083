# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Pages of long results: the options limit and offset, and the warning about a result that is too long."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible.module_utils.basic import AnsibleModule

    Entry = t.TypeVar("Entry")

MANY = 5000  # entries in one result
MAX_NUMBER = 2**62 - 1  # limit and offset together must fit into an integer of the databases


def check(module: AnsibleModule, **least: int) -> None:
    """Ends the module if one of these options is below its least value, or too large for a database."""
    for option, number in least.items():
        value = module.params[option]
        if value is not None and not number <= value <= MAX_NUMBER:
            module.fail_json(msg=f"{option} is {value}: it must be from {number} to {MAX_NUMBER}")


def page_of(module: AnsibleModule, what: str, entries: Sequence[Entry]) -> Sequence[Entry]:
    """The page of the entries that the options limit and offset ask for; what: what they are, for people."""
    params = module.params
    page = entries[params["offset"] :][: params["limit"]]
    warn_of_many(module, what, len(page), "limit", "offset")
    return page


def warn_of_many(module: AnsibleModule, what: str, count: int, limit: str, offset: str) -> None:
    """Warns of a result that is longer than it should be, if no limit is set."""
    if module.params[limit] is None and count > MANY:
        module.warn(f"the result has {count} {what}, and AWX drops large ones: read them with {limit} and {offset}")
