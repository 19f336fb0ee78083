# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Checks that nothing is left in the template that two clones must not share."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.rules import Problem, of_paths

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.rules import Wanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.system import System

_CLEAN = "run the entry point clean, or image with vm_template_clean"
LEASES: Mapping[str, tuple[str, ...]] = {
    "var/lib/dhcp": ("*.lease", "*.leases", "*.leases~", "dhclient*"),
    "var/lib/dhclient": ("*.lease", "*.leases", "*.leases~"),
    "var/lib/dhcpcd": ("*.lease", "*.lease6", "duid", "secret"),
    "var/lib/dhcpcd5": ("*.lease", "*.lease6"),
    "etc": ("dhcpcd.duid",),
    "var/lib/NetworkManager": ("*.lease", "secret_key", "seen-bssids", "timestamps"),
    "var/lib/wicked": ("lease-*.xml", "duid.xml", "iaid.xml"),
    "var/lib/udhcpc": ("*",),
    "var/lib/systemd/network": ("*.lease",),
}
HOST_KEYS: Mapping[str, tuple[str, ...]] = {
    "etc/ssh": ("ssh_host_*_key", "ssh_host_*_key.pub"),
    "etc/dropbear": ("dropbear_*_host_key",),
}
SEEDS: Mapping[str, tuple[str, ...]] = {
    "var/lib/systemd": ("random-seed",),
    "var/lib/urandom": ("random-seed",),
    "var/lib/seedrng": ("seed.*",),
}
STATE: Mapping[str, tuple[str, ...]] = {"var/lib/config-drive": ("*",)}
_DUID = re.compile(r"^\s*DUIDRawData\s*=", re.MULTILINE)
_FIXED_NAME = re.compile(r"\s*(?!localhost\b)\S")


def left(system: System, places: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The files that match these patterns. places: patterns of names by folder."""
    return [path for folder, patterns in places.items() for path in system.matching(folder, patterns)]


def leftovers(system: System) -> list[str]:
    """Every file that cleaning removes."""
    found = [path for places in (LEASES, HOST_KEYS, SEEDS, STATE) for path in left(system, places)]
    dbus = system.files.resolve("var/lib/dbus/machine-id", follow_last=False)
    if dbus is not None and system.files.link(dbus) is None:
        found.append(dbus)
    return found + cloud_init_memory(system)


def cloud_init_memory(system: System) -> list[str]:
    """The folders in which cloud-init remembers an instance."""
    return [path for path in ("var/lib/cloud/instance", "var/lib/cloud/instances", "var/lib/cloud/data") if _full(system, path)]


def _full(system: System, path: str) -> bool:
    return system.files.link(path) is not None or bool(system.files.names(path))


def machine_id(system: System, _wanted: Wanted) -> Iterator[Problem]:
    """systemd, DHCP clients and IPv6 identify a clone by it: two with the same one get each other's address."""
    text = system.files.text("etc/machine-id").strip()
    if text not in ("", "uninitialized"):
        yield Problem("machine_id", "/etc/machine-id is not empty, all clones would share it", _CLEAN, ("etc/machine-id",))


def dbus_machine_id(system: System, _wanted: Wanted) -> Iterator[Problem]:
    """It must be a link: systemd would take a copy back into /etc/machine-id."""
    if system.files.there("var/lib/dbus/machine-id") and system.files.link("var/lib/dbus/machine-id") is None:
        message = "/var/lib/dbus/machine-id is a copy, all clones would share it"
        yield Problem("dbus_machine_id", message, _CLEAN, ("var/lib/dbus/machine-id",))


def dhcp_identity(system: System, _wanted: Wanted) -> Iterator[Problem]:
    """With leases or client ids, clones would ask for the template's address, or be taken for one client."""
    found = left(system, LEASES)
    message = "DHCP leases and client ids of this machine are left, clones would ask for its address"
    return of_paths("dhcp_identity", found, message, _CLEAN)


def fixed_duid(system: System, _wanted: Wanted) -> Iterator[Problem]:
    """No configuration may have a client id."""
    folders = {
        "etc/systemd": ("networkd.conf",),
        "etc/systemd/networkd.conf.d": ("*.conf",),
        "etc/systemd/network": ("*.network",),
    }
    found = [path for path in left(system, folders) if _DUID.search(system.files.text(path))]
    message = "a DHCP client id is written down, clones would be one client to the DHCP server"
    return of_paths("fixed_duid", found, message, "remove DUIDRawData")


def host_keys(system: System, _wanted: Wanted) -> Iterator[Problem]:
    """With the same keys, the owner of one clone could pose as any other."""
    found = left(system, HOST_KEYS)
    return of_paths("host_keys", found, "SSH host keys are left, whoever owns one clone could play every other", _CLEAN)


def random_seed(system: System, _wanted: Wanted) -> Iterator[Problem]:
    """With the same seed, clones would begin with the same random numbers."""
    found = left(system, SEEDS)
    return of_paths("random_seed", found, "the random seed is left, clones would begin with the same random numbers", _CLEAN)


def script_state(system: System, _wanted: Wanted) -> Iterator[Problem]:
    """What the guest scripts remember of another VM's drive: its password would count as set in the clone."""
    found = left(system, STATE)
    message = "what the guest scripts did for another VM's drive is left, and may hold its user data"
    return of_paths("script_state", found, message, _CLEAN)


def cloud_init_state(system: System, _wanted: Wanted) -> Iterator[Problem]:
    """What cloud-init remembers of another VM: its user data, and an instance that it would take for the clone's."""
    found = cloud_init_memory(system)
    message = "cloud-init remembers an instance, with its user data"
    return of_paths("cloud_init_state", found, message, "run the entry point clean, or cloud-init clean --logs")


def authorized_keys(system: System, _wanted: Wanted) -> Iterator[Problem]:
    """No SSH key may be left that opens all clones."""
    homes = ["root", *(f"home/{name}" for name in system.files.names("home"))]
    paths = [f"{home}/.ssh/{name}" for home in homes for name in ("authorized_keys", "authorized_keys2")]
    found = [path for path in paths if re.search(r"^\s*[^#\s]", system.files.text(path), re.MULTILINE)]
    return of_paths("authorized_keys", found, "SSH keys may log in to every clone", "remove them, or accept this check")


def hostname(system: System, _wanted: Wanted) -> Iterator[Problem]:
    """With a fixed name, all clones would tell the DHCP server the same one at first."""
    if _FIXED_NAME.match(system.files.text("etc/hostname")):
        message = "/etc/hostname has a name, which all clones tell the DHCP server at their first boot"
        yield Problem("hostname", message, f"{_CLEAN}; it removes the name", ("etc/hostname",))


def net_rules(system: System, _wanted: Wanted) -> Iterator[Problem]:
    """With rules for the template's MAC, a clone's NIC would get another name than the one that is configured."""
    found = list(system.matching("etc/udev/rules.d", ["70-persistent-net.rules", "75-persistent-net-generator.rules"]))
    found = [path for path in found if re.search(r"ATTR\{address\}\s*==", system.files.text(path))]
    message = "the names of NICs are bound to this machine's MAC addresses, a clone's NIC gets another one"
    return of_paths("net_rules", found, message, "remove these files")


CHECKS = (
    machine_id,
    dbus_machine_id,
    dhcp_identity,
    fixed_duid,
    host_keys,
    random_seed,
    script_state,
    cloud_init_state,
    authorized_keys,
    hostname,
    net_rules,
)
