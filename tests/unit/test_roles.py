# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a role says of itself agrees: argument specification, defaults, entry points, README."""

from __future__ import annotations

import pathlib
import re
import typing as t

import pytest
import yaml

ROLES = pathlib.Path(__file__).resolve().parents[2] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir() if path.is_dir())


def _entry_points(role: str) -> dict[str, t.Any]:
    spec = yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text())["argument_specs"]
    return t.cast("dict[str, t.Any]", spec)


def _options(role: str) -> dict[str, list[dict[str, t.Any]]]:
    """Every option's specifications, one for each entry point that takes it."""
    found: dict[str, list[dict[str, t.Any]]] = {}
    for entry in _entry_points(role).values():
        for name, option in (entry.get("options") or {}).items():
            found.setdefault(name, []).append(option)
    return found


def _defaults(role: str) -> dict[str, t.Any]:
    defaults = yaml.safe_load((ROLES / role / "defaults/main.yml").read_text())
    return t.cast("dict[str, t.Any]", defaults)


@pytest.mark.parametrize("role", NAMES)
def test_defaults_and_options_are_the_same(role: str) -> None:
    options, defaults = _options(role), _defaults(role)
    always_given = {name for name, specs in options.items() if all(spec.get("required") for spec in specs)}
    assert set(defaults) - set(options) == set(), "defaults that no entry point documents"
    assert set(options) - set(defaults) - always_given == set(), "options without a default"


@pytest.mark.parametrize("role", NAMES)
def test_what_is_omitted_passes_the_check_of_types(role: str) -> None:
    """ansible-core 2.18 checks the text that stands for omit, which is no number, mapping or truth value."""
    omitted = {name for name, value in _defaults(role).items() if isinstance(value, str) and "omit" in value}
    wrong = {
        name for name in omitted for spec in _options(role)[name] if spec.get("type", "str") not in ("str", "raw", "list", "path")
    }
    assert wrong == set()


@pytest.mark.parametrize("role", NAMES)
def test_documented_defaults_are_true(role: str) -> None:
    defaults = _defaults(role)
    different = {}
    for name, specs in _options(role).items():
        assert name.startswith(f"{role}_"), f"{name} has not the role's prefix"
        computed = isinstance(defaults.get(name), str) and "{{" in defaults[name]
        for spec in specs:
            assert spec.get("description"), name
            if not computed and not spec.get("required") and spec.get("default") != defaults.get(name):
                different[name] = (spec.get("default"), defaults.get(name))
    assert different == {}


@pytest.mark.parametrize("role", NAMES)
def test_every_entry_point_has_its_tasks_and_stands_in_the_readme(role: str) -> None:
    readme = (ROLES / role / "README.md").read_text()
    table = set(re.findall(r"`(\w+)`", "\n".join(line for line in readme.splitlines() if line.startswith("|"))))
    for entry in _entry_points(role):
        assert (ROLES / role / "tasks" / f"{entry}.yml").is_file(), f"{entry} has no tasks"
    assert set(_entry_points(role)) - table == set(), "entry points that the README does not name"


@pytest.mark.parametrize("role", NAMES)
def test_tasks_use_only_variables_that_there_are(role: str) -> None:
    internal = ROLES / role / "vars/main.yml"
    known = set(_options(role)) | set((yaml.safe_load(internal.read_text()) if internal.exists() else None) or {})
    files = {path: path.read_text() for pattern in ("tasks/**/*.yml", "templates/*") for path in (ROLES / role).glob(pattern)}
    for text in files.values():  # what tasks set: register, loop_var, vars and set_fact
        known |= set(re.findall(rf"^\s+(?:register: |loop_var: )?({role}_\w+)(?::|$)", text, re.MULTILINE))
    for other in NAMES:
        known.add(other)  # roles' names begin alike
    used = {
        f"{path.relative_to(ROLES)}: {name}": name
        for path, text in files.items()
        for name in re.findall(rf"(?<![\w./'-]){role}_\w+", text)
    }
    assert [place for place, name in used.items() if name not in known] == []


def _tasks(value: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """Every task and block in a file of tasks."""
    for task in value or []:
        yield task
        for part in ("block", "rescue", "always"):
            yield from _tasks(task.get(part))


@pytest.mark.parametrize("role", NAMES)
def test_no_name_is_both_a_result_and_a_variable_of_a_task(role: str) -> None:
    """A result or fact wins over `vars`: what one entry point registered would stand in for another's variable."""
    kept: set[str] = set()
    local: set[str] = set()
    for path in sorted((ROLES / role / "tasks").rglob("*.yml")):
        for task in _tasks(yaml.safe_load(path.read_text())):
            kept |= {task["register"]} if "register" in task else set()
            kept |= set(task.get("ansible.builtin.set_fact") or {})
            local |= set(task.get("vars") or {})
    assert kept & local == set()


PAGED = {"vm_diagnose": "limit", "vm_ip_info": "limit", "vm_nic_record_info": "nic_limit"}


@pytest.mark.parametrize("role", NAMES)
def test_no_role_works_with_the_first_page_only(role: str) -> None:
    """A page is 5,000 entries if nothing is said, and the rest would be left out silently."""
    cut = [
        f"{path.relative_to(ROLES)}: {task['name']}"
        for path in sorted((ROLES / role / "tasks").rglob("*.yml"))
        for task in _tasks(yaml.safe_load(path.read_text()))
        for module, option in PAGED.items()
        if (task.get(f"vmops.external_dhcp.{module}") or {option: 0}).get(option) != 0
    ]
    assert cut == []


FILES = sorted([*ROLES.glob("*/*/**/*.yml"), *ROLES.parent.glob("playbooks/*.yml")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROLES.parent)))
def test_nothing_is_computed_by_side_effects_in_templates(path: pathlib.Path) -> None:
    """A filter that fails inside such a call leaves an empty list behind, and the user reads of something else."""
    for call in (r"\{%-?\s*(set|do)\b", r"\.(append|extend|insert|update|setdefault|pop)\("):
        assert not re.search(call, path.read_text()), call


@pytest.mark.parametrize("path", sorted(ROLES.glob("*/tasks/*.yml")), ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_drives_are_planned_with_their_label(path: pathlib.Path) -> None:
    """Without it a mapping of user data stays one, which on ansible-core 2.18 may have been JSON text, and is refused."""
    text = path.read_text()
    for plan in re.findall(r"vm_plan\([^)]*\)", text) if "map(attribute='drive')" in text else ():
        assert "vm_drive_label" in plan, f"{path}: {plan}"
    # The plan of those that have none of their own.
    assert "vm_drive_label" in yaml.safe_load((ROLES / "vm/vars/main.yml").read_text())["vm__plan"]


def test_nothing_depends_on_the_kind_of_hypervisor() -> None:
    branches = [str(path) for path in FILES if re.search(r"hypervisor\.type|hypervisor\['type'\]", path.read_text())]
    assert branches == []
