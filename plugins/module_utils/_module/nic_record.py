# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The record of a module: opened from its option, closed at the end, its errors turned into the module's."""

from __future__ import annotations

import contextlib
import typing as t

from ansible.module_utils.basic import missing_required_lib

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.database import Database
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.errors import MissingLibrary, RecordError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible.module_utils.basic import AnsibleModule


@contextlib.contextmanager
def record_of(module: AnsibleModule) -> Iterator[RecordStore]:
    """The record for the option `record` of this module; nothing is connected or created yet.

    A RecordError, now or inside the block, ends the module with its message.
    """
    database = None
    try:
        database = Database(module.params["record"])
        yield RecordStore(database)
    except MissingLibrary as error:
        module.fail_json(msg=missing_required_lib(error.library, reason=error.reason), exception=error.traceback)
    except RecordError as error:
        module.fail_json(msg=str(error))
    finally:
        if database is not None:
            database.close()
