# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""cloud-set-vm-sshkey.sh: all keys, nobody else's lines, nothing that is not a key."""

from __future__ import annotations

import os
import pathlib
import pwd
import shutil
import tempfile
import typing as t

import pytest

from .conftest import Guest, ssh_key

BEGIN = b"# BEGIN keys from the config drive"
END = b"# END keys from the config drive"


def lines(*keys: str) -> bytes:
    return "".join(key + "\n" for key in keys).encode()


def managed(data: bytes) -> list[str]:
    """The lines between the markers."""
    found, inside = [], False
    for line in data.split(b"\n"):
        if line.startswith(BEGIN):
            inside = True
        elif line.startswith(END):
            inside = False
        elif inside:
            found.append(line.decode())
    return found


def test_all_keys_and_modes(guest: Guest) -> None:
    keys = [ssh_key(1), ssh_key(2, comment=""), ssh_key(3, comment="a b  c Jürgen")]
    guest.drive(keys=lines(*keys))
    assert guest.set_keys() == 0
    file = guest.authorized_keys()
    assert managed(file.read_bytes()) == keys
    assert (file.stat().st_mode & 0o7777, file.parent.stat().st_mode & 0o7777) == (0o600, 0o700)
    assert file.stat().st_uid == os.getuid()
    assert [path.name for path in file.parent.iterdir()] == ["authorized_keys"]
    assert guest.calls("restorecon") == [["-R", str(file.parent)]]


@pytest.mark.parametrize(
    "kind",
    [
        *("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
        *("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"),
    ],
)
def test_types_of_keys(guest: Guest, kind: str) -> None:
    guest.drive(keys=lines(ssh_key(1, kind)))
    assert guest.set_keys() == 0
    assert managed(guest.authorized_keys().read_bytes()) == [ssh_key(1, kind)]


def test_genuine_keys(guest: Guest) -> None:
    """Made by OpenSSH itself."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("no ssh-keygen")
    import subprocess

    keys = []
    for kind, bits in (("ed25519", "256"), ("rsa", "2048"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521")):
        path = guest.base / f"{kind}{bits}"
        subprocess.run(
            ["ssh-keygen", "-q", "-t", kind, "-b", bits, "-N", "", "-C", f"{kind} {bits}", "-f", str(path)], check=True
        )
        keys.append(path.with_suffix(".pub").read_text().strip())
    guest.drive(keys=lines(*keys))
    assert guest.set_keys() == 0
    assert managed(guest.authorized_keys().read_bytes()) == keys


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\n\n\n"])
def test_line_endings_blanks_and_comments(guest: Guest, ending: str) -> None:
    text = f"\r\n# a comment\r\n  {ssh_key(1)}  \r\n\n\t{ssh_key(2).replace(' ', chr(9))}{ending}"
    guest.drive(keys=text.encode())
    assert guest.set_keys() == 0
    assert managed(guest.authorized_keys().read_bytes()) == [ssh_key(1), ssh_key(2)]
    assert guest.log == "SSH keys of root are those of the config drive (2)"


FOREIGN = {
    "key": ssh_key(9).encode() + b"\n",
    "no newline at the end": ssh_key(9).encode(),
    "options and comments": b'# mine\n\nfrom="10.0.0.0/8",command="echo \\"a*b\\"" ' + ssh_key(9).encode() + b"\n\n# end\n",
    "the same key as the drive's": ssh_key(1).encode() + b"\n",
    "CRLF and bytes": ssh_key(9).encode() + b"\r\n# \xff\xfe \x80 \\n \\\\ %s\n",
    "empty": b"",
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN.keys())
def test_rotation_leaves_foreign_lines_as_they_are(guest: Guest, foreign: bytes) -> None:
    file = guest.authorized_keys()
    file.parent.mkdir(mode=0o755)
    file.write_bytes(foreign)
    kept = foreign + (b"" if foreign.endswith(b"\n") or not foreign else b"\n")
    for keys in ([ssh_key(1)], [ssh_key(2), ssh_key(3)], [ssh_key(3)]):
        guest.drive(keys=lines(*keys))
        assert guest.set_keys() == 0
        data = file.read_bytes()
        assert data[: len(kept)] == kept
        assert data[len(kept) :].startswith(BEGIN)
        assert managed(data) == keys
    guest.drive(keys=b"")
    assert guest.set_keys() == 0
    assert file.read_bytes() == kept
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_lines_added_after_the_block_are_foreign(guest: Guest) -> None:
    guest.drive(keys=lines(ssh_key(1)))
    assert guest.set_keys() == 0
    file = guest.authorized_keys()
    with file.open("ab") as stream:
        stream.write(lines(ssh_key(8)))
    guest.drive(keys=lines(ssh_key(2)))
    assert guest.set_keys() == 0
    assert file.read_bytes().startswith(lines(ssh_key(8)) + BEGIN)
    assert managed(file.read_bytes()) == [ssh_key(2)]


@pytest.mark.parametrize("damage", ["no end", "end first", "two begins"])
def test_damaged_markers_cost_no_foreign_key(guest: Guest, damage: str) -> None:
    guest.drive(keys=lines(ssh_key(1)))
    assert guest.set_keys() == 0
    file = guest.authorized_keys()
    begin, key, end = file.read_bytes().splitlines(keepends=True)
    other = lines(ssh_key(8))
    file.write_bytes(
        {"no end": begin + key + other, "end first": end + begin + key + other, "two begins": begin + other + begin + key + end}[
            damage
        ]
    )
    guest.drive(keys=lines(ssh_key(2)))
    assert guest.set_keys() == 0
    data = file.read_bytes()
    assert data.count(other) == 1
    assert other.decode().strip() not in managed(data)
    assert managed(data) == [ssh_key(2)]
    assert (data.count(BEGIN), data.count(END)) == (1, 1)


def test_unchanged_keys_do_not_touch_the_file(guest: Guest) -> None:
    guest.drive(keys=lines(ssh_key(1)))
    assert guest.set_keys() == 0
    file = guest.authorized_keys()
    os.utime(file, ns=(1, 1))
    before = file.stat()
    file.chmod(0o644)
    assert guest.set_keys() == 0
    after = file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert after.st_mode & 0o777 == 0o600


def test_replaced_at_once_never_in_place(guest: Guest) -> None:
    guest.drive(keys=lines(ssh_key(1)))
    assert guest.set_keys() == 0
    file = guest.authorized_keys()
    (guest.base / "witness").hardlink_to(file)
    before = file.read_bytes()
    guest.drive(keys=lines(ssh_key(2)))
    assert guest.set_keys() == 0
    assert (guest.base / "witness").read_bytes() == before, "the old file was not written to"


def test_no_key_file_changes_nothing(guest: Guest) -> None:
    guest.drive(keys=lines(ssh_key(1)))
    assert guest.set_keys() == 0
    before = guest.authorized_keys().read_bytes()
    guest.drive()
    assert guest.set_keys() == 0
    assert guest.authorized_keys().read_bytes() == before


def test_nothing_is_made_for_nothing(guest: Guest) -> None:
    guest.drive(keys=b"\n")
    assert guest.set_keys() == 0
    assert not guest.authorized_keys().exists()


BODY = ssh_key(7).split()[1]
HOSTILE = {
    "option": f'command="rm -rf /" ssh-ed25519 {BODY}',
    "option without blank": f"no-pty,ssh-ed25519 {BODY}",
    "environment": f'environment="LD_PRELOAD=/tmp/x" ssh-ed25519 {BODY}',
    "certificate authority": f"cert-authority ssh-ed25519 {BODY}",
    "certificate": f"ssh-ed25519-cert-v01@openssh.com {BODY}",
    "unknown type": f"ssh-dss {BODY}",
    "other type's body": f"ssh-rsa {BODY}",
    "no body": "ssh-ed25519",
    "short body": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
    "not base64": f"ssh-ed25519 {BODY[:-4]}$(id)",
    "padding inside": f"ssh-ed25519 {BODY[:40]}=={BODY[42:]}",
    "three pads": f"ssh-ed25519 {BODY[:-3]}===",
    "length not a multiple of four": f"ssh-ed25519 {BODY}A",
    "escape sequence": f"ssh-ed25519 {BODY} \x1b]0;title\x07",
    "escape in the body": f"ssh-ed25519 \x1b{BODY}",
    "vertical tab": f"ssh-ed25519\x0b{BODY}",
    "too long": f"ssh-ed25519 {BODY} " + "x" * 8192,
    "private key": "-----BEGIN OPENSSH PRIVATE KEY-----",
    "page": "<html><body>404</body></html>",
    "shell": "$(touch /tmp/x) `id` ; id",
    "end marker": END.decode() + "x",
    "glob": "*",
    "leading dash": "-n",
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE.keys())
def test_lines_that_are_not_plain_keys_are_left_out(guest: Guest, line: str) -> None:
    guest.drive(keys=lines(ssh_key(1), line, ssh_key(2)))
    assert guest.set_keys() == 0
    assert managed(guest.authorized_keys().read_bytes()) == [ssh_key(1), ssh_key(2)]
    if not line.startswith("#"):
        assert "1 of 3 lines" in guest.log
        assert "\x1b" not in guest.log


def test_no_line_is_a_key(guest: Guest) -> None:
    """What a web server answers must not cost the keys that are there."""
    guest.drive(keys=lines(ssh_key(1)))
    assert guest.set_keys() == 0
    before = guest.authorized_keys().read_bytes()
    guest.drive(keys=b"<html>\n<body>404</body>\n</html>\n")
    assert guest.set_keys() == 1
    assert guest.authorized_keys().read_bytes() == before


def test_many_keys_and_too_many(guest: Guest) -> None:
    keys = [ssh_key(number, comment=f"user{number}") for number in range(250)]
    guest.drive(keys=lines(*keys))
    assert guest.set_keys() == 0
    assert managed(guest.authorized_keys().read_bytes()) == keys
    guest.drive(keys=lines(*keys) * 4)
    assert guest.set_keys() == 1
    assert managed(guest.authorized_keys().read_bytes()) == keys


def test_several_users_and_one_that_is_not_there(guest: Guest) -> None:
    guest.add_user("admin")
    guest.settings += 'SSH_KEY_USERS="root nobody-here admin"\n'
    guest.drive(keys=lines(ssh_key(1)))
    assert guest.set_keys() == 1
    for user in ("root", "admin"):
        assert managed(guest.authorized_keys(user).read_bytes()) == [ssh_key(1)]
    assert "no user nobody-here" in guest.log


@pytest.mark.parametrize("user", ["../root", "-x", "a;id", ".*"])
def test_user_that_is_no_user_name(guest: Guest, user: str) -> None:
    guest.settings += f"SSH_KEY_USERS='{user}'\n"
    guest.drive(keys=lines(ssh_key(1)))
    assert guest.set_keys() == 1
    assert not guest.authorized_keys().exists()


def test_switched_off(guest: Guest) -> None:
    guest.settings += "SET_SSH_KEYS=no\n"
    guest.drive(keys=lines(ssh_key(1)))
    assert guest.set_keys() == 0
    assert guest.calls("mount") == []


def test_link_in_place_of_the_file_keeps_its_lines(guest: Guest) -> None:
    elsewhere = guest.base / "elsewhere"
    elsewhere.write_bytes(lines(ssh_key(8)))
    file = guest.authorized_keys()
    file.parent.mkdir()
    file.symlink_to(elsewhere)
    guest.drive(keys=lines(ssh_key(1)))
    assert guest.set_keys() == 0
    assert file.read_bytes().startswith(lines(ssh_key(8)))
    assert elsewhere.read_bytes() == lines(ssh_key(8))


def test_folder_in_place_of_the_file(guest: Guest) -> None:
    guest.authorized_keys().mkdir(parents=True)
    guest.drive(keys=lines(ssh_key(1)))
    assert guest.set_keys() == 1
    assert list(guest.authorized_keys().iterdir()) == []
    assert "cannot write authorized_keys of root" in guest.log


# --- as root, for a user who owns his folder ---


@pytest.fixture
def user_home() -> t.Iterator[pathlib.Path]:
    """A home folder of the user nobody, below a path that nobody can walk."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    base = pathlib.Path(tempfile.mkdtemp())
    base.chmod(0o755)
    home = base / "nobody"
    home.mkdir()
    os.chown(home, pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
    yield home
    shutil.rmtree(base)


@pytest.fixture(params=["runuser", "su"])
def guest_of_nobody(request: pytest.FixtureRequest, user_home: pathlib.Path) -> t.Iterator[Guest]:
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param}")
    base = user_home.parent / "guest"
    made = Guest(base, "dash")
    nobody = pwd.getpwnam("nobody")
    (base / "passwd").write_text(f"nobody:x:{nobody.pw_uid}:{nobody.pw_gid}::{user_home}:/usr/sbin/nologin\n")
    (base / "calls").chmod(0o777)
    for path in (base / "calls").iterdir():
        path.chmod(0o666)
    made.settings = "SSH_KEY_USERS=nobody\n"
    if request.param == "su":
        made.without("runuser")
    yield made
    made.close()


def test_another_users_file_belongs_to_that_user(guest_of_nobody: Guest, user_home: pathlib.Path) -> None:
    guest_of_nobody.drive(keys=lines(ssh_key(1), ssh_key(2)))
    assert guest_of_nobody.set_keys() == 0
    file = user_home / ".ssh/authorized_keys"
    assert managed(file.read_bytes()) == [ssh_key(1), ssh_key(2)]
    for path, mode in ((file, 0o600), (file.parent, 0o700)):
        assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (pwd.getpwnam("nobody").pw_uid, mode)


def test_planted_link_does_not_point_root_elsewhere(guest_of_nobody: Guest, user_home: pathlib.Path) -> None:
    target = user_home.parent / "roots"
    target.mkdir(mode=0o755)
    (user_home / ".ssh").symlink_to(target)
    guest_of_nobody.drive(keys=lines(ssh_key(1)))
    assert guest_of_nobody.set_keys() == 1
    assert list(target.iterdir()) == []
    assert target.stat().st_mode & 0o777 == 0o755
