# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image becomes a VM that others are made from, on a libvirt in this process."""

from __future__ import annotations

import pathlib
import struct
import typing as t
import xml.etree.ElementTree as ET

import pytest

from ansible_collections.vmops.external_dhcp.tests.unit.plugins.module_utils._hypervisor.kvm import fake_libvirt as fake

GIB = 1 << 30


def qcow2(path: pathlib.Path, backing: int = 0, encryption: int = 0, features: int = 0, size: int = 2 * GIB) -> pathlib.Path:
    head = struct.pack(">4sIQIIQI", b"QFI\xfb", 3, backing, 10 if backing else 0, 16, size, encryption)
    path.write_bytes(head.ljust(72, b"\0") + struct.pack(">Q", features) + b"what the guest has" * 10000)
    return path


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> fake.Host:
    found = fake.Host()
    fake.install(monkeypatch, found)
    return found


@pytest.fixture
def run(host: fake.Host, run_module: t.Callable[..., t.Any], tmp_path: pathlib.Path) -> t.Callable[..., dict[str, t.Any]]:
    def run(
        image: pathlib.Path | None = None, fails: bool = False, check_mode: bool = False, **options: t.Any
    ) -> dict[str, t.Any]:
        given = {
            "hypervisor": {"type": "kvm", "uri": "qemu:///system"},
            "name": "debian-12",
            "image": str(image or qcow2(tmp_path / "image")),
            "network": "br0",
            **options,
        }
        return dict(run_module("vm_template_import", given, fails=fails, check_mode=check_mode))

    return run


def definition(host: fake.Host) -> ET.Element:
    return ET.fromstring(host.domains["debian-12"].XMLDesc(fake.INACTIVE))


def test_an_image_becomes_a_vm_once(host: fake.Host, run: t.Callable[..., dict[str, t.Any]], tmp_path: pathlib.Path) -> None:
    told = run(check_mode=True)
    assert (told["changed"], told["id"], host.domains, host.files) == (True, None, {}, {})
    told = run()
    assert told["changed"] and told["id"] == host.domains["debian-12"].UUIDString().lower()
    assert host.files["debian-12.qcow2"] == (tmp_path / "image").read_bytes()
    found = definition(host)
    assert (found.get("type"), found.find("os/type").get("machine")) == ("kvm", "q35")
    drives = found.findall("devices/disk[@device='cdrom']")
    assert [drive.find("target").get("bus") for drive in drives] == ["scsi", "scsi"]
    assert all(drive.find("source") is None for drive in drives)
    assert found.find("devices/controller[@model='virtio-scsi']") is not None
    assert found.find("devices/interface/source").get("bridge") == "br0"
    assert (run()["changed"], len(host.domains)) == (False, 1)


def test_what_the_host_and_the_image_need(
    host: fake.Host, run: t.Callable[..., dict[str, t.Any]], tmp_path: pathlib.Path
) -> None:
    host.kinds = ["qemu"]
    raw = tmp_path / "raw"
    raw.write_bytes(b"\0" * 4096)
    run(raw, bus="ide", efi=True, network="corp", memory=512, cpus=2)
    found = definition(host)
    assert (found.get("type"), found.find("os/type").get("machine"), found.find("os").get("firmware")) == ("qemu", "pc", "efi")
    assert {drive.find("target").get("bus") for drive in found.findall("devices/disk[@device='cdrom']")} == {"ide"}
    assert found.find("devices/disk/driver").get("type") == "raw" and host.files["debian-12.img"] == raw.read_bytes()
    assert found.find("devices/interface/source").get("network") == "corp"
    assert (found.findtext("memory"), found.findtext("vcpu")) == ("512", "2")


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ({"backing": 112}, "refers to another file"),
        ({"features": 4}, "refers to another file"),
        ({"encryption": 2}, "is encrypted"),
        ({"size": 0}, "is no qcow2 image"),
    ],
)
def test_an_image_that_would_show_files_of_the_host_is_refused(
    host: fake.Host, run: t.Callable[..., dict[str, t.Any]], tmp_path: pathlib.Path, image: dict[str, int], why: str
) -> None:
    told = run(qcow2(tmp_path / "bad", **image), fails=True)
    assert told["failed"] and why in told["msg"]
    assert host.files == {}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"network": "nowhere"}, "no network or bridge nowhere"),
        ({"placement": {"sr": "x"}}, "storage_pool"),
        ({"name": "a/b"}, "cannot be a file name"),
        ({"memory": 0}, "must be at least 1"),
        ({"image": "/nowhere"}, "No such file"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(
    host: fake.Host, run: t.Callable[..., dict[str, t.Any]], options: dict[str, t.Any], why: str
) -> None:
    for check in (True, False):
        told = run(fails=True, check_mode=check, **options)
        assert told["failed"] and why in told["msg"]
    assert (host.files, host.domains) == ({}, {})


def test_what_fails_half_way_is_undone(host: fake.Host, run: t.Callable[..., dict[str, t.Any]]) -> None:
    def trouble(what: str, name: str) -> None:
        if what == "define":
            raise fake.LibvirtError("VIR_ERR_INTERNAL_ERROR", "no room")

    host.trouble = trouble
    told = run(fails=True)
    assert told["failed"] and "no room" in told["msg"]
    assert host.files == {}
    host.trouble = lambda what, name: None
    host.files["debian-12.qcow2"] = b"somebody's"
    told = run(fails=True)
    assert "is there already" in told["msg"] and host.files["debian-12.qcow2"] == b"somebody's"
