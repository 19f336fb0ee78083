# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""dev/test.sh, with steps that do nothing but speak: who runs beside whom, what is printed, and what the end is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

DEV = Path(__file__).parents[2] / "dev"
STEPS = ("packages", "venv", "lint", "docs", "pytest", "build", "unit-oldest", "sanity")


@pytest.fixture(name="checkout")
def fixture_checkout(tmp_path):
    folder = tmp_path / "dev"
    folder.mkdir()
    for name in ("lib.sh", "test.sh"):
        shutil.copy(DEV / name, folder)
    for name in STEPS:
        set_step(tmp_path, name, f'echo "{name} $*"')
    return tmp_path


def set_step(checkout, name, commands):
    script = checkout / "dev" / f"{name}.sh"
    script.write_text(f"#!/bin/bash\n{commands}\n")
    script.chmod(0o755)


def start(checkout, **environment):
    # sudo would ask for a password where the tests do not run as root; none of these steps needs it.
    return subprocess.Popen(
        [checkout / "dev/test.sh"],
        env={**os.environ, "PATH": without_sudo(checkout), "VMOPS_RIG_DIR": str(checkout / "rigs"), "SKIP": "", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Whoever starts the tests in the background has them ignore it, and so all that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def runs(number):
    """Whether the process is at work; one that has ended and that nobody waits for is not."""
    try:
        return Path("/proc", number, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def without_sudo(checkout):
    commands = checkout / "commands"
    commands.mkdir()
    for name in ("bash", "date", "mkdir", "dirname", "rm", "cat", "tail", "sleep", "stat", "touch"):
        (commands / name).symlink_to(shutil.which(name))
    (commands / "id").write_text("#!/bin/bash\necho 0\n")
    (commands / "id").chmod(0o755)
    return str(commands)


def test_sanity_runs_beside_others_and_speaks_in_its_place(checkout):
    # Each waits for the other, which would never come if they ran one after the other.
    wait = "for _ in {1..100}; do [ -e %s ] && exit 0; sleep 0.1; done; exit 1"
    set_step(checkout, "sanity", f"touch here; echo begun; {wait % 'there'}")
    set_step(checkout, "build", f"touch there; {wait % 'here'}")
    run = start(checkout)
    output = run.communicate(timeout=60)[0]
    assert run.returncode == 0, output
    shown, summary = output.split("==== summary")
    assert [line for line in shown.splitlines() if line] == [
        *("==== packages", "packages build sanity unit rigs test", "==== venv", "venv "),
        *("==== lint", "lint ", "==== docs", "docs ", "==== unit", "pytest unit --numprocesses auto", "==== build"),
        *("==== unit-oldest", "unit-oldest ", "==== sanity", "begun"),
        *("==== integration", "pytest integration -m not kvm", "==== integration-kvm", "pytest integration-kvm"),
    ]
    assert summary.count("passed") == 10


@pytest.mark.parametrize("name", ["lint", "sanity", "unit-oldest"])
def test_a_failed_step_fails_the_run_after_the_others(checkout, name):
    set_step(checkout, name, "echo what is wrong; exit 3")
    run = start(checkout, SKIP="docs")
    output = run.communicate(timeout=60)[0]
    assert run.returncode == 1
    assert f"==== {name}\nwhat is wrong\n" in output
    assert "==== docs" not in output
    summary = output.split("==== summary")[1]
    assert [line.split()[0] for line in summary.splitlines() if "FAILED (3)" in line] == [name]
    assert summary.count("passed") == 8


def test_nothing_runs_without_the_virtual_environment(checkout):
    set_step(checkout, "venv", "exit 1")
    run = start(checkout)
    output = run.communicate(timeout=60)[0]
    assert run.returncode == 1
    assert "==== lint" not in output and not (checkout / ".build/log/step-sanity.out").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_ends_all_steps_at_work(checkout, number):
    for name in ("sanity", "docs"):
        set_step(checkout, name, f"echo $$ >{name}.pid; sleep 60")
    run = start(checkout)
    files = [checkout / "sanity.pid", checkout / "docs.pid"]
    deadline = time.monotonic() + 30
    while not all(file.exists() and file.read_text() for file in files):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run.send_signal(number)
    run.communicate(timeout=60)
    assert run.returncode == 130
    assert not [file.name for file in files if runs(file.read_text().strip())]
