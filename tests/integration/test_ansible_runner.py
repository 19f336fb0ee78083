# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Scheduled looks as AWX runs them: ansible-runner in three parts, a job in two slices of one hypervisor each, the record in PostgreSQL.

VMOPS_TEST_IMAGE names an image of ee/ with this collection: then the second part, which AWX has done in a container, is done in one by podman.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.lock import SCOPE_WATCH, PollLock
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.tests.integration.watching import until

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/rigs/xapi"), str(ROOT / "tests/rigs/database")]

import database_rig
from xapi_rig.rigging import Rig

IMAGE = os.environ.get("VMOPS_TEST_IMAGE")
PLAYBOOK = "tick_vm_ips.yml"
WATCH = 7
LIMIT = 120  # seconds after which something that does not come is an error


@dataclasses.dataclass
class Slice:
    """The part of a job that looks at one hypervisor: a folder as AWX gives it to ansible-runner, and the pool with its VM."""

    folder: pathlib.Path
    name: str
    rig: Rig
    vm: t.Any

    def prepare(self, record: str, number: int) -> None:
        shutil.copytree(ROOT / "awx/project", self.folder / "project")
        (self.folder / "env").mkdir()
        (self.folder / "inventory").mkdir()
        known = self.rig.description()
        # Where the credential types of configure_awx put them
        secrets = {f"EXTERNAL_DHCP_{self.name.upper()}_{key.upper()}": known.pop(key) for key in ("username", "password")}
        looked_up = {
            key: f"{{{{ lookup('ansible.builtin.env', 'EXTERNAL_DHCP_{self.name.upper()}_{key.upper()}') }}}}"
            for key in ("username", "password")
        }
        variables = {"hypervisor": {**known, **looked_up}, "shared_networks": ["corp-vlan120"]}
        self.write("inventory/hosts.json", {"all": {"hosts": {self.name: variables}}})
        self.write("env/extravars", {"vm_ip_poll_watch": WATCH, "vm_ip_poll_syslog": False})
        environment = {
            **secrets,
            "EXTERNAL_DHCP_RECORD": record,
            "JOB_ID": str(number),
            "AWX_PRIVATE_DATA_DIR": str(self.folder),
            "ANSIBLE_NOCOLOR": "1",
        }
        if IMAGE is None:
            environment["ANSIBLE_COLLECTIONS_PATH"] = os.environ["ANSIBLE_COLLECTIONS_PATH"]
        self.write("env/envvars", environment)

    def write(self, name: str, value: t.Any) -> None:
        (self.folder / name).write_text(json.dumps(value))

    @contextlib.contextmanager
    def run(self, ident: str) -> t.Iterator[subprocess.Popen[str]]:
        """One run of the job: what AWX sends, what an execution node does with it, and what AWX makes of what comes back."""
        runner = f"{shlex.quote(sys.executable)} -m ansible_runner"
        worker = f"{runner} worker --private-data-dir {self.folder.with_name(f'{self.name}-node-{ident}')}"
        if IMAGE is not None:
            # The folder has the certificate of the pool too.
            share = f"--network host --user root --volume {self.folder.parent}:{self.folder.parent}"
            worker = f"podman run --rm --interactive {share} {IMAGE} ansible-runner worker --private-data-dir /runner"
        command = (
            f"set -o pipefail; {runner} transmit {self.folder} --playbook {PLAYBOOK} --ident {ident}"
            f" | {worker} | {runner} process {self.folder} --ident {ident}"
        )
        with subprocess.Popen(["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
            try:
                yield run
            finally:
                run.kill()

    def result(self, ident: str) -> dict[str, t.Any]:
        """What the look of this run said, from the events that AWX would keep."""
        events = [json.loads(file.read_text()) for file in (self.folder / "artifacts" / ident / "job_events").glob("*.json")]
        (result,) = [
            event["event_data"]["res"]
            for event in events
            if event["event"] == "runner_on_ok" and event["event_data"]["resolved_action"] == "vmops.external_dhcp.vm_ip_fetch"
        ]
        return result


@pytest.fixture(name="record")
def fixture_record(tmp_path_factory) -> t.Iterator[str]:
    folder = tmp_path_factory.mktemp("it-runner-database")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o755)  # the server has an account of its own
    server = database_rig.PostgresServer(folder / "postgresql")
    try:
        server.create()
        yield server.url
    finally:
        server.remove()


@pytest.fixture(name="slices")
def fixture_slices(record, tmp_path) -> t.Iterator[list[Slice]]:
    with contextlib.ExitStack() as stack:
        slices = []
        for number, name in enumerate(("pool1", "pool2"), 1):
            folder = tmp_path / name
            folder.mkdir()
            rig = stack.enter_context(Rig(tmp_path / f"{name}-rig").start())
            vm = rig.vm(f"web{number}")
            rig.power(vm, "start")
            slices.append(Slice(folder, name, rig, vm))
            slices[-1].prepare(record, 100 + number)
        yield slices
        for part in slices:
            assert part.rig.pool.violations == []


def test_three_looks_in_two_slices_that_listen_side_by_side(record, slices) -> None:
    store = RecordStore(Database(record))
    store.database.prepare()

    def job_that_listens_to(part: Slice) -> str | None:
        lock = PollLock(store.database, part.name, SCOPE_WATCH)
        holder = lock.holder() if lock.watched() else None
        return holder and holder.job

    def addresses() -> list[str | None]:
        return [nic.ip4_address for nic in sorted(store.nics(), key=lambda nic: nic.vm_name)]

    for tick in (1, 2, 3):
        with contextlib.ExitStack() as stack:
            runs = [stack.enter_context(part.run(f"tick{tick}")) for part in slices]
            # Both at the same time, each under the lock of its hypervisor
            until(lambda: [job_that_listens_to(part) for part in slices] == ["101", "102"], LIMIT)
            wanted = [f"10.99.{number}.{tick}" for number, _part in enumerate(slices)]
            for part, address in zip(slices, wanted):
                part.rig.pool.agent(part.vm, {"0/ip": address})
            until(lambda wanted=wanted: addresses() == wanted, LIMIT)
            outputs = [run.communicate(timeout=LIMIT)[0] for run in runs]
        assert [run.returncode for run in runs] == [0, 0], outputs
        for part, output in zip(slices, outputs):
            assert re.search(rf"^{part.name} .* unreachable=0 .*failed=0 ", output, re.M), output
            assert "rig-password" not in output
        found = [[nic["address"] for nic in part.result(f"tick{tick}")["found"]] for part in slices]
        assert found == [[address] for address in wanted]
    told = [(event.vm_name, event.type.rpartition("IP.")[2], event.address) for event in store.events()]
    assert [event for event in told if event[0] == "web1"] == [
        ("web1", "FETCHED", "10.99.0.1"),
        ("web1", "CHANGED", "10.99.0.2"),
        ("web1", "CHANGED", "10.99.0.3"),
    ]
    assert len(told) == 6
    store.database.close()
    for part in slices:
        for file in (part.folder / "artifacts").rglob("*"):
            if file.is_file() and file.name != "command":
                assert "rig-password" not in file.read_text(errors="replace"), file
