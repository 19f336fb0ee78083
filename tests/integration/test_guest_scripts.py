# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Linux guest scripts in a booted guest: real drives, real mounts, the real chpasswd.

One boot of the KVM rig's image in QEMU, with as many CD drives as there are cases. What chpasswd made of a password is
told by the hash in /etc/shadow, which is compared by the C library of the machine the tests run on.
"""

from __future__ import annotations

import base64
import ctypes
import ctypes.util
import os
import pathlib
import shutil
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image as drive_image

RIGS = pathlib.Path(__file__).resolve().parents[1] / "rigs"
sys.path[:0] = [str(RIGS), str(RIGS / "kvm")]

BOOT_PASSWORD = "Boot-Passw0rd-canary"
KEYS = [
    f"ssh-ed25519 {base64.b64encode(bytes([0, 0, 0, 11]) + b'ssh-ed25519' + bytes([0, 0, 0, 32, n]) * 8).decode()} k{n}"
    for n in (1, 2)
]
PASSWORDS = {
    "blanks": b"  two  blanks  ",
    "glob": b"/etc/pass* ?[a-z]",
    "dash": b"-n -e \\n\\t\\\\",
    "shell": b"$HOME `id` $(id) ;|&<>!'\"#~",
    "colons": b"a:b::",
    "utf-8": "pässwörd€ Á\u0102 密码".encode(),
    "tab": b"tab\tpercent%s%d",
}
SHELLS = ["dash", "busybox sh"]


class Guest:
    """A running guest with root's session on its console, and the CD drives it has."""

    def __init__(self, console: t.Any) -> None:
        self.console = console

    def run(self, command: str) -> str:
        return self.console.run(command)

    def script(self, name: str, label: str, shell: str = "sh", more: str = "") -> tuple[int, str]:
        """Exit code and output of a guest script that looks for this label first."""
        settings = f"CONFIG_DRIVE_LABEL={label}\n{more}\n"
        encoded = base64.b64encode(settings.encode()).decode()
        command = f"CONFIG_DRIVE_SETTINGS=/tmp/settings {shell} /usr/local/sbin/{name}"
        output = self.run(f"echo {encoded} | base64 -d >/tmp/settings; {command}; echo status=$?")
        text, status = output.rsplit("status=", 1)
        return int(status), text.rstrip("\n")

    @property
    def root_hash(self) -> str:
        return self.run("grep ^root: /etc/shadow").split(":")[1]


def hashed(password: bytes, like: str) -> str:
    """The hash of a password with the method and salt of another hash."""
    library = ctypes.CDLL(ctypes.util.find_library("crypt") or "libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    return library.crypt(password, like.encode()).decode()


def files(password: bytes | None = None, **metadata: str) -> dict[str, bytes]:
    tree = {f"cloudstack/metadata/{name}.txt": value.encode() for name, value in metadata.items()}
    if password is not None:
        tree["cloudstack/password/vm_password.txt"] = password
    return tree


def drives(folder: pathlib.Path) -> list[pathlib.Path]:
    """One image file for each CD drive, sr0 being the first."""
    main = {
        **files(BOOT_PASSWORD.encode(), **{"instance-id": "i-main", "public-keys": "\n".join(KEYS)}),
        "cloudstack/userdata/user_data.txt": b"role=web\n",
    }
    script = {**files(instance_id="i-script"), "cloudstack/userdata/user_data.txt": b"#!/bin/sh\necho ran >>/root/ran\n"}
    images = {
        "other": drive_image.build(files(b"not this one", **{"instance-id": "i-other"}), "config-2"),
        "main": drive_image.build(main, "config"),
        "script": drive_image.build(script, "script"),
        **{name: drive_image.build(files(password), f"case-{name}") for name, password in PASSWORDS.items()},
    }
    found = []
    for name, data in images.items():
        found.append(folder / f"{name}.iso")
        found[-1].write_bytes(data)
    mkisofs = shutil.which("genisoimage")
    if mkisofs:
        # As CloudStack built them until 4.10: neither Joliet nor Rock Ridge.
        for path, content in files(b"plain iso", instance_id="i-plain").items():
            target = folder / "plain" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        links = folder / "links/cloudstack/password"
        links.mkdir(parents=True)
        (links / "vm_password.txt").symlink_to("/etc/hostname")
        for name, options in (("plain", ["-iso-level", "3"]), ("links", ["-R"])):
            found.append(folder / f"{name}.iso")
            command = [mkisofs, "-quiet", *options, "-V", name, "-o", str(found[-1]), str(folder / name)]
            subprocess.run(command, check=True, capture_output=True)
    return found


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Guest]:
    if os.geteuid() != 0:
        pytest.skip("building the guest's image needs root")
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("qemu-system-x86_64 is not installed")
    pexpect = pytest.importorskip("pexpect")
    import console
    import image

    class Serial(console.Console):
        """The console of a QEMU without libvirt."""

        def __init__(self, command: list[str]) -> None:
            self.domain, self.timeout, self.unanswered, self.session = "the guest", 300, False, False
            options = {"encoding": "utf-8", "codec_errors": "replace", "timeout": self.timeout, "dimensions": (24, 250)}
            self.child = pexpect.spawn(command[0], command[1:], **options)
            self.child.expect(r"BOOT\[[0-9.]+\] ready")  # nothing is typed into a boot

        def __exit__(self, *unused: object) -> None:
            self.child.close(force=True)

    made = image.image()
    # Emulation: a /dev/kvm that hangs is none of this test's business.
    command = ["qemu-system-x86_64", "-machine", "pc,accel=tcg", "-cpu", "max", "-m", "256", "-nodefaults", "-display", "none"]
    command += ["-serial", "stdio", "-kernel", str(made.kernel), "-initrd", str(made.initrd), "-append", image.COMMAND_LINE]
    command += ["-drive", f"file={made.disk},if=virtio,snapshot=on", "-device", "virtio-rng-pci", "-device", "virtio-scsi-pci"]
    for number, path in enumerate(drives(tmp_path_factory.mktemp("drives"))):
        command += ["-drive", f"file={path},if=none,id=cd{number},format=raw,readonly=on", "-device", f"scsi-cd,drive=cd{number}"]
    with Serial(command) as serial:
        # The first login is the first test: with what the drive says, not with anything else.
        assert not serial.login("root", "not this one")
        assert serial.login("root", BOOT_PASSWORD)
        yield Guest(serial)


def test_boot_took_everything_from_its_own_drive(guest: Guest) -> None:
    assert hashed(BOOT_PASSWORD.encode(), guest.root_hash) == guest.root_hash
    keys = guest.run("cat /root/.ssh/authorized_keys").splitlines()
    assert [line for line in keys if not line.startswith("#")] == KEYS
    assert guest.run("stat -c '%a %U %n' /root/.ssh /root/.ssh/* /var/lib/config-drive /var/lib/config-drive/*").splitlines() == [
        "700 root /root/.ssh",
        "600 root /root/.ssh/authorized_keys",
        "700 root /var/lib/config-drive",
        "600 root /var/lib/config-drive/drive-seen",
        "600 root /var/lib/config-drive/password",
        "600 root /var/lib/config-drive/user-data",
    ]
    assert guest.run("cat /var/lib/config-drive/user-data") == "role=web"


def test_nothing_stays_mounted_and_no_value_is_left(guest: Guest) -> None:
    assert guest.run("grep -c iso9660 /proc/mounts") == "0"
    assert guest.run("ls -d /run/config-drive*") == "ls: cannot access '/run/config-drive*': No such file or directory"
    assert "password of root set from the config drive" in guest.run("grep cloud-set-vm-password /var/log/messages")
    searched = "/var/log /run /tmp /var/lib /var/tmp /etc /root"
    assert guest.run(f"grep -rl -e 'Passw0rd-canary' {searched} 2>/dev/null; echo end") == "end"


def test_second_run_changes_nothing(guest: Guest) -> None:
    before = guest.run("cat /etc/shadow; stat -c '%i %y' /etc/shadow /root/.ssh/authorized_keys")
    assert guest.run("/etc/init.d/config-drive start 2>/dev/null; echo $?") == "0"
    assert guest.run("cat /etc/shadow; stat -c '%i %y' /etc/shadow /root/.ssh/authorized_keys") == before


def test_configured_label_wins_over_the_common_ones(guest: Guest) -> None:
    assert guest.script("config-drive-read.sh get metadata/instance-id", "config-2") == (0, "i-other")
    assert guest.script("config-drive-read.sh get metadata/instance_id", "config") == (0, "i-main")
    assert guest.script("config-drive-read.sh get metadata/instance-id", "no-such-label") == (0, "i-main")


def test_found_without_udev_and_blkid(guest: Guest) -> None:
    alone = "have() { [ $1 != blkid ] && command -v $1 >/dev/null; }"
    guest.run("mv /dev/disk /dev/disk.away")
    try:
        for shell in SHELLS:
            assert guest.script("config-drive-read.sh find", "config", shell, alone) == (0, "/dev/sr1")
        assert guest.script("config-drive-read.sh find", "config-2", "sh", alone) == (0, "/dev/sr0")
    finally:
        guest.run("mv /dev/disk.away /dev/disk")


@pytest.mark.parametrize("shell", SHELLS)
def test_exact_bytes_become_the_password(guest: Guest, shell: str) -> None:
    set_one = f"CONFIG_DRIVE_SETTINGS=/tmp/settings {shell} /usr/local/sbin/cloud-set-vm-password.sh 2>/dev/null"
    state = "$? $(grep ^root: /etc/shadow | cut -d: -f2)"
    # All in one command: a console is slow.
    lines = guest.run(
        f"for name in {' '.join(PASSWORDS)}; do rm -f /var/lib/config-drive/password;"
        f' echo CONFIG_DRIVE_LABEL=case-$name >/tmp/settings; {set_one}; echo $name "{state}"; {set_one}; echo again "{state}"; done'
    ).splitlines()
    seen = set()
    for (name, password), first, again in zip(PASSWORDS.items(), lines[0::2], lines[1::2], strict=True):
        named, status, shadow = first.split()
        assert (named, status) == (name, "0")
        assert hashed(password, shadow) == shadow
        assert hashed(password + b"x", shadow) != shadow
        assert again == f"again 0 {shadow}", "the same password again is not set again"
        seen.add(shadow)
    assert len(seen) == len(PASSWORDS)


def test_user_data_runs_once_if_asked(guest: Guest) -> None:
    for _time in range(2):
        assert guest.script("config-drive-read.sh run-user-data", "script", more="RUN_USER_DATA=yes")[0] == 0
    assert guest.run("cat /root/ran") == "ran"


@pytest.mark.skipif(shutil.which("genisoimage") is None, reason="genisoimage is not installed")
def test_image_without_joliet_and_rock_ridge(guest: Guest) -> None:
    assert guest.script("config-drive-read.sh list", "plain") == (0, "metadata/instance-id\npassword")
    assert guest.script("config-drive-read.sh get password", "plain") == (0, "plain iso")


@pytest.mark.skipif(shutil.which("genisoimage") is None, reason="genisoimage is not installed")
def test_link_on_the_drive_does_not_lead_into_the_guest(guest: Guest) -> None:
    assert guest.script("config-drive-read.sh get password", "links") == (4, "")
    assert guest.run("grep -c iso9660 /proc/mounts") == "0"
