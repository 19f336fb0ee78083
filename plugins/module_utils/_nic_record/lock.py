# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""One poller at a time: a lock that the database (or, for SQLite, the kernel) holds for as long as the process lives.

A poller of all hypervisors (scope `global`) takes `vmIpFetch` alone. A poller of one hypervisor (scope `hypervisor`)
takes `vmIpFetch` together with others of its kind, and `vmIpFetch:<hypervisor>` alone. So two of them work side by side
on different hypervisors, never on the same one, and never beside a global one. A watcher holds `vmIpWatch:<hypervisor>` for as
long as it listens, which keeps only other watchers out, and the poller's lock for moments.

The holder gives a sign of life every few seconds, on the connection that holds the lock and in the record. A server that
hears nothing ends the session, and with it the lock: of a process that was killed at once, of one that was stopped, whose
machine died or whose link was cut within SILENT_SECONDS. On SQLite all pollers are on one machine; one that is stopped keeps
the kernel's lock, and its old sign of life tells.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
import time
import typing as t
import uuid
import weakref

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import session
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.errors import RecordReadOnly
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import LockHolder
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.schema import HAS_SQLALCHEMY

try:
    import fcntl
except ImportError:  # only where there is no POSIX, and there Ansible's controller does not run
    fcntl = None  # type: ignore[assignment]

if HAS_SQLALCHEMY:
    import sqlalchemy as sa
    from sqlalchemy.pool import NullPool

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.schema import poll_locks

if t.TYPE_CHECKING:
    import datetime
    from collections.abc import Callable

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database

LOCK_NAME = "vmIpFetch"
SCOPE_GLOBAL = "global"
SCOPE_HYPERVISOR = "hypervisor"
WATCH_NAME = "vmIpWatch"
SCOPE_WATCH = "watch"

BEAT_SECONDS = 10  # between two signs of life
SILENT_SECONDS = 45  # after which a server ends the session of a holder that gives none
TRY_AGAIN_SECONDS = 0.5  # while somebody else's lock is waited for
MAX_MYSQL_NAME = 64

_held: weakref.WeakSet[PollLock] = weakref.WeakSet()


class PollLock:
    """The lock of one poller. A context manager after acquire(); dies with the process, however that dies."""

    def __init__(
        self,
        database: Database,
        hypervisor_name: str,
        scope: str = SCOPE_GLOBAL,
        clock: Callable[[], datetime.datetime] | None = None,
    ) -> None:
        self._database = database
        self._watch_name = f"{WATCH_NAME}:{hypervisor_name}"
        self.name = self._watch_name if scope == SCOPE_WATCH else f"{LOCK_NAME}:{hypervisor_name}"
        if scope == SCOPE_GLOBAL:
            self.name = LOCK_NAME
        self._scope = scope
        self._clock = clock or database.now
        self._token = uuid.uuid4().hex
        self._files: list[int] = []
        self._engine: t.Any = None
        self._connection: t.Any = None
        self._talk = threading.Lock()  # the connection is the poller's and the heart's
        self._heart: threading.Thread | None = None
        self._released = threading.Event()
        self._lost = False

    def acquire(self, wait: float = 0) -> bool:
        """Takes the lock; False when another poller has it and does not give it back within `wait` seconds. Raises RecordError."""
        limit = time.monotonic() + wait
        take = self._acquire_file if self._database.kind == "sqlite" else self._acquire_session
        try:
            while not take(limit):
                self._let_go()
                left = limit - time.monotonic()
                if left <= 0:
                    return False
                time.sleep(min(TRY_AGAIN_SECONDS, left))
        except BaseException:
            self._let_go()
            raise
        _held.add(self)
        try:
            if self._database.kind == "sqlite":
                self._database.run(self._sign, write=True)
        except BaseException:
            self._let_go()
            raise
        self._heart = threading.Thread(target=self._beat, name="poll lock", daemon=True)
        self._heart.start()
        return True

    def holder(self) -> LockHolder | None:
        """Who has the lock that acquire() did not get; None where that one has not signed yet."""

        def work(connection: t.Any) -> LockHolder | None:
            columns = [poll_locks.c[name] for name in ("name", "host", "pid", "since", "beat_at", "job")]
            query = sa.select(*columns)
            if self._scope == SCOPE_GLOBAL:
                query = query.where(sa.not_(poll_locks.c.name.startswith(WATCH_NAME + ":")))
            else:
                query = query.where(poll_locks.c.name.in_([LOCK_NAME, self.name] if self._scope != SCOPE_WATCH else [self.name]))
            rows = [LockHolder(**row) for row in connection.execute(query).mappings()]
            # Rows of pollers that were killed stay; the one that has the lock now gave the last sign of life.
            return max(rows, key=lambda row: row.beat_at or row.since, default=None)

        return self._database.run(work)

    def watched(self) -> bool:
        """Whether a watcher has signed for this hypervisor: it has the poller's lock for moments only."""
        query = sa.select(poll_locks.c.name).where(poll_locks.c.name == self._watch_name)
        return self._database.run(lambda connection: connection.execute(query).first()) is not None

    def still_held(self) -> bool:
        """False when the database broke the connection that holds the lock: another poller may be at work."""
        if self._files:
            return True
        if self._connection is None or self._lost:
            return False
        # In a thread of its own: OpenSSL keeps the errors of a broken connection for the thread that met them, and Python then
        # takes them for errors of the next connection that this thread reads from, such as the pool's, which is sound.
        ask = threading.Thread(target=self._say, args=(lambda connection: connection.execute(sa.select(1)),), daemon=True)
        ask.start()
        ask.join()
        return not self._lost

    def _say(self, work: Callable[[t.Any], t.Any]) -> None:
        """work(connection) on the connection that holds the lock; any error there means that the lock is lost."""
        with self._talk:
            try:
                work(self._connection)
            except Exception:
                self._lost = True

    def release(self) -> None:
        """Gives the lock back. Never raises: if the database is gone, so is the lock."""
        if self not in _held:
            return
        self._released.set()
        if self._heart is not None:
            self._heart.join(timeout=2)
        with contextlib.suppress(Exception):
            self._database.run(
                lambda connection: connection.execute(poll_locks.delete().where(poll_locks.c.token == self._token)), write=True
            )
        self._let_go()

    def __enter__(self) -> PollLock:
        return self

    def __exit__(self, *_exception: t.Any) -> None:
        self.release()

    def _sign(self, connection: t.Any) -> None:
        now = self._clock()
        connection.execute(poll_locks.delete().where(poll_locks.c.name == self.name))
        connection.execute(
            poll_locks.insert().values(
                name=self.name,
                token=self._token,
                host=socket.gethostname()[:255],
                pid=os.getpid(),
                since=now,
                beat_at=now,
                job=awx_job(),
            )
        )

    def _beat(self) -> None:
        """The signs of life, in a thread of their own, for as long as the lock is held."""

        def sign(connection: t.Any) -> None:
            renew = poll_locks.update().where(poll_locks.c.token == self._token).values(beat_at=self._clock())
            connection.execute(renew)

        while not self._released.wait(BEAT_SECONDS) and not self._lost:
            if self._connection is None:
                # A record that is busy or full costs a sign of life, not the lock.
                with contextlib.suppress(Exception):
                    self._database.run(sign, write=True)
                continue
            self._say(sign)

    def _let_go(self) -> None:
        _held.discard(self)
        self._released.set()
        for file in self._files:
            os.close(file)
        self._files = []
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()  # NullPool: ends the session, and the database frees its locks
            self._connection = None
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
        self._released.clear()

    # -- SQLite: locks on files beside the database --------------------------------------------------------------------

    def _acquire_file(self, _limit: float) -> bool:
        if self._scope == SCOPE_WATCH:
            return self._lock_file(self.name, fcntl.LOCK_EX)
        shared = self._scope == SCOPE_HYPERVISOR
        if not self._lock_file(LOCK_NAME, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            return False
        return not shared or self._lock_file(self.name, fcntl.LOCK_EX)

    def _lock_file(self, name: str, mode: int) -> bool:
        # Names are the inventory's, so they may hold a slash; the files are never deleted, or two processes could each
        # lock a file of that name.
        suffix = name if name == LOCK_NAME else LOCK_NAME + "-" + hashlib.sha256(name.encode()).hexdigest()[:16]
        path = f"{self._database.path}.{suffix}.lock"
        file = _open_lock_file(path, str(self._database.path))
        try:
            fcntl.flock(file, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._files.append(file)
        return True

    # -- PostgreSQL, MariaDB, MySQL: locks of a session of its own -----------------------------------------------------

    def _acquire_session(self, limit: float) -> bool:
        try:
            # Never a pooled connection: these locks survive the return to a pool.
            # Its statements are short. With no answer for so long it knows that it is cut off before the server gives its lock away.
            self._engine = self._database.new_engine(session.SILENT_SECONDS, poolclass=NullPool)
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            driver = self._connection.connection.driver_connection
            self._lost = False
            if self._database.kind == "postgresql":
                session.hold_postgresql(driver, SILENT_SECONDS)
                if not self._acquire_postgresql():
                    return False
                self._sign(self._connection)
                return True
            session.hold_mysql(driver, SILENT_SECONDS)
            return self._acquire_mysql(limit)
        except sa.exc.SQLAlchemyError as error:
            raise self._database.explain(error) from None

    def _acquire_postgresql(self) -> bool:
        if self._scope == SCOPE_WATCH:
            return bool(self._connection.scalar(sa.select(sa.func.pg_try_advisory_lock(_number(self.name)))))
        number = _number(LOCK_NAME)
        if self._scope == SCOPE_GLOBAL:
            return bool(self._connection.scalar(sa.select(sa.func.pg_try_advisory_lock(number))))
        return bool(
            self._connection.scalar(sa.select(sa.func.pg_try_advisory_lock_shared(number)))
            and self._connection.scalar(sa.select(sa.func.pg_try_advisory_lock(_number(self.name))))
        )

    def _acquire_mysql(self, limit: float) -> bool:
        """MariaDB and MySQL have no shared named locks. Each side takes its own, signs, and only then looks at the other's.

        So of two that come at the same moment at least one sees the other. A global poller that waits keeps its lock, and
        those of single hypervisors, which see it, let it have its turn.
        """
        record = str(self._database.url.database)
        if not self._connection.scalar(sa.select(sa.func.get_lock(_mysql_name(record, self.name), 0))):
            return False
        self._sign(self._connection)
        if self._scope == SCOPE_WATCH:
            return True
        if self._scope == SCOPE_HYPERVISOR:
            return not self._mysql_used(_mysql_name(record, LOCK_NAME))
        while True:
            pollers = sa.and_(poll_locks.c.name != LOCK_NAME, sa.not_(poll_locks.c.name.startswith(WATCH_NAME + ":")))
            names = self._connection.execute(sa.select(poll_locks.c.name).where(pollers)).scalars().all()
            if not any(self._mysql_used(_mysql_name(record, name)) for name in names):
                return True
            if time.monotonic() >= limit:
                return False
            time.sleep(TRY_AGAIN_SECONDS)

    def _mysql_used(self, name: str) -> bool:
        return self._connection.scalar(sa.select(sa.func.is_used_lock(name))) is not None

    def _in_forked_child(self) -> None:
        """The lock is this process's alone: a child that lives on after it must not keep it."""
        quiet = os.open(os.devnull, os.O_RDWR)
        for file in self._files:
            os.dup2(quiet, file)
        if self._connection is not None:
            driver = self._connection.connection.driver_connection
            handle = driver.fileno() if hasattr(driver, "fileno") else driver._sock.fileno()
            # The child's copy of the driver must send nothing to the server when the child ends.
            os.dup2(quiet, handle)
        os.close(quiet)


def awx_job() -> str | None:
    """The AWX job this process runs in, or None. AWX sets JOB_ID in each job's environment, and its folder."""
    job = os.environ.get("JOB_ID", "")
    return job if job.isdecimal() and len(job) < 20 and "AWX_PRIVATE_DATA_DIR" in os.environ else None


def _open_lock_file(path: str, record: str) -> int:
    """The lock file, made if need be with the record's own owner and mode: whoever may write the record may lock it."""
    try:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # enough for flock
        except FileNotFoundError:
            pass
        model = os.stat(record)
        new = f"{path}.{uuid.uuid4().hex}"
        file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if os.geteuid() == 0:
                os.fchown(file, model.st_uid, model.st_gid)
            os.fchmod(file, model.st_mode & 0o666)
            with contextlib.suppress(FileExistsError):
                os.link(new, path)  # complete or not there: nobody meets it with another mode
        finally:
            os.close(file)
            os.unlink(new)
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        text = f"the poller's lock file {path} cannot be opened: {error.strerror or error}"
        with contextlib.suppress(OSError):
            there = os.stat(path)
            text += (
                f". It belongs to user {there.st_uid} with mode {there.st_mode & 0o777:04o}: give it the record's owner and mode"
            )
        raise RecordReadOnly(text) from None


def _number(name: str) -> int:
    """PostgreSQL's advisory locks are signed 64-bit numbers of the database."""
    return int.from_bytes(hashlib.sha256(f"vmops.external_dhcp {name}".encode()).digest()[:8], "big", signed=True)


def _mysql_name(record: str, name: str) -> str:
    """The names are the server's and know no case, and records and hypervisors may differ by it alone: so a checksum tells."""
    digest = hashlib.sha256(f"{record}\0{name}".encode()).hexdigest()[:32]
    shown = "".join(char for char in name if char.isascii() and char.isprintable())
    return shown[: MAX_MYSQL_NAME - len(digest) - 1] + "." + digest


def _forget_in_child() -> None:
    for lock in list(_held):
        with contextlib.suppress(Exception):
            lock._in_forked_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
