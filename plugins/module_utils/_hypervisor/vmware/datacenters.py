# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The datacenter of each datastore: file access needs its inventory path, tasks its reference."""

from __future__ import annotations

import threading
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import ObjectSpec, references

if t.TYPE_CHECKING:
    from collections.abc import Iterable

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session


class Datacenter(t.NamedTuple):
    """A datacenter's reference and inventory path, such as F0/DC0."""

    reference: str
    path: str


class Datacenters:
    """Datastores and their datacenters, read once per session and again when an unknown datastore turns up."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._datacenters: dict[str, Datacenter] = {}  # by reference of the datastore
        self._names: dict[str, str] = {}
        self._browsers: dict[str, str] = {}
        self._lock = threading.Lock()

    def learn(self, datastores: Iterable[str]) -> None:
        """Makes sure that these datastores (references) are known."""
        with self._lock:
            if not set(datastores) <= set(self._datacenters):
                self._read()

    def of(self, datastores: Iterable[str]) -> Datacenter | None:
        """The datacenter of a VM on these datastores."""
        return next((self._datacenters[one] for one in datastores if one in self._datacenters), None)

    def named(self, name: str, of_vm: Iterable[str]) -> Datacenter | None:
        """The datacenter of the datastore of this name on which the VM is. of_vm: references of all of the VM's datastores."""
        for reference in of_vm:
            if self._names.get(reference) == name:
                return self._datacenters.get(reference)
        # The list of a VM's datastores may lag behind a migration.
        found = {self._datacenters[r] for r, known in self._names.items() if known == name and r in self._datacenters}
        return found.pop() if len(found) == 1 else None

    def browser(self, name: str, datacenter: str) -> str | None:
        """The browser of the datastore of this name in a datacenter (reference); None if the account may not see it."""
        for reference, known in self._names.items():
            if known == name and self._datacenters.get(reference, ("",))[0] == datacenter:
                return self._browsers.get(reference)
        return None

    def _read(self) -> None:
        view = self._session.view(("Datacenter", "Datastore"))._moId
        data = self._session.retrieve(
            [
                ObjectSpec("Datacenter", ("name", "parent", "datastore"), view=view),
                ObjectSpec("Datastore", ("name", "browser"), view=view),
            ]
        )
        folders = self._folders({d.text("parent") for d in data if d.kind == "Datacenter"} - {""})
        for one in data:
            if one.kind == "Datastore":
                self._names[one.name] = one.text("name")
                self._browsers[one.name] = one.text("browser")
                continue
            path, parent = one.text("name"), one.text("parent")
            while parent in folders and folders[parent][1]:  # the root folder has no parent, and paths leave it out
                path, parent = f"{folders[parent][0]}/{path}", folders[parent][1]
            for reference in references(one.get("datastore")):
                self._datacenters[reference] = Datacenter(one.name, path)

    def _folders(self, todo: set[str]) -> dict[str, tuple[str, str]]:
        """Name and parent of folders and of those above them."""
        names: dict[str, tuple[str, str]] = {}
        asked: set[str] = set()  # the account may not be allowed to see all of them
        while todo:
            asked |= todo
            for folder in self._session.retrieve([ObjectSpec("Folder", ("name", "parent"), tuple(sorted(todo)))]):
                names[folder.name] = folder.text("name"), folder.text("parent")
            todo = {parent for _name, parent in names.values() if parent} - asked
        return names
