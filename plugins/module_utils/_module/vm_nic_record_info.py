# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Body of the module vm_nic_record_info."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_address.policy import normalize_mac, parse_address
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import page
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.names import read_vms
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.nic_record import record_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import journal, rows
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.results import event_result, look_result, nic_result
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain_name

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def run_module(module: AnsibleModule) -> None:
    """Reads what matches the filters, and ends the module with it. A record that does not exist yet is empty."""
    params = module.params
    macs = _all(module, "mac", normalize_mac, "a MAC address, such as 52:54:00:12:34:56")
    addresses = _all(module, "ip", _address, "an IP address")
    if addresses is not None and len(addresses) > rows.CHUNK:
        module.fail_json(msg=f"ip has {len(addresses)} addresses: give {rows.CHUNK} at most at once")
    since = _time(module)
    page.check(module, after_event=0, limit=1, nic_limit=0, nic_offset=0)
    names = read_vms(module)
    vms = None if names is None else [plain_name(name) for name in names]
    result: dict[str, t.Any] = {"nics": [], "total": 0, "hypervisors": []}
    with record_of(module) as store:
        recorded = store.database.exists()
        if not recorded:
            module.warn(f"{store.database.where} does not exist or has no tables yet: nothing is recorded")
        if recorded:
            wanted = rows.fitting(params["hypervisor_name"], params["networks"], params["states"], macs, addresses)
            limit, offset = page.length(module, "nic_limit"), params["nic_offset"]
            nics, result["total"] = store.nics_page(wanted, vms, limit, offset)
            result["nics"] = [nic_result(nic, params["detail"]) for nic in nics]
            page.warn_of_more(module, "NICs", len(nics), result["total"], "nic_limit", "nic_offset")
            tallies = journal.tallies(store.database)
            result["hypervisors"] = [
                look_result(note, tallies) for note in journal.looks(store.database, params["hypervisor_name"])
            ]
        if params["events"]:
            result["events"] = []
            if recorded:
                events = store.events(
                    after=params["after_event"],
                    since=since,
                    types=params["event_types"],
                    hypervisor_names=params["hypervisor_name"],
                    vms=vms,
                    macs=macs,
                    limit=params["limit"],
                )
                result["events"] = [event_result(event) for event in events]
    module.exit_json(changed=False, **result)


def _all(module: AnsibleModule, option: str, parse: t.Callable[[str], str | None], wanted: str) -> list[str] | None:
    values = module.params[option]
    if values is None:
        return None
    parsed = []
    for value in values:
        good = parse(value)
        if good is None:
            module.fail_json(msg=f"{option} has {value!r}: give {wanted}")
        parsed.append(t.cast(str, good))
    return parsed


def _address(text: str) -> str | None:
    address = parse_address(text)
    return None if address is None else str(address)


def _time(module: AnsibleModule) -> datetime.datetime | None:
    text = module.params["since"]
    if text is None:
        return None
    try:
        # Python before 3.11 does not know the Z.
        moment = datetime.datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)
    except ValueError:
        module.fail_json(msg=f"since is {text!r}: give a time such as 2026-11-22T08:00:00Z")
        raise AssertionError("not reached") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)
