# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes the page about all VMs on the controller, because a module cannot bring the page's template along."""

from __future__ import annotations

import datetime
import os
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec, _whole_file
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import counted, plain
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils import _report_data, _report_page

MAX_EVENTS = 10_000


class ActionModule(ActionBase):
    """There is no module behind it."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(_argspec.vm_report())
        path, mode = _path(options["dest"]), _mode(options["mode"])
        if not 0 <= options["events"] <= MAX_EVENTS:
            raise AnsibleActionFail(f"events is {options['events']}: it must be from 0 to {MAX_EVENTS}")
        hypervisors = _hypervisors(options["hypervisors"])
        only = [one["name"] for one in hypervisors] if options["only_these"] else None
        try:
            recorded = _report_data.read_record(options["record"], only, options["events"])
        except _report_data.UserError as error:
            raise AnsibleActionFail(str(error)) from None
        now = datetime.datetime.now(datetime.UTC)
        data = _report_data.page_data(recorded, hypervisors, now, plain(options["title"]))
        before = _report_page.digest_of_file(path)
        result.update(changed=before != _report_page.digest(data), path=path, counts=data["counts"])
        result["msg"] = f"{path}: {_summary(data['counts'])}"
        if not self._task.check_mode:
            text = _report_page.page(data)
            try:
                _whole_file.write(path, text.encode(), mode, sync=True)
            except OSError as error:
                raise AnsibleActionFail(f"dest {path} could not be written: {error.strerror or error}") from None
            result["size"] = len(text.encode())
        if self._task.diff and result["changed"]:
            lines = {"before": f"another page, digest {before}\n" if before else "", "after": f"{_summary(data['counts'])}\n"}
            result["diff"] = {"before_header": path, "after_header": path, **lines}
        return result


def _path(dest: str) -> str:
    path = os.path.abspath(os.path.expanduser(dest))
    if os.path.isdir(path):
        raise AnsibleActionFail(f"dest {path} is a folder: give the name of a file in it, such as {path}/vms.html")
    if not os.path.isdir(os.path.dirname(path)):
        raise AnsibleActionFail(f"dest {path}: there is no folder {os.path.dirname(path)}; make it, or choose another one")
    return path


def _mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777 or not mode & 0o400:
        raise AnsibleActionFail(f"mode is {text!r}: give an octal number in quotes, such as '0644'")
    return mode


def _hypervisors(given: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    for place, one in enumerate(given):
        if not isinstance(one.get("name"), str) or not one["name"]:
            raise AnsibleActionFail(f"hypervisors[{place}] has no name: give the one that the record has for the hypervisor")
        for key in ("vms", "diagnosis", "networks"):
            if not isinstance(one.get(key) or [], (list, tuple)):
                raise AnsibleActionFail(f"hypervisors[{place}].{key} is no list")
    return given


def _summary(counts: dict[str, int]) -> str:
    parts = [f"{counted(counts['vms'], 'VM')}, {counted(counts['addresses'], 'address', 'addresses')}"]
    parts += [f"{counts['waiting']} waited for"] if counts["waiting"] else []
    parts += [f"{counts['attention']} need attention"] if counts["attention"] else []
    return ", ".join(parts)
