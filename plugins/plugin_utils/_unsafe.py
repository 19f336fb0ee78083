# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Marks other people's texts, so that Ansible never takes them for templates."""

from __future__ import annotations

import typing as t

from ansible.utils.unsafe_proxy import wrap_var


def make_unsafe(value: t.Any) -> t.Any:
    """`value` with every text in it that could be a template marked unsafe; new lists and dictionaries, other types as is.

    ansible-core 2.18 evaluates what inventory plugins return; newer versions do not, and there the mark does no harm.
    """
    if isinstance(value, str):
        # Only braces can start a template; marking is too slow for every word of ten thousand hosts.
        return wrap_var(value) if "{" in value else value
    if isinstance(value, dict):
        return {make_unsafe(key): make_unsafe(item) for key, item in value.items()}
    if isinstance(value, list):
        return [make_unsafe(item) for item in value]
    return value
