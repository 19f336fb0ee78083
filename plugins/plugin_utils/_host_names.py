# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Unique names of inventory hosts for VMs, whose own names strangers chose."""

from __future__ import annotations

import dataclasses
import re
import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Collection, Sequence

RESERVED = frozenset(("all", "ungrouped", "localhost", "127.0.0.1", "::1", "implicit localhost"))
_LONGEST = 200  # of the part a stranger chose
_OTHER = re.compile(r"[^\w.-]")


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The name that a host is to have.

    key: the VM, by hypervisor and id. name: the name wanted. more: what is added to it, step by step, as long as it is taken.
    prefix, suffix: around all that.
    """

    key: tuple[str, str]
    name: str
    more: tuple[str, ...]
    prefix: str = ""
    suffix: str = ""

    def at(self, step: int) -> str | None:
        if step > len(self.more):
            return None
        return self.prefix + ".".join((self.name, *self.more[:step])) + self.suffix


@dataclasses.dataclass(frozen=True)
class Names:
    """names: by VM; renamed and left_out: VMs whose name was taken, with the name wanted."""

    names: dict[tuple[str, str], str]
    renamed: dict[tuple[str, str], str]
    left_out: dict[tuple[str, str], str]


def clean(text: str) -> str:
    """`text` with an underscore for every character but letters, digits, dots, underscores and hyphens.

    So no host name has a character with a meaning in patterns, paths or templates. A dot or hyphen is never first.
    """
    text = _OTHER.sub("_", text[:_LONGEST])
    return "_" + text[1:] if text[:1] in (".", "-") else text


def unique_names(hosts: Sequence[Wanted], taken: Collection[str]) -> Names:
    """A name for each host that no other host has and that is not in `taken` or RESERVED (upper and lower case are one there).

    Of several hosts that want one name none gets it, and each gets its next addition; otherwise the order of creation would decide whose
    variables a VM gets. This is repeated until nothing collides; a host without a further addition is left out.
    """
    closed = {name.lower() for name in taken} | RESERVED
    steps = {host.key: 0 for host in hosts}
    while True:
        by_name: dict[str, list[Wanted]] = {}
        for host in hosts:
            name = host.at(steps[host.key])
            if name is not None:
                by_name.setdefault(name.lower(), []).append(host)
        colliding = [host for name, own in by_name.items() if len(own) > 1 or name in closed for host in own]
        if not colliding:
            break
        for host in colliding:
            steps[host.key] += 1
    result = Names({}, {}, {})
    for host in hosts:
        name = host.at(steps[host.key])
        if name is None:
            result.left_out[host.key] = host.name
            continue
        result.names[host.key] = name
        if steps[host.key]:
            result.renamed[host.key] = host.name
    return result
