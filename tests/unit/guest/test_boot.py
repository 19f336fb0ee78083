# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""config-drive-boot.sh and the starters; what the genuine CloudStack scripts get wrong, as named regressions."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import typing as t

import jinja2
import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.image import build, digest_of

from .conftest import FILES, LINUX, NETWORK, SCRIPTS, ssh_key

if t.TYPE_CHECKING:
    from .conftest import Guest


def keys(*numbers: int) -> bytes:
    return "".join(ssh_key(number) + "\n" for number in numbers).encode()


@pytest.mark.matrix(
    hypervisor="any", guest="Linux", reader="our scripts", how="own simulator", proves=["user data", "password", "SSH key"]
)
def test_all_parts_in_order_and_idempotent(guest: Guest) -> None:
    guest.settings += "RUN_USER_DATA=yes\n"
    script = f"#!/bin/sh\ncat {guest.base}/chpasswd.stdin {guest.authorized_keys()} >{guest.base}/seen\n"
    guest.drive(password=b"word", keys=keys(1), user_data=script.encode())
    assert guest.boot("all").status == 0
    assert guest.passwords == b"root:word\n"
    assert ssh_key(1) in guest.authorized_keys().read_text()
    seen = (guest.base / "seen").read_text()
    assert "root:word" in seen
    assert ssh_key(1) in seen
    (guest.base / "seen").unlink()
    assert guest.boot().status == 0
    assert guest.password_calls == 1
    assert not (guest.base / "seen").exists()
    assert len(guest.calls("mount")) == len(guest.calls("umount"))


def test_one_mount_serves_all_parts(guest: Guest) -> None:
    guest.drive(password=b"word", keys=keys(1), user_data=b"a=b\n")
    assert guest.boot().status == 0
    assert len(guest.calls("mount")) == len(guest.calls("umount")) == 1


def test_parts(guest: Guest) -> None:
    guest.drive(password=b"word", keys=keys(1), user_data=b"a=b\n")
    assert guest.boot("user-data").status == 0
    assert guest.password_calls == 0
    assert (guest.base / "state/user-data").read_bytes() == b"a=b\n"
    (guest.base / "state/user-data").unlink()
    assert guest.boot("login").status == 0
    assert guest.password_calls == 1
    assert not (guest.base / "state/user-data").exists()
    assert guest.boot("nonsense").status == 2


def test_it_leaves_word_of_how_it_went_and_by_which_drive(guest: Guest) -> None:
    def seen() -> str:
        return (guest.base / "state/drive-seen").read_text()

    guest.drive(password=b"word", keys=keys(1))
    guest.boot("login")
    assert re.fullmatch("0 i-1 [0-9a-f]{64}\n", seen())
    guest.drive(password=b"two\nlines", instance_id=b"i-2\n$(id)")
    guest.boot("login")
    guest.boot("user-data")  # which sets nothing of it
    assert re.fullmatch("1 - [0-9a-f]{64}\n", seen())


def test_the_mark_names_the_very_drive_and_goes_to_the_hypervisors_tools(guest: Guest) -> None:
    def boot(password: bytes) -> str:
        device = guest.drive(password=password)
        device.write_bytes(build({"cloudstack/password/vm_password.txt": password}, "config", "vm-1"))
        guest.boot("login")
        mark = (guest.base / "state/drive-seen").read_text().strip()
        assert guest.calls("vmware-rpctool")[-1] == [f"info-set guestinfo.config-drive {mark}"]
        assert guest.calls("xenstore-write")[-1] == ["vm-data/config-drive", mark]
        assert mark == f"0 i-1 {digest_of(device.read_bytes())}" or "-" in mark.split()
        return mark

    first = boot(b"word")
    assert boot(b"other") != first == boot(b"word")
    guest.settings += "SET_PASSWORD=no\n"
    assert boot(b"word") == "0 i-1 -"


def test_a_mark_of_no_drive_of_ours_is_none(guest: Guest) -> None:
    device = guest.drive(password=b"word")
    for mark in (b"VMOPS.EXTERNAL_DHCP FORMAT=1 VM=a SHA256=$(id)", b"VMOPS.EXTERNAL_DHCP FORMAT=1 VM= SHA256=0123", b""):
        device.write_bytes(device.read_bytes()[:33651].ljust(33651, b"\0") + mark.ljust(512))
        assert guest.read("digest").status == 4


def test_user_data_is_not_saved_if_switched_off(guest: Guest) -> None:
    guest.settings += "SAVE_USER_DATA=no\n"
    guest.drive(user_data=b"a=b\n")
    assert guest.boot().status == 0
    assert [path.name for path in (guest.base / "state").iterdir()] == ["drive-seen"]


def test_one_failing_part_does_not_stop_the_others(guest: Guest) -> None:
    guest.drive(password=b"word", keys=keys(1), user_data=b"a=b\n")
    guest.chpasswd_exits(1)
    assert guest.boot().status == 1
    assert ssh_key(1) in guest.authorized_keys().read_text()
    assert (guest.base / "state/user-data").exists()
    guest.drive(password=b"two\nlines", keys=b"<html>", user_data=b"c=d\n")
    assert guest.boot().status == 1
    assert (guest.base / "state/user-data").read_bytes() == b"c=d\n"


def test_drive_with_metadata_only(guest: Guest) -> None:
    guest.drive()
    assert guest.boot().status == 0
    assert [path.name for path in (guest.base / "state").iterdir()] == ["drive-seen"]
    assert not guest.authorized_keys().exists()


def test_no_drive_is_no_error_but_said(guest: Guest) -> None:
    guest.settings += "WAIT_SECONDS=3\n"
    guest.device("sr0", None)
    assert guest.boot().status == 0
    assert "no config drive" in guest.log
    assert guest.calls("sleep") == [["1"]] * 3
    assert len(guest.calls("udevadm")) == 1


def test_a_drive_that_was_never_seen_is_an_error_if_asked(guest: Guest) -> None:
    guest.settings += "WAIT_SECONDS=0\nREQUIRE_DRIVE=yes\n"
    guest.device("sr0", None)
    assert guest.boot("login").status == 1
    assert (
        "no config drive, and this machine has never seen one: no drive with the label config, config or config-2 among sr0"
        in guest.log
    )
    (guest.base / "dev/sr0").rename(guest.base / "dev/vda")
    assert guest.boot("login").status == 1
    assert "the kernel shows no CD/DVD drive (only: vda); it may lack the driver of its controller" in guest.log
    (guest.base / "dev/vda").unlink()
    guest.drive(password=b"word")
    assert guest.boot("login").status == 0


def test_a_drive_that_was_taken_away_is_no_error(guest: Guest) -> None:
    guest.settings += "WAIT_SECONDS=0\nREQUIRE_DRIVE=yes\n"
    drive = guest.drive(password=b"word")
    assert guest.boot("login").status == 0
    drive.unlink()
    assert guest.boot("login").status == 0


def test_wait_is_by_the_clock_not_by_the_number_of_looks(guest: Guest) -> None:
    guest.settings += "WAIT_SECONDS=9\n"
    guest.device("sr0", None)
    uptime = guest.base / "proc/uptime"
    uptime.parent.mkdir()
    uptime.write_text("99.98 12.00\n")
    # A host so busy that a look and a pause take five seconds.
    pause = guest.base / "bin/sleep"
    later = f"IFS=. read -r at rest <{uptime}\necho $((at + 5)).00 12.00 >{uptime}\n"
    pause.write_text(pause.read_text().replace("exit 0\n", later))
    assert guest.boot().status == 0
    assert guest.calls("sleep") == [["1"]] * 2


def test_drive_that_appears_late_is_waited_for(guest: Guest) -> None:
    path = guest.drive(password=b"word")
    path.rename(guest.base / "late")
    (guest.base / "bin/sleep").write_text(f"#!/bin/sh\nmv {guest.base}/late {path}\n")
    assert guest.boot().status == 0
    assert guest.passwords == b"root:word\n"


def test_drive_that_cannot_be_mounted_is_an_error(guest: Guest) -> None:
    guest.drive(password=b"word")
    (guest.base / "no-mount").touch()
    assert guest.boot().status == 1
    assert guest.calls("sleep") == []


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("wanted", ["yes", "no"])
def test_host_keys_are_made_if_asked_and_missing_with_or_without_a_drive(guest: Guest, wanted: str, existing: bool) -> None:
    guest.settings += f"SSH_DIR={guest.base}/ssh MAKE_HOST_KEYS={wanted} WAIT_SECONDS=0\n"
    (guest.base / "ssh").mkdir()
    (guest.base / "ssh/ssh_host_ed25519_key.pub").touch()
    if existing:
        (guest.base / "ssh/ssh_host_ed25519_key").touch()
    assert guest.boot("login").status == 0
    assert guest.calls("ssh-keygen") == ([["-A"]] if wanted == "yes" and not existing else [])


def test_host_keys_that_cannot_be_made_do_not_stop_the_rest(guest: Guest) -> None:
    guest.settings += f"SSH_DIR={guest.base} MAKE_HOST_KEYS=yes\n"
    (guest.base / "bin/ssh-keygen").write_text("#!/bin/sh\nexit 1\n")
    guest.drive(password=b"word")
    assert guest.boot().status == 1
    assert guest.passwords == b"root:word\n"


def test_host_keys_are_made_when_the_password_is_set(guest: Guest) -> None:
    """They take minutes on an emulated processor, and the starter is given up after a while."""
    guest.settings += f"SSH_DIR={guest.base} MAKE_HOST_KEYS=yes\n"
    (guest.base / "bin/ssh-keygen").write_text(f"#!/bin/sh\ntest -s {guest.base}/state/password\n")
    guest.drive(password=b"word")
    assert guest.boot("login").status == 0


# --- never the network ---


@pytest.mark.parametrize("password", [None, b"", b"saved_password", b"word"])
@pytest.mark.parametrize("key", [None, b"", keys(1)])
def test_genuine_5_4_missing_password_or_key_is_never_asked_of_a_server(
    guest: Guest, password: bytes | None, key: bytes | None
) -> None:
    guest.drive(password=password, keys=key)
    assert guest.boot().status == 0
    for name in NETWORK:
        assert guest.calls(name) == []


def test_no_network_command_in_the_scripts() -> None:
    for name in SCRIPTS:
        code = "\n".join(line for line in (LINUX / name).read_text().splitlines() if not line.lstrip().startswith("#"))
        found = re.findall(rf"(?:^|[;&|(`\s])({'|'.join(NETWORK)})\s", code)
        assert found == [], f"{name} uses {found}"
        assert "/dev/tcp" not in code
        assert "://" not in code


# --- what section 5 of the reader survey found in the genuine scripts ---


@pytest.mark.parametrize("label", ["config", "config-2"])
def test_genuine_5_1_cd_is_found_without_udev_links(guest: Guest, label: str) -> None:
    """The password script's fallback looked at no sr device, and only for the old label."""
    guest.device("sr0", label, {"cloudstack/password/vm_password.txt": b"word"})
    assert guest.boot().status == 0
    assert guest.passwords == b"root:word\n"


def test_genuine_5_2_missing_drive_is_not_a_failed_mount(guest: Guest) -> None:
    """[ -n $BLOCK_DEVICE ], unquoted, is always true."""
    assert guest.boot().status == 0
    assert guest.calls("mount") == []


def test_genuine_5_2_blanks_are_not_collapsed_and_a_dash_is_not_eaten(guest: Guest) -> None:
    guest.drive(password=b"-e a  b * \\t")
    assert guest.boot().status == 0
    assert guest.passwords == b"root:-e a  b * \\t\n"


def test_genuine_5_2_nothing_for_other_users_to_read(guest: Guest) -> None:
    """The unsalted MD5 of root's password lay in /var, readable by all."""
    guest.drive(password=b"word", user_data=b"x")
    assert guest.boot().status == 0
    for path in (guest.base / "state").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


def test_genuine_5_3_several_keys_stay_several_lines(guest: Guest) -> None:
    guest.drive(keys=keys(1, 2, 3))
    assert guest.boot().status == 0
    assert sum(line.startswith("ssh-") for line in guest.authorized_keys().read_text().splitlines()) == 3


def test_genuine_5_3_rotated_keys_are_removed(guest: Guest) -> None:
    guest.drive(keys=keys(1, 2))
    assert guest.boot().status == 0
    guest.drive(keys=keys(2))
    assert guest.boot().status == 0
    assert ssh_key(1) not in guest.authorized_keys().read_text()
    assert ssh_key(2) in guest.authorized_keys().read_text()


def test_genuine_5_3_key_file_missing_is_no_failure(guest: Guest) -> None:
    guest.drive(password=b"word")
    assert guest.boot().status == 0


def test_genuine_5_4_key_added_later_is_not_skipped(guest: Guest) -> None:
    guest.drive(keys=keys(1))
    assert guest.boot().status == 0
    guest.drive(keys=keys(1, 2))
    assert guest.boot().status == 0
    assert ssh_key(2) in guest.authorized_keys().read_text()


def test_genuine_5_5_other_cd_drives_first(guest: Guest) -> None:
    """The Windows script gave up at the first ready CD drive."""
    guest.device("sr0", "INSTALL", {"setup.exe": b""})
    guest.device("sr1", "config", {"cloudstack/password/vm_password.txt": b"word"})
    assert guest.boot().status == 0
    assert guest.passwords == b"root:word\n"


# --- starters ---


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((LINUX / name).read_text())
    return parser


def test_systemd_units() -> None:
    login, user_data = unit("config-drive.service"), unit("config-drive-user-data.service")
    assert login["Service"]["Type"] == user_data["Service"]["Type"] == "oneshot"
    assert login["Service"]["ExecStart"].endswith("/config-drive-boot.sh login")
    assert user_data["Service"]["ExecStart"].endswith("/config-drive-boot.sh user-data")
    assert "local-fs.target" in login["Unit"]["After"]
    # Every getty is ordered after systemd-user-sessions.
    assert {"systemd-user-sessions.service", "ssh.service", "sshd.service"} <= set(login["Unit"]["Before"].split())
    assert "network" not in login["Unit"]["After"]
    for parser in (login, user_data):
        assert parser["Install"]["WantedBy"] == "multi-user.target"


def test_systemd_accepts_the_units(tmp_path: t.Any) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze")
    for name in ("config-drive.service", "config-drive-user-data.service"):
        # The programs are not installed here.
        text = (LINUX / name).read_text().replace("/usr/local/sbin/config-drive-boot.sh", "/bin/true")
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if "config-drive" in line]
    assert complaints == []


@pytest.mark.matrix(
    hypervisor="any", guest="Linux with SysV init", reader="our scripts", how="own simulator", proves=["password"]
)
def test_sysv_starter(guest: Guest) -> None:
    script = guest.base / "config-drive"
    text = (LINUX / "config-drive.init").read_text()
    for header in (
        "### BEGIN INIT INFO",
        "### END INIT INFO",
        "# Provides:          config-drive",
        "# Default-Start:     2 3 4 5",
    ):
        assert header in text
    assert re.search(r"^# chkconfig: [0-9]+ [0-9]{2} [0-9]{2}$", text, re.MULTILINE)
    script.write_text(text.replace("/usr/local/sbin", str(guest.base / "sbin")))
    script.chmod(0o755)

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(script), *arguments], env=guest.environment(), capture_output=True, text=True, check=False)

    device = guest.drive(password=b"word")
    assert call("start").returncode == 0
    assert guest.passwords == b"root:word\n"
    assert call("stop").returncode == 0
    assert call("status").stdout.strip() == str(device)
    assert call().returncode == 2


def openrc_script() -> str:
    return jinja2.Template((FILES.parent / "templates/config-drive.openrc.j2").read_text()).render()


@pytest.mark.matrix(hypervisor="any", guest="Linux with OpenRC", reader="our scripts", how="own simulator", proves=["password"])
def test_openrc_starter(guest: Guest) -> None:
    """OpenRC's own words are stood in for; the rest of the script is run."""
    guest.drive(password=b"word")
    text = openrc_script().replace("/usr/local/sbin", str(guest.base / "sbin"))
    assert text.startswith("#!/sbin/openrc-run\n")
    words = 'need() { echo "need $*"; }; after() { :; }; before() { echo "before $*"; }; ebegin() { :; }; eend() { return $1; }\n'
    done = subprocess.run(
        ["sh", "-c", words + text + "\ndepend; start"], env=guest.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "need localfs" in done.stdout
    assert "before net networking sshd" in done.stdout
    assert guest.passwords == b"root:word\n"


def test_settings_example_shows_the_defaults() -> None:
    library = (LINUX / "config-drive-lib.sh").read_text()
    shown = re.findall(r"^#([A-Z_]+=\S+)$", (LINUX / "config-drive.default").read_text(), re.MULTILINE)
    assert len(shown) == 12
    for setting in shown:
        assert f"    {setting}\n" in library


def test_shellcheck_has_nothing_to_say() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck")
    for shell in ("sh", "dash", "busybox", "bash"):
        options = ["shellcheck", "-e", "SC1091", "-s", shell]  # as ansible-test does
        done = subprocess.run([*options, *SCRIPTS, "config-drive.init"], cwd=LINUX, capture_output=True, text=True, check=False)
        if "Unknown shell" not in done.stderr:
            assert done.stdout == ""
    done = subprocess.run(["shellcheck", "-s", "sh", "-"], input=openrc_script(), capture_output=True, text=True, check=False)
    assert done.stdout == ""


def test_scripts_are_executable() -> None:
    for name in (*SCRIPTS, "config-drive.init"):
        assert ((LINUX / name).stat().st_mode & 0o111 != 0) == (name != "config-drive-lib.sh")
