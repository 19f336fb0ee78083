# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""One function for each question of the troubleshooting guide. Each looks at facts and nothing else.

A check yields findings: nothing where its question does not arise (a VM that is off has no guest to ask), one with V(ok), or
what is wrong with the next step. The order of CHECKS is that of causes: what comes first explains what comes later.
"""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis import drive_checks
from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis.facts import (
    FAILED,
    OK,
    UNKNOWN,
    WARNING,
    Finding,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.model import (
    REASON_DISK_ENCRYPTED,
    REASON_FILTERED_OUT,
    REASON_GUEST_TOOLS_BLOCKED,
    REASON_NO_LEASE,
    REASON_TIMEOUT,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import first_of

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._diagnosis.facts import (
        NicFacts,
        SiteFacts,
        VmFacts,
    )

    Check = Callable[[SiteFacts, VmFacts], Iterator[Finding]]

NEARLY_FULL = 0.9  # used part of a range from which on it is warned of
SILENT = 60.0  # seconds without a sign of life, after which whoever polls is told to hang
_NEW_IDENTITY = "clean the template (role vm_template), give the clone a new machine-id (rm /etc/machine-id; systemd-machine-id-setup), restart it"


def hypervisor(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Is the hypervisor reachable, with this account?"""
    if site.problem:
        yield Finding(
            "hypervisor",
            FAILED,
            site.problem,
            "mend the connection: host, port, account and certificate in the variable hypervisor",
        )
    else:
        yield Finding("hypervisor", OK, f"{site.endpoint or site.name} answers")


def exists(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Is there one VM of this name?"""
    if vm.exists is None:
        return
    if vm.exists:
        yield Finding("vm", OK, f"{vm.name} is there")
        return
    text = vm.problem or f"there is no VM {vm.name} on {site.endpoint or site.name}"
    yield Finding("vm", FAILED, text, "check the name, and which hypervisor the VM is on; deploy_vms makes it if it is in vms")


def power(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Does it run?"""
    if not vm.exists or vm.power_state is None:
        return
    if vm.running:
        yield Finding("power", OK, "it runs")
    else:
        yield Finding(
            "power",
            WARNING,
            f"{vm.name} is {vm.power_state}, so it has no address",
            f"start it: start_vms -e vm_names={vm.word}",
        )


def nic(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Has it a NIC?"""
    if vm.exists and vm.nics:
        yield Finding("nic", OK, f"it has {len(vm.nics)} NIC{'' if len(vm.nics) == 1 else 's'}")
    elif vm.exists:
        step = (
            "give it a NIC in a shared network: networks of the VM in vms, then deploy_vms -e vm_update_nics=true while it is off"
        )
        yield Finding("nic", FAILED, f"{vm.name} has no NIC", step)


def network(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Is one of its NICs in a shared network, and which VLAN is that?"""
    if not site.networks or not vm.exists or not vm.nics:
        return
    shared = [one for one in vm.nics if one.shared]
    for one in shared:
        if one.shared and one.shared.problem:
            text = f"NIC {one.device} is in {one.network}, which is not what shared_networks says: {one.shared.problem}"
            step = "ask the network administrator which is right; make_networks --check --diff shows both"
            yield Finding("network", FAILED, text, step, one.device)
        else:
            vlan = f", VLAN {one.shared.vlan}" if one.shared and one.shared.vlan else ""
            yield Finding("network", OK, f"NIC {one.device} is in {one.network}{vlan}", None, one.device)
    if not shared:
        names = first_of(sorted({str(one.network) for one in vm.nics}))
        step = "move the NIC to the right network, or add this one to shared_networks (its name, or its name on the hypervisor as bridge)"
        yield Finding("network", FAILED, f"no NIC of {vm.name} is in a shared network; it is in {names}", step)


def mac(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Has no other VM the same MAC?"""
    for one in vm.nics:
        if one.same_mac:
            step = "give one of them another MAC while it is off: a DHCP server and a switch take both for one machine"
            yield Finding(
                "mac", FAILED, f"NIC {one.device} has the MAC {one.mac}, and so has {first_of(one.same_mac)}", step, one.device
            )
        else:
            yield Finding("mac", OK, f"NIC {one.device} has the MAC {one.mac}, and no other VM that is known", None, one.device)


def guest_tools(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Do the guest tools run, or does another source know the guest?"""
    if not vm.running or not vm.said:
        return
    first, answered = vm.said[0], [one for one in vm.said if one.answered]
    if first.answered or first.reason == REASON_NO_LEASE:
        yield Finding("guest_tools", OK, f"the source {first.source} answers")
        return
    why = first.message or f"the source {first.source} does not answer ({first.reason})"
    if first.reason == REASON_GUEST_TOOLS_BLOCKED:
        step = "allow the guest agent to tell the network interfaces (its settings for blocked or allowed commands)"
    elif first.reason == REASON_TIMEOUT:
        step = "wait until the guest has started; if it goes on, restart the guest tools in the guest"
    else:
        step = (
            "install the guest tools in the guest, start and enable their service; the role vm_template does so in templates, and the "
            "support matrix in the documentation tells which guests were shown to answer"
        )
    if answered:
        yield Finding("guest_tools", WARNING, f"{why}; the source {answered[0].source} helps out", step)
    else:
        yield Finding("guest_tools", FAILED, why, step)


def sources(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """What did each source say, in the order in which they were asked?"""
    for one in vm.said if vm.running else ():
        if one.answered:
            yield Finding("source", OK, f"{one.source}: answered")
        elif one.reason == REASON_DISK_ENCRYPTED:
            step = "only the guest can read its disk: it needs its guest tools"
            yield Finding("source", WARNING, f"{one.source}: {one.message or one.reason}", step)
        else:
            yield Finding(
                "source",
                OK if any(other.answered for other in vm.said) else UNKNOWN,
                f"{one.source}: {one.message or one.reason}",
            )


def dhcp(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Did a DHCP server answer the guest?"""
    for one in _asked(vm):
        if one.address or one.reason == REASON_FILTERED_OUT:
            yield Finding("dhcp", OK, f"NIC {one.device} has an address", None, one.device)
        elif one.reason == REASON_NO_LEASE:
            private = [text for text in one.addresses if _is_private(text)]
            if private:
                text = f"NIC {one.device} has given itself {private[0]}: it asked, and no DHCP server answered"
                step = f"see that the DHCP server serves {_where(one)}, that a relay or the VLAN reaches it, and that it knows no rule against {one.mac}"
            else:
                text = f"the guest has no address on NIC {one.device}"
                step = f"see in the guest that the interface with {one.mac} is up and asks by DHCP, then that the DHCP server serves {_where(one)}"
            yield Finding("dhcp", FAILED, text, step, one.device)


def address_network(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Does the address lie in the network's CIDR?"""
    for one in _asked(vm):
        if one.reason == REASON_FILTERED_OUT:
            text = one.message or f"NIC {one.device} has only addresses that do not count"
            step = "the NIC is in another VLAN than it should be, or a second DHCP server answers there, or cidr in shared_networks is wrong"
            yield Finding("address_network", FAILED, text, step, one.device)
        elif one.address and one.shared and one.shared.cidrs:
            yield Finding("address_network", OK, f"{one.address} lies in {', '.join(one.shared.cidrs)}", None, one.device)


def address_range(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Does the address lie in the announced range?"""
    for one in _asked(vm):
        if one.address and one.shared and one.in_range is False:
            text = f"{one.address} of NIC {one.device} lies outside of the announced range {one.shared.ip_range}"
            step = "ask the DHCP administrator: the range in shared_networks is old, or the guest has a static address"
            yield Finding("address_range", WARNING, text, step, one.device)
        elif one.address and one.in_range:
            yield Finding("address_range", OK, f"{one.address} lies in the announced range", None, one.device)


def range_free(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Has the range of its network an address left?"""
    for one in vm.nics:
        shared = one.shared
        if shared is None or not shared.size:
            continue
        text = f"of the {shared.size} addresses that are announced for {shared.name}, {shared.used} are used by VMs that are known here"
        step = "ask the DHCP administrator for a larger range, or for shorter leases; destroyed VMs keep theirs until they end"
        if shared.used >= shared.size and not one.address:
            yield Finding("range", FAILED, text, step, one.device)
        elif shared.used >= NEARLY_FULL * shared.size:
            yield Finding("range", WARNING, text, step, one.device)
        else:
            yield Finding("range", OK, text, None, one.device)


def duplicate_address(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Has no other VM the same address?"""
    for one in vm.nics:
        address = one.address or (one.recorded.address if one.recorded else None)
        if address and one.same_address:
            text = f"{address} of NIC {one.device} is also that of {first_of(one.same_address)}"
            step = f"clones of one template with the same machine-id, DUID or lease file ask as one machine: {_NEW_IDENTITY}"
            yield Finding("duplicate_address", FAILED, text, step, one.device)


def machine_id(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Has no other VM that was asked the same machine-id?"""
    if vm.same_machine_id:
        text = f"{vm.name} has the machine-id of {first_of(vm.same_machine_id)}"
        yield Finding("machine_id", WARNING, f"{text}: a DHCP server may take them for one machine", _NEW_IDENTITY)


def recorded(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Does the record watch its NICs?"""
    if site.record_problem or not vm.running:
        return
    for one in vm.nics:
        wanted = one.shared is not None or not site.networks
        if one.recorded is None and wanted:
            step = "the next look with shared_networks enters it: run tick_vm_ips, or sync_vms"
            yield Finding(
                "record",
                FAILED,
                f"NIC {one.device} ({one.mac}) is not in the record, so nobody looks for its address",
                step,
                one.device,
            )
        elif one.recorded is not None:
            yield Finding("record", OK, f"NIC {one.device} is in the record", None, one.device)


def queue(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Is it waited for, found, or given up?"""
    for one in vm.nics if vm.running else ():
        known = one.recorded
        if known is None:
            continue
        if known.state == "gave_up":
            text = f"NIC {one.device} was given up after its last try ({known.reason or 'no reason'})"
            step = f"mend the cause, then: poll_vm_ips -e vm_names={vm.word} -e vm_ip_poll_rearm=true"
            yield Finding("queue", FAILED, text, step, one.device)
        elif known.state == "pending":
            text = (
                f"NIC {one.device} is waited for, {known.tries_left} tries are left ({known.reason or 'nobody has looked yet'})"
            )
            yield Finding("queue", WARNING, text, "wait for the next look, or run tick_vm_ips", one.device)
        elif known.state == "stopped":
            text = f"the record takes {vm.name} for stopped, and it runs"
            yield Finding("queue", WARNING, text, "the next look enters it again: run tick_vm_ips", one.device)
        else:
            yield Finding("queue", OK, f"NIC {one.device} is found", None, one.device)


def agreement(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Is the address in the record the one that the guest has now?"""
    for one in _asked(vm):
        if one.recorded and one.recorded.address and one.address and one.recorded.address not in (one.address, *one.addresses):
            text = f"the record has {one.recorded.address} for NIC {one.device}, and the guest has {one.address} now"
            step = "set vm_ip_poll_recheck_interval, so that found addresses are read again; poll_vm_ips -e vm_ip_poll_recheck_interval=1 does it now"
            yield Finding("agreement", FAILED, text, step, one.device)


def last_look(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """When did somebody last look at this hypervisor?"""
    if site.record_problem:
        yield Finding("last_look", FAILED, site.record_problem, "mend the record: external_dhcp_record, its server or file")
    elif site.looked_at is None:
        yield Finding(
            "last_look", WARNING, f"nobody has looked at {site.name} yet", "run tick_vm_ips, and give it a schedule of 3 minutes"
        )
    elif site.look_problem:
        yield Finding(
            "last_look",
            FAILED,
            f"the last look of {site.look_host} failed: {site.look_problem}",
            "mend that, then run tick_vm_ips",
        )
    elif site.look_late:
        text = f"the last look was {_age(site.look_age)} ago, by {site.look_host}"
        yield Finding("last_look", WARNING, text, "see whether the schedule of tick_vm_ips runs")
    else:
        yield Finding("last_look", OK, f"the last look was {_age(site.look_age)} ago, by {site.look_host}")


def lock(site: SiteFacts, vm: VmFacts) -> Iterator[Finding]:
    """Does whoever polls still live?"""
    if site.lock_host is None:
        return
    text = f"{site.lock_host} polls since {_age(site.lock_age)}"
    if site.lock_silent is not None and site.lock_silent > SILENT:
        step = "see what that process does; a server frees the lock of a dead one, on SQLite end the process that hangs"
        yield Finding("lock", WARNING, f"{text} and has given no sign of life for {_age(site.lock_silent)}", step)
    else:
        yield Finding("lock", OK, text)


# In the order of causes.
CHECKS: tuple[Check, ...] = (
    hypervisor,
    exists,
    power,
    nic,
    network,
    mac,
    duplicate_address,
    machine_id,
    address_network,
    drive_checks.drive_present,
    drive_checks.drive_attached,
    drive_checks.drive_owner,
    drive_checks.drive_content,
    drive_checks.drive_label,
    guest_tools,
    range_free,
    dhcp,
    recorded,
    queue,
    agreement,
    address_range,
    last_look,
    lock,
    sources,
    drive_checks.scripts,
)


def _asked(vm: VmFacts) -> list[NicFacts]:
    """The NICs that the guest's answer is about; of several networks only the shared ones, where it is known which those are."""
    return [one for one in vm.nics if one.asked and (one.shared or not any(other.shared for other in vm.nics))]


def _where(one: NicFacts) -> str:
    if one.shared is None:
        return f"the network {one.network}"
    vlan = f" (VLAN {one.shared.vlan})" if one.shared.vlan else ""
    return f"{one.shared.name}{vlan}"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "some time"
    for least, unit, name in ((86400 * 2, 86400, "days"), (3600 * 2, 3600, "h"), (120, 60, "min")):
        if seconds >= least:
            return f"{int(seconds // unit)} {name}"
    return f"{max(0, int(seconds))} s"


def _is_private(text: str) -> bool:
    """Whether a guest gave itself this IPv4 address because no server answered (RFC 3927)."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.version == 4 and address.is_link_local
