# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page in a real browser: what people see, what hostile names cannot do. How long it takes is measured by
tests/bench/bench_report.py.

The pictures in docs/ are those of test_pictures: VMOPS_PICTURES=docs/pictures dev/pytest.sh unit … -k pictures.
"""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.plugin_utils import _report_data, _report_page
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.plugin_utils import browser as browsers
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.plugin_utils.report_sample import NOW, nic, sample

pytestmark = pytest.mark.skipif(browsers.program() is None, reason="needs Chromium (Debian: chromium-headless-shell)")

CONTRAST = 4.5  # WCAG 2.2, 1.4.3
HOSTILE = [
    "<img src=x onerror='ran(1)'>",
    "</script><script>ran(2)</script>",
    "<!--<script>ran(3)",
    '" onmouseover="ran(4)" autofocus onfocus="ran(4)',
    "javascript:ran(5)",
    "<svg/onload=ran(6)>",
    "{{ ran(7) }}${ran(7)}",
    "</title></style><iframe srcdoc='<script>parent.ran(8)</script>'>",
    "web1\u202etxt.exe\u2066",
    "\u2028\u2029'\\\"",
    "__proto__",
    "constructor",
]
CONTRASTS = """(() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((one) => one / 255).map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, place) => sum + one * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const rgb = numbers(getComputedStyle(one).backgroundColor);
      if (rgb.length < 4 || rgb[3] > 0) return rgb;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    if (![...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()) || element.closest("script,svg,noscript,option")) continue;
    const [one, other] = [light(numbers(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < %s) poor.push(`${element.tagName}.${element.className} ${ratio.toFixed(2)} ${element.textContent.slice(0, 30)}`);
  }
  return [...new Set(poor)];
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[browsers.Browser]:
    one = browsers.Browser(tmp_path_factory.mktemp("profile"))
    one.size(1400, 900)
    yield one
    one.close()


@pytest.fixture
def write(tmp_path: pathlib.Path) -> t.Callable[..., pathlib.Path]:
    def written(recorded: _report_data.Recorded, given: list[dict[str, t.Any]], name: str = "page") -> pathlib.Path:
        path = tmp_path / f"{name}.html"
        path.write_text(_report_page.page(_report_data.page_data(recorded, given, NOW, "VMs on shared networks")))
        return path

    return written


def complaints(browser: browsers.Browser) -> list[t.Any]:
    """Exceptions and what the browser logs, such as a breach of the content security policy."""
    browser.run("1")  # what was said before this is here then
    return [one for one in browser.said if one.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")]


def requests(browser: browsers.Browser) -> set[str]:
    return {
        one["params"]["request"]["url"].partition("#")[0]
        for one in browser.said
        if one.get("method") == "Network.requestWillBeSent"
    }


def names(browser: browsers.Browser) -> list[str]:
    return t.cast("list[str]", browser.run("[...document.querySelectorAll('#rows tr th')].map((one) => one.innerText)"))


@pytest.mark.parametrize("count", [3, 300, 10_000])
def test_pictures(browser: browsers.Browser, write: t.Callable[..., pathlib.Path], tmp_path: pathlib.Path, count: int) -> None:
    """Every size opens, fits the width, asks nobody for anything, and gives a picture."""
    page = write(*sample(count))
    browser.media()
    browser.open(page)
    assert requests(browser) == {page.as_uri()} and complaints(browser) == []
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    assert browser.run("document.getElementById('told').textContent") == f"{count} VMs, {count} NICs"
    folder = pathlib.Path(os.environ.get("VMOPS_PICTURES") or tmp_path)
    browser.picture(folder / f"report-{count}.png")
    assert (folder / f"report-{count}.png").read_bytes().startswith(b"\x89PNG")
    if count == 300:
        browser.media(scheme="dark")
        browser.picture(folder / "report-dark.png")
        browser.media()
        browser.run("document.getElementById('hypervisors').scrollIntoView({behavior: 'instant'})")
        browser.picture(folder / "report-health.png")


def test_no_script_of_a_hostile_name_runs(
    browser: browsers.Browser, write: t.Callable[..., pathlib.Path], tmp_path: pathlib.Path
) -> None:
    recorded, given = sample(3)
    bad = [
        nic(
            place,
            1,
            vm_name=name,
            network=name,
            hypervisor_name=name,
            vm_id=name,
            last_message=name,
            last_reason=name,
            fetch_state=state,
        )
        for place, name in enumerate(HOSTILE)
        for state in ("gave_up", "pending")
    ]
    checks = [{"check": name, "status": "failed", "message": name, "next_step": name} for name in HOSTILE]
    given = [
        {
            "name": name,
            "problem": name,
            "networks": [{"name": name, "cidr": name, "ip_range": name, "vlan": name}],
            "diagnosis": [{"name": name, "id": name, "status": "failed", "verdict": name, "next_step": name, "checks": checks}],
        }
        for name in HOSTILE
    ]
    events = [{**recorded.events[0], "vm_name": name, "message": name, "type": name, "hypervisor_name": name} for name in HOSTILE]
    looks = [{**recorded.looks[0], "name": name, "host": name, "job": name, "problem": name} for name in HOSTILE]
    page = write(recorded._replace(nics=bad, events=events, looks=looks, where="<b>record</b>"), given)
    # The same names in a page that does not escape do run, so this would be seen.
    careless = tmp_path / "careless.html"
    careless.write_text("<!doctype html><script>ran = () => { document.documentElement.dataset.ready = 1 }</script>" + HOSTILE[0])
    browser.open(careless)
    browser.call("Page.addScriptToEvaluateOnNewDocument", source="window.ran = (number) => { window.ranNumber = number }")
    browser.open(page)
    browser.run("document.getElementById('all').click()")
    browser.run("document.querySelectorAll('#rows button.open').forEach((one) => one.click())")
    browser.run("document.querySelectorAll('[data-reason]').forEach((one) => one.click())")
    browser.run("new Promise((done) => setTimeout(done, 200))")
    assert browser.run("window.ranNumber") is None
    assert complaints(browser) == [], "not even tried, so the policy had nothing to stop"
    assert (
        browser.run(
            "document.querySelectorAll('img,iframe,object,embed,svg[onload],[onerror],[onfocus],[onmouseover],body script').length"
        )
        == 2
    )
    assert requests(browser) == {page.as_uri()}
    browser.open(page)
    shown = names(browser)
    assert {HOSTILE[0], HOSTILE[1], "__proto__", "constructor"} <= set(shown), "names are shown as they are"
    assert not any("\u202e" in name for name in shown)
    assert "<img" not in browser.run("document.title")


def test_search_filters_order_and_details(browser: browsers.Browser, write: t.Callable[..., pathlib.Path]) -> None:
    page = write(*sample(300))
    browser.open(page, "#q=web&status=found&sort=-address")
    shown = browser.run(
        "[...document.querySelectorAll('#rows tr')].map((row) => [row.children[1].innerText, row.children[7].innerText])"
    )
    assert shown and all("web" in name for name, _address in shown)
    numbers = [tuple(map(int, address.split("."))) for _name, address in shown]
    assert numbers == sorted(numbers, reverse=True)
    assert browser.run("document.querySelector('th[aria-sort=descending]').innerText").startswith("Address")
    browser.open(page)
    assert len(names(browser)) == 100, "rows are made as they are needed"
    browser.key("/", "Slash", "/")
    assert browser.run("document.activeElement.id") == "q"
    browser.call("Input.insertText", text="queue00003")
    browser.wait("document.querySelectorAll('#rows tr').length === 1")
    assert "of 300 NICs" in browser.run("document.getElementById('told').textContent")
    assert "q=queue00003" in browser.run("location.hash")
    browser.run("document.querySelector('#rows button.open').focus()")
    browser.key("Enter", "Enter", "\r")
    browser.wait("document.querySelector('#rows button.open[aria-expanded=true]')")
    assert "check that the DHCP server serves this network" in browser.run("document.querySelector('tr.detail').innerText")
    browser.run("document.querySelector('#q').focus()")
    browser.key("Escape", "Escape")
    assert browser.run("document.getElementById('told').textContent") == "300 VMs, 300 NICs"
    browser.run("document.querySelector('[data-reason=no_lease]').click()")
    browser.wait("document.getElementById('f-reason').value === 'no_lease'")
    assert len(names(browser)) == 8


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read(browser: browsers.Browser, write: t.Callable[..., pathlib.Path], scheme: str) -> None:
    browser.media(scheme=scheme)
    browser.open(write(*sample(300)))
    browser.run("document.querySelector('#rows button.open').click()")
    assert browser.run(CONTRASTS % CONTRAST) == []


def test_assistive_technology_finds_its_way(browser: browsers.Browser, write: t.Callable[..., pathlib.Path]) -> None:
    browser.open(write(*sample(300)))
    assert browser.run("[...document.querySelectorAll('main,header,nav,footer')].length") == 4
    assert browser.run("document.querySelectorAll('h1').length") == 1 and browser.run("document.documentElement.lang") == "en"
    assert browser.run(
        "[...document.querySelectorAll('section')].every((one) => document.getElementById(one.getAttribute('aria-labelledby')))"
    )
    assert browser.run("[...document.querySelectorAll('input,select')].every((one) => one.labels.length === 1)")
    assert browser.run(
        "[...document.querySelectorAll('table')].every((one) => one.caption && !one.querySelector('th:not([scope])'))"
    )
    assert browser.run(
        "[...document.querySelectorAll('svg')].every((one) => one.ariaHidden === 'true' || one.getAttribute('aria-label'))"
    )
    ids = browser.run("[...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))
    browser.key("Tab", "Tab")
    assert browser.run("document.activeElement.className") == "skip"


def test_printing_has_every_row(browser: browsers.Browser, write: t.Callable[..., pathlib.Path]) -> None:
    browser.open(write(*sample(130)))
    assert len(names(browser)) == 100
    assert browser.pdf().startswith(b"%PDF")
    browser.wait("document.querySelectorAll('#rows tr').length === 130")
    browser.media("print")
    assert browser.run("getComputedStyle(document.getElementById('filters')).display") == "none"
    browser.media()
