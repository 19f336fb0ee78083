# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prints VMs and NICs, because a module cannot print, and a result would be shown as JSON or YAML."""

from __future__ import annotations

import os
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._nic_table import document, nic_rows, summary, table

display = Display()


class ActionModule(ActionBase):
    """There is no module behind it."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(_argspec.vm_table())
        width = terminal_width() if options["width"] is None else options["width"]
        if width < 0:
            raise AnsibleActionFail(f"width is {width}: it must be 0 or more")
        rows = nic_rows(options["vms"], options["nics"])
        told = summary(rows)
        if options["format"] == "table":
            host = (task_vars or {}).get("inventory_hostname", "")
            text = "\n".join([f"[{host}] {told}", *table(rows, width)])
        else:
            text = document(rows, options["format"])
        # At once: the lines of several hosts must not mix.
        display.display(text)
        return {**result, "changed": False, "msg": told}


def terminal_width() -> int:
    """The width of the terminal that the output goes to; 0 if it goes elsewhere."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal():
        return int(asked)
    try:
        # Ansible's workers are cut off from the terminal, their parent is not.
        path = os.readlink(f"/proc/{os.getppid()}/fd/1")
        if not path.startswith(("/dev/pts/", "/dev/tty")):
            return 0
        terminal = os.open(path, os.O_RDONLY | os.O_NOCTTY)
    except OSError:  # no /proc, or somebody else's terminal
        return 0
    try:
        return os.get_terminal_size(terminal).columns
    except OSError:
        return 0
    finally:
        os.close(terminal)
