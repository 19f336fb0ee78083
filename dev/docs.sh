#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Builds the documentation site into .build/site/html: the guides of docs/, the roles' pages, the reference of all plugins and
# a changelog. A warning is an error.

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
use_venv

site=$build/site
sources=$site/sources
rm -rf "$site"
mkdir -p "$sources"
# All files of the project, because guides link to them; Sphinx reads only those in its lists.
git ls-files -z --cached --others --exclude-standard -- ':!tests/integration' ':!tests/unit' |
    tar --create --null --ignore-failed-read --files-from - --file - 2>/dev/null | tar --extract --directory "$sources" --file -
mv "$sources/docs/site/"{conf.py,index.md} "$sources/"

# Changes since the last release are shown under the version in galaxy.yml.
changelog() (
    cd "$sources"
    antsibull-changelog release --reload-plugins
    rm CHANGELOG.rst # the same as CHANGELOG.md
)
run_logged docs-changelog changelog || die "the changelog cannot be made"
mkdir -m 0755 "$sources/reference"
run_logged docs-reference antsibull-docs collection --use-current --squash-hierarchy --fail-on-error --dest-dir "$sources/reference" \
    vmops.external_dhcp || die "the reference cannot be made"
run_logged docs-site sphinx-build -M html "$sources" "$site" --fail-on-warning --keep-going --jobs 2 || die "the site has warnings"
say "docs: $site/html/index.html, $(find "$site/html" -name '*.html' | wc -l) pages"
