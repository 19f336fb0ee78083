# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What a check of a template takes and gives: Wanted, Problem."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils import _defaults
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import first_of

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._guest_template.system import System

SCRIPT_FOLDER = "usr/local/sbin"
LIBRARY = "config-drive-lib.sh"
OURS, CLOUD_INIT, BOTH = "ours", "cloud_init", "both"
READERS = (OURS, CLOUD_INIT, BOTH)
# The buses of CD/DVD drives, and the kernel module that each needs.
BUSES: Mapping[str, str] = {"ide": "ata-piix", "sata": "ahci", "scsi": "virtio-scsi", "xen": "xen-blkfront"}


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What the template is to be. hypervisor None: no guest agent is asked for. scripts: SHA-256 by name, of the guest scripts.

    bus: what the config drive's CD/DVD drive hangs on; None: any that the kernel knows will do. cleaned: whether what two clones
    must not share is looked for. drivers: that every kernel must have, as Linux calls them. agent_interval: the most seconds between
    two times at which the guest agent tells its addresses; 0: as it comes.
    """

    hypervisor: t.Optional[str] = None
    reader: str = OURS
    label: str = "config"
    bus: t.Optional[str] = None
    scripts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cleaned: bool = True
    drivers: t.Sequence[str] = ()
    agent_interval: int = _defaults.AGENT_INTERVAL

    @property
    def with_scripts(self) -> bool:
        """Whether our guest scripts read the drive."""
        return self.reader in (OURS, BOTH)

    @property
    def with_cloud_init(self) -> bool:
        """Whether cloud-init reads it."""
        return self.reader in (CLOUD_INIT, BOTH)


@dataclasses.dataclass(frozen=True)
class Problem:
    """A problem of a template. message: what would go wrong in a clone, and why; remedy: what to do; paths: of the causes."""

    check: str
    message: str
    remedy: str
    paths: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """All of it in one line."""
        return f"{self.message} ({self.remedy})"


Check = t.Callable[["System", Wanted], "Iterator[Problem]"]


def of_paths(check: str, paths: Sequence[str], message: str, remedy: str) -> Iterator[Problem]:
    """The problem of these paths, which stand behind the message; none where there are none."""
    if paths:
        named = first_of([f"/{path}" for path in sorted(paths)], 10)
        yield Problem(check, f"{message}: {named}", remedy, tuple(paths))
