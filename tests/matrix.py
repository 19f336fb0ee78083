# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The support matrix: the claims that tests make with the marker `matrix`, and docs/matrix.md made of them.

    python tests/matrix.py OUTCOMES

prints the page of the tests that passed. OUTCOMES is what `pytest --matrix OUTCOMES` wrote; `make matrix` does both.
"""

from __future__ import annotations

import ast
import collections
import json
import pathlib
import sys
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "matrix.md"
#: What a test can show, in the order of the page's columns.
COLUMNS = ("user data", "password", "SSH key", "address: guest tools", "address: disk", "address: ARP")
#: How it was shown, the strongest way first.
HOW = ("real", "third-party simulator", "own simulator", "parsed only")
HEAD = """\
<!--
Copyright (c) 2026, vmops maintainers
GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
SPDX-License-Identifier: GPL-3.0-or-later
-->

# Support matrix

What was shown to work, and how. `make matrix` runs the tests below and writes this page from those that passed; do not edit it.

- **real**: a real hypervisor (libvirt and QEMU, with emulation in place of KVM where a machine has none) and a real guest, which was
  started, read its drive and was asked.
- **third-party simulator**: somebody else's stand-in for the hypervisor, behind corrections of ours. No guest runs in it.
- **own simulator**: a stand-in of this project's, for the hypervisor or for the system that a guest script runs in.
- **parsed only**: the reader's own code, or ours, read the data; nothing acted on them.
- **-**: no test shows it. It may work.

Where no guest runs, *user data*, *password* and *SSH key* mean that the drive that holds them is in the VM, and an address is one
that the simulator says the guest has. Otherwise they mean: the user data were saved or run, the password lets one in or was handed
to what sets it, and the key stands in `authorized_keys`. *Address* is where it was learnt: guest tools (QEMU guest agent, XenServer's
guest metrics, VMware Tools), the guest's disk (lease file, Windows registry), or the KVM host's ARP table. *Any* hypervisor is a test
that has none: it begins with the drive, or with a file of the guest's.

"""


class Claim(t.NamedTuple):
    """The claim of one marker about its test."""

    row: tuple[str, str, str]
    proves: tuple[str, ...]
    how: str
    #: The test's file and function.
    test: str


def claim(test: str, *, hypervisor: str, guest: str, reader: str, how: str, proves: t.Iterable[str]) -> Claim:
    """The claim of a marker with these arguments.

    Raises ValueError for words that the page does not know.
    """
    found = Claim((hypervisor, guest, reader), tuple(proves), how, test)
    unknown = [word for word in found.proves if word not in COLUMNS] + ([how] if how not in HOW else [])
    if unknown or not found.proves:
        raise ValueError(f"{test}: the marker matrix does not know {unknown or 'what this proves'}")
    return found


def marked() -> list[Claim]:
    """The claims of all tests, passed or not."""
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "pytest.mark.matrix(" not in text:
            continue
        for function in ast.parse(text).body:
            for mark in function.decorator_list if isinstance(function, ast.FunctionDef) else []:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.matrix":
                    words = {keyword.arg or "": ast.literal_eval(keyword.value) for keyword in mark.keywords}
                    found.append(claim(f"{path.relative_to(ROOT)}::{function.name}", **words))
    return found


def passed(outcomes: pathlib.Path) -> set[str]:
    """Tests that ran and all of whose cases passed."""
    lines = [json.loads(line) for line in outcomes.read_text(encoding="utf-8").splitlines()]
    return {line["test"] for line in lines} - {line["test"] for line in lines if not line["passed"]}


def page(claims: t.Iterable[Claim]) -> str:
    """docs/matrix.md."""
    rows: dict[tuple[str, str, str], list[Claim]] = collections.defaultdict(list)
    for one in claims:
        rows[one.row].append(one)
    text = HEAD + f"| hypervisor | guest | reader | {' | '.join(COLUMNS)} |\n|{'---|' * (3 + len(COLUMNS))}\n"
    # Claims for any hypervisor come last.
    order = sorted(rows, key=lambda row: (row[0] == "any", *row))
    for row in order:
        cells = [min((one.how for one in rows[row] if column in one.proves), key=HOW.index, default="-") for column in COLUMNS]
        text += f"| {' | '.join((*row, *cells))} |\n"
    text += "\n## What shows it\n"
    for row in order:
        text += f"\n{', '.join(row)}:\n\n"
        for test in sorted({(one.test, one.how, ", ".join(one.proves)) for one in rows[row]}):
            text += f"- `{test[0]}`: {test[2]} ({test[1]})\n"
    return text


if __name__ == "__main__":
    good = passed(pathlib.Path(sys.argv[1]))
    sys.stdout.write(page(one for one in marked() if one.test in good))
