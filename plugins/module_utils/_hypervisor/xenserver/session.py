# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""One XAPI session: TLS, login at the pool's master, calls with time limits, errors in plain words, logout."""

from __future__ import annotations

import dataclasses
import functools
import http.client
import re
import ssl
import threading
import time
import traceback
import typing as t
import xmlrpc.client

from ansible_collections.vmops.external_dhcp.plugins.module_utils._defaults import CONNECT_TIMEOUT
from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    HypervisorError,
    HypervisorUnreachable,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.trust import HostConnection, Trust
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.wire import AnswerReader

IMPORT_TRACEBACK: str | None = None
try:
    import XenAPI
except ImportError:
    XenAPI = None
    IMPORT_TRACEBACK = traceback.format_exc()

if t.TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.wire import Fields

# XAPI keeps 500 sessions of one originator and drops the oldest, so a fixed name bounds what killed runs leave behind.
ORIGINATOR = "vmops.external_dhcp"
DEFAULT_PORT = 443
# How often HOST_IS_SLAVE is followed: to the master, and again while the master changes.
_MAX_MOVES = 3
# Seconds between two tries at an object that another operation is busy with: at first, and at most.
_PATIENCE_STEP = (0.1, 2.0)
# Seconds that the socket waits longer than event.from may block on the server.
_EVENT_MARGIN = 30.0
_CONNECTION_ERRORS = (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError, xmlrpc.client.ResponseError)


class XapiError(HypervisorError):
    """XAPI refused a call; code and params are XAPI's own."""

    def __init__(self, message: str, code: str, params: tuple[str, ...]) -> None:
        super().__init__(message)
        self.code = code
        self.params = params


class ConnectionCut(HypervisorUnreachable):
    """The connection broke during a call that may change something: it may or may not have been carried out."""


class _TimedOut(HypervisorUnreachable):
    """XAPI was silent for too long; asking again would only double the wait."""


class _Transport(xmlrpc.client.SafeTransport):
    """HTTPS to one host, with the user's rules for its certificate and a time limit. It never repeats a request."""

    def __init__(self, trust: Trust, host: str, port: int, timeout: float) -> None:
        super().__init__(context=trust.context)
        self._trust = trust
        self._place = (host, port)
        self.limit = timeout
        self.keep: Fields = None

    def make_connection(self, host: t.Any) -> http.client.HTTPSConnection:
        known, kept = self._connection  # the base class keeps it there, by the host of the URL
        connection = t.cast("HostConnection | None", kept)
        if connection is None or known != host:
            connection = HostConnection(self._trust, (self._place[0],), self._place[1], self.limit)
            self._connection = host, connection
            self._extra_headers: list[tuple[str, str]] = []
        connection.timeout = self.limit
        if connection.sock is not None:
            connection.sock.settimeout(self.limit)
        return connection

    def request(self, host: t.Any, handler: str, request_body: t.Any, verbose: bool = False) -> t.Any:
        # The base class repeats a request after a broken connection, which could make a disk or an SR twice.
        return self.single_request(host, handler, request_body, verbose)

    def getparser(self) -> t.Any:
        reader = AnswerReader(self.keep)
        return reader, reader


@dataclasses.dataclass(eq=False)
class _Connection:
    """One thread's connection. generation: of the login that it belongs to."""

    proxy: t.Any
    transport: _Transport
    generation: int


class Session:
    """A logged-in session; see call() and read(). Never blocks longer than the time limit of the call.

    Threads share it; each has a connection of its own.
    """

    def __init__(self, description: Mapping[str, t.Any]) -> None:
        if XenAPI is None:
            raise MissingLibrary("XenAPI", IMPORT_TRACEBACK, url="https://xapi-project.github.io/")
        self.host, self.port = _parse_host(description)
        self.timeout = float(description.get("connect_timeout") or CONNECT_TIMEOUT)
        self.trust = Trust(description)
        self._username = _required(description, "username")
        self._password = _required(description, "password")
        # Counts logins: a token of event.from is valid in one session only.
        self.generation = 0
        self._reference: str | None = None
        self._mine = threading.local()
        self._connections: list[_Connection] = []
        self._guarding = threading.RLock()
        with self._guarding:
            self._login()

    @property
    def endpoint(self) -> str:
        """https URL of the host in use, for messages."""
        return url(self.host, self.port)

    @property
    def reference(self) -> str:
        """The session's reference, for the HTTP handlers; a secret."""
        return self._reference or ""

    def call(self, method: str, *args: t.Any) -> t.Any:
        """One call that may change something. Raises XapiError, ConnectionCut."""
        try:
            return self._send(method, args)
        except HypervisorUnreachable as error:
            raise ConnectionCut(str(error)) from None

    def patiently(self, method: str, *args: t.Any, also: tuple[str, ...] = ()) -> t.Any:
        """Like call(), but repeated until the time limit while another operation is under way on the object.

        also: further codes of XAPI after which the call is repeated.
        """
        deadline = time.monotonic() + self.timeout
        pause, longest = _PATIENCE_STEP
        while True:
            try:
                return self.call(method, *args)
            except XapiError as error:
                if error.code not in ("OTHER_OPERATION_IN_PROGRESS", *also) or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, longest)

    def read(self, method: str, *args: t.Any, wait: float = 0.0, keep: Fields = None) -> t.Any:
        """One call that changes nothing; it is repeated once after a broken connection. wait: seconds the server may block.

        keep: see AnswerReader.
        """
        try:
            return self._send(method, args, wait, keep)
        except _TimedOut:
            raise
        except HypervisorUnreachable:
            # The session is still valid; the next request opens another connection.
            return self._send(method, args, wait, keep)

    def wait_task(self, task: str, timeout: float) -> str:
        """Waits for a task and destroys it; returns its result, or raises its XapiError. timeout: seconds, then it is cancelled."""
        deadline = time.monotonic() + timeout
        token = ""
        record: dict[str, t.Any] = {"status": "pending"}
        try:
            while record["status"] in ("pending", "cancelling"):
                left = deadline - time.monotonic()
                if left <= 0:
                    self._quietly("task.cancel", task)
                    raise HypervisorError(f"{self.endpoint}: a task did not end within {timeout:g} s and was cancelled")
                slice_ = min(left, 30.0)
                batch = self.read("event.from", [f"task/{task}"], token, slice_, wait=slice_)
                token = batch["token"]
                for event in batch["events"]:
                    if event["ref"] == task:
                        record = event.get("snapshot") or {"status": "failure", "error_info": ["HANDLE_INVALID", "task", task]}
        finally:
            self.forget_task(task)
        if record["status"] != "success":
            raise self.xapi_error("task", list(record.get("error_info") or ["TASK_CANCELLED", task]))
        return str(record.get("result") or "")

    def forget_task(self, task: str) -> None:
        """Destroys a task whose result nobody needs."""
        self._quietly("task.destroy", task)

    def cancel_task(self, task: str) -> None:
        """Asks XAPI to end a task, which it may do late or not at all."""
        self._quietly("task.cancel", task)

    def close(self) -> None:
        """Logs out. Safe to call twice, and on a broken connection."""
        with self._guarding:
            if self._reference is None:
                return
            try:
                connection = self._connection()
                connection.proxy.session.logout(self._reference)
            except (HypervisorError, XenAPI.Failure, xmlrpc.client.Fault, *_CONNECTION_ERRORS):
                pass  # the session is gone already, or XAPI will drop it
            finally:
                self._reference = None
                for one in self._connections:
                    one.transport.close()
                self._connections.clear()

    def _quietly(self, method: str, *args: t.Any) -> None:
        try:
            self.call(method, *args)
        except HypervisorError:
            pass  # an error before this one is the one to report

    def _login(self) -> None:
        """Logs in at the current master of the pool. The caller holds the lock."""
        old = self._reference
        for _attempt in range(_MAX_MOVES):
            connection = self._new_connection()
            try:
                self._guard("login", connection, functools.partial(self._password_login, connection))
            except XapiError as error:
                connection.transport.close()
                if error.code == "HOST_IS_SLAVE" and error.params:
                    self.host = error.params[0]
                    continue
                if error.code == "SESSION_AUTHENTICATION_FAILED":
                    raise HypervisorUnreachable(
                        f"{self.endpoint}: login as {self._username} was refused; check hypervisor.username and hypervisor.password"
                    ) from None
                raise
            except HypervisorError:
                connection.transport.close()
                raise
            self._keep(connection)
            if old is not None:
                # Sessions belong to the pool: a new master can end one that the old master began.
                try:
                    self._guard("logout", connection, functools.partial(connection.proxy.session.logout, old))
                except HypervisorError:
                    pass
            return
        raise HypervisorUnreachable(f"{self.endpoint}: the pool's master is changing; try again later")

    def _password_login(self, connection: _Connection) -> None:
        self._reference_of(
            connection, connection.proxy.session.login_with_password(self._username, self._password, "1.0", ORIGINATOR)
        )

    def _reference_of(self, connection: _Connection, answer: dict[str, t.Any]) -> None:
        self._reference = _value_of(answer)
        self.generation += 1
        connection.generation = self.generation

    def _new_connection(self) -> _Connection:
        transport = _Transport(self.trust, self.host, self.port, self.timeout)
        return _Connection(XenAPI.Session(f"{self.endpoint}/", transport=transport), transport, self.generation)

    def _keep(self, connection: _Connection) -> None:
        before = getattr(self._mine, "connection", None)
        if before in self._connections:
            before.transport.close()
            self._connections.remove(before)
        self._mine.connection = connection
        self._connections.append(connection)

    def _connection(self) -> _Connection:
        """This thread's connection to the current host of the session."""
        with self._guarding:
            if self._reference is None:
                self._login()
            connection: _Connection | None = getattr(self._mine, "connection", None)
            if connection is None or connection.generation != self.generation or connection not in self._connections:
                connection = self._new_connection()
                self._keep(connection)
            return connection

    def _send(self, method: str, args: tuple[t.Any, ...], wait: float = 0.0, keep: Fields = None) -> t.Any:
        for _attempt in range(_MAX_MOVES):
            connection = self._connection()
            connection.transport.limit = self.timeout + (wait + _EVENT_MARGIN if wait else 0.0)
            connection.transport.keep = keep
            try:
                send = functools.partial(getattr(connection.proxy, method), self._reference, *args)
                return self._guard(method, connection, functools.partial(_answer_of, send))
            except XapiError as error:
                if error.code not in ("HOST_IS_SLAVE", "SESSION_INVALID") or (error.code == "HOST_IS_SLAVE" and not error.params):
                    raise
                with self._guarding:
                    if connection.generation == self.generation:  # else another thread has logged in already
                        self.host = error.params[0] if error.code == "HOST_IS_SLAVE" else self.host
                        self._login()
            finally:
                connection.transport.keep = None
                connection.transport.limit = self.timeout
        raise HypervisorUnreachable(f"{self.endpoint}: the pool's master is changing; try again later")

    def _guard(self, method: str, connection: _Connection, action: t.Callable[[], t.Any]) -> t.Any:
        """Runs one request and turns its errors into ours."""
        try:
            return action()
        except XenAPI.Failure as error:
            raise self.xapi_error(method, [str(d) for d in error.details]) from None
        except xmlrpc.client.Fault as error:
            raise HypervisorUnreachable(f"{self.endpoint}: {method}: {str(error.faultString)[:200]}") from None
        except ssl.SSLCertVerificationError as error:
            why = self.trust.explain(error, (self.host,), self.port, self.timeout)
            raise HypervisorUnreachable(f"{self.endpoint}: {why}") from None
        except TimeoutError:
            connection.transport.close()
            raise _TimedOut(
                f"{self.endpoint}: no answer to {method} within {self.timeout:g} s (hypervisor.connect_timeout)"
            ) from None
        except xmlrpc.client.ProtocolError as error:
            connection.transport.close()
            raise HypervisorUnreachable(
                f"{self.endpoint}: {method}: HTTP {error.errcode} {error.errmsg}; is this a XenServer or XCP-ng host?"
            ) from None
        except (*_CONNECTION_ERRORS, TypeError, KeyError, IndexError) as error:
            # The last three stand for an answer without Status, or one that was cut off.
            connection.transport.close()
            raise HypervisorUnreachable(f"{self.endpoint}: {method}: the connection failed: {_short(error)}") from None

    def xapi_error(self, method: str, details: list[str]) -> XapiError:
        """The error of a call or task. details: XAPI's code and parameters."""
        code, params = details[0], tuple(details[1:])
        shown = ", ".join(p for p in params if p)[:300]
        return XapiError(f"{self.endpoint}: {method} was refused: {code}{f' ({shown})' if shown else ''}", code, params)


def url(host: str, port: int) -> str:
    """https://host or https://host:port, with the brackets that an IPv6 address needs."""
    shown = f"[{host}]" if ":" in host else host
    return f"https://{shown}" if port == DEFAULT_PORT else f"https://{shown}:{port}"


def _parse_host(description: Mapping[str, t.Any]) -> tuple[str, int]:
    """hypervisor.host as a name, an address, name:port or an https URL."""
    text = _required(description, "host").strip()
    match = re.fullmatch(
        r"(?:(?P<scheme>[a-z]+)://)?(?P<host>\[[0-9a-fA-F:.%]+\]|[^/:\[\]\s]+|[0-9a-fA-F:]{2,})(?::(?P<port>\d+))?/?", text
    )
    if match is None or match.group("scheme") not in (None, "https"):
        raise HypervisorError(
            f"hypervisor.host is {text!r}: give the name or address of the pool's master; the connection is always https"
        )
    port = description.get("port") or match.group("port") or DEFAULT_PORT
    return match.group("host").strip("[]"), int(port)


def _required(description: Mapping[str, t.Any], option: str) -> str:
    value = description.get(option)
    if not value:
        raise HypervisorError(f"hypervisor.{option} is not set: hypervisor.type xenserver needs host, username and password")
    return str(value)


def _answer_of(send: t.Callable[[], dict[str, t.Any]]) -> t.Any:
    return _value_of(send())


def _value_of(answer: dict[str, t.Any]) -> t.Any:
    """The value in an answer. Raises XenAPI.Failure."""
    if answer["Status"] == "Success":
        return answer["Value"]
    raise XenAPI.Failure(answer["ErrorDescription"])


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:200]
