# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the record keeps of the looks at each hypervisor, how many NICs wait for what, and which events it forgets."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import LockHolder, LookNote
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.schema import HAS_SQLALCHEMY

if HAS_SQLALCHEMY:
    import sqlalchemy as sa

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.schema import (
        event_counter,
        events,
        hypervisors,
        nics,
        poll_locks,
    )

if t.TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database

PURGED = 5000  # events at once


def purge_events(database: Database, older_than: datetime.datetime, keep: int, at_most: int = PURGED) -> int:
    """Removes the oldest events: those older than that, and all but the `keep` youngest. In steps; returns how many went."""

    def work(connection: t.Any) -> int:
        first = connection.execute(sa.select(sa.func.min(events.c.id))).scalar()
        if first is None:
            return 0
        reach = first + at_most
        old = connection.execute(
            sa.select(sa.func.max(events.c.id)).where(events.c.id < reach, events.c.at < older_than)
        ).scalar()
        last = connection.execute(sa.select(event_counter.c.last_event_id)).scalar_one()
        upto = min(max(old or 0, last - keep), reach - 1)
        return connection.execute(events.delete().where(events.c.id <= upto)).rowcount if upto >= first else 0

    return database.run(work, write=True)


def note_look(database: Database, note: LookNote) -> None:
    """Keeps that a hypervisor was looked at; a look with a problem leaves the time of the last good one."""

    def work(connection: t.Any) -> None:
        mine = hypervisors.c.name == note.name
        good_at = note.good_at or connection.execute(sa.select(hypervisors.c.good_at).where(mine)).scalar()
        connection.execute(hypervisors.delete().where(mine))
        values = dataclasses.asdict(dataclasses.replace(note, good_at=good_at))
        connection.execute(hypervisors.insert().values(**values))

    database.run(work, write=True)


def looks(database: Database, names: Sequence[str] | None = None) -> list[LookNote]:
    """The last look at each hypervisor, by name."""

    def work(connection: t.Any) -> list[LookNote]:
        rows = connection.execute(sa.select(hypervisors)).mappings()
        notes = [LookNote(**row) for row in rows if names is None or row["name"] in names]
        return sorted(notes, key=lambda note: note.name)

    return database.run(work)


def tallies(database: Database) -> list[tuple[str, str, str | None, int]]:
    """How many NICs there are, by hypervisor, state and, where the address is waited for, the reason."""

    def work(connection: t.Any) -> list[tuple[str, str, str | None, int]]:
        found = (nics.c.hypervisor_name, nics.c.fetch_state, nics.c.last_reason)
        rows = connection.execute(sa.select(*found, sa.func.count()).group_by(*found)).all()
        return sorted((tuple(row) for row in rows), key=str)

    return database.run(work)


def holders(database: Database) -> list[LockHolder]:
    """Who polls, by the lock's name. A row may outlive a killed poller: its last sign of life tells."""

    def work(connection: t.Any) -> list[LockHolder]:
        columns = [poll_locks.c[field.name] for field in dataclasses.fields(LockHolder)]
        return [LockHolder(*row) for row in connection.execute(sa.select(*columns).order_by(poll_locks.c.name))]

    return database.run(work)
