# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The process that reads guests' disks: started once, it makes a process of its own for each guest, by fork.

So the libraries are loaded once, and a guest gets nothing but memory, processor and time up to a limit, a channel to ask for
blocks through, and no way to open anything: what it breaks is its own answer. A part of the library that is not loaded yet is
its answer, too: whoever asked then orders the same guest with that part.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.disk import chain, dissect_import, examine, wire

if t.TYPE_CHECKING:
    from collections.abc import Mapping

_NOBODY = 65534


def main() -> None:
    """Serves the control channel (its number is the last argument) until it ends."""
    control = socket.socket(fileno=int(sys.argv[-1]))
    control.send(json.dumps({"missing": dissect_import.load(dissect_import.COMMON)}).encode())
    examine.warm_up()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    while True:
        try:
            message, descriptors, _flags, _address = socket.recv_fds(control, wire.MAX_ANSWER, 1)
        except OSError:
            break
        if not message or len(descriptors) != 1:
            break
        order = json.loads(message)
        order["missing"] = dissect_import.load(order["parts"])
        if os.fork() == 0:
            control.close()
            _one_guest(descriptors[0], order)
        os.close(descriptors[0])
    os._exit(0)


def _one_guest(descriptor: int, order: Mapping[str, t.Any]) -> t.NoReturn:
    try:
        channel = socket.socket(fileno=descriptor)
        confine(order["limits"])
        try:
            if order["missing"] is not None:
                answer = {"missing": order["missing"]}
            else:
                answer = examine.examine(chain.open_disks(channel, order["disks"])).as_data()
        except dissect_import.NotLoaded as error:
            answer = {"part": error.part}
        except MemoryError:
            answer = {"failed": "memory"}
        except chain.ChainError as error:
            answer = {"failed": str(error)}
        answer["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        wire.send(channel, wire.ANSWER, json.dumps(answer).encode())
    except BaseException:  # pylint: disable=broad-except  # whoever asked sees that the channel ended
        pass
    finally:
        os._exit(0)


def confine(limits: Mapping[str, int]) -> None:
    """Gives up everything that reading needs not. limits: memory (bytes), cpu and wall (seconds)."""
    # SIGALRM and SIGXCPU end the process whatever it is doing.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(limits["wall"])
    for what, value in (
        (resource.RLIMIT_CPU, limits["cpu"]),
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),  # no file and no socket can be opened any more
    ):
        resource.setrlimit(what, (value, value))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
