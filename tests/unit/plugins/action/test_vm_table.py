# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios

import pytest

from ansible_collections.vmops.external_dhcp.plugins.action import vm_table


def test_the_width_is_the_terminals_and_without_one_there_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "66")
    assert vm_table.terminal_width() == 66
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr(vm_table.os, "readlink", lambda path: "pipe:[1]")
    assert vm_table.terminal_width() == 0
    master, slave = pty.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 71, 0, 0))
        name = os.ttyname(slave)
        monkeypatch.setattr(vm_table.os, "readlink", lambda path: name)
        assert vm_table.terminal_width() == 71
    finally:
        os.close(master)
        os.close(slave)
