# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The database: objects, their references to each other, and the counter that events are made of."""

from __future__ import annotations

import threading
import typing as t
import uuid as uuidlib

from xapi_rig.facts import NULL, Facts, Failure
from xapi_rig.wire import xml_value

# (class, field) that points to a parent → the parent's set of children (datamodel.ml, all_relations).
RELATIONS: dict[tuple[str, str], tuple[str, str]] = {
    ("VBD", "VM"): ("VM", "VBDs"),
    ("VBD", "VDI"): ("VDI", "VBDs"),
    ("VDI", "SR"): ("SR", "VDIs"),
    ("VDI", "snapshot_of"): ("VDI", "snapshots"),
    ("PBD", "SR"): ("SR", "PBDs"),
    ("PBD", "host"): ("host", "PBDs"),
    ("VIF", "VM"): ("VM", "VIFs"),
    ("VIF", "network"): ("network", "VIFs"),
    ("PIF", "host"): ("host", "PIFs"),
    ("PIF", "network"): ("network", "PIFs"),
    ("VLAN", "tagged_PIF"): ("PIF", "VLAN_slave_of"),
    ("VM", "resident_on"): ("host", "resident_VMs"),
    ("VM", "snapshot_of"): ("VM", "snapshots"),
    ("VM", "parent"): ("VM", "children"),
}


class Obj:
    __slots__ = ("cls", "ref", "fields", "created", "modified", "xml")

    def __init__(self, cls: str, ref: str, fields: dict[str, t.Any]) -> None:
        self.cls = cls
        self.ref = ref
        self.fields = fields
        self.created = 0
        self.modified = 0
        self.xml: str | None = None

    def __getitem__(self, name: str) -> t.Any:
        return self.fields[name]


class Deleted(t.NamedTuple):
    cls: str
    ref: str
    created: int
    deleted: int


class Store:
    """All access goes through `changed`, a condition on one lock; writers wake those who wait for events."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.changed = threading.Condition(threading.RLock())
        self.counter = 0
        self.objects: dict[str, Obj] = {}
        self.by_class: dict[str, dict[str, Obj]] = {cls: {} for cls in facts.fields}
        self.deleted: list[Deleted] = []

    def _tick(self) -> int:
        self.counter += 1
        self.changed.notify_all()
        return self.counter

    def add(self, cls: str, **given: t.Any) -> Obj:
        with self.changed:
            fields = {
                name: self.facts.default(entry[0], entry[2] if len(entry) > 2 else None)
                for name, entry in self.facts.fields[cls].items()
            }
            if "uuid" in fields:
                fields["uuid"] = str(uuidlib.uuid4())
            unknown = set(given) - set(fields)
            if unknown:
                raise AssertionError(f"{cls} has no field {sorted(unknown)}")
            obj = Obj(cls, f"OpaqueRef:{uuidlib.uuid4()}", fields)
            self.objects[obj.ref] = obj
            self.by_class[cls][obj.ref] = obj
            obj.created = obj.modified = self._tick()
            self.set(obj, **given)
            return obj

    def set(self, obj: Obj, **values: t.Any) -> None:
        with self.changed:
            for name, value in values.items():
                old = obj.fields[name]
                if old == value:
                    continue
                relation = RELATIONS.get((obj.cls, name))
                obj.fields[name] = value
                if relation:
                    self._leave(old, relation[1], obj.ref)
                    self._join(value, relation[1], obj.ref)
                obj.modified = self._tick()
                obj.xml = None

    def _join(self, parent: str, field: str, ref: str) -> None:
        other = self.objects.get(parent)
        if other is not None and ref not in other.fields[field]:
            self.set(other, **{field: [*other.fields[field], ref]})

    def _leave(self, parent: str, field: str, ref: str) -> None:
        other = self.objects.get(parent)
        if other is not None:
            self.set(other, **{field: [r for r in other.fields[field] if r != ref]})

    def remove(self, obj: Obj) -> None:
        with self.changed:
            for (cls, name), (_parent, children) in RELATIONS.items():
                if cls == obj.cls:
                    self._leave(obj.fields[name], children, obj.ref)
            del self.objects[obj.ref]
            del self.by_class[obj.cls][obj.ref]
            self.deleted.append(Deleted(obj.cls, obj.ref, obj.created, self._tick()))

    def all(self, cls: str) -> list[Obj]:
        return list(self.by_class[cls].values())

    def get(self, cls: str, ref: str) -> Obj:
        """The object of a valid reference; HANDLE_INVALID for anything else, NULL and other classes included."""
        obj = self.by_class[cls].get(ref)
        if obj is None:
            raise Failure("HANDLE_INVALID", cls, ref)
        return obj

    def maybe(self, ref: str) -> Obj | None:
        return None if ref == NULL else self.objects.get(ref)

    def by_uuid(self, cls: str, uuid: str) -> Obj:
        for obj in self.by_class[cls].values():
            if obj.fields["uuid"] == uuid:
                return obj
        raise Failure("UUID_INVALID", cls, uuid)

    def record_xml(self, obj: Obj) -> str:
        if obj.xml is None:
            obj.xml = xml_value(self.facts, f"{obj.cls} record", obj.fields)
        return obj.xml
