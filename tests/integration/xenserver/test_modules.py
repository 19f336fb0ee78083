# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules and the playbooks of the collection on a XenServer pool, as a user starts them."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import threading
import time
import typing as t

import pytest
import yaml
from xapi_rig.facts import NULL

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image

ROOT = pathlib.Path(__file__).resolve().parents[3]
PASSWORD = "S3cret-of-web1"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB web1"


# -- modules ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def connection(rig) -> dict[str, t.Any]:
    return rig.description()


def test_vm_ip_info(rig, connection, run_module):
    vm = rig.vm("web1", nics=2)
    rig.vm("db1")
    rig.power(vm, "start")
    rig.pool.agent(vm, {"0/ip": "10.99.0.60", "0/ipv6/0": "fe80::1", "1/ip": "192.0.2.9", "1/ipv6/0": "fd00:0:0::9"})
    result = run_module(
        "vm_ip_info", {"hypervisor": connection, "vms": ["web1", "ghost", "db1"], "cidrs": {"corp-vlan130": ["10.0.0.0/8"]}}
    )
    web1, ghost, db1 = result["vms"]
    assert [(n["device"], n["network"], n["ip4_address"], n["source"]) for n in web1["nics"]] == [
        (0, "corp-vlan120", "10.99.0.60", "guest_metrics"),
        (1, "corp-vlan130", None, "guest_metrics"),
    ]
    assert web1["nics"][1]["reason"] == "filtered_out"
    assert web1["nics"][1]["ip6_addresses"] == ["fd00::9"]
    assert (ghost["id"], ghost["reason"]) == (None, "vm_not_found")
    assert (db1["power_state"], db1["nics"][0]["reason"]) == ("stopped", "vm_not_running")
    assert rig.pool.calls == ["session.login_with_password", "event.from", "session.logout"]


def test_vm_ip_info_of_a_guest_with_ens160(rig, connection, run_module):
    vm = rig.vm("old")
    rig.power(vm, "start")
    rig.pool.agent(vm, {"160/ip": "10.99.0.61"})
    (old,) = run_module("vm_ip_info", {"hypervisor": connection})["vms"]
    assert old["nics"][0]["ip4_address"] == "10.99.0.61"


def test_vm_ip_info_without_a_connection(rig, connection, run_module):
    result = run_module("vm_ip_info", {"hypervisor": {**connection, "password": "wrong-word"}}, fails=True)
    assert "hypervisor.password" in result["msg"]
    assert "wrong-word" not in str(result)


def drives(connection, *names, **more):
    return {"hypervisor": connection, "drives": [{"name": n, "password": PASSWORD, "user_data": "x: 1"} for n in names], **more}


def test_vm_config_drive_from_check_mode_to_absent(rig, connection, run_module):
    rig.vm("web1")
    predicted = run_module("vm_config_drive", drives(connection, "web1"), check_mode=True, diff=True)
    assert predicted["changed"]
    assert os.listdir(rig.iso_dir()) == []
    assert not any(".create" in c or c.startswith(("PUT", "VBD.")) for c in rig.pool.calls)
    first = run_module("vm_config_drive", drives(connection, "web1"), diff=True)
    assert first["changed"]
    (drive,) = first["drives"]
    assert (drive["location"], drive["slot"], drive["error"]) == (
        "/opt/xensource/packages/iso/configdrive_iso/web1.iso",
        "1",
        None,
    )
    assert drive["sha256"] == predicted["drives"][0]["sha256"]
    assert not run_module("vm_config_drive", drives(connection, "web1"))["changed"]
    updated = {"hypervisor": connection, "drives": [{"name": "web1", "user_data": "x: 2"}], "state": "updated"}
    assert run_module("vm_config_drive", updated)["changed"]
    assert not run_module("vm_config_drive", updated)["changed"]
    assert PASSWORD not in str((predicted, first))
    gone = {"hypervisor": connection, "drives": [{"name": "web1"}], "state": "absent"}
    assert run_module("vm_config_drive", gone)["changed"]
    assert not run_module("vm_config_drive", gone)["changed"]
    assert os.listdir(rig.iso_dir()) == []


def test_a_password_goes_once_the_guest_has_said_that_it_set_it(rig, connection, run_module):
    vm = rig.vm("web1")
    run_module("vm_config_drive", drives(connection, "web1"))
    rig.power(vm, "start")
    rig.pool.agent(vm, {"0/ip": "10.99.0.61"})
    retire = {"hypervisor": connection, "drives": [{"name": "web1"}], "state": "retired"}
    kept = run_module("vm_config_drive", retire)
    assert not kept["changed"] and "not said that it read" in kept["drives"][0]["unconfirmed"]
    # As xenopsd and xapi bring what a guest writes below vm-data into the VM's record (xapi_xenops.ml, update_vm; domain.ml,
    # allowed_xsdata_prefixes).
    told = f"0 web1 {image.digest_of((rig.iso_dir() / 'web1.iso').read_bytes())}"
    rig.pool.store.set(vm, xenstore_data={"vm-data/config-drive": told, "vm-data/other": "x"})
    assert run_module("vm_config_drive", retire)["changed"]
    assert PASSWORD.encode() not in (rig.iso_dir() / "web1.iso").read_bytes()
    assert not run_module("vm_config_drive", drives(connection, "web1"))["changed"]


def test_vm_config_drive_one_bad_vm_does_not_stop_the_others(rig, connection, run_module):
    rig.vm("web1", disks=3)
    rig.vm("web2")
    result = run_module("vm_config_drive", drives(connection, "web1", "ghost", "web2"), fails=True)
    errors = {d["name"]: d["error"] for d in result["drives"]}
    assert "no free CD/DVD drive" in errors["web1"]
    assert "there is no VM ghost" in errors["ghost"]
    assert errors["web2"] is None
    assert os.listdir(rig.iso_dir()) == ["web2.iso"]


def test_vm_config_drive_takes_an_iso_away_that_is_still_on_the_old_host(rig, connection, run_module):
    rig_vm = rig.vm("web1", cd="2")
    rig.power(rig_vm, "start", "xen01")
    run_module("vm_config_drive", drives(connection, "web1"))
    store = rig.pool.store
    (vbd,) = [store.get("VBD", r) for r in rig_vm["VBDs"] if store.get("VBD", r)["type"] == "CD"]
    store.set(vbd, VDI=NULL, empty=True)
    store.set(rig_vm, resident_on=rig.hosts["xen02"].ref)
    gone = {"hypervisor": connection, "drives": [{"name": "web1"}], "state": "absent"}
    assert run_module("vm_config_drive", gone)["changed"]
    assert os.listdir(rig.iso_dir("xen01")) == []


def test_vm_config_drive_a_running_vm_is_told_to_restart(rig, connection, run_module):
    rig.power(rig.vm("web1"), "start")
    predicted = run_module("vm_config_drive", drives(connection, "web1"), check_mode=True)
    done = run_module("vm_config_drive", drives(connection, "web1"))
    assert predicted["drives"][0]["restart_required"] is done["drives"][0]["restart_required"] is True
    again = run_module("vm_config_drive", drives(connection, "web1"))
    assert (again["changed"], again["drives"][0]["restart_required"]) == (False, True)


def test_vm_config_drive_moves_a_vm_with_its_drive(rig, connection, run_module):
    rig_vm = rig.vm("web1", cd="2")
    rig.power(rig_vm, "start", "xen01", agent=True)
    run_module("vm_config_drive", drives(connection, "web1"))
    moved = {"hypervisor": connection, "drives": [{"name": "web1"}], "state": "moved", "destination": "xen02"}
    assert run_module("vm_config_drive", moved, check_mode=True)["changed"]
    assert rig_vm["resident_on"] == rig.hosts["xen01"].ref
    assert run_module("vm_config_drive", moved)["changed"]
    assert rig_vm["resident_on"] == rig.hosts["xen02"].ref
    assert (os.listdir(rig.iso_dir("xen01")), os.listdir(rig.iso_dir("xen02"))) == ([], ["web1.iso"])
    assert not run_module("vm_config_drive", moved)["changed"]
    assert not run_module("vm_config_drive", drives(connection, "web1"))["changed"]


def test_vm_config_drive_takes_drives_out_that_were_read(rig, connection, run_module):
    vms = {name: rig.vm(name, cd="2", affinity="xen01") for name in ("web1", "web2", "bare")}
    run_module("vm_config_drive", drives(connection, "web1"))
    for vm in vms.values():
        rig.power(vm, "start", "xen01", agent=True)
    run_module("vm_config_drive", drives(connection, "web2"))  # while it runs: its guest does not know it
    out = {
        "hypervisor": connection,
        "drives": [{"name": name} for name in (*vms, "ghost")],
        "state": "ejected",
        "missing": "skip",
    }
    for check_mode in (True, False):
        result = run_module("vm_config_drive", out, check_mode=check_mode, diff=True)
        assert result["changed"] and result["diff"][0]["before"] == "in CD/DVD drive: 2\n" and len(result["diff"]) == 1
        found = {d["name"]: (d["changed"], d["ejected"], d["unread"]) for d in result["drives"]}
        assert found["web1"] == (True, True, False) and found["web2"] == (False, False, True) and not any(found["bare"])
        assert cd_files(rig, vms["web1"]) == (["web1.iso"] if check_mode else [])
    assert cd_files(rig, vms["web2"]) == ["web2.iso"] and sorted(os.listdir(rig.iso_dir())) == ["web1.iso", "web2.iso"]
    assert not run_module("vm_config_drive", out)["changed"]
    kept = {**drives(connection, "web1"), "reinsert": False}
    again = run_module("vm_config_drive", kept)
    assert not again["changed"] and again["drives"][0]["ejected"] and cd_files(rig, vms["web1"]) == []
    assert run_module("vm_config_drive", {**kept, "drives": [{"name": "web1", "user_data": "new"}]}, check_mode=True)["changed"]
    assert run_module("vm_config_drive", {**kept, "drives": [{"name": "web1", "user_data": "new"}]})["changed"]
    assert cd_files(rig, vms["web1"]) == ["web1.iso"]
    assert run_module("vm_config_drive", {**out, "keep_unread": False})["changed"]
    assert cd_files(rig, vms["web1"]) == cd_files(rig, vms["web2"]) == []
    reset = {"hypervisor": connection, "drives": [{"name": "web2", "password": PASSWORD}], "state": "updated"}
    assert run_module("vm_config_drive", reset)["changed"] and cd_files(rig, vms["web2"]) == ["web2.iso"]
    run_module("vm_config_drive", {**out, "keep_unread": False})
    assert run_module("vm_config_drive", drives(connection, "web2"))["changed"], "without reinsert=false it is put in again"


def moved_by_hand(rig, vm) -> None:
    """By somebody who took the CD out for it, as XAPI asks, and left it so."""
    for vbd in (rig.pool.store.get("VBD", r) for r in vm["VBDs"]):
        if vbd["type"] == "CD":
            rig.pool.store.set(vbd, VDI=NULL, empty=True)
    rig.pool.store.set(vm, resident_on=rig.hosts["xen02"].ref)


def test_vm_config_drive_has_drives_follow_their_vms(rig, connection, run_module):
    """After a migration by others: with what is on them, which need not be what anybody would put there now."""
    vms = {name: rig.vm(name, cd="2", affinity="xen01") for name in ("web1", "web2", "web3", "bare")}
    run_module("vm_config_drive", drives(connection, "web1", "web2", "web3"))
    held = {name: (rig.iso_dir() / f"{name}.iso").read_bytes() for name in ("web1", "web2", "web3")}
    for vm in vms.values():
        rig.power(vm, "start", "xen01", agent=True)
    run_module("vm_config_drive", {"hypervisor": connection, "drives": [{"name": "web3"}], "state": "ejected"})
    for name in ("web1", "web3"):
        moved_by_hand(rig, vms[name])
    follow = {"hypervisor": connection, "drives": [{"name": name} for name in vms], "state": "followed"}
    for check_mode in (True, False):
        found = {
            d["name"]: (d["changed"], d["lost"]) for d in run_module("vm_config_drive", follow, check_mode=check_mode)["drives"]
        }
        assert found == {"web1": (True, False), "web2": (False, False), "web3": (False, False), "bare": (False, True)}
    assert (rig.iso_dir("xen02") / "web1.iso").read_bytes() == held["web1"] and cd_files(rig, vms["web1"]) == ["web1.iso"]
    assert not (rig.iso_dir("xen01") / "web1.iso").exists() and cd_files(rig, vms["web3"]) == cd_files(rig, vms["bare"]) == []
    assert not run_module("vm_config_drive", follow)["changed"]
    (rig.iso_dir("xen01") / "web2.iso").unlink()
    lost = {d["name"]: d["lost"] for d in run_module("vm_config_drive", follow)["drives"]}
    assert lost == {"web1": False, "web2": True, "web3": False, "bare": True}


# -- playbooks -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def playbook(rig, connection, tmp_path):
    """Runs a playbook of the collection against the rig; returns what it printed. The inventory has the host `pool`."""
    hypervisor = dict(connection)
    variables = {
        "hypervisor": hypervisor,
        "external_dhcp_record": f"sqlite:///{tmp_path}/record.db",
        "shared_networks": [
            {"name": "corp-vlan120", "cidr": "10.99.0.0/24", "services": ["userdata"]},
            {"name": "corp-vlan130", "services": []},
        ],
        "vms": [
            {
                "name": "web1",
                "template": "debian-12",
                "networks": ["corp-vlan120", "corp-vlan130"],
                "password_enabled": True,
                "password": PASSWORD,
                "ssh_keys": [KEY],
                "user_data": {"role": "web"},
            },
            {"name": "web2", "template": "debian-12", "networks": [{"name": "corp-vlan120", "mac": "02:16:3e:99:00:02"}]},
        ],
    }
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"pool": variables}}}))
    link = ROOT / ".build" / "collections"

    def run(name: str, extra: dict[str, t.Any] | None = None, *, fails: bool = False, options: tuple[str, ...] = ()) -> str:
        command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory)]
        command += [f"vmops.external_dhcp.{name}", "-v", *options]
        if extra:
            command += ["-e", yaml.safe_dump(extra, default_flow_style=True, width=10_000).strip()]
        env = {
            **os.environ, "ANSIBLE_COLLECTIONS_PATH": str(link), "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_LOCALHOST_WARNING": "0",
            "ANSIBLE_HOME": str(tmp_path / "ansible"),
        }  # fmt: skip
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False)
        output = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, output
        assert PASSWORD not in output
        return output

    return run


def named(rig, name):
    return next((o for o in rig.pool.store.all("VM") if o["name_label"] == name), None)


def cd_files(rig, vm):
    store = rig.pool.store
    vbds = [store.get("VBD", r) for r in vm["VBDs"]]
    return [store.get("VDI", v["VDI"])["location"] for v in vbds if v["type"] == "CD" and v["VDI"] != NULL]


def play_guests(rig, stop: threading.Event) -> None:
    """Guest agents: each running VM reports an address for its first NIC some moments after its start."""
    while not stop.wait(0.2):
        with rig.pool.store.changed:
            for vm in rig.pool.store.all("VM"):
                metrics = rig.pool.store.maybe(vm["guest_metrics"])
                silent = metrics is None or not metrics["PV_drivers_version"].get("major")
                if vm["power_state"] == "Running" and silent and not vm["is_control_domain"]:
                    last = 60 + sum(map(ord, vm["name_label"])) % 100
                    rig.pool.agent(vm, {"0/ip": f"10.99.0.{last}", "1/ip": f"10.98.0.{last}"})


@pytest.mark.matrix(
    hypervisor="XenServer",
    guest="none",
    reader="none",
    how="own simulator",
    proves=["user data", "password", "SSH key", "address: guest tools"],
)
def test_the_life_of_vms_on_xenserver(rig, playbook):
    rig.vm("debian-12", template=True, cd="3")
    stop = threading.Event()
    guests = threading.Thread(target=play_guests, args=(rig, stop))
    guests.start()
    try:
        output = playbook("deploy_vms", {"vm_ip_poll_interval": 1})
        web1, web2 = named(rig, "web1"), named(rig, "web2")
        assert (web1["power_state"], web2["power_state"]) == ("Running", "Running")
        assert (cd_files(rig, web1), cd_files(rig, web2)) == (["web1.iso"], ["web2.iso"])
        held = image.read(
            (rig.iso_dir(rig.pool.store.get("host", web1["resident_on"])["name_label"]) / "web1.iso").read_bytes()
        ).files
        for given in (PASSWORD, KEY, "role=web"):
            assert any(given.encode() in data for data in held.values())
        assert len(web1["VIFs"]) == 2
        assert rig.pool.store.get("VIF", web2["VIFs"][0])["MAC"].lower() == "02:16:3e:99:00:02"
        assert "10.99.0." in output

        again = playbook("deploy_vms", {"vm_wait": False})
        assert "changed=0" in again

        before = web1["domid"]
        reset = {"vm_names": ["web1"], "vm_passwords": {"web1": "another-Secret-7"}, "vm_shutdown_timeout": 9}
        playbook("reset_password", reset)
        assert web1["domid"] != before
        assert web2["domid"] != -1

        playbook("stop_vms", {"vm_shutdown_timeout": 9})
        assert {named(rig, n)["power_state"] for n in ("web1", "web2")} == {"Halted"}
        playbook("start_vms")
        assert {named(rig, n)["power_state"] for n in ("web1", "web2")} == {"Running"}

        playbook("destroy_vms", {"vm_names": ["web1", "web2"]})
        assert named(rig, "web1") is None
        assert named(rig, "web2") is None
        assert named(rig, "debian-12") is not None
        assert os.listdir(rig.iso_dir()) == []
        assert [v for v in rig.pool.store.all("VDI") if "web" in v["name_label"]] == []
    finally:
        stop.set()
        guests.join()


def test_drives_go_out_once_the_guests_have_their_addresses(rig, playbook):
    """Taken out by the look that finds all addresses, kept out by the next deployment, put in again by a new password."""
    rig.vm("debian-12", template=True)
    extra = {"vm_drive_eject": "after_address", "vm_wait": False}
    playbook("deploy_vms", extra)
    vms = {name: named(rig, name) for name in ("web1", "web2")}
    rig.pool.agent(vms["web1"], {"0/ip": "10.99.0.60"})  # one of its two NICs
    rig.pool.agent(vms["web2"], {"0/ip": "10.99.0.61"})
    playbook("tick_vm_ips", extra)
    assert (cd_files(rig, vms["web1"]), cd_files(rig, vms["web2"])) == (["web1.iso"], [])
    assert sorted(name for host in ("xen01", "xen02") for name in os.listdir(rig.iso_dir(host))) == ["web1.iso", "web2.iso"]
    assert "changed=0" in playbook("deploy_vms", extra)
    assert cd_files(rig, vms["web2"]) == []
    playbook("reset_password", {**extra, "vm_passwords": {"web2": "An0ther-of-web2"}, "vm_password_restart": False})
    assert cd_files(rig, vms["web2"]) == ["web2.iso"]


def test_drives_are_reconciled(rig, connection, playbook, run_module):
    """One followed, with its password that the inventory does not have; one lost and put back; one orphan told, then deleted."""
    web1, web2, bare = (rig.vm(name, cd="2", affinity="xen01") for name in ("web1", "web2", "bare"))
    run_module(
        "vm_config_drive", {**drives(connection, "web1", "web2"), "drives": [{"name": "web1", "password": "An0ther-of-web1"}]}
    )
    held = (rig.iso_dir() / "web1.iso").read_bytes()
    for vm in (web1, web2, bare):
        rig.power(vm, "start", "xen01", agent=True)
    moved_by_hand(rig, web1)
    orphan = rig.iso_dir() / "gone.iso"
    orphan.write_bytes(image.build({"a.txt": b"secret"}, owner="7f1c8f4e-5a0b-4d8e-9c1a-000000000000"))
    (rig.iso_dir() / "foreign.iso").write_bytes(b"none of ours")
    output = playbook("reconcile_vms")
    assert "gone.iso" in output and orphan.exists()
    assert (rig.iso_dir("xen02") / "web1.iso").read_bytes() == held and cd_files(rig, web1) == ["web1.iso"]
    assert cd_files(rig, web2) == ["web2.iso"] and cd_files(rig, bare) == []
    assert "changed=1 " in playbook("reconcile_vms", {"vm_remove_orphans": True})
    assert sorted(os.listdir(rig.iso_dir())) == ["foreign.iso", "web2.iso"]


def test_a_vm_that_was_restarted_elsewhere_after_its_host_died_gets_its_drive_anew(rig, connection, playbook, run_module):
    """Its drive is on the dead host, where nobody can read it; the inventory has what was on it."""
    web1 = rig.vm("web1", cd="2", affinity="xen01")
    run_module("vm_config_drive", drives(connection, "web1"))
    rig.power(web1, "start", "xen01", agent=True)
    moved_by_hand(rig, web1)  # XAPI restarts elsewhere only what has no CD of the dead host in it
    rig.pool.store.set(rig.pool.pool_obj(), master=rig.hosts["xen02"].ref)
    rig.pool.store.set(rig.pool.store.get("host_metrics", rig.hosts["xen01"]["metrics"]), live=False)
    playbook("reconcile_vms")
    assert cd_files(rig, web1) == ["web1.iso"]
    held = image.read((rig.iso_dir("xen02") / "web1.iso").read_bytes()).files
    assert any(PASSWORD.encode() in data for data in held.values())
    assert "changed=0 " in playbook("reconcile_vms")


def test_vms_are_migrated_with_and_without_a_drive(rig, connection, playbook, run_module):
    vms = {name: rig.vm(name, cd="2") for name in ("web1", "web2", "bare")}
    for vm in vms.values():
        rig.power(vm, "start", "xen01", agent=True)
    run_module("vm_config_drive", drives(connection, "web1", "web2"))
    rig.pool.fault("Async.VM.pool_migrate", "error", error=["HOST_NOT_ENOUGH_FREE_MEMORY", "1", "0"])
    request = {"vm_names": list(vms), "vm_destination": {"host": "xen02"}}
    output = playbook("migrate_vms", request, fails=True)
    assert "HOST_NOT_ENOUGH_FREE_MEMORY" in output
    assert sorted(vm["resident_on"] == rig.hosts["xen02"].ref for vm in vms.values()) == [False, True, True]
    assert cd_files(rig, vms["web1"]) == ["web1.iso"]
    playbook("migrate_vms", request)
    assert {vm["resident_on"] for vm in vms.values()} == {rig.hosts["xen02"].ref}
    assert (os.listdir(rig.iso_dir("xen01")), sorted(os.listdir(rig.iso_dir("xen02")))) == ([], ["web1.iso", "web2.iso"])
    assert cd_files(rig, vms["web1"]) == ["web1.iso"]


def test_a_guest_without_tools_is_powered_off(rig, playbook):
    vms = [rig.vm(name) for name in ("web1", "web2")]
    for vm in vms:
        rig.power(vm, "start")
    rig.pool.agent(vms[0], {})
    begun = time.monotonic()
    playbook("stop_vms", {"vm_shutdown_timeout": 300})
    assert {vm["power_state"] for vm in vms} == {"Halted"}
    assert time.monotonic() - begun < 200  # nobody waited for the guest that could not be asked
    assert any(call.endswith("VM.hard_shutdown") for call in rig.pool.calls)


def test_a_failed_clone_leaves_nothing_and_does_not_stop_the_other(rig, playbook):
    rig.vm("debian-12", template=True)
    rig.pool.fault("Async.VM.clone", "error", error=["SR_FULL", "1", "2"])
    output = playbook("deploy_vms", {"vm_wait": False}, fails=True)
    assert "SR_FULL" in output
    there = [n for n in ("web1", "web2") if named(rig, n) is not None]
    assert len(there) == 1
    assert named(rig, there[0])["power_state"] == "Running"


def test_surplus_nics_of_a_template_are_left_out(rig, playbook):
    rig.vm("debian-12", template=True, nics=2)
    playbook("deploy_vms", {"vm_wait": False})
    assert [len(named(rig, name)["VIFs"]) for name in ("web1", "web2")] == [2, 1]


def test_vms_of_one_name_stay_and_so_do_their_rows(rig, connection, playbook, run_module, tmp_path):
    twins = [rig.vm("web1"), rig.vm("web1")]
    other = rig.vm("web2")
    for vm in (*twins, other):
        rig.power(vm, "start")
        rig.pool.agent(vm, {"0/ip": "10.99.0.60"})
    playbook("sync_vms")
    record = {"record": f"sqlite:///{tmp_path}/record.db"}
    before = run_module("vm_nic_record_info", record)["nics"]
    for job in ("stop_vms", "destroy_vms"):
        output = playbook(job, {"vm_names": ["web1"]}, fails=True)
        assert all(vm["uuid"] in output for vm in twins)
        assert {vm["power_state"] for vm in twins} == {"Running"}
        assert run_module("vm_nic_record_info", record)["nics"] == before
    # The other one of the same run is stopped all the same.
    playbook("stop_vms", fails=True)
    assert other["power_state"] == "Halted"


def test_only_what_is_of_the_inventory_and_marked_is_destroyed(rig, playbook):
    foreign, unmarked = rig.vm("db1"), rig.vm("web1")
    for names, words in (("db1", "not in vms"), ("web1, db1", "not in vms"), ("debian-12", "template"), ("web1", "no mark")):
        assert words in playbook("destroy_vms", {"vm_names": names}, fails=True)
    assert "no mark" in playbook("destroy_vms", {"vm_names": "db1", "vm_destroy_others": True}, fails=True)
    assert {vm["power_state"] for vm in (foreign, unmarked)} == {"Halted"}
    playbook("destroy_vms", {"vm_names": foreign["uuid"], "vm_destroy_others": True})
    assert named(rig, "db1") is None


def test_the_folder_is_made_where_asked(rig, playbook, tmp_path):
    """raw over a local connection stands for SSH; the rig's hosts then have this machine's file system."""
    for host in ("xen01", "xen02"):
        root = rig.folder / "hosts" / host / "root"
        root.rename(root.with_name("unused"))
        root.symlink_to("/")
    folder = tmp_path / "made" / "by the role"
    inventory = tmp_path / "inventory.yml"
    variables = yaml.safe_load(inventory.read_text())
    hosts = variables["all"]["hosts"]
    hosts["pool"]["hypervisor"]["iso_dir"] = str(folder)
    hosts.update(dom0={"ansible_connection": "local"})
    inventory.write_text(yaml.safe_dump(variables))
    rig.vm("debian-12", template=True)
    options = ("--limit", "pool")
    output = playbook("deploy_vms", {"vm_wait": False, "vm_names": ["web2"]}, fails=True, options=options)
    assert f"mkdir -p {folder}" in output
    playbook("destroy_vms", {"vm_names": ["web2"]}, options=options)
    playbook("deploy_vms", {"vm_wait": False, "vm_names": ["web2"], "vm_xenserver_hosts": ["dom0"]}, options=options)
    assert os.listdir(folder) == ["web2.iso"]


def test_check_mode_changes_nothing(rig, playbook):
    rig.vm("debian-12", template=True)
    vms = len(rig.pool.store.all("VM"))
    playbook("deploy_vms", {"vm_wait": False}, options=("--check", "--diff"))
    assert len(rig.pool.store.all("VM")) == vms
    assert os.listdir(rig.iso_dir()) == []
