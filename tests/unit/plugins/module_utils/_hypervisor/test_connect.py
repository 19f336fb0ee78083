# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor import api, connect


def test_unknown_type_names_option_value_and_choices() -> None:
    with pytest.raises(api.HypervisorError) as error:
        connect.open_hypervisor({"type": "hyperv"})
    assert str(error.value) == "hypervisor.type is 'hyperv': it must be one of kvm, vmware, xenserver"
