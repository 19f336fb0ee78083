# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""cloud-set-vm-password.sh: exact bytes, once per new value, and the value in no other place."""

from __future__ import annotations

import hashlib
import re
import typing as t

import pytest

if t.TYPE_CHECKING:
    from .conftest import Guest

NASTY = {
    "plain": b"Correct4Horse",
    "blanks": b"two  blanks   three",
    "outer blanks": b"  inside and outside  ",
    "tab": b"tab\there",
    "only blank": b" ",
    "star": b"*",
    "glob": b"/etc/pass* ?[a-z]?",
    "dash n": b"-n",
    "dash e": b"-e -- --help",
    "backslashes": b"\\n\\t\\\\x\\c\\0101",
    "trailing backslash": b"ends\\",
    "colons": b"a:b::c:",
    "percent": b"100%s%d%n%%",
    "shell": b"$HOME `id` $(id) ${x} !! ; rm -rf | & > <",
    "quotes": b"'single' \"double\" '\"'",
    "hash": b"# not a comment",
    "tilde": b"~root",
    "utf-8": "pässwörd€ 密码 🔑".encode(),
    # Bytes that dash and busybox use as marks of their own inside words.
    "control-like utf-8": "ÁÂÃÄÅÆÇÈ\u0101\u0102".encode(),
    "not utf-8": b"\xff\xfe\x80\x81\x82\x83\x84\x85\x86\x87\x88",
    "long": b"x" * 511,
    "sentinel inside": b"saved_password1",
}


@pytest.mark.parametrize("password", NASTY.values(), ids=NASTY.keys())
def test_exact_bytes_reach_chpasswd_once(guest: Guest, password: bytes) -> None:
    guest.drive(password=password)
    assert guest.set_password() == 0
    assert guest.passwords == b"root:" + password + b"\n"
    assert guest.set_password() == 0
    assert guest.password_calls == 1


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\n\r\n\n"], ids=["LF", "CRLF", "several"])
@pytest.mark.parametrize("name", ["outer blanks", "trailing backslash", "utf-8"])
def test_ends_of_line_are_not_part_of_the_password(guest: Guest, name: str, ending: bytes) -> None:
    guest.drive(password=NASTY[name] + ending)
    assert guest.set_password() == 0
    assert guest.passwords == b"root:" + NASTY[name] + b"\n"


def test_names_in_the_working_folder_do_not_matter(guest: Guest) -> None:
    """The genuine script expands * and ? against the working folder."""
    guest.drive(password=b"s*")  # there are the folders "state" and "sbin", and the file "settings"
    guest.settings += f"cd {guest.base}\n"
    assert guest.set_password() == 0
    assert guest.passwords == b"root:s*\n"


def test_changed_password_is_set_again_and_the_same_one_never(guest: Guest) -> None:
    for password, calls in [(b"first one", 1), (b"first one\n", 1), (b"second", 2), (b"second\r\n", 2), (b"first one", 3)]:
        guest.drive(password=password)
        assert guest.set_password() == 0
        assert guest.password_calls == calls
    assert guest.passwords == b"root:first one\nroot:second\nroot:first one\n"


@pytest.mark.parametrize("password", [b"", b"\n", b"\r\n", b"saved_password", b"saved_password\n", b"bad_request"])
def test_what_means_nothing_new_is_ignored(guest: Guest, password: bytes) -> None:
    guest.drive(password=password)
    assert guest.set_password() == 0
    assert guest.password_calls == 0
    assert not (guest.base / "state").exists()


@pytest.mark.parametrize("password", [b"first\nsecond", b"first\rsecond", b"x\nadmin:stolen\n", b"\nsecond"])
def test_more_than_one_line_is_refused(guest: Guest, password: bytes) -> None:
    """A second line would be a second user's password to chpasswd."""
    guest.drive(password=password)
    assert guest.set_password() == 1
    assert guest.password_calls == 0
    assert "more than one line" in guest.log


def test_no_password_and_no_drive_are_no_errors(guest: Guest) -> None:
    guest.device("sr0", None)
    assert guest.set_password() == 0
    guest.drive()
    assert guest.set_password() == 0
    assert guest.password_calls == 0


def test_chpasswd_failing_is_not_remembered_and_tried_again(guest: Guest) -> None:
    guest.drive(password=b"secret word")
    guest.chpasswd_exits(1)
    assert guest.set_password() == 1
    assert "chpasswd refused the password of root (exit 1)" in guest.log
    assert not (guest.base / "state/password").exists()
    guest.chpasswd_exits(0)
    assert guest.set_password() == 0
    assert guest.set_password() == 0
    assert guest.password_calls == 2


def test_failing_on_a_new_password_keeps_the_memory_of_the_old(guest: Guest) -> None:
    guest.drive(password=b"old")
    assert guest.set_password() == 0
    guest.drive(password=b"new")
    guest.chpasswd_exits(1)
    assert guest.set_password() == 1
    guest.drive(password=b"old")
    assert guest.set_password() == 0
    assert guest.password_calls == 2


def test_state_is_a_salted_digest_for_root_alone(guest: Guest) -> None:
    password = b"Correct4Horse"
    guest.drive(password=password)
    states = []
    for _time in range(2):
        assert guest.set_password() == 0
        state = guest.base / "state/password"
        assert (state.stat().st_mode & 0o777, state.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        states.append(state.read_text())
        state.unlink()
    assert states[0] != states[1], "the salt is new each time"
    algorithm, salt, digest = states[0].split()
    assert algorithm == "sha512"
    assert re.fullmatch("[0-9a-f]{32}", salt)
    assert digest == hashlib.sha512(salt.encode() + b":root:" + password).hexdigest()


@pytest.mark.parametrize("state", [b"", b"\n", b"sha512", b"sha512  ", b"md5 x y\n", b"\xff\x00\x01", b"sha512 $(id) *\n" * 3])
def test_damaged_state_counts_as_none(guest: Guest, state: bytes) -> None:
    (guest.base / "state").mkdir()
    (guest.base / "state/password").write_bytes(state)
    guest.drive(password=b"word")
    assert guest.set_password() == 0
    assert guest.set_password() == 0
    assert guest.password_calls == 1


@pytest.mark.parametrize(
    ("missing", "algorithm"),
    [(["sha512sum"], "sha512"), (["sha512sum", "sha256sum"], "sha512"), (["sha512sum", "openssl"], "sha256")],
)
def test_other_digest_tools(guest: Guest, missing: list[str], algorithm: str) -> None:
    guest.without(*missing)
    guest.drive(password=b"word")
    for _time in range(2):
        assert guest.set_password() == 0
    assert guest.password_calls == 1
    assert (guest.base / "state/password").read_text().split()[0] == algorithm


@pytest.mark.parametrize("missing", [["sha512sum", "sha256sum", "openssl"], ["chpasswd"]])
def test_without_the_tools_nothing_is_touched(guest: Guest, missing: list[str]) -> None:
    guest.without(*missing)
    guest.drive(password=b"word")
    assert guest.set_password() == 1
    assert guest.password_calls == 0
    assert "the password is not touched" in guest.log


def test_other_user_and_switched_off(guest: Guest) -> None:
    guest.drive(password=b"word")
    guest.settings = "SET_PASSWORD=no\n"
    assert guest.set_password() == 0
    assert guest.password_calls == 0
    guest.settings = "PASSWORD_USER=admin\n"
    assert guest.set_password() == 0
    guest.settings = "PASSWORD_USER=other\n"
    assert guest.set_password() == 0
    assert guest.passwords == b"admin:word\nother:word\n"


@pytest.mark.parametrize("user", ["", "-x", "a:b", "root\nadmin"])
def test_user_that_is_no_user_name(guest: Guest, user: str) -> None:
    guest.drive(password=b"word")
    guest.settings = f"PASSWORD_USER='{user}'\n"
    assert guest.set_password() == 1
    assert guest.password_calls == 0


def test_password_is_nowhere_else(guest: Guest) -> None:
    """Arguments and environment of every command, the log, the state, what is printed: no mark of it."""
    first, second = b"canary-7f3a", b"canary-91bc"
    marks = [
        b"canary",
        *(
            hashlib.new(name, word + end).hexdigest().encode()
            for name in ("md5", "sha1", "sha256", "sha512")
            for word in (first, second)
            for end in (b"", b"\n")
        ),
    ]
    for password, status in [(first, 0), (first, 0), (second, 1), (second, 0), (b"canary\nlines", None)]:
        guest.drive(password=password)
        guest.chpasswd_exits(status or 0)
        # A variable of this name in the environment would make the shell export the new value.
        result = guest.run("cloud-set-vm-password.sh", extra_env={"password": "inherited", "digest": "inherited"})
        assert "canary" not in result.out.decode() + result.err
    assert first in guest.passwords
    assert second in guest.passwords
    places = guest.everything_else()
    assert any(name.endswith("calls/argv") and b"chpasswd" in data for name, data in places.items())
    assert any("calls/env." in name and b"CONFIG_DRIVE_SETTINGS" in data for name, data in places.items())
    for name, data in places.items():
        for mark in marks:
            assert mark not in data, f"{mark!r} found in {name}"


def test_traced_shell_shows_nothing(guest: Guest) -> None:
    """sh -x and SHELLOPTS are how such scripts are debugged."""
    guest.drive(password=b"canary-7f3a")
    script = guest.base / "sbin/cloud-set-vm-password.sh"
    first, rest = script.read_text().split("\n", 1)
    script.write_text(f"{first}\nset -x -a\n{rest}")
    result = guest.run("cloud-set-vm-password.sh")
    assert result.status == 0
    assert guest.passwords == b"root:canary-7f3a\n"
    assert "canary" not in result.err
    assert not any(b"canary" in data for data in guest.everything_else().values())


def test_state_that_cannot_be_written(guest: Guest) -> None:
    guest.drive(password=b"word")
    (guest.base / "state").write_text("a file where the folder should be")
    assert guest.set_password() == 1
    assert "cannot be written" in guest.log


def test_words_for_syslog_have_a_tag_and_no_value(guest: Guest) -> None:
    guest.drive(password=b"word")
    assert guest.set_password() == 0
    assert guest.calls("logger") == [
        ["-t", "cloud-set-vm-password.sh", "-p", "auth.notice", "--", "password of root set from the config drive"]
    ]


def test_without_syslog_stderr_is_used(guest: Guest) -> None:
    (guest.base / "dev/log").unlink()
    guest.drive(password=b"word")
    result = guest.run("cloud-set-vm-password.sh")
    assert result.err == "cloud-set-vm-password.sh: password of root set from the config drive\n"
    assert guest.calls("logger") == []
