"""FACT notes: what an agent or a person has found out and others may need, by gossip.

A note is about a whole job, about a task, for that task and all that build on it, or about a path,
for whoever writes or sees that file. Only what concerns a task reaches its agent, newest first, as
much as fits; what has expired reaches nobody. Of several independent answers to a task none is told
what the agents of the others have found out, for that may be their answer.

Invariant: a note is its author's own, and an author has at most `NOTES_MAX` for a job: a newer one
takes the oldest one's place. Only notes of jobs that go on here are kept in memory: those of a job
that is not known yet, or that there never was, lie in the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from protocol import codec, graph
from protocol.clocks import DRIFT_MAX, MILLISECOND, Nanoseconds
from protocol.identity import NodeId
from protocol.jobs import PATH_LENGTH_MAX, SLOTS_MAX, Task
from protocol.ledger import JobState
from protocol.store import Store, word_of
from protocol.turn import Turn

LORE_PREFIX = "fact/"
TEXT_LENGTH_MAX = 1_000  # characters of a note
NOTES_MAX = 64
SHOWN_MAX = 6_000  # characters of all that one agent is told: some 1,500 tokens
LIFETIME_MAX_S = 10**8  # three years
NO_SLOT = SLOTS_MAX  # of a note that no agent has left: slots are numbered from 0


class Scope(Enum):
    """What a note is about."""

    JOB = "job"
    TASK = "task"
    PATH = "path"


@dataclass(frozen=True, slots=True)
class FactNote:
    """The value of `fact/JOB/NODE/PLACE`. `about` is the task or the path, `number` counts the
    author's notes for the job; times are those of the author's wall clock, in milliseconds, and
    one that expires at 0 holds as long as the job. `slot` is that of the agent whose note it is."""

    node: NodeId
    number: int
    scope: Scope
    about: str
    text: str
    written_at: int
    expires_at: int = 0
    slot: int = NO_SLOT


class Lore:
    """The notes of the jobs that go on, as far as they have come here."""

    def __init__(self, node: NodeId, store: Store) -> None:
        self.node = node
        self._store = store
        self._notes: dict[str, dict[str, FactNote]] = {}  # of jobs that go on, by job and key

    def write(
        self,
        turn: Turn,
        job: JobState,
        text: str,
        scope: Scope,
        about: str = "",
        lifetime: Nanoseconds = 0,
        slot: int = NO_SLOT,
    ) -> str:
        """Tell everybody; why that makes no sense, empty if it does."""
        if fault := _fault_of(job, text, scope, about):
            return fault
        now = turn.wall // MILLISECOND
        expires_at = now + lifetime // MILLISECOND if lifetime else 0
        known = [note for note in self._open(job).values() if note.node == self.node]
        what = (scope, about, slot, text)
        if any((note.scope, note.about, note.slot, note.text) == what for note in known):
            return ""
        number = 1 + max((note.number for note in known), default=0)
        note = FactNote(self.node, number, scope, about, text, now, expires_at, slot)
        key = f"{LORE_PREFIX}{job.job.id}/{self.node}/{number % NOTES_MAX}"
        turn.write(key, codec.pack_value(note))
        self._open(job)[key] = note
        return ""

    def learn(self, key: str) -> bool:
        """Take note of what the store has under a key of a note; whether it counts."""
        parts = key.split("/")
        notes = self._notes.get(parts[1]) if len(parts) == 4 else None
        if notes is None:
            return False
        note = self._read(key)
        if note is None:
            return notes.pop(key, None) is not None
        notes[key] = note
        return True

    def _open(self, job: JobState) -> dict[str, FactNote]:
        """The notes for a job that goes on, from now on in memory."""
        notes = self._notes.get(job.job.id)
        if notes is None:
            notes = self._notes[job.job.id] = self._stored(job.job.id)
        return notes

    def _stored(self, job: str) -> dict[str, FactNote]:
        keys = self._store.scan(f"{LORE_PREFIX}{job}/")
        return {key: note for key in keys if (note := self._read(key))}

    def _read(self, key: str) -> FactNote | None:
        """The note under a key; None if there is none, or it is too long or not in its place."""
        _, _, author, place, *more = key.split("/")
        found = word_of(NodeId(author), self._store.read(key), FactNote)
        if found is None or more:
            return None
        note, _ = found
        is_short = len(note.text) <= TEXT_LENGTH_MAX and len(note.about) <= PATH_LENGTH_MAX
        return note if is_short and place == str(note.number % NOTES_MAX) else None

    def all(self, job: str) -> Sequence[FactNote]:
        """All notes for a job, oldest first."""
        notes = self._notes[job] if job in self._notes else self._stored(job)
        return sorted(notes.values(), key=lambda note: (note.written_at, note.node, note.number))

    def told(self, job: JobState, task: Task, wall: Nanoseconds, slot: int = 0) -> tuple[str, ...]:
        """What an agent that works on this answer to the task is told, oldest first."""
        before = graph.ancestors_of(job.job.needs, task.id)
        paths = {*task.writes, *(path for name in before for path in job.tasks[name].task.writes)}
        paths.update(file.path for file in job.job.files)
        left = SHOWN_MAX
        told: dict[str, None] = {}
        self._open(job)
        latest = (wall + DRIFT_MAX) // MILLISECOND
        # What says that it comes from the future is not the newest for ever, but the oldest.
        notes = sorted(self.all(job.job.id), key=lambda note: note.written_at <= latest)
        for note in reversed(notes):
            is_another_answer = note.about == task.id and note.slot not in (NO_SLOT, slot)
            is_over = note.expires_at and note.expires_at * MILLISECOND <= wall
            concerns = (
                note.scope is Scope.JOB
                or (note.scope is Scope.TASK and note.about in {task.id, *before})
                or (note.scope is Scope.PATH and note.about in paths)
            )
            if is_over or is_another_answer or not concerns or note.text in told:
                continue
            if len(note.text) > left:
                break
            left -= len(note.text)
            told[note.text] = None
        return tuple(reversed(told))

    def forget(self, job: str) -> None:
        """Keep no note of a finished job in memory."""
        self._notes.pop(job, None)


def _fault_of(job: JobState, text: str, scope: Scope, about: str) -> str:
    if not text.strip() or len(text) > TEXT_LENGTH_MAX:
        return f"a note has 1 to {TEXT_LENGTH_MAX} characters"
    if len(about) > PATH_LENGTH_MAX:
        return f"what a note is about has a name of at most {PATH_LENGTH_MAX} characters"
    if scope is Scope.TASK and about not in job.tasks:
        return f"job {job.job.id!r} has no task {about!r}"
    if scope is Scope.PATH and about not in set(_paths_of(job)):
        return f"job {job.job.id!r} has no file {about!r}"
    return ""


def _paths_of(job: JobState) -> Iterator[str]:
    for file in job.job.files:
        yield file.path
    for task in job.job.tasks:
        yield from task.writes
