# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long the record takes with ten and a hundred thousand NICs, against the limits it is to keep. Starts the databases it needs.

Each figure is of the whole module in a process of its own, as Ansible would run it, from the start of Python to its result;
only the hypervisor is a fake that answers at once. Exit code 1 if a limit is broken.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import io
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
import typing as t
from unittest import mock

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLLECTION = "ansible_collections.vmops.external_dhcp"
TREE = ROOT / ".build" / "collections"
COUNT = 10_000
MANY = 100_000  # on SQLite only
HYPERVISOR = "kvm01"
SILENT = "kvm02"  # whose guests have no address


@dataclasses.dataclass
class Row:
    what: str
    seconds: float
    limit: float
    cpu: float | None = None
    megabytes: float | None = None
    memory_limit: float | None = None

    @property
    def good(self) -> bool:
        return self.seconds <= self.limit and (self.memory_limit is None or (self.megabytes or 0) <= self.memory_limit)

    def __str__(self) -> str:
        cpu = "" if self.cpu is None else f"{self.cpu:.2f} CPU-s"
        memory = "" if self.megabytes is None else f"{self.megabytes:.0f} MB"
        bound = "" if self.memory_limit is None else f", {self.memory_limit:.0f} MB"
        verdict = "ok" if self.good else "TOO MUCH"
        return f"{self.what:<52} {self.seconds:8.2f} s {cpu:>12} {memory:>8}   (at most {self.limit:.1f} s{bound}) {verdict}"


def module(name: str) -> t.Any:
    return importlib.import_module(f"{COLLECTION}.{name}")


def guests(count: int, silent: bool = False) -> list[t.Any]:
    fakes = module("tests.unit.plugins.module_utils._nic_record.fake_hypervisor")
    return [
        fakes.guest(number, answers={0: [] if silent else [f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"]})
        for number in range(1, count + 1)
    ]


def peak_megabytes() -> float:
    """This program's own peak; getrusage would tell that of the process it was started from, where that was larger."""
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def child(name: str, options: dict[str, t.Any], count: int) -> None:
    """Runs one module as Ansible would and prints what it cost."""
    from ansible.module_utils import basic

    started = time.monotonic()
    main = module(f"plugins.modules.{name}").main
    prepared = 0.0
    if name == "vm_ip_fetch":
        fakes = module("tests.unit.plugins.module_utils._nic_record.fake_hypervisor")
        begun = time.process_time()
        hypervisor = fakes.FakeHypervisor(guests(count, options["hypervisor_name"] == SILENT))
        prepared = time.process_time() - begun
        module("plugins.module_utils._module.vm_ip_fetch").open_hypervisor = lambda description: hypervisor.connect()
    arguments = {**options, "_ansible_remote_tmp": tempfile.gettempdir(), "_ansible_keep_remote_files": False}
    encoded = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
    output = io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(basic, "_ANSIBLE_ARGS", encoded))
        with contextlib.suppress(AttributeError):
            stack.enter_context(mock.patch.object(basic, "_ANSIBLE_PROFILE", "legacy"))
        stack.enter_context(contextlib.redirect_stdout(output))
        stack.enter_context(contextlib.suppress(SystemExit))
        main()
    result = json.loads(output.getvalue())
    assert not result.get("failed"), result
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "seconds": time.monotonic() - started - prepared,
                "cpu": usage.ru_utime + usage.ru_stime - prepared,
                "megabytes": peak_megabytes(),
                "looked_at": result.get("looked_at"),
                "found": len(result.get("found", [])),
                "nics": len(result.get("nics", [])),
            }
        )
    )


def run(name: str, options: dict[str, t.Any], count: int = 0) -> dict[str, t.Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--child", name, json.dumps(options), str(count)],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(TREE)},
        text=True,
    )
    return json.loads(done.stdout)


def on(kind: str, url: str) -> list[Row]:
    database, stores = module("plugins.module_utils._nic_record.database"), module("plugins.module_utils._nic_record.store")
    store = stores.RecordStore(database.Database(url))
    store.database.prepare()
    begun, used = time.monotonic(), time.process_time()
    store.enter(HYPERVISOR, [one.facts() for one in guests(COUNT)])
    rows = [Row(f"{kind}: {COUNT} NICs enter the queue", time.monotonic() - begun, 10, time.process_time() - used)]
    store.database.close()
    fetch = {"record": url, "hypervisor": {"type": "kvm"}, "hypervisor_name": HYPERVISOR, "syslog": False, "limit": COUNT}
    cost = run("vm_ip_fetch", fetch, COUNT)
    assert cost["looked_at"] == cost["found"] == COUNT
    rows.append(Row(f"{kind}: a poll, {COUNT} NICs due", cost["seconds"], 10, cost["cpu"], cost["megabytes"], 150))
    cost = run("vm_ip_fetch", fetch)
    assert cost["looked_at"] == 0
    rows.append(Row(f"{kind}: a poll, nothing due", cost["seconds"], 1, cost["cpu"], cost["megabytes"]))
    cost = run("vm_nic_record_info", {"record": url, "nic_limit": 0})
    assert cost["nics"] == COUNT
    rows.append(Row(f"{kind}: list of {COUNT} NICs", cost["seconds"], 3, cost["cpu"], cost["megabytes"]))
    return rows


def many(folder: pathlib.Path) -> list[Row]:
    """A hundred thousand NICs of one hypervisor."""
    database, stores = module("plugins.module_utils._nic_record.database"), module("plugins.module_utils._nic_record.store")
    rows = []
    for name in (SILENT, HYPERVISOR):
        url = f"sqlite:///{folder}/many-{name}.db"
        store = stores.RecordStore(database.Database(url))
        store.database.prepare()
        store.enter(name, [one.facts() for one in guests(MANY)])
        store.database.close()
        fetch = {"record": url, "hypervisor": {"type": "kvm"}, "hypervisor_name": name, "syslog": False}
        cost = run("vm_ip_fetch", {**fetch, "interval": 3600}, MANY)
        assert cost["looked_at"] == MANY
        found = "without an address" if name == SILENT else "all found"
        rows.append(Row(f"{MANY} NICs: a look, all due, {found}", cost["seconds"], 15, cost["cpu"], cost["megabytes"], 300))
        if name == SILENT:
            for reconcile, limit in ((False, 1.0), (True, 15.0)):
                cost = run("vm_ip_fetch", {**fetch, "interval": 3600, "reconcile": reconcile}, MANY if reconcile else 0)
                assert cost["looked_at"] == 0
                rows.append(
                    Row(
                        f"{MANY} NICs: nothing due, all pending, {'all VMs read' if reconcile else 'no VM read'}",
                        cost["seconds"],
                        limit,
                        cost["cpu"],
                        cost["megabytes"],
                        300,
                    )
                )
    for what, page, limit in (
        ("list, its first 5,000", {}, 3),
        ("the last page of 5,000", {"nic_offset": MANY - 5000}, 3),
        ("all at once", {"nic_limit": 0}, 15),
    ):
        cost = run("vm_nic_record_info", {"record": url, **page})
        rows.append(Row(f"{MANY} NICs: {what}", cost["seconds"], limit, cost["cpu"], cost["megabytes"]))
    return [*rows, *plugins_alone(url, folder)]


# Makes as many hosts as vm_nics would, with one variable each and in no group: what no plugin can save.
FLOOR = f"""
from ansible.plugins.inventory import BaseInventoryPlugin

class InventoryModule(BaseInventoryPlugin):
    NAME = "floor"

    def verify_file(self, path):
        return path.endswith("floor.yml")

    def parse(self, inventory, loader, path, cache=True):
        super().parse(inventory, loader, path)
        for number in range({MANY}):
            name = inventory.add_host(f"vm{{number}}.{HYPERVISOR}")
            inventory.set_variable(name, "ansible_host", f"10.{{number >> 16}}.{{number >> 8 & 255}}.{{number & 255}}")
"""


def plugins_alone(url: str, folder: pathlib.Path) -> list[Row]:
    """The inventory plugin with as many VMs, and the least of Ansible; a static inventory of them takes a quarter of an hour."""
    (folder / "floor.py").write_text(FLOOR)
    what = f"{MANY} VMs in the inventory"
    files = {
        "many": (what, "plugin: vmops.external_dhcp.vm_nics\n", 15, 600),
        "nics": (f"{what}, host_nics", "plugin: vmops.external_dhcp.vm_nics\nhost_nics: true\n", 999, None),
        "floor": (f"{MANY} hosts with one variable from a plugin", "", 999, None),
    }
    rows = []
    for name, (text, words, seconds, megabytes) in files.items():
        source = folder / (f"{name}.yml" if name == "floor" else f"{name}.vm_nics.yml")
        source.write_text(words and f"{words}record: {url}\n")
        rows.append(hosts_of(source, folder, Row(text, 0, seconds, memory_limit=megabytes)))
    return rows


def hosts_of(source: pathlib.Path, folder: pathlib.Path, row: Row) -> Row:
    """The row with what Ansible takes to list the hosts of an inventory."""
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(TREE),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_PLUGINS": str(folder),
        "ANSIBLE_INVENTORY_ENABLED": "floor,auto",
    }
    command = [str(pathlib.Path(sys.executable).parent / "ansible"), "all", "--list-hosts", "-i", str(source)]
    begun = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=folder, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.stdout.read()
        _pid, _status, usage = os.wait4(process.pid, 0)
        process.returncode = _status
    assert f"hosts ({MANY})" in first
    cpu = usage.ru_utime + usage.ru_stime
    return dataclasses.replace(row, seconds=time.monotonic() - begun, cpu=cpu, megabytes=usage.ru_maxrss / 1024)


def as_static(url: str) -> dict[str, t.Any]:
    """The plugin's hosts, variables and groups, as a person would write them down."""
    database, stores = module("plugins.module_utils._nic_record.database"), module("plugins.module_utils._nic_record.store")
    results = module("plugins.module_utils._nic_record.results")
    nics = stores.RecordStore(database.Database(url)).nics()
    hosts = module("plugins.plugin_utils._vm_hosts").vm_hosts([results.nic_result(nic, detail=True) for nic in nics], (), False)
    children: dict[str, t.Any] = {}
    names = {host.key: f"{host.name}.{host.key[0]}" for host in hosts}
    for host in hosts:
        for group in host.groups:
            children.setdefault(group, {"hosts": {}})["hosts"][names[host.key]] = None
    return {"all": {"hosts": {names[host.key]: host.variables() for host in hosts}, "children": children}}


def inventory(url: str, folder: pathlib.Path) -> list[Row]:
    """Against a static inventory with the same hosts, groups and variables."""
    source = folder / "bench.vm_nics.yml"
    source.write_text(f"plugin: vmops.external_dhcp.vm_nics\nrecord: {url}\n")
    static = folder / "static.yml"
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(TREE), "ANSIBLE_LOCALHOST_WARNING": "false"}
    programs = pathlib.Path(sys.executable).parent

    def wall(*command: str) -> float:
        begun = time.monotonic()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment, cwd=folder, text=True)
        assert f"hosts ({COUNT})" in done.stdout
        return time.monotonic() - begun

    with static.open("w") as file:
        yaml.dump(as_static(url), file, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper))
    hosts = [str(programs / "ansible"), "all", "--list-hosts", "-i"]
    base = wall(*hosts, str(static))
    ours = wall(*hosts, str(source))
    return [
        Row(f"static YAML inventory of {COUNT} VMs", base, 999),
        Row(f"the same from the plugin vm_nics: {ours / base:.2f} times", ours, 2 * base),
    ]


def main() -> int:
    sys.path.insert(0, str(TREE))
    spec = importlib.util.spec_from_file_location("database_rig", ROOT / "tests" / "rigs" / "database" / "database_rig.py")
    assert spec and spec.loader
    rig = importlib.util.module_from_spec(spec)
    sys.modules["database_rig"] = rig
    spec.loader.exec_module(rig)
    base = pathlib.Path(os.environ.get("VMOPS_RIG_DIR", rig.librig_server.DEFAULT_RIG_DIR))
    base.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []

    def show(more: list[Row]) -> None:
        rows.extend(more)
        for row in more:
            print(row, flush=True)

    with tempfile.TemporaryDirectory(prefix="it-bench-", suffix="-database", dir=base) as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        url = f"sqlite:///{folder}/record.db"
        show(on("SQLite", url))
        show(inventory(url, folder))
        show(many(folder))
        for kind, server in (
            ("PostgreSQL", rig.PostgresServer(folder / "postgresql")),
            ("MariaDB", rig.MariaServer(folder / "mariadb")),
        ):
            try:
                server.create()
                show(on(kind, server.url))
            finally:
                server.remove()
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} CPUs, load {load:.1f}, Python {sys.version.split()[0]}")
    return 0 if all(row.good for row in rows) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4]))
    else:
        sys.exit(main())
