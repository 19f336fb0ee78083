# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.


"""What a pool says by itself: XAPI's event.from on VMs, their guest metrics and their VIFs."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import SOURCE_GUEST_METRICS
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    HINT_GUEST,
    HINT_HERE,
    HINT_VM,
    Events,
    Hint,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.inventory import is_vm
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import WATCHED, Picture

if t.TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import Record
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import Session

    Marks = tuple[t.Any, t.Any]

# Guest metrics are written for many reasons, memory among them; these tell of addresses.
_TOLD = ("networks", "PV_drivers_version")


class XenEvents(Events):
    """See api.Events. XAPI tells an object's newest state, once for any number of changes that came between two looks."""

    sources: tuple[str, ...] = (SOURCE_GUEST_METRICS,)
    free = True

    def __init__(self, session: Session, shared: Picture) -> None:
        """shared: the picture that lists and readings are made of."""
        self._session = session
        self._shared = shared

    def listen(self, stop: threading.Event, look_up: float) -> Iterator[list[Hint]]:
        """See api.Events. With a picture of its own: a look at it waits, and those of the other parts must not wait with it."""
        picture = Picture(self._session, WATCHED)
        picture.refresh()
        marks = {ref: _marks(picture, record) for ref, record in picture.records["vm"].items() if is_vm(record)}
        yield [Hint(picture.records["vm"][ref]["uuid"].lower(), HINT_HERE) for ref, (_vm, guest) in marks.items() if guest]
        guests = _guests(picture)
        while not stop.is_set():
            changed = picture.refresh(wait=look_up)
            if any(cls == "vm" for cls, _ref in changed):
                guests = _guests(picture)
            refs = {ref for cls, ref in changed if cls == "vm"}
            refs |= {guests[ref] for cls, ref in changed if cls == "vm_guest_metrics" and ref in guests}
            vifs = [picture.get("vif", ref) for cls, ref in changed if cls == "vif"]
            refs |= {vif["VM"] for vif in vifs if vif is not None}
            hints = self._hints(picture, refs, marks)
            self._shared.just_looked = False  # what was seen before this is too old for a reading that it leads to
            yield hints

    @staticmethod
    def _hints(picture: Picture, refs: set[str], marks: dict[str, Marks]) -> list[Hint]:
        """What is other than before. Where all was read anew, after a new login, only that comes out, too."""
        hints = []
        gone = [ref for ref in refs if ref in marks and picture.get("vm", ref) is None]
        for ref in gone:
            del marks[ref]
            hints.append(Hint("", HINT_VM))
        for ref in refs:
            record = picture.get("vm", ref)
            if record is None or not is_vm(record):
                continue
            old, new = marks.get(ref, (None, None)), _marks(picture, record)
            marks[ref] = new
            if old[0] != new[0]:
                hints.append(Hint(record["uuid"].lower(), HINT_VM))
            if new[1] and old[1] != new[1]:
                hints.append(Hint(record["uuid"].lower(), HINT_GUEST))
        return hints


def _guests(picture: Picture) -> dict[str, str]:
    """VMs by their guest metrics."""
    return {record["guest_metrics"]: ref for ref, record in picture.records["vm"].items()}


def _marks(picture: Picture, record: Record) -> Marks:
    """What counts as a change: of the VM itself, and of what its guest says (None while it says nothing)."""
    vifs = [picture.get("vif", ref) for ref in sorted(record["VIFs"])]
    macs = tuple((vif["device"], vif["MAC"], vif["network"]) for vif in vifs if vif is not None)
    guest = picture.get("vm_guest_metrics", record["guest_metrics"])
    told = None if guest is None or not guest.get("networks") else tuple(repr(guest.get(name)) for name in _TOLD)
    # The reference too: a VM that was started again has new guest metrics, perhaps with the same address.
    return (record["name_label"], record["power_state"], macs), told and hash((record["guest_metrics"], *told))
