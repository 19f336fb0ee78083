# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The messages that every XAPI class has because of its fields."""

from __future__ import annotations


def is_map(kind: str) -> bool:
    return kind.endswith(" map")


def is_set(kind: str) -> bool:
    return kind.endswith(" set")


def map_types(kind: str) -> tuple[str, str]:
    """'(string -> string) map' → ('string', 'string'); nested maps keep their own brackets."""
    inner = kind[1 : -len(") map")]
    key, _arrow, value = inner.partition(" -> ")
    return key, value


def derived_messages(cls: str, fields: dict) -> dict:
    """Signatures (without the session) of getters, setters and look-ups; fields: name → [type, access, default?]."""
    ref = f"{cls} ref"
    self_param = [ref, "self"]
    out: dict = {
        "get_record": {"params": [self_param], "result": f"{cls} record"},
        "get_by_uuid": {"params": [["string", "uuid"]], "result": ref},
        "get_all": {"params": [], "result": f"{ref} set"},
        "get_all_records": {"params": [], "result": f"({ref} -> {cls} record) map"},
        "create": {"params": [[f"{cls} record", "args"]], "result": ref},
        "destroy": {"params": [self_param], "result": "void"},
    }
    if "name_label" in fields:
        out["get_by_name_label"] = {"params": [["string", "label"]], "result": f"{ref} set"}
    for name, entry in fields.items():
        kind, access = entry[0], entry[1]
        out[f"get_{name}"] = {"params": [self_param], "result": kind}
        if access != "RW":
            continue
        out[f"set_{name}"] = {"params": [self_param, [kind, "value"]], "result": "void"}
        if is_map(kind):
            key, value = map_types(kind)
            out[f"add_to_{name}"] = {"params": [self_param, [key, "key"], [value, "value"]], "result": "void"}
            out[f"remove_from_{name}"] = {"params": [self_param, [key, "key"]], "result": "void"}
        elif is_set(kind):
            item = kind[: -len(" set")]
            out[f"add_{name}"] = {"params": [self_param, [item, "value"]], "result": "void"}
            out[f"remove_{name}"] = {"params": [self_param, [item, "value"]], "result": "void"}
    return out
