# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What is noted in a domain about its config drive: that it was taken out on purpose, that the guest has not read it yet.

The definition and the running domain each have their own metadata. What is noted in the running one goes along with a live migration
and is gone at the next start, which is what "not read yet" wants.
"""

from __future__ import annotations

import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm import domain as kvm_domain
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.kvm.libvirt_import import libvirt

if t.TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def definitions(domain: t.Any) -> tuple[Element, Element]:
    """The domain as it runs and as it is defined; the same where there is only one of them."""
    live = kvm_domain.parse(domain.XMLDesc(0))
    persistent = domain.isPersistent() == 1
    return live, kvm_domain.parse(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)) if persistent else live


def set_put(domain: t.Any, unread: bool, ejected: bool) -> None:
    """Notes that a drive is put: unread where the VM runs, and no longer ejected. unread, ejected: what is noted so far."""
    if domain.isActive() == 1 and not unread:
        _set(domain, kvm_domain.UNREAD, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    if ejected and domain.isPersistent() == 1:
        _set(domain, None, libvirt.VIR_DOMAIN_AFFECT_CONFIG)


def set_ejected(domain: t.Any, sha256: str) -> None:
    """Notes that the drive of these bytes is taken out on purpose."""
    flag = libvirt.VIR_DOMAIN_AFFECT_CONFIG if domain.isPersistent() == 1 else libvirt.VIR_DOMAIN_AFFECT_LIVE
    _set(domain, kvm_domain.ejected_note(sha256), flag)


def _set(domain: t.Any, xml: str | None, flag: int) -> None:
    key = None if xml is None else kvm_domain.DRIVE_NOTE_PREFIX
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml, key, kvm_domain.DRIVE_NOTE, flag)
