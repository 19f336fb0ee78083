# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""How VMs created by this collection are recognized, finished or not."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.xenserver.picture import Record

# In other_config of a VM that machines.create() made. The value is the VM's own UUID: a clone inherits the key, but is not ours.
CREATED_KEY = "vmops.external_dhcp.created"
# Beside it, the start time that the VM had when it was created, its template's: XAPI sets another one at every start.
START_TIME_KEY = "vmops.external_dhcp.start_time"
# In other_config of the disk of a VM that is made of an image: the VM's name.
IMAGE_KEY = "vmops.external_dhcp.image_of"
_UNFINISHED = " (being created by vmops.external_dhcp)"


def unfinished_name(name: str) -> str:
    """What a VM is called until it is done.

    The call that creates a VM takes nothing but its name, so only the name can tell the left-over of a run that was cut short.
    """
    return name + _UNFINISHED


def is_unfinished(record: Record) -> bool:
    return record["name_label"].endswith(_UNFINISHED) and not record["is_a_snapshot"]


def is_ours(record: Record) -> bool:
    return record["other_config"].get(CREATED_KEY) == record["uuid"]
