# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import datetime
import gc
import pathlib
import sys
import typing as t

import pytest
from ansible.errors import AnsibleError, AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import inventory_loader
from ansible.template import Templar

from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_ip_fetch import Request, fetch
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._nic_record.fake_hypervisor import (
    FakeHypervisor,
    guest,
)

NOW = datetime.datetime(2026, 11, 22, 8, 0, tzinfo=datetime.UTC)
NAME = "vmops.external_dhcp.vm_nics"


class Inventory:
    """One record and the inventory read from it."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.store = RecordStore(Database(f"sqlite:///{folder}/record.db"), lambda: NOW)
        self.store.database.prepare()

    def add(self, *guests: t.Any, hypervisor: str = "kvm01", polled: bool = True) -> None:
        self.store.enter(hypervisor, [one.facts() for one in guests])
        if polled:
            fetch(self.store, FakeHypervisor(guests).connect, Request(hypervisor))

    def read(
        self, more: str = "", cache: bool = False, plugin: t.Any = None, inventory: InventoryData | None = None
    ) -> InventoryData:
        path = self.folder / "test.vm_nics.yml"
        path.write_text(f"plugin: {NAME}\nrecord: sqlite:///{self.folder}/record.db\n{more}")
        plugin = plugin or inventory_loader.get(NAME)
        assert plugin.verify_file(str(path))
        inventory = inventory or InventoryData()
        plugin.parse(inventory, DataLoader(), str(path), cache)
        inventory.reconcile_inventory()
        return inventory


@pytest.fixture
def inventory(tmp_path: pathlib.Path) -> Inventory:
    return Inventory(tmp_path)


def groups(inventory: InventoryData, host: str) -> set[str]:
    return {group.name for group in inventory.hosts[host].groups} - {"all"}


def test_hosts_addresses_groups_and_variables(inventory: Inventory) -> None:
    inventory.add(
        guest(1, nics=2, answers={0: [], 1: ["10.0.0.1"]}),
        guest(2, answers={0: ["10.0.0.2", "fd00::2"]}, network="lab-net"),
        guest(3, answers=None),
    )
    inventory.store.stop("kvm01", [guest(3).facts()])
    data = inventory.read()
    assert {name: host.vars.get("ansible_host") for name, host in data.hosts.items()} == {
        "vm1.kvm01": "10.0.0.1",
        "vm2.kvm01": "10.0.0.2",
        "vm3.kvm01": None,
    }
    assert groups(data, "vm1.kvm01") == {"hypervisor_kvm01", "network_corp", "state_pending"}
    assert groups(data, "vm2.kvm01") == {"hypervisor_kvm01", "network_lab_net", "state_found"}
    assert groups(data, "vm3.kvm01") == {"hypervisor_kvm01", "network_corp", "state_stopped"}
    variables = data.hosts["vm2.kvm01"].vars
    assert variables["external_dhcp_vm_id"] == guest(2).id
    assert (variables["external_dhcp_hypervisor"], variables["external_dhcp_state"]) == ("kvm01", "found")
    assert "external_dhcp_nics" not in variables
    (nic,) = inventory.read("host_nics: true\n").hosts["vm2.kvm01"].vars["external_dhcp_nics"]
    assert (nic["mac"], nic["ip6_addresses"], nic["last_seen_at"]) == (guest(2).macs[0], ["fd00::2"], "2026-11-22T08:00:00Z")


def test_a_name_does_not_depend_on_who_else_has_it(inventory: Inventory) -> None:
    inventory.add(guest(1, answers={0: ["10.0.0.1"]}), guest(2))
    inventory.add(guest(1, answers={0: ["10.0.0.9"]}), hypervisor="kvm02")
    data = inventory.read()
    assert {name: host.vars.get("ansible_host") for name, host in data.hosts.items()} == {
        "vm1.kvm01": "10.0.0.1",
        "vm1.kvm02": "10.0.0.9",
        "vm2.kvm01": None,
    }
    assert data.hosts["vm1.kvm02"].vars["external_dhcp_vm"] == "vm1"
    inventory.add(named(3, "vm2"))
    ids = {f"vm2.kvm01.{guest(number).id}" for number in (2, 3)}
    assert set(inventory.read().hosts) == {"vm1.kvm01", "vm1.kvm02", *ids}


def named(number: int, name: str, **more: t.Any) -> t.Any:
    one = guest(number, answers={0: [f"10.0.0.{number}"]}, **more)
    one.name = name
    return one


def warnings_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    told: list[str] = []
    monkeypatch.setattr("ansible.utils.display.Display.warning", lambda self, text, *more, **options: told.append(text))
    return told


SHORT = "hostname_with_hypervisor: false\n"


def test_uniqueness_is_checked_after_every_renaming(inventory: Inventory) -> None:
    # web1 is on two hypervisors, so both become web1.<hypervisor>; one of these is the name of a third VM.
    inventory.add(named(1, "web1"), named(2, "web1.kvm01"), named(4, "solo"))
    inventory.add(named(3, "web1"), hypervisor="kvm02")
    hosts = inventory.read(SHORT).hosts
    assert {name: host.vars["ansible_host"] for name, host in hosts.items()} == {
        f"web1.kvm01.{guest(1).id}": "10.0.0.1",
        "web1.kvm01.kvm01": "10.0.0.2",
        "web1.kvm02": "10.0.0.3",
        "solo": "10.0.0.4",
    }


@pytest.mark.parametrize("more", ["", SHORT, "hostnames: [external_dhcp_vm]\n", "hostnames: ['\"db1\"']\n"])
def test_no_vm_takes_over_a_host_or_a_group(inventory: Inventory, monkeypatch: pytest.MonkeyPatch, more: str) -> None:
    names = [
        "all",
        "ungrouped",
        "localhost",
        "127.0.0.1",
        "DB1",
        "db1",
        "web",
        "kvm01",
        "state_found",
        "hypervisor_kvm01",
        "db1.kvm01",
    ]
    inventory.add(*(named(number, name) for number, name in enumerate(names, start=1)))
    static = InventoryData()
    for group in ("web", "db"):
        static.add_group(group)
    for host in ("localhost", "db1", "kvm01", "db1.kvm01"):
        static.add_host(host, "db")
        static.set_variable(host, "ansible_host", "192.0.2.1")
    told = warnings_of(monkeypatch)
    inventory.read(more, inventory=static)
    for host in ("localhost", "db1", "kvm01", "db1.kvm01"):
        assert static.hosts[host].vars == {"ansible_host": "192.0.2.1", **_place(static.hosts[host])}
        assert {group.name for group in static.hosts[host].groups} == {"all", "db"}
    ours = {host.vars["ansible_host"] for host in static.hosts.values() if "external_dhcp_vm" in host.vars}
    assert ours == {f"10.0.0.{number}" for number in range(1, len(names) + 1)}  # and no VM is missing
    assert not static.groups["web"].hosts and len(static.groups["db"].hosts) == 4
    assert not static.groups["state_found"].child_groups and not set(static.groups) & set(static.hosts)
    assert "called otherwise" in told[0] and len(told) == 1


def _place(host: t.Any) -> dict[str, t.Any]:
    return {name: value for name, value in host.vars.items() if name.startswith("inventory_")}


def test_who_has_no_name_left_is_left_out_and_told(inventory: Inventory, monkeypatch: pytest.MonkeyPatch) -> None:
    inventory.add(named(1, "web1"), named(2, "web2"))
    static = InventoryData()
    for name in ("web1.kvm01", f"web1.kvm01.{guest(1).id}"):
        static.add_host(name)
    told = warnings_of(monkeypatch)
    assert set(inventory.read(inventory=static).hosts) - {"web2.kvm01"} == {"web1.kvm01", f"web1.kvm01.{guest(1).id}"}
    assert all("external_dhcp_vm" not in static.hosts[name].vars for name in static.hosts if name.startswith("web1"))
    assert told == [f"VMs whose name another host or group has are left out: web1.kvm01 ({guest(1).id} on kvm01)"]


def test_hostnames_prefix_and_suffix(inventory: Inventory) -> None:
    inventory.add(named(1, "web1.example"), named(2, "-x /../y,all:!z"), named(3, "\u202eabc"))
    more = "hostnames: [\"external_dhcp_vm.split('.')[1]\", missing]\nhostname_prefix: vm-\nhostname_suffix: .corp\n"
    assert set(inventory.read(more).hosts) == {"vm-example.corp", "vm-_x__.._y_all__z.kvm01.corp", "vm-_u202eabc.kvm01.corp"}
    with pytest.raises(AnsibleError, match="hostnames: missing"):
        inventory.read(more + "strict: true\n")


def test_two_files_make_one_host_of_a_vm(inventory: Inventory) -> None:
    inventory.add(named(1, "web1"))
    more = "keyed_groups: [{key: \"'agent'\", prefix: source}]\n"
    data = inventory.read(more, inventory=inventory.read(more))
    assert set(data.hosts) == {"web1.kvm01"} and "source_agent" in groups(data, "web1.kvm01")


def test_keyed_groups_take_no_group_that_is_there(inventory: Inventory, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["web", "all", "state_found", "shop", "top", "new", "db1"]
    inventory.add(*(named(number, name) for number, name in enumerate(names, start=1)))
    static = InventoryData()
    for group in ("web", "shop", "top"):
        static.add_group(group)
    static.add_host("db1", "web")
    told = warnings_of(monkeypatch)
    key = "keyed_groups: [{key: external_dhcp_vm, prefix: '', separator: '', parent_group: top}]\n"
    inventory.read(f"{key}join_groups: [sho*]\nstates: [found]\n", inventory=static)
    assert [host.name for host in static.groups["web"].hosts] == ["db1"]
    assert [host.name for host in static.groups["shop"].hosts] == ["shop.kvm01"]
    assert len(static.groups["state_found"].hosts) == len(names)
    assert groups(static, "new.kvm01") == {"hypervisor_kvm01", "network_corp", "state_found", "new", "top"}
    assert groups(static, "db1") == {"web"}
    (line,) = told
    assert all(name in line for name in ("web", "all", "state_found", "db1", "top")) and "shop" not in line


def test_filters_and_the_network_of_the_address(inventory: Inventory) -> None:
    inventory.add(guest(1, answers={0: ["10.0.0.1"]}), guest(2))
    inventory.add(guest(5, answers={0: ["10.0.0.5"]}, network="lab"), hypervisor="kvm02")
    assert set(inventory.read("states: [found]\n").hosts) == {"vm1.kvm01", "vm5.kvm02"}
    assert set(inventory.read("hypervisor_name: [kvm02]\n").hosts) == {"vm5.kvm02"}
    assert set(inventory.read("networks: [corp]\n").hosts) == {"vm1.kvm01", "vm2.kvm01"}


def test_the_rule_for_our_vms(inventory: Inventory) -> None:
    inventory.store.enter(
        "vc01",
        [
            dataclasses.replace(guest(number).facts(), folder=f"/DC0/vm/tenant{number}", tags=(f"net={number}",))
            for number in (1, 2, 3)
        ],
    )
    assert set(inventory.read("vm_filter: {names: [vm?], exclude_names: [vm3]}\n").hosts) == {"vm1.vc01", "vm2.vc01"}
    assert set(inventory.read("vm_filter: {folders: [/DC0/vm/tenant2]}\n").hosts) == {"vm2.vc01"}
    assert set(inventory.read("vm_filter: {tags: ['net=[13]']}\n").hosts) == {"vm1.vc01", "vm3.vc01"}
    with pytest.raises(AnsibleParserError, match="vm_filter has 'name'"):
        inventory.read("vm_filter: {name: [vm1]}\n")


def test_address_networks_choose_the_nic(inventory: Inventory) -> None:
    from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._vm_hosts import vm_hosts

    inventory.add(guest(1, nics=2, answers={0: ["10.0.0.1"], 1: ["10.1.0.1"]}))
    nics = inventory.read("host_nics: true\n").hosts["vm1.kvm01"].vars["external_dhcp_nics"]
    nics[1]["network"] = "management"
    assert vm_hosts(nics)[0].address == "10.0.0.1"
    assert vm_hosts(nics, ["backup", "management"])[0].address == "10.1.0.1"
    nics[0].update(ip6_addresses=["fd00::1"], family_order=[6, 4])
    assert vm_hosts(nics)[0].address == "fd00::1"


def test_a_name_that_is_a_template_is_a_name(inventory: Inventory) -> None:
    bad = guest(1, answers={0: ["10.0.0.1"]}, network="{{ 2 + 2 }}")
    bad.name = "{{ 1 + 1 }}"
    inventory.add(bad)
    data = inventory.read("host_nics: true\n")
    (host,) = data.hosts.values()
    templar = Templar(loader=DataLoader(), variables=host.vars)
    assert host.name == "___1___1___.kvm01"
    for expression in ("external_dhcp_vm", "external_dhcp_nics[0].vm_name"):
        assert templar.template(trusted("{{ " + expression + " }}")) == "{{ 1 + 1 }}"
    assert templar.template(trusted("{{ external_dhcp_nics[0].network }}")) == "{{ 2 + 2 }}"
    assert groups(data, host.name) == {"hypervisor_kvm01", "network____2___2___", "state_found"}


def trusted(text: str) -> str:
    try:
        from ansible.template import trust_as_template
    except ImportError:  # ansible-core 2.18
        return text
    return trust_as_template(text)


def test_compose_groups_and_keyed_groups(inventory: Inventory) -> None:
    inventory.add(guest(1, answers={0: ["10.0.0.1"]}), guest(2, answers=None))
    data = inventory.read(
        "compose: {port: 20 + 2, mac: 'external_dhcp_nics[0].mac'}\n"
        "groups: {first: \"external_dhcp_vm.endswith('1')\"}\n"
        "keyed_groups: [{key: \"external_dhcp_nics[0].source or 'none'\", prefix: source}]\n"
    )
    assert int(data.hosts["vm1.kvm01"].vars["port"]) == 22  # ansible-core 2.18 makes texts here
    assert data.hosts["vm2.kvm01"].vars["mac"] == guest(2).macs[0]
    assert {"first", "source_agent"} <= groups(data, "vm1.kvm01")
    assert "source_none" in groups(data, "vm2.kvm01")
    assert not any("external_dhcp_nics" in host.vars for host in data.hosts.values())


def test_the_cache_is_used_until_a_refresh(inventory: Inventory) -> None:
    cache = f"cache: true\ncache_plugin: ansible.builtin.jsonfile\ncache_connection: {inventory.folder}/cache\n"
    inventory.add(guest(1, answers={0: ["10.0.0.1"]}))
    plugin = inventory_loader.get(NAME)
    inventory.read(cache, cache=True, plugin=plugin)
    plugin.update_cache_if_changed()
    inventory.add(guest(2, answers={0: ["10.0.0.2"]}))
    assert set(inventory.read(cache, cache=True).hosts) == {"vm1.kvm01"}
    assert set(inventory.read(cache, cache=False).hosts) == {"vm1.kvm01", "vm2.kvm01"}


def test_of_nics_that_nobody_wants_nothing_is_kept(inventory: Inventory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand of them would take gigabytes."""
    inventory.add(guest(1, nics=2, answers={0: ["10.0.0.1"], 1: []}))
    made: list[t.Any] = []
    plugin = sys.modules[inventory_loader.get(NAME).__class__.__module__]
    real = plugin.vm_hosts
    monkeypatch.setattr(plugin, "vm_hosts", lambda *words: made.extend(found := real(*words)) or found)
    plain = inventory.read()
    assert made.pop().nics == []
    for more in ("host_nics: true", "hostnames: [nobody]", "compose: {a: 1}", "groups: {a: true}", "keyed_groups: [{key: 1}]"):
        data = inventory.read(f"{more}\n")
        assert [nic["device"] for nic in made.pop().nics] == [0, 1], more
        assert _own(data.hosts["vm1.kvm01"]) == _own(plain.hosts["vm1.kvm01"])


def test_garbage_is_collected_seldom_while_hosts_are_made(inventory: Inventory, monkeypatch: pytest.MonkeyPatch) -> None:
    inventory.add(guest(1))
    usual, seen = gc.get_threshold(), []
    plugin = sys.modules[inventory_loader.get(NAME).__class__.__module__]
    real = plugin.vm_hosts
    monkeypatch.setattr(plugin, "vm_hosts", lambda *words: seen.append(gc.get_threshold()[0]) or real(*words))
    inventory.read()
    assert seen == [100_000] and gc.get_threshold() == usual


def _own(host: t.Any) -> dict[str, t.Any]:
    own = ("ansible_host", "external_dhcp_vm", "external_dhcp_vm_id", "external_dhcp_hypervisor", "external_dhcp_state")
    return {name: host.vars[name] for name in own}


def test_no_record_yet_is_an_empty_inventory(tmp_path: pathlib.Path) -> None:
    inventory = Inventory(tmp_path)
    (tmp_path / "record.db").unlink()
    assert not inventory.read().hosts
    assert not (tmp_path / "record.db").exists()


def test_an_error_names_the_record_without_its_password(inventory: Inventory) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(AnsibleError) as error:
        inventory.read("record: postgresql://me:s3cret-word@127.0.0.1:1/x\n")
    assert "127.0.0.1:1" in str(error.value) and "s3cret-word" not in str(error.value)


def test_other_files_are_left_to_other_plugins(tmp_path: pathlib.Path) -> None:
    for name in ("hosts.yml", "vm_nics.json", "vm_nics.yml.bak"):
        (tmp_path / name).write_text("")
        assert not inventory_loader.get(NAME).verify_file(str(tmp_path / name))
