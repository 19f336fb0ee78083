# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What is done with the record: enter, stop and remove NICs; claim the due ones; keep answers; list. Decides nothing.

Every method is one short transaction (or a few), so nothing is ever locked while somebody talks to a hypervisor.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import typing as t
import uuid

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import queue, rows
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.due import due
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import (
    STATE_FOUND,
    STATE_GAVE_UP,
    STATE_PENDING,
    Changes,
    Counts,
    Event,
    NicRecord,
    Settled,
    Waiting,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.reconcile import agree
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.schema import HAS_SQLALCHEMY

if HAS_SQLALCHEMY:
    import sqlalchemy as sa

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.schema import (
        event_counter,
        events,
        hypervisors,
        nics,
    )

if t.TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import PollSettings, VmFacts
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.reconcile import Picture


class RecordStore:
    """The record in one database. `clock` returns aware UTC times, by default the database server's; tests give their own."""

    def __init__(self, database: Database, clock: Callable[[], datetime.datetime] | None = None) -> None:
        self.database = database
        self.clock = clock or database.now

    @classmethod
    @contextlib.contextmanager
    def open(cls, url: str | None, clock: Callable[[], datetime.datetime] | None = None) -> Iterator[RecordStore]:
        """The record at `url` (see Database), closed at the end; nothing is connected or made until it is used.

        Raises RecordUrlError and MissingLibrary.
        """
        database = Database(url)
        try:
            yield cls(database, clock)
        finally:
            database.close()

    # -- entering and leaving ----------------------------------------------------------------------------------------

    def enter(
        self,
        hypervisor_name: str,
        vms: Sequence[VmFacts],
        *,
        max_tries: int | None = None,
        rearm: bool = False,
        moved_from: str | None = None,
        dry_run: bool = False,
    ) -> Changes:
        """The NICs of running VMs enter the queue; NICs these VMs no longer have leave the record.

        moved_from: the hypervisor the VMs were on before; their rows move along with address and history.
        """

        def work(connection: t.Any) -> Changes:
            now = self.clock()
            ids = [vm.id for vm in vms]
            known = self._of_vms(connection, hypervisor_name, ids)
            left_behind = []
            if moved_from:
                for key, nic in self._of_vms(connection, moved_from, ids).items():
                    if known.setdefault(key, nic) is not nic:
                        left_behind.append(nic)
            after = {}
            for vm in vms:
                anew = rearm or vm.rearm or bool(moved_from)
                for facts in vm.nics:
                    key = (t.cast(str, vm.id), facts.mac)
                    after[key] = queue.enter(known.get(key), hypervisor_name, vm, facts, now, max_tries=max_tries, rearm=anew)
            self._apply(connection, known, after, [], dry_run, left_behind)
            return _changes(known, after)

        return self._write(work, dry_run)

    def stop(self, hypervisor_name: str, vms: Sequence[VmFacts], *, dry_run: bool = False) -> Changes:
        """The VMs are off: their NICs leave the queue and stay in the record."""

        def work(connection: t.Any) -> Changes:
            now = self.clock()
            known = self._named(connection, hypervisor_name, vms)
            after = {key: queue.stop(nic, now) for key, nic in known.items()}
            self._apply(connection, known, after, [], dry_run)
            return _changes(known, after)

        return self._write(work, dry_run)

    def remove(self, hypervisor_name: str, vms: Sequence[VmFacts], *, dry_run: bool = False) -> Changes:
        """The VMs are destroyed: their NICs leave the record. Events stay."""

        def work(connection: t.Any) -> Changes:
            known = self._named(connection, hypervisor_name, vms)
            self._apply(connection, known, {}, [], dry_run)
            return _changes(known, {})

        return self._write(work, dry_run)

    def retire(self, hypervisor_name: str, *, dry_run: bool = False) -> Changes:
        """The hypervisor is gone: its NICs, and what is kept of the looks at it, leave the record. Events stay."""

        def work(connection: t.Any) -> Changes:
            known = self._read(connection, nics.c.hypervisor_name == hypervisor_name)
            self._apply(connection, known, {}, [], dry_run)
            changes = _changes(known, {})
            mine = hypervisors.c.name == hypervisor_name
            noted = connection is not None and connection.execute(sa.select(hypervisors.c.name).where(mine)).first() is not None
            if noted and not dry_run:
                connection.execute(hypervisors.delete().where(mine))
            return dataclasses.replace(changes, retired=noted)

        return self._write(work, dry_run)

    def reconcile(self, picture: Picture, patience: float, *, dry_run: bool = False) -> tuple[Changes, dict[str, list[str]]]:
        """Makes the NICs of one hypervisor what they are there; returns what was done, and the VMs' names by kind of change.

        patience: seconds; see reconcile.agree(). It counts only where the record knows of other hypervisors.
        """

        def work(connection: t.Any) -> tuple[Changes, dict[str, list[str]]]:
            now = self.clock()
            mine = nics.c.hypervisor_name == picture.hypervisor_name
            known = self._read(connection, mine)
            others = connection is not None and (
                connection.execute(sa.select(nics.c.id).where(sa.not_(mine)).limit(1)).first()
                or connection.execute(sa.select(hypervisors.c.name).where(hypervisors.c.name != picture.hypervisor_name)).first()
            )
            elsewhere = self._elsewhere(connection, sa.not_(mine), known, picture) if others else {}
            done = agree(known, elsewhere, picture, now, patience if others else None)
            for key, nic in elsewhere.items():
                # Those that were adopted have their row still.
                if key not in known and key in done.after and done.after[key].id == nic.id:
                    known[key] = nic
            stored = self._apply(connection, known, done.after, done.events, dry_run)
            return Changes(tuple(known.values()), tuple(done.after.values()), tuple(stored)), done.told

        return self._write(work, dry_run)

    def _elsewhere(
        self, connection: t.Any, others: t.Any, known: dict[tuple[str, str], NicRecord], picture: Picture
    ) -> dict[tuple[str, str], NicRecord]:
        """The rows that other hypervisors have of VMs of which not all is as it is known here."""
        listed = {(vm.id, facts.mac) for vm in picture.vms for facts in vm.nics}
        found: dict[tuple[str, str], NicRecord] = {}
        for chunk in rows.chunks(sorted({vm_id for vm_id, _mac in listed.symmetric_difference(known) if vm_id})):
            found.update(self._read(connection, others, nics.c.vm_id.in_(chunk)))
        return found

    def rearm(self, hypervisor_name: str, names: Sequence[str] | None = None) -> int:
        """NICs that were given up get all tries again; returns how many."""

        def work(connection: t.Any) -> int:
            now = self.clock()
            known: dict[tuple[str, str], NicRecord] = {}
            gave_up = (nics.c.hypervisor_name == hypervisor_name, nics.c.fetch_state == STATE_GAVE_UP)
            for chunk in [None] if names is None else rows.chunks(sorted(set(names))):
                known.update(self._read(connection, *gave_up, *(() if chunk is None else (nics.c.vm_name.in_(chunk),))))
            rows.update(connection, [(nic, queue.rearm(nic, now)) for nic in known.values()])
            return len(known)

        return self.database.run(work, write=True)

    def _write(self, work: Callable[[t.Any], t.Any], dry_run: bool) -> t.Any:
        if dry_run and not self.database.exists():
            return work(None)
        return self.database.run(work, write=not dry_run)

    def _of_vms(self, connection: t.Any, hypervisor_name: str, ids: Iterable[str | None]) -> dict[tuple[str, str], NicRecord]:
        found: dict[tuple[str, str], NicRecord] = {}
        for chunk in rows.chunks(sorted({one for one in ids if one})):
            found.update(self._read(connection, nics.c.hypervisor_name == hypervisor_name, nics.c.vm_id.in_(chunk)))
        return found

    def _named(self, connection: t.Any, hypervisor_name: str, vms: Sequence[VmFacts]) -> dict[tuple[str, str], NicRecord]:
        """By id where one is given, else by name."""
        found = self._of_vms(connection, hypervisor_name, [vm.id for vm in vms])
        for chunk in rows.chunks(sorted({vm.name for vm in vms if not vm.id})):
            found.update(self._read(connection, nics.c.hypervisor_name == hypervisor_name, nics.c.vm_name.in_(chunk)))
        return found

    def _read(self, connection: t.Any, *where: t.Any) -> dict[tuple[str, str], NicRecord]:
        if connection is None:
            return {}  # a dry run where there is no record yet
        # The rows are locked in the order of their ids by everybody, so that two writers wait and do not deadlock.
        query = rows.all_columns().where(*where).order_by(nics.c.id).with_for_update()
        return {(nic.vm_id, nic.mac): nic for nic in rows.nics_of(connection.execute(query))}

    def _apply(
        self,
        connection: t.Any,
        known: dict[tuple[str, str], NicRecord],
        after: dict[tuple[str, str], NicRecord],
        new_events: Sequence[Event],
        dry_run: bool,
        left_behind: Sequence[NicRecord] = (),
    ) -> Sequence[Event]:
        """Makes the rows of `known` those of `after`; returns the events as they were stored."""
        gone = [nic.id for key, nic in known.items() if key not in after] + [nic.id for nic in left_behind]
        new = [nic for nic in after.values() if nic.id is None]
        other = [(known[key], nic) for key, nic in after.items() if nic.id is not None and nic is not known[key]]
        if not dry_run:
            for chunk in rows.chunks(gone):
                connection.execute(nics.delete().where(nics.c.id.in_(chunk)))
            rows.update(connection, other)
            if new:
                connection.execute(nics.insert(), [rows.values(nic) for nic in new])
                if len(new) >= rows.MANY and connection.dialect.name == "postgresql":
                    # Until its own next analysis PostgreSQL takes a new table for empty, and would read all of it for each chunk of ids.
                    connection.exec_driver_sql("ANALYZE nics")
            new_events = self._store_events(connection, new_events)
        return new_events

    # -- the poll ----------------------------------------------------------------------------------------------------

    def counts(
        self, hypervisor_name: str, settings: PollSettings, now: datetime.datetime, names: Sequence[str] | None = None
    ) -> Counts:
        pending = nics.c.fetch_state == STATE_PENDING

        def work(connection: t.Any) -> Counts:
            query = sa.select(
                sa.func.count(sa.case((sa.and_(pending, nics.c.required), 1))),
                sa.func.count(sa.case((sa.and_(pending, sa.not_(nics.c.required)), 1))),
                sa.func.count(sa.case((due(settings, now), 1))),
            ).where(nics.c.hypervisor_name == hypervisor_name)
            totals = [0, 0, 0]
            for part in rows.by_name(query, names):
                totals = [total + more for total, more in zip(totals, connection.execute(part).one())]
            return Counts(*totals)

        return self.database.run(work)

    def waiting(self, hypervisor_name: str, names: Sequence[str] | None = None, limit: int | None = None) -> Waiting:
        """The NICs in the queue, required or not; all are counted, and so many are read."""
        mine = (nics.c.hypervisor_name == hypervisor_name, nics.c.fetch_state == STATE_PENDING)
        columns = (sa.func.count(sa.case((nics.c.required, 1))), sa.func.count(), sa.func.min(nics.c.next_try_at))

        def work(connection: t.Any) -> Waiting:
            sums = [connection.execute(part).one() for part in rows.by_name(sa.select(*columns).where(*mine), names)]
            return Waiting(
                nics=rows.page(connection, sa.and_(*mine), names, limit),
                required=sum(one[0] for one in sums),
                total=sum(one[1] for one in sums),
                next_try_at=min((one[2] for one in sums if one[2]), default=None),
            )

        return self.database.run(work)

    def claim(
        self, hypervisor_name: str, settings: PollSettings, now: datetime.datetime, names: Sequence[str] | None = None
    ) -> list[NicRecord]:
        """Marks the due NICs as being looked at and returns them. Only for the holder of the poll's lock.

        A mark left by a poller that died, or that lost its lock, is replaced; its late answers then find no row.
        """
        return self._mark(hypervisor_name, [due(settings, now)], names)

    def claim_hinted(
        self, hypervisor_name: str, news: Collection[str], here: Collection[str], names: Sequence[str] | None = None
    ) -> list[NicRecord]:
        """As claim(), due or not: NICs of the VMs of these ids. news: all that are not stopped; here: those without an address."""
        unknown = (STATE_PENDING, STATE_GAVE_UP)
        wanted = [
            sa.and_(nics.c.vm_id.in_(chunk), nics.c.fetch_state.in_(states))
            for ids, states in ((news, (STATE_FOUND, *unknown)), (here, unknown))
            for chunk in rows.chunks(sorted(ids))
        ]
        return self._mark(hypervisor_name, wanted, names)

    def _mark(self, hypervisor_name: str, wanted: Sequence[t.Any], names: Sequence[str] | None) -> list[NicRecord]:
        token = uuid.uuid4().hex
        ours = nics.c.hypervisor_name == hypervisor_name

        def work(connection: t.Any) -> list[NicRecord]:
            for condition in wanted:
                for part in rows.by_name(nics.update().where(ours, condition).values(claim_token=token), names):
                    connection.execute(part)
            return rows.page(connection, sa.and_(ours, nics.c.claim_token == token), None)

        return self.database.run(work, write=True)

    def settle_claims(
        self,
        claims: Sequence[NicRecord],
        decide: Callable[[NicRecord], tuple[NicRecord, list[Event]]],
    ) -> Settled:
        """Stores what `decide` makes of each claimed NIC, all in one transaction; returns what was stored.

        A NIC whose claim is no longer ours (VM stopped, started again, destroyed, taken by another poller) is left alone.
        """
        if not claims:
            return Settled([], [], [])

        tokens = {claim.id: claim.claim_token for claim in claims}

        def work(connection: t.Any) -> Settled:
            ours: set[int] = set()
            for chunk in rows.chunks(sorted(tokens)):  # type: ignore[type-var]
                query = sa.select(nics.c.id, nics.c.claim_token).where(nics.c.id.in_(chunk)).order_by(nics.c.id)
                ours.update(row for row, token in connection.execute(query.with_for_update()).all() if token == tokens[row])
            # Whoever changes a row takes our claim away, so the rows that still have it are as they were claimed.
            held = [claim for claim in claims if claim.id in ours]
            steps = [decide(claim) for claim in held]
            rows.update(connection, [(claim, nic) for claim, (nic, _new) in zip(held, steps)])
            doubted = self._doubt_others(connection, [nic for nic, new in steps if any(event.address for event in new)])
            new_events = self._store_events(connection, [event for _nic, new in steps for event in new])
            return Settled([nic for nic, _new in steps], list(new_events), doubted)

        return self.database.run(work, write=True)

    def _doubt_others(self, connection: t.Any, found: Sequence[NicRecord]) -> list[NicRecord]:
        """A lease that was given to a new NIC is no longer the older one's: that one is suspect, and looked at at once.

        Only in networks of one name: the same address in two networks is two addresses.
        """
        newest: dict[tuple[str | None, str | None], NicRecord] = {
            (nic.network, nic.ip4_address): nic for nic in found if nic.ip4_address
        }
        ours = {nic.id for nic in found}
        doubted = []
        for chunk in rows.chunks(sorted({address for _network, address in newest if address})):
            having = sa.and_(nics.c.ip4_address.in_(chunk), nics.c.fetch_state == STATE_FOUND)
            # Mostly these are `found` themselves; only others are worth being read.
            places = connection.execute(sa.select(nics.c.id, nics.c.network, nics.c.ip4_address).where(having)).all()
            ids = sorted(row for row, network, address in places if row not in ours and (network, address) in newest)
            for others in rows.chunks(ids):
                query = rows.all_columns().where(having, nics.c.id.in_(others)).order_by(nics.c.id).with_for_update()
                for nic in rows.nics_of(connection.execute(query)):
                    new = newest.get((nic.network, nic.ip4_address))
                    if new is not None:
                        doubted.append((nic, queue.doubt(nic, new, t.cast(datetime.datetime, new.last_seen_at))))
        rows.update(connection, doubted)
        return [nic for _before, nic in doubted]

    def _store_events(self, connection: t.Any, new_events: Sequence[Event]) -> Sequence[Event]:
        if not new_events:
            return new_events
        connection.execute(event_counter.update().values(last_event_id=event_counter.c.last_event_id + len(new_events)))
        last = connection.execute(sa.select(event_counter.c.last_event_id)).scalar_one()
        numbered = [event._replace(id=last - len(new_events) + place) for place, event in enumerate(new_events, start=1)]
        connection.execute(events.insert(), [event._asdict() for event in numbered])
        return numbered

    # -- reading -----------------------------------------------------------------------------------------------------

    def nics(
        self,
        *,
        hypervisor_names: Sequence[str] | None = None,
        vms: Sequence[str] | None = None,
        networks: Sequence[str] | None = None,
        states: Sequence[str] | None = None,
        macs: Sequence[str] | None = None,
        addresses: Sequence[str] | None = None,
    ) -> list[NicRecord]:
        """NICs by hypervisor, VM and device. Each filter is a list of values one of which must fit; None means any."""
        wanted = rows.fitting(hypervisor_names, networks, states, macs, addresses)
        return self.database.run(lambda connection: rows.page(connection, wanted, vms))

    def nics_page(self, wanted: t.Any, vms: Sequence[str] | None, limit: int | None, offset: int) -> tuple[list[NicRecord], int]:
        """As nics(), but no more than `limit` after the first `offset` of them, and how many there are; wanted: see rows.fitting()."""

        def work(connection: t.Any) -> tuple[list[NicRecord], int]:
            return rows.page(connection, wanted, vms, limit, offset), rows.count(connection, wanted, vms)

        return self.database.run(work)

    def events(
        self,
        *,
        after: int | None = None,
        since: datetime.datetime | None = None,
        types: Sequence[str] | None = None,
        hypervisor_names: Sequence[str] | None = None,
        vms: Sequence[str] | None = None,
        macs: Sequence[str] | None = None,
        limit: int = 1000,
    ) -> list[Event]:
        """Events in the order they became true. With `after` the oldest ones after that number, else the newest ones."""

        def work(connection: t.Any) -> list[Event]:
            query = sa.select(events)
            if after is not None:
                query = query.where(events.c.id > after)
            if since is not None:
                query = query.where(events.c.at >= since)
            filters = (
                (events.c.type, types),
                (events.c.hypervisor_name, hypervisor_names),
                (events.c.vm_name, vms),
                (events.c.mac, macs),
            )
            for column, values in filters:
                if values is not None:
                    query = query.where(column.in_(values))
            query = query.order_by(events.c.id if after is not None else events.c.id.desc()).limit(limit)
            found = [Event(**row) for row in connection.execute(query).mappings()]
            return sorted(found, key=lambda event: t.cast(int, event.id))

        return self.database.run(work)

    def last_event_until(self, moment: datetime.datetime) -> int:
        """The number of the last event that is not younger than that; 0 if there is none."""
        query = sa.select(sa.func.max(events.c.id)).where(events.c.at <= moment)
        return self.database.run(lambda connection: connection.execute(query).scalar_one()) or 0

    def record_id(self) -> str | None:
        """Chosen when the record was made: another one means another record under the same URL."""
        return self.database.run(lambda connection: connection.execute(sa.select(event_counter.c.record_id)).scalar_one())

    def last_event_id(self) -> int:
        return self.database.run(lambda connection: connection.execute(sa.select(event_counter.c.last_event_id)).scalar_one())


def _changes(known: dict[tuple[str, str], NicRecord], after: dict[tuple[str, str], NicRecord]) -> Changes:
    """In the order in which people are shown them."""
    return Changes(tuple(sorted(known.values(), key=rows.shown_first)), tuple(sorted(after.values(), key=rows.shown_first)))
