#!/bin/sh
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Gives the machine the host name in the config drive's metadata, once per new name, so that clones do not all tell the
# DHCP server their template's name. A name that the owner gives the machine later stays until the drive has another one.
#
# The name is the first label of local-hostname, which must be letters, digits and hyphens (RFC 1123); anything else is
# an error, and nothing is changed. Exit: 0 set, unchanged or nothing to set; 1 not set.

here=${0%/*}
[ "$here" != "$0" ] || here=.
# shellcheck source=config-drive-lib.sh
. "$here/config-drive-lib.sh" || exit 1
load_settings
[ "$SET_HOSTNAME" = yes ] || exit 0

name=$("$here/config-drive-read.sh" get metadata/local-hostname)
status=$?
case $status in
0) ;;
"$EXIT_NO_DRIVE")
    log info "no config drive"
    exit 0
    ;;
"$EXIT_NO_ITEM") exit 0 ;;
*) exit "$EXIT_ERROR" ;;
esac
name=${name%"$(printf '\r')"}
[ -n "$name" ] || exit 0
[ "${#name}" -le 253 ] || fail "local-hostname on the config drive is longer than 253 characters: not set"
case $name in
*[!A-Za-z0-9.-]* | .* | *..*) fail "local-hostname on the config drive is not a host name: not set" ;;
esac
name=${name%%.*}
case $name in
'' | -* | *-) fail "local-hostname on the config drive is not a host name: not set" ;;
localhost) fail "local-hostname on the config drive is localhost: not set" ;;
*[!0-9]*) ;;
*) fail "local-hostname on the config drive has only digits: not set" ;;
esac
[ "${#name}" -le 63 ] || fail "local-hostname on the config drive has more than 63 characters before its first dot: not set"

if [ -r "$STATE_DIR/hostname" ] && [ "$(cat "$STATE_DIR/hostname")" = "$name" ]; then
    debug "host name: nothing new on the config drive"
    exit 0
fi

new=
write_name() {
    new=$(mktemp "$HOSTNAME_FILE.XXXXXX") && echo "$name" >"$new" && chmod 0644 "$new" && mv -f "$new" "$HOSTNAME_FILE"
}
if ! write_name; then
    rm -f "$new"
    fail "cannot write $HOSTNAME_FILE: the host name is not set"
fi
if have restorecon; then
    restorecon "$HOSTNAME_FILE" >/dev/null 2>&1 || :
fi
(echo "$name" >"$PROC_DIR/sys/kernel/hostname") 2>/dev/null ||
    log warning "the kernel does not take the host name now: it counts from the next start on"
echo "$name" | write_state hostname || fail "host name set, but $STATE_DIR cannot be written: it is set again at the next start"
log notice "host name $name set from the config drive"
