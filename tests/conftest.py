# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes down which tests of the support matrix passed."""

from __future__ import annotations

import json
import typing as t

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--matrix", metavar="FILE", help="append the outcomes of the tests marked `matrix` to this file, a line of JSON each"
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> t.Generator[None, t.Any, None]:
    outcome = yield
    report = outcome.get_result()
    file = item.config.getoption("--matrix")
    # A failure or skip before or after the test itself counts against it.
    if file and item.get_closest_marker("matrix") and (report.when == "call" or not report.passed):
        test = f"{item.path.relative_to(item.config.rootpath)}::{getattr(item, 'originalname', item.name)}"
        with open(file, "a", encoding="utf-8") as outcomes:
            outcomes.write(json.dumps({"test": test, "passed": report.passed}) + "\n")
