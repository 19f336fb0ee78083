# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    # The option is in plugins/module_utils/_argspec.py, record().
    DOCUMENTATION = r"""
options:
  record:
    description:
      - The database that holds the NICs, their addresses, the queue and the events, as a URL.
      - V(sqlite:////var/lib/awx/record.db) names a file (four slashes before an absolute path), which is created with mode
        0600. A relative path, and a file on a network file system, are refused.
      - V(postgresql://user:password@host:5432/database) and V(mariadb://user:password@host:3306/database) (or V(mysql://))
        name a database on a server. The database must exist; the tables are created when first used. Use one of these
        if several controllers, or AWX, work on the same VMs.
      - If not set, the environment variable E(EXTERNAL_DHCP_RECORD) is used, else the file
        C(vmops-external-dhcp/record.db) in the user's state folder (E(XDG_STATE_HOME) or C(~/.local/state)).
      - The password in the URL is never shown.
    type: str
requirements:
  - SQLAlchemy 2.0 or newer on the controller, with psycopg 3 for PostgreSQL or PyMySQL for MariaDB and MySQL.
"""

    # For plugins, which take environment variables and no argument spec.
    PLUGIN = r"""
options:
  record:
    env:
      - name: EXTERNAL_DHCP_RECORD
"""
