#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Builds the collection into dist/ and checks the tarball: it installs offline, has no file it should not have, and ansible-doc reads its modules.

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
use_venv

version=$(collection_version)
tarball=dist/vmops-external_dhcp-$version.tar.gz
run_logged build ansible-galaxy collection build --force --output-path dist || die "the collection could not be built"

names=()
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
trap 'exit 130' INT TERM HUP
ANSIBLE_COLLECTIONS_PATH=$place run_logged build-install ansible-galaxy collection install --offline --no-deps --force -p "$place" "$tarball" || die "$tarball cannot be installed"
installed=$place/ansible_collections/vmops/external_dhcp

strangers=$(tar -tzf "$tarball" | grep -vE '^\.config/(ansible-lint\.yml)?$' | grep -E '(^|/)(\.[a-z]|__pycache__|dist/|node_modules)|\.(pyc|iso|img|qcow2|tar\.gz)$' || true)
[ -z "$strangers" ] || die "these files do not belong into $tarball: $strangers"
[ -f "$installed/MANIFEST.json" ] || die "$tarball was not installed"
for module in "$installed"/plugins/modules/*.py; do
    [ -e "$module" ] || continue
    names+=("vmops.external_dhcp.$(basename "$module" .py)")
done
if [ ${#names[@]} -gt 0 ]; then
    ANSIBLE_COLLECTIONS_PATH=$place run_logged build-doc ansible-doc --type module --json "${names[@]}" || die "ansible-doc fails from the installed tarball"
    grep -q "\"filename\": \"$installed/" "$build/log/build-doc.log" || die "ansible-doc did not read the installed tarball"
fi
say "build: $tarball, $(du -h "$tarball" | cut -f1), $(tar -tzf "$tarball" | grep -vc '/$') files, ${#names[@]} modules documented from it"

dev/guest_scripts.sh dist
(cd dist && sha256sum "$(basename "$tarball")" config-drive-scripts-"$version".tar.gz >SHA256SUMS)
say "build: dist/config-drive-scripts-$version.tar.gz, dist/SHA256SUMS"
