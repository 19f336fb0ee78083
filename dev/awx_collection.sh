#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Puts the collection awx.awx into .build/awx, for the test of the role configure_awx. PyPI has it last in the package ansible 11, which is
# unpacked and not installed.

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
use_venv

place=$build/awx
[ ! -d "$place" ] || exit 0
fetched=$(mktemp -d)
trap 'rm -rf "$fetched"' EXIT
trap 'exit 130' INT TERM HUP
say "Fetching the collection awx.awx and unpacking it in ${place#"$root"/} (it is not installed)"
run_logged awx pip download --no-deps --only-binary :all: --dest "$fetched" 'ansible==11.*' || die "the package ansible 11 could not be fetched"
python - "$fetched" "$fetched/tree" <<'END'
import pathlib
import sys
import zipfile

(wheel,) = pathlib.Path(sys.argv[1]).glob("ansible-11*.whl")
with zipfile.ZipFile(wheel) as archive:
    archive.extractall(sys.argv[2], [name for name in archive.namelist() if name.startswith("ansible_collections/awx/awx/")])
END
mv "$fetched/tree" "$place"
