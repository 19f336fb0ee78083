# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import gc
import pathlib
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.look import Request, fetch
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import collector
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._nic_record.fake_hypervisor import (
    FakeHypervisor,
    guest,
)


@pytest.fixture(autouse=True)
def usual() -> t.Iterator[tuple[int, ...]]:
    """Python's numbers, whatever a test leaves behind."""
    before = gc.get_threshold()
    yield before
    gc.set_threshold(*before)


def test_seldom_ends_as_it_began(usual: tuple[int, ...]) -> None:
    with pytest.raises(ZeroDivisionError), collector.seldom():
        with collector.seldom():
            assert gc.get_threshold() == (collector.SELDOM, *usual[1:])
        assert gc.get_threshold()[0] == collector.SELDOM, "the inner one ends nothing"
        1 / 0  # noqa: B018
    assert gc.get_threshold() == usual


@pytest.mark.parametrize("number", [0, 2 * collector.SELDOM])
def test_who_collects_nothing_or_more_seldom_still_is_left_alone(number: int) -> None:
    gc.set_threshold(number)
    with collector.seldom():
        assert gc.get_threshold()[0] == number
    assert gc.get_threshold()[0] == number


def test_a_look_collects_seldom(tmp_path: pathlib.Path, usual: tuple[int, ...]) -> None:
    seen: list[int] = []
    hypervisor = FakeHypervisor([guest(1)])
    with RecordStore.open(f"sqlite:///{tmp_path}/record.db") as store:
        store.database.prepare()
        fetch(store, lambda: seen.append(gc.get_threshold()[0]) or hypervisor.connect(), Request("kvm01", reconcile=True))
    assert seen == [collector.SELDOM] and gc.get_threshold() == usual
