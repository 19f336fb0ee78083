# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the rigs of servers on loopback share: a server's process in a folder of its own, accounts, ports, the command line.

As root the servers run as their packages' users, because they refuse root; as anybody else they run as that user.
Standard library only and Python 3.9.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import random
import re
import signal
import socket
import subprocess
import time
import typing as t
from pathlib import Path

from librig import RigError

# A folder of the user's own: the one without a number is root's, where the KVM and DHCP rigs are.
DEFAULT_RIG_DIR = "/var/tmp/vmops-external-dhcp" + (f"-{os.getuid()}" if os.getuid() else "")

# Below those of /proc/sys/net/ipv4/ip_local_port_range.
_NOT_FOR_CLIENTS = (20000, 32000)


class Server:
    """One server in `folder`, which it owns. start() after stop() or kill() goes on with the same data and port.

    kind: the server's name for messages; user: the account that its package makes for it; package: the package's name.
    """

    kind = user = package = ""
    stop_signal = signal.SIGTERM
    start_seconds = 60

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.log = folder / "server.log"

    def command(self) -> list[str]:
        """The command that starts the server in the foreground."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it has started."""
        raise NotImplementedError

    def credentials(self) -> dict[str, t.Any]:
        """Options of subprocess for the account that the server runs as."""
        return {}

    def account(self) -> pwd.struct_passwd | None:
        """The account that the server runs as; None for the account that started the rig."""
        if os.geteuid() != 0:
            return None
        try:
            return pwd.getpwnam(self.user)
        except KeyError:
            raise RigError(f"there is no user {self.user}: install the package {self.package}") from None

    def start(self) -> None:
        """Starts the server, and returns when it answers."""
        with open(self.log, "wb") as log:
            process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self.credentials(),
            )
        (self.folder / "rig.pid").write_text(str(process.pid))
        limit = time.monotonic() + self.start_seconds
        while time.monotonic() < limit:
            if process.poll() is not None:
                raise RigError(f"{self.kind} ended at once: {self.log.read_text(errors='replace')[-600:]}")
            if self.answers():
                return
            time.sleep(0.05)
        self.kill()
        raise RigError(f"{self.kind} does not answer after {self.start_seconds} s, see {self.log}")

    def pid(self) -> int | None:
        """The server's process; None if it does not run."""
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.folder / "rig.pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            if str(self.folder) in command:  # or the number belongs to another process by now
                return pid
        return None

    def stop(self) -> None:
        """Ends the server in order, with the clients' sessions."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """Ends the server as a power cut would."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        pid = self.pid()
        if pid is None:
            return
        os.kill(pid, number)
        limit = time.monotonic() + self.start_seconds
        while time.monotonic() < limit:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            if self.pid() is None:
                return
            time.sleep(0.02)
        raise RigError(f"{self.kind} (process {pid}) does not end")


def free_port() -> int:
    """A port of the loopback that is free for TCP and UDP, and that the kernel gives to no client before the server has it."""
    while True:
        port = random.randrange(*_NOT_FOR_CLIENTS)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp, contextlib.suppress(OSError):
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
            return port


def command_line(kind: str, description: str) -> tuple[str, Path]:
    """The rig's command (up, status or down), and the folder of the rig of that name."""
    parser = argparse.ArgumentParser(prog="rig", description=description)
    parser.add_argument("command", choices=["up", "status", "down"])
    parser.add_argument("--name", default="demo", help="name of this rig (default: demo)")
    arguments = parser.parse_args()
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", arguments.name):
        parser.error("--name takes letters, digits, - and _")
    return arguments.command, Path(os.environ.get("VMOPS_RIG_DIR", DEFAULT_RIG_DIR)) / f"{arguments.name}-{kind}"
