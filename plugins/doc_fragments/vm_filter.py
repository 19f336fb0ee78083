# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    # The options are in plugins/module_utils/_argspec.py, vm_filter(), and its meaning in _nic_record/vm_filter.py.
    DOCUMENTATION = r"""
options:
  vm_filter:
    description:
      - Which VMs are watched, besides O(networks). A VM must fit every key that is given; it fits a key if it fits one of its patterns.
      - A pattern must fit the whole text; C(*) stands for any characters, C(?) for one, and C([ab]) for one of these. Upper and lower
        case differ.
      - Templates and snapshots of XenServer and VMware are never watched. KVM does not mark templates; leave them out by
        O(vm_filter.exclude_names).
    type: dict
    suboptions:
      names:
        description: VMs with these names.
        type: list
        elements: str
      exclude_names:
        description: Not VMs with these names.
        type: list
        elements: str
      folders:
        description:
          - VMs in these folders or below, such as V(/DC0/vm/web) or V(/*/vm/tenant?).
          - For VMware only. A VM of a vApp is in no folder.
        type: list
        elements: str
      tags:
        description:
          - VMs with one of these tags. On XenServer these are the tags of the VM.
          - On VMware a pattern with an equals sign is for custom attributes, written as V(name=value), any other for tags, written as
            V(category/tag), such as V(Env/prod) or V(*/prod). In a pattern for a tag with an equals sign in its name, write C(?) for it.
          - Tags of VMware need a vCenter 7.0 Update 2 or later, because they are in its Automation API. A tag without wildcards must
            exist. Only tags of the VM itself count, not those of its folder or host.
          - On KVM VMs have no tags, and this key is an error.
        type: list
        elements: str
      exclude_tags:
        description: Not VMs with one of these tags.
        type: list
        elements: str
"""
