# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template import image
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.files import FolderFiles
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.report import report

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from good_system import GOOD, SOURCES, UNIT, WANTED, WANTS, build

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\n"
NET = "etc/sysconfig/network-scripts/ifcfg-eth0"

# What is done to the good system, and the one check that must find it.
FAULTS: dict[str, tuple[str, dict[str, str | None]]] = {
    "machine id baked in": ("machine_id", {"etc/machine-id": "0123456789abcdef0123456789abcdef\n"}),
    "machine id copied for dbus": ("dbus_machine_id", {"var/lib/dbus/machine-id": "0123456789abcdef0123456789abcdef\n"}),
    "host keys": ("host_keys", {"etc/ssh/ssh_host_ed25519_key": KEY}),
    "leases of dhclient": ("dhcp_identity", {"var/lib/dhcp/dhclient.eth0.leases": "lease {}"}),
    "leases of NetworkManager": ("dhcp_identity", {"var/lib/NetworkManager/internal-1-eth0.lease": "ADDRESS=10.0.0.1"}),
    "DUID of dhcpcd": ("dhcp_identity", {"var/lib/dhcpcd/duid": "00:01"}),
    "DUID written down": ("fixed_duid", {"etc/systemd/networkd.conf": "[DHCPv6]\nDUIDRawData=00:01\n"}),
    "random seed": ("random_seed", {"var/lib/systemd/random-seed": "x"}),
    "state of another drive": ("script_state", {"var/lib/config-drive/password": "sha512 x y"}),
    "state of cloud-init": ("cloud_init_state", {"var/lib/cloud/instances/i-1/user-data.txt": "x"}),
    "somebody's key": ("authorized_keys", {"home/admin/.ssh/authorized_keys": "# mine\nssh-ed25519 AAAA\n"}),
    "name of the host": ("hostname", {"etc/hostname": "golden\n"}),
    "NIC's name by MAC": ("net_rules", {"etc/udev/rules.d/70-persistent-net.rules": 'SUBSYSTEM=="net", ATTR{address}=="52:54"'}),
    "agent missing": ("agent", {"usr/sbin/qemu-ga": None}),
    "agent not enabled": ("agent_service", {f"{WANTS}/qemu-guest-agent.service": None}),
    "agent masked": ("agent_service", {"etc/systemd/system/qemu-guest-agent.service": "->/dev/null"}),
    "script missing": ("scripts", {"usr/local/sbin/config-drive-read.sh": None}),
    "script changed": ("scripts", {"usr/local/sbin/config-drive-boot.sh": "#!/bin/sh\n"}),
    "starter not enabled": ("starter", {f"{WANTS}/config-drive.service": None}),
    "settings missing": ("settings", {"etc/default/config-drive": None}),
    "cloud-init missing": ("cloud_init", {"usr/bin/cloud-init": None}),
    "cloud-init without ConfigDrive": ("datasource_list", {SOURCES: "datasource_list:\n  - NoCloud\n  - None\n"}),
    "cloud-init switched off": ("cloud_init_disabled", {"etc/cloud/cloud-init.disabled": ""}),
    "cloud-init switched off for the kernel": ("cloud_init_disabled", {"etc/default/grub": 'X="quiet cloud-init=disabled"'}),
    "cloud-init masked": ("cloud_init_disabled", {"etc/systemd/system/cloud-init.service": "->/dev/null"}),
    "cloud-init asks the DHCP server": ("network_datasource", {SOURCES: "datasource_list: [ConfigDrive, CloudStack]\n"}),
    "scripts that ask the DHCP server": ("network_scripts", {"usr/bin/cloud-set-guest-password-configdrive": ""}),
    "kernel for clouds": ("kernels", {"usr/lib/modules/6.1.0-18-cloud-amd64/modules.dep": "kernel/fs/isofs/isofs.ko:\n"}),
    "kernel without iso9660": (
        "kernels",
        {"usr/lib/modules/6.1.0-18-amd64/modules.dep": "kernel/drivers/scsi/sr_mod.ko:\nkernel/drivers/ata/ahci.ko:\n"},
    ),
    "drive in fstab, with a #": ("fstab", {"etc/fstab": "/dev/sr0 /mnt/drive#1 iso9660 ro 0 0\n"}),
    "drive in fstab": ("fstab", {"etc/fstab": "LABEL=config-2 /mnt/configdrive auto ro 0 0\n"}),
    "static address, ifupdown": (
        "static_address",
        {"etc/network/interfaces.d/eth0": "iface eth0 inet static\n address 10.0.0.1\n"},
    ),
    "static address, netplan in one line": ("static_address", {"etc/netplan/50.yaml": "      addresses: ['10.0.0.1/24']\n"}),
    "static address, netplan": ("static_address", {"etc/netplan/50.yaml": "      addresses:\n        - 10.0.0.1/24\n"}),
    "static address of IPv6, netplan in one line": (
        "static_address",
        {"etc/netplan/50.yaml": "      addresses: [2001:db8::1/64]\n"},
    ),
    "static address of IPv6, netplan": ("static_address", {"etc/netplan/50.yaml": "      addresses:\n        - 'fd00::1/64'\n"}),
    "static address, ifcfg": ("static_address", {NET: "BOOTPROTO=none\nIPADDR=10.0.0.1\n"}),
    "static address, NetworkManager": (
        "static_address",
        {"etc/NetworkManager/system-connections/a.nmconnection": "[ipv4]\nmethod=manual\n"},
    ),
    "static address, networkd": ("static_address", {"etc/systemd/network/a.network": "[Network]\nAddress=10.0.0.1/24\n"}),
    "MAC address, ifcfg": ("fixed_mac", {NET: "BOOTPROTO=dhcp\nHWADDR=52:54:00:01:02:03\n"}),
    "MAC address, netplan": ("fixed_mac", {"etc/netplan/50.yaml": '      match: {macaddress: "52:54:00:01:02:03"}\n'}),
    "no system at all": ("system", {"etc/os-release": None}),
}


def checks_of(found: t.Mapping[str, t.Any]) -> list[str]:
    return [entry["check"] for entry in found["problems"]]


def test_a_good_template_has_no_problem(tmp_path: pathlib.Path) -> None:
    found = report(FolderFiles(str(build(tmp_path, {}))), WANTED, None)
    assert (found["problems"], found["leftovers"]) == ([], [])
    assert found["system"] == {
        "distribution": "debian",
        "version": "12",
        "family": "Debian",
        "init": "systemd",
        "settings_path": "/etc/default/config-drive",
        "kernels": ["6.1.0-18-amd64"],
        "cloud_init": True,
        "agent": True,
        "agent_services": ["qemu-guest-agent"],
        "agent_packages": ["qemu-guest-agent"],
        "agent_settings": [],
    }


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(fault: str, tmp_path: pathlib.Path) -> None:
    check, changes = FAULTS[fault]
    found = report(FolderFiles(str(build(tmp_path, changes))), WANTED, None)
    assert checks_of(found) == [check]
    assert found["problems"][0]["message"] and found["problems"][0]["remedy"]


def test_a_script_that_is_not_executable(tmp_path: pathlib.Path) -> None:
    (build(tmp_path, {}) / "usr/local/sbin/config-drive-read.sh").chmod(0o644)
    assert checks_of(report(FolderFiles(str(tmp_path)), WANTED, None)) == ["scripts_mode"]


@pytest.mark.parametrize(
    ("label", "reader", "files", "checks"),
    [
        ("mine", "ours", {}, ["label"]),
        ("mine", "ours", {"etc/default/config-drive": "CONFIG_DRIVE_LABEL='mine' # ours\n"}, []),
        ("config", "both", {}, []),
        ("config", "both", {SOURCES: "datasource_list: [ConfigDrive, NoCloud, None]\n"}, ["cloud_init_label"]),
        ("config", "cloud_init", {SOURCES: None, "etc/cloud/cloud.cfg": "users: []\n"}, ["cloud_init_label"]),
        ("config-2", "cloud_init", {SOURCES: None, "etc/cloud/cloud.cfg": "users: []\n"}, []),
        ("config-2", "cloud_init", {"usr/local/sbin/config-drive-read.sh": None, f"{WANTS}/config-drive.service": None}, []),
    ],
)
def test_label_and_reader(
    label: str, reader: str, files: dict[str, str | None], checks: list[str], tmp_path: pathlib.Path
) -> None:
    wanted = dataclasses.replace(WANTED, label=label, reader=reader)
    assert checks_of(report(FolderFiles(str(build(tmp_path, files))), wanted, None)) == checks


@pytest.mark.parametrize("init", ["sysv", "openrc"])
def test_other_starters(init: str, tmp_path: pathlib.Path) -> None:
    files: dict[str, str | None] = {
        "usr/lib/systemd/systemd": None,
        "etc/init.d/qemu-guest-agent": "",
        "usr/bin/cloud-init": None,
    }
    wanted = dataclasses.replace(WANTED, reader="ours")
    if init == "openrc":
        files["sbin/openrc-run"] = ""
    assert checks_of(report(FolderFiles(str(build(tmp_path / "a", files))), wanted, None)) == ["agent_service", "starter"]
    place = "etc/runlevels/default/" if init == "openrc" else "etc/rc3.d/S01"
    files |= {f"{place}{name}": f"->/etc/init.d/{name}" for name in ("config-drive", "qemu-guest-agent")}
    found = report(FolderFiles(str(build(tmp_path / "b", files))), wanted, None)
    assert (found["system"]["init"], checks_of(found)) == (init, [])


def test_a_machine_with_sata_alone_needs_its_driver(tmp_path: pathlib.Path) -> None:
    files: dict[str, str | None] = {
        "usr/lib/modules/6.1.0-18-amd64/modules.dep": GOOD["usr/lib/modules/6.1.0-18-amd64/modules.dep"].replace(
            "ahci", "ata_piix"
        ),
        "sys/bus/pci/devices/0000:00:1f.2/class": "0x010601\n",
    }
    wanted = dataclasses.replace(WANTED, bus=None)
    assert checks_of(report(FolderFiles(str(build(tmp_path / "a", files))), wanted, None)) == ["kernels"]
    files |= {"sys/bus/pci/devices/0000:02:00.0/device": "0x1048\n"}
    assert checks_of(report(FolderFiles(str(build(tmp_path / "b", files))), wanted, None)) == []


def test_links_do_not_lead_out_of_the_system(tmp_path: pathlib.Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "machine-id").write_text("somebody else's")
    files: dict[str, str | None] = {
        "etc/machine-id": f"->{'../' * 40}{str(outside)[1:]}/machine-id",
        "root": f"->{outside}",
        "etc/ssh": "->ssh",
    }
    assert checks_of(report(FolderFiles(str(build(tmp_path / "root", files))), WANTED, None)) == []


def ext4(tmp_path: pathlib.Path, files: dict[str, str | None]) -> str:
    if shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin") is None:
        pytest.skip("mkfs.ext4 is not installed")
    tree = build(tmp_path / "tree", files)
    disk = tmp_path / "disk.img"
    with disk.open("wb") as stream:
        stream.truncate(32 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", tree, disk], env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}, check=True)
    return str(disk)


def test_an_image_is_read_without_a_mount(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("dissect.extfs")
    found = image.look(ext4(tmp_path, {}), None, WANTED, None)
    assert found == report(FolderFiles(str(tmp_path / "tree")), WANTED, None)
    assert found["problems"] == []


def test_faults_in_an_image(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("dissect.extfs")
    together = (
        "machine id baked in",
        "host keys",
        "agent masked",
        "kernel for clouds",
        "static address, netplan",
        "script changed",
    )
    files: dict[str, str | None] = {}
    for fault in together:
        files |= FAULTS[fault][1]
    disk = ext4(tmp_path, files)
    if shutil.which("qemu-img"):
        subprocess.run(["qemu-img", "convert", "-q", "-O", "qcow2", disk, f"{disk}.qcow2"], check=True)
        disk += ".qcow2"
    found = image.look(disk, None, WANTED, None)
    assert sorted(checks_of(found)) == sorted(FAULTS[fault][0] for fault in together)
    assert found["leftovers"] == ["/etc/ssh/ssh_host_ed25519_key"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\0" * 4096, "holds no Linux system"),
        (b"KDMV" + b"\0" * 4096, "has a VMDK image with a header that cannot be"),
        (b"\0" * 512 + b"conectix" + b"\0" * 504, "is no VHD image"),
        (b"QFI\xfb" + b"\0" * 4096, "is no qcow2 image"),
    ],
)
def test_what_is_no_image_of_a_system(content: bytes, said: str, tmp_path: pathlib.Path) -> None:
    pytest.importorskip("dissect.extfs")
    path = tmp_path / "disk.img"
    path.write_bytes(content)
    with pytest.raises(image.ImageError, match=said):
        image.look(str(path), None, WANTED, None)


def test_a_unit_that_something_else_starts_is_enabled(tmp_path: pathlib.Path) -> None:
    files: dict[str, str | None] = {
        f"{WANTS}/qemu-guest-agent.service": None,
        "usr/lib/systemd/system/qemu-guest-agent.service": UNIT.split("[Install]", maxsplit=1)[0],
    }
    assert checks_of(report(FolderFiles(str(build(tmp_path, files))), WANTED, None)) == []


def test_a_kernel_without_the_driver_of_disk_or_nic_is_told(tmp_path: pathlib.Path) -> None:
    files: dict[str, str | None] = {"usr/lib/modules/6.1.0-18-amd64/modules.builtin": "kernel/drivers/block/xen-blkfront.ko\n"}
    wanted = dataclasses.replace(WANTED, drivers=("xen_blkfront", "xen_netfront"))
    (problem,) = report(FolderFiles(str(build(tmp_path / "a", files))), wanted, None)["problems"]
    assert problem["check"] == "drivers" and "6.1.0-18-amd64 lacks xen_netfront" in problem["message"]
