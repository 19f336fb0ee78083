# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The tables, their version, and how an older version becomes the present one."""

from __future__ import annotations

import datetime
import functools
import json
import traceback
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.errors import RecordSchemaError

try:
    import sqlalchemy as sa
    from sqlalchemy.dialects import mysql
except ImportError:
    HAS_SQLALCHEMY = False
    SQLALCHEMY_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    HAS_SQLALCHEMY = True
    SQLALCHEMY_IMPORT_ERROR = None

SCHEMA_VERSION = 4
MINIMUM_SQLALCHEMY = (2, 0)


class BadValue(Exception):
    """A value in a column that was not written by this code."""


SHARED = 1024  # values of one column that are kept


def _words(text: str) -> tuple[t.Any, ...]:
    try:
        words = json.loads(text)
    except ValueError:
        words = None
    if not isinstance(words, list):
        raise BadValue(f"has a damaged list in a column, {text[:60]!r}: correct or remove that row")
    return tuple(words)


def _as_it_is(value: t.Any) -> t.Any:
    return value


if HAS_SQLALCHEMY:

    class _Shared(sa.types.TypeDecorator):  # type: ignore[type-arg]
        """Rows have many values in common: each is converted once, and rows share it."""

        def result_processor(self, dialect: t.Any, coltype: t.Any) -> t.Any:
            return functools.lru_cache(SHARED)(super().result_processor(dialect, coltype) or _as_it_is)

    class _UtcTime(_Shared):
        """Aware UTC in Python, plain UTC with microseconds in the database."""

        impl = sa.DateTime
        cache_ok = True

        def load_dialect_impl(self, dialect: t.Any) -> t.Any:
            # Without a precision MariaDB and MySQL cut or round to the second.
            return dialect.type_descriptor(mysql.DATETIME(fsp=6) if dialect.name in ("mysql", "mariadb") else sa.DateTime())

        def bind_processor(self, dialect: t.Any) -> t.Any:
            return functools.lru_cache(SHARED)(super().bind_processor(dialect) or _as_it_is)

        def process_bind_param(self, value: datetime.datetime | None, dialect: t.Any) -> datetime.datetime | None:
            return None if value is None else value.astimezone(datetime.timezone.utc).replace(tzinfo=None)

        def process_result_value(self, value: datetime.datetime | None, dialect: t.Any) -> datetime.datetime | None:
            return None if value is None else value.replace(tzinfo=datetime.timezone.utc)

    class _Words(_Shared):
        """A short tuple of texts or numbers, as JSON; the empty one is an empty text, which most of them are."""

        impl = sa.Text
        cache_ok = True

        def process_bind_param(self, value: t.Sequence[t.Any] | None, dialect: t.Any) -> str:
            return json.dumps(list(value)) if value else ""

        def process_result_value(self, value: str | None, dialect: t.Any) -> tuple[t.Any, ...]:
            return _words(value) if value else ()

    class _Word(_Shared):
        """A text that many rows have."""

        impl = sa.String
        cache_ok = True

    metadata = sa.MetaData()
    # Names compare byte by byte everywhere: MariaDB's default would take Web1 for web1.
    _MYSQL: dict[str, t.Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
    _MARIADB: dict[str, t.Any] = {name.replace("mysql_", "mariadb_"): value for name, value in _MYSQL.items()}
    _BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

    nics = sa.Table(
        "nics",
        metadata,
        sa.Column("id", _BIG, primary_key=True, autoincrement=True),
        sa.Column("hypervisor_name", _Word(255), nullable=False),
        sa.Column("vm_id", sa.String(64), nullable=False),
        sa.Column("vm_name", sa.String(255), nullable=False),
        sa.Column("device", sa.Integer, nullable=False),
        sa.Column("mac", sa.String(17), nullable=False),
        sa.Column("network", _Word(255)),
        sa.Column("required", sa.Boolean, nullable=False),
        sa.Column("cidrs", _Words, nullable=False),
        sa.Column("ip_range", sa.String(100)),
        sa.Column("ignore_interfaces", _Words, nullable=False),
        sa.Column("family_order", _Words, nullable=False),
        sa.Column("ip4_address", sa.String(15)),
        sa.Column("ip6_addresses", _Words, nullable=False),
        sa.Column("addresses", _Words, nullable=False),
        sa.Column("in_range", sa.Boolean),
        sa.Column("source", _Word(32)),
        sa.Column("previous_address", sa.String(45)),
        sa.Column("fetch_state", _Word(16), nullable=False),
        sa.Column("max_tries", sa.Integer),
        sa.Column("tries_failed", sa.Integer, nullable=False),
        sa.Column("tries_left", sa.Integer, nullable=False),
        sa.Column("next_try_at", _UtcTime),
        sa.Column("last_try_at", _UtcTime),
        sa.Column("last_reason", _Word(32)),
        sa.Column("last_message", sa.Text),
        sa.Column("suspect_readings", sa.Integer, nullable=False),
        sa.Column("candidate_address", sa.String(45)),
        sa.Column("candidate_since", _UtcTime),
        sa.Column("first_seen_at", _UtcTime),
        sa.Column("last_seen_at", _UtcTime),
        sa.Column("entered_at", _UtcTime, nullable=False),
        sa.Column("updated_at", _UtcTime, nullable=False),
        sa.Column("claim_token", _Word(32)),
        # When the VM was started, as its hypervisor says: a later time than this one is a restart.
        sa.Column("booted_at", _UtcTime),
        sa.Column("boot_token", sa.String(64)),  # what the hypervisor gives that start for a name: another one is a restart, too
        sa.Column("missing_since", _UtcTime),  # no longer on its hypervisor; perhaps on another one
        # Of the VM, for those who choose by them.
        sa.Column("folder", sa.Text),
        sa.Column("tags", _Words),
        sa.UniqueConstraint("hypervisor_name", "vm_id", "mac", name="uq_nics_vm_mac"),
        sa.Index("ix_nics_queue", "hypervisor_name", "fetch_state", "next_try_at"),
        sa.Index("ix_nics_vm_name", "vm_name"),
        sa.Index("ix_nics_ip4_address", "ip4_address"),
        **_MYSQL,
        **_MARIADB,
    )

    events = sa.Table(
        "events",
        metadata,
        # Not the database's own counter: see event_counter.
        sa.Column("id", _BIG, primary_key=True, autoincrement=False),
        sa.Column("at", _UtcTime, nullable=False),
        sa.Column("type", sa.String(40), nullable=False),
        sa.Column("hypervisor_name", sa.String(255), nullable=False),
        sa.Column("vm_id", sa.String(64), nullable=False),
        sa.Column("vm_name", sa.String(255), nullable=False),
        sa.Column("device", sa.Integer, nullable=False),
        sa.Column("mac", sa.String(17), nullable=False),
        sa.Column("network", sa.String(255)),
        sa.Column("address", sa.String(45)),
        sa.Column("previous_address", sa.String(45)),
        sa.Column("source", sa.String(32)),
        sa.Column("reason", sa.String(32)),
        sa.Column("message", sa.Text),
        sa.Index("ix_events_at", "at"),
        **_MYSQL,
        **_MARIADB,
    )

    # One row. Its update is held until the commit, so events become visible in the order of their numbers, and a
    # reader that goes on after the last number it saw misses none.
    event_counter = sa.Table(
        "event_counter",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("last_event_id", _BIG, nullable=False),
        # Chosen when the tables were made: tells a reader that goes on after an event whether it is still the same record.
        sa.Column("record_id", sa.String(32)),
        **_MYSQL,
        **_MARIADB,
    )

    # Who polls, for people to read. The lock itself is the database's; a row may outlive a killed poller.
    poll_locks = sa.Table(
        "poll_locks",
        metadata,
        sa.Column("name", sa.String(300), primary_key=True),
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("since", _UtcTime, nullable=False),
        sa.Column("beat_at", _UtcTime),  # renewed while the poller lives
        sa.Column("job", sa.String(100)),  # the AWX job it runs in
        **_MYSQL,
        **_MARIADB,
    )

    # The last look at each hypervisor: who, when, how it went.
    hypervisors = sa.Table(
        "hypervisors",
        metadata,
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("looked_at", _UtcTime, nullable=False),
        sa.Column("good_at", _UtcTime),  # the last look without a problem
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("job", sa.String(100)),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("interval_seconds", sa.Float, nullable=False),
        sa.Column("vms", sa.Integer),
        sa.Column("problem", sa.Text),
        **_MYSQL,
        **_MARIADB,
    )

    schema_version = sa.Table(
        "schema_version",
        metadata,
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("applied_at", _UtcTime, nullable=False),
        **_MYSQL,
        **_MARIADB,
    )


def need_sqlalchemy() -> None:
    """Raises MissingLibrary unless SQLAlchemy is there in a version that works."""
    if not HAS_SQLALCHEMY:
        raise MissingLibrary("SQLAlchemy", SQLALCHEMY_IMPORT_ERROR, reason="for the NIC record")
    found = tuple(int(part) for part in sa.__version__.split(".")[:2])
    if found < MINIMUM_SQLALCHEMY:
        raise MissingLibrary(f"SQLAlchemy>=2.0 (found {sa.__version__})", None, reason="for the NIC record")


def stored_version(connection: t.Any) -> int | None:
    """The version of the tables, or None where there are none."""
    if not sa.inspect(connection).has_table(schema_version.name):
        return None
    return connection.execute(sa.select(sa.func.max(schema_version.c.version))).scalar()


def check_version(found: int | None, where: str) -> None:
    """Raises RecordSchemaError for tables newer than this code."""
    if found is not None and found > SCHEMA_VERSION:
        raise RecordSchemaError(
            f"{where} has tables of version {found}, and this version of vmops.external_dhcp knows them up to {SCHEMA_VERSION}:"
            " upgrade the collection on this controller, or use another record"
        )
