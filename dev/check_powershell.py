#!/usr/bin/env python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prints the syntax errors of PowerShell files (the arguments), found with PowerShell's grammar, so that no PowerShell is needed."""

from __future__ import annotations

import pathlib
import sys
import typing as t

import tree_sitter
import tree_sitter_powershell


def errors(node: tree_sitter.Node) -> t.Iterator[int]:
    """Line numbers, counted from 1, where the grammar cannot read something or something is missing."""
    if node.is_error or node.is_missing:
        yield node.start_point[0] + 1
    elif node.has_error:
        for child in node.children:
            yield from errors(child)


def main() -> int:
    """Prints file:line of every syntax error; the exit code is 1 if there is one."""
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
    found = [
        f"{name}:{line}: not PowerShell"
        for name in sys.argv[1:]
        for line in errors(parser.parse(pathlib.Path(name).read_bytes()).root_node)
    ]
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
