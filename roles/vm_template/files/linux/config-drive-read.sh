#!/bin/sh
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Finds the config drive by its label, mounts it read-only where only root can read it, prints one item, and unmounts it.
#
#   config-drive-read.sh find                      prints the block device of the drive
#   config-drive-read.sh list                      prints the names of the items on it
#   config-drive-read.sh get metadata/instance-id  prints one metadata item (either spelling: instance-id, instance_id)
#   config-drive-read.sh get password|keys|user-data
#   config-drive-read.sh digest                    prints the drive's own digest, if this collection built it
#   config-drive-read.sh save-user-data            saves user data in the state folder
#   config-drive-read.sh run-user-data             runs them as a program, once per instance id, if RUN_USER_DATA=yes
#   config-drive-read.sh with COMMAND ...          runs a command with the drive mounted for its own calls of this script
#
# Exit: 0 done, 1 error, 2 wrong use, 3 no config drive, 4 the drive does not hold the item.

here=${0%/*}
[ "$here" != "$0" ] || here=.
# shellcheck source=config-drive-lib.sh
. "$here/config-drive-lib.sh" || exit 1

usage() {
    echo "usage: ${0##*/} find | list | get NAME | digest | save-user-data | run-user-data | with COMMAND ..." >&2
    exit "$EXIT_USAGE"
}

# --- finding -----------------------------------------------------------------------------------------------------

# bytes_at DEVICE OFFSET COUNT: text at that place, without NULs.
bytes_at() {
    dd if="$1" bs=1 skip="$2" count="$3" 2>/dev/null | tr -d '\000'
}

without_trailing_blanks() {
    trimmed=$1
    while :; do
        case $trimmed in
        *' ') trimmed=${trimmed%' '} ;;
        *) break ;;
        esac
    done
    echo "$trimmed"
}

# The volume names of an ISO 9660 image, one per line; fails for anything else. ECMA-119 8.4 and 8.5: descriptors are 2048 bytes each from
# sector 16 on; byte 0 is the type (1 primary, 2 supplementary), 1-5 "CD001", 40-71 the volume identifier. In the
# supplementary (Joliet) one it is UCS-2 big endian: NULs taken away, ASCII remains.
iso_labels() {
    [ "$(bytes_at "$1" 32769 5)" = CD001 ] || return 1
    for descriptor in 32768 34816 36864 38912; do
        [ "$(bytes_at "$1" $((descriptor + 1)) 5)" = CD001 ] || break
        case $(bytes_at "$1" "$descriptor" 1) in
        "$(printf '\001')" | "$(printf '\002')")
            without_trailing_blanks "$(bytes_at "$1" $((descriptor + 40)) 32)"
            ;;
        esac
    done
    return 0
}

# A device without ISO 9660 descriptors, such as a FAT drive, is found only by blkid, if there is one.
device_labels() {
    iso_labels "$1" || if have blkid; then
        blkid -p -o value -s LABEL "$1" 2>/dev/null
    fi
}

# use_drive: the first device that carries a wanted label and is a config drive. The configured label comes first, then
# the two in common use; udev's links come before reading the devices.
use_drive() {
    debug "looking for the labels $CONFIG_DRIVE_LABEL, config and config-2"
    set -- "$CONFIG_DRIVE_LABEL"
    [ "$1" = config ] || set -- "$@" config
    [ "$1" = config-2 ] || set -- "$@" config-2
    for label in "$@"; do
        device=$DEV_DIR/disk/by-label/$label
        if is_block_device "$device" && mount_drive "$device"; then
            return 0
        fi
    done
    scanned=
    for device in "$DEV_DIR"/sr* "$DEV_DIR"/hd* "$DEV_DIR"/vd* "$DEV_DIR"/xvd* "$DEV_DIR"/sd*; do
        if is_block_device "$device"; then
            debug "looking at the label of $device"
            # "label/device" lines: no device's name has a slash within DEV_DIR, whatever its label has.
            scanned=$scanned$(device_labels "$device" | sed "s|\$|/${device##*/}|")$NEWLINE
        fi
    done
    for label in "$@"; do
        IFS=$NEWLINE
        set -f
        for entry in $scanned; do
            if [ "${entry%/*}" = "$label" ] && mount_drive "$DEV_DIR/${entry##*/}"; then
                unset IFS
                set +f
                return 0
            fi
        done
        unset IFS
        set +f
    done
    return 1
}

# --- mounting ----------------------------------------------------------------------------------------------------

mounted=
work=
not_mountable=

unmount_drive() {
    [ -n "$mounted" ] || return 0
    if umount "$work/drive" 2>/dev/null || umount -l "$work/drive" 2>/dev/null; then
        mounted=
        return 0
    fi
    log err "cannot unmount $mounted from $work/drive"
    return 1
}

close_drive() {
    if unmount_drive && [ -n "$work" ]; then
        rmdir "$work/drive" "$work" 2>/dev/null
        work=
    fi
}

mount_drive() {
    for file_system in iso9660 vfat; do
        if mount -t "$file_system" -o ro,nosuid,nodev,noexec "$1" "$work/drive" 2>/dev/null; then
            mounted=$1
            break
        fi
    done
    if [ -z "$mounted" ]; then
        not_mountable="$not_mountable $1"
        debug "$1 cannot be mounted, neither as iso9660 nor as vfat"
        return 1
    fi
    debug "$1 mounted as $file_system"
    # A volume that only has the label (somebody's own "config" disk) is left alone.
    if [ -d "$work/drive/cloudstack" ] || [ -d "$work/drive/openstack" ]; then
        return 0
    fi
    debug "$1 has the label and neither of the folders cloudstack and openstack: left alone"
    unmount_drive
    return 1
}

open_drive() {
    if [ -d "${CONFIG_DRIVE_MOUNTED:-}/drive" ]; then
        # Called by a command that "with" runs: the drive is mounted, and "with" unmounts it.
        work=$CONFIG_DRIVE_MOUNTED
        drive_device=${CONFIG_DRIVE_DEVICE:-}
        return 0
    fi
    trap close_drive EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    work=$(mktemp -d "$RUN_DIR/config-drive.XXXXXX") || fail "cannot make a folder in $RUN_DIR"
    mkdir "$work/drive" || fail "cannot make a folder in $work"
    if use_drive; then
        drive_device=$mounted
        return 0
    fi
    [ -z "$not_mountable" ] || fail "cannot mount the config drive at$not_mountable"
    exit "$EXIT_NO_DRIVE"
}

# --- reading -----------------------------------------------------------------------------------------------------

# regular_file PATH: PATH below the drive is a plain file and no link leads out of the drive on the way.
regular_file() {
    step=$work/drive
    rest=$1
    while :; do
        step=$step/${rest%%/*}
        [ ! -L "$step" ] || return 1
        case $rest in
        */*) rest=${rest#*/} ;;
        *) break ;;
        esac
    done
    [ -f "$step" ]
}

# find_item NAME: sets item (path), item_max (bytes) and item_text. ISO 9660 without Rock Ridge and Joliet turns a
# hyphen into an underscore, and the names on CloudStack's drives changed over time: both spellings count.
find_item() {
    item_max=$TEXT_MAX
    item_text=yes
    case $1 in
    password)
        item_max=$PASSWORD_MAX
        set -- cloudstack/password/vm_password.txt cloudstack/password/vm-password.txt
        ;;
    keys)
        set -- cloudstack/metadata/public-keys.txt cloudstack/metadata/public_keys.txt
        ;;
    user-data)
        item_max=$USER_DATA_MAX
        item_text=no
        set -- cloudstack/userdata/user_data.txt cloudstack/userdata/user-data.txt openstack/latest/user_data
        ;;
    metadata/*)
        key=${1#metadata/}
        case $key in
        '' | *[!A-Za-z0-9_-]*) usage ;;
        esac
        set -- "cloudstack/metadata/$(echo "$key" | tr _ -).txt" "cloudstack/metadata/$(echo "$key" | tr - _).txt" \
            "cloudstack/metadata/$key.txt"
        ;;
    *) usage ;;
    esac
    for candidate in "$@"; do
        if regular_file "$candidate"; then
            item=$work/drive/$candidate
            debug "$candidate is on the drive"
            return 0
        fi
    done
    debug "the drive has none of: $*"
    return "$EXIT_NO_ITEM"
}

# Never more than one block over the limit is read, however large the file is or claims to be.
item_bytes() {
    dd if="$item" bs=4096 count=$((item_max / 4096 + 1)) 2>/dev/null
}

# get_item NAME: its exact bytes on stdout.
get_item() {
    find_item "$1" || return "$EXIT_NO_ITEM"
    item_size=$(($(item_bytes | wc -c)))
    debug "$1 has $item_size bytes"
    if [ "$item_size" -gt "$item_max" ]; then
        log err "$1 on the config drive is larger than $item_max bytes and was not read"
        return "$EXIT_ERROR"
    fi
    if [ "$item_text" = yes ] && [ "$(($(item_bytes | tr -d '\000' | wc -c)))" -ne "$item_size" ]; then
        log err "$1 on the config drive holds NUL bytes and was not read"
        return "$EXIT_ERROR"
    fi
    item_bytes || {
        log err "$1 on the config drive cannot be read"
        return "$EXIT_ERROR"
    }
}

# The SHA-256 in the mark of the builder, in the application use field of the volume descriptor (ECMA-119 8.4.32).
drive_digest() {
    builder_mark=$(bytes_at "$drive_device" 33651 512)
    case $builder_mark in
    'VMOPS.EXTERNAL_DHCP FORMAT='*' SHA256='*) ;;
    *) return "$EXIT_NO_ITEM" ;;
    esac
    builder_mark=${builder_mark##*SHA256=}
    builder_mark=${builder_mark%% *}
    case $builder_mark in
    *[!0-9a-f]*) return "$EXIT_NO_ITEM" ;;
    esac
    [ "${#builder_mark}" -eq 64 ] || return "$EXIT_NO_ITEM"
    echo "$builder_mark"
}

list_items() {
    for file in "$work"/drive/cloudstack/metadata/*.txt; do
        key=${file##*/}
        key=${key%.txt}
        case $key in
        *[!A-Za-z0-9_-]* | public-keys | public_keys) continue ;;
        esac
        regular_file "cloudstack/metadata/$key.txt" && echo "metadata/$key"
    done | tr _ - | sort -u
    for name in password keys user-data; do
        find_item "$name" && echo "$name"
    done
    return 0
}

# --- user data ---------------------------------------------------------------------------------------------------

save_user_data() {
    find_item user-data || return "$EXIT_NO_ITEM"
    mkdir -p "$STATE_DIR" || return "$EXIT_ERROR"
    saved=$(mktemp "$STATE_DIR/.user-data.XXXXXX") || return "$EXIT_ERROR"
    if get_item user-data >"$saved" && mv -f "$saved" "$STATE_DIR/user-data"; then
        return 0
    fi
    rm -f "$saved"
    return "$EXIT_ERROR"
}

# User data run once for each instance id, else VM id, else content of the user data. A digest, because it becomes a file name.
instance_mark() {
    {
        get_item metadata/instance-id || get_item metadata/vm-id || cat "$STATE_DIR/user-data"
    } | hash_of "$(best_hash)"
}

run_user_data() {
    save_user_data || return $?
    mark=$(instance_mark) || fail "no sha512sum, sha256sum or openssl: cannot tell whether the user data ran already"
    close_drive
    if [ "$(dd if="$STATE_DIR/user-data" bs=1 count=2 2>/dev/null | tr -d '\000')" != '#!' ]; then
        log info "user data is not a script (no #! at its start) and was not run"
        return 0
    fi
    mkdir -p "$STATE_DIR/user-data-ran" || return "$EXIT_ERROR"
    # Marked as run before it runs, so that a script that restarts the machine does not do so for ever.
    mkdir "$STATE_DIR/user-data-ran/$mark" 2>/dev/null || return 0
    cp "$STATE_DIR/user-data" "$STATE_DIR/user-data-script" && chmod 0700 "$STATE_DIR/user-data-script" ||
        return "$EXIT_ERROR"
    log notice "running the user data as a script; its output goes to $STATE_DIR/user-data.log"
    (cd / && exec env -i "PATH=$PATH" "HOME=${HOME:-/root}" "$STATE_DIR/user-data-script") \
        >"$STATE_DIR/user-data.log" 2>&1 </dev/null
    script_status=$?
    rm -f "$STATE_DIR/user-data-script"
    if [ "$script_status" -ne 0 ]; then
        log err "the user data script ended with $script_status; it is not run again for this instance id"
        return "$EXIT_ERROR"
    fi
    log notice "the user data script ended well"
}

# --- main --------------------------------------------------------------------------------------------------------

load_settings
case ${1-} in
find)
    [ "$#" -eq 1 ] || usage
    unset CONFIG_DRIVE_MOUNTED
    ;;
list | digest | save-user-data) [ "$#" -eq 1 ] || usage ;;
run-user-data)
    [ "$#" -eq 1 ] || usage
    [ "$RUN_USER_DATA" = yes ] || exit 0
    unset CONFIG_DRIVE_MOUNTED
    ;;
get) [ "$#" -eq 2 ] || usage ;;
with)
    [ "$#" -ge 2 ] || usage
    unset CONFIG_DRIVE_MOUNTED
    ;;
*) usage ;;
esac

open_drive
case $1 in
find) echo "$mounted" ;;
list) list_items ;;
get) get_item "$2" ;;
digest) drive_digest ;;
save-user-data) save_user_data ;;
run-user-data) run_user_data ;;
with)
    shift
    CONFIG_DRIVE_MOUNTED=$work CONFIG_DRIVE_DEVICE=$drive_device "$@"
    ;;
esac
exit $?
