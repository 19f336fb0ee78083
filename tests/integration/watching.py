# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A look and a watcher at a rig's hypervisor, for the tests of listening; and a watcher in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.connect import open_hypervisor
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.look import Poll, Request, fetch
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.watch import Watcher
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._module.listening import at_work

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Hypervisor
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import NicRecord

_COLLECTIONS = str(pathlib.Path(__file__).absolute().parents[2] / ".build" / "collections")
_CHILD = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from ansible_collections.vmops.external_dhcp.tests.integration.watching import Watched
words = json.loads(sys.argv[2])
site = Watched(words["url"], words["description"], words["networks"])
with site.watcher() as watcher:
    watcher.take_turn(60)
    print("mine", flush=True)
    watcher.listen(120)
"""


class Watched:
    """A record and a hypervisor."""

    def __init__(self, url: str, description: dict[str, t.Any], networks: t.Iterable[str], name: str = "rig") -> None:
        self.url, self.description, self.networks, self.name = url, description, list(networks), name
        self.store = RecordStore(Database(url))
        self.store.database.prepare()

    def connect(self) -> Hypervisor:
        return open_hypervisor({"connect_timeout": 20, **self.description})

    def request(self, **more: t.Any) -> Request:
        return Request(self.name, reconcile=True, networks={name: {} for name in self.networks}, **more)

    def look(self, **more: t.Any) -> Poll:
        return fetch(self.store, self.connect, self.request(**more))

    def watcher(self, stop: threading.Event | None = None) -> Watcher:
        return Watcher(RecordStore(Database(self.url)), self.connect, self.request(), stop=stop)

    @contextlib.contextmanager
    def watching(self, seconds: float = 300) -> Iterator[Watcher]:
        """A watcher in a thread of its own, from the moment it listens, for at most so long."""
        stop = threading.Event()
        with at_work(self.watcher(stop), stop, turn=60, listen=seconds, end=60) as watcher:
            yield watcher

    @contextlib.contextmanager
    def elsewhere(self) -> Iterator[subprocess.Popen[str]]:
        """A watcher in another process, once it has its turn."""
        words = {"url": self.url, "description": self.description, "networks": self.networks}
        command = [sys.executable, "-c", _CHILD, json.dumps([_COLLECTIONS, *sys.path]), json.dumps(words)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as child:
            try:
                assert child.stdout is not None and child.stdout.readline() == "mine\n"
                yield child
            finally:
                child.kill()

    @staticmethod
    def listening(watcher: Watcher) -> bool:
        """Whether it has its turn, has subscribed, and has read the VMs since."""
        return watcher.holds_turn() and watcher.known is not None

    def nic(self, name: str) -> NicRecord | None:
        """The first NIC of this VM."""
        return next((nic for nic in self.store.nics(vms=[name]) if nic.device == 0), None)

    def address(self, name: str) -> str | None:
        nic = self.nic(name)
        return None if nic is None else nic.ip4_address

    def events(self) -> list[str]:
        return [
            f"{event.vm_name} {event.type.rpartition('IP.')[2]} {event.address or ''}".strip() for event in self.store.events()
        ]


def until(condition: Callable[[], t.Any], seconds: float = 30) -> float:
    """Waits until it is true; returns how long that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not come"
        time.sleep(0.005)
    return time.monotonic() - began


def record_in(folder: pathlib.Path) -> str:
    return f"sqlite:///{folder}/record.db"
