# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""The defaults and choices of the settings, the defaults with the names that CloudStack's specification gave them.

Documentation of modules and defaults of roles must repeat them, as Ansible reads those as they stand; ansible-test and
tests/unit/test_defaults.py compare them with these.
"""

from __future__ import annotations

# What users choose from.
HYPERVISOR_TYPES = ("kvm", "vmware", "xenserver")
INIT_SYSTEMS = ("systemd", "sysv", "openrc")

LABEL = "config"  # vm.configdrive.label
INTERVAL = 180  # seconds between two looks at a NIC; externaldhcp.vmip.retrieval.interval
MAX_RETRY = 10  # looks without an address until a NIC is given up; externaldhcp.vmip.max.retry
WORKERS = 10  # guests asked at once; externaldhcp.vmipFetch.threadPool.max
RELOOK = 3600  # seconds between two looks at a NIC that was given up
LOOK_LIMIT = 1000  # NICs in the result of a look
SUSPECT_READINGS = 3  # looks that must miss a known address until it is lost
GUEST_TIMEOUT = 10  # seconds for one guest and source
AGENT_INTERVAL = 5  # seconds between two times at which a template's guest agent tells its addresses
CONNECT_TIMEOUT = 30  # seconds for a connection to a hypervisor
DNS_TTL = 300  # seconds for which resolvers may keep a VM's address
# Names by which clients find a proxy, a mail server or themselves: no VM of such a name gets a DNS name.
DNS_RESERVED = ("autoconfig", "autodiscover", "isatap", "localhost", "wpad")

# Where the guest scripts note which drive they have read: a file of the guest, and keys of its hypervisor's tools.
DRIVE_SEEN = "/var/lib/config-drive/drive-seen"
DRIVE_SEEN_VMWARE = "guestinfo.config-drive"
DRIVE_SEEN_XENSTORE = "vm-data/config-drive"

IMAGE_DIR = "/var/lib/libvirt/images"  # KVM: where drives lie
ISO_SR_NAME = "ConfigDriveISOs"  # XenServer: the SRs of the drives, one for each host
ISO_DIR = "/opt/xensource/packages/iso/configdrive_iso"  # XenServer: their folder
