# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module, with the KVM driver on a libvirt in this process."""

from __future__ import annotations

import json
import typing as t

import pytest

pytest.importorskip("pycdlib")

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image as images
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import session
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._hypervisor.kvm import fake_libvirt as fake

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.tests.unit.conftest import RunModule

HYPERVISOR = {"type": "kvm", "uri": "qemu:///system"}
SECRET = "Canary-4711-pw"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> fake.Host:
    found = fake.Host()
    fake.install(monkeypatch, found)
    for name in ("web1", "web2", "web3"):
        found.domain(name)
    return found


def options(*names: str, **more: t.Any) -> dict[str, t.Any]:
    drives = [{"name": name, "password": SECRET, "user_data": {"role": name}} for name in names]
    return {"hypervisor": HYPERVISOR, "drives": drives, **more}


def test_drives_are_put_once(host: fake.Host, run_module: RunModule):
    first = run_module("vm_config_drive", options("web2", "web1"))
    assert first["changed"] and [drive["name"] for drive in first["drives"]] == ["web2", "web1"]
    drive = first["drives"][1]
    assert (drive["location"], drive["slot"], drive["error"]) == (f"{fake.FOLDER}/web1.iso", "hdd", None)
    host.log.clear()
    second = run_module("vm_config_drive", options("web2", "web1"))
    assert not second["changed"] and host.log == []
    assert [entry["sha256"] for entry in second["drives"]] == [entry["sha256"] for entry in first["drives"]]


def test_check_mode_and_diff_tell_and_do_nothing(host: fake.Host, run_module: RunModule):
    told = run_module("vm_config_drive", options("web1"), check_mode=True, diff=True)
    assert told["changed"] and host.log == [] and host.files == {}
    done = run_module("vm_config_drive", options("web1"), diff=True)
    assert told["diff"] == done["diff"] and told["drives"][0]["sha256"] == done["drives"][0]["sha256"]
    assert "hdd" in told["diff"][0]["after"] and SECRET not in json.dumps(done)
    gone = run_module("vm_config_drive", options("web1", state="absent"), check_mode=True)
    assert gone["changed"] and "web1.iso" in host.files


def test_one_failing_vm_does_not_stop_the_others(host: fake.Host, run_module: RunModule):
    host.files["web2.iso"] = b"somebody's"
    result = run_module("vm_config_drive", options("web1", "web2", "nobody", "web3"), fails=True)
    errors = {drive["name"]: drive["error"] for drive in result["drives"]}
    assert errors["web1"] is errors["web3"] is None
    assert "no config drive of this collection" in errors["web2"] and "there is no VM nobody" in errors["nobody"]
    assert "2 of 4 drives failed" in result["msg"] and result["changed"]
    ignored = run_module("vm_config_drive", options("web2", "nobody", ignore_vm_errors=True))
    assert [drive["error"] for drive in ignored["drives"]] == [errors["web2"], errors["nobody"]]
    assert SECRET not in json.dumps(result)
    assert set(host.files) == {"web1.iso", "web2.iso", "web3.iso"}


@pytest.mark.parametrize("in_firmware", [True, False])
def test_cloud_init_reads_no_drive_again_if_its_id_is_what_the_firmware_tells(
    host: fake.Host, run_module: RunModule, monkeypatch: pytest.MonkeyPatch, in_firmware: bool
):
    monkeypatch.setattr(
        "ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.driver.KvmHost.id_in_firmware", in_firmware
    )

    def acts(**metadata: str) -> bool:
        drives = [{"name": "web1", "reader": "cloud_init", "metadata": metadata}]
        return bool(run_module("vm_config_drive", {"hypervisor": HYPERVISOR, "drives": drives})["drives"][0]["acts_on_refresh"])

    assert not acts(), "a first drive"
    assert acts(instance_id="i-1") is not in_firmware
    assert acts(instance_id="i-2")


def foreign_drive(owner: str | None) -> bytes:
    data = images.build({"cloudstack/metadata/vm-id.txt": b"1"}, owner=owner)
    return data if owner else data.replace(b"VMOPS.EXTERNAL_DHCP FORMAT", b"SOMEBODY.EXTERNAL_D FORMAT")


@pytest.mark.parametrize("state", ["present", "updated", "absent"])
@pytest.mark.parametrize("owner", ["99999999-0000-0000-0000-000000000000", None])
def test_a_foreign_drive_is_taken_over_only_if_told_so(host: fake.Host, run_module: RunModule, owner: str | None, state: str):
    host.files["web1.iso"] = foreign_drive(owner)
    what = f"the config drive of the VM with id {owner}" if owner else "no config drive of this collection"
    refused = run_module("vm_config_drive", options("web1", state=state), fails=True)
    assert what in refused["msg"] and "take_over=true" in refused["msg"] and not refused["changed"]
    told = run_module("vm_config_drive", options("web1", state=state, take_over=True), check_mode=True)
    assert told["changed"] and host.files["web1.iso"] == foreign_drive(owner) and host.log == []
    done = run_module("vm_config_drive", options("web1", state=state, take_over=True))
    assert done["changed"] and [drive["sha256"] for drive in done["drives"]] == [drive["sha256"] for drive in told["drives"]]
    if state == "absent":
        assert host.files == {}
    else:
        assert images.read_owner(host.files["web1.iso"]) not in (owner, None)
        assert not run_module("vm_config_drive", options("web1", state=state))["changed"]


def test_a_file_that_is_no_drive_is_not_taken_over(host: fake.Host, run_module: RunModule):
    host.files["web1.iso"] = b"somebody's"
    for state in ("present", "absent"):
        assert (
            "is not a config drive"
            in run_module("vm_config_drive", options("web1", state=state, take_over=True), fails=True)["msg"]
        )
    assert host.files["web1.iso"] == b"somebody's"


def test_weak_input_is_told_in_check_mode_even_of_a_vm_that_is_not_there(host: fake.Host, run_module: RunModule):
    drives = [{"name": "nobody", "password": 12345678, "reader": "ours", "user_data": "#cloud-config\n{}"}]
    options = {"hypervisor": HYPERVISOR, "drives": drives, "missing": "skip"}
    result = run_module("vm_config_drive", options, check_mode=True)
    assert not result["changed"] and result["drives"][0]["error"] is None
    for part in ("is a number", "digits alone", "#cloud-config"):
        assert part in str(result["warnings"])


def test_a_connection_that_breaks_tells_what_was_done(host: fake.Host, run_module: RunModule):
    def trouble(what: str, name: str) -> None:
        if what == "upload" and name.startswith("web2"):
            host.alive = False
            raise fake.LibvirtError("VIR_ERR_INTERNAL_ERROR", "client socket is closed")

    host.trouble = trouble
    result = run_module("vm_config_drive", options("web1", "web2", "web3"), fails=True)
    assert [drive["changed"] for drive in result["drives"]][0] and result["drives"][0]["error"] is None
    assert all("broke" in drive["error"] and not drive["changed"] for drive in result["drives"][1:])


def test_updated_changes_a_part_and_keeps_the_rest(host: fake.Host, run_module: RunModule):
    run_module("vm_config_drive", options("web1", label="config-2"))
    before = images.read(host.files["web1.iso"])
    new = {"hypervisor": HYPERVISOR, "drives": [{"name": "web1", "password": "Another-one-8"}], "state": "updated"}
    assert run_module("vm_config_drive", new)["changed"]
    after = images.read(host.files["web1.iso"])
    assert after.label == "config-2" and b"Another-one-8" in b"".join(after.files.values())
    assert SECRET.encode() not in b"".join(after.files.values())
    same = [path for path in before.files if before.files[path] == after.files[path]]
    assert any("user" in path for path in same)
    assert not run_module("vm_config_drive", new)["changed"]


def test_updated_needs_a_whole_drive(host: fake.Host, run_module: RunModule):
    new = {"hypervisor": HYPERVISOR, "drives": [{"name": "web1", "password": "Another-one-8"}], "state": "updated"}
    assert "it has no config drive" in run_module("vm_config_drive", new, fails=True)["msg"]
    run_module("vm_config_drive", options("web1"))
    whole = host.files["web1.iso"]
    host.files["web1.iso"] = whole[: len(whole) // 3].ljust(len(whole), b"\0")
    assert "damaged" in run_module("vm_config_drive", new, fails=True)["msg"]
    assert run_module("vm_config_drive", options("web1"))["changed"]
    assert host.files["web1.iso"] == whole


def test_a_restart_that_is_needed_is_warned_of(host: fake.Host, run_module: RunModule):
    host.domain("web1", ("hdc", None), state=fake.RUNNING)
    for changed in (True, False):
        result = run_module("vm_config_drive", options("web1"))
        assert result["changed"] is changed and result["drives"][0]["restart_required"]
        assert "shut down and started" in str(result["warnings"])


def test_a_moved_drive_is_brought_along(host: fake.Host, run_module: RunModule, monkeypatch: pytest.MonkeyPatch):
    run_module("vm_config_drive", options("web1"))
    other = fake.Host()
    here, there = session.libvirt.open, "qemu://other/system"
    monkeypatch.setattr(session.libvirt, "open", lambda uri: fake.Connection(other) if uri == there else here(uri))
    moved = {"hypervisor": HYPERVISOR, "drives": [{"name": "web1"}], "state": "moved", "destination": there}
    assert run_module("vm_config_drive", moved)["changed"]
    assert other.files == host.files
    assert not run_module("vm_config_drive", moved)["changed"]


@pytest.mark.parametrize(
    ("entries", "more", "words"),
    [
        ([{"name": "web1", "password": "two\nlines"}], {}, "password"),
        ([{"name": "web1", "password": "x" * 5000}], {}, "password"),
        ([{"name": "web1"}], {"label": "L" * 33}, "label"),
        ([{"name": "web1"}], {"layouts": []}, "layouts"),
        ([{"name": "web1"}, {"name": "web1"}], {}, "2 times"),
        ([{"name": "web1", "user_data_base64": "%%%"}], {}, "user_data_base64"),
        ([{"name": "web1", "ssh_keys": "no key"}], {}, "ssh_keys"),
        ([{"name": "web1", "password": "Pw-one-2", "services": [], "network": "corp"}], {}, "corp"),
    ],
)
def test_input_that_cannot_be_is_refused_before_anything_is_done(
    host: fake.Host, run_module: RunModule, entries: t.Any, more: t.Any, words: str
):
    result = run_module("vm_config_drive", {"hypervisor": HYPERVISOR, "drives": [*entries, {"name": "web2"}], **more}, fails=True)
    assert "nothing was changed" in result["msg"] and words in result["msg"]
    assert host.log == [] and result["drives"] == []


@pytest.mark.parametrize(
    ("module", "more"),
    [("vm_config_drive", {"hypervisor": {"type": "kvm", "password": "conn-pw"}}), ("config_drive_iso", {"dest": "/tmp/x"})],
)
def test_an_error_of_the_arguments_is_readable_whatever_the_vms_are_called(
    run_module: RunModule, module: str, more: dict[str, t.Any]
):
    drives = [
        {"name": "a", "metadata": {"e": "r"}, "password": "S3cret-of-a", "reader": "S3cret-of-a"},
        {"name": "o", "ssh_keys": ["ssh-ed25519 AAAA o"]},
        {"name": "web1", "reader": "our"},
    ]
    result = run_module(module, {**more, "drives": drives}, fails=True)
    assert "value of reader must be one of: ours, cloudstack" in result["msg"] and "found in drives" in result["msg"]
    assert "S3cret-of-a" not in str(result) and "conn-pw" not in str(result)
    drives = [{"name": "a", "password": "S3cret-of-a", "colour": "S3cret-of-a"}, {"name": "p"}]
    result = run_module(module, {**more, "drives": drives}, fails=True)
    assert "Unsupported parameters for" in result["msg"] and "drives.colour" in result["msg"]
    assert "S3cret-of-a" not in str(result)
