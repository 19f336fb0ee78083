# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The steps that make a system a template: only those that are needed, so none for a template.

They are the same for a chroot and for libguestfs. After packages were installed, the steps must be planned again.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template import cloud_init, identity, intervals
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.agents import AGENTS
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.rules import Wanted
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.system import System

if t.TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

PUT, LINK, REMOVE, INSTALL = "put", "link", "remove", "install"
_CLOUD_INIT = "# Written by vmops.external_dhcp: the config drive is the only data source, and no network is asked.\n"


class Impossible(Exception):
    """The system cannot be made a template; the message says why, and what to do."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One step. do: PUT (path, content, mode), LINK (path; content is the target), REMOVE (path) or INSTALL (words: packages)."""

    do: str
    path: str = ""
    content: str = ""
    mode: int = 0o644
    words: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What it does, in words."""
        if self.do == INSTALL:
            return f"install {', '.join(self.words)}"
        if self.do == LINK:
            return f"link /{self.path} to {self.content}"
        return f"{'write' if self.do == PUT else 'remove'} /{self.path}"


@dataclasses.dataclass(frozen=True)
class Job:
    """What a template must have. files: (content, mode) by path; services: those to be started with the system."""

    wanted: Wanted
    files: Mapping[str, tuple[str, int]]
    services: tuple[str, ...]
    install: bool = True


def job_of(data: Mapping[str, t.Any]) -> Job:
    """The job in data that dataclasses.asdict() and JSON made of it."""
    files = {path: (content, mode) for path, (content, mode) in data["files"].items()}
    return Job(Wanted(**data["wanted"]), files, tuple(data["services"]), data["install"])


def plan(system: System, job: Job) -> list[Step]:
    """The steps, in order. Raises Impossible."""
    if not system.release:
        raise Impossible("there is no /etc/os-release: this is no Linux system, or its root is not found")
    steps = list(_packages(system, job)) if job.install else []
    steps += _files(system, job)
    steps += _services(system, job)
    steps += [
        Step(PUT, found.path, found.content, found.mode)
        for found in intervals.late(system, job.wanted)
        if found.content is not None
    ]
    if job.wanted.with_cloud_init:
        steps += _cloud_init(system)
    if job.wanted.cleaned:
        steps += _clean(system)
    if steps and "SELINUX=enforcing" in system.files.text("etc/selinux/config").splitlines():
        steps.append(Step(PUT, ".autorelabel"))  # new files have no SELinux label yet
    return steps


def _packages(system: System, job: Job) -> Iterator[Step]:
    words: list[str] = []
    if job.wanted.hypervisor is not None and not AGENTS[job.wanted.hypervisor].is_in(system):
        words += AGENTS[job.wanted.hypervisor].packages_for(system)
        if not words:
            raise Impossible(
                f"{system.distribution} has no package of the guest agent for {job.wanted.hypervisor}: install it from the "
                "hypervisor's guest tools first, or set install to false"
            )
    if job.wanted.with_cloud_init and not cloud_init.is_in(system):
        words.append("cloud-init")
    if words:
        yield Step(INSTALL, words=tuple(words))


def _put(system: System, path: str, content: str, mode: int) -> Iterator[Step]:
    node = system.files.node(path)
    if system.files.data(path) != content.encode() or node is None or node.mode != mode:
        yield Step(PUT, path, content, mode)


def _files(system: System, job: Job) -> Iterator[Step]:
    for path, (content, mode) in job.files.items():
        yield from _put(system, path, content, mode)


def _services(system: System, job: Job) -> Iterator[Step]:
    for name in job.services:
        yield from _start(system, name, job.files)
    if job.wanted.hypervisor is None:
        return
    names = AGENTS[job.wanted.hypervisor].services_in(system)
    if not any(system.starts(name) for name in names):
        for name in names:
            yield from _start(system, name, {})


def _start(system: System, name: str, coming: Collection[str]) -> Iterator[Step]:
    if system.is_masked(name):
        yield Step(REMOVE, f"etc/systemd/system/{name}.service")
    for path, target in system.links_to_start(name, coming).items():
        if not system.files.there(path):
            yield Step(LINK, path, target)


def _cloud_init(system: System) -> Iterator[Step]:
    if system.files.there("etc/cloud/cloud-init.disabled"):
        yield Step(REMOVE, "etc/cloud/cloud-init.disabled")
    yield from _put(system, cloud_init.SETTINGS, f"{_CLOUD_INIT}datasource_list: [ConfigDrive, None]\n", 0o644)


def _clean(system: System) -> Iterator[Step]:
    for path in identity.leftovers(system):
        yield Step(REMOVE, path)
    # Empty, not missing: systemd then makes an id, but does not take the start for a first boot (machine-id(5)).
    if system.files.text("etc/machine-id").strip() not in ("", "uninitialized"):
        yield Step(PUT, "etc/machine-id", "", 0o444)
    if next(identity.hostname(system, Wanted()), None) is not None:
        yield Step(PUT, "etc/hostname", "", 0o644)
