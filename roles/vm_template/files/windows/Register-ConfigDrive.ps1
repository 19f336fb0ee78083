# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

#Requires -Version 5.1
<#
.SYNOPSIS
Registers the event source and the task that runs ConfigDrive.ps1 at every start as SYSTEM. Returns whether it changed anything.
#>
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)] [string] $Folder,
    [Parameter(Mandatory = $true)] [string] $TaskName
)

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$changed = $false

if (-not [Diagnostics.EventLog]::SourceExists('ConfigDrive')) {
    New-EventLog -LogName Application -Source ConfigDrive
    $changed = $true
}

$program = Join-Path -Path $env:SystemRoot -ChildPath 'System32\WindowsPowerShell\v1.0\powershell.exe'
$script = Join-Path -Path $Folder -ChildPath 'ConfigDrive.ps1'
$arguments = '-NoProfile -NonInteractive -ExecutionPolicy Bypass -File "{0}"' -f $script
$task = Get-ScheduledTask -TaskName $TaskName -ErrorAction SilentlyContinue
if (($null -eq $task) -or ($task.State -eq 'Disabled') -or ($task.Actions[0].Execute -ne $program) -or ($task.Actions[0].Arguments -ne $arguments)) {
    $action = New-ScheduledTaskAction -Execute $program -Argument $arguments
    $trigger = New-ScheduledTaskTrigger -AtStartup
    $principal = New-ScheduledTaskPrincipal -UserId 'S-1-5-18' -RunLevel Highest
    $null = Register-ScheduledTask -TaskName $TaskName -Action $action -Trigger $trigger -Principal $principal -Force
    $changed = $true
}

@{ changed = $changed }
