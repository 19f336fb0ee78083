# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""QEMU's socket on another machine, reached through ssh: a real sshd on the loopback interface, and QEMU's own NBD server."""

from __future__ import annotations

import getpass
import os
import pathlib
import subprocess
import time
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import channel, nbd
from ansible_collections.vmops.external_dhcp.tests.integration.sshd import sshd


@pytest.fixture
def uri(tmp_path: pathlib.Path) -> t.Iterator[str]:
    """A qemu+ssh URI whose ssh works."""
    with sshd(tmp_path) as port:
        yield f"qemu+ssh://{getpass.getuser()}@127.0.0.1:{port}/system?keyfile={tmp_path}/user&no_verify=1"


def test_a_disk_through_ssh(uri: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    data = os.urandom(1 << 20)
    (tmp_path / "disk").write_bytes(data)
    where = tmp_path / "nbd"
    server = ["qemu-nbd", "-r", "-t", "-e", "4", "-f", "raw", "-x", "vda", "-k", str(where), str(tmp_path / "disk")]
    before = set(os.listdir("/tmp"))
    with subprocess.Popen(server) as process:
        while not where.exists():
            time.sleep(0.02)
        ssh = channel.channel_to(uri)
        started = time.monotonic()
        for _vm in range(3):
            export = nbd.NbdExport(ssh.connect(str(where), 20), "vda")
            assert (export.size, export.read(1000, 70000)) == (len(data), data[1000:71000])
            export.close()
        print(f"3 VMs through one ssh connection in {time.monotonic() - started:.2f} s")
        with pytest.raises((channel.NoChannel, nbd.NbdError, OSError)):
            nbd.NbdExport(ssh.connect(str(tmp_path / "none"), 20), "vda")
        ssh.close()
        process.terminate()
    left = {name for name in set(os.listdir("/tmp")) - before if name.startswith("ext-dhcp-")}
    assert left == set()
