# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Reads guests' disks through a child process that is given blocks and nothing else."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import threading
import time
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk import dissect_import, wire
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.leases.lease import (
    MAX_LEASES,
    Lease,
    interface_name,
    moment,
    usable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.policy import normalize_mac

if t.TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    # Never imported here: it is named so that Ansible packs it with the modules.
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk import child  # noqa: F401

INSTALL = "pip install -r requirements-disks.txt (it is in the collection's folder), for the Python that runs the modules"
_CHILD = __name__.rpartition(".")[0] + ".child"
_BOOT = f"import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {_CHILD} import main; main()"
_START_PATIENCE = 30
_NONSENSE = "the process that reads disks gave an answer that makes no sense"


class SourceFile(t.Protocol):
    """One file of a disk: how it is laid out (raw, qcow2), its size in bytes, and its bytes."""

    format: str
    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes, which lie within the size. Raises what it likes."""


class Unreadable(Exception):
    """The disk gave no answer; the message says why. late: it was for want of time."""

    def __init__(self, message: str, late: bool = False) -> None:
        super().__init__(message)
        self.late = late


class Missing(Exception):
    """The library that reads disks is not installed; the message says how to get it."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """For one guest. memory: bytes of the process; cpu, wall: seconds; transfer: bytes read from its disks."""

    memory: int = 512 << 20
    cpu: int = 10
    wall: int = 15
    transfer: int = 64 << 20


@dataclasses.dataclass(frozen=True)
class Examined:
    """What the disks of one guest tell; see examine. fetched: bytes that were read from them. peak: bytes of memory it took."""

    leases: tuple[Lease, ...]
    started: t.Optional[float]
    system: t.Optional[str]
    notes: tuple[str, ...]
    fetched: int = 0
    peak: int = 0


class DiskReader:
    """One child process for many guests, from several threads. It is started at the first reading."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._lock = threading.Lock()
        self._process: t.Optional[subprocess.Popen[bytes]] = None
        self._control: t.Optional[socket.socket] = None
        self._missing: t.Optional[str] = None
        self._ready = False

    def prepare(self) -> None:
        """Lets the child start while there is something else to do first."""
        with self._lock:
            if self._control is None and self._missing is None:
                self._launch()

    def wait(self) -> None:
        """Returns when a disk can be read at once. Raises Missing and Unreadable."""
        with self._lock:
            self._start()

    def read(self, disks: Sequence[Sequence[SourceFile]], wall: float | None = None) -> Examined:
        """What the disks tell; each is given as its files from the top down. wall: seconds, if less than the limit's.

        Raises Missing, Unreadable, and what a file's read() raises.
        """
        files = [file for disk in disks for file in disk]
        number = iter(range(len(files)))
        seconds = min(self.limits.wall, wall or self.limits.wall)
        deadline = time.monotonic() + seconds
        parts: list[str] = []
        order = {
            "limits": dict(dataclasses.asdict(self.limits), wall=max(1, round(seconds))),
            "disks": [[{"format": f.format, "size": f.size, "number": next(number)} for f in disk] for disk in disks],
            "parts": parts,
        }
        fetched = 0
        while True:
            with self._one_guest(json.dumps(order).encode()) as channel:
                content, count = self._serve(channel, files, deadline, self.limits.transfer - fetched)
            fetched += count
            answer = _answer(content)
            if "part" not in answer:
                return _examined(answer, fetched)
            # Once more, with a part of the library that this disk needs.
            if answer["part"] not in dissect_import.PARTS or answer["part"] in parts:
                raise Unreadable("the process that reads disks asked for what cannot be")
            parts.append(answer["part"])

    def close(self) -> None:
        """Ends the child; what it was reading is given up."""
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._control = self._process = None
        self._ready = False

    def _one_guest(self, order: bytes) -> socket.socket:
        ours, theirs = socket.socketpair()
        try:
            with self._lock:
                try:
                    socket.send_fds(self._start(), [order], [theirs.fileno()])
                except OSError:
                    # It was ended from outside: once more, with a new one.
                    self._stop()
                    socket.send_fds(self._start(), [order], [theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def _start(self) -> socket.socket:
        """The control channel of a child that is ready. With the lock held."""
        if self._missing is not None:
            raise Missing(self._missing)
        control = self._control or self._launch()
        if self._ready:
            return control
        control.settimeout(_START_PATIENCE)
        try:
            hello = control.recv(wire.MAX_ANSWER)
        except OSError:
            hello = b""
        control.settimeout(None)
        if not hello:
            self._stop()
            raise Unreadable("the process that reads disks did not start")
        missing = json.loads(hello)["missing"]
        if missing is not None:
            self._stop()
            self._missing = _how_to_install(missing)
            raise Missing(self._missing)
        self._ready = True
        return control

    def _launch(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # This collection's own place first: a module's archive, or a folder that only Ansible's importer knows.
        own = __file__.rpartition(os.sep + __name__.partition(".")[0] + os.sep)[0]
        path = [os.path.abspath(entry) for entry in (own, *sys.path) if entry]
        with theirs:
            self._process = subprocess.Popen(  # pylint: disable=consider-using-with,ansible-bad-function  # it stays
                [sys.executable, "-I", "-B", "-c", _BOOT, json.dumps(path), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._control = ours
        return ours

    def _serve(self, channel: socket.socket, files: Sequence[SourceFile], deadline: float, most: int) -> tuple[bytes, int]:
        """The child's answer, and how many bytes were read for it: `most` at most."""
        left = most
        while True:
            channel.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                what, content = wire.receive(channel, wire.MAX_ANSWER)
            except socket.timeout:
                raise Unreadable("reading the disk took longer than its time limit", late=True) from None
            except OSError:
                raise Unreadable(
                    "reading the disk was ended at its limit of time or memory: what is on it may be damaged"
                ) from None
            if what == wire.ANSWER:
                return content, most - left
            number, offset, length = _request(content)
            if number >= len(files) or length > wire.MAX_DATA or offset + length > files[number].size:
                raise Unreadable("what is on the disk led beyond its end")
            left -= length
            if left < 0:
                raise Unreadable(f"more than {self.limits.transfer} bytes would have to be read")
            data = files[number].read(offset, length)
            try:
                wire.send(channel, wire.DATA, data)
            except OSError:
                raise Unreadable("reading the disk was ended at its limit of time or memory") from None


def _request(content: bytes) -> tuple[int, int, int]:
    if len(content) != wire.REQUEST.size:
        raise Unreadable("the process that reads disks asked for what cannot be")
    return wire.REQUEST.unpack(content)


def _how_to_install(missing: t.Any) -> str:
    return f"the library that reads disks is not complete ({str(missing)[:200]}): {INSTALL}"


def _answer(content: bytes) -> dict[str, t.Any]:
    """The child's answer, not trusted: it was made from what a guest wrote."""
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Unreadable(_NONSENSE)
    if "missing" in answer:
        raise Missing(_how_to_install(answer["missing"]))
    if "failed" in answer:
        raise Unreadable(f"the disk was not read: {str(answer['failed'])[:100]}")
    return answer


def _examined(answer: Mapping[str, t.Any], fetched: int) -> Examined:
    try:
        return Examined(
            tuple(lease for lease in map(_lease, answer["leases"][:MAX_LEASES]) if lease is not None),
            moment(answer["started"]),
            answer["system"] if answer["system"] in ("linux", "windows") else None,
            tuple(str(note)[:32] for note in answer["notes"][:32]),
            fetched,
            int(answer["peak"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Unreadable(_NONSENSE) from None


def _lease(fields: t.Any) -> Lease | None:
    client, address, interface, mac, obtained, expires, proof = fields
    good = usable(address)
    if good is None or not isinstance(client, str):
        return None
    return Lease(
        client[:32], good, interface_name(interface), normalize_mac(mac), moment(obtained), moment(expires), proof is True
    )
