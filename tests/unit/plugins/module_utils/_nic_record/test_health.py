# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the record tells of itself and what it forgets: looks, metrics, old events, the place it lies in."""

from __future__ import annotations

import datetime
import os
import pathlib
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import vm_ip_fetch
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_ip_fetch import Request, fetch
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import journal, metrics
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.errors import RecordReadOnly
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import LookNote
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.url import ends_with_its_container
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._nic_record.fake_hypervisor import (
    FakeHypervisor,
    guest,
)

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.tests.unit.conftest import RunModule

T0 = datetime.datetime(2026, 11, 22, 8, 0, tzinfo=datetime.UTC)


class Record:
    def __init__(self, folder: pathlib.Path) -> None:
        self.now = T0
        self.store = RecordStore(Database(f"sqlite:///{folder}/record.db"), lambda: self.now)
        self.store.database.prepare()

    def look(self, hypervisor: FakeHypervisor, name: str = "kvm01", **more: t.Any) -> vm_ip_fetch.Poll:
        return fetch(self.store, hypervisor.connect, Request(name, reconcile=True, networks={"corp": {}}, **more))


@pytest.fixture
def record(tmp_path: pathlib.Path) -> t.Iterator[Record]:
    one = Record(tmp_path)
    yield one
    one.store.database.close()


def test_a_look_is_noted_and_one_with_a_problem_too(record: Record) -> None:
    hypervisor = FakeHypervisor([guest(1, answers={0: []}), guest(2, answers={0: ["10.0.0.2"]})])
    record.look(hypervisor)
    (note,) = journal.looks(record.store.database)
    assert (note.name, note.looked_at, note.good_at, note.vms, note.problem) == ("kvm01", T0, T0, 2, None)
    assert (note.pid, note.host, note.interval_seconds) == (os.getpid(), os.uname().nodename, 180)
    assert 0 < note.seconds < 30
    record.now += datetime.timedelta(minutes=3)
    hypervisor.fail_connect = HypervisorError("no way")
    record.look(hypervisor)
    (note,) = journal.looks(record.store.database)
    assert (note.looked_at, note.good_at, note.problem) == (record.now, T0, "no way")
    assert journal.tallies(record.store.database) == [
        ("kvm01", "found", None, 1),
        ("kvm01", "pending", "hypervisor_unreachable", 1),
    ]


def test_metrics_are_what_a_collector_reads(tmp_path: pathlib.Path) -> None:
    notes = [LookNote('kvm"01\\', T0, "h", 1, 1.5, 180, T0, vms=3), LookNote("kvm02", T0, "h", 1, 2, 180, problem="x\ny")]
    tallies = [("kvm02", "pending", "no_lease", 2), ("kvm02", "pending", None, 1), ("kvm02", "found", None, 7)]
    text = metrics.text(notes, tallies)
    lines = text.splitlines()
    assert r'external_dhcp_vms{hypervisor="kvm\"01\\"} 3' in lines
    assert f'external_dhcp_last_look_timestamp_seconds{{hypervisor="kvm02"}} {T0.timestamp():.10g}' in lines
    assert 'external_dhcp_look_failed{hypervisor="kvm02"} 1' in lines
    assert 'external_dhcp_nics{hypervisor="kvm02",state="pending"} 3' in lines
    assert 'external_dhcp_nics_waiting{hypervisor="kvm02",reason="not_polled_yet"} 1' in lines
    assert not any("last_good_look" in line and "kvm02" in line for line in lines)
    assert lines[-1] == "# EOF" and text.endswith("\n")
    path = tmp_path / "external_dhcp.prom"
    metrics.write(str(path), "old\n")
    metrics.write(str(path), text)
    assert path.read_text() == text and path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["external_dhcp.prom"]
    with pytest.raises(RecordReadOnly, match="metrics_file is /nonexistent/x: it cannot be written"):
        metrics.write("/nonexistent/x", text)


def find(record: Record, count: int) -> None:
    hypervisor = FakeHypervisor([guest(n, answers={0: [f"10.0.{n >> 8}.{n & 255}"]}) for n in range(count)])
    store = record.store
    store.enter("kvm01", [one.facts() for one in hypervisor.guests], rearm=True)
    fetch(store, hypervisor.connect, Request("kvm01"))


def test_old_events_go_and_the_numbers_go_on(record: Record) -> None:
    find(record, 10)
    record.now += datetime.timedelta(days=80)
    find(record, 10)
    record.now += datetime.timedelta(days=11)
    record.look(FakeHypervisor([]), keep_days=90)
    assert min(event.id or 0 for event in record.store.events()) == 11
    assert record.store.last_event_id() == 30, "ten LOST after twenty FETCHED"
    assert len(record.store.events()) == 20


def test_events_are_purged_in_bounded_steps_and_to_a_number(record: Record) -> None:
    find(record, 30)
    long_ago = T0 - datetime.timedelta(days=1)
    assert journal.purge_events(record.store.database, long_ago, keep=25, at_most=3) == 3
    assert journal.purge_events(record.store.database, long_ago, keep=25, at_most=3) == 2
    assert journal.purge_events(record.store.database, long_ago, keep=25, at_most=3) == 0
    assert [event.id for event in record.store.events()] == list(range(6, 31))
    later = T0 + datetime.timedelta(days=1)
    assert [journal.purge_events(record.store.database, later, keep=99, at_most=20) for _unused in range(3)] == [20, 5, 0]


OVERLAY = "21 1 0:1 / / rw - overlay overlay rw\n"


def test_a_place_that_ends_with_its_container(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWX_PRIVATE_DATA_DIR", "KUBERNETES_SERVICE_HOST", "container"):
        monkeypatch.delenv(name, raising=False)
    path, root = "/home/me/.local/state/record.db", str(tmp_path)
    assert not ends_with_its_container(path, OVERLAY, root), "an overlay alone is no container"
    (tmp_path / ".dockerenv").touch()
    assert ends_with_its_container(path, OVERLAY, root)
    assert not ends_with_its_container(path, OVERLAY + "22 21 8:1 / /home/me rw - ext4 /dev/sda1 rw\n", root), "a volume"
    (tmp_path / ".dockerenv").unlink()
    monkeypatch.setenv("AWX_PRIVATE_DATA_DIR", "/runner")
    assert ends_with_its_container(path, OVERLAY, root)


def test_the_default_record_in_a_container_is_refused_unless_accepted(
    run_module: RunModule, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("EXTERNAL_DHCP_RECORD", raising=False)
    monkeypatch.setattr(vm_ip_fetch, "ends_with_its_container", lambda path: True)
    monkeypatch.setattr(vm_ip_fetch, "open_hypervisor", lambda description: FakeHypervisor([]).connect())
    words = {"hypervisor": {"type": "kvm"}, "hypervisor_name": "kvm01", "syslog": False}
    result = run_module("vm_ip_fetch", words, fails=True)
    assert "gone with it: set record" in result["msg"] and os.listdir(tmp_path) == []
    file = tmp_path / "m.prom"
    run_module("vm_ip_fetch", {**words, "ephemeral_record": True, "metrics_file": str(file)})
    assert 'external_dhcp_vms{hypervisor="kvm01"} 0' in file.read_text()
    run_module("vm_ip_fetch", {**words, "record": f"sqlite:///{tmp_path}/r.db"})
    listed = run_module("vm_nic_record_info", {"record": f"sqlite:///{tmp_path}/r.db"})
    assert [(one["name"], one["vms"], one["problem"], one["nics"]) for one in listed["hypervisors"]] == [("kvm01", 0, None, {})]


def test_what_a_good_look_is_complained_about(
    run_module: RunModule, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    hypervisor = FakeHypervisor([guest(1, answers={0: []})])
    monkeypatch.setattr(vm_ip_fetch, "open_hypervisor", lambda description: hypervisor.connect())
    url = f"sqlite:///{tmp_path}/record.db"
    words = {"record": url, "hypervisor": {"type": "kvm"}, "hypervisor_name": "kvm01", "syslog": False, "networks": ["corp"]}
    failed = run_module("vm_ip_fetch", {**words, "max_retry": 1, "fail_on": ["gave_up"]}, fails=True)
    assert failed["msg"] == "given up: vm1 NIC 0 (no_lease)"
    assert failed["gave_up"], "and everything is recorded"
    run_module("vm_ip_fetch", {**words, "fail_on": ["gave_up", "stale"]})
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=600)
    journal.note_look(Database(url), LookNote("kvm02", long_ago, "h", 1, 1.0, 180, long_ago))
    failed = run_module("vm_ip_fetch", {**words, "fail_on": ["stale"]}, fails=True)
    assert failed["msg"].startswith("the hypervisor kvm02 was last looked at without a problem at 20")
    assert failed["msg"].endswith("if it is gone or renamed, give vm_nic_record its hypervisor_name with state: retired")
    run_module("vm_ip_fetch", words)
    retire = {"record": url, "hypervisor_name": "kvm02", "state": "retired", "syslog": False}
    assert run_module("vm_nic_record", retire, check_mode=True)["changed"]
    assert run_module("vm_nic_record", retire)["changed"], "and its NICs, if it has some"
    assert not run_module("vm_nic_record", retire)["changed"]
    run_module("vm_ip_fetch", {**words, "fail_on": ["stale"]})
