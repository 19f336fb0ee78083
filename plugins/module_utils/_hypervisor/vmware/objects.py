# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Requests to the property collector, and its answers as plain XML elements, without pyVmomi or network.

pyVmomi would build an object for every part of a VM's long device list, of which only a few texts are needed.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

VIM = "{urn:vim25}"
TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"

_ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>{}</soapenv:Body></soapenv:Envelope>'
)
# Characters that XML 1.0 forbids; a server may pass them on from a guest.
_FORBIDDEN_BYTES = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_FORBIDDEN_REFERENCES = re.compile(rb"&#(?:x0*(?:[0-8bcef]|1[0-9a-f])|0*(?:[0-8]|1[124-9]|2[0-9]|3[01]));", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class ObjectSpec:
    """Properties of the objects named, or of all objects of this kind in a container view."""

    kind: str
    properties: tuple[str, ...]
    names: tuple[str, ...] = ()
    view: str | None = None


class ObjectData:
    """One object of an answer and those of its properties that are set."""

    __slots__ = ("kind", "name", "properties")

    def __init__(self, kind: str, name: str, properties: dict[str, ElementTree.Element]) -> None:
        self.kind = kind
        self.name = name
        self.properties = properties

    def get(self, name: str) -> ElementTree.Element | None:
        """A property as an element; None if it is not set."""
        return self.properties.get(name)

    def text(self, name: str) -> str:
        """A simple property; empty if it is not set."""
        element = self.properties.get(name)
        return "" if element is None else element.text or ""

    def children(self, name: str) -> list[ElementTree.Element]:
        """The entries of a list; empty if it is not set."""
        element = self.properties.get(name)
        return [] if element is None else list(element)


def child_text(element: ElementTree.Element, name: str) -> str:
    """The text of a child of the API's namespace; empty if there is none."""
    return element.findtext(VIM + name) or ""


def kind_of(element: ElementTree.Element) -> str:
    """The xsi:type of an element, without its prefix."""
    return element.get(TYPE, "").rsplit(":", 1)[-1]


def retrieve_request(collector: str, specs: Sequence[ObjectSpec]) -> bytes:
    """RetrievePropertiesEx. An object that is gone is left out of the answer, not an error."""
    return _request(
        "RetrievePropertiesEx", collector, "".join(f"<specSet>{filter_spec(spec)}</specSet>" for spec in specs) + "<options/>"
    )


def continue_request(collector: str, token: str) -> bytes:
    """ContinueRetrievePropertiesEx, for the next page."""
    return _request("ContinueRetrievePropertiesEx", collector, f"<token>{escape(token)}</token>")


def _request(method: str, collector: str, arguments: str) -> bytes:
    body = f'<{method} xmlns="urn:vim25"><_this type="PropertyCollector">{escape(collector)}</_this>{arguments}</{method}>'
    return _ENVELOPE.format(body).encode("utf-8")


def filter_spec(spec: ObjectSpec) -> str:
    """What stands inside a PropertyFilterSpec."""
    kind = quoteattr(spec.kind)[1:-1]
    paths = "".join(f"<pathSet>{escape(path)}</pathSet>" for path in spec.properties)
    if spec.view is not None:
        objects = (
            f'<objectSet><obj type="ContainerView">{escape(spec.view)}</obj><skip>true</skip>'
            '<selectSet xsi:type="TraversalSpec"><type>ContainerView</type><path>view</path><skip>false</skip></selectSet>'
            "</objectSet>"
        )
    else:
        objects = "".join(f'<objectSet><obj type="{kind}">{escape(name)}</obj></objectSet>' for name in spec.names)
    return (
        f"<propSet><type>{kind}</type>{paths}</propSet>{objects}"
        "<reportMissingObjectsInResults>true</reportMissingObjectsInResults>"
    )


def parse_page(answer: bytes) -> tuple[list[ObjectData], str | None]:
    """The objects of one answer and the token for the next page. Raises ElementTree.ParseError."""
    try:
        root = ElementTree.fromstring(answer)
    except ElementTree.ParseError:
        # A control character of one guest must not hide all VMs.
        root = ElementTree.fromstring(_FORBIDDEN_REFERENCES.sub(b"?", _FORBIDDEN_BYTES.sub(b"?", answer)))
    found = [_object(element) for element in root.iter(VIM + "objects")]
    return found, root.findtext(f".//{VIM}token")


def _object(element: ElementTree.Element) -> ObjectData:
    reference = element.find(VIM + "obj")
    if reference is None:
        return ObjectData("", "", {})
    properties = {}
    for one in element.iterfind(VIM + "propSet"):
        value = one.find(VIM + "val")
        if value is not None:
            properties[child_text(one, "name")] = value
    return ObjectData(reference.get("type", ""), reference.text or "", properties)


def references(element: ElementTree.Element | None) -> Iterator[str]:
    """The names of the objects in a list of references, or in a single reference."""
    if element is not None:
        if len(element) == 0 and element.text:
            yield element.text
        for entry in element:
            if entry.text:
                yield entry.text


# --- questions of a host ---


def is_door_question(question: ElementTree.Element, message_ids: Sequence[str]) -> bool:
    """Whether the host asks if a CD that the guest has locked is to be taken out all the same."""
    ids = [child_text(message, "id") for message in question.iterfind(VIM + "message")]
    text = child_text(question, "text")
    return any(known in ids or known in text for known in message_ids)


def yes_choice(question: ElementTree.Element) -> str:
    """The key of the answer yes; the first choice where the labels are in another language."""
    choice = question.find(VIM + "choice")
    entries = [] if choice is None else choice.findall(VIM + "choiceInfo")
    for entry in entries:
        if child_text(entry, "label").strip().lower() in ("yes", "button.yes"):
            return child_text(entry, "key")
    return child_text(entries[0], "key") if entries else "0"
