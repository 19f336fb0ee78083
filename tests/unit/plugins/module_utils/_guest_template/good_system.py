# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A made-up Debian system that is a good template: each test breaks one thing of it."""

from __future__ import annotations

import hashlib
import pathlib

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.rules import Wanted

ROOT = pathlib.Path(__file__).resolve().parents[5]
SCRIPTS = {path.name: path.read_text() for path in sorted((ROOT / "roles/vm_template/files/linux").glob("*.sh"))}
SHA256 = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in SCRIPTS.items()}
WANTED = Wanted("kvm", "both", "config-2", "sata", SHA256)
SOURCES = "etc/cloud/cloud.cfg.d/99-config-drive.cfg"
UNIT = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
WANTS = "etc/systemd/system/multi-user.target.wants"
MODULES = "kernel/fs/isofs/isofs.ko.xz:\nkernel/drivers/scsi/sr_mod.ko.xz: kernel/x.ko\nkernel/drivers/ata/ahci.ko.xz:\n"
# Content by path; what begins with '->' is a link.
GOOD = {
    "etc/os-release": 'ID=debian\nVERSION_ID="12"\n',
    "usr/lib/systemd/systemd": "",
    "lib": "->usr/lib",
    "usr/lib/modules/6.1.0-18-amd64/modules.dep": MODULES,
    "usr/lib/modules/6.1.0-18-amd64/modules.builtin": "kernel/fs/ext4/ext4.ko\n",
    "etc/machine-id": "",
    "etc/hostname": "localhost\n",
    "var/lib/dbus/machine-id": "->/etc/machine-id",
    "etc/default/config-drive": "CONFIG_DRIVE_LABEL=config-2\n",
    **{f"usr/local/sbin/{name}": text for name, text in SCRIPTS.items()},
    "etc/systemd/system/config-drive.service": UNIT,
    f"{WANTS}/config-drive.service": "->/etc/systemd/system/config-drive.service",
    "usr/sbin/qemu-ga": "",
    "usr/lib/systemd/system/qemu-guest-agent.service": UNIT,
    f"{WANTS}/qemu-guest-agent.service": "->/usr/lib/systemd/system/qemu-guest-agent.service",
    "usr/bin/cloud-init": "",
    "usr/lib/systemd/system/cloud-init.service": "[Install]\nWantedBy=cloud-init.target\n",
    "etc/cloud/cloud.cfg": "datasource_list: [ NoCloud, ConfigDrive, OpenStack, None ]\n",
    SOURCES: "datasource_list: [ConfigDrive, None]\n",
    "etc/fstab": "UUID=1-2 / ext4 defaults 0 1\n# LABEL=config /x iso9660 ro\n/dev/sr0 /mnt/configdrive iso9660 ro,noauto 0 0\n",
    "etc/network/interfaces": "auto lo\niface lo inet loopback\niface eth0 inet dhcp\n",
    "etc/netplan/50.yaml": "network:\n  ethernets:\n    all:\n      dhcp4: true\n      nameservers:\n        addresses: [192.0.2.53]\n",
}


def build(where: pathlib.Path, files: dict[str, str | None]) -> pathlib.Path:
    """The system in a folder; None takes a file of the good one away."""
    for name, content in sorted({**GOOD, **files}.items(), key=lambda item: not (item[1] or "").startswith("->")):
        if content is None:
            continue
        path = where / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith("->"):
            path.symlink_to(content[2:])
            if name == "lib":
                (where / "usr/lib").mkdir(parents=True)
        else:
            path.write_text(content)
            path.chmod(0o755 if name.endswith(".sh") else 0o644)
    return where
