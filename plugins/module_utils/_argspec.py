# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Options that several modules share; each group has its doc fragment of the same name in plugins/doc_fragments."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import env_fallback


def hypervisor() -> dict[str, t.Any]:
    """Doc fragment: hypervisor."""
    return {
        "hypervisor": {
            "type": "dict",
            "required": True,
            "options": {
                "type": {"type": "str", "required": True, "choices": ["kvm", "xenserver", "vmware"]},
                # KVM
                "uri": {"type": "str", "fallback": (env_fallback, ["LIBVIRT_DEFAULT_URI"])},
                "image_dir": {"type": "path", "default": "/var/lib/libvirt/images"},
                # XenServer and VMware
                "host": {"type": "str", "fallback": (env_fallback, ["EXTERNAL_DHCP_HOST"])},
                "port": {"type": "int"},
                "username": {"type": "str", "fallback": (env_fallback, ["EXTERNAL_DHCP_USERNAME"])},
                "password": {"type": "str", "no_log": True, "fallback": (env_fallback, ["EXTERNAL_DHCP_PASSWORD"])},
                "validate_certs": {"type": "bool", "default": True},
                "ca_path": {"type": "path"},
                "connect_timeout": {"type": "float", "default": 30},
            },
        },
    }
