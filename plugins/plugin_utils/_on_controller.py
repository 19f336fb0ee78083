# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Runs a module of this collection directly from the collection's folder, instead of packing it up for another machine.

Packing, unpacking and compiling more than a hundred files costs Ansible a second for each task, more than most tasks of this collection
take. It is needed only for tasks on other machines; the controller itself has the files already.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t
from collections.abc import Mapping

from ansible.module_utils.common import json as common_json
from ansible.plugins.action import ActionBase
from ansible.utils.unsafe_proxy import wrap_var

from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._json_text import doubtful, sentence

_COLLECTIONS = pathlib.Path(__file__).parents[5]  # …/ansible_collections/vmops/external_dhcp/plugins/plugin_utils/
_PACKAGE = "ansible_collections.vmops.external_dhcp.plugins.modules"
_NO_PROFILES = not hasattr(common_json, "get_module_encoder")  # ansible-core 2.18
# Ansible's private methods that this code uses. A version without one of them runs modules in Ansible's own, slower way.
_LEANS_ON = ("_update_module_args", "_compute_environment_string", "_parse_returned_data")
_PROFILE = "legacy"  # the encoding of arguments and results, the only one for modules in Python


class OnController(ActionBase):
    """Base of action plugins: starts this collection's modules directly if the task stays in the controller's Python."""

    def _execute_module(
        self,
        module_name: str | None = None,
        module_args: dict[str, t.Any] | None = None,
        *args: t.Any,
        task_vars: dict[str, t.Any] | None = None,
        wrap_async: bool = False,
        **more: t.Any,
    ) -> dict[str, t.Any]:
        task_vars = task_vars or {}
        if args or more or wrap_async or not self._stays_here(task_vars):
            return super()._execute_module(module_name, module_args, *args, task_vars=task_vars, wrap_async=wrap_async, **more)
        name = str(module_name or self._task.action)
        words = self._task.args if module_args is None else module_args
        self._update_module_args(name, words, task_vars)
        environment: dict[str, t.Any] = {}
        self._compute_environment_string(environment)
        return self._parsed(_run(name.rpartition(".")[2], _encoded(words), environment))

    def _stays_here(self, task_vars: dict[str, t.Any]) -> bool:
        """Whether Ansible would run the module on this machine, as this user, with this Python."""
        if not all(hasattr(self, name) for name in _LEANS_ON):
            return False
        if self._connection.transport != "local" or self._connection.become or self._task.async_val:
            return False
        if self._task.delegate_to:
            task_vars = task_vars.get("ansible_delegated_vars", {}).get(self._task.delegate_to, {})
        return self._templar.template(task_vars.get("ansible_python_interpreter")) == sys.executable

    def _parsed(self, done: dict[str, t.Any]) -> dict[str, t.Any]:
        """The result in the form in which ActionBase._execute_module() returns it."""
        result = self._parse_returned_data(done) if _NO_PROFILES else self._parse_returned_data(done, _PROFILE)
        if not isinstance(result, dict):  # ansible-core 2.21 and later
            result.remove_internal_keys()
            return result.as_result_dict(for_round_trip=True)
        internal = [key for key in result if key.startswith("_ansible_") and key != "_ansible_parsed"]
        return wrap_var({key: value for key, value in result.items() if key not in internal})


class DrivesOnController(OnController):
    """For modules with the option O(drives): refuses user data that may have been JSON text."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        leaf = self._task.action.rpartition(".")[2]
        written = next((value for key, value in (self._task.get_ds() or {}).items() if key.rpartition(".")[2] == leaf), None)
        drives = written.get("drives") if isinstance(written, Mapping) else None
        for name in doubtful(self._task.args.get("drives"), drives, task_vars or {}):
            return {"failed": True, "changed": False, "drives": [], "msg": f"nothing was changed: drive {sentence(name)}"}
        return super().run(tmp, task_vars)


def _encoded(words: dict[str, t.Any]) -> bytes:
    arguments = {"ANSIBLE_MODULE_ARGS": words}
    if _NO_PROFILES:
        return json.dumps(arguments, cls=common_json.AnsibleJSONEncoder, vault_to_text=True).encode()
    return json.dumps(
        arguments, cls=common_json.get_module_encoder(_PROFILE, common_json.Direction.CONTROLLER_TO_MODULE)
    ).encode()


def _run(name: str, arguments: bytes, environment: dict[str, t.Any]) -> dict[str, t.Any]:
    """Runs the module in a process of its own, which reads its arguments from a pipe, because they may be secret."""
    found = {**os.environ, **{str(key): str(value) for key, value in environment.items()}}
    found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_COLLECTIONS), found.get("PYTHONPATH")]))
    # -P: a file in the current folder must not stand in for a library.
    command = [sys.executable, "-P", "-m", f"{_PACKAGE}.{name}"]
    done = subprocess.run(command, input=arguments, env=found, capture_output=True, check=False)
    out, problems = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    return {"rc": done.returncode, "stdout": out, "stdout_lines": out.splitlines(), "stderr": problems}
