# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import textwrap
import xmlrpc.client

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.wire import AnswerReader


def read(text, keep=None):
    reader = AnswerReader(keep)
    data = text.encode()
    for start in range(0, len(data), 7):  # as it comes from a socket, in pieces
        reader.feed(data[start : start + 7])
    reader.close()
    return reader.close()


@pytest.mark.parametrize(
    "value",
    ["text", "", 7, -1, 2.5, True, False, [], ["a", 1, [True]], {}, {"a": {"b": ["c"]}, "": "x"}, "ünï <&>", {"n": "7"}],
)
def test_the_same_as_xmlrpc_client(value):
    text = xmlrpc.client.dumps((value,), methodresponse=True)
    assert read(text) == xmlrpc.client.loads(text)[0]


def test_bare_values_are_text_and_dates_stay_text():
    text = (
        "<?xml version='1.0'?><methodResponse><params><param><value><struct><member><name>a</name><value>x</value></member>"
        "<member><name>d</name><value><dateTime.iso8601>20190113T19:40:34Z</dateTime.iso8601></value></member>"
        "</struct></value></param></params></methodResponse>"
    )
    assert read(text) == ({"a": "x", "d": "20190113T19:40:34Z"},)


def test_a_fault_is_raised():
    with pytest.raises(xmlrpc.client.Fault, match="boom"):
        read(xmlrpc.client.dumps(xmlrpc.client.Fault(3, "boom"), methodresponse=True))


@pytest.mark.parametrize("text", ["", "hello", "<html></html>", "<a>", "<methodResponse></methodResponse>"])
def test_anything_else_is_an_error_of_the_answer(text):
    with pytest.raises(xmlrpc.client.ResponseError):
        read(text)


EVENTS = textwrap.dedent(
    """\
    <methodResponse><params><param><value><struct>
    <member><name>Status</name><value>Success</value></member>
    <member><name>Value</name><value><struct>
    <member><name>events</name><value><array><data>
    <value><struct><member><name>class</name><value>vm</value></member><member><name>operation</name><value>add</value></member>
    <member><name>ref</name><value>OpaqueRef:1</value></member><member><name>snapshot</name><value><struct>
    <member><name>uuid</name><value>u1</value></member><member><name>recommendations</name><value>long</value></member>
    <member><name>VIFs</name><value><array><data><value>OpaqueRef:v</value></data></array></value></member>
    </struct></value></member></struct></value>
    <value><struct><member><name>class</name><value>vm</value></member><member><name>operation</name><value>del</value></member>
    <member><name>ref</name><value>OpaqueRef:2</value></member></struct></value>
    </data></array></value></member>
    <member><name>token</name><value>00000000000000000007,00000000000000000000</value></member>
    </struct></value></member></struct></value></param></params></methodResponse>"""
).replace("\n", "")


def test_event_answers_are_cut_down_to_the_wanted_fields():
    (answer,) = read(EVENTS, {"vm": frozenset(("uuid", "VIFs"))})
    assert answer == {
        "Status": "Success",
        "Value": {
            "events": [
                {"class": "vm", "operation": "add", "ref": "OpaqueRef:1", "snapshot": {"uuid": "u1", "VIFs": ["OpaqueRef:v"]}},
                {"class": "vm", "operation": "del", "ref": "OpaqueRef:2"},
            ],
            "token": "00000000000000000007,00000000000000000000",
        },
    }


@pytest.mark.parametrize(
    "answer", [{"Status": "Failure", "ErrorDescription": ["SESSION_INVALID", "x"]}, {"Status": "Success", "Value": "OpaqueRef:s"}]
)
def test_errors_and_logins_in_between_come_through_whole(answer):
    text = xmlrpc.client.dumps((answer,), methodresponse=True)
    assert read(text, {"vm": frozenset()}) == (answer,)
