# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The record of a module: opened from its option, closed at the end, its errors turned into the module's."""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.missing import fail_for
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.errors import RecordError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible.module_utils.basic import AnsibleModule


@contextlib.contextmanager
def record_of(module: AnsibleModule) -> Iterator[RecordStore]:
    """The record for the option `record` of this module; nothing is connected or created yet.

    A RecordError, now or inside the block, ends the module with its message.
    """
    try:
        with RecordStore.open(module.params["record"]) as store:
            yield store
    except MissingLibrary as error:
        fail_for(module, error)
    except RecordError as error:
        module.fail_json(msg=str(error))
