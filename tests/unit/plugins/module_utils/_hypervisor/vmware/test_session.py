# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A session with VMware: one new login, what errors become, waiting for tasks."""

from __future__ import annotations

import http.client
import ssl
import typing as t
import xml.parsers.expat
from xml.etree import ElementTree

import pytest

pytest.importorskip("pyVmomi")
from pyVmomi import vim, vmodl

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import (
    DriveError,
    HypervisorError,
    HypervisorUnreachable,
    VmNotFound,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware import session as vmware_session
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.connection import ConnectionLost, Endpoint
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.drives import VMwareDrives
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import ObjectData
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session, explain


class OfflineSession(Session):
    """A session that logs in to nothing and counts how often."""

    def __init__(self, login: t.Callable[[], None] = lambda: None) -> None:
        self.logins = 0
        self.login = login
        super().__init__(Endpoint("vcenter.example.com", 443, "u", "top-secret", True, None, None, 8080, 5.0))

    def _login(self) -> None:
        self.logins += 1
        self.login()

    def _logout(self) -> None:
        pass


def failing(*errors: BaseException) -> t.Callable[[], str]:
    left = list(errors)

    def operation() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return operation


RENEWABLE = [
    vim.fault.NotAuthenticated(),
    http.client.HTTPException("503 Service Unavailable"),
    http.client.RemoteDisconnected("closed"),
    ConnectionResetError(104, "reset"),
    TimeoutError("timed out"),
    TimeoutError(),
    ssl.SSLError("bad record"),
    xml.parsers.expat.ExpatError("no element found"),
    ElementTree.ParseError("unclosed token"),
    vim.fault.HostConnectFault(),
    ConnectionLost("the session has ended"),
]


def test_connections_are_kept_for_as_many_calls_as_are_made_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def open_connection(*_where: t.Any) -> http.client.HTTPSConnection:
        opened.append(http.client.HTTPSConnection("vcenter.example.com"))
        return opened[-1]

    monkeypatch.setattr(vmware_session, "open_connection", open_connection)
    stub = vmware_session._Stub(OfflineSession().endpoint, ssl.create_default_context())
    for _round in range(2):
        for connection in [stub.GetConnection() for _call in range(VMwareDrives.side_by_side)]:
            stub.ReturnConnection(connection)
    assert len(opened) == VMwareDrives.side_by_side


@pytest.mark.parametrize("error", RENEWABLE, ids=lambda e: type(e).__name__)
def test_one_new_login(error: BaseException) -> None:
    session = OfflineSession()
    assert session.run(failing(error)) == "done"
    assert session.logins == 2


@pytest.mark.parametrize("error", RENEWABLE, ids=lambda e: type(e).__name__)
def test_a_second_time_is_an_error(error: BaseException) -> None:
    session = OfflineSession()
    with pytest.raises(HypervisorUnreachable, match="^vcenter.example.com:443: .*a new login was made and did not help"):
        session.run(failing(error, error))
    assert session.logins == 2


def test_login_that_fails_again_says_why() -> None:
    def login() -> None:
        if session_made:
            raise ConnectionRefusedError(111, "Connection refused")

    session_made: list[bool] = []
    session = OfflineSession(login)
    session_made.append(True)
    with pytest.raises(HypervisorUnreachable, match="Connection refused.*check hypervisor.host"):
        session.run(failing(vim.fault.NotAuthenticated()))
    # The next operation tries again.
    session_made.clear()
    assert session.run(failing(vim.fault.NotAuthenticated())) == "done"


def test_what_concerns_one_file_is_no_lost_connection() -> None:
    with pytest.raises(DriveError, match="HTTP 500"):
        OfflineSession().run(failing(*(ConnectionLost("HTTP 500", DriveError) for _n in range(2))))


@pytest.mark.parametrize(
    ("error", "expected", "text"),
    [
        (vim.fault.InvalidLogin(msg="x"), HypervisorUnreachable, "login of u was refused"),
        (
            vim.fault.NoPermission(privilegeId="Datastore.Browse", object=vim.Datastore("datastore-7")),
            HypervisorError,
            "privilege Datastore.Browse on datastore-7",
        ),
        (vmodl.fault.ManagedObjectNotFound(msg="gone"), VmNotFound, "gone meanwhile"),
        (vim.fault.InvalidName(msg="bad\nname"), HypervisorError, "InvalidName: bad name"),
        (DriveError("web: x"), DriveError, "^web: x$"),
    ],
)
def test_what_a_new_login_cannot_mend(error: BaseException, expected: type[Exception], text: str) -> None:
    session = OfflineSession()
    with pytest.raises(expected, match=text) as caught:
        session.run(failing(error))
    assert caught.type is expected
    assert session.logins == 1
    assert "top-secret" not in str(caught.value)


def test_certificate_that_is_not_trusted() -> None:
    error = ssl.SSLCertVerificationError("x")
    error.verify_message = "self-signed certificate"
    with pytest.raises(HypervisorUnreachable, match=r"self-signed certificate; set hypervisor\.ca_path"):
        OfflineSession().run(failing(error))


def test_mistakes_of_ours_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        OfflineSession().run(failing(ZeroDivisionError()))


def test_explain() -> None:
    assert explain(vim.fault.FileLocked(msg="a  b\nc")) == "FileLocked: a b c"
    assert explain(vim.fault.FileLocked()) == "FileLocked"
    assert explain(vim.fault.GenericVmConfigFault(msg="no", reason="door")) == "GenericVmConfigFault: no (door)"
    assert len(explain(vim.fault.FileLocked(msg="x" * 10_000))) < 400


# --- tasks ---


def element(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(f'<val xmlns="urn:vim25">{text}</val>')


def look(state: str, question: str = "") -> list[ObjectData]:
    found = [ObjectData("Task", "task-1", {"info.state": element(state), "info.result": element("<x>1</x>")})]
    found.append(ObjectData("VirtualMachine", "vm-1", {"runtime.question": element(question)} if question else {}))
    return found


class Waiting:
    """A VM, and a session whose looks at the task are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *looks: list[ObjectData]) -> None:
        self._moId = "vm-1"
        self.answers: list[tuple[str, str]] = []
        self.looks = list(looks)
        self.session = OfflineSession()
        monkeypatch.setattr(self.session, "retrieve", lambda specs: self.looks.pop(0) if len(self.looks) > 1 else self.looks[0])
        monkeypatch.setattr(vmware_session.time, "sleep", lambda seconds: None)

    def AnswerVM(self, number: str, choice: str) -> None:  # pylint: disable=invalid-name
        self.answers.append((number, choice))
        raise vim.fault.ConcurrentAccess  # somebody else was quicker

    def wait(self) -> t.Any:
        return self.session.wait(vim.Task("task-1"), self, "the reconfiguration of web")


DOOR = (
    "<id>7</id><text>The guest has locked the door</text><choice><choiceInfo><label>Yes</label><key>0</key></choiceInfo>"
    "<choiceInfo><label>No</label><key>1</key></choiceInfo></choice><message><id>msg.cdromdisconnect.locked</id></message>"
)


def test_waiting_gives_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    result = Waiting(monkeypatch, look("queued"), look("running"), look("success")).wait()
    assert result is not None and result.findtext("{urn:vim25}x") == "1"


def test_door_question_is_answered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    vm = Waiting(monkeypatch, look("running", DOOR), look("running", DOOR), look("success"))
    vm.wait()
    assert vm.answers == [("7", "0")]


def test_other_questions_are_left_to_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    question = "<id>8</id><text>Was this VM moved\n or copied?</text><message><id>msg.uuid.altered</id></message>"
    vm = Waiting(monkeypatch, look("running", question))
    with pytest.raises(DriveError, match="'Was this VM moved or copied\\?'; answer it in the vSphere client"):
        vm.wait()
    assert vm.answers == []


def test_task_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vmware_session, "TASK_SECONDS", 0.0)
    with pytest.raises(DriveError, match="the reconfiguration of web is not done after 0 s"):
        Waiting(monkeypatch, look("running")).wait()


def test_error_of_a_task_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    vm = Waiting(monkeypatch, look("error"))
    monkeypatch.setattr(vm.session, "task_error", lambda task: vim.fault.FileLocked())
    with pytest.raises(vim.fault.FileLocked):
        vm.wait()
