# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""From the option `record` to a database: URL forms, connections, transactions, and errors in plain words."""

from __future__ import annotations

import contextlib
import datetime
import os
import random
import time
import traceback
import typing as t
import urllib.parse

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import migrations, schema, session
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.errors import (
    RecordBusy,
    RecordError,
    RecordFull,
    RecordReadOnly,
    RecordSchemaError,
    RecordUnreachable,
    RecordUrlError,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import utc_now
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.url import network_file_system, parse

if schema.HAS_SQLALCHEMY:
    import sqlalchemy as sa
    from sqlalchemy.pool import NullPool

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BUSY_TIMEOUT = 30  # seconds a writer waits for another one
ATTEMPTS = 12  # of a transaction that others come between; the pauses between them grow to a second
SCHEMA_LOCK = "vmops.external_dhcp.schema"
SCHEMA_LOCK_NUMBER = 0x766D6F70730001  # PostgreSQL's advisory locks are numbers


class _Again(Exception):
    """The database ended the transaction in favour of another one; it can simply be done again."""


def default_url() -> str:
    """A SQLite file in the user's state folder (XDG_STATE_HOME or ~/.local/state)."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return "sqlite:///" + os.path.join(state, "vmops-external-dhcp", "record.db")


class Database:
    """One record's database. Connects when first used; close() ends all connections."""

    def __init__(self, url: str | None = None) -> None:
        """Raises RecordUrlError and MissingLibrary; touches nothing."""
        schema.need_sqlalchemy()
        self.url, self._secrets = parse(url or default_url())
        self.kind = self.url.get_backend_name()  # sqlite | postgresql | mysql | mariadb
        self.path: str | None = None
        if self.kind == "sqlite":
            self.path = t.cast(str, self.url.database)
            self.where = f"the record {self.path}"
        else:
            port = f":{self.url.port}" if self.url.port else ""
            self.where = f"the record {self.url.database} on {self.url.host or 'the local socket'}{port} ({self.kind})"
        self._engine: t.Any = None
        self._ahead: datetime.timedelta | None = None

    def hide(self, text: str) -> str:
        """`text` without the URL's secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    # -- connections -------------------------------------------------------------------------------------------------

    @property
    def engine(self) -> t.Any:
        if self._engine is None:
            self._engine = self.new_engine(pool_size=2, max_overflow=2, pool_pre_ping=self.kind != "sqlite")
        return self._engine

    def new_engine(self, answer_seconds: int = session.ANSWER_SECONDS, **options: t.Any) -> t.Any:
        """An engine of its own; the poller's lock must not share connections with anything."""
        arguments: dict[str, t.Any] = {}
        if self.kind == "sqlite":
            arguments = {"timeout": BUSY_TIMEOUT, "check_same_thread": False}
            options["creator"] = lambda: _open_sqlite(t.cast(str, self.path), arguments)
        else:
            postgresql = self.kind == "postgresql"
            arguments = session.postgresql_arguments() if postgresql else session.mysql_arguments(answer_seconds)
            options["isolation_level"] = "READ COMMITTED"
        arguments = {name: value for name, value in arguments.items() if name not in self.url.query}
        try:
            engine = sa.create_engine(self.url, connect_args=arguments, **options)
        except ImportError:
            library = "psycopg" if self.kind == "postgresql" else "PyMySQL"
            raise MissingLibrary(library, traceback.format_exc(), reason=f"for a record on {self.kind}") from None
        sa.event.listen(engine, "do_connect", self._do_connect)
        if self.kind == "postgresql":
            sa.event.listen(engine, "connect", session.limit_postgresql)
        elif self.kind != "sqlite":
            sa.event.listen(engine, "connect", session.limit_mysql)
        if self.kind == "sqlite":
            sa.event.listen(engine, "connect", _sqlite_connect)
            sa.event.listen(engine, "begin", _sqlite_begin)
        return engine

    def _do_connect(self, dialect: t.Any, _record: t.Any, words: t.Any, options: t.Any) -> t.Any:
        """Connects as the dialect would; what a driver says of its options before it connects is in plain words too."""
        try:
            return dialect.connect(*words, **options)
        except (OSError, TypeError, ValueError, AttributeError) as error:
            # PyMySQL: a certificate that is none, a parameter of the wrong kind.
            text = self.hide(" ".join(str(error).split()))[:200]
            raise RecordUrlError(
                f"{self.where}: the option record has parameters that the driver does not take: {text}"
            ) from None

    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    # -- time --------------------------------------------------------------------------------------------------------

    def now(self) -> datetime.datetime:
        """The time of the database's server, so that controllers whose clocks differ agree on what is due."""
        if self.kind == "sqlite":
            return utc_now()
        if self._ahead is None:
            before = utc_now()
            there = self.run(session.server_time)
            # The server answered about half-way through the request; a difference shorter than the request is none.
            way = utc_now() - before
            ahead = there - (before + way / 2)
            self._ahead = ahead if abs(ahead) > way else datetime.timedelta()
        return utc_now() + self._ahead

    # -- transactions ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _transaction(self, write: bool) -> Iterator[t.Any]:
        try:
            with self.engine.connect() as connection:
                # _sqlite_begin makes SQLite take the lock for writing at once.
                connection = connection.execution_options(external_dhcp_write=write)
                with connection.begin():
                    yield connection
        except sa.exc.SQLAlchemyError as error:
            raise self.explain(error) from None
        except schema.BadValue as error:
            raise RecordSchemaError(f"{self.where} {error}") from None

    def run(self, work: Callable[[t.Any], t.Any], write: bool = False) -> t.Any:
        """work(connection) in one short transaction, done again when the database asks for that (deadlock, double insert)."""
        for attempt in range(ATTEMPTS):
            try:
                with self._transaction(write) as connection:
                    return work(connection)
            except _Again as again:
                if attempt == ATTEMPTS - 1:
                    raise RecordBusy(f"{self.where} is too busy with other writers: {again}") from None
                time.sleep(random.uniform(0.01, 0.05) * 2 ** min(attempt, 5))
        raise AssertionError("not reached")

    # -- the tables --------------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether there is a record with tables; raises RecordSchemaError for one from the future. Changes nothing."""
        if self.path is not None and not os.path.exists(self.path):
            return False
        found = self.run(schema.stored_version)
        schema.check_version(found, self.where)
        return found is not None

    def prepare(self, now: datetime.datetime | None = None) -> None:
        """Creates or upgrades what is missing. Cheap when there is nothing to do."""
        if self.path is not None:
            self._prepare_file(self.path)
        found = self.run(schema.stored_version)
        schema.check_version(found, self.where)
        if found == schema.SCHEMA_VERSION:
            return
        with self._schema_lock():
            self.run(lambda connection: self._make_current(connection, now or utc_now()), write=True)
        self.close()  # connections that were made patient for this

    def _make_current(self, connection: t.Any, now: datetime.datetime) -> None:
        # An upgrade of many rows, or the wait for one by another controller, may take long.
        if self.kind == "postgresql":
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(SCHEMA_LOCK_NUMBER)))
        elif self.kind in ("mysql", "mariadb"):
            connection.execute(sa.text("SET SESSION lock_wait_timeout = 3600, SESSION innodb_lock_wait_timeout = 3600"))
            if connection.dialect.is_mariadb:
                connection.execute(sa.text("SET SESSION max_statement_time = 0"))
        migrations.make_current(connection, now)

    @contextlib.contextmanager
    def _schema_lock(self) -> Iterator[None]:
        """For MariaDB and MySQL, whose locks are a session's: held until after the commit. The others lock in the transaction."""
        if self.kind not in ("mysql", "mariadb"):
            yield
            return
        engine = self.new_engine(poolclass=NullPool)
        try:
            with engine.connect() as connection:
                if not connection.scalar(sa.select(sa.func.get_lock(SCHEMA_LOCK, BUSY_TIMEOUT))):
                    raise RecordBusy(f"{self.where} is being set up by another process for more than {BUSY_TIMEOUT} s")
                yield
        except sa.exc.SQLAlchemyError as error:
            raise self.explain(error) from None
        finally:
            engine.dispose()

    def _prepare_file(self, path: str) -> None:
        kind = network_file_system(path)
        if kind is not None:
            raise RecordUrlError(
                f"{self.where} lies on a network file system ({kind}), where SQLite's locks do not keep other machines out:"
                " use a folder of this machine, or a record on PostgreSQL or MariaDB"
            )
        if os.path.exists(path):
            return
        folder = os.path.dirname(path)
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            # SQLite gives its side files the mode and owner of the main one.
            file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            with contextlib.closing(os.fdopen(file, "w")):
                if os.geteuid() == 0:
                    # The record gets the owner of its folder: a first poll by root must not lock out the account that uses it.
                    owner = os.stat(folder)
                    os.fchown(file, owner.st_uid, owner.st_gid)
        except OSError as error:
            raise RecordReadOnly(
                f"{self.where} cannot be created: {error.strerror or error}. Set the option record"
                " (or the environment variable EXTERNAL_DHCP_RECORD) to a place that can be written, or to a database server"
            ) from None

    # -- errors ------------------------------------------------------------------------------------------------------

    def explain(self, error: t.Any) -> Exception:
        """The driver's error as one of ours (or _Again); never with a secret or the statement's values in it."""
        original = getattr(error, "orig", None)
        text = self.hide(" ".join(str(original if original is not None else error).split()))[:300]
        if isinstance(error, sa.exc.IntegrityError):
            return _Again(text)
        if isinstance(error, sa.exc.TimeoutError):
            return RecordBusy(f"{self.where} is too busy: {text}")
        family: type[RecordError] | None = None
        advice = ""
        if self.kind == "sqlite":
            family, advice = _explain_sqlite(text, t.cast(str, self.path))
        elif self.kind == "postgresql":
            code = getattr(original, "sqlstate", None) or ""
            if code in ("40001", "40P01"):
                return _Again(text)
            family, advice = _explain_postgresql(code)
            if family is None and isinstance(error, sa.exc.OperationalError):
                family, advice = RecordUnreachable, "cannot be reached or broke the connection"
        else:
            number = original.args[0] if original is not None and original.args else None
            if number in (1020, 1213, 1412):
                return _Again(text)
            family, advice = _explain_mysql(number)
            if family is None and getattr(error, "connection_invalidated", False):
                family, advice = RecordUnreachable, "cannot be reached or broke the connection"
        if family is None:
            return RecordError(f"{self.where}: {type(original or error).__name__}: {text or 'no further word'}")
        return family(f"{self.where} {advice}: {text}")


def _open_sqlite(path: str, arguments: dict[str, t.Any]) -> t.Any:
    name = "file:" + urllib.parse.quote(path)
    if not os.access(os.path.dirname(path), os.W_OK):
        # SQLite makes files beside a record even for reading. Where it cannot, and there are none, nobody writes to the record.
        name += "?mode=ro" if os.path.exists(path + "-wal") else "?immutable=1"
    import sqlite3  # not part of every Python, and only needed here

    return sqlite3.connect(name, uri=True, **arguments)


def _sqlite_connect(connection: t.Any, _record: t.Any) -> None:
    connection.isolation_level = None  # transactions are begun by _sqlite_begin, not guessed by the driver
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA journal_mode=wal").fetchall()
    except Exception as error:
        # A record that can only be read is still read.
        if "readonly" not in str(error):
            raise
    cursor.execute("PRAGMA synchronous=normal")
    cursor.close()


def _sqlite_begin(connection: t.Any) -> None:
    write = connection.get_execution_options().get("external_dhcp_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _explain_sqlite(text: str, path: str) -> tuple[type[RecordError] | None, str]:
    lower = text.lower()
    if "readonly" in lower or "read-only" in lower:
        return RecordReadOnly, "can only be read (check owner and mode of the file and its folder)"
    # A side file that cannot grow is an I/O error to SQLite.
    if "disk is full" in lower or ("disk i/o" in lower and _no_room(path)):
        return RecordFull, "has no room left on its disk"
    if "locked" in lower or "busy" in lower:
        return RecordBusy, f"was held by another writer for more than {BUSY_TIMEOUT} s"
    if "not a database" in lower or "malformed" in lower:
        return RecordSchemaError, "is not an SQLite database, or is damaged"
    if "unable to open" in lower or "disk i/o" in lower:
        return RecordUnreachable, "cannot be opened (check owner and mode of the file and its folder)"
    return None, ""


def _no_room(path: str) -> bool:
    try:
        disk = os.statvfs(os.path.dirname(path))
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < 1 << 20


def _explain_postgresql(code: str) -> tuple[type[RecordError] | None, str]:
    if code == "25006":
        return RecordReadOnly, "can only be read (a standby, or default_transaction_read_only)"
    if code == "42501":
        return RecordReadOnly, "does not allow this account to use or create the tables"
    if code.startswith("53") and code != "53300":
        return RecordFull, "has no room left"
    if code in ("28P01", "28000"):
        return RecordUnreachable, "refuses the login"
    if code == "3D000":
        return RecordUnreachable, "does not exist: create the database first"
    if code == "55P03":
        return RecordBusy, f"was held by another writer for more than {session.LOCK_SECONDS} s"
    if code == "57014":
        return RecordBusy, f"did not finish within {session.STATEMENT_SECONDS} s"
    if code in ("25P03", "57P05"):
        return RecordUnreachable, "ended this session, which was silent for too long"
    if code.startswith(("08", "57P")) or code == "53300":
        return RecordUnreachable, "cannot be reached or broke the connection"
    return None, ""


def _explain_mysql(number: t.Any) -> tuple[type[RecordError] | None, str]:
    if number == 1205:
        return RecordBusy, f"was held by another writer for more than {session.LOCK_SECONDS} s"
    if number in (1969, 3024):
        return RecordBusy, f"did not finish within {session.STATEMENT_SECONDS} s"
    if number in (1290, 1792, 1836):
        return RecordReadOnly, "can only be read"
    if number in (1044, 1142, 1143):
        return RecordReadOnly, "does not allow this account to use or create the tables"
    if number in (1021, 1114, 3, 28):
        return RecordFull, "has no room left"
    if number in (1045, 1698):
        return RecordUnreachable, "refuses the login"
    if number == 1049:
        return RecordUnreachable, "does not exist: create the database first"
    if number in (1040, 1053, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 2002, 2003, 2006, 2013, 2014, 2055, 0):
        return RecordUnreachable, "cannot be reached or broke the connection"
    return None, ""
