# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import re
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._names import names_of

ROOT = pathlib.Path(__file__).resolve().parents[4]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (None, None),
        ([], []),
        ("dummy-t", ["dummy-t"]),
        ("web1,web2", ["web1", "web2"]),
        ("vm001, vm002", ["vm001", "vm002"]),
        (" web1 ", ["web1"]),
        ("web 2 (blue)", ["web 2 (blue)"]),
        ("101", ["101"]),
        ('["web1", "web,2"]', ["web1", "web,2"]),
        (["web1", "web2", "web1"], ["web1", "web2"]),
        (["web 2", " lead", "a,b"], ["web 2", " lead", "a,b"]),
        (("web1",), ["web1"]),
    ],
)
def test_names_become_a_list(given: t.Any, names: t.Any):
    assert names_of(given, "vm_names") == names


@pytest.mark.parametrize(
    "given",
    [
        "",
        "  ",
        "web1,",
        ",web1",
        "web1,,web2",
        [""],
        [" "],
        [101],
        [None],
        [["web1"]],
        101,
        True,
        {"web1": 1},
        "['web1']",
        '{"a": 1}',
    ],
)
def test_what_is_no_names_is_refused_with_the_way_out(given: t.Any):
    with pytest.raises(OptionError, match=r"^vm_names (is|has) .*-e vm_names=web1,web2"):
        names_of(given, "vm_names")


def test_roles_and_playbooks_make_a_list_of_names_first_of_all():
    """Nowhere may names be used as they came: a text would be taken apart into characters."""
    used = []
    for path in sorted(
        [*ROOT.glob("roles/*/tasks/**/*.yml"), *ROOT.glob("roles/*/defaults/*.yml"), *ROOT.glob("playbooks/*.yml")]
    ):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            code = line.split(" #")[0]
            if code.lstrip().startswith(("#", "-e")) or "{{" not in code:
                continue
            for rest in re.findall(r"(?<![\w.])(?:vm_names|vm_shown)\b(?!:)(.*)", code):
                # Whole, to a variable or an option whose module makes the list; or to a filter that does.
                whole = (' }}"', ' | default(none) }}"', ' | default(omit), true) }}"')
                passed_on = rest in whole or any(name in code for name in ("vm_plan", "vm_problem", "names=vm_names"))
                if "vmops.external_dhcp.vm_names" not in rest and not passed_on:
                    used.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert used == []


@pytest.mark.parametrize("given", ["", "web1,", [101], {"web1": 1}])
def test_a_module_says_what_its_option_takes(given: t.Any):
    with pytest.raises(OptionError, match=r"^vms (is|has) .*: (put names in quotes; )?give a list such as \[web1, web2\]"):
        names_of(given, "vms")
