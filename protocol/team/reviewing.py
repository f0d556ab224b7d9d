"""Reviewing: another node runs a result's check again, or a model says which answers agree.

The work is small, so it is not claimed: the nodes stand in an order for each piece, the first does
it at once, the second a while later if nothing has come of it, and so on. Whoever has found a
result of the same task wrong before comes last: a reviewer that lies would hold a task up for ever.

Invariant: nobody reviews what its own agent made; at most `reviews_max` reviews run on a node.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

from protocol import claims
from protocol.clocks import Alarm, Nanoseconds
from protocol.config import TeamConfig
from protocol.effects import Abort, Invoke, Proposal, Purpose
from protocol.events import AgentFailed, Completed, Failure
from protocol.identity import NOBODY, NodeId
from protocol.jobs import Compare, VerifyBy, likeness_of
from protocol.ledger import Answer, JobState, Ledger, TaskState
from protocol.team.assigning import assignment_of
from protocol.team.notes import DETAIL_LENGTH_MAX
from protocol.team.view import View
from protocol.team.wishes import Wishes
from protocol.turn import Turn

GROUPS_MAX = 64


@dataclass(frozen=True, slots=True)
class Piece:
    """Something to review: one result, or (`answer` is None) all answers of a task to be judged."""

    job: str
    task: str
    slot: int
    answer: tuple[int, NodeId, int] | None


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
        due = {piece: (job, answers) for job in jobs for piece, answers in _pieces_of(job)}
        self._since = {piece: self._since.get(piece, turn.now) for piece in due}
        self._tried.intersection_update(due)
        for invocation, review in self.running.items():
            if review.piece not in due and not review.aborted:
                review.aborted = True
                turn.perform(Abort(invocation, "it is settled"))
        at_work = {review.piece for review in self.running.values()}
        for piece, (job, answers) in due.items():
            if piece in self._tried or piece in at_work:
                continue
            order = self._order(view, job.tasks[piece.task], piece, answers)
            if self.node not in order or len(self.running) >= self.config.reviews_max:
                continue
            rank = order.index(self.node)
            at = self._since[piece] + rank * self.config.review_patience_ns
            if turn.now < at:
                self._alarm.ask(at)
            else:
                self._begin(turn, job, piece, answers, is_last=rank == len(order) - 1)

    def _order(
        self, view: View, task: TaskState, piece: Piece, answers: tuple[Answer, ...]
    ) -> list[NodeId]:
        """Who may do it, in the order of their turns."""
        nodes = set(view.alive)
        if piece.answer is not None:
            nodes -= {answer.node for answer in answers}
        denied = {answer.reviewer for answer in task.refuted()}
        unit = (piece.job, piece.task, piece.slot)
        return sorted(nodes, key=lambda node: (node in denied, claims.score(unit, node)))

    def _begin(
        self,
        turn: Turn,
        job: JobState,
        piece: Piece,
        answers: tuple[Answer, ...],
        is_last: bool,
    ) -> None:
        invocation = next(self._numbers)
        self.running[invocation] = Review(piece, is_last)
        token = piece.answer[2] if piece.answer else 0
        assignment = replace(
            assignment_of(job, (piece.job, piece.task, piece.slot), token),
            purpose=Purpose.JUDGE if piece.answer is None else Purpose.REVIEW,
            proposals=tuple(Proposal(answer.files, answer.text) for answer in answers),
        )
        turn.perform(Invoke(invocation, assignment))

    def ended(self, turn: Turn, event: Completed | AgentFailed) -> Piece:
        """A review of this node's is over; what it was about."""
        review = self.running.pop(event.invocation)
        piece = review.piece
        if review.aborted:
            return piece
        self._tried.add(piece)
        if piece.answer is None:
            self._judged(turn, review, event)
        elif isinstance(event, Completed) or event.reason is Failure.VERIFY:
            fault = ""
            if isinstance(event, AgentFailed):
                fault = (event.detail or "the check said no")[:DETAIL_LENGTH_MAX]
            unit = (piece.job, piece.task, piece.slot)
            self._wishes.review(turn.now, unit, piece.answer, self.node, fault)
        return piece

    def _judged(self, turn: Turn, review: Review, event: Completed | AgentFailed) -> None:
        """What the model said; if nobody's model said anything, the answers are compared as they
        stand, and no judge is named."""
        found = self._ledger.slot(review.piece.job, review.piece.task, 0)
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
        self._wishes.judge(turn.now, (review.piece.job, review.piece.task), judge, groups)


def _pieces_of(job: JobState) -> Iterator[tuple[Piece, tuple[Answer, ...]]]:
    """What waits for a review, with the results that it is about."""
    for task in job.tasks.values():
        name = task.task.id
        if task.waits_for_judge():
            answers = tuple(task.answers)
            yield Piece(job.job.id, name, 0, None), answers
        if task.task.verify_by is VerifyBy.OTHER and task.is_open:
            for number, slot in enumerate(task.slots):
                for answer in slot.candidates:
                    yield Piece(job.job.id, name, number, answer.attempt), (answer,)


def _likeness_of(answer: Answer | None) -> str:
    return likeness_of(Compare.NORMALISED, answer.files, answer.text) if answer else ""


def _groups_of(text: str) -> tuple[int, ...]:
    """The numbers in a judge's answer; none if it is something else."""
    words = text.split()
    if len(words) > GROUPS_MAX or not all(word.isdecimal() for word in words):
        return ()
    return tuple(int(word) for word in words)
