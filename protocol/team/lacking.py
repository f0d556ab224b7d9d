"""Who has not got what a piece of reviewing takes: the program of a check, or the program or the
model that merges or judges.

Such a node says so to all in a note, and the piece is left to the others. That is no try at the
piece, for it says nothing about it; once all the living have said so, the piece is given up.

Invariant: a note bars its node from no more than what it lacks. Who cannot merge or judge can do
the task all the same, as can who lacks the check of some other task whose version is merged. Only
who cannot check a task's result lacks what the task itself takes as well, so that is noted as a
failed attempt at the task is.
"""

from __future__ import annotations

from collections.abc import Collection

from protocol.claims import FailNote
from protocol.events import Failure
from protocol.identity import NodeId
from protocol.team.notes import DETAIL_LENGTH_MAX, UNEQUIPPED, Notes
from protocol.team.pieces import (
    AnswersToJudge,
    MergeToReview,
    Piece,
    ResultToReview,
    VersionsToMerge,
    askable,
    checked_tasks,
    is_check,
)

_OF_AGENT = (Failure.NO_PROGRAM, Failure.NO_MODEL)
_CHECK = f"{UNEQUIPPED} check"


def lack_of(piece: Piece, failure: Failure) -> str:
    """What a note says of a node that failed so because it lacks something; empty if that is not
    why. All merges of the same tasks have the same checks, but one may need nobody's help where
    another one does."""
    match piece:
        case ResultToReview() if failure is Failure.NO_CHECK:
            return Failure.NO_CHECK.value
        case VersionsToMerge() | MergeToReview() if failure is Failure.NO_CHECK:
            return f"{_CHECK} {' '.join(piece.siblings[1])}"
        case VersionsToMerge() if failure in _OF_AGENT:
            path, tasks = piece.siblings
            return f"{UNEQUIPPED} merge {path} of {' '.join(tasks)}"
        case AnswersToJudge() if failure in _OF_AGENT:
            return f"{UNEQUIPPED} judge"
    return ""


def lacking(notes: Notes, piece: Piece) -> dict[NodeId, FailNote]:
    """Who lacks something that it takes, and what was said there."""
    job, last, _ = piece.unit
    reasons = dict.fromkeys(lack_of(piece, each) for each in (Failure.NO_CHECK, *_OF_AGENT))
    found = [note for each in reasons if each for note in notes.of_review(job, last, each)]
    for task in checked_tasks(piece):
        found += [n for n in notes.of(job, task) if n.reason == Failure.NO_CHECK.value]
    return {note.node: note for note in found}


def why_nobody_can(notes: Notes, alive: Collection[NodeId], piece: Piece) -> str:
    """Why, if each living node lacks something, but for who has made what is to be checked; empty
    if one may be able."""
    others = askable(alive, piece)
    known = lacking(notes, piece)
    if not others or not others <= known.keys():
        return ""
    said = [known[node] for node in sorted(others)]
    who = "other node" if is_check(piece) else "node"
    is_of_checks = all(
        note.reason == Failure.NO_CHECK.value or note.reason.startswith(_CHECK) for note in said
    )
    details = dict.fromkeys(note.detail for note in said)
    made = "judge" if isinstance(piece, AnswersToJudge) else "merge"
    verb = "check" if is_of_checks else made
    return f"no {who} can {verb} it: {'; '.join(details)}"[:DETAIL_LENGTH_MAX]
