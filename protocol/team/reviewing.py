"""Reviewing: what a node does for tasks that are not its own: it runs the checks of a result or of
a merge again, has a model or the job's program say which answers agree, or merges what tasks made
of one file side by side.

The work is small, so it is not claimed: the nodes stand in an order for each piece, the first does
it at once, the second a while later if nothing has come of it, and so on. Whoever has tried in vain
comes last and waits ever longer, as does whoever has found the like wrong before, or has made a
merge that was: who lies would hold a task up for ever. Where a model failed, its node says so to
all, so that the next one need not wait; where its endpoint is only away, it tries again after a
while. When as many have failed as the task may have attempts, and a leader is in sight, models are
given up: then answers are compared as they stand, and versions stay unmerged. When a job's time is
over nothing is begun, and its leader ends what can end without.

A node that has not got the program of a check or of a merge, or the model, says so to all, and is
not asked again (`lacking`); when all others have said so, there is no merge and no judge, and a
task whose result they cannot check is given up, for the result has nothing to do with it.

Any other check that came to no end, as when time was up, says nothing of what it was to check, but
that may be the cause: so it is told to all as well, and after as many of them as the task may have
attempts it counts as wrong, or one bad result would hold its task up for ever.

Invariant: nobody reviews what it has made itself; at most `reviews_max` reviews run on a node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from protocol import claims
from protocol.claims import FailNote
from protocol.clocks import Alarm, Nanoseconds
from protocol.config import TeamConfig
from protocol.effects import Abort, Assignment, Invoke
from protocol.events import AgentFailed, Completed, Failure
from protocol.identity import NOBODY, NodeId
from protocol.jobs import MODEL_KINDS, NO_USAGE, Compare, Usage, likeness_of
from protocol.ledger import Answer, JobState, Ledger, MergeFile, ReviewMerge, Unit
from protocol.team.deadlines import Deadlines
from protocol.team.failing import Failing
from protocol.team.lacking import lack_of, lacking, why_nobody_can
from protocol.team.merging import (
    can_ask,
    check_assignment,
    checks_of,
    merge_assignment,
    merged_alone,
)
from protocol.team.notes import DETAIL_LENGTH_MAX, JUDGED, Notes
from protocol.team.pieces import (
    AnswersToJudge,
    MergeToReview,
    Piece,
    ResultToReview,
    VersionsToMerge,
    agent_for,
    askable,
    assignment_for,
    distrusted,
    is_check,
    pieces_of,
    reason_of,
)
from protocol.team.view import View
from protocol.team.wishes import Wishes
from protocol.turn import Turn

GROUPS_MAX = 64
UNASKED = (
    "their changes touch each other, and only a model could be asked to merge them, or a program "
    "that the job names: merge: {run: PROGRAM}"
)
DOUBLINGS_MAX = 4  # of the time between two tries of one node
CHECKS_MIN = 3  # tries at a check that comes to no end, were a task to have fewer attempts


@dataclass(slots=True)
class Review:
    """One that is under way. `content` is a merge that needed nobody, of which only the checks are
    run; None where an agent is to give something."""

    piece: Piece
    content: bytes | None = None
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
        self._unfit: dict[Piece, str] = {}  # what was wrong with the merge that needed nobody
        self._denied: set[Piece] = set()  # for which this node has no right to a call

    def review(self, turn: Turn, view: View, jobs: Sequence[JobState]) -> None:
        """Begin what is this node's turn to do, and stop what is settled."""
        due = {piece: job for job in jobs for piece in pieces_of(job)}
        self._since = {piece: self._since.get(piece, turn.now) for piece in due}
        self._tried = {piece: tried for piece, tried in self._tried.items() if piece in due}
        self._unfit = {piece: fault for piece, fault in self._unfit.items() if piece in due}
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
                if view.leader == self.node:
                    self._end_late(turn, job, piece, late)
                continue
            self._hear(turn, piece)
            if missing := why_nobody_can(self._notes, view.alive, piece):
                if view.leader in view.alive:
                    self._end_unable(turn, job, piece, missing)
                continue
            if self._is_vain(job, piece):
                if view.leader in view.alive:
                    self._give_up(turn, job, piece)
                continue
            order = self._order(view, job, piece)
            if self.node not in order or len(self.running) >= self.config.reviews_max:
                continue
            at = self._due_at(piece, order)
            if turn.now < at:
                self._alarm.ask(at)
            else:
                self._begin(turn, view, job, piece)

    def _hear(self, turn: Turn, piece: Piece) -> None:
        """Take note of who has failed since this was last asked."""
        notes = self._notes.of_review(*piece.unit[:2], reason_of(piece))
        tried = self._tried.get(piece)
        if len(notes) > (tried.times.total() if tried else 0):
            times = Counter(note.node for note in notes)
            self._tried[piece] = _Tried(times, turn.now, notes[-1].detail)

    def _is_vain(self, job: JobState, piece: Piece) -> bool:
        """Whether it is no use to ask a model, or to run a check, once more."""
        tried = self._tried.get(piece)
        tries_max = job.tasks[piece.unit[1]].task.attempts_max
        if is_check(piece):
            tries_max = max(tries_max, CHECKS_MIN)
        return piece in self._denied or (tried is not None and tried.times.total() >= tries_max)

    def _due_at(self, piece: Piece, order: list[NodeId]) -> Nanoseconds:
        """When it is this node's turn: by its place, and later if it has tried before."""
        tried = self._tried.get(piece)
        since = tried.at if tried else self._since[piece]
        at = since + order.index(self.node) * self._patience(piece)
        if own := tried.times[self.node] if tried else 0:
            at += self.config.review_patience_ns << min(own - 1, DOUBLINGS_MAX)
        return at

    def _order(self, view: View, job: JobState, piece: Piece) -> list[NodeId]:
        """Who may do it, in the order of their turns."""
        nodes = askable(view.alive, piece) - lacking(self._notes, piece).keys()
        last = distrusted(job, piece)
        tried = self._tried.get(piece)
        times = tried.times if tried else Counter[NodeId]()
        return sorted(
            nodes, key=lambda node: (times[node], node in last, claims.score(piece.unit, node))
        )

    def _patience(self, piece: Piece) -> Nanoseconds:
        """After which the next node does it as well."""
        return self.config.review_patience_ns if is_check(piece) else self.config.model_patience_ns

    def _begin(self, turn: Turn, view: View, job: JobState, piece: Piece) -> None:
        if isinstance(piece, VersionsToMerge):
            self._begin_merge(turn, view, job, piece)
        elif is_check(piece) or not self._is_paused(turn, view, job, piece):
            self._invoke(turn, Review(piece), assignment_for(job, piece))

    def _is_paused(self, turn: Turn, view: View, job: JobState, piece: Piece) -> bool:
        """Whether the model that would be asked is away for now."""
        return self._failing.is_paused(turn.now, view, self.node, agent_for(job, piece))

    def _begin_merge(self, turn: Turn, view: View, job: JobState, piece: VersionsToMerge) -> None:
        """Without anybody's help where that can be, else with a model's."""
        siblings = piece.siblings
        content = None if piece in self._unfit else merged_alone(job, siblings)
        if content is None and can_ask(job, siblings):
            if not self._is_paused(turn, view, job, piece):
                notes = self._notes_for(job, piece)
                self._invoke(turn, Review(piece), merge_assignment(job, siblings, notes))
        elif content is None:
            self._wish_merge(turn, piece, b"", UNASKED)
        elif checks_of(job, siblings):
            review = Review(piece, content)
            self._invoke(turn, review, check_assignment(job, siblings, content))
        else:
            self._wish_merge(turn, piece, content, "")

    def _invoke(self, turn: Turn, review: Review, assignment: Assignment) -> None:
        invocation = next(self._numbers)
        self.running[invocation] = review
        turn.perform(Invoke(invocation, assignment))

    def _end_late(self, turn: Turn, job: JobState, piece: Piece, late: str) -> None:
        """Merge what needs neither an agent nor a check; else there is no merge, as `late` says."""
        match piece:
            case VersionsToMerge(_, siblings):
                content = None if checks_of(job, siblings) else merged_alone(job, siblings)
                fault = late if can_ask(job, siblings) or checks_of(job, siblings) else UNASKED
                self._wish_merge(turn, piece, content or b"", "" if content is not None else fault)
            case MergeToReview(unit, siblings, number):
                command = ReviewMerge(unit[0], *siblings, number, NOBODY, late)
                self._wishes.review_merge(turn.now, command)
            case ResultToReview() | AnswersToJudge():
                pass  # their task is given up

    def _end_unable(self, turn: Turn, job: JobState, piece: Piece, missing: str) -> None:
        """Give up what nobody has the means for, for no fault of who made it."""
        match piece:
            case ResultToReview(unit):
                self._wishes.abandon(turn.now, job, job.tasks[unit[1]], missing)
            case MergeToReview(unit, siblings, number):
                command = ReviewMerge(unit[0], *siblings, number, NOBODY, missing)
                self._wishes.review_merge(turn.now, command)
            case VersionsToMerge():
                self._wish_merge(turn, piece, b"", missing)
            case AnswersToJudge(unit):
                self._compare(turn, job, unit, missing)

    def _give_up(self, turn: Turn, job: JobState, piece: Piece) -> None:
        """Settle without a model what no model could, and without a check what no check did."""
        match piece:
            case AnswersToJudge(unit):
                tried = self._tried.get(piece)
                self._compare(turn, job, unit, tried.fault if tried else "none was asked")
            case VersionsToMerge():
                tried = self._tried.get(piece)
                by_agent = can_ask(job, piece.siblings)
                who = "program" if job.job.merge_program else "model"
                why = f"no {who} merged it" if by_agent else "put together line by line it is wrong"
                fault = f"{why}, {tried.fault if tried else 'none was asked'}"
                self._wish_merge(turn, piece, b"", fault, by_agent)
            case ResultToReview() | MergeToReview():
                if self.node != piece.maker:
                    why = self._tried[piece].fault
                    fault = f"its check came to no end at any other node, {why}"
                    self._wish_review(turn, piece, fault[:DETAIL_LENGTH_MAX])

    def _compare(self, turn: Turn, job: JobState, unit: Unit, fault: str) -> None:
        """Settle without a judge which answers agree; `fault` says why there is none."""
        alike = [_likeness_of(answer) for answer in job.tasks[unit[1]].answers]
        groups = tuple(alike.index(each) for each in alike)
        self._wishes.judge(turn.now, unit[:2], NOBODY, groups, fault)

    def ended(self, turn: Turn, event: Completed | AgentFailed, usage: Usage) -> None:
        """A review of this node's is over."""
        review = self.running.pop(event.invocation)
        piece = review.piece
        if isinstance(event, AgentFailed) and (lack := lack_of(piece, event.reason)):
            self._say(turn, piece, lack, event.detail[:DETAIL_LENGTH_MAX], usage)
            return
        vain = not review.aborted and not self._settle(turn, review, event)
        by_model = review.content is None and not is_check(piece)
        if by_model and self._is_away(turn, piece, event):
            vain = False  # it is this node's turn again when the pause is over
        if vain:
            fault = "it gave no answer"
            if isinstance(event, AgentFailed):
                fault = f"{event.reason.value}: {event.detail}"[:DETAIL_LENGTH_MAX]
                if event.reason is Failure.BUDGET:
                    self._denied.add(piece)
            self._say(turn, piece, reason_of(piece), fault, usage)
            before = self._tried.get(piece)
            times = Counter(before.times if before else ())
            times[self.node] += 1
            self._tried[piece] = _Tried(times, turn.now, fault)
        elif usage != NO_USAGE:
            self._say(turn, piece, JUDGED, "", usage)

    def _is_away(self, turn: Turn, piece: Piece, event: Completed | AgentFailed) -> bool:
        """Whether all that was wrong is that the model's endpoint is away for now."""
        job, task, _ = piece.unit
        state = self._ledger.jobs.get(job)
        if state is None or agent_for(state, piece) not in MODEL_KINDS:
            return False
        if isinstance(event, Completed):
            self._failing.succeeded(job, task, self.node)
            return False
        away = Failure.UNREACHABLE
        return event.reason is away and self._failing.failed(turn.now, job, task, away) is away

    def _settle(self, turn: Turn, review: Review, event: Completed | AgentFailed) -> bool:
        """Tell the log what has come of it, or look for another way; whether there is any."""
        match piece := review.piece:
            case AnswersToJudge(unit) if isinstance(event, Completed):
                found = self._ledger.slot(*unit)
                groups = _groups_of(event.text)
                if found is None or len(groups) != len(found[1].slots):
                    return False
                self._wishes.judge(turn.now, unit[:2], self.node, groups)
            case VersionsToMerge() if review.content is not None:
                return self._settle_unaided(turn, piece, review.content, event)
            case VersionsToMerge() if isinstance(event, Completed) and event.files:
                self._wish_merge(turn, piece, event.files[0].content, "", by_agent=True)
            case ResultToReview() | MergeToReview():
                fault = _verdict_of(event)
                if fault is None:
                    return False
                self._wish_review(turn, piece, fault)
            case _:
                return False
        return True

    def _settle_unaided(
        self, turn: Turn, piece: VersionsToMerge, content: bytes, event: Completed | AgentFailed
    ) -> bool:
        """The checks of a merge that needed nobody are over; if it is wrong, a model is asked."""
        fault = _verdict_of(event)
        if isinstance(event, AgentFailed) and event.reason is Failure.TIMEOUT:
            fault = event.detail[:DETAIL_LENGTH_MAX]  # nobody has seen these checks end
        job = self._ledger.jobs.get(piece.unit[0])
        if fault == "":
            self._wish_merge(turn, piece, content, "")
        elif fault and job and can_ask(job, piece.siblings):
            self._unfit[piece] = fault
        else:
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
            case MergeToReview(unit, siblings, number):
                return self._wishes.has("review merge", (unit[0], *siblings, number))

    def _say(self, turn: Turn, piece: Piece, reason: str, detail: str, usage: Usage) -> None:
        job, task, slot = piece.unit
        self._notes.write(turn, job, task, FailNote(self.node, slot, 0, reason, detail, usage))

    def _wish_merge(
        self, turn: Turn, piece: VersionsToMerge, content: bytes, fault: str, by_agent: bool = False
    ) -> None:
        name = piece.unit[0]
        job = self._ledger.jobs.get(name)
        number = job.refuted_merges(piece.siblings) if job else 0
        command = MergeFile(name, *piece.siblings, self.node, by_agent, content, fault, number)
        self._wishes.merge(turn.now, command)

    def _wish_review(self, turn: Turn, piece: ResultToReview | MergeToReview, fault: str) -> None:
        match piece:
            case ResultToReview(unit, attempt):
                self._wishes.review(turn.now, unit, attempt, self.node, fault)
            case MergeToReview(unit, siblings, number):
                command = ReviewMerge(unit[0], *siblings, number, self.node, fault)
                self._wishes.review_merge(turn.now, command)

    def _notes_for(self, job: JobState, piece: VersionsToMerge) -> tuple[str, ...]:
        """Why earlier merges were wrong, for the model that is asked next."""
        proposed = job.proposed.get(piece.siblings)
        faults = [merge.fault for merge in proposed.refuted] if proposed else []
        if piece in self._unfit:
            faults.append(self._unfit[piece])
        return tuple(dict.fromkeys(faults))[-self.config.notes_max :]


def _verdict_of(event: Completed | AgentFailed) -> str | None:
    """What a check found wrong, empty if nothing; None if it could not be run."""
    if isinstance(event, Completed):
        return ""
    if event.reason is not Failure.VERIFY:
        return None
    return (event.detail or "the check said no")[:DETAIL_LENGTH_MAX]


def _likeness_of(answer: Answer) -> str:
    return likeness_of(Compare.NORMALISED, answer.files, answer.text)


def _groups_of(text: str) -> tuple[int, ...]:
    """The numbers in a judge's answer; none if it is something else."""
    words = text.split()
    if len(words) > GROUPS_MAX or not all(word.isdecimal() for word in words):
        return ()
    return tuple(int(word) for word in words)
