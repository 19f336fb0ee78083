# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A record of any number of VMs for the page: most are well, some wait, some need a person, as it is on an ordinary day."""

from __future__ import annotations

import datetime
import typing as t
import uuid

from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._report_data import Recorded

NOW = datetime.datetime(2026, 11, 26, 20, 0, tzinfo=datetime.UTC)
ROLES = ("web", "db", "cache", "queue", "build", "mail", "proxy", "store")
TROUBLES = {
    3: (
        "gave_up",
        "no_lease",
        "the guest reports no address; check that the DHCP server serves this network and the guest asks it",
    ),
    7: ("pending", "no_guest_tools", "no guest agent has answered: install and start it"),
    11: ("stopped", "vm_not_running", "it is stopped: start it"),
    13: ("pending", None, None),
}


def ago(**words: float) -> str:
    return (NOW - datetime.timedelta(**words)).strftime("%Y-%m-%dT%H:%M:%SZ")


def nic(number: int, hypervisors: int, **changes: t.Any) -> dict[str, t.Any]:
    state, reason, message = TROUBLES.get(number % 40, ("found", None, None))
    network = ("corp-vlan120", "dmz-vlan130")[number % 5 == 0]
    third, fourth = divmod(50 + (number if network.startswith("corp") else number // 5), 256)
    address = f"10.{99 if network.startswith('corp') else 98}.{third}.{fourth}" if state == "found" else None
    row = {
        "hypervisor_name": f"{('kvm', 'xen', 'vc')[number % hypervisors % 3]}{number % hypervisors + 1:02}",
        "vm_name": f"{ROLES[number % len(ROLES)]}{number:05}",
        "vm_id": str(uuid.UUID(int=number)),
        "device": 0,
        "mac": f"52:54:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}",
        "network": network,
        "address": address,
        "ip4_address": address,
        "ip6_addresses": ["2001:db8::%x" % number] if number % 4 == 0 and address else [],
        "source": ("agent", "guest_metrics", "tools")[number % hypervisors % 3] if address else None,
        "fetch_state": state,
        "tries_left": 6 if state == "pending" else 0 if state == "gave_up" else 10,
        "last_reason": reason or ("not_polled_yet" if state == "pending" else None),
        "last_seen_at": ago(seconds=20 + number % 170) if address else None,
        "last_message": message,
        "required": True,
        "addresses": [address] if address else [],
        "in_range": True if address else None,
        "suspect": False,
        "previous_address": None,
        "first_seen_at": ago(days=3, minutes=number % 600) if address else None,
        "last_try_at": ago(seconds=20 + number % 170),
        "next_try_at": None,
        "entered_at": ago(days=4),
        "cidrs": [],
        "ip_range": None,
        "ignore_interfaces": [],
        "family_order": [4, 6],
    }
    return {**row, **changes}


def sample(count: int) -> tuple[Recorded, list[dict[str, t.Any]]]:
    """A record of `count` VMs, and what the hypervisors are given to say beyond it."""
    hypervisors = 1 if count < 10 else 6
    nics = [nic(number, hypervisors) for number in range(1, count + 1)]
    names = sorted({one["hypervisor_name"] for one in nics})
    looks = [look(name, [one for one in nics if one["hypervisor_name"] == name], place) for place, name in enumerate(names)]
    holder = {
        "lock": f"vmIpFetch:{names[0]}",
        "host": "awx-job-417",
        "pid": 42,
        "since": ago(seconds=9),
        "alive_at": ago(seconds=2),
        "job": "417",
    }
    corp, dmz = ("/18", "47.250"), ("/21", "7.250")
    if count < 1000:
        corp, dmz = ("/23", "1.240"), ("/25", "0.120")
    networks = [
        {"name": "corp-vlan120", "vlan": 120, "cidr": f"10.99.0.0{corp[0]}", "ip_range": f"10.99.0.50-10.99.{corp[1]}"},
        {"name": "dmz-vlan130", "vlan": 130, "cidr": f"10.98.0.0{dmz[0]}", "ip_range": f"10.98.0.50-10.98.{dmz[1]}"},
    ]
    given: list[dict[str, t.Any]] = [{"name": name, "networks": networks, "vms": live(nics, name)} for name in names]
    if len(given) > 3:
        given[3]["vms"] = []
        given[3]["problem"] = "https://xen05.example.com: no connection within 30 s; check that the host is up and port 443 open"
    kinds = ("FETCHED", "FETCHED", "CHANGED", "LOST", "GAVE.UP")
    events = [event(one, place, kinds[place % 5]) for place, one in enumerate(nics[-40:])]
    return Recorded("sqlite:////var/lib/awx/record.db", nics, events, looks, [holder]), given


def live(nics: list[dict[str, t.Any]], hypervisor: str) -> list[dict[str, t.Any]]:
    """What the hypervisor says of the same VMs."""
    return [
        {
            "name": one["vm_name"],
            "id": one["vm_id"],
            "power_state": "stopped" if one["fetch_state"] == "stopped" else "running",
            "nics": [{key: one[key] for key in ("device", "mac", "network")}],
        }
        for one in nics
        if one["hypervisor_name"] == hypervisor
    ]


def look(name: str, nics: list[dict[str, t.Any]], place: int) -> dict[str, t.Any]:
    return {
        "name": name,
        "looked_at": ago(seconds=30 + 20 * place) if place != 5 else ago(hours=3),
        "good_at": ago(seconds=30 + 20 * place) if place != 5 else ago(hours=3),
        "host": "awx-job-417",
        "pid": 42,
        "job": "417",
        "seconds": 1.3 + place,
        "vms": len(nics),
        "problem": None,
        "nics": {},
        "waiting": {"no_guest_tools": 1} if place == 1 else {},
        "late": place == 5,
    }


def event(one: dict[str, t.Any], place: int, kind: str) -> dict[str, t.Any]:
    return {
        "id": place + 1,
        "type": f"EXTERNAL.DHCP.VM.IP.{kind}",
        "time": ago(minutes=3 + 7 * place),
        **{key: one[key] for key in ("hypervisor_name", "vm_name", "vm_id", "device", "mac", "network")},
        "address": one["address"] if kind in ("FETCHED", "CHANGED") else None,
        "previous_address": "10.99.0.77" if kind in ("CHANGED", "LOST") else None,
        "source": "agent",
        "reason": "no_lease" if kind in ("LOST", "GAVE.UP") else None,
        "message": "the guest reports no address for it" if kind in ("LOST", "GAVE.UP") else None,
    }
