# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""For tests of names in DNS: a record, VMs that do not exist, and a real BIND (rig `dns`). The fixtures are imported by the tests."""

from __future__ import annotations

import dataclasses
import datetime
import importlib
import importlib.util
import os
import pathlib
import shutil
import sys
import tempfile
import time
import typing as t

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLLECTION = "ansible_collections.vmops.external_dhcp"

sys.path.insert(0, str(ROOT / ".build" / "collections"))

database = importlib.import_module(f"{COLLECTION}.plugins.module_utils._nic_record.database")
model = importlib.import_module(f"{COLLECTION}.plugins.module_utils._nic_record.model")
stores = importlib.import_module(f"{COLLECTION}.plugins.module_utils._nic_record.store")
fetching = importlib.import_module(f"{COLLECTION}.plugins.module_utils._module.vm_ip_fetch")
fakes = importlib.import_module(f"{COLLECTION}.tests.unit.plugins.module_utils._nic_record.fake_hypervisor")

DOMAIN = "vms.example.test"


def _load_rig() -> t.Any:
    spec = importlib.util.spec_from_file_location("dns_rig", ROOT / "tests" / "rigs" / "dns" / "dns_rig.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["dns_rig"] = module
    spec.loader.exec_module(module)
    return module


dns_rig = _load_rig()


@dataclasses.dataclass
class Site:
    """A record, the VMs of one hypervisor, and the DNS servers. Each look is an hour after the one before."""

    rig: t.Any
    record: str
    run_module: t.Any
    guests: list[t.Any] = dataclasses.field(default_factory=list)
    now: datetime.datetime = dataclasses.field(default_factory=lambda: datetime.datetime.now(datetime.UTC))

    def look(self, hypervisor: str = "kvm01", guests: list[t.Any] | None = None) -> None:
        self.now += datetime.timedelta(hours=1)
        store = stores.RecordStore(database.Database(self.record), lambda: self.now)
        store.database.prepare()
        settings = model.PollSettings(interval=60, recheck_interval=60, suspect_readings=1)
        request = fetching.Request(hypervisor, settings=settings, reconcile=True, networks={"corp": {}, "lab": {}})
        fake = fakes.FakeHypervisor(self.guests if guests is None else guests)
        poll = fetching.fetch(store, fake.connect, request)
        assert poll.problem is None
        store.database.close()

    def server(self, view: str = "inside", **more: t.Any) -> dict[str, t.Any]:
        return {"host": dns_rig.ADDRESS, "port": self.rig.primary.port, "key_file": str(self.rig.keys[view]), **more}

    def register(self, view: str = "inside", server: dict[str, t.Any] | None = None, **options: t.Any) -> t.Any:
        how = {word: options.pop(word) for word in ("check_mode", "diff", "fails") if word in options}
        given = {"record": self.record, "domain": DOMAIN, "server": self.server(view, **(server or {})), **options}
        return self.run_module("vm_dns_records", given, **how)

    def short(self, *words: str, **where: t.Any) -> list[str]:
        return sorted(self.rig.dig("+short", *words, **where).split("\n"))[1:]

    def zone(self, name: str = DOMAIN, view: str = "inside") -> list[str]:
        """All of a zone but what stands in it from the beginning."""
        lines = [line.split() for line in self.rig.dig("+noall", "+answer", name, "AXFR", view=view).splitlines()]
        mine = [line for line in lines if line and line[0] not in (f"{name}.", f"ns1.{DOMAIN}.") and "TSIG" not in line]
        return sorted(" ".join(line) for line in mine)

    def empty(self) -> None:
        for view in dns_rig.VIEWS:
            for name in dns_rig.ZONES:
                owners = {line.split()[0] for line in self.zone(name, view)}
                deletions = "".join(f"update delete {owner}\n" for owner in sorted(owners))
                if deletions:
                    self.rig.nsupdate(f"zone {name}\n{deletions}", view)


@pytest.fixture(scope="session")
def dns() -> t.Iterator[t.Any]:
    base = pathlib.Path(os.environ.get("VMOPS_RIG_DIR", dns_rig.librig_server.DEFAULT_RIG_DIR))
    base.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="it-", suffix="-dns", dir=base))
    rig = dns_rig.DnsRig(folder)
    try:
        rig.create()
        yield rig
    finally:
        rig.remove()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def site(dns: t.Any, tmp_path: pathlib.Path, run_module: t.Any) -> Site:
    one = Site(dns, f"sqlite:///{tmp_path}/record.db", run_module)
    one.empty()
    return one


def guest(number: int, *addresses: str, name: str | None = None, **more: t.Any) -> t.Any:
    one = fakes.guest(number, answers={0: list(addresses)}, **more)
    one.name = name or one.name
    return one


def wait_for_dns(condition: t.Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end and not condition():
        time.sleep(0.05)
    return condition()
