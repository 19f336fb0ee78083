# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The upload of a disk to the host that vCenter names for it, under a lease that has to be kept alive."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ssl
import time
import typing as t
import urllib.parse

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError, MachineError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.connection import (
    ConnectionLost,
    broken_connections,
    open_connection,
)

if t.TYPE_CHECKING:
    import http.client

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.formats import ImageData
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.connection import Endpoint
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session

READY_SECONDS = 600.0  # until a lease must be ready
ALIVE_SECONDS = 10.0  # between two signs of life: a lease ends after five minutes without one
_ANSWER_SECONDS = 120.0  # for the answer to an upload: the host may have to write what it has first
_CHUNK = 256 * 1024
_DIGESTS = {40: hashlib.sha1, 64: hashlib.sha256}


class Lease:
    """One HttpNfcLease of an import. If it is aborted, or not kept alive, vCenter deletes what was imported."""

    def __init__(self, session: Session, reference: str) -> None:
        self._session = session
        self._reference = reference

    def _lease(self) -> t.Any:
        return self._session.object("HttpNfcLease", self._reference)

    def wait(self) -> t.Any:
        """Waits until it is ready; returns its info. Raises MachineError."""
        deadline, pause = time.monotonic() + READY_SECONDS, 0.05
        while True:
            state = self._session.run(lambda: self._lease().state)
            if state == "ready":
                return self._session.run(lambda: self._lease().info)
            if state != "initializing":
                raise MachineError(f"the import failed: {self._session.say(self._session.run(lambda: self._lease().error))}")
            if time.monotonic() > deadline:
                raise MachineError(f"the import was not ready within {READY_SECONDS:g} s: look at the recent tasks")
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def progress(self, percent: int) -> None:
        """Keeps it alive, and says how much was sent."""
        self._session.run(lambda: self._lease().HttpNfcLeaseProgress(percent))

    def complete(self) -> None:
        """Ends the import: what was imported stays."""
        self._session.run(lambda: self._lease().HttpNfcLeaseComplete())

    def abort(self) -> None:
        """Ends the import: what was imported is deleted. Best effort, as it is deleted anyway when the lease runs out."""
        with contextlib.suppress(HypervisorError):
            self._session.run(lambda: self._lease().HttpNfcLeaseAbort(None))


def send(session: Session, url: str, thumbprint: str | None, data: ImageData, progress: t.Callable[[int], None]) -> None:
    """Sends a streamOptimized VMDK to a URL of a lease. Raises MachineError, HypervisorError where the host is not trusted.

    thumbprint: of the host's certificate, as vCenter knows it. progress: called every few seconds with a percentage.
    """
    target = urllib.parse.urlsplit(url)
    if target.scheme != "https" or not target.hostname:
        raise MachineError(f"{session.endpoint} wants the disk sent to {target.scheme}://{target.hostname}, which is no https")
    endpoint = session.endpoint
    if target.hostname != "*":  # which stands for the host that the session is with
        endpoint = endpoint._replace(host=target.hostname, port=target.port or 443)
    path = f"{target.path}?{target.query}" if target.query else target.path
    try:
        with broken_connections(endpoint, MachineError), contextlib.closing(
            connect(endpoint, session.context, thumbprint)
        ) as connection:
            # Without the session's cookie: the secret path is proof enough for the host, which may not be the vCenter.
            connection.putrequest("POST", path)
            connection.putheader("Content-Type", "application/x-vnd.vmware-streamVmdk")
            connection.putheader("Content-Length", str(data.length))
            connection.endheaders()
            _send_data(connection, data, progress)
            connection.sock.settimeout(max(endpoint.timeout, _ANSWER_SECONDS))
            answer = connection.getresponse()
            answer.read(_CHUNK)
    except ConnectionLost as lost:
        raise MachineError(f"{endpoint}: the upload of the disk failed: {lost}") from None
    if answer.status not in (200, 201):
        raise MachineError(f"{endpoint}: the host would not take the disk: HTTP {answer.status} {answer.reason}")


def _send_data(connection: http.client.HTTPSConnection, data: ImageData, progress: t.Callable[[int], None]) -> None:
    sent, last = 0, time.monotonic()
    while sent < data.length:
        part = data.read(_CHUNK)
        if not part:
            raise MachineError("the image has become shorter meanwhile")
        connection.send(part)
        sent += len(part)
        if time.monotonic() - last > ALIVE_SECONDS:
            progress(sent * 100 // data.length)
            last = time.monotonic()


def connect(endpoint: Endpoint, context: ssl.SSLContext, thumbprint: str | None) -> http.client.HTTPSConnection:
    """A connection to a host whose certificate is trusted as the vCenter's is, or has the fingerprint that vCenter knows."""
    connection = open_connection(endpoint, context)
    try:
        connection.connect()
        return connection
    except ssl.SSLCertVerificationError:
        connection.close()
        if not thumbprint:
            raise
    except BaseException:
        connection.close()
        raise
    connection = open_connection(endpoint, endpoint._replace(verify=False).context())
    connection.connect()
    seen = t.cast("ssl.SSLSocket", connection.sock).getpeercert(binary_form=True) or b""
    wanted = thumbprint.replace(":", "").lower()
    digest = _DIGESTS.get(len(wanted))
    if digest is None or not hmac.compare_digest(digest(seen).hexdigest(), wanted):
        connection.close()
        raise HypervisorError(
            f"{endpoint}: the host's certificate is neither signed by hypervisor.ca_path nor the one that vCenter knows: nothing was "
            "sent; renew the host's certificate in vCenter, or find out who answers there"
        )
    return connection
