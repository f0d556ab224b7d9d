"""Reading back what a node wrote down: the facts of one task, and what explains them.

Invariant: what is read is bounded (the record, and the file that was put aside before it), and so
is what comes of it: the newest facts of the task, and the newest elections and losses of members.
How many older facts were left out is told. A line that is damaged, or of a kind unknown here, is
passed over.

The last few hundredths of a second may be missing: lines wait that long for the disk (`log_files`).
"""

from __future__ import annotations

import json
import os
import re
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, get_origin, get_type_hints

from node.log_files import FILE_SIZE_MAX
from node.telemetry import RECORD
from protocol.facts import Fact
from protocol.facts.agreement import LeaderElected
from protocol.facts.membership import MemberFailed, MemberJoined, MemberLeft
from protocol.facts.work import (
    AnswerGiven,
    AnswersJudged,
    AttemptAborted,
    AttemptFailed,
    ClaimLost,
    JobFinished,
    JobSubmitted,
    LeaseExpired,
    RaceEnded,
    ResultLate,
    ResultProposed,
    ResultReviewed,
    TaskAbandoned,
    TaskAccepted,
    TaskClaimed,
    TaskCloned,
    TaskCompleted,
    TaskFenced,
    TaskStarted,
)

FACTS_MAX = 500  # of one task, from one node
CONTEXT_MAX = 500  # elections and losses, from one node
READ_SIZE_MAX = 2 * FILE_SIZE_MAX  # of each file, from its end; a node's own are smaller

_OF_A_TASK = (
    *(TaskClaimed, TaskCloned, ClaimLost, LeaseExpired, TaskFenced, TaskStarted, TaskCompleted),
    *(AttemptFailed, AttemptAborted, TaskAccepted, ResultLate, AnswerGiven, ResultProposed),
    *(ResultReviewed, AnswersJudged, TaskAbandoned, RaceEnded),
)
_OF_A_JOB = (JobSubmitted, JobFinished)
_CONTEXT = (LeaderElected, MemberFailed, MemberLeft, MemberJoined)
_KINDS: dict[str, type[Fact]] = {
    kind.__name__: kind for kind in (*_OF_A_TASK, *_OF_A_JOB, *_CONTEXT)
}
# As `json.dumps` spaces it. A quote within a text has a backslash before it.
_TYPE = re.compile(rb'"type": "(\w+)"')
_TASK = re.compile(rb'"job": "([\w.-]+)", "task": "([\w.-]+)"')


@dataclass(frozen=True, slots=True)
class Recollection:
    """Records in the order in which it happened to the node; so many older ones of the task were
    left out. `begins_s` is of the oldest line that is still there, in seconds since the epoch; 0.0
    if there is none."""

    records: tuple[dict[str, Any], ...] = ()
    dropped: int = 0
    begins_s: float = 0.0


def recollect(folder: Path, job: str, task: str) -> Recollection:
    """What the node with this data folder wrote down of a task. Reads files: nothing for a loop."""
    of_job = b'"job": "%s"' % job.encode()
    of_task = b'%s, "task": "%s"' % (of_job, task.encode())
    own: deque[tuple[float, int, dict[str, Any]]] = deque(maxlen=FACTS_MAX)
    context: deque[tuple[float, int, dict[str, Any]]] = deque(maxlen=CONTEXT_MAX)
    found, begins_s = 0, 0.0
    for number, line in enumerate(_lines(folder)):
        begins_s = begins_s or _time_of(line)
        if b'"task": ' in line and of_task not in line:
            continue  # of another task, as most are
        kind = _kind_of(line)
        if kind in _CONTEXT:
            kept = context
        elif (kind in _OF_A_JOB and of_job in line) or (kind in _OF_A_TASK and of_task in line):
            kept = own
        else:
            continue
        record = _record_of(line)
        if record is not None:
            found += kept is own
            kept.append((record["happened"], number, record))
    in_order = sorted((*own, *context), key=lambda each: each[:2])
    return Recollection(tuple(each[2] for each in in_order), found - len(own), begins_s)


def tasks_in(folder: Path) -> dict[str, list[str]]:
    """The tasks that a node's record tells of, each with its jobs, the latest last."""
    found: dict[str, dict[str, None]] = {}
    for line in _lines(folder):
        if _kind_of(line) in _OF_A_TASK and (names := _TASK.search(line)) is not None:
            job, task = names[1].decode(), names[2].decode()
            jobs = found.setdefault(task, {})
            jobs.pop(job, None)
            jobs[job] = None
    return {task: list(jobs) for task, jobs in found.items()}


def fact_of(record: Mapping[str, Any]) -> Fact | None:
    """The fact that a record was made of (`telemetry.fact_as_json`); None if it is of a kind
    unknown here, or not as that kind is."""
    kind = _KINDS.get(str(record.get("type")))
    if kind is None:
        return None
    values = {}
    for name, wanted in _shapes()[kind]:
        value = record.get(name)
        value = tuple(value) if wanted is tuple and isinstance(value, list) else value
        if type(value) is not wanted:
            return None
        values[name] = value
    return kind(**values)


@cache
def _shapes() -> dict[type[Fact], list[tuple[str, type]]]:
    """The fields of each kind of fact, with the plain types of their values."""
    return {
        kind: [
            (name, _plain(hint)) for name, hint in get_type_hints(kind).items() if name != "mark"
        ]
        for kind in _KINDS.values()
    }


def _plain(hint: Any) -> type:
    hint = getattr(hint, "__supertype__", hint)  # what a NewType is in truth
    found: type = get_origin(hint) or hint
    return found


def _lines(folder: Path) -> Iterator[bytes]:
    """The lines of both files, oldest first. The newer one is opened first: if it is put aside in
    between, it is found to be the other one as well."""
    with ExitStack() as opened:
        newer = _open(folder / RECORD, opened)
        older = _open(folder / f"{RECORD}.1", opened)
        if newer and older and os.path.sameopenfile(newer.fileno(), older.fileno()):
            older = None
        for file in (older, newer):
            if file is None:
                continue
            if os.fstat(file.fileno()).st_size > READ_SIZE_MAX:
                file.seek(-READ_SIZE_MAX, os.SEEK_END)
                file.readline()
            yield from file


def _open(path: Path, opened: ExitStack) -> BinaryIO | None:
    try:
        return opened.enter_context(path.open("rb"))
    except FileNotFoundError:
        return None


def _kind_of(line: bytes) -> type[Fact] | None:
    named = _TYPE.search(line)
    return _KINDS.get(named[1].decode()) if named else None


def _record_of(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None  # torn by a crash
    is_ours = isinstance(record, dict) and type(record.get("happened")) is float
    return record if is_ours and fact_of(record) is not None else None


def _time_of(line: bytes) -> float:
    try:
        return float(json.loads(line)["happened"])
    except (ValueError, TypeError, KeyError):
        return 0.0
