# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backup jobs: whose one is, when it is over, and that nobody else's is touched."""

from __future__ import annotations

import os
import re
import subprocess
import time
import types
import typing as t
import xml.etree.ElementTree as ET

import pytest

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import backup

CODES = {"VIR_ERR_NO_DOMAIN_BACKUP": 105, "VIR_ERR_OPERATION_INVALID": 55, "VIR_ERR_INTERNAL_ERROR": 1, "VIR_ERR_INVALID_ARG": 8}
THEIRS = "/var/lib/libvirt/qemu/theirs.nbd"


class LibvirtError(Exception):
    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(text or code)
        self._code = CODES[code]

    def get_error_code(self) -> int:
        return self._code

    def get_error_message(self) -> str:
        return str(self)


class Domain:
    """job: the socket of its backup job; states: what the calls say of it before, one after the other."""

    def __init__(self, job: str | None = None, kind: int = 0, block: t.Mapping[str, t.Any] | None = None) -> None:
        self.job = job
        self.kind = kind
        self.block = block or {}
        self.states: list[t.Any] = []
        self.log: list[str] = []
        self.xml = ""

    def backupGetXMLDesc(self, flags: int) -> str:
        if self.states:
            state = self.states.pop(0)
            if isinstance(state, Exception):
                raise state
            self.job = state
        if self.job is None:
            raise LibvirtError("VIR_ERR_NO_DOMAIN_BACKUP")
        server = f"<server transport='unix' socket='{self.job}'/>" if self.job else "<server transport='tcp' name='h' port='1'/>"
        disks = "<disks><disk name='vda' backup='yes'/><disk name='vdb' backup='yes'/><disk name='hdc' backup='no'/></disks>"
        return f"<domainbackup mode='pull'>{server}{disks}</domainbackup>"

    def jobInfo(self) -> list[int]:
        return [self.kind]

    def blockJobInfo(self, target: str, flags: int) -> t.Any:
        return self.block.get(target, {})

    def abortJob(self) -> None:
        """As libvirt does: it ends whatever job there is."""
        self.log.append("abort the domain's job")
        self.job, self.kind = None, 0

    def blockJobAbort(self, target: str, flags: int) -> None:
        """As libvirt does: with the job of one disk the whole backup ends, and there is none for another disk."""
        assert flags == 0
        if self.job is None:
            raise LibvirtError("VIR_ERR_INVALID_ARG", f"disk {target} does not have an active block job")
        self.log.append(f"abort {target}")
        self.job = None

    def backupBegin(self, xml: str, checkpoint: None, flags: int) -> None:
        assert self.job is None and checkpoint is None and flags == 0
        self.xml = xml
        server = ET.fromstring(xml).find("server")
        assert server is not None
        self.job = server.get("socket")
        self.log.append("begin")

    def ID(self) -> int:
        return 7

    def name(self) -> str:
        return "a-name-of-more-than-twenty-characters"

    def UUIDString(self) -> str:
        return "1c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10"


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "libvirt", types.SimpleNamespace(libvirtError=LibvirtError, VIR_DOMAIN_JOB_NONE=0, **CODES))
    monkeypatch.setattr(backup, "_WAIT", 0.3)


def begin(domain: Domain) -> str:
    path = backup.socket_path(domain, time.time() + 10)
    backup.begin(domain, path, ["vda"], ["hdc"], "/var/lib/libvirt/images")
    return path


def dead() -> str:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return f"/x/ext-dhcp-{int(time.time()) + 3600:08x}-{backup.machine()}-{process.pid:x}-1.nbd"


def test_a_job_exports_the_disks_read_only_and_ends():
    domain = Domain()
    path = begin(domain)
    assert re.fullmatch(r"/var/lib/libvirt/qemu/domain-7-a-name-of-more-than-/ext-dhcp-[0-9a-f-]+\.nbd", path)
    assert len(path) <= 107
    element = ET.fromstring(domain.xml)
    assert element.get("mode") == "pull"
    assert {disk.get("name"): disk.get("backup") for disk in element.iter("disk")} == {"vda": "yes", "hdc": "no"}
    assert [scratch.get("file") for scratch in element.iter("scratch")] == [
        "/var/lib/libvirt/images/ext-dhcp-1c1f6c56-8c7e-4b4b-9a59-0f6f7a3c2d10-vda.scratch"
    ]
    assert backup.end(domain, path) and domain.log == ["begin", "abort vda"]
    assert not backup.end(domain, path)


@pytest.mark.parametrize("job", [THEIRS, ""])
def test_somebody_elses_job_is_neither_waited_for_nor_ended(job: str):
    domain = Domain(job)
    with pytest.raises(backup.Busy, match="somebody else"):
        begin(domain)
    assert domain.log == [] and domain.job == job
    assert not backup.end(domain, "/x/ext-dhcp-00000001-000000-1-1.nbd")


@pytest.mark.parametrize(
    ("domain", "words"), [(Domain(kind=2), "migration"), (Domain(block={"vda": {"type": 1}}), "job of its disks")]
)
def test_other_jobs_are_not_disturbed(domain: Domain, words: str):
    with pytest.raises(backup.Busy, match=words):
        begin(domain)
    assert domain.log == []


def test_a_job_of_a_dead_process_is_ended():
    domain = Domain(dead())
    begin(domain)
    assert domain.log == ["abort vda", "begin"]


def test_a_job_of_another_machine_is_ended_long_after_its_time_only():
    now = time.time()
    name = f"/x/ext-dhcp-{int(now):08x}-ffffff-1-1.nbd"
    assert not backup.is_over(name, now) and not backup.is_over(name, now + 100)
    assert backup.is_over(name, now + 200)


def test_our_own_process_is_alive():
    path = "/x/" + backup.socket_name(time.time() + 10)
    assert backup.is_ours(path) and not backup.is_over(path, time.time())
    domain = Domain(path)
    with pytest.raises(backup.Busy, match="read by another task"):
        begin(domain)
    assert domain.log == []


def test_another_task_is_waited_for_a_moment():
    path = "/x/" + backup.socket_name(time.time() + 10)
    domain = Domain(path)
    domain.states = [path, LibvirtError("VIR_ERR_INTERNAL_ERROR", "backup job data missing"), None]
    begin(domain)
    assert domain.log == ["begin"]


def test_a_job_that_began_since_is_not_ours_to_end():
    domain = Domain()
    path = begin(domain)
    domain.job = THEIRS
    assert not backup.end(domain, path)
    assert domain.job == THEIRS


def test_a_migration_that_has_waited_for_the_end_is_not_ended_by_who_comes_late(monkeypatch: pytest.MonkeyPatch):
    """Two have seen the job and are to end it."""
    domain = Domain()
    path = begin(domain)
    answers = [backup._job_of(domain), None]
    monkeypatch.setattr(backup, "_job_of", lambda domain: answers.pop(0))
    domain.job, domain.kind = None, 2
    assert backup.end(domain, path)
    assert (domain.log, domain.kind) == (["begin"], 2)


def test_a_job_that_cannot_be_ended_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backup, "_END_PATIENCE", 0.05)
    domain = Domain()
    path = begin(domain)

    def refuse(target: str, flags: int) -> None:
        raise LibvirtError("VIR_ERR_OPERATION_INVALID", "no")

    monkeypatch.setattr(domain, "blockJobAbort", refuse)
    with pytest.raises(LibvirtError, match="no"):
        backup.end(domain, path)
    assert domain.job == path


def test_names_that_are_not_ours():
    for name in ("ext-dhcp-1.nbd", "x-ext-dhcp-00000001-000000-1-1.nbd", "ext-dhcp-00000001-000000-1-1.nbd.x", ""):
        assert not backup.is_ours(f"/x/{name}") and not backup.is_over(f"/x/{name}", 1e12)


def test_a_process_is_known_by_its_start():
    assert backup.process_start(os.getpid()) and backup.process_start(1 << 30) is None
