# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logs in on a guest's serial console, as a person would, so that the guest itself shows whether a password works.

Needs pexpect and virsh, but neither root nor a network to the guest.
"""

from __future__ import annotations

import argparse
import base64
import re
import sys
import time
import typing as t
import uuid

import pexpect

LOGIN = re.compile(r"login: $")
PASSWORD = re.compile(r"[Pp]assword: ?$")
SHELL = re.compile(r"[#$] $")


class ConsoleError(Exception):
    """The console cannot be used: no such machine, no prompt in time."""


class Console:
    """One connection to a guest's serial console. Use it in a `with` statement.

    `timeout` (seconds) is for each answer of the guest, its boot included.
    """

    def __init__(self, uri: str, domain: str, timeout: float = 180) -> None:
        self.domain = domain
        self.timeout = timeout
        command = ["-c", uri, "console", "--force", domain]
        self.child = pexpect.spawn(
            "virsh", command, encoding="utf-8", codec_errors="replace", timeout=timeout, dimensions=(24, 250)
        )
        #: Whether something was typed that has not been answered; its answer may come after a later question.
        self.unanswered = False
        self.session = False
        # Wait until virsh is connected, or what is sent next would be lost.
        if self.child.expect([r"Escape character is .*\n", pexpect.EOF, pexpect.TIMEOUT], timeout=30) != 0:
            self.child.close(force=True)
            raise ConsoleError(f"no console of {domain}: {(self.child.before or '').strip() or 'virsh console says nothing'}")

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *unused: object) -> None:
        self.child.sendcontrol("]")
        self.child.close(force=True)

    def prompt(self, seen: str = "") -> None:
        """Waits for a quiet login prompt, with nothing typed or printed behind it.

        After a failed login `login` asks for a name again by itself. Text that was typed too early is answered one step late,
        which makes a right password look refused. So this types only if it must, and never twice without an answer.
        `seen` is what has been read of the last line already.
        """
        started = typed = time.monotonic()
        self.unanswered = False

        heard = ""

        def answer_with(text: str) -> None:
            nonlocal typed, heard
            typed, heard = time.monotonic(), ""
            self.unanswered = True
            self.child.send(text)

        while time.monotonic() < started + self.timeout:
            text, seen = seen + self.read(1.0), ""
            heard += text
            if LOGIN.search(text):
                # The answer was only the prompt; a longer text comes from a machine that has just booted.
                lines = [line for line in heard.splitlines() if line.strip() and "incorrect" not in line]
                self.unanswered = self.unanswered and len(lines) > 1
                return
            if not self.child.isalive():
                raise ConsoleError(f"the console of {self.domain} was closed: is the machine still running?")
            if PASSWORD.search(text):
                answer_with("\r")
            elif SHELL.search(text):
                # An open session that was left behind.
                answer_with("\x04")
            elif not text and not self.unanswered and time.monotonic() > started + 2:
                # A machine that has booted prints nothing by itself, so a line is typed once; one that is still booting will print.
                answer_with("\r")
            elif not text and time.monotonic() > typed + 45:
                # A program that does not react is interrupted.
                answer_with("\x03")
        raise ConsoleError(f"no login prompt on the console of {self.domain} within {self.timeout:g} s")

    def read(self, seconds: float) -> str:
        """The output until nothing came for `seconds`, at most its last 4096 characters."""
        text = ""
        while True:
            try:
                text = (text + self.child.read_nonblocking(4096, timeout=seconds))[-4096:]
            except (pexpect.TIMEOUT, pexpect.EOF):
                return text

    def login(self, user: str, password: str) -> bool:
        """Whether the guest lets `user` in with `password`; the session stays open when it does."""
        seen = ""
        for _attempt in range(5):
            self.prompt(seen)
            # After a line that was typed while the machine was booting, a refusal proves nothing: the line may have been read as the name.
            doubtful = self.unanswered
            self.child.send(f"{user}\r")
            answer = self.child.expect([PASSWORD, "login: ", pexpect.TIMEOUT, pexpect.EOF], timeout=min(self.timeout, 60))
            if answer == 1:
                # The name was lost while the terminal was being set up.
                seen = "login: "
                continue
            if answer != 0:
                raise ConsoleError(f"{self.domain} does not ask {user} for a password")
            # At its prompt `login` switches the echo off and throws away what was typed before.
            self.read(0.3)
            self.child.send(f"{password}\r")
            answer = self.child.expect(["[Ll]ogin incorrect", "[Pp]assword expired", SHELL, pexpect.TIMEOUT, pexpect.EOF])
            if answer == 2:
                break
            if answer > 2:
                raise ConsoleError(f"{self.domain} neither lets {user} in nor refuses")
            if not doubtful:
                return False
            # `login` pauses after a refusal; nothing may be typed meanwhile.
            if self.child.expect(["login: ", pexpect.TIMEOUT, pexpect.EOF]) != 0:
                raise ConsoleError(f"no login prompt on the console of {self.domain} after a refusal")
            seen = "login: "
        else:
            raise ConsoleError(f"the console of {self.domain} answers to something else than was typed")
        self.session = True
        # A text may look like a prompt; only a shell can calculate.
        return self.run("echo $((6 * 7))").strip() == "42"

    def run(self, command: str) -> str:
        """What a command prints in the session that `login` opened (both streams, without the last line break)."""
        mark = uuid.uuid4().hex[:12]
        encoded = base64.b64encode(command.encode()).decode()
        # The marks are written in two parts, so that the terminal's echo of the line does not look like them.
        begin, end = (f"printf '\\n%s%s\\n' {mark[:6]} {mark[6:]}{letter}" for letter in "be")
        self.child.send(f'{begin}; eval "$(echo {encoded} | base64 -d)" 2>&1; {end}\r')
        if self.child.expect([rf"{mark}b\r*\n", pexpect.TIMEOUT, pexpect.EOF]) != 0:
            raise ConsoleError(f"no answer of the shell on {self.domain}")
        if self.child.expect([rf"\r*\n{mark}e\r*\n", pexpect.TIMEOUT, pexpect.EOF]) != 0:
            raise ConsoleError(f"the command does not end on {self.domain}: {command}")
        output = re.sub(r"\r+\n", "\n", self.child.before or "")
        self.child.expect([SHELL, pexpect.TIMEOUT], timeout=10)
        return output.rstrip("\n")

    def leave(self) -> None:
        """Ends an open session and waits a moment for the login prompt, which the next user of the console needs."""
        if self.session:
            self.child.sendcontrol("d")
        self.child.expect([LOGIN, pexpect.TIMEOUT, pexpect.EOF], timeout=15)


def login(uri: str, domain: str, user: str, password: str, timeout: float = 180) -> bool:
    """Whether `user` can log in with `password` on the serial console of `domain`; leaves a fresh login prompt behind."""
    with Console(uri, domain, timeout) as console:
        accepted = console.login(user, password)
        console.leave()
        return accepted


def run(uri: str, domain: str, user: str, password: str, command: str, timeout: float = 180) -> str:
    """What `command` prints in the guest; ConsoleError when the login is refused."""
    with Console(uri, domain, timeout) as console:
        if not console.login(user, password):
            raise ConsoleError(f"{domain} refuses {user}'s login")
        output = console.run(command)
        console.leave()
        return output


def main(arguments: t.Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Log in on a guest's serial console; the password is read from stdin (one line)."
    )
    parser.add_argument("--uri", required=True, help="libvirt URI")
    parser.add_argument("--domain", required=True, help="name of the machine")
    parser.add_argument("--user", default="root")
    parser.add_argument("--timeout", type=float, default=180, help="seconds to wait for each answer, the boot included")
    parser.add_argument("--run", metavar="COMMAND", help="after the login, run this and print what it prints")
    options = parser.parse_args(arguments)
    password = sys.stdin.readline().rstrip("\n")
    try:
        if options.run:
            print(run(options.uri, options.domain, options.user, password, options.run, options.timeout))
            return 0
        accepted = login(options.uri, options.domain, options.user, password, options.timeout)
    except ConsoleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("login accepted" if accepted else "login refused")
    return 0 if accepted else 1


if __name__ == "__main__":
    sys.exit(main())
