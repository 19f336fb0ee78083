# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tables as the first release made them: where upgrades begin. Never changed."""

from __future__ import annotations

import datetime
import json
import typing as t

import sqlalchemy as sa
from sqlalchemy.dialects import mysql


class _UtcTime(sa.types.TypeDecorator):  # type: ignore[type-arg]
    """Aware UTC in Python, plain UTC with microseconds in the database."""

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: t.Any) -> t.Any:
        # Without a precision MariaDB and MySQL cut or round to the second.
        return dialect.type_descriptor(mysql.DATETIME(fsp=6) if dialect.name in ("mysql", "mariadb") else sa.DateTime())

    def process_bind_param(self, value: datetime.datetime | None, dialect: t.Any) -> datetime.datetime | None:
        return None if value is None else value.astimezone(datetime.UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime.datetime | None, dialect: t.Any) -> datetime.datetime | None:
        return None if value is None else value.replace(tzinfo=datetime.UTC)


class _Words(sa.types.TypeDecorator):  # type: ignore[type-arg]
    """A short tuple of texts or numbers, as JSON; the empty one is an empty text, which most of them are."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: t.Sequence[t.Any] | None, dialect: t.Any) -> str:
        return json.dumps(list(value)) if value else ""

    def process_result_value(self, value: str | None, dialect: t.Any) -> tuple[t.Any, ...]:
        return tuple(json.loads(value)) if value else ()


metadata = sa.MetaData()
# Names compare byte by byte everywhere: MariaDB's default would take Web1 for web1.
_MYSQL = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
_MARIADB = {name.replace("mysql_", "mariadb_"): value for name, value in _MYSQL.items()}
_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

nics = sa.Table(
    "nics",
    metadata,
    sa.Column("id", _BIG, primary_key=True, autoincrement=True),
    sa.Column("hypervisor_name", sa.String(255), nullable=False),
    sa.Column("vm_id", sa.String(64), nullable=False),
    sa.Column("vm_name", sa.String(255), nullable=False),
    sa.Column("device", sa.Integer, nullable=False),
    sa.Column("mac", sa.String(17), nullable=False),
    sa.Column("network", sa.String(255)),
    sa.Column("required", sa.Boolean, nullable=False),
    sa.Column("cidrs", _Words, nullable=False),
    sa.Column("ip_range", sa.String(100)),
    sa.Column("ignore_interfaces", _Words, nullable=False),
    sa.Column("family_order", _Words, nullable=False),
    sa.Column("ip4_address", sa.String(15)),
    sa.Column("ip6_addresses", _Words, nullable=False),
    sa.Column("addresses", _Words, nullable=False),
    sa.Column("in_range", sa.Boolean),
    sa.Column("source", sa.String(32)),
    sa.Column("previous_address", sa.String(45)),
    sa.Column("fetch_state", sa.String(16), nullable=False),
    sa.Column("max_tries", sa.Integer),
    sa.Column("tries_failed", sa.Integer, nullable=False),
    sa.Column("tries_left", sa.Integer, nullable=False),
    sa.Column("next_try_at", _UtcTime),
    sa.Column("last_try_at", _UtcTime),
    sa.Column("last_reason", sa.String(32)),
    sa.Column("last_message", sa.Text),
    sa.Column("suspect_readings", sa.Integer, nullable=False),
    sa.Column("candidate_address", sa.String(45)),
    sa.Column("candidate_since", _UtcTime),
    sa.Column("first_seen_at", _UtcTime),
    sa.Column("last_seen_at", _UtcTime),
    sa.Column("entered_at", _UtcTime, nullable=False),
    sa.Column("updated_at", _UtcTime, nullable=False),
    sa.Column("claim_token", sa.String(32)),
    sa.UniqueConstraint("hypervisor_name", "vm_id", "mac", name="uq_nics_vm_mac"),
    sa.Index("ix_nics_queue", "hypervisor_name", "fetch_state", "next_try_at"),
    sa.Index("ix_nics_vm_name", "vm_name"),
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


def create(connection: t.Any) -> None:
    """The tables with one NIC that was found, and its event."""
    now = datetime.datetime(2026, 11, 22, 8, 0, tzinfo=datetime.UTC)
    metadata.create_all(connection)
    connection.execute(event_counter.insert().values(id=1, last_event_id=1))
    connection.execute(schema_version.insert().values(version=1, applied_at=now))
    web1 = {
        "hypervisor_name": "kvm01", "vm_id": "1c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10", "vm_name": "web1", "device": 0,
        "mac": "52:54:00:6b:3c:58", "network": "corp", "source": "agent",
    }  # fmt: skip
    connection.execute(
        nics.insert().values(
            required=True,
            cidrs=("10.0.0.0/24",),
            ignore_interfaces=(),
            family_order=(4, 6),
            ip4_address="10.0.0.1",
            ip6_addresses=(),
            addresses=("10.0.0.1",),
            fetch_state="found",
            tries_failed=0,
            tries_left=10,
            suspect_readings=0,
            first_seen_at=now,
            last_seen_at=now,
            last_try_at=now,
            entered_at=now,
            updated_at=now,
            **web1,
        )  # fmt: skip
    )
    connection.execute(events.insert().values(id=1, at=now, type="EXTERNAL.DHCP.VM.IP.FETCHED", address="10.0.0.1", **web1))
