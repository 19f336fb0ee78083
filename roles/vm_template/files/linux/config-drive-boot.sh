#!/bin/sh
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The starters (systemd, SysV, OpenRC) run this at every boot: it sets host name, password and SSH keys, and handles user data.
#
#   config-drive-boot.sh all | login | user-data     login: host name, password and keys; user-data: save it, run it if asked
#
# If one part fails, the others are still done, and the starter fails. A missing drive is no error, except with REQUIRE_DRIVE=yes
# on a machine that has never seen one: nobody can log in then, and the failed starter says why.

here=${0%/*}
[ "$here" != "$0" ] || here=.
# shellcheck source=config-drive-lib.sh
. "$here/config-drive-lib.sh" || exit 1
load_settings

# Does what needs the drive, which is mounted (see below).
with_drive() {
    result=0
    if [ "$1" != user-data ]; then
        "$here/cloud-set-vm-hostname.sh" || result=1
        "$here/cloud-set-vm-password.sh" || result=1
        "$here/cloud-set-vm-sshkey.sh" || result=1
        leave_confirmation || result=1
    fi
    if [ "$1" != login ] && [ "$SAVE_USER_DATA" = yes ]; then
        "$here/config-drive-read.sh" save-user-data
        case $? in
        0 | "$EXIT_NO_ITEM") ;;
        *) result=1 ;;
        esac
    fi
    return "$result"
}

# Writes whether all could be set, and from which drive, into a file that can be read from outside, and sends it to the hypervisor if
# its tools are installed. The digest identifies the drive whose password this guest has now.
leave_confirmation() {
    instance=$("$here/config-drive-read.sh" get metadata/instance-id 2>/dev/null) || instance=
    case $instance in
    '' | *[!A-Za-z0-9._:-]*) instance=- ;;
    esac
    drive_is=-
    if [ "$SET_PASSWORD" = yes ]; then
        drive_is=$("$here/config-drive-read.sh" digest) || drive_is=-
    fi
    have vmware-rpctool && vmware-rpctool "info-set guestinfo.config-drive $result $instance $drive_is" >/dev/null 2>&1
    have xenstore-write && xenstore-write vm-data/config-drive "$result $instance $drive_is" >/dev/null 2>&1
    echo "$result $instance $drive_is" | write_state drive-seen
}

# Says which devices were tried, and whether the kernel may lack a driver.
what_there_is() {
    found=
    drives=
    for device in "$DEV_DIR"/sr* "$DEV_DIR"/hd* "$DEV_DIR"/vd* "$DEV_DIR"/xvd* "$DEV_DIR"/sd*; do
        is_block_device "$device" || continue
        found="$found ${device##*/}"
        case ${device##*/} in
        sr* | hd*) drives=yes ;;
        esac
    done
    if [ -n "$drives" ]; then
        echo "no drive with the label $CONFIG_DRIVE_LABEL, config or config-2 among$found"
    else
        echo "the kernel shows no CD/DVD drive (only:${found:- nothing}); it may lack the driver of its controller, as kernels for clouds lack ahci"
    fi
}

make_host_keys() {
    [ "$MAKE_HOST_KEYS" = yes ] && have ssh-keygen || return 0
    for host_key in "$SSH_DIR"/ssh_host_*_key; do
        [ ! -f "$host_key" ] || return 0
    done
    if ssh-keygen -A >/dev/null 2>&1; then
        log notice "SSH host keys made"
    else
        log err "ssh-keygen -A failed: no SSH host keys"
        return 1
    fi
}

part=${1:-all}
case $part in
all | login | user-data) ;;
--with-drive)
    with_drive "${2:?}"
    exit $?
    ;;
*)
    echo "usage: ${0##*/} [all | login | user-data]" >&2
    exit "$EXIT_USAGE"
    ;;
esac

result=0

# Drives appear while the machine starts: let udev finish, then look again for a while.
if have udevadm; then
    udevadm settle --timeout=10 >/dev/null 2>&1 || :
fi
# Sets "now" in seconds since power-on, because trying all devices takes long on a busy host, and the date may be set meanwhile.
# If the kernel does not tell the time, the pauses are counted.
waited=0
look_at_clock() {
    if [ -r "$PROC_DIR/uptime" ]; then
        IFS='. ' read -r now _ <"$PROC_DIR/uptime"
    else
        now=$waited
    fi
}
look_at_clock
end=$((now + WAIT_SECONDS))
while :; do
    "$here/config-drive-read.sh" with "$here/config-drive-boot.sh" --with-drive "$part"
    status=$?
    [ "$status" -eq "$EXIT_NO_DRIVE" ] || break
    look_at_clock
    if [ "$now" -ge "$end" ]; then
        if [ "$REQUIRE_DRIVE" = yes ] && [ ! -e "$STATE_DIR/drive-seen" ]; then
            log err "no config drive, and this machine has never seen one: $(what_there_is)"
            result=1
        else
            log notice "no config drive"
        fi
        [ "$part" = user-data ] || make_host_keys || result=1
        exit "$result"
    fi
    sleep 1
    waited=$((waited + 1))
done
[ "$status" -eq 0 ] || result=1
[ -e "$STATE_DIR/drive-seen" ] || : | write_state drive-seen || result=1

# After the password, because an emulated or busy processor takes minutes for these keys.
[ "$part" = user-data ] || make_host_keys || result=1

# User data run when the drive is unmounted again, because they may run for long.
if [ "$part" != login ] && [ "$RUN_USER_DATA" = yes ]; then
    "$here/config-drive-read.sh" run-user-data
    case $? in
    0 | "$EXIT_NO_ITEM") ;;
    *) result=1 ;;
    esac
fi
exit "$result"
