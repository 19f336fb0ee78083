# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rig as a process: a Unix socket that takes one JSON command per connection.

{"do": "vm", "name": "web9", "nics": 2}            makes a halted VM (arguments of Rig.vm)
{"do": "power", "vm": "web9", "state": "start"}    start or stop, "host" optional
{"do": "agent", "vm": "web9", "networks": {"0/ip": "10.99.0.60"}, "live": true}
{"do": "fault", "method": "VM.start", "kind": "error", "error": ["INTERNAL_ERROR", "x"], "count": 1}
{"do": "kill_sessions"}, {"do": "calls"}, {"do": "violations"}, {"do": "vms"}
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import socketserver
import threading
import typing as t

from xapi_rig.facts import NULL
from xapi_rig.rigging import Rig
from xapi_rig.store import Obj


def find_vm(rig: Rig, name: str) -> Obj:
    for obj in rig.pool.store.all("VM"):
        if obj["name_label"] == name and not obj["is_a_snapshot"]:
            return obj
    raise KeyError(f"no VM {name!r}")


def obey(rig: Rig, command: dict[str, t.Any]) -> t.Any:
    pool = rig.pool
    what = command.pop("do")
    if what == "vm":
        return rig.vm(command.pop("name"), **command)["uuid"]
    if what == "power":
        rig.power(find_vm(rig, command["vm"]), command["state"], command.get("host"))
    elif what == "agent":
        pool.agent(find_vm(rig, command["vm"]), command["networks"], live=command.get("live", True))
    elif what == "fault":
        pool.fault(**command)
    elif what == "kill_sessions":
        for ref in list(pool.open_sessions):
            pool.kill_session(ref)
    elif what == "calls":
        calls, pool.calls = pool.calls, []
        return calls
    elif what == "violations":
        return pool.violations
    elif what == "vms":
        return [vm_summary(rig, o) for o in pool.store.all("VM") if not o["is_a_template"] and not o["is_control_domain"]]
    else:
        raise KeyError(f"unknown command {what!r}")
    return None


def vm_summary(rig: Rig, vm: Obj) -> dict[str, t.Any]:
    store = rig.pool.store
    host = store.maybe(vm["resident_on"])
    drives = []
    for ref in vm["VBDs"]:
        vbd = store.get("VBD", ref)
        vdi = store.maybe(vbd["VDI"])
        drives.append({"type": vbd["type"], "slot": vbd["userdevice"], "location": vdi["location"] if vdi else None})
    macs = [store.get("VIF", r)["MAC"] for r in vm["VIFs"]]
    return {
        "name": vm["name_label"], "uuid": vm["uuid"], "power": vm["power_state"], "host": host["hostname"] if host else None,
        "drives": drives, "macs": macs, "guest_metrics": vm["guest_metrics"] != NULL,
    }  # fmt: skip


def run(state: pathlib.Path, port: int, vms: int, templates: int) -> int:
    rig = Rig(state)
    rig.add_templates(templates)
    rig.vm("debian-12", template=True, cd="3")
    for number in range(1, vms + 1):
        rig.vm(f"vm{number:03d}")
    rig.start(port)

    class Control(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            try:
                answer = {"ok": True, "result": obey(rig, json.loads(self.rfile.readline()))}
            except Exception as exc:
                answer = {"ok": False, "error": repr(exc)}
            self.wfile.write(json.dumps(answer).encode() + b"\n")

    server = socketserver.ThreadingUnixStreamServer(str(state / "control.sock"), Control)
    server.daemon_threads = True
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_a: ended.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (state / "pid").write_text(str(os.getpid()))
    text = "hypervisor:\n" + "".join(f"  {k}: {json.dumps(v)}\n" for k, v in rig.description().items())
    new = state / "hypervisor.yml.new"
    new.touch(mode=0o600)
    new.write_text(text)
    new.rename(state / "hypervisor.yml")
    ended.wait()
    server.shutdown()
    rig.stop()
    return 0
