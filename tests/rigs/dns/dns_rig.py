# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""BIND as somebody else's DNS: a primary with two views, each with a TSIG key and zones of its own, and a secondary of both.

As a program: `rig up|status|down [--name NAME]`; up prints ports, keys and zones as KEY=VALUE lines.
As a module: DnsRig, for tests.

Everything is in one folder and on loopback with free ports. Standard library only.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import librig_server
from librig import RigError

ADDRESS = "127.0.0.1"
VIEWS = ("inside", "outside")
FORWARD = "vms.example.test"
# 10.99.0.0/16 and 2001:db8::/48
REVERSE4, REVERSE6 = "99.10.in-addr.arpa", "0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
LIBVIRT = "122.168.192.in-addr.arpa"  # where libvirt's test driver has its guests
ZONES = (FORWARD, REVERSE4, REVERSE6, LIBVIRT)


class NameServer(librig_server.Server):
    """One named."""

    kind, user, package = "named", "bind", "bind9"

    def command(self) -> list[str]:
        program = shutil.which("named", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if program is None:
            raise RigError(f"there is no named: install the package {self.package}")
        command = [program, "-g", "-c", str(self.folder / "named.conf"), "-n", "1"]
        account = self.account()
        return command if account is None else [*command, "-u", account.pw_name]

    def answers(self) -> bool:
        return "running\n" in self.log.read_text(errors="replace")

    def own(self) -> None:
        """Gives the folder to the server's user, who writes journals beside the zones."""
        account = self.account()
        for path in [self.folder, *self.folder.iterdir()] if account is not None else ():
            os.chown(path, account.pw_uid, account.pw_gid)


class DnsRig:
    """Primary and secondary. keys: the files of the views' keys, as tsig-keygen writes them."""

    def __init__(self, folder: Path, primary: int = 0, secondary: int = 0) -> None:
        self.folder = folder
        self.primary = NameServer(folder / "primary", primary)
        self.secondary = NameServer(folder / "secondary", secondary)
        self.keys = {view: folder / f"{view}.key" for view in VIEWS}

    def create(self) -> None:
        """Writes both servers' configuration with empty zones, and starts them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        for view, path in self.keys.items():
            secret = base64.b64encode(os.urandom(32)).decode()
            path.touch(mode=0o600)
            path.write_text(f'key "{view}-key" {{\n\talgorithm hmac-sha256;\n\tsecret "{secret}";\n}};\n')
        for server, views in ((self.primary, self._primary_view), (self.secondary, self._secondary_view)):
            server.folder.mkdir(exist_ok=True)
            keys = "".join(path.read_text() for path in self.keys.values())
            (server.folder / "named.conf").touch(mode=0o600)
            (server.folder / "named.conf").write_text(keys + self._options(server) + "".join(map(views, VIEWS)))
            server.own()
        self.primary.start()
        self.secondary.start()

    def secret(self, view: str) -> str:
        match = re.search(r'secret "([^"]+)"', self.keys[view].read_text())
        assert match
        return match.group(1)

    def remove(self) -> None:
        self.secondary.stop()
        self.primary.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def dig(self, *words: str, view: str = "inside", port: int = 0) -> str:
        """The output of dig with the view's key."""
        command = ["dig", f"@{ADDRESS}", "-p", str(port or self.primary.port), "-k", str(self.keys[view]), "+time=3", *words]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def nsupdate(self, lines: str, view: str = "inside") -> None:
        """Updates the zones as somebody else would. lines: commands of nsupdate."""
        script = f"server {ADDRESS} {self.primary.port}\n{lines}\nsend\n"
        done = subprocess.run(
            ["nsupdate", "-k", str(self.keys[view])],
            check=False, input=script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if done.returncode:
            raise RigError(f"nsupdate: {done.stdout}")

    def _options(self, server: NameServer) -> str:
        # Two servers on one machine: nothing in /run, and no control channel.
        return (
            f'options {{ directory "{server.folder}"; listen-on port {server.port} {{ {ADDRESS}; }}; listen-on-v6 {{ none; }};'
            f' pid-file "{server.folder}/named.pid"; session-keyfile "{server.folder}/session.key"; recursion no;'
            " dnssec-validation no; notify explicit; notify-delay 0; serial-query-rate 1000; };\ncontrols { };\n"
        )

    def _primary_view(self, view: str) -> str:
        zones = ""
        for zone in ZONES:
            path = self.primary.folder / f"{view}.{zone}.db"
            path.write_text(f"$TTL 60\n@ SOA ns1.{FORWARD}. admin.{FORWARD}. 1 3600 600 86400 60\n  NS ns1.{FORWARD}.\n")
            if zone == FORWARD:
                path.write_text(path.read_text() + "ns1 A 127.0.0.1\n")
            # BIND has two ways to allow updates: the forward zone uses one, the reverse zones the other.
            allow = (
                f"update-policy {{ grant {view}-key zonesub ANY; }}" if zone == FORWARD else f"allow-update {{ key {view}-key; }}"
            )
            zones += (
                f'  zone "{zone}" {{ type primary; file "{path}"; {allow}; allow-transfer {{ key {view}-key; }};'
                f" also-notify {{ {ADDRESS} port {self.secondary.port} key {view}-key; }}; }};\n"
            )
        return f'view "{view}" {{\n  match-clients {{ key {view}-key; }};\n{zones}}};\n'

    def _secondary_view(self, view: str) -> str:
        zones = "".join(
            f'  zone "{zone}" {{ type secondary; file "{self.secondary.folder}/{view}.{zone}.db";'
            f" primaries {{ {ADDRESS} port {self.primary.port} key {view}-key; }}; }};\n"
            for zone in ZONES
        )
        return f'view "{view}" {{\n  match-clients {{ key {view}-key; }};\n{zones}}};\n'


def main() -> int:
    command, folder = librig_server.command_line("dns", "BIND with two views and a secondary")
    state = folder / "state.json"
    ports = json.loads(state.read_text()) if state.exists() else {}
    rig = DnsRig(folder, **ports)
    servers = (rig.primary, rig.secondary)
    try:
        if command == "up":
            folder.mkdir(parents=True, exist_ok=True)
            state.write_text(json.dumps({"primary": rig.primary.port, "secondary": rig.secondary.port}))
            if not (rig.secondary.folder / "named.conf").exists():
                rig.create()
            for server in servers:
                if server.pid() is None:
                    server.start()
        if command == "down":
            rig.remove()
            return 0
        running = all(server.pid() is not None for server in servers)
        print(f"PRIMARY={ADDRESS}:{rig.primary.port}\nSECONDARY={ADDRESS}:{rig.secondary.port}\nZONES={' '.join(ZONES)}")
        for view, path in rig.keys.items():
            print(f"{view.upper()}_KEY={path}")
        return 0 if running else 1
    except RigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
