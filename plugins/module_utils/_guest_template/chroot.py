# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Does a job in an image whose system this machine can mount, in a chroot.

A process in a mount and process namespace of its own does it. However that process ends, the kernel unmounts what it mounted, and
frees the loop devices.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.files import FolderFiles
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.steps import (
    INSTALL,
    LINK,
    PUT,
    Impossible,
    Job,
    Step,
    job_of,
    plan,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.system import System

if t.TYPE_CHECKING:
    from collections.abc import Sequence

_BOOT = f"import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {__name__} import child; child()"
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_FURTHER = ("/usr", "/var", "/boot", "/boot/efi")
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C",
    "DEBIAN_FRONTEND": "noninteractive",
    "SYSTEMD_OFFLINE": "1",
}
_MANAGERS: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    ("apt-get", (("apt-get", "-q", "update"), ("apt-get", "-qy", "--no-install-recommends", "install"))),
    ("dnf", (("dnf", "-qy", "install"),)),
    ("yum", (("yum", "-qy", "install"),)),
    ("zypper", (("zypper", "-nq", "install"),)),
    ("apk", (("apk", "add", "-q"),)),
)


class Failed(Exception):
    """The job could not be done; the message says what failed and why. The image is as it was."""


# --- in the module's process ---


def run(disk: str, job: Job, init: str | None, timeout: float) -> list[str]:
    """Does the job in a raw disk; returns a sentence for each step. timeout: seconds. Raises Failed."""
    if os.geteuid() != 0:
        raise Failed("mounting the image needs root: use become, or install virt-customize (libguestfs)")
    for program in ("unshare", "mount", "umount", "sfdisk", "blkid"):
        if shutil.which(program) is None:
            raise Failed(f"{program} is not installed")
    own = __file__.rpartition(os.sep + __name__.partition(".")[0] + os.sep)[0]
    path = [os.path.abspath(entry) for entry in (own, *sys.path) if entry]
    order = {"disk": disk, "job": dataclasses.asdict(job), "init": init, "timeout": timeout}
    words = [
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child=KILL",
        sys.executable,
        "-I",
        "-B",
        "-c",
        _BOOT,
        json.dumps(path),
    ]
    with tempfile.TemporaryDirectory(prefix="vm-template.") as folder, tempfile.TemporaryFile() as answer:
        process = subprocess.Popen(  # pylint: disable=ansible-bad-function  # its group is ended with it
            words, stdin=subprocess.PIPE, stdout=answer, stderr=subprocess.DEVNULL, cwd=folder, start_new_session=True
        )
        try:
            # stdin stays open. If this process is killed, stdin closes, and the child ends itself.
            with contextlib.suppress(BrokenPipeError):
                t.cast("t.IO[bytes]", process.stdin).write(json.dumps(order).encode() + b"\n")
                t.cast("t.IO[bytes]", process.stdin).flush()
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"it took longer than timeout ({timeout:g} s) and was ended") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            with contextlib.suppress(BrokenPipeError):
                t.cast("t.IO[bytes]", process.stdin).close()
        answer.seek(0)
        text = answer.read()
    try:
        told = json.loads(text)
    except ValueError:
        raise Failed("the process that works in the image ended before its time") from None
    if "failed" in told:
        raise Failed(str(told["failed"])[:1000])
    return [str(line) for line in told["done"]]


# --- in the namespace ---


def child() -> None:
    """The process that run() starts: an order in a line on stdin, the answer on stdout. It ends when stdin closes."""
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        done = _in_namespace(order)
        _answer(done=done)
    except (Failed, Impossible) as error:
        _answer(failed=str(error))
    except OSError as error:
        _answer(failed=f"{error.filename or 'the image'}: {error.strerror}")
    except Exception as error:  # pylint: disable=broad-except  # whatever it is, the image stays as it was
        _answer(failed=f"{type(error).__name__}: {error}")


def _answer(**told: t.Any) -> None:
    sys.stdout.write(json.dumps(told) + "\n")


def _end_with_stdin() -> None:
    os.read(0, 1)
    os._exit(1)  # of the namespace's first process: the kernel then ends all others, and unmounts


def _in_namespace(order: dict[str, t.Any]) -> list[str]:
    job = job_of(order["job"])
    # Python loads these when they are first needed, and could not do that in the chroot.
    for encoding in ("utf-8", "ascii", "latin-1"):
        codecs.lookup(encoding)
    root = os.path.join(os.getcwd(), "root")
    os.mkdir(root)
    _mount_system(order["disk"], root)
    outside = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    with _furnished(root):
        os.chroot(root)
        os.chdir("/")
        try:
            return _work(job, order["init"], order["timeout"])
        finally:
            os.fchdir(outside)
            os.chroot(".")
            _call("umount", "-R", root)
            os.rmdir(root)


def _work(job: Job, init: str | None, timeout: float) -> list[str]:
    done = []
    for attempt in range(3):
        steps = plan(System(FolderFiles("/"), init), job)
        installs = [step for step in steps if step.do == INSTALL]
        if installs and attempt:
            raise Failed(f"{', '.join(installs[0].words)}: installed, and still not there")
        # Packages come first: what they bring decides what is left to do.
        for step in installs or steps:
            _do(step, timeout)
            done.append(step.sentence)
        if not installs:
            return done
    return done


def _do(step: Step, timeout: float) -> None:
    path = "/" + step.path
    if step.do == INSTALL:
        _install(step.words, timeout)
    elif step.do in (PUT, LINK):
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        new = f"{path}.vm-template"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        if step.do == LINK:
            os.symlink(step.content, new)
        else:
            with open(new, "xb") as stream:
                stream.write(step.content.encode())
                os.fchmod(stream.fileno(), step.mode)
        os.replace(new, path)
    elif os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def _install(packages: Sequence[str], timeout: float) -> None:
    found = next((calls for name, calls in _MANAGERS if shutil.which(name, path=_ENVIRONMENT["PATH"])), None)
    if found is None:
        raise Failed(
            "the image has none of apt-get, dnf, yum, zypper and apk: install the packages first, or set install to false"
        )
    policy = "/usr/sbin/policy-rc.d"
    made = not os.path.lexists(policy)
    if made:  # so that Debian's packages start no services
        os.makedirs(os.path.dirname(policy), exist_ok=True)
        with open(policy, "xb") as stream:
            stream.write(b"#!/bin/sh\nexit 101\n")
            os.fchmod(stream.fileno(), 0o755)
    try:
        for number, call in enumerate(found):
            last = number == len(found) - 1
            _call(*call, *(packages if last else ()), timeout=timeout)
    finally:
        if made:
            os.unlink(policy)


def _call(*words: str, timeout: float = 60) -> str:
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # there is no module in the namespace
            words,
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{words[0]} took longer than {timeout:g} s") from None
    except OSError as error:
        raise Failed(f"{words[0]}: {error.strerror}; an image of another processor's kind needs virt-customize") from None
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0:
        last = [line.strip() for line in text.splitlines() if line.strip()][-3:]
        raise Failed(f"{' '.join(words)} ended with {done.returncode}: {'; '.join(last)}")
    return text


# --- mounting ---


def _mount_system(disk: str, root: str) -> None:
    parts = _parts(disk)
    for start, size in parts:
        with contextlib.suppress(Failed):
            _mount_part(disk, start, size, root)
            if os.path.isdir(f"{root}/etc") and (os.path.isdir(f"{root}/usr") or os.path.isdir(f"{root}/bin")):
                _mount_further(disk, parts, root)
                return
            _call("umount", root)
    raise Failed(
        "no partition of the image has a system that this machine can mount (no LVM, no encryption, a file system that this "
        "kernel knows): use virt-customize"
    )


def _parts(disk: str) -> list[tuple[int, int]]:
    """Offset and size of each partition in bytes; the whole disk if there are none."""
    try:
        table = json.loads(_call("sfdisk", "-J", disk))["partitiontable"]
    except (Failed, ValueError, KeyError):
        return [(0, os.stat(disk).st_size)]
    sector = int(table.get("sectorsize", 512))
    return [(part["start"] * sector, part["size"] * sector) for part in table.get("partitions", [])]


def _mount_part(disk: str, start: int, size: int, where: str) -> None:
    _call("mount", "-o", f"loop,offset={start},sizelimit={size},nosuid,nodev", disk, where)


def _mount_further(disk: str, parts: Sequence[tuple[int, int]], root: str) -> None:
    """Mounts the parts of the system that /etc/fstab has on other partitions of the disk."""
    text = FolderFiles(root).text("etc/fstab")
    wanted = {
        match[1]: match[0] for match in re.findall(r"^\s*(?:UUID|LABEL|PARTUUID)=\"?([^\s\"]+)\"?\s+(/\S+)", text, re.MULTILINE)
    }
    for folder in _FURTHER:
        real = FolderFiles(root).resolve(folder)
        if folder not in wanted or real is None:
            continue
        for start, size in parts:
            probe = ("blkid", "-p", "-c", "/dev/null", "-o", "export", "-O", str(start), "-S", str(size), disk)
            with contextlib.suppress(Failed):
                if wanted[folder] in re.findall(r"^(?:UUID|LABEL|PART_ENTRY_UUID)=(.*)$", _call(*probe), re.MULTILINE):
                    _mount_part(disk, start, size, f"{root}/{real}")
                    break


@contextlib.contextmanager
def _furnished(root: str) -> t.Iterator[None]:
    """Mounts what programs in the chroot expect: /proc, a few devices, an empty /run and /tmp, this machine's resolv.conf."""
    files = FolderFiles(root)
    for name in ("proc", "dev", "run", "tmp"):
        real = files.resolve(name)
        if real is None or not stat.S_ISDIR(os.lstat(f"{root}/{real}").st_mode):
            raise Failed(f"the image has no folder /{name}")
        kind = "proc" if name == "proc" else "tmpfs"
        _call("mount", "-t", kind, "-o", "nosuid,mode=1777" if name == "tmp" else "nosuid", kind, f"{root}/{real}")
    for name in _DEVICES:
        with open(f"{root}/dev/{name}", "xb"):
            pass
        _call("mount", "--bind", f"/dev/{name}", f"{root}/dev/{name}")
    os.symlink("/proc/self/fd", f"{root}/dev/fd")
    if os.path.isfile("/etc/resolv.conf"):
        link = files.link("etc/resolv.conf")
        if link is not None and "run/" in link:
            place = os.path.normpath(os.path.join("/etc", link)).lstrip("/")
            if place.startswith("run/"):
                os.makedirs(f"{root}/{os.path.dirname(place)}", exist_ok=True)
                shutil.copyfile("/etc/resolv.conf", f"{root}/{place}")
        elif link is None and files.is_file("etc/resolv.conf"):
            _call("mount", "--bind", "/etc/resolv.conf", f"{root}/etc/resolv.conf")
    yield
