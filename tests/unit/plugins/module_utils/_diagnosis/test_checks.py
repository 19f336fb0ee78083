# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A VM with one fault is told to have that one, with a next step; a VM without has none."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis import checks
from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis.facts import (
    DriveFacts,
    GuestFacts,
    NicFacts,
    RecordedNic,
    Said,
    SharedNetwork,
    SiteFacts,
    VmFacts,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis.verdict import Verdict, diagnose

ID = "00000000-0000-4000-8000-000000000001"
NOW = datetime.datetime(2026, 11, 26, 20, 0, tzinfo=datetime.UTC)
CORP = SharedNetwork("corp", "120", ("10.99.0.0/24",), "10.99.0.50-10.99.0.59", 10, 3)
SITE = SiteFacts("kvm01", "qemu:///system", networks=True, looked_at=NOW, look_host="awx", look_age=60)
NIC = NicFacts(
    device=0,
    mac="52:54:00:00:00:01",
    network="br-corp",
    shared=CORP,
    asked=True,
    address="10.99.0.51",
    addresses=("10.99.0.51", "fe80::1"),
    in_range=True,
    recorded=RecordedNic("found", "10.99.0.51", 10),
)
DRIVE = DriveFacts(
    location="/images/web1.iso",
    slot="sdb",
    exists=True,
    attached=True,
    owner=ID,
    read=True,
    labels=("config",),
    ids=(ID,),
    layouts=("cloudstack", "openstack"),
    instance="i-2",
)
VM = VmFacts("web1", ID, power_state="running", managed=True, nics=(NIC,), said=(Said("agent", True),), drive=DRIVE)
LOST = {"address": None, "addresses": ("fe80::1",), "in_range": None, "reason": "no_lease"}


def nic(**changes: t.Any) -> dict[str, t.Any]:
    return {"nics": (dataclasses.replace(NIC, **changes),)}


def drive(**changes: t.Any) -> dict[str, t.Any]:
    return {"drive": dataclasses.replace(DRIVE, **changes)}


def guest(**facts: t.Any) -> dict[str, t.Any]:
    return {"guest": GuestFacts(**facts)}


def verdict(site: dict[str, t.Any], vm: dict[str, t.Any]) -> Verdict:
    return diagnose(dataclasses.replace(SITE, **site), dataclasses.replace(VM, **vm))


def silent(reason: str, message: str) -> dict[str, t.Any]:
    return {
        **nic(**{**LOST, "reason": reason, "recorded": RecordedNic("pending", None, 5)}),
        "said": (Said("agent", False, reason, message),),
    }


WAITED = RecordedNic("pending", None, 7, "not_polled_yet")
FULL = dataclasses.replace(CORP, used=10)
# What is wrong -> facts of the site, facts of the VM, the check that tells, its status, words of the sentence and of the next step
FAULTS: dict[str, tuple[dict[str, t.Any], dict[str, t.Any], str, str, str, str]] = {
    "hypervisor away": (
        {"problem": "qemu:///system: no connection"},
        {},
        "hypervisor",
        "failed",
        "no connection",
        "mend the connection",
    ),
    "no such VM": (
        {},
        {"exists": False, "problem": "there is no VM web1"},
        "vm",
        "failed",
        "there is no VM web1",
        "check the name",
    ),
    "off": (
        {},
        {"power_state": "stopped", **nic(asked=False)},
        "power",
        "warning",
        "web1 is stopped",
        "start_vms -e vm_names=web1",
    ),
    "no NIC": ({}, {"nics": ()}, "nic", "failed", "has no NIC", "vm_update_nics"),
    "wrong network": ({}, nic(shared=None, network="br-lab"), "network", "failed", "it is in br-lab", "shared_networks"),
    "same MAC": ({}, nic(same_mac=("web2 on kvm02",)), "mac", "failed", "and so has web2 on kvm02", "another MAC"),
    "same machine-id": (
        {},
        nic(same_address=("web2 on kvm01",)),
        "duplicate_address",
        "failed",
        "also that of web2",
        "machine-id",
    ),
    "same machine-id, addresses of their own": (
        {},
        {"same_machine_id": ("web2",)},
        "machine_id",
        "warning",
        "has the machine-id of web2",
        "systemd-machine-id-setup",
    ),
    "another VLAN": (
        {},
        nic(shared=dataclasses.replace(CORP, problem="there is a network corp already, VLAN 130")),
        "network",
        "failed",
        "VLAN 130",
        "make_networks --check --diff",
    ),
    "scripts failed": ({}, guest(seen=True, failed=True), "scripts", "failed", "not all of it", "systemctl status config-drive"),
    "scripts acted on another drive": (
        {},
        guest(seen=True, failed=False, instance="i-1"),
        "scripts",
        "warning",
        "of the instance i-1",
        "restart the VM",
    ),
    "scripts found no drive": ({}, guest(installed=True), "scripts", "failed", "never read a drive", "what it looked at"),
    "cloud-init found no drive": ({}, guest(datasource="None"), "scripts", "failed", "from None", "datasource_list"),
    "other network": (
        {},
        nic(**{**LOST, "addresses": ("192.168.7.7",), "reason": "filtered_out", "message": "NIC has 192.168.7.7"}),
        "address_network",
        "failed",
        "192.168.7.7",
        "another VLAN",
    ),
    "no drive": ({}, drive(exists=False, attached=False), "drive_present", "failed", "has no config drive", "deploy_vms"),
    "drive not attached": ({}, drive(attached=False), "drive_attached", "failed", "does not have it", "vm_config_drive"),
    "drive needs a restart": (
        {},
        drive(attached=False, restart=True),
        "drive_attached",
        "failed",
        "does not have it",
        "shut the VM down",
    ),
    "another VM's drive": (
        {},
        drive(owner=ID[:-1] + "2"),
        "drive_owner",
        "failed",
        "was built for the VM with the id",
        "take_over",
    ),
    "damaged drive": ({}, drive(complaint="it was cut short"), "drive_content", "failed", "it was cut short", "build it again"),
    "wrong label": ({}, drive(labels=("config-2",)), "drive_label", "failed", "config-2, not config", "config_drive_label"),
    "no guest tools": (
        {},
        silent("no_guest_tools", "no guest agent"),
        "guest_tools",
        "failed",
        "no guest agent",
        "install the guest tools",
    ),
    "guest tools blocked": (
        {},
        silent("guest_tools_blocked", "forbidden"),
        "guest_tools",
        "failed",
        "forbidden",
        "allow the guest agent",
    ),
    "range exhausted": ({}, nic(**LOST, shared=FULL, recorded=WAITED), "range", "failed", "of the 10 addresses", "larger range"),
    "no DHCP answer": (
        {},
        nic(**{**LOST, "addresses": ("169.254.7.9",)}, recorded=WAITED),
        "dhcp",
        "failed",
        "given itself 169.254.7.9",
        "serves corp (VLAN 120)",
    ),
    "interface down": ({}, nic(**LOST, recorded=WAITED), "dhcp", "failed", "has no address on NIC 0", "is up and asks by DHCP"),
    "not recorded": ({}, nic(recorded=None), "record", "failed", "is not in the record", "tick_vm_ips"),
    "given up": ({}, nic(recorded=RecordedNic("gave_up")), "queue", "failed", "was given up", "vm_ip_poll_rearm"),
    "waited for": ({}, nic(recorded=WAITED), "queue", "warning", "7 tries are left", "tick_vm_ips"),
    "stale record": (
        {},
        nic(recorded=RecordedNic("found", "10.99.0.77")),
        "agreement",
        "failed",
        "has 10.99.0.77",
        "recheck_interval",
    ),
    "outside the range": (
        {},
        nic(in_range=False),
        "address_range",
        "warning",
        "outside of the announced range",
        "DHCP administrator",
    ),
    "record away": ({"record_problem": "no route"}, nic(recorded=None), "last_look", "failed", "no route", "mend the record"),
    "nobody looks": (
        {"looked_at": None},
        {**nic(recorded=None, shared=None), "power_state": "paused", "nics": ()},
        "nic",
        "failed",
        "has no NIC",
        "networks",
    ),
}


def test_a_vm_without_a_fault_has_none() -> None:
    found = verdict({}, {})
    assert (found.status, found.check, found.next_step) == ("ok", None, None)
    assert "it has 10.99.0.51" in found.message
    told = {one.check for one in found.findings}
    assert told >= {
        "hypervisor",
        "vm",
        "power",
        "nic",
        "network",
        "mac",
        "dhcp",
        "range",
        "drive_label",
        "guest_tools",
        "last_look",
    }


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_with_its_next_step(fault: str) -> None:
    site, vm, check, status, words, step = FAULTS[fault]
    found = verdict(site, vm)
    assert (found.check, found.status) == (check, status), found
    assert words in found.message and step in str(found.next_step)


def test_at_least_fifteen_faults_are_told_apart() -> None:
    assert len({(check, step) for _site, _vm, check, _status, _words, step in FAULTS.values()}) >= 15


def test_what_cannot_be_seen_from_outside_is_no_fault_and_what_was_seen_is_well() -> None:
    scripts = {"scripts": "whether the guest acted on its drive cannot be seen from outside"}
    for facts, words in (
        ({}, scripts["scripts"]),
        (guest(), scripts["scripts"]),
        (guest(seen=True), "the guest scripts have acted on the drive"),
        (guest(seen=True, failed=False, instance="i-2"), "the guest scripts have acted on the drive"),
        (guest(datasource="ConfigDrive"), "cloud-init has taken its data from the drive"),
    ):
        found = verdict({}, facts)
        assert (found.status, [one.message for one in found.findings if one.check == "scripts"]) == ("ok", [words])


def test_the_last_look_and_a_silent_poller_explain_what_is_not_known_and_are_no_fault_of_what_is() -> None:
    site = {"look_late": True, "look_age": 7300, "lock_host": "awx-job-1", "lock_age": 900, "lock_silent": 800}
    assert verdict(site, {}).status == "ok"
    found = verdict(site, {"power_state": "running", **nic(recorded=WAITED, asked=False)})
    messages = {one.check: one.message for one in found.findings}
    assert messages["last_look"] == "the last look was 2 h ago, by awx"
    assert messages["lock"] == "awx-job-1 polls since 15 min and has given no sign of life for 13 min"
    assert verdict({"look_problem": "login refused"}, nic(recorded=WAITED, asked=False)).check == "last_look"


def test_another_source_makes_missing_guest_tools_a_warning() -> None:
    said = (Said("agent", False, "no_guest_tools", "nobody answers"), Said("lease_file", True))
    found = verdict({}, {"said": said})
    assert (found.check, found.status) == ("guest_tools", "warning") and "lease_file helps out" in found.message
    assert [one.message for one in found.findings if one.check == "source"] == ["agent: nobody answers", "lease_file: answered"]


def test_a_command_never_has_a_strange_name() -> None:
    for name in ("web1; rm -rf /", "$(id)", "-e x=1", "a b", "wéb", "a'b"):
        assert f"vm_names={ID}" in str(verdict({}, {"name": name, "power_state": "stopped", **nic(asked=False)}).next_step)


def test_every_check_is_documented() -> None:
    from ansible_collections.vmops.external_dhcp.plugins.modules import vm_diagnose

    names = {one.check for fault in FAULTS.values() for one in verdict(fault[0], fault[1]).findings} | {"lock", "source"}
    assert {name for name in names if f"V({name})" not in vm_diagnose.RETURN} == set()
    assert all(check.__doc__ and check.__doc__.endswith(("?", ".")) for check in checks.CHECKS)
