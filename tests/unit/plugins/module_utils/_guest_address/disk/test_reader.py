# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the process that reads a disk may do, and what becomes of its word."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk import child, reader, wire


def confined(action: t.Callable[[], None], **limits: int) -> int:
    """The exit status of a process that confines itself and then does this; 7 where that raised."""
    pid = os.fork()
    if pid == 0:
        try:
            child.confine({"memory": 1 << 30, "cpu": 5, "wall": 5, **limits})
            action()
            os._exit(0)
        except (OSError, MemoryError):
            os._exit(7)
        finally:
            os._exit(9)
    return os.waitpid(pid, 0)[1]


def spin() -> None:
    while True:
        pass


@pytest.mark.parametrize(
    "action",
    [
        lambda: open("/etc/passwd", "rb").close(),
        lambda: socket.socket().close(),
        lambda: socket.socket(socket.AF_UNIX).close(),
        os.pipe,
        lambda: bytearray(2 << 30),
    ],
)
def test_a_confined_process_can_open_nothing_and_take_no_more_memory(action: t.Callable[[], None]):
    assert os.waitstatus_to_exitcode(confined(action)) == 7


def test_a_confined_process_ends_at_its_time():
    started = time.monotonic()
    assert os.WTERMSIG(confined(spin, wall=1)) == signal.SIGALRM
    assert os.WTERMSIG(confined(spin, cpu=1, wall=120)) in (signal.SIGXCPU, signal.SIGKILL)
    assert time.monotonic() - started < 100


def test_root_becomes_nobody():
    if os.geteuid() != 0:
        pytest.skip("this needs root")

    def action() -> None:
        if os.geteuid() == 0 or os.getgroups():
            raise OSError

    assert os.waitstatus_to_exitcode(confined(action)) == 0


class Disk:
    format, size = "raw", 1 << 20

    def read(self, offset: int, length: int) -> bytes:
        return b"\0" * length


class Told(reader.DiskReader):
    """A reader whose child says this, in one conversation after the other; it keeps the orders."""

    def __init__(self, *conversations: t.Sequence[tuple[bytes, bytes]], limits: reader.Limits | None = None) -> None:
        super().__init__(limits)
        self.orders: list[dict[str, t.Any]] = []
        self._conversations = iter(conversations)
        self._child: socket.socket | None = None

    def _one_guest(self, order: bytes) -> socket.socket:
        self.orders.append(json.loads(order))
        self.close()
        ours, self._child = socket.socketpair()
        for what, content in next(self._conversations):
            wire.send(self._child, what, content)
        self._child.shutdown(socket.SHUT_WR)
        return ours

    def close(self) -> None:
        if self._child is not None:
            self._child.close()

    def __del__(self) -> None:
        self.close()


def served(*said: tuple[bytes, bytes], limits: reader.Limits | None = None) -> reader.Examined:
    """What a reader makes of a child that says this."""
    return Told(said, limits=limits).read([[Disk()]], 2)


GOOD = {
    "leases": [["dhclient", "10.0.0.5", "eth0", None, 1.0, 2.0, True]],
    "started": 1.0,
    "system": "linux",
    "notes": [],
    "peak": 1,
}


def test_a_good_answer():
    seen = served((wire.ANSWER, json.dumps(GOOD).encode()))
    assert seen.leases[0].address == "10.0.0.5" and seen.system == "linux"


@pytest.mark.parametrize(
    "change",
    [
        {"leases": 7},
        {"leases": [[]]},
        {"leases": [["dhclient"] * 99]},
        {"notes": None},
        {"peak": "x"},
        {"failed": "memory"},
    ],
)
def test_answers_that_are_none(change: dict[str, t.Any]):
    with pytest.raises(reader.Unreadable):
        served((wire.ANSWER, json.dumps({**GOOD, **change}).encode()))


@pytest.mark.parametrize(
    "lease",
    [
        ["dhclient", "127.0.0.1", None, None, None, None, True],
        ["dhclient", "$(reboot)", None, None, None, None, True],
        [None, "10.0.0.5", None, None, None, None, True],
    ],
)
def test_leases_that_are_none(lease: list[t.Any]):
    assert served((wire.ANSWER, json.dumps({**GOOD, "leases": [lease], "system": "<b>"}).encode())).leases == ()


@pytest.mark.parametrize(
    "said",
    [
        [],
        [(wire.ANSWER, b"not JSON")],
        [(wire.ANSWER, b"[]")],
        [(wire.READ, b"short")],
        [(wire.READ, wire.REQUEST.pack(9, 0, 512))],
        [(wire.READ, wire.REQUEST.pack(0, 1 << 40, 512))],
        [(wire.READ, wire.REQUEST.pack(0, 0, 1 << 31))],
        [(wire.READ, wire.REQUEST.pack(0, 0, 1 << 20))] * 3,
    ],
)
def test_a_child_that_wants_or_says_too_much(said: list[tuple[bytes, bytes]]):
    with pytest.raises(reader.Unreadable):
        served(*said, limits=reader.Limits(transfer=2 << 20))


def answer(**content: t.Any) -> list[tuple[bytes, bytes]]:
    return [(wire.ANSWER, json.dumps(content).encode())]


def test_a_part_of_the_library_that_the_disk_needs_is_loaded_and_the_disk_read_again():
    piece = (wire.READ, wire.REQUEST.pack(0, 0, 1 << 15))
    found = Told([piece, *answer(part="lvm")], [piece, *answer(part="xfs")], [piece, *answer(**GOOD)])
    assert found.read([[Disk()]]).fetched == 3 << 15
    assert [order["parts"] for order in found.orders] == [[], ["lvm"], ["lvm", "xfs"]]


def test_the_bound_of_bytes_is_one_for_all_its_readings():
    piece = (wire.READ, wire.REQUEST.pack(0, 0, 1 << 15))
    with pytest.raises(reader.Unreadable, match="bytes would have to be read"):
        Told([piece, *answer(part="lvm")], [piece, piece], limits=reader.Limits(transfer=1 << 16)).read([[Disk()]])


@pytest.mark.parametrize("parts", [["os"], [7], [["ext"]], ["xfs", "xfs"]])
def test_parts_that_are_none_or_were_loaded(parts: list[t.Any]):
    with pytest.raises(reader.Unreadable):
        Told(*(answer(part=part) for part in parts)).read([[Disk()]])


def test_a_part_that_is_not_installed():
    with pytest.raises(reader.Missing, match="No module named 'dissect.xfs'.*requirements-disks.txt"):
        Told(answer(part="xfs"), answer(missing="No module named 'dissect.xfs'")).read([[Disk()]])


def test_without_the_library_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        reader, "_BOOT", 'import socket, sys; socket.socket(fileno=int(sys.argv[-1])).send(b\'{"missing": "No module"}\')'
    )
    found = reader.DiskReader()
    for _again in range(2):
        with pytest.raises(reader.Missing, match="No module.*requirements-disks.txt"):
            found.read([[Disk()]])
    found.close()
