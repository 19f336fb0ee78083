# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_ip_events
short_description: Addresses of VMs that were found, changed, lost or given up, from the NIC record
version_added: 0.1.0
description:
  - Reads the events that M(vmops.external_dhcp.vm_ip_fetch) and M(vmops.external_dhcp.vm_nic_record) write into the record, as
    they come.
  - With O(cursor_file) the source goes on after a restart where it stopped. An event may then be delivered a second time; its C(id) shows
    that it is the same.
  - Without O(feedback) an event counts as delivered when the engine has taken it to put it through the rules. If ansible-rulebook is
    killed then, running actions of rules that had matched are lost, because they are only in its memory.
  - With O(feedback) an event counts as delivered when the engine has confirmed that it went through the rules. The engine confirms only
    with C(--persistence-id), with which it keeps its work in a database of its own. Then nothing is lost while that database is kept.
  - An action that fails is not run again, by either.
  - A record that was made anew under the same URL, or was restored from an older copy, is noticed and logged. All events of a new
    record are delivered, and of a restored one those that are younger than the last one delivered.
  - While the record cannot be reached, the source tries again with growing pauses.
  - Each event is a dictionary with C(id), C(type), C(time), C(hypervisor_name), C(vm_name), C(vm_id), C(device), C(mac),
    C(network), C(address), C(previous_address), C(source), C(reason) and C(message).
  - Braces in names and messages are replaced by question marks, because they come from other people's systems and a rulebook
    hands them to Ansible, which would take them for a template.
options:
  record:
    description:
      - URL of the record, as O(vmops.external_dhcp.vm_ip_fetch#module:record).
      - If not set, the environment variable E(EXTERNAL_DHCP_RECORD) is used, then a SQLite file of the user.
    type: str
  interval:
    description: Seconds between two readings of the record.
    type: float
    default: 0.5
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
      - A file that keeps the number of the last event delivered, and the id of its record. It is written when the source starts, so
        that events which come while the source is down are delivered later.
      - If not set, the source begins at each start where O(start) says.
    type: str
  feedback:
    description:
      - Whether the engine is asked to confirm each event before the cursor moves on. An event that it does not confirm within
        a minute is delivered again.
      - Needs an ansible-rulebook that supports it, started with C(--persistence-id), and a C(name) for the source.
    type: bool
    default: false
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
import logging
import sys
import typing as t
from pathlib import Path

# The rulebook engine runs this file as a script that knows of no collection. Not resolved: in a checkout that is linked
# into a collections folder, resolving would lead out of it.
_COLLECTIONS = next((str(p.parent) for p in Path(__file__).absolute().parents if p.name == "ansible_collections"), None)
if _COLLECTIONS is not None and _COLLECTIONS not in sys.path:
    sys.path.append(_COLLECTIONS)

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.errors import RecordError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.feed import (
    BATCH,
    ArgumentError,
    Delivery,
    EventFeed,
)

LONGEST_PAUSE = 60.0  # seconds between attempts to reach the record
_KNOWN = ("record", "interval", "types", "hypervisor_name", "cursor_file", "start", "feedback")

logger = logging.getLogger("vmops.external_dhcp.vm_ip_events")


async def main(queue: asyncio.Queue[dict[str, t.Any]], args: dict[str, t.Any]) -> None:
    """Entry point of the rulebook engine; ends when it is cancelled."""
    unknown = sorted(set(args) - {*_KNOWN, "eda_feedback_queue"})  # the latter is the engine's
    if unknown:
        raise ArgumentError(f"there is no argument {unknown[0]!r}: use {', '.join(_KNOWN)}")
    interval = float(args.get("interval") or 0.5)
    if interval <= 0:
        raise ArgumentError(f"interval is {interval}: it must be above 0")
    feed = EventFeed(args)
    delivery = Delivery(queue, args.get("eda_feedback_queue"))
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
                await delivery.deliver(event)
                await asyncio.to_thread(feed.delivered, event["id"])
            if len(found) < BATCH:
                await asyncio.sleep(interval)
    finally:
        feed.close()


if __name__ == "__main__":
    # Prints the events, to see what there is: python vm_ip_events.py [URL]
    class Printer:
        async def put(self, event: dict[str, t.Any]) -> None:
            print(event, flush=True)

    asyncio.run(main(Printer(), {"record": sys.argv[1] if len(sys.argv) > 1 else None, "start": "beginning"}))  # type: ignore[arg-type]
