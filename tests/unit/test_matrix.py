# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The support matrix says what its tests showed, no more and no less."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import matrix


def test_the_page_is_what_the_markers_claim() -> None:
    """A cell whose test did not pass at the last `make matrix`, or whose marker changed since, differs here."""
    assert matrix.PAGE.read_text(encoding="utf-8") == matrix.page(matrix.marked()), "run make matrix"


def test_no_marker_is_overlooked() -> None:
    files = [path for path in (ROOT / "tests").rglob("test_*.py") if path != pathlib.Path(__file__)]
    count = sum(path.read_text(encoding="utf-8").count("mark.matrix(") for path in files)
    assert len(matrix.marked()) == count > 0, "the marker stands above a test function, with literals"


def test_a_cell_is_what_its_strongest_test_showed() -> None:
    words = {"hypervisor": "KVM", "guest": "g", "reader": "r"}
    claims = [
        matrix.claim("b", **words, how="own simulator", proves=["password", "SSH key"]),
        matrix.claim("a", **words, how="real", proves=["password"]),
    ]
    assert "| KVM | g | r | - | real | own simulator | - | - | - |\n" in matrix.page(claims)
    assert "| KVM | g | r | - | own simulator | own simulator | - | - | - |\n" in matrix.page(claims[:1])
    for how, proves in (("seen", ["password"]), ("real", ["speed"]), ("real", [])):
        with pytest.raises(ValueError, match="does not know"):
            matrix.claim("a", **words, how=how, proves=proves)


TESTS = """
import pytest
mark = pytest.mark.matrix(hypervisor="KVM", guest="g", reader="r", how="real", proves=["password"])
@mark
def test_good(): pass
@mark
@pytest.mark.parametrize("case", [0, 1])
def test_half(case): assert case
@mark
def test_skipped(): pytest.skip("not here")
@pytest.fixture
def broken(): raise RuntimeError
@mark
def test_broken(broken): pass
def test_unmarked(): pass
"""


def test_only_tests_of_which_every_case_passed_count(tmp_path: pathlib.Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = matrix\n")
    (tmp_path / "test_it.py").write_text(TESTS)
    outcomes = tmp_path / "outcomes"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--matrix", str(outcomes), "test_it.py"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=60)
    assert {json.loads(line)["test"] for line in outcomes.read_text().splitlines()} == {
        f"test_it.py::test_{name}" for name in ("good", "half", "skipped", "broken")
    }
    assert matrix.passed(outcomes) == {"test_it.py::test_good"}
