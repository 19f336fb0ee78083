# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The life of XenServer VMs in bulk: create, start, stop, migrate, change NICs, delete, and what may go wrong on the way."""

from __future__ import annotations

import threading
import time

import pytest
from xapi_rig.facts import NULL
from xapi_rig.pool import CutConnection
from xapi_rig.rigging import GIB

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    HypervisorUnreachable,
    NicWanted,
    VmWanted,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver import power
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.marks import CREATED_KEY, unfinished_name

CORP = "corp-vlan120"


@pytest.fixture
def template(rig):
    return rig.vm("debian-12", template=True)


def wanted(*names, **more):
    return [VmWanted(name, "debian-12", **{"nics": (NicWanted(CORP),), **more}) for name in names]


def named(rig, name):
    return [vm for vm in rig.pool.store.all("VM") if vm["name_label"] == name]


def one(rig, name):
    (vm,) = named(rig, name)
    return vm


def nics(rig, vm):
    store = rig.pool.store
    vifs = sorted((store.get("VIF", ref) for ref in vm["VIFs"]), key=lambda vif: int(vif["device"]))
    return [(int(v["device"]), store.get("network", v["network"])["name_label"], v["MAC"]) for v in vifs]


def cds(rig, vm):
    store = rig.pool.store
    drives = [store.get("VBD", ref) for ref in vm["VBDs"]]
    return {int(d["userdevice"]): d["empty"] for d in drives if d["type"] == "CD"}


def disks(rig, vm):
    store = rig.pool.store
    drives = sorted((store.get("VBD", ref) for ref in vm["VBDs"]), key=lambda d: int(d["userdevice"]))
    return [store.get("VDI", d["VDI"]) for d in drives if d["type"] == "Disk"]


def vms_of(pool, *names):
    return list(pool.inventory.vms(names).vms)


def good(outcomes):
    outcomes = list(outcomes)
    assert [o.error for o in outcomes] == [None] * len(outcomes)
    return outcomes


# -- create --------------------------------------------------------------------------------------------------------------


def test_created_vms_are_powered_off_marked_and_no_templates(rig, connect, template):
    pool = connect()
    outcomes = good(pool.machines.create(wanted("web1", "web2")))
    assert {o.name for o in outcomes} == {"web1", "web2"}
    listed = {vm.name: vm for vm in pool.inventory.vms().vms}
    for outcome in outcomes:
        vm = one(rig, outcome.name)
        assert outcome.changed and outcome.id == vm["uuid"]
        assert (vm["power_state"], vm["is_a_template"], vm["other_config"][CREATED_KEY]) == ("Halted", False, vm["uuid"])
        assert listed[outcome.name].ours and not listed[outcome.name].is_template
        assert cds(rig, vm) == {1: True, 3: True}
    assert one(rig, "debian-12")["is_a_template"]
    assert not rig.pool.store.by_class["task"]


def test_a_clone_of_our_vm_is_not_ours(rig, connect, template):
    pool = connect()
    good(pool.machines.create(wanted("web1")))
    rig.clone(one(rig, "web1"), "web1-copy")
    listed = {vm.name: vm.ours for vm in pool.inventory.vms().vms}
    assert listed == {"web1": True, "web1-copy": False}


def test_nics_are_those_asked_for(rig, connect):
    rig.vm("debian-12", template=True, nics=3)
    pool = connect()
    good(pool.machines.create([
        VmWanted("kept", "debian-12"),
        VmWanted("fewer", "debian-12", nics=(NicWanted("corp-vlan130"),)),
        VmWanted("mac", "debian-12", nics=(NicWanted(CORP, "02:00:00:AA:bb:01"), NicWanted("corp-vlan130"))),
        VmWanted("more", "debian-12", nics=(NicWanted(CORP),) * 4),
        VmWanted("none", "debian-12", nics=()),
    ]))  # fmt: skip
    assert [n[:2] for n in nics(rig, one(rig, "kept"))] == [(0, CORP), (1, "corp-vlan130"), (2, "corp-vlan140")]
    assert [n[:2] for n in nics(rig, one(rig, "fewer"))] == [(0, "corp-vlan130")]
    assert nics(rig, one(rig, "mac"))[0] == (0, CORP, "02:00:00:aa:bb:01")
    assert [n[:2] for n in nics(rig, one(rig, "mac"))] == [(0, CORP), (1, "corp-vlan130")]
    assert [n[:2] for n in nics(rig, one(rig, "more"))] == [(n, CORP) for n in range(4)]
    assert nics(rig, one(rig, "none")) == []
    macs = [n[2] for name in ("kept", "fewer", "mac", "more") for n in nics(rig, one(rig, name))]
    assert len(set(macs)) == len(macs)


def test_the_templates_cd_stays_the_templates(rig, connect, template):
    store = rig.pool.store
    vdi = store.add("VDI", SR=rig.disk_sr.ref, name_label="install.iso", type="user", managed=True, read_only=True)
    (drive,) = [store.get("VBD", ref) for ref in template["VBDs"] if store.get("VBD", ref)["type"] == "CD"]
    store.set(drive, VDI=vdi.ref, empty=False)
    pool = connect()
    good(pool.machines.create(wanted("web1")))
    assert cds(rig, one(rig, "web1")) == {1: True, 3: True}
    assert cds(rig, template) == {3: False}


def test_memory_cpus_disk_and_host(rig, connect, template):
    pool = connect()
    good(pool.machines.create([
        *wanted("big", memory=4096, cpus=4, disk_size=20 * GIB, placement={"host": "xen02"}),
        *wanted("small", memory=256, cpus=1),
    ]))  # fmt: skip
    big, small = one(rig, "big"), one(rig, "small")
    assert (big["memory_static_max"], big["memory_dynamic_min"], big["memory_dynamic_max"]) == (4 * GIB,) * 3
    assert (big["VCPUs_max"], big["VCPUs_at_startup"], big["affinity"]) == (4, 4, rig.hosts["xen02"].ref)
    assert [d["virtual_size"] for d in disks(rig, big)] == [20 * GIB]
    assert (small["memory_static_max"], small["memory_static_min"]) == (256 << 20, 256 << 20)
    assert [d["virtual_size"] for d in disks(rig, small)] == [10 * GIB]


def test_full_clone_copies_and_a_linked_one_clones(rig, connect, template):
    pool = connect()
    other = rig.pool.store.add("SR", name_label="fast", type="lvm", content_type="user")
    rig.pool.store.add("PBD", SR=other.ref, host=rig.hosts["xen02"].ref, currently_attached=True)
    good(pool.machines.create([
        *wanted("linked"), *wanted("full", full_clone=True), *wanted("moved", placement={"sr": "fast", "host": "xen02"}),
        *wanted("same", placement={"sr": "shared-lvm"}),
    ]))  # fmt: skip
    assert rig.pool.calls.count("Async.VM.clone") == 2 and rig.pool.calls.count("Async.VM.copy") == 2
    assert disks(rig, one(rig, "moved"))[0]["SR"] == other.ref
    assert disks(rig, one(rig, "full"))[0]["SR"] == rig.disk_sr.ref


def test_vms_of_one_kind_are_clones_of_the_first(rig, connect, template):
    pool = connect()
    alike = {"memory": 4096, "cpus": 4, "disk_size": 20 * GIB, "placement": {"host": "xen02"}}
    good(pool.machines.create([*wanted("big1", "big2", **alike), *wanted("plain1", "plain2"), *wanted("cpus", cpus=4)]))
    once = ["VM.set_memory_limits", "VM.set_affinity", "Async.VDI.resize"]
    assert [rig.pool.calls.count(call) for call in once] == [1, 1, 1]
    assert rig.pool.calls.count("VM.set_VCPUs_max") == 2 and rig.pool.calls.count("VM.set_is_a_template") == 3
    for name in ("big1", "big2"):
        vm = one(rig, name)
        assert (vm["memory_static_max"], vm["VCPUs_at_startup"], vm["affinity"]) == (4 * GIB, 4, rig.hosts["xen02"].ref)
        assert [d["virtual_size"] for d in disks(rig, vm)] == [20 * GIB] and vm["other_config"][CREATED_KEY] == vm["uuid"]
    assert one(rig, "plain2")["VCPUs_max"] == template["VCPUs_max"] and one(rig, "plain2")["affinity"] == template["affinity"]
    every = [mac for name in ("big1", "big2", "plain1", "plain2", "cpus") for _device, _network, mac in nics(rig, one(rig, name))]
    assert len(set(every)) == len(every) == 5


def test_without_the_first_the_others_are_made_of_the_template(rig, connect, template):
    rig.pool.fault("VM.set_is_a_template", "error", error=("INTERNAL_ERROR", "no room"))
    pool = connect()
    outcomes = {o.name: o.error for o in pool.machines.create(wanted("web1", "web2", "web3"))}
    assert "no room" in outcomes.pop("web1") and outcomes == {"web2": None, "web3": None}
    assert not one(rig, "web2")["is_a_template"] and not one(rig, "web3")["is_a_template"]


def test_a_template_that_asks_for_disks_is_provisioned(rig, connect, template):
    asks = '<provision><disk device="0" size="8589934592" sr="" bootable="true" type="system"/></provision>'
    blank = rig.vm("Debian 12 (blank)", template=True, disks=0)
    rig.pool.store.set(blank, other_config={**blank["other_config"], "disks": asks, "default_template": "true"})
    pool = connect()
    good(pool.machines.create([VmWanted("web1", "Debian 12 (blank)"), VmWanted("web2", "Debian 12 (blank)")]))
    assert rig.pool.calls.count("Async.VM.provision") == 2
    for vm in (one(rig, "web1"), one(rig, "web2")):
        assert not vm["is_a_template"] and "disks" not in vm["other_config"] and vm["other_config"][CREATED_KEY] == vm["uuid"]
        assert [(d["virtual_size"], d["SR"]) for d in disks(rig, vm)] == [(8 * GIB, rig.disk_sr.ref)]


def test_a_halted_vm_can_be_the_template(rig, connect):
    rig.vm("golden")
    pool = connect()
    good(pool.machines.create([VmWanted("web1", "golden")]))
    assert rig.pool.calls.count("VM.set_is_a_template") == 0
    good(pool.machines.start(vms_of(pool, "web1")))


def test_what_stands_against_creating(rig, connect, template):
    rig.vm("twin", template=True)
    rig.vm("twin", template=True)
    running = rig.vm("running")
    rig.power(running, "start")
    mac = nics(rig, rig.vm("other"))[0][2]
    rig.pool.store.set(template, platform={**template["platform"], "cores-per-socket": "2"})
    rig.pool.store.set(rig.pool.store.get("host_metrics", rig.hosts["xen02"]["metrics"]), live=False)
    pool = connect()
    cases = {
        "a": VmWanted("a", "debian-13"),
        "b": VmWanted("b", "twin"),
        "c": VmWanted("c", "running"),
        "d": VmWanted("d", "debian-12", nics=(NicWanted("corp-vlan999"),)),
        "e": VmWanted("e", "debian-12", nics=(NicWanted(CORP, mac),)),
        "f": VmWanted("f", "debian-12", nics=(NicWanted(CORP, "01:00:5e:00:00:01"),)),
        "g": VmWanted("g", "debian-12", disk_size=GIB),
        "h": VmWanted("h", "debian-12", cpus=3),
        "i": VmWanted("i", "debian-12", placement={"cluster": "c1"}),
        "j": VmWanted("j", "debian-12", placement={"sr": "nowhere"}),
        "k": VmWanted("k", "debian-12", placement={"host": "xen09"}),
        "l": VmWanted("l", "debian-12", placement={"host": "xen02"}),
    }
    said = pool.machines.check([*cases.values(), *wanted("fine")])
    words = {
        "a": "no template debian-13", "b": "2 templates are named twin", "c": "is running", "d": "no network corp-vlan999",
        "e": "is that of a NIC of other", "f": "none that a NIC can have", "g": "only grows", "h": "2 cores per socket",
        "i": "placement.cluster", "j": "placement.sr nowhere", "k": "hosts are xen01, xen02", "l": "takes no VMs",
    }  # fmt: skip
    assert set(said) == set(words)
    for name, text in words.items():
        assert text in said[name]
    outcomes = {o.name: o for o in pool.machines.create([*cases.values(), *wanted("fine")])}
    assert outcomes["fine"].error is None and one(rig, "fine")
    assert all(outcomes[name].error.startswith(f"{name}: it could not be created: ") for name in cases)


def test_same_mac_or_name_twice_in_one_run(rig, connect, template):
    pool = connect()
    said = pool.machines.check([*wanted("a", "b", nics=(NicWanted(CORP, "02:00:00:00:00:09"),)), *wanted("a")])
    assert "that of a NIC of a" in said["b"] and "asked for twice" in said["a"]


def test_what_fails_half_way_is_undone(rig, connect, template):
    before = {cls: set(rig.pool.store.by_class[cls]) for cls in ("VM", "VDI", "VBD", "VIF")}
    rig.pool.fault("VM.set_is_a_template", "error", error=("INTERNAL_ERROR", "no room"))
    pool = connect()
    outcomes = {o.name: o for o in pool.machines.create(wanted("web1", "web2"))}
    (bad,) = [o for o in outcomes.values() if o.error]
    (fine,) = [o for o in outcomes.values() if not o.error]
    assert "no room" in bad.error and bad.id is None and not bad.changed
    assert named(rig, bad.name) == [] and one(rig, fine.name)
    good(pool.machines.delete(vms_of(pool, fine.name)))
    assert {cls: set(rig.pool.store.by_class[cls]) for cls in before} == before


def test_what_cannot_be_undone_is_named_and_goes_at_the_next_run(rig, connect, template):
    rig.pool.fault("VM.set_is_a_template", "error", error=("INTERNAL_ERROR", "no room"))
    rig.pool.fault("Async.VM.destroy", "error", error=("INTERNAL_ERROR", "no way"))
    pool = connect()
    (outcome,) = pool.machines.create(wanted("web1"))
    assert outcome.changed and unfinished_name("web1") in outcome.error and "no way" in outcome.error
    (left,) = named(rig, unfinished_name("web1"))
    assert [vm.name for vm in pool.inventory.vms().vms] == []
    good(pool.machines.create(wanted("web1")))
    assert one(rig, "web1").ref != left.ref and named(rig, unfinished_name("web1")) == []
    assert len(rig.pool.store.all("VDI")) == 2


def cut_at(rig, monkeypatch, number):
    """The connection is gone for good with the call of this number, which is carried out; events and logins are not counted."""
    invoke = rig.pool.invoke
    left = number

    def die(host, method, params, **more):
        nonlocal left
        answer = invoke(host, method, params, **more)
        if not method.startswith(("event.", "session.")):
            left -= 1
            if left < 0 and not rig.pool.faults:
                rig.pool.fault("*", "drop_before", count=99)
                raise CutConnection
        return answer

    monkeypatch.setattr(rig.pool, "invoke", die)


def test_a_run_killed_at_any_call_is_gone_on_with(rig, connect, template, monkeypatch):
    """The connection breaks for good at the n-th call; the next run ends with one whole VM and nothing beside it."""
    pool = connect()
    rig.pool.calls.clear()
    good(pool.machines.create(wanted("first", nics=(NicWanted("corp-vlan130"),))))
    calls = [c for c in rig.pool.calls if not c.startswith(("event.", "session."))]
    cut_short = 0
    for number in range(len(calls)):
        name = f"vm{number}"
        broken = connect()
        cut_at(rig, monkeypatch, number)
        try:
            list(broken.machines.create(wanted(name, nics=(NicWanted("corp-vlan130"),))))
        except Exception as error:  # whatever ends it
            assert "web" not in str(error)
        monkeypatch.undo()
        rig.pool.faults.clear()
        time.sleep(0.05)
        cut_short += len(named(rig, unfinished_name(name)))
        if not named(rig, name):
            good(connect().machines.create(wanted(name, nics=(NicWanted("corp-vlan130"),))))
        vm = one(rig, name)
        assert not vm["is_a_template"] and cds(rig, vm) == {1: True, 3: True}
        assert [n[:2] for n in nics(rig, vm)] == [(0, "corp-vlan130")]
        assert named(rig, unfinished_name(name)) == []
    assert cut_short >= len(calls) - 2  # the last call gives the VM its name; the clone of the first may still be under way
    count = len(calls) + 2
    assert len(rig.pool.store.all("VDI")) == count


@pytest.mark.parametrize("method", ["VM.set_other_config", "VM.set_name_label", "VBD.create", "VIF.move", "Async.VM.clone"])
def test_a_connection_cut_once_is_got_over(rig, connect, template, method):
    rig.pool.fault(method, "drop_after")
    pool = connect()
    outcomes = list(pool.machines.create(wanted("web1", nics=(NicWanted("corp-vlan130"),))))
    if outcomes[0].error:  # whether it was begun was not known: nothing is left, and the next run makes it
        assert len(named(rig, unfinished_name("web1"))) <= 1
        good(pool.machines.create(wanted("web1", nics=(NicWanted("corp-vlan130"),))))
    assert one(rig, "web1")
    assert len(disks(rig, one(rig, "web1"))) == 1 and len(rig.pool.store.all("VDI")) == 2


def test_a_vm_of_that_name_that_came_to_be_meanwhile_is_left_alone(rig, connect, template):
    rig.vm("web1")
    pool = connect()
    (outcome,) = pool.machines.create(wanted("web1"))
    assert "came to be meanwhile" in outcome.error
    assert len(named(rig, "web1")) == 1


@pytest.mark.parametrize(
    ("network", "macs", "most"), [(CORP, False, 650), ("corp-vlan130", False, 650), ("corp-vlan130", True, 850)]
)
def test_create_and_start_of_100_in_900_calls(rig, connect, template, network, macs, most):
    pool = connect()
    names = [f"vm{n:03d}" for n in range(100)]
    cards = [NicWanted(network, f"02:00:00:00:00:{number:02x}" if macs else None) for number in range(100)]
    began = time.monotonic()
    good(pool.machines.create([VmWanted(name, "debian-12", nics=(nic,)) for name, nic in zip(names, cards, strict=True)]))
    good(pool.machines.start(vms_of(pool, *names)))
    seconds = time.monotonic() - began
    assert len(rig.pool.calls) <= most
    for name, card in zip(names, cards, strict=True):
        vm = one(rig, name)
        ((_device, there, mac),) = nics(rig, vm)
        assert there == network and card.mac in (None, mac) and cds(rig, vm) == {1: True, 3: True}
    assert all(one(rig, name)["power_state"] == "Running" for name in names)
    assert not rig.pool.store.by_class["task"]
    assert seconds < 60  # the bench measures; this only says that nothing waits for nothing


# -- start ---------------------------------------------------------------------------------------------------------------


def test_start_and_start_again(rig, connect):
    for name in ("a", "b"):
        rig.vm(name)
    rig.power(one(rig, "b"), "start")
    pool = connect()
    outcomes = {o.name: o.changed for o in good(pool.machines.start(vms_of(pool, "a", "b")))}
    assert outcomes == {"a": True, "b": False}


def test_suspended_and_paused_vms_go_on(rig, connect):
    for name, state in (("a", "Suspended"), ("b", "Paused")):
        rig.pool.store.set(rig.vm(name), power_state=state, resident_on=rig.hosts["xen01"].ref if state == "Paused" else NULL)
    pool = connect()
    good(pool.machines.start(vms_of(pool, "a", "b")))
    assert [one(rig, name)["power_state"] for name in ("a", "b")] == ["Running", "Running"]


def test_no_host_says_why(rig, connect):
    rig.vm("a")
    rig.vm("b")
    rig.pool.store.set(one(rig, "a"), memory_static_max=99 * GIB)
    rig.pool.store.set(rig.hosts["xen02"], enabled=False)
    pool = connect()
    outcomes = {o.name: o for o in pool.machines.start(vms_of(pool, "a", "b"))}
    assert "xen01 has too little free memory" in outcomes["a"].error and "xen02 is disabled" in outcomes["a"].error
    assert outcomes["b"].error is None


def test_a_users_block_is_respected_and_told(rig, connect):
    rig.pool.store.set(rig.vm("a"), blocked_operations={"start": "in repair", "destroy": "precious"})
    pool = connect()
    (outcome,) = pool.machines.start(vms_of(pool, "a"))
    assert "in repair" in outcome.error and "blocked_operations" in outcome.error and "lift that first" in outcome.error
    assert "precious" in pool.machines.delete_problems(vms_of(pool, "a"))[one(rig, "a")["uuid"]]


# -- stop ----------------------------------------------------------------------------------------------------------------


def running(rig, *names, agent=True, host="xen01"):
    for name in names:
        vm = rig.vm(name)
        rig.power(vm, "start", host)
        if agent:
            rig.pool.agent(vm, {"0/ip": "10.99.0.60"})


def test_guests_are_asked_and_a_stopped_one_left_alone(rig, connect):
    running(rig, "a", "b")
    rig.vm("off")
    pool = connect()
    outcomes = {o.name: (o.changed, o.warnings) for o in good(pool.machines.stop(vms_of(pool, "a", "b", "off"), 30))}
    assert outcomes == {"a": (True, ()), "b": (True, ()), "off": (False, ())}
    assert "Async.VM.hard_shutdown" not in rig.pool.calls


def test_timeout_zero_asks_nobody(rig, connect):
    running(rig, "a")
    good((pool := connect()).machines.stop(vms_of(pool, "a"), 0))
    assert one(rig, "a")["power_state"] == "Halted" and "Async.VM.clean_shutdown" not in rig.pool.calls


def test_a_guest_without_agent_is_powered_off_and_it_is_told(rig, connect):
    running(rig, "a", agent=False)
    pool = connect()
    (outcome,) = good(pool.machines.stop(vms_of(pool, "a"), 30))
    assert one(rig, "a")["power_state"] == "Halted" and "no guest agent" in outcome.warnings[0]


def test_four_hung_guests_do_not_stop_the_others(rig, connect):
    names = [f"hung{n}" for n in range(4)] + [f"fine{n}" for n in range(6)]
    running(rig, *names)
    rig.pool.hung.update(one(rig, f"hung{n}").ref for n in range(4))
    pool = connect()
    began = time.monotonic()
    outcomes = {o.name: o for o in good(pool.machines.stop(vms_of(pool, *names), 4))}
    assert time.monotonic() - began < 16, "the hung ones are waited for together"
    assert all(one(rig, name)["power_state"] == "Halted" for name in names)
    assert all(outcomes[f"fine{n}"].warnings == () for n in range(6))
    assert all("did not shut down within 4 s" in outcomes[f"hung{n}"].warnings[0] for n in range(4))
    assert not rig.pool.store.by_class["task"]


def test_a_dead_connection_is_not_tried_once_for_each_task(rig, connect):
    names = [f"hung{n}" for n in range(4)]
    running(rig, *names)
    rig.pool.hung.update(one(rig, name).ref for name in names)
    pool = connect()
    vms = vms_of(pool, *names)
    stopping = pool.machines.stop(vms, 2)
    timer = threading.Timer(0.5, rig.pool.fault, ["*", "drop_before", 20])
    timer.start()
    with pytest.raises(HypervisorUnreachable):
        list(stopping)
    timer.join()
    assert "task.destroy" not in rig.pool.calls
    rig.pool.faults.clear()


def test_a_suspended_vm_loses_its_memory_and_it_is_told(rig, connect):
    rig.pool.store.set(rig.vm("a"), power_state="Suspended")
    pool = connect()
    (outcome,) = good(pool.machines.stop(vms_of(pool, "a"), 30))
    assert "memory was thrown away" in outcome.warnings[0]


# -- migrate -------------------------------------------------------------------------------------------------------------


def test_running_and_halted_vms_move_with_their_drives(rig, connect, iso):
    running(rig, "live")
    rig.vm("off", affinity="xen01")
    rig.vm("bare", affinity="xen01")
    pool = connect()
    vms = vms_of(pool, "live", "off", "bare")
    for vm in vms[:1]:
        rig.power(one(rig, "live"), "stop")
        pool.drives.put_one(vm, iso(vm))
        rig.power(one(rig, "live"), "start", "xen01")
        rig.pool.agent(one(rig, "live"), {})
    pool.drives.put_one(vms[1], iso(vms[1]))
    outcomes = {o.name: o.changed for o in good(pool.machines.migrate(vms, {"host": "xen02"}))}
    assert outcomes == {"live": True, "off": True, "bare": True}
    assert one(rig, "live")["resident_on"] == rig.hosts["xen02"].ref
    assert {one(rig, name)["affinity"] for name in ("off", "bare")} == {rig.hosts["xen02"].ref}
    assert sorted(p.name for p in rig.iso_dir("xen02").iterdir()) == ["live.iso", "off.iso"]
    assert list(rig.iso_dir("xen01").iterdir()) == []
    assert all(state.attached for state in pool.drives.states(vms[:2]).values())
    again = good(pool.machines.migrate(vms_of(pool, "live", "off", "bare"), {"host": "xen02"}))
    assert [o.changed for o in again] == [False] * 3


def test_a_refused_migration_puts_the_drive_back(rig, connect, iso):
    vm_obj = rig.vm("live")
    pool = connect()
    (vm,) = vms_of(pool, "live")
    pool.drives.put_one(vm, iso(vm))
    rig.power(vm_obj, "start", "xen01")  # no guest agent: XAPI migrates no such VM
    (outcome,) = pool.machines.migrate([vm], {"host": "xen02"})
    assert "VM_LACKS_FEATURE" in outcome.error and "in place again" in outcome.error
    assert pool.drives.states([vm])[vm.id].attached


@pytest.mark.parametrize(
    ("destination", "text"),
    [
        ({"host": "xen09"}, "its hosts are"),
        ({}, "destination.host"),
        ({"host": "xen02", "datastore": "x"}, "destination.datastore"),
    ],
)
def test_destinations_that_are_none(rig, connect, destination, text):
    rig.vm("a")
    pool = connect()
    (outcome,) = pool.machines.migrate(vms_of(pool, "a"), destination)
    assert text in outcome.error


# -- NICs ----------------------------------------------------------------------------------------------------------------


def test_nics_of_a_halted_vm_are_mended(rig, connect):
    rig.vm("a", nics=2)
    pool = connect()
    (vm,) = vms_of(pool, "a")
    before = nics(rig, one(rig, "a"))
    keep = [NicWanted(before[0][1], before[0][2].upper()), NicWanted(before[1][1])]
    assert not pool.machines.set_nics(vm, keep).changed
    assert nics(rig, one(rig, "a")) == before
    assert pool.machines.set_nics(vm, [NicWanted("corp-vlan140")]).changed
    assert nics(rig, one(rig, "a")) == [(0, "corp-vlan140", before[0][2])]
    rig.power(one(rig, "a"), "start")
    assert "powered off" in pool.machines.set_nics(vm, keep).error


def test_a_vm_that_was_never_started_is_known_though_its_template_was(rig, connect):
    source = rig.vm("golden")
    rig.power(source, "start")
    rig.power(source, "stop")
    with rig.pool.store.changed:  # some time ago
        rig.pool.store.set(rig.pool.store.get("VM_metrics", source["metrics"]), start_time="20260101T08:00:00Z")
    pool = connect()
    (outcome,) = pool.machines.create([VmWanted("fresh", "golden")])
    assert outcome.error is None
    (fresh, golden) = vms_of(pool, "fresh", "golden")
    assert pool.machines.never_started(fresh) and not pool.machines.never_started(golden)
    rig.clone(one(rig, "fresh"), "copy")
    (copy,) = vms_of(pool, "copy")
    assert not pool.machines.never_started(copy), "it is not ours"
    rig.power(one(rig, "fresh"), "start")
    assert not pool.machines.never_started(fresh)
    rig.power(one(rig, "fresh"), "stop")
    assert not pool.machines.never_started(fresh)


# -- delete --------------------------------------------------------------------------------------------------------------


def test_deleted_with_disks_snapshots_and_drive(rig, connect, iso, template):
    pool = connect()
    good(pool.machines.create(wanted("web1")))
    (vm,) = vms_of(pool, "web1")
    pool.drives.put_one(vm, iso(vm))
    rig.snapshot(one(rig, "web1"), "before the upgrade")
    assert len(rig.pool.store.all("VDI")) == 4
    assert pool.machines.delete_problems([vm]) == {}
    good(pool.machines.delete([vm]))
    assert [v["name_label"] for v in rig.pool.store.all("VM") if not v["is_control_domain"]] == ["debian-12"]
    assert len(rig.pool.store.all("VDI")) == 1 and list(rig.iso_dir("xen01").iterdir()) == []
    assert [o.changed for o in good(pool.machines.delete([vm]))] == [False]


def test_what_is_not_the_vms_alone_stays(rig, connect):
    mine, other = rig.vm("mine"), rig.vm("other")
    store = rig.pool.store
    shared = store.add("VDI", SR=rig.disk_sr.ref, name_label="cluster", type="user", sharable=True, managed=True)
    store.add("VBD", VM=mine.ref, VDI=shared.ref, userdevice="5", type="Disk", mode="RW")
    pool = connect()
    (vm,) = vms_of(pool, "mine")
    disk = disks(rig, mine)[0]
    joint = store.add("VBD", VM=other.ref, VDI=disk.ref, userdevice="7", type="Disk", mode="RO")
    assert "attached to other too" in pool.machines.delete_problems([vm])[vm.id]
    (outcome,) = pool.machines.delete([vm])
    assert "attached to other too" in outcome.error and one(rig, "mine")
    store.remove(joint)
    good(pool.machines.delete([vm]))
    assert shared.ref in store.objects and disk.ref not in store.objects


def test_running_vms_and_templates_are_not_deleted(rig, connect, template):
    running(rig, "a")
    pool = connect()
    vms = vms_of(pool, "a", "debian-12")
    said = pool.machines.delete_problems(vms)
    assert list(said) == [vms[1].id] and "template" in said[vms[1].id]  # a running one is stopped once this is known
    errors = {o.name: o.error for o in pool.machines.delete(vms)}
    assert "stop it first" in errors["a"] and "template" in errors["debian-12"]


def test_one_vms_failure_is_its_own(rig, connect):
    for name in ("a", "b", "c"):
        rig.vm(name)
    rig.pool.fault("Async.VDI.destroy", "error", error=("VDI_IN_USE", "x", "destroy"))
    pool = connect()
    outcomes = list(pool.machines.delete(vms_of(pool, "a", "b", "c")))
    assert sorted(bool(o.error) for o in outcomes) == [False, False, True]
    assert power.ASKED_AT_ONCE == 4
