#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# guest_scripts.sh FOLDER: packs the guest scripts for use without Ansible into an archive in FOLDER: those for Linux in their places below
# linux/. The same sources give the same bytes.

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
trap 'exit 130' INT TERM HUP
version=$(collection_version)
scripts=config-drive-scripts-$version
files=roles/vm_template/files
mkdir -p "$place/$scripts/linux/usr/local/sbin" "$place/$scripts/linux/etc/systemd/system" "$place/$scripts/linux/etc/default" "$place/$scripts/other"
cp "$files"/linux/*.sh "$place/$scripts/linux/usr/local/sbin/"
cp "$files"/linux/*.service "$place/$scripts/linux/etc/systemd/system/"
cp "$files/linux/config-drive.default" "$place/$scripts/linux/etc/default/config-drive"
cp "$files/linux/config-drive.init" "$files/linux/90-config-drive.rules" "$place/$scripts/other/"
cp -r "$files/windows" "$place/$scripts/windows"
cp docs/guest-scripts.md COPYING "$place/$scripts/"
find "$place/$scripts" -type d -exec chmod 0755 {} +
find "$place/$scripts" -type f -exec chmod 0644 {} +
find "$place/$scripts" -name '*.sh' ! -name '*-lib.sh' -exec chmod 0755 {} +
tar -C "$place" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf - "$scripts" | gzip -n >"$1/$scripts.tar.gz"
