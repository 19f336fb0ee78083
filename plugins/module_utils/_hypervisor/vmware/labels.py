# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Folders of VMs, and their tags with their custom attributes."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware import devices as devices_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import ObjectSpec, child_text
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain_path, plain_tags

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Vm
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import ObjectData
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session


def with_labels(session: Session, vms: Sequence[Vm], root: t.Any, tags: Mapping[str, Sequence[str]]) -> list[Vm]:
    """The VMs with their folders, such as V(/DC0/vm/web), tags and custom attributes, as V(name=value); one more bulk read.

    tags: what tags.tags_of_vms() read.
    """
    data = session.run(lambda: _read(session, root))
    top = session.content.rootFolder._moId
    places = {one.name: one for one in data if one.kind in ("Folder", "Datacenter")}
    machines = {one.name: one for one in data if one.kind == "VirtualMachine"}
    names = {
        child_text(field, "key"): child_text(field, "name")
        for one in data
        if one.kind == "CustomFieldsManager"
        for field in one.children("field")
    }
    labelled = []
    for vm in vms:
        one = machines.get(vm.handle.reference)
        if one is not None:
            attributes = plain_tags(
                f"{names.get(child_text(value, 'key'), '')}={child_text(value, 'value')}"
                for value in one.children("customValue")
                if child_text(value, "value")
            )
            theirs = plain_tags(tags.get(one.name, ())) + attributes
            vm = dataclasses.replace(vm, folder=_path(one.text("parent"), places, top), tags=theirs)
        labelled.append(vm)
    return labelled


def _read(session: Session, root: t.Any) -> list[ObjectData]:
    view = session.view(("Folder", "Datacenter"))._moId
    specs = [
        ObjectSpec("VirtualMachine", ("parent", "customValue"), view=session.view(("VirtualMachine",), root)._moId),
        ObjectSpec("Folder", ("name", "parent"), view=view),
        ObjectSpec("Datacenter", ("name", "parent"), view=view),
    ]
    fields = session.content.customFieldsManager  # a host without a vCenter has none
    if fields is not None:
        specs.append(ObjectSpec("CustomFieldsManager", ("field",), (fields._moId,)))
    return session.retrieve(specs)


def _path(reference: str, places: Mapping[str, ObjectData], top: str) -> str | None:
    """A folder's path; None for a VM in no folder, such as those of a vApp."""
    names: list[str] = []
    while reference in places and reference != top and len(names) < len(places):
        names.insert(0, devices_of.plain_name(places[reference].text("name")))
        reference = places[reference].text("parent")
    return plain_path(names)
