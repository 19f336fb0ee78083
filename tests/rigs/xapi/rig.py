# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The XAPI rig as a command: `rig up`, `rig status`, `rig ctl ...`, `rig down`.

Run it with a Python that has `cryptography` (ansible-core brings it). State lives in
/var/tmp/vmops-external-dhcp/<name>-xapi, or below /var/tmp/vmops-external-dhcp-<uid> for a user who is not root:
`hypervisor.yml` is the connection for the collection's modules, `hosts/<host>/root` each host's file system.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
# The folder without a number is root's, where the KVM and DHCP rigs are; other users have one of their own.
STATE = pathlib.Path(
    os.environ.get("VMOPS_RIG_DIR") or "/var/tmp/vmops-external-dhcp" + (f"-{os.getuid()}" if os.getuid() else "")
)
READY_SECONDS = 30


def folder(name: str) -> pathlib.Path:
    return STATE / f"{name}-xapi"


def running(state: pathlib.Path) -> int | None:
    """The process id of this rig's server, or None."""
    try:
        pid = int((state / "pid").read_text())
        command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if b"serve" in command and os.fsencode(state) in command else None


def up(args: argparse.Namespace) -> int:
    state = folder(args.name)
    if running(state) is not None:
        return status(args)
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True, mode=0o700)
    command = [sys.executable, __file__, "serve", str(state), "--port", str(args.port), "--vms", str(args.vms)]
    command += ["--templates", str(args.templates)]
    with open(state / "log", "wb") as log:
        subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + READY_SECONDS
    while not (state / "hypervisor.yml").exists():
        if time.monotonic() > deadline:
            print(f"the rig did not come up; see {state / 'log'}", file=sys.stderr)
            return 1
        time.sleep(0.1)
    return status(args)


def status(args: argparse.Namespace) -> int:
    state = folder(args.name)
    pid = running(state)
    if pid is None:
        print(f"{args.name}-xapi: down")
        return 3
    print(f"{args.name}-xapi: up, pid {pid}")
    print(f"hypervisor: {state / 'hypervisor.yml'}")
    print(f"ca: {state / 'tls' / 'ca.pem'}")
    print(f"control: {state / 'control.sock'}")
    return 0


def down(args: argparse.Namespace) -> int:
    state = folder(args.name)
    pid = running(state)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        while running(state) is not None:
            time.sleep(0.05)
    shutil.rmtree(state, ignore_errors=True)
    print(f"{args.name}-xapi: down")
    return 0


def ctl(args: argparse.Namespace) -> int:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(folder(args.name) / "control.sock"))
        sock.sendall(args.command.encode() + b"\n")
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    print(answer.decode().rstrip())
    return 0 if json.loads(answer).get("ok") else 1


def serve(args: argparse.Namespace) -> int:
    from xapi_rig.control import run

    return run(pathlib.Path(args.state), args.port, args.vms, args.templates)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, function in (("up", up), ("status", status), ("down", down), ("ctl", ctl)):
        verb = verbs.add_parser(name)
        verb.add_argument("--name", default="dev", help="several rigs may run side by side under different names")
        verb.set_defaults(function=function)
        if name == "up":
            verb.add_argument("--port", type=int, default=0, help="0: any free one")
            verb.add_argument("--vms", type=int, default=3, help="VMs vm001 ... made at the start, halted")
            verb.add_argument("--templates", type=int, default=3)
        if name == "ctl":
            verb.add_argument("command", help='JSON, such as {"do": "power", "vm": "vm001", "state": "start"}')
    inner = verbs.add_parser("serve")
    inner.add_argument("state")
    inner.add_argument("--port", type=int, default=0)
    inner.add_argument("--vms", type=int, default=3)
    inner.add_argument("--templates", type=int, default=3)
    inner.set_defaults(function=serve)
    args = parser.parse_args()
    return int(args.function(args))


if __name__ == "__main__":
    sys.exit(main())
