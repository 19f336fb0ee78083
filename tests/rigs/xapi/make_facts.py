#!/usr/bin/env python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes facts.json, the table of XAPI names and types that the XAPI rig enforces, from the published data model.

The input is `xenapi.json` as the xen-api project publishes it (LGPL-2.1 with a linking exception). Only names, types,
defaults and error codes are taken: no description, no sentence. Messages that follow from a class's fields (getters,
setters and so on) are left out where the rule below gives exactly the upstream signature; all others are written out.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import sys
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from xapi_rig.derive import derived_messages

# The classes that our driver and the third-party witnesses use; other classes are known by name only.
CORE = (
    "session task event pool host host_metrics VM VM_metrics VM_guest_metrics VIF network PIF VLAN SR PBD VDI VBD VBD_metrics SM"
).split()
REQUIRED = re.compile(r"constructor args are: (.*) \(\* = non-optional\)", re.S)
NO_SESSION = {("session", "login_with_password"), ("session", "slave_local_login_with_password")}


def signature(cls: str, message: dict) -> dict:
    params = [[p["type"], p["name"]] for p in message["params"]]
    session = bool(params) and params[0][1] == "session_id" and (cls, message["name"]) not in NO_SESSION
    out = {"params": params[1:] if session else params, "result": message["result"][0]}
    errors = sorted({e["name"] for e in message["errors"]})
    if errors:
        out["errors"] = errors
    if not session:
        out["session"] = False
    state = message["lifecycle"]["state"]
    if state in ("Removed_s", "Deprecated_s"):
        out["state"] = state[:-2].lower()
    return out


def make(model: list, commit: str) -> dict:
    enums: dict = {}
    classes: dict = {}
    names = sorted(c["name"] for c in model)
    for cls in sorted(model, key=lambda c: c["name"]):
        for enum in cls["enums"]:
            enums[enum["name"]] = [v["name"] for v in enum["values"]]
        if cls["name"] not in CORE:
            continue
        fields = {}
        required: list = []
        for field in cls["fields"]:
            access = {"RO/runtime": "RO", "RO/constructor": "C", "RW": "RW"}[field["qualifier"]]
            entry = [field["type"], access]
            if "default" in field:
                entry.append(field["default"])
            fields[field["name"]] = entry
        for message in cls["messages"]:
            found = REQUIRED.search(message["description"]) if message["name"] == "create" else None
            if found:
                required = sorted(a.strip()[:-1] for a in found.group(1).split(",") if a.strip().endswith("*"))
        derived = derived_messages(cls["name"], fields)
        explicit = {}
        upstream = set()
        for message in cls["messages"]:
            upstream.add(message["name"])
            sig = signature(cls["name"], message)
            if derived.get(message["name"]) != {k: v for k, v in sig.items() if k != "state"} or "state" in sig:
                explicit[message["name"]] = sig
        classes[cls["name"]] = {
            "fields": fields,
            "messages": explicit,
            "absent": sorted(set(derived) - upstream),
            "required": required,
        }
    used = json.dumps(classes)
    return {
        "source": {
            "project": "xapi-project/xen-api",
            "commit": commit,
            "file": "xenapi.json",
            "licence": "LGPL-2.1-only WITH OCaml-LGPL-linking-exception",
            "taken": "names, types, defaults and error codes only",
        },
        "class_names": names,
        "enums": {k: v for k, v in sorted(enums.items()) if f"enum {k}" in used},
        "classes": classes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="path or https URL of xenapi.json")
    parser.add_argument("--commit", required=True, help="the upstream commit the model was built from")
    parser.add_argument("--out", default=str(pathlib.Path(__file__).with_name("facts.json")))
    args = parser.parse_args()
    if args.model.startswith("https://"):
        with urllib.request.urlopen(args.model) as answer:
            model = json.load(answer)
    else:
        model = json.loads(pathlib.Path(args.model).read_text(encoding="utf-8"))
    facts = make(model, args.commit)
    pathlib.Path(args.out).write_text(json.dumps(facts, separators=(",", ":"), sort_keys=True) + "\n", encoding="utf-8")
    explicit = sum(len(c["messages"]) for c in facts["classes"].values())
    print(f"{args.out}: {len(facts['classes'])} classes, {explicit} explicit messages")


if __name__ == "__main__":
    main()
