# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The server's endpoint, connections to it, and what their errors mean."""

from __future__ import annotations

import contextlib
import http.client
import os
import ssl
import threading
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._defaults import CONNECT_TIMEOUT
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError, HypervisorUnreachable

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


# Connections that are kept for the next call, as many as are in use at a time: a new one costs a TLS handshake.
KEPT_CONNECTIONS = 16


class Endpoint(t.NamedTuple):
    """Where to log in, and as whom. timeout: seconds for making a connection, and for one call."""

    host: str
    port: int
    username: str
    password: str
    verify: bool
    ca_path: str | None
    proxy_host: str | None
    proxy_port: int
    timeout: float

    def __repr__(self) -> str:
        return f"{self.host}:{self.port}"  # a traceback must not show the password

    def __str__(self) -> str:
        return repr(self)

    def context(self) -> ssl.SSLContext:
        """TLS that verifies certificate and host name, unless the user turned it off."""
        if not self.verify:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        try:
            return ssl.create_default_context(cafile=self.ca_path)
        except (OSError, ssl.SSLError) as error:
            raise HypervisorError(f"hypervisor.ca_path {self.ca_path}: no certificates can be read from it: {error}") from None


class ConnectionLost(Exception):
    """The session ended or the connection broke: a new login may help. Never leaves Session.run().

    final: what Session.run() raises if it happens again after a new login; DriveError where only one file is concerned, as the
    login has shown that the server answers.
    """

    def __init__(self, message: str, final: type[HypervisorError] = HypervisorUnreachable) -> None:
        super().__init__(message)
        self.final = final


@contextlib.contextmanager
def broken_connections(endpoint: Endpoint, final: type[HypervisorError] = HypervisorUnreachable) -> Iterator[None]:
    """Turns the errors of sockets, TLS and HTTP into ConnectionLost. final: see there."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise HypervisorUnreachable(
            f"{endpoint}: the certificate is not trusted: {error.verify_message}; set hypervisor.ca_path to the CA that "
            "signed it, and use the name the certificate is for"
        ) from None
    except ssl.SSLError as error:
        raise ConnectionLost(f"TLS failed: {error}", final) from None
    except TimeoutError:
        raise ConnectionLost(f"no answer within {endpoint.timeout:g} s (hypervisor.connect_timeout)", final) from None
    except OSError as error:
        raise ConnectionLost(f"no connection: {str(error) or type(error).__name__}", final) from None
    except http.client.HTTPException as error:
        raise ConnectionLost(f"the server answered: {error or type(error).__name__}", final) from None


def open_connection(endpoint: Endpoint, context: ssl.SSLContext) -> http.client.HTTPSConnection:
    """A connection to the server, through the proxy if there is one; it is made with the first request."""
    if not endpoint.proxy_host:
        return http.client.HTTPSConnection(endpoint.host, endpoint.port, timeout=endpoint.timeout, context=context)
    connection = http.client.HTTPSConnection(endpoint.proxy_host, endpoint.proxy_port, timeout=endpoint.timeout, context=context)
    connection.set_tunnel(endpoint.host, endpoint.port)
    return connection


class Connections:
    """Connections to the server for several threads, kept for the next request."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext) -> None:
        self._endpoint, self._context = endpoint, context
        self._idle: list[http.client.HTTPSConnection] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Closes what is open."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextlib.contextmanager
    def one(self, final: type[HypervisorError] = HypervisorUnreachable) -> Iterator[http.client.HTTPSConnection]:
        """An idle connection, or a new one. final: see ConnectionLost."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or open_connection(self._endpoint, self._context)
        try:
            with broken_connections(self._endpoint, final):
                yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if connection.sock is not None and len(self._idle) < KEPT_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()


def endpoint_of(description: Mapping[str, t.Any]) -> Endpoint:
    """The endpoint of a connection description; the environment gives what it leaves out. Raises HypervisorError."""

    def value(option: str, *variables: str) -> t.Any:
        given = description.get(option)
        return given if given is not None else next((os.environ[v] for v in variables if os.environ.get(v)), None)

    def number(option: str, default: int, *variables: str) -> int:
        text = value(option, *variables)
        try:
            found = int(text) if text is not None else default
        except ValueError:
            found = 0
        if not 0 < found < 65536:
            raise HypervisorError(f"hypervisor.{option} is {text!r}: it must be a TCP port, 1 to 65535")
        return found

    host = value("host", "VMWARE_HOST")
    username = value("username", "VMWARE_USER")
    password = value("password", "VMWARE_PASSWORD")
    for option, found in (("host", host), ("username", username), ("password", password)):
        if not found:
            raise HypervisorError(f"hypervisor.{option} is not set: for hypervisor.type vmware it is needed")
    if "/" in host:
        raise HypervisorError(f"hypervisor.host is {host!r}: give the name or address alone, such as vcenter.example.com")
    timeout = float(description.get("connect_timeout") or CONNECT_TIMEOUT)
    ca_path = description.get("ca_path")
    verify = description.get("validate_certs")
    return Endpoint(
        host=host,
        port=number("port", 443, "VMWARE_PORT"),
        username=username,
        password=password,
        verify=True if verify is None else bool(verify),
        ca_path=os.path.expanduser(ca_path) if ca_path else None,
        proxy_host=value("proxy_host", "VMWARE_PROXY_HOST"),
        proxy_port=number("proxy_port", 8080, "VMWARE_PROXY_PORT"),
        timeout=timeout,
    )
