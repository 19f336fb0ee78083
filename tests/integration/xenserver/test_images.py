# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A disk image becomes a template of a pool, whatever its format, or nothing is left of it."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import yaml
from xapi_rig.facts import NULL
from xapi_rig.pool import CutConnection

from ansible_collections.vmops.external_dhcp.tests.integration.cloud_images import make_disk, make_image, play

ROOT = pathlib.Path(__file__).resolve().parents[3]
CORP = "corp-vlan120"


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    return make_disk(tmp_path_factory.mktemp("image"))


@pytest.fixture
def run(rig, run_module, disk):
    """Runs the module; what it does to the pool is remembered in rig.pool.calls."""
    rig.empty_template()
    rig.pool.calls.clear()

    def run(form: str = "raw", *, fails: bool = False, check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
        given = {"hypervisor": rig.description(), "name": "debian-12", "network": CORP, **options}
        given.setdefault("image", str(make_image(disk, form)))
        return run_module("vm_template_import", given, fails=fails, check_mode=check_mode)

    return run


def made(rig, name="debian-12"):
    return next((vm for vm in rig.pool.store.all("VM") if vm["name_label"] == name), None)


def drives_of(rig, vm):
    """(type, VDI) of each drive by its slot."""
    vbds = [rig.pool.store.get("VBD", ref) for ref in vm["VBDs"]]
    return {vbd["userdevice"]: (vbd["type"], rig.pool.store.maybe(vbd["VDI"])) for vbd in vbds}


def holds(rig, vdi, disk):
    content = rig.pool.disk_file(vdi).read_bytes()
    return len(content) == vdi["virtual_size"] and content.rstrip(b"\0") == disk.read_bytes().rstrip(b"\0")


def changes(rig):
    read_only = ("session.", "event.", "task.")
    return [call for call in rig.pool.calls if not call.startswith(read_only)]


@pytest.mark.parametrize("form", ["raw", "qcow2", "vhd", "fixed.vhd", "vmdk", "stream.vmdk", "ova"])
def test_an_image_of_any_format_becomes_a_template(rig, run, disk, form):
    told = run(form, memory=512, cpus=2)
    vm = made(rig)
    assert told["changed"] and (told["id"], told["bus"], told["drivers"]) == (vm["uuid"], "ide", ["xen_blkfront", "xen_netfront"])
    assert vm["is_a_template"] and not vm["is_default_template"] and vm["power_state"] == "Halted"
    assert vm["HVM_boot_params"] == {"order": "cd", "firmware": "bios"} and vm["platform"]["viridian"] == "false"
    assert (vm["memory_static_max"], vm["memory_dynamic_max"], vm["VCPUs_max"], vm["VCPUs_at_startup"]) == (
        512 << 20,
        512 << 20,
        2,
        2,
    )
    assert vm["name_description"] == f"Made of the image disk.{form}" and "default_template" not in vm["other_config"]
    drives = drives_of(rig, vm)
    assert {slot: (kind, vdi is None) for slot, (kind, vdi) in drives.items()} == {
        "0": ("Disk", False), "1": ("CD", True), "3": ("CD", True)
    }  # fmt: skip
    assert holds(rig, drives["0"][1], disk)
    (vif,) = [rig.pool.store.get("VIF", ref) for ref in vm["VIFs"]]
    assert vif["network"] == rig.networks[CORP].ref


def test_check_mode_and_a_second_run_change_nothing(rig, run):
    told = run("qcow2", check_mode=True)
    assert (told["changed"], told["id"], changes(rig), made(rig)) == (True, None, [], None)
    first = run()
    rig.pool.calls.clear()
    for check in (True, False):
        told = run(check_mode=check)
        assert (told["changed"], told["id"], changes(rig)) == (False, first["id"], [])


def test_uefi_is_left_to_xapi(rig, run):
    run(efi=True, placement={"host": "xen02"})
    vm = made(rig)
    assert (vm["HVM_boot_params"]["firmware"], vm["affinity"]) == ("uefi", rig.hosts["xen02"].ref)
    assert "device-model" not in vm["platform"] and vm["platform"]["secureboot"] == "false"


def local_sr(rig, host="xen02", **fields):
    store = rig.pool.store
    sr = store.add("SR", type="ext", content_type="user", **{"name_label": "local", "physical_size": 1 << 40, **fields})
    store.add("PBD", SR=sr.ref, host=rig.hosts[host].ref, device_config={"device": "/dev/sdb"}, currently_attached=True)
    return sr


def test_the_image_goes_to_a_host_that_has_the_repository(rig, run, disk):
    sr = local_sr(rig)
    run("vhd", placement={"sr": "local"})
    vdi = drives_of(rig, made(rig))["0"][1]
    assert vdi["SR"] == sr.ref and holds(rig, vdi, disk)
    assert rig.pool.calls.count("PUT /import_raw_vdi") == 1  # without a redirection


def an_image(tmp_path, size):
    path = tmp_path / "huge"
    with open(path, "wb") as stream:
        stream.truncate(size)
    return str(path)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"network": "nowhere"}, "there is no network nowhere"),
        ({"placement": {"sr": "nowhere"}}, "placement.sr nowhere is no storage repository"),
        ({"placement": {"sr": "full"}}, "full has 4096 bytes left, and the image needs 13631488"),
        ({"placement": {"host": "xen01", "sr": "local"}}, "placement.host xen01 does not see the storage repository local"),
        ({"placement": {"datastore": "x"}}, "placement has 'datastore'"),
        ({"bus": "scsi"}, "bus is scsi, which hypervisor.type xenserver has not: use ide"),
        ({"image": "/nowhere"}, "image is /nowhere: No such file"),
        ({"memory": 0}, "memory is 0"),
        ({"name": "web1"}, "there is a VM of this name that was not made of an image"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(rig, run, options, why):
    local_sr(rig)
    local_sr(rig, name_label="full", physical_size=1 << 20, physical_utilisation=(1 << 20) - 4096)
    rig.vm("web1")
    for check in (True, False):
        told = run(fails=True, check_mode=check, **options)
        assert told["failed"] and why in told["msg"]
    assert changes(rig) == []


def test_what_a_pool_may_lack_is_told(rig, run, monkeypatch, tmp_path):
    assert "takes at most" in run(image=an_image(tmp_path, 2 << 40), fails=True)["msg"]
    rig.pool.store.set(rig.pool.pool_obj(), default_SR=NULL)
    assert "give placement.sr" in run(fails=True)["msg"]
    template = made(rig, "Other install media")
    rig.pool.store.set(template, reference_label="")
    assert "give placement.sr" in run(fails=True)["msg"]  # older versions have the name only
    rig.pool.store.remove(template)
    assert "no template Other install media" in run(fails=True)["msg"]
    assert changes(rig) == []


def test_a_missing_qemu_img_is_told(rig, run, monkeypatch, disk):
    image = str(make_image(disk, "qcow2"))
    monkeypatch.setenv("PATH", "/nowhere")
    for check in (True, False):
        told = run(image=image, fails=True, check_mode=check)
        assert "is converted to vhd with qemu-img, which is not on this machine: install it: package qemu-utils" in told["msg"]
    assert changes(rig) == []


@pytest.mark.parametrize(
    ("method", "kind", "more"),
    [
        ("VDI.create", "error", {"error": ("SR_BACKEND_FAILURE_44", "", "There is insufficient space", "")}),
        ("VBD.create", "error", {"error": ("INTERNAL_ERROR", "no room")}),
        ("VIF.create", "error", {"error": ("INTERNAL_ERROR", "no room")}),
        ("PUT /import_raw_vdi", "cut_body", {"count": 2}),
        ("PUT /import_raw_vdi", "fail_task", {"count": 2}),
        ("PUT /import_raw_vdi", "drop_before", {"count": 2}),
        ("VM.set_name_label", "error", {"error": ("INTERNAL_ERROR", "no room")}),
    ],
)
def test_what_fails_half_way_is_undone(rig, run, method, kind, more):
    before = {cls: set(rig.pool.store.by_class[cls]) for cls in ("VM", "VDI", "VBD", "VIF", "task")}
    if method == "VDI.create":
        method = "Async.VDI.create"
    rig.pool.fault(method, kind, **more)
    told = run("vhd", fails=True)
    assert told["failed"] and "it could not be created" in told["msg"] and "OpaqueRef" not in told["msg"]
    assert {cls: set(rig.pool.store.by_class[cls]) for cls in before} == before
    assert not any((rig.folder / "disks").iterdir()) if (rig.folder / "disks").exists() else True
    assert run("vhd")["changed"]


def test_an_upload_cut_once_is_made_again(rig, run, disk):
    rig.pool.fault("PUT /import_raw_vdi", "cut_body")
    assert run("vhd")["changed"]
    assert holds(rig, drives_of(rig, made(rig))["0"][1], disk)


@pytest.mark.parametrize("method", ["Async.VM.clone", "Async.VDI.create", "VM.set_name_label"])
def test_what_a_killed_run_has_left_goes_at_the_next(rig, run, disk, monkeypatch, method):
    """The connection is gone for good with a call that was carried out: nobody is there to undo anything."""
    before = {cls: len(rig.pool.store.by_class[cls]) for cls in ("VM", "VDI")}
    invoke = rig.pool.invoke

    def die(host: str, called: str, params: list[t.Any], **more: t.Any) -> tuple[str, t.Any]:
        if rig.pool.faults or called != method:
            return invoke(host, called, params, **more)
        invoke(host, called, params, **more)
        rig.pool.fault("*", "drop_before", count=500)
        raise CutConnection

    monkeypatch.setattr(rig.pool, "invoke", die)
    assert run("vhd", fails=True)["failed"]
    monkeypatch.undo()
    rig.pool.faults.clear()
    assert len(rig.pool.store.by_class["VM"]) == before["VM"] + 1
    run("vhd")
    assert {cls: len(rig.pool.store.by_class[cls]) - before[cls] for cls in before} == {"VM": 1, "VDI": 1}
    assert holds(rig, drives_of(rig, made(rig))["0"][1], disk)


def test_the_certificate_of_the_other_host_is_checked_for_the_upload(rig, run, tmp_path):
    local_sr(rig)
    seen = "AB:" * 31 + "AB"
    description = rig.description(fingerprints={"127.0.0.2": seen})
    told = run(hypervisor=description, placement={"sr": "local"}, fails=True)
    assert "hypervisor.fingerprints has another one" in told["msg"]
    assert "PUT /import_raw_vdi" not in rig.pool.calls and made(rig) is None


def test_the_playbooks_from_an_image_to_running_vms(rig, run, disk, tmp_path):
    image = make_image(disk, "ova")
    variables = {
        "hypervisor": rig.description(),
        "external_dhcp_record": f"sqlite:///{tmp_path}/record.db",
        "shared_networks": [{"name": CORP, "cidr": "10.99.0.0/24", "services": ["userdata"]}],
        "vms": [{"name": "web1", "template": "debian-12", "networks": [CORP], "user_data": {"role": "web"}}],
        "vm_drive_label": "config-2",
        "vm_template_image": str(image),
        "vm_template_import_name": "debian-12",
        "vm_template_import_network": CORP,
    }
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"pool": variables}}}))
    (tmp_path / "blind").mkdir()
    blind = make_disk(tmp_path / "blind", without=("ata_piix", "xen-netfront"))
    said = play(inventory, "import_cloud_image", "-e", f"vm_template_image={blind}", fails=True)
    assert "6.1.0-18-amd64 lacks ata-piix" in said and "6.1.0-18-amd64 lacks xen_netfront" in said and made(rig) is None
    assert "changed=1" in play(inventory, "import_cloud_image")
    play(inventory, "deploy_vms", "-e", "vm_wait=false")
    web1 = made(rig, "web1")
    assert web1["power_state"] == "Running" and not web1["is_a_template"]
    assert holds(rig, drives_of(rig, web1)["0"][1], disk)
    assert drives_of(rig, web1)["1"][1]["location"] == "web1.iso"
