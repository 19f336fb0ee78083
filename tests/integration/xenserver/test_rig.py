# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rig refuses what XAPI refuses: asked with the XenAPI package itself, not through the driver."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import ssl
import stat
import subprocess
import threading
import time
import xmlrpc.client

import make_facts
import pytest
import XenAPI
import yaml
from xapi_rig import rigging
from xapi_rig.facts import FACTS, Facts, Failure
from xapi_rig.machine import device_number
from xapi_rig.pool import Call

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver import driver as xenserver

FOLDER = "/opt/xensource/packages/iso/configdrive_iso"


@pytest.fixture
def session(rig):
    opened = log_in(rig)
    yield opened
    opened.xenapi.session.logout()
    # This file provokes what every other test must not.
    rig.pool.violations.clear()
    if "session_id in a URL" in rig.pool.calls:
        rig.pool.calls.remove("session_id in a URL")


def log_in(rig, address="127.0.0.1"):
    context = ssl.create_default_context(cafile=str(rig.ca))
    opened = XenAPI.Session(f"https://{address}:{rig.pool.port}", transport=xmlrpc.client.SafeTransport(context=context))
    opened.login_with_password("root", rig.pool.password, "1.0", "tests")
    return opened


@pytest.fixture
def call(session):
    """Calls a method; a failure comes back as its list, so that tests can compare."""

    def run(method, *args):
        try:
            return session.xenapi_request(method, args)
        except XenAPI.Failure as failure:
            return failure.details

    return run


def http_request(rig, verb, path, body=None, headers=None, address="127.0.0.1"):
    context = ssl.create_default_context(cafile=str(rig.ca))
    connection = http.client.HTTPSConnection(address, rig.pool.port, context=context, timeout=20)
    connection.request(verb, path, body=body, headers=headers or {})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer, text


def cd_of(rig, vm):
    return next(r for r in vm["VBDs"] if rig.pool.store.get("VBD", r)["type"] == "CD")


def iso_sr(rig, call, host="xen01"):
    return call(
        "SR.create", rig.hosts[host].ref, {"location": FOLDER, "legacy_mode": "true"}, "0", "isos", "", "iso", "iso", False, {}
    )


def vdi_record(sr, path, size=4096, **more):
    record = {
        "name_label": path, "name_description": "", "SR": sr, "virtual_size": str(size), "type": "user", "sharable": False,
        "read_only": False, "other_config": {}, "sm_config": {"path": path},
    }  # fmt: skip
    return {**record, **more}


def vbd_record(vm, **more):
    record = {
        "VM": vm.ref, "VDI": "OpaqueRef:NULL", "userdevice": "1", "bootable": False, "mode": "RO", "type": "CD", "empty": True,
        "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {},
    }  # fmt: skip
    return {**record, **more}


# -- every call ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "args", "expected"),
    [
        ("VM.frobnicate", (), ["MESSAGE_METHOD_UNKNOWN", "VM.frobnicate"]),
        ("VM.get_all_records", ("extra",), ["MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.get_all_records", "0", "1"]),
        ("VM.set_uuid", ("a", "b"), ["MESSAGE_METHOD_UNKNOWN", "VM.set_uuid"]),
        ("VM.get_record", ("OpaqueRef:no",), ["HANDLE_INVALID", "VM", "OpaqueRef:no"]),
        ("VM.get_record", ("OpaqueRef:NULL",), ["HANDLE_INVALID", "VM", "OpaqueRef:NULL"]),
        ("VM.get_by_uuid", ("no",), ["UUID_INVALID", "VM", "no"]),
        ("event.from", (["nonsense"], "", 0.0), ["EVENT_SUBSCRIPTION_PARSE_FAILURE", "nonsense"]),
        ("event.from", (["vm"], "7", 0.0), ["EVENT_FROM_TOKEN_PARSE_FAILURE", "7"]),
    ],
)
def test_calls_that_are_wrong(call, method, args, expected):
    assert call(method, *args) == expected


def test_a_reference_of_another_class_is_invalid(rig, call):
    host = rig.hosts["xen01"].ref
    assert call("VM.get_record", host) == ["HANDLE_INVALID", "VM", host]


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("event.from", (["vm"], "", 0)),
        ("VM.start", ("VM", "false", False)),
        ("VM.set_name_label", ("VM", True)),
        ("VM.set_tags", ("VM", "a")),
        ("VM.set_other_config", ("VM", ["a"])),
        ("VM.set_VCPUs_max", ("VM", 2)),
        ("VM.set_VCPUs_max", ("VM", "two")),
        ("VM.set_actions_after_reboot", ("VM", "explode")),
    ],
)
def test_types_are_enforced_and_remembered(rig, call, method, args):
    vm = rig.vm("web1")
    code, text = call(method, *[vm.ref if a == "VM" else a for a in args])
    assert code == "INTERNAL_ERROR"
    assert "expected" in text or "is no" in text or "digits" in text
    assert rig.pool.violations


def test_a_map_key_cannot_be_added_twice(rig, call):
    vm = rig.vm("web1")
    assert call("VM.add_to_other_config", vm.ref, "k", "v") == ""
    assert call("VM.add_to_other_config", vm.ref, "k", "w") == ["MAP_DUPLICATE_KEY", "VM", "other_config", vm["uuid"], "k"]


def test_sessions(rig):
    with pytest.raises(XenAPI.Failure) as caught:
        log_in(rig, "127.0.0.2")
    assert caught.value.details == ["HOST_IS_SLAVE", "127.0.0.1"]
    rig.pool.password = "changed"
    context = ssl.create_default_context(cafile=str(rig.ca))
    proxy = xmlrpc.client.ServerProxy(
        f"https://127.0.0.1:{rig.pool.port}", transport=xmlrpc.client.SafeTransport(context=context)
    )
    answer = proxy.session.login_with_password("root", "wrong")
    assert answer["ErrorDescription"] == ["SESSION_AUTHENTICATION_FAILED", "root", "Authentication failure"]
    assert proxy.VM.get_all("OpaqueRef:dead")["ErrorDescription"] == ["SESSION_INVALID", "OpaqueRef:dead"]
    assert "VM.start" in proxy.system.listMethods()
    with pytest.raises(ssl.SSLCertVerificationError):
        XenAPI.Session(f"https://127.0.0.1:{rig.pool.port}").login_with_password("root", "x", "1.0", "t")


def test_the_oldest_of_500_sessions_of_an_originator_is_dropped(rig):
    call = Call(rig.pool.master().ref, "", "session.login_with_password")
    with rig.pool.store.changed:
        refs = [rig.pool.session_login_with_password(call, "root", rig.pool.password, "", "same") for _number in range(501)]
    assert refs[0] not in rig.pool.open_sessions
    assert len(rig.pool.open_sessions) == 500


def test_only_errors_that_xapi_knows_can_be_raised():
    facts = Facts()
    assert facts.check_failure(Failure("VM_BAD_POWER_STATE", "a", "b", "c")) is None
    assert facts.check_failure(Failure("HOST_DISABLED", "a")) is None  # declared by a message of the model
    assert "parameters" in facts.check_failure(Failure("VM_BAD_POWER_STATE", "a"))
    assert "no error" in facts.check_failure(Failure("NO_SUCH_THING"))


def test_the_facts_table_names_its_origin_and_holds_no_prose():
    data = json.loads(FACTS.read_text())
    assert data["source"]["commit"]
    assert "LGPL" in data["source"]["licence"]

    def texts(value):
        if isinstance(value, dict):
            for key, item in value.items():
                yield key
                yield from texts(item)
        elif isinstance(value, list):
            for item in value:
                yield from texts(item)
        else:
            yield str(value)

    # The longest is a type: (VM ref -> (string -> string) map) map
    assert max(len(x.split()) for x in texts(data["classes"])) <= 8


# -- ISO SR ----------------------------------------------------------------------------------------------------------------


def test_sr_create_on_a_missing_folder(rig, call):
    rig.iso_dir().rmdir()
    assert iso_sr(rig, call) == ["SR_BACKEND_FAILURE_226", "", "Invalid local path", ""]
    assert [s for s in rig.pool.store.all("SR") if s["type"] == "iso"] == []


def test_a_folder_that_disappears_fails_the_scan(rig, call):
    sr = iso_sr(rig, call)
    rig.iso_dir().rmdir()
    assert call("SR.scan", sr)[0] == "SR_BACKEND_FAILURE_47"


def test_scan_lists_isos_and_forgets_what_is_gone(rig, call):
    folder = rig.iso_dir()
    (folder / "a.iso").write_bytes(b"x" * 100)
    (folder / "B.IMG").write_bytes(b"y" * 200)
    (folder / "notes.txt").write_bytes(b"z")
    (folder / "sub.iso").mkdir()
    sr = iso_sr(rig, call)
    assert call("SR.get_VDIs", sr) == []  # nobody scans unasked
    call("SR.scan", sr)
    records = call("VDI.get_all_records")
    assert {r["location"]: r["virtual_size"] for r in records.values() if r["SR"] == sr} == {"a.iso": "100", "B.IMG": "200"}
    assert all(r["read_only"] for r in records.values() if r["SR"] == sr)
    (folder / "a.iso").unlink()
    call("SR.scan", sr)
    assert [call("VDI.get_location", v) for v in call("SR.get_VDIs", sr)] == ["B.IMG"]


@pytest.mark.parametrize("name", ["my_vm.iso", "two words.iso", "x.txt", ".iso.x", "ü.iso"])
def test_vdi_create_refuses_names(rig, call, name):
    assert call("VDI.create", vdi_record(iso_sr(rig, call), name))[0] == "SR_BACKEND_FAILURE_78"
    assert list(rig.iso_dir().iterdir()) == []


def test_vdi_create_tests_a_prefix_only_and_the_next_scan_forgets_it(rig, call):
    sr = iso_sr(rig, call)
    vdi = call("VDI.create", vdi_record(sr, "x.iso_y"))
    assert vdi.startswith("OpaqueRef:")
    call("SR.scan", sr)
    assert call("VDI.get_record", vdi) == ["HANDLE_INVALID", "VDI", vdi]


def test_vdi_create_makes_a_sparse_file_of_exactly_that_size_once(rig, call):
    sr = iso_sr(rig, call)
    vdi = call("VDI.create", vdi_record(sr, "a.iso", 12345))
    assert (rig.iso_dir() / "a.iso").stat().st_size == 12345
    assert call("VDI.get_read_only", vdi) is False
    assert call("VDI.create", vdi_record(sr, "a.iso"))[0] == "SR_BACKEND_FAILURE_43"
    assert call("VDI.resize", vdi, "9") == ["SR_OPERATION_NOT_SUPPORTED", sr]


def test_vdi_create_without_a_path_uses_the_uuid(rig, call):
    vdi = call("VDI.create", {**vdi_record(iso_sr(rig, call), "a.iso"), "sm_config": {}})
    assert call("VDI.get_location", vdi) == f"{call('VDI.get_uuid', vdi)}.img"


def test_constructor_fields_are_required(rig, call):
    record = vdi_record(iso_sr(rig, call), "a.iso")
    del record["other_config"]
    assert call("VDI.create", record) == ["INTERNAL_ERROR", 'Server_helpers.Dispatcher_FieldNotFound("other_config")']


def test_vdi_destroy_takes_the_drives_of_halted_vms_along(rig, call):
    sr = iso_sr(rig, call)
    vdi = call("VDI.create", vdi_record(sr, "a.iso"))
    vm = rig.vm("web1")
    cd = cd_of(rig, vm)
    call("VBD.insert", cd, vdi)
    assert call("VDI.destroy", vdi) == ""
    assert call("VBD.get_record", cd) == ["HANDLE_INVALID", "VBD", cd]
    assert list(rig.iso_dir().iterdir()) == []


def test_an_unplugged_sr_takes_no_vdi(rig, call):
    sr = iso_sr(rig, call)
    call("PBD.unplug", call("SR.get_PBDs", sr)[0])
    assert call("VDI.create", vdi_record(sr, "a.iso")) == ["SR_HAS_NO_PBDS", sr]
    assert call("SR.scan", sr) == ["SR_HAS_NO_PBDS", sr]
    assert call("SR.forget", sr) == ""


# -- drives ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"mode": "RW"}, ["VBD_CDS_MUST_BE_READONLY"]),
        ({"type": "Disk"}, ["VBD_NOT_REMOVABLE_MEDIA", "VM"]),
        ({"userdevice": "3"}, ["DEVICE_ALREADY_EXISTS", "3"]),
        ({"userdevice": "xvdd"}, ["DEVICE_ALREADY_EXISTS", "3"]),
        ({"userdevice": "hda"}, ["DEVICE_ALREADY_EXISTS", "0"]),
        ({"userdevice": "999"}, ["INVALID_DEVICE", "999"]),
    ],
)
def test_vbd_create_refuses(rig, call, changes, expected):
    vm = rig.vm("web1")
    assert call("VBD.create", vbd_record(vm, **changes)) == [vm.ref if e == "VM" else e for e in expected]


def test_autodetect_takes_the_first_free_slot(rig, call):
    vbd = call("VBD.create", vbd_record(rig.vm("web1"), userdevice="autodetect"))
    assert call("VBD.get_userdevice", vbd) == "1"


def test_device_spellings():
    assert [device_number(x) for x in ("3", "xvdd", "hdd", "sdd", "254")] == [3, 3, 3, 3, 254]
    assert [device_number(x) for x in ("255", "disk", "", "autodetect")] == [None] * 4


@pytest.mark.parametrize("state", ["Halted", "Running", "Suspended"])
def test_media_changes_by_power_state(rig, call, state):
    vdi = call("VDI.create", vdi_record(iso_sr(rig, call), "a.iso"))
    vm = rig.vm("web1")
    cd = cd_of(rig, vm)
    if state != "Halted":
        rig.power(vm, "start")
        rig.pool.agent(vm, {})
    if state == "Suspended":
        assert call("VM.suspend", vm.ref) == ""
        assert call("VBD.insert", cd, vdi) == ["VM_BAD_POWER_STATE", vm.ref, "halted, running", "suspended"]
        return
    assert call("VBD.eject", cd) == ["VBD_IS_EMPTY", cd]
    assert call("VBD.insert", cd, vdi) == ""
    assert call("VBD.insert", cd, vdi) == ["VBD_NOT_EMPTY", cd]
    assert call("VBD.eject", cd) == ""


def test_a_cd_cannot_be_added_to_a_running_hvm_vm(rig, call):
    vdi = call("VDI.create", vdi_record(iso_sr(rig, call), "a.iso"))
    vm = rig.vm("web1")
    rig.power(vm, "start")
    cd = call("VBD.create", vbd_record(vm))
    code, text = call("VBD.insert", cd, vdi)
    assert code == "INTERNAL_ERROR"
    assert text == f"Object with type VM and id {vm['uuid']}/vbd.xvdb does not exist in xenopsd"
    assert call("VBD.plug", cd) == ["VM_MISSING_PV_DRIVERS", vm.ref]
    rig.pool.agent(vm, {})
    assert call("VBD.plug", cd)[0] == "OPERATION_NOT_ALLOWED"
    attached = cd_of(rig, vm)
    assert call("VBD.plug", attached) == ["DEVICE_ALREADY_ATTACHED", attached]
    assert call("VBD.destroy", attached)[0] == "OPERATION_NOT_ALLOWED"


def test_a_missing_file_is_found_at_insert(rig, call):
    sr = iso_sr(rig, call)
    vdi = call("VDI.create", vdi_record(sr, "a.iso"))
    (rig.iso_dir() / "a.iso").unlink()
    vm = rig.vm("web1")
    rig.power(vm, "start")
    assert call("VBD.insert", cd_of(rig, vm), vdi) == ["VDI_MISSING", sr, vdi]


def test_a_second_operation_on_a_drive_is_refused_meanwhile(rig, call):
    vdi = call("VDI.create", vdi_record(iso_sr(rig, call), "a.iso"))
    vm = rig.vm("web1")
    cd = cd_of(rig, vm)
    rig.pool.hold("insert")
    task = call("Async.VBD.insert", cd, vdi)
    with rig.pool.store.changed:
        rig.pool.store.changed.wait_for(lambda: rig.pool.store.get("VBD", cd)["current_operations"], 10)
    answer = call("VBD.destroy", cd)
    rig.pool.release("insert")
    assert answer == ["OTHER_OPERATION_IN_PROGRESS", "VBD", cd, "insert", task]
    call("event.from", [f"task/{task}"], "", 10.0)
    with rig.pool.store.changed:
        rig.pool.store.changed.wait_for(lambda: rig.pool.store.get("task", task)["status"] == "success", 10)
    assert call("task.get_status", task) == "success"


# -- VMs -------------------------------------------------------------------------------------------------------------------


def test_a_local_cd_pins_start_and_blocks_migration(rig, call):
    sr = iso_sr(rig, call, "xen01")
    vdi = call("VDI.create", vdi_record(sr, "a.iso"))
    vm = rig.vm("web1", affinity="xen02")
    call("VBD.insert", cd_of(rig, vm), vdi)
    assert call("VM.start_on", vm.ref, rig.hosts["xen02"].ref, False, False) == ["VM_REQUIRES_SR", vm.ref, sr]
    assert call("VM.start", vm.ref, False, False) == ""
    assert call("VM.get_resident_on", vm.ref) == rig.hosts["xen01"].ref
    assert call("VM.pool_migrate", vm.ref, rig.hosts["xen02"].ref, {}) == ["VM_LACKS_FEATURE", vm.ref]
    rig.pool.agent(vm, {})
    assert call("VM.pool_migrate", vm.ref, rig.hosts["xen02"].ref, {}) == ["VM_REQUIRES_SR", vm.ref, sr]
    call("VBD.eject", cd_of(rig, vm))
    assert call("VM.pool_migrate", vm.ref, rig.hosts["xen02"].ref, {}) == ""


def test_power_states_and_templates(rig, call):
    vm, template = rig.vm("web1"), rig.vm("t", template=True)
    assert call("VM.start", template.ref, False, False) == ["VM_IS_TEMPLATE", template.ref, "start"]
    assert call("VM.hard_shutdown", vm.ref) == ["VM_BAD_POWER_STATE", vm.ref, "paused, suspended, running", "halted"]
    call("VM.start", vm.ref, False, False)
    assert call("VM.start", vm.ref, False, False) == ["VM_BAD_POWER_STATE", vm.ref, "halted", "running"]
    assert call("VM.destroy", vm.ref) == ["VM_BAD_POWER_STATE", vm.ref, "halted, suspended", "running"]
    assert call("VM.clean_shutdown", vm.ref) == ["VM_LACKS_FEATURE", vm.ref]


def test_each_boot_has_new_guest_metrics(rig, call):
    vm = rig.vm("web1")
    call("VM.start", vm.ref, False, False)
    rig.pool.agent(vm, {"0/ip": "10.99.0.5"})
    first = call("VM.get_guest_metrics", vm.ref)
    call("VM.hard_shutdown", vm.ref)
    assert call("VM.get_guest_metrics", vm.ref) == first  # a halted VM still has the old address
    call("VM.start", vm.ref, False, False)
    second = call("VM_guest_metrics.get_record", call("VM.get_guest_metrics", vm.ref))
    assert (second["live"], second["networks"], second["PV_drivers_version"]) == (True, {}, {})  # nobody has reported yet
    assert call("VM_guest_metrics.get_record", first) == ["HANDLE_INVALID", "VM_guest_metrics", first]


def test_a_clone_keeps_the_cd_and_gets_new_macs(rig, call):
    vdi = call("VDI.create", vdi_record(iso_sr(rig, call), "a.iso"))
    vm = rig.vm("web1")
    call("VBD.insert", cd_of(rig, vm), vdi)
    clone = rig.pool.store.get("VM", call("VM.clone", vm.ref, "web2"))
    assert call("VBD.get_VDI", cd_of(rig, clone)) == vdi
    assert call("VIF.get_MAC", clone["VIFs"][0]) != call("VIF.get_MAC", vm["VIFs"][0])
    assert call("VDI.get_VBDs", vdi) == [cd_of(rig, vm), cd_of(rig, clone)]


# -- events ----------------------------------------------------------------------------------------------------------------


def test_events_since_a_token(rig, call):
    vm = rig.vm("web1")
    first = call("event.from", ["vm", "vif"], "", 0.0)
    assert {(e["class"], e["operation"]) for e in first["events"]} == {("vm", "add"), ("vif", "add")}
    assert call("event.from", ["VM"], first["token"], 0.0)["events"] == []
    call("VM.set_name_label", vm.ref, "renamed")
    new = rig.vm("short-lived")
    rig.pool.store.remove(new)
    gone = rig.vm("gone")
    middle = call("event.from", ["vm"], first["token"], 0.0)
    assert {(e["operation"], e["ref"]) for e in middle["events"]} == {("mod", vm.ref), ("add", gone.ref)}
    rig.pool.store.remove(gone)
    last = call("event.from", ["vm"], middle["token"], 0.0)
    assert [(e["operation"], e["ref"], "snapshot" in e) for e in last["events"]] == [("del", gone.ref, False)]


def test_a_blocked_event_call_is_woken_by_logout(rig):
    waiting = log_in(rig)
    token = waiting.xenapi_request("event.from", (["vm"], "", 0.0))["token"]
    answers = []

    def wait() -> None:
        transport = xmlrpc.client.SafeTransport(context=ssl.create_default_context(cafile=str(rig.ca)))
        proxy = xmlrpc.client.ServerProxy(f"https://127.0.0.1:{rig.pool.port}", transport=transport)
        answers.append(getattr(proxy, "event.from")(waiting.handle, ["vm"], token, 30.0))

    thread = threading.Thread(target=wait)
    thread.start()
    with rig.pool.store.changed:
        rig.pool.store.changed.wait_for(lambda: rig.pool.calls.count("event.from") == 2, 0.5)
    ref = waiting.handle
    waiting.xenapi.session.logout()
    thread.join(20)
    assert answers[0]["ErrorDescription"] == ["SESSION_INVALID", ref]


# -- import ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def image(rig, call):
    """A VDI of 4096 bytes on xen01."""
    return call("VDI.create", vdi_record(iso_sr(rig, call), "a.iso", 4096))


def put(rig, session, vdi, body, address="127.0.0.1", query="", **headers):
    task = session.xenapi.task.create("import", "")
    cookie = {"Cookie": f"session_id={session.handle}; task_id={task}", **headers}
    answer, text = http_request(rig, "PUT", f"/import_raw_vdi?vdi={vdi}{query}", body, cookie, address)
    return answer, text, session.xenapi.task.get_record(task)


def test_import_tells_its_end_by_the_task(rig, session, image):
    answer, _text, task = put(rig, session, image, b"z" * 4096)
    assert answer.status == 200
    assert answer.headers["task-id"].startswith("OpaqueRef:")
    assert (task["status"], task["result"]) == ("success", f"<value>{image}</value>")
    assert (rig.iso_dir() / "a.iso").read_bytes() == b"z" * 4096


@pytest.mark.parametrize("size", [4095, 4097, 0])
def test_import_of_a_wrong_size_is_200_and_a_failed_task(rig, session, image, size):
    answer, text, task = put(rig, session, image, b"z" * size)
    assert answer.status == 200
    assert b"500" in text
    assert task["error_info"] == ["VDI_IO_ERROR", "Device I/O errors"]
    assert (rig.iso_dir() / "a.iso").stat().st_size == 4096


def test_import_to_the_wrong_host_is_redirected(rig, session, image):
    answer, _text, _task = put(rig, session, image, b"z" * 4096, address="127.0.0.2")
    assert answer.status == 302
    assert answer.headers["Location"] == f"https://127.0.0.1:{rig.pool.port}/import_raw_vdi/?vdi={image}"


def test_import_refusals(rig, session, image):
    answer, _text = http_request(rig, "PUT", f"/import_raw_vdi?vdi={image}", b"x", {"Cookie": "session_id=OpaqueRef:no"})
    assert (answer.status, answer.headers["WWW-Authenticate"][:5]) == (401, "Basic")
    cookie = {"Cookie": f"session_id={session.handle}"}
    assert http_request(rig, "PUT", "/import_raw_vdi?vdi=&x=1", b"x", cookie)[0].status == 400
    assert http_request(rig, "PUT", f"/import_raw_vdi?vdi={image}&format=vmdk", b"x", cookie)[0].status == 404
    chunked = {**cookie, "Transfer-Encoding": "chunked"}
    assert http_request(rig, "PUT", f"/import_raw_vdi?vdi={image}", iter([b"x"]), chunked)[0].status == 404
    assert http_request(rig, "PUT", "/no_such_handler", b"x", cookie)[0].status == 404
    answer, _text, task = put(rig, session, "OpaqueRef:no", b"x")
    assert (answer.status, task["error_info"]) == (500, ["HANDLE_INVALID", "VDI", "OpaqueRef:no"])


def test_import_into_a_scanned_file_is_refused(rig, session, call):
    (rig.iso_dir() / "outside.iso").write_bytes(b"x" * 100)
    sr = iso_sr(rig, call)
    call("SR.scan", sr)
    (vdi,) = call("SR.get_VDIs", sr)
    _answer, _text, task = put(rig, session, vdi, b"z" * 100)
    assert task["error_info"] == ["VDI_READONLY", vdi]
    assert (rig.iso_dir() / "outside.iso").read_bytes() == b"x" * 100


def test_import_into_an_inserted_vdi_is_refused(rig, session, call, image):
    vm = rig.vm("web1")
    rig.power(vm, "start")
    call("VBD.insert", cd_of(rig, vm), image)
    _answer, _text, task = put(rig, session, image, b"z" * 4096)
    assert task["error_info"] == ["VDI_IN_USE", image, "attach"]


def test_export_gives_the_bytes(rig, session, image):
    put(rig, session, image, b"q" * 4096)
    answer, text = http_request(
        rig, "GET", f"/export_raw_vdi?vdi={image}&format=raw", headers={"Cookie": f"session_id={session.handle}"}
    )
    assert (answer.status, text) == (200, b"q" * 4096)


# -- the generator and the command -----------------------------------------------------------------------------------------


def message(name, params, result, **more):
    return {
        "name": name,
        "description": more.pop("description", "A sentence that must not be taken."),
        "params": [{"type": kind, "name": label, "doc": "Another sentence."} for kind, label in params],
        "result": [result, "And another."],
        "errors": [{"name": e, "doc": "No."} for e in more.pop("errors", ())],
        "lifecycle": {"state": more.pop("state", "Published_s")},
    }


def test_the_generator_writes_out_what_cannot_be_derived(monkeypatch):
    monkeypatch.setattr(make_facts, "CORE", ("VBD",))
    session = ("session ref", "session_id")
    model = [
        {
            "name": "VBD",
            "description": "Prose.",
            "enums": [
                {"name": "vbd_mode", "doc": "Prose.", "values": [{"name": "RO", "doc": "Prose."}, {"name": "RW", "doc": "."}]}
            ],
            "fields": [
                {"name": "uuid", "type": "string", "qualifier": "RO/runtime", "description": "Prose."},
                {"name": "mode", "type": "enum vbd_mode", "qualifier": "RO/constructor", "description": "Prose."},
                {
                    "name": "other_config",
                    "type": "(string -> string) map",
                    "qualifier": "RW",
                    "default": "{}",
                    "description": ".",
                },
            ],
            "messages": [
                message("get_uuid", [session, ("VBD ref", "self")], "string"),
                message("set_other_config", [session, ("VBD ref", "self"), ("(string -> string) map", "value")], "void"),
                message(
                    "create",
                    [session, ("VBD record", "args")],
                    "VBD ref",
                    description="Makes one. The constructor args are: mode*, other_config (* = non-optional).",
                ),
                message("insert", [session, ("VBD ref", "vbd"), ("VDI ref", "vdi")], "void", errors=["VBD_NOT_EMPTY"]),
                message("get_metrics", [session, ("VBD ref", "self")], "string", state="Removed_s"),
            ],
        },
        {"name": "other", "description": "", "enums": [], "fields": [], "messages": []},
    ]
    facts = make_facts.make(model, "abc123")
    assert facts["source"]["commit"] == "abc123"
    assert facts["class_names"] == ["VBD", "other"]
    vbd = facts["classes"]["VBD"]
    assert vbd["required"] == ["mode"]
    assert vbd["messages"] == {
        "insert": {"params": [["VBD ref", "vbd"], ["VDI ref", "vdi"]], "result": "void", "errors": ["VBD_NOT_EMPTY"]},
        "get_metrics": {"params": [["VBD ref", "self"]], "result": "string", "state": "removed"},
    }
    assert {"destroy", "get_all", "get_mode", "add_to_other_config"} <= set(vbd["absent"])
    assert facts["enums"] == {"vbd_mode": ["RO", "RW"]}
    assert "sentence" not in json.dumps(facts)
    assert "Prose" not in json.dumps(facts)


def test_the_rig_as_a_command():
    command = FACTS.parent / "rig"
    name = f"pytest{os.getpid()}"
    base = os.environ.get("VMOPS_RIG_DIR") or "/var/tmp/vmops-external-dhcp" + (f"-{os.getuid()}" if os.getuid() else "")
    state = pathlib.Path(base) / f"{name}-xapi"

    def run(*arguments, code=0):
        done = subprocess.run([command, *arguments, "--name", name], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    run("status", code=3)
    try:
        run("up", "--vms", "2")
        assert "up, pid" in run("up")
        connection = state / "hypervisor.yml"
        assert stat.S_IMODE(connection.stat().st_mode) == 0o600
        pool = xenserver.connect(yaml.safe_load(connection.read_text())["hypervisor"])
        assert [vm.name for vm in pool.inventory.vms().vms] == ["vm001", "vm002"]
        run("ctl", '{"do": "power", "vm": "vm001", "state": "start"}')
        run("ctl", '{"do": "agent", "vm": "vm001", "networks": {"0/ip": "10.99.0.60"}}')
        (seen,) = pool.addresses.read(pool.inventory.vms(["vm001"]).vms, ["guest_metrics"], 1, 1.0)
        assert seen.readings[0].addresses == ("10.99.0.60",)
        pool.close()
        assert json.loads(run("ctl", '{"do": "violations"}'))["result"] == []
        run("ctl", '{"do": "power", "vm": "nobody", "state": "start"}', code=1)
    finally:
        run("down")
    assert not state.exists()


# -- operations of VMs ----------------------------------------------------------------------------------------------------


def test_fields_have_no_asynchronous_setters(rig, call):
    vm = rig.vm("web1")
    for method, *args in (("Async.VM.set_name_label", vm.ref, "x"), ("Async.VM.get_uuid", vm.ref)):
        assert call(method, *args) == ["MESSAGE_METHOD_UNKNOWN", method]
    rig.pool.violations.clear()


def test_a_users_block_comes_first(rig, call):
    vm = rig.vm("web1")
    rig.pool.store.set(vm, blocked_operations={"clean_shutdown": "no"})
    assert call("VM.clean_shutdown", vm.ref) == ["OPERATION_BLOCKED", vm.ref, "no"]


def test_default_templates_stay(rig, call):
    rig.add_templates(1)
    (template,) = [vm for vm in rig.pool.store.all("VM") if vm["is_default_template"]]
    assert call("VM.destroy", template.ref) == ["VM_IS_TEMPLATE", template.ref, "destroy"]


def test_only_templates_are_provisioned_and_every_disk_needs_its_sr(rig, call):
    vm = rig.vm("web1")
    assert call("VM.provision", vm.ref) == ["PROVISION_ONLY_ALLOWED_ON_TEMPLATE"]
    template = rig.vm("t", template=True, disks=0)
    rig.pool.store.set(template, other_config={"disks": '<provision><disk device="0" size="1" sr=""/></provision>'})
    assert call("VM.provision", template.ref) == ["UUID_INVALID", "SR", ""]


def test_disks_only_grow_and_sizes_keep_their_order(rig, call):
    vm = rig.vm("web1")
    (vdi,) = [r for r in (rig.pool.store.get("VBD", b)["VDI"] for b in vm["VBDs"]) if r != "OpaqueRef:NULL"]
    assert call("VDI.resize", vdi, "1")[0] == "SR_BACKEND_FAILURE_79"
    assert call("VM.set_memory_limits", vm.ref, "3", "4", "2", "4")[0] == "MEMORY_CONSTRAINT_VIOLATION_ORDER"
    assert call("VM.set_VCPUs_at_startup", vm.ref, "2")[0] == "INVALID_VALUE"
    assert call("VM.set_VCPUs_max", vm.ref, "2") == call("VM.set_VCPUs_at_startup", vm.ref, "2") == ""


def test_a_mac_comes_from_the_seed_or_from_the_caller(rig, call):
    vm = rig.vm("web1", nics=0)
    record = {"VM": vm.ref, "network": rig.networks["corp-vlan120"].ref, "device": "0", "MAC": "", "MTU": "1500", "other_config": {},
              "qos_algorithm_type": "", "qos_algorithm_params": {}}  # fmt: skip
    assert call("VIF.create", {**record, "MAC": "02:00"}) == ["MAC_INVALID", "02:00"]
    assert str(call("VIF.create", record)).startswith("OpaqueRef:")
    rig.pool.store.set(vm, other_config={})
    assert call("VIF.create", {**record, "device": "1"}) == ["MAC_INVALID", ""]


def test_four_hung_guests_hold_all_workers_of_their_host_until_they_are_powered_off(rig, call):
    vms = [rig.vm(f"vm{n}") for n in range(5)]
    for vm in vms:
        rig.power(vm, "start", "xen01", agent=True)
    rig.pool.hung.update(vm.ref for vm in vms[:4])
    tasks = [call("Async.VM.clean_shutdown", vm.ref) for vm in vms]
    time.sleep(0.3)
    assert [call("task.get_status", task) for task in tasks] == ["pending"] * 5
    assert call("VM.hard_shutdown", vms[0].ref) == ""
    time.sleep(0.3)
    assert call("task.get_error_info", tasks[0])[0] == "TASK_CANCELLED"
    assert call("task.get_status", tasks[4]) == "success"
    for vm in vms[1:4]:
        call("VM.hard_shutdown", vm.ref)


def test_finished_tasks_are_thrown_away_beyond_200(rig, call):
    vm = rig.vm("web1")
    first = call("Async.VM.hard_shutdown", vm.ref)
    time.sleep(0.1)
    for _number in range(205):
        call("Async.VM.hard_shutdown", vm.ref)
    time.sleep(0.3)
    assert call("task.get_status", first) == ["HANDLE_INVALID", "task", first]
    assert len(rig.pool.store.all("task")) <= 200


def test_disk_operations_of_one_sr_exclude_each_other(rig, call):
    template = rig.vm("t", template=True)
    rig.pool.durations["clone"] = 0.2
    began = time.monotonic()
    tasks = [call("Async.VM.clone", template.ref, f"vm{n}") for n in range(4)]
    while any(call("task.get_status", task) == "pending" for task in tasks):
        time.sleep(0.02)
    assert time.monotonic() - began > 0.75


def test_a_read_only_disk_is_refused_to_a_running_hvm_guest_and_stops_clones(rig, call):
    sr = iso_sr(rig, call)
    vdi = call("VDI.create", vdi_record(sr, "a.iso"))
    vm = rig.vm("web1", cd=None)
    rig.power(vm, "start", agent=True)
    record = {"VM": vm.ref, "VDI": vdi, "userdevice": "5", "bootable": False, "mode": "RO", "type": "Disk", "empty": False,
              "other_config": {}, "qos_algorithm_type": "", "qos_algorithm_params": {}}  # fmt: skip
    vbd = call("VBD.create", record)
    assert call("VBD.plug", vbd) == ["DISK_VBD_MUST_BE_READWRITE_FOR_HVM", vbd]
    call("VM.hard_shutdown", vm.ref)
    before = len(rig.pool.store.all("VM"))
    assert call("VM.clone", vm.ref, "web2") == ["SR_OPERATION_NOT_SUPPORTED", sr]
    assert call("VM.snapshot", vm.ref, "s", []) == ["SR_OPERATION_NOT_SUPPORTED", sr]
    assert len(rig.pool.store.all("VM")) == before


def test_a_cd_beyond_the_four_ide_places_ends_the_start(rig, call):
    vm = rig.vm("web1", cd="5")
    assert "no IDE slot" in call("VM.start", vm.ref, False, False)[1]


def test_dead_and_disabled_hosts_start_nothing(rig, call):
    vm = rig.vm("web1")
    rig.pool.store.set(rig.pool.store.get("host_metrics", rig.hosts["xen01"]["metrics"]), live=False)
    assert call("VM.assert_can_boot_here", vm.ref, rig.hosts["xen01"].ref) == ["HOST_NOT_LIVE"]
    assert call("VM.start", vm.ref, False, False) == ""
    assert vm["resident_on"] == rig.hosts["xen02"].ref
    call("VM.hard_shutdown", vm.ref)
    rig.pool.store.set(rig.hosts["xen02"], enabled=False)
    assert call("VM.start", vm.ref, False, False) == ["NO_HOSTS_AVAILABLE"]


def test_a_port_that_is_taken_on_another_host_is_not_kept(tmp_path, monkeypatch):
    bound = []

    class TakenOnce(rigging.HostServer):
        def __init__(self, pool, host, address, certificate):
            bound.append(address)
            if len(bound) == 2:
                raise OSError("in use")
            super().__init__(pool, host, address, certificate)

    monkeypatch.setattr(rigging, "HostServer", TakenOnce)
    with rigging.Rig(tmp_path).start() as rig:
        assert [address for address, _port in bound] == ["127.0.0.1", "127.0.0.2"] * 2
        assert rig.description()["port"] == bound[3][1]
