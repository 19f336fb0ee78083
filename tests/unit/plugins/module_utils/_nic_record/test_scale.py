# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a look and a list cost with many NICs, counted in statements, rows and copies rather than in seconds."""

from __future__ import annotations

import contextlib
import datetime
import pathlib
import re
import typing as t

import pytest
import sqlalchemy as sa

from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import page
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.look import Poll, Request, fetch
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import NicRecord
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._nic_record.fake_hypervisor import (
    FakeHypervisor,
    guest,
)

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.tests.unit.conftest import RunModule

T0 = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
ALL_COLUMNS = ", ".join(f"nics.{name}" for name in NicRecord._fields)


@pytest.fixture
def store(tmp_path: pathlib.Path) -> t.Iterator[RecordStore]:
    with RecordStore.open(f"sqlite:///{tmp_path}/record.db", lambda: T0) as one:
        one.database.prepare()
        yield one


@contextlib.contextmanager
def statements(database: Database) -> t.Iterator[list[str]]:
    """The statements sent while it is open, each as often as it was sent."""
    sent: list[str] = []

    def note(_connection: t.Any, _cursor: t.Any, statement: str, *_rest: t.Any) -> None:
        sent.append(" ".join(statement.split()))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)


def look(store: RecordStore, hypervisor: FakeHypervisor) -> Poll:
    return fetch(store, hypervisor.connect, Request("kvm01", reconcile=True, networks={"corp": {}}))


def written(sent: list[str]) -> list[set[str]]:
    """The columns that each update by row writes."""
    return [
        set(re.findall(r"(\w+)=\?", one.partition(" WHERE ")[0]))
        for one in sent
        if one.startswith("UPDATE nics SET") and "WHERE nics.id" in one
    ]


def test_an_update_writes_what_is_other(store: RecordStore) -> None:
    hypervisor = FakeHypervisor([guest(number, answers={0: []}) for number in range(20)])
    with statements(store.database) as sent:
        assert look(store, hypervisor).looked_at == 20
    tries = {"last_reason", "last_message", "last_try_at", "next_try_at", "tries_left", "tries_failed", "claim_token"}
    # `updated_at` is the same moment, because this clock stands still.
    assert written(sent) == [tries]


def test_a_look_that_finds_nothing_new_copies_and_writes_nothing(store: RecordStore, monkeypatch: pytest.MonkeyPatch) -> None:
    hypervisor = FakeHypervisor([guest(number, answers={0: [f"10.0.0.{number + 1}"]}) for number in range(20)])
    look(store, hypervisor)
    copies: list[NicRecord] = []
    copy = NicRecord._replace
    monkeypatch.setattr(NicRecord, "_replace", lambda nic, **facts: copies.append(nic) or copy(nic, **facts))
    with statements(store.database) as sent:
        assert look(store, hypervisor).looked_at == 0
    assert not copies and not written(sent)


def test_nics_that_were_found_are_not_read_again_to_see_whose_their_addresses_were(store: RecordStore) -> None:
    hypervisor = FakeHypervisor([guest(number, answers={0: [f"10.0.0.{number + 1}"]}) for number in range(20)])
    with statements(store.database) as sent:
        assert len(look(store, hypervisor).found) == 20
    # Whole rows are read twice: for the agreement and for the claim.
    assert sum(one.startswith(f"SELECT {ALL_COLUMNS}") for one in sent) == 2


def test_a_page_of_the_record_reads_no_more_rows(
    store: RecordStore, run_module: RunModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.enter("kvm01", [guest(number).facts() for number in range(30)])
    made: list[t.Any] = []
    make = NicRecord._make
    monkeypatch.setattr(NicRecord, "_make", lambda row: made.append(row) or make(row))
    words = {"record": f"sqlite:///{store.database.path}", "nic_limit": 7, "nic_offset": 28}
    result = run_module("vm_nic_record_info", words)
    assert (len(made), len(result["nics"]), result["total"]) == (2, 2, 30)
    monkeypatch.setattr(page, "LENGTH", 20)
    made.clear()
    first = run_module("vm_nic_record_info", {"record": words["record"]})
    assert len(made) == len(first["nics"]) == 20
    assert [one.rpartition("these are")[2] for one in warnings(first)] == [
        " 20 of 30 NICs: the next ones come with nic_offset=20, all at once with nic_limit=0"
    ]
    for more, count in (
        ({"nic_offset": 20}, 10),
        ({"nic_limit": 0}, 30),
        ({"nic_limit": 0, "nic_offset": 5}, 25),
        ({"nic_limit": 7}, 7),
    ):
        found = run_module("vm_nic_record_info", {"record": words["record"], **more})
        assert (len(found["nics"]), found["total"], warnings(found)) == (count, 30, []), more
    many = [f"2001:db8::{number:x}" for number in range(501)]
    assert run_module("vm_nic_record_info", {**words, "ip": many}, fails=True)["msg"].startswith("ip has 501 addresses")
    assert run_module("vm_nic_record_info", {**words, "ip": many[1:]})["nics"] == []


def warnings(result: dict[str, t.Any]) -> list[str]:
    """Texts since ansible-core 2.19, where they are dictionaries."""
    return [one if isinstance(one, str) else one["event"]["msg"] for one in result.get("warnings", [])]


def test_rows_share_the_values_that_they_have_in_common(store: RecordStore) -> None:
    store.enter("kvm01", [guest(number).facts(cidrs=("10.0.0.0/8",)) for number in range(2)])
    one, other = store.nics()
    for name in ("hypervisor_name", "network", "fetch_state", "cidrs", "family_order", "entered_at", "next_try_at"):
        assert getattr(one, name) is getattr(other, name), name
