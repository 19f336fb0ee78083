# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Encodes results of calls for the wire."""

from __future__ import annotations

import typing as t

from xapi_rig.wire import json_value, xml_value


class EncodingMixin:
    """Needs from the pool: store, facts."""

    def encode_events_xml(self, batch: dict[str, t.Any]) -> str:
        parts = []
        counter = str(self.store.counter)
        for operation, cls, ref, obj in batch["events"]:
            members = (
                f"<member><name>id</name><value>{counter}</value></member>"
                f"<member><name>timestamp</name><value>0.</value></member>"
                f"<member><name>class</name><value>{cls.lower()}</value></member>"
                f"<member><name>operation</name><value>{operation}</value></member>"
                f"<member><name>ref</name><value>{ref}</value></member>"
            )
            if obj is not None:
                members += f"<member><name>snapshot</name>{self.store.record_xml(obj)}</member>"
            parts.append(f"<value><struct>{members}</struct></value>")
        counts = "".join(f"<member><name>{k}</name><value>{v}</value></member>" for k, v in batch["valid_ref_counts"].items())
        return (
            "<value><struct><member><name>events</name><value><array><data>" + "".join(parts) + "</data></array></value></member>"
            f"<member><name>valid_ref_counts</name><value><struct>{counts}</struct></value></member>"
            f"<member><name>token</name><value>{batch['token']}</value></member></struct></value>"
        )

    def encode_xml(self, kind: str, result: t.Any) -> str:
        with self.store.changed:
            if kind == "an event batch":
                return self.encode_events_xml(result)
            if kind.endswith(" record) map"):
                members = "".join(f"<member><name>{r}</name>{self.store.record_xml(o)}</member>" for r, o in result.items())
                return f"<value><struct>{members}</struct></value>"
            return xml_value(self.facts, kind, result)

    def encode_json(self, kind: str, result: t.Any) -> t.Any:
        with self.store.changed:
            if kind == "an event batch":
                events = []
                for operation, cls, ref, obj in result["events"]:
                    event = {
                        "id": str(self.store.counter),
                        "timestamp": "0.",
                        "class": cls.lower(),
                        "operation": operation,
                        "ref": ref,
                    }
                    if obj is not None:
                        event["snapshot"] = json_value(self.facts, f"{obj.cls} record", obj.fields)
                    events.append(event)
                return {"events": events, "valid_ref_counts": result["valid_ref_counts"], "token": result["token"]}
            if kind.endswith(" record) map"):
                return {r: json_value(self.facts, f"{o.cls} record", o.fields) for r, o in result.items()}
            return json_value(self.facts, kind, result)
