# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands that the pages tell people to type, for the tests that run them."""

from __future__ import annotations

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
#: By their paths in the checkout.
PAGES = {
    page.relative_to(ROOT).as_posix(): page
    for page in sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("tests/rigs/*/README.md")])
}
#: What a page says beside a command, or in a line of its own above the commands of a block, that no test can run.
MARK = "# cannot be run by a test: "
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"(^|\s+)#.*$")


def commands(page: pathlib.Path) -> list[str]:
    """Those that are to be run, in their order, as they stand on the page but for comments."""
    found = []
    for language, text in _BLOCK.findall(page.read_text()):
        lines = text.splitlines()
        if language != "sh" or lines[0].startswith(MARK):
            continue
        found += [command for line in lines if MARK not in line and (command := _COMMENT.sub("", line))]
    return found


def elsewhere(page: pathlib.Path) -> list[str]:
    """What looks like a command in a block of another kind, where nobody would run it. What a block of output begins with may."""
    lines = [
        line
        for language, text in _BLOCK.findall(page.read_text())
        if language not in ("sh", "console")
        for line in text.splitlines()
    ]
    return [line for line in lines if re.match(r"(ansible-\w+|virsh|pip|sudo|make) ", line)]
