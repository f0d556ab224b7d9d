"""Reviewing: what a node does for tasks that are not its own: it runs a result's check again, has
a model say which answers agree, or merges what tasks made of one file side by side.

The work is small, so it is not claimed: the nodes stand in an order for each piece, the first does
it at once, the second a while later if nothing has come of it, and so on, round after round, ever
more seldom. Whoever has found a result of the same task wrong before comes last: a reviewer that
lies would hold a task up for ever. A model that failed in two rounds, while a leader was in sight,
is given up: then answers are compared as they stand, and versions stay unmerged.

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
from protocol.team.merging import merge_assignment, merged_alone, why_nobody_can
from protocol.team.notes import DETAIL_LENGTH_MAX
from protocol.team.orders import assignment_of
from protocol.team.view import View
from protocol.team.wishes import Wishes
from protocol.turn import Turn

GROUPS_MAX = 64
TRIES_MAX = 2  # of a node's model; of checks there is no such limit
DOUBLINGS_MAX = 4  # of the time between rounds


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
    """One that is under way."""

    piece: Piece
    aborted: bool = False


@dataclass(slots=True)
class _Tried:
    """How often this node has tried a piece in vain, when last, and what went wrong."""

    times: int
    at: Nanoseconds
    fault: str


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
        self._tried: dict[Piece, _Tried] = {}

    def review(self, turn: Turn, view: View, jobs: Sequence[JobState]) -> None:
        """Begin what is this node's turn to do, and stop what is settled."""
        due = {piece: job for job in jobs for piece in _pieces_of(job)}
        self._since = {piece: self._since.get(piece, turn.now) for piece in due}
        self._tried = {piece: tried for piece, tried in self._tried.items() if piece in due}
        for invocation, review in self.running.items():
            if review.piece not in due and not review.aborted:
                review.aborted = True
                turn.perform(Abort(invocation, "it is settled"))
        at_work = {review.piece for review in self.running.values()}
        for piece, job in due.items():
            tried = self._tried.get(piece)
            is_tired = tried and tried.times >= TRIES_MAX and view.leader in view.alive
            if piece in at_work or (tried and is_tired and self._give_up(turn, job, piece, tried)):
                continue
            order = self._order(view, job.tasks[piece.unit[1]], piece)
            if self.node not in order or len(self.running) >= self.config.reviews_max:
                continue
            at = self._due_at(piece, order)
            if turn.now < at:
                self._alarm.ask(at)
            else:
                self._begin(turn, job, piece)

    def _due_at(self, piece: Piece, order: list[NodeId]) -> Nanoseconds:
        """When it is this node's turn: by its place at first, and a round after each try."""
        tried = self._tried.get(piece)
        if tried is None:
            return self._since[piece] + order.index(self.node) * self._patience(piece)
        round_ns = len(order) * self._patience(piece)
        return tried.at + (round_ns << min(tried.times - 1, DOUBLINGS_MAX))

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

    def _begin(self, turn: Turn, job: JobState, piece: Piece) -> None:
        if isinstance(piece, VersionsToMerge):
            if self._wishes.has("merge", (job.job.id, *piece.siblings)):
                return
            content, fault = merged_alone(job, piece.siblings), ""
            if content is None:
                fault = why_nobody_can(job, piece.siblings)
            if content is not None or fault:
                self._wish_merge(turn, piece, content or b"", fault)
                return
        invocation = next(self._numbers)
        self.running[invocation] = Review(piece)
        turn.perform(Invoke(invocation, _assignment(job, piece)))

    def _give_up(self, turn: Turn, job: JobState, piece: Piece, tried: _Tried) -> bool:
        """Settle what no model could; whether that can be done without one."""
        match piece:
            case AnswersToJudge(unit):
                alike = [_likeness_of(answer) for answer in job.tasks[unit[1]].answers]
                groups = tuple(alike.index(each) for each in alike)
                self._wishes.judge(turn.now, unit[:2], NOBODY, groups)
            case VersionsToMerge():
                self._wish_merge(
                    turn, piece, b"", f"no model merged it, {tried.fault}", by_agent=True
                )
            case ResultToReview():
                return False
        return True

    def ended(self, turn: Turn, event: Completed | AgentFailed) -> Piece:
        """A review of this node's is over; what it was about."""
        review = self.running.pop(event.invocation)
        if review.aborted:
            return review.piece
        before = self._tried.get(review.piece, _Tried(0, 0, ""))
        times, fault = before.times + 1, "it gave no answer"
        if isinstance(event, AgentFailed):
            fault = f"{event.reason.value}: {event.detail}"[:DETAIL_LENGTH_MAX]
            times = TRIES_MAX if event.reason is Failure.BUDGET else times
        self._tried[review.piece] = _Tried(times, turn.now, fault)
        match review.piece:
            case AnswersToJudge(unit) if isinstance(event, Completed):
                found = self._ledger.slot(*unit)
                groups = _groups_of(event.text)
                if found is not None and len(groups) == len(found[1].slots):
                    self._wishes.judge(turn.now, unit[:2], self.node, groups)
            case VersionsToMerge() as piece if isinstance(event, Completed) and event.files:
                self._wish_merge(turn, piece, event.files[0].content, "", by_agent=True)
            case ResultToReview(unit, attempt):
                if isinstance(event, Completed):
                    self._wishes.review(turn.now, unit, attempt, self.node, "")
                elif event.reason is Failure.VERIFY:
                    fault = (event.detail or "the check said no")[:DETAIL_LENGTH_MAX]
                    self._wishes.review(turn.now, unit, attempt, self.node, fault)
            case _:
                pass  # in vain
        return review.piece

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


def _likeness_of(answer: Answer) -> str:
    return likeness_of(Compare.NORMALISED, answer.files, answer.text)


def _groups_of(text: str) -> tuple[int, ...]:
    """The numbers in a judge's answer; none if it is something else."""
    words = text.split()
    if len(words) > GROUPS_MAX or not all(word.isdecimal() for word in words):
        return ()
    return tuple(int(word) for word in words)
