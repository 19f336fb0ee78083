# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection as a whole: links lead somewhere, lists are complete, no other collection is needed."""

from __future__ import annotations

import pathlib
import re
import typing as t

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("roles/*/README.md"), *ROOT.glob("tests/**/README.md")])
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def _load(path: str) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", yaml.safe_load((ROOT / path).read_text()))


def _anchors(page: pathlib.Path) -> set[str]:
    """The anchors that GitHub and Galaxy make of the headings."""
    headings = re.findall(r"^#+ +(.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: pathlib.Path) -> None:
    dead = []
    for link in LINK.findall(page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _sep, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in _anchors(target)):
            dead.append(link)
    assert dead == []


def test_readme_names_every_module_playbook_and_role() -> None:
    readme = (ROOT / "README.md").read_text()
    roles = [path.name for path in (ROOT / "roles").iterdir()]
    assert [name for name in [*MODULES, *PLAYBOOKS, *roles] if f"`{name}`" not in readme] == []


def test_module_defaults_reach_every_module() -> None:
    assert sorted(_load("meta/runtime.yml")["action_groups"]["all"]) == MODULES


def test_documentation_says_since_which_version_a_plugin_is_there() -> None:
    places = ("modules", "inventory", "lookup", "filter")
    plugins = [path for place in places for path in sorted((ROOT / "plugins" / place).glob("*.py"))]
    plugins += sorted((ROOT / "extensions/eda/plugins/event_source").glob("*.py"))
    assert [path.stem for path in plugins if not re.search(r"^ *version_added: [0-9]", path.read_text(), re.MULTILINE)] == []


def test_workflows_call_targets_that_there_are() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = set()
    for path in sorted((ROOT / ".github/workflows").glob("*.yml")):
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            called.update(job.get("strategy", {}).get("matrix", {}).get("target", ()))
            called.update(re.findall(r"\bmake ([a-z-]+)", " ".join(step.get("run", "") for step in job["steps"])))
    assert called and called <= targets


def test_no_other_collection_is_needed() -> None:
    assert _load("galaxy.yml")["dependencies"] == {}
    # Connection plugins, by which the role vm_template's entry point guest_channel reaches a VM; nothing else uses them.
    optional = {"community.libvirt.libvirt_qemu", "community.vmware.vmware_tools"}
    called = []
    for path in sorted([*ROOT.glob("roles/*/[!m]*/**/*.yml"), *ROOT.glob("playbooks/*.yml"), *ROOT.glob("plugins/**/*.py")]):
        names = set(re.findall(r"\b((?:ansible|community|vmware)\.[a-z]+\.[a-z]\w+)(?=:|\W)", path.read_text()))
        # community.dns is the model of our shape and named in comments only.
        called += [
            f"{path.relative_to(ROOT)}: {name}"
            for name in names
            if name.startswith(("community.", "vmware.", "ansible.posix")) and name not in optional
        ]
    assert called == []
