# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module of the same name, as often as its option O(looks) says, and prints after every look what is still waited for.

Ansible's own loop (until) calls a look that has not found everything a failed try, and a module cannot print.
"""

from __future__ import annotations

import time
import typing as t

from ansible.utils.display import Display

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._kept import Kept
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._on_controller import OnController

MAX_LINES = 20
MAX_LINE = 200
display = Display()


class ActionModule(OnController):
    """The options are the module's."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        host = (task_vars or {}).get("inventory_hostname", "")
        looks = 1 if self._task.check_mode else max(1, _number(self._task.args.get("looks"), 1))
        pause = _number(self._task.args.get("pause"), _number(self._task.args.get("interval"), _defaults.INTERVAL))
        listening = _number(self._task.args.get("watch"), 0) > 0
        kept = Kept(_number(self._task.args.get("limit"), _defaults.LOOK_LIMIT))
        complaints: dict[str, None] = {}
        changed = False
        for look in range(1, looks + 1):
            began = time.monotonic()
            words = self._task.args if look == 1 else {**self._task.args, "rearm": False}  # once is enough
            outcome = self._execute_module(module_name="vmops.external_dhcp.vm_ip_fetch", module_args=words, task_vars=task_vars)
            changed = changed or outcome.get("changed", False)
            kept.take(outcome)
            complaints.update(dict.fromkeys(outcome.get("complaints") or ()))
            refused = look == 1 and outcome.get("failed") and "pending" not in outcome  # an option that cannot be used
            # A complaint is about what the look found: it was a good one.
            done = not outcome.get("pending") and (not outcome.get("failed") or bool(outcome.get("complaints")))
            if refused or done or look == looks:
                break
            if outcome.get("failed"):
                display.display(f"[{host}] {plain(str(outcome.get('msg')), MAX_LINE)}")
            self._tell(host, outcome)
            left = (
                pause if not listening else max(0, round(pause - (time.monotonic() - began)))
            )  # the module has listened meanwhile
            display.display(f"[{host}] looking again in {left} s, {looks - look} more times at most")
            time.sleep(left)
        if self._task.until:
            self._tell(host, outcome)
        if looks > 1 and "pending" in outcome:
            unfinished = outcome["pending"] and not outcome.get("failed")
            if unfinished:
                self._tell(host, outcome)  # before those that were found take the room of those that are waited for
            outcome.update(kept.told(outcome), changed=changed, looks=look)
            if unfinished:
                outcome.update(failed=True, msg=f"after {look} looks: {outcome.get('msg')}")
            if complaints:
                said = [outcome["msg"]] if outcome.get("failed") and not outcome.get("complaints") else []
                outcome.update(failed=True, msg="; ".join([*complaints, *said]), complaints=list(complaints))
        result.update(outcome)
        for line in story_lines(result):
            display.display(f"[{host}] {line}")
        return result

    def _tell(self, host: str, outcome: dict[str, t.Any]) -> None:
        for line in waiting_lines(outcome):
            display.display(f"[{host}] {line}")


def _number(value: t.Any, default: int) -> int:
    """An option as the module will see it; what is no number the module refuses."""
    try:
        return default if value is None else max(0, int(value))
    except (TypeError, ValueError):
        return default


def story_lines(result: dict[str, t.Any]) -> list[str]:
    """What the task found, for people: a line for each NIC with news, one for each kind of change, and the sum; else nothing."""
    lines = [f"  {what}: {', '.join(map(str, names))}" for what, names in (result.get("reconciled") or {}).items()]
    for nic in result.get("found") or []:
        address = nic.get("ip4_address") or next(iter(nic.get("ip6_addresses") or []), None)
        before = f", before {nic['previous_address']}" if nic.get("previous_address") else ""
        lines.append(f"  found {nic.get('vm')} NIC {nic.get('nic')} ({nic.get('mac')}): {address} ({nic.get('source')}{before})")
    for kind, word in (("lost", "lost"), ("gave_up", "given up")):
        for nic in result.get(kind) or []:
            lines.append(
                f"  {word} {nic.get('vm')} NIC {nic.get('nic')} ({nic.get('mac')}): {nic.get('reason')}, {nic.get('message')}"
            )
    if not lines:
        return []
    more = [f"  and {len(lines) - MAX_LINES} more"] if len(lines) > MAX_LINES else []
    return [plain(line, MAX_LINE) for line in [*lines[:MAX_LINES], *more, str(result.get("msg") or "")]]


def waiting_lines(result: dict[str, t.Any]) -> list[str]:
    """The NICs that are waited for, as lines for people; empty if there are none."""
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
