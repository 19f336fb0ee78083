# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the test rigs share: names and folders, becoming root, locks, commands, network namespaces, own processes.

Standard library only and Python 3.9: a rig runs with the system's Python before any virtual environment exists.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

#: Folder of all rigs' states; one folder per rig's name below it. Traversable by everybody, since QEMU runs as its own user.
DEFAULT_RIG_DIR = "/var/tmp/vmops-external-dhcp"
#: Folder of what is built once and kept (guest images).
DEFAULT_CACHE_DIR = "/var/cache/vmops-external-dhcp"
#: Environment that sudo would drop and a rig needs.
KEPT_ENVIRONMENT = re.compile(r"^(VMOPS_[A-Z_]+|https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY)$")
#: A rig's name becomes part of link names, which the kernel limits to 15 bytes.
NAME = re.compile(r"^[a-z0-9][a-z0-9-]{0,9}$")

#: The addresses of a rig's network: every rig uses the same ones, since no two rigs' networks ever meet.
NETWORK = "10.99.0.0/24"
SERVER_ADDRESS = "10.99.0.2"
NETMASK = "255.255.255.0"
RANGE_FIRST, RANGE_LAST = "10.99.0.50", "10.99.0.250"


class RigError(Exception):
    """Something the person at the keyboard can do something about; the message says what."""


def say(text: str) -> None:
    """A line of progress: to stderr, since stdout carries KEY=VALUE lines."""
    print(text, file=sys.stderr, flush=True)


def become_root() -> None:
    """Starts the same command again through sudo when not root."""
    if os.geteuid() == 0:
        return
    if not shutil.which("sudo"):
        raise RigError("the rigs need root (network namespaces, mounts, libvirtd) and there is no sudo: run this as root")
    say("The rig needs root (network namespaces, mounts, libvirtd): running it with sudo.")
    kept = [f"{key}={value}" for key, value in os.environ.items() if KEPT_ENVIRONMENT.match(key)]
    script = os.path.abspath(sys.argv[0])
    os.execvp("sudo", ["sudo", "env", *kept, sys.executable, "-B", script, *sys.argv[1:]])


def use_system_path() -> None:
    """Adds the folders of system programs, which a user's PATH often lacks, and a locale whose messages are known."""
    folders = os.environ.get("PATH", "").split(":")
    for folder in ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"):
        if folder not in folders:
            folders.append(folder)
    os.environ["PATH"] = ":".join(folder for folder in folders if folder)
    os.environ["LC_ALL"] = "C"
    # libvirt's clients must not look for the person's own settings.
    os.environ.pop("LIBVIRT_DEFAULT_URI", None)


def need(programs: t.Mapping[str, str]) -> None:
    """Raises RigError naming the packages of the programs that are missing (program → package)."""
    missing = sorted({package for program, package in programs.items() if not shutil.which(program)})
    if missing:
        raise RigError(f"missing on this machine: {' '.join(missing)}. Install them with: apt-get install {' '.join(missing)}")


def run(
    *command: str | os.PathLike[str],
    check: bool = True,
    timeout: float | None = 60,
    stdin: str | None = None,
    env: t.Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, output captured as text.

    Raises RigError with the command's own words when it fails (unless check is false) or passes `timeout` seconds.
    """
    words = [os.fspath(word) for word in command]
    try:
        done = subprocess.run(
            words,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=timeout,
            check=False,
            env={**os.environ, **(env or {})},
        )
    except FileNotFoundError as error:
        raise RigError(f"{words[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise RigError(f"no end after {timeout:g} s: {' '.join(words)}") from error
    if check and done.returncode != 0:
        raise RigError(f"{' '.join(words)}\n  ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done


def wait_for(what: str, condition: t.Callable[[], t.Any], timeout: float, interval: float = 0.05) -> t.Any:
    """Asks `condition` until its answer is true and returns it; RigError naming `what` after `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise RigError(f"{what}: not within {timeout:g} s")
        time.sleep(interval)


class Rig:
    """Names and folders of the rig called `name`; touches nothing."""

    def __init__(self, name: str) -> None:
        if not NAME.match(name):
            raise RigError(f"--name {name!r}: use 1 to 10 lower-case letters, digits or '-', since link names derive from it")
        self.name = name
        self.base = Path(os.environ.get("VMOPS_RIG_DIR") or DEFAULT_RIG_DIR).absolute()
        self.state = self.base / name
        #: Namespace of the hypervisor (libvirtd, bridge, the guests' taps) and of the DHCP server.
        self.hypervisor_netns = f"vmops-{name}-hv"
        self.dhcp_netns = f"vmops-{name}-dhcp"
        #: Inside the hypervisor's namespace: the bridge (no address of its own) and the DHCP server's port on it.
        self.bridge = f"vxb-{name}"
        self.dhcp_port = f"vxd-{name}"
        self.dhcp = self.state / "dhcp"
        self.lease_file = self.dhcp / "leases"
        self.dhcp_log = self.dhcp / "dnsmasq.log"
        self.dhcp_pid = self.dhcp / "dnsmasq.pid"

    def make_state(self) -> None:
        """Creates the state's folders; refuses one that somebody else could have put there."""
        for folder in (self.base, self.state):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            found = os.lstat(folder)
            if found.st_uid != 0 or not os.path.isdir(folder) or os.path.islink(folder):
                raise RigError(f"{folder} must be a folder that root owns: remove it, or name another one in VMOPS_RIG_DIR")
            os.chmod(folder, 0o755)

    @contextlib.contextmanager
    def lock(self, timeout: float = 900) -> t.Iterator[None]:
        """One command at a time per rig, however the others end; leaves no file once the rig is down."""
        path = Path("/run") / f"vmops-external-dhcp-{self.name}.lock"
        with file_lock(path, f"another command for the rig {self.name!r}", timeout):
            yield
            if not self.state.exists():
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()


@contextlib.contextmanager
def file_lock(path: Path, holder: str, timeout: float) -> t.Iterator[None]:
    """An exclusive lock on a file, which may vanish when it is released; says once who is waited for."""
    end = time.monotonic() + timeout
    told = False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder before may have removed the file this lock stands on: then it protects nothing.
            if os.path.exists(path) and os.fstat(descriptor).st_ino == os.stat(path).st_ino:
                break
            os.close(descriptor)
            continue
        except BlockingIOError:
            os.close(descriptor)
        if time.monotonic() > end:
            raise RigError(f"waited {timeout:g} s for {holder} to end (lock {path})")
        if not told:
            say(f"waiting for {holder} ...")
            told = True
        time.sleep(0.2)
    try:
        yield
    finally:
        os.close(descriptor)


def in_background(work: t.Callable[[], t.Any]) -> t.Callable[[], t.Any]:
    """Runs `work` beside what follows; the returned function waits for its result, or raises its error."""
    results: list[t.Any] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as error:  # raised in the waiting thread
            errors.append(error)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()

    def result() -> t.Any:
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    return result


# Network namespaces -------------------------------------------------------------------------------------------------


def netns_exists(name: str) -> bool:
    return os.path.exists(f"/run/netns/{name}")


def netns_alive(name: str) -> bool:
    """Whether the name leads to a namespace; a file left by a killed `ip netns add` does not."""
    return netns_exists(name) and run("ip", "netns", "exec", name, "true", check=False).returncode == 0


def netns_add(name: str) -> None:
    if netns_exists(name):
        if netns_alive(name):
            return
        run("ip", "netns", "del", name, check=False)
        with contextlib.suppress(OSError):
            os.unlink(f"/run/netns/{name}")
    run("ip", "netns", "add", name)
    run("ip", "-n", name, "link", "set", "lo", "up")


def netns_pids(name: str) -> list[int]:
    """Processes inside the namespace."""
    if not netns_exists(name):
        return []
    return [int(word) for word in run("ip", "netns", "pids", name, check=False).stdout.split()]


def link_exists(netns: str, link: str) -> bool:
    return netns_exists(netns) and run("ip", "-n", netns, "link", "show", "dev", link, check=False).returncode == 0


# Own processes ------------------------------------------------------------------------------------------------------


def program_of(pid: int) -> str | None:
    """Base name of the program a process runs; None when there is no such process (any more)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, IndexError):
        return None
    if state == "Z" or not words[0]:
        return None
    return os.path.basename(words[0].decode(errors="replace"))


def read_pid(path: Path, program: str) -> int | None:
    """The process a pid file names, if it still is that program; a number that another process got since is not ours."""
    try:
        pid = int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return pid if program_of(pid) == program else None


def start_kept(command: t.Sequence[str], inside: t.Sequence[str], output: Path, env: t.Mapping[str, str] | None = None) -> None:
    """Starts a daemon (told to stay in the foreground) that outlives this command, with a keeper as its parent.

    `inside` are the words before it that lead into its namespaces; what it prints goes to the file `output`. Does not wait.
    """
    keeper = [sys.executable, "-I", "-B", str(Path(__file__).resolve().with_name("librig_keeper.py"))]
    # A daemon that a systemd service or a desktop session started this from must not hear from it, or speak to it.
    dropped = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "DBUS_SYSTEM_BUS_ADDRESS", "DBUS_SESSION_BUS_ADDRESS")
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    with output.open("ab") as stream:
        subprocess.Popen(
            [*inside, *keeper, *command],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            env={**environment, **(env or {})},
        )


def stop_process(pid: int, program: str, patience: float = 5) -> None:
    """Ends one process, politely first; does nothing when the number no longer belongs to that program."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5)):
        if program_of(pid) != program:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if program_of(pid) != program:
                return
            time.sleep(0.02)
    say(f"warning: process {pid} ({program}) does not end")


# Printing -----------------------------------------------------------------------------------------------------------


def print_values(values: t.Mapping[str, t.Any], as_json: bool) -> None:
    """KEY=VALUE lines (for a shell's `eval` too, so quoted where a value needs it), or one JSON object."""
    if as_json:
        print(json.dumps(values, indent=2, default=str))
        return
    for key, value in values.items():
        text = "" if value is None else str(value)
        if not re.match(r"^[A-Za-z0-9_@%+=:,./?-]*$", text) or "?" in text:
            text = "'" + text.replace("'", "'\\''") + "'"
        print(f"{key}={text}")


def main(command: t.Callable[[], int | None]) -> t.NoReturn:
    """Runs a rig's command line; turns errors meant for people into one line."""
    use_system_path()
    try:
        sys.exit(command() or 0)
    except RigError as error:
        say(f"error: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        say("interrupted; `down` removes what there is so far")
        sys.exit(130)
