# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""NBD against QEMU's own server, and against ones that say what cannot be."""

from __future__ import annotations

import os
import pathlib
import shutil
import socket
import struct
import subprocess
import time
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import channel, nbd


@pytest.fixture
def server(tmp_path: pathlib.Path) -> t.Iterator[tuple[str, bytes]]:
    """The socket of a qemu-nbd with an export vda, and what is in it."""
    program = shutil.which("qemu-nbd")
    if program is None:
        pytest.skip("qemu-nbd is not installed")
    data = os.urandom(3 << 20)
    (tmp_path / "disk").write_bytes(data)
    where = tmp_path / "s"
    words = [program, "-r", "-t", "-f", "raw", "-x", "vda", "-k", str(where), str(tmp_path / "disk")]
    with subprocess.Popen(words) as process:
        for _try in range(200):
            if where.exists():
                break
            time.sleep(0.05)
        yield str(where), data
        process.terminate()


def test_reading(server: tuple[str, bytes]):
    where, data = server
    local = channel.channel_to("qemu:///system")
    export = nbd.NbdExport(local.connect(where, 5), "vda")
    assert export.size == len(data)
    for offset, length in ((0, 512), (1000, 65536), (0, 3 << 20), (len(data) - 7, 7)):
        assert export.read(offset, length) == data[offset : offset + length]
    with pytest.raises(nbd.NbdError):
        export.read(len(data), 1 << 20)
    export.close()


def test_an_export_that_is_not_there(server: tuple[str, bytes]):
    with pytest.raises(nbd.NbdError, match="refused"):
        nbd.NbdExport(channel.channel_to("qemu:///system").connect(server[0], 5), "vdb")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"NBDMAGICIHAVEOPT\0\0",
        b"NBDMAGICIHAVEOPT\0\3" + struct.pack(">QIII", 0x3E889045565A9, 7, 3, 1 << 31),
        b"NBDMAGICIHAVEOPT\0\3" + struct.pack(">QIII", 0, 7, 1, 0),
        b"NBDMAGICIHAVEOPT\0\3" + struct.pack(">QIII", 0x3E889045565A9, 7, 1, 0),
    ],
)
def test_what_is_no_server(said: bytes):
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    theirs.sendall(said)
    theirs.shutdown(socket.SHUT_WR)
    with ours, theirs, pytest.raises(nbd.NbdError):
        nbd.NbdExport(ours, "vda")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("qemu+tls://kvm01.example.com/system", "qemu\\+tls:// has no channel"),
        ("qemu+tcp://kvm01.example.com/system", "has no channel"),
        ("qemu:///session", "ends with /system"),
    ],
)
def test_uris_without_a_channel_say_why(uri: str, words: str):
    with pytest.raises(channel.NoChannel, match=words):
        channel.channel_to(uri).check()


def test_the_ssh_of_a_uri_has_what_libvirts_has():
    uri = "qemu+ssh://ops%40corp@kvm01.example.com:2222/system?keyfile=/k&no_verify=1&command=/opt/ssh"
    found = channel.channel_to(uri)
    assert isinstance(found, channel.SshChannel)
    words = " ".join([found._program, *found._options, found._host])
    for part in ("/opt/ssh", "-p 2222", "-l ops@corp", "-i /k", "StrictHostKeyChecking=no", "BatchMode=yes", "kvm01.example.com"):
        assert part in words


def test_a_host_that_ssh_cannot_reach_is_named():
    found = channel.channel_to("qemu+ssh://nobody@localhost:1/system")
    with pytest.raises(channel.NoChannel, match="no ssh connection to localhost|ssh"):
        found.connect("/x", 5)
    found.close()
