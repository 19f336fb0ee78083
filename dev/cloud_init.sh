#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Unpacks the distribution's package of cloud-init in .build/cloud-init, for tests that use its reader of config drives. It is not installed,
# because it would take over the host name, users and network of the developer's machine at the next boot.

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

place=$build/cloud-init
[ ! -d "$place" ] || exit 0
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    say "cloud-init is fetched on Debian and Ubuntu only: the tests that ask it are skipped here."
    exit 0
fi
fetched=$(mktemp -d)
trap 'rm -rf "$fetched"' EXIT
trap 'exit 130' INT TERM HUP
say "Fetching cloud-init's package and unpacking it in ${place#"$root"/} (it is not installed)"
fetch() { (cd "$fetched" && apt-get download cloud-init); }
run_logged cloud-init fetch || {
    run_logged apt-update as_root apt-get update || true # a machine whose package lists were never read
    run_logged cloud-init fetch || die "cloud-init's package could not be fetched"
}
mkdir "$fetched/tree"
dpkg-deb --extract "$fetched"/cloud-init_*.deb "$fetched/tree"
mv "$fetched/tree" "$place"
