# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One play over four hypervisors, of which one accepts connections and never answers, and one refuses them."""

from __future__ import annotations

import contextlib
import datetime
import os
import pathlib
import re
import socket
import subprocess
import sys
import typing as t

import pytest
import yaml

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import journal
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import NicFacts, VmFacts
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.tests.integration.somebody import Somebody, on_vcenter, on_xapi

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import LookNote
    from ansible_collections.vmops.external_dhcp.tests.integration.databases import Place

ROOT = pathlib.Path(__file__).resolve().parents[2]
#: Six with `make bench`; each takes ten seconds of a core.
TICKS = int(os.environ.get("VMOPS_TEST_TICKS", "1"))
MAX_RETRY = 10
#: Seconds that a module waits for the silent one.
PATIENCE = 4.0
HEALTHY, AWAY = ("xen", "vcenter"), ("refusing", "silent")


@pytest.fixture(scope="module")
def healthy() -> t.Iterator[list[Somebody]]:
    """Each with a VM that never has an address, so that every tick has something to ask."""
    with on_xapi() as xen, on_vcenter("itfour") as vcenter:
        for one in (xen, vcenter):
            one.make("waiting")
        yield [xen, vcenter]


@pytest.fixture(scope="module")
def away() -> t.Iterator[dict[str, dict[str, t.Any]]]:
    """How to reach the two that are not to be reached."""
    with contextlib.ExitStack() as stack:
        silent, refusing = (stack.enter_context(socket.socket()) for _unused in AWAY)
        for one in (silent, refusing):
            one.bind(("127.0.0.1", 0))
        silent.listen(100)  # the kernel accepts; nobody reads
        account = {"username": "u", "password": "p", "host": "127.0.0.1", "connect_timeout": PATIENCE}
        yield {
            "refusing": {"type": "vmware", "port": refusing.getsockname()[1], **account},
            "silent": {"type": "xenserver", "port": silent.getsockname()[1], **account},
        }


class Ticks:
    """Runs of the playbook, and what the record then says of each hypervisor's last look."""

    def __init__(self, url: str, healthy: list[Somebody], away: dict[str, dict[str, t.Any]], folder: pathlib.Path) -> None:
        self.url, self.folder = url, folder
        hosts = {name: {"hypervisor": reach} for name, reach in away.items()}
        for one in healthy:
            name, reach = one.places[0]
            hosts[name] = {"hypervisor": reach, "shared_networks": list(one.networks)}
        for variables in hosts.values():
            variables.update(external_dhcp_record=url, vm_ip_poll_interval=1, vm_ip_poll_max_retry=MAX_RETRY)
        (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
        self.store = RecordStore(Database(url))
        self.store.database.prepare()
        for number, name in enumerate(AWAY):
            nic = NicFacts(0, f"02:16:3e:99:00:0{number}", "corp")
            self.store.enter(name, [VmFacts("known", f"known-{name}", (nic,), True)], max_tries=MAX_RETRY)

    def run(self) -> str:
        command = [
            str(pathlib.Path(sys.executable).parent / "ansible-playbook"),
            "-i",
            "hosts.yml",
            "vmops.external_dhcp.tick_vm_ips",
        ]
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build" / "collections"),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
        }
        done = subprocess.run(
            command, env=environment, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        assert done.returncode == 2, done.stdout
        return done.stdout

    def looks(self) -> dict[str, t.Any]:
        return {note.name: note for note in journal.looks(self.store.database)}

    def tries_left(self) -> dict[str, int]:
        return {nic.hypervisor_name: nic.tries_left for nic in self.store.nics()}


def ended(note: LookNote) -> datetime.datetime:
    return note.looked_at + datetime.timedelta(seconds=note.seconds)


def test_ticks_make_all_looks_that_can_be_made(
    place: Place, healthy: list[Somebody], away: dict[str, dict[str, t.Any]], tmp_path: pathlib.Path
) -> None:
    ticks = Ticks(place.url, healthy, away, tmp_path)
    made = dict.fromkeys((*HEALTHY, *AWAY), 0)
    before: dict[str, t.Any] = {}
    print(f"\n{place.kind}: seconds of the look, or why there was none")
    for tick in range(1, TICKS + 1):
        output = ticks.run()
        looks = ticks.looks()
        print(
            f"  tick {tick}  "
            + "  ".join(f"{name} {'' if looks[name].problem else 'looked '}{looks[name].seconds:.1f} s" for name in made)
        )
        assert "skipped:" not in output
        failed = set(re.findall(r"^(\w+) +: .* failed=1", output, re.MULTILINE))
        assert failed == set(AWAY), output
        for name in made:
            note = looks[name]
            assert name not in before or note.looked_at > before[name].looked_at, "each was tried in each tick"
            made[name] += note.problem is None
        # Who answers is done while the silent one is still waited for.
        assert looks["silent"].seconds >= PATIENCE
        for name in HEALTHY:
            assert ended(looks[name]) < ended(looks["silent"])
        before = looks
    assert made == {"xen": TICKS, "vcenter": TICKS, "refusing": 0, "silent": 0}
    assert ticks.tries_left() == {
        "xen": MAX_RETRY - TICKS,
        "vcenter": MAX_RETRY - TICKS,
        "refusing": MAX_RETRY,
        "silent": MAX_RETRY,
    }
    print(f"  looks made: {made}; tries left: {ticks.tries_left()}")
    ticks.store.database.close()
