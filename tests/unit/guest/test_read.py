# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""config-drive-read.sh: finding the drive, reading from it within bounds, leaving nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import content, image
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription

if t.TYPE_CHECKING:
    import pathlib

    from .conftest import Guest

TREE = {"cloudstack/metadata/instance-id.txt": b"i-1"}


@pytest.mark.parametrize("label", ["config", "config-2"])
@pytest.mark.parametrize("name", ["sr0", "sr1", "hdc", "vdb", "xvdd", "sdb", "sdb1"])
def test_finds_by_volume_descriptor_without_udev_and_blkid(guest: Guest, label: str, name: str) -> None:
    device = guest.device(name, label, TREE)
    guest.without("blkid")
    found = guest.read("find")
    assert (found.status, found.out.decode().strip()) == (0, str(device))
    assert guest.calls("blkid") == []


def test_finds_by_udev_link_without_opening_other_devices(guest: Guest) -> None:
    guest.device("sr0", "config", TREE)
    guest.device("vdb", "config", TREE, link=True)
    assert guest.read("find").out.decode().strip().endswith("disk/by-label/config")
    assert guest.calls("blkid") == []


def test_configured_label_comes_first(guest: Guest) -> None:
    guest.device("sr0", "config", TREE)
    guest.device("sr1", "config-2", TREE)
    guest.device("sr2", "site data", {"cloudstack/metadata/instance-id.txt": b"ours"})
    guest.settings += 'CONFIG_DRIVE_LABEL="site data"\n'
    assert guest.read("get", "metadata/instance-id").out == b"ours"


@pytest.mark.parametrize("label", ["config-", "Config", "CONFIG", "config2", "xconfig", "cidata", "c.nfig"])
def test_other_labels_are_not_ours(guest: Guest, label: str) -> None:
    guest.device("sr0", label, TREE)
    assert guest.read("find").status == 3
    assert guest.calls("mount") == []


def test_volume_of_the_same_name_without_our_trees_is_left_alone(guest: Guest) -> None:
    guest.device("sda1", "config", {"etc/motd": b"somebody's own disk"}, link=True)
    guest.device("sr1", "config", TREE)
    assert guest.read("find").out.decode().strip().endswith("sr1")


def test_several_drives_with_other_labels_and_empty_ones(guest: Guest) -> None:
    guest.device("sr0", None)
    guest.device("sr1", "cidata", TREE)
    guest.device("sr2", "VMWARE TOOLS", TREE)
    guest.device("sr3", "config", TREE)
    assert guest.read("find").out.decode().strip().endswith("sr3")


def test_fat_drive_is_found_through_blkid(guest: Guest) -> None:
    device = guest.device("vdb", "unused", TREE)
    device.write_bytes(b"no ISO 9660 descriptors in here")
    (guest.base / "blkid/vdb").write_text("config-2\n")
    assert guest.read("find").out.decode().strip() == str(device)


@pytest.mark.parametrize(("primary", "joliet"), [(b"config", "other"), (b"OTHER", "config"), (b"config-2", "config-2")])
def test_either_volume_descriptor_counts(guest: Guest, primary: bytes, joliet: str) -> None:
    device = guest.device("sr0", "config", TREE)
    data = bytearray(device.read_bytes())
    assert data[34816:34822] == b"\x02CD001"
    data[32808:32840] = primary.ljust(32)
    data[34856:34888] = joliet.encode("utf-16-be").ljust(32, b"\x00")
    device.write_bytes(data)
    assert guest.read("find").status == 0


def test_image_without_joliet(guest: Guest) -> None:
    tool = shutil.which("genisoimage") or shutil.which("xorrisofs") or pytest.skip("neither genisoimage nor xorrisofs")
    (guest.base / "plain/cloudstack").mkdir(parents=True)
    device = guest.device("sr0", "unused", TREE)
    subprocess.run(
        [tool, "-quiet", "-V", "config", "-o", str(device), str(guest.base / "plain")], check=True, capture_output=True
    )
    assert guest.read("find").status == 0


def test_real_image_end_to_end(guest: Guest) -> None:
    """Built by this collection, unpacked by libarchive: what the builder writes is what the scripts read."""
    if shutil.which("bsdtar") is None:
        pytest.skip("no bsdtar")
    description = DriveDescription.from_option(
        {
            "name": "web1",
            "metadata": {"instance_id": "i-77", "local_hostname": "web1"},
            "password": "S3cret!pässw0rd",
            "user_data": "a=b\n",
        }
    )
    path = guest.base / "dev/sr1"
    path.write_bytes(image.build(content.files_of(description), "config-2"))
    assert guest.read("get", "metadata/instance-id").out == b"i-77"
    assert guest.read("get", "password").out == "S3cret!pässw0rd".encode()
    assert guest.read("get", "user-data").out == b"a=b\n"
    listed = guest.read("list").out.decode().split()
    assert listed[-2:] == ["password", "user-data"]
    assert {"metadata/instance-id", "metadata/local-hostname"} <= set(listed)
    assert len(listed) == len(set(listed)), "each name once, although the drive holds both spellings"


def test_real_block_device_and_real_blkid(guest: Guest) -> None:
    """[ -b ] and blkid for real, on a loop device."""
    if os.geteuid() != 0 or not shutil.which("losetup") or not shutil.which("bsdtar"):
        pytest.skip("needs root, losetup and bsdtar")
    iso = guest.base / "drive.iso"
    iso.write_bytes(image.build(TREE, "config-2"))
    made = subprocess.run(["losetup", "-f", "--show", "-r", str(iso)], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no loop device: {made.stderr}")
    try:
        (guest.base / "bin/blkid").unlink()
        (guest.base / "dev/sr0").symlink_to(made.stdout.strip())
        guest.settings += 'is_block_device() { [ -b "$1" ]; }\n'
        (guest.base / "dev/sr1").write_bytes(iso.read_bytes())  # not a block device: not even looked at
        assert guest.read("find").out.decode().strip() == str(guest.base / "dev/sr0")
    finally:
        subprocess.run(["losetup", "-d", made.stdout.strip()], check=True)


def test_missing_drive(guest: Guest) -> None:
    guest.device("sr0", None)
    for arguments in (["find"], ["list"], ["get", "password"], ["save-user-data"]):
        result = guest.read(*arguments)
        assert (result.status, result.out) == (3, b"")
    assert guest.calls("mount") == []


def test_drive_that_cannot_be_mounted_is_an_error_and_not_a_missing_drive(guest: Guest) -> None:
    device = guest.drive()
    (guest.base / "no-mount").touch()
    assert guest.read("find").status == 1
    assert f"cannot mount the config drive at {device}" in guest.log


def test_mounts_read_only_in_a_private_folder(guest: Guest) -> None:
    guest.drive()
    guest.settings += 'mkdir() { command mkdir "$@" && ls -ld "$RUN_DIR"/config-drive.* >>"$RUN_DIR/../modes"; }\n'
    assert guest.read("find").status == 0
    (call,) = guest.calls("mount")
    assert call[:4] == ["-t", "iso9660", "-o", "ro,nosuid,nodev,noexec"]
    assert call[5].startswith(str(guest.base / "run/config-drive."))
    assert (guest.base / "modes").read_text().startswith("drwx------")


def test_busy_drive_is_unmounted_lazily(guest: Guest) -> None:
    guest.drive()
    (guest.base / "busy").touch()
    assert guest.read("list").status == 0
    assert guest.calls("umount")[-1][0] == "-l"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_killed_in_the_middle_leaves_nothing(guest: Guest, number: signal.Signals) -> None:
    guest.drive()
    # The script stops itself while the drive is mounted, waits to be killed, and goes on.
    guest.settings += 'list_items() { echo ready; kill -STOP "$$"; echo "not reached"; }\n'
    process = subprocess.Popen(
        [str(guest.base / "sbin/config-drive-read.sh"), "list"],
        env=guest.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # A shell cannot trap what was ignored when it began, as in a test run with nohup.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 30
        while os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is None:
            assert time.monotonic() < deadline, "the script did not stop"
        assert (guest.base / "mounts").read_text() != ""
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        assert process.stdout.read() == b""
        assert process.wait(timeout=30) == 128 + number
    finally:
        process.kill()
        process.wait()
    assert (guest.base / "mounts").read_text() == ""
    assert list((guest.base / "run").iterdir()) == []


def test_with_runs_a_command_that_reads_without_mounting_again(guest: Guest) -> None:
    guest.drive(password=b"word", **{"vm-id": b"v-1"})
    reader = str(guest.base / "sbin/config-drive-read.sh")
    result = guest.read("with", "sh", "-c", f"{reader} get password; {reader} get metadata/vm-id; {reader} list; exit 7")
    assert (result.status, result.out) == (7, b"wordv-1metadata/instance-id\nmetadata/vm-id\npassword\n")
    assert len(guest.calls("mount")) == 1


def test_with_needs_a_drive_and_a_command(guest: Guest) -> None:
    assert guest.read("with", "touch", str(guest.base / "ran")).status == 3
    assert not (guest.base / "ran").exists()
    guest.drive()
    assert guest.read("with").status == 2


@pytest.mark.parametrize("folder", ["", "/nonexistent", "{base}/fake"])
def test_a_mount_that_is_over_is_not_believed(guest: Guest, folder: str) -> None:
    (guest.base / "fake").mkdir()
    guest.drive(password=b"word")
    result = guest.run(
        "config-drive-read.sh", "get", "password", extra_env={"CONFIG_DRIVE_MOUNTED": folder.format(base=guest.base)}
    )
    assert result.out == b"word"


# --- names and content ---


@pytest.mark.parametrize("on_drive", ["instance-id", "instance_id"])
@pytest.mark.parametrize("asked", ["instance-id", "instance_id"])
def test_both_spellings(guest: Guest, on_drive: str, asked: str) -> None:
    guest.device("sr0", "config", {f"cloudstack/metadata/{on_drive}.txt": b"i-1"})
    assert guest.read("get", f"metadata/{asked}").out == b"i-1"
    assert guest.read("list").out == b"metadata/instance-id\n"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("password", "cloudstack/password/vm_password.txt"),
        ("password", "cloudstack/password/vm-password.txt"),
        ("keys", "cloudstack/metadata/public-keys.txt"),
        ("keys", "cloudstack/metadata/public_keys.txt"),
        ("user-data", "cloudstack/userdata/user_data.txt"),
        ("user-data", "cloudstack/userdata/user-data.txt"),
        ("user-data", "openstack/latest/user_data"),
    ],
)
def test_items_under_every_name_they_have_had(guest: Guest, name: str, path: str) -> None:
    guest.device("sr0", "config", {path: b" exact \\bytes\r\n\n"})
    assert guest.read("get", name).out == b" exact \\bytes\r\n\n"
    assert guest.read("list").out.decode() == f"{name}\n"


def test_what_is_not_on_the_drive(guest: Guest) -> None:
    guest.drive()
    for name in ("password", "keys", "user-data", "metadata/vm-id"):
        assert guest.read("get", name).status == 4


@pytest.mark.parametrize(
    "arguments",
    [[], ["get"], ["get", "nonsense"], ["get", "metadata/../../etc/passwd"], ["get", "metadata/"], ["find", "x"], ["--help"]],
)
def test_wrong_use(guest: Guest, arguments: list[str]) -> None:
    guest.drive()
    result = guest.read(*arguments)
    assert (result.status, result.out) == (2, b"")
    assert "usage:" in result.err


def test_links_that_lead_out_of_the_drive_are_not_followed(guest: Guest) -> None:
    secret = guest.base / "shadow"
    secret.write_text("root:hash")
    device = guest.drive()
    tree = device.with_name("sr1.tree") / "cloudstack"
    (tree / "password").symlink_to(guest.base)
    secret.with_name("vm_password.txt").write_text("from outside")
    (tree / "metadata/vm-id.txt").symlink_to(secret)
    (tree / "metadata/public-keys.txt").mkdir()
    for name in ("password", "metadata/vm-id", "keys"):
        assert guest.read("get", name).status == 4
    assert guest.read("list").out == b"metadata/instance-id\n"


@pytest.mark.parametrize(("name", "limit"), [("password", 1024), ("keys", 65536), ("metadata/instance-id", 65536)])
def test_sizes_are_bounded(guest: Guest, name: str, limit: int) -> None:
    file = {"password": "cloudstack/password/vm_password.txt", "keys": "cloudstack/metadata/public-keys.txt"}
    path = file.get(name, "cloudstack/metadata/instance-id.txt")
    guest.device("sr0", "config", {path: b"x" * limit})
    assert guest.read("get", name).out == b"x" * limit
    guest.device("sr0", "config", {path: b"x" * (limit + 1)})
    result = guest.read("get", name)
    assert (result.status, result.out) == (1, b"")
    assert f"larger than {limit} bytes" in guest.log


def test_huge_file_is_not_read_through(guest: Guest) -> None:
    device = guest.drive(password=b"x")
    with open(device.with_name("sr1.tree") / "cloudstack/password/vm_password.txt", "r+b") as file:
        file.truncate(1 << 40)  # a terabyte that takes no room
    assert guest.read("get", "password").status == 1


def test_nul_bytes_are_refused_in_text_and_kept_in_user_data(guest: Guest) -> None:
    guest.drive(password=b"a\0b", keys=b"\0", user_data=b"\x1f\x8b\0binary\0\xff")
    assert guest.read("get", "password").status == 1
    assert guest.read("get", "keys").status == 1
    assert guest.read("get", "user-data").out == b"\x1f\x8b\0binary\0\xff"


def test_hostile_file_names_are_not_listed(guest: Guest) -> None:
    guest.drive(**{"ok": b"1", "x\x1b[31m": b"2", "new\nline": b"3", "blank name": b"4", "$(id)": b"5"})
    assert guest.read("list").out == b"metadata/instance-id\nmetadata/ok\n"


# --- user data ---


def mode(path: pathlib.Path) -> int:
    return path.stat().st_mode & 0o777


def test_user_data_is_saved_for_root_alone(guest: Guest) -> None:
    guest.drive(user_data=b"role=web\n\0\xff")
    assert guest.read("save-user-data").status == 0
    saved = guest.base / "state/user-data"
    assert saved.read_bytes() == b"role=web\n\0\xff"
    assert (mode(saved), mode(saved.parent)) == (0o600, 0o700)


def test_user_data_is_not_run_unless_asked(guest: Guest) -> None:
    guest.drive(user_data=b"#!/bin/sh\ntouch ran\n")
    assert guest.read("run-user-data").status == 0
    assert not (guest.base / "state").exists()


def test_user_data_runs_once_per_instance_after_unmounting(guest: Guest) -> None:
    guest.settings += "RUN_USER_DATA=yes\n"
    script = f"#!/bin/sh\ncat {guest.base}/mounts >>{guest.base}/ran\necho run >>{guest.base}/ran; env\n".encode()
    guest.drive(user_data=script)
    for _time in range(2):
        assert guest.read("run-user-data").status == 0
    assert (guest.base / "ran").read_text() == "run\n"
    guest.drive(user_data=script, instance_id=b"i-2 ../../x $(id)\n")
    for _time in range(2):
        assert guest.read("run-user-data").status == 0
    assert (guest.base / "ran").read_text() == "run\nrun\n"
    output = guest.base / "state/user-data.log"
    assert "PATH=" in output.read_text()
    assert mode(output) == 0o600
    assert not (guest.base / "state/user-data-script").exists()


def test_failing_user_data_is_reported_and_not_repeated(guest: Guest) -> None:
    guest.settings += "RUN_USER_DATA=yes\n"
    guest.drive(user_data=f"#!/bin/sh\necho run >>{guest.base}/ran\nexit 3\n".encode())
    assert guest.read("run-user-data").status == 1
    assert "ended with 3" in guest.log
    assert guest.read("run-user-data").status == 0
    assert (guest.base / "ran").read_text() == "run\n"


@pytest.mark.parametrize("data", [b"#cloud-config\n{}\n", b"role=web\n", b"\x1f\x8b\0", b"# !/bin/sh\n"])
def test_user_data_that_is_no_script_is_saved_only(guest: Guest, data: bytes) -> None:
    guest.settings += "RUN_USER_DATA=yes\n"
    guest.drive(user_data=data)
    assert guest.read("run-user-data").status == 0
    assert (guest.base / "state/user-data").read_bytes() == data
    assert not (guest.base / "state/user-data.log").exists()


def test_user_data_too_large(guest: Guest) -> None:
    guest.settings += "USER_DATA_MAX=4096\n"
    guest.drive(user_data=b"x" * 4097)
    assert guest.read("save-user-data").status == 1
    assert list((guest.base / "state").iterdir()) == []
