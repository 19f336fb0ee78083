# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the parts of the libvirt of these tests share: its flags and states, and its error."""

from __future__ import annotations

LIVE, CONFIG, FORCE, INACTIVE, SECURE = 1, 2, 4, 2, 1
ACTIVE, SAVED = 1, 256
AGENT, ARP = 1, 2
RUNNING, PAUSED, SHUTOFF, PMSUSPENDED = 1, 3, 5, 7
FOLDER = "/var/lib/libvirt/images"

CODES = {
    "VIR_ERR_INTERNAL_ERROR": 1,
    "VIR_ERR_INVALID_ARG": 8,
    "VIR_ERR_OPERATION_FAILED": 9,
    "VIR_ERR_OPERATION_DENIED": 29,
    "VIR_ERR_SYSTEM_ERROR": 38,
    "VIR_ERR_NO_DOMAIN": 42,
    "VIR_ERR_NO_STORAGE_POOL": 49,
    "VIR_ERR_NO_STORAGE_VOL": 50,
    "VIR_ERR_OPERATION_INVALID": 55,
    "VIR_ERR_OPERATION_TIMEOUT": 68,
    "VIR_ERR_ARGUMENT_UNSUPPORTED": 74,
    "VIR_ERR_MIGRATE_UNSAFE": 81,
    "VIR_ERR_AGENT_UNRESPONSIVE": 86,
    "VIR_ERR_ACCESS_DENIED": 88,
    "VIR_ERR_STORAGE_VOL_EXIST": 90,
}


class LibvirtError(Exception):
    """As libvirt.libvirtError: code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self._code = CODES[code]

    def get_error_code(self) -> int:
        return self._code

    def get_error_message(self) -> str:
        return str(self)
