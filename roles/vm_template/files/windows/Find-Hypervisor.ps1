# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Which hypervisor this machine says it runs on: kvm, vmware, xenserver, or nothing.
[CmdletBinding()]
param()
Set-StrictMode -Version 2.0
$system = Get-CimInstance -ClassName Win32_ComputerSystem
$name = "$($system.Manufacturer) $($system.Model)"
$found = ''
if ($name -match 'VMware') {
    $found = 'vmware'
} elseif ($name -match 'Xen|HVM domU') {
    $found = 'xenserver'
} elseif ($name -match 'QEMU|KVM|Bochs') {
    $found = 'kvm'
}
@{ hypervisor = $found; name = $name }
