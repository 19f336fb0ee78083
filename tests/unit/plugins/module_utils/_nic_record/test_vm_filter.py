# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import OptionError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.vm_filter import read_vm_filter


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ({"names": ["web?", "db?"]}, ["web1", "db1"]),
        ({"exclude_names": "*-template"}, ["web1", "db1", "Web2"]),
        ({"names": ["[Ww]eb*"], "exclude_names": ["web1"]}, ["web-template", "Web2"]),
        ({"folders": ["DC0/vm/tenant?/"]}, ["web1", "web-template"]),
        ({"folders": ["/DC0/vm"]}, ["web1", "web-template", "db1"]),
        ({"tags": ["net=*", "dhcp"]}, ["web1", "db1"]),
        ({"names": ["*"], "exclude_tags": ["dhcp"]}, ["web1", "web-template", "Web2"]),
    ],
)
def test_who_is_ours(given: dict[str, t.Any], ours: list[str]) -> None:
    vms = [
        ("web1", "/DC0/vm/tenant1/web", ("net=corp",)),
        ("web-template", "/DC0/vm/tenant1", ()),
        ("db1", "/DC0/vm/ops", ("dhcp", "old")),
        ("Web2", None, ()),
    ]
    chosen = read_vm_filter(given, "vmware")
    assert chosen is not None
    assert [vm[0] for vm in vms if chosen.chooses(*vm)] == ours


@pytest.mark.parametrize("given", [None, {}, {"names": None, "tags": []}])
def test_nothing_given_is_no_filter(given: t.Any) -> None:
    assert read_vm_filter(given, "kvm") is None


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (["web*"], "kvm", "vm_filter is ['web*']: give a dictionary with names, exclude_names, folders, tags, exclude_tags"),
        ({"name": ["web*"]}, "kvm", "vm_filter has 'name': use names, exclude_names, folders, tags, exclude_tags"),
        ({"names": [1]}, "kvm", "vm_filter.names is [1]: give a list of patterns, such as [web*]"),
        ({"exclude_tags": ["x"]}, "kvm", "vm_filter.exclude_tags: VMs of hypervisor.type kvm have no tags: choose them by names"),
        (
            {"folders": ["/x"]},
            "xenserver",
            "vm_filter.folders: VMs of hypervisor.type xenserver have no folders: choose them by names",
        ),
    ],
)
def test_what_cannot_be_used_is_named(given: t.Any, kind: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        read_vm_filter(given, kind)
    assert str(caught.value) == message
