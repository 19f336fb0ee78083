# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rigs choose ports before their servers have them: meanwhile no client of another test may be given one."""

from __future__ import annotations

import pathlib
import sys

from ansible_collections.vmops.external_dhcp.tests.unit.doc_commands import ROOT

sys.path.insert(0, str(ROOT / "tests" / "rigs"))


def test_ports_are_none_that_the_kernel_gives_to_clients() -> None:
    import librig_server

    first, last = map(int, pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not any(first <= librig_server.free_port() <= last for _unused in range(20))
