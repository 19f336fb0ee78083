# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every command of a page is run by a test, or the page says that it cannot be."""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.vmops.external_dhcp.tests.unit.doc_commands import PAGES, ROOT, commands, elsewhere

#: What runs the commands of a page, each as it stands there; those of the README are what `make fresh` runs.
RUNNERS = {
    "README.md": "Makefile",
    "docs/awx.md": "tests/integration/test_configure_awx.py",
    "docs/dns.md": "tests/integration/test_doc_commands.py",
    "docs/quickstart.md": "tests/integration/test_doc_commands.py",
    "docs/report.md": "tests/integration/test_doc_commands.py",
    "docs/troubleshooting.md": "tests/integration/test_doc_commands.py",
    "tests/rigs/xapi/README.md": "tests/integration/test_doc_commands.py",
}


@pytest.mark.parametrize("name", PAGES)
def test_each_command_is_run_or_said_not_to_be(name: str) -> None:
    found = commands(PAGES[name])
    assert elsewhere(PAGES[name]) == [], "commands stand in blocks of the language sh"
    assert bool(found) == (name in RUNNERS), f"run these in a test, or mark them: {found}"
    if not found:
        return
    runner = (ROOT / RUNNERS[name]).read_text()
    if name == "README.md":
        (fresh,) = [line for line in runner.splitlines() if line.startswith("fresh:")]
        assert [command for command in found if command not in fresh] == []
    else:
        assert f'"{name}"' in runner


def test_a_mark_speaks_of_its_line_or_its_block(tmp_path: pathlib.Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\nmake one   # says why\n# alone\nmake two  # cannot be run by a test: it is far\n```\n"
        "```sh\n# cannot be run by a test: all of it\nmake three\n```\n```yaml\nmake: four\n```\n```\nmake five\n```\n"
    )
    assert commands(page) == ["make one"] and elsewhere(page) == ["make five"]
