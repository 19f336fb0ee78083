# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The defaults of the roles, where Ansible wants them as they stand, are those of the modules."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import yaml

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _argspec, _defaults

ROLES = pathlib.Path(__file__).resolve().parents[2] / "roles"
SAME = {
    ("vm_ip_poll", "vm_ip_poll_interval"): _defaults.INTERVAL,
    ("vm_ip_poll", "vm_ip_poll_max_retry"): _defaults.MAX_RETRY,
    ("vm_ip_poll", "vm_ip_poll_workers"): _defaults.WORKERS,
    ("vm_ip_poll", "vm_ip_poll_timeout"): _defaults.GUEST_TIMEOUT,
    ("vm_ip_poll", "vm_ip_poll_relook_interval"): _defaults.RELOOK,
    ("vm_ip_poll", "vm_ip_poll_suspect_readings"): _defaults.SUSPECT_READINGS,
    ("vm_template", "vm_template_agent_interval"): _defaults.AGENT_INTERVAL,
    ("dns_records", "dns_records_ttl"): _defaults.DNS_TTL,
    ("dns_records", "dns_records_reserved"): list(_defaults.DNS_RESERVED),
}


def _read(role: str, file: str) -> dict[str, t.Any]:
    return dict(yaml.safe_load((ROLES / role / file).read_text()))


@pytest.mark.parametrize(("role", "variable"), SAME)
def test_a_default_of_a_role_is_the_default(role: str, variable: str) -> None:
    assert _read(role, "defaults/main.yml")[variable] == SAME[role, variable]


@pytest.mark.parametrize(("role", "variable"), SAME)
def test_what_a_role_documents_is_the_default(role: str, variable: str) -> None:
    entries = _read(role, "meta/argument_specs.yml")["argument_specs"].values()
    documented = [entry["options"][variable].get("default") for entry in entries if variable in entry.get("options", {})]
    assert documented and all(value == SAME[role, variable] for value in documented)


@pytest.mark.parametrize(("role", "variable"), [("vm", "vm_drive_label"), ("vm_template", "vm_template_label")])
def test_the_label_is_one_variable_for_drives_and_templates(role: str, variable: str) -> None:
    assert _read(role, "defaults/main.yml")[variable] == "{{ config_drive_label | default('%s') }}" % _defaults.LABEL


def test_roles_know_what_users_choose_from() -> None:
    options = _read("vm_template", "meta/argument_specs.yml")["argument_specs"]["linux"]["options"]
    assert {*options["vm_template_init"]["choices"]} == {"auto", *_defaults.INIT_SYSTEMS}
    assert {*options["vm_template_hypervisor"]["choices"]} == {"auto", *_defaults.HYPERVISOR_TYPES}
    data = _read("vm_template", "vars/main.yml")
    for name in ("vm_template_starters", "vm_template_image_starters", "vm_template_service_modules"):
        assert {*data[name]} == {*_defaults.INIT_SYSTEMS}, name
    files = {path.stem.removeprefix("starter-") for path in (ROLES / "vm_template" / "tasks").glob("starter-*.yml")}
    assert files == {*_defaults.INIT_SYSTEMS}
    assert {*data["vm_template_virtualization_types"].values()} == {*_defaults.HYPERVISOR_TYPES}


def test_the_specification_has_them() -> None:
    options = _argspec.hypervisor()["hypervisor"]["options"]
    found = {name: options[name].get("default") for name in ("image_dir", "iso_sr_name", "iso_dir", "connect_timeout")}
    assert found == {
        "image_dir": "/var/lib/libvirt/images",
        "iso_sr_name": "ConfigDriveISOs",
        "iso_dir": "/opt/xensource/packages/iso/configdrive_iso",
        "connect_timeout": 30,
    }


def test_dns_follows_a_watch_by_the_same_defaults() -> None:
    now, role = _read("vm_ip_poll", "vars/main.yml")["vm_ip_poll__dns_now"], _read("dns_records", "defaults/main.yml")
    for key in ("name", "names", "families", "reserved", "ptr", "ttl", "former_owners", "owner"):
        text = now[key].partition("| default(")[2].rpartition(")")[0]
        assert yaml.safe_load(text) == role[f"dns_records_{key}"], key
