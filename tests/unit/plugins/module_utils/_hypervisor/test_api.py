# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every driver has every part, whole, with the interface's parameters; and the files where a newcomer looks for them."""

from __future__ import annotations

import importlib
import inspect
import pathlib
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import api
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.images import Images

PACKAGE = "ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor"
PARTS = {
    "inventory": api.Inventory,
    "addresses": api.Addresses,
    "drives": api.Drives,
    "machines": api.Machines,
    "events": api.Events,
    "networks": api.Networks,
    "images": Images,
}
KINDS = sorted(path.parent.name for path in pathlib.Path(api.__file__).parent.glob("*/driver.py"))


def _defined_in(kind: str, file: str, base: type) -> type:
    module = importlib.import_module(f"{PACKAGE}.{kind}.{file}")
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module.__name__ and issubclass(value, base)
    ]
    assert len(found) == 1, f"{kind}/{file}.py has {len(found)} classes of the kind {base.__name__}"
    return t.cast("type", found[0])


def test_the_drivers_are_those_that_the_modules_offer() -> None:
    assert sorted(_argspec.hypervisor()["hypervisor"]["options"]["type"]["choices"]) == KINDS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", PARTS)
def test_a_part_is_whole_and_has_the_parameters_of_the_interface(kind: str, file: str) -> None:
    base = PARTS[file]
    part = _defined_in(kind, file, base)
    assert getattr(part, "__abstractmethods__", frozenset()) == frozenset()
    for name, promised in inspect.getmembers(base, inspect.isfunction):
        if not name.startswith("_"):
            assert list(inspect.signature(getattr(part, name)).parameters) == list(inspect.signature(promised).parameters), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_driver_has_its_files(kind: str) -> None:
    driver = _defined_in(kind, "driver", api.Hypervisor)
    assert driver.__abstractmethods__ == frozenset() and driver.type == kind
    module = importlib.import_module(f"{PACKAGE}.{kind}.driver")
    assert list(inspect.signature(module.connect).parameters) == ["description"]
    importlib.import_module(f"{PACKAGE}.{kind}.session")
