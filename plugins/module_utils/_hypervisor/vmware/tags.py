# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Tags of vSphere's tagging service: it is in a vCenter's Automation API, which pyVmomi does not speak.

Its reference: https://developer.broadcom.com/xapis/vsphere-automation-api/latest/cis-tagging
"""

from __future__ import annotations

import base64
import contextlib
import fnmatch
import http.client
import json
import re
import typing as t
from urllib.parse import quote

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import workers
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.connection import ConnectionLost, Connections
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import MAX_NAME, first_of, plain

if t.TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.session import Session

_SESSION = "/api/session"
_CATEGORY, _TAG = "/api/cis/tagging/category", "/api/cis/tagging/tag"
_TAGS_OF_CATEGORY = f"{_TAG}?action=list-tags-for-category"
_OBJECTS_OF_TAGS = "/api/cis/tagging/tag-association?action=list-attached-objects-on-tags"
_SIDE_BY_SIDE = 8
_TAGS_A_CALL = 100
_MOST_TAGS = 10_000  # the name of each takes a call
_LONGEST_ANSWER = 64 * 1024 * 1024


class Tag(t.NamedTuple):
    """A tag and the category it is in."""

    category: str
    name: str

    @property
    def text(self) -> str:
        """As it stands in Vm.tags."""
        return plain(f"{self.category}/{self.name}", MAX_NAME)


def tags_of_vms(session: Session, patterns: Collection[str]) -> dict[str, list[str]]:
    """The tags of VMs, as V(category/tag), by the names of their objects; only tags that a pattern fits.

    A pattern with an equals sign is for custom attributes; if there are no others, nothing is asked. Raises HypervisorError, also
    for a pattern that is a mistake (see mistake()).
    """
    wanted = [pattern for pattern in dict.fromkeys(patterns) if "=" not in pattern]
    if not wanted:
        return {}
    if not session.is_vcenter:
        raise HypervisorError(
            f"{session.endpoint}: vm_filter has the tag {wanted[0]}, but only a vCenter has tags: connect to the one that manages "
            "this host, or choose VMs by names or folders"
        )

    def operation() -> dict[str, list[str]]:
        try:
            return _read(session, wanted)
        except (KeyError, TypeError):
            raise ConnectionLost("the tagging service's answer has another form than its reference says") from None

    return session.run(operation)


def _read(session: Session, patterns: Sequence[str]) -> dict[str, list[str]]:
    with _TaggingService(session) as service:
        tags = service.tags(patterns)
        for pattern in patterns:
            found = mistake(pattern, tags.values())
            if found is not None:
                raise HypervisorError(f"{session.endpoint}: {found}")
        chosen = {number: tag.text for number, tag in tags.items() if any(fnmatch.fnmatchcase(tag.text, one) for one in patterns)}
        return service.vms(chosen)


def mistake(pattern: str, tags: Collection[Tag]) -> str | None:
    """Why no tag fits this pattern; None if one does, or if the pattern has wildcards and none needs to."""
    if any(fnmatch.fnmatchcase(tag.text, pattern) for tag in tags):
        return None
    shown = plain(pattern, MAX_NAME)
    alike = sorted(tag.text for tag in tags if fnmatch.fnmatchcase(tag.name, pattern))
    if alike:
        write = alike[0] if len(alike) == 1 else f"one of {first_of(alike)}, or */{shown} for all of them"
        return f"vm_filter has the tag {shown} without its category: write {write}"
    if _literal_start(pattern) != pattern:
        return None
    beside = sorted(plain(tag.name, MAX_NAME) for tag in tags if pattern.startswith(f"{tag.category}/"))
    there = f" (that category has {first_of(beside)})" if beside else ""
    return (
        f"vm_filter has the tag {shown}, which does not exist or is not visible to the account{there}: write category/tag as the "
        "vSphere client shows them, or give the account the role Read-only as a global permission"
    )


def _literal_start(pattern: str) -> str:
    """What stands before the first wildcard."""
    return re.split(r"[*?\[]", pattern, maxsplit=1)[0]


def _may_have(category: str, pattern: str) -> bool:
    """Whether a tag of this category may fit the pattern, or must be known to say what is wrong with it."""
    if "/" not in pattern:
        return True
    start, head = _literal_start(pattern), f"{category}/"
    return start.startswith(head) or head.startswith(start)


class _Request(t.NamedTuple):
    method: str
    path: str
    body: str | None = None


class _TaggingService:
    """A session of its own at the Automation API, which ends with the block; requests have the limits of the other calls.

    Raises ConnectionLost for what a second try may mend.
    """

    def __init__(self, session: Session) -> None:
        self._endpoint = session.endpoint
        self._connections = Connections(session.endpoint, session.context)
        self._token = ""

    def __enter__(self) -> _TaggingService:
        try:
            self._login()
        except BaseException:
            self._connections.close()
            raise
        return self

    def _login(self) -> None:
        account = f"{self._endpoint.username}:{self._endpoint.password}".encode()
        login = {"Authorization": f"Basic {base64.b64encode(account).decode()}"}
        try:
            status, self._token = workers.within(lambda: self._send(_Request("POST", _SESSION), login), self._endpoint.timeout)
        except workers.TimedOut:
            raise self._too_slow() from None
        if status == http.client.NOT_FOUND:
            raise HypervisorError(
                f"{self._endpoint}: it does not answer at {_SESSION}: tags in vm_filter need vCenter 7.0 Update 2 or later; choose "
                "VMs by names, folders, or custom attributes (name=value)"
            )
        if status == http.client.UNAUTHORIZED:
            raise HypervisorError(
                f"{self._endpoint}: {self._endpoint.username} may log in at vCenter, but not at its Automation API ({_SESSION}), which "
                "tags in vm_filter need: give it an account of vCenter's single sign-on, or choose VMs by names, folders, or custom "
                "attributes (name=value)"
            )
        if status not in (http.client.OK, http.client.CREATED) or not isinstance(self._token, str):
            raise ConnectionLost(f"{_SESSION}, which tags in vm_filter need: HTTP {status}")

    def __exit__(self, *exc: object) -> None:
        # A session that cannot be ended ends by itself; the error that ends the block matters more.
        with contextlib.suppress(HypervisorError, ConnectionLost, workers.TimedOut):
            workers.within(lambda: self._send(_Request("DELETE", _SESSION), self._proof), self._endpoint.timeout)
        self._connections.close()

    @property
    def _proof(self) -> dict[str, str]:
        return {"vmware-api-session-id": self._token}

    def tags(self, patterns: Sequence[str]) -> dict[str, Tag]:
        """By their ids, all tags of the categories that the patterns may mean."""
        categories = self._named(_CATEGORY, self._ask([_Request("GET", _CATEGORY)])[0])
        meant = {number: name for number, name in categories.items() if any(_may_have(name, pattern) for pattern in patterns)}
        requests = [_Request("POST", _TAGS_OF_CATEGORY, json.dumps({"category_id": number})) for number in meant]
        lists = self._ask(requests, may_be_gone=True)
        category_of = {tag: name for name, tags in zip(meant.values(), lists, strict=True) for tag in tags or ()}
        if len(category_of) > _MOST_TAGS:
            raise HypervisorError(
                f"{self._endpoint}: vm_filter has tags that may be any of {len(category_of)}: write their category, as in category/tag"
            )
        return {number: Tag(category_of[number], name) for number, name in self._named(_TAG, category_of).items()}

    def vms(self, tags: dict[str, str]) -> dict[str, list[str]]:
        """The tags of VMs by the names of their objects. tags: by their ids."""
        numbers = list(tags)
        parts = [numbers[start : start + _TAGS_A_CALL] for start in range(0, len(numbers), _TAGS_A_CALL)]
        found: dict[str, list[str]] = {}
        for answer in self._ask([_Request("POST", _OBJECTS_OF_TAGS, json.dumps({"tag_ids": part})) for part in parts]):
            for one in answer:
                for thing in one["object_ids"]:
                    if thing["type"] == "VirtualMachine":
                        found.setdefault(thing["id"], []).append(tags[one["tag_id"]])
        return found

    def _named(self, path: str, numbers: Collection[str]) -> dict[str, str]:
        """Names of categories or tags by their ids; without those that are gone meanwhile."""
        requests = [_Request("GET", f"{path}/{quote(number, safe=':')}") for number in numbers]
        answers = self._ask(requests, may_be_gone=True)
        return {number: answer["name"] for number, answer in zip(numbers, answers, strict=True) if answer is not None}

    def _ask(self, requests: Sequence[_Request], may_be_gone: bool = False) -> list[t.Any]:
        """The answers in the order of the requests. may_be_gone: None stands for a category or tag that was deleted meanwhile."""
        answers = {}
        for request, answer, error in workers.each(self._answer, requests, _SIDE_BY_SIDE, self._endpoint.timeout):
            if isinstance(error, workers.TimedOut):
                raise self._too_slow()
            if error is not None:
                raise error
            if answer is None and not may_be_gone:
                raise ConnectionLost(f"{request.path}, which tags in vm_filter need: HTTP 404")
            answers[request] = answer
        return [answers[request] for request in requests]

    def _answer(self, request: _Request) -> t.Any:
        status, answer = self._send(request, self._proof)
        if status == http.client.UNAUTHORIZED:
            raise ConnectionLost("the session of the tagging service has ended")
        if status == http.client.FORBIDDEN:
            raise HypervisorError(
                f"{self._endpoint}: the account {self._endpoint.username} may not read tags, which vm_filter has: give it the role "
                "Read-only as a global permission"
            )
        if status not in (http.client.OK, http.client.NOT_FOUND):
            raise ConnectionLost(f"the tagging service, which tags in vm_filter need: HTTP {status}")
        return answer if status == http.client.OK else None

    def _send(self, request: _Request, headers: dict[str, str]) -> tuple[int, t.Any]:
        """Status and content of the answer; the content is None unless all went well."""
        with self._connections.one() as connection:
            kind = {"Content-Type": "application/json"} if request.body is not None else {}
            connection.request(request.method, request.path, request.body, {"Accept": "application/json", **kind, **headers})
            answer = connection.getresponse()
            data = answer.read(_LONGEST_ANSWER + 1)
            if answer.length or len(data) > _LONGEST_ANSWER:
                raise http.client.HTTPException("an answer that is cut off or too long")
        if answer.status not in (http.client.OK, http.client.CREATED):
            return answer.status, None
        try:
            return answer.status, json.loads(data)
        except ValueError:
            raise ConnectionLost("the tagging service's answer is no JSON") from None

    def _too_slow(self) -> ConnectionLost:
        return ConnectionLost(
            f"no answer of the tagging service within {self._endpoint.timeout:g} s (hypervisor.connect_timeout)"
        )
