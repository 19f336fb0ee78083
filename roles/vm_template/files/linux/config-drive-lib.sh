# shellcheck shell=sh
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Shared by the config drive scripts: settings, log, hash, state. Sourced, not run; the scripts use the values set here.
# shellcheck disable=SC2034

# A trace (sh -x) would show the password, "allexport" would put it into the environment of every command.
set +x +a
set -u
unset IFS
umask 077
# No core dump of a shell that held the password; shells without this option ignore it.
# shellcheck disable=SC3045
ulimit -c 0 2>/dev/null
LC_ALL=C
export LC_ALL
PATH="${PATH:+$PATH:}/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
export PATH

# Exit codes of config-drive-read.sh.
EXIT_ERROR=1
EXIT_USAGE=2
EXIT_NO_DRIVE=3
EXIT_NO_ITEM=4

# The most bytes that are taken from the drive, whose builder is not trusted.
PASSWORD_MAX=1024
TEXT_MAX=65536
USER_DATA_MAX=67108864

NEWLINE='
'

is_block_device() {
    [ -b "$1" ]
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# Settings: the defaults, then the settings file (shell syntax, root's own), which may replace any of them.
load_settings() {
    CONFIG_DRIVE_LABEL=config
    SET_PASSWORD=yes
    PASSWORD_USER=root
    SET_SSH_KEYS=yes
    SSH_KEY_USERS=root
    SAVE_USER_DATA=yes
    RUN_USER_DATA=no
    MAKE_HOST_KEYS=no
    WAIT_SECONDS=5
    REQUIRE_DRIVE=no
    SET_HOSTNAME=yes
    DEBUG=no
    HOSTNAME_FILE=/etc/hostname
    STATE_DIR=/var/lib/config-drive
    DEV_DIR=/dev
    PROC_DIR=/proc
    SSH_DIR=/etc/ssh
    RUN_DIR=/run
    [ -d "$RUN_DIR" ] || RUN_DIR=/var/run
    for settings_file in "${CONFIG_DRIVE_SETTINGS:-/etc/default/config-drive}" /etc/sysconfig/config-drive; do
        if [ -r "$settings_file" ]; then
            # shellcheck source=/dev/null
            . "$settings_file"
            break
        fi
    done
}

# log PRIORITY TEXT: syslog if a daemon listens, else the console, else stderr. Never a value from the drive.
log() {
    if [ -S "$DEV_DIR/log" ] && have logger; then
        logger -t "${0##*/}" -p "auth.$1" -- "$2" 2>/dev/null
        if [ -t 2 ]; then
            echo "${0##*/}: $2" >&2
        fi
    elif [ ! -t 2 ] && [ -c "$DEV_DIR/console" ] && (echo "${0##*/}: $2" >"$DEV_DIR/console") 2>/dev/null; then
        :
    else
        echo "${0##*/}: $2" >&2
    fi
}

# debug TEXT: logs what a script sees and decides, with DEBUG=yes. Names, sizes and places, never a value from the drive.
debug() {
    [ "$DEBUG" != yes ] || log debug "$1"
}

fail() {
    log err "$1"
    exit "$EXIT_ERROR"
}

# hash_of ALGORITHM: the hexadecimal digest of stdin on stdout; fails if no tool can make it.
hash_of() {
    if have "$1sum"; then
        digest=$("$1sum") || return 1
    elif have openssl; then
        digest=$(openssl dgst "-$1" -r) || return 1
    else
        return 1
    fi
    digest=${digest%% *}
    case $digest in
    '' | *[!0-9a-f]*) return 1 ;;
    esac
    echo "$digest"
}

# The strongest digest that this system has a tool for.
best_hash() {
    for algorithm in sha512 sha256; do
        if echo test | hash_of "$algorithm" >/dev/null; then
            echo "$algorithm"
            return 0
        fi
    done
    return 1
}

# 32 random hexadecimal digits.
random_salt() {
    [ -r /dev/urandom ] || return 1
    salt_hex=$(dd if=/dev/urandom bs=32 count=1 2>/dev/null | hash_of "$1") || return 1
    echo "$salt_hex" | cut -c 1-32
}

# write_state NAME: stdin becomes the state file, whole or not at all, readable by root alone.
write_state() {
    mkdir -p "$STATE_DIR" || return 1
    state_tmp=$(mktemp "$STATE_DIR/.$1.XXXXXX") || return 1
    if cat >"$state_tmp" && mv -f "$state_tmp" "$STATE_DIR/$1"; then
        return 0
    fi
    rm -f "$state_tmp"
    return 1
}
