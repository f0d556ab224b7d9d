"""History files: what clients called and what they were told, for `quorate check`.

Two forms are read: EDN as Jepsen writes it, one map per line or all in one vector, and JSON lines
with the same fields, which is also what `lines` and `write` make. A call has two entries, its
begin and its end, in the order in which they happened:

    {"type": "invoke", "f": "write", "value": ["x", 3], "process": 0, "time": 1200}
    {"type": "ok", "f": "write", "value": ["x", 3], "process": 0, "time": 2100}

    type     invoke; then ok, fail (it did not happen) or info (it may have, or may yet); a call
             without an end is as one with info
    f        read, write, cas, delete
    value    [key, what]: the value to write, [expected, new] for cas, null for delete and for the
             begin of a read, whose end has what was read (null is: nothing); in a history of one
             register just what, without a key
    process  a number or a name; it calls one thing at a time. Entries of "nemesis" are skipped
    time     nanoseconds from any moment on
    result   false at the ok of a cas that found another value; else it may be left out

Other fields are read over. The order of the entries counts, and where `time` is missing or
contradicts it the time is taken to be that of the entry before, or right after: so a call that
stands below an end begins after it. Values are texts, numbers, booleans, null, and lists of such.

Invariant: whatever is wrong with a file is one `HistoryError` whose line names the file, the place
and the remedy.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from node.lab import edn
from protocol.clocks import Nanoseconds
from protocol.errors import QuorateError
from protocol.jobs import shown
from protocol.sim.linearizable import Kind, Operation, Outcome, distinct

SIZE_MAX = 64 * 1024 * 1024  # bytes of a file
OPERATIONS_MAX = 200_000
_TIME_MAX = 2**63
_ENDS = {"ok": Outcome.OK, "fail": Outcome.FAILED, "info": Outcome.UNKNOWN}
_ENTRY_ENDS = {outcome: end for end, outcome in _ENDS.items()}
_KINDS = {kind.value: kind for kind in Kind}
_AS_JEPSEN = "write {:type :invoke, :f :read, :value nil, :process 0} and so on, as Jepsen does"


class HistoryError(QuorateError):
    """A history that cannot be read. One line: what is wrong, where, and what to do."""


class _Refused(Exception):
    """What is wrong, and in which line; the file is added above."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


@dataclass(frozen=True, slots=True)
class _Entry:
    """A begin or an end. `value` may name the key or not; that is seen at the end of the file."""

    line: int
    step: str
    process: int | str
    kind: Kind
    value: Hashable
    at: Nanoseconds
    result: bool


@dataclass(slots=True)
class _Call:
    begin: _Entry
    end: _Entry | None = None


# -- reading -------------------------------------------------------------------------------------


def read(path: Path) -> list[Operation]:
    """The operations of a file, by their calls."""
    label = shown(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(SIZE_MAX + 1)
    except FileNotFoundError:
        raise HistoryError(f"there is no file {label}: give a history, EDN or JSON lines") from None
    except IsADirectoryError:
        raise HistoryError(f"{label} is a folder: give the history in it") from None
    except (OSError, ValueError) as fault:  # ValueError: a name that no file can have
        reason = (isinstance(fault, OSError) and fault.strerror) or fault
        raise HistoryError(f"{label} cannot be read ({reason}): give another file") from None
    if len(content) > SIZE_MAX:
        raise HistoryError(f"{label} is over {SIZE_MAX} bytes: check a part of the history")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content.count(b"\n", 0, fault.start) + 1
        raise HistoryError(f"{label}, line {line}: not UTF-8 text: give a history") from None
    return parse(text, label)


def parse(text: str, label: str) -> list[Operation]:
    """The operations in a text, by their calls. `label` is how messages call it."""
    recording = _Recording()
    try:
        for line, entry in _elements(text):
            recording.take(line, entry)
        operations = recording.operations()
    except edn.EdnError as fault:
        raise HistoryError(f"{label}, line {fault.line}: not EDN: {fault}") from None
    except _Refused as fault:
        raise HistoryError(f"{label}, line {fault.line}: {fault}") from None
    if not operations:
        raise HistoryError(f"{label} holds no operation of a client: {_AS_JEPSEN}")
    return operations


def _elements(text: str) -> Iterator[tuple[int, Any]]:
    """What should be an entry, and its line."""
    if re.match(r'\s*\[\s*\{\s*"', text):
        raise _Refused(1, "this is one JSON array: write one map per line, without the brackets")
    if not re.match(r'\s*\{\s*"', text):
        yield from edn.elements(text)
        return
    for line, written in enumerate(io.StringIO(text), 1):
        if not written.strip():
            continue
        try:
            yield line, json.loads(written, object_pairs_hook=_unique)
        except json.JSONDecodeError as fault:
            raise _Refused(line, f"not JSON: {fault.msg}: correct this line") from None
        except RecursionError:
            raise _Refused(line, "not an operation: lists or maps are nested too deep") from None
        except ValueError as fault:  # also more digits than an int may have
            raise _Refused(line, f"not JSON that is read here: {fault}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entry = dict(pairs)
    if len(entry) < len(pairs):
        raise ValueError("a map has a key twice: keep one")
    return entry


class _Recording:
    """The calls so far, and those that have not ended."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._open: dict[int | str, _Call] = {}
        self._clock: Nanoseconds | None = None  # of the entry before
        self._answered: Nanoseconds | None = None  # when the last answer came

    def take(self, line: int, element: Any) -> None:
        """The next entry."""
        if not isinstance(element, dict):
            raise _Refused(line, f"{shown(element)} is no operation: {_AS_JEPSEN}")
        fields = {str(name).removeprefix(":"): value for name, value in element.items()}
        process = fields.get("process")
        if process in ("nemesis", ":nemesis"):
            return
        if not isinstance(process, (int, str)) or isinstance(process, (bool, edn.Word)):
            raise _Refused(line, f"process {shown(process)} is no number: number the clients")
        step, kind = _name(fields, "type"), _KINDS.get(_name(fields, "f"))
        if step != "invoke" and step not in _ENDS:
            said = shown(fields.get("type"))
            raise _Refused(line, f"type is {said}: it must be invoke, ok, fail or info")
        if kind is None:
            said = shown(fields.get("f"))
            raise _Refused(line, f"f is {said}: only read, write, cas and delete can be checked")
        result = fields.get("result", True)
        if not isinstance(result, bool):
            raise _Refused(line, f"result is {shown(result)}: it must be true or false")
        value = _frozen(line, fields.get("value"))
        at = self._time(line, fields.get("time"), step)
        entry = _Entry(line, step, process, kind, value, at, result)
        if step == "invoke":
            self._begin(entry)
        else:
            self._end(entry)

    def _time(self, line: int, given: Any, step: str) -> Nanoseconds:
        """When the entry happened, such that times say what the order of the entries says."""
        if given is not None and (type(given) is not int or abs(given) > _TIME_MAX):
            raise _Refused(line, f"time is {shown(given)}: it must be in whole nanoseconds")
        if self._clock is None:
            self._clock = given or 0
        at = self._clock + 1 if given is None else max(given, self._clock)
        if step == "invoke" and self._answered is not None:
            at = max(at, self._answered + 1)
        if step == "ok":
            self._answered = at
        self._clock = at
        return at

    def _begin(self, entry: _Entry) -> None:
        other = self._open.get(entry.process)
        if other is not None:
            before = f"before its call of line {other.begin.line} ended"
            raise _Refused(entry.line, f"process {shown(entry.process)} calls {before}")
        if len(self._calls) == OPERATIONS_MAX:
            what = f"over {OPERATIONS_MAX} operations"
            raise _Refused(entry.line, f"{what}: check a part of the history")
        call = _Call(entry)
        self._calls.append(call)
        self._open[entry.process] = call

    def _end(self, entry: _Entry) -> None:
        call = self._open.pop(entry.process, None)
        if call is None:
            raise _Refused(entry.line, f"process {shown(entry.process)} ends what it has not begun")
        if call.begin.kind is not entry.kind:
            begun = f"line {call.begin.line} began a {call.begin.kind.value}"
            raise _Refused(entry.line, f"it ends a {entry.kind.value}, but {begun}")
        call.end = entry

    def operations(self) -> list[Operation]:
        """All of them; what has not ended is unknown."""
        begins = [call.begin for call in self._calls]
        keyed = [begin for begin in begins if _names_key(begin)]
        other = next((begin for begin in begins if not _names_key(begin)), None)
        if other is not None and any(begin.kind is Kind.READ for begin in keyed):
            where = f"line {keyed[0].line} does"
            raise _Refused(
                other.line, f"it names no key, but {where}: write [key, value] in all, or in none"
            )
        return [_operation(call, is_keyed=other is None) for call in self._calls]


def _name(fields: dict[str, Any], field: str) -> str:
    """A keyword or a text as a name; empty if it is something else."""
    value = fields.get(field)
    return value.removeprefix(":") if isinstance(value, str) else ""


def _frozen(line: int, value: Any, depth: int = 0) -> Hashable:
    """A value such that it can be compared and kept."""
    if depth > edn.DEPTH_MAX:
        raise _Refused(line, f"the value is nested over {edn.DEPTH_MAX} levels deep")
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(line, part, depth + 1) for part in value)
    if isinstance(value, dict) or (isinstance(value, float) and not isfinite(value)):
        raise _Refused(
            line, f"the value {shown(value)} is no text, number, boolean, null or list of such"
        )
    assert isinstance(value, Hashable)
    return value


def _pair(value: Hashable) -> tuple[Hashable, Hashable] | None:
    return (value[0], value[1]) if isinstance(value, tuple) and len(value) == 2 else None


def _names_key(begin: _Entry) -> bool:
    """Whether its value can be [key, what]."""
    pair = _pair(begin.value)
    return pair is not None and (begin.kind is not Kind.CAS or _pair(pair[1]) is not None)


def _operation(call: _Call, is_keyed: bool) -> Operation:
    begin, end = call.begin, call.end
    outcome = _ENDS[end.step] if end else Outcome.UNKNOWN
    key, value = (_pair(begin.value) if is_keyed else None) or (None, begin.value)
    if begin.kind is Kind.CAS and _pair(value) is None:
        raise _Refused(begin.line, f"cas has {shown(value)}: it must be [expected, new]")
    if begin.kind in (Kind.READ, Kind.DELETE) and value is not None:
        raise _Refused(begin.line, f"{begin.kind.value} has {shown(value)}: write null")
    told: Hashable = None
    if end is not None and outcome is Outcome.OK:
        told = _told(begin, end, key, value) if is_keyed else end.value
        if begin.kind is not Kind.READ and told is not None and distinct(told) != distinct(value):
            begun = f"line {begin.line} began with {shown(value)}"
            raise _Refused(end.line, f"it ends with {shown(told)}, but {begun}")
        if begin.kind is Kind.CAS:
            told = end.result
    returned_ns = None if end is None or outcome is Outcome.UNKNOWN else end.at
    result = told if begin.kind in (Kind.READ, Kind.CAS) else None
    return Operation(begin.process, begin.kind, key, value, result, begin.at, returned_ns, outcome)


def _told(begin: _Entry, end: _Entry, key: Hashable, value: Hashable) -> Hashable:
    """What stands behind the key at the end; only a read must have it there."""
    pair = _pair(end.value)
    if pair is None and end.value is None and begin.kind is not Kind.READ:
        return value
    if pair is None or distinct(pair[0]) != distinct(key):
        raise _Refused(
            end.line,
            f"it does not name the key of line {begin.line}, {shown(key)}: write [key, value]",
        )
    return pair[1]


# -- writing -------------------------------------------------------------------------------------


def write(path: Path, operations: Iterable[Operation]) -> None:
    """Write a history as JSON lines."""
    path.write_text("".join(f"{line}\n" for line in lines(operations)), encoding="utf-8")


def lines(operations: Iterable[Operation]) -> Iterator[str]:
    """A history as JSON lines; `parse` gives the same operations, by their calls. Values must be
    what JSON can say. At one instant calls stand above ends, for they are concurrent; so a process
    must not call at the very instant of its last answer: a recorder gives it the next one."""
    entries: list[tuple[Nanoseconds, bool, dict[str, Any]]] = []
    for op in operations:
        end = _ENTRY_ENDS[op.outcome]
        ended_ns = op.called_ns if op.returned_ns is None else op.returned_ns
        told = op.result if op.kind is Kind.READ else op.argument
        result = {"result": False} if op.is_mismatch else {}
        entries.append((op.called_ns, False, _entry("invoke", op, op.argument, op.called_ns)))
        entries.append((ended_ns, True, _entry(end, op, told, ended_ns) | result))
    entries.sort(key=lambda entry: entry[:2])
    busy: set[int | str] = set()
    for _, is_end, entry in entries:
        if is_end:
            busy.remove(entry["process"])
        else:
            assert entry["process"] not in busy, f"called before its last answer: {entry}"
            busy.add(entry["process"])
        yield json.dumps(entry, allow_nan=False)


def _entry(step: str, op: Operation, value: Hashable, at: Nanoseconds) -> dict[str, Any]:
    return {
        "type": step,
        "f": op.kind.value,
        "value": [op.key, value],
        "process": op.process,
        "time": at,
    }
