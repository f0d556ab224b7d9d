"""A prompt that is too long for the model, made shorter.

Invariant: what is left out is what can best be done without: first the notes on earlier attempts,
then what those left, then the ends of the files that exist already, where the prompt says so, then
the middle of earlier answers, also of drafts; or the middle of the answers that a judge compares.
The task's own words are never cut, nor are versions to be merged: what is missing in one would be
missing in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from node.prompt.shown import (
    JUDGED_SIZE_MAX,
    shorten,
    show_files,
    show_notes,
    show_proposal,
    shown_of,
)
from protocol.effects import Assignment, Proposal, Purpose
from protocol.jobs import File

SHRINKINGS_MAX = 2
HEAD_MIN = 200  # characters of a file that are left of it
JUDGED_MIN = 200  # characters of an answer that are left of it


def shrink(assignment: Assignment, excess: int) -> Assignment:
    """The assignment with so much of it left out that its prompt is shorter by `excess` characters,
    or as much shorter as it can be."""
    if excess <= 0:
        return assignment
    if assignment.purpose is Purpose.JUDGE:
        return _shrink_proposals(assignment, excess)
    shrunk = assignment
    for leave_out in (_without_notes, _without_partial):
        if excess > 0:
            shrunk, size = leave_out(shrunk)
            excess -= size
    if excess > 0:
        whole, shrunk = shrunk, _with_heads(shrunk, excess)
        excess -= len(show_files(whole.inputs)) - len(show_files(shrunk.inputs))
    if excess > HEAD_MIN:  # else it is only the words that say what is left out
        shrunk = _with_short_answers(shrunk, excess)
    return shrunk


def _without_notes(assignment: Assignment) -> tuple[Assignment, int]:
    return replace(assignment, notes=()), len(show_notes(assignment.notes))


def _without_partial(assignment: Assignment) -> tuple[Assignment, int]:
    return replace(assignment, partial=()), len(show_files(assignment.partial))


def _with_heads(assignment: Assignment, excess: int) -> Assignment:
    """Cut the files that exist already, all to the same share."""
    shown = list(shown_of(assignment.inputs))
    share = _share(sum(len(text) for _, text in shown if text), excess)
    heads = (_head(file, text, share) if text else file for file, text in shown)
    return replace(assignment, inputs=tuple(heads))


def _head(file: File, text: str, share: float) -> File:
    """The first lines of a file, and a word on what is missing."""
    head = text[: max(HEAD_MIN, int(len(text) * share))]
    head = head[: head.rfind("\n") + 1] or f"{head}\n"
    left_out = len(text) - len(head)
    note = f"... (the prompt was too long: {left_out} more characters are left out here)\n"
    if len(note) >= left_out:
        return file
    return File(file.path, (head + note).encode())


def _with_short_answers(assignment: Assignment, excess: int) -> Assignment:
    texts = [shorten(each.text, JUDGED_SIZE_MAX) for each in assignment.answered]
    shorter = zip(assignment.answered, _without_middles(texts, excess), strict=True)
    return replace(assignment, answered=tuple(replace(each, text=text) for each, text in shorter))


def _shrink_proposals(assignment: Assignment, excess: int) -> Assignment:
    texts = [show_proposal(proposal) for proposal in assignment.proposals]
    shorter = _without_middles(texts, excess)
    return replace(assignment, proposals=tuple(Proposal((), text) for text in shorter))


def _without_middles(texts: Sequence[str], excess: int) -> list[str]:
    """Cut all to the same share."""
    share = _share(sum(map(len, texts)), excess)
    return [shorten(text, max(JUDGED_MIN, int(len(text) * share))) for text in texts]


def _share(size: int, excess: int) -> float:
    return max(0.0, 1.0 - excess / size) if size else 0.0
