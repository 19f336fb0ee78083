# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Jobs that the rulebooks launch are among those of configure_awx, and take what they are given."""

from __future__ import annotations

import pathlib
import typing as t

import jinja2
import pytest
import yaml

from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._awx_objects import Settings, awx_objects

ROOT = pathlib.Path(__file__).resolve().parents[3]
SETTINGS = Settings([{"name": "xen", "hypervisor": {"type": "xenserver"}}], {"scm_url": "https://git.example.com/automation.git"})
TEMPLATES = {template["name"]: template for template in awx_objects(SETTINGS)["controller_templates"]}
LAUNCHES = [
    pytest.param(rule["action"]["run_job_template"], id=f"{path.stem}: {rule['name']}")
    for path in sorted((ROOT / "extensions/eda/rulebooks").glob("*.yml"))
    for ruleset in yaml.safe_load(path.read_text())
    for rule in ruleset["rules"]
    if "run_job_template" in rule["action"]
]


@pytest.mark.parametrize("action", LAUNCHES)
def test_a_job_is_one_of_configure_awx_and_takes_what_it_is_given(action: dict[str, t.Any]) -> None:
    template = TEMPLATES[jinja2.Template(action["name"]).render()]
    assert template["organization"] == jinja2.Template(action["organization"]).render()
    assert template["ask_limit_on_launch"], "the engine always sends a limit"
    asked = {question["variable"] for question in template.get("survey_spec", {"spec": ()})["spec"]}
    assert set(action.get("job_args", {}).get("extra_vars", {})) <= asked
    assert action["include_events"] is False, "AWX would ignore the event among the variables"
