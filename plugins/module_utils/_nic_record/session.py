# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Limits that each connection to a server sets for itself, so that neither side waits for ever for one that is gone.

By the kernels' defaults a server keeps the locks of a client whose machine died or whose link was cut for about two hours.
"""

from __future__ import annotations

import datetime
import typing as t

CONNECT_SECONDS = 10
LOCK_SECONDS = 30  # a statement waits that long for a row that somebody else has locked
STATEMENT_SECONDS = 120
ANSWER_SECONDS = STATEMENT_SECONDS + 30  # PyMySQL, which has no keepalives, waits that long for an answer
IDLE_SECONDS = 45  # in a transaction; also how long MariaDB and MySQL keep a session that says nothing
SILENT_SECONDS = 30  # without an acknowledgement the connection is dead, on both sides


def postgresql_arguments() -> dict[str, t.Any]:
    """For this side's socket."""
    return {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "vmops.external_dhcp",
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": SILENT_SECONDS * 1000,
    }


def mysql_arguments(answer_seconds: int) -> dict[str, t.Any]:
    """For this side's socket."""
    return {
        "connect_timeout": CONNECT_SECONDS,
        "charset": "utf8mb4",
        "read_timeout": answer_seconds,
        "write_timeout": SILENT_SECONDS,
    }


def limit_postgresql(connection: t.Any, _record: t.Any) -> None:
    """For the server's socket and what this session may wait for there."""
    limits = {
        "lock_timeout": f"{LOCK_SECONDS}s",
        "statement_timeout": f"{STATEMENT_SECONDS}s",
        "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
        "tcp_keepalives_idle": "15",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
    }
    if connection.info.server_version >= 120000:
        limits["tcp_user_timeout"] = f"{SILENT_SECONDS}s"
    _set_postgresql(connection, limits)


def hold_postgresql(connection: t.Any, seconds: int) -> None:
    """For the session that holds a lock: the server ends it after so many seconds without a word (from version 14 on)."""
    if connection.info.server_version >= 140000:
        _set_postgresql(connection, {"idle_session_timeout": f"{seconds}s"})


def _set_postgresql(connection: t.Any, limits: dict[str, str]) -> None:
    before = connection.autocommit
    connection.autocommit = True
    try:
        calls = ", ".join("set_config(%s, %s, false)" for _one in limits)
        connection.execute(f"SELECT {calls}", [word for pair in limits.items() for word in pair])
    finally:
        connection.autocommit = before


def limit_mysql(connection: t.Any, _record: t.Any) -> None:
    limits = {
        "innodb_lock_wait_timeout": LOCK_SECONDS,
        "lock_wait_timeout": LOCK_SECONDS,
        "wait_timeout": IDLE_SECONDS,
        "interactive_timeout": IDLE_SECONDS,
    }
    if "mariadb" in connection.get_server_info().lower():
        limits["max_statement_time"] = STATEMENT_SECONDS
    else:
        limits["max_execution_time"] = STATEMENT_SECONDS * 1000  # reading only; MySQL has no other
    _set_mysql(connection, limits)


def hold_mysql(connection: t.Any, seconds: int) -> None:
    """For the session that holds a lock: the server ends it after so many seconds without a word."""
    _set_mysql(connection, {"wait_timeout": seconds, "interactive_timeout": seconds})


def _set_mysql(connection: t.Any, limits: dict[str, int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET " + ", ".join(f"SESSION {name} = {value}" for name, value in limits.items()))


def server_time(connection: t.Any) -> datetime.datetime:
    """Aware UTC, from PostgreSQL, MariaDB or MySQL."""
    if connection.dialect.name == "postgresql":
        return connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one().astimezone(datetime.timezone.utc)
    return connection.exec_driver_sql("SELECT UTC_TIMESTAMP(6)").scalar_one().replace(tzinfo=datetime.timezone.utc)
