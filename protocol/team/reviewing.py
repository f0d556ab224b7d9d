"""Reviewing: what a node does for tasks that are not its own: it runs a result's check again, has
a model say which answers agree, or merges what tasks made of one file side by side.

The work is small, so it is not claimed: the nodes stand in an order for each piece, the first does
it at once, the second a while later if nothing has come of it, and so on. Whoever has tried in vain
comes last and waits ever longer, as does whoever has found a result of the same task wrong before:
a reviewer that lies would hold a task up for ever. Where a model failed, its node says so to all,
so that the next one need not wait; where its endpoint is only away, it tries again after a while.
When as many have failed as the task may have attempts, and a leader is in sight, models are given
up: then answers are compared as they stand, and versions stay unmerged. When a job's time is over
nothing is begun, and its leader ends what can end without.

Invariant: nobody reviews what its own agent made; at most `reviews_max` reviews run on a node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TypeAlias

from protocol import claims
from protocol.claims import FailNote
from protocol.clocks import Alarm, Nanoseconds
from protocol.config import TeamConfig
from protocol.effects import Abort, Assignment, Invoke, Proposal, Purpose
from protocol.events import AgentFailed, Completed, Failure
from protocol.identity import NOBODY, NodeId
from protocol.jobs import NO_USAGE, Compare, Usage, VerifyBy, likeness_of
from protocol.ledger import Answer, JobState, Ledger, MergeFile, Siblings, TaskState, Unit
from protocol.team.deadlines import Deadlines
from protocol.team.failing import Failing
from protocol.team.merging import merge_assignment, merged_alone, why_nobody_can
from protocol.team.notes import DETAIL_LENGTH_MAX, JUDGED, UNJUDGED, UNMERGED, Notes
from protocol.team.orders import assignment_of
from protocol.team.view import View
from protocol.team.wishes import Wishes
from protocol.turn import Turn

GROUPS_MAX = 64
DOUBLINGS_MAX = 4  # of the time between two tries of one node


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
    """How often each node has tried a piece in vain, as far as is known here; when this was last
    heard of, and what went wrong."""

    times: Counter[NodeId]
    at: Nanoseconds
    fault: str


class Reviewing:
    """The reviews of one node."""

    def __init__(
        self,
        node: NodeId,
        config: TeamConfig,
        ledger: Ledger,
        deadlines: Deadlines,
        notes: Notes,
        failing: Failing,
        wishes: Wishes,
        alarm: Alarm,
        numbers: count[int],
    ) -> None:
        self.node = node
        self.config = config
        self.running: dict[int, Review] = {}
        self._ledger = ledger
        self._deadlines = deadlines
        self._notes = notes
        self._failing = failing
        self._wishes = wishes
        self._alarm = alarm
        self._numbers = numbers
        self._since: dict[Piece, Nanoseconds] = {}  # of what waits
        self._tried: dict[Piece, _Tried] = {}
        self._denied: set[Piece] = set()  # for which this node has no right to a call

    def review(self, turn: Turn, view: View, jobs: Sequence[JobState]) -> None:
        """Begin what is this node's turn to do, and stop what is settled."""
        due = {piece: job for job in jobs for piece in _pieces_of(job)}
        self._since = {piece: self._since.get(piece, turn.now) for piece in due}
        self._tried = {piece: tried for piece, tried in self._tried.items() if piece in due}
        self._denied.intersection_update(due)
        for invocation, review in self.running.items():
            is_settled = review.piece not in due
            reason = "it is settled" if is_settled else self._deadlines.reason(review.piece.unit[0])
            if reason and not review.aborted:
                review.aborted = True
                turn.perform(Abort(invocation, reason))
        at_work = {review.piece for review in self.running.values()}
        for piece, job in due.items():
            if piece in at_work or self._is_said(piece):
                continue
            if late := self._deadlines.reason(piece.unit[0]):
                if view.leader == self.node and isinstance(piece, VersionsToMerge):
                    self._merge_or_not(turn, job, piece, late)
                continue
            self._hear(turn, piece)
            if self._is_vain(job, piece):
                if view.leader in view.alive:
                    self._give_up(turn, job, piece)
                continue
            order = self._order(view, job.tasks[piece.unit[1]], piece)
            if self.node not in order or len(self.running) >= self.config.reviews_max:
                continue
            at = self._due_at(piece, order)
            if turn.now < at:
                self._alarm.ask(at)
            else:
                self._begin(turn, job, piece)

    def _hear(self, turn: Turn, piece: Piece) -> None:
        """Take note of the models that have failed since this was last asked."""
        reason = _reason_of(piece)
        if not reason:
            return  # of a check only the own tries are known
        notes = self._notes.of_review(*piece.unit[:2], reason)
        tried = self._tried.get(piece)
        if len(notes) > (tried.times.total() if tried else 0):
            times = Counter(note.node for note in notes)
            self._tried[piece] = _Tried(times, turn.now, notes[-1].detail)

    def _is_vain(self, job: JobState, piece: Piece) -> bool:
        """Whether it is no use to ask a model once more."""
        if isinstance(piece, ResultToReview):
            return False
        tried = self._tried.get(piece)
        attempts_max = job.tasks[piece.unit[1]].task.attempts_max
        return piece in self._denied or (tried is not None and tried.times.total() >= attempts_max)

    def _due_at(self, piece: Piece, order: list[NodeId]) -> Nanoseconds:
        """When it is this node's turn: by its place, and later if it has tried before."""
        tried = self._tried.get(piece)
        since = tried.at if tried else self._since[piece]
        at = since + order.index(self.node) * self._patience(piece)
        if own := tried.times[self.node] if tried else 0:
            at += self.config.review_patience_ns << min(own - 1, DOUBLINGS_MAX)
        return at

    def _order(self, view: View, task: TaskState, piece: Piece) -> list[NodeId]:
        """Who may do it, in the order of their turns."""
        nodes = set(view.alive)
        if isinstance(piece, ResultToReview):
            nodes.discard(piece.attempt[1])
        denied = {answer.reviewer for answer in task.refuted()}
        tried = self._tried.get(piece)
        times = tried.times if tried else Counter[NodeId]()
        return sorted(
            nodes, key=lambda node: (times[node], node in denied, claims.score(piece.unit, node))
        )

    def _patience(self, piece: Piece) -> Nanoseconds:
        """After which the next node does it as well."""
        quick = isinstance(piece, ResultToReview)
        return self.config.review_patience_ns if quick else self.config.model_patience_ns

    def _begin(self, turn: Turn, job: JobState, piece: Piece) -> None:
        if isinstance(piece, VersionsToMerge) and self._merge_or_not(turn, job, piece):
            return
        agent = job.tasks[piece.unit[1]].task.agent
        if _reason_of(piece) and self._failing.is_paused(turn.now, self.node, agent):
            return
        invocation = next(self._numbers)
        self.running[invocation] = Review(piece)
        turn.perform(Invoke(invocation, _assignment(job, piece)))

    def _merge_or_not(
        self, turn: Turn, job: JobState, piece: VersionsToMerge, late: str = ""
    ) -> bool:
        """Settle what needs no agent, or what no agent could do or may still begin (`late` says
        why); whether that was so."""
        content, fault = merged_alone(job, piece.siblings), ""
        if content is None:
            fault = why_nobody_can(job, piece.siblings) or late
        if content is None and not fault:
            return False
        self._wish_merge(turn, piece, content or b"", fault)
        return True

    def _give_up(self, turn: Turn, job: JobState, piece: Piece) -> None:
        """Settle without a model what no model could."""
        match piece:
            case AnswersToJudge(unit):
                alike = [_likeness_of(answer) for answer in job.tasks[unit[1]].answers]
                groups = tuple(alike.index(each) for each in alike)
                self._wishes.judge(turn.now, unit[:2], NOBODY, groups)
            case VersionsToMerge():
                tried = self._tried.get(piece)
                fault = f"no model merged it, {tried.fault if tried else 'none was asked'}"
                self._wish_merge(turn, piece, b"", fault, by_agent=True)
            case ResultToReview():
                pass  # checks are run until there is a verdict

    def ended(self, turn: Turn, event: Completed | AgentFailed, usage: Usage) -> None:
        """A review of this node's is over."""
        review = self.running.pop(event.invocation)
        piece = review.piece
        vain = not review.aborted and not self._settle(turn, piece, event)
        reason = _reason_of(piece)
        if reason and self._is_away(turn, piece, event):
            vain = False  # it is this node's turn again when the pause is over
        if vain:
            fault = "it gave no answer"
            if isinstance(event, AgentFailed):
                fault = f"{event.reason.value}: {event.detail}"[:DETAIL_LENGTH_MAX]
                if event.reason is Failure.BUDGET:
                    self._denied.add(piece)
            if reason:
                self._say(turn, piece, reason, fault, usage)
            before = self._tried.get(piece)
            times = Counter(before.times if before else ())
            times[self.node] += 1
            self._tried[piece] = _Tried(times, turn.now, fault)
        elif reason and usage != NO_USAGE:
            self._say(turn, piece, JUDGED, "", usage)

    def _is_away(self, turn: Turn, piece: Piece, event: Completed | AgentFailed) -> bool:
        """Whether all that was wrong is that the model's endpoint is away for now."""
        job, task, _ = piece.unit
        if isinstance(event, Completed):
            self._failing.succeeded(job, task, self.node)
            return False
        away = Failure.UNREACHABLE
        return event.reason is away and self._failing.failed(turn.now, job, task, away) is away

    def _settle(self, turn: Turn, piece: Piece, event: Completed | AgentFailed) -> bool:
        """Tell the log what has come of it; whether anything has."""
        match piece:
            case AnswersToJudge(unit) if isinstance(event, Completed):
                found = self._ledger.slot(*unit)
                groups = _groups_of(event.text)
                if found is None or len(groups) != len(found[1].slots):
                    return False
                self._wishes.judge(turn.now, unit[:2], self.node, groups)
            case VersionsToMerge() if isinstance(event, Completed) and event.files:
                self._wish_merge(turn, piece, event.files[0].content, "", by_agent=True)
            case ResultToReview(unit, attempt) if isinstance(event, Completed):
                self._wishes.review(turn.now, unit, attempt, self.node, "")
            case ResultToReview(unit, attempt):
                assert isinstance(event, AgentFailed)
                if event.reason is not Failure.VERIFY:
                    return False
                fault = (event.detail or "the check said no")[:DETAIL_LENGTH_MAX]
                self._wishes.review(turn.now, unit, attempt, self.node, fault)
            case _:
                return False
        return True

    def _is_said(self, piece: Piece) -> bool:
        """Whether this node's word on it is on its way into the log."""
        match piece:
            case AnswersToJudge(unit):
                return self._wishes.has("judge", unit[:2])
            case VersionsToMerge(unit, siblings):
                return self._wishes.has("merge", (unit[0], *siblings))
            case ResultToReview(unit, attempt):
                return self._wishes.has("review", (unit, attempt))

    def _say(self, turn: Turn, piece: Piece, reason: str, detail: str, usage: Usage) -> None:
        job, task, slot = piece.unit
        self._notes.write(turn, job, task, FailNote(self.node, slot, 0, reason, detail, usage))

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


def _reason_of(piece: Piece) -> str:
    """What a note says of a model that failed at it; empty if no model is asked."""
    match piece:
        case AnswersToJudge():
            return UNJUDGED
        case VersionsToMerge():
            path, tasks = piece.siblings
            return f"{UNMERGED} {path} of {' '.join(tasks)}"
        case ResultToReview():
            return ""


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
