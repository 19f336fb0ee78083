# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""AWX counts the VMs that our modules' results name, each once, and none that a task did not manage."""

from __future__ import annotations

import ast
import pathlib
import typing as t

import pytest
import yaml

jq = pytest.importorskip("jq")

ROOT = pathlib.Path(__file__).resolve().parents[3]
QUERIES = {
    name: entry["query"] for name, entry in yaml.safe_load((ROOT / "extensions/audit/event_query.yml").read_text()).items()
}


def _returned(module: str) -> dict[str, t.Any]:
    """What the module's documentation says that each of its VMs has; nothing if it returns none."""
    for node in ast.parse((ROOT / f"plugins/modules/{module}.py").read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "RETURN":
            assert isinstance(node.value, ast.Constant)
            contains: dict[str, t.Any] = yaml.safe_load(str(node.value.value)).get("vms", {}).get("contains", {})
            return contains
    raise LookupError(module)


def test_every_module_that_returns_the_ids_of_vms_is_counted() -> None:
    modules = {path.stem for path in (ROOT / "plugins/modules").glob("*.py")}
    assert {name.rpartition(".")[2] for name in QUERIES} == {module for module in modules if "id" in _returned(module)}


@pytest.mark.parametrize("name", QUERIES)
def test_each_managed_vm_is_one_node(name: str) -> None:
    known = _returned(name.rpartition(".")[2])
    vms = [
        {"name": "web1", "id": "6a3f", "error": None},
        {"name": "web2", "id": "77b0"},
        {"name": "missing", "id": None},
    ]
    assert {"name", "id"} <= set(known)
    nodes = jq.compile(QUERIES[name]).input_value({"changed": True, "vms": vms}).all()
    assert [(node["name"], node["canonical_facts"]) for node in nodes] == [("web1", {"uuid": "6a3f"}), ("web2", {"uuid": "77b0"})]
    assert all(node["facts"]["device_type"] == "VM" for node in nodes)


@pytest.mark.parametrize("name", QUERIES)
def test_a_failed_vm_and_a_failed_task_count_none(name: str) -> None:
    query = jq.compile(QUERIES[name])
    assert query.input_value({"failed": True, "msg": "no connection"}).all() == []
    if "error" in _returned(name.rpartition(".")[2]):
        assert query.input_value({"vms": [{"name": "web1", "id": "6a3f", "error": "no space"}]}).all() == []
