# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The one place that imports dnspython."""

from __future__ import annotations

import traceback
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary

try:
    import dns.exception
    import dns.flags
    import dns.message
    import dns.name
    import dns.query
    import dns.rcode
    import dns.rdatatype
    import dns.tsig
    import dns.tsigkeyring
    import dns.update
    import dns.xfr
    import dns.zone
except ImportError:
    HAS_DNSPYTHON = False
    IMPORT_ERROR: str | None = traceback.format_exc()
else:
    HAS_DNSPYTHON = True
    IMPORT_ERROR = None


def dnspython() -> t.Any:
    """The package dns, with its parts that are used here. Raises MissingLibrary."""
    if not HAS_DNSPYTHON:
        raise MissingLibrary("dnspython", IMPORT_ERROR, reason="to talk to DNS servers")
    return dns
