# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of libvirt's binding a connection plugin needs to reach one guest, whose QEMU guest agent listens on a socket of this machine.

The URI qemu+unix:///NAME?socket=PATH names both. The agent itself is the real program.
"""

from __future__ import annotations

import typing as t
import urllib.parse


class libvirtError(Exception):
    pass


class Domain(t.NamedTuple):
    name: str
    socket: str


class Connection:
    def __init__(self, uri: str) -> None:
        parts = urllib.parse.urlsplit(uri)
        self.domain = Domain(parts.path.strip("/"), urllib.parse.parse_qs(parts.query)["socket"][0])

    def lookupByName(self, name: str) -> Domain:
        if name != self.domain.name:
            raise libvirtError(f"Domain not found: no domain with matching name '{name}'")
        return self.domain


def open(uri: str) -> Connection:
    return Connection(uri)
