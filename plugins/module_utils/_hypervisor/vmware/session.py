# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""One session with a vCenter or ESXi host: login, calls with time limits, one new login, tasks.

Every call ends within its time limit. After an ended session, a broken connection or an unreadable answer there is one new login;
if it happens again, HypervisorUnreachable is raised.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import io
import random
import ssl
import threading
import time
import typing as t
import xml.etree.ElementTree
import xml.parsers.expat

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    DriveError,
    HypervisorError,
    HypervisorUnreachable,
    VmNotFound,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware import objects as vmware_objects
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.connection import (
    KEPT_CONNECTIONS,
    ConnectionLost,
    Endpoint,
    broken_connections,
    open_connection,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.pyvmomi_import import SoapAdapter, vim, vmodl

if t.TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from xml.etree.ElementTree import Element

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import ObjectData, ObjectSpec

    R = t.TypeVar("R")

# vSphere API 6.5 has every property and method used here, and all later servers speak it. Given a version, pyVmomi does not ask
# the server for those that it knows, which it would do without a time limit.
API_VERSION = "vim.version.version11"

_VANISHING = 5  # objects that may vanish during one read; each makes it begin anew
TASK_SECONDS = 300.0  # for a task that is quick, such as a reconfiguration or the move of a small file
# Seconds between looks at a task: few at first, as most tasks are done at once.
TASK_FIRST_LOOK = 0.02
TASK_LAST_LOOK = 2.0

_FREE_LICENCE = (
    "the licence of this ESXi host allows no changes through its API: connect to the vCenter that manages it, or give the host a "
    "paid licence"
)

# VMware's message id of the question that a host asks when the guest has locked the CD door.
_DOOR_MESSAGES = ("msg.cdromdisconnect.locked",)


def explain(fault: BaseException) -> str:
    """Name and text of a fault in one line."""
    name = type(fault).__name__.rsplit(".", 1)[-1]
    text = " ".join(str(getattr(fault, "msg", None) or "").split())
    reason = getattr(fault, "reason", None)
    if isinstance(reason, str) and reason and reason not in text:
        text = f"{text} ({reason})" if text else reason
    return f"{name}: {text[:300]}" if text and text != name else name


class _Stub(SoapAdapter.SoapStubAdapter if SoapAdapter is not None else object):  # type: ignore[misc]
    """pyVmomi's stub over connections of our own, as its releases treat a proxy in different ways."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext) -> None:
        super().__init__(
            host=endpoint.host,
            port=endpoint.port,
            path="/sdk",
            version=API_VERSION,
            poolSize=KEPT_CONNECTIONS,
            connectionPoolTimeout=60,
        )
        self._open = lambda: open_connection(endpoint, context)

    def GetConnection(self) -> http.client.HTTPSConnection:  # pylint: disable=invalid-name
        """A connection from the pool, or a new one."""
        with self.lock:
            self._CloseIdleConnections()
            if self.pool:
                return self.pool.pop(0)[0]
        return self._open()


class _Batch:
    """The next read that several threads share."""

    def __init__(self) -> None:
        self.names: dict[tuple[str, tuple[str, ...]], set[str]] = {}
        self.done = False
        self.found: list[ObjectData] = []
        self.error: BaseException | None = None


class _SharedReads:
    """Reads for many threads that wait for tasks: those that ask while a read is under way share the next one."""

    def __init__(self, retrieve: Callable[[Sequence[ObjectSpec]], list[ObjectData]]) -> None:
        self._retrieve = retrieve
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._next = _Batch()

    def read(self, specs: Sequence[ObjectSpec]) -> list[ObjectData]:
        """Like Session.retrieve(), for specs with names."""
        with self._lock:
            batch = self._next
            for spec in specs:
                batch.names.setdefault((spec.kind, spec.properties), set()).update(spec.names)
        with self._turn:
            if not batch.done:
                with self._lock:
                    self._next = _Batch()
                try:
                    batch.found = self._retrieve(
                        [vmware_objects.ObjectSpec(*key, tuple(sorted(names))) for key, names in batch.names.items()]
                    )
                except Exception as error:  # pylint: disable=broad-except  # every waiting thread raises it
                    batch.error = error
                batch.done = True
        if batch.error is not None:
            raise batch.error
        wanted = {name for spec in specs for name in spec.names}
        return [one for one in batch.found if one.name in wanted]


class Session:
    """A login that is renewed once when it is lost. Usable from several threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.context = endpoint.context()
        self.content: t.Any = None
        self._stub: t.Any = None
        self._collector: t.Any = None
        self._views: dict[tuple[str, ...], t.Any] = {}
        self._lock = threading.RLock()
        self._generation = 0
        self._closed = False
        self._read_only: str | None = None
        self._shared = _SharedReads(lambda specs: self.retrieve(specs))  # pylint: disable=unnecessary-lambda
        self._login_or_say_why()

    # --- login ---

    def _login_or_say_why(self) -> None:
        try:
            self._translate(self._login)
        except ConnectionLost as lost:
            raise HypervisorUnreachable(
                f"{self.endpoint}: {lost}; check hypervisor.host and hypervisor.port, and that vCenter or the host is up"
            ) from None
        except vmodl.MethodFault as fault:
            raise HypervisorUnreachable(f"{self.endpoint}: the login failed: {explain(fault)}") from None

    def _login(self) -> None:
        e = self.endpoint
        stub = _Stub(e, self.context)
        content = vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()
        content.sessionManager.Login(e.username, e.password)
        self._stub, self.content = stub, content
        self._collector, self._views = None, {}

    def _renew(self, generation: int) -> None:
        """A new login, unless another thread has made one since this generation."""
        with self._lock:
            if self._closed or generation != self._generation:
                return
            self._generation += 1
            self._logout()
            self._login_or_say_why()

    def _logout(self) -> None:
        """Best effort: an error here would hide the one that made a new login needed."""
        stub, self._stub = self._stub, None
        if stub is None:
            return
        with contextlib.suppress(Exception):
            self.content.sessionManager.Logout()
        with contextlib.suppress(Exception):
            stub.DropConnections()

    def close(self) -> None:
        """Ends the session. Safe to call twice."""
        with self._lock:
            self._closed = True
            self._logout()

    @property
    def is_vcenter(self) -> bool:
        """False at a stand-alone ESXi host."""
        return self.content.about.apiType == "VirtualCenter"

    def is_alive(self) -> bool:
        """Whether the login is still good; asks the server."""
        manager = self.content.sessionManager._moId
        try:
            found = self.retrieve([vmware_objects.ObjectSpec("SessionManager", ("currentSession",), (manager,))])
        except vim.fault.NotAuthenticated:
            return False
        return any(one.get("currentSession") is not None for one in found)

    @property
    def read_only(self) -> str:
        """Why nothing can be changed here (a stand-alone host with the free licence); empty if it can. Asked once."""
        if self._read_only is None:
            self._read_only = self.run(self._licence_problem) if not self.is_vcenter else ""
        return self._read_only

    def _licence_problem(self) -> str:
        spec = vmware_objects.ObjectSpec("LicenseManager", ("licenses",), (self.content.licenseManager._moId,))
        try:
            found = self.retrieve([spec])
        except vim.fault.NoPermission:
            return ""  # the host itself will refuse changes
        free = any(
            vmware_objects.child_text(one, "editionKey").startswith("esxBasic")
            for data in found
            for one in data.children("licenses")
        )
        return _FREE_LICENCE if free else ""

    @property
    def cookie(self) -> str:
        """The header that proves the login, for file transfers."""
        return str(self.stub.cookie).split(";", 1)[0]

    # --- errors ---

    def run(self, operation: Callable[[], R], raw: bool = False) -> R:
        """The operation's result. When the session or connection is lost, the operation runs once more after a new login.

        So an operation must read what is there before it changes anything. Raises HypervisorError only; with raw, the API's other
        faults as they are.
        """
        generation = self._generation
        final = self._translate if raw else self._final
        try:
            return final(operation)
        except ConnectionLost:
            self._renew(generation)
        try:
            return final(operation)
        except ConnectionLost as again:
            raise again.final(f"{self.endpoint}: {again}; a new login was made and did not help") from None

    def _final(self, operation: Callable[[], R]) -> R:
        try:
            return self._translate(operation)
        except vmodl.fault.ManagedObjectNotFound as fault:
            raise VmNotFound(f"{self.endpoint}: an object is gone meanwhile ({explain(fault)})") from None
        except vmodl.MethodFault as fault:
            raise HypervisorError(f"{self.endpoint}: {explain(fault)}") from None

    def say(self, fault: BaseException) -> str:
        """The fault as a sentence; a missing privilege is named with its object."""
        if isinstance(fault, HypervisorError):
            return str(fault)
        if isinstance(fault, vim.fault.RestrictedVersion):
            return _FREE_LICENCE
        if isinstance(fault, vim.fault.NoPermission):
            return (
                f"the account {self.endpoint.username} lacks the privilege {fault.privilegeId} on {self._name_of(fault.object)}: "
                "give it a role that has it"
            )
        return explain(fault)

    def _name_of(self, thing: t.Any) -> str:
        """Kind, name and reference of an object, as far as they can be read."""
        number = getattr(thing, "_moId", None)
        if number is None:
            return "an object"
        kind = type(thing).__name__.rpartition(".")[2]
        try:
            name = self.retrieve([vmware_objects.ObjectSpec(kind, ("name",), (number,))])[0].text("name")
        except Exception:  # pylint: disable=broad-except  # the message it is for is about another error
            name = ""
        return f"the {kind} {name} ({number})" if name else number

    def _translate(self, operation: Callable[[], R]) -> R:
        """Turns what a library raises into ConnectionLost or an error for the user; other faults pass."""
        try:
            with broken_connections(self.endpoint):
                return operation()
        except vim.fault.InvalidLogin:
            raise HypervisorUnreachable(
                f"{self.endpoint}: the login of {self.endpoint.username} was refused: check hypervisor.username and "
                "hypervisor.password, and that the account is not locked"
            ) from None
        except vim.fault.NotAuthenticated:
            raise ConnectionLost("the session has ended") from None
        except (vim.fault.NoPermission, vim.fault.RestrictedVersion) as fault:
            raise HypervisorError(f"{self.endpoint}: {self.say(fault)}") from None
        except (xml.parsers.expat.ExpatError, xml.etree.ElementTree.ParseError):
            raise ConnectionLost("the server's answer is not complete or is no SOAP") from None
        except vim.fault.HostConnectFault:
            raise ConnectionLost("the server's answer was cut off") from None

    # --- reading in bulk ---

    def view(self, kinds: Sequence[str], root: t.Any = None) -> t.Any:
        """A container view over all objects of these kinds; made once per session."""
        key = (*kinds, root._moId if root is not None else "")
        with self._lock:
            if key not in self._views:
                types = [getattr(vim, kind, None) or getattr(vim.dvs, kind) for kind in kinds]
                self._views[key] = self.content.viewManager.CreateContainerView(root or self.content.rootFolder, types, True)
            return self._views[key]

    def retrieve(self, specs: Sequence[ObjectSpec]) -> list[ObjectData]:
        """All objects of these specs, page by page. If one vanishes meanwhile, all are read again without it."""
        for _attempt in range(_VANISHING):
            try:
                return self._pages(specs)
            except vmodl.fault.ManagedObjectNotFound as fault:
                gone = getattr(fault.obj, "_moId", None)
                specs = [dataclasses.replace(one, names=tuple(n for n in one.names if n != gone)) for one in specs]
                specs = [one for one in specs if one.view is not None or one.names]
        return self._pages(specs)

    def _pages(self, specs: Sequence[ObjectSpec]) -> list[ObjectData]:
        with self._lock:
            if self._stub is None:
                raise ConnectionLost("there is no session")
            if self._collector is None:
                self._collector = self.content.propertyCollector.CreatePropertyCollector()
            collector, stub = self._collector, self._stub
        name = collector._moId
        found: list[ObjectData] = []
        page, token = vmware_objects.parse_page(self._post(stub, vmware_objects.retrieve_request(name, specs)))
        found.extend(page)
        while token is not None:
            page, token = vmware_objects.parse_page(self._post(stub, vmware_objects.continue_request(name, token)))
            found.extend(page)
        return found

    def _post(self, stub: t.Any, request: bytes) -> bytes:
        """One SOAP call; returns the answer's bytes, as pyVmomi would take eight times as long to read a big one."""
        connection = stub.GetConnection()
        try:
            headers = {"Cookie": stub.cookie, "SOAPAction": stub.versionId, "Content-Type": "text/xml; charset=utf-8"}
            connection.request("POST", stub.path, request, headers)
            answer = connection.getresponse()
            body = answer.read()
        except Exception:
            connection.close()
            stub.DropConnections()
            raise
        if answer.status == 200:
            stub.ReturnConnection(connection)
            return body
        connection.close()
        if answer.status == 500:
            fault = self._fault(stub, body)
            if fault is not None:
                raise fault
        raise http.client.HTTPException(f"{answer.status} {answer.reason}")

    @staticmethod
    def _fault(stub: t.Any, body: bytes) -> BaseException | None:
        """The SOAP fault in an answer; None if there is none that pyVmomi knows."""
        try:
            fault = SoapAdapter.SoapResponseDeserializer(stub).Deserialize(io.BytesIO(body), None)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        return fault if isinstance(fault, BaseException) else None

    # --- tasks ---

    def wait(self, task: t.Any, vm: t.Any = None, what: str = "the task") -> Element | None:
        """Waits for a task; returns its result or raises its fault. vm: a host's question about its locked CD door gets a yes."""
        specs = [vmware_objects.ObjectSpec("Task", ("info.state", "info.result"), (task._moId,))]
        if vm is not None:
            specs.append(vmware_objects.ObjectSpec("VirtualMachine", ("runtime.question",), (vm._moId,)))
        end = time.monotonic() + TASK_SECONDS
        pause = TASK_FIRST_LOOK
        answered: set[str] = set()
        while True:
            state, result, question = "", None, None
            for found in self._shared.read(specs):
                if found.kind == "Task":
                    state, result = found.text("info.state"), found.get("info.result")
                else:
                    question = found.get("runtime.question")
            if state == "success":
                return result
            if state == "error":
                raise self.task_error(task)
            if question is not None:
                self._answer(vm, question, answered)
            if time.monotonic() >= end:
                raise DriveError(f"{what} is not done after {TASK_SECONDS:g} s: look at the recent tasks of {self.endpoint}")
            time.sleep(pause * (0.8 + 0.4 * random.random()))
            pause = min(pause * 1.5, TASK_LAST_LOOK)

    def task_error(self, task: t.Any) -> BaseException:
        """Why a task failed."""
        collector = vmodl.query.PropertyCollector
        spec = collector.FilterSpec(
            objectSet=[collector.ObjectSpec(obj=task)], propSet=[collector.PropertySpec(type=vim.Task, pathSet=["info.error"])]
        )
        for found in self.content.propertyCollector.RetrieveProperties([spec]):
            for one in found.propSet:
                if isinstance(one.val, BaseException):
                    return one.val
        return vmodl.MethodFault(msg="the task failed and does not say why")

    def _answer(self, vm: t.Any, question: t.Any, answered: set[str]) -> None:
        number = vmware_objects.child_text(question, "id")
        if number in answered:
            return
        if not vmware_objects.is_door_question(question, _DOOR_MESSAGES):
            text = " ".join(vmware_objects.child_text(question, "text").split())
            raise DriveError(
                f"the VM waits for an answer to a question of the host: {text[:300]!r}; answer it in the vSphere client"
            )
        answered.add(number)
        # Somebody else may have answered it first.
        with contextlib.suppress(vmodl.fault.InvalidArgument, vim.fault.InvalidState, vim.fault.ConcurrentAccess):
            vm.AnswerVM(number, vmware_objects.yes_choice(question))

    @property
    def stub(self) -> t.Any:
        """The stub of the current login, for references to types that object() cannot name."""
        stub = self._stub
        if stub is None:
            raise ConnectionLost("there is no session")  # another thread is logging in
        return stub

    def object(self, kind: str, name: str) -> t.Any:
        """The managed object of this reference, for calls."""
        return getattr(vim, kind)(name, self.stub)
