# Copyright (c) 2026, vmops maintainers
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pool: sessions, tasks, events, the call dispatcher, and the means of tests (faults, guest agent, call log)."""

from __future__ import annotations

import collections
import contextlib
import copy
import dataclasses
import datetime
import pathlib
import re
import threading
import traceback
import typing as t

from xapi_rig.derive import is_map
from xapi_rig.encoding import EncodingMixin
from xapi_rig.facts import DEFAULTED, NULL, Facts, Failure, TypeMismatch
from xapi_rig.life import LifeMixin
from xapi_rig.machine import MachineMixin
from xapi_rig.making import MakingMixin
from xapi_rig.networking import NetworkingMixin
from xapi_rig.operations import OperationsMixin
from xapi_rig.storage import StorageMixin
from xapi_rig.store import Obj, Store
from xapi_rig.wire import xml_value

EVENT_CLASS_KIND = {"vm", "vbd", "vdi", "sr", "pbd", "vif", "host", "pool", "network", "pif", "vlan", "task", "vm_metrics",
                    "vm_guest_metrics", "host_metrics", "session", "sm", "vbd_metrics"}  # fmt: skip
SESSIONS_PER_ORIGINATOR = 500
MAX_TASKS = 200


@dataclasses.dataclass
class Fault:
    """method: 'VM.start', 'PUT /import_raw_vdi' or a behaviour's own name; kind: what happens, see Pool.fault()."""

    method: str
    kind: str
    count: int = 1
    error: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclasses.dataclass
class Call:
    """One request being carried out."""

    host: str  # the host's reference that the request came in on
    session: str
    method: str
    task: str = NULL


class CutConnection(Exception):
    """A fault that closes the socket without an answer."""


class Pool(EncodingMixin, StorageMixin, MachineMixin, OperationsMixin, LifeMixin, MakingMixin, NetworkingMixin):
    def __init__(self, folder: pathlib.Path, facts: Facts | None = None, username: str = "root", password: str = "") -> None:
        self.folder = folder
        self.facts = facts or Facts()
        self.store = Store(self.facts)
        self.username = username
        self.password = password
        self.port = 0
        self.domid = 0
        self.dom0_attached: set[str] = set()
        self.faults: list[Fault] = []
        self.held: dict[str, threading.Event] = {}
        self.gates: collections.defaultdict[str, threading.Event] = collections.defaultdict(threading.Event)
        self.calls: list[str] = []
        self.bytes_in: collections.Counter[str] = collections.Counter()
        self.violations: list[str] = []
        self.open_sessions: collections.OrderedDict[str, str] = collections.OrderedDict()
        self.clock_offset = 0
        self.init_operations()
        self.init_life()

    # -- for tests -------------------------------------------------------------------------------------------------

    def fault(self, method: str, kind: str, count: int = 1, error: t.Sequence[str] = (), seconds: float = 0.0) -> None:
        """The next `count` calls of method: drop_before | drop_after | error | session_invalid | wait (until
        gates[method] is set, or for `seconds`); for 'PUT /import_raw_vdi' also cut_body | fail_task | body500 | hang."""
        with self.store.changed:
            self.faults.append(Fault(method, kind, count, tuple(error), seconds))

    def take_fault(self, method: str, *kinds: str) -> Fault | None:
        with self.store.changed:
            for fault in self.faults:
                if fault.method in (method, "*") and (not kinds or fault.kind in kinds):
                    fault.count -= 1
                    if fault.count <= 0:
                        self.faults.remove(fault)
                    return fault
        return None

    def hold(self, op: str) -> None:
        """The next operation `op` (VBD insert, VM pool_migrate ...) stays under way until release(op)."""
        self.held[op] = threading.Event()

    def release(self, op: str) -> None:
        self.held.pop(op).set()

    def note(self, entry: str) -> None:
        with self.store.changed:
            self.calls.append(entry)

    def violation(self, text: str) -> None:
        with self.store.changed:
            self.violations.append(text)

    def now(self) -> str:
        moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=self.clock_offset)
        return moment.strftime("%Y%m%dT%H:%M:%SZ")

    def agent(self, vm: Obj, networks: dict[str, str], *, live: bool = True, updated: str | None = None,
              other: dict[str, str] | None = None) -> Obj:  # fmt: skip
        """Acts as the guest agent: its report appears in VM_guest_metrics."""
        with self.store.changed:
            obj = self.store.maybe(vm["guest_metrics"])
            values = {
                "networks": networks, "live": live, "last_updated": updated or self.now(), "other": other or {},
                "PV_drivers_version": {"major": "8", "minor": "4", "micro": "0", "build": "1"}, "PV_drivers_detected": True,
                "PV_drivers_up_to_date": True, "os_version": {"name": "Debian", "distro": "debian"},
            }  # fmt: skip
            if obj is None:
                obj = self.store.add("VM_guest_metrics", **values)
                self.store.set(vm, guest_metrics=obj.ref)
            else:
                self.store.set(obj, **values)
            return obj

    # -- hosts -----------------------------------------------------------------------------------------------------

    def pool_obj(self) -> Obj:
        return self.store.all("pool")[0]

    def master(self) -> Obj:
        return self.store.get("host", self.pool_obj()["master"])

    def host_root(self, host: str) -> pathlib.Path:
        return self.folder / "hosts" / self.store.get("host", host)["hostname"] / "root"

    # -- dispatch --------------------------------------------------------------------------------------------------

    def invoke(self, host: str, method: str, params: list[t.Any], *, from_json: bool = False) -> tuple[str, t.Any]:
        """Carries out one call and returns (result type, result, not encoded). Raises Failure for everything that XAPI refuses."""
        self.note(method)
        fault = self.take_fault(method, "drop_before", "error", "wait", "session_invalid")
        if fault is not None:
            if fault.kind == "drop_before":
                raise CutConnection
            if fault.kind == "wait":
                self.gates[method].wait(fault.seconds or None)
        try:
            return self._carry_out(host, method, params, fault, from_json)
        except TypeMismatch as exc:
            self.violation(f"{method}: {exc}")
            raise Failure("INTERNAL_ERROR", f"Rpc.Runtime_error: {exc}") from exc
        except Failure as failure:
            problem = self.facts.check_failure(failure)
            if problem:
                self.violation(f"{method} raised {problem}")
            if failure.code in ("NOT_IMPLEMENTED", "MESSAGE_METHOD_UNKNOWN", "MESSAGE_PARAMETER_COUNT_MISMATCH"):
                self.violation(f"{method}: {failure.description}")
            raise
        except CutConnection:
            raise
        except Exception as exc:
            self.violation(f"{method}: rig error {traceback.format_exc()}")
            raise Failure("INTERNAL_ERROR", f"rig: {exc!r}") from exc

    def _carry_out(self, host: str, method: str, params: list[t.Any], fault: Fault | None, from_json: bool) -> tuple[str, t.Any]:
        is_async = method.startswith("Async.")
        name = method[len("Async.") :] if is_async else method
        cls, message, sig = self.facts.find(name)
        if is_async and not self.facts.has_async(cls, message):
            raise Failure("MESSAGE_METHOD_UNKNOWN", method)
        needs_session = sig.get("session", True)
        given = list(params)
        session = given.pop(0) if needs_session and given else ""
        defaults = DEFAULTED.get(f"{cls}.{message}", [])
        expected = len(sig["params"])
        if needs_session and not params or not expected - len(defaults) <= len(given) <= expected:
            raise Failure("MESSAGE_PARAMETER_COUNT_MISMATCH", method, str(expected), str(len(given)))
        if needs_session:
            if not isinstance(session, str):
                raise TypeMismatch("session_id: a string is expected")
            if fault is not None and fault.kind == "session_invalid":
                self.open_sessions.pop(session, None)
            self.check_session(session)
        if host != self.pool_obj()["master"]:
            raise Failure("HOST_IS_SLAVE", self.master()["address"])
        if fault is not None and fault.kind == "error":
            raise Failure(*fault.error)
        if sig.get("state") == "removed":
            raise Failure("MESSAGE_REMOVED")
        args = [
            self.facts.read(kind, value, from_json, f"{name}({label})")
            for (kind, label), value in zip(sig["params"], given, strict=False)
        ]
        args += [copy.deepcopy(d) for d in defaults[len(defaults) - (expected - len(args)) :]] if len(args) < expected else []
        self._check_constructor(cls, sig["params"], args)
        self._check_refs(sig["params"], args)
        call = Call(host, session, name)
        if is_async:
            return "task ref", self._start_async(call, cls, message, sig, args)
        return sig["result"], self._run(call, cls, message, sig, args)

    def _check_constructor(self, cls: str, params: list[list[str]], args: list[t.Any]) -> None:
        if [kind for kind, _label in params] == [f"{cls} record"]:
            for field in self.facts.required[cls]:
                if field not in args[0]:
                    self.violation(f"{cls}.create without {field}")
                    raise Failure("INTERNAL_ERROR", f'Server_helpers.Dispatcher_FieldNotFound("{field}")')

    def _check_refs(self, params: list[list[str]], args: list[t.Any]) -> None:
        """Object arguments must exist; a setter's value may be NULL."""
        for (kind, label), value in zip(params, args, strict=True):
            if (
                kind.endswith(" ref")
                and kind[:-4] in self.facts.fields
                and not (label in ("value", "sr", "host") and value == NULL)
            ):
                self.store.get(kind[:-4], value)

    def _run(self, call: Call, cls: str, message: str, sig: dict[str, t.Any], args: list[t.Any]) -> t.Any:
        special = getattr(self, f"{cls}_{message}", None)
        if special is not None and (cls, message) == ("event", "from"):
            result = special(call, *args)  # waits on the condition itself
        else:
            with self.store.changed:
                result = special(call, *args) if special is not None else self._generic(cls, message, args)
        if self.take_fault(call.method, "drop_after"):
            raise CutConnection
        return result

    def _generic(self, cls: str, message: str, args: list[t.Any]) -> t.Any:
        """Getters and setters that need no rule of their own."""
        fields = self.facts.fields[cls]
        if message == "get_record":
            return self.store.get(cls, args[0]).fields
        if message == "get_all":
            return list(self.store.by_class[cls])
        if message == "get_all_records":
            return {o.ref: o for o in self.store.all(cls)}
        if message == "get_by_uuid":
            return self.store.by_uuid(cls, args[0]).ref
        if message == "get_by_name_label":
            return [o.ref for o in self.store.all(cls) if o["name_label"] == args[0]]
        if message.startswith("get_") and message[4:] in fields:
            return self.store.get(cls, args[0])[message[4:]]
        for prefix in ("set_", "add_to_", "remove_from_", "add_", "remove_"):
            field = message[len(prefix):]  # fmt: skip
            if not message.startswith(prefix) or field not in fields or fields[field][1] != "RW":
                continue
            obj = self.store.get(cls, args[0])
            old = obj[field]
            if prefix == "set_":
                self.store.set(obj, **{field: args[1]})
            elif prefix == "add_to_" and is_map(fields[field][0]):
                if args[1] in old:
                    raise Failure("MAP_DUPLICATE_KEY", cls, field, obj["uuid"], args[1])
                self.store.set(obj, **{field: {**old, args[1]: args[2]}})
            elif prefix == "remove_from_":
                self.store.set(obj, **{field: {k: v for k, v in old.items() if k != args[1]}})
            elif prefix == "add_":
                self.store.set(obj, **{field: [*old, *([] if args[1] in old else [args[1]])]})
            else:
                self.store.set(obj, **{field: [v for v in old if v != args[1]]})
            return ""
        raise Failure("NOT_IMPLEMENTED", f"{cls}.{message}")

    @contextlib.contextmanager
    def operation(self, call: Call, obj: Obj, op: str) -> t.Iterator[None]:
        """Marks an operation as under way on an object; another one at the same time is refused."""
        for other_ref, other in obj["current_operations"].items():
            raise Failure("OTHER_OPERATION_IN_PROGRESS", obj.cls, obj.ref, other, other_ref)
        with self.under_way(call, obj, op):
            yield

    # -- sessions --------------------------------------------------------------------------------------------------

    def check_session(self, ref: str) -> None:
        with self.store.changed:
            if ref not in self.open_sessions:
                raise Failure("SESSION_INVALID", ref)

    def session_login_with_password(self, call: Call, uname: str, pwd: str, version: str, originator: str) -> str:
        if uname != self.username or pwd != self.password:
            raise Failure("SESSION_AUTHENTICATION_FAILED", uname, "Authentication failure")
        session = self.store.add(
            "session", this_host=call.host, is_local_superuser=True, auth_user_name=uname, originator=originator, pool=False,
            last_active=self.now(), validation_time=self.now(),
        )  # fmt: skip
        self.open_sessions[session.ref] = originator
        same = [ref for ref, who in self.open_sessions.items() if who == originator]
        for ref in same[: max(0, len(same) - SESSIONS_PER_ORIGINATOR)]:
            self.kill_session(ref)
        return session.ref

    def session_logout(self, call: Call) -> None:
        self.kill_session(call.session)

    def kill_session(self, ref: str) -> None:
        """Ends a session from outside; a call that waits for events on it ends with SESSION_INVALID."""
        with self.store.changed:
            self.open_sessions.pop(ref, None)
            obj = self.store.objects.get(ref)
            if obj is not None:
                self.store.remove(obj)

    # -- tasks -----------------------------------------------------------------------------------------------------

    def new_task(self, label: str, description: str = "") -> Obj:
        return self.store.add(
            "task", name_label=label, name_description=description, status="pending", created=self.now(),
            type="<none/>", resident_on=self.master().ref, allowed_operations=["cancel"],
        )  # fmt: skip

    def finish_task(self, task: Obj | None, *, result: str = "", failure: Failure | None = None) -> None:
        with self.store.changed:
            if task is None or task.ref not in self.store.objects or task["status"] not in ("pending", "cancelling"):
                return
            values: dict[str, t.Any] = {"finished": self.now(), "progress": 1.0}
            if failure is None:
                values.update(status="success", result=result)
            else:
                values.update(status="failure", error_info=failure.description)
            self.store.set(task, **values)
            # The oldest finished tasks go, read or not (db_gc_util.ml, max_tasks).
            finished = [one for one in self.store.all("task") if one["status"] not in ("pending", "cancelling")]
            for one in sorted(finished, key=lambda one: one["finished"])[: max(0, len(self.store.by_class["task"]) - MAX_TASKS)]:
                self.store.remove(one)

    def task_create(self, call: Call, label: str, description: str) -> str:
        return self.new_task(label, description).ref

    def task_destroy(self, call: Call, self_: str) -> None:
        self.store.remove(self.store.get("task", self_))

    def task_cancel(self, call: Call, task: str) -> None:
        obj = self.store.get("task", task)
        if obj["status"] == "pending":
            self.store.set(obj, status="cancelled", finished=self.now(), error_info=["TASK_CANCELLED", task])

    def task_set_status(self, call: Call, self_: str, value: str) -> None:
        self.store.set(self.store.get("task", self_), status=value)

    def task_set_progress(self, call: Call, self_: str, value: float) -> None:
        self.store.set(self.store.get("task", self_), progress=value)

    def _start_async(self, call: Call, cls: str, message: str, sig: dict[str, t.Any], args: list[t.Any]) -> str:
        task = self.new_task(f"Async.{cls}.{message}")
        call.task = task.ref

        def work() -> None:
            try:
                result = self._run(call, cls, message, sig, args)
                text = "" if sig["result"] == "void" else xml_value(self.facts, sig["result"], result)
                self.finish_task(task, result=text)
            except Failure as failure:
                self.finish_task(task, failure=failure)
            except CutConnection:
                self.finish_task(task, failure=Failure("INTERNAL_ERROR", "rig: fault"))

        threading.Thread(target=work, daemon=True).start()
        return task.ref

    # -- events ----------------------------------------------------------------------------------------------------

    def list_methods(self) -> list[str]:
        return [f"{cls}.{name}" for cls, messages in self.facts.messages.items() for name in messages]

    def event_inject(self, call: Call, class_: str, ref: str) -> str:
        cls = self.facts.lower.get(class_.lower(), class_)
        obj = self.store.get(cls, ref)
        obj.modified = self.store._tick()
        return self._token()

    def event_get_current_id(self, call: Call) -> int:
        return self.store.counter

    def _token(self, counter: int | None = None) -> str:
        value = self.store.counter if counter is None else counter
        return f"{value:020d},{0:020d}"

    def _subscription(self, classes: list[str]) -> tuple[set[str], set[tuple[str, str]]]:
        """Classes that are wanted whole, and single objects (class, reference)."""
        wanted: set[str] = set()
        refs: set[tuple[str, str]] = set()
        for entry in classes:
            cls, slash, ref = entry.partition("/")
            if cls == "*" and not slash:
                wanted.update(self.facts.fields)
            elif cls.lower() in EVENT_CLASS_KIND:
                if slash:
                    refs.add((self.facts.lower[cls.lower()], ref))
                else:
                    wanted.add(self.facts.lower[cls.lower()])
            elif cls.lower() not in self.facts.lower:
                raise Failure("EVENT_SUBSCRIPTION_PARSE_FAILURE", entry)
        wanted.discard("session")
        return wanted, refs

    def _events_since(self, since: int, wanted: set[str], refs: set[tuple[str, str]]) -> list[tuple[str, str, str, Obj | None]]:
        # Small subscriptions look at their own objects only, not at the whole pool.
        objects = [o for cls in wanted for o in self.store.by_class[cls].values()]
        objects += [o for cls, ref in refs if cls not in wanted for o in [self.store.by_class[cls].get(ref)] if o]
        found: list[tuple[str, str, str, Obj | None]] = []
        for obj in objects:
            if obj.created > since:
                found.append(("add", obj.cls, obj.ref, obj))
            elif obj.modified > since:
                found.append(("mod", obj.cls, obj.ref, obj))
        for gone in reversed(self.store.deleted if since else []):
            if gone.deleted <= since:
                break
            if gone.created <= since and (gone.cls in wanted or (gone.cls, gone.ref) in refs):
                found.append(("del", gone.cls, gone.ref, None))
        return found

    def event_from(self, call: Call, classes: list[str], token: str, timeout: float) -> dict[str, t.Any]:
        wanted, refs = self._subscription(classes)
        if token and not re.fullmatch(r"\d{20},\d{20}", token):
            raise Failure("EVENT_FROM_TOKEN_PARSE_FAILURE", token)
        since = int(token[:20]) if token else 0

        def ready() -> bool:
            if call.session not in self.open_sessions:
                raise Failure("SESSION_INVALID", call.session)
            return bool(self._events_since(since, wanted, refs))

        with self.store.changed:
            self.store.changed.wait_for(ready, 24 * 3600.0 if timeout < 0 else timeout)
            if call.session not in self.open_sessions:
                raise Failure("SESSION_INVALID", call.session)
            events = self._events_since(since, wanted, refs)
            counts = {cls.lower(): len(objs) for cls, objs in self.store.by_class.items()}
            # Encoded under the lock, because records may change meanwhile.
            return {"events": events, "valid_ref_counts": counts, "token": self._token()}
