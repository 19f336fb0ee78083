# -*- coding: utf-8 -*-
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    # The options are in plugins/module_utils/_argspec.py, hypervisor().
    DOCUMENTATION = r"""
options:
  hypervisor:
    description:
      - How to reach the hypervisor, the same for every module of this collection.
      - Keep it as a variable of the inventory host that stands for the hypervisor, or set it once with
        C(module_defaults) for the action group C(group/vmops.external_dhcp.all).
    type: dict
    required: true
    suboptions:
      type:
        description: The kind of hypervisor.
        type: str
        required: true
        choices: [kvm, xenserver, vmware]
      uri:
        description:
          - For V(kvm), the libvirt URI, such as V(qemu:///system) or V(qemu+ssh://root@kvm01.example.com/system).
          - If not set, the environment variable E(LIBVIRT_DEFAULT_URI) is used.
        type: str
      image_dir:
        description: For V(kvm), the folder on the KVM host that holds the config drives, as C(<vm>.iso).
        type: path
        default: /var/lib/libvirt/images
      host:
        description:
          - For V(xenserver) and V(vmware), name or address of the pool master, vCenter or ESXi host.
          - If not set, the environment variable E(EXTERNAL_DHCP_HOST) is used.
        type: str
      port:
        description: For V(xenserver) and V(vmware), the TCP port; 443 if not set.
        type: int
      username:
        description:
          - For V(xenserver) and V(vmware), the account.
          - If not set, the environment variable E(EXTERNAL_DHCP_USERNAME) is used.
        type: str
      password:
        description:
          - For V(xenserver) and V(vmware), the account's password.
          - If not set, the environment variable E(EXTERNAL_DHCP_PASSWORD) is used.
        type: str
      validate_certs:
        description: For V(xenserver) and V(vmware), whether the server's certificate must be valid.
        type: bool
        default: true
      ca_path:
        description: For V(xenserver) and V(vmware), a PEM file with the certificates to trust instead of the system's.
        type: path
      connect_timeout:
        description: Longest time for making the connection and for a single call, in seconds.
        type: float
        default: 30
"""
