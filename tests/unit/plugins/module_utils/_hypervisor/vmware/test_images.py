# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The descriptor of an import, its devices, and the upload that keeps its lease alive."""

from __future__ import annotations

import pathlib
import typing as t
import xml.etree.ElementTree as ET

import pytest

pytest.importorskip("pyVmomi")

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.formats import STREAM_VMDK, DiskImage
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import MachineError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.images import ImageWanted
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware import nfc, ovf

SPACES = {"ovf": "http://schemas.dmtf.org/ovf/envelope/1"}
SPACES["rasd"] = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"


def wanted(path: str = "/x/disk.vmdk", length: int = 5000) -> ImageWanted:
    image = DiskImage(path, STREAM_VMDK, 13 << 20, 512, length)
    return ImageWanted("web", image, "disk.vmdk", "corp", "sata", 1024, 2)


def test_the_descriptor_says_what_is_wanted_and_nothing_that_a_name_brings_in() -> None:
    text = ovf.descriptor('<a> & "b"]]>', wanted())
    root = ET.fromstring(text)
    assert root.findtext("ovf:VirtualSystem/ovf:Name", namespaces=SPACES) == '<a> & "b"]]>'
    (file,) = root.findall("ovf:References/ovf:File", SPACES)
    assert file.get(f"{{{SPACES['ovf']}}}size") == "5000"
    (disk,) = root.findall("ovf:DiskSection/ovf:Disk", SPACES)
    assert disk.get(f"{{{SPACES['ovf']}}}capacity") == str(13 << 20)
    items = root.findall("ovf:VirtualSystem/ovf:VirtualHardwareSection/ovf:Item", SPACES)
    quantities = {item.findtext("rasd:ResourceType", namespaces=SPACES): item for item in items}
    assert quantities["3"].findtext("rasd:VirtualQuantity", namespaces=SPACES) == "2"
    assert quantities["4"].findtext("rasd:VirtualQuantity", namespaces=SPACES) == "1024"
    assert quantities["10"].findtext("rasd:Connection", namespaces=SPACES) == ovf.NETWORK
    for item in items:  # the order that the schema wants
        assert [child.tag for child in item] == sorted(child.tag for child in item)


@pytest.mark.parametrize(("bus", "kind"), [("sata", "VirtualAHCIController"), ("ide", "VirtualIDEController")])
def test_two_empty_drives_hang_on_a_controller(bus: str, kind: str) -> None:
    controller, *drives = [change.device for change in ovf.drives(bus)]
    assert type(controller).__name__.endswith(kind)
    assert [(drive.controllerKey, drive.unitNumber) for drive in drives] == [(controller.key, 0), (controller.key, 1)]


class Line:
    """A connection that takes time."""

    def __init__(self, clock: list[float]) -> None:
        self.clock, self.got = clock, b""

    def send(self, part: bytes) -> None:
        self.got += part
        self.clock[0] += 4.0


def test_a_lease_is_kept_alive_while_a_slow_upload_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    clock = [100.0]
    monkeypatch.setattr(nfc.time, "monotonic", lambda: clock[0])
    (tmp_path / "image").write_bytes(b"x" * 512 + b"y" * (10 << 18))
    told: list[int] = []
    line = Line(clock)
    image = wanted(str(tmp_path / "image"), 10 << 18).image
    with image.data() as data:
        nfc._send_data(t.cast("t.Any", line), data, told.append)
    assert line.got == b"y" * (10 << 18) and told == [30, 60, 90]
    with wanted(str(tmp_path / "image"), 11 << 18).image.data() as data, pytest.raises(MachineError, match="shorter"):
        nfc._send_data(t.cast("t.Any", line), data, told.append)


def test_a_disk_is_sent_by_https_only(tmp_path: pathlib.Path) -> None:
    (tmp_path / "image").write_bytes(b"x" * 6000)
    session = type("Session", (), {"endpoint": "vc"})()
    with wanted(str(tmp_path / "image")).image.data() as data, pytest.raises(MachineError, match="no https"):
        nfc.send(session, "http://esx/nfc/1/disk", None, data, lambda _percent: None)
