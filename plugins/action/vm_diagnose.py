# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module of the same name and prints what it found, as its option O(show) says; a module cannot print."""

from __future__ import annotations

import json
import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain

MAX_LINE = 400
MARKS = {"failed": "!!", "warning": "! ", "unknown": "? ", "ok": "  "}
_WIDEST_NAME = 40

display = Display()


class ActionModule(ActionBase):
    """The options are the module's."""

    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        outcome = self._execute_module(module_name="vmops.external_dhcp.vm_diagnose", task_vars=task_vars)
        result.update(outcome)
        show = self._task.args.get("show")
        if not result.get("failed") and show == "table":
            host = (task_vars or {}).get("inventory_hostname", "")
            display.display("\n".join([f"[{host}] {plain(str(result['msg']), MAX_LINE)}", *lines(result)]))
        elif not result.get("failed") and show == "json":
            told = {key: result[key] for key in ("hypervisor", "networks", "vms", "counts")}
            display.display(json.dumps(told, indent=2, ensure_ascii=False))
        return result


def lines(result: dict[str, t.Any]) -> list[str]:
    """The verdicts as lines: a VM's status, name, verdict and next step, then its other findings. All texts are plain already."""
    told = [line for one in result["hypervisor"]["checks"] if one["status"] != "ok" for line in _lines("", one)]
    wide = max((min(len(vm["name"]), _WIDEST_NAME) for vm in result["vms"]), default=0)
    for vm in result["vms"]:
        told.append(plain(f"{MARKS[vm['status']]} {vm['name']:<{wide}}  {vm['verdict']}", MAX_LINE))
        if vm["next_step"]:
            told.append(plain(f"   {'':<{wide}}  next: {vm['next_step']}", MAX_LINE))
        site = {(one["check"], one["message"]) for one in result["hypervisor"]["checks"]}
        for one in vm["checks"]:
            if (one["check"], one["message"]) not in site and not vm["verdict"].startswith(one["message"]):
                told += _lines(f"   {'':<{wide}}", one)
    return told


def _lines(indent: str, one: dict[str, t.Any]) -> list[str]:
    found = [plain(f"{indent}{MARKS[one['status']]} {one['check']}: {one['message']}", MAX_LINE)]
    if one["next_step"]:
        found.append(plain(f"{indent}     next: {one['next_step']}", MAX_LINE))
    return found
