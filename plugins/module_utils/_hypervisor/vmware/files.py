# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Files of a datastore by HTTPS, with time limits for every step and for the whole."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import time
import typing as t
from urllib.parse import quote

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.image import HEAD_SIZE, MAX_SIZE
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import DriveError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.connection import (
    ConnectionLost,
    Connections,
)

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session

# A transfer slower than this (bytes per second) counts as hanging.
SLOWEST = 64 * 1024
_CHUNK = 256 * 1024


@dataclasses.dataclass(frozen=True)
class Location:
    """A file of a datastore: datacenter is the inventory path, as in dcPath."""

    datacenter: str
    datastore: str
    path: str

    def __str__(self) -> str:
        return f"[{self.datastore}] {self.path}"

    @property
    def folder(self) -> str:
        """Path of the folder; empty for the datastore's top."""
        return self.path.rpartition("/")[0]

    def beside(self, name: str) -> Location:
        """Another file in the same folder."""
        folder = self.folder
        return dataclasses.replace(self, path=f"{folder}/{name}" if folder else name)

    def url(self) -> str:
        """Path and query of the file's URL."""
        return (
            f"/folder/{quote(self.path, safe='/')}?dcPath={quote(self.datacenter, safe='')}"
            f"&dsName={quote(self.datastore, safe='')}"
        )


@dataclasses.dataclass(frozen=True)
class FileContent:
    """What was read of a file. head: its first bytes. size, sha256, data: of the whole, None if it was not read."""

    head: bytes
    size: int | None = None
    sha256: str | None = None
    data: bytes | None = None


class FolderMissing(Exception):
    """The folder of a file to be written does not exist."""


class DatastoreFiles:
    """Reads and writes files through one session. Usable from several threads."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._connections = Connections(session.endpoint, session.context)

    def close(self) -> None:
        """Closes what is open."""
        self._connections.close()

    def read(self, location: Location, keep: bool = False, head_only: bool = False) -> FileContent | None:
        """A file's size, digest and first bytes; None if there is no such file. keep: all its bytes too. head_only: nothing else.

        Raises DriveError for a file too large to be a config drive, unless only its head is wanted.
        """
        with self._connections.one(DriveError) as connection:
            cookie = self._session.cookie
            connection.request("GET", location.url(), headers={"Cookie": cookie})
            answer = connection.getresponse()
            if answer.status == 404:
                answer.read()
                return None
            if answer.status != 200:
                raise self._refused("read", location, answer, cookie)
            length = answer.length
            if head_only:
                head = answer.read(HEAD_SIZE)
                if answer.length is not None and answer.length <= HEAD_SIZE:
                    answer.read()  # the rest of a usual drive takes less time than a new connection
                else:
                    connection.close()
                return FileContent(head)
            if length is not None and length > MAX_SIZE:
                raise DriveError(f"{location} has {length} bytes, more than any config drive (64 MiB)")
            deadline = self._deadline(length or MAX_SIZE)
            digest, size, head, kept = hashlib.sha256(), 0, b"", bytearray()
            while True:
                part = answer.read(_CHUNK)
                if not part:
                    break
                size += len(part)
                if size > MAX_SIZE:
                    raise DriveError(f"{location} is larger than any config drive (64 MiB)")
                digest.update(part)
                if len(head) < HEAD_SIZE:
                    head += part[: HEAD_SIZE - len(head)]
                if keep:
                    kept += part
                if time.monotonic() > deadline:
                    raise ConnectionLost(f"reading {location} takes too long", DriveError)
            if length is not None and size != length:
                raise ConnectionLost(f"reading {location} ended after {size} of {length} bytes", DriveError)
            return FileContent(head, size, digest.hexdigest(), bytes(kept) if keep else None)

    def write(self, location: Location, data: bytes) -> None:
        """Writes a file. The caller verifies it: a broken upload leaves a shorter file of this name.

        Raises FolderMissing, and DriveError when the datastore is full or refuses the file.
        """
        with self._connections.one(DriveError) as connection:
            connection.putrequest("PUT", location.url())
            cookie = self._session.cookie
            connection.putheader("Cookie", cookie)
            connection.putheader("Content-Type", "application/octet-stream")
            connection.putheader("Content-Length", str(len(data)))
            # No "Expect: 100-continue": some hosts never answer it.
            try:
                connection.endheaders()
                deadline = self._deadline(len(data))
                for start in range(0, len(data), _CHUNK):
                    connection.send(data[start : start + _CHUNK])
                    if time.monotonic() > deadline:
                        raise ConnectionLost(f"writing {location} takes too long", DriveError)
            except (BrokenPipeError, ConnectionResetError):
                # A server that refuses says why before it hangs up.
                self._early_answer(connection, location, cookie)
                raise
            answer = connection.getresponse()
            if answer.status == 404:
                answer.read()
                raise FolderMissing(str(location))
            if answer.status not in (200, 201):
                raise self._refused("write", location, answer, cookie)
            answer.read()

    def _early_answer(self, connection: http.client.HTTPSConnection, location: Location, cookie: str) -> None:
        try:
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException):
            return
        if answer.status not in (200, 201):
            raise self._refused("write", location, answer, cookie)

    def _deadline(self, size: int) -> float:
        return time.monotonic() + self._session.endpoint.timeout + size / SLOWEST

    def privileges(self, location: Location) -> str:
        """The privileges that access to a file takes: vCenter answers 401, 404 or 500 if one is missing, and does not name it."""
        return (
            f"{self._session.endpoint.username} needs the privileges Datastore.Browse and Datastore.FileManagement on the datastore "
            f"{location.datastore} and on the datacenter {location.datacenter} (and Cryptographer.Access where VMs are encrypted)"
        )

    def _refused(self, action: str, location: Location, answer: http.client.HTTPResponse, cookie: str) -> Exception:
        status = answer.status
        # Another thread may have made a new login since the cookie was sent.
        if status == 401 and (not self._session.is_alive() or self._session.cookie != cookie):
            return ConnectionLost("the session has ended")
        if status in (401, 403):
            return DriveError(f"{location}: the account may not {action} it (HTTP {status}): {self.privileges(location)}")
        if status == 507:
            return DriveError(
                f"{location} cannot be written: the datastore {location.datastore} is full (HTTP 507): make room on it"
            )
        if status in (500, 502, 503, 504):
            hint = f": where a privilege is the reason, {self.privileges(location)}" if status == 500 else ""
            return ConnectionLost(f"the server would not {action} {location}: HTTP {status} {answer.reason}{hint}", DriveError)
        return DriveError(f"{location}: the server would not {action} it: HTTP {status} {answer.reason}")
