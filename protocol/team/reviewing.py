"""Reviewing: what a node does for tasks that are not its own: it runs a result's check again, has
a model say which answers agree, or merges what tasks made of one file side by side.

The work is small, so it is not claimed: the nodes stand in an order for each piece, the first does
it at once, the second a while later if nothing has come of it, and so on. Whoever has found a
result of the same task wrong before comes last: a reviewer that lies would hold a task up for ever.

Invariant: nobody reviews what its own agent made; at most `reviews_max` reviews run on a node.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TypeAlias

from protocol import claims
from protocol.clocks import Alarm, Nanoseconds
from protocol.config import TeamConfig
from protocol.effects import Abort, Assignment, Invoke, Proposal, Purpose
from protocol.events import AgentFailed, Completed, Failure
from protocol.identity import NOBODY, NodeId
from protocol.jobs import Compare, VerifyBy, likeness_of
from protocol.ledger import Answer, JobState, Ledger, MergeFile, Siblings, TaskState, Unit
from protocol.team.assigning import assignment_of
from protocol.team.merging import merge_assignment, merged_alone, why_nobody_can
from protocol.team.notes import DETAIL_LENGTH_MAX
from protocol.team.view import View
from protocol.team.wishes import Wishes
from protocol.turn import Turn

GROUPS_MAX = 64


@dataclass(frozen=True, slots=True)
class ResultToReview:
    """A result that waits for another node's word."""

    unit: Unit
    attempt: tuple[int, NodeId, int]


@dataclass(frozen=True, slots=True)
class AnswersToJudge:
    """The answers of a task, of which a model is to say which agree. `unit` is its first slot."""

    unit: Unit


@dataclass(frozen=True, slots=True)
class VersionsToMerge:
    """Versions of a file; `unit` is of the last task that wrote one."""

    unit: Unit
    siblings: Siblings


Piece: TypeAlias = ResultToReview | AnswersToJudge | VersionsToMerge


@dataclass(slots=True)
class Review:
    """One that is under way. `is_last`: there is nobody else to try it."""

    piece: Piece
    is_last: bool
    aborted: bool = False


class Reviewing:
    """The reviews of one node."""

    def __init__(
        self,
        node: NodeId,
        config: TeamConfig,
        ledger: Ledger,
        wishes: Wishes,
        alarm: Alarm,
        numbers: count[int],
    ) -> None:
        self.node = node
        self.config = config
        self.running: dict[int, Review] = {}
        self._ledger = ledger
        self._wishes = wishes
        self._alarm = alarm
        self._numbers = numbers
        self._since: dict[Piece, Nanoseconds] = {}  # of what waits
        self._tried: set[Piece] = set()

    def review(self, turn: Turn, view: View, jobs: Sequence[JobState]) -> None:
        """Begin what is this node's turn to do, and stop what is settled."""
        due = {piece: job for job in jobs for piece in _pieces_of(job)}
        self._since = {piece: self._since.get(piece, turn.now) for piece in due}
        self._tried.intersection_update(due)
        for invocation, review in self.running.items():
            if review.piece not in due and not review.aborted:
                review.aborted = True
                turn.perform(Abort(invocation, "it is settled"))
        at_work = {review.piece for review in self.running.values()}
        for piece, job in due.items():
            if piece in self._tried or piece in at_work:
                continue
            order = self._order(view, job.tasks[piece.unit[1]], piece)
            if self.node not in order or len(self.running) >= self.config.reviews_max:
                continue
            rank = order.index(self.node)
            at = self._since[piece] + rank * self._patience(piece)
            if turn.now < at:
                self._alarm.ask(at)
            else:
                self._begin(turn, job, piece, is_last=rank == len(order) - 1)

    def _order(self, view: View, task: TaskState, piece: Piece) -> list[NodeId]:
        """Who may do it, in the order of their turns."""
        nodes = set(view.alive)
        if isinstance(piece, ResultToReview):
            nodes.discard(piece.attempt[1])
        denied = {answer.reviewer for answer in task.refuted()}
        return sorted(nodes, key=lambda node: (node in denied, claims.score(piece.unit, node)))

    def _patience(self, piece: Piece) -> Nanoseconds:
        """After which the next node does it as well."""
        quick = isinstance(piece, ResultToReview)
        return self.config.review_patience_ns if quick else self.config.model_patience_ns

    def _begin(self, turn: Turn, job: JobState, piece: Piece, is_last: bool) -> None:
        if isinstance(piece, VersionsToMerge):
            content, fault = merged_alone(job, piece.siblings), ""
            if content is None:
                fault = why_nobody_can(job, piece.siblings)
            if content is not None or fault:
                self._tried.add(piece)
                self._wish_merge(turn, piece, content or b"", fault)
                return
        invocation = next(self._numbers)
        self.running[invocation] = Review(piece, is_last)
        turn.perform(Invoke(invocation, _assignment(job, piece)))

    def ended(self, turn: Turn, event: Completed | AgentFailed) -> Piece:
        """A review of this node's is over; what it was about."""
        review = self.running.pop(event.invocation)
        if review.aborted:
            return review.piece
        self._tried.add(review.piece)
        match review.piece:
            case AnswersToJudge():
                self._judged(turn, review, event)
            case VersionsToMerge() as piece:
                self._merged(turn, piece, review.is_last, event)
            case ResultToReview(unit, attempt):
                if isinstance(event, Completed):
                    self._wishes.review(turn.now, unit, attempt, self.node, "")
                elif event.reason is Failure.VERIFY:
                    fault = (event.detail or "the check said no")[:DETAIL_LENGTH_MAX]
                    self._wishes.review(turn.now, unit, attempt, self.node, fault)
        return review.piece

    def _judged(self, turn: Turn, review: Review, event: Completed | AgentFailed) -> None:
        """What the model said; if nobody's model said anything, the answers are compared as they
        stand, and no judge is named."""
        job, name, _ = review.piece.unit
        found = self._ledger.slot(job, name, 0)
        if found is None:
            return
        task = found[1]
        groups = _groups_of(event.text) if isinstance(event, Completed) else ()
        judge = self.node
        if len(groups) != len(task.slots):
            if not review.is_last:
                return
            alike = [_likeness_of(slot.answer) for slot in task.slots]
            groups, judge = tuple(alike.index(each) for each in alike), NOBODY
        self._wishes.judge(turn.now, (job, name), judge, groups)

    def _merged(
        self, turn: Turn, piece: VersionsToMerge, is_last: bool, event: Completed | AgentFailed
    ) -> None:
        """What the model made; if nobody's model made anything of it, there is no such file."""
        if isinstance(event, Completed) and len(event.files) == 1:
            self._wish_merge(turn, piece, event.files[0].content, "", by_agent=True)
        elif isinstance(event, AgentFailed) and (is_last or event.reason is Failure.BUDGET):
            fault = f"no model merged it, {event.reason.value}: {event.detail}"[:DETAIL_LENGTH_MAX]
            self._wish_merge(turn, piece, b"", fault, by_agent=True)

    def _wish_merge(
        self, turn: Turn, piece: VersionsToMerge, content: bytes, fault: str, by_agent: bool = False
    ) -> None:
        job = piece.unit[0]
        self._wishes.merge(
            turn.now, MergeFile(job, *piece.siblings, self.node, by_agent, content, fault)
        )


def _pieces_of(job: JobState) -> Iterator[Piece]:
    """What waits for a review."""
    for task in job.reviewed:
        name = task.task.id
        if task.waits_for_judge():
            yield AnswersToJudge((job.job.id, name, 0))
        if task.task.verify_by is VerifyBy.OTHER and task.is_open:
            for number, slot in enumerate(task.slots):
                for answer in slot.candidates:
                    yield ResultToReview((job.job.id, name, number), answer.attempt)
    for siblings in job.merges_due():
        yield VersionsToMerge((job.job.id, siblings[1][-1], 0), siblings)


def _assignment(job: JobState, piece: Piece) -> Assignment:
    """What an agent is told of it."""
    state = job.tasks[piece.unit[1]]
    match piece:
        case VersionsToMerge():
            return merge_assignment(job, piece.siblings)
        case AnswersToJudge():
            purpose, token, answers = Purpose.JUDGE, 0, state.answers
        case ResultToReview(unit, attempt):
            purpose, token = Purpose.REVIEW, attempt[2]
            candidates = state.slots[unit[2]].candidates
            answers = [answer for answer in candidates if answer.attempt == attempt]
    return replace(
        assignment_of(job, piece.unit, token),
        purpose=purpose,
        proposals=tuple(Proposal(answer.files, answer.text) for answer in answers),
    )


def _likeness_of(answer: Answer | None) -> str:
    return likeness_of(Compare.NORMALISED, answer.files, answer.text) if answer else ""


def _groups_of(text: str) -> tuple[int, ...]:
    """The numbers in a judge's answer; none if it is something else."""
    words = text.split()
    if len(words) > GROUPS_MAX or not all(word.isdecimal() for word in words):
        return ()
    return tuple(int(word) for word in words)
