# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""How the tables are made, and how those of an older version become the present ones."""

from __future__ import annotations

import typing as t
import uuid

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import schema

if schema.HAS_SQLALCHEMY:
    import sqlalchemy as sa
    from sqlalchemy.schema import CreateColumn

if t.TYPE_CHECKING:
    import datetime


def make_current(connection: t.Any, now: datetime.datetime) -> None:
    """Creates the tables or upgrades them; the caller holds the schema's lock. Repeatable after a crash half-way."""
    found = schema.stored_version(connection)
    if found is None:
        schema.metadata.create_all(connection, checkfirst=True)
        _compare_blanks(connection)
        if connection.execute(sa.select(schema.event_counter.c.id)).first() is None:
            connection.execute(schema.event_counter.insert().values(id=1, last_event_id=0, record_id=uuid.uuid4().hex))
        # Last, so that a creation that broke off is done again.
        connection.execute(schema.schema_version.insert().values(version=schema.SCHEMA_VERSION, applied_at=now))
        return
    for version in range(found, schema.SCHEMA_VERSION):
        MIGRATIONS[version](connection)
        connection.execute(schema.schema_version.insert().values(version=version + 1, applied_at=now))


def _from_1_to_2(connection: t.Any) -> None:
    """Boot times, heartbeats, the looks' journal, the record's identity; blanks at a name's end count on MariaDB and MySQL."""
    added = {
        schema.nics: ("booted_at", "missing_since"),
        schema.event_counter: ("record_id",),
        schema.poll_locks: ("beat_at", "job"),
    }
    for table, names in added.items():
        for name in names:
            _add_column(connection, table.c[name])
    schema.hypervisors.create(connection, checkfirst=True)
    there = {index["name"] for index in sa.inspect(connection).get_indexes(schema.nics.name)}
    for index in schema.nics.indexes:
        if index.name not in there:
            index.create(connection)
    counter = schema.event_counter
    connection.execute(counter.update().where(counter.c.record_id.is_(None)).values(record_id=uuid.uuid4().hex))
    _compare_blanks(connection)


def _from_2_to_3(connection: t.Any) -> None:
    """What tells a restart where the hypervisor knows no boot time."""
    _add_column(connection, schema.nics.c.boot_token)


def _from_3_to_4(connection: t.Any) -> None:
    """What VMs are chosen by."""
    _add_column(connection, schema.nics.c.folder)
    _add_column(connection, schema.nics.c.tags)


# From version N to N+1, inside the upgrade's transaction, with the tables locked against a second upgrade. MariaDB commits
# each DDL statement by itself, so each step must be repeatable.
MIGRATIONS: dict[int, t.Callable[[t.Any], None]] = {1: _from_1_to_2, 2: _from_2_to_3, 3: _from_3_to_4}


def _add_column(connection: t.Any, column: t.Any) -> None:
    table = column.table
    if column.name not in {one["name"] for one in sa.inspect(connection).get_columns(table.name)}:
        definition = CreateColumn(column).compile(dialect=connection.dialect)
        connection.execute(sa.text(f"ALTER TABLE {table.name} ADD COLUMN {definition}"))


def _compare_blanks(connection: t.Any) -> None:
    """MariaDB and MySQL ignore blanks at the end of a text unless its collation says otherwise: 'web1' would be 'web1 '."""
    if connection.dialect.name not in ("mysql", "mariadb"):
        return
    wanted = "utf8mb4_nopad_bin" if connection.dialect.is_mariadb else "utf8mb4_0900_bin"
    known = connection.execute(
        sa.text("SELECT 1 FROM information_schema.collation_character_set_applicability WHERE collation_name = :wanted"),
        {"wanted": wanted},
    )
    if known.first() is None:
        return  # MySQL before 8.0.17
    for table in schema.metadata.sorted_tables:
        connection.execute(sa.text(f"ALTER TABLE {table.name} CONVERT TO CHARACTER SET utf8mb4 COLLATE {wanted}"))
