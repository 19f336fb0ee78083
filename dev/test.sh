#!/usr/bin/env bash
# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Runs all checks and tests that a change must pass, the cheap ones first. All steps run even if one fails; the exit code
# says whether all passed. SKIP="sanity integration" leaves steps out. Two steps run beside others, and their output is shown after
# theirs: sanity, which mostly uses one core, beside those from lint to unit-oldest; and the integration tests of the KVM rig, which
# mostly wait for guests, beside the other integration tests.

# shellcheck source=dev/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

own_rig_dir
SKIP=" ${SKIP:-} "
SKIP=${SKIP/ integration / integration integration-kvm }
# The rigs of integration-kvm: each of the two takes down all that it finds in its folder.
kvm_rig_dir=${VMOPS_RIG_DIR:+$VMOPS_RIG_DIR/kvm}
take_down() {
    [ -z "$kvm_rig_dir" ] || VMOPS_RIG_DIR=$kvm_rig_dir take_down_test_rigs
    take_down_test_rigs
}
declare -A groups=() # process groups of the steps at work
keep_sudo=''
# signal_steps SIGNAL GROUP…: succeeds if there was anything left to receive it.
signal_steps() {
    local signal=$1 group received=1
    shift
    for group in "$@"; do
        # Some steps run as root.
        if [ -n "$keep_sudo" ]; then sudo -n kill "$signal" -- "-$group"; else kill "$signal" -- "-$group"; fi 2>/dev/null && received=0
    done
    return "$received"
}
# When stopped from outside: end the steps with everything they started, then take down what they would have taken down themselves.
# shellcheck disable=SC2317 # called by the trap
stop() {
    trap - INT TERM HUP
    signal_steps -INT "${groups[@]}" || true # pytest ends its fixtures for INT, not for TERM
    for _ in {1..45}; do
        signal_steps -0 "${groups[@]}" || break
        sleep 1
    done
    signal_steps -KILL "${groups[@]}" || true
    take_down
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

skipped() { [[ $SKIP == *" $1 "* ]]; }

run_step() {
    local packages=(build sanity unit)
    case $1 in
        packages)
            skipped integration || packages+=(rigs test)
            dev/packages.sh "${packages[@]}"
            ;;
        unit) dev/pytest.sh unit --numprocesses auto ;;
        integration) dev/pytest.sh integration -m "not kvm" ;;
        integration-kvm)
            [ -z "$kvm_rig_dir" ] || export VMOPS_RIG_DIR=$kvm_rig_dir
            dev/pytest.sh integration-kvm
            ;;
        *) "dev/$1.sh" ;;
    esac
}

steps=(packages venv lint docs unit build unit-oldest sanity integration integration-kvm)
declare -A beside=([lint]=sanity [integration]=integration-kvm) # what runs beside the others from this step on
for name in $SKIP; do
    [[ " ${steps[*]} " == *" $name "* ]] || die "SKIP names $name, which is none of: ${steps[*]}"
done

# start_step NAME: runs the step in the background, as a process group of its own, so that stop reaches all of it
start_step() {
    set -m
    (
        begun=$SECONDS rc=0
        run_step "$1" || rc=$?
        printf '%s\n' "$((SECONDS - begun))" >"$build/log/step-$1.seconds"
        exit "$rc"
    ) </dev/null &
    groups[$1]=$!
    set +m
}

# end_step NAME: waits for the step, and ends processes that it has left running
end_step() {
    local rc=0
    wait "${groups[$1]}" || rc=$?
    signal_steps -TERM "${groups[$1]}" || true
    unset "groups[$1]"
    results[$1]=passed
    [ "$rc" -eq 0 ] || results[$1]="FAILED ($rc)" failed=1
}

declare -A results=()
failed=0
started=$SECONDS
rm -f "$build"/log/{unit,unit-oldest,integration,integration-kvm}.log "$build"/log/step-*
for name in "${steps[@]}"; do
    other=${beside[$name]:-}
    if [ -n "$other" ] && ! skipped "$other"; then
        start_step "$other" >"$build/log/step-$other.out" 2>&1
    fi
    if skipped "$name"; then
        results[$name]=skipped
        continue
    fi
    printf '\n==== %s\n' "$name"
    if [ -n "${groups[$name]:-}" ]; then
        end_step "$name"
        cat "$build/log/step-$name.out"
        continue
    fi
    start_step "$name"
    end_step "$name"
    # No other step works without these two.
    [[ $name != packages && $name != venv ]] || [ "${results[$name]}" = passed ] || break
done
take_down

printf '\n==== summary, %s s in all\n' "$((SECONDS - started))"
for name in "${steps[@]}"; do
    [ -z "${results[$name]:-}" ] ||
        printf '%-15s %6s s  %s\n' "$name" "$(cat "$build/log/step-$name.seconds" 2>/dev/null || echo -)" "${results[$name]}"
done
for name in unit unit-oldest integration integration-kvm; do
    [ ! -e "$build/log/$name.log" ] ||
        printf '%s: %s\n' "$name" "$(tail -n 1 "$build/log/$name.log")"
done
exit "$failed"
