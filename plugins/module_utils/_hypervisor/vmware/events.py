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
# A first answer with thousands of objects would outlast the time limits of proxies.
_OBJECTS_IN_ANSWER = 250
# How the filter gets from a folder to the VMs below it, those in vApps too.
_PATHS_DOWN = {
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
        known: dict[str, _Known] = {}
        first = True

        def wait() -> t.Any:
            nonlocal collector, version
            if collector is None or collector._stub is not session.stub:
                collector, version = self._filter(session), ""
            options = vim.PropertyCollector.WaitOptions(maxWaitSeconds=seconds, maxObjectUpdates=_OBJECTS_IN_ANSWER)
            return collector.WaitForUpdatesEx(version, options)

        while not stop.is_set():
            update = session.run(wait)
            if update is None:
                yield []
                continue
            # After a new login all VMs are reported again, and one that has gone is not: hence a hint to list them.
            hints = [Hint("", HINT_VM)] if version == "" and not first else []
            version = update.version
            for part in update.filterSet:
                for change in part.objectSet:
                    hints += _hints(change, known, first)
            first = first and bool(update.truncated)  # the rest of a set comes with the next answer
            yield hints

    def _filter(self, session: Session) -> t.Any:
        """A new property collector that reports the VMs that come, change and go below the inventory's root."""
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
            for name, (type_, path, further) in _PATHS_DOWN.items()
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


class _Known:
    """What was last reported of a VM: its own properties, and hashes of what its guest says."""

    def __init__(self) -> None:
        self.values: dict[str, t.Any] = {}
        self.guest: dict[str, int] = {}

    @property
    def id(self) -> str:
        return str(self.values.get(_IDS[0]) or self.values.get(_IDS[1]) or "").lower()


def _hints(change: t.Any, known: dict[str, _Known], first: bool) -> list[Hint]:
    """The hints of one VM's change. first: it belongs to the first set, in which nothing is new."""
    name = change.obj._moId
    if change.kind == "leave":
        known.pop(name, None)
        return [Hint("", HINT_VM)]
    new = name not in known
    vm = known.setdefault(name, _Known())
    vm_changed = guest_changed = False
    for one in change.changeSet:
        if one.name in _GUEST:
            told = _guest_hash(one.val)
            guest_changed = guest_changed or told != vm.guest.get(one.name, 0)
            vm.guest[one.name] = told
        else:
            vm_changed = vm_changed or one.val != vm.values.get(one.name)
            vm.values[one.name] = one.val
    if not vm.id or vm.values.get("config.template"):
        return []
    if first:
        return [Hint(vm.id, HINT_HERE)] if any(vm.guest.values()) else []
    hints = [Hint(vm.id, HINT_VM)] if new or vm_changed else []
    # Nothing can be read of a guest that has stopped reporting.
    return hints + ([Hint(vm.id, HINT_GUEST)] if guest_changed and any(vm.guest.values()) else [])


def _guest_hash(value: t.Any) -> int:
    """A hash of what the guest says; 0 if it says nothing."""
    if not value:
        return 0
    if isinstance(value, str):
        return hash(value) or 1
    nics = tuple((one.macAddress, one.deviceConfigId, tuple(one.ipAddress or ()), _states(one)) for one in value)
    return hash(nics) or 1


def _states(nic: t.Any) -> tuple[t.Any, ...]:
    addresses = nic.ipConfig.ipAddress if nic.ipConfig is not None else ()
    return tuple((one.ipAddress, one.state) for one in addresses or ())
