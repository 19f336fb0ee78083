# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: vm_password
short_description: Make a random password that every config drive reader can set
version_added: 0.1.0
description:
  - Every call makes a new password from letters, digits and C(-_.+=), beginning with a letter and without the look-alikes
    V(l), V(L), V(I), V(i), V(1), V(o), V(O) and V(0).
  - It has characters of every kind, as Windows requires, and none that a guest script would change.
  - Keep it with O(file), with M(ansible.builtin.set_fact) or in a vault, because the next run of the playbook makes another one.
author:
  - vmops maintainers (@vmops)
options:
  length:
    description: Number of characters, from 12 to 127.
    type: int
    default: 16
  file:
    description:
      - A file on the controller that keeps the password. If it exists, its password is used; otherwise it is made with mode 0600. Delete
        the file to get a new password.
      - The file is refused if another account owns it or can read it, or if it is a link. A missing folder is made with mode 0700.
    type: str
seealso:
  - module: vmops.external_dhcp.vm_config_drive
  - module: vmops.external_dhcp.config_drive_iso
"""

EXAMPLES = r"""
- name: Make a password for each VM, once in this play
  ansible.builtin.set_fact:
    passwords: "{{ passwords | default({}) | combine({item: lookup('vmops.external_dhcp.vm_password', length=20)}) }}"
  loop: [web1, web2]
  no_log: true

- name: One password for each VM, kept in a file that only you can read
  ansible.builtin.set_fact:
    passwords: "{{ passwords | default({}) | combine({item: lookup('vmops.external_dhcp.vm_password', file='secrets/' ~ item)}) }}"
  loop: [web1, web2]
  no_log: true
"""

RETURN = r"""
_raw:
  description: One password.
  type: list
  elements: str
"""

import os
import stat
import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.vmops.external_dhcp.plugins.module_utils._config_drive.passwords import generate_password


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        if terms:
            raise AnsibleLookupError("vm_password takes no terms, only the options length and file")
        self.set_options(var_options=variables, direct=kwargs)
        try:
            password = generate_password(self.get_option("length"))
            path = self.get_option("file")
            return [password if path is None else _kept(os.path.expanduser(path), password)]
        except OSError as exc:
            raise AnsibleLookupError(f"vm_password: file is {self.get_option('file')}: {exc.strerror}") from exc
        except ValueError as exc:
            raise AnsibleLookupError(f"vm_password: {exc}") from exc


def _kept(path: str, password: str) -> str:
    """The password in the file; if there is no file, the given one, which is written to it."""
    os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return _read(path)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(password + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return password


def _read(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise ValueError(f"file is {path}: it must be a file of yours that nobody else can read (chmod 600)")
        text = stream.read(1024).decode("utf-8", "replace").rstrip("\r\n")
    if not text or "\n" in text:
        raise ValueError(f"file is {path}: it does not hold one password in one line; delete it for a new one")
    return text
