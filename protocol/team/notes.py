"""FAIL notes: why attempts at a task gave no result, for whoever tries next; what they cost, also
those that were only stopped; and who died at it.

Invariant: a note is its author's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from protocol import claims, codec
from protocol.claims import FailNote
from protocol.clocks import Nanoseconds
from protocol.events import Failure
from protocol.identity import NodeId
from protocol.jobs import NO_USAGE, SHARES_MAX, Share, Usage
from protocol.ledger import Ledger, Unit
from protocol.store import Store, word_of
from protocol.turn import Turn

DETAIL_LENGTH_MAX = 2_000  # characters of why something failed, or was found wrong
# The reasons of notes about a model that was asked to judge answers or to merge versions: it did,
# and the note only tells what it used; or it failed. The last is of a check of somebody else's work
# that came to no end. The last two are followed by what was to be merged, or checked.
JUDGED, UNJUDGED, UNMERGED, UNREVIEWED = "judged", "unjudged", "unmerged", "unreviewed"
# Of notes about a node that lacks what one of these takes; what that is follows. See `lacking`.
UNEQUIPPED = "unequipped"
_OF_REVIEWS = (JUDGED, UNJUDGED, UNMERGED, UNREVIEWED, UNEQUIPPED)
# Of notes about a node that cannot note it itself: what happened to it while it was at work; the
# detail is that node, slot and token are those of its attempt. See `deaths`.
LOST, RESTARTED, DIED = "lost", "restarted", "died"
HOW_CERTAIN = {LOST: 1, RESTARTED: 2, DIED: 3}

# What a node lacks, for good.
LACKING = frozenset(each.value for each in (Failure.NO_PROGRAM, Failure.NO_CHECK, Failure.NO_MODEL))
# What is so at a node, whatever its task.
_OF_NODES = frozenset((Failure.UNREACHABLE.value, *LACKING))


def is_of_review(reason: str) -> bool:
    """Whether a note tells of a judge, a merge or a review, and not of an attempt at its task."""
    return reason.split(" ", 1)[0] in _OF_REVIEWS


def is_of_death(reason: str) -> bool:
    """Whether a note tells of another node, that was lost at its work."""
    return reason in HOW_CERTAIN


def more_certain(one: str, other: str) -> str:
    """Of what two nodes say happened to a third, what is less likely to be a mistake."""
    return max(one, other, key=lambda how: HOW_CERTAIN[how])


@dataclass(frozen=True, slots=True)
class Death:
    """An attempt that ended with its node."""

    slot: int
    node: NodeId
    token: int


@dataclass(frozen=True, slots=True)
class Noted:
    """A note, and when this node heard of it."""

    note: FailNote
    heard_at: Nanoseconds


class Notes:
    """The notes of the jobs that go on, as far as they have come here."""

    def __init__(self, node: NodeId, ledger: Ledger, store: Store) -> None:
        self.node = node
        self._ledger = ledger
        self._store = store
        self._notes: dict[tuple[str, str], dict[str, Noted]] = {}
        self._costs: dict[str, dict[str, FailNote]] = {}  # by job and key, also of finished jobs

    def of(self, job: str, task: str) -> Sequence[FailNote]:
        """What is known of failed attempts at a task. To be stopped is no failure."""
        return [noted.note for noted in self.failures(job, task)]

    def failures(self, job: str, task: str) -> Sequence[Noted]:
        """The same, with when it was heard."""
        known = self._notes.get((job, task))
        if known is None:
            return ()
        stopped = Failure.ABORTED.value
        return [
            noted
            for noted in known.values()
            if noted.note.reason != stopped
            and not is_of_review(noted.note.reason)
            and not is_of_death(noted.note.reason)
        ]

    def deaths(self, job: str, task: str) -> Mapping[Death, str]:
        """Which attempts at a task ended with their nodes, and how."""
        found: dict[Death, str] = {}
        for noted in self._notes.get((job, task), {}).values():
            note = noted.note
            death = Death(note.slot, NodeId(note.detail), note.token)
            if is_of_death(note.reason):
                found[death] = more_certain(note.reason, found.get(death, note.reason))
        return found

    def counted(self, job: str, task: str) -> Sequence[FailNote]:
        """Of the failed attempts at a task those that tell something about it."""
        return [note for note in self.of(job, task) if note.reason not in _OF_NODES]

    def of_slot(self, unit: Unit) -> Sequence[FailNote]:
        """The same for one slot: answers in others are independent, and why one of them was wrong
        may well quote it."""
        job, task, slot = unit
        return [note for note in self.counted(job, task) if note.slot == slot]

    def tasks_of(self, job: str) -> Sequence[str]:
        """The tasks of which there are notes."""
        return [noted[1] for noted in self._notes if noted[0] == job]

    def of_review(self, job: str, task: str, reason: str) -> Sequence[FailNote]:
        """Of those who judged, merged or reviewed, who failed: reason as in `is_of_review`."""
        known = self._notes.get((job, task), {}).values()
        return [noted.note for noted in known if noted.note.reason == reason]

    def write(self, turn: Turn, job: str, task: str, note: FailNote) -> None:
        """Leave a note of this node's."""
        costs = self._costs.get(job, {})
        number = 0
        while (key := claims.note_key(job, task, self.node, number)) in costs:
            number += 1
        turn.write(key, codec.pack_value(note))
        self._keep(job, task, key, Noted(note, turn.now))

    def learn(self, key: str, now: Nanoseconds) -> tuple[str, str, FailNote] | None:
        """Take note of what the store has under a key that begins with note/: the job, the task
        and the note, if that is news and counts."""
        parts = key.split("/")
        if len(parts) != 5:
            return None
        found = word_of(NodeId(parts[3]), self._store.read(key), FailNote)
        if found is None or not self._keep(parts[1], parts[2], key, Noted(found[0], now)):
            return None
        return parts[1], parts[2], found[0]

    def _keep(self, job: str, task: str, key: str, noted: Noted) -> bool:
        self._costs.setdefault(job, {})[key] = replace(noted.note, detail="")
        state = self._ledger.jobs.get(job)
        if state and state.is_finished:
            return False  # nobody asks any more why
        known = self._notes.setdefault((job, task), {})
        if key in known and known[key].note == noted.note:
            return False
        known[key] = noted
        return True

    def costs(self, job: str) -> Iterator[tuple[str, Share, int | None]]:
        """What attempts at the job consumed that gave no result, and earlier ones whose answer they
        were to finish, each with its task and slot; and, without a slot, what judges, merges and
        reviews did."""
        for key, note in self._costs.get(job, {}).items():
            task = key.split("/")[2]
            is_attempt = not is_of_review(note.reason)
            for share in (*note.before[-SHARES_MAX:], Share(note.node, note.token, note.usage)):
                if share.usage != NO_USAGE:
                    yield task, share, note.slot if is_attempt else None

    def usage(self, job: str) -> Usage:
        """The sum of that."""
        total = Usage()
        for _, share, _ in self.costs(job):
            total = total.plus(share.usage)
        return total

    def forget(self, job: str) -> None:
        """Drop why attempts at a finished job failed; what they cost is still asked for."""
        for noted in [noted for noted in self._notes if noted[0] == job]:
            del self._notes[noted]

    def drop(self, job: str) -> None:
        """Nothing is asked of the job any more."""
        self.forget(job)
        self._costs.pop(job, None)
