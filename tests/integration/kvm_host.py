# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The KVM and DHCP rigs as tests use them: playbooks run as a user runs them, libvirt, leases and consoles to check by."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import typing as t

from ansible_collections.vmops.external_dhcp.tests.integration import certificates

ROOT = pathlib.Path(__file__).resolve().parents[2]
RIGS = ROOT / "tests" / "rigs"
#: Seconds until something that takes moments on a quiet machine counts as failed.
PATIENCE = 300
#: Addresses of two hosts on the wire between them, over which QEMU sends a VM's memory and disks.
ADDRESS, OTHER_ADDRESS = "10.98.0.1", "10.98.0.2"


def rig(kind: str, *words: str) -> str:
    done = subprocess.run([str(RIGS / kind / "rig"), *words], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"rig {kind} {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def wait_for(what: str, condition: t.Callable[[], t.Any], seconds: float = PATIENCE) -> t.Any:
    """The condition's first true value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {seconds:g} s")


class Played(t.NamedTuple):
    """What an ansible-playbook run printed, and its recap of the one host."""

    returncode: int
    output: str

    @property
    def recap(self) -> dict[str, int]:
        line = re.findall(r"^kvm01 +: (.*)$", self.output, re.M)[-1]
        return {key: int(value) for key, value in (word.split("=") for word in line.split())}

    def good(self) -> Played:
        assert self.returncode == 0, self.output[-6000:]
        return self


def playbook(name: str, inventory: pathlib.Path, *words: str, env: t.Mapping[str, str] | None = None, **extra: t.Any) -> Played:
    """Runs a playbook of the collection; extra: variables."""
    program = shutil.which("ansible-playbook", path=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}")
    assert program is not None
    command = [program, "-i", str(inventory), name if name.endswith(".yml") else f"vmops.external_dhcp.{name}", *words]
    if extra:
        command += ["-e", json.dumps(extra)]
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build" / "collections"),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        **(env or {}),
    }
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    return Played(done.returncode, done.stdout + done.stderr)


class KvmHost:
    """One KVM rig with its DHCP server."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = json.loads(rig("kvm", "status", "--name", name, "--json"))
        self.uri: str = self.status["URI"]
        self.images = pathlib.Path(self.status["IMAGES_HOST"])
        self.hypervisor = {"type": "kvm", "uri": self.uri}
        #: For who is on the wire between two hosts; empty where none listens there.
        self.tls_uri = ""

    playbook = staticmethod(playbook)

    def module(self, name: str, options: t.Mapping[str, t.Any], inside: t.Sequence[str] = ()) -> dict[str, t.Any]:
        """Runs a module as a process of its own, as Ansible does; it must also end. inside: words that run it elsewhere."""
        done = subprocess.run(
            [*inside, sys.executable, "-m", f"ansible_collections.vmops.external_dhcp.plugins.modules.{name}"],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": dict(options)}),
            env={**os.environ, "PYTHONPATH": str(ROOT / ".build" / "collections")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(json.loads(done.stdout))

    def virsh(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(["virsh", "-q", "-c", self.uri, *words], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0 or not check, f"virsh {' '.join(words)}: {done.stderr}"
        return done.stdout.strip()

    def domains(self) -> set[str]:
        return set(self.virsh("list", "--all", "--name").split("\n")) - {""}

    def files(self) -> set[str]:
        return set(os.listdir(self.images))

    def pools(self) -> set[str]:
        return set(self.virsh("pool-list", "--all", "--name").split())

    def leases(self) -> dict[str, str]:
        """Addresses by MAC, as the external server has them."""
        found = json.loads(rig("dhcp", "leases", "--name", self.name, "--json"))
        return {lease["mac"]: lease["address"] for lease in found}

    def dhcp(self, command: str, *words: str) -> None:
        rig("dhcp", command, "--name", self.name, *words)

    def console(self, domain: str) -> t.Any:
        return _console().Console(self.uri, domain, timeout=PATIENCE)

    def login(self, domain: str, password: str, user: str = "root") -> bool:
        return _console().login(self.uri, domain, user, password, timeout=PATIENCE)

    def serial_log(self, domain: str) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (pathlib.Path(self.status["SERIAL_LOGS"]) / f"{domain}.serial.log").read_text(errors="replace")
        return ""

    def agent_answers(self, domain: str, seconds: float = PATIENCE) -> None:
        """Waits until the guest's agent does."""
        ping = ("qemu-agent-command", "--timeout", "10", domain, '{"execute": "guest-ping"}')
        wait_for(f"{domain}'s agent", lambda: "return" in self.virsh(*ping, check=False), seconds)

    def agent(self, domain: str, command: str, stdin: str = "") -> str:
        """What a command prints in the guest, run by its agent: also in one that lets nobody in."""
        arguments = {"path": "/bin/sh", "arg": ["-c", command], "capture-output": True}
        if stdin:
            arguments["input-data"] = base64.b64encode(stdin.encode()).decode()
        pid = self._ask_agent(domain, "guest-exec", arguments)["pid"]

        def ended() -> dict[str, t.Any] | None:
            status: dict[str, t.Any] = self._ask_agent(domain, "guest-exec-status", {"pid": pid})
            return status if status["exited"] else None

        done = wait_for(f"{domain}: {command}", ended, 2 * PATIENCE)
        return base64.b64decode(done.get("out-data", "")).decode()

    def _ask_agent(self, domain: str, command: str, arguments: t.Mapping[str, t.Any]) -> t.Any:
        words = ("qemu-agent-command", "--timeout", "60", domain, json.dumps({"execute": command, "arguments": arguments}))
        return json.loads(self.virsh(*words))["return"]

    def libvirtd_pid(self) -> int:
        return int((pathlib.Path(self.status["STATE_DIR"]) / "pids" / "libvirtd.pid").read_text().split()[0])

    def define(self, xml: str) -> None:
        path = pathlib.Path(self.status["STATE_DIR"]) / "test.xml"
        path.write_text(xml, encoding="utf-8")
        try:
            self.virsh("define", str(path))
        finally:
            path.unlink()

    def undefine(self, name: str) -> None:
        """Removes a domain with what is named after it, whatever state it is in."""
        for words in (("destroy",), ("undefine", "--nvram")):
            self.virsh(*words, "--domain", name, check=False)
        for file in self.files():
            if file.startswith(f"{name}."):
                (self.images / file).unlink()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


@contextlib.contextmanager
def other_host(kvm: KvmHost) -> t.Iterator[KvmHost]:
    """A second host, with a wire between the two, on which its libvirtd listens with TLS."""
    name = f"{kvm.name}b"
    pki = pathlib.Path(kvm.status["STATE_DIR"]) / "pki"
    certificates.make(pki, OTHER_ADDRESS)
    tls = ["--tls", str(pki)] if shutil.which("libvirtd") else []
    rig("kvm", "up", "--name", name, "--domain-type", kvm.status["DOMAIN_TYPE"], *tls)
    try:
        found = KvmHost(name)
        if tls:
            found.tls_uri = f"qemu+tls://{OTHER_ADDRESS}/system?pkipath={pki}"
        here, there = kvm.status["HYPERVISOR_NETNS"], found.status["HYPERVISOR_NETNS"]
        wire = f"w{os.getpid() % 100000}"
        _ip("-n", here, "link", "add", f"{wire}a", "type", "veth", "peer", "name", f"{wire}b", "netns", there)
        for netns, end, address in ((here, "a", ADDRESS), (there, "b", OTHER_ADDRESS)):
            _ip("-n", netns, "addr", "add", f"{address}/24", "dev", f"{wire}{end}")
            _ip("-n", netns, "link", "set", f"{wire}{end}", "up")
        # The VMs' bridge has the same name on all hosts of one network.
        _ip("-n", there, "link", "add", kvm.status["BRIDGE"], "type", "bridge")
        _ip("-n", there, "link", "set", kvm.status["BRIDGE"], "up")
        yield found
    finally:
        rig("kvm", "down", "--name", name)


def _console() -> t.Any:
    name = "vmops_rig_console"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, RIGS / "kvm" / "console.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]
