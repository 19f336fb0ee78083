# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    # The options are in plugins/module_utils/_argspec.py, hypervisor().
    DOCUMENTATION = r"""
requirements:
  - The Python library of the hypervisor on the controller (libvirt-python, XenAPI or pyvmomi).
options:
  hypervisor:
    description:
      - How to reach the hypervisor, the same for every module of this collection.
      - Keep it as a variable of the inventory host that stands for the hypervisor, or set it once with
        C(module_defaults) for the action group C(group/vmops.external_dhcp.all).
    type: dict
    required: true
    suboptions:
      type:
        description: The kind of hypervisor.
        type: str
        required: true
        choices: [kvm, xenserver, vmware]
      uri:
        description:
          - For V(kvm), the libvirt URI, such as V(qemu:///system) or V(qemu+ssh://root@kvm01.example.com/system).
          - If not set, the environment variable E(LIBVIRT_DEFAULT_URI) is used.
        type: str
      image_dir:
        description: For V(kvm), the folder on the KVM host that holds the config drives, as C(<vm>.iso).
        type: path
        default: /var/lib/libvirt/images
      cd_bus:
        description:
          - For V(kvm), the bus of the CD/DVD drive that holds the config drive. V(scsi) is virtio-scsi; a missing controller is added.
          - If not set, it is on virtio-scsi if the VM has such a controller, else on the bus of the VM's other CD/DVD drives. On machine
            type C(q35) that is V(sata), where kernels made for clouds, such as Debian's C(cloud) one, see no drive.
        type: str
        choices: [ide, sata, scsi]
      host:
        description:
          - For V(xenserver) and V(vmware), name or address of the pool master, vCenter or ESXi host.
          - If not set, the environment variable E(EXTERNAL_DHCP_HOST) is used, then, for V(xenserver), E(XENSERVER_HOST),
            or, for V(vmware), E(VMWARE_HOST).
        type: str
      port:
        description:
          - For V(xenserver) and V(vmware), the TCP port.
          - If not set, for V(vmware), the environment variable E(VMWARE_PORT) is used; else it is 443.
        type: int
      username:
        description:
          - For V(xenserver) and V(vmware), the account.
          - If not set, the environment variable E(EXTERNAL_DHCP_USERNAME) is used, then, for V(xenserver), E(XENSERVER_USER),
            or, for V(vmware), E(VMWARE_USER).
        type: str
      password:
        description:
          - For V(xenserver) and V(vmware), the account's password.
          - If not set, the environment variable E(EXTERNAL_DHCP_PASSWORD) is used, then, for V(xenserver), E(XENSERVER_PASSWORD),
            or, for V(vmware), E(VMWARE_PASSWORD).
        type: str
      validate_certs:
        description:
          - For V(xenserver) and V(vmware), whether the server's certificate must be valid.
          - If not set, the environment variables E(EXTERNAL_DHCP_VALIDATE_CERTS) and then E(VMWARE_VALIDATE_CERTS) are
            used. They count for both kinds of hypervisor.
        type: bool
        default: true
      ca_path:
        description: For V(xenserver) and V(vmware), a PEM file with the certificates to trust instead of the system's.
        type: path
      connect_timeout:
        description: Longest time to connect, and for a single call, in seconds.
        type: float
        default: 30
      check_hostname:
        description:
          - For V(xenserver), whether the host's name or address must be in its certificate.
          - Set to V(false) where a pool's certificates, which are otherwise trusted, do not carry the hosts' addresses.
        type: bool
        default: true
      fingerprints:
        description:
          - For V(xenserver), SHA-256 fingerprints of the certificates of hosts, by the host's address or name, each a text or a list.
          - A host in this mapping is trusted only with these certificates, whatever names are in them and whoever signed them. For other
            hosts O(hypervisor.ca_path) and the names decide.
          - C(openssl x509 -in /etc/xensource/xapi-ssl.pem -noout -fingerprint -sha256) prints the fingerprint on the host. The message about
            a certificate that is not trusted has it as well; compare the two.
        type: dict
      iso_sr_name:
        description:
          - For V(xenserver), the name of the ISO storage repository of the config drives.
          - Each host has one of this name; a missing one is made. A shared one of this name is used as it is.
        type: str
        default: ConfigDriveISOs
      iso_dir:
        description:
          - For V(xenserver), the folder on each host that holds the config drives, as C(<vm>.iso).
          - It must exist. For a VM name that an ISO repository refuses (with blanks or underscores) the file is C(vm-<uuid>.iso).
        type: path
        default: /opt/xensource/packages/iso/configdrive_iso
      proxy_host:
        description:
          - For V(vmware), name or address of an HTTP proxy to the server.
          - If not set, the environment variable E(VMWARE_PROXY_HOST) is used.
        type: str
      proxy_port:
        description:
          - For V(vmware), the TCP port of the proxy.
          - If not set, the environment variable E(VMWARE_PROXY_PORT) is used; else it is 8080.
        type: int
      datacenter:
        description:
          - For V(vmware), only VMs of this datacenter are handled. If not set, all that the account may see.
          - Needed if two datacenters have VMs of the same name.
        type: str
      folder:
        description:
          - For V(vmware), only VMs in this folder and the folders below it are handled.
          - Give the whole path, such as V(/DC0/vm/web), or with O(hypervisor.datacenter) the path below its C(vm) folder.
        type: str
"""
