# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_ip_events
short_description: Addresses of VMs that were found, changed, lost or given up, from the NIC record
description:
  - Reads the events that M(vmops.external_dhcp.vm_ip_fetch) and M(vmops.external_dhcp.vm_nic_record) write into the record, as
    they come.
  - With O(cursor_file) it goes on after a restart where it stopped, so that no event is missed. An event may then be delivered
    a second time; its C(id) tells.
  - A record that was made anew under the same URL, or was restored from an older copy, is noticed and logged. All events of a new
    one are delivered, and of a restored one those that are younger than the last one delivered.
  - While the record cannot be reached it tries again, with growing pauses.
  - Each event is a dictionary with C(id), C(type), C(time), C(hypervisor_name), C(vm_name), C(vm_id), C(device), C(mac),
    C(network), C(address), C(previous_address), C(source), C(reason) and C(message).
  - Braces in names and messages are replaced by question marks, because they come from other people's systems and a rulebook
    hands them to Ansible, which would take them for a template.
options:
  record:
    description:
      - URL of the record, as O(vmops.external_dhcp.vm_ip_fetch#module:record).
      - If not set, the environment variable E(EXTERNAL_DHCP_RECORD), then a SQLite file of the user.
    type: str
  interval:
    description: Seconds between two readings of the record.
    type: float
    default: 5
  types:
    description: Only events of these types; all if not set.
    type: list
    elements: str
  hypervisor_name:
    description: Only events of VMs of these hypervisors; of all if not set.
    type: list
    elements: str
  cursor_file:
    description:
      - A file that keeps the number of the last event delivered, and which record it was in. It is written when the source
        starts, so that events which come while it is down are delivered later.
      - If not set, nothing is kept.
    type: str
  start:
    description: Where to begin without a cursor, V(now) with the next event, or V(beginning) with the oldest in the record.
    type: str
    choices: [now, beginning]
    default: now
"""

EXAMPLES = r"""
- vmops.external_dhcp.vm_ip_events:
    types: [EXTERNAL.DHCP.VM.IP.FETCHED, EXTERNAL.DHCP.VM.IP.CHANGED]
    cursor_file: /var/lib/eda/vm_ip_events.cursor
"""

import asyncio
import datetime
import logging
import os
import sys
import tempfile
import typing as t
from pathlib import Path

# The rulebook engine runs this file as a script that knows of no collection. Not resolved: in a checkout that is linked
# into a collections folder, resolving would lead out of it.
_COLLECTIONS = next((str(p.parent) for p in Path(__file__).absolute().parents if p.name == "ansible_collections"), None)
if _COLLECTIONS is not None and _COLLECTIONS not in sys.path:
    sys.path.append(_COLLECTIONS)

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.errors import RecordError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import EVENT_TYPES
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.results import event_result
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore

BATCH = 500
LONGEST_PAUSE = 60.0  # seconds between attempts to reach the record
_KNOWN = ("record", "interval", "types", "hypervisor_name", "cursor_file", "start")

logger = logging.getLogger("vmops.external_dhcp.vm_ip_events")


class ArgumentError(ValueError):
    """An argument of the source that cannot be used."""


class EventFeed:
    """The events after the last one delivered. Blocking: the source calls it in a thread."""

    def __init__(self, args: dict[str, t.Any]) -> None:
        self.types = _words(args, "types")
        self.hypervisors = _words(args, "hypervisor_name")
        unknown = sorted(set(self.types or ()) - set(EVENT_TYPES))
        if unknown:
            raise ArgumentError(f"types has {unknown[0]!r}: use {', '.join(EVENT_TYPES)}")
        self.start = args.get("start") or "now"
        if self.start not in ("now", "beginning"):
            raise ArgumentError(f"start is {self.start!r}: use now or beginning")
        self.cursor_file = Path(args["cursor_file"]) if args.get("cursor_file") else None
        self.store = RecordStore(Database(args.get("record") or os.environ.get("EXTERNAL_DHCP_RECORD")))
        self.cursor: int | None = None
        self.record_id: str | None = None  # of the record that the cursor counts in
        self.at: datetime.datetime | None = None  # time of the last event delivered
        self._times: dict[int, datetime.datetime] = {}
        self._checked = False
        self._load_cursor()

    def next_events(self) -> list[dict[str, t.Any]]:
        """At most BATCH events, the oldest first. Raises RecordError."""
        if not self.store.database.exists():
            if self.cursor is None:
                self._keep(0)  # whatever it holds once it is there is new
            return []
        self._same_record()
        if self.cursor is None:
            # Kept at once: what comes while the source is down must not be taken for what was there before it.
            self._keep(self.store.last_event_id() if self.start == "now" else 0)
        found = self.store.events(after=self.cursor, types=self.types, hypervisor_names=self.hypervisors, limit=BATCH)
        self._times = {t.cast(int, event.id): event.at for event in found}
        return [{key: _harmless(value) for key, value in event_result(event).items()} for event in found]

    def delivered(self, event_id: int) -> None:
        """Remembers the event, so that it does not come again."""
        self.at = self._times.get(event_id, self.at)
        self._keep(event_id)

    def _same_record(self) -> None:
        """Events below the cursor would never come: of a record that was made anew, or was restored from a copy."""
        record_id = self.store.record_id()
        if self.cursor is None:
            self.record_id = record_id
            return
        if self.record_id is not None and record_id != self.record_id:
            logger.warning("%s was made anew: all its events are delivered", self.store.database.where)
            self.record_id, self.at = record_id, None
            self._keep(0)
        elif self._went_back():
            self.record_id = record_id
            logger.warning(
                "%s was restored from a copy older than event %d: events written since %s are delivered",
                self.store.database.where, self.cursor, self.at or "now",
            )  # fmt: skip
            last = self.store.last_event_id()
            self._keep(last if self.at is None else self.store.last_event_until(self.at))
        elif self.record_id is None:
            self.record_id = record_id
        self._checked = True

    def _went_back(self) -> bool:
        if self.store.last_event_id() < t.cast(int, self.cursor):
            return True
        if self._checked or self.at is None:
            return False
        # Events may have come since, so that their number tells nothing: is the last one delivered still the same?
        same = self.store.events(after=t.cast(int, self.cursor) - 1, limit=1)
        return bool(same) and same[0].id == self.cursor and same[0].at != self.at

    def _keep(self, event_id: int) -> None:
        self.cursor = event_id
        if self.cursor_file is None:
            return
        words = [str(event_id), self.record_id or "-", self.at.isoformat() if self.at else "-"]
        handle, name = tempfile.mkstemp(dir=self.cursor_file.parent, prefix=self.cursor_file.name)
        with os.fdopen(handle, "w") as file:
            file.write(" ".join(words) + "\n")
        os.replace(name, self.cursor_file)

    def close(self) -> None:
        self.store.database.close()

    def _load_cursor(self) -> None:
        """Number of the last event delivered, the record's own id and the event's time; the number alone is enough."""
        if self.cursor_file is None:
            return
        if not self.cursor_file.parent.is_dir():
            raise ArgumentError(f"cursor_file is {self.cursor_file}: its folder does not exist")
        try:
            words = self.cursor_file.read_text().split()
        except FileNotFoundError:
            return
        words += ["-"] * (3 - len(words))
        try:
            self.cursor = int(words[0])
            self.record_id = None if words[1] == "-" else words[1]
            self.at = None if words[2] == "-" else datetime.datetime.fromisoformat(words[2])
        except ValueError:
            raise ArgumentError(f"cursor_file {self.cursor_file} does not hold the number of an event: remove it") from None


async def main(queue: asyncio.Queue[dict[str, t.Any]], args: dict[str, t.Any]) -> None:
    """Entry point of the rulebook engine; ends when it is cancelled."""
    unknown = sorted(set(args) - set(_KNOWN))
    if unknown:
        raise ArgumentError(f"there is no argument {unknown[0]!r}: use {', '.join(_KNOWN)}")
    interval = float(args.get("interval") or 5)
    if interval <= 0:
        raise ArgumentError(f"interval is {interval}: it must be above 0")
    feed = EventFeed(args)
    pause = interval
    try:
        while True:
            try:
                found = await asyncio.to_thread(feed.next_events)
            except RecordError as error:
                pause = min(pause * 2, LONGEST_PAUSE)
                logger.warning("%s; next attempt in %.0f s", error, pause)
                await asyncio.sleep(pause)
                continue
            pause = interval
            for event in found:
                await queue.put(event)
                await asyncio.to_thread(feed.delivered, event["id"])
            if len(found) < BATCH:
                await asyncio.sleep(interval)
    finally:
        feed.close()


def _words(args: dict[str, t.Any], name: str) -> list[str] | None:
    value = args.get(name)
    if value is None:
        return None
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ArgumentError(f"{name} must be a list of texts")
    return words


def _harmless(value: t.Any) -> t.Any:
    return value.replace("{", "?").replace("}", "?") if isinstance(value, str) else value


if __name__ == "__main__":
    # Prints the events, to see what there is: python vm_ip_events.py [URL]
    class Printer:
        async def put(self, event: dict[str, t.Any]) -> None:
            print(event, flush=True)

    asyncio.run(main(Printer(), {"record": sys.argv[1] if len(sys.argv) > 1 else None, "start": "beginning"}))  # type: ignore[arg-type]
