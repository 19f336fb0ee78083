# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Which VMs are ours: the option vm_filter, the same for a look, a watch and the inventory."""

from __future__ import annotations

import dataclasses
import fnmatch
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError

if t.TYPE_CHECKING:
    from collections.abc import Collection, Sequence

# What VMs of a type do not have.
_NOT_THERE = {"kvm": ("folders", "tags", "exclude_tags"), "xenserver": ("folders",), "vmware": ()}


@dataclasses.dataclass(frozen=True)
class VmFilter:
    """Patterns with *, ? and [...], in which upper and lower case differ. Empty ones choose all, or exclude none."""

    names: tuple[str, ...] = ()
    exclude_names: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    exclude_tags: tuple[str, ...] = ()

    @property
    def needs_labels(self) -> bool:
        """Whether folders or tags have to be read."""
        return bool(self.folders or self.tag_patterns)

    @property
    def tag_patterns(self) -> tuple[str, ...]:
        """Patterns of all tags that matter."""
        return self.tags + self.exclude_tags

    def chooses(self, name: str, folder: str | None, tags: Collection[str]) -> bool:
        """Whether a VM is ours. folder: its path, such as V(/DC0/vm/web)."""
        return (
            (not self.names or _fits([name], self.names))
            and not _fits([name], self.exclude_names)
            and (not self.folders or _fits(_with_parents(folder), self.folders))
            and (not self.tags or _fits(tags, self.tags))
            and not _fits(tags, self.exclude_tags)
        )


def read_vm_filter(given: t.Any, hypervisor_type: str | None = None) -> VmFilter | None:
    """The option as a person wrote it; None where it says nothing. Raises OptionError, also for what VMs of this type of hypervisor do not have."""
    if given is None:
        return None
    known = [field.name for field in dataclasses.fields(VmFilter)]
    if not isinstance(given, dict):
        raise OptionError(f"vm_filter is {given!r}: give a dictionary with {', '.join(known)}")
    patterns: dict[str, tuple[str, ...]] = {}
    for key, value in given.items():
        if key not in known:
            raise OptionError(f"vm_filter has {key!r}: use {', '.join(known)}")
        words = [] if value is None else [value] if isinstance(value, str) else value
        if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) and word for word in words):
            raise OptionError(f"vm_filter.{key} is {value!r}: give a list of patterns, such as [web*]")
        if words and key in _NOT_THERE.get(hypervisor_type or "", ()):
            raise OptionError(
                f"vm_filter.{key}: VMs of hypervisor.type {hypervisor_type} have no {key.rpartition('_')[2]}: choose them by names"
            )
        # A folder may be written with or without a slash at its ends.
        patterns[key] = tuple("/" + word.strip("/") if key == "folders" else word for word in words)
    return VmFilter(**patterns) if any(patterns.values()) else None


def _fits(words: Collection[str], patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(word, pattern) for word in words for pattern in patterns)


def _with_parents(folder: str | None) -> list[str]:
    parts = (folder or "").strip("/").split("/")
    return ["/" + "/".join(parts[:end]) for end in range(1, len(parts) + 1)] if folder else []
