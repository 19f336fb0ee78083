# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Facts about a template's system, read from its files: distribution, services and what starts them, kernels."""

from __future__ import annotations

import fnmatch
import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.files import FOLDER

if t.TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.files import Files

SYSTEMD, SYSV, OPENRC = _defaults.INIT_SYSTEMS
UNIT_FOLDERS = ("etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
_FAMILIES = {
    "debian": "Debian",
    "ubuntu": "Debian",
    "rhel": "RedHat",
    "fedora": "RedHat",
    "centos": "RedHat",
    "suse": "Suse",
    "opensuse": "Suse",
    "sles": "Suse",
    "alpine": "Alpine",
    "arch": "Archlinux",
}


class System:
    """One template's system. init: SYSTEMD, SYSV or OPENRC; None tells it by the files."""

    def __init__(self, files: Files, init: str | None = None) -> None:
        self.files = files
        self.release = self._release()
        self.init = init or self._init()

    def _release(self) -> dict[str, str]:
        text = self.files.text("etc/os-release") or self.files.text("usr/lib/os-release")
        return {name: value.strip("\"'") for name, value in re.findall(r"^([A-Z_]+)=(.*?)\s*$", text, re.MULTILINE)}

    def _init(self) -> str:
        if self.files.there("usr/lib/systemd/systemd") or self.files.there("lib/systemd/systemd"):
            return SYSTEMD
        return OPENRC if self.files.there("sbin/openrc-run") or self.files.there("usr/sbin/openrc-run") else SYSV

    @property
    def distribution(self) -> str:
        """The distribution's id, such as debian."""
        return self.release.get("ID", "")

    @property
    def family(self) -> str:
        """The family as in Ansible's facts, such as RedHat; empty if it is not known."""
        for word in [self.distribution, *self.release.get("ID_LIKE", "").split()]:
            if word.split("-")[0] in _FAMILIES:
                return _FAMILIES[word.split("-")[0]]
        return ""

    @property
    def settings_path(self) -> str:
        """The path of the guest scripts' settings."""
        default = self.files.node("etc/default")
        if self.family in ("RedHat", "Suse") or default is None or default.kind != FOLDER:
            return "etc/sysconfig/config-drive"
        return "etc/default/config-drive"

    def matching(self, folder: str, patterns: Iterable[str]) -> Iterator[str]:
        """Paths in a folder whose names match one of the patterns."""
        patterns = tuple(patterns)
        for name in self.files.names(folder):
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
                yield f"{folder}/{name}"

    def texts(self, folder: str, *patterns: str) -> Iterator[tuple[str, str]]:
        """Path and text of the files in a folder whose names match, in the order in which such folders are read."""
        for path in self.matching(folder, patterns):
            if self.files.is_file(path):
                yield path, self.files.text(path)

    # --- services ---

    def has_service(self, name: str) -> bool:
        """Whether the service is defined."""
        if self.init == SYSTEMD:
            return self.unit_of(name) is not None
        return self.files.is_file(f"etc/init.d/{name}")

    def unit_of(self, name: str) -> str | None:
        """The path of the service's unit, in the folder that counts."""
        return next((path for path in (f"{folder}/{name}.service" for folder in UNIT_FOLDERS) if self.files.there(path)), None)

    def is_masked(self, name: str) -> bool:
        """Whether the unit may not be started."""
        return self.init == SYSTEMD and self.files.link(f"etc/systemd/system/{name}.service") == "/dev/null"

    def starts(self, name: str) -> bool:
        """Whether the service is started, with the system or by something else."""
        if self.init == SYSTEMD:
            return self._unit_starts(name)
        if self.init == OPENRC:
            return any(self.files.there(f"etc/runlevels/{level}/{name}") for level in ("boot", "default", "sysinit"))
        return any(next(self.matching(f"etc/rc{level}.d", [f"S[0-9][0-9]{name}"]), None) for level in "2345")

    def _unit_starts(self, name: str) -> bool:
        unit = self.unit_of(name)
        if unit is None or self.is_masked(name):
            return False
        wanted_by = self.wanted_by(name)
        if not wanted_by:  # a static unit: something else starts it, such as Debian's udev rule for QEMU's agent
            return True
        folders = [f"{base}/{entry}" for base in UNIT_FOLDERS for entry in self.files.names(base) if _pulls_in(entry)]
        return any(self.files.there(f"{folder}/{name}.service") for folder in folders)

    def wanted_by(self, name: str) -> list[str]:
        """The units that start this service once it is enabled."""
        text = self.files.text(self.unit_of(name) or "")
        section = re.search(r"^\[Install\]\s*$(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL)
        found = re.findall(r"^(?:WantedBy|RequiredBy)\s*=\s*(.*?)\s*$", section.group(1), re.MULTILINE) if section else []
        return [word for line in found for word in line.split()]

    def links_to_start(self, name: str, coming: Collection[str]) -> dict[str, str]:
        """The links, by their paths, that start a service with the system. coming: paths of files that are not there yet."""
        if self.init == SYSTEMD:
            unit = f"etc/systemd/system/{name}.service"
            targets = ["multi-user.target"] if unit in coming else self.wanted_by(name)
            unit = unit if unit in coming else self.unit_of(name) or unit
            return {f"etc/systemd/system/{target}.wants/{name}.service": f"/{unit}" for target in targets}
        if self.init == OPENRC:
            return {f"etc/runlevels/default/{name}": f"/etc/init.d/{name}"}
        return {} if self.starts(name) else {f"etc/rc{level}.d/S09{name}": f"../init.d/{name}" for level in "2345"}

    # --- kernels ---

    def kernels(self) -> dict[str, frozenset[str]]:
        """The modules of each kernel, by its name; built-in ones are among them. Names have '-' for '_'."""
        found = {}
        for name in self.files.names("lib/modules"):
            listed = self.files.text(f"lib/modules/{name}/modules.dep", 16 << 20)
            if listed:
                text = listed + self.files.text(f"lib/modules/{name}/modules.builtin")
                found[name] = frozenset(
                    module.replace("_", "-")
                    for module in re.findall(r"^(?:\S*/)?([^/\s:]+?)\.ko(?:\.\w+)?(?::|\s*$)", text, re.M)
                )
        return found


def _pulls_in(folder: str) -> bool:
    return folder.endswith((".wants", ".requires"))
