# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Patterns of Ansible Automation Platform, held to version 1.0.0 of their specification (specifications/ of ansible/pattern-service)."""

from __future__ import annotations

import json
import pathlib
import re

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
PATTERNS = sorted(path for path in (ROOT / "extensions/patterns").iterdir() if path.is_dir())
NEEDED = {"schema_version", "name", "title", "description", "short_description", "aap_resources"}
JOB_TEMPLATE = {
    *("name", "description", "execution_environment", "playbook", "primary", "labels", "survey"),
    *("ask_credential_on_launch", "ask_inventory_on_launch", "ask_verbosity_on_launch"),
}
QUESTION = {"type", "question_name", "question_description", "variable", "required", "choices", "default"}


@pytest.mark.parametrize("folder", PATTERNS, ids=lambda path: path.name)
def test_a_pattern_is_as_its_specification_says(folder: pathlib.Path) -> None:
    pattern = json.loads((folder / "meta/pattern.json").read_text())
    assert set(pattern) == NEEDED | {"tags"}
    assert pattern["name"] == folder.name and re.fullmatch(r"[a-z0-9_]{1,64}", folder.name)
    assert len(pattern["title"]) <= 64 and not pattern["short_description"].endswith(".")
    assert (folder / "README.md").read_text().count("\n# ") == 1
    resources = pattern["aap_resources"]
    assert set(resources["controller_project"]) == {"name", "description"}
    environment = resources["controller_execution_environment"]
    assert set(environment) == {"name", "description", "image_name", "pull"}
    templates = resources["controller_job_templates"]
    assert [template.get("primary") for template in templates].count(True) == 1
    for template in templates:
        assert set(template) <= JOB_TEMPLATE
        assert template["execution_environment"] == environment["name"]
        assert set(template["labels"]) <= set(resources["controller_labels"])
        _check_playbook(folder / "playbooks" / template["playbook"], template)


def _check_playbook(playbook: pathlib.Path, template: dict) -> None:
    """It imports a playbook of ours, and its arguments are the survey's, and those that a role has."""
    (play,) = yaml.safe_load(playbook.read_text())
    namespace, collection, name = play["ansible.builtin.import_playbook"].split(".")
    assert (namespace, collection) == ("vmops", "external_dhcp") and (ROOT / f"playbooks/{name}.yml").exists()
    (arguments,) = yaml.safe_load(playbook.with_suffix(".meta.yml").read_text())["argument_specs"].values()
    known: dict = {}
    for spec in (ROOT / "roles").glob("*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(spec.read_text())["argument_specs"].values():
            known.update(entry.get("options", {}))
    asked = {question["variable"]: question for question in template["survey"]["spec"]}
    assert set(asked) == set(arguments["options"])
    for variable, option in arguments["options"].items():
        assert (known[variable]["type"], known[variable].get("default")) == (option["type"], option.get("default"))
        assert set(asked[variable]) <= QUESTION
        assert asked[variable]["type"] == {"int": "integer", "str": "text"}[option["type"]]
