# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record on real databases: overlapping and dying pollers, broken servers. The rig `database` is started in the fixture `servers`."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import multiprocessing
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
import typing as t

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLLECTION = "ansible_collections.vmops.external_dhcp"

sys.path.insert(0, str(ROOT / ".build" / "collections"))

api = importlib.import_module(f"{COLLECTION}.plugins.module_utils._hypervisor.api")
databases = importlib.import_module(f"{COLLECTION}.tests.integration.databases")
database = importlib.import_module(f"{COLLECTION}.plugins.module_utils._nic_record.database")
errors = importlib.import_module(f"{COLLECTION}.plugins.module_utils._nic_record.errors")
locks = importlib.import_module(f"{COLLECTION}.plugins.module_utils._nic_record.lock")
rows = importlib.import_module(f"{COLLECTION}.plugins.module_utils._nic_record.rows")
model = importlib.import_module(f"{COLLECTION}.plugins.module_utils._nic_record.model")
stores = importlib.import_module(f"{COLLECTION}.plugins.module_utils._nic_record.store")
watching = importlib.import_module(f"{COLLECTION}.plugins.module_utils._module.watch")
voices = importlib.import_module(f"{COLLECTION}.tests.unit.plugins.module_utils._module.test_watch")
fetching = importlib.import_module(f"{COLLECTION}.plugins.module_utils._module.vm_ip_fetch")
fakes = importlib.import_module(f"{COLLECTION}.tests.unit.plugins.module_utils._nic_record.fake_hypervisor")

sa = pytest.importorskip("sqlalchemy")
fork = multiprocessing.get_context("fork")

NOW = databases.NOW
Place, rig = databases.Place, databases.rig
LIMIT = 120  # seconds after which a poller that does not end is an error


def enter(place: Place, guests: t.Sequence[t.Any], hypervisor: str = "kvm01") -> None:
    store = place.store()
    store.database.prepare()
    store.enter(hypervisor, [one.facts() for one in guests])
    store.database.close()


def in_child(work: t.Callable[[], t.Any]) -> t.Any:
    """Starts work() in a forked process, which ends without running anything of pytest's."""

    def run() -> None:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    process = fork.Process(target=run, daemon=True)
    process.start()
    return process


def wait_for(processes: t.Iterable[t.Any]) -> list[int | None]:
    limit = time.monotonic() + LIMIT
    codes = []
    for process in processes:
        process.join(max(0.0, limit - time.monotonic()))
        if process.exitcode is None:
            process.kill()
        codes.append(process.exitcode)
    return codes


def look_of(hypervisor_name: str = "kvm01", **more: t.Any) -> t.Any:
    """A look that makes the record agree with the hypervisor before it asks the guests, as playbooks do."""
    return fetching.Request(hypervisor_name, **{"reconcile": True, "networks": {"corp": {}}, **more})


def poll(place: Place, guests: t.Sequence[t.Any], looks: pathlib.Path, **request: t.Any) -> t.Any:
    """One poll in this process; each look is a line in the file `looks`."""
    log = os.open(looks, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    hypervisor = fakes.FakeHypervisor(guests)
    hypervisor.on_answer = lambda one: os.write(log, f"{one.id}\n".encode())
    store = place.store()
    try:
        return fetching.fetch(store, hypervisor.connect, look_of(**request))
    finally:
        store.database.close()
        os.close(log)


def truth(place: Place, guests: t.Sequence[t.Any]) -> None:
    """The record says of every guest what is true, and each news is told once."""
    store = place.store()
    nics = {(nic.vm_id, nic.mac): nic for nic in store.nics()}
    events = store.events(limit=100000)
    store.database.close()
    assert len(nics) == sum(len(one.macs) for one in guests)
    for one in guests:
        for device, mac in enumerate(one.macs):
            nic = nics[one.id, mac]
            address = next(iter((one.answers or {}).get(device) or ()), None)
            assert nic.ip4_address == address
            assert nic.claim_token is None
            if address is None:
                assert (nic.fetch_state, nic.tries_failed, nic.tries_left) == ("pending", 1, 9), "one try for one due time"
            else:
                assert (nic.fetch_state, nic.tries_failed) == ("found", 0)
    told = [(event.vm_id, event.mac) for event in events]
    assert len(told) == len(set(told)), "no event twice"
    assert set(told) == {key for key, nic in nics.items() if nic.ip4_address}
    assert [event.id for event in events] == list(range(1, len(events) + 1)), "no gap in the numbers"


def some_guests(count: int, first: int = 1) -> list[t.Any]:
    """Every seventh has no address and every eleventh no guest tools."""
    guests = []
    for number in range(first, first + count):
        answers: t.Any = {0: [f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"]}
        guests.append(fakes.guest(number, answers=None if number % 11 == 0 else {0: []} if number % 7 == 0 else answers))
    return guests


# -- overlapping pollers -----------------------------------------------------------------------------------------------


def test_four_pollers_look_at_each_of_2000_nics_once(place: Place) -> None:
    guests = some_guests(2000)
    enter(place, guests)
    looks = place.folder / "looks"
    done = place.folder / "done"

    def one() -> None:
        result = poll(place, guests, looks)
        with done.open("a") as file:
            file.write(f"{result.looked_at} {result.skipped}\n")

    assert wait_for([in_child(one) for _unused in range(4)]) == [0, 0, 0, 0]
    seen = looks.read_text().split()
    assert len(seen) == 2000 and len(set(seen)) == 2000
    reports = [line.split() for line in done.read_text().splitlines()]
    assert sorted(int(count) for count, _skipped in reports) == [0, 0, 0, 2000]
    truth(place, guests)


def test_sliced_pollers_and_a_global_one_never_share_a_hypervisor(place: Place) -> None:
    slices = {f"kvm{number}": some_guests(100, number * 1000) for number in range(4)}
    for name, guests in slices.items():
        enter(place, guests, name)
    looks = place.folder / "looks"

    def one(name: str, scope: str) -> t.Callable[[], None]:
        def work() -> None:
            # A skipped poller comes again, as a schedule would, until somebody has done its hypervisor.
            limit = time.monotonic() + LIMIT / 2
            while poll(place, slices[name], looks, hypervisor_name=name, lock_scope=scope).skipped:
                assert time.monotonic() < limit
                time.sleep(0.02)

        return work

    work = [one(name, scope) for name in slices for scope in ("hypervisor", "hypervisor", "global")]
    assert wait_for([in_child(step) for step in work]) == [0] * 12
    seen = looks.read_text().split()
    assert len(seen) == 400 and len(set(seen)) == 400
    truth(place, [one for guests in slices.values() for one in guests])


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        (("kvm01", "global"), ("kvm02", "global"), False),
        (("kvm01", "hypervisor"), ("kvm01", "hypervisor"), False),
        (("kvm01", "hypervisor"), ("kvm02", "hypervisor"), True),
        (("kvm01", "global"), ("kvm02", "hypervisor"), False),
        (("kvm01", "hypervisor"), ("kvm02", "global"), False),
        (("a/b 'c", "hypervisor"), ("a/b 'd" * 30, "hypervisor"), True),
    ],
)
def test_who_excludes_whom(place: Place, first: t.Any, second: t.Any, together: bool) -> None:
    store, other = place.store(), place.store()
    store.database.prepare()
    held = locks.PollLock(store.database, *first, clock=lambda: NOW)
    wanted = locks.PollLock(other.database, *second, clock=lambda: NOW)
    assert held.acquire()
    assert wanted.acquire() is together
    if not together:
        holder = wanted.holder()
        assert (holder.pid, holder.since, holder.host) == (os.getpid(), NOW, os.uname().nodename)
    held.release()
    assert not held.still_held() or place.kind == "sqlite"
    if not together:
        assert wanted.acquire()
        assert wanted.holder().name == wanted.name
    wanted.release()
    again = locks.PollLock(store.database, "kvm01", "global")
    assert again.acquire()
    again.release()
    store.database.close()
    other.database.close()


def test_a_skipped_poll_says_who_has_the_lock(place: Place) -> None:
    guests = some_guests(3)
    enter(place, guests)
    store = place.store()
    with locks.PollLock(store.database, "kvm09", clock=lambda: NOW) as lock:
        assert lock.acquire()
        result = poll(place, guests, place.folder / "looks")
    store.database.close()
    assert result.skipped and result.looked_at == 0
    assert (result.holder.pid, result.holder.since) == (os.getpid(), NOW)
    assert not (place.folder / "looks").read_text()


def test_a_watcher_keeps_watchers_out_and_no_poller(place: Place) -> None:
    store = place.store()
    store.database.prepare()
    watcher, second = (locks.PollLock(store.database, "kvm01", locks.SCOPE_WATCH, lambda: NOW) for _unused in range(2))
    assert watcher.acquire() and watcher.watched()
    with watcher:
        assert not second.acquire() and second.holder().name == "vmIpWatch:kvm01"
        for scope in (locks.SCOPE_HYPERVISOR, locks.SCOPE_GLOBAL):
            poller = locks.PollLock(store.database, "kvm01", scope, lambda: NOW)
            assert poller.acquire(), scope
            # Who is skipped is told of the poller, and not of the watcher.
            other = locks.PollLock(store.database, "kvm01", scope, lambda: NOW)
            assert not other.acquire() and not other.holder().name.startswith("vmIpWatch")
            poller.release()
        elsewhere = locks.PollLock(store.database, "kvm02", locks.SCOPE_WATCH, lambda: NOW)
        assert elsewhere.acquire()
        elsewhere.release()
    assert second.acquire()
    second.release()
    store.database.close()


def test_a_killed_watcher_makes_way_and_hints_are_recorded(place: Place) -> None:
    guests = some_guests(3)
    enter(place, guests)
    ready, says = os.pipe()

    def hold() -> None:
        lock = locks.PollLock(place.store().database, "kvm01", locks.SCOPE_WATCH)
        assert lock.acquire()
        os.write(says, b"!")
        time.sleep(LIMIT)

    process = in_child(hold)
    assert os.read(ready, 1) == b"!"
    store = place.store()
    speaking = voices.Voice(guests)
    with watching.Watcher(store, speaking.connect, fetching.Request("kvm01")) as watcher:
        assert not watcher.take_turn(0)
        process.kill()
        assert watcher.take_turn(10)
        for one in guests:
            one.answers = {device: [f"10.7.0.{device + 1}"] for device in range(len(one.macs))}
        speaking.say("guest", *guests)
        watcher.listen(30, enough=lambda: all(nic.fetch_state == "found" for nic in store.nics()))
    assert {nic.fetch_state for nic in store.nics()} == {"found"}
    assert len(watcher.watch.poll.found) == len(store.nics()) == len(store.events())
    store.database.close()
    os.close(ready)
    os.close(says)


# -- dying pollers -----------------------------------------------------------------------------------------------------


def die_at(statement: int, after: bool) -> None:
    """Kills this process at that statement of whatever engine it uses, before or after the database did it."""
    left = [statement]

    def hit(*_arguments: t.Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(sa.engine.Engine, "after_cursor_execute" if after else "before_cursor_execute", hit)
    sa.event.listen(sa.engine.Engine, "commit", hit)


def free_within(place: Place, seconds: float) -> None:
    store = place.store()
    lock = locks.PollLock(store.database, "kvm01")
    limit = time.monotonic() + seconds
    while not lock.acquire():
        assert time.monotonic() < limit, "the dead poller still has the lock"
        time.sleep(0.01)
    lock.release()
    store.database.close()


def test_a_poller_killed_at_random_points_loses_nothing(place: Place) -> None:
    """200 points, 100 on each of the servers. Some kills hit the same record, so that one meets what another left behind."""
    wanted = 200 if place.kind == "sqlite" else 100
    chance = random.Random(4)  # the same points each time
    kills = completed = 0
    looks = place.folder / "looks"
    store = place.store()
    store.database.prepare()
    while kills < wanted:
        guests = some_guests(24)
        store.remove("kvm01", [one.facts() for one in guests])
        store.database.run(lambda connection: connection.exec_driver_sql("DELETE FROM events"), write=True)
        store.database.run(
            lambda connection: connection.exec_driver_sql("UPDATE event_counter SET last_event_id = 0"), write=True
        )
        if chance.random() < 0.5:  # else the look finds out that they are there
            store.enter("kvm01", [one.facts() for one in guests])
        store.database.close()
        for _unused in range(chance.randint(1, 4)):
            # Sometimes the driver is slower than the database, so that answers come one by one.
            point, after, pause = chance.randint(1, 30), chance.random() < 0.5, chance.choice([0, 0.001])

            def work(point: int = point, after: bool = after, pause: float = pause, guests: t.Any = tuple(guests)) -> None:
                die_at(point, after)
                hypervisor = fakes.FakeHypervisor(guests)
                hypervisor.on_answer = lambda one: time.sleep(pause)
                fetching.fetch(place.store(), hypervisor.connect, look_of())

            (code,) = wait_for([in_child(work)])
            assert code in (0, -signal.SIGKILL)
            kills += code != 0
            completed += code == 0
            assert completed < 2 * wanted, "most points must lie inside the poll"
            free_within(place, 1)
        result = poll(place, guests, looks)
        assert not result.skipped
        truth(place, guests)
    store.database.close()


def test_a_child_of_a_dead_poller_does_not_keep_the_lock(place: Place) -> None:
    place.store().database.prepare()
    ready, ready_child = os.pipe()

    def work() -> None:
        lock = locks.PollLock(place.store().database, "kvm01")
        assert lock.acquire()
        if os.fork() == 0:
            os.write(ready_child, b"%d\n" % os.getpid())
            signal.pause()
        os.waitpid(-1, 0)

    process = in_child(work)
    grandchild = int(os.read(ready, 20))
    try:
        process.kill()
        os.waitpid(process.pid, 0)  # join() would wait for the grandchild too
        free_within(place, 1)
        os.kill(grandchild, 0)  # it is still there
    finally:
        os.kill(grandchild, signal.SIGKILL)
        os.close(ready)
        os.close(ready_child)


# -- broken databases --------------------------------------------------------------------------------------------------


@pytest.fixture(params=["postgresql", "mariadb"])
def server_place(request: pytest.FixtureRequest, tmp_path: pathlib.Path, servers: dict[str, t.Any]) -> t.Iterator[Place]:
    one = Place(request.param, servers[request.param].url, servers[request.param], tmp_path)
    one.empty()
    yield one
    if one.server.pid() is None:
        one.server.start()


def clear(error: BaseException) -> str:
    text = str(error)
    assert rig.PASSWORD not in text
    assert "\n" not in text and "Traceback" not in text
    return text


def test_a_restart_in_the_middle_of_a_poll(server_place: Place) -> None:
    place, guests = server_place, some_guests(60)
    enter(place, guests)
    hypervisor = fakes.FakeHypervisor(guests)

    def restart(one: t.Any) -> None:
        if len(hypervisor.looks) == 30:
            place.server.kill()
            place.server.start()

    hypervisor.on_answer = restart
    store = place.store()
    with contextlib.suppress(errors.RecordUnreachable):
        result = fetching.fetch(store, hypervisor.connect, look_of())
        assert "lock" in result.problem, "the lock went with the server, and nobody may go on without it"
    store.database.close()
    limit = time.monotonic() + LIMIT
    while not place.server.answers():  # it may still be at its recovery
        assert time.monotonic() < limit
        time.sleep(0.1)
    free_within(place, 1)
    assert poll(place, guests, place.folder / "looks").problem is None
    truth(place, guests)


def test_a_poller_that_lost_its_lock_stops_and_its_late_answers_count_for_nothing(server_place: Place) -> None:
    place, guests = server_place, some_guests(40)
    enter(place, guests)
    hypervisor = fakes.FakeHypervisor(guests)
    second: list[t.Any] = []

    def lose(one: t.Any) -> None:
        if len(hypervisor.looks) != 1:
            return
        if place.kind == "postgresql":
            place.server.admin("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        else:
            name = locks._mysql_name("records", f"{locks.LOCK_NAME}:kvm01")
            session = place.server.admin(f"SELECT IS_USED_LOCK('{name}')")
            place.server.admin(f"KILL {session}")
        free_within(place, 5)
        # Another controller polls everything before the first one's answers are in.
        second.append(poll(place, guests, place.folder / "looks"))

    hypervisor.on_answer = lose
    store = place.store()
    result = fetching.fetch(store, hypervisor.connect, look_of())
    store.database.close()
    assert "another poller may be at work" in result.problem
    assert result.looked_at == 0
    assert second[0].looked_at == 40
    truth(place, guests)


def test_an_unreachable_server(server_place: Place) -> None:
    place, guests = server_place, some_guests(3)
    enter(place, guests)
    place.server.stop()
    with pytest.raises(errors.RecordUnreachable) as error:
        poll(place, guests, place.folder / "looks")
    assert f"records on 127.0.0.1:{place.server.port} ({place.kind}) cannot be reached" in clear(error.value)
    place.server.start()
    assert poll(place, guests, place.folder / "looks").looked_at == 3


def test_a_wrong_password_and_a_missing_database(server_place: Place) -> None:
    wrong = server_place.url.replace(rig.PASSWORD, "not-the-p4ssword")
    with pytest.raises(errors.RecordUnreachable) as error:
        database.Database(wrong).prepare()
    assert "refuses the login" in clear(error.value) or server_place.kind == "postgresql"
    assert "not-the-p4ssword" not in str(error.value)
    with pytest.raises(errors.RecordError) as error:
        database.Database(server_place.url.replace("/records", "/nothing_here")).prepare()
    assert "nothing_here" in clear(error.value)


def test_a_read_only_server(server_place: Place) -> None:
    place, guests = server_place, some_guests(3)
    enter(place, guests)
    if place.kind == "postgresql":
        place.server.admin("ALTER DATABASE records SET default_transaction_read_only = on")
    else:
        place.server.admin("SET GLOBAL read_only = 1")
    try:
        with pytest.raises(errors.RecordReadOnly) as error:
            poll(place, guests, place.folder / "looks")
        assert "can only be read" in clear(error.value)
        assert len(place.store().nics()) == 3, "reading still works"
        place.store().database.prepare()
    finally:
        if place.kind == "postgresql":
            place.server.admin("ALTER DATABASE records SET default_transaction_read_only = off")
        else:
            place.server.admin("SET GLOBAL read_only = 0")
    poll(place, guests, place.folder / "looks")
    truth(place, guests)


@pytest.fixture
def tiny(tmp_path: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """A file system of one megabyte."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vmops-tiny-"))
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0777", "tmpfs", str(folder)], check=False).returncode:
        folder.rmdir()
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


def half_written(place: Place, count: int) -> None:
    """Nothing of a transaction that failed is there."""
    store = place.store()
    assert len(store.nics()) == count
    found = sum(nic.fetch_state == "found" for nic in store.nics())
    assert len(store.events(limit=100000)) == found == store.last_event_id()
    store.database.close()


def test_a_full_disk_under_sqlite(tiny: pathlib.Path, tmp_path: pathlib.Path) -> None:
    place = Place("sqlite", f"sqlite:///{tiny}/record.db", None, tmp_path)
    guests = some_guests(20)
    enter(place, guests)
    (tiny / "filler").write_bytes(b"x" * (os.statvfs(tiny).f_bavail * os.statvfs(tiny).f_frsize))
    with pytest.raises(errors.RecordFull) as error:
        place.store().enter("kvm01", [one.facts() for one in some_guests(3000, 100)])
    assert "has no room left" in clear(error.value)
    with pytest.raises(errors.RecordError) as error:
        poll(place, guests, tmp_path / "looks")
    clear(error.value)
    (tiny / "filler").unlink()  # SQLite needs room for its side files even to read
    half_written(place, 20)
    poll(place, guests, tmp_path / "looks")
    truth(place, guests)


def test_a_full_disk_under_postgresql(tiny: pathlib.Path, tmp_path: pathlib.Path, servers: dict[str, t.Any]) -> None:
    server = servers["postgresql"]
    account = server.account()
    os.chown(tiny, account.pw_uid, account.pw_gid)
    place = Place("postgresql", server.url, server, tmp_path)
    place.empty()
    enter(place, some_guests(20))
    server.admin(f"CREATE TABLESPACE tiny LOCATION '{tiny}'")
    try:
        server.admin("ALTER TABLE nics SET TABLESPACE tiny", "records")
        with pytest.raises(errors.RecordFull) as error:
            place.store().enter("kvm01", [one.facts() for one in some_guests(9000, 100)])
        assert "has no room left" in clear(error.value)
        half_written(place, 20)
    finally:
        server.admin("ALTER TABLE nics SET TABLESPACE pg_default", "records")
        server.admin("DROP TABLESPACE tiny")
    poll(place, some_guests(20), tmp_path / "looks")
    truth(place, some_guests(20))


def test_sqlite_that_can_only_be_read(tiny: pathlib.Path, tmp_path: pathlib.Path) -> None:
    place = Place("sqlite", f"sqlite:///{tiny}/record.db", None, tmp_path)
    enter(place, some_guests(3))
    subprocess.run(["mount", "-o", "remount,ro", str(tiny)], check=True)
    with pytest.raises(errors.RecordReadOnly) as error:
        poll(place, some_guests(3), tmp_path / "looks")
    assert "record.db" in clear(error.value)
    with pytest.raises(errors.RecordReadOnly) as error:
        database.Database(f"sqlite:///{tiny}/new/record.db").prepare()
    assert "EXTERNAL_DHCP_RECORD" in clear(error.value)
    assert len(place.store().nics()) == 3
    subprocess.run(["mount", "-o", "remount,rw", str(tiny)], check=True)


def test_tables_of_a_newer_version(place: Place) -> None:
    enter(place, some_guests(1))
    store = place.store()
    store.database.run(lambda c: c.exec_driver_sql("INSERT INTO schema_version VALUES (99, '2030-01-01 00:00:00')"), write=True)
    for use in (store.database.prepare, store.database.exists):
        with pytest.raises(errors.RecordSchemaError) as error:
            use()
        assert "version 99" in clear(error.value) and "upgrade the collection" in clear(error.value)
    assert len(store.nics()) == 1
    store.database.close()


def test_tables_made_by_eight_at_once(place: Place) -> None:
    assert wait_for([in_child(place.store().database.prepare) for _unused in range(8)]) == [0] * 8
    store = place.store()
    assert store.last_event_id() == 0
    store.database.close()


def test_the_tables_of_the_first_release_are_upgraded_once(place: Place) -> None:
    """As its version 1 made and filled them; four processes meet them at once."""
    one = database.Database(place.url)
    if place.kind == "sqlite":
        one._prepare_file(one.path)
    first = importlib.import_module(f"{COLLECTION}.tests.unit.plugins.module_utils._nic_record.schema_version_1")
    one.run(first.create, write=True)
    assert wait_for([in_child(place.store().database.prepare) for _unused in range(4)]) == [0] * 4
    schema = importlib.import_module(f"{COLLECTION}.plugins.module_utils._nic_record.schema")
    assert one.run(schema.stored_version) == schema.SCHEMA_VERSION
    there = one.run(
        lambda c: {table: {col["name"] for col in sa.inspect(c).get_columns(table)} for table in schema.metadata.tables}
    )
    assert there == {name: {col.name for col in table.columns} for name, table in schema.metadata.tables.items()}
    indexes = one.run(lambda c: {index["name"] for index in sa.inspect(c).get_indexes("nics")})
    assert {index.name for index in schema.nics.indexes} <= indexes
    store = place.store()
    assert [(nic.vm_name, nic.ip4_address, nic.fetch_state) for nic in store.nics()] == [("web1", "10.0.0.1", "found")]
    assert [(event.id, event.type) for event in store.events()] == [(1, "EXTERNAL.DHCP.VM.IP.FETCHED")]
    assert len(store.record_id()) == 32
    store.database.close()
    guests = [fakes.guest(2, answers={0: ["10.0.0.2"]})]
    store.enter("kvm01", [one_.facts() for one_ in guests])
    assert poll(place, guests, place.folder / "looks", reconcile=False).problem is None
    assert [event.id for event in store.events()] == [1, 2]
    store.database.close()
    one.close()


# -- names and many -----------------------------------------------------------------------------------------------------


def test_names_that_differ_by_a_blank_or_by_case_are_different(place: Place) -> None:
    store = place.store()
    store.database.prepare()
    names = ["web1", "web1 ", "Web1", "wéb1"]
    guests = [dataclasses.replace(fakes.guest(number), name=name) for number, name in enumerate(names, 1)]
    store.enter("kvm01", [one.facts() for one in guests])
    store.stop("kvm01", [model.VmFacts("web1")])
    assert {nic.vm_name: nic.fetch_state for nic in store.nics()} == {
        "web1": "stopped", "web1 ": "pending", "Web1": "pending", "wéb1": "pending"
    }  # fmt: skip
    assert [nic.vm_name for nic in store.nics(vms=["web1 "])] == ["web1 "]
    held = [locks.PollLock(store.database, name, "hypervisor") for name in ("kvm01", "KVM01", "kvm01 ")]
    assert all(lock.acquire() for lock in held)
    for lock in held:
        lock.release()
    store.database.close()


def test_pages_are_cut_by_the_database_in_one_order_everywhere(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    store = place.store()
    store.database.prepare()
    names = ["web1", "Web2", "wéb3", "web 4", "web_5", "WEB6", "_web7"]
    guests = [dataclasses.replace(fakes.guest(number, 2), name=name) for number, name in enumerate(names, 1)]
    store.enter("kvm01", [one.facts() for one in guests])
    assert (
        poll(
            place, [dataclasses.replace(guests[0], answers={0: ["10.0.0.1", "fd00::1"]})], place.folder / "l", reconcile=False
        ).problem
        is None
    )
    every = store.nics()
    assert [nic.vm_name for nic in every[::2]] == sorted(names)
    read: list[model.NicRecord] = []
    monkeypatch.setattr(rows, "nics_of", lambda result, real=rows.nics_of: read.extend(new := real(result)) or new)
    wanted = rows.fitting(hypervisor_names=["kvm01"])
    pages = [store.nics_page(wanted, None, 5, offset) for offset in (0, 5, 10, 15)]
    assert [nic for page, _total in pages for nic in page] == every == read, "and no row is read twice"
    assert {total for _page, total in pages} == {14}
    assert store.nics_page(wanted, None, None, 5)[0] == every[5:], "an offset without a limit"
    monkeypatch.setattr(rows, "CHUNK", 3)  # so that the names take several statements
    named = [store.nics_page(wanted, names[:5], 4, offset)[0] for offset in (0, 4, 8, 12)]
    assert [nic for page in named for nic in page] == [nic for nic in every if nic.vm_name in names[:5]]
    for address in ("10.0.0.1", "fd00::1"):
        assert [nic.vm_name for nic in store.nics(addresses=[address])] == ["web1"], address
    assert store.nics(addresses=["fd00::", "10.0.0.%"]) == []
    store.database.close()


def test_entering_again_right_after_many_were_entered(place: Place) -> None:
    """PostgreSQL has no statistics of the table then, and read all of it for each five hundred VMs."""
    guests = [fakes.guest(number) for number in range(20000)]
    took = []
    for _unused in range(2):
        began = time.monotonic()
        enter(place, guests)
        took.append(time.monotonic() - began)
    print(f"{place.kind}: 20,000 entered in {took[0]:.1f} s, and again in {took[1]:.1f} s")
    assert took[1] < 2 * took[0] + 1


def test_forty_hypervisors_are_polled_side_by_side(place: Place) -> None:
    store = place.store()
    store.database.prepare()
    held = [locks.PollLock(store.database, f"kvm{number:02}", "hypervisor") for number in range(40)]
    assert all(lock.acquire() for lock in held)
    whole = locks.PollLock(store.database, "any", "global")
    assert not whole.acquire()
    for lock in held:
        lock.release()
    assert whole.acquire()
    assert not held[0].acquire()
    whole.release()
    store.database.close()


def test_a_global_poller_waits_for_its_turn(place: Place) -> None:
    store = place.store()
    store.database.prepare()
    ready, ready_child = os.pipe()

    def work() -> None:
        lock = locks.PollLock(place.store().database, "kvm01", "hypervisor")
        assert lock.acquire()
        os.write(ready_child, b"x")
        time.sleep(2)
        lock.release()

    child = in_child(work)
    assert os.read(ready, 1)
    whole = locks.PollLock(store.database, "kvm02", "global")
    began = time.monotonic()
    assert not whole.acquire(wait=0.3)
    assert whole.acquire(wait=20)
    assert time.monotonic() - began > 1
    whole.release()
    assert wait_for([child]) == [0]
    store.database.close()


# -- two writers -------------------------------------------------------------------------------------------------------


def test_a_vm_stopped_during_the_look_stays_stopped(place: Place) -> None:
    guests = [fakes.guest(1, answers={0: ["10.0.0.1"]}), fakes.guest(2, answers={0: ["10.0.0.2"]})]
    enter(place, guests)
    other = place.store()
    hypervisor = fakes.FakeHypervisor(guests)
    hypervisor.on_answer = lambda one: other.stop("kvm01", [guests[0].facts()])
    store = place.store()
    result = fetching.fetch(store, hypervisor.connect, look_of())
    states = {nic.vm_name: (nic.fetch_state, nic.ip4_address) for nic in store.nics()}
    store.database.close()
    other.database.close()
    assert states == {"vm1": ("stopped", None), "vm2": ("found", "10.0.0.2")}
    assert [nic["vm"] if isinstance(nic, dict) else nic.vm_name for nic in result.found] == ["vm2"]


def test_many_writers_of_the_same_vms(place: Place) -> None:
    """Entering, stopping and removing the same VMs at once ends in one of their states, with no error and no double row."""
    guests = some_guests(30)
    place.store().database.prepare()

    def work(seed: int) -> t.Callable[[], None]:
        def run() -> None:
            chance = random.Random(seed)
            store = place.store()
            for _unused in range(15):
                vms = [one.facts() for one in chance.sample(guests, 10)]
                chance.choice([store.enter, store.enter, store.stop, store.remove])("kvm01", vms)

        return run

    assert wait_for([in_child(work(seed)) for seed in range(4)]) == [0] * 4
    store = place.store()
    keys = [(nic.vm_id, nic.mac) for nic in store.nics()]
    assert len(keys) == len(set(keys))
    store.database.close()
