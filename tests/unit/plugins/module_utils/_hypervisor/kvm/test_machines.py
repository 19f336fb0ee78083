# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The life of VMs in bulk, on a libvirt in this process."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    HypervisorUnreachable,
    NicWanted,
    VmWanted,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import driver as kvm
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import power
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import storage as kvm_storage
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._hypervisor.kvm import fake_libvirt as fake

TEMPLATE = """<domain><name>debian</name><uuid>11111111-1111-1111-1111-111111111111</uuid><memory>1048576</memory><vcpu>1</vcpu>
<os><type machine='pc'>hvm</type>{os}</os><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{disk}'/><target dev='vda' bus='virtio'/></disk>
<disk type='file' device='cdrom'><target dev='hdc' bus='ide'/></disk>
<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/></interface>{more}</devices></domain>"""


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> fake.Host:
    found = fake.Host()
    fake.install(monkeypatch, found)
    monkeypatch.setattr(kvm_storage, "_PATIENCE", 0)
    monkeypatch.setattr(power, "_LOOK", 0.01)
    template(found)
    return found


def template(host: fake.Host, os: str = "", more: str = "", **disk: t.Any) -> fake.Domain:
    path = host.disk("debian.qcow2", **disk)
    return host.define(TEMPLATE.format(disk=path, os=os, more=more))


@pytest.fixture
def machines(host: fake.Host) -> t.Any:
    return connect().machines


def connect(**options: t.Any) -> t.Any:
    return kvm.connect({"uri": "qemu:///system", **options})


def vm(name: str = "web1", **wanted: t.Any) -> VmWanted:
    return VmWanted(name, "debian", **wanted)


def find(*names: str) -> t.Any:
    found = connect().inventory.vms(names)
    assert not found.problems
    return found.vms


# Creating -------------------------------------------------------------------------------------------------------------------


def test_many_are_created_with_two_calls_each(host: fake.Host, machines: t.Any):
    wanted = [vm(f"web{number}") for number in range(100)]
    host.calls = 0
    outcomes = list(machines.create(wanted))
    assert {outcome.name for outcome in outcomes if outcome.changed and outcome.error is None} == {one.name for one in wanted}
    assert host.calls <= 220
    macs = {nic.mac for one in find(*(one.name for one in wanted)) for nic in one.nics}
    assert len(macs) == 100


def test_a_new_vm_is_an_overlay_marked_as_ours(host: fake.Host, machines: t.Any):
    (outcome,) = machines.create([vm()])
    (web1,) = find("web1")
    assert outcome.id == web1.id and web1.ours and web1.power_state == "stopped"
    disk = host.disks["web1.qcow2"]
    assert (disk.base, disk.base_form) == (f"{fake.FOLDER}/debian.qcow2", "qcow2")
    assert not find("debian")[0].ours


def test_a_full_clone_is_a_copy_and_grows(host: fake.Host, machines: t.Any):
    (outcome,) = machines.create([vm(full_clone=True, disk_size=20 << 30)])
    assert outcome.error is None
    assert host.disks["web1.qcow2"].base is None and host.disks["web1.qcow2"].capacity == 20 << 30


def test_an_overlay_is_made_as_large_as_asked(host: fake.Host, machines: t.Any):
    list(machines.create([vm(disk_size=20 << 30)]))
    assert host.disks["web1.qcow2"].capacity == 20 << 30


def test_what_fails_half_way_is_undone_and_stops_no_other(host: fake.Host, machines: t.Any):
    def trouble(what: str, name: str) -> None:
        if (what, name) == ("define", "web1"):
            raise fake.LibvirtError("VIR_ERR_INTERNAL_ERROR", "no room")

    host.trouble = trouble
    outcomes = {outcome.name: outcome for outcome in machines.create([vm("web1"), vm("web2")])}
    assert "no room" in outcomes["web1"].error and not outcomes["web1"].changed
    assert outcomes["web2"].error is None
    assert "web1.qcow2" not in host.files and "web2.qcow2" in host.files


def test_what_cannot_be_undone_is_named(host: fake.Host, machines: t.Any):
    def trouble(what: str, name: str) -> None:
        if what in ("define", "delete"):
            raise fake.LibvirtError("VIR_ERR_INTERNAL_ERROR", "no room")

    host.trouble = trouble
    (outcome,) = machines.create([vm()])
    assert outcome.changed and f"{fake.FOLDER}/web1.qcow2" in outcome.error


def test_the_disk_of_a_run_that_was_killed_is_made_anew(host: fake.Host, machines: t.Any):
    host.disk("web1.qcow2", base=f"{fake.FOLDER}/debian.qcow2")
    assert machines.check([vm()]) == {}
    (outcome,) = machines.create([vm()])
    assert outcome.error is None and ("delete", "web1.qcow2") in host.log


@pytest.mark.parametrize("disk", [{"allocation": 5 << 20, "base": f"{fake.FOLDER}/debian.qcow2"}, {"base": "/other"}, {}])
def test_a_disk_with_data_is_not_taken(host: fake.Host, machines: t.Any, disk: dict[str, t.Any]):
    host.disk("web1.qcow2", **disk)
    assert "web1.qcow2 is there already" in machines.check([vm()])["web1"]
    (outcome,) = machines.create([vm()])
    assert "web1.qcow2 is there already" in outcome.error and host.log == []


def test_uefi_variables_are_copied_for_each_clone(host: fake.Host, machines: t.Any):
    template(host, os=f"<loader>/fw</loader><nvram>{fake.FOLDER}/debian_VARS.fd</nvram>")
    host.files["debian_VARS.fd"] = b"boot entries"
    (outcome,) = machines.create([vm()])
    assert outcome.error is None and host.files["web1_VARS.fd"] == b"boot entries"
    assert f"{fake.FOLDER}/web1_VARS.fd" in host.domains["web1"].config


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (VmWanted("web1", "nothing"), "there is no VM nothing"),
        (vm("a/b"), "cannot be a file name"),
        (vm(".x"), "cannot be a file name"),
        (vm("debian"), "there is a VM of this name"),
        (vm(disk_size=1 << 30), "disks only grow"),
        (vm(nics=(NicWanted("br9"),)), "no network or bridge br9"),
        (vm(nics=(NicWanted("br0", "52:54:00:00:00:01"),)), "its MAC address 52:54:00:00:00:01 is that of debian"),
        (vm(placement={"storage_pool": "fast"}), "storage pool fast cannot be used"),
    ],
)
def test_what_stands_against_creating_is_said_before_any_change(machines: t.Any, host: fake.Host, wanted: VmWanted, said: str):
    assert said in machines.check([wanted])[wanted.name]
    (outcome,) = machines.create([wanted])
    assert said in outcome.error and not outcome.changed
    assert host.log == []


def test_one_mac_for_two_new_vms_is_refused(machines: t.Any):
    nic = (NicWanted("br0", "52:54:00:00:00:77"),)
    problems = machines.check([vm("web1", nics=nic), vm("web2", nics=nic)])
    assert "that of web1" in problems["web2"] and "web1" not in problems


def test_a_running_template_is_refused(host: fake.Host, machines: t.Any):
    host.domains["debian"]._state = fake.RUNNING
    assert "runs: shut it down" in machines.check([vm()])["web1"]


def test_a_template_whose_format_is_declared_wrongly_is_refused(host: fake.Host, machines: t.Any):
    template(host, form="raw")
    assert "is declared qcow2 in the definition, but is raw" in machines.check([vm()])["web1"]


def test_a_template_with_snapshots_is_told(host: fake.Host, machines: t.Any):
    host.domains["debian"].snapshots = 2
    (outcome,) = machines.create([vm()])
    assert "has snapshots" in outcome.warnings[0]


def test_checking_makes_no_pool(host: fake.Host, machines: t.Any):
    machines = connect(image_dir="/srv/vms").machines
    assert machines.check([vm()]) == {} and host.log == []


# Starting and stopping --------------------------------------------------------------------------------------------------------


def test_vms_are_started_and_running_ones_left_alone(host: fake.Host, machines: t.Any):
    host.domain("web1")
    host.domain("web2", state=fake.RUNNING)
    changed = {outcome.name: outcome.changed for outcome in machines.start(find("web1", "web2"))}
    assert changed == {"web1": True, "web2": False}


def test_a_template_is_not_started_under_its_clones(host: fake.Host, machines: t.Any):
    list(machines.create([vm()]))
    (outcome,) = machines.start(find("debian"))
    assert "the base of those of web1" in outcome.error and ("start", "debian") not in host.log


def test_saved_memory_is_told(host: fake.Host, machines: t.Any):
    host.domain("web1").saved = True
    (outcome,) = machines.start(find("web1"))
    assert outcome.changed and "goes on where its memory was saved" in outcome.warnings[0]


def test_guests_are_asked_by_button_then_agent_and_then_the_plug_is_pulled(host: fake.Host, machines: t.Any):
    for name, obeys in {"button": ("acpi",), "agent": ("agent",), "deaf": ()}.items():
        host.domain(name, state=fake.RUNNING).obeys = obeys
    host.domain("off")
    outcomes = {outcome.name: outcome for outcome in machines.stop(find("button", "agent", "deaf", "off"), 0.6)}
    assert {name for name, outcome in outcomes.items() if outcome.changed} == {"button", "agent", "deaf"}
    assert [("destroy", name) for name in ("deaf",)] == [entry for entry in host.log if entry[0] == "destroy"]
    assert "was powered off" in outcomes["deaf"].warnings[0] and not outcomes["button"].warnings
    assert [entry for entry in host.log if entry[0] == "shutdown agent"] and ("shutdown agent", "button") not in host.log


def test_no_time_means_the_plug(host: fake.Host, machines: t.Any):
    host.domain("web1", state=fake.RUNNING)
    (outcome,) = machines.stop(find("web1"), 0)
    assert outcome.changed and host.log == [("destroy", "web1")] and outcome.warnings == ()


def test_a_broken_connection_ends_it(host: fake.Host, machines: t.Any):
    host.domain("web1")
    vms = find("web1")
    host.alive = False
    with pytest.raises(HypervisorUnreachable):
        list(machines.start(vms))


# Deleting -------------------------------------------------------------------------------------------------------------------


def test_a_vm_goes_with_disks_drive_and_definition(host: fake.Host, machines: t.Any):
    list(machines.create([vm()]))
    (web1,) = find("web1")
    list(connect().drives.put([(web1, image.build({"x": b"y"}, owner=web1.id))]))
    assert "web1.iso" in host.files
    (outcome,) = machines.delete([web1])
    assert outcome.changed and outcome.error is None
    assert set(host.files) == {"debian.qcow2"} and set(host.domains) == {"debian"}


def test_a_template_under_clones_is_not_deleted(host: fake.Host, machines: t.Any):
    list(machines.create([vm()]))
    debian = find("debian")
    assert "is the base of the disks of web1" in machines.delete_problems(debian)[debian[0].id]
    (outcome,) = machines.delete(debian)
    assert outcome.error and "debian.qcow2" in host.files and "debian" in host.domains


def test_a_base_of_a_disk_that_no_vm_has_is_not_deleted(host: fake.Host, machines: t.Any):
    host.disk("somebody.qcow2", base=f"{fake.FOLDER}/debian.qcow2")
    debian = find("debian")
    assert "somebody.qcow2" in machines.delete_problems(debian)[debian[0].id]


def standalone(host: fake.Host, name: str, disk: str, form: str = "qcow2", kind: str = "file='{}'") -> fake.Domain:
    """A VM that somebody else defined, with one disk."""
    xml = TEMPLATE.format(disk=disk, os="", more="").replace("debian<", f"{name}<").replace("11111", "33333")
    xml = xml.replace("<driver name='qemu' type='qcow2'/>", f"<driver name='qemu' type='{form}'/>")
    return host.define(xml.replace(f"file='{disk}'", kind.format(disk)))


BASE = f"{fake.FOLDER}/debian.qcow2"


@pytest.mark.parametrize(
    "files",
    [
        {"/srv/other/theirs.qcow2": BASE},
        {"/srv/other/theirs.qcow2": "/srv/mid/mid.qcow2", "/srv/mid/mid.qcow2": BASE},
        {"/srv/other/theirs.qcow2": "/srv/other/../../var/lib/libvirt/images/debian.qcow2"},
        {"/srv/other/theirs.qcow2": f'json:{{"driver": "qcow2", "file": {{"driver": "file", "filename": "{BASE}"}}}}'},
        {"/srv/other/theirs.qcow2": f'json:{{"driver": "qcow2", "file.filename": "{BASE}"}}'},
    ],
)
def test_a_base_of_a_disk_outside_of_all_pools_is_not_deleted(host: fake.Host, machines: t.Any, files: dict[str, str]):
    host.elsewhere = {path: fake.Disk(base=base) for path, base in files.items()}
    standalone(host, "theirs", "/srv/other/theirs.qcow2")
    debian = find("debian")
    assert "is the base of the disks of theirs: delete" in machines.delete_problems(debian)[debian[0].id]
    (outcome,) = machines.delete(debian)
    assert outcome.error and "debian.qcow2" in host.files
    assert [pool.name() for pool in host.pools] == ["default"], "what was made to look is gone"
    host.elsewhere["/srv/other/theirs.qcow2"].base = None
    assert machines.delete_problems(debian) == {}


def test_a_base_of_a_disk_in_an_inactive_pool_is_not_deleted_and_the_pool_not_started(host: fake.Host, machines: t.Any):
    host.elsewhere = {"/srv/old/left.qcow2": fake.Disk(base=BASE)}
    host.pools.append(fake.Pool(host, "old", "/srv/old"))
    host.pools[-1].active = False
    debian = find("debian")
    assert "the base of the disks of /srv/old/left.qcow2" in machines.delete_problems(debian)[debian[0].id]
    assert not host.pools[-1].active and len(host.pools) == 2


def test_a_base_that_a_definition_alone_tells_is_neither_deleted_nor_started(host: fake.Host, machines: t.Any):
    theirs = standalone(host, "theirs", "/gone/theirs.qcow2")
    chain = f"<backingStore type='file'><format type='qcow2'/><source file='{BASE}'/></backingStore>"
    theirs.config = theirs.live = theirs.config.replace("<target dev='vda'", f"{chain}<target dev='vda'")
    debian = find("debian")
    assert "is the base of the disks of theirs" in machines.delete_problems(debian)[debian[0].id]
    (outcome,) = machines.start(debian)
    assert "the base of those of theirs" in outcome.error


def test_a_disk_that_another_vm_names_by_its_pool_is_not_deleted(host: fake.Host, machines: t.Any):
    standalone(host, "theirs", "debian.qcow2", kind="pool='default' volume='{}'")
    debian = find("debian")
    assert "is used by theirs as well" in machines.delete_problems(debian)[debian[0].id]


def test_what_a_guest_wrote_to_a_raw_disk_protects_nothing(host: fake.Host, machines: t.Any):
    standalone(host, "theirs", host.disk("theirs.img", base=BASE), form="raw")
    debian = find("debian")
    assert machines.delete_problems(debian) == {}


def test_a_disk_in_a_pool_that_is_not_active_is_not_left_behind(host: fake.Host, machines: t.Any):
    host.pools.append(fake.Pool(host, "old", "/srv/old"))
    host.pools[-1].active = False
    standalone(host, "theirs", "/srv/old/theirs.qcow2")
    (theirs,) = find("theirs")
    assert "is in no active storage pool" in machines.delete_problems([theirs])[theirs.id]
    assert not host.pools[-1].active


def test_a_disk_that_another_vm_has_as_well_is_not_deleted(host: fake.Host, machines: t.Any):
    host.define(
        TEMPLATE.format(disk=f"{fake.FOLDER}/debian.qcow2", os="", more="").replace("debian<", "twin<").replace("11111", "22222")
    )
    (twin,) = find("twin")
    assert "is used by debian as well" in machines.delete_problems([twin])[twin.id]


def test_a_disk_that_was_not_made_with_the_vm_is_not_deleted(host: fake.Host, machines: t.Any):
    list(machines.create([vm()]))
    path = host.disk("data.qcow2")
    domain = host.domains["web1"]
    disk = f"<disk type='file' device='disk'><source file='{path}'/><target dev='vdb'/></disk>"
    domain.config = domain.config.replace("</devices>", f"{disk}</devices>")
    (web1,) = find("web1")
    assert f"{path} was not made with it" in machines.delete_problems([web1])[web1.id]


def test_snapshot_overlays_of_a_vm_go_with_it_down_to_the_templates_disk(host: fake.Host, machines: t.Any):
    list(machines.create([vm()]))
    host.disk("web1.snap1", base=f"{fake.FOLDER}/web1.qcow2", allocation=9 << 20)
    domain = host.domains["web1"]
    domain.config = domain.config.replace("/web1.qcow2", "/web1.snap1", 1)  # in the disk, not in the mark
    (outcome,) = machines.delete(find("web1"))
    assert outcome.error is None and set(host.files) == {"debian.qcow2"}


def test_problems_are_told_of_running_vms_too(host: fake.Host, machines: t.Any):
    list(machines.create([vm()]))
    host.domains["web1"]._state = fake.RUNNING
    (web1,) = find("web1")
    assert machines.delete_problems([web1]) == {}
    (outcome,) = machines.delete([web1])
    assert "it runs: stop it first" in outcome.error and "web1" in host.domains


def test_uefi_variables_that_another_vm_names_are_kept(host: fake.Host, machines: t.Any):
    nvram = f"<nvram>{fake.FOLDER}/debian_VARS.fd</nvram>"
    template(host, os=nvram)
    host.define(
        TEMPLATE.format(disk=host.disk("twin.qcow2"), os=nvram, more="").replace("debian<", "twin<").replace("11111", "22222")
    )
    (outcome,) = machines.delete(find("twin"))
    assert outcome.error is None and ("undefine keeping NVRAM", "twin") in host.log


def test_the_pool_made_for_a_folder_goes_with_the_last_vm(host: fake.Host):
    machines = connect(image_dir="/srv/vms").machines
    list(machines.create([vm("web1"), vm("web2")]))
    assert ("pool", "/srv/vms") in host.log and any("srv-vms" in pool.name() for pool in host.pools)
    # The fake keeps all files in one folder; what counts is whose definitions name the other.
    for name in ("web1", "web2"):
        (web,) = find(name)
        assert len(host.pools) == 2
        list(machines.delete([web]))
    assert len(host.pools) == 1


# What somebody left who undefined a VM by hand -----------------------------------------------------------------------------


def test_the_drive_of_a_vm_undefined_by_hand_goes_and_its_disk_is_named(host: fake.Host, machines: t.Any):
    list(machines.create([vm()]))
    (web1,) = find("web1")
    list(connect().drives.put([(web1, image.build({"x": b"y"}, owner=web1.id))]))
    host.files["web1.iso.0123abcd.new"] = b"a secret"
    del host.domains["web1"]
    (told,) = machines.remains(["web1", "debian", "other"], delete=False)
    assert told.changed and "web1.iso" in host.files
    (outcome,) = machines.remains(["web1", "debian", "other"], delete=True)
    assert outcome.changed and f"{fake.FOLDER}/web1.qcow2" in outcome.warnings[0]
    assert not [file for file in host.files if ".iso" in file] and "web1.qcow2" in host.files


def test_the_drive_of_a_vm_that_was_renamed_stays(host: fake.Host, machines: t.Any):
    list(machines.create([vm()]))
    (web1,) = find("web1")
    list(connect().drives.put([(web1, image.build({"x": b"y"}, owner=web1.id))]))
    domain = host.domains.pop("web1")
    domain._name = "renamed"
    host.domains["renamed"] = domain
    assert list(machines.remains(["web1"], delete=True)) == [] and "web1.iso" in host.files


# NICs -----------------------------------------------------------------------------------------------------------------------


def test_a_vm_to_whose_disks_nothing_was_written_was_never_started(host: fake.Host, machines: t.Any):
    list(machines.create([vm(), vm("whole", full_clone=True)]))
    web1, whole, debian = find("web1", "whole", "debian")
    assert machines.never_started(web1)
    assert machines.never_started(whole)
    host.written["whole.qcow2"] += 1e-6
    assert not machines.never_started(whole)
    assert not machines.never_started(debian)
    host.domains["web1"].saved = True
    assert not machines.never_started(web1)
    host.domains["web1"].saved = False
    host.disks["web1.qcow2"].allocation = 328 * 1024  # one byte written
    assert not machines.never_started(web1)
    host.disks["web1.qcow2"].allocation = 200 * 1024
    del host.files["web1.qcow2"]
    assert not machines.never_started(web1)


def test_nics_are_changed_only_where_they_differ_and_the_vm_is_off(host: fake.Host, machines: t.Any):
    list(machines.create([vm()]))
    (web1,) = find("web1")
    assert machines.set_nics(web1, [NicWanted("br0", web1.nics[0].mac)]).changed is False
    outcome = machines.set_nics(web1, [NicWanted("br1"), NicWanted("corp")])
    assert outcome.changed and outcome.error is None
    (after,) = find("web1")
    assert [nic.network for nic in after.nics] == ["br1", "corp"] and after.nics[0].mac == web1.nics[0].mac and after.ours
    host.domains["web1"]._state = fake.RUNNING
    assert "shut it down" in machines.set_nics(web1, [NicWanted("br0")]).error
    assert "no network or bridge br9" in machines.set_nics(web1, [NicWanted("br9")]).error
    assert "is that of debian" in machines.set_nics(web1, [NicWanted("br0", "52:54:00:00:00:01")]).error
