# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Passwords that go off the drives once their guests have set them, and do not come back."""

from __future__ import annotations

import json
import typing as t

import pytest

pytest.importorskip("pycdlib")

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import compare, content
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image as images
from ansible_collections.vmops.external_dhcp.plugins.module_utils._defaults import DRIVE_SEEN
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._hypervisor.kvm import fake_libvirt as fake

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.tests.unit.conftest import RunModule

PASSWORD = "Canary-4711-pw"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> fake.Host:
    found = fake.Host()
    fake.install(monkeypatch, found)
    found.domain("web1")
    return found


def options(**more: t.Any) -> dict[str, t.Any]:
    entry = {"name": "web1", "user_data": {"role": "web"}, "reader": "ours", "password": PASSWORD, **more.pop("entry", {})}
    return {"hypervisor": {"type": "kvm", "uri": "qemu:///system"}, "drives": [entry], **more}


def files(host: fake.Host) -> dict[str, bytes]:
    return images.read(host.files["web1.iso"]).files


def says(host: fake.Host, result: int = 0) -> None:
    """The guest acts on the drive that it has now, and leaves word of it."""
    digest = images.digest_of(host.files["web1.iso"])
    host.domains["web1"].files = {DRIVE_SEEN: f"{result} web1 {digest}\n".encode()}


def test_a_guest_with_cloud_init_confirms_by_the_digest_that_its_drive_holds(host: fake.Host, run_module: RunModule):
    entry = {"reader": "cloud_init", "confirm_password": True}
    run_module("vm_config_drive", options(entry=entry))
    told, host.domains["web1"].files = compare.confirmation_of(files(host)), {DRIVE_SEEN: b"0 web1 " + b"0" * 64}
    assert run_module("vm_config_drive", options(entry=entry, state="retired"))["drives"][0]["unconfirmed"] is not None
    host.domains["web1"].files = {DRIVE_SEEN: f"0 web1 {told}\n".encode()}
    run_module("vm_config_drive", options(entry={**entry, "password": "Reset-4711-pw"}, state="updated"))
    kept = run_module("vm_config_drive", options(entry=entry, state="retired"))
    assert not kept["changed"] and "of this drive" in kept["drives"][0]["unconfirmed"], "it has set the one before"
    host.domains["web1"].files = {DRIVE_SEEN: f"0 web1 {compare.confirmation_of(files(host))}\n".encode()}
    assert run_module("vm_config_drive", options(entry=entry, state="retired"))["changed"]
    assert compare.password_of(files(host)) is compare.confirmation_of(files(host)) is None


def test_a_password_goes_when_its_guest_has_set_it_and_comes_back_only_anew(host: fake.Host, run_module: RunModule):
    run_module("vm_config_drive", options())
    says(host)
    before = dict(host.files)
    told = run_module("vm_config_drive", options(state="retired"), check_mode=True, diff=True)
    assert told["changed"] and host.files == before
    done = run_module("vm_config_drive", options(state="retired"), diff=True)
    assert done["changed"] and done["drives"][0]["unconfirmed"] is None and PASSWORD not in json.dumps(done)
    left = files(host)
    assert compare.password_of(left) is None and left[content.USER_DATA_PATH] == b"role=web"
    assert not any(PASSWORD.encode() in data for data in left.values())
    after = host.files["web1.iso"]
    # Nothing puts the same one back.
    for again in (options(state="retired"), options(), options(state="updated"), options(entry={"password": None})):
        assert not run_module("vm_config_drive", again)["changed"] and host.files["web1.iso"] == after
    # Other data are put without it, and another password is.
    run_module("vm_config_drive", options(entry={"user_data": {"role": "db"}}))
    assert files(host)[content.USER_DATA_PATH] == b"role=db" and compare.password_of(files(host)) is None
    for state, word in (("updated", "Second-4712-pw"), ("present", "Third-4713-pw")):
        run_module("vm_config_drive", options(entry={"password": word}, state=state))
        assert compare.password_of(files(host)) == word and content.RETIRED_PATH not in files(host)
        # The guest has not seen it, whatever it said of the one before.
        kept = run_module("vm_config_drive", options(state="retired"))
        assert not kept["changed"] and "has not said" in kept["drives"][0]["unconfirmed"]


@pytest.mark.parametrize(
    ("reader", "label"),
    [("ours", "config"), ("cloud_init", "config-2"), ("cloudbase_init", "config-2"), ("cloudstack", "config-2")],
)
def test_wherever_the_password_is(host: fake.Host, run_module: RunModule, reader: str, label: str):
    wanted = options(entry={"reader": reader}, label=label)
    run_module("vm_config_drive", wanted)
    says(host)
    assert run_module("vm_config_drive", {**wanted, "state": "retired"})["changed"]
    assert not any(PASSWORD.encode() in data for data in files(host).values())
    assert not run_module("vm_config_drive", wanted)["changed"]


def test_a_made_password_is_not_made_again(host: fake.Host, run_module: RunModule):
    pytest.importorskip("cryptography")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048).public_key()
    text = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    wanted = options(entry={"password": None, "password_public_key": text})
    assert run_module("vm_config_drive", wanted)["drives"][0]["new_password"]
    says(host)
    assert run_module("vm_config_drive", options(state="retired"))["changed"]
    assert not run_module("vm_config_drive", wanted)["changed"]


@pytest.mark.parametrize("files_of_guest", [None, {}, {DRIVE_SEEN: b"\xff" * 100}, {DRIVE_SEEN: "nonsense"}])
def test_it_stays_where_the_guest_says_nothing(
    host: fake.Host, run_module: RunModule, files_of_guest: dict[str, bytes | str] | None
):
    run_module("vm_config_drive", options())
    host.domains["web1"].files = files_of_guest
    kept = run_module("vm_config_drive", options(state="retired"))
    assert not kept["changed"] and "not said that it read" in kept["drives"][0]["unconfirmed"]
    assert compare.password_of(files(host)) == PASSWORD


def test_a_guest_with_windows_says_it_in_its_own_place(host: fake.Host, run_module: RunModule):
    run_module("vm_config_drive", options())
    domain = host.domains["web1"]
    domain.windows, domain.files = True, {}
    assert "not said that it read" in run_module("vm_config_drive", options(state="retired"))["drives"][0]["unconfirmed"]
    says(host)
    domain.files = {r"C:\Program Files\ConfigDrive\state\drive-seen": domain.files[DRIVE_SEEN]}
    assert run_module("vm_config_drive", options(state="retired"))["changed"]
    assert compare.password_of(files(host)) is None and len(domain.opened) == len(domain.closed) == 1


def test_a_guest_that_failed_keeps_it(host: fake.Host, run_module: RunModule):
    run_module("vm_config_drive", options())
    says(host, 1)
    for confirmation in ("guest", "boot"):
        kept = run_module("vm_config_drive", options(state="retired", confirmation=confirmation))
        assert not kept["changed"] and "could not set all" in kept["drives"][0]["unconfirmed"]


@pytest.mark.parametrize(("reader", "goes"), [("ours", True), ("cloud_init", False), ("cloudstack", False)])
def test_a_start_is_believed_if_asked_for_and_of_our_scripts_alone(
    host: fake.Host, run_module: RunModule, reader: str, goes: bool
):
    wanted = {"entry": {"reader": reader}, "label": "config-2"}
    run_module("vm_config_drive", options(**wanted))
    domain = host.domains["web1"]
    off = run_module("vm_config_drive", options(**wanted, state="retired", confirmation="boot"))
    assert not off["changed"] and "not said that it read" in off["drives"][0]["unconfirmed"]
    domain.createWithFlags(0)
    assert run_module("vm_config_drive", options(**wanted, state="retired"))["drives"][0]["unconfirmed"]
    # A reset while it runs is not known to the guest yet.
    entry = {"reader": reader, "password": "Second-4712-pw"}
    run_module("vm_config_drive", options(entry=entry, label="config-2", state="updated"))
    assert not run_module("vm_config_drive", options(**wanted, state="retired", confirmation="boot"))["changed"]
    domain.destroyFlags(0)
    domain.createWithFlags(0)
    assert run_module("vm_config_drive", options(**wanted, state="retired", confirmation="boot"))["changed"] is goes


def test_a_reader_that_would_ask_the_network_keeps_it(host: fake.Host, run_module: RunModule):
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB web1"
    wanted = options(entry={"reader": "cloudstack_combined", "ssh_keys": [key]}, label="config-2")
    run_module("vm_config_drive", wanted)
    says(host)
    refused = run_module("vm_config_drive", {**wanted, "state": "retired"}, fails=True)
    assert "asks the DHCP server" in refused["msg"] and compare.password_of(files(host)) == PASSWORD


def test_a_drive_that_was_taken_out_stays_out(host: fake.Host, run_module: RunModule):
    run_module("vm_config_drive", options())
    says(host)
    run_module("vm_config_drive", options(state="ejected", keep_unread=False))
    done = run_module("vm_config_drive", options(state="retired"))["drives"][0]
    assert done["changed"] and done["ejected"] and compare.password_of(files(host)) is None
    assert not run_module("vm_config_drive", options(reinsert=False))["changed"]
    assert "web1.iso" not in host.domains["web1"].config


def test_without_a_drive_or_a_password_there_is_nothing_to_do(host: fake.Host, run_module: RunModule):
    assert not run_module("vm_config_drive", options(state="retired"))["changed"]
    run_module("vm_config_drive", options(entry={"password": None}))
    kept = run_module("vm_config_drive", options(state="retired"))
    assert not kept["changed"] and kept["drives"][0]["unconfirmed"] is None
