# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The records that tests use: the rig `database`, and an empty SQLite file, PostgreSQL or MariaDB database for each test."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import pathlib
import shutil
import sys
import tempfile
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "rigs" / "database"))

import database_rig as rig

NOW = datetime.datetime(2026, 11, 22, 8, 0, tzinfo=datetime.UTC)


@dataclasses.dataclass
class Place:
    """One database that is empty at the start of each test. server is None for SQLite."""

    kind: str
    url: str
    server: t.Any
    folder: pathlib.Path

    def store(self, now: datetime.datetime = NOW) -> RecordStore:
        return RecordStore(Database(self.url), lambda: now)

    def empty(self) -> None:
        if self.kind == "postgresql":
            self.server.admin("DROP DATABASE IF EXISTS records WITH (FORCE)")
            self.server.admin("CREATE DATABASE records OWNER records")
        elif self.kind == "mariadb":
            self.server.admin("DROP DATABASE IF EXISTS records; CREATE DATABASE records")


@contextlib.contextmanager
def running_servers(name: str, addresses: t.Sequence[str] = ()) -> t.Iterator[dict[str, t.Any]]:
    """A PostgreSQL and a MariaDB server by their kinds. addresses: where else than on 127.0.0.1 they listen."""
    base = pathlib.Path(os.environ.get("VMOPS_RIG_DIR", rig.librig_server.DEFAULT_RIG_DIR))
    base.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"it-{name}-", suffix="-database", dir=base))
    folder.chmod(0o755)
    started: dict[str, t.Any] = {}
    try:
        for kind, server in (("postgresql", rig.PostgresServer), ("mariadb", rig.MariaServer)):
            started[kind] = server(folder / kind, addresses=addresses)
            started[kind].create()
        yield started
    finally:
        for one in started.values():
            one.remove()
        shutil.rmtree(folder, ignore_errors=True)
