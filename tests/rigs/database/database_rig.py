# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private PostgreSQL and MariaDB servers from Debian's packages, with data of their own.

As a program: `rig up|status|down [--name NAME]`; up prints the records' URLs as KEY=VALUE lines.
As a module: PostgresServer and MariaServer, for tests that stop, kill and restart them.

Everything is in one folder and on loopback with a free port. Standard library only.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import librig_server
from librig import RigError

PASSWORD = "only-for-tests"


class Server(librig_server.Server):
    """A database server with the database and the account `records`."""

    scheme = ""

    def __init__(self, folder: Path, port: int = 0, addresses: t.Sequence[str] = ()) -> None:
        """addresses: those on which it listens besides 127.0.0.1; they must exist when it starts."""
        super().__init__(folder, port)
        self.addresses = ["127.0.0.1", *addresses]
        self.data = folder / "data"

    @property
    def url(self) -> str:
        return self.url_at("127.0.0.1")

    def url_at(self, address: str) -> str:
        return f"{self.scheme}://records:{PASSWORD}@{address}:{self.port}/records"

    def create(self) -> None:
        """Makes the empty server with its account and database, and starts it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        account = self.account()
        if account:
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        os.chmod(self.folder, 0o755)
        self.initialize()
        self.start()
        self.admin("CREATE DATABASE records")

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=self.start_seconds,
            check=False,
            **self.credentials(),
        )
        if done.returncode:
            raise RigError(f"{command[0]} failed: {done.stdout.strip()[-600:]}")
        return done.stdout

    def credentials(self) -> dict[str, t.Any]:
        account = self.account()
        if account is None:
            return {}
        # The server's user needs none of this user's home and environment.
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(self.folder), "LC_ALL": "C.UTF-8"}
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": [], "env": environment}

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def initialize(self) -> None:
        raise NotImplementedError

    def admin(self, statement: str) -> str:
        """Runs one statement as the server's administrator, through its socket."""
        raise NotImplementedError


class PostgresServer(Server):
    kind, user, package, scheme = "PostgreSQL", "postgres", "postgresql", "postgresql"
    stop_signal = signal.SIGINT  # fast: does not wait for the clients

    def program(self, name: str) -> str:
        found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}")) or [shutil.which(name) or ""]
        if not found[-1]:
            raise RigError(f"there is no {name}: install the package {self.package}")
        return found[-1]

    def initialize(self) -> None:
        self.run(self.program("initdb"), "-D", str(self.data), "-A", "trust", "-U", "admin", "-E", "UTF8", "--no-sync")

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": ",".join(self.addresses),
            "unix_socket_directories": str(self.folder),
            "fsync": "on",
            "shared_buffers": "32MB",
            "max_connections": "60",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [self.program("postgres"), "-D", str(self.data), "-p", str(self.port), *options]

    def answers(self) -> bool:
        with contextlib.suppress(RigError, subprocess.TimeoutExpired):
            self.admin("SELECT 1")
            return True
        return False

    def admin(self, statement: str, database: str = "postgres") -> str:
        return self.run(
            self.program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
            "-h", str(self.folder), "-p", str(self.port), "-U", "admin", "-d", database, "-c", statement,
        ).strip()  # fmt: skip

    def create(self) -> None:
        super().create()
        self.admin(f"CREATE ROLE records LOGIN PASSWORD '{PASSWORD}'")
        self.admin("ALTER DATABASE records OWNER TO records")
        # From here on TCP connections need the password.
        (self.data / "pg_hba.conf").write_text(
            "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
            + ("host all all samenet scram-sha-256\n" if len(self.addresses) > 1 else "")
        )
        self.admin("SELECT pg_reload_conf()")


class MariaServer(Server):
    kind, user, package, scheme = "MariaDB", "mysql", "mariadb-server", "mariadb"

    @property
    def socket(self) -> str:
        return str(self.folder / "s")

    def program(self, *names: str) -> str:
        for name in names:
            path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin")
            if path:
                return path
        raise RigError(f"there is no {names[0]}: install the package {self.package}")

    def initialize(self) -> None:
        self.run(
            self.program("mariadb-install-db", "mysql_install_db"), "--no-defaults", f"--datadir={self.data}",
            "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve",
        )  # fmt: skip

    def command(self) -> list[str]:
        return [
            self.program("mariadbd", "mysqld"), "--no-defaults", f"--datadir={self.data}", f"--socket={self.socket}",
            f"--pid-file={self.folder}/server.pid", f"--port={self.port}", f"--bind-address={'127.0.0.1' if len(self.addresses) == 1 else '0.0.0.0'}",
            "--skip-name-resolve", "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M", "--skip-log-bin",
        ]  # fmt: skip

    def answers(self) -> bool:
        with contextlib.suppress(RigError, subprocess.TimeoutExpired):
            self.admin("SELECT 1")
            return True
        return False

    def admin(self, statement: str) -> str:
        client = self.program("mariadb", "mysql")
        return self.run(client, "--no-defaults", f"--socket={self.socket}", "-uroot", "-N", "-B", "-e", statement).strip()

    def create(self) -> None:
        super().create()
        host = "127.0.0.1" if len(self.addresses) == 1 else "%"
        self.admin(f"CREATE USER records@'{host}' IDENTIFIED BY '{PASSWORD}'")
        self.admin(f"GRANT ALL ON records.* TO records@'{host}'")


SERVERS: dict[str, type[Server]] = {"POSTGRESQL": PostgresServer, "MARIADB": MariaServer}


def main() -> int:
    command, folder = librig_server.command_line("database", "Private PostgreSQL and MariaDB servers for the NIC record")
    state = folder / "state.json"
    ports = json.loads(state.read_text()) if state.exists() else {}
    servers = {name: kind(folder / name.lower(), ports.get(name, 0)) for name, kind in SERVERS.items()}
    try:
        if command == "up":
            folder.mkdir(parents=True, exist_ok=True)
            state.write_text(json.dumps({name: server.port for name, server in servers.items()}))
            for server in servers.values():
                if not server.data.exists():
                    server.create()
                elif server.pid() is None:
                    server.start()
        if command == "down":
            for server in servers.values():
                server.remove()
            shutil.rmtree(folder, ignore_errors=True)
            return 0
        running = all(server.pid() is not None for server in servers.values())
        for name, server in servers.items():
            print(f"{name}={server.url if server.pid() is not None else 'down'}")
        return 0 if running else 1
    except RigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
