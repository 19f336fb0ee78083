# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests to VMware's property collector and its answers."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware import objects
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.vmware.objects import VIM, ObjectSpec

ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body><RetrievePropertiesExResponse xmlns="urn:vim25">'
    "<returnval>{}</returnval></RetrievePropertiesExResponse></soapenv:Body></soapenv:Envelope>"
)
VM = (
    '<objects><obj type="VirtualMachine">vm-1</obj>'
    '<propSet><name>name</name><val xsi:type="xsd:string">web</val></propSet>'
    '<propSet><name>guest.hostName</name><val xsi:type="xsd:string">{}</val></propSet>'
    '<propSet><name>datastore</name><val xsi:type="ArrayOfManagedObjectReference">'
    '<ManagedObjectReference type="Datastore">ds-1</ManagedObjectReference>'
    '<ManagedObjectReference type="Datastore">ds-2</ManagedObjectReference></val></propSet>'
    "<missingSet><path>config</path></missingSet></objects>"
)


def page(*parts: str) -> bytes:
    return ENVELOPE.format("".join(parts)).encode()


def test_page_with_token() -> None:
    found, token = objects.parse_page(page("<token>7</token>", VM.format("web.example.com")))
    assert token == "7"
    (vm,) = found
    assert (vm.kind, vm.name, vm.text("name"), vm.text("unset"), vm.get("unset")) == ("VirtualMachine", "vm-1", "web", "", None)
    assert list(objects.references(vm.get("datastore"))) == ["ds-1", "ds-2"]
    assert list(objects.references(None)) == []
    assert vm.children("unset") == []


def test_last_page_and_empty_answer() -> None:
    assert objects.parse_page(page(VM.format("x")))[1] is None
    assert objects.parse_page(page()) == ([], None)


@pytest.mark.parametrize("hostile", ["a\x01b", "\x1b[2J", "&#x1;", "&#1;", "&#x1B;", "&#0;", "\x00"])
def test_control_characters_of_one_guest_hide_nothing(hostile: str) -> None:
    found, _token = objects.parse_page(page(VM.format(hostile), VM.format("other")))
    assert [vm.text("name") for vm in found] == ["web", "web"]
    assert "?" in found[0].text("guest.hostName") and found[1].text("guest.hostName") == "other"


def test_ordinary_references_are_kept() -> None:
    found, _token = objects.parse_page(page(VM.format("a&#9;b&#x41;&#127;\x01")))
    assert found[0].text("guest.hostName") == "a\tbA\x7f?"


def test_what_is_no_xml_is_an_error() -> None:
    with pytest.raises(ElementTree.ParseError):
        objects.parse_page(page(VM.format("x"))[:-40])


def parsed(request: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(request)


def test_request_for_a_view() -> None:
    root = parsed(objects.retrieve_request("pc<1>", [ObjectSpec("VirtualMachine", ("name", "guest.net"), view="view&1")]))
    assert root.findtext(f".//{VIM}_this") == "pc<1>"
    assert [e.text for e in root.iter(f"{VIM}pathSet")] == ["name", "guest.net"]
    spec = root.find(f".//{VIM}objectSet")
    assert spec is not None
    assert spec.findtext(f"{VIM}obj") == "view&1" and spec.findtext(f"{VIM}skip") == "true"
    assert spec.findtext(f"{VIM}selectSet/{VIM}path") == "view"


def test_request_for_named_objects_tolerates_those_that_are_gone() -> None:
    root = parsed(objects.retrieve_request("pc", [ObjectSpec("VirtualMachine", ("name",), ("vm-1", "vm-2"))]))
    assert [e.text for e in root.iter(f"{VIM}obj")] == ["vm-1", "vm-2"]
    assert root.findtext(f".//{VIM}reportMissingObjectsInResults") == "true"


def test_request_for_the_next_page() -> None:
    assert parsed(objects.continue_request("pc", "<7>")).findtext(f".//{VIM}token") == "<7>"


def question(message_id: str, labels: list[str], text: str = "?") -> ElementTree.Element:
    choices = "".join(f"<choiceInfo><label>{label}</label><key>{n}</key></choiceInfo>" for n, label in enumerate(labels))
    return ElementTree.fromstring(
        f'<val xmlns="urn:vim25"><id>1</id><text>{text}</text><choice>{choices}</choice>'
        f"<message><id>{message_id}</id></message></val>"
    )


def test_door_question() -> None:
    door = ("msg.cdromdisconnect.locked",)
    assert objects.is_door_question(question("msg.cdromdisconnect.locked", ["Yes", "No"]), door)
    assert objects.is_door_question(question("", ["Yes"], "msg.cdromdisconnect.locked:The guest"), door)
    assert not objects.is_door_question(question("msg.uuid.altered", ["Cancel", "I moved it"]), door)


@pytest.mark.parametrize(
    ("labels", "key"),
    [(["Yes", "No"], "0"), (["No", "Yes"], "1"), (["button.no", "button.yes"], "1"), (["Ja", "Nein"], "0"), ([], "0")],
)
def test_answer_is_yes(labels: list[str], key: str) -> None:
    assert objects.yes_choice(question("msg.cdromdisconnect.locked", labels)) == key
