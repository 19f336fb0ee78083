# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Ends the backup jobs of a module that was killed: a small process beside it, which hears that the module is gone.

The module reports each job before it begins and after it has ended. When the pipe closes, the guard ends the jobs still open.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import backup
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt

if t.TYPE_CHECKING:
    from collections.abc import Iterator

_BOOT = f"import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {__name__} import main; main()"
# Seconds for a job that libvirt was about to begin when its module was killed.
_PATIENCE = 10


class Guard:
    """The module's side. The process is started with the first job, and ends with this object or this process."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._lock = threading.Lock()
        self._process: t.Optional[subprocess.Popen[bytes]] = None

    @contextlib.contextmanager
    def watching(self, uuid: str, path: str) -> Iterator[None]:
        """The job that listens at `path` may be there until the block ends."""
        self._tell("+", uuid, path)
        try:
            yield
        finally:
            self._tell("-", uuid, path)

    def close(self) -> None:
        """Ends the process; jobs that are still open it ends first."""
        with self._lock:
            if self._process is not None and self._process.stdin is not None:
                with contextlib.suppress(OSError):
                    self._process.stdin.close()
                self._process = None

    def _tell(self, *words: str) -> None:
        with self._lock:
            if self._process is None:
                own = __file__.rpartition(os.sep + __name__.partition(".")[0] + os.sep)[0]
                path = [os.path.abspath(entry) for entry in (own, *sys.path) if entry]
                self._process = subprocess.Popen(  # pylint: disable=consider-using-with,ansible-bad-function  # it stays
                    [sys.executable, "-I", "-B", "-c", _BOOT, json.dumps(path), self._uri],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    start_new_session=True,
                )
            stdin = t.cast("t.IO[bytes]", self._process.stdin)
            with contextlib.suppress(OSError):  # without it the next look ends what is left
                stdin.write((json.dumps(words) + "\n").encode())
                stdin.flush()


def main() -> None:
    """The guard's side: reads until the module is gone."""
    jobs: dict[str, str] = {}
    for line in sys.stdin:
        what, uuid, path = json.loads(line)
        if what == "+":
            jobs[path] = uuid
        else:
            jobs.pop(path, None)
    if jobs:
        _end_all(sys.argv[-1], jobs)


def _end_all(uri: str, jobs: dict[str, str]) -> None:
    connection = libvirt.open(uri)
    patience = time.monotonic() + _PATIENCE
    while jobs and time.monotonic() < patience:
        for path, uuid in list(jobs.items()):
            try:
                if backup.end(connection.lookupByUUIDString(uuid), path):
                    del jobs[path]
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    del jobs[path]
        time.sleep(0.2)
