# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Names and addresses as files, for those whose DNS takes no updates: what stands in them that is not ours stays."""

from __future__ import annotations

import csv
import io
import ipaddress
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns import plan
from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.model import DnsError

if t.TYPE_CHECKING:
    from collections.abc import Iterable

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.model import Conflict, Pair

CSV_HEADER = ["name", "address", "reverse", "hypervisor"]
_MARKER = "vmops.external_dhcp"


def settled(pairs: Iterable[Pair]) -> tuple[list[Pair], list[Conflict]]:
    """The pairs that can stand in one file, by address; of VMs that want one name the older one gets it."""
    kept, conflicts = plan.settle(pairs, {}, plan.Scope(owners=("file",), alive={}), lambda name: True)
    return sorted(kept, key=lambda pair: (":" in pair.address, ipaddress.ip_address(pair.address).packed, pair.name)), conflicts


def hosts(text: str, pairs: Iterable[Pair] | None, part: str) -> str:
    """The hosts file `text` with the block of `part` made anew. Such a file is what dnsmasq's addn-hosts reads, too.

    pairs: None removes the block. part: whose names it has, the hypervisors; empty for all. Raises DnsError where the file's blocks are damaged.
    """
    begin, end = (f"# {word} {_MARKER} {part}".rstrip() for word in ("BEGIN", "END"))
    lines = text.splitlines()
    block = [] if pairs is None else [begin, *(f"{pair.address} {pair.name}" for pair in pairs), end]
    found = [(place, line) for place, line in enumerate(lines) if line in (begin, end)]
    if [line for _place, line in found] not in ([], [begin, end]):
        raise DnsError(f"it has not one line {begin!r} followed by one line {end!r}: remove what is left of the block")
    if found:
        lines[found[0][0] : found[1][0] + 1] = block
    else:
        lines += block
    return "".join(line + "\n" for line in lines)


def table(text: str, pairs: Iterable[Pair], hypervisors: Iterable[str] | None) -> str:
    """The CSV file `text` with the rows of these hypervisors made anew; all of them with None. Raises DnsError."""
    rows = list(csv.reader(io.StringIO(text)))
    if rows and rows[0] != CSV_HEADER:
        raise DnsError(
            f"its first line is not {','.join(CSV_HEADER)!r}, so it is somebody else's: name another file, or remove it"
        )
    if any(len(row) != len(CSV_HEADER) for row in rows):
        raise DnsError(
            f"it has a line without {len(CSV_HEADER)} columns, so it was changed by somebody else: correct or remove it"
        )
    others = [] if hypervisors is None else [row for row in rows[1:] if row[3] not in set(hypervisors)]
    ours = [[pair.name, pair.address, pair.reverse or "", pair.lease.hypervisor] for pair in pairs]
    output = io.StringIO()
    csv.writer(output, lineterminator="\n").writerows(
        [CSV_HEADER, *sorted([*others, *ours], key=lambda row: (row[3], row[0], row[1]))]
    )
    return output.getvalue()
