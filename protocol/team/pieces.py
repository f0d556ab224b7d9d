"""What waits for a node that looks at the work of others: results and merges whose checks are to be
run again, answers to be judged, versions of a file to be merged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from protocol.effects import Assignment, Proposal, Purpose
from protocol.identity import NodeId
from protocol.jobs import VerifyBy
from protocol.ledger import JobState, Siblings, Unit
from protocol.team.merging import check_assignment
from protocol.team.notes import UNJUDGED, UNMERGED, UNREVIEWED
from protocol.team.orders import assignment_of


@dataclass(frozen=True, slots=True)
class ResultToReview:
    """A result that waits for another node's word."""

    unit: Unit
    attempt: tuple[int, NodeId, int]

    @property
    def maker(self) -> NodeId:
        return self.attempt[1]


@dataclass(frozen=True, slots=True)
class AnswersToJudge:
    """The answers of a task, of which a model is to say which agree. `unit` is its first slot."""

    unit: Unit


@dataclass(frozen=True, slots=True)
class VersionsToMerge:
    """Versions of a file; `unit` is of the last task that wrote one."""

    unit: Unit
    siblings: Siblings


@dataclass(frozen=True, slots=True)
class MergeToReview:
    """A merge that waits for another node's word, after `number` that were wrong. `unit` as of the
    versions."""

    unit: Unit
    siblings: Siblings
    number: int
    maker: NodeId


Piece: TypeAlias = ResultToReview | AnswersToJudge | VersionsToMerge | MergeToReview


def pieces_of(job: JobState) -> Iterator[Piece]:
    """All that waits in a job."""
    for task in job.reviewed:
        name = task.task.id
        if task.waits_for_judge():
            yield AnswersToJudge((job.job.id, name, 0))
        if task.task.verify_by is VerifyBy.OTHER and task.is_open:
            for number, slot in enumerate(task.slots):
                for answer in slot.candidates:
                    yield ResultToReview((job.job.id, name, number), answer.attempt)
    for siblings in job.merges_due():
        yield VersionsToMerge(_unit_of(job, siblings), siblings)
    for siblings, merge in job.merges_to_review():
        number = job.refuted_merges(siblings)
        yield MergeToReview(_unit_of(job, siblings), siblings, number, merge.node)


def is_check(piece: Piece) -> bool:
    """Whether only a check has to be run."""
    return isinstance(piece, ResultToReview | MergeToReview)


def askable(alive: Collection[NodeId], piece: Piece) -> set[NodeId]:
    """The living, but for whose work it is."""
    nodes = set(alive)
    if isinstance(piece, ResultToReview | MergeToReview):
        nodes.discard(piece.maker)
    return nodes


def distrusted(job: JobState, piece: Piece) -> set[NodeId]:
    """Who has found earlier work of this kind wrong, or made what was found so. A node that lies
    would do it again and again, so these come after the others."""
    match piece:
        case ResultToReview() | AnswersToJudge():
            return {answer.reviewer for answer in job.tasks[piece.unit[1]].refuted()}
        case VersionsToMerge() | MergeToReview():
            proposed = job.proposed.get(piece.siblings)
            refuted = proposed.refuted if proposed else ()
            is_review = isinstance(piece, MergeToReview)
            return {merge.reviewer if is_review else merge.node for merge in refuted}


def reason_of(piece: Piece) -> str:
    """What a note says of a node that failed at it."""
    match piece:
        case AnswersToJudge():
            return UNJUDGED
        case VersionsToMerge():
            path, tasks = piece.siblings
            return f"{UNMERGED} {path} of {' '.join(tasks)}"
        case ResultToReview(_, (slot, node, token)):
            return f"{UNREVIEWED} {slot} {node} {token}"
        case MergeToReview():
            path, tasks = piece.siblings
            return f"{UNREVIEWED} {piece.number} {path} of {' '.join(tasks)}"


def agent_for(job: JobState, piece: Piece) -> str:
    """The kind of agent that merges or judges: the job's program, or the task's own model."""
    is_judging = isinstance(piece, AnswersToJudge)
    program = job.job.judge_program if is_judging else job.job.merge_program
    return "command" if program else job.tasks[piece.unit[1]].task.agent


def checked_tasks(piece: Piece) -> tuple[str, ...]:
    """The tasks whose checks have to be run for it."""
    match piece:
        case AnswersToJudge():
            return ()
        case ResultToReview(unit):
            return (unit[1],)
        case VersionsToMerge() | MergeToReview():
            return piece.siblings[1]


def assignment_for(
    job: JobState, piece: ResultToReview | AnswersToJudge | MergeToReview
) -> Assignment:
    """What is to be done for it. How to merge is another matter (`merging`)."""
    state = job.tasks[piece.unit[1]]
    match piece:
        case MergeToReview():
            merge = job.waiting_merge(piece.siblings)
            return check_assignment(job, piece.siblings, merge.content if merge else b"")
        case AnswersToJudge():
            purpose, token, answers = Purpose.JUDGE, 0, state.answers
        case ResultToReview(unit, attempt):
            purpose, token = Purpose.REVIEW, attempt[2]
            candidates = state.slots[unit[2]].candidates
            answers = [answer for answer in candidates if answer.attempt == attempt]
    given = assignment_of(job, piece.unit, token)
    if purpose is Purpose.JUDGE and job.job.judge_program:
        program = job.job.judge_program
        given = replace(given, task=replace(state.task, agent="command", program=program))
    return replace(
        given,
        purpose=purpose,
        proposals=tuple(Proposal(answer.files, answer.text) for answer in answers),
    )


def _unit_of(job: JobState, siblings: Siblings) -> Unit:
    return job.job.id, siblings[1][-1], 0
