# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Body of the module vm_ip_fetch: its options, one poll (see look), and its result."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import typing as t

from ansible_collections.vmops.external_dhcp.plugins.module_utils._dns.model import DnsError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._errors import MissingLibrary, OptionError
from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.connect import open_hypervisor
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.complaints import complaints, stale
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.look import Poll, Request, fetch, would_agree
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.missing import fail_for
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.names import read_vms
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.nic_record import record_of
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_dns_records import follower
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.vm_nic_record import read_networks
from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.watch import Watch, Watcher
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record import eventlog, journal, metrics
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.lock import (
    SCOPE_GLOBAL,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import (
    PollSettings,
    Waiting,
    iso,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.results import (
    found_result,
    holder_result,
    waiting_result,
    within,
)
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.url import ends_with_its_container
from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.vm_filter import read_vm_filter
from ansible_collections.vmops.external_dhcp.plugins.module_utils._text import plain_name

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.vmops.external_dhcp.plugins.module_utils._hypervisor.api import Hypervisor
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._module.dns_follow import Follower
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.model import Event
    from ansible_collections.vmops.external_dhcp.plugins.module_utils._nic_record.store import RecordStore

MAX_TOLD = 50  # names of VMs in one list of the result


def run_module(module: AnsibleModule) -> None:
    """Polls once, and ends the module with what was found, and what is still waited for and why."""
    params = module.params
    request = _request(module)
    follows = _follows(module)
    poll, watch = Poll(), Watch()
    with record_of(module) as store:
        waiting = Waiting()
        old: list[str] = []
        if not module.check_mode:
            _check_place(module, store)
            store.database.prepare()
            log = eventlog.write if params["syslog"] else list
            with _followed(follows, log) as told:
                poll, watch = _look_and_watch(store, lambda: open_hypervisor(params["hypervisor"]), request, told, params)
        elif not request.asks_guests:
            poll = would_agree(store, lambda: open_hypervisor(params["hypervisor"]), request)
        if not module.check_mode or store.database.exists():
            waiting = store.waiting(request.hypervisor_name, request.vms, params["limit"])
            old = stale(journal.looks(store.database), store.clock())
        if params["metrics_file"] and not module.check_mode:
            metrics.write(params["metrics_file"], metrics.text(journal.looks(store.database), journal.tallies(store.database)))
    result = _result(poll, waiting, params["limit"])
    if params["watch"]:
        result["watched"] = _watched(watch)
    if follows is not None:
        result["dns"] = {"changes": follows.changes, "problems": follows.problems}
        result["changed"] = result["changed"] or follows.changes > 0
        for problem in follows.problems:
            module.warn(f"names in DNS: {problem}")
    for warning in poll.warnings + ([] if "stale" in params["fail_on"] else old):
        module.warn(warning)
    if poll.library is not None:
        fail_for(module, poll.library, **result)
    if poll.problem is not None:
        module.fail_json(**dict(result, msg=poll.problem))
    reasons = complaints(params["fail_on"], poll.gave_up, poll.lost, [])
    if reasons:
        result["complaints"] = reasons  # the action plugin takes them along to the last look
    reasons += complaints(params["fail_on"], [], [], old)
    if reasons:
        module.fail_json(**dict(result, msg="; ".join(reasons)))
    module.exit_json(**result)


def _follows(module: AnsibleModule) -> Follower | None:
    try:
        return follower(module)
    except MissingLibrary as error:
        fail_for(module, error)
    except DnsError as error:
        module.fail_json(msg=f"dns: {error}")
    return None


@contextlib.contextmanager
def _followed(follows: Follower | None, log: Callable[[Sequence[Event]], t.Any]) -> Iterator[Callable[[Sequence[Event]], t.Any]]:
    """A log of events that also tells the follower; waits for the follower at the end."""
    if follows is None:
        yield log
        return

    def both(events: Sequence[Event]) -> None:
        log(events)
        follows(events)

    try:
        yield both
    finally:
        follows.close()


def _look_and_watch(
    store: RecordStore,
    connect: Callable[[], Hypervisor],
    request: Request,
    log: Callable[[Sequence[Event]], t.Any],
    params: t.Mapping[str, t.Any],
) -> tuple[Poll, Watch]:
    """Looks, then listens for the time of the option watch, and looks again when a look is due."""
    end = time.monotonic() + params["watch"]
    poll = fetch(store, connect, request, log=log)
    if not params["watch"] or poll.problem is not None:
        return poll, Watch()
    end = max(end, time.monotonic())
    # Between the looks of one task, listening fills the time of waiting: it ends when nothing is waited for.
    enough = (
        (lambda: not store.counts(request.hypervisor_name, request.settings, store.clock(), request.vms).pending)
        if (params["looks"] > 1)
        else None
    )
    with Watcher(store, connect, request, log) as watcher:
        while time.monotonic() < end and watcher.take_turn(end - time.monotonic()):
            watcher.listen(min(request.settings.interval, end - time.monotonic()), enough)
            if time.monotonic() >= end or not watcher.holds_turn() or (enough is not None and enough()):
                break
            again = fetch(store, connect, dataclasses.replace(request, rearm=False), log=log)
            poll.add(again)
            if again.problem is not None:
                poll.problem, poll.library = again.problem, again.library
                break
    poll.add(watcher.watch.poll)
    return poll, watcher.watch


def _watched(watch: Watch) -> dict[str, t.Any]:
    return {
        "hints": watch.hints,
        "readings": watch.readings,
        "reconnects": watch.reconnects,
        "stood_by": round(watch.stood_by, 1),
    }


def _check_place(module: AnsibleModule, store: RecordStore) -> None:
    """Refuses the default record in a container: it would be gone at the end of each job, and nobody would notice."""
    path = store.database.path
    if module.params["record"] or module.params["ephemeral_record"] or path is None or not ends_with_its_container(path):
        return
    module.fail_json(
        msg=f"the record would be the file {path} of this container, and gone with it: set record (or the environment variable"
        " EXTERNAL_DHCP_RECORD) to a database server, or to a file on a volume. If nothing is to be kept, set ephemeral_record"
    )


_LEAST = (
    ("interval", 1),
    ("max_retry", 1),
    ("workers", 1),
    ("recheck_interval", 0),
    ("relook_interval", 0),
    ("settle", 0),
    ("suspect_readings", 1),
    ("lock_wait", 0),
    ("keep_events_days", 1),
    ("keep_events", 1),
    ("watch", 0),
    ("limit", 1),
)


def _request(module: AnsibleModule) -> Request:
    params = module.params
    for option, least in _LEAST:
        if params[option] is not None and params[option] < least:
            module.fail_json(msg=f"{option} is {params[option]}: it must be at least {least}")
    if params["timeout"] <= 0:
        module.fail_json(msg=f"timeout is {params['timeout']}: it must be above 0")
    try:
        networks = read_networks(params["networks"])
        vm_filter = read_vm_filter(params["vm_filter"], params["hypervisor"]["type"])
    except OptionError as error:
        module.fail_json(msg=str(error))
    names = read_vms(module)
    return Request(
        hypervisor_name=params["hypervisor_name"],
        settings=PollSettings(
            interval=params["interval"],
            max_retry=params["max_retry"],
            recheck_interval=params["recheck_interval"],
            settle=params["settle"],
            suspect_readings=params["suspect_readings"],
            relook_interval=params["relook_interval"],
        ),
        # A poll of some VMs leaves the others alone.
        reconcile=params["reconcile"] and names is None,
        keep_days=params["keep_events_days"],
        keep_events=params["keep_events"],
        networks=networks,
        vm_filter=vm_filter,
        rearm=params["rearm"],
        sources=params["sources"],
        workers=params["workers"],
        timeout=params["timeout"],
        lock_scope=params["lock_scope"],
        lock_wait=_lock_wait(params),
        vms=None if names is None else [plain_name(name) for name in names],
    )


def _lock_wait(params: t.Mapping[str, t.Any]) -> float:
    """Seconds to wait for the lock. A poller of one hypervisor need not wait for another one, which does the same work."""
    if params["lock_wait"] is not None:
        return float(params["lock_wait"])
    return float(params["interval"]) if params["lock_scope"] == SCOPE_GLOBAL else 0.0


def _result(poll: Poll, waiting: Waiting, limit: int) -> dict[str, t.Any]:
    lists = {"lost": poll.lost, "gave_up": poll.gave_up, "found": poll.found, "waiting": waiting.nics}
    first, omitted = within(limit, lists, {"waiting": waiting.total - len(waiting.nics)})
    listed = {name: [(found_result if name == "found" else waiting_result)(nic) for nic in nics] for name, nics in first.items()}
    result: dict[str, t.Any] = {
        "changed": bool(poll.found or poll.lost or poll.gave_up or poll.told or poll.rearmed),
        "pending": waiting.required,
        "looked_at": poll.looked_at,
        **listed,
        "omitted": omitted,
        "reconciled": {what: names[:MAX_TOLD] for what, names in poll.told.items()},
        "skipped": poll.skipped,
        "lock_holder": holder_result(poll.holder),
        "next_try": iso(waiting.next_try_at),
    }
    result["msg"] = _message(poll, result, waiting)
    return result


def _message(poll: Poll, result: dict[str, t.Any], waiting: Waiting) -> str:
    if poll.skipped:
        holder = poll.holder
        who = f"{holder.host} (process {holder.pid}) since {iso(holder.since)}" if holder else "another poller"
        start = f"skipped: the lock is held by {who}; "
    else:
        parts = [f"{len(names)} {what}" for what, names in poll.told.items()]
        parts += [f"{poll.rearmed} looked for again"] if poll.rearmed else []
        if poll.looked_at:
            parts += [f"{poll.looked_at} looked at", f"{len(poll.found)} found", f"{len(poll.gave_up)} given up"]
        parts += [f"{len(poll.lost)} lost"] if poll.lost else []
        start = ", ".join(parts) + "; " if parts else ""
    if not waiting.total:
        return start + "nothing is waited for"
    optional = waiting.total - waiting.required
    return start + f"{result['pending']} waited for" + (f" and {optional} not required" if optional else "")
