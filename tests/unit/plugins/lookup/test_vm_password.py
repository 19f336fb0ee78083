# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleLookupError
from ansible.plugins.loader import lookup_loader

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.passwords import password_problem


@pytest.fixture
def lookup():
    return lookup_loader.get("vmops.external_dhcp.vm_password")


def test_a_new_password_each_time(lookup):
    (first,), (second,) = lookup.run([]), lookup.run([], length="20")
    assert (len(first), len(second)) == (16, 20) and first != second[:16]
    assert password_problem(first) is None


def test_what_is_refused(lookup):
    with pytest.raises(AnsibleLookupError, match="12 to 127"):
        lookup.run([], length=8)
    with pytest.raises(AnsibleLookupError, match="no terms"):
        lookup.run(["/path"])
