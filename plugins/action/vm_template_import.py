# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module of the same name without packing it up, where it stays on the controller."""

from __future__ import annotations

from ansible.plugins.action.normal import ActionModule as NormalAction

from ansible_collections.vmops.external_dhcp.plugins.plugin_utils._on_controller import OnController


class ActionModule(OnController, NormalAction):
    """The options are the module's."""
