# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Has VMware Tools tell the guest's addresses at least every so many seconds, by their own command; with -WhatIf it only looks.
[CmdletBinding(SupportsShouldProcess = $true)]
param([Parameter(Mandatory = $true)] [ValidateRange(1, 3600)] [int] $Seconds)

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$toolbox = Join-Path -Path $env:ProgramFiles -ChildPath 'VMware\VMware Tools\VMwareToolboxCmd.exe'
$told = "$(& $toolbox config get guestinfo poll-interval)"
$now = 30
if ($told -match '=\s*(\d+)\s*$') {
    $now = [double] $Matches[1]
}
# 0 is never.
$late = ($now -eq 0) -or ($now -gt $Seconds)
if ($late -and $PSCmdlet.ShouldProcess('VMware Tools', "poll-interval $Seconds")) {
    $null = & $toolbox config set guestinfo poll-interval $Seconds
    if ($LASTEXITCODE -ne 0) {
        throw "VMwareToolboxCmd.exe could not set poll-interval: exit code $LASTEXITCODE"
    }
}
@{ changed = $late; seconds = $now }
