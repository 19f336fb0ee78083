# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guests of the KVM rig without a guest agent."""

from __future__ import annotations

import hashlib
import subprocess
import typing as t
import uuid
import xml.etree.ElementTree as ET

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.tests.integration.kvm_host import KvmHost

NAME = "it-disk"


def make_guest(kvm: KvmHost, name: str, client: str | None = None, start: bool = True) -> str:
    """Clones the template without its agent's channel and starts it; its MAC.

    client: its DHCP client (dhclient, dhcpcd, NetworkManager, systemd-networkd), for a rig that is up --with-dhcp-clients.
    """
    kvm.undefine(name)
    domain = ET.fromstring(kvm.virsh("dumpxml", kvm.status["TEMPLATE_DHCP_CLIENTS" if client else "TEMPLATE"]))
    line = domain.find("os/cmdline")
    if client and line is not None:
        line.text = f"{line.text} rig_client={client}"
    mac = "52:54:00:" + ":".join(hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[at : at + 2] for at in (0, 2, 4))
    disk = f"{kvm.status['IMAGES']}/{name}.qcow2"
    for path, text in (("name", name), ("uuid", str(uuid.uuid4())), ("description", "test")):
        element = domain.find(path)
        assert element is not None
        element.text = text
    devices = domain.find("devices")
    assert devices is not None
    for channel in devices.findall("channel"):
        devices.remove(channel)
    for element in devices.findall("interface/mac"):
        element.set("address", mac)
    for element in devices.iter("log"):
        element.set("file", f"/var/log/libvirt/qemu/{name}.serial.log")
    base = ""
    for element in devices.findall("disk[@device='disk']/source"):
        base = element.get("file", "")
        element.set("file", disk)
    words = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-u", "-b", base, str(kvm.images / f"{name}.qcow2")]
    subprocess.run([*words, "600M"], check=True)
    kvm.define(ET.tostring(domain, encoding="unicode"))
    if start:
        kvm.virsh("start", name)
    return mac
