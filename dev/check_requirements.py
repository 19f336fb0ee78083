#!/usr/bin/env python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Says which lines of a requirements file this interpreter's environment does not meet; the exit code is their number."""

from __future__ import annotations

import importlib.metadata
import pathlib
import sys
import typing as t

from packaging.requirements import Requirement


def requirements(path: pathlib.Path) -> t.Iterator[Requirement]:
    """The requirements of a file and of the files it includes with -r."""
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            yield from requirements(path.parent / text[3:].strip())
        elif text:
            yield Requirement(text)


def problem(requirement: Requirement) -> str | None:
    """Why the environment does not meet the requirement, or None if it does."""
    if requirement.marker and not requirement.marker.evaluate():
        return None
    try:
        installed = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return "is not installed"
    return None if requirement.specifier.contains(installed, prereleases=True) else f"is installed as {installed}"


def main() -> int:
    """Prints one line for each requirement that is not met."""
    unmet = [f"{req}: {why}" for req in requirements(pathlib.Path(sys.argv[1])) if (why := problem(req))]
    print("\n".join(unmet), file=sys.stderr, end="\n" if unmet else "")
    return min(len(unmet), 100)


if __name__ == "__main__":
    sys.exit(main())
