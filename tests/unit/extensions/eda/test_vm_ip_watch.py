# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The source that listens, with hypervisors of our own and a queue like the engine's."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import pathlib
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HINT_GUEST, HypervisorUnreachable
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import watch as watching
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.lock import SCOPE_WATCH, PollLock
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import EVENT_TYPES
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._module.test_watch import Voice
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._nic_record.fake_hypervisor import guest

FOLDER = pathlib.Path(__file__).parents[4] / "extensions" / "eda" / "plugins" / "event_source"


def load() -> t.Any:
    spec = importlib.util.spec_from_file_location("vm_ip_watch", FOLDER / "vm_ip_watch.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


source = load()


class Site:
    """Two hypervisors; the second one's VM has no address yet."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.url = f"sqlite:///{folder}/record.db"
        self.store = RecordStore(Database(self.url))
        self.voices = {
            "one": Voice([guest(1, answers={0: ["10.0.0.1"]})]),
            "two": Voice([guest(2)]),
        }
        self.args = {
            "record": self.url,
            "hypervisors": [
                {"name": name, "hypervisor": {"type": "kvm", "uri": name}, "networks": ["corp"]} for name in self.voices
            ],
        }

    def open(self, description: dict[str, t.Any]) -> t.Any:
        return self.voices[description["uri"]].connect()


@pytest.fixture
def site(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    one = Site(tmp_path)
    monkeypatch.setattr(source, "open_hypervisor", one.open)
    for name in ("STANDBY_SECONDS", "BUSY_SECONDS", "FIRST_PAUSE"):
        monkeypatch.setattr(watching, name, 0.05)
    return one


def listen(args: dict[str, t.Any], story: t.Callable[[t.Callable[[], t.Awaitable[dict[str, t.Any]]]], t.Any]) -> None:
    """Runs main() and the story, which is given a way to wait for the next event."""

    async def run() -> None:
        queue: asyncio.Queue[dict[str, t.Any]] = asyncio.Queue(1)
        task = asyncio.ensure_future(source.main(queue, args))

        async def event() -> dict[str, t.Any]:
            return await asyncio.wait_for(queue.get(), 30)

        try:
            await story(event)
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def test_several_hypervisors_in_one_source(site: Site) -> None:
    async def story(event: t.Any) -> None:
        first = await event()
        assert (first["hypervisor_name"], first["vm_name"], first["address"]) == ("one", "vm1", "10.0.0.1")
        second = site.voices["two"].guests[0]
        second.answers = {0: ["10.0.0.2"]}
        site.voices["two"].say(HINT_GUEST, second)
        found = await event()
        assert (found["hypervisor_name"], found["address"], found["type"]) == ("two", "10.0.0.2", "EXTERNAL.DHCP.VM.IP.FETCHED")

    listen(site.args, story)
    # Both locks are given back.
    for name in site.voices:
        lock = PollLock(site.store.database, name, SCOPE_WATCH)
        assert lock.acquire()
        lock.release()


def test_listening_and_telling_are_about_the_record_of_the_environment(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXTERNAL_DHCP_RECORD", site.args.pop("record"))

    async def story(event: t.Any) -> None:
        assert (await event())["address"] == "10.0.0.1"

    listen(site.args, story)


def test_one_that_cannot_be_reached_disturbs_no_other_and_is_heard_later(site: Site, caplog: t.Any) -> None:
    site.voices["one"].fail_connect = HypervisorUnreachable("one is away")

    async def story(event: t.Any) -> None:
        site.voices["two"].guests[0].answers = {0: ["10.0.0.2"]}
        site.voices["two"].say(HINT_GUEST, site.voices["two"].guests[0])
        assert (await event())["vm_name"] == "vm2"
        for _try in range(1000):  # each hypervisor has a thread of its own, which may come late
            if "one: one is away" in caplog.text:
                break
            await asyncio.sleep(0.01)
        site.voices["one"].fail_connect = None
        assert (await event())["vm_name"] == "vm1"

    listen(site.args, story)
    assert "one: one is away" in caplog.text


def test_it_stands_by_while_another_listens_and_delivers_what_that_one_finds(site: Site) -> None:
    site.store.database.prepare()
    other = PollLock(site.store.database, "one", SCOPE_WATCH)
    assert other.acquire()

    async def story(event: t.Any) -> None:
        await asyncio.sleep(0.5)
        assert site.voices["one"].connections == 0
        other.release()
        assert (await event())["vm_name"] == "vm1"

    listen(site.args, story)


def test_what_was_not_delivered_comes_after_a_restart(site: Site, tmp_path: pathlib.Path) -> None:
    args = {**site.args, "cursor_file": str(tmp_path / "cursor")}

    async def not_taken(_event: t.Any) -> None:
        while not (tmp_path / "cursor").exists() or not site.store.last_event_id():
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)

    listen(args, not_taken)

    async def again(event: t.Any) -> None:
        assert (await event())["vm_name"] == "vm1"

    listen(args, again)


def test_a_source_that_meets_a_bug_goes_on(site: Site, monkeypatch: pytest.MonkeyPatch, caplog: t.Any) -> None:
    real, left = watching.fetch, [1]

    def sometimes(*words: t.Any, **more: t.Any) -> t.Any:
        if left:
            left.pop()
            raise RuntimeError("nobody thought of that")
        return real(*words, **more)

    monkeypatch.setattr(watching, "fetch", sometimes)

    async def story(event: t.Any) -> None:
        assert (await event())["vm_name"] == "vm1"

    listen(site.args, story)
    assert "nobody thought of that" in caplog.text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"hypervisors": []}, "hypervisors must be a list"),
        ({"hypervisors": [{"name": "", "hypervisor": {}}]}, "hypervisors.0..name must be"),
        ({"hypervisors": [{"name": "a", "hypervisor": {"type": "qemu", "password": "hidden"}}]}, "whose type is one of"),
        ({"hypervisors": [{"name": "a", "hypervisor": {"type": "kvm"}, "network": []}]}, "hypervisors has 'network' for a"),
        ({"hypervisors": [{"name": "a", "hypervisor": {"type": "kvm"}, "networks": [5]}]}, "hypervisors: a: networks"),
        ({"interval": "soon"}, "interval is 'soon'"),
        ({"typos": 1}, "there is no argument 'typos'"),
        ({"types": ["FOUND"]}, "types has 'FOUND'"),
    ],
)
def test_bad_arguments(site: Site, more: dict[str, t.Any], message: str) -> None:
    with pytest.raises(source.ArgumentError, match=message) as caught:
        asyncio.run(source.main(asyncio.Queue(), {**site.args, **more}))
    assert "hidden" not in str(caught.value)


def test_the_schema_names_the_same_arguments() -> None:
    schema = json.loads((FOLDER / "schemas" / "vm_ip_watch.json").read_text())
    assert tuple(schema["properties"]) == source._KNOWN
    assert schema["properties"]["types"]["items"]["enum"] == list(EVENT_TYPES)
