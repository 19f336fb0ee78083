#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Makes the files of a release in dist/: the collection's tarball with its changelog, the guest scripts for use without
# Ansible, the changes of this version, a list of the Python packages (SBOM), and checksums. Publishes nothing and changes nothing in the
# checkout. RELEASE=1.2.0 fails unless galaxy.yml has that version.

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
use_venv

version=$(collection_version)
[ "${RELEASE:-$version}" = "$version" ] || die "galaxy.yml says version $version, and the release is to be $RELEASE"
[ -z "$(git status --porcelain)" ] || die "what is not committed would be in no release: commit it, or put it away"

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
trap 'exit 130' INT TERM HUP
tree=$place/ansible_collections/vmops/external_dhcp
mkdir -p "$tree"
git archive HEAD | tar --extract --directory "$tree" --file -

# The fragments become the changelog of this version, unless that was made and committed already.
changelog() (
    cd "$tree"
    if ls changelogs/fragments/*.yml >/dev/null 2>&1; then antsibull-changelog release --version "$version"; else antsibull-changelog lint; fi
)
run_logged release-changelog changelog || die "the changelog of $version cannot be made"

rm -rf dist
mkdir dist
run_logged release-build ansible-galaxy collection build --output-path dist "$tree" || die "the collection could not be built"
cp "$tree/CHANGELOG.md" dist/CHANGES.md
dev/guest_scripts.sh dist

# The packages in the versions that a user gets today
sbom() (
    "$venv/bin/python" -m venv "$place/venv" &&
        "$place/venv/bin/python" -m pip install --quiet --requirement requirements.txt &&
        cyclonedx-py environment --output-reproducible --output-file dist/sbom.cdx.json "$place/venv/bin/python"
)
run_logged release-sbom sbom || die "the list of packages cannot be made"
(cd dist && sha256sum -- * >SHA256SUMS)
say "release $version, in dist/: $(cd dist && printf '%s ' *)"
