# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The words of DNS here: leases, the names and pairs they give, what a zone has, what is to be changed, and errors. Plain data."""

from __future__ import annotations

import dataclasses
import hashlib
import re

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import UserError

MARK_LABEL = "_external-dhcp"  # the mark of NAME is the TXT record of _external-dhcp.NAME
_MARK = re.compile(r"external-dhcp=1 owner=([A-Za-z0-9._-]{1,64}) hypervisor=([0-9a-f]{16}) vm=([0-9a-f]{16})")
OWNER = re.compile(r"[A-Za-z0-9._-]{1,64}")

# Why a lease got no name; each comes with a sentence.
BAD_NAME = "bad_name"
FOREIGN = "foreign"
TAKEN = "taken"
NO_ZONE = "no_zone"

FORWARD = ("A", "AAAA")
REVERSE = ("PTR",)


class DnsError(UserError):
    """What is wrong with the server or an option, and the way out; never a secret."""


@dataclasses.dataclass(frozen=True)
class Lease:
    """One NIC's addresses as the record has them; the first is the one that counts. row: its age, older ones are lower."""

    hypervisor: str
    vm_id: str
    vm_name: str
    device: int
    network: str | None
    addresses: tuple[str, ...]
    row: int = 0

    @property
    def vm(self) -> str:
        return digest(self.vm_id)


@dataclasses.dataclass(frozen=True)
class Pair:
    """A name and an address that belong together. reverse: the name of the PTR record; None where none is wanted."""

    name: str
    address: str
    reverse: str | None
    lease: Lease


@dataclasses.dataclass(frozen=True)
class Conflict:
    """A lease without a name in DNS, or without one of its pairs, and why."""

    lease: Lease
    reason: str
    message: str
    name: str | None = None
    address: str | None = None


@dataclasses.dataclass(frozen=True)
class Mark:
    """Whose a name is: owner is the record, hypervisor and vm are digests."""

    owner: str
    hypervisor: str
    vm: str

    @property
    def text(self) -> str:
        return f"external-dhcp=1 owner={self.owner} hypervisor={self.hypervisor} vm={self.vm}"

    @classmethod
    def parse(cls, text: str) -> Mark | None:
        match = _MARK.fullmatch(text)
        return cls(*match.groups()) if match else None


@dataclasses.dataclass(frozen=True)
class Found:
    """What a zone has at one name. sets: TTL and values by type, of A, AAAA and PTR; others: the other types that are there.

    marks: the texts of the TXT records at the mark's name, as they are there.
    """

    name: str
    sets: dict[str, tuple[int, frozenset[str]]]
    others: frozenset[str] = frozenset()
    marks: frozenset[str] = frozenset()

    @property
    def mark(self) -> Mark | None:
        """None where there is none, or more than one, or one that was not written here."""
        return Mark.parse(next(iter(self.marks))) if len(self.marks) == 1 else None

    @property
    def empty(self) -> bool:
        return not (self.sets or self.others or self.marks)


@dataclasses.dataclass(frozen=True)
class Node:
    """What one name is to have."""

    name: str
    sets: dict[str, tuple[int, frozenset[str]]]
    mark: Mark


@dataclasses.dataclass(frozen=True)
class Step:
    """One name from what was read to what is to be: after is None where it is to go."""

    name: str
    before: Found
    after: Node | None


def digest(text: str) -> str:
    """Tells two ids apart without telling them to everybody who may read the zone."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
