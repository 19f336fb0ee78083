# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Passwords that the modules make: given out once, encrypted, and shown nowhere."""

from __future__ import annotations

import base64
import json
import typing as t

import pytest

pytest.importorskip("pycdlib")
pytest.importorskip("cryptography")
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import compare, content
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image as images
from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._hypervisor.kvm import fake_libvirt as fake

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.tests.unit.conftest import RunModule

PRIVATE = rsa.generate_private_key(65537, 2048)
KEY = PRIVATE.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def opened(sealed: str) -> str:
    oaep = padding.OAEP(mgf=padding.MGF1(algorithm=hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
    return PRIVATE.decrypt(base64.b64decode(sealed), oaep).decode()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> fake.Host:
    found = fake.Host()
    fake.install(monkeypatch, found)
    found.domain("web1")
    return found


def options(**more: t.Any) -> dict[str, t.Any]:
    entry = {"name": "web1", "user_data": {"role": "web"}, "password_public_key": KEY, **more.pop("entry", {})}
    return {"hypervisor": {"type": "kvm", "uri": "qemu:///system"}, "drives": [entry], **more}


def held(host: fake.Host) -> str | None:
    return compare.password_of(images.read(host.files["web1.iso"]).files)


@pytest.mark.parametrize(
    ("reads", "label"),
    [
        ({"reader": "ours"}, "config"),
        ({"reader": "cloud_init"}, "config-2"),
        ({"reader": "cloudbase_init"}, "config-2"),
        ({}, "config"),
    ],
)
def test_a_password_is_made_once_and_kept(
    host: fake.Host, run_module: RunModule, capsys: pytest.CaptureFixture[str], reads: dict[str, str], label: str
):
    wanted = options(entry=reads, label=label)
    first = run_module("vm_config_drive", wanted, diff=True)
    drive = first["drives"][0]
    password = opened(drive["encrypted_password"])
    assert first["changed"] and drive["new_password"] and held(host) == password and len(password) >= 16
    assert password not in json.dumps(first) + "".join(capsys.readouterr())
    before = host.files["web1.iso"]
    second = run_module("vm_config_drive", wanted, diff=True)
    assert not second["changed"] and host.files["web1.iso"] == before
    assert (second["drives"][0]["new_password"], second["drives"][0]["encrypted_password"]) == (False, None)
    # What else changes on the drive leaves the password.
    other = run_module("vm_config_drive", options(entry={**reads, "user_data": {"role": "db"}}, label=label))
    assert other["changed"] and not other["drives"][0]["new_password"] and held(host) == password


def test_a_reset_makes_another_each_time(host: fake.Host, run_module: RunModule):
    first = opened(run_module("vm_config_drive", options())["drives"][0]["encrypted_password"])
    entry = {"user_data": None}
    second = opened(run_module("vm_config_drive", options(entry=entry, state="updated"))["drives"][0]["encrypted_password"])
    assert held(host) == second != first
    assert images.read(host.files["web1.iso"]).files[content.USER_DATA_PATH] == b"role=web"


@pytest.mark.parametrize("state", ["present", "updated"])
def test_check_mode_says_so_and_makes_none(host: fake.Host, run_module: RunModule, monkeypatch: pytest.MonkeyPatch, state: str):
    if state == "updated":
        run_module("vm_config_drive", options())
    files = dict(host.files)
    monkeypatch.setattr("secrets.choice", lambda _sequence: pytest.fail("a password was made"))
    told = run_module("vm_config_drive", options(state=state), check_mode=True, diff=True)
    drive = told["drives"][0]
    assert told["changed"] and drive["new_password"] and host.files == files
    assert drive["encrypted_password"] is None and drive["sha256"] is None


def test_what_was_not_put_is_not_handed_out(host: fake.Host, run_module: RunModule):
    host.files["web1.iso"] = b"somebody's"
    failed = run_module("vm_config_drive", options(), fails=True)
    assert failed["drives"][0]["encrypted_password"] is None


def test_another_vms_password_is_not_taken_over(host: fake.Host, run_module: RunModule):
    run_module("vm_config_drive", options())
    other = images.read(host.files["web1.iso"])
    host.files["web1.iso"] = images.build(other.files, owner="99999999-0000-0000-0000-000000000000")
    taken = run_module("vm_config_drive", options(take_over=True))["drives"][0]
    assert opened(taken["encrypted_password"]) == held(host) != compare.password_of(other.files)


def test_an_image_in_a_folder(run_module: RunModule, tmp_path: t.Any):
    entry = {"name": "web1", "password_public_key": KEY}
    made = run_module("config_drive_iso", {"dest": str(tmp_path / "isos"), "drives": [entry]})["drives"][0]
    files = images.read((tmp_path / "isos" / "web1.iso").read_bytes()).files
    assert compare.password_of(files) == opened(made["encrypted_password"])
    assert not run_module("config_drive_iso", {"dest": str(tmp_path / "isos"), "drives": [entry]})["changed"]
