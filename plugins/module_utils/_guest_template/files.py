# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The files of a template's system, in a folder or on the disks of an image. Links are followed as in the guest."""

from __future__ import annotations

import os
import stat
import typing as t

FILE, FOLDER, LINK, OTHER = "file", "folder", "link", "other"
MAX_TEXT = 4 << 20
_MAX_NAMES = 65536
_MAX_LINKS = 16
_MAX_TARGET = 4096


class Node(t.NamedTuple):
    """A file, folder, link or something else. mode: permissions; size: bytes; target: where a link leads."""

    kind: str
    mode: int
    size: int
    target: str = ""


class Files:
    """The files of one system. Paths are the system's, without a '/' at the beginning. What is missing gives None or nothing."""

    def _node(self, path: str) -> Node | None:
        """The node at a path whose folders are no links."""
        raise NotImplementedError

    def _names(self, path: str) -> list[str]:
        """The names in a folder, links resolved."""
        raise NotImplementedError

    def _bytes(self, path: str, limit: int) -> bytes:
        """The first bytes of a file, links resolved."""
        raise NotImplementedError

    def resolve(self, path: str, follow_last: bool = True) -> str | None:
        """The path with all links resolved; None if it leads nowhere, or in a circle."""
        todo = [part for part in path.split("/") if part][::-1]
        at: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                at = at[:-1]
                continue
            here = "/".join([*at, part])
            node = self._node(here)
            if node is None:
                return None
            if node.kind == LINK and (todo or follow_last):
                links += 1
                if links > _MAX_LINKS:
                    return None
                if node.target.startswith("/"):
                    at = []
                todo += node.target.split("/")[::-1]
                continue
            if node.kind != FOLDER and any(part not in ("", ".") for part in todo):
                return None
            at.append(part)
        return "/".join(at)

    def node(self, path: str) -> Node | None:
        """The node that the path leads to."""
        real = self.resolve(path)
        return None if real is None else self._node(real)

    def link(self, path: str) -> str | None:
        """The target of a link; None if the path is no link."""
        real = self.resolve(path, follow_last=False)
        node = None if real is None else self._node(real)
        return node.target if node is not None and node.kind == LINK else None

    def there(self, path: str) -> bool:
        """Whether there is anything of that name, even a link that leads nowhere."""
        real = self.resolve(path, follow_last=False)
        return real is not None and self._node(real) is not None

    def is_file(self, path: str) -> bool:
        """Whether the path leads to a file."""
        node = self.node(path)
        return node is not None and node.kind == FILE

    def names(self, path: str) -> list[str]:
        """The names in a folder, sorted."""
        real = self.resolve(path)
        node = None if real is None else self._node(real)
        if real is None or node is None or node.kind != FOLDER:
            return []
        return sorted(self._names(real))[:_MAX_NAMES]

    def data(self, path: str, limit: int = MAX_TEXT) -> bytes | None:
        """The first bytes of a file."""
        real = self.resolve(path)
        node = None if real is None else self._node(real)
        if real is None or node is None or node.kind != FILE:
            return None
        return self._bytes(real, limit)

    def text(self, path: str, limit: int = MAX_TEXT) -> str:
        """The beginning of a file as text, empty if there is no such file. Bytes that are no UTF-8 are replaced."""
        return (self.data(path, limit) or b"").decode("utf-8", "replace")


class FolderFiles(Files):
    """The files of a system whose root is a folder: the running machine's, or a mounted image's."""

    def __init__(self, root: str) -> None:
        self._root = root.rstrip("/")

    def _place(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _node(self, path: str) -> Node | None:
        try:
            found = os.lstat(self._place(path))
            target = os.readlink(self._place(path))[:_MAX_TARGET] if stat.S_ISLNK(found.st_mode) else ""
        except (OSError, ValueError):
            return None
        kind = OTHER
        for test, name in ((stat.S_ISREG, FILE), (stat.S_ISDIR, FOLDER), (stat.S_ISLNK, LINK)):
            if test(found.st_mode):
                kind = name
        return Node(kind, stat.S_IMODE(found.st_mode), found.st_size, target)

    def _names(self, path: str) -> list[str]:
        try:
            return os.listdir(self._place(path))
        except OSError:
            return []

    def _bytes(self, path: str, limit: int) -> bytes:
        try:
            with open(self._place(path), "rb") as stream:
                return stream.read(limit)
        except OSError:
            return b""
