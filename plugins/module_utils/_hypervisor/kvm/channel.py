# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""How a unix socket or a file of the KVM host is reached from here: directly, or through the same ssh as libvirt's own."""

from __future__ import annotations

import contextlib
import os
import posixpath
import socket
import struct
import subprocess
import tempfile
import threading
import time
import typing as t
import urllib.parse

_DEFAULT_SOCKET = "/run/libvirt/libvirt-sock"
_SSH_PATIENCE = 30


class NoChannel(Exception):
    """There is no way to the KVM host's sockets; the message says why."""


def channel_to(uri: str) -> Channel:
    """The channel that belongs to a libvirt URI."""
    parts = urllib.parse.urlsplit(uri)
    transport = parts.scheme.partition("+")[2]
    if not parts.path.endswith("system"):
        return Channel("QEMU listens only where libvirt runs as the system's own (a URI that ends with /system)")
    if transport in ("", "unix") and not parts.hostname:
        query = dict(urllib.parse.parse_qsl(parts.query))
        return LocalChannel(query.get("socket", _DEFAULT_SOCKET))
    if transport == "ssh":
        return SshChannel(parts)
    return Channel(f"a URI with {parts.scheme}:// has no channel to QEMU's socket (qemu+ssh:// has)")


class Channel:
    """No way at all."""

    def __init__(self, why: str) -> None:
        self._why = why

    def connect(self, path: str, timeout: float) -> socket.socket:
        """A connection to a unix socket of the KVM host, whose steps take `timeout` seconds at most. Raises NoChannel, OSError."""
        raise NoChannel(self._why)

    def check(self) -> None:
        """Raises NoChannel where it is known before that there is no way."""
        if self._why:
            raise NoChannel(self._why)

    def root(self) -> str | None:
        """The KVM host's root folder as this machine sees it, without '/' at the end; None if it does not."""
        return None

    def close(self) -> None:
        """Ends what was started for it."""


class LocalChannel(Channel):
    """libvirtd runs on this machine, perhaps in a container with folders of its own."""

    def __init__(self, libvirt_socket: str) -> None:
        super().__init__("")
        self._socket = libvirt_socket

    def root(self) -> str | None:
        """See Channel."""
        if not hasattr(socket, "SO_PEERCRED"):
            return ""
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(5)
                probe.connect(self._socket)
                pid = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            own, its = os.stat("/proc/self/ns/mnt"), os.stat(f"/proc/{pid}/ns/mnt")
        except OSError:
            return ""
        return "" if own.st_ino == its.st_ino else f"/proc/{pid}/root"

    def connect(self, path: str, timeout: float) -> socket.socket:
        """See Channel."""
        folder = os.open((self.root() or "") + posixpath.dirname(path), os.O_PATH | os.O_DIRECTORY)
        try:
            # Through the open folder's descriptor, because the address of a socket holds at most 107 bytes.
            return _connected(f"/proc/self/fd/{folder}/{posixpath.basename(path)}", timeout)
        except FileNotFoundError:
            raise NoChannel(f"{path} is not to be seen on this machine") from None
        finally:
            os.close(folder)


class SshChannel(Channel):
    """One ssh connection to the KVM host, in which each socket is forwarded."""

    def __init__(self, uri: urllib.parse.SplitResult) -> None:
        super().__init__("")
        query = dict(urllib.parse.parse_qsl(uri.query))
        # The same parts of the URI that libvirt uses. ssh would take a name that begins with '-' for an option.
        self._program = query.get("command", "ssh")
        self._options = ["-T", "-e", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
        if uri.port:
            self._options += ["-p", str(uri.port)]
        if uri.username:
            self._options += ["-l", urllib.parse.unquote(uri.username)]
        if query.get("keyfile"):
            self._options += ["-i", query["keyfile"]]
        if query.get("known_hosts"):
            self._options += ["-o", f"UserKnownHostsFile={query['known_hosts']}"]
        if query.get("no_verify") == "1" or query.get("known_hosts_verify") == "ignore":
            self._options += ["-o", "StrictHostKeyChecking=no"]
        self._host = uri.hostname or ""
        self._lock = threading.Lock()
        self._folder: t.Optional[str] = None
        self._master: t.Optional[subprocess.Popen[bytes]] = None
        self._count = 0

    def connect(self, path: str, timeout: float) -> socket.socket:
        """See Channel."""
        with self._lock:
            folder = self._start(time.monotonic() + min(timeout, _SSH_PATIENCE))
            self._count += 1
            local = os.path.join(folder, f"{self._count}.nbd")
            done = self._control(folder, "forward", f"{local}:{path}", timeout)
        if done.returncode:
            raise NoChannel(f"ssh did not forward QEMU's socket: {_last_line(done.stderr)}")
        try:
            return _connected(local, timeout)
        finally:
            self._control(folder, "cancel", f"{local}:{path}", timeout)
            with contextlib.suppress(OSError):
                os.unlink(local)

    def close(self) -> None:
        """See Channel."""
        with self._lock:
            if self._master is not None:
                self._master.terminate()
                self._master.wait()
                self._master = None
            if self._folder is not None:
                for name in os.listdir(self._folder):
                    os.unlink(os.path.join(self._folder, name))
                os.rmdir(self._folder)
                self._folder = None

    def _start(self, deadline: float) -> str:
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="ext-dhcp-")  # for this user alone
        control = os.path.join(self._folder, "ssh")
        if self._master is None:
            self._master = subprocess.Popen(  # pylint: disable=consider-using-with,ansible-bad-function  # it stays
                [self._program, "-M", "-S", control, "-N", *self._options, "--", self._host],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        while not os.path.exists(control):
            if self._master.poll() is not None or time.monotonic() > deadline:
                self._master.kill()
                self._master.wait()
                self._master = None
                raise NoChannel(f"no ssh connection to {self._host} for QEMU's socket")
            time.sleep(0.01)
        return self._folder

    def _control(self, folder: str, what: str, forward: str, timeout: float) -> subprocess.CompletedProcess[bytes]:
        control = os.path.join(folder, "ssh")
        return subprocess.run(  # pylint: disable=ansible-bad-function  # drivers know no Ansible
            [self._program, "-S", control, "-O", what, "-L", forward, "--", self._host],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )


def _connected(path: str, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _last_line(output: bytes) -> str:
    lines = output.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"
