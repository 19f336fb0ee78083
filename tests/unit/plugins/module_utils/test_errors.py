# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.errors import ConfigDriveError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary, UserError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import HypervisorError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.errors import RecordError, RecordUrlError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore


@pytest.mark.parametrize("error", [ConfigDriveError, HypervisorError, RecordError, MissingLibrary])
def test_all_rooms_have_one_base(error: type[Exception]) -> None:
    assert issubclass(error, UserError)


@pytest.mark.parametrize(
    ("more", "end"),
    [
        ({"url": "https://libvirt.org/"}, " (https://libvirt.org/): install it for the Python that runs the module"),
        ({"reason": "for the NIC record"}, " for the NIC record: install it for the Python that runs the module"),
    ],
)
def test_a_missing_library_is_one_sentence(more: dict[str, str], end: str) -> None:
    assert str(MissingLibrary("thing", None, **more)) == f"the Python library thing is needed{end}"


def test_an_open_record_is_closed_whatever_happens(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RecordUrlError), RecordStore.open("nonsense://"):
        pass
    with pytest.raises(KeyError), RecordStore.open(f"sqlite:///{tmp_path}/record.db") as store:
        assert not store.database.exists()
        store.database.prepare()
        assert store.nics() == [] and store.database._engine is not None
        raise KeyError
    assert store.database._engine is None
