#!/usr/bin/env python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a browser takes to open the page of vm_report, beside a plain table of the same VMs without search."""

from __future__ import annotations

import html
import pathlib
import statistics
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".build/collections"))

from ansible_collections.vmops.external_dhcp.plugins.plugin_utils import _report_data, _report_page
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.plugin_utils import browser as browsers
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.plugin_utils.report_sample import NOW, sample

RUNS = 5
SIZES = (3, 300, 10_000)


def plain(recorded: _report_data.Recorded) -> str:
    """All NICs as rows, as a template with a loop makes it."""
    rows = (
        "".join(
            f"<td>{html.escape(str(nic[key]))}</td>" for key in ("vm_name", "hypervisor_name", "mac", "network", "ip4_address")
        )
        for nic in recorded.nics
    )
    return (
        "<!doctype html><html data-ready=1><meta charset=utf-8><table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"
    )


def main() -> None:
    if browsers.program() is None:
        sys.exit("needs Chromium (Debian: chromium-headless-shell)")
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        browser = browsers.Browser(place / "profile")
        browser.size(1400, 900)
        print(f"{'VMs':>7} {'page kB':>8} {'page s':>8} {'plain table s':>14}")
        for count in SIZES:
            recorded, given = sample(count)
            page, table = place / "page.html", place / "plain.html"
            page.write_text(_report_page.page(_report_data.page_data(recorded, given, NOW, "VMs on shared networks")))
            table.write_text(plain(recorded))
            ours = statistics.median(browser.open(page) for _run in range(RUNS))
            theirs = statistics.median(browser.open(table) for _run in range(RUNS))
            print(f"{count:>7} {page.stat().st_size // 1024:>8} {ours:>8.2f} {theirs:>14.2f}")
        browser.close()


if __name__ == "__main__":
    main()
