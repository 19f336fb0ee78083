# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A KVM host reached from a job's container: libvirt calls ssh, which finds host keys that are mounted, a key, and nothing else."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.tests.integration.sshd import sshd

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.tests.integration.kvm_host import KvmHost

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The rig's sockets, where libvirt on a host has them
_HOST = ["unshare", "--mount", "sh", "-ec", 'mount -t tmpfs none /run; mkdir /run/sshd; ln -s "$0" /run/libvirt; exec "$@"']
# An account without a home, no settings of ssh, and the host keys: $0 is the folder with both
_CONTAINER = [
    *("unshare", "--mount", "--", "sh", "-ec"),
    'mount --bind "$0/passwd" /etc/passwd; mount -t tmpfs none /etc/ssh; cp "$0/ssh_known_hosts" /etc/ssh/; exec "$@"',
]
_WITH_AGENT = ["ssh-agent", "sh", "-ec", 'ssh-add -q "$0"; exec "$@"']


def _module(uri: str, *within: str) -> dict[str, t.Any]:
    """vm_ip_info in the container, without the terminal on which ssh would ask whether a host key is right."""
    options = {"hypervisor": {"type": "kvm", "uri": uri}}
    environment = {name: os.environ[name] for name in ("PATH",)}
    done = subprocess.run(
        [*within, sys.executable, "-m", "ansible_collections.vmops.external_dhcp.plugins.modules.vm_ip_info"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": options}),
        env={**environment, "PYTHONPATH": str(ROOT / ".build/collections")},
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("key", ["file", "agent"])
def test_libvirt_through_ssh_from_a_container(kvm: KvmHost, tmp_path: pathlib.Path, key: str) -> None:
    (tmp_path / "passwd").write_text("root:x:0:0::/nonexistent:/bin/sh\n")
    known_hosts = tmp_path / "ssh_known_hosts"
    sockets = pathlib.Path(kvm.uri.partition("socket=")[2]).parent
    with sshd(tmp_path, *_HOST, str(sockets)) as port:
        known_hosts.write_text(f"[127.0.0.1]:{port} {(tmp_path / 'host.pub').read_text()}")
        uri = f"qemu+ssh://root@127.0.0.1:{port}/system"
        container = [*_CONTAINER, str(tmp_path)]
        if key == "file":
            uri += f"?keyfile={tmp_path}/user"
        else:
            container += [*_WITH_AGENT, str(tmp_path / "user")]
        found = _module(uri, *container)
        assert {vm["name"] for vm in found["vms"]} == kvm.domains()
        known_hosts.write_text("")
        refused = _module(uri, *container)
    assert refused["failed"] and "Host key verification failed" in refused["msg"]
