# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.


"""What a vCenter or ESXi host says by itself: a property filter on all VMs, and WaitForUpdatesEx."""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import SOURCE_TOOLS
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    HINT_GUEST,
    HINT_HERE,
    HINT_VM,
    Events,
    Hint,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.pyvmomi_import import vim
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session

if t.TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.inventory import VMwareInventory

_PATHS = (
    "name",
    "config.template",
    "config.instanceUuid",
    "config.uuid",
    "config.changeVersion",
    "runtime.powerState",
    "guest.net",
    "guest.ipAddress",
)
_GUEST = ("guest.net", "guest.ipAddress")
_IDS = ("config.instanceUuid", "config.uuid")
# Objects in one answer: a first set of thousands in one would outlast the time limits of proxies.
_MOST = 250
# From a folder to the VMs below it, those in vApps too.
_WAYS = {
    "folders": ("Folder", "childEntity", ("folders", "datacenters", "vapps", "pools")),
    "datacenters": ("Datacenter", "vmFolder", ("folders",)),
    "vapps": ("VirtualApp", "vm", ()),
    "pools": ("VirtualApp", "resourcePool", ("vapps", "pools")),
}


class VMwareEvents(Events):
    """See api.Events."""

    sources: tuple[str, ...] = (SOURCE_TOOLS,)
    free = True

    def __init__(self, session: Session, inventory: VMwareInventory) -> None:
        self._endpoint = session.endpoint
        self._inventory = inventory

    def listen(self, stop: threading.Event, look_up: float) -> Iterator[list[Hint]]:
        """See api.Events. In a session of its own: two waiting calls of one session may spoil each other's updates."""
        session = Session(self._endpoint)
        try:
            yield from self._updates(session, stop, max(1, int(look_up)))
        finally:
            session.close()

    def _updates(self, session: Session, stop: threading.Event, seconds: int) -> Iterator[list[Hint]]:
        collector: t.Any = None
        version = ""
        marks: dict[str, _Mark] = {}
        first = True

        def wait() -> t.Any:
            nonlocal collector, version
            if collector is None or collector._stub is not session.stub:
                collector, version = self._filter(session), ""
            options = vim.PropertyCollector.WaitOptions(maxWaitSeconds=seconds, maxObjectUpdates=_MOST)
            return collector.WaitForUpdatesEx(version, options)

        while not stop.is_set():
            update = session.run(wait)
            if update is None:
                yield []
                continue
            # After a new login all VMs come again: of those that are there only what differs counts, the others have gone.
            hints = [Hint("", HINT_VM)] if version == "" and not first else []
            version = update.version
            for part in update.filterSet:
                for change in part.objectSet:
                    hints += _hints(change, marks, first)
            first = first and bool(update.truncated)  # what does not fit into one answer comes with the next
            yield hints

    def _filter(self, session: Session) -> t.Any:
        """A property collector of its own that reports the VMs that come, change and go, wherever the inventory looks."""
        kind = vim.PropertyCollector
        collector = session.content.propertyCollector.CreatePropertyCollector()
        ways = [
            kind.TraversalSpec(
                name=name,
                type=getattr(vim, type_),
                path=path,
                skip=False,
                selectSet=[kind.SelectionSpec(name=one) for one in further],
            )
            for name, (type_, path, further) in _WAYS.items()
        ]
        root = self._inventory.root()
        root = (
            session.content.rootFolder
            if root is None
            else getattr(vim, type(root).__name__.rpartition(".")[2])(root._moId, session.stub)
        )
        spec = kind.FilterSpec(
            objectSet=[kind.ObjectSpec(obj=root, skip=True, selectSet=ways)],
            propSet=[kind.PropertySpec(type=vim.VirtualMachine, pathSet=list(_PATHS))],
            reportMissingObjectsInResults=True,
        )
        collector.CreateFilter(spec, False)
        return collector


class _Mark:
    """What is known of a VM: its properties but the guest's, and a sum of what its guest says."""

    def __init__(self) -> None:
        self.values: dict[str, t.Any] = {}
        self.guest: dict[str, int] = {}

    @property
    def id(self) -> str:
        return str(self.values.get(_IDS[0]) or self.values.get(_IDS[1]) or "").lower()


def _hints(change: t.Any, marks: dict[str, _Mark], first: bool) -> list[Hint]:
    """Of one VM. first: of the first set, in which nothing is news."""
    name = change.obj._moId
    if change.kind == "leave":
        marks.pop(name, None)
        return [Hint("", HINT_VM)]
    new = name not in marks
    mark = marks.setdefault(name, _Mark())
    vm_changed = guest_changed = False
    for one in change.changeSet:
        if one.name in _GUEST:
            told = _sum(one.val)
            guest_changed = guest_changed or told != mark.guest.get(one.name, 0)
            mark.guest[one.name] = told
        else:
            vm_changed = vm_changed or one.val != mark.values.get(one.name)
            mark.values[one.name] = one.val
    if not mark.id or mark.values.get("config.template"):
        return []
    if first:
        return [Hint(mark.id, HINT_HERE)] if any(mark.guest.values()) else []
    hints = [Hint(mark.id, HINT_VM)] if new or vm_changed else []
    # A guest that says nothing any more has nothing to be read.
    return hints + ([Hint(mark.id, HINT_GUEST)] if guest_changed and any(mark.guest.values()) else [])


def _sum(value: t.Any) -> int:
    """0 where the guest says nothing; else a number that differs when it says something else."""
    if not value:
        return 0
    if isinstance(value, str):
        return hash(value) or 1
    nics = tuple((one.macAddress, one.deviceConfigId, tuple(one.ipAddress or ()), _states(one)) for one in value)
    return hash(nics) or 1


def _states(nic: t.Any) -> tuple[t.Any, ...]:
    addresses = nic.ipConfig.ipAddress if nic.ipConfig is not None else ()
    return tuple((one.ipAddress, one.state) for one in addresses or ())
