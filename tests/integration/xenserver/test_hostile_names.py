# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Forty names that tenants could give their VMs, each to two VMs, through everything that shows or uses a name.

None stops another VM, none reaches a terminal raw, none takes over a host. With -s the table is printed.
"""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import re
import subprocess
import sys
import types
import typing as t

import pytest
import yaml

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import eventlog
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain_name

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROGRAMS = pathlib.Path(sys.executable).parent

# What an administrator has of his own, and no VM may touch
STATIC = {
    "all": {
        "children": {
            "web": {"hosts": {"db1": {"ansible_host": "192.0.2.1"}, "kvm01": {"ansible_host": "192.0.2.2"}}},
            "hypervisors": {"hosts": {"pool": {}}},
        }
    }
}

NAMES = [
    # names of hosts and groups
    "all", "ungrouped", "localhost", "127.0.0.1", "db1", "kvm01", "web", "hypervisors", "pool", "state_found", "hypervisor_pool",
    "db1.pool",
    # patterns, paths, options, templates
    "db1,kvm01", "all:!web", "*", "~.*", "[0:9]", "../../etc/passwd", "-i", "--limit=all", "@hosts", "{{ lookup('pipe', 'id') }}",
    "{% raw %}", "$(id)", "'\"`;#", "!unsafe x",
    # terminals
    "a\nevent=FORGED id=1", "tab\there", "\x9b2J\x9b31m", "\u202etxt.exe", "\u2066a\u2069", "\u2028line", "bell\u0085",
    # blanks and what cannot be seen
    "", " ", "\u3000", "no\xa0break", "soft\xadhyphen", "zero\u200cwidth\u200d\U0001f468\u200d\U0001f4bb",
    # length
    "x" * 10_000,
]  # fmt: skip
SURFACES = ("sync", "tick", "poll", "list", "query", "inventory", "syslog", "event")


class Site:
    """The rig's pool as the one hypervisor of an inventory, with the administrator's hosts beside it."""

    def __init__(self, rig: t.Any, folder: pathlib.Path) -> None:
        self.rig = rig
        self.folder = folder
        self.record = f"sqlite:///{folder}/record.db"
        static = json.loads(json.dumps(STATIC))
        static["all"]["children"]["hypervisors"]["hosts"]["pool"] = {
            "hypervisor": rig.description(),
            "external_dhcp_record": self.record,
        }
        (folder / "1-static.yml").write_text(yaml.safe_dump(static))
        (folder / "2.vm_nics.yml").write_text(f"plugin: vmops.external_dhcp.vm_nics\nrecord: {self.record}\n")

    def _run(self, program: str, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build" / "collections"),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "COLUMNS": "200",
        }
        command = [str(PROGRAMS / program), "-i", str(self.folder / "1-static.yml"), *words]
        done = subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def playbook(self, name: str, *words: str, code: int = 0) -> str:
        done = self._run("ansible-playbook", f"vmops.external_dhcp.{name}", "-e", "target=hypervisors", *words, code=code)
        return done.stdout + done.stderr

    def inventory(self) -> tuple[dict[str, t.Any], str]:
        done = self._run("ansible-inventory", "-i", str(self.folder / "2.vm_nics.yml"), "--list")
        # Texts of strangers are marked so that nobody takes them for templates.
        unmarked = json.loads(done.stdout, object_hook=lambda found: found.get("__ansible_unsafe", found))
        return unmarked, done.stdout + done.stderr


def vms_of(rig: t.Any) -> dict[str, list[tuple[str, str]]]:
    """By name the ids of its two VMs with the address the guest has, or none: that one's agent does not run."""
    made: dict[str, list[tuple[str, str]]] = {}
    for place, name in enumerate(NAMES):
        heard, silent = rig.vm(name), rig.vm(name)
        for vm in (heard, silent):
            rig.power(vm, "start")
        address = f"10.99.0.{place + 1}"
        rig.pool.agent(heard, {"0/ip": address})
        made[name] = [(heard["uuid"], address), (silent["uuid"], "")]
    return made


def raw(text: str) -> list[str]:
    """Characters in what a terminal got that are not for a terminal."""
    return sorted({char for char in text if not char.isprintable() and char != "\n"})


def shown(name: str, vm_id: str) -> str:
    """The beginning of the name in a table's cell or a line; Ansible writes a backslash twice in JSON."""
    return plain_name(name, vm_id)[:20]


def syslog_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    fake = types.SimpleNamespace(
        openlog=lambda *_words: None, closelog=lambda: None, syslog=lambda _level, line: lines.append(line),
        LOG_DAEMON=0, LOG_WARNING=0, LOG_NOTICE=0,
    )  # fmt: skip
    monkeypatch.setattr(eventlog, "syslog", fake)
    return lines


def test_forty_hostile_names(rig, tmp_path, run_module, monkeypatch):
    assert len(NAMES) == len(set(NAMES)) == 40
    site, vms = Site(rig, tmp_path), vms_of(rig)
    done: dict[str, set[str]] = {name: set() for name in NAMES}
    record = {"record": site.record, "hypervisor_name": "pool"}

    def rows() -> dict[str, t.Any]:
        info = run_module("vm_nic_record_info", {"record": site.record})
        assert raw(json.dumps(info, ensure_ascii=False)) == []
        return {nic["vm_id"]: nic for nic in info["nics"]}

    output = {"sync": site.playbook("sync_vms", "-vvv", "--diff")}
    known = rows()
    for name, both in vms.items():
        if all(vm_id in known for vm_id, _address in both):
            done[name].add("sync")

    output["tick"] = site.playbook("tick_vm_ips", "-vvv", "-e", "vm_ip_poll_interval=1")
    known = rows()
    for name, ((heard, address), (silent, _none)) in vms.items():
        if known[heard]["ip4_address"] == address and known[silent]["fetch_state"] == "pending":
            done[name].add("tick")

    # The silent ones are waited for in lines, and given up in a list.
    output["poll"] = site.playbook("poll_vm_ips", "-e", "vm_ip_poll_interval=1", "-e", "vm_ip_poll_max_retry=2", code=2)
    for name, (_heard, (silent, _none)) in vms.items():
        if rows()[silent]["fetch_state"] == "gave_up":
            done[name].add("poll")

    output["list"] = site.playbook("list_vms", "-e", "vm_table_width=0")
    output["query"] = site.playbook("list_vms", "-v", "-e", "vm_query='[].{name: vm, address: ip4_address}'")
    unescaped = {surface: output[surface].replace("\\\\", "\\").replace('\\"', '"') for surface in ("list", "query")}
    for surface, text in unescaped.items():
        for name, ((heard, address), (silent, _none)) in vms.items():
            if address in text and (shown(name, heard) in text or shown(name, silent) in text):
                done[name].add(surface)

    inventory, output["inventory"] = site.inventory()
    variables = inventory["_meta"]["hostvars"]
    ours = {found["external_dhcp_vm_id"]: found for found in variables.values() if "external_dhcp_vm_id" in found}
    for name, ((heard, address), (silent, _none)) in vms.items():
        if ours[heard]["ansible_host"] == address and "ansible_host" not in ours[silent]:
            done[name].add("inventory")
    # The administrator's hosts and groups are as they were.
    assert {host: variables[host] for host in ("db1", "kvm01")} == STATIC["all"]["children"]["web"]["hosts"]
    assert (set(inventory["web"]["hosts"]), inventory["web"].get("children")) == ({"db1", "kvm01"}, None)
    assert inventory["hypervisors"] == {"hosts": ["pool"]} and "localhost" not in variables
    assert all(re.fullmatch(r"[\w.-]+\.pool(\.[0-9a-f-]{36})?", host) for host in set(variables) - {"db1", "kvm01", "pool"})

    # Again in this process, where the system's log can be read.
    lines = syslog_of(monkeypatch)
    everything = run_module("vm_ip_info", {"hypervisor": rig.description(), "sources": []})["vms"]
    run_module("vm_nic_record", {**record, "vms": everything, "rearm": True})
    run_module("vm_ip_fetch", {**record, "hypervisor": rig.description(), "max_retry": 1})
    output["syslog"] = "\n".join(lines)
    events = run_module("vm_nic_record_info", {"record": site.record, "events": True})["events"]
    source = importlib.import_module("ansible_collections.vmops.external_dhcp.extensions.eda.plugins.event_source.vm_ip_events")
    feed = source.EventFeed({"record": site.record, "start": "beginning"})
    streamed = feed.next_events()
    feed.close()
    output["event"] = json.dumps([events, streamed], ensure_ascii=False)
    for name, ((heard, address), (silent, _none)) in vms.items():
        fetched = [line for line in lines if f'"{heard}"' in line and f'address="{address}"' in line]
        gave_up = [line for line in lines if f'"{silent}"' in line and "GAVE.UP" in line]
        if fetched and gave_up and all(line.isascii() and line.count("event=") == 1 + name.count("event=") for line in fetched):
            done[name].add("syslog")
        if all({heard, silent} <= {event["vm_id"] for event in found} for found in (events, streamed)):
            done[name].add("event")

    print(table(done))
    assert {surface: raw(text) for surface, text in output.items()} == dict.fromkeys(output, [])
    assert all(len(line) < 20_000 for line in output["tick"].splitlines() if "xxxxx" in line)
    assert all("x" * 300 not in text for text in output.values())
    assert {name: set(SURFACES) - found for name, found in done.items() if found != set(SURFACES)} == {}


def table(done: t.Mapping[str, set[str]]) -> str:
    lines = ["", f"{'name':34}" + "".join(f"{surface:>11}" for surface in SURFACES)]
    for name, found in done.items():
        text = json.dumps(name)
        text = text if len(text) <= 32 else text[:26] + "…" + text[-5:]
        lines.append(f"{text:34}" + "".join(f"{'ok' if surface in found else 'BAD':>11}" for surface in SURFACES))
    return "\n".join(lines)
