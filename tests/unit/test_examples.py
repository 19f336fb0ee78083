# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every task that anybody may copy or run (EXAMPLES, documentation, roles, playbooks) gives our modules and roles what they take."""

from __future__ import annotations

import ast
import importlib
import pathlib
import re
import typing as t
from unittest import mock

import pytest
import yaml
from ansible.module_utils import basic
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAME = "vmops.external_dhcp."
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
FENCED = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INCLUDES = ("include_role", "import_role", "ansible.builtin.include_role", "ansible.builtin.import_role")


class _Spec(Exception):
    """Carries what a module gave to AnsibleModule."""


def _spec(module: str) -> dict[str, t.Any]:
    code = importlib.import_module(f"ansible_collections.vmops.external_dhcp.plugins.modules.{module}")

    def taken(self: t.Any, **given: t.Any) -> t.NoReturn:
        given.pop("supports_check_mode", None)
        raise _Spec(given)

    with mock.patch.object(basic.AnsibleModule, "__init__", taken), pytest.raises(_Spec) as caught:
        code.main()
    return t.cast("dict[str, t.Any]", caught.value.args[0])


def _templated(value: t.Any) -> bool:
    return isinstance(value, str) and "{{" in value


def _open(options: dict[str, t.Any], given: dict[str, t.Any]) -> dict[str, t.Any]:
    """The specification, with everything accepted where a template is given, whose value nobody knows yet."""
    spec: dict[str, t.Any] = {}
    for name, option in options.items():
        option = {key: value for key, value in option.items() if key not in ("no_log", "fallback")}
        value = given.get(name)
        if _templated(value):
            option = {"type": "raw"}
        elif isinstance(value, dict) and "options" in option:
            option["options"] = _open(option["options"], value)
        elif isinstance(value, list) and "options" in option:
            option = {"type": "list"}  # its entries are looked at one by one, for each has templates of its own
        spec[name] = option
    return spec


def _problems(module: str, given: t.Any) -> list[str]:
    if _templated(given):
        return []
    whole = _spec(module)
    options = whole.pop("argument_spec")
    problems = list(ArgumentSpecValidator(_open(options, given), **whole).validate(given).error_messages)
    for name, entries in given.items():
        if isinstance(entries, list) and "options" in options.get(name, {}):
            for entry in entries:
                validator = ArgumentSpecValidator(_open(options[name]["options"], entry))
                problems += [f"{name}: {text}" for text in validator.validate(entry).error_messages]
    return problems


def _tasks(document: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """Every task in a document: playbook, list of tasks, blocks and handlers."""
    if isinstance(document, list):
        for entry in document:
            yield from _tasks(entry)
    elif isinstance(document, dict):
        yield document
        for key in ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always"):
            yield from _tasks(document.get(key))


def _texts() -> t.Iterator[tuple[str, str]]:
    """Place and text of everything with tasks in it."""
    for path in sorted((ROOT / "plugins").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "EXAMPLES":
                assert isinstance(node.value, ast.Constant)
                yield f"{path.relative_to(ROOT)} EXAMPLES", str(node.value.value)
    for folder in ("roles", "playbooks"):
        for path in sorted((ROOT / folder).rglob("*.yml")):
            yield str(path.relative_to(ROOT)), path.read_text()
    for path in sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("roles/*/README.md")]):
        for place, match in enumerate(FENCED.finditer(path.read_text()), start=1):
            yield f"{path.relative_to(ROOT)} example {place}", match.group(1)


TEXTS = dict(_texts())


def _role_spec(role: str) -> dict[str, t.Any]:
    spec = yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text())["argument_specs"]
    return t.cast("dict[str, t.Any]", spec)


@pytest.mark.parametrize("place", TEXTS)
def test_tasks_give_our_modules_what_they_take(place: str) -> None:
    problems = []
    for document in yaml.safe_load_all(TEXTS[place]):
        for task in _tasks(document):
            for key, given in task.items():
                module = key[len(NAME) :] if key.startswith(NAME) else ""
                if module in MODULES:
                    problems += [f"{task.get('name')}: {text}" for text in _problems(module, given or {})]
                elif module:
                    problems.append(f"{task.get('name')}: there is no module {key}")
    assert problems == []


@pytest.mark.parametrize("place", TEXTS)
def test_tasks_give_our_roles_what_they_take(place: str) -> None:
    problems = []
    for document in yaml.safe_load_all(TEXTS[place]):
        for task in _tasks(document):
            given = next((task[key] for key in INCLUDES if key in task), None)
            if not given or not str(given["name"]).startswith(NAME):
                continue
            role = given["name"][len(NAME) :]
            entry = given.get("tasks_from", "main")
            spec = _role_spec(role)
            if entry not in spec:
                problems.append(f"{task['name']}: the role {role} has no entry point {entry}")
                continue
            strange = set(task.get("vars") or {}) - set(spec[entry].get("options") or {})
            problems += [f"{task['name']}: {entry} of the role {role} takes no {name}" for name in sorted(strange)]
    assert problems == []


def test_every_module_has_an_example() -> None:
    assert [name for name in MODULES if NAME + name not in TEXTS[f"plugins/modules/{name}.py EXAMPLES"]] == []


def test_playbooks_speak_of_variables_that_there_are() -> None:
    known = {name for path in ROOT.glob("roles/*/meta/argument_specs.yml") for name in _options(path.parents[1].name)}
    unknown = []
    for name in PLAYBOOKS:
        text = TEXTS[f"playbooks/{name}.yml"]
        comments = "\n".join(line for line in text.splitlines() if line.lstrip().startswith("#"))
        tasks = text.replace(comments, "")
        for variable in sorted(set(re.findall(r"\bvm_[a-z_]+(?=[\"']?\s*[=:])", comments))):
            used = re.search(rf"\b{variable}\b", "\n".join(line for line in tasks.splitlines() if "#" not in line))
            if variable not in known and not used:
                unknown.append(f"{name}: {variable}")
    assert unknown == []


def test_the_example_of_a_whole_life_imports_playbooks_that_there_are() -> None:
    steps = yaml.safe_load((ROOT / "tests/demo/site.yml").read_text())
    assert [step["import_playbook"] for step in steps if step["import_playbook"] not in {NAME + name for name in PLAYBOOKS}] == []


PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("roles/*/README.md")])
COMMANDS = re.compile(r"^```(?:sh|console)\n(.*?)^```$|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
MARKS = ("made", "created")  # drivers' marks on VMs have our prefix, too
# What our names can name, beside these
OTHERS = (
    "roles/*",
    "plugins/filter/*.py",
    "plugins/inventory/*.py",
    "plugins/lookup/*.py",
    "extensions/eda/plugins/event_source/*.py",
)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_name_what_there_is(page: pathlib.Path) -> None:
    text = page.read_text()
    ours = {*MODULES, *PLAYBOOKS, *MARKS, "all", *(path.stem for pattern in OTHERS for path in ROOT.glob(pattern))}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = "\n".join(block or inline for block, inline in COMMANDS.findall(text))
    playbooks = "\n".join(path.read_text() for path in (*ROOT.glob("playbooks/*.yml"), *ROOT.glob("roles/*/defaults/*.yml")))
    used = {name for path in ROOT.glob("roles/*/meta/argument_specs.yml") for name in _options(path.parents[1].name)}
    used |= set(re.findall(r"\b[a-z][a-z_]+\b", re.sub(r"#.*", "", playbooks)))
    problems = [
        f"there is no {NAME}{name}" for name in re.findall(rf"\b{re.escape(NAME)}([a-z_0-9]+)\b", text) if name not in ours
    ]
    problems += [
        f"make has no {name}"
        for name in re.findall(r"(?:^|[;&] *)make ([a-z-]+)\b", commands, re.MULTILINE)
        if name not in targets
    ]
    problems += [f"nothing takes -e {name}" for name in re.findall(r"-e [\"']?([a-z_]+)=", commands) if name not in used]
    assert problems == []


def _options(role: str) -> set[str]:
    return {name for entry in _role_spec(role).values() for name in entry.get("options") or {}}


@pytest.mark.parametrize(
    ("module", "given", "problem"),
    [
        ("vm_ip_info", {"hypervisor": "{{ hypervisor }}", "vm": ["web1"]}, "vm"),
        ("vm_ip_info", {"hypervisor": {"type": "hyperv"}}, "hyperv"),
        ("vm_ip_info", {"hypervisor": {"type": "{{ kind }}", "url": "qemu:///system"}}, "url"),
        ("vm_config_drive", {"hypervisor": "{{ hypervisor }}", "drives": [{"name": "a", "passwort": "{{ x }}"}]}, "passwort"),
        ("vm_config_drive", {"hypervisor": "{{ hypervisor }}", "drives": "{{ drives }}", "state": "moved"}, "destination"),
        ("vm_nic_record", {"vms": []}, "hypervisor_name"),
    ],
)
def test_wrong_options_are_found(module: str, given: dict[str, t.Any], problem: str) -> None:
    (message,) = set(_problems(module, given))
    assert problem in message
