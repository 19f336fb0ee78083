# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Upload and download of VDIs through XAPI's HTTP handlers."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import io
import ssl
import typing as t
import urllib.parse

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    DriveError,
    HypervisorError,
    HypervisorUnreachable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import ConnectionCut, XapiError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.trust import (
    HostConnection,
    WrongFingerprint,
)

if t.TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import Picture
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.session import Session

# For a host to finish an upload after it has all bytes.
TASK_SECONDS = 300.0
_AFTER_CUT_SECONDS = 3.0
_BLOCK = 65536


class Body(t.Protocol):
    """What is sent; length: its bytes."""

    length: int

    def read(self, size: int) -> bytes:
        """The next bytes, at most size."""

    def rewind(self) -> None:
        """Back to the beginning."""


class InMemory(io.BytesIO):
    """A Body of bytes."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.length = len(data)

    def rewind(self) -> None:
        """Back to the beginning."""
        self.seek(0)


@dataclasses.dataclass(frozen=True)
class HostNames:
    """The names of a host. connect: name or address to connect to. other: a name that its certificate may have instead."""

    connect: str
    other: str


def host_names(session: Session, picture: Picture) -> dict[str, HostNames]:
    """The names of each host of the pool, by its address. The user's name for the master is what its certificate should have."""
    masters = [pool["master"] for pool in picture.records["pool"].values()]
    return {
        host["address"]: HostNames(session.host if ref in masters else host["address"], host["hostname"])
        for ref, host in picture.records["host"].items()
    }


class UploadCut(ConnectionCut):
    """Not all bytes of an upload arrived, or it is not known whether they did."""


def upload(session: Session, hosts: Mapping[str, HostNames], host: str, vdi: str, body: Body, form: str = "raw") -> None:
    """Writes a VDI. Raises XapiError if it failed, UploadCut if it was cut short.

    vdi: its reference or UUID. hosts: by address, how to connect to each host of the pool; a redirection is followed to these only.
    host: the address of the host that sees the VDI. body: raw, of an ISO's exact size, or with form vhd a dynamic VHD.
    """
    task = session.call("task.create", "vmops.external_dhcp", "upload")
    # Only the task tells how it went: the host sends its answer before it reads the first byte.
    cut: str | None = None
    try:
        answer, complete = _request(session, hosts, host, "PUT", "/import_raw_vdi", {"vdi": vdi, "format": form}, task, body)
        # The host closes the connection when all is on disk, which may take longer than the connection's time limit.
        with answer, contextlib.suppress(TimeoutError):
            answer.read(_BLOCK)
        if answer.status != 200:
            cut = f"HTTP {answer.status} {answer.reason}"
        elif not complete:
            cut = "the host closed the connection"
    except (OSError, http.client.HTTPException) as error:
        cut = str(error) or type(error).__name__
    except HypervisorError:
        session.forget_task(task)
        raise
    try:
        # After a broken upload XAPI may never have seen the task, so it is not waited for long.
        session.wait_task(task, TASK_SECONDS if cut is None else _AFTER_CUT_SECONDS)
    except HypervisorError as error:
        # XAPI also says VDI_IO_ERROR if a body ends early.
        if cut is None and not (isinstance(error, XapiError) and error.code == "VDI_IO_ERROR"):
            raise
        detail = f" ({error})" if isinstance(error, XapiError) else ""
        raise UploadCut(f"https://{host}: PUT /import_raw_vdi: {cut or 'not all of it arrived'}{detail}") from None


def download(session: Session, hosts: Mapping[str, HostNames], host: str, vdi: str, limit: int) -> bytes:
    """The first bytes of a VDI, at most limit. Raises DriveError, HypervisorUnreachable."""
    try:
        answer, _all = _request(session, hosts, host, "GET", "/export_raw_vdi", {"vdi": vdi, "format": "raw"}, None, None)
        with answer:
            if answer.status != 200:
                raise DriveError(f"https://{host}: GET /export_raw_vdi: HTTP {answer.status} {answer.reason}")
            return answer.read(limit)
    except http.client.IncompleteRead as error:
        return error.partial
    except (OSError, http.client.HTTPException) as error:
        raise HypervisorUnreachable(f"https://{host}: GET /export_raw_vdi: {str(error) or type(error).__name__}") from None


def _request(
    session: Session,
    hosts: Mapping[str, HostNames],
    host: str,
    verb: str,
    path: str,
    query: Mapping[str, str],
    task: str | None,
    body: Body | None,
) -> tuple[http.client.HTTPResponse, bool]:
    """One request; it follows one redirection to another host of this pool.

    Returns the answer, and whether the host took the whole body.
    """
    # The session is in the cookie, not in the URL, which proxies and XAPI's own log keep.
    cookie = f"session_id={session.reference}" + (f"; task_id={task}" if task else "")
    headers = {"Cookie": cookie}
    if body is not None:
        headers["Content-Length"] = str(body.length)
    target = f"{path}?{urllib.parse.urlencode(query)}"
    address = host
    for _attempt in range(2):
        known = hosts.get(address) or HostNames(address, address)
        # The address is last: no certificate has it, but the user may have given a fingerprint for it.
        names = (known.connect, known.other, address)
        connection = HostConnection(session.trust, names, session.port, session.timeout)
        answer, complete = _ask(connection, session, names, verb, target, headers, body)
        if answer.status not in (301, 302, 307):
            return answer, complete
        location = urllib.parse.urlsplit(answer.headers.get("Location", ""))
        answer.close()
        connection.close()
        # The cookie is a secret: it goes to hosts of the pool only, over https only.
        elsewhere = location.hostname or ""
        if location.scheme != "https" or elsewhere not in hosts:
            raise HypervisorError(f"https://{address}: redirected to {elsewhere!r}, which is no host of this pool")
        address = elsewhere
        target = f"{location.path}?{location.query}"
    raise HypervisorError(f"https://{address}: redirected in a circle")


def _ask(
    connection: HostConnection,
    session: Session,
    names: tuple[str, ...],
    verb: str,
    target: str,
    headers: Mapping[str, str],
    body: Body | None,
) -> tuple[http.client.HTTPResponse, bool]:
    try:
        connection.connect()  # before the request begins, as it may take two tries
        connection.putrequest(verb, target, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        complete = body is None or _send(connection, body)
        # The answer keeps the socket; XAPI closes it after a transfer.
        return connection.getresponse(), complete
    except ssl.SSLCertVerificationError as error:
        connection.close()
        why = session.trust.explain(error, names, session.port, session.timeout)
        raise HypervisorError(f"https://{names[0]}, another host of the pool: {why}") from None
    except WrongFingerprint as error:
        raise HypervisorError(str(error)) from None
    except BaseException:
        connection.close()
        raise


def _send(connection: http.client.HTTPSConnection, body: Body) -> bool:
    """Sends the body. Returns False if the host closed the connection early; it may still have sent an answer."""
    body.rewind()
    left = body.length
    try:
        while left:
            part = body.read(_BLOCK)
            if not part:
                raise HypervisorError("what was to be sent has become shorter meanwhile")
            connection.send(part)
            left -= len(part)
        return True
    except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
        return False
