# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The event source, its feed and its main loop, with a queue of our own."""

from __future__ import annotations

import asyncio
import datetime
import importlib.util
import json
import pathlib
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_ip_fetch import Request, fetch
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import feed
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.errors import RecordUnreachable
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import EVENT_TYPES
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._nic_record.fake_hypervisor import (
    FakeHypervisor,
    guest,
)

FOLDER = pathlib.Path(__file__).parents[4] / "extensions" / "eda" / "plugins" / "event_source"
NOW = datetime.datetime(2026, 11, 22, 8, 0, tzinfo=datetime.UTC)


def load() -> t.Any:
    spec = importlib.util.spec_from_file_location("vm_ip_events", FOLDER / "vm_ip_events.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


source = load()


class Record:
    def __init__(self, folder: pathlib.Path) -> None:
        self.url = f"sqlite:///{folder}/record.db"
        self.now = NOW
        self.store = RecordStore(Database(self.url), lambda: self.now)
        self.store.database.prepare()

    def find(self, number: int, **more: t.Any) -> None:
        one = guest(number, answers={0: [f"10.0.0.{number}"]})
        for name, value in more.items():
            setattr(one, name, value)
        self.store.enter("kvm01", [one.facts()])
        fetch(self.store, FakeHypervisor([one]).connect, Request("kvm01"))


@pytest.fixture
def record(tmp_path: pathlib.Path) -> Record:
    return Record(tmp_path)


def listen(args: dict[str, t.Any], count: int) -> list[dict[str, t.Any]]:
    """The first `count` events of main()."""

    async def run() -> list[dict[str, t.Any]]:
        queue: asyncio.Queue[dict[str, t.Any]] = asyncio.Queue(1)  # a slow engine: put() waits
        task = asyncio.ensure_future(source.main(queue, {"interval": 0.01, **args}))
        try:
            return [await asyncio.wait_for(queue.get(), 30) for _unused in range(count)]
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return asyncio.run(run())


def test_events_come_in_order_with_all_their_values(record: Record) -> None:
    record.find(1)
    record.find(2)
    first, second = listen({"record": record.url, "start": "beginning"}, 2)
    assert (first["id"], second["id"]) == (1, 2)
    assert (first["type"], first["vm_name"], first["address"]) == ("EXTERNAL.DHCP.VM.IP.FETCHED", "vm1", "10.0.0.1")
    assert (first["time"], first["hypervisor_name"], first["mac"]) == ("2026-11-22T08:00:00Z", "kvm01", guest(1).macs[0])


def test_from_now_on_only(record: Record) -> None:
    record.find(1)
    feed = source.EventFeed({"record": record.url})
    assert feed.next_events() == []
    record.find(2)
    assert [event["vm_name"] for event in feed.next_events()] == ["vm2"]
    feed.close()


def test_it_goes_on_where_it_stopped(record: Record, tmp_path: pathlib.Path) -> None:
    cursor = tmp_path / "cursor"
    args = {"record": record.url, "start": "beginning", "cursor_file": str(cursor)}
    for number in (1, 2, 3):
        record.find(number)
    feed = source.EventFeed(args)
    events = feed.next_events()
    feed.delivered(events[0]["id"])
    feed.close()
    assert cursor.read_text() == f"1 {record.store.record_id()} 2026-11-22T08:00:00+00:00\n"
    assert [event["vm_name"] for event in listen(args, 2)] == ["vm2", "vm3"]
    assert [path.name for path in tmp_path.glob("cursor*")] == ["cursor"]


def test_what_comes_while_it_is_down_before_the_first_event_is_delivered(record: Record, tmp_path: pathlib.Path) -> None:
    record.find(1)
    args = {"record": record.url, "cursor_file": str(tmp_path / "cursor")}
    feed = source.EventFeed(args)
    assert feed.next_events() == []
    feed.close()
    for number in range(2, 8):
        record.find(number)
    assert [event["vm_name"] for event in listen(args, 6)] == [f"vm{number}" for number in range(2, 8)]


def test_a_cursor_of_the_first_release_is_a_number(record: Record, tmp_path: pathlib.Path) -> None:
    (tmp_path / "cursor").write_text("1\n")
    for number in (1, 2):
        record.find(number)
    args = {"record": record.url, "cursor_file": str(tmp_path / "cursor")}
    assert [event["vm_name"] for event in source.EventFeed(args).next_events()] == ["vm2"]


@pytest.mark.parametrize("restart", [False, True])
def test_a_record_made_anew_is_noticed(record: Record, tmp_path: pathlib.Path, caplog: t.Any, restart: bool) -> None:
    args = {"record": record.url, "cursor_file": str(tmp_path / "cursor"), "start": "beginning"}
    for number in (1, 2, 3):
        record.find(number)
    feed = source.EventFeed(args)
    for event in feed.next_events():
        feed.delivered(event["id"])
    assert feed.next_events() == []
    record.store.database.close()
    feed.store.database.close()
    for path in tmp_path.glob("record.db*"):
        path.unlink()
    other = Record(tmp_path)
    other.find(4)
    feed = source.EventFeed(args) if restart else feed
    assert [event["vm_name"] for event in feed.next_events()] == ["vm4"]
    assert "was made anew" in caplog.text


@pytest.mark.parametrize("since", [1, 4])
def test_a_restored_record_is_noticed(record: Record, tmp_path: pathlib.Path, caplog: t.Any, since: int) -> None:
    """Fewer events than were delivered, or more again by the time the source looks."""
    args = {"record": record.url, "cursor_file": str(tmp_path / "cursor"), "start": "beginning"}
    record.find(1)
    record.store.database.close()  # and with it the side files
    copy = (tmp_path / "record.db").read_bytes()
    for number in (2, 3):
        record.now += datetime.timedelta(minutes=1)
        record.find(number)
    feed = source.EventFeed(args)
    for event in feed.next_events():
        feed.delivered(event["id"])
    feed.close()
    record.store.database.close()
    for path in tmp_path.glob("record.db-*"):
        path.unlink()
    (tmp_path / "record.db").write_bytes(copy)
    for number in range(5, 5 + since):
        record.now += datetime.timedelta(minutes=1)
        record.find(number)
    feed = source.EventFeed(args)
    found = feed.next_events()
    assert [event["vm_name"] for event in found] == [f"vm{number}" for number in range(5, 5 + since)]
    assert "was restored from a copy" in caplog.text
    for event in found:
        feed.delivered(event["id"])
    assert feed.next_events() == []
    assert caplog.text.count("was restored") == 1


def test_filters(record: Record) -> None:
    record.find(1)
    lost = {"record": record.url, "start": "beginning", "types": ["EXTERNAL.DHCP.VM.IP.LOST"]}
    assert source.EventFeed(lost).next_events() == []
    assert source.EventFeed({"record": record.url, "start": "beginning", "hypervisor_name": "kvm02"}).next_events() == []


def test_a_record_that_comes_later(tmp_path: pathlib.Path) -> None:
    feed = source.EventFeed({"record": f"sqlite:///{tmp_path}/record.db"})
    assert feed.next_events() == []
    assert not (tmp_path / "record.db").exists()
    Record(tmp_path).find(1)
    assert [event["vm_name"] for event in feed.next_events()] == ["vm1"]


def test_a_broken_record_is_tried_again(record: Record, monkeypatch: pytest.MonkeyPatch, caplog: t.Any) -> None:
    record.find(1)
    real, left = source.EventFeed.next_events, [2]

    def sometimes(feed: t.Any) -> t.Any:
        if left[0]:
            left[0] -= 1
            raise RecordUnreachable("the record is away")
        return real(feed)

    monkeypatch.setattr(source.EventFeed, "next_events", sometimes)
    assert [event["vm_name"] for event in listen({"record": record.url, "start": "beginning"}, 1)] == ["vm1"]
    assert caplog.text.count("the record is away") == 2


def test_names_cannot_be_templates(record: Record) -> None:
    record.find(1, name="{{ lookup('pipe', 'id') }}")
    (event,) = source.EventFeed({"record": record.url, "start": "beginning"}).next_events()
    assert event["vm_name"] == "?? lookup('pipe', 'id') ??"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"types": ["FETCHED"]}, "types has 'FETCHED'"),
        ({"types": 5}, "types must be a list"),
        ({"start": "later"}, "start is 'later'"),
        ({"interval": -1}, "interval is -1.0"),
        ({"recrod": "x"}, "there is no argument 'recrod'"),
        ({"cursor_file": "/nonexistent/cursor"}, "its folder does not exist"),
    ],
)
def test_bad_arguments(record: Record, args: dict[str, t.Any], message: str) -> None:
    with pytest.raises(source.ArgumentError, match=message):
        asyncio.run(source.main(asyncio.Queue(), {"record": record.url, **args}))


def test_the_schema_names_the_same_arguments() -> None:
    schema = json.loads((FOLDER / "schemas" / "vm_ip_events.json").read_text())
    assert tuple(schema["properties"]) == source._KNOWN
    assert schema["properties"]["types"]["items"]["enum"] == list(EVENT_TYPES)


# -- delivery --


class Engine:
    """What ansible-rulebook does with a source's queue: it wraps it, takes one event at a time, and confirms it where asked."""

    def __init__(self, feedback: bool = False) -> None:
        self.queue: asyncio.Queue[dict[str, t.Any]] = asyncio.Queue(1)
        self.feedback: asyncio.Queue[dict[str, t.Any]] | None = asyncio.Queue(1) if feedback else None

    async def put(self, event: dict[str, t.Any]) -> None:
        await self.queue.put(event)

    async def take(self) -> dict[str, t.Any]:
        return await asyncio.wait_for(self.queue.get(), 30)


def number_in(cursor: pathlib.Path) -> int:
    return int(cursor.read_text().split()[0])


@pytest.mark.parametrize("feedback", [False, True])
def test_the_cursor_moves_when_the_engine_has_the_event_and_not_before(
    record: Record, tmp_path: pathlib.Path, feedback: bool
) -> None:
    for number in (1, 2, 3):
        record.find(number)
    cursor = tmp_path / "cursor"

    async def run() -> None:
        engine = Engine(feedback)
        args = {"record": record.url, "start": "beginning", "cursor_file": str(cursor), "interval": 0.01, "feedback": feedback}
        if feedback:
            args["eda_feedback_queue"] = engine.feedback
        task = asyncio.ensure_future(source.main(engine, args))
        try:
            while engine.queue.empty():
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            assert number_in(cursor) == 0  # it lies in the queue: killed now, the engine would not have it
            first = await engine.take()
            assert first["id"] == 1
            if engine.feedback is not None:
                await asyncio.sleep(0.2)
                assert number_in(cursor) == 0 and engine.queue.empty()  # taken and not confirmed
                await engine.feedback.put(first)
            while number_in(cursor) == 0:
                await asyncio.sleep(0.01)
            assert (await engine.take())["id"] == 2
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def test_an_event_that_is_not_confirmed_comes_again(record: Record, monkeypatch: pytest.MonkeyPatch, caplog: t.Any) -> None:
    monkeypatch.setattr(feed, "FEEDBACK_SECONDS", 0.1)
    record.find(1)

    async def run() -> None:
        engine = Engine(feedback=True)
        args = {"record": record.url, "start": "beginning", "feedback": True, "eda_feedback_queue": engine.feedback}
        task = asyncio.ensure_future(source.main(engine, args))
        try:
            assert [(await engine.take())["id"] for _number in range(3)] == [1, 1, 1]
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert "has not confirmed event 1" in caplog.text
