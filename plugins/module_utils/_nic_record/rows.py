# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Rows of the table nics: which ones, in which order, and from and to NicRecord. Made for many: a look may have a hundred thousand."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import NicRecord
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.schema import HAS_SQLALCHEMY

if HAS_SQLALCHEMY:
    import sqlalchemy as sa

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.schema import nics

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MANY = 1000  # rows
CHUNK = 500  # values in one IN list; SQLite's and the drivers' limits are far above


def all_columns() -> t.Any:
    """The columns in the order of NicRecord's fields: making thousands of rows by names takes long."""
    return sa.select(*(nics.c[name] for name in NicRecord._fields))


def nics_of(result: t.Any) -> list[NicRecord]:
    """The NICs of a query of all_columns()."""
    return [NicRecord._make(row) for some in result.partitions(MANY) for row in some]


def values(nic: NicRecord) -> dict[str, t.Any]:
    """For a row that gets its id from the database."""
    row = nic._asdict()
    del row["id"]
    return row


def update(connection: t.Any, changed: Iterable[tuple[NicRecord, NicRecord]]) -> None:
    """Writes what is other in a NIC than before; rows that differ in the same columns are one statement."""
    by_columns: dict[tuple[str, ...], list[dict[str, t.Any]]] = {}
    for before, after in changed:
        facts = {name: new for name, old, new in zip(NicRecord._fields, before, after) if new != old}
        if facts:
            by_columns.setdefault(tuple(facts), []).append({**facts, "row_id": after.id})
    for names, parameters in by_columns.items():
        statement = nics.update().where(nics.c.id == sa.bindparam("row_id")).values({name: sa.bindparam(name) for name in names})
        connection.execute(statement, parameters)


def fitting(
    hypervisor_names: Sequence[str] | None = None,
    networks: Sequence[str] | None = None,
    states: Sequence[str] | None = None,
    macs: Sequence[str] | None = None,
    addresses: Sequence[str] | None = None,
) -> t.Any:
    """The condition that one value of each list that is given must fit. addresses: of either family, at most CHUNK of them."""
    lists = (
        (nics.c.hypervisor_name, hypervisor_names),
        (nics.c.network, networks),
        (nics.c.fetch_state, states),
        (nics.c.mac, macs),
    )
    wanted: list[t.Any] = [column.in_(given) for column, given in lists if given is not None]
    if addresses is not None:
        texts = sa.type_coerce(nics.c.ip6_addresses, sa.Text)  # a list as JSON: each address stands in quotes
        having6 = [texts.contains(json.dumps(one), autoescape=True) for one in addresses if ":" in one]
        wanted.append(sa.or_(nics.c.ip4_address.in_(addresses), *having6))
    return sa.and_(sa.true(), *wanted)


def page(
    connection: t.Any, wanted: t.Any, names: Sequence[str] | None, limit: int | None = None, offset: int = 0
) -> list[NicRecord]:
    """The NICs that fit, of the VMs of these names, as people are shown them: no more than `limit`, after the first `offset`."""
    parts = by_name(all_columns().where(wanted).order_by(*_shown_order(connection)), names)
    end = None if limit is None else offset + limit
    if len(parts) == 1:
        return nics_of(connection.execute(parts[0].limit(limit).offset(offset or None)))
    # Each part may hold all of the page.
    found = [nic for part in parts for nic in nics_of(connection.execute(part.limit(end)))]
    return sorted(found, key=shown_first)[offset:end]


def count(connection: t.Any, wanted: t.Any, names: Sequence[str] | None) -> int:
    """How many NICs fit, of the VMs of these names."""
    query = sa.select(sa.func.count()).select_from(nics).where(wanted)
    return sum(connection.execute(part).scalar_one() for part in by_name(query, names))


def by_name(statement: t.Any, names: Sequence[str] | None) -> list[t.Any]:
    """The statement for the named VMs only, in as many parts as it needs."""
    if names is None:
        return [statement]
    return [statement.where(nics.c.vm_name.in_(chunk)) for chunk in chunks(sorted(set(names)))]


def shown_first(nic: NicRecord) -> tuple[str, str, str, int, str]:
    """The order in which people are shown NICs."""
    return (nic.hypervisor_name, nic.vm_name, nic.vm_id, nic.device, nic.mac)


def _shown_order(connection: t.Any) -> list[t.Any]:
    """As shown_first(). PostgreSQL would sort names by its language; the others compare what this record has byte by byte."""
    texts: list[t.Any] = [nics.c[name] for name in ("hypervisor_name", "vm_name", "vm_id", "mac")]
    if connection.dialect.name == "postgresql":
        texts = [column.collate("C") for column in texts]
    return [*texts[:3], nics.c.device, texts[3]]


def chunks(many: Sequence[t.Any]) -> list[Sequence[t.Any]]:
    """The values in lists that fit into one statement."""
    return [many[start : start + CHUNK] for start in range(0, len(many), CHUNK)]
