# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rulebooks of the collection in a real ansible-rulebook, with a XAPI rig to listen to.

The engine needs Java and is in no list of requirements: these tests are skipped unless VMOPS_ANSIBLE_RULEBOOK names the program.
Its Python needs ansible-core, SQLAlchemy and XenAPI.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import queue
import subprocess
import sys
import threading
import time
import typing as t

import pytest
import yaml

from ansible_collections.vmops.external_dhcp.plugins.plugin_utils import _awx_objects
from ansible_collections.vmops.external_dhcp.tests.integration.somebody import SomebodyOnXapi, on_xapi
from ansible_collections.vmops.external_dhcp.tests.integration.watching import Watched, record_in, until

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/rigs/awx")]

import awx_api

PROGRAM = os.environ.get("VMOPS_ANSIBLE_RULEBOOK")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="VMOPS_ANSIBLE_RULEBOOK names no ansible-rulebook")
#: Seconds until the engine, which starts a Java machine, has done what is waited for.
PATIENCE = 90


class Engine:
    """A rulebook at work, and the lines it has printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.seen: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in t.cast("t.IO[str]", self.process.stdout):
            self._lines.put(line)

    def says(self, text: str, seconds: float = PATIENCE) -> None:
        """Waits for the next line with this text."""
        end = time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{text!r} did not come: {''.join(self.seen)}") from None
            self.seen.append(line)
            if text in line:
                return

    def output(self) -> str:
        with contextlib.suppress(queue.Empty):
            while True:
                self.seen.append(self._lines.get_nowait())
        return "".join(self.seen)


class Site:
    """A hypervisor with somebody at work on it, a record, and a folder for the engine's files."""

    def __init__(self, somebody: SomebodyOnXapi, folder: pathlib.Path) -> None:
        self.somebody, self.folder = somebody, folder
        name, hypervisor = somebody.places[0]
        self.record = Watched(record_in(folder), hypervisor, somebody.networks, name)
        watched = [{"name": name, "hypervisor": hypervisor, "networks": list(somebody.networks)}]
        self.variables = {"external_dhcp_hypervisors": watched}

    @contextlib.contextmanager
    def engine(self, rulebook: str, *words: str) -> t.Iterator[Engine]:
        """rulebook: the name of one of the collection's."""
        (self.folder / "vars.yml").write_text(yaml.safe_dump(self.variables))
        (self.folder / "hosts.yml").write_text("all: {hosts: {localhost: {ansible_connection: local}}}\n")
        command = [str(PROGRAM), "--rulebook", rulebook, "--vars", "vars.yml", "--inventory", "hosts.yml", "--verbose", *words]
        programs = str(pathlib.Path(str(PROGRAM)).parent)
        environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build" / "collections"),
            "EXTERNAL_DHCP_RECORD": self.record.url,
            "PYTHONUNBUFFERED": "1",
        }
        with subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                yield Engine(process)
            finally:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()


@pytest.fixture
def site(tmp_path: pathlib.Path) -> t.Iterator[Site]:
    with on_xapi() as somebody:
        one = Site(somebody, tmp_path)
        yield one
        one.record.store.database.close()


def test_vm_ip_watch_finds_a_vm_and_hands_its_addresses_to_the_rules(site: Site) -> None:
    with site.engine("vmops.external_dhcp.vm_ip_watch") as engine:
        site.somebody.make("web1")
        until(lambda: site.record.nic("web1") is not None, PATIENCE)
        site.somebody.guest_has("web1", "10.99.0.77")
        engine.says("web1 on xen has 10.99.0.77")
        site.somebody.guest_has("web1", "10.99.0.78")
        engine.says("web1 on xen has 10.99.0.78")
    assert "rig-password" not in engine.output()


def test_vm_ip_events_hands_what_a_look_found_to_the_rules(site: Site) -> None:
    site.record.look()
    with site.engine("vmops.external_dhcp.vm_ip_events", "-E", "EXTERNAL_DHCP_RECORD") as engine:
        engine.says("Waiting for events")
        time.sleep(2)  # until the source, which says nothing, knows which event was the last
        site.somebody.make("web1")
        site.somebody.guest_has("web1", "10.99.0.77")
        site.record.look()
        engine.says("'address': '10.99.0.77'")


def awx_with_jobs() -> awx_api.Awx:
    """AWX with the job templates of configure_awx, as far as launching them goes."""
    hypervisor = {"name": "xen", "hypervisor": {"type": "xenserver"}}
    made = _awx_objects.awx_objects(_awx_objects.Settings([hypervisor], {"scm_url": "https://git.example.com/automation.git"}))
    awx = awx_api.Awx(ROOT / "awx/project")
    organization = awx.create("organizations", {"name": "Default"})["id"]
    inventory = awx.create("inventories", {"name": "hypervisors", "organization": organization})["id"]
    project = awx.create("projects", {"name": "project", "scm_type": "", "local_path": "project"})["id"]
    for template in made["controller_templates"]:
        given = {name: template[name] for name in template if name.startswith(("name", "playbook", "ask_", "survey_enabled"))}
        given.update(organization=organization, inventory=inventory, project=project)
        number = awx.create("job_templates", given)["id"]
        if "survey_spec" in template:
            awx.put_survey("job_templates", number, template["survey_spec"])
    return awx


def test_vm_ip_jobs_has_awx_run_the_job_that_an_event_asks_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDA_JOB_TEMPLATE_REFRESH_DELAY", "0.2")
    awx = awx_with_jobs()
    awx.tokens[0] = "token-of-the-engine"
    site.record.look()
    with awx_api.Server(awx) as server:
        words = ("-E", "EXTERNAL_DHCP_RECORD", "--controller-url", server.url, "--controller-token", awx.tokens[0])
        with site.engine("vmops.external_dhcp.vm_ip_jobs", *words) as engine:
            engine.says("Waiting for events")
            time.sleep(2)  # until the source, which says nothing, knows which event was the last
            site.somebody.make("web1")
            site.somebody.guest_has("web1", "10.99.0.77")
            site.record.look()
            until(lambda: len(awx.jobs) == 1, PATIENCE)
            site.somebody.destroy("web1")
            site.record.look()
            until(lambda: len(awx.jobs) == 2, PATIENCE)
    jobs = [(job["name"], job["limit"], job["extra_vars"], job["ignored_fields"]) for job in awx.jobs]
    assert jobs == [
        ("External DHCP: register DNS", "all", "{}", {"extra_vars": {}}),
        ("External DHCP: diagnose", "xen", '{"vm_names": "web1"}', {"extra_vars": {}}),
    ]
    assert "token-of-the-engine" not in engine.output()
