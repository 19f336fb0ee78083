# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module of the same name without packing it up, where it stays on the controller."""

from __future__ import annotations

from ansible.plugins.action.normal import ActionModule as NormalAction

# Ansible loads this file once and forks a process for each task, so what the role's filters need is loaded once here.
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils import _vm_jobs  # noqa: F401  # pylint: disable=unused-import
from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._on_controller import OnController


class ActionModule(OnController, NormalAction):
    """The options are the module's."""
