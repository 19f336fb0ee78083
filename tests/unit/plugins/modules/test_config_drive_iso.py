# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import stat

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.content import files_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK7YRMRPaZtPzotKgLW++8AwCP9aBcDtqBtkAXDUghyI CANARYkey"
WEB1 = {
    "name": "web1",
    "metadata": {"vm_id": "1c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10", "service_offering": "Medium"},
    "user_data": {"role": "web", "n": 1},
    "password": "CANARYpw1",
    "ssh_keys": [KEY],
}
DB1 = {"name": "db1", "user_data": "CANARYud\nsecond 'line' \\"}
SECRETS = ("CANARY", KEY.split()[1])


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "drives"


@pytest.fixture
def iso(run_module, dest):
    """The module with its folder; nothing that it ever says may hold a secret."""

    def run(*drives, **arguments):
        options = {key: arguments.pop(key) for key in ("label", "layouts", "state", "take_over") if key in arguments}
        result = run_module("config_drive_iso", {"dest": str(dest), "drives": list(drives), **options}, **arguments)
        text = json.dumps(result, ensure_ascii=False)
        assert not [secret for secret in SECRETS if secret in text]
        return result

    return run


def built(dest, name="web1"):
    return image.read((dest / f"{name}.iso").read_bytes())


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_drives_are_built_and_kept(iso, dest):
    first = iso(WEB1, DB1)
    assert first["changed"] is True
    assert [entry["name"] for entry in first["drives"]] == ["web1", "db1"]
    for entry in first["drives"]:
        data = pathlib.Path(entry["path"]).read_bytes()
        assert entry == {
            "name": entry["name"],
            "path": str(dest / f"{entry['name']}.iso"),
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "changed": True,
            "acts_on_refresh": None,
            "new_password": False,
            "encrypted_password": None,
            "error": None,
        }
        assert mode(entry["path"]) == 0o600
    assert mode(dest) == 0o700
    assert built(dest).files == files_of(DriveDescription.from_option(WEB1))
    assert built(dest).owner == WEB1["metadata"]["vm_id"] and built(dest, "db1").owner is None

    times = {path: path.stat().st_mtime_ns for path in dest.iterdir()}
    second = iso(WEB1, DB1)
    assert second["changed"] is False
    assert [dict(entry, changed=True) for entry in second["drives"]] == first["drives"]
    assert {path: path.stat().st_mtime_ns for path in dest.iterdir()} == times


@pytest.mark.parametrize(
    "change, options",
    [
        ({"password": "CANARYpw2"}, {}),
        ({"user_data": None}, {}),
        ({"metadata": {"vm_id": "id-2"}}, {"take_over": True}),
        ({}, {"label": "config-2"}),
        ({}, {"layouts": ["cloudstack"]}),
    ],
)
def test_whatever_changes_is_built_anew(iso, dest, change, options):
    iso(WEB1, DB1)
    before = built(dest).sha256
    result = iso({**WEB1, **change}, DB1, **options)
    assert result["drives"][0]["changed"] is True and result["drives"][1]["changed"] is bool({"label", "layouts"} & set(options))
    assert built(dest).sha256 == result["drives"][0]["sha256"] != before


@pytest.mark.parametrize("damage", ["byte", "cut", "mode"])
def test_a_damaged_or_open_file_is_mended(iso, dest, damage):
    good = iso(WEB1)["drives"][0]["sha256"]
    path = dest / "web1.iso"
    data = path.read_bytes()
    if damage == "byte":
        path.write_bytes(data[:-1] + b"\x01")
    elif damage == "cut":
        path.write_bytes(data[:40000])
    else:
        path.chmod(0o644)
    assert iso(WEB1, check_mode=True)["drives"][0]["changed"] is True
    assert iso(WEB1)["drives"][0] | {"sha256": good, "changed": True} == iso(WEB1)["drives"][0] | {"changed": True}
    assert built(dest).sha256 == good and mode(path) == 0o600


def test_check_mode_predicts_and_touches_nothing(iso, dest):
    predicted = iso(WEB1, check_mode=True, diff=True)
    assert not dest.exists()
    assert iso(WEB1, diff=True) == predicted
    before = (dest / "web1.iso").read_bytes()
    changed = {**WEB1, "password": "CANARYpw2"}
    predicted = iso(changed, check_mode=True)
    assert (dest / "web1.iso").read_bytes() == before
    assert iso(changed) == predicted
    assert iso(WEB1, state="absent", check_mode=True)["changed"] is True
    assert (dest / "web1.iso").exists()


def test_the_diff_names_files_and_sizes(iso):
    iso(WEB1)
    (diff,) = iso({**WEB1, "password": "CANARYpw22"}, diff=True)["diff"]
    assert diff["before_header"].endswith("/web1.iso")
    before, after = (dict(line.split(": ") for line in diff[side].splitlines()) for side in ("before", "after"))
    path = "cloudstack/password/vm_password.txt"
    assert before[path].startswith("9 bytes, keyed:") and after[path].startswith("10 bytes, keyed:")
    assert before[path][9:] != after[path][10:]
    assert set(before) == set(after) and "cloudstack/metadata/vm-id.txt" not in before
    assert iso({**WEB1, "password": "CANARYpw22"}, diff=True)["diff"] == []
    assert "diff" not in iso(WEB1)


def test_one_bad_entry_does_not_stop_the_others(iso, dest):
    result = iso(
        {"name": "bad1", "password": "CANARY pw"},
        WEB1,
        {"name": "bad/2"},
        {"name": "bad3", "user_data": "x", "services": [], "network": "corp-vlan120"},
        fails=True,
    )
    assert result["changed"] is True and result["msg"].startswith("3 of 4 drives failed: ")
    errors = {entry["name"]: entry["error"] for entry in result["drives"]}
    assert "drive bad1: password has a blank" in errors["bad1"]
    assert "'bad/2'" in errors["bad/2"]
    assert "network corp-vlan120 has no service userdata" in errors["bad3"]
    assert errors["web1"] is None and os.listdir(dest) == ["web1.iso"]
    assert result["drives"][0] == {
        "name": "bad1",
        "path": str(dest / "bad1.iso"),
        "sha256": None,
        "size": None,
        "changed": False,
        "acts_on_refresh": None,
        "new_password": False,
        "encrypted_password": None,
        "error": errors["bad1"],
    }


def test_many_errors_are_summed_up(iso):
    result = iso(*({"name": f"vm{number}", "password": "a b"} for number in range(30)), fails=True)
    assert "30 of 30 drives failed" in result["msg"] and "; and 25 more" in result["msg"]
    assert all(entry["error"] for entry in result["drives"])


def test_two_entries_of_one_name(iso, dest):
    result = iso(WEB1, {**WEB1, "password": "CANARYpw2"}, DB1, fails=True)
    assert [(entry["name"], entry["changed"]) for entry in result["drives"]] == [("web1", False), ("db1", True)]
    assert "2 times" in result["drives"][0]["error"]
    assert os.listdir(dest) == ["db1.iso"]


@pytest.mark.parametrize("state", ["present", "updated", "absent"])
@pytest.mark.parametrize("content", [b"", b"somebody's file", image.build({"README": b""})])
def test_a_file_that_is_no_config_drive_is_left_alone(iso, dest, state, content):
    dest.mkdir(0o700)
    # Built images carry our mark: without it, it is anybody's ISO.
    content = content.replace(b"VMOPS.EXTERNAL_DHCP FORMAT", b"SOMEBODY.EXTERNAL_D FORMAT")
    (dest / "web1.iso").write_bytes(content)
    result = iso(WEB1, state=state, fails=True)
    assert "is not a config drive: move it away" in result["msg"]
    assert (dest / "web1.iso").read_bytes() == content


FOREIGN = image.build({"cloudstack/metadata/vm-id.txt": b"1"}).replace(
    b"VMOPS.EXTERNAL_DHCP FORMAT", b"SOMEBODY.EXTERNAL_D FORMAT"
)
OTHER_VM = {**WEB1, "metadata": {"vm_id": "another-vm"}}


@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_config_drive_from_elsewhere_is_taken_over_only_if_told_so(iso, dest, state):
    dest.mkdir(0o700)
    (dest / "web1.iso").write_bytes(FOREIGN)
    for check_mode in (True, False):
        result = iso(WEB1, state=state, fails=True, check_mode=check_mode)
        assert "no config drive of this collection" in result["msg"] and "take_over=true" in result["msg"]
        assert (dest / "web1.iso").read_bytes() == FOREIGN and result["changed"] is False
    assert iso(WEB1, state=state, take_over=True)["changed"] is True
    assert built(dest).intact is True if state == "present" else os.listdir(dest) == []


def test_a_config_drive_from_elsewhere_is_updated(iso, dest):
    dest.mkdir(0o700)
    (dest / "web1.iso").write_bytes(FOREIGN)
    assert iso({"name": "web1", "password": "CANARYpw1"}, state="updated")["changed"] is True
    assert {"cloudstack/metadata/vm-id.txt", "cloudstack/password/vm_password.txt"} <= set(built(dest).files)


@pytest.mark.parametrize("state", ["present", "updated", "absent"])
def test_the_drive_of_another_vm_is_taken_over_only_if_told_so(iso, dest, state):
    iso(OTHER_VM)
    before = (dest / "web1.iso").read_bytes()
    result = iso(WEB1, state=state, fails=True)
    assert "the config drive of the VM with id another-vm" in result["msg"]
    assert (dest / "web1.iso").read_bytes() == before
    assert iso(WEB1, state=state, take_over=True)["changed"] is True
    assert os.listdir(dest) == [] if state == "absent" else built(dest).owner == WEB1["metadata"]["vm_id"]


def test_a_file_that_is_no_drive_is_not_taken_over(iso, dest):
    dest.mkdir(0o700)
    (dest / "web1.iso").write_bytes(b"somebody's")
    for state in ("present", "absent"):
        assert "is not a config drive" in iso(WEB1, state=state, take_over=True, fails=True)["msg"]
    assert (dest / "web1.iso").read_bytes() == b"somebody's"


def test_check_mode_leaves_what_a_killed_run_left(iso, dest):
    iso(WEB1)
    left = dest / ".config-drive-old.tmp"
    left.write_bytes(b"x")
    os.utime(left, (1, 1))
    iso(WEB1, check_mode=True)
    assert left.exists()
    iso(WEB1)
    assert not left.exists()


def test_no_folder_is_made_when_no_entry_is_good(iso, dest):
    iso({"name": "web1", "password": "two\nlines"}, {"name": "a/b"}, fails=True)
    assert not dest.exists()


def test_an_empty_dest_is_not_the_current_folder(run_module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "dest is empty" in run_module("config_drive_iso", {"dest": "", "drives": [WEB1]}, fails=True)["msg"]
    assert os.listdir(tmp_path) == [] or not list(tmp_path.glob("*.iso"))


def test_doubtful_input_is_told_in_check_mode(iso, monkeypatch):
    from ansible.module_utils import basic

    warnings = []
    monkeypatch.setattr(basic.AnsibleModule, "warn", lambda _module, text: warnings.append(text))
    iso({"name": "web1", "password": 12345678, "reader": "ours", "user_data": "#cloud-config\n{}"}, check_mode=True)
    assert [part for part in ("is a number", "digits alone", "#cloud-config") if not any(part in text for text in warnings)] == []


@pytest.mark.parametrize(
    "options, part",
    [
        ({"label": "a-label-that-is-too-long"}, "label is 'a-label-that-is-too-long', 24 characters: it can have at most 16"),
        ({"layouts": []}, "layouts is empty"),
        ({"layouts": ["nocloud"]}, "layouts must be one or more of"),
    ],
)
def test_bad_options_are_refused_before_anything_is_done(iso, dest, options, part):
    assert part in iso(WEB1, fails=True, **options)["msg"]
    assert not dest.exists()


def test_a_folder_open_to_others_is_refused(iso, dest):
    dest.mkdir()
    dest.chmod(0o777)
    assert "other accounts may write" in iso(WEB1, fails=True)["msg"]
    assert os.listdir(dest) == []


def test_without_pycdlib(iso, dest, monkeypatch):
    monkeypatch.setattr(image, "PYCDLIB_IMPORT_ERROR", "Traceback: no pycdlib")
    result = iso(WEB1, fails=True)
    assert "pycdlib" in result["msg"] and not dest.exists()
    dest.mkdir(0o700)
    iso(WEB1, state="absent")


def test_a_new_password_keeps_all_the_rest(iso, dest):
    iso(WEB1, label="config-2", layouts=["cloudstack"])
    result = iso({"name": "web1", "password": "CANARYpw2"}, state="updated")
    assert result["changed"] is True
    expected = files_of(DriveDescription.from_option({**WEB1, "password": "CANARYpw2"}), ["cloudstack"])
    assert built(dest).files == expected
    assert (built(dest).label, built(dest).owner) == ("config-2", WEB1["metadata"]["vm_id"])
    assert iso({"name": "web1", "password": "CANARYpw2"}, state="updated")["changed"] is False
    assert iso({**WEB1, "password": "CANARYpw2"}, label="config-2", layouts=["cloudstack"])["changed"] is False


@pytest.mark.parametrize(
    "entry, expected",
    [
        ({"password": ""}, {"password": None}),
        ({"user_data": ""}, {"user_data": None}),
        ({"user_data": {}}, {"user_data": None}),
        ({"user_data_base64": "eA=="}, {"user_data": "x"}),
        ({"metadata": {"service-offering": "Large"}}, {"metadata": {**WEB1["metadata"], "service_offering": "Large"}}),
        ({"metadata": {"zone": "z"}}, {"metadata": {**WEB1["metadata"], "zone": "z"}}),
        ({}, {}),
    ],
)
def test_only_what_an_entry_gives_is_updated(iso, dest, entry, expected):
    iso(WEB1)
    assert iso({"name": "web1", **entry}, state="updated")["changed"] is bool(expected)
    assert built(dest).files == files_of(DriveDescription.from_option({**WEB1, **expected}))


def test_a_missing_drive_cannot_be_updated(iso):
    assert "is not there" in iso(WEB1, state="updated", fails=True)["msg"]


def test_an_update_is_checked_for_the_reader(iso, dest):
    iso(WEB1, label="config-2")
    before = built(dest).sha256
    for entry, part in (
        ({"password": ""}, "password must be given"),
        ({"ssh_keys": []}, "ssh_keys must be given"),
        ({"password": "saved_password"}, "there is no password"),
    ):
        result = iso({"name": "web1", "reader": "cloudstack_combined", **entry}, state="updated", fails=True)
        assert part in result["msg"]
    assert built(dest).sha256 == before


def test_absent(iso, dest):
    iso(WEB1, DB1)
    result = iso({"name": "web1"}, {"name": "other"}, state="absent", diff=True)
    assert [entry["changed"] for entry in result["drives"]] == [True, False]
    assert os.listdir(dest) == ["db1.iso"]
    assert "vm_password.txt: 9 bytes" in result["diff"][0]["before"] and result["diff"][0]["after"] == ""
    assert iso({"name": "web1"}, state="absent")["changed"] is False


def test_a_drive_is_deleted_whatever_else_its_entry_says(iso, dest):
    iso(WEB1)
    assert (
        iso({"name": "web1", "password": "CANARY \n", "services": [], "user_data": "CANARY"}, state="absent")["changed"] is True
    )
    assert os.listdir(dest) == []


def test_absent_without_a_folder(iso, dest):
    assert iso(WEB1, state="absent")["changed"] is False
    assert not dest.exists()


def test_whether_the_guest_acts_on_the_refreshed_drive(iso):
    entry = {"name": "web1", "reader": "cloud_init", "metadata": {"instance_id": "i-1"}, "password": "CANARYpw1"}
    for change, acts in (({}, False), ({"password": "CANARYpw2"}, False), ({"metadata": {"instance_id": "i-2"}}, True)):
        assert iso({**entry, **change}, label="config-2")["drives"][0]["acts_on_refresh"] is acts
    assert iso({**entry, "reader": "ours"}, label="config-2")["drives"][0]["acts_on_refresh"] is True


def test_a_warning_comes_once_with_the_names(iso, monkeypatch):
    from ansible.module_utils import basic

    warnings = []
    monkeypatch.setattr(basic.AnsibleModule, "warn", lambda _module, text: warnings.append(text))
    drives = [{"name": f"vm{number}", "reader": "cloud_init"} for number in range(8)]
    iso(*drives)
    (warning,) = warnings
    assert warning.startswith("drive vm0, vm1, vm2, vm3, vm4 and 3 more: label is config: cloud-init looks for config-2")
    iso(*drives, label="config-2")
    assert len(warnings) == 1


def test_names_are_not_masked_by_user_data_that_is_an_ordinary_word(iso, dest):
    entry = iso({"name": "web1", "metadata": {"zone": "web"}, "user_data": {"role": "web", "n": 1, "path": str(dest)}})["drives"][
        0
    ]
    assert entry["name"] == "web1" and entry["path"] == str(dest / "web1.iso")


@pytest.mark.parametrize("options", [{}, {"label": "/"}], ids=["done", "refused"])
def test_the_parameters_that_ansible_shows_hold_names_only(run_module, dest, monkeypatch, options):
    """Older ansible-core always returns them, newer ones when asked to, whether the module fails or not."""
    from ansible.module_utils import basic

    seen = []
    real = basic.AnsibleModule._return_formatted
    monkeypatch.setattr(
        basic.AnsibleModule, "_return_formatted", lambda module, result: (seen.append(module.params), real(module, result))
    )
    run_module("config_drive_iso", {"dest": str(dest), "drives": [WEB1, DB1], **options}, fails=bool(options))
    assert seen[0]["drives"] == [{"name": "web1"}, {"name": "db1"}]
    assert "CANARY" not in json.dumps(seen)


def test_what_goes_to_the_system_log_holds_no_secret(run_module, dest, monkeypatch):
    """Ansible logs the options of a module; a secret with a line break in it would not be found in the text of a list."""
    from ansible.module_utils import basic

    messages = []
    real = basic.AnsibleModule._log_invocation

    def spy(module):
        module.log = lambda msg, log_args=None: messages.append(f"{msg} {log_args}")
        real(module)

    monkeypatch.setattr(basic.AnsibleModule, "_log_invocation", spy)
    run_module("config_drive_iso", {"dest": str(dest), "drives": [WEB1, DB1]})
    # Before ansible-core 2.19 warnings are logged as well.
    assert [message for message in messages if message.startswith("Invoked") and "dest=" in message] == messages[:1]
    assert "CANARY" not in "".join(messages)
