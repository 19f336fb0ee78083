# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module of the same name and, in a loop, tells at every try who is still waited for.

Ansible itself shows of a failed try only how many are left, and a module cannot print.
"""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain

MAX_LINES = 20
MAX_LINE = 200

display = Display()


class ActionModule(ActionBase):
    """The options are the module's."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        result.update(self._execute_module(module_name="vmops.external_dhcp.vm_ip_fetch", task_vars=task_vars))
        if self._task.until:
            host = (task_vars or {}).get("inventory_hostname", "")
            for line in waiting_lines(result):
                display.display(f"[{host}] {line}")
        return result


def waiting_lines(result: dict[str, t.Any]) -> list[str]:
    """A result of the module as lines for people; empty when nothing is waited for."""
    waiting = [nic for nic in result.get("waiting") or [] if nic.get("required")]
    if not waiting:
        return []
    lines = [plain(result.get("msg") or "", MAX_LINE)]
    for nic in waiting[:MAX_LINES]:
        why = f"{nic.get('reason')} (tries left: {nic.get('tries_left')}), {nic.get('message') or '-'}"
        lines.append(plain(f"  waiting for {nic.get('vm')} NIC {nic.get('nic')} ({nic.get('mac')}): {why}", MAX_LINE))
    if len(waiting) > MAX_LINES:
        lines.append(f"  and {len(waiting) - MAX_LINES} more")
    return lines
