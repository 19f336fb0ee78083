# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A disk image becomes a template offline: its system is mounted in a namespace of its own, worked in by chroot, and let go."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import typing as t

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/unit/plugins/module_utils/_guest_template"))
from good_system import GOOD, WANTS, build

from ansible_collections.vmops.external_dhcp.tests.integration.cloud_images import make_disk, make_image

OURS = {name: None for name in GOOD if "config-drive" in name}
KEY = "etc/ssh/ssh_host_rsa_key"
# What is wrong with it, beside all that is ours being missing.
FAULTS: dict[str, str | None] = {
    **OURS,
    "etc/machine-id": "->/etc/golden-id",  # an absolute link: of the image's root, never of this machine's
    "etc/golden-id": "0123456789abcdef0123456789abcdef\n",
    "etc/hostname": "golden\n",
    KEY: "key",
    "etc/default/other": "",
    "etc/cloud/cloud-init.disabled": "",
    f"{WANTS}/qemu-guest-agent.service": None,
}
SLEEP = "61234"
MODULE = ROOT / "plugins/modules/vm_template_image.py"
PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: vmops.external_dhcp.vm_template
        tasks_from: image
"""


class Image:
    """programs: of this machine, put into the image with their libraries."""

    def __init__(self, base: pathlib.Path, files: dict[str, str | None], programs: t.Sequence[str] = ()) -> None:
        self.base, self.path = base, base / "disk.qcow2"
        tree = build(base / "tree", files)
        for name in ("proc", "dev", "run", "tmp"):
            (tree / name).mkdir()
        for program in programs:
            for source in [program, *re.findall(r"(/\S+)", _run("ldd", program))]:
                place = tree / source[1:]
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, place)
        for path in tree.glob("usr/bin/*"):
            path.chmod(0o755)
        raw = base / "disk.raw"
        with raw.open("wb") as stream:
            stream.truncate(40 << 20)
        _run("sfdisk", "-q", str(raw), text="label: dos\nstart=2048, type=83\n")
        _run("mkfs.ext4", "-q", "-F", "-d", str(tree), "-E", "offset=1048576", str(raw), "38M")
        _run("qemu-img", "convert", "-q", "-O", "qcow2", str(raw), str(self.path))
        raw.unlink()

    def play(self, **variables: t.Any) -> tuple[dict[str, int], str]:
        """The role's entry point image: the recap's numbers and all that was said."""
        (self.base / "play.yml").write_text(PLAY)
        given = {
            "vm_template_image": str(self.path),
            "vm_template_hypervisor": "kvm",
            "vm_template_reader": "both",
            "vm_template_label": "config-2",
            "vm_template_bus": "sata",
            "vm_template_image_method": "chroot",
            "ansible_python_interpreter": sys.executable,
            **variables,
        }
        done = subprocess.run(
            ["ansible-playbook", "-i", "localhost,", "-c", "local", str(self.base / "play.yml"), "-e", json.dumps(given)],
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=False,
        )
        recap = done.stdout.rsplit("PLAY RECAP", 1)[-1]
        numbers = {name: int(value) for name, value in (word.split("=") for word in recap.split() if "=" in word)}
        assert "failed" in numbers, done.stdout + done.stderr
        return numbers, done.stdout + done.stderr

    def start(self, **options: t.Any) -> tuple[subprocess.Popen[str], str]:
        """The module itself, without Ansible around it."""
        given = {"image": str(self.path), "hypervisor_type": "kvm", "method": "chroot", **options}
        process = subprocess.Popen(
            [sys.executable, str(MODULE)],
            env={**os.environ, "PYTHONPATH": str(ROOT / ".build/collections"), "TMPDIR": str(self.base)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return process, json.dumps({"ANSIBLE_MODULE_ARGS": given})

    def run(self, **options: t.Any) -> dict[str, t.Any]:
        """What the module answers."""
        process, given = self.start(**options)
        said, err = process.communicate(given, timeout=300)
        assert said, err
        return dict(json.loads(said))

    def is_alone(self) -> None:
        """Nothing is mounted or attached, and nothing lies beside the image."""
        assert str(self.base) not in pathlib.Path("/proc/self/mountinfo").read_text()
        assert str(self.base) not in _run("losetup", "-a")
        assert [path.name for path in self.base.glob(".disk*")] == []


def _run(*words: str, text: str | None = None) -> str:
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def make(tmp_path: pathlib.Path) -> t.Callable[..., Image]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    for program in ("ansible-playbook", "unshare", "qemu-img", "mkfs.ext4", "sfdisk"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if not pathlib.Path("/dev/loop-control").exists():
        pytest.skip("no loop devices here")
    return functools.partial(Image, tmp_path)


def test_an_image_becomes_a_template(make: t.Callable[..., Image]) -> None:
    image = make(FAULTS)
    identity = pathlib.Path("/etc/machine-id").read_bytes() if pathlib.Path("/etc/machine-id").exists() else None
    before = image.path.read_bytes()
    told = image.run(_ansible_check_mode=True, _ansible_diff=True)
    assert (told["changed"], image.path.read_bytes()) == (True, before)
    assert {f"remove /{KEY}", "write /etc/machine-id", "write /etc/hostname"} <= set(told["diff"]["after"].splitlines())

    numbers, said = image.play()  # ends with verify_image
    assert (numbers["failed"], numbers["changed"]) == (0, 1), said
    assert "is ready to be a template" in said
    image.is_alone()
    assert identity is None or pathlib.Path("/etc/machine-id").read_bytes() == identity
    told = image.run(reader="both", label="config-2")
    assert (told["changed"], told["done"]) == (False, [])


def test_what_goes_wrong_leaves_the_image_as_it_was(make: t.Callable[..., Image]) -> None:
    image = make(
        {**FAULTS, "usr/sbin/qemu-ga": None, "usr/bin/apt-get": "#!/bin/sh\necho no such package\nexit 100\n"}, ["/bin/sh"]
    )
    before = image.path.read_bytes()
    told = image.run()
    assert told["failed"] and "apt-get -q update ended with 100: no such package" in told["msg"]
    assert image.path.read_bytes() == before
    image.is_alone()


def test_nothing_stays_when_it_is_killed(make: t.Callable[..., Image]) -> None:
    """The image's package manager waits for ever when the module is killed."""
    files = {**FAULTS, "usr/sbin/qemu-ga": None, "usr/bin/apt-get": f"#!/bin/sh\nexec sleep {SLEEP}\n"}
    image = make(files, ["/bin/sh", "/usr/bin/sleep"])
    before = image.path.read_bytes()
    process, given = image.start()
    try:
        process.stdin.write(given)
        process.stdin.close()
        _until(lambda: bool(_waiting()))
        assert str(image.base) in _run("losetup", "-a")
    finally:
        process.kill()
        process.wait()
    _until(lambda: not _waiting())
    _until(lambda: str(image.base) not in _run("losetup", "-a"))
    assert image.path.read_bytes() == before
    # What the killed run left beside the image goes with the next one; a time limit ends one that waits.
    told = image.run(timeout=5)
    assert "took longer than" in told["msg"]
    image.is_alone()
    assert image.path.read_bytes() == before


def _until(true: t.Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.1)


def _waiting() -> list[str]:
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes() == f"sleep\0{SLEEP}\0".encode():
                found.append(path.parent.name)
    return found


def test_a_converted_copy_goes_with_its_process_however_that_ends(tmp_path: pathlib.Path) -> None:
    disk = make_disk(tmp_path)
    image = make_image(disk, "ova")
    before = sorted(tmp_path.iterdir())
    code = f"""
import os, types
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template import formats
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module import qemu_img
with qemu_img.in_form(types.SimpleNamespace(tmpdir="/"), formats.look_at({str(image)!r}), ("raw",)) as copy:
    with copy.data() as data:
        assert data.read(1 << 30) == open({str(disk)!r}, "rb").read()
    os.kill(os.getpid(), 9)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".build" / "collections")}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=60).returncode == -9
    assert sorted(tmp_path.iterdir()) == before
