# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Ends a module that lacks a Python library, with Ansible's message."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import missing_required_lib

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary


def fail_for(module: AnsibleModule, error: MissingLibrary, **result: t.Any) -> t.NoReturn:
    """Ends the module. result: what it has done so far."""
    text = missing_required_lib(error.library, reason=error.reason, url=error.url)
    module.fail_json(**{**result, "msg": text}, exception=error.traceback)
    raise AssertionError("that ends the module")  # pragma: no cover
