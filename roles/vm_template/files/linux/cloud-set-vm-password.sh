#!/bin/sh
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Sets the password of PASSWORD_USER (root) from the config drive, once per new value.
#
# The password that was set is remembered as a salted digest, so that one that the owner sets later inside the VM stays
# until the drive has another one. The value itself is in a shell variable and in pipes only: no file, no argument, no
# environment. Exit: 0 set, unchanged or nothing to set; 1 not set, and tried again at the next start.

here=${0%/*}
[ "$here" != "$0" ] || here=.
# shellcheck source=config-drive-lib.sh
. "$here/config-drive-lib.sh" || exit 1
load_settings
[ "$SET_PASSWORD" = yes ] || exit 0

# An external printf would show the password in the process list.
[ "$(command -v printf)" = printf ] || fail "this shell has no built-in printf: the password is not touched"
case $PASSWORD_USER in
'' | -* | *[!A-Za-z0-9_.@-]*) fail "PASSWORD_USER in the settings is not a user name: the password is not touched" ;;
esac

# A variable inherited from the environment would be exported with its new value, too.
unset password
password=$("$here/config-drive-read.sh" get password && printf x)
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
password=${password%x}

return_char=$(printf '\r')
while :; do
    case $password in
    *"$NEWLINE") password=${password%"$NEWLINE"} ;;
    *"$return_char") password=${password%"$return_char"} ;;
    *) break ;;
    esac
done
case $password in
# Not passwords: what CloudStack's servers answer for "nothing new" and "not understood".
'' | saved_password | bad_request) exit 0 ;;
*"$NEWLINE"* | *"$return_char"*) fail "the password on the config drive has more than one line: not set" ;;
esac

# digest ALGORITHM SALT
digest() {
    printf '%s:%s:%s' "$2" "$PASSWORD_USER" "$password" | hash_of "$1"
}

# The state: one line "algorithm salt digest".
if [ -r "$STATE_DIR/password" ]; then
    read -r old_algorithm old_salt old_digest <"$STATE_DIR/password" || :
    case ${old_algorithm-} in
    sha512 | sha256)
        if [ "$(digest "$old_algorithm" "${old_salt-}")" = "${old_digest:-none}" ]; then
            log info "password of $PASSWORD_USER: nothing new on the config drive"
            exit 0
        fi
        ;;
    esac
fi

debug "password of $PASSWORD_USER: a new one is on the config drive"
# The digest is made before the password is set, because a password that cannot be remembered would be set again at
# every start.
algorithm=$(best_hash) || fail "no sha512sum, sha256sum or openssl: the password is not touched"
salt=$(random_salt "$algorithm") || fail "no random salt: the password is not touched"
new_digest=$(digest "$algorithm" "$salt") || fail "cannot make the digest: the password is not touched"
have chpasswd || fail "no chpasswd on this system: the password is not touched"

# chpasswd's output is dropped, because it may quote its input.
printf '%s:%s\n' "$PASSWORD_USER" "$password" | chpasswd >/dev/null 2>&1
status=$?
unset password
[ "$status" -eq 0 ] ||
    fail "chpasswd refused the password of $PASSWORD_USER (exit $status): not set, tried again at the next start"
echo "$algorithm $salt $new_digest" | write_state password ||
    fail "password of $PASSWORD_USER set, but $STATE_DIR cannot be written: it is set again at the next start"
log notice "password of $PASSWORD_USER set from the config drive"
