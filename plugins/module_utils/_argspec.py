# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Options that several modules share; each group has its doc fragment of the same name in plugins/doc_fragments."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import env_fallback

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _defaults


def hypervisor() -> dict[str, t.Any]:
    """Doc fragment: hypervisor."""
    return {
        "hypervisor": {
            "type": "dict",
            "required": True,
            "options": {
                "type": {"type": "str", "required": True, "choices": list(_defaults.HYPERVISOR_TYPES)},
                # KVM
                "uri": {"type": "str", "fallback": (env_fallback, ["LIBVIRT_DEFAULT_URI"])},
                "image_dir": {"type": "path", "default": _defaults.IMAGE_DIR},
                "cd_bus": {"type": "str", "choices": ["ide", "sata", "scsi"]},
                # XenServer and VMware
                "host": {"type": "str", "fallback": (env_fallback, ["EXTERNAL_DHCP_HOST"])},
                "port": {"type": "int"},
                "username": {"type": "str", "fallback": (env_fallback, ["EXTERNAL_DHCP_USERNAME"])},
                "password": {"type": "str", "no_log": True, "fallback": (env_fallback, ["EXTERNAL_DHCP_PASSWORD"])},
                "validate_certs": {
                    "type": "bool",
                    "default": True,
                    "fallback": (env_fallback, ["EXTERNAL_DHCP_VALIDATE_CERTS", "VMWARE_VALIDATE_CERTS"]),
                },
                "ca_path": {"type": "path"},
                "connect_timeout": {"type": "float", "default": _defaults.CONNECT_TIMEOUT},
                # XenServer; the driver itself falls back on XENSERVER_HOST, XENSERVER_USER and XENSERVER_PASSWORD
                "check_hostname": {"type": "bool", "default": True},
                "fingerprints": {"type": "dict"},
                "iso_sr_name": {"type": "str", "default": _defaults.ISO_SR_NAME},
                "iso_dir": {"type": "path", "default": _defaults.ISO_DIR},
                # VMware
                "proxy_host": {"type": "str"},
                "proxy_port": {"type": "int"},
                "datacenter": {"type": "str"},
                "folder": {"type": "str"},
            },
        },
    }


def drives() -> dict[str, t.Any]:
    """Doc fragment: config_drive."""
    return {
        "drives": {
            "type": "list",
            "elements": "dict",
            "required": True,
            # As a whole: Ansible logs a list as its Python text, in which it would not find a secret with a line break.
            # Modules with this option call _module.drives.take_drives(), else every name in it would be masked too.
            "no_log": True,
            "options": {
                "name": {"type": "str", "required": True},
                "metadata": {"type": "dict"},
                "user_data": {"type": "raw", "no_log": True},
                "user_data_base64": {"type": "str", "no_log": True},
                # raw: as text, a number would no longer look like one that YAML may have changed
                "password": {"type": "raw", "no_log": True},
                "password_hash": {"type": "str", "no_log": True},
                "password_public_key": {"type": "str", "no_log": False},
                "confirm_password": {"type": "bool", "no_log": False, "default": False},
                # raw: a text of type list would be split at the commas that a key's options may have
                "ssh_keys": {"type": "raw", "no_log": True},
                "vendor_data": {"type": "raw", "no_log": True},
                "reader": {
                    "type": "str",
                    "choices": ["ours", "cloudstack", "cloudstack_combined", "cloud_init", "cloudbase_init"],
                },
                "services": {"type": "list", "elements": "str", "choices": ["userdata"]},
                "network": {"type": "str"},
            },
        },
        "label": {"type": "str", "default": _defaults.LABEL},
        "layouts": {
            "type": "list",
            "elements": "str",
            "choices": ["cloudstack", "openstack"],
            "default": ["cloudstack", "openstack"],
        },
    }


def record() -> dict[str, t.Any]:
    """Doc fragment: record."""
    # The URL may hold a password.
    return {"record": {"type": "str", "no_log": True, "fallback": (env_fallback, ["EXTERNAL_DHCP_RECORD"])}}


def vm_filter() -> dict[str, t.Any]:
    """Doc fragment: vm_filter."""
    patterns = ("names", "exclude_names", "folders", "tags", "exclude_tags")
    return {"vm_filter": {"type": "dict", "options": {name: {"type": "list", "elements": "str"} for name in patterns}}}


def vm_table() -> dict[str, t.Any]:
    """The module vm_table, for its action plugin as well."""
    return {
        "vms": {"type": "list", "elements": "dict", "required": True},
        "nics": {"type": "list", "elements": "dict", "required": True},
        "format": {"type": "str", "choices": ["table", "csv", "json", "yaml"], "default": "table"},
        "width": {"type": "int"},
    }


def vm_report() -> dict[str, t.Any]:
    """The module vm_report, for its action plugin as well."""
    return {
        **record(),
        "dest": {"type": "path", "required": True},
        "mode": {"type": "str", "default": "0644"},
        "title": {"type": "str", "default": "VMs on shared networks"},
        "hypervisors": {"type": "list", "elements": "dict", "default": []},
        "only_these": {"type": "bool", "default": False},
        "events": {"type": "int", "default": 100},
    }


def vm_diagnose() -> dict[str, t.Any]:
    """The module vm_diagnose, for its action plugin as well."""
    return {
        **hypervisor(),
        **record(),
        **vm_filter(),
        "hypervisor_name": {"type": "str", "required": True},
        "vms": {"type": "list", "elements": "str"},
        "networks": {"type": "list", "elements": "raw"},
        "label": {"type": "str", "default": _defaults.LABEL},
        "drives": {"type": "str", "choices": ["contents", "state", "none"], "default": "contents"},
        "sources": {"type": "list", "elements": "str"},
        "workers": {"type": "int", "default": _defaults.WORKERS},
        "timeout": {"type": "float", "default": _defaults.GUEST_TIMEOUT},
        "detail": {"type": "bool", "default": False},
        "show": {"type": "str", "choices": ["table", "json", "nothing"], "default": "nothing"},
        **page(),
    }


def page() -> dict[str, t.Any]:
    """Doc fragment: page."""
    return {"limit": {"type": "int"}, "offset": {"type": "int", "default": 0}}


def vm_errors() -> dict[str, t.Any]:
    """Doc fragment: vm_errors."""
    return {"ignore_vm_errors": {"type": "bool", "default": False}}


def template() -> dict[str, t.Any]:
    """Doc fragment: template."""
    return {
        "image_format": {"type": "str", "choices": ["auto", "raw", "qcow2"], "default": "auto"},
        "init": {"type": "str", "choices": ["auto", *_defaults.INIT_SYSTEMS], "default": "auto"},
        "hypervisor_type": {"type": "str", "choices": list(_defaults.HYPERVISOR_TYPES)},
        "reader": {"type": "str", "choices": ["ours", "cloud_init", "both"], "default": "ours"},
        "label": {"type": "str", "default": "config"},
        "agent_interval": {"type": "int", "default": _defaults.AGENT_INTERVAL},
    }


def dns_names() -> dict[str, t.Any]:
    """Doc fragment: dns_names."""
    return {
        "hypervisor_name": {"type": "list", "elements": "str"},
        "networks": {"type": "list", "elements": "raw"},
        "domain": {"type": "str"},
        "name": {"type": "str", "default": "{vm}"},
        "names": {"type": "dict"},
        "families": {"type": "list", "elements": "int", "choices": [4, 6]},
        "reserved": {"type": "list", "elements": "str", "default": list(_defaults.DNS_RESERVED)},
    }


def dns_server() -> dict[str, t.Any]:
    """Of the module vm_dns_records."""
    return {
        "server": {
            "type": "dict",
            "required": True,
            "options": {
                "host": {"type": "str", "required": True},
                "port": {"type": "int", "default": 53},
                "key_name": {"type": "str", "no_log": False},
                "key_secret": {"type": "str", "no_log": True},
                "key_algorithm": {
                    "type": "str",
                    "no_log": False,
                    "choices": ["hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha1", "hmac-md5"],
                    "default": "hmac-sha256",
                },
                "key_file": {"type": "path", "no_log": False},
                "zones": {"type": "list", "elements": "str"},
                "networks": {"type": "list", "elements": "str"},
                "read": {"type": "str", "choices": ["auto", "transfer", "queries"], "default": "auto"},
                "timeout": {"type": "float", "default": 10},
                "secondaries": {"type": "list", "elements": "str", "default": []},
                "wait": {"type": "float", "default": 30},
            },
        },
    }


def dns() -> dict[str, t.Any]:
    """Of the module vm_ip_fetch: what vm_dns_records takes, for several servers."""
    server = dns_server()["server"]
    return {
        "dns": {
            "type": "dict",
            "options": {
                **{name: option for name, option in dns_names().items() if name != "hypervisor_name"},
                "servers": {"type": "list", "elements": "dict", "required": True, "no_log": False, "options": server["options"]},
                "ptr": {"type": "bool", "default": True},
                "ttl": {"type": "int", "default": _defaults.DNS_TTL},
                "owner": {"type": "str"},
                "former_owners": {"type": "list", "elements": "str", "default": []},
            },
        }
    }
