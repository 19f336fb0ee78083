#!/bin/sh
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Puts the SSH keys of the config drive into authorized_keys of SSH_KEY_USERS (root).
#
# Only the block between the two marker lines is ours: it is replaced when the drive's keys change, every other line
# stays as it is. Without a key file on the drive nothing is changed; an empty one empties our block. A line counts as a
# key if it is a known type, base64 text of that type and a comment; options are refused, because they can run
# commands. Exit: 0 done or nothing to do; 1 some user's file could not be written, or no line of the drive is a key.

here=${0%/*}
[ "$here" != "$0" ] || here=.
# shellcheck source=config-drive-lib.sh
. "$here/config-drive-lib.sh" || exit 1
load_settings

BEGIN_MARK='# BEGIN keys from the config drive (replaced when it changes, put your own keys elsewhere)'
END_MARK='# END keys from the config drive'

# foreign_lines FILE: all lines but our block. Of a begin marker without an end marker (somebody edited the file) only
# the marker itself is left out.
foreign_lines() {
    awk -v begin="$BEGIN_MARK" -v end="$END_MARK" '
        function flush_held(i) { for (i = 1; i <= held; i++) print hold[i]; held = 0 }
        $0 == begin { flush_held(); inside = 1; next }
        $0 == end { held = 0; inside = 0; next }
        inside { hold[++held] = $0; next }
        { print }
        END { flush_held() }' "$1"
}

# install_block HOME: stdin is the new block's keys. Runs as the user whose file it is, so that no link planted in that
# user's folder can point root at something else.
install_block() {
    folder=$1/.ssh
    file=$folder/authorized_keys
    if [ ! -d "$folder" ]; then
        mkdir -m 0700 "$folder" || return 1
    fi
    if [ -e "$file" ] && [ ! -f "$file" ]; then
        return 1
    fi
    new=$(mktemp "$folder/.authorized_keys.XXXXXX") || return 1
    keys=$(cat)
    if [ -e "$file" ]; then
        foreign_lines "$file" >"$new" || {
            rm -f "$new"
            return 1
        }
    fi
    if [ -n "$keys" ]; then
        printf '%s\n' "$BEGIN_MARK" "$keys" "$END_MARK" >>"$new" || {
            rm -f "$new"
            return 1
        }
    fi
    if [ ! -s "$new" ] && [ ! -e "$file" ]; then
        rm -f "$new"
    elif [ -f "$file" ] && [ ! -L "$file" ] && cmp -s "$new" "$file"; then
        rm -f "$new"
        chmod 0600 "$file"
    elif chmod 0600 "$new" && mv -f "$new" "$file"; then
        :
    else
        rm -f "$new"
        return 1
    fi
    chmod 0700 "$folder"
    if have restorecon; then
        restorecon -R "$folder" >/dev/null 2>&1 || :
    fi
}

# The part that runs as the user (see for_user): keys on stdin.
if [ "${1-}" = --install-block ]; then
    install_block "${2:?}"
    exit $?
fi

[ "$SET_SSH_KEYS" = yes ] || exit 0

# valid_keys: the acceptable lines of stdin. The base64 text of a key begins with the length and name of its type
# (RFC 4253 6.6), so the head of the text is fixed by the type.
valid_keys() {
    while IFS= read -r line || [ -n "$line" ]; do
        while :; do
            case $line in
            ' '*) line=${line#' '} ;;
            *' ') line=${line%' '} ;;
            *) break ;;
            esac
        done
        case $line in
        '' | '#'*) continue ;;
        esac
        type=${line%%' '*}
        rest=${line#"$type"}
        while :; do
            case $rest in
            ' '*) rest=${rest#' '} ;;
            *) break ;;
            esac
        done
        body=${rest%%' '*}
        comment=${rest#"$body"}
        case $type in
        ssh-ed25519) head=AAAAC3NzaC1lZDI1NTE5 ;;
        ssh-rsa) head=AAAAB3NzaC1y ;;
        ecdsa-sha2-nistp256) head=AAAAE2VjZHNhLXNoYTItbmlzdHAy ;;
        ecdsa-sha2-nistp384) head=AAAAE2VjZHNhLXNoYTItbmlzdHAz ;;
        ecdsa-sha2-nistp521) head=AAAAE2VjZHNhLXNoYTItbmlzdHA1 ;;
        sk-ssh-ed25519@openssh.com) head=AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t ;;
        sk-ecdsa-sha2-nistp256@openssh.com) head=AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5j ;;
        *) continue ;;
        esac
        digits=${body%%=*}
        padding=${body#"$digits"}
        case $digits in
        "$head"*[!A-Za-z0-9+/]*) continue ;;
        "$head"*) ;;
        *) continue ;;
        esac
        case $padding in
        '' | = | ==) ;;
        *) continue ;;
        esac
        if [ $((${#body} % 4)) -eq 0 ] && [ "${#body}" -ge 68 ] && [ "${#line}" -le 8192 ]; then
            printf '%s %s%s\n' "$type" "$body" "$comment"
        fi
    done
}

# for_user NAME: writes the keys into this user's file.
for_user() {
    case $1 in
    '' | -* | *[!A-Za-z0-9_.@-]*)
        log err "SSH_KEY_USERS in the settings holds something that is not a user name"
        return 1
        ;;
    esac
    if have getent; then
        entry=$(getent passwd "$1")
    else
        entry=$(grep -m 1 "^$1:" /etc/passwd)
    fi
    uid=$(echo "$entry" | cut -d : -f 3)
    home=$(echo "$entry" | cut -d : -f 6)
    if [ -z "$uid" ] || [ ! -d "$home" ]; then
        log err "no user $1 with a home folder: keys not set"
        return 1
    fi
    if [ "$(id -u)" = "$uid" ]; then
        printf '%s\n' "$keys" | "$here/cloud-set-vm-sshkey.sh" --install-block "$home"
    elif have runuser; then
        printf '%s\n' "$keys" | runuser -u "$1" -- "$here/cloud-set-vm-sshkey.sh" --install-block "$home"
    else
        printf '%s\n' "$keys" | su -s /bin/sh "$1" -c "'$here/cloud-set-vm-sshkey.sh' --install-block '$home'"
    fi || {
        log err "cannot write authorized_keys of $1"
        return 1
    }
}

raw=$("$here/config-drive-read.sh" get keys)
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

# CR ends lines on Windows; a tab separates like a blank; any other control character spoils its line.
control=$(printf '\001-\010\013\014\016-\037\177')
raw=$(printf '%s\n' "$raw" | tr -d '\r' | tr '\t' ' ')
keys=$(printf '%s\n' "$raw" | grep -v "[$control]" | valid_keys)
offered=$(printf '%s\n' "$raw" | grep -c '^ *[^ #]')
taken=$(printf '%s\n' "$keys" | grep -c .)
if [ "$taken" -ne "$offered" ]; then
    log warning "$((offered - taken)) of $offered lines in the config drive's key file are not plain SSH keys: left out"
    [ "$taken" -gt 0 ] || exit "$EXIT_ERROR"
fi

debug "$taken SSH keys for: $SSH_KEY_USERS"
result=0
set -f # a name is never a pattern
for user in $SSH_KEY_USERS; do
    if for_user "$user"; then
        log info "SSH keys of $user are those of the config drive ($taken)"
    else
        result=1
    fi
done
exit "$result"
