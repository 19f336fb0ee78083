# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: vm_nics
short_description: The VMs of the NIC record, at the addresses they got
description:
  - Every VM in the record is a host, and its C(ansible_host) is the address that was found for it. Nothing is asked but the
    record's database.
  - A VM found in this job can be used in the same job after C(meta) C(refresh_inventory).
  - The inventory file's name must end in C(vm_nics.yml) or C(vm_nics.yaml).
  - A host's name is the VM's name. Where several VMs have the same name, all of them are named C(<VM>.<hypervisor>), and
    C(<VM>.<hypervisor>.<id>) where the hypervisor is the same too.
  - Hosts are in the groups C(hypervisor_<name>), C(network_<name>) for each of their NICs' networks, and C(state_<state>).
    The state is V(found) when all required NICs have an address, V(stopped) when the VM is off, V(gave_up) when a required NIC
    was given up, V(pending) otherwise.
  - Each host has the variables C(external_dhcp_nics) (a list, as RV(vmops.external_dhcp.vm_nic_record_info#module:nics) with
    O(vmops.external_dhcp.vm_nic_record_info#module:detail=true)), C(external_dhcp_vm), C(external_dhcp_vm_id),
    C(external_dhcp_hypervisor) and C(external_dhcp_state).
  - A VM without an address has no C(ansible_host); leave such VMs out with O(states).
author:
  - vmops maintainers (@vmops)
extends_documentation_fragment:
  - vmops.external_dhcp.record
  - vmops.external_dhcp.record.plugin
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
  address_networks:
    description:
      - The networks whose address becomes C(ansible_host), the best first.
      - If not set, or if the VM has no address in any of them, it is the address of its first NIC that has one.
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
groups:
  web: external_dhcp_vm.startswith('web')
"""

import typing as t

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.errors import RecordError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.results import nic_result
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._unsafe import make_unsafe
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._vm_hosts import VmHost, vm_hosts

if t.TYPE_CHECKING:
    from ansible.inventory.data import InventoryData
    from ansible.parsing.dataloader import DataLoader


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """Hosts from the NIC record."""

    NAME = "vmops.external_dhcp.vm_nics"

    def verify_file(self, path: str) -> bool:
        return super().verify_file(path) and path.endswith(("vm_nics.yml", "vm_nics.yaml"))

    def parse(self, inventory: InventoryData, loader: DataLoader, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        nics = self._nics(self.get_cache_key(path), cache)
        for host in vm_hosts(nics, self.get_option("address_networks") or ()):
            if self.get_option("states") is None or host.state in self.get_option("states"):
                self._add(host)

    def _nics(self, key: str, cache: bool) -> list[dict[str, t.Any]]:
        """From the cache if that is wanted and there is one; a refresh reads anew and fills it."""
        use_cache = self.get_option("cache")
        if use_cache and cache:
            try:
                return self._cache[key]
            except KeyError:
                pass  # not there or expired
        nics = self._read_record()
        if use_cache:
            self._cache[key] = nics
        return nics

    def _read_record(self) -> list[dict[str, t.Any]]:
        database = None
        try:
            database = Database(self._record_url())
            if not database.exists():
                self.display.warning(f"{database.where} does not exist or has no tables yet: it has no VMs")
                return []
            rows = RecordStore(database).nics(
                hypervisor_names=self.get_option("hypervisor_name"), networks=self.get_option("networks")
            )
            return [nic_result(nic, detail=True) for nic in rows]
        except RecordError as error:
            raise AnsibleParserError(str(error)) from error
        finally:
            if database is not None:
                database.close()

    def _record_url(self) -> str | None:
        url = self.get_option("record")
        if url is not None and self.templar.is_template(url):
            url = self.templar.template(url)
            if not isinstance(url, str):
                raise AnsibleError("the option record must be a text")
        return url

    def _add(self, host: VmHost) -> None:
        name = make_unsafe(host.name)
        self.inventory.add_host(name)
        variables = make_unsafe(host.variables())
        for key, value in variables.items():
            self.inventory.set_variable(name, key, value)
        for group in host.groups():
            self.inventory.add_child(self.inventory.add_group(self._sanitize_group_name(group)), name)
        strict = self.get_option("strict")
        if self.get_option("compose"):
            self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        if self.get_option("groups"):
            self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        if self.get_option("keyed_groups"):
            self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)
