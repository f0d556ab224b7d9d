"""FAIL notes: why attempts at a task gave no result, for whoever tries next; and what they cost,
also those that were only stopped.

Invariant: a note is its author's own.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol import claims, codec
from protocol.claims import FailNote
from protocol.events import Failure
from protocol.identity import NodeId
from protocol.jobs import Usage
from protocol.ledger import Ledger, Unit
from protocol.store import Store, word_of
from protocol.turn import Turn

DETAIL_LENGTH_MAX = 2_000  # characters of why something failed, or was found wrong
# The reasons of notes about a model that was asked to judge answers or to merge versions: it did,
# and the note only tells what it used; or it failed. The last is followed by what was to be merged.
JUDGED, UNJUDGED, UNMERGED = "judged", "unjudged", "unmerged"


def is_of_review(reason: str) -> bool:
    """Whether a note tells of a judge or a merge, and not of an attempt at its task."""
    return reason.split(" ", 1)[0] in (JUDGED, UNJUDGED, UNMERGED)


class Notes:
    """The notes of the jobs that go on, as far as they have come here."""

    def __init__(self, node: NodeId, ledger: Ledger, store: Store) -> None:
        self.node = node
        self._ledger = ledger
        self._store = store
        self._notes: dict[tuple[str, str], dict[str, FailNote]] = {}
        self._costs: dict[str, dict[str, Usage]] = {}  # by job and key, also of finished jobs

    def of(self, job: str, task: str) -> Sequence[FailNote]:
        """What is known of failed attempts at a task. To be stopped is no failure."""
        notes = self._notes.get((job, task), {}).values()
        stopped = Failure.ABORTED.value
        return [n for n in notes if n.reason != stopped and not is_of_review(n.reason)]

    def of_slot(self, unit: Unit) -> Sequence[FailNote]:
        """The same for one slot: answers in others are independent, and why one of them was wrong
        may well quote it."""
        job, task, slot = unit
        return [note for note in self.of(job, task) if note.slot == slot]

    def of_review(self, job: str, task: str, reason: str) -> Sequence[FailNote]:
        """Of the models that judged or merged, those that failed: reason as in `is_of_review`."""
        notes = self._notes.get((job, task), {}).values()
        return [note for note in notes if note.reason == reason]

    def write(self, turn: Turn, job: str, task: str, note: FailNote) -> None:
        """Leave a note of this node's."""
        costs = self._costs.get(job, {})
        number = 0
        while (key := claims.note_key(job, task, self.node, number)) in costs:
            number += 1
        turn.write(key, codec.pack_value(note))
        self._keep(job, task, key, note)

    def learn(self, key: str) -> bool:
        """Take note of what the store has under a key that begins with note/; whether it counts."""
        parts = key.split("/")
        if len(parts) != 5:
            return False
        found = word_of(NodeId(parts[3]), self._store.read(key), FailNote)
        return found is not None and self._keep(parts[1], parts[2], key, found[0])

    def _keep(self, job: str, task: str, key: str, note: FailNote) -> bool:
        self._costs.setdefault(job, {})[key] = note.usage
        state = self._ledger.jobs.get(job)
        if state and state.is_finished:
            return False  # nobody asks any more why
        self._notes.setdefault((job, task), {})[key] = note
        return True

    def usage(self, job: str) -> Usage:
        """What attempts at the job consumed that gave no result."""
        total = Usage()
        for usage in self._costs.get(job, {}).values():
            total = total.plus(usage)
        return total

    def forget(self, job: str) -> None:
        """Drop why attempts at a finished job failed; what they cost is still asked for."""
        for noted in [noted for noted in self._notes if noted[0] == job]:
            del self._notes[noted]

    def drop(self, job: str) -> None:
        """Nothing is asked of the job any more."""
        self.forget(job)
        self._costs.pop(job, None)
