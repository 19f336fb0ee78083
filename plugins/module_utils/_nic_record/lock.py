# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""One poller at a time: a lock that the database (or, for SQLite, the kernel) holds for as long as the process lives.

A poller of all hypervisors (scope `global`) takes `vmIpFetch` alone. A poller of one hypervisor (scope `hypervisor`)
takes `vmIpFetch` together with others of its kind, and `vmIpFetch:<hypervisor>` alone. So two of them work side by side
on different hypervisors, never on the same one, and never beside a global one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import typing as t
import uuid
import weakref

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.errors import RecordReadOnly
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import LockHolder, utc_now
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

# MariaDB and MySQL have no shared named locks: sharing means to hold one of these, alone means to hold all of them.
SHARES = 32
MAX_MYSQL_NAME = 64

_held: weakref.WeakSet[PollLock] = weakref.WeakSet()


class PollLock:
    """The lock of one poller. A context manager after acquire(); dies with the process, however that dies."""

    def __init__(
        self,
        database: Database,
        hypervisor_name: str,
        scope: str = SCOPE_GLOBAL,
        clock: Callable[[], datetime.datetime] = utc_now,
    ) -> None:
        self._database = database
        self.name = LOCK_NAME if scope == SCOPE_GLOBAL else f"{LOCK_NAME}:{hypervisor_name}"
        self._scope = scope
        self._clock = clock
        self._token = uuid.uuid4().hex
        self._files: list[int] = []
        self._engine: t.Any = None
        self._connection: t.Any = None

    def acquire(self) -> bool:
        """Takes the lock, or returns False at once when another poller has it. Raises RecordError."""
        try:
            held = self._acquire_file() if self._database.kind == "sqlite" else self._acquire_session()
            if held:
                _held.add(self)
                self._database.run(self._sign, write=True)
            return held
        except BaseException:
            self._let_go()
            raise

    def holder(self) -> LockHolder | None:
        """Who has the lock that acquire() did not get; None where that one has not signed yet."""

        def work(connection: t.Any) -> LockHolder | None:
            query = sa.select(poll_locks.c.name, poll_locks.c.host, poll_locks.c.pid, poll_locks.c.since)
            if self._scope == SCOPE_HYPERVISOR:
                query = query.where(poll_locks.c.name.in_([LOCK_NAME, self.name]))
            row = connection.execute(query.order_by(poll_locks.c.since.desc()).limit(1)).mappings().first()
            return LockHolder(**row) if row else None

        return self._database.run(work)

    def still_held(self) -> bool:
        """False when the database broke the connection that holds the lock: another poller may be at work."""
        if self._files:
            return True
        if self._connection is None:
            return False
        try:
            self._connection.execute(sa.select(1))
        except sa.exc.SQLAlchemyError:
            return False
        return True

    def release(self) -> None:
        """Gives the lock back. Never raises: if the database is gone, so is the lock."""
        if self not in _held:
            return
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
        connection.execute(poll_locks.delete().where(poll_locks.c.name == self.name))
        connection.execute(
            poll_locks.insert().values(
                name=self.name, token=self._token, host=socket.gethostname()[:255], pid=os.getpid(), since=self._clock()
            )
        )

    def _let_go(self) -> None:
        _held.discard(self)
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

    # -- SQLite: locks on files beside the database --------------------------------------------------------------------

    def _acquire_file(self) -> bool:
        shared = self._scope == SCOPE_HYPERVISOR
        if not self._lock_file(LOCK_NAME, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            return False
        if shared and not self._lock_file(self.name, fcntl.LOCK_EX):
            self._let_go()
            return False
        return True

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

    def _acquire_session(self) -> bool:
        try:
            # Never a pooled connection: these locks survive the return to a pool.
            self._engine = self._database.new_engine(poolclass=NullPool)
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            if self._database.kind == "postgresql":
                held = self._acquire_postgresql()
            else:
                held = self._acquire_mysql()
        except sa.exc.SQLAlchemyError as error:
            raise self._database.explain(error) from None
        if not held:
            self._let_go()
        return held

    def _acquire_postgresql(self) -> bool:
        # A long poll leaves this session idle; servers from version 14 on may be set to end such sessions.
        if self._connection.dialect.server_version_info >= (14,):
            self._connection.execute(sa.text("SET idle_session_timeout = 0"))
        number = _number(LOCK_NAME)
        if self._scope == SCOPE_GLOBAL:
            return bool(self._connection.scalar(sa.select(sa.func.pg_try_advisory_lock(number))))
        return bool(
            self._connection.scalar(sa.select(sa.func.pg_try_advisory_lock_shared(number)))
            and self._connection.scalar(sa.select(sa.func.pg_try_advisory_lock(_number(self.name))))
        )

    def _acquire_mysql(self) -> bool:
        self._connection.execute(sa.text("SET SESSION wait_timeout = 86400"))
        # The names are the server's, not the database's: two records on one server must not block each other.
        record = str(self._database.url.database)
        shares = [_mysql_name(record, f"{LOCK_NAME}#{share}") for share in range(SHARES)]
        if self._scope == SCOPE_GLOBAL:
            return all(self._get_lock(name) for name in shares)
        first = _number(self.name) % SHARES
        return any(self._get_lock(name) for name in shares[first:] + shares[:first]) and self._get_lock(
            _mysql_name(record, self.name)
        )

    def _get_lock(self, name: str) -> bool:
        return bool(self._connection.scalar(sa.select(sa.func.get_lock(name, 0))))

    def _in_forked_child(self) -> None:
        """The lock is this process's alone: a child that lives on after it must not keep it."""
        quiet = os.open(os.devnull, os.O_RDWR)
        for file in self._files:
            os.dup2(quiet, file)
        if self._connection is not None:
            driver = self._connection.connection.driver_connection
            handle = driver.fileno() if hasattr(driver, "fileno") else driver._sock.fileno()
            # Nothing the child's copy of the driver says at its end may reach the server.
            os.dup2(quiet, handle)
        os.close(quiet)


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
    full = f"{record}.{name}"
    if len(full) <= MAX_MYSQL_NAME and full.isascii():
        return full
    return f"{LOCK_NAME}." + hashlib.sha256(full.encode()).hexdigest()[: MAX_MYSQL_NAME - len(LOCK_NAME) - 1]


def _forget_in_child() -> None:
    for lock in list(_held):
        with contextlib.suppress(Exception):
            lock._in_forked_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
