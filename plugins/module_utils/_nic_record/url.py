# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The option `record`: which URLs are understood, and in plain words what is wrong with the others. Connects nowhere."""

from __future__ import annotations

import difflib
import os
import re
import typing as t
import urllib.parse

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.errors import RecordUrlError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.schema import HAS_SQLALCHEMY

if HAS_SQLALCHEMY:
    import sqlalchemy as sa

URL_FORMS = (
    "sqlite:////folder/record.db, postgresql://user:password@host:5432/database or mariadb://user:password@host:3306/database"
)

_DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mysql+pymysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "mariadb+pymysql": "mariadb+pymysql",
}

# What PyMySQL takes as text. It has no sslmode, and its own error for a word it does not know is a traceback.
_MYSQL_PARAMETERS = (
    "charset", "connect_timeout", "init_command", "read_default_file", "read_timeout", "ssl_ca", "ssl_capath", "ssl_cert",
    "ssl_check_hostname", "ssl_cipher", "ssl_key", "unix_socket", "write_timeout",
)  # fmt: skip
_FILES = ("ssl_ca", "ssl_cert", "ssl_key", "ssl_capath", "read_default_file", "sslrootcert", "sslcert", "sslkey")
_NUMBERS = ("connect_timeout", "read_timeout", "write_timeout")

# Where flock() or the shared memory of SQLite's WAL does not reach the other machines that use the file.
_OF_A_CONTAINER = ("overlay", "aufs", "fuse.fuse-overlayfs", "tmpfs", "ramfs")
_NETWORK_FILE_SYSTEMS = frozenset(
    "nfs nfs4 cifs smb smb2 smb3 smbfs ncpfs afs ceph glusterfs lustre beegfs gpfs 9p virtiofs ocfs2 gfs2 orangefs davfs".split()
    + ["fuse." + name for name in "sshfs glusterfs ceph rclone s3fs davfs curlftpfs beegfs moosefs juicefs".split()]
)


def parse(text: str) -> tuple[t.Any, list[str]]:
    """The URL as SQLAlchemy has it, and the secrets in it. Raises RecordUrlError, which quotes nothing that may be secret."""
    try:
        url = sa.engine.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        # Not chained and not quoted: whatever it is, a password may be in it.
        raise RecordUrlError(f"the option record is not a database URL: write {URL_FORMS}") from None
    # What follows the first @ would be taken for host and database, and shown as these.
    if "@" in re.sub(r"^[\w+]+://([^:/]*(:[^@]*)?@)?", "", text).partition("?")[0]:
        raise RecordUrlError(
            "the option record has a second @ before its parameters: write an @ in the user's name or password as %40"
            " (and %, /, ?, # and : as %25, %2F, %3F, %23 and %3A)"
        )
    if url.drivername not in _DRIVERS:
        raise RecordUrlError(f"the option record names the database {url.drivername!r}: write {URL_FORMS}")
    url = url.set(drivername=_DRIVERS[url.drivername])
    if url.get_backend_name() == "sqlite":
        return _check_file(url), []
    if not url.database:
        raise RecordUrlError(f"the option record names no database on {url.host}: write {URL_FORMS}")
    _check_parameters(url)
    secrets = [url.password] + [_one(value) for key, value in url.query.items() if "pass" in key.lower() and key != "passfile"]
    found = [secret for secret in secrets if secret]
    # Drivers quote what they were given in more than one form.
    return url, sorted({*found, *map(urllib.parse.quote, found), *map(urllib.parse.quote_plus, found)}, key=len, reverse=True)


def _check_file(url: t.Any) -> t.Any:
    if url.host or not url.database or url.database == ":memory:" or url.query:
        raise RecordUrlError(
            "the option record must name a file when it is SQLite, such as sqlite:////var/lib/awx/record.db"
            " (four slashes before an absolute path)"
        )
    path = os.path.expanduser(url.database)
    if not os.path.isabs(path):
        # A relative path would be one below the playbook's folder, which may be that of the installed collection.
        raise RecordUrlError(
            f"the option record names the file {url.database!r} without saying where it is: write an absolute path with four"
            f" slashes, such as sqlite:///{os.path.abspath(os.sep)}var/lib/awx/{os.path.basename(url.database)},"
            " or in an inventory sqlite:///{{ inventory_dir }}/" + os.path.basename(url.database)
        )
    return url.set(database=os.path.normpath(path))


def _check_parameters(url: t.Any) -> None:
    mysql = url.get_backend_name() != "postgresql"
    for name, value in url.query.items():
        if mysql and name not in _MYSQL_PARAMETERS:
            near = difflib.get_close_matches(name, _MYSQL_PARAMETERS, 1)
            hint = f"did you mean {near[0]}" if near else "use " + ", ".join(_MYSQL_PARAMETERS)
            if name.startswith("ssl"):
                hint = "for an encrypted connection give ssl_ca=FILE, and ssl_check_hostname=true to check the server's name"
            raise RecordUrlError(
                f"the option record has the parameter {name}, which there is not for {url.get_backend_name()}: {hint}"
            )
        if not isinstance(value, str):
            raise RecordUrlError(f"the option record has the parameter {name} more than once")
        if name in _NUMBERS and not value.isdecimal():
            raise RecordUrlError(f"the option record has the parameter {name} with another value than a number of seconds")
        if name in _FILES and value != "system" and not os.path.exists(value):
            raise RecordUrlError(f"the option record has the parameter {name}={value}: there is no such file")


def _one(value: t.Any) -> str:
    return value if isinstance(value, str) else str(value[0])


def network_file_system(path: str, mounts: str | None = None) -> str | None:
    """The kind of network file system that `path` lies on, or None. mounts: the text of /proc/self/mountinfo."""
    kind = file_system(path, mounts)
    return kind if kind in _NETWORK_FILE_SYSTEMS else None


def ends_with_its_container(path: str, mounts: str | None = None, root: str = "/") -> bool:
    """Whether `path` is of this container alone and not on a volume, so that it is gone when the container is."""
    signs = any(name in os.environ for name in ("AWX_PRIVATE_DATA_DIR", "KUBERNETES_SERVICE_HOST", "container"))
    files = any(os.path.exists(os.path.join(root, name)) for name in (".dockerenv", "run/.containerenv"))
    return (signs or files) and file_system(path, mounts) in _OF_A_CONTAINER


def file_system(path: str, mounts: str | None = None) -> str | None:
    """The kind of file system that `path` lies on or would lie on; None where nobody tells."""
    if mounts is None:
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
                mounts = file.read()
        except OSError:
            return None  # no Linux
    path = os.path.realpath(path)
    best, kind = "", None
    for line in mounts.splitlines():
        left, _dash, right = line.partition(" - ")
        words = left.split()
        if len(words) < 5 or not right:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), words[4])
        # The last of several mounts on one point is the one that is seen.
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind
