#!/usr/bin/python
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_ip_fetch
short_description: Poll a hypervisor once for the addresses that its VMs got from an external DHCP server
version_added: 0.1.0
description:
  - Makes the record agree with the VMs of the hypervisor (O(reconcile)), takes the NICs that are due from the record's queue, reads their
    addresses in bulk, and records each answer as it arrives, with an event.
  - A NIC enters the queue by O(reconcile) or by M(vmops.external_dhcp.vm_nic_record). It is looked at by the next poll, then every
    O(interval) seconds until its address is found or O(max_retry) tries have failed. The record counts the tries, whoever polls.
  - Call it with O(looks) to wait for the addresses, or once from a schedule every few minutes. Each look but the last prints which NICs
    are still waited for, and why.
  - Only one poller works at a time on a hypervisor. A second one ends well at once with RV(skipped) and says who polls, and since
    when. The lock is held by the database. It is released when the process that holds it ends, or within a minute if its machine dies.
  - If the holder of the lock gives no sign of life, or has held it for very long, the skipped task warns, and later fails.
  - A hypervisor that cannot be reached makes the task fail, but takes no tries, because nobody looked at the guests. The record
    keeps the addresses, with the reason V(hypervisor_unreachable); the NICs are due again after O(interval).
author:
  - vmops maintainers (@vmops)
extends_documentation_fragment:
  - vmops.external_dhcp.hypervisor
  - vmops.external_dhcp.record
  - vmops.external_dhcp.vm_filter
  - vmops.external_dhcp.dns_option
  - vmops.external_dhcp.attributes
  - vmops.external_dhcp.attributes.changing_module
attributes:
  check_mode:
    details:
      - In check mode nothing is polled; the result says what is waited for, and with O(sources=[]) what O(reconcile) would do.
  diff_mode:
    support: none
  idempotent:
    details:
      - A poll reports a change when an address was found, changed or lost, or when a NIC was given up.
options:
  hypervisor_name:
    description: The name under which the record keeps this hypervisor's VMs, as in M(vmops.external_dhcp.vm_nic_record).
    type: str
    required: true
  vms:
    description:
      - Only the NICs of VMs with these names are polled and counted; a list, or a text with commas between them.
      - If not set, the NICs of all VMs of the hypervisor.
    type: raw
  reconcile:
    description:
      - Whether the poll first reads all VMs of the hypervisor, without asking their guests, and makes the record agree with them. So
        the record learns of VMs that others started, stopped, destroyed, renamed, restarted, made anew or moved, and of NICs that were
        added or removed.
      - With O(vms) it is not done. Without it the module connects to the hypervisor only when a NIC is due.
    type: bool
    default: true
  networks:
    description:
      - The networks whose NICs are watched, as O(vmops.external_dhcp.vm_nic_record#module:networks) takes them. NICs of running VMs in
        one of them enter the queue. NICs in other networks that are in the record already stay in it.
      - If only O(vm_filter) is set, NICs in all networks are watched. With neither, no new NIC enters the record.
    type: list
    elements: raw
  rearm:
    description: Whether NICs that were given up get all their tries again, and are looked for at once.
    type: bool
    default: false
  keep_events_days:
    description: The look removes events older than this many days, at most 5,000 at a time.
    type: int
    default: 90
  keep_events:
    description: At most this many events are kept; the look removes the oldest ones.
    type: int
    default: 1000000
  fail_on:
    description:
      - What makes the task fail, after everything is recorded, although the look itself was good.
      - V(gave_up) fails it when this call gave up a required NIC, V(lost) when it gave up a known address.
      - V(stale) fails it when a hypervisor of the record had no look without a problem for three of its intervals. Otherwise this is a
        warning.
    type: list
    elements: str
    choices: [gave_up, lost, stale]
    default: []
  metrics_file:
    description:
      - A file to write after the look, for the textfile collector of a node exporter. It has the health of all hypervisors of the record
        as OpenMetrics text (when they were last looked at, how long it took, NICs by state, what is waited for).
    type: path
  ephemeral_record:
    description:
      - Whether to accept a record that is lost with the container this runs in. Otherwise the module fails in a container if O(record) is
        not set and the default file is not on a volume, because each job would begin with an empty record without anybody noticing.
    type: bool
    default: false
  sources:
    description:
      - The address sources to ask, in this order, as O(vmops.external_dhcp.vm_ip_info#module:sources). If not set, its default.
      - With an empty list no guest is asked, and no try is taken; only O(reconcile) is done.
    type: list
    elements: str
  interval:
    description:
      - Seconds between two looks at the same NIC.
      - A NIC counts as due a tenth of that early, so that a schedule or a loop with the same period finds it due each time
        although its runs start some seconds sooner or later.
    type: int
    default: 180
  max_retry:
    description: Number of failed tries after which a NIC is given up, unless M(vmops.external_dhcp.vm_nic_record) set another for it.
    type: int
    default: 10
  workers:
    description: How many guests are asked at the same time, where each guest has to be asked by itself.
    type: int
    default: 10
  timeout:
    description: Longest time to wait for the answer of one guest, in seconds.
    type: float
    default: 10
  lock_scope:
    description:
      - V(hypervisor) has one poller for each hypervisor, so that the hosts of a play, AWX job slices and controllers poll
        different hypervisors side by side, and one that does not answer delays no other.
      - V(global) has one poller for the whole record. Hypervisors are then polled one after the other, and each poller waits
        for those before it. Pollers of both kinds exclude each other.
    type: str
    choices: [global, hypervisor]
    default: hypervisor
  lock_wait:
    description:
      - Seconds to wait for the lock while another poller has it, before the poll is skipped.
      - If not set, as long as O(interval) with O(lock_scope=global), and not at all with O(lock_scope=hypervisor).
    type: int
  recheck_interval:
    description:
      - Seconds after which a found address is read again, to follow changes of the lease; V(0) never looks again.
      - A changed address is recorded with an event C(EXTERNAL.DHCP.VM.IP.CHANGED).
    type: int
    default: 0
  relook_interval:
    description:
      - Seconds after which a NIC that was given up is looked at again, without taking a try; V(0) never looks again. So the record gets
        the address of a VM that was started while the DHCP server was down.
    type: int
    default: 3600
  settle:
    description:
      - Seconds for which a new address must be unchanged before it is recorded; V(0) records it at once.
      - Use it where guests get a first address from another network while they start. An address then takes two looks or more.
    type: int
    default: 0
  suspect_readings:
    description:
      - A known address counts as lost when this many readings in a row did not have it. Readings that failed (no guest tools,
        time-out, hypervisor not reachable) do not count.
    type: int
    default: 3
  syslog:
    description: Whether events also go to the system's log, one line each.
    type: bool
    default: true
  watch:
    description:
      - After its look the task listens to the hypervisor until so many seconds after its start; V(0) does not listen. With V(170) in
        a schedule of three minutes some task is nearly always listening.
      - A hint of the hypervisor about a VM (its guest agent has connected, its guest has another address, it was started, stopped, made
        or removed) leads to a reading of that VM, which is recorded at once.
      - Hints take no tries and are not relied on. If one is lost, the next look finds the change.
      - A hint leads only to readings from C(agent), C(guest_metrics) or C(tools), also of NICs that are found or given up.
      - One task listens to a hypervisor at a time, under the lock C(vmIpWatch:<hypervisor>). Others wait for its end, and listen for the
        rest of their time. The poller's lock is taken for moments only, so that looks go on.
      - With a time longer than O(interval) a further look is taken every O(interval) seconds. After a look with a problem the task ends.
      - With O(looks) listening takes the place of O(pause), and ends when nothing is waited for.
    type: int
    default: 0
  limit:
    description:
      - How many NICs the result lists at most, of all O(looks) together, first those of RV(lost), then of RV(gave_up), RV(found), RV(waiting).
        RV(omitted) says how many are left out. AWX drops results above 700,000 characters; a thousand NICs stay below that.
    type: int
    default: 1000
  looks:
    description:
      - How many looks to take at most. After each look the task ends if nothing is waited for, else it waits for O(pause) seconds.
      - The task fails if something is still waited for after the last look. RV(found), RV(gave_up) and RV(lost) are those of all looks.
      - A loop with C(until), C(retries) and C(delay) does the same, but Ansible calls each further look a failed try.
    type: int
    default: 1
  pause:
    description: Seconds between two looks. If not set, O(interval).
    type: int
seealso:
  - module: vmops.external_dhcp.vm_nic_record
  - module: vmops.external_dhcp.vm_nic_record_info
"""

EXAMPLES = r"""
- name: Poll until every VM has its addresses, or all tries are used up
  vmops.external_dhcp.vm_ip_fetch:
    hypervisor: "{{ hypervisor }}"
    hypervisor_name: "{{ inventory_hostname }}"
    looks: 11

- name: Poll from a schedule of every three minutes, and listen to the hypervisor until the next one
  vmops.external_dhcp.vm_ip_fetch:
    hypervisor: "{{ hypervisor }}"
    hypervisor_name: "{{ inventory_hostname }}"
    networks: "{{ shared_networks }}"
    watch: 170

- name: Make the record agree with the VMs of some names, without asking their guests
  vmops.external_dhcp.vm_ip_fetch:
    hypervisor: "{{ hypervisor }}"
    hypervisor_name: "{{ inventory_hostname }}"
    networks: "{{ shared_networks }}"
    vm_filter:
      names: ["web*", "db?"]
      exclude_names: ["*-template"]
    sources: []

- name: Poll two new VMs every five seconds, and take an address only when it has stood for ten
  vmops.external_dhcp.vm_ip_fetch:
    hypervisor: "{{ hypervisor }}"
    hypervisor_name: "{{ inventory_hostname }}"
    vms: [web1, web2]
    interval: 5
    max_retry: 60
    settle: 10
  register: fetch
  until: fetch.pending == 0
  retries: 60
  delay: 5
"""

RETURN = r"""
looks:
  description: How many looks were taken.
  returned: when O(looks) is above V(1)
  type: int
  sample: 3
pending:
  description: How many required NICs are still in the queue; V(0) means that there is nothing to wait for.
  returned: always, after the options were accepted and the record opened
  type: int
  sample: 1
looked_at:
  description: How many NICs were looked at by this call.
  returned: as RV(pending)
  type: int
  sample: 2
found:
  description: The NICs whose address was found, or was found to have changed, by this call.
  returned: as RV(pending)
  type: list
  elements: dict
  contains:
    vm:
      description: The VM's name.
      type: str
      sample: web1
    nic:
      description: Position of the NIC on the VM, counted from 0.
      type: int
      sample: 0
    mac:
      description: MAC address of the NIC.
      type: str
      sample: "52:54:00:6b:3c:58"
    network:
      description: The network's name.
      type: str
      sample: corp-vlan120
    address:
      description: The address that counts, of the first family of the NIC's order; V(none) while it is not known.
      type: str
      sample: 10.99.0.57
    ip4_address:
      description: The IPv4 address.
      type: str
      sample: 10.99.0.57
    ip6_addresses:
      description: The IPv6 addresses.
      type: list
      elements: str
      sample: []
    previous_address:
      description: The address it had before, or V(none).
      type: str
      sample: null
    source:
      description: The source that told the address.
      type: str
      sample: agent
    in_range:
      description: V(false) if the address lies outside the announced range, V(none) if no range was given.
      type: bool
      sample: true
waiting:
  description: The NICs that are still in the queue.
  returned: as RV(pending)
  type: list
  elements: dict
  contains:
    vm:
      description: The VM's name.
      type: str
      sample: web2
    nic:
      description: Position of the NIC on the VM, counted from 0.
      type: int
      sample: 0
    mac:
      description: MAC address of the NIC.
      type: str
      sample: "52:54:00:6b:3c:59"
    required:
      description: Whether the NIC is counted in RV(pending).
      type: bool
      sample: true
    reason:
      description:
        - Why there is no address yet, in one of the words of M(vmops.external_dhcp.vm_ip_info), V(not_polled_yet) or V(settling).
      type: str
      sample: no_lease
    message:
      description: The reason as a sentence that says what to do.
      type: str
      sample: "NIC 52:54:00:6b:3c:59: the guest reports no address for it; check that the DHCP server serves this network and the guest asks it"
    tries_left:
      description: How many failed tries are left.
      type: int
      sample: 9
gave_up:
  description: The NICs that were given up by this call, with the same keys as RV(waiting).
  returned: as RV(pending)
  type: list
  elements: dict
  sample: []
lost:
  description: The NICs whose known address was given up by this call, with the same keys as RV(waiting).
  returned: as RV(pending)
  type: list
  elements: dict
  sample: []
omitted:
  description: How many NICs are left out of RV(lost), RV(gave_up), RV(found) and RV(waiting), because of O(limit).
  returned: as RV(pending)
  type: dict
  sample: {}
complaints:
  description: The reasons of O(fail_on) for the task to fail, a sentence for each NIC that was given up or lost by this call.
  returned: when there are any
  type: list
  elements: str
  sample: ["address lost: web1 NIC 0 (no_lease)"]
reconciled:
  description:
    - Which VMs O(reconcile) found changed, as lists of their names (at most 50 each) under C(entered), C(started), C(restarted),
      C(stopped), C(removed), C(moved here) and C(moved away).
  returned: as RV(pending)
  type: dict
  sample: {"entered": ["web3"]}
dns:
  description: What O(dns) changed.
  returned: with O(dns)
  type: dict
  contains:
    changes:
      description: How many names were changed.
      type: int
      sample: 3
    problems:
      description: What went wrong, a sentence each.
      type: list
      elements: str
      sample: []
watched:
  description: Figures of the listening; the NICs are in RV(found) and the other lists.
  returned: when O(watch) is above V(0)
  type: dict
  contains:
    hints:
      description: How many hints the hypervisor gave.
      type: int
      sample: 4
    readings:
      description: How many times a VM was read because of one.
      type: int
      sample: 3
    reconnects:
      description: How many times the connection broke and was made anew.
      type: int
      sample: 0
    stood_by:
      description: For how many seconds this task waited because another one was listening.
      type: float
      sample: 0.0
skipped:
  description: Whether nothing was done because another poller is at work.
  returned: as RV(pending)
  type: bool
  sample: false
lock_holder:
  description: Who polls, if RV(skipped); V(none) otherwise.
  returned: as RV(pending)
  type: dict
  contains:
    lock:
      description: Name of the lock.
      type: str
      sample: vmIpFetch:kvm01
    host:
      description: The controller's host name.
      type: str
      sample: awx-job-417
    pid:
      description: The process there.
      type: int
      sample: 42
    since:
      description: When the lock was taken, in UTC.
      type: str
      sample: "2026-11-22T08:49:00Z"
    alive_at:
      description: The holder's last sign of life, in UTC.
      type: str
      sample: "2026-11-22T08:51:10Z"
    job:
      description: Number of the AWX job it runs in, or V(none).
      type: str
      sample: "417"
next_try:
  description: When the next NIC is due, in UTC; V(none) if nothing is waited for.
  returned: as RV(pending)
  type: str
  sample: "2026-11-22T08:52:00Z"
msg:
  description: The result in one line.
  returned: always
  type: str
  sample: 2 looked at, 1 found, 0 given up; 1 waited for
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec, _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_ip_fetch import run_module


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **_argspec.hypervisor(),
            **_argspec.record(),
            "hypervisor_name": {"type": "str", "required": True},
            "vms": {"type": "raw"},
            "reconcile": {"type": "bool", "default": True},
            "networks": {"type": "list", "elements": "raw"},
            **_argspec.vm_filter(),
            "rearm": {"type": "bool", "default": False},
            "keep_events_days": {"type": "int", "default": 90},
            "keep_events": {"type": "int", "default": 1000000},
            "metrics_file": {"type": "path"},
            "fail_on": {"type": "list", "elements": "str", "choices": ["gave_up", "lost", "stale"], "default": []},
            "ephemeral_record": {"type": "bool", "default": False},
            "sources": {"type": "list", "elements": "str"},
            "interval": {"type": "int", "default": _defaults.INTERVAL},
            "max_retry": {"type": "int", "default": _defaults.MAX_RETRY},
            "workers": {"type": "int", "default": _defaults.WORKERS},
            "timeout": {"type": "float", "default": _defaults.GUEST_TIMEOUT},
            "lock_scope": {"type": "str", "choices": ["global", "hypervisor"], "default": "hypervisor"},
            "lock_wait": {"type": "int"},
            "recheck_interval": {"type": "int", "default": 0},
            "relook_interval": {"type": "int", "default": _defaults.RELOOK},
            "settle": {"type": "int", "default": 0},
            "suspect_readings": {"type": "int", "default": _defaults.SUSPECT_READINGS},
            "syslog": {"type": "bool", "default": True},
            "watch": {"type": "int", "default": 0},
            "limit": {"type": "int", "default": _defaults.LOOK_LIMIT},
            **_argspec.dns(),
            # The action plugin sees to these.
            "looks": {"type": "int", "default": 1},
            "pause": {"type": "int"},
        },
        supports_check_mode=True,
    )
    run_module(module)


if __name__ == "__main__":
    main()
