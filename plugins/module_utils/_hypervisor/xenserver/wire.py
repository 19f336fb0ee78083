# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""A fast reader of XML-RPC answers, which keeps only the wanted fields of records.

A pool of 1,000 VMs answers with about ten megabytes of XML, and the parser of xmlrpc.client calls Python for each tag.
"""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET
import xmlrpc.client

if t.TYPE_CHECKING:
    from collections.abc import Mapping

# Fields to keep, by the class name that event.from writes (lower case).
Fields = t.Optional["Mapping[str, frozenset[str]]"]


class AnswerReader:
    """The parser and the unmarshaller that xmlrpc.client.Transport.getparser() returns, in one object.

    keep: for answers of event.from only: the fields of each class's records to keep; None keeps all.
    Dates stay text (20190113T19:40:34Z), which sorts by time.
    """

    def __init__(self, keep: Fields = None) -> None:
        self._parser = ET.XMLParser()
        self._keep = keep
        self._root: ET.Element | None = None

    def feed(self, data: bytes) -> None:
        """Takes the next piece of the answer."""
        self._parser.feed(data)

    def close(self) -> t.Any:
        """Called first as the parser (ends the document), then as the unmarshaller (returns the results in a tuple).

        Raises Fault, ResponseError.
        """
        if self._root is None:
            try:
                self._root = self._parser.close()
            except ET.ParseError:
                raise xmlrpc.client.ResponseError("the answer is no XML") from None
            return None
        root = self._root
        if root.tag != "methodResponse" or len(root) != 1:
            raise xmlrpc.client.ResponseError("the answer is no XML-RPC")
        if root[0].tag == "fault":
            fault = _value(root[0][0])
            raise xmlrpc.client.Fault(fault.get("faultCode", 0), fault.get("faultString", ""))
        value = root[0][0][0]
        if self._keep is not None:
            return (_event_answer(value, self._keep),)
        return (_value(value),)


def _value(element: ET.Element) -> t.Any:
    """The Python value of a <value> element."""
    if not len(element):
        return element.text or ""
    child = element[0]
    tag = child.tag
    if tag == "struct":
        return {member[0].text or "": _value(member[1]) for member in child}
    if tag == "array":
        return [_value(item) for item in child[0]] if len(child) else []
    text = child.text or ""
    if tag == "boolean":
        return text == "1"
    if tag in ("int", "i4", "i8"):
        return int(text)
    if tag == "double":
        return float(text)
    return text


def _event_answer(element: ET.Element, keep: Mapping[str, frozenset[str]]) -> t.Any:
    """An answer of event.from, with only the wanted fields of each snapshot; any other answer, such as an error, unchanged."""
    answer = {}
    for member in element[0]:
        name = member[0].text
        if name != "Value" or not len(member[1]) or member[1][0].tag != "struct":
            # An error, or the answer to a login by the library.
            answer[name] = _value(member[1])
            continue
        batch: dict[str, t.Any] = {}
        for part in member[1][0]:
            if part[0].text == "events" and len(part[1]):
                batch["events"] = [_event(event, keep) for event in part[1][0][0]]
            elif part[0].text == "token":
                batch["token"] = _value(part[1])
        answer[name] = batch
    return answer


def _event(element: ET.Element, keep: Mapping[str, frozenset[str]]) -> dict[str, t.Any]:
    members = {member[0].text: member[1] for member in element[0]}
    event: dict[str, t.Any] = {name: _value(members[name]) for name in ("class", "operation", "ref")}
    snapshot = members.get("snapshot")
    if snapshot is not None and len(snapshot):
        fields = keep.get(event["class"].lower(), frozenset())
        event["snapshot"] = {m[0].text: _value(m[1]) for m in snapshot[0] if m[0].text in fields}
    return event
