# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this doc fragment is **PRIVATE** to the collection. It can have breaking changes at any time.

from __future__ import annotations


class ModuleDocFragment:
    # The options are in plugins/module_utils/_argspec.py, drives().
    DOCUMENTATION = r"""
options:
  drives:
    description:
      - The config drives, one entry for each VM.
      - Passwords, keys and user data in it never appear in results, diffs or logs.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The VM's name.
        type: str
        required: true
      metadata:
        description:
          - What the drive tells the VM about itself, a text for each key.
          - Usual keys are V(availability_zone), V(cloud_identifier), V(instance_id), V(local_hostname), V(service_offering)
            and V(vm_id); any other key is carried, too.
          - Keys that the module writes itself or that readers take for something else are refused (V(hostname), V(uuid), V(name),
            V(public_keys), V(keys), V(admin_pass), V(files), V(network_config), V(random_seed), V(launch_index), V(devices),
            V(meta)), and so are two keys that differ by case or by hyphens and underscores alone.
          - If not given, V(vm_id) is the VM's id on its hypervisor, where the module knows it; V(instance_id) is V(vm_id), else the name;
            V(local_hostname) is made from the name.
        type: dict
      user_data:
        description:
          - User data as text, or as a mapping, which is written as lines C(key=value) in the order of the keys.
          - Ansible cannot carry bytes that are not text; for those use O(drives[].user_data_base64).
          - Before version 2.19 ansible-core turns JSON text that comes out of a template into a mapping. There a mapping is refused
            unless it was written as one, in the task or in a variable that is named alone. JSON, such as a configuration for
            Ignition, arrives unchanged in O(drives[].user_data_base64).
        type: raw
      user_data_base64:
        description:
          - User data of any kind, base64 encoded; the drive has them decoded.
          - For text use the filter P(ansible.builtin.b64encode#filter).
        type: str
      password:
        description:
          - The password for the guest's administrator (C(root), C(Administrator)).
          - A password that the guest's reader could not set is refused, with the reason. One that is easily guessed, or that is a number
            in YAML, gives a warning.
          - Without O(drives[].reader) the password is put where guest scripts look for it. For guests with cloud-init or cloudbase-init
            set their reader.
          - The lookup P(vmops.external_dhcp.vm_password#lookup) makes passwords that every reader can set.
        type: raw
      password_hash:
        description:
          - Instead of O(drives[].password), its hash in the form of crypt(3), so that the drive does not hold the password.
          - Only for V(cloud_init) as O(drives[].reader).
        type: str
      password_public_key:
        description:
          - Instead of O(drives[].password), a public key. A password is made, put on the drive, and returned once, encrypted to this key;
            it is in no other result, message or log.
          - With C(state=present) a password is made for a drive that has none, unless one was taken off after its guest had set it; with
            C(state=updated) each time. In check mode none is made.
          - An RSA key of at least 2048 bits, as PEM or as C(ssh-rsa), needs the Python library C(cryptography); a C(ssh-ed25519) key
            or a recipient of age, C(age1...), needs C(pyrage).
        type: str
      confirm_password:
        description:
          - Whether a guest with V(cloud_init) as O(drives[].reader) leaves a confirmation that it has set O(drives[].password), so that
            C(state=retired) of M(vmops.external_dhcp.vm_config_drive) can take it off the drive. For this the vendor data have a script,
            which cloud-init runs as C(root) once per instance id.
          - With C(state=updated) a drive that has the script keeps it, and no other one gets it.
        type: bool
        default: false
      ssh_keys:
        description:
          - Public SSH keys, a list or text with one key a line.
          - An empty list removes keys; with V(ours) as O(drives[].reader) the guest removes those that the scripts have set.
        type: raw
      vendor_data:
        description: What C(vendor_data.json) of the layout V(openstack) holds, as text (such as C(#cloud-config)) or as a mapping.
        type: raw
      reader:
        description:
          - What reads the drive in the guest. If set, data that this reader cannot handle are refused, and data that it would handle
            wrongly give a warning.
          - V(ours) are the guest scripts of this collection, V(cloudstack) and V(cloudstack_combined) those of Apache
            CloudStack (the latter is the single script of 2021 and later).
          - For V(cloud_init) the password is also written into the vendor data, where cloud-init looks for it.
          - For V(cloudbase_init) the password is also C(admin_pass) in C(meta_data.json). No other guest gets it there, because
            cloud-init copies C(meta_data.json) to where every account can read it.
        type: str
        choices: [ours, cloudstack, cloudstack_combined, cloud_init, cloudbase_init]
      services:
        description:
          - The services of the VM's network. With an empty list the drive may carry metadata only; anything more is an error.
          - If not set, it may carry everything.
        type: list
        elements: str
        choices: [userdata]
      network:
        description: Name of the VM's network, for error messages about O(drives[].services).
        type: str
  label:
    description:
      - The volume label by which the guest finds the drive, at most 16 characters.
      - cloud-init, cloudbase-init and the guest scripts of CloudStack since 2018 look for V(config-2).
    type: str
    default: config
  layouts:
    description:
      - Which layouts are on the drive.
      - V(cloudstack) is for guest scripts, V(openstack) for cloud-init and cloudbase-init.
    type: list
    elements: str
    choices: [cloudstack, openstack]
    default: [cloudstack, openstack]
"""
