# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: vm_nics
short_description: The VMs of the NIC record, at the addresses they got
version_added: 0.1.0
description:
  - Every VM in the record is a host, with its recorded address as C(ansible_host). Only the record's database is read.
  - The VMs that a job finds can be used in the same job after C(meta) C(refresh_inventory).
  - The inventory file's name must end in C(vm_nics.yml) or C(vm_nics.yaml).
  - A host's name is C(<VM>.<hypervisor>), with O(hostname_prefix) before and O(hostname_suffix) behind it, so that no VM is named
    like a host or group of yours; see O(hostname_with_hypervisor) and O(hostnames) for other names. Every character but letters, digits,
    dots, hyphens and underscores becomes an underscore. The VM's own name is in C(external_dhcp_vm).
  - Tenants choose the names of VMs. A name that several VMs would get, or that a host or group of another source has, is given to no VM;
    instead the hypervisor's name and then the VM's id are appended to it. A VM for which no name is left is left out, with a warning.
    The plugin knows only the sources before it, so list your own inventory first.
  - Hosts are in the groups C(hypervisor_<name>), C(network_<name>) for each of their NICs' networks, and C(state_<state>).
    The state is V(found) when all required NICs have an address, V(stopped) when the VM is off, V(gave_up) when a required NIC
    was given up, V(pending) otherwise.
  - Each host has the variables C(external_dhcp_vm), C(external_dhcp_vm_id), C(external_dhcp_hypervisor) and C(external_dhcp_state).
  - O(hostnames), O(compose), O(groups) and O(keyed_groups) can also use C(external_dhcp_nics), a list, as
    RV(vmops.external_dhcp.vm_nic_record_info#module:nics) with O(vmops.external_dhcp.vm_nic_record_info#module:detail=true); it is a
    variable of the hosts with O(host_nics=true).
  - Groups of O(keyed_groups) are named by values that may be a tenant's. If another source has a group, or any source a host, of that
    name, no VM joins it, with a warning; O(join_groups) lists groups that VMs may join nevertheless. Groups whose names you write
    yourself, in O(groups) or as C(parent_group), are not limited, nor are C(hypervisor_…), C(network_…) and C(state_…).
  - A VM without an address has no C(ansible_host); leave such VMs out with O(states).
  - O(vm_filter) uses what the last look read. Looks read folders and custom attributes of VMware only if their own
    O(vmops.external_dhcp.vm_ip_fetch#module:vm_filter) has folders or tags, and of VMware's tags only those that it has.
author:
  - vmops maintainers (@vmops)
extends_documentation_fragment:
  - vmops.external_dhcp.record
  - vmops.external_dhcp.record.plugin
  - vmops.external_dhcp.vm_filter
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description: V(vmops.external_dhcp.vm_nics).
    type: str
    required: true
    choices: [vmops.external_dhcp.vm_nics]
  hypervisor_name:
    description: Only VMs of these hypervisors.
    type: list
    elements: str
  networks:
    description: Only NICs in these networks, and VMs that have one.
    type: list
    elements: str
  states:
    description: Only VMs in these states.
    type: list
    elements: str
    choices: [pending, found, gave_up, stopped]
  hostnames:
    description:
      - Jinja expressions over the host's variables; the first one with a non-empty text as its value is the host's name.
      - If there is none, the name is V(external_dhcp_vm ~ '.' ~ external_dhcp_hypervisor).
    type: list
    elements: str
    default: []
  hostname_with_hypervisor:
    description:
      - Whether the default name ends in the hypervisor's name.
      - With V(false) whoever names a VM chooses the whole host name. A VM without an address has no C(ansible_host), and Ansible
        would then connect to whatever machine has that name; so set O(states=[found]), too.
    type: bool
    default: true
  hostname_prefix:
    description: A text before every host's name.
    type: str
    default: ''
  hostname_suffix:
    description: A text behind every host's name, such as V(.vms.example.com).
    type: str
    default: ''
  join_groups:
    description: Names of groups of other sources that O(keyed_groups) may put VMs into; C(*) and C(?) as in file names.
    type: list
    elements: str
    default: []
  host_nics:
    description:
      - Whether each host has the variable C(external_dhcp_nics) with everything that is recorded of its NICs.
      - An inventory of many thousand VMs then takes three times the time and memory; O(compose) makes variables of what is needed.
    type: bool
    default: false
  address_networks:
    description:
      - The networks whose address becomes C(ansible_host), in order of preference.
      - If not set, or if the VM has no address in any of them, the address of its first NIC with an address is used.
    type: list
    elements: str
"""

EXAMPLES = r"""
# corp.vm_nics.yml: all VMs that have their addresses; the record from the environment variable EXTERNAL_DHCP_RECORD
plugin: vmops.external_dhcp.vm_nics
states: [found]

---
# lab.vm_nics.yml: VMs of two hypervisors, reached through the management network where they have it
plugin: vmops.external_dhcp.vm_nics
record: sqlite:////var/lib/awx/record.db
hypervisor_name: [kvm01, kvm02]
address_networks: [management]
keyed_groups:
  - key: external_dhcp_nics | map(attribute='source') | select | first | default('none')
    prefix: source
compose:
  ansible_user: "'root'"
  mac: external_dhcp_nics[0].mac
groups:
  web: external_dhcp_vm.startswith('web')

---
# web.vm_nics.yml: those that the looks take into the record as well
plugin: vmops.external_dhcp.vm_nics
vm_filter:
  names: ["web*"]
  exclude_names: ["*-template"]

---
# short.vm_nics.yml: VMs by their first label and a domain of their own
plugin: vmops.external_dhcp.vm_nics
states: [found]
hostnames:
  - external_dhcp_vm.split('.') | first
hostname_suffix: .vms.example.com
"""

import fnmatch
import typing as t
import weakref

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import UserError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import collector
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.results import nic_result
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.vm_filter import read_vm_filter
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import first_of, plain
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._host_names import RESERVED, Wanted, clean, unique_names
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._unsafe import make_unsafe
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._vm_hosts import VmHost, vm_hosts

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ansible.parsing.dataloader import DataLoader

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import NicRecord


_LONGEST_NAME = 150
# For each inventory, the groups that keyed_groups of this plugin's files have made in it.
_KEYED_GROUPS: weakref.WeakKeyDictionary[InventoryData, set[str]] = weakref.WeakKeyDictionary()


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """Hosts from the NIC record."""

    NAME = "vmops.external_dhcp.vm_nics"
    inventory: t.Any  # of the base class, which has no types

    def verify_file(self, path: str) -> bool:
        return super().verify_file(path) and path.endswith(("vm_nics.yml", "vm_nics.yaml"))

    @collector.seldom()
    def parse(self, inventory: InventoryData, loader: DataLoader, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        # A hundred thousand VMs' NICs take gigabytes, most of all once Ansible has copied and tagged every text in them.
        keep_nics = any(self.get_option(option) for option in ("host_nics", "hostnames", "compose", "groups", "keyed_groups"))
        nics = self._nics(self.get_cache_key(path), cache)
        hosts = vm_hosts(nics, self.get_option("address_networks") or (), keep_nics)
        groups = {name: self._sanitize_group_name(name) for name in {name for host in hosts for name in host.groups}}
        names = self._names(hosts, groups.values())
        # Keyed groups are made aside first: their names may be a tenant's.
        aside = _Aside()
        for host in hosts:
            name = names.get(host.key)
            if name is not None and (self.get_option("states") is None or host.state in self.get_option("states")):
                self._add(name, host, groups, aside)
        self._take_groups(aside)

    def _names(self, hosts: Sequence[VmHost], own_groups: Iterable[str]) -> Mapping[tuple[str, str], str]:
        """Names of all VMs, also of those that are not shown: a VM's name must not depend on another VM's state."""
        keys = {host.key for host in hosts}
        # Another file of this plugin may have made a host of the same VM: that one is joined.
        others = {name for name, host in self.inventory.hosts.items() if _vm_of(host.vars) not in keys}
        names = unique_names([self._wanted(host) for host in hosts], others | {*self.inventory.groups, *own_groups})
        for what, found in (("are called otherwise", names.renamed), ("are left out", names.left_out)):
            if found:
                told = _told([f"{name} ({vm_id} on {hypervisor})" for (hypervisor, vm_id), name in found.items()])
                self.display.warning(f"VMs whose name another host or group has {what}: {told}")
        return names.names

    def _wanted(self, host: VmHost) -> Wanted:
        hypervisor, vm_id = clean(host.key[0]), clean(host.key[1])
        name = self._name_by_option(host)
        more: tuple[str, ...] = (hypervisor, vm_id)
        if not name:
            name = clean(host.name) or vm_id
            if self.get_option("hostname_with_hypervisor"):
                name, more = f"{name}.{hypervisor}", (vm_id,)
        return Wanted(host.key, name, more, self.get_option("hostname_prefix"), self.get_option("hostname_suffix"))

    def _name_by_option(self, host: VmHost) -> str:
        """The name by the option hostnames; empty if that gives none."""
        expressions = self.get_option("hostnames")
        variables = make_unsafe(host.variables()) if expressions else {}
        for expression in expressions:
            try:
                name = self._compose(expression, variables)
            except Exception as error:
                if self.get_option("strict"):
                    raise AnsibleParserError(f"hostnames: {expression}: {error}") from error
                continue
            if name is not None and str(name).strip():
                return clean(str(name))
        return ""

    def _nics(self, key: str, cache: bool) -> Iterable[dict[str, t.Any]]:
        """The NICs from the cache if it is to be used and valid; otherwise they are read, and the cache is filled."""
        use_cache = self.get_option("cache")
        if use_cache and cache:
            try:
                return self._cache[key]
            except KeyError:
                pass  # not there or expired
        nics: Iterable[dict[str, t.Any]] = (nic_result(nic, detail=True) for nic in self._read_record())
        if use_cache:
            nics = self._cache[key] = list(nics)
        return nics

    def _read_record(self) -> list[NicRecord]:
        try:
            with RecordStore.open(self._record_url()) as store:
                if not store.database.exists():
                    self.display.warning(f"{store.database.where} does not exist or has no tables yet: it has no VMs")
                    return []
                rows = store.nics(hypervisor_names=self.get_option("hypervisor_name"), networks=self.get_option("networks"))
                chosen = read_vm_filter(self.get_option("vm_filter"))
                if chosen is not None:
                    rows = [nic for nic in rows if chosen.chooses(nic.vm_name, nic.folder, nic.tags)]
                return rows
        except UserError as error:
            raise AnsibleParserError(str(error)) from error

    def _record_url(self) -> str | None:
        url = self.get_option("record")
        if url is not None and self.templar.is_template(url):
            url = self.templar.template(url)
            if not isinstance(url, str):
                raise AnsibleError("the option record must be a text")
        return url

    def _add(self, name: str, host: VmHost, groups: Mapping[str, str], aside: InventoryData) -> None:
        """groups: the names of the groups in the inventory by those in the record."""
        self.inventory.add_host(name)
        variables = make_unsafe(host.variables())
        for key, value in variables.items():
            if key != "external_dhcp_nics" or self.get_option("host_nics"):
                self.inventory.set_variable(name, key, value)
        for group in [groups[recorded] for recorded in host.groups]:
            if group not in self.inventory.hosts:
                self.inventory.add_child(self.inventory.add_group(group), name)
        strict = self.get_option("strict")
        if self.get_option("compose"):
            self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        if self.get_option("groups"):
            self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        if self.get_option("keyed_groups"):
            # What compose made can be used in keys.
            variables = {**variables, **self.inventory.hosts[name].get_vars()}
            real, self.inventory = self.inventory, aside
            try:
                self._add_host_to_keyed_groups(
                    self.get_option("keyed_groups"), variables, name, strict=strict, fetch_hostvars=False
                )
            finally:
                self.inventory = real

    def _take_groups(self, aside: _Aside) -> None:
        """Adds the keyed groups, except those that another source has, that are ours, or that have a host's name."""
        made = _KEYED_GROUPS.setdefault(self.inventory, set())  # by the files of this plugin that were read before
        written = {entry.get("parent_group") for entry in self.get_option("keyed_groups") or ()}
        never = {*self.inventory.hosts, *RESERVED}
        closed = {name for name in self.inventory.groups if name not in made and not self._may_join(name)} | never
        refused = [name for name in aside.members if name in closed]
        for name, members in aside.members.items():
            if name not in closed:
                made.add(self.inventory.add_group(name))
                for host in members:
                    self.inventory.add_child(name, host)
        for parent, child in aside.children:
            if child in closed or (parent in closed and (parent in never or parent not in written)):
                continue
            self.inventory.add_group(parent)
            try:
                if parent != child:
                    self.inventory.add_child(parent, child)
            except AnsibleError:  # the parent is below the child already
                refused.append(child)
        if refused:
            self.display.warning(
                "keyed_groups: these names are hosts or groups already, and no VM is put into them (join_groups lists those that "
                f"may be joined): {_told(refused)}"
            )

    def _may_join(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.get_option("join_groups"))


class _Aside:
    """Collects the groups that Ansible makes of keys, without checks."""

    def __init__(self) -> None:
        self.members: dict[str, list[str]] = {}
        self.children: dict[tuple[str, str], None] = {}

    def add_group(self, group: str) -> str:
        self.members.setdefault(group, [])
        return group

    def add_host(self, host: str, group: str) -> None:
        self.members[group].append(host)

    def add_child(self, parent: str, child: str) -> None:
        self.children[parent, child] = None


def _vm_of(variables: Mapping[str, t.Any]) -> tuple[t.Any, t.Any]:
    return variables.get("external_dhcp_hypervisor"), variables.get("external_dhcp_vm_id")


def _told(names: Sequence[str]) -> str:
    """Some names for a warning, made plain, because tenants chose them."""
    return plain(first_of([plain(name, _LONGEST_NAME) for name in dict.fromkeys(names)]), 1000)
