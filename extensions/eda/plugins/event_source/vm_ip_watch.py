# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_ip_watch
short_description: Addresses of VMs that were found, changed, lost or given up, by listening to hypervisors
version_added: 0.1.0
description:
  - Looks at the hypervisors every O(interval) seconds, as M(vmops.external_dhcp.vm_ip_fetch) does, and listens to them in between, as
    with its option O(vmops.external_dhcp.vm_ip_fetch#module:watch). What it finds goes into the record, and from there to the
    rules, as with M(vmops.external_dhcp.vm_ip_events).
  - One source listens to any number of hypervisors. A hypervisor that cannot be reached is tried again with growing pauses, and disturbs
    no other.
  - Only one source or task at a time listens to a hypervisor, under the lock C(vmIpWatch:<hypervisor>). The others stand by
    and take over within seconds when it ends, however it ends.
  - Every source delivers all events of its hypervisors, whoever found the address, so that none is lost when another takes over. Two
    sources with the same rules each run them. An event's C(id) shows that it is the same.
  - Delivery, cursor and feedback are as with M(vmops.external_dhcp.vm_ip_events).
options:
  hypervisors:
    description:
      - The hypervisors, each as a dictionary with C(name) (its name in the record), C(hypervisor) (how to reach it, as the option
        C(hypervisor) of the modules), and if wanted C(networks) (as O(vmops.external_dhcp.vm_ip_fetch#module:networks)) and
        C(vm_filter) (as O(vmops.external_dhcp.vm_ip_fetch#module:vm_filter)), by which VMs enter the record.
    type: list
    elements: dict
    required: true
  interval:
    description: Seconds between two looks, and between two looks at the same NIC.
    type: int
    default: 180
  max_retry:
    description: Number of failed looks after which a NIC is given up.
    type: int
    default: 10
  recheck_interval:
    description: Seconds after which a look reads a found address again; with V(0) it is read again only after a hint of the hypervisor.
    type: int
    default: 0
  syslog:
    description: Whether events also go to the system's log.
    type: bool
    default: false
  record:
    description: URL of the record, as O(vmops.external_dhcp.vm_ip_fetch#module:record).
    type: str
  types:
    description: Only events of these types; all if not set.
    type: list
    elements: str
  cursor_file:
    description: As O(vmops.external_dhcp.vm_ip_events#module:cursor_file).
    type: str
  start:
    description: Where to begin without a cursor, V(now) with the next event, or V(beginning) with the oldest in the record.
    type: str
    choices: [now, beginning]
    default: now
  feedback:
    description: As O(vmops.external_dhcp.vm_ip_events#module:feedback).
    type: bool
    default: false
"""

EXAMPLES = r"""
- vmops.external_dhcp.vm_ip_watch:
    record: "{{ external_dhcp_record }}"
    cursor_file: /var/lib/eda/vm_ip_watch.cursor
    hypervisors:
      - name: kvm01
        hypervisor: {type: kvm, uri: "qemu+ssh://root@kvm01.example.com/system"}
        networks: [corp-vlan120]
      - name: vcenter
        hypervisor: {type: vmware, host: vcenter.example.com, username: "{{ vcenter_username }}", password: "{{ vcenter_password }}"}
        networks: [corp-vlan120]
"""

import asyncio
import functools
import logging
import sys
import threading
import typing as t
from pathlib import Path

# The rulebook engine runs this file as a script that knows of no collection. Not resolved: in a checkout that is linked
# into a collections folder, resolving would lead out of it.
_COLLECTIONS = next((str(p.parent) for p in Path(__file__).absolute().parents if p.name == "ansible_collections"), None)
if _COLLECTIONS is not None and _COLLECTIONS not in sys.path:
    sys.path.append(_COLLECTIONS)

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.connect import open_hypervisor
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.look import Request
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_nic_record import read_networks
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.watch import Watcher, keep_watching
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import eventlog
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.errors import RecordError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.feed import (
    BATCH,
    ArgumentError,
    Delivery,
    EventFeed,
    database_of,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import PollSettings
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.vm_filter import read_vm_filter

if t.TYPE_CHECKING:
    from collections.abc import Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import Event

LONGEST_PAUSE = 60.0  # seconds between attempts to reach the record
LOOK_SECONDS = 1.0  # between two looks for events that somebody else has written
END_SECONDS = 10.0  # that a listener may take to end
_FEED = ("record", "types", "cursor_file", "start")
_KNOWN = ("hypervisors", "interval", "max_retry", "recheck_interval", "syslog", *_FEED, "feedback")

logger = logging.getLogger("vmops.external_dhcp.vm_ip_watch")


class Listeners:
    """A thread for each hypervisor; wake is called in them when there are events."""

    def __init__(self, args: dict[str, t.Any], wake: t.Callable[[], t.Any]) -> None:
        """Raises ArgumentError."""
        self.stop = threading.Event()
        self._wake = wake
        self._log = eventlog.write if args.get("syslog") else list
        self.database = database_of(args)
        self.watchers = [Watcher(RecordStore(self.database), *one, self._told, self.stop) for one in _hypervisors(args)]
        self.names = [watcher.request.hypervisor_name for watcher in self.watchers]
        self._threads = [
            threading.Thread(target=self._work, args=(watcher,), name=watcher.request.hypervisor_name, daemon=True)
            for watcher in self.watchers
        ]

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Ends the threads; one that hangs is left running."""
        self.stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(END_SECONDS)
        self.database.close()

    def _work(self, watcher: Watcher) -> None:
        name = watcher.request.hypervisor_name
        keep_watching(watcher, lambda text: logger.warning("%s: %s", name, text))

    def _told(self, events: Sequence[Event]) -> None:
        self._log(events)
        if events:
            self._wake()


def _hypervisors(args: dict[str, t.Any]) -> t.Iterator[tuple[t.Callable[[], t.Any], Request]]:
    """How to connect, and what to look for. Messages show only the name of an entry, because it holds passwords."""
    entries = args.get("hypervisors")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ArgumentError("hypervisors must be a list of dictionaries with name and hypervisor")
    numbers = {name: _number(args, name, *limits) for name, limits in _NUMBERS.items()}
    seen = set()
    for number, entry in enumerate(entries):
        name = entry.get("name")
        if not isinstance(name, str) or not name or name in seen:
            raise ArgumentError(f"hypervisors[{number}].name must be a name that no other has")
        seen.add(name)
        unknown = sorted(set(map(str, entry)) - {"name", "hypervisor", "networks", "vm_filter"})
        if unknown:
            raise ArgumentError(f"hypervisors has {unknown[0]!r} for {name}: use name, hypervisor, networks, vm_filter")
        description = entry.get("hypervisor")
        if not isinstance(description, dict) or description.get("type") not in _defaults.HYPERVISOR_TYPES:
            raise ArgumentError(
                f"hypervisors: hypervisor of {name} must be a dictionary whose type is one of {', '.join(_defaults.HYPERVISOR_TYPES)}"
            )
        try:
            networks = read_networks(entry.get("networks"))
            vm_filter = read_vm_filter(entry.get("vm_filter"), description["type"])
        except OptionError as error:
            raise ArgumentError(f"hypervisors: {name}: {error}") from None
        settings = PollSettings(
            interval=numbers["interval"],
            max_retry=numbers["max_retry"],
            recheck_interval=numbers["recheck_interval"],
            relook_interval=3600,
        )
        yield (
            functools.partial(open_hypervisor, description),
            Request(name, settings, reconcile=True, networks=networks, vm_filter=vm_filter),
        )


# Default, and the least.
_NUMBERS = {"interval": (180, 1), "max_retry": (10, 1), "recheck_interval": (0, 0)}


def _number(args: dict[str, t.Any], name: str, default: int, least: int) -> int:
    value = args.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ArgumentError(f"{name} is {value!r}: it must be a number, at least {least}")
    return value


async def main(queue: asyncio.Queue[dict[str, t.Any]], args: dict[str, t.Any]) -> None:
    """Entry point of the rulebook engine; once its arguments were accepted, it ends only when it is cancelled."""
    unknown = sorted(set(args) - {*_KNOWN, "eda_feedback_queue"})  # the latter is the engine's
    if unknown:
        raise ArgumentError(f"there is no argument {unknown[0]!r}: use {', '.join(_KNOWN)}")
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    listeners = Listeners(args, lambda: loop.call_soon_threadsafe(news.set))
    feed = EventFeed({**{name: args.get(name) for name in _FEED}, "hypervisor_name": listeners.names})
    delivery = Delivery(queue, args.get("eda_feedback_queue"))
    pause = LOOK_SECONDS
    prepared = False
    try:
        while True:
            news.clear()
            try:
                if not prepared:
                    await asyncio.to_thread(listeners.database.prepare)
                found = await asyncio.to_thread(feed.next_events)
                if not prepared:
                    listeners.start()  # with the cursor in its place, what they find is delivered
                    prepared = True
            except RecordError as error:
                pause = min(pause * 2, LONGEST_PAUSE)
                logger.warning("%s; next attempt in %.0f s", error, pause)
                await asyncio.sleep(pause)
                continue
            pause = LOOK_SECONDS
            for event in found:
                await delivery.deliver(event)
                await asyncio.to_thread(feed.delivered, event["id"])
            if len(found) < BATCH:
                try:
                    await asyncio.wait_for(news.wait(), LOOK_SECONDS)
                except TimeoutError:
                    pass
    finally:
        await asyncio.shield(asyncio.to_thread(listeners.end))
        feed.close()
