# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A made-up guest: the real scripts, run by each shell they promise to work with, among recording stand-ins.

Nothing of the machine the tests run on is read or changed: devices, /run, state and home folders are temporary, the
drive's "block devices" are image files, and what would act on the system (mount, chpasswd, logger ...) is a stand-in
that writes down its arguments and its environment. So the tests need no privilege and no iso9660 in the kernel; real
mounts are the business of the integration tests, in a booted guest.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image

FILES = pathlib.Path(__file__).resolve().parents[3] / "roles" / "vm_template" / "files"
LINUX = FILES / "linux"
SCRIPTS = (
    "config-drive-lib.sh",
    "config-drive-read.sh",
    "cloud-set-vm-hostname.sh",
    "cloud-set-vm-password.sh",
    "cloud-set-vm-sshkey.sh",
    "config-drive-boot.sh",
)
SHELLS = {"dash": "dash", "busybox": "busybox sh", "bash": "bash --posix"}

# Commands that act on the system, and those that could reach a network.
NETWORK = ("curl", "wget", "ip", "nc", "dig", "nslookup", "dhclient", "udhcpc", "nmcli", "ssh")
# Stand-ins that only write down how they were called, with the exit code they give.
RECORDING = {
    "logger": 0,
    "restorecon": 0,
    "udevadm": 0,
    "sleep": 0,
    "ssh-keygen": 0,
    "vmware-rpctool": 0,
    "xenstore-write": 1,
    **dict.fromkeys(NETWORK, 0),
}
# Real commands that the scripts feed: wrapped, so that their arguments and environment are written down too.
WRAPPED = (
    *("awk", "cat", "chmod", "cmp", "cp", "cut", "dd", "env", "grep", "id", "mkdir", "mktemp", "mv", "openssl", "rm"),
    *("rmdir", "sha256sum", "sha512sum", "sort", "tr", "wc"),
)
RECORD = """#!/bin/sh
printf '%s\\0' "${0##*/}" "$@" '
' >>"@BASE@/calls/argv" # one write, for the ends of a pipe are called at the same time
"@ENV@" >>"@BASE@/calls/env.$$"
"""
# What mount does: the tree that belongs to an image file, else the content of the image.
MOUNT = """
for word; do previous=$last; last=$word; done
device=$previous folder=$last
[ ! -e "@BASE@/no-mount" ] && [ -d "$folder" ] && { [ -s "$device" ] || [ -b "$device" ]; } || exit 32
device=$(readlink -f "$device")
if [ -d "$device.tree" ]; then cp -a --sparse=auto "$device.tree/." "$folder/"
else bsdtar -xf "$device" -C "$folder"; fi || exit 32
echo "$folder" >>"@BASE@/mounts"
"""
UMOUNT = """
for word; do last=$word; done
grep -Fxq "$last" "@BASE@/mounts" || exit 32
[ ! -e "@BASE@/busy" ] || case $1 in -l) ;; *) exit 32 ;; esac
chmod -R u+w "$last"
find "$last" -mindepth 1 -delete
: >"@BASE@/mounts"
"""
CHPASSWD = """
cat >>"@BASE@/chpasswd.stdin"
echo called >>"@BASE@/chpasswd.calls"
echo "it said: $(tail -n 1 "@BASE@/chpasswd.stdin")" >&2
exit "$(cat "@BASE@/chpasswd.exit")"
"""
BLKID = """
for word; do last=$word; done
cat "@BASE@/blkid/${last##*/}" 2>/dev/null || exit 2
"""
GETENT = """
[ "$1" = passwd ] && grep "^$2:" "@BASE@/passwd"
"""


def ssh_key(seed: int = 0, kind: str = "ssh-ed25519", comment: str = "ops@example.com") -> str:
    """One line of a public key file: right in form, of nobody's key."""
    name = kind.encode()
    blob = struct.pack(">I", len(name)) + name + struct.pack(">I", 32) + bytes([seed % 256]) * (32 if "ed25519" in kind else 96)
    return f"{kind} {base64.b64encode(blob).decode()} {comment}".rstrip()


@functools.cache
def iso(label: str, files: tuple[tuple[str, bytes], ...] = (("cloudstack/metadata/vm-id.txt", b"x"),)) -> bytes:
    return image.build(dict(files), label)


@dataclasses.dataclass
class Result:
    status: int
    out: bytes
    err: str


class Guest:
    """base: a folder of this guest's own; shell: key of SHELLS."""

    def __init__(self, base: pathlib.Path, shell: str) -> None:
        self.base = base
        self.shell = shell
        for name in ("bin", "dev/disk/by-label", "run", "calls", "blkid", "home/root/.", "sbin"):
            (base / name).mkdir(parents=True, exist_ok=True)
        for name in ("calls/argv", "mounts", "chpasswd.stdin", "chpasswd.calls"):
            (base / name).touch()
        (base / "chpasswd.exit").write_text("0")
        self.users = {"root": "home/root"}
        self._write_passwd()
        self._syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        folder = os.open(base / "dev", os.O_RDONLY)  # by way of the descriptor: a socket's path is at most 107 bytes
        try:
            self._syslog.bind(f"/proc/self/fd/{folder}/log")
        finally:
            os.close(folder)
        for name in SCRIPTS:
            self._install(name)
        self._stand_in("mount", MOUNT)
        self._stand_in("umount", UMOUNT)
        self._stand_in("chpasswd", CHPASSWD)
        self._stand_in("blkid", BLKID)
        self._stand_in("getent", GETENT)
        for name, status in RECORDING.items():
            self._stand_in(name, f"exit {status}\n")
        for name in WRAPPED:
            real = shutil.which(name)
            if real:
                self._stand_in(name, f'exec "{real}" "$@"\n')
        self.settings = ""

    def close(self) -> None:
        self._syslog.close()

    def _install(self, name: str) -> None:
        text = (LINUX / name).read_text()
        interpreter = SHELLS[self.shell].split()
        path = shutil.which(interpreter[0])
        target = self.base / "sbin" / name
        target.write_text(text.replace("#!/bin/sh\n", f"#!{' '.join([str(path), *interpreter[1:]])}\n", 1))
        target.chmod(0o755)

    def _stand_in(self, name: str, body: str) -> None:
        target = self.base / "bin" / name
        text = (RECORD + body).replace("@BASE@", str(self.base)).replace("@ENV@", str(shutil.which("env")))
        target.write_text(text)
        target.chmod(0o755)

    def _write_passwd(self) -> None:
        lines = [f"{name}:x:{os.getuid()}:{os.getgid()}::{self.base / home}:/bin/sh\n" for name, home in self.users.items()]
        (self.base / "passwd").write_text("".join(lines))

    def add_user(self, name: str) -> pathlib.Path:
        self.users[name] = f"home/{name}"
        self._write_passwd()
        home = self.base / "home" / name
        home.mkdir()
        return home

    def without(self, *commands: str) -> None:
        """To the scripts these commands do not exist."""
        self.settings += "have() { case $1 in " + "|".join(commands) + ') return 1 ;; esac; command -v "$1" >/dev/null 2>&1; }\n'

    # --- drives ---

    def device(
        self, name: str, label: str | None = "config", tree: t.Mapping[str, bytes] | None = None, link: bool = False
    ) -> pathlib.Path:
        """A block device holding a drive with these files; link: as udev does. No label: an empty CD drive."""
        path = self.base / "dev" / name
        folder = path.with_name(path.name + ".tree")
        shutil.rmtree(folder, ignore_errors=True)
        path.write_bytes(iso(label) if label else b"")
        if label:
            folder.mkdir()
            for file, content in (tree or {}).items():
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        if link:
            by_label = self.base / "dev/disk/by-label" / str(label)
            by_label.unlink(missing_ok=True)
            by_label.symlink_to(path)
        return path

    def drive(
        self,
        password: bytes | None = None,
        keys: bytes | None = None,
        user_data: bytes | None = None,
        instance_id: bytes | None = b"i-1",
        **more: bytes,
    ) -> pathlib.Path:
        """The usual case: one config drive in the second CD drive, found by its label. more: metadata."""
        tree = {f"cloudstack/metadata/{name}.txt": value for name, value in more.items()}
        if instance_id is not None:
            tree["cloudstack/metadata/instance-id.txt"] = instance_id
        if password is not None:
            tree["cloudstack/password/vm_password.txt"] = password
        if keys is not None:
            tree["cloudstack/metadata/public-keys.txt"] = keys
        if user_data is not None:
            tree["cloudstack/userdata/user_data.txt"] = user_data
        self.device("sr0", label=None)
        return self.device("sr1", tree=tree)

    # --- running ---

    def environment(self) -> dict[str, str]:
        settings = [
            f"STATE_DIR={self.base}/state DEV_DIR={self.base}/dev PROC_DIR={self.base}/proc RUN_DIR={self.base}/run",
            f"HOSTNAME_FILE={self.base}/hostname",
            'is_block_device() { [ -f "$1" ]; }',
        ]
        if self.shell == "busybox":
            # busybox prefers its own applets to PATH; functions come first. No applet has a hyphen, and no function may.
            names = [path.name for path in (self.base / "bin").iterdir() if path.name not in WRAPPED and "-" not in path.name]
            settings += [f'{name}() {{ "{self.base}/bin/{name}" "$@"; }}' for name in names]
        (self.base / "settings").write_text("\n".join(settings) + "\n" + self.settings)
        return {
            "PATH": f"{self.base}/bin:{os.environ['PATH']}",
            "CONFIG_DRIVE_SETTINGS": f"{self.base}/settings",
            "HOME": str(self.base / "home/root"),
        }

    def run(self, script: str, *arguments: str, extra_env: t.Mapping[str, str] | None = None) -> Result:
        done = subprocess.run(
            [str(self.base / "sbin" / script), *arguments],
            env={**self.environment(), **(extra_env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert (self.base / "mounts").read_text() == "", "something is left mounted"
        assert list((self.base / "run").iterdir()) == [], "a temporary folder is left"
        return Result(done.returncode, done.stdout, done.stderr.decode(errors="replace"))

    def read(self, *arguments: str) -> Result:
        return self.run("config-drive-read.sh", *arguments)

    def set_password(self, **more: t.Any) -> int:
        return self.run("cloud-set-vm-password.sh", **more).status

    def set_keys(self) -> int:
        return self.run("cloud-set-vm-sshkey.sh").status

    def boot(self, *arguments: str) -> Result:
        return self.run("config-drive-boot.sh", *arguments)

    # --- what happened ---

    def calls(self, name: str) -> list[list[str]]:
        """The arguments of every call of a stand-in."""
        found = []
        for line in (self.base / "calls/argv").read_bytes().split(b"\0\n\0"):
            words = [word.decode(errors="surrogateescape") for word in line.split(b"\0")]
            if words[0] == name:
                found.append(words[1:])
        return found

    @property
    def passwords(self) -> bytes:
        """All that chpasswd was ever fed."""
        return (self.base / "chpasswd.stdin").read_bytes()

    @property
    def password_calls(self) -> int:
        return (self.base / "chpasswd.calls").read_text().count("called")

    def chpasswd_exits(self, status: int) -> None:
        (self.base / "chpasswd.exit").write_text(str(status))

    @property
    def log(self) -> str:
        return "\n".join(call[-1] for call in self.calls("logger"))

    def authorized_keys(self, user: str = "root") -> pathlib.Path:
        return self.base / self.users[user] / ".ssh/authorized_keys"

    def everything_else(self) -> dict[str, bytes]:
        """Every place where a secret must not turn up: arguments and environment of all commands, log, state, leftovers."""
        places = {}
        for folder in ("calls", "state", "run", "home"):
            for path in (self.base / folder).rglob("*"):
                if path.is_file():
                    places[str(path)] = path.read_bytes()
        return places


@pytest.fixture(params=sorted(SHELLS))
def guest(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> t.Iterator[Guest]:
    if shutil.which(SHELLS[request.param].split()[0]) is None:
        pytest.skip(f"{request.param} is not installed")
    made = Guest(tmp_path, request.param)
    yield made
    made.close()
