# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A disk image becomes a template of a vCenter, whatever its format, or nothing is left of it."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import ssl
import subprocess
import sys
import time
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware import nfc
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.connection import endpoint_of
from ansible_collections.vmops.external_dhcp.tests.integration.cloud_images import make_disk, make_image, play

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "rigs" / "vcenter"))
from vcenter_admin import Admin
from vcenter_rig import VCenterRig

NETWORK, GROUP, STORE = "VM Network", "DC0_DVPG0", "LocalDS_1"


@pytest.fixture(scope="module")
def rig() -> t.Iterator[VCenterRig]:
    with VCenterRig("itvmimage", vms=1, datastores=2, task_delay="20ms") as running:
        yield running


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return make_disk(tmp_path_factory.mktemp("image"))


@pytest.fixture
def make(
    rig: VCenterRig, run_module: t.Callable[..., t.Any], disk: pathlib.Path
) -> t.Iterator[t.Callable[..., dict[str, t.Any]]]:
    """Runs the module; what it has made goes after the test."""
    kept = {vm["name"] for vm in rig.vms()}
    rig.calls(reset=True)

    def make(form: str = "stream.vmdk", *, fails: bool = False, check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
        given = {"hypervisor": rig.description(), "name": "debian-12", "network": NETWORK, **options}
        given.setdefault("placement", {"datastore": STORE})
        given.setdefault("image", str(make_image(disk, form)))
        return dict(run_module("vm_template_import", given, fails=fails, check_mode=check_mode))

    yield make
    rig.clear_faults()
    with Admin(rig) as admin:
        for vm in rig.vms():
            if vm["name"] not in kept:
                admin.destroy(vm["name"])


def holds(rig: VCenterRig, location: str, disk: pathlib.Path) -> bool:
    flat = rig.file(location.replace(".vmdk", "-flat.vmdk"))
    return flat.read_bytes().rstrip(b"\0") == disk.read_bytes().rstrip(b"\0")


def changes(rig: VCenterRig) -> set[str]:
    return set(rig.calls()) & {"ImportVApp", "POST /nfc", "MarkAsTemplate", "ReconfigVM_Task"}


@pytest.mark.parametrize(
    ("form", "more", "place"),
    [
        ("stream.vmdk", {}, {}),
        ("ova", {"bus": "ide", "network": GROUP}, {"host": "DC0_C0_H1", "folder": "/DC0/vm"}),
        ("qcow2", {"efi": True, "name": "with /slash"}, {"cluster": "DC0_C0"}),
        ("vhd", {}, {"resource_pool": "Resources", "cluster": "DC0_C0"}),
    ],
)
def test_an_image_becomes_a_template(rig, make, disk, form, more, place):
    told = make(form, memory=512, cpus=2, placement={"datastore": STORE, **place}, **more)
    name = more.get("name", "debian-12").replace("/", "%2f")
    vm = rig.vm(name)
    assert vm is not None and told["changed"] and told["id"] == vm["instance_uuid"]
    assert (told["bus"], told["drivers"]) == (more.get("bus", "sata"), ["vmw_pvscsi", "vmxnet3"])
    assert (vm["template"], vm["power_state"], vm["memory"], vm["cpus"]) == (True, "poweredOff", 512, 2)
    assert vm["host"] == place.get("host", vm["host"])
    assert [(one["Controller"], one["File"], one["Start"]) for one in vm["drives"]] == [(told["bus"], "", False)] * 2
    (one,) = vm["disks"]
    assert one["File"].startswith(f"[{STORE}] ") and holds(rig, one["File"], disk)
    with Admin(rig) as admin:
        config = admin.vm(name).config
        assert config.firmware == ("efi" if "efi" in more else "bios")
        assert [network.name for network in admin.vm(name).network] == [more.get("network", NETWORK)]
        assert config.annotation == f"Made of the image disk.{form}"
    rig.calls(reset=True)
    again = make(form, check_mode=form == "ova", placement={"datastore": STORE, **place}, **more)
    assert (again["changed"], again["id"], changes(rig)) == (False, told["id"], set())


def test_check_mode_makes_nothing(rig, make):
    told = make("qcow2", check_mode=True)
    assert (told["changed"], told["id"], changes(rig), rig.vm("debian-12")) == (True, None, set(), None)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"network": "nowhere"}, "there is no network nowhere"),
        ({"placement": {}}, "DC0_C0 has 2 datastores (LocalDS_0, LocalDS_1): name the one meant (placement.datastore)"),
        ({"placement": {"datastore": "nowhere"}}, "datastore nowhere"),
        ({"placement": {"sr": "x"}}, "placement has 'sr'"),
        ({"placement": {"cluster": "nowhere"}}, "cluster nowhere"),
        ({"bus": "scsi"}, "bus is scsi, which hypervisor.type vmware has not: use sata or ide"),
        ({"name": "DC0_C0_RP0_VM0"}, "there is a VM of this name that was not made of an image"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(rig, make, options, why):
    for check in (True, False):
        told = make(fails=True, check_mode=check, **options)
        assert told["failed"] and why in told["msg"]
    assert changes(rig) == set()


def test_a_host_of_its_own_has_no_templates(run_module, disk):
    with VCenterRig("itvmimageesx", vms=1, esx=True) as esx:
        given = {"hypervisor": esx.description(), "name": "a", "network": NETWORK, "image": str(make_image(disk, "stream.vmdk"))}
        assert "connect to the vCenter" in run_module("vm_template_import", given, fails=True)["msg"]


@pytest.mark.parametrize(
    ("method", "kind", "more", "why"),
    [
        ("CreateImportSpec", "fault", {"fault": "InvalidArgument"}, "InvalidArgument"),
        ("ImportVApp", "fault", {"fault": "InsufficientResourcesFault"}, "InsufficientResourcesFault"),
        ("POST /nfc", "upload_cut", {"bytes": 3000}, "the upload of the disk failed"),
        ("POST /nfc", "upload_status", {"bytes": 3000, "status": 500}, "the host would not take the disk: HTTP 500"),
        ("POST /nfc", "status", {"status": 404}, "the host would not take the disk: HTTP 404"),
        ("HttpNfcLeaseProgress", "fault", {"fault": "Timedout"}, "Timedout"),
        ("HttpNfcLeaseComplete", "fault", {"fault": "InvalidState"}, "InvalidState"),
        ("MarkAsTemplate", "fault", {"fault": "NoPermission"}, "lacks the privilege"),
        ("ReconfigVM_Task", "fault", {"fault": "NoPermission"}, "lacks the privilege"),
    ],
)
def test_what_fails_half_way_is_undone(rig, make, method, kind, more, why):
    rig.fault(method, kind, **more)
    told = make(fails=True)
    assert told["failed"] and why in told["msg"]
    assert rig.vm("debian-12") is None and not rig.file(f"[{STORE}] debian-12").exists()
    assert "vmware_soap_session" not in json.dumps(told)
    rig.clear_faults()
    assert make()["changed"]


@pytest.mark.parametrize("call", ["MarkAsTemplate", "ReconfigVM_Task"])
def test_the_next_run_finishes_what_a_killed_one_imported(rig, make, disk, call):
    """The lease is over, so that the VM stays, and the run is killed in the call."""
    given = {"hypervisor": rig.description(), "name": "debian-12", "network": NETWORK, "placement": {"datastore": STORE}}
    killed_in(rig, call, {**given, "image": str(make_image(disk, "stream.vmdk"))})
    rig.calls(reset=True)
    left = rig.vm("debian-12")
    assert left is not None and left["template"] is (call != "MarkAsTemplate")
    told = make(check_mode=True)
    assert (told["changed"], changes(rig)) == (True, set())
    told = make()
    assert (told["changed"], told["id"]) == (True, left["instance_uuid"])
    assert changes(rig) == {"MarkAsTemplate", "ReconfigVM_Task"} - ({"MarkAsTemplate"} if left["template"] else set())
    vm = rig.vm("debian-12")
    assert vm["template"] and holds(rig, vm["disks"][0]["File"], disk)
    with Admin(rig) as admin:
        assert admin.vm("debian-12").config.annotation == "Made of the image disk.stream.vmdk"
    assert not make()["changed"]


def killed_in(rig: VCenterRig, call: str, options: dict[str, t.Any]) -> None:
    """Runs the module in a process of its own, which is killed while the server has not done that call yet, and never will."""
    rig.fault(call, "delay", delay_ms=600_000)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "plugins/modules/vm_template_import.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT / ".build/collections")},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": options}))
        process.stdin.close()
        end = time.monotonic() + 120
        while call not in rig.calls():
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()


def test_an_import_that_is_under_way_is_left_to_its_run(rig, make, disk):
    given = {"hypervisor": rig.description(), "name": "debian-12", "network": NETWORK, "placement": {"datastore": STORE}}
    killed_in(rig, "HttpNfcLeaseComplete", {**given, "image": str(make_image(disk, "stream.vmdk"))})
    told = make(fails=True)
    assert "its import is not finished" in told["msg"] and "until its lease is over" in told["msg"]
    assert rig.vm("debian-12")["template"] is False


def test_a_template_that_was_made_a_vm_again_is_nobody_s_left_over(rig, make):
    make()
    with Admin(rig) as admin:
        vm = admin.vm("debian-12")
        vm.MarkAsVirtualMachine(pool=admin.vm("DC0_C0_RP0_VM0").resourcePool)
    assert "was not made of an image" in make(fails=True)["msg"]


def test_a_name_that_is_taken_out_of_sight_is_told(rig, make):
    make()
    hidden = rig.description(folder="/DC0/vm/none")
    with Admin(rig) as admin:
        admin.datacenter.vmFolder.CreateFolder("none")
    told = make(hypervisor=hidden, placement={"datastore": STORE, "folder": "/DC0/vm"}, fails=True)
    assert "has a VM or template of this name already" in told["msg"]


def test_a_host_is_trusted_by_the_ca_or_by_what_vcenter_says(rig):
    """The disk goes to a host, whose certificate may be one that only vCenter knows."""
    endpoint = endpoint_of(rig.description())
    der = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((endpoint.host, endpoint.port)))
    sha1 = ":".join(f"{byte:02X}" for byte in hashlib.sha1(der).digest())
    stranger = endpoint._replace(ca_path=rig.facts["other_ca_path"]).context()
    nfc.connect(endpoint, endpoint.context(), None).close()
    for known in (sha1, hashlib.sha256(der).hexdigest()):
        nfc.connect(endpoint, stranger, known).close()
    with pytest.raises(ssl.SSLCertVerificationError):
        nfc.connect(endpoint, stranger, None)
    for wrong in ("AB" + sha1[2:], "AB:CD", hashlib.md5(der).hexdigest()):
        with pytest.raises(HypervisorError, match="nor the one that vCenter knows"):
            nfc.connect(endpoint, stranger, wrong)


def test_the_playbooks_from_an_image_to_running_vms(rig, make, disk, tmp_path):
    variables = {
        "hypervisor": rig.description(datacenter="DC0"),
        "external_dhcp_record": f"sqlite:///{tmp_path}/record.db",
        "shared_networks": [{"name": NETWORK, "cidr": "10.99.0.0/24", "services": ["userdata"]}],
        "vms": [{"name": "web1", "template": "debian-12", "networks": [NETWORK], "user_data": {"role": "web"}}],
        "vm_drive_label": "config-2",
        "vm_template_image": str(make_image(disk, "qcow2")),
        "vm_template_import_name": "debian-12",
        "vm_template_import_network": NETWORK,
        "vm_template_import_placement": {"datastore": STORE},
    }
    inventory = tmp_path / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"vc01": variables}}}))
    for name, *options in (("import_cloud_image",), ("deploy_vms", "-e", "vm_wait=false")):
        assert "rig-password" not in play(inventory, name, *options)
    web1 = rig.vm("web1")
    assert web1 is not None and (web1["power_state"], web1["template"]) == ("poweredOn", False)
    assert holds(rig, web1["disks"][0]["File"], disk)
    assert [one["File"] for one in web1["drives"]] == ["", f"[{STORE}] web1/web1.iso"]
