# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Dynamic updates (RFC 2136): many names in few transactions, each with its prerequisites.

A server does all of a transaction or nothing. Where one name is not as it was read (somebody else changed it meanwhile), the
transaction is sent again in halves, until that name is alone and left out.
"""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.model import DnsError, Step
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.names import mark_name
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.plan import types_of

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.authority import Connection

MOST = 300  # names in one transaction; about 50 KiB of the 64 that a message can have


def apply(connection: Connection, zone: str, steps: Sequence[Step]) -> Iterator[Sequence[Step]]:
    """Changes the names of one zone; yields what each transaction did. What is never yielded was not as it was read.

    Raises DnsError where the server refuses.
    """
    waiting = [steps[start : start + MOST] for start in range(0, len(steps), MOST)]
    while waiting:
        batch = waiting.pop(0)
        message = _message(connection, zone, batch)
        code = connection.exchange(message).rcode() if message is not None else None
        if code == connection.dns.rcode.NOERROR:
            yield batch
        elif message is not None and not _not_as_read(connection, code):
            raise DnsError(_refusal(connection, zone, code))
        elif len(batch) > 1:
            half = len(batch) // 2
            waiting[:0] = [batch[:half], batch[half:]]


def _not_as_read(connection: Connection, code: t.Any) -> bool:
    rcode = connection.dns.rcode
    return code in (rcode.NXRRSET, rcode.YXRRSET, rcode.NXDOMAIN, rcode.YXDOMAIN)


def _refusal(connection: Connection, zone: str, code: t.Any) -> str:
    where, rcode = connection.server.where, connection.dns.rcode
    key = f"the key {connection.server.key.name}" if connection.server.key else "updates without a key"
    if code == rcode.REFUSED:
        return f"{where} refuses updates of the zone {zone} with {key}: allow them there (BIND: update-policy or allow-update), or give the primary server"
    if code in (rcode.NOTAUTH, rcode.NOTIMP):
        return f"{where} takes no updates of the zone {zone} ({rcode.to_text(code)}): give its primary server"
    return f"{where} did not do an update of the zone {zone}: it says {rcode.to_text(code)}; its log says why"


def _message(connection: Connection, zone: str, steps: Sequence[Step]) -> t.Any:
    """The transaction as a message; None where it would be too long to be one."""
    dns = connection.dns
    update = dns.update.UpdateMessage(zone + ".", **connection.signing)
    for step in steps:
        _require(update, step)
        _change(update, step)
    try:
        update.to_wire()
    except dns.exception.TooBig:
        return None
    return update


def _require(update: t.Any, step: Step) -> None:
    """That the name is as it was read: not in use at all, or ours with these values."""
    name, mark = step.name + ".", mark_name(step.name) + "."
    if not step.before.marks:
        update.absent(name)
        update.absent(mark, "TXT")
        return
    update.present(mark, "TXT", *map(_quoted, sorted(step.before.marks)))
    for rtype in types_of(step.name):
        if rtype in step.before.sets:
            update.present(name, rtype, *(_written(rtype, value) for value in sorted(step.before.sets[rtype][1])))
        else:
            update.absent(name, rtype)
    if step.after is not None:
        update.absent(name, "CNAME")  # beside which a server silently adds nothing


def _change(update: t.Any, step: Step) -> None:
    name, mark = step.name + ".", mark_name(step.name) + "."
    after = step.after.sets if step.after is not None else {}
    for rtype in types_of(step.name):
        if step.before.sets.get(rtype) == after.get(rtype):
            continue
        if rtype in step.before.sets:
            update.delete(name, rtype)
        if rtype in after:
            ttl, values = after[rtype]
            for value in sorted(values):
                update.add(name, ttl, rtype, _written(rtype, value))
    text = step.after.mark.text if step.after is not None else None
    if step.before.marks != ({text} if text else set()):
        if step.before.marks:
            update.delete(mark, "TXT")
        if step.after is not None and text:
            update.add(mark, next(iter(after.values()))[0], "TXT", _quoted(text))


def _written(rtype: str, value: str) -> str:
    return value + "." if rtype == "PTR" else value


def _quoted(text: str) -> str:
    """As in a zone file; of the marks here only, which have nothing to escape."""
    return f'"{text}"'
