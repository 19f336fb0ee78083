# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""How often guest agents report addresses to the hypervisor: the settings that say so, and what they would have to be.

- open-vm-tools: poll-interval in the section guestinfo of tools.conf; 30 s, 0 is never (services/plugins/guestInfo/guestInfoServer.c).
- xe-daemon of xe-guest-utilities: its option -i; 60 s (xe-daemon/xe-daemon.go). What starts it reads no file of settings.
- QEMU's agent is asked, and xen-guest-agent tells what changes when it does: neither has an interval.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.agents import AGENTS
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.rules import Problem
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.system import SYSTEMD, UNIT_FOLDERS

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.rules import Wanted
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.system import System

TOOLS_CONF = "etc/vmware-tools/tools.conf"
_TOOLS_DEFAULT, _TOOLS_MOST = 30, (2**31 - 1) // 1000
_XE_DEFAULT = 60
# The last drop-in of a unit counts, so its name comes after those of others, such as override.conf.
_DROP_IN = "zz-config-drive-interval.conf"
_OPTION = re.compile(r"\s+--?i(?:=|\s+)(\d+)(?=\s|$)")
# How the init scripts of XenServer's guest tools and of Alpine start it.
_XE_START = re.compile(r"(\$\{XE_DAEMON\}(?: --)?)((?: -i \d+)?)(?= -p )")
_MOST = 65536


@dataclasses.dataclass(frozen=True)
class Late:
    """An agent that reports addresses less often than wanted.

    seconds: between two reports, 0 for never. path: the file that sets this. content, mode: what it must be; None if that is not
    known.
    """

    agent: str
    seconds: int
    path: str
    content: t.Optional[str]
    mode: int = 0o644


def late(system: System, wanted: Wanted) -> list[Late]:
    """The wanted hypervisor's agents whose interval is longer than wanted."""
    find = {"vmware": _tools, "xenserver": _xe_daemons}.get(wanted.hypervisor or "")
    if find is None or wanted.agent_interval == 0 or not AGENTS[wanted.hypervisor or ""].is_in(system):
        return []
    return [found for found in find(system, wanted.agent_interval) if not 0 < found.seconds <= wanted.agent_interval]


def _text(system: System, path: str) -> str | None:
    """A file's text, empty if it is missing; None if it must not be rewritten, as it is too long or no UTF-8."""
    data = system.files.data(path, _MOST + 1) or b""
    try:
        return data.decode() if len(data) <= _MOST else None
    except UnicodeDecodeError:
        return None


def _mode(system: System, path: str) -> int:
    node = system.files.node(path)
    return 0o644 if node is None else node.mode


# --- VMware ---


def _tools(system: System, seconds: int) -> Iterator[Late]:
    text = _text(system, TOOLS_CONF)
    lines = list(_sections((text or "").splitlines()))
    now = _TOOLS_DEFAULT
    for section, line in lines:
        value = _poll_interval(section, line)
        if value is not None:
            now = int(value) if value.isdecimal() and int(value) <= _TOOLS_MOST else _TOOLS_DEFAULT
    kept = [line for section, line in lines if _poll_interval(section, line) is None]
    at = next((place for place, (section, line) in enumerate(_sections(kept)) if section == "guestinfo"), None)
    if at is None:
        kept.append("[guestinfo]")
        at = len(kept) - 1
    kept.insert(at + 1, f"poll-interval={seconds}")
    content = None if text is None else "\n".join(kept) + "\n"
    yield Late("VMware Tools", now, TOOLS_CONF, content, _mode(system, TOOLS_CONF))


def _sections(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Each line with its section; the line that names a section is in it."""
    section = ""
    for line in lines:
        name = re.fullmatch(r"\s*\[(.*)\]\s*", line)
        section = name.group(1) if name else section
        yield section, line


def _poll_interval(section: str, line: str) -> str | None:
    found = re.fullmatch(r"\s*poll-interval\s*=\s*(.*?)\s*", line)
    return found.group(1) if found and section == "guestinfo" else None


# --- XenServer ---


def _xe_daemons(system: System, seconds: int) -> Iterator[Late]:
    for name in AGENTS["xenserver"].services_in(system):
        yield from (_unit if system.init == SYSTEMD else _init_script)(system, name, seconds)


def _unit(system: System, name: str, seconds: int) -> Iterator[Late]:
    """The interval in the command of the unit, or of the last drop-in that has a command."""
    drop_ins: dict[str, str] = {}
    for folder in reversed(UNIT_FOLDERS):
        drop_ins |= {path.rpartition("/")[2]: path for path in system.matching(f"{folder}/{name}.service.d", ["*.conf"])}
    command = ""
    for path in [system.unit_of(name) or "", *(drop_ins[key] for key in sorted(drop_ins))]:
        for line in re.findall(r"^\s*ExecStart\s*=[^\S\n]*(.*?)\s*$", system.files.text(path, _MOST), re.MULTILINE):
            command = line
    if not command.split(" ")[0].endswith("/xe-daemon"):
        return
    given = _OPTION.findall(command)
    content = (
        f"# Written by vmops.external_dhcp: the guest's addresses are told every {seconds} seconds.\n"
        f"[Service]\nExecStart=\nExecStart={_OPTION.sub('', command)} -i {seconds}\n"
    )
    drop_in = f"etc/systemd/system/{name}.service.d/{_DROP_IN}"
    yield Late("xe-daemon", int(given[-1]) if given else _XE_DEFAULT, drop_in, content)


def _init_script(system: System, name: str, seconds: int) -> Iterator[Late]:
    path = f"etc/init.d/{name}"
    text = _text(system, path)
    if text is None or "xe-daemon" not in text:
        return
    starts = _XE_START.findall(text)
    now = max((int(option.split()[1]) if option else _XE_DEFAULT for _start, option in starts), default=_XE_DEFAULT)
    content = _XE_START.sub(rf"\g<1> -i {seconds}", text) if starts else None
    yield Late("xe-daemon", now, path, content, _mode(system, path))


# --- the check ---


def agent_interval(system: System, wanted: Wanted) -> Iterator[Problem]:
    """The agent must report addresses often enough: asking the hypervisor more often does not help."""
    for found in late(system, wanted):
        often = f"every {found.seconds} seconds, not every {wanted.agent_interval}: a clone's is known late"
        if found.seconds == 0:
            often = "never"
        remedy = (
            f"look at /{found.path}, it is not one that is known"
            if found.content is None
            else "run the entry point linux or image, or set vm_template_agent_interval"
        )
        yield Problem("agent_interval", f"{found.agent} tells its addresses {often}", remedy, (found.path,))
