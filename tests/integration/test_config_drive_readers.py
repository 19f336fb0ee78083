# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs of others read our drives, and our reader reads drives of others.

Names, contents and labels are compared with what was put on the drive. A program that is not installed is skipped and named.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive import image
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.content import files_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.description import DriveDescription
from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import DriveImageError

OWNER = "1c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10"
KEYS = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK7YRMRPaZtPzotKgLW++8AwCP9aBcDtqBtkAXDUghyI ops",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK7YRMRPaZtPzotKgLW++8AwCP9aBcDtqBtkAXDUghyJ two",
]
USER_DATA = "#cloud-config\ntimezone: Europe/Zurich\n"
DESCRIPTION = DriveDescription.from_option(
    {
        "name": "web1",
        "metadata": {
            "vm_id": OWNER,
            "service_offering": "Größe M",
            "availability_zone": "zone-1",
            "local_hostname": "web1.example.com",
        },
        "user_data": USER_DATA,
        "password": "Pässwörd-Ab2",
        "ssh_keys": KEYS,
        "vendor_data": {"x": 1},
        "reader": "cloud_init",
    }
)
FILES = {**files_of(DESCRIPTION), "extra/large": bytes(range(256)) * 4000, "extra/empty": b""}


@dataclasses.dataclass
class Drive:
    path: pathlib.Path
    label: str


@pytest.fixture(scope="module", params=["config", "config-2"])
def drive(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("drive") / "web1.iso"
    path.write_bytes(image.build(FILES, request.param, OWNER))
    return Drive(path, request.param)


def run(*command, **options):
    """The command's output as bytes; skips the test if there is no such program."""
    program = shutil.which(command[0]) or shutil.which(command[0], path="/usr/sbin:/sbin")
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    process = subprocess.run(
        [program, *map(str, command[1:])], capture_output=True, check=False, stdin=subprocess.DEVNULL, **options
    )
    assert process.returncode == 0, process.stderr.decode(errors="replace")
    return process.stdout


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in pathlib.Path(folder).rglob("*") if path.is_file()}


def test_blkid_sees_the_label(drive):
    output = run("blkid", "-p", "-c", "/dev/null", "-o", "export", drive.path).decode()
    values = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    assert (values["TYPE"], values["LABEL"]) == ("iso9660", drive.label)


def test_isoinfo_sees_the_label_and_both_extensions(drive):
    output = run("isoinfo", "-d", "-i", drive.path).decode()
    assert f"Volume id: {drive.label}\n" in output
    assert "Joliet with UCS level 3 found" in output and "Rock Ridge signatures version 1 found" in output


@pytest.mark.parametrize("extension", ["-R", "-J"])
def test_isoinfo_reads_every_file(drive, extension):
    names = run("isoinfo", extension, "-f", "-i", drive.path).decode().split()
    assert {name.lstrip("/") for name in names} >= set(FILES)
    for path in FILES:
        assert run("isoinfo", extension, "-x", "/" + path, "-i", drive.path) == FILES[path], path


def test_isoinfo_sees_read_only_modes(drive):
    lines = run("isoinfo", "-R", "-l", "-i", drive.path).decode().splitlines()
    modes = {line.split()[0] for line in lines if re.match(r"[d-][rwx-]{9} ", line)}
    assert modes == {"dr-xr-xr-x", "-r-xr-xr-x"}


def test_bsdtar_reads_every_file(drive, tmp_path):
    run("bsdtar", "-xf", drive.path, "-C", tmp_path)
    assert tree(tmp_path) == FILES


def test_7z_reads_every_file(drive, tmp_path):
    run("7z", "x", "-y", f"-o{tmp_path}", drive.path)
    assert tree(tmp_path) == FILES


def test_xorriso_reads_every_file_and_finds_nothing_wrong(drive, tmp_path):
    run("xorriso", "-abort_on", "WARNING", "-osirrox", "on", "-indev", drive.path, "-extract", "/", tmp_path / "out")
    assert tree(tmp_path / "out") == FILES
    run("chmod", "-R", "u+w", tmp_path / "out")


def test_the_kernel_reads_every_file(drive, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    if (
        "iso9660" not in pathlib.Path("/proc/filesystems").read_text()
        and subprocess.run(["modprobe", "isofs"], check=False, capture_output=True).returncode
    ):
        pytest.skip("this kernel has no iso9660")
    process = subprocess.run(["mount", "-o", "loop,ro", str(drive.path), str(tmp_path)], check=False, capture_output=True)
    if process.returncode:
        pytest.skip(f"this machine cannot mount: {process.stderr.decode(errors='replace').strip()}")
    try:
        assert tree(tmp_path) == FILES
    finally:
        run("umount", tmp_path)


# cloud-init


def cloud_init_root():
    """Where the distribution's cloud-init is: unpacked for the tests, or installed."""
    for place in (os.environ.get("CLOUD_INIT_ROOT"), pathlib.Path(__file__).parents[2] / ".build" / "cloud-init", "/"):
        if place and (pathlib.Path(place) / "usr/lib/python3/dist-packages/cloudinit").is_dir():
            return pathlib.Path(place)
    pytest.skip("the distribution's cloud-init is neither unpacked nor installed")


READ_CONFIG_DRIVE = """
import json, sys
sys.path.append(sys.argv[1])
from cloudinit.sources import convert_vendordata
from cloudinit.sources.DataSourceConfigDrive import DataSourceConfigDrive, read_config_drive
from cloudinit import helpers
found = read_config_drive(sys.argv[2])
source = DataSourceConfigDrive({}, None, helpers.Paths({}))
source.metadata, source.ec2_metadata, source.version = found["metadata"], found.get("ec2-metadata"), found["version"]
print(json.dumps({
    "version": found["version"],
    "instance_id": found["metadata"]["instance-id"],
    "hostname": found["metadata"]["local-hostname"],
    "keys": source.get_public_ssh_keys(),
    "user_data": found["userdata"].decode() if isinstance(found["userdata"], bytes) else found["userdata"],
    "vendor_data": convert_vendordata(found["vendordata"]),
    "network": found.get("networkdata"),
}))
"""


@pytest.mark.matrix(hypervisor="any", guest="Linux", reader="cloud-init", how="parsed only", proves=["user data", "SSH key"])
def test_cloud_init_reads_the_drive(drive, tmp_path):
    root = cloud_init_root()
    run("bsdtar", "-xf", drive.path, "-C", tmp_path)
    command = [sys.executable, "-c", READ_CONFIG_DRIVE, str(root / "usr/lib/python3/dist-packages"), str(tmp_path)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode and "ModuleNotFoundError" in process.stderr:
        pytest.skip(f"cloud-init cannot be imported: {process.stderr.strip().splitlines()[-1]}")
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout.splitlines()[-1])
    vendor_data = found.pop("vendor_data")
    assert found == {
        "version": 2,
        "instance_id": OWNER,
        "hostname": "web1.example.com",
        "keys": KEYS,
        "user_data": USER_DATA,
        "network": None,
    }
    first, _newline, password = vendor_data.partition("\n")
    assert first == "#cloud-config"
    users = [{"name": "root", "password": "Pässwörd-Ab2", "type": "text"}]
    assert json.loads(password) == {"chpasswd": {"expire": False, "users": users}}


SET_PASSWORDS = """
import inspect, json, logging, sys
from unittest import mock
sys.path.append(sys.argv[1])
from cloudinit import util
from cloudinit.config import cc_set_passwords
cloud = mock.Mock()
# Older ones, such as Debian 12's 22.4, take a log as well.
log = [logging.getLogger()] if len(inspect.signature(cc_set_passwords.handle).parameters) == 5 else []
cc_set_passwords.handle("set_passwords", util.load_yaml(sys.stdin.read()), cloud, *log, [])
print(json.dumps([[list(call.args[0]), call.kwargs] for call in cloud.distro.chpasswd.call_args_list]))
"""


@pytest.mark.parametrize(
    "option, set_by_it",
    [
        ({"password": "a: #\"x'ü"}, [[[["root", "a: #\"x'ü"]], {"hashed": False}]]),
        ({"password": "Schlüssel-\U0001f511"}, [[[["root", "Schlüssel-\U0001f511"]], {"hashed": False}]]),
        ({"password_hash": "$6$salt$" + "a" * 86}, [[[["root", "$6$salt$" + "a" * 86]], {"hashed": True}]]),
    ],
)
@pytest.mark.matrix(hypervisor="any", guest="Linux", reader="cloud-init", how="parsed only", proves=["password"])
def test_cloud_init_sets_the_password_of_the_drive(option, set_by_it):
    """By its own module, with the part that would change the machine recorded instead."""
    description = DriveDescription.from_option({"name": "web1", "reader": "cloud_init", **option})
    cloud_config = json.loads(files_of(description)["openstack/latest/vendor_data.json"])["cloud-init"]
    command = [sys.executable, "-c", SET_PASSWORDS, str(cloud_init_root() / "usr/lib/python3/dist-packages")]
    process = subprocess.run(command, input=cloud_config, capture_output=True, text=True, check=False)
    if process.returncode and "ModuleNotFoundError" in process.stderr:
        pytest.skip(f"cloud-init cannot be imported: {process.stderr.strip().splitlines()[-1]}")
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout.splitlines()[-1])
    assert found == set_by_it


@pytest.mark.parametrize(
    "label, sources, finds_it",
    [
        ("config-2", None, True),
        ("config", None, False),
        ("config", "datasource_list: [ ConfigDrive, None ]", True),
        ("config", "datasource_list: [ ConfigDrive, NoCloud, None ]", False),
    ],
)
def test_ds_identify_finds_the_drive(label, sources, finds_it, tmp_path):
    """The stage of cloud-init that decides at boot whether there is anything to read: the reason for the label matrix."""
    program = cloud_init_root() / "usr/lib/cloud-init/ds-identify"
    drive = tmp_path / "web1.iso"
    drive.write_bytes(image.build(files_of(DESCRIPTION), label, OWNER))
    root, tools = tmp_path / "root", tmp_path / "bin"
    for folder in ("run", "etc/cloud/cloud.cfg.d", "proc/1", "sys/class/dmi/id", "sys/class/block", "dev/disk", "var/lib/cloud"):
        (root / folder).mkdir(parents=True)
    for name, text in (("cmdline", "ro quiet\n"), ("uptime", "9.99 9.99\n"), ("1/cmdline", "init\0"), ("1/environ", "\0")):
        (root / "proc" / name).write_text(text)
    (root / "sys/class/dmi/id/product_name").write_text("KVM\n")
    if sources:
        (root / "etc/cloud/cloud.cfg.d/90_test.cfg").write_text(sources + "\n")
    # The real blkid looks at the image; a container would be taken for docker, which has no disks.
    tools.mkdir()
    blkid = shutil.which("blkid") or shutil.which("blkid", path="/usr/sbin:/sbin")
    if blkid is None:
        pytest.skip("blkid is not installed")
    stand_ins = {
        "blkid": f"echo DEVNAME=/dev/sr0\n{blkid} -p -c /dev/null -o export {drive} | grep -v ^DEVNAME",
        "systemd-detect-virt": "echo kvm",
    }
    for name, command in stand_ins.items():
        (tools / name).write_text(f"#!/bin/sh\n{command}\n")
        (tools / name).chmod(0o755)
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "PATH_ROOT": str(root), "DEBUG_LEVEL": "2", "DI_LOG": "stderr"}
    process = subprocess.run(["sh", str(program), "--force"], env=environment, capture_output=True, text=True, check=False)
    written = root / "run/cloud-init/cloud.cfg"
    found = written.read_text() if written.exists() else ""
    assert (process.returncode == 0) is finds_it, process.stderr
    assert ("ConfigDrive" in found) is finds_it, found


# cloudbase-init

# Its own service and its own manager of drives for Windows, on this system: what asks Windows is replaced (the list of CD drives,
# a volume's label, and two modules that cannot be imported), and the backslashes of one path are turned.
CLOUDBASE_INIT = """
import json, sys
from unittest import mock
folder, label = sys.argv[1:]
for name in ("disk", "vfat"):
    sys.modules["cloudbaseinit.utils.windows." + name] = mock.Mock()
from cloudbaseinit.metadata.services import baseconfigdrive, configdrive
from cloudbaseinit.metadata.services.osconfigdrive import windows
configdrive.CONF([])
system = mock.Mock()
system.get_cdrom_drives.return_value = [folder]
system.get_volumes.return_value = []
system.get_physical_disks.return_value = []
system.get_volume_label.return_value = label
with mock.patch.object(windows.osutils_factory, "get_os_utils", return_value=system):
    manager = windows.WindowsConfigDriveManager()
with mock.patch.object(baseconfigdrive.factory, "get_config_drive_manager", return_value=manager):
    service = configdrive.ConfigDriveService()
    service._metadata_file = service._metadata_file.replace("\\\\", "/")
    found = service.load()
result = {"found": found}
if found:
    result.update(
        instance_id=service.get_instance_id(),
        host_name=service.get_host_name(),
        keys=list(service.get_public_keys()),
        password=service.get_admin_password(),
        user_data=service.get_user_data().decode(),
    )
    service.cleanup()
print(json.dumps(result))
"""


@pytest.mark.parametrize("label, finds_it", [("config-2", True), ("CONFIG-2", True), ("config", False)])
@pytest.mark.matrix(
    hypervisor="any", guest="Windows", reader="cloudbase-init", how="parsed only", proves=["user data", "password", "SSH key"]
)
def test_cloudbase_init_reads_the_drive(label, finds_it, tmp_path):
    python = os.environ.get("CLOUDBASE_INIT_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import cloudbaseinit"], check=False, capture_output=True).returncode:
        pytest.skip(
            "cloudbase-init is not installed: CLOUDBASE_INIT_PYTHON can name an interpreter that has it (pip install cloudbase-init)"
        )
    drive = tmp_path / "web1.iso"
    files = files_of(dataclasses.replace(DESCRIPTION, reader="cloudbase_init"))
    drive.write_bytes(image.build(files, label, OWNER))
    seen = run("blkid", "-p", "-c", "/dev/null", "-s", "LABEL", "-o", "value", drive).decode().strip()
    (tmp_path / "cd").mkdir()
    run("bsdtar", "-xf", drive, "-C", tmp_path / "cd")
    command = [python, "-c", CLOUDBASE_INIT, str(tmp_path / "cd"), seen]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout.splitlines()[-1])
    if not finds_it:
        assert found == {"found": False}
        return
    found["keys"].sort()
    assert found == {
        "found": True,
        "instance_id": OWNER,
        "host_name": "web1.example.com",
        "keys": KEYS,
        "password": "Pässwörd-Ab2",
        "user_data": USER_DATA,
    }


# Drives of others


def source_folder(tmp_path):
    source = tmp_path / "source"
    for path, data in FILES.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(data)
    return source


@pytest.mark.parametrize("program", [["genisoimage"], ["xorriso", "-as", "mkisofs"]], ids=["genisoimage", "xorriso"])
@pytest.mark.parametrize("options", [["-J", "-r"], ["-r"], ["-J"]], ids=" ".join)
def test_drives_of_others_are_read(program, options, tmp_path):
    path = tmp_path / "out.iso"
    run(*program, "-quiet", *options, "-V", "config-2", "-o", path, source_folder(tmp_path))
    found = image.read(path.read_bytes())
    assert found.files == FILES
    assert (found.label, found.owner, found.intact) == ("config-2", None, None)
    assert found.joliet_label == ("config-2" if "-J" in options else None)
    assert bool(found.modes) == ("-r" in options or program[0] == "xorriso")  # which always writes Rock Ridge


def test_the_options_of_the_original_platform_are_read(tmp_path):
    path = tmp_path / "out.iso"
    options = "-ldots -allow-lowercase -allow-multidot -cache-inodes -l -quiet -J -r -V config-2".split()
    run("genisoimage", "-o", path, *options, source_folder(tmp_path))
    assert image.read(path.read_bytes()).files == FILES


def test_a_plain_drive_has_the_names_that_linux_shows(tmp_path):
    """As the original platform built them until 4.10: no extension, upper case, no hyphens."""
    path = tmp_path / "out.iso"
    source = tmp_path / "source"
    (source / "cloudstack/metadata").mkdir(parents=True)
    (source / "cloudstack/metadata/service-offering.txt").write_text("x")
    run("genisoimage", "-quiet", "-iso-level", "3", "-V", "config", "-o", path, source)
    assert image.read(path.read_bytes()).files == {"cloudstack/metadata/service_offering.txt": b"x"}


@pytest.mark.parametrize("program", [["genisoimage"], ["xorriso", "-as", "mkisofs"]], ids=["genisoimage", "xorriso"])
def test_long_names_and_deep_folders_of_others(program, tmp_path):
    path, source = tmp_path / "out.iso", tmp_path / "source"
    deep = "/".join(f"level{number}" for number in range(12))
    (source / deep).mkdir(parents=True)
    (source / deep / ("n" * 240)).write_text("deep")
    run(*program, "-quiet", "-r", "-o", path, source)
    found = image.read(path.read_bytes()).files
    assert found == {f"{deep}/{'n' * 240}": b"deep"}


def test_a_link_on_a_drive_of_others_is_left_out(tmp_path):
    path, source = tmp_path / "out.iso", tmp_path / "source"
    source.mkdir()
    (source / "real").write_text("x")
    (source / "link").symlink_to("/etc/shadow")
    run("genisoimage", "-quiet", "-r", "-o", path, source)
    assert image.read(path.read_bytes()).files == {"real": b"x"}


def test_a_bootable_disk_image_is_no_drive(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(b"\xeb\x3c\x90" + bytes(507) + b"\x55\xaa" + bytes(1_000_000))
    with pytest.raises(DriveImageError, match="no ISO 9660"):
        image.read(path.read_bytes())
