#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Everything that must be true before a change is good, the cheap first. All steps run even if one fails; the exit code
# tells whether all passed. SKIP="sanity integration" leaves steps out.

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

own_rig_dir
step=''
keep_sudo=''
# Some steps run as root.
signal_step() {
    if [ -n "$keep_sudo" ]; then sudo -n kill "$1" -- "-$step"; else kill "$1" -- "-$step"; fi 2>/dev/null
}
# Stopped from outside: end the step with everything it started, then what it would have taken down itself.
# shellcheck disable=SC2317 # called by the trap
stop() {
    trap - INT TERM HUP
    if [ -n "$step" ]; then
        signal_step -INT || true # pytest ends its fixtures for INT, not for TERM
        for _ in {1..45}; do
            signal_step -0 || break
            sleep 1
        done
        signal_step -KILL || true
    fi
    take_down_test_rigs
    exit 130
}
trap stop INT TERM HUP
trap '[ -z "$keep_sudo" ] || kill -- "-$keep_sudo" 2>/dev/null || true' EXIT

# Steps run in the background of the terminal, where sudo could not ask for a password: ask now, and keep it valid.
if [ "$(id -u)" -ne 0 ] && command -v sudo >/dev/null; then
    sudo -n true 2>/dev/null || {
        say "The test rigs need root (network namespaces, libvirtd), and so does installing packages that are missing."
        sudo -v
    }
    set -m
    while sleep 50; do sudo -n -v 2>/dev/null || true; done </dev/null >/dev/null 2>&1 &
    keep_sudo=$!
    set +m
fi

run_step() {
    local groups=(build sanity unit)
    case $1 in
        packages)
            [[ " ${SKIP:-} " == *" integration "* ]] || groups+=(rigs test)
            dev/packages.sh "${groups[@]}"
            ;;
        unit) dev/pytest.sh unit --numprocesses auto ;;
        integration) dev/pytest.sh integration ;;
        *) "dev/$1.sh" ;;
    esac
}

steps=(packages venv lint docs unit build unit-oldest sanity integration)
for name in ${SKIP:-}; do
    [[ " ${steps[*]} " == *" $name "* ]] || die "SKIP names $name, which is none of: ${steps[*]}"
done

names=() seconds=() results=()
failed=0
started=$SECONDS
rm -f "$build"/log/{unit,unit-oldest,integration}.log
for name in "${steps[@]}"; do
    if [[ " ${SKIP:-} " == *" $name "* ]]; then
        names+=("$name") seconds+=(-) results+=(skipped)
        continue
    fi
    printf '\n==== %s\n' "$name"
    begun=$SECONDS
    set -m # a process group of its own, so that stop reaches all of it
    run_step "$name" </dev/null &
    step=$!
    set +m
    rc=0
    wait "$step" || rc=$?
    signal_step -TERM || true # what a step has left running
    step=''
    names+=("$name") seconds+=($((SECONDS - begun)))
    if [ "$rc" -eq 0 ]; then
        results+=(passed)
    else
        results+=("FAILED ($rc)")
        failed=1
        [[ $name != packages && $name != venv ]] || break # nothing works without them
    fi
done
take_down_test_rigs

printf '\n==== summary, %s s in all\n' "$((SECONDS - started))"
for i in "${!names[@]}"; do
    printf '%-12s %6s s  %s\n' "${names[i]}" "${seconds[i]}" "${results[i]}"
done
for name in unit unit-oldest integration; do
    [ ! -e "$build/log/$name.log" ] ||
        printf '%s: %s\n' "$name" "$(tail -n 1 "$build/log/$name.log")"
done
exit "$failed"
