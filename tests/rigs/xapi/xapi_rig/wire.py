# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values on the wire: XML-RPC without white space between tags, and JSON-RPC 2.0."""

from __future__ import annotations

import json
import typing as t
from xml.sax.saxutils import escape

from xapi_rig.derive import is_map, is_set, map_types

if t.TYPE_CHECKING:
    from xapi_rig.facts import Facts


def _text(value: t.Any) -> str:
    # What XML 1.0 cannot carry is dropped, as XAPI does for guest text (xenstore values are filtered to UTF-8 XML).
    clean = "".join(c for c in str(value) if c in "\t\n\r" or c >= " ")
    return escape(clean)


def xml_value(facts: Facts, kind: str, value: t.Any) -> str:
    if kind == "void":
        return "<value></value>"
    if kind.endswith(" record"):
        fields = facts.fields[kind[: -len(" record")]]
        members = "".join(f"<member><name>{n}</name>{xml_value(facts, e[0], value[n])}</member>" for n, e in fields.items())
        return f"<value><struct>{members}</struct></value>"
    if is_map(kind):
        value_kind = map_types(kind)[1]
        members = "".join(f"<member><name>{_text(k)}</name>{xml_value(facts, value_kind, v)}</member>" for k, v in value.items())
        return f"<value><struct>{members}</struct></value>"
    if is_set(kind):
        inner = kind[: -len(" set")]
        return "<value><array><data>" + "".join(xml_value(facts, inner, v) for v in value) + "</data></array></value>"
    if kind == "bool":
        return f"<value><boolean>{int(value)}</boolean></value>"
    if kind == "float":
        return f"<value><double>{float(value)!r}</double></value>"
    if kind == "datetime":
        return f"<value><dateTime.iso8601>{value}</dateTime.iso8601></value>"
    return f"<value>{_text(value)}</value>"


def xml_success(value: str) -> bytes:
    return _answer(f"<member><name>Status</name><value>Success</value></member><member><name>Value</name>{value}</member>")


def xml_failure(description: list[str]) -> bytes:
    items = "".join(f"<value>{_text(d)}</value>" for d in description)
    return _answer(
        "<member><name>Status</name><value>Failure</value></member>"
        f"<member><name>ErrorDescription</name><value><array><data>{items}</data></array></value></member>"
    )


def xml_bare(value: str) -> bytes:
    return f"<?xml version='1.0'?><methodResponse><params><param>{value}</param></params></methodResponse>".encode()


def _answer(members: str) -> bytes:
    return xml_bare(f"<value><struct>{members}</struct></value>")


def json_value(facts: Facts, kind: str, value: t.Any) -> t.Any:
    """The same types as JSON: integers stay strings, dates are strings."""
    if kind == "void":
        return ""
    if kind.endswith(" record"):
        return {n: json_value(facts, e[0], value[n]) for n, e in facts.fields[kind[: -len(" record")]].items()}
    if is_map(kind):
        return {str(k): json_value(facts, map_types(kind)[1], v) for k, v in value.items()}
    if is_set(kind):
        return [json_value(facts, kind[: -len(" set")], v) for v in value]
    if kind in ("bool", "float"):
        return value
    return str(value)


def json_answer(ident: t.Any, result: t.Any = None, failure: list[str] | None = None) -> bytes:
    out: dict[str, t.Any] = {"jsonrpc": "2.0", "id": ident}
    if failure is None:
        out["result"] = result
    else:
        out["error"] = {"code": 1, "message": failure[0], "data": failure[1:]}
    return json.dumps(out).encode()
