# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.


"""What a pool says by itself: XAPI's event.from for VMs, their guest metrics and their VIFs."""

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

    Summary = tuple[t.Any, t.Any]

# The fields of guest metrics that are about addresses; others, such as memory, change often.
_ADDRESS_FIELDS = ("networks", "PV_drivers_version")


class XenEvents(Events):
    """See api.Events. XAPI reports an object's newest state, once for all changes since the last report."""

    sources: tuple[str, ...] = (SOURCE_GUEST_METRICS,)
    free = True

    def __init__(self, session: Session, shared: Picture) -> None:
        """shared: the picture that the inventory and the addresses use."""
        self._session = session
        self._shared = shared

    def listen(self, stop: threading.Event, look_up: float) -> Iterator[list[Hint]]:
        """See api.Events. It has a picture of its own: its looks wait for news, and the other parts must not wait with it."""
        picture = Picture(self._session, WATCHED)
        picture.refresh()
        known = {ref: _summary(picture, record) for ref, record in picture.records["vm"].items() if is_vm(record)}
        yield [Hint(picture.records["vm"][ref]["uuid"].lower(), HINT_HERE) for ref, (_vm, guest) in known.items() if guest]
        guests = _guests(picture)
        while not stop.is_set():
            changed = picture.refresh(wait=look_up)
            if any(cls == "vm" for cls, _ref in changed):
                guests = _guests(picture)
            refs = {ref for cls, ref in changed if cls == "vm"}
            refs |= {guests[ref] for cls, ref in changed if cls == "vm_guest_metrics" and ref in guests}
            vifs = [picture.get("vif", ref) for cls, ref in changed if cls == "vif"]
            refs |= {vif["VM"] for vif in vifs if vif is not None}
            hints = self._hints(picture, refs, known)
            self._shared.just_looked = False  # a reading that these hints lead to needs a new look
            yield hints

    @staticmethod
    def _hints(picture: Picture, refs: set[str], known: dict[str, Summary]) -> list[Hint]:
        """The hints of VMs that differ from what is known: after a new login XAPI reports all VMs, changed or not."""
        hints = []
        gone = [ref for ref in refs if ref in known and picture.get("vm", ref) is None]
        for ref in gone:
            del known[ref]
            hints.append(Hint("", HINT_VM))
        for ref in refs:
            record = picture.get("vm", ref)
            if record is None or not is_vm(record):
                continue
            old, new = known.get(ref, (None, None)), _summary(picture, record)
            known[ref] = new
            if old[0] != new[0]:
                hints.append(Hint(record["uuid"].lower(), HINT_VM))
            if new[1] and old[1] != new[1]:
                hints.append(Hint(record["uuid"].lower(), HINT_GUEST))
        return hints


def _guests(picture: Picture) -> dict[str, str]:
    """The references of VMs by those of their guest metrics."""
    return {record["guest_metrics"]: ref for ref, record in picture.records["vm"].items()}


def _summary(picture: Picture, record: Record) -> Summary:
    """What counts as a change when it differs: of the VM itself, and of its guest (None while the guest says nothing)."""
    vifs = [picture.get("vif", ref) for ref in sorted(record["VIFs"])]
    macs = tuple((vif["device"], vif["MAC"], vif["network"]) for vif in vifs if vif is not None)
    guest = picture.get("vm_guest_metrics", record["guest_metrics"])
    told = None if guest is None or not guest.get("networks") else tuple(repr(guest.get(name)) for name in _ADDRESS_FIELDS)
    # With the reference: a VM that was started again has new guest metrics, perhaps with the same address.
    return (record["name_label"], record["power_state"], macs), told and hash((record["guest_metrics"], *told))
