# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Checks that cloud-init finds the config drive, and asks no network."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.rules import Problem

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.rules import Wanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.system import System

SETTINGS = "etc/cloud/cloud.cfg.d/99-config-drive.cfg"
_LIST = re.compile(r"^\s*datasource_list\s*:[ \t]*(?:\[(.*?)\]|((?:\n[ \t]*-[ \t]*\w+)+))", re.MULTILINE | re.DOTALL)
_SERVICES = ("cloud-init", "cloud-init-main", "cloud-init-local", "cloud-config", "cloud-final")
# Data sources that ask the network, and believe what it answers.
_NETWORK_SOURCES = ("CloudStack",)


def is_in(system: System) -> bool:
    """Whether cloud-init is installed."""
    return any(system.files.is_file(path) for path in ("usr/bin/cloud-init", "usr/sbin/cloud-init", "usr/local/bin/cloud-init"))


def datasources(system: System) -> list[str] | None:
    """The data sources in the configuration file that counts; None if there is none, so that cloud-init's own list counts."""
    found = None
    for _path, text in [("", system.files.text("etc/cloud/cloud.cfg")), *system.texts("etc/cloud/cloud.cfg.d", "*.cfg")]:
        for flow, block in _LIST.findall(text):
            found = re.findall(r"\w+", flow or block)
    return found


def present(system: System, wanted: Wanted) -> Iterator[Problem]:
    """cloud-init must be installed if it is to read the drive."""
    if wanted.with_cloud_init and not is_in(system):
        yield Problem("cloud_init", "cloud-init is not installed, nothing on the drive would be set", "install cloud-init")


def enabled(system: System, wanted: Wanted) -> Iterator[Problem]:
    """cloud-init must not be switched off in any of four places."""
    if not wanted.with_cloud_init or not is_in(system):
        return
    if system.files.there("etc/cloud/cloud-init.disabled"):
        message = "/etc/cloud/cloud-init.disabled keeps cloud-init from running"
        yield Problem("cloud_init_disabled", message, "remove the file", ("etc/cloud/cloud-init.disabled",))
    for path in ("etc/default/grub", "boot/grub/grub.cfg", "boot/grub2/grub.cfg", "etc/kernel/cmdline"):
        if "cloud-init=disabled" in system.files.text(path):
            message = f"/{path} has cloud-init=disabled for the kernel, which keeps cloud-init from running"
            yield Problem("cloud_init_disabled", message, "remove it there", (path,))
    if re.search(r"^\s*policy\s*:\s*disabled", system.files.text("etc/cloud/ds-identify.cfg"), re.MULTILINE):
        message = "/etc/cloud/ds-identify.cfg has policy: disabled, which keeps cloud-init from running"
        yield Problem("cloud_init_disabled", message, "remove it there", ("etc/cloud/ds-identify.cfg",))
    stopped = [name for name in _SERVICES if system.has_service(name) and not _runs(system, name)]
    if stopped:
        message = f"these services of cloud-init are not enabled: {', '.join(stopped)}"
        yield Problem("cloud_init_disabled", message, f"systemctl enable {' '.join(stopped)}")


def _runs(system: System, name: str) -> bool:
    # A generator starts cloud-init.target, without a link; a service may be wanted by this target alone.
    return not system.is_masked(name) and (system.starts(name) or "cloud-init.target" in system.wanted_by(name))


def finds_the_drive(system: System, wanted: Wanted) -> Iterator[Problem]:
    """The list of data sources and the label must be such that cloud-init looks at the drive."""
    if not wanted.with_cloud_init or not is_in(system):
        return
    sources = datasources(system)
    remedy = f"write datasource_list: [ConfigDrive, None] into /{SETTINGS} (the entry point image does)"
    if sources is not None and "ConfigDrive" not in sources:
        message = f"cloud-init's datasource_list is [{', '.join(sources)}], without ConfigDrive: it does not look at the drive"
        yield Problem("datasource_list", message, remedy, ("etc/cloud/cloud.cfg",))
    elif wanted.label not in ("config-2", "CONFIG-2") and [name for name in sources or ["a", "b"] if name != "None"] != [
        "ConfigDrive"
    ]:
        message = f"cloud-init finds a drive with the label {wanted.label} only if ConfigDrive is its one data source"
        yield Problem("cloud_init_label", message, f"{remedy}, or give the drives the label config-2", ("etc/cloud/cloud.cfg",))


def asks_no_network(system: System, _wanted: Wanted) -> Iterator[Problem]:
    """No data source may take passwords from the DHCP server."""
    found = [name for name in datasources(system) or [] if name in _NETWORK_SOURCES] if is_in(system) else []
    if found:
        message = f"cloud-init's datasource_list has {', '.join(found)}, which asks the DHCP server for passwords and keys"
        yield Problem("network_datasource", message, f"leave it out in /{SETTINGS}", ("etc/cloud/cloud.cfg",))


CHECKS = (present, enabled, finds_the_drive, asks_no_network)
