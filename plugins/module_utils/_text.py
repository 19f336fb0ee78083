# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Other people's texts made safe to show: tenants choose the names of VMs, and guests what their agents say.

Such texts pass through here before they are shown in any message, table, progress line, log line or event.
"""

from __future__ import annotations

import hashlib
import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_NAME = 255  # characters; what the record's columns hold
MAX_MESSAGE = 500
NAMED = 5  # so many names or sentences of one kind stand in one message
_DIGEST = 8
_LONGEST_PATH = 1000
_MAX_TAGS = 64


def plain(text: str, longest: int = MAX_MESSAGE) -> str:
    r"""`text` as printable characters on one line, at most `longest` of them; a cut one ends in V(~).

    What is not printable (line ends, terminal and bidi controls, zero-width characters, all blanks but the space, lone
    surrogates) is written as in Python's literals, such as V(\x9b) or V(\u202e). A text that is plain already stays as it is.
    """
    if len(text) <= longest and text.isprintable():
        return text
    # Each character becomes at least one, so what is beyond the limit is cut in any case.
    shown = "".join(char if char.isprintable() else _escape(char) for char in text[: longest + 1])
    return shown if len(shown) <= longest else shown[: longest - 1] + "~"


def plain_name(name: str, vm_id: str = "") -> str:
    """The name a VM goes by here: its own made plain, or its id where it has none or a blank one.

    Long names that differ only beyond the limit stay different. A result given to plain_name() again stays as it is.
    """
    shown = plain(name, MAX_NAME)
    if not shown.strip():
        return vm_id or shown
    if shown.endswith("~") and (len(name) > MAX_NAME or not name.isprintable()):
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
        shown = f"{shown[: MAX_NAME - 1 - _DIGEST]}~{digest}"
    return shown


def plain_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags of a VM, sorted and made plain, the first 64 of them: anybody may have written them."""
    return tuple(plain(tag, MAX_NAME) for tag in sorted(tags)[:_MAX_TAGS])


def plain_path(names: Sequence[str]) -> str | None:
    """A folder's path from the top, such as V(/DC0/vm/web); None where it is in none."""
    return plain("/" + "/".join(names), _LONGEST_PATH) if names else None


def first_of(texts: Sequence[str], most: int = NAMED, between: str = ", ") -> str:
    """The first few texts, and how many there are beyond them: V(a, b and 3 more), or V(a; b; and 3 more) with V(; ) between."""
    more = f"{between.strip(', ')} and {len(texts) - most} more" if len(texts) > most else ""
    return between.join(texts[:most]) + more


def counted(number: int, one: str, many: str = "") -> str:
    """The number and what there is of it: V(1 VM), V(2 VMs). many: the plural, one with an s if not given."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
