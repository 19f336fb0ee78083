# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Folders and files of the file systems that guests have, behind one small interface: what is there, and its last bytes."""

from __future__ import annotations

import itertools
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk import dissect_import as dissect
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk import ext4_journal

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Bounds on what one guest may make us look at.
MAX_NAMES = 4096
_MAX_LINKS = 16
_MAX_DEPTH = 64
_MAX_TARGET = 4096
_DIR, _LINK, _FILE, _TYPE = 0o040000, 0o120000, 0o100000, 0o170000


class File(t.NamedTuple):
    """The last bytes of a file, its whole size, and when it was last written (Unix seconds, the guest's clock)."""

    data: bytes
    size: int
    mtime: float


class Tree:
    """One file system. Paths are relative to its root, with '/'; a missing one gives None or nothing."""

    #: When the file system was last mounted for writing, Unix seconds by the guest's clock; None where it keeps no such time.
    mounted: t.Optional[float] = None

    def __init__(self, root: t.Any) -> None:
        self._root = root

    # What file systems do differently; nodes are the library's.
    def _entries(self, node: t.Any) -> Iterator[tuple[str, t.Any]]:
        for child in node.iterdir():
            yield child.filename, child

    def _mode(self, node: t.Any) -> int:
        return node.filetype

    # The same, for who looks at every node of a path.
    def entries_of(self, node: t.Any) -> Iterator[tuple[str, t.Any]]:
        """Names and nodes in a folder."""
        return self._entries(node)

    def mode_of(self, node: t.Any) -> int:
        """The type's bits of a node's mode."""
        return self._mode(node)

    def permissions_of(self, node: t.Any) -> int:
        """The permissions' bits of a node's mode."""
        record = node.inode
        names = (name for name in ("i_mode", "di_mode", "mode") if hasattr(record, name))
        return int(getattr(record, next(names))) & 0o7777

    def target_of(self, node: t.Any) -> str:
        """Where a link leads."""
        return self._target(node)

    def names(self, path: str) -> list[str]:
        """The names in a folder, at most MAX_NAMES."""
        node = self.find(path)
        if node is None or self._mode(node) & _TYPE != _DIR:
            return []
        return [name for name, _node in itertools.islice(self._entries(node), MAX_NAMES) if name not in (".", "..")]

    def exists(self, path: str) -> bool:
        """Whether there is such a path."""
        return self.find(path) is not None

    def read(self, path: str, limit: int) -> File | None:
        """The last `limit` bytes of a file."""
        node = self.find(path)
        if node is None or self._mode(node) & _TYPE != _FILE:
            return None
        size = node.size
        stream = node.open()
        stream.seek(max(0, size - limit))
        return File(stream.read(min(limit, size)), size, node.mtime_ns / 1e9)

    def open(self, path: str) -> t.Any:
        """The content of a file as a file-like object, None if there is no such file."""
        node = self.find(path)
        return None if node is None or self._mode(node) & _TYPE != _FILE else node.open()

    def find(self, path: str) -> t.Any:
        """The node of a path, links followed as the guest would, or None."""
        todo = [part for part in path.split("/") if part][::-1]
        at = [self._root]
        links = 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                at = at[:-1] or at
                continue
            if self._mode(at[-1]) & _TYPE != _DIR or len(at) > _MAX_DEPTH:
                return None
            node = self._child(at[-1], part)
            if node is None:
                return None
            if self._mode(node) & _TYPE == _LINK:
                links += 1
                target = self._target(node)
                if links > _MAX_LINKS:
                    return None
                if target.startswith("/"):
                    at = [self._root]
                todo += target.split("/")[::-1]
                continue
            at.append(node)
        return at[-1]

    def _child(self, node: t.Any, name: str) -> t.Any:
        for found, child in itertools.islice(self._entries(node), 16 * MAX_NAMES):
            if found == name:
                return child
        return None

    def _target(self, node: t.Any) -> str:
        return node.link if node.size <= _MAX_TARGET else ""


class ExtTree(Tree):
    """ext2, ext3 and ext4, the journal replayed."""

    def __init__(self, volume: t.Any) -> None:
        system = dissect.ExtFS(volume)
        recover = system.sb.s_feature_incompat & 0x4
        if recover and system.sb.s_journal_inum:
            volume = ext4_journal.replayed(volume, system.get_inode(system.sb.s_journal_inum).open())
            system = dissect.ExtFS(volume)
        super().__init__(system.root)
        # Written at each mount for writing, so it is when the guest started.
        self.mounted = float(system.sb.s_mtime) or None


class XfsTree(Tree):
    """XFS as it is on the disk; what is only in its log is seen later."""

    def __init__(self, volume: t.Any) -> None:
        super().__init__(dissect.XFS(volume).root)


class BtrfsTree(Tree):
    """btrfs: one device, from the root of the default subvolume."""

    def __init__(self, volume: t.Any, root: t.Any = None) -> None:
        self._system: t.Any = dissect.Btrfs(volume) if root is None else None
        super().__init__(root if self._system is None else self._system.root)

    def _entries(self, node: t.Any) -> Iterator[tuple[str, t.Any]]:
        return node.iterdir()

    def _mode(self, node: t.Any) -> int:
        return node.mode

    def roots(self) -> Sequence[Tree]:
        """The subvolumes that may be a system's root: the default one, and those that lie in the top of the tree."""
        found: list[Tree] = [self]
        top = self._system.fs_tree.root
        if top.subvolume.objectid != self._root.subvolume.objectid:
            found.append(BtrfsTree(None, top))
        for name, node in itertools.islice(top.iterdir(), MAX_NAMES):
            if (
                name not in (".", "..")
                and node.mode & _TYPE == _DIR
                and node.subvolume.objectid
                not in (
                    top.subvolume.objectid,
                    self._root.subvolume.objectid,
                )
            ):
                found.append(BtrfsTree(None, node))
        return found[:16]


class FatTree(Tree):
    """FAT: EFI partitions, and disks of small appliances."""

    def __init__(self, volume: t.Any) -> None:
        super().__init__(dissect.FATFS(volume).root)

    def _entries(self, node: t.Any) -> Iterator[tuple[str, t.Any]]:
        for child in node.iterdir():
            # A short name is kept in capitals; Linux, which wrote it in small letters, shows it in them.
            yield child.name.lower() if child.name.isupper() else child.name, child

    def _mode(self, node: t.Any) -> int:
        return _DIR if node.is_directory() else _FILE

    def read(self, path: str, limit: int) -> File | None:
        """See Tree."""
        node = self.find(path)
        if node is None or node.is_directory():
            return None
        stream = node.open()
        stream.seek(max(0, node.size - limit))
        return File(stream.read(min(limit, node.size)), node.size, node.mtime.timestamp())


class NtfsTree:
    """NTFS: only files by their path, which is all that is asked of it."""

    mounted = None

    def __init__(self, volume: t.Any) -> None:
        self._system = dissect.NTFS(volume)

    def open(self, path: str) -> tuple[t.Any, int] | None:
        """The content of a file, as a file-like object, and its size."""
        try:
            record = self._system.mft.get(path)
        except FileNotFoundError:
            return None
        return record.open(), record.size()
