# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pollers whose machine dies, whose link is cut or whose process is stopped: the lock is free within a minute.

The other machine is a network namespace; cutting its link leaves both ends believing in the connection, as a pulled cable does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib
import os
import pathlib
import signal
import subprocess
import sys
import time
import typing as t
import uuid

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLLECTION = "ansible_collections.vmops.external_dhcp"
sys.path.insert(0, str(ROOT / ".build" / "collections"))

database = importlib.import_module(f"{COLLECTION}.plugins.module_utils._nic_record.database")
databases = importlib.import_module(f"{COLLECTION}.tests.integration.databases")
errors = importlib.import_module(f"{COLLECTION}.plugins.module_utils._nic_record.errors")
locks = importlib.import_module(f"{COLLECTION}.plugins.module_utils._nic_record.lock")
session = importlib.import_module(f"{COLLECTION}.plugins.module_utils._nic_record.session")
stores = importlib.import_module(f"{COLLECTION}.plugins.module_utils._nic_record.store")
fakes = importlib.import_module(f"{COLLECTION}.tests.unit.plugins.module_utils._nic_record.fake_hypervisor")
sa = pytest.importorskip("sqlalchemy")

MINUTE = 60
HERE, THERE = "10.255.213.1", "10.255.213.2"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

# Holds a lock (or a row in a transaction) until it is killed; tells when it has it, and when it knows that it has lost it. The last
# word is how many seconds its signs of life are apart.
CLIENT = f"""
import sys, time
sys.path.insert(0, {str(ROOT / ".build" / "collections")!r})
from {COLLECTION}.plugins.module_utils._nic_record import lock as locks
from {COLLECTION}.plugins.module_utils._nic_record.database import Database
url, name, kind, beat = sys.argv[1:]
locks.BEAT_SECONDS = float(beat)
one = Database(url)
if kind == "row":
    with one._transaction(True) as connection:
        connection.exec_driver_sql("UPDATE nics SET tries_left = 5")
        print("held", flush=True)
        time.sleep(600)
lock = locks.PollLock(one, name, "hypervisor")
assert lock.acquire()
print("held", flush=True)
while lock.still_held():
    time.sleep(0.5)
print("lost", flush=True)
time.sleep(600)
"""


@dataclasses.dataclass
class Link:
    """A second machine on a cable."""

    space: str
    cable: str

    def cut(self) -> None:
        ip("link", "set", self.cable, "down")

    def start(
        self, url: str, name: str, kind: str = "lock", here: bool = False, beat: float = locks.BEAT_SECONDS
    ) -> subprocess.Popen[str]:
        where = [] if here else ["ip", "netns", "exec", self.space]
        client = [*where, sys.executable, "-c", CLIENT, url, name, kind, str(beat)]
        process = subprocess.Popen(client, stdout=subprocess.PIPE, text=True)
        assert process.stdout and process.stdout.readline() == "held\n"
        return process


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@pytest.fixture(scope="module")
def link() -> t.Iterator[Link]:
    token = uuid.uuid4().hex[:6]
    one = Link(f"itrec{token}", f"itr{token}a")
    ip("netns", "add", one.space)
    try:
        ip("link", "add", one.cable, "type", "veth", "peer", "name", "eth0", "netns", one.space)
        ip("addr", "add", f"{HERE}/30", "dev", one.cable)
        ip("link", "set", one.cable, "up")
        ip("-n", one.space, "addr", "add", f"{THERE}/30", "dev", "eth0")
        ip("-n", one.space, "link", "set", "eth0", "up")
        yield one
    finally:
        subprocess.run(["ip", "link", "del", one.cable], check=False)
        ip("netns", "del", one.space)


@pytest.fixture(scope="module")
def servers(link: Link) -> t.Iterator[dict[str, t.Any]]:
    with databases.running_servers("links", [HERE]) as started:
        for server in started.values():
            store = stores.RecordStore(database.Database(server.url))
            store.database.prepare()
            store.enter("kvm01", [fakes.guest(1).facts()])
            store.database.close()
        yield started


def lock_is_free(url: str, name: str) -> bool:
    one = database.Database(url)
    lock = locks.PollLock(one, name, "hypervisor")
    try:
        return lock.acquire()
    finally:
        lock.release()
        one.close()


def row_is_free(url: str) -> bool:
    one = database.Database(url)
    try:
        one.run(lambda connection: connection.exec_driver_sql("UPDATE nics SET tries_left = 6"), write=True)
    except errors.RecordBusy:
        return False
    finally:
        one.close()
    return True


def test_the_lock_is_free_within_a_minute(
    link: Link, servers: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "LOCK_SECONDS", 1)  # of this side, so that the time is measured finely
    clients: dict[tuple[str, str], subprocess.Popen[str]] = {}
    checks: dict[tuple[str, str], t.Callable[[], bool]] = {}
    free: dict[tuple[str, str], float] = {}
    try:
        for kind, server in servers.items():
            for case in ("process killed", "process stopped", "link cut", "machine dead"):
                here = case.startswith("process")
                clients[kind, case] = link.start(server.url if here else server.url_at(HERE), case, here=here)
                checks[kind, case] = lambda server=server, case=case: lock_is_free(server.url, case)
            clients[kind, "machine dead, row locked"] = link.start(server.url_at(HERE), "row", "row")
            checks[kind, "machine dead, row locked"] = lambda server=server: row_is_free(server.url)
        assert not any(check() for check in checks.values())
        began = time.monotonic()
        link.cut()
        for (_kind, case), client in clients.items():
            if case == "process stopped":
                client.send_signal(signal.SIGSTOP)
            elif case != "link cut":
                client.kill()
        while len(free) < len(checks) and time.monotonic() < began + 2 * MINUTE:
            for key, check in checks.items():
                if key not in free and check():
                    free[key] = time.monotonic() - began
            time.sleep(0.2)
        for kind in servers:
            # A poller that is cut off must not believe that it has the lock when another one may take it.
            noticed = clients[kind, "link cut"]
            assert noticed.stdout and noticed.stdout.readline() == "lost\n"
            assert time.monotonic() < began + MINUTE, kind
    finally:
        for client in clients.values():
            client.kill()
            client.wait()
    with capsys.disabled():
        print("\n\n  the lock (or the row) of a poller is free after")
        for case in dict.fromkeys(case for _kind, case in checks):
            times = "   ".join(f"{kind} {free.get((kind, case), float('inf')):5.1f} s" for kind in servers)
            print(f"  {case:26} {times}")
    assert all(seconds < MINUTE for seconds in free.values()) and len(free) == len(checks)


def test_a_stopped_poller_on_sqlite_is_told_by_its_last_sign_of_life(tmp_path: pathlib.Path, link: Link) -> None:
    """The kernel keeps its lock, and no other machine is there that could die alone."""
    url = f"sqlite:///{tmp_path}/record.db"
    one = database.Database(url)
    one.prepare()
    beat = 2.0
    client = link.start(url, "kvm01", here=True, beat=beat)
    lock = locks.PollLock(one, "kvm01", "hypervisor")
    try:
        time.sleep(beat + 1)
        assert not lock.acquire()
        holder = lock.holder()
        assert holder.pid == client.pid and holder.beat_at > holder.since, "it gives signs of life"
        client.send_signal(signal.SIGSTOP)
        time.sleep(beat + 3)
        assert not lock.acquire()
        silent = one.now() - lock.holder().beat_at
        assert silent > datetime.timedelta(seconds=beat + 1)
    finally:
        client.kill()
        client.wait()
    assert lock.acquire()
    lock.release()
    one.close()


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_row_that_somebody_else_locks_is_an_error_and_no_wait_for_ever(
    servers: dict[str, t.Any], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LOCK_SECONDS", 2)
    other, mine = database.Database(servers[kind].url), database.Database(servers[kind].url)
    lock = locks.PollLock(mine, "kvm01", "hypervisor")
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(other._transaction(True))
        connection.exec_driver_sql("SELECT id FROM nics FOR UPDATE")
        with lock:
            assert lock.acquire()
            began = time.monotonic()
            with pytest.raises(errors.RecordBusy, match="was held by another writer for more than 2 s"):
                stores.RecordStore(mine).enter("kvm01", [fakes.guest(1).facts()])
            assert 1.5 < time.monotonic() - began < 40
    assert lock_is_free(servers[kind].url, "kvm01")
    mine.close()
    other.close()
