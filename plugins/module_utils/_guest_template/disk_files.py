# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The files on an image's disk, read without mounting it and without root, in a process of its own with limits."""

from __future__ import annotations

import re
import stat
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk import volumes
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.files import (
    FILE,
    FOLDER,
    LINK,
    OTHER,
    Files,
    Node,
)

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk.blocks import Blocks

_KINDS = {stat.S_IFREG: FILE, stat.S_IFDIR: FOLDER, stat.S_IFLNK: LINK}
# Folders that may be a file system or subvolume of their own, and folders in them by which they are recognized.
_PARTS = {"var": ("lib", "log"), "usr": ("bin", "lib", "share")}
_MAX_ENTRIES = 65536


class NoSystem(Exception):
    """The image holds no Linux system; the message says what it holds."""


class DiskFiles(Files):
    """The files of several file systems. mounts: their trees by the folder on which they are mounted, '' for the root."""

    def __init__(self, mounts: dict[str, t.Any]) -> None:
        self._mounts = mounts
        self._listed: dict[str, dict[str, t.Any]] = {}

    def _found(self, path: str) -> tuple[t.Any, t.Any] | None:
        """The tree and its node for a path without links."""
        if path in self._mounts:
            tree = self._mounts[path]
            return tree, tree.find("")
        folder, _sep, name = path.rpartition("/")
        above = self._found(folder)
        if above is None:
            return None
        if folder not in self._listed:
            self._listed[folder] = dict(self._children(*above))
        node = self._listed[folder].get(name)
        return None if node is None else (above[0], node)

    def _children(self, tree: t.Any, node: t.Any) -> Iterator[tuple[str, t.Any]]:
        if stat.S_IFMT(tree.mode_of(node)) != stat.S_IFDIR:
            return
        for number, entry in enumerate(tree.entries_of(node)):
            if number > _MAX_ENTRIES:
                break
            if entry[0] not in (".", ".."):
                yield entry

    def _node(self, path: str) -> Node | None:
        found = self._found(path)
        if found is None:
            return None
        tree, node = found
        mode = tree.mode_of(node)
        kind = _KINDS.get(stat.S_IFMT(mode), OTHER)
        return Node(kind, tree.permissions_of(node), node.size, tree.target_of(node) if kind == LINK else "")

    def _names(self, path: str) -> list[str]:
        found = self._found(path)
        return [] if found is None else [name for name, _node in self._children(*found)]

    def _bytes(self, path: str, limit: int) -> bytes:
        found = self._found(path)
        return b"" if found is None else bytes(found[1].open().read(min(limit, found[1].size)))


def system_of(disks: Sequence[Blocks]) -> DiskFiles:
    """The system that the disks hold. Raises NoSystem, and what the readers of file systems raise."""
    notes: set[str] = set()
    trees: list[t.Any] = []
    kinds: set[str] = set()
    for kind, volume in volumes.volumes(disks, notes):
        kinds.add(kind)
        tree = volumes.open_tree(kind, volume) if kind in (volumes.EXT, volumes.XFS, volumes.BTRFS) else None
        if tree is not None:
            trees += tree.roots() if kind == volumes.BTRFS else [tree]
    root = next((tree for tree in trees if tree.exists("etc") and (tree.exists("usr") or tree.exists("bin"))), None)
    if root is None:
        raise NoSystem(_why_not(kinds, notes))
    mounts = {"": root}
    for folder, signs in _PARTS.items():
        if not root.names(folder):
            part = next((tree for tree in trees if tree is not root and all(tree.exists(name) for name in signs)), None)
            if part is not None:
                mounts[folder] = part
    return DiskFiles(mounts)


def _why_not(kinds: set[str], notes: set[str]) -> str:
    if volumes.ENCRYPTED in kinds:
        return "its disk is encrypted"
    if volumes.NTFS in kinds:
        return "it is a Windows disk: check the running VM"
    found = ", ".join(sorted(re.sub(r"[^a-z0-9_]", "", word) for word in kinds | notes)) or "nothing that is known"
    return f"it holds no Linux system (found: {found})"
