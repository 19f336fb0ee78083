# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

#Requires -Version 5.1
<#
.SYNOPSIS
Sets the password from the config drive, once per new value, and the SSH keys, and saves the user data. Run at every start as SYSTEM.

.DESCRIPTION
All decisions are in ConfigDrive.cs. The password is a SecureString as soon as it leaves there; it is never an argument
of a program and never logged. Exit code: 0 done or nothing to do, 1 error (in the event log, source ConfigDrive).
#>
[CmdletBinding()]
param()

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$stateFolder = Join-Path -Path $PSScriptRoot -ChildPath 'state'
$exitCode = 0

function Write-Log {
    param([string] $Message, [string] $EntryType)
    # The source is made when the script is installed; without it there is no log, which is no reason to stop.
    Write-EventLog -LogName Application -Source ConfigDrive -EventId 1 -EntryType $EntryType -Message $Message -ErrorAction SilentlyContinue
}

function Invoke-Part {
    param([scriptblock] $Part)
    try {
        & $Part
    }
    catch {
        Write-Log -Message "config drive: $($_.Exception.Message)" -EntryType Error
        $script:exitCode = 1
    }
}

function Protect-StateFolder {
    # SYSTEM and Administrators only, by their ids: the names differ between languages.
    if (-not (Test-Path -LiteralPath $stateFolder)) {
        $null = New-Item -ItemType Directory -Path $stateFolder
    }
    $null = & icacls.exe $stateFolder /inheritance:r /grant:r '*S-1-5-18:(OI)(CI)F' '*S-1-5-32-544:(OI)(CI)F'
    if ($LASTEXITCODE -ne 0) {
        throw 'the state folder cannot be protected: the password is not touched'
    }
}

function Set-Secret {
    param([string] $User, [Security.SecureString] $Secret)
    if (Get-Command -Name Set-LocalUser -ErrorAction SilentlyContinue) {
        Set-LocalUser -Name $User -Password $Secret
    }
    else {
        # Windows before 10 and 2016 has no Set-LocalUser.
        $account = [ADSI] "WinNT://$env:COMPUTERNAME/$User,user"
        $account.SetPassword((New-Object -TypeName Net.NetworkCredential -ArgumentList '', $Secret).Password)
    }
}

function Set-Key {
    # Keys of the drive into a file that the accounts with these security ids may read and write.
    param([string] $Path, [string[]] $Sid)
    $keys = [Vmops.ConfigDrive.KeysDecision]::Make($drive.Metadata('public-keys'), [Vmops.ConfigDrive.KeyFile]::Read($Path))
    if ($keys.LeftOut -gt 0) {
        Write-Log -Message "$($keys.LeftOut) lines in the config drive's key file are not plain SSH keys: left out" -EntryType Warning
    }
    if ($null -ne $keys.Content) {
        [Vmops.ConfigDrive.KeyFile]::Write($Path, $keys.Content, [Vmops.ConfigDrive.KeyFile]::Security($Sid))
        Write-Log -Message "SSH keys in $Path are those of the config drive ($($keys.Taken))" -EntryType Information
    }
}

function Set-AdministratorKey {
    $folder = Join-Path -Path $env:ProgramData -ChildPath 'ssh'
    # Without it there is no SSH server, or one that was never started.
    if (Test-Path -LiteralPath $folder) {
        Set-Key -Path (Join-Path -Path $folder -ChildPath 'administrators_authorized_keys') -Sid 'S-1-5-18', 'S-1-5-32-544'
    }
}

function Set-UserKey {
    param([string] $User)
    $account = New-Object -TypeName Security.Principal.NTAccount -ArgumentList $User
    $id = $account.Translate([Security.Principal.SecurityIdentifier]).Value
    $list = 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList'
    $entry = Get-ItemProperty -LiteralPath (Join-Path -Path $list -ChildPath $id) -ErrorAction SilentlyContinue
    if ($null -eq $entry) {
        throw "$User has never logged on and so has no folder: SSH keys not set"
    }
    $folder = Join-Path -Path $entry.ProfileImagePath -ChildPath '.ssh'
    if (-not (Test-Path -LiteralPath $folder)) {
        $null = New-Item -ItemType Directory -Path $folder
    }
    Set-Key -Path (Join-Path -Path $folder -ChildPath 'authorized_keys') -Sid $id, 'S-1-5-18', 'S-1-5-32-544'
}

function Send-Confirmation {
    # Which drive was read and whether all on it could be set: into a file, and to the hypervisor if its tools are installed.
    param([bool] $Failed)
    $digest = $null
    if ($settings.SetPassword) {
        $digest = [Vmops.ConfigDrive.Confirmation]::DigestOf($drive.Root)
    }
    $line = [Vmops.ConfigDrive.Confirmation]::Line($Failed, $drive.Metadata('instance-id'), $digest)
    [Vmops.ConfigDrive.StateFolder]::Write((Join-Path -Path $stateFolder -ChildPath 'drive-seen'), $line)

    $rpcTool = Join-Path -Path $env:ProgramFiles -ChildPath 'VMware\VMware Tools\rpctool.exe'
    if (Test-Path -LiteralPath $rpcTool) {
        $null = & $rpcTool "info-set guestinfo.config-drive $line"
    }
    # The classes are named after who built the driver xeniface.
    foreach ($maker in 'Citrix', 'XenProject') {
        $base = Get-WmiObject -Namespace root\wmi -Class "${maker}XenStoreBase" -ErrorAction SilentlyContinue
        if ($null -ne $base) {
            $id = $base.AddSession('config-drive').SessionId
            $session = Get-WmiObject -Namespace root\wmi -Query "select * from ${maker}XenStoreSession where SessionId=$id"
            $null = $session.SetValue('vm-data/config-drive', $line)
            $null = $session.EndSession()
        }
    }
}

try {
    Add-Type -Path (Join-Path -Path $PSScriptRoot -ChildPath 'ConfigDrive.cs')
    $settings = [Vmops.ConfigDrive.Settings]::Parse([IO.File]::ReadAllText((Join-Path -Path $PSScriptRoot -ChildPath 'settings.ini')))

    $drive = [Vmops.ConfigDrive.Drive]::Find([Vmops.ConfigDrive.Volume]::Ready(), $settings.Label)
    for ($waited = 0; ($null -eq $drive) -and ($waited -lt $settings.WaitSeconds); $waited++) {
        Start-Sleep -Seconds 1
        $drive = [Vmops.ConfigDrive.Drive]::Find([Vmops.ConfigDrive.Volume]::Ready(), $settings.Label)
    }
    if ($null -eq $drive) {
        Write-Log -Message 'no config drive' -EntryType Information
        exit 0
    }

    Protect-StateFolder
    # One part that fails does not keep the other from being done.
    if ($settings.SetPassword) {
        Invoke-Part -Part {
            $stateFile = Join-Path -Path $stateFolder -ChildPath 'password'
            $state = [Vmops.ConfigDrive.StateFolder]::Read($stateFile)
            $decision = [Vmops.ConfigDrive.PasswordDecision]::Make($drive.Password(), $state, $settings.PasswordUser)
            if ($null -ne $decision.Password) {
                Set-Secret -User $settings.PasswordUser -Secret $decision.Password
                # Only now: what failed is tried again at the next start.
                [Vmops.ConfigDrive.StateFolder]::Write($stateFile, $decision.NewState)
                Write-Log -Message "password of $($settings.PasswordUser) set from the config drive" -EntryType Information
            }
        }
    }
    if ($settings.SetSshKeys) {
        Invoke-Part -Part { Set-AdministratorKey }
        foreach ($user in $settings.SshKeyUsers) {
            Invoke-Part -Part { Set-UserKey -User $user }
        }
    }
    Invoke-Part -Part { Send-Confirmation -Failed ($exitCode -ne 0) }
    if ($settings.SaveUserData) {
        Invoke-Part -Part {
            $userData = $drive.UserData()
            if ($null -ne $userData) {
                [Vmops.ConfigDrive.StateFolder]::Write((Join-Path -Path $stateFolder -ChildPath 'user-data'), $userData)
            }
        }
    }
    exit $exitCode
}
catch {
    Write-Log -Message "config drive: $($_.Exception.Message)" -EntryType Error
    exit 1
}
