# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.


"""Which NICs are to be looked at now, as a condition for the database."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import (
    STATE_FOUND,
    STATE_GAVE_UP,
    STATE_PENDING,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.schema import HAS_SQLALCHEMY

if HAS_SQLALCHEMY:
    import sqlalchemy as sa

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.schema import nics

if t.TYPE_CHECKING:
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import PollSettings


def due(settings: PollSettings, now: datetime.datetime) -> t.Any:
    """In the queue, or found and to be checked again; and its time has come, give or take the slack."""
    limit = now + datetime.timedelta(seconds=settings.slack)

    def come(longest: float) -> t.Any:
        # A time further ahead than that was set before the clock was put back; waiting for it would stop everything.
        ahead = limit + datetime.timedelta(seconds=longest)
        return sa.or_(nics.c.next_try_at <= limit, nics.c.next_try_at > ahead)

    wanted = sa.and_(nics.c.fetch_state == STATE_PENDING, come(max(settings.interval, settings.settle)))
    if settings.relook_interval > 0:
        old = limit - datetime.timedelta(seconds=settings.relook_interval)
        long_ago = sa.or_(nics.c.last_try_at <= old, nics.c.last_try_at > limit)
        wanted = sa.or_(wanted, sa.and_(nics.c.fetch_state == STATE_GAVE_UP, long_ago))
    again = nics.c.next_try_at <= limit  # somebody wants it to be looked at
    if settings.recheck_interval > 0:
        # Found before anybody asked for re-checks: next_try_at was never set.
        old = limit - datetime.timedelta(seconds=settings.recheck_interval)
        never = sa.and_(nics.c.next_try_at.is_(None), sa.or_(nics.c.last_try_at <= old, nics.c.last_try_at > limit))
        again = sa.or_(come(max(settings.recheck_interval, settings.interval, settings.settle)), never)
    return sa.or_(wanted, sa.and_(nics.c.fetch_state == STATE_FOUND, again))
