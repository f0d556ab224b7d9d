"""One node's part in the team: take tasks, run agents, hand in results, by the ledger's rules.

Invariant: a result goes into the log under the token that the work was begun with, so that a
holder that was given up on cannot be accepted after its successor.

Nothing polls: a decision is made when a fact arrives that may change it, or at a deadline.
Wishes to the log are repeated until their effect shows in the ledger, hence every command is
idempotent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from random import Random

from protocol import codec
from protocol.assigning import Assignment, spread
from protocol.claims import ClaimBook, FailNote, Phase
from protocol.clocks import MILLISECOND, Alarm, Nanoseconds
from protocol.config import TeamConfig
from protocol.effects import CallDenied, Reply
from protocol.errors import InvalidJob
from protocol.events import (
    AgentFailed,
    AnswerMade,
    CallAsked,
    CallSettled,
    CancelAsked,
    Completed,
    Failure,
    FoundOut,
    Noted,
    Progressed,
    RateLimited,
    WrittenSoFar,
)
from protocol.facts import Fact
from protocol.facts.work import (
    AttemptAborted,
    AttemptFailed,
    EndpointRefused,
    TaskCompleted,
)
from protocol.identity import NOBODY, NodeId
from protocol.job_rules import validate
from protocol.jobs import NO_USAGE, ClaimMode, Job, Usage, digest_of, shown
from protocol.ledger import (
    AcceptResult,
    JobState,
    Ledger,
    Slot,
    SubmitJob,
    Unit,
    fault_of_result,
)
from protocol.store import Store
from protocol.team.attempts import Attempt, Attempts
from protocol.team.calls import Calls
from protocol.team.choice import Choice
from protocol.team.clearing import Clearing
from protocol.team.costs import spent_on
from protocol.team.deadlines import Deadlines
from protocol.team.deaths import Deaths
from protocol.team.failing import Failing
from protocol.team.hearing import Hearing
from protocol.team.leading import Leading
from protocol.team.lore import TEXT_LENGTH_MAX, Lore, Scope
from protocol.team.notes import DETAIL_LENGTH_MAX, Notes
from protocol.team.pacing import Pacing
from protocol.team.parts import Parts
from protocol.team.racing import Racing
from protocol.team.reviewing import Reviewing
from protocol.team.spending import Spending
from protocol.team.taking import Taking
from protocol.team.view import View
from protocol.team.wishes import Wishes
from protocol.team.workload import workloads
from protocol.turn import Turn


class Team:
    """See the module's text."""

    def __init__(
        self, node: NodeId, config: TeamConfig, ledger: Ledger, store: Store, random: Random
    ) -> None:
        self.node = node
        self.config = config
        self.ledger = ledger
        self.store = store
        self.dirty = True
        self._is_going = False  # it takes no more work
        self._alarm = Alarm()
        self.book = ClaimBook()
        self.notes = Notes(node, ledger, store)
        self.lore = Lore(node, store)
        self.parts = Parts(node, store)
        self.wishes = Wishes(config, ledger, self._alarm)
        self._deadlines = Deadlines(self._alarm)
        numbers = count(1)  # of invocations
        self._racing = Racing(config, ledger, self.book, self._alarm)
        self._deaths = Deaths(node, ledger, self.book, self.notes, store.last_of(node))
        self._failing = Failing(
            node, config, ledger, self.book, self.notes, self._deaths, self._alarm
        )
        self.attempts = Attempts(
            node,
            config,
            ledger,
            self.book,
            self._racing,
            self._deadlines,
            self.notes,
            self.lore,
            self.parts,
            self.wishes,
            self._alarm,
            numbers,
        )
        self._reviewing = Reviewing(
            node,
            config,
            ledger,
            self._deadlines,
            self.notes,
            self._failing,
            self.wishes,
            self._alarm,
            numbers,
        )
        self.spending = Spending(node, config, store, self.wishes, self._alarm)
        self.pacing = Pacing(node, store, random, self._alarm)
        self._calls = Calls(self.spending, self.pacing, self._deadlines)
        self._choice, self._asking = (
            Choice(
                node,
                config,
                self.book,
                self._racing,
                self._failing,
                self.spending,
                self.wishes,
                self._alarm,
                asks_people,
            )
            for asks_people in (False, True)
        )
        self._taking = Taking(
            node,
            ledger,
            self.book,
            self._deaths,
            self.attempts,
            self._choice,
            self._asking,
            self.wishes,
        )
        self._leading = Leading(
            config,
            self.book,
            self._racing,
            self._failing,
            self._deadlines,
            self.wishes,
            self._alarm,
        )
        self._clearing = Clearing(node, store)
        self.hearing = Hearing(
            ledger,
            store,
            self.book,
            self.notes,
            self._failing,
            self._deaths,
            self.lore,
            self.wishes,
            self.spending,
            self.pacing,
            self.parts,
            self._clearing,
        )

    def __repr__(self) -> str:
        running = ",".join(attempt.unit[1] for attempt in self.running.values())
        return f"<Team {self.node[:6]} running=[{running}] wishes={len(self.wishes)}>"

    @property
    def running(self) -> Mapping[int, Attempt]:
        """The agents at work, by the number of their invocation."""
        return self.attempts.running

    def deadline(self) -> Nanoseconds | None:
        return self._alarm.at

    def restore(self, now: Nanoseconds) -> None:
        """After a restart: learn the claims and notes that the store brought back."""
        self.hearing.restore(now)

    def relearn(self, turn: Turn) -> None:
        """The ledger was replaced by a later one: what was waited for may be in it."""
        self.hearing.relearn(turn)
        self.dirty = True

    def holder_of(self, unit: Unit) -> NodeId:
        """Who works on the unit, as far as is known here; empty if nobody."""
        found = self.ledger.slot(*unit)
        if found is None:
            return NOBODY
        if found[0].job.claims is not ClaimMode.LEASE:
            return found[2].holder
        held = self.book.get(unit)
        if held is None:
            return self.node if unit in self.attempts.units() else NOBODY
        return held.claim.node if held.claim.phase is not Phase.RELEASED else NOBODY

    def racers_of(self, view: View, unit: Unit, now: Nanoseconds) -> Sequence[NodeId]:
        """Who races the unit's holder now, as far as is known here."""
        return self._racing.racers_of(view, unit, now)

    def notes_of(self, job: str, task: str) -> Sequence[FailNote]:
        """Why attempts at a task failed, while the job goes on."""
        return self.notes.of(job, task)

    # -- inputs --------------------------------------------------------------------------------

    def submit(self, turn: Turn, view: View, request: int, job: Job) -> None:
        """A client's job: answered when it is in the ledger."""
        try:
            validate(job)
        except InvalidJob as fault:
            turn.perform(Reply(request, "InvalidJob", str(fault)))
            return
        if self.wishes.are_too_many:
            turn.perform(Reply(request, "Busy", "too many requests wait here; try again"))
            return
        assignment: Assignment = ()
        if job.claims is ClaimMode.ASSIGNED:
            jobs = self.ledger.active()
            work = workloads(turn.now, view, jobs, self.book, self.config)
            load = {node: each.weight for node, each in work.items()}
            assignment = spread(job, list(work), load)
        self.wishes.submit(turn, SubmitJob(job, assignment, turn.wall), request)
        if job.id in self.ledger.jobs:  # asked again, perhaps: a repeated request is answered alike
            self.wishes.submitted(turn, job.id)
        self.dirty = True

    def progressed(self, turn: Turn, event: Progressed) -> None:
        """Some files of a running attempt are there: let everybody have them."""
        attempt = self.running.get(event.invocation)
        if attempt:
            self.attempts.share(turn, attempt, event.files)

    def written_so_far(self, turn: Turn, event: WrittenSoFar) -> None:
        """What a running attempt has written, for whoever has to go on with it."""
        attempt = self.running.get(event.invocation)
        if attempt:
            self.attempts.share_so_far(turn, attempt, event.files, event.keeps)

    def answer_made(self, turn: Turn, event: AnswerMade) -> None:
        """A running attempt has its answer, which is not checked yet."""
        attempt = self.running.get(event.invocation)
        if attempt and not self._fault_of(self._result_of(attempt, event)):
            self.attempts.keep_answer(turn, attempt, event.files, event.text, event.usage)

    def found_out(self, turn: Turn, event: FoundOut) -> None:
        """A running agent has found something out, which concerns who builds on its task."""
        attempt = self.running.get(event.invocation)
        job = self.ledger.jobs.get(attempt.unit[0]) if attempt else None
        if attempt and job and not job.is_finished:
            text = event.text.strip()[:TEXT_LENGTH_MAX]
            _, task, slot = attempt.unit
            self.lore.write(turn, job, text, Scope.TASK, task, slot=slot)

    def noted(self, turn: Turn, event: Noted) -> None:
        """A client has something to say to the agents of a job."""
        job = self.ledger.jobs.get(event.job)
        if job is None or job.is_finished:
            fault = f"no job {event.job!r} is going on here"
        elif event.scope not in {scope.value for scope in Scope}:
            fault = f"a note is about a job, a task or a path, not {shown(event.scope)}"
        else:
            what = (event.text.strip(), Scope(event.scope), event.about, event.lifetime_ns)
            fault = self.lore.write(turn, job, *what)
        turn.perform(Reply(event.request, "NotPossible" if fault else "", fault))

    def cancel(self, turn: Turn, event: CancelAsked) -> None:
        """A client wants a job to end: nobody shall try what is open of it."""
        job = self.ledger.jobs.get(event.job)
        if job is None or job.is_finished:
            fault = f"no job {event.job!r} is going on here"
            turn.perform(Reply(event.request, "NotPossible", fault))
            return
        for task in job.tasks.values():
            if task.is_open:
                self.wishes.abandon(turn.now, job, task, event.reason)
        turn.perform(Reply(event.request, "", ""))
        self.dirty = True

    def call_asked(self, turn: Turn, event: CallAsked) -> None:
        """An agent wants to call its model."""
        job = self._job_of(event.invocation)
        if job:
            self._calls.ask(turn, job, event)
            self.dirty = True
        else:
            turn.perform(CallDenied(event.invocation, event.call, "the attempt is over"))

    def call_settled(self, turn: Turn, event: CallSettled) -> None:
        """What a call used."""
        self._calls.settle(turn, event)
        self.dirty = True

    def rate_limited(self, turn: Turn, event: RateLimited) -> None:
        """An endpoint wants fewer calls."""
        self.pacing.refused(turn, event)
        turn.report(EndpointRefused(event.endpoint, event.retry_after_ns // MILLISECOND))
        self.dirty = True

    def _job_of(self, invocation: int) -> str:
        """The job that an agent works on; empty if it has ended."""
        if attempt := self.running.get(invocation):
            return attempt.unit[0]
        review = self._reviewing.running.get(invocation)
        return review.piece.unit[0] if review else ""

    def completed(self, turn: Turn, event: Completed) -> None:
        """A verified result: publish it, and hand it in."""
        self._calls.drop(event.invocation)
        if event.invocation in self._reviewing.running:
            self._review_ended(turn, event)
            return
        attempt = self.running.get(event.invocation)
        if attempt is None:
            return
        job, task, slot = attempt.unit
        result = self._result_of(attempt, event)
        if fault := self._fault_of(result):  # the log would refuse it, now and for ever
            number, usage = event.invocation, event.usage
            self.agent_failed(turn, AgentFailed(number, Failure.OUTPUT, fault, (), usage))
            return
        self.attempts.keep_answer(turn, attempt, event.files, event.text, event.usage)
        self.attempts.hand_in(turn, event.invocation)
        self._failing.succeeded(job, task, self.node)
        self.wishes.accept(turn.now, attempt.unit, result)
        self.dirty = True
        digest = digest_of(event.files, event.text)
        turn.report(TaskCompleted(job, task, slot, attempt.token, digest, event.left))

    def _result_of(self, attempt: Attempt, made: AnswerMade | Completed) -> AcceptResult:
        """What the log is given. Who checks an earlier attempt's answer tells what that has used,
        which nobody else will."""
        who = (*attempt.unit, self.node, attempt.token)
        return AcceptResult(*who, made.files, made.text, made.usage, attempt.earlier)

    def _fault_of(self, result: AcceptResult) -> str:
        """Why the log would refuse a result, now and for ever; empty if it would not."""
        found = self.ledger.slot(result.job, result.task, result.slot)
        fault = fault_of_result(found[1].task, result.files, result.text) if found else ""
        return fault or _fault_of_packing(result)

    def agent_failed(self, turn: Turn, event: AgentFailed) -> None:
        """No result: say why, and let go of the task."""
        self._calls.drop(event.invocation)
        if event.invocation in self._reviewing.running:
            self._review_ended(turn, event)
            return
        attempt = self.running.get(event.invocation)
        if attempt is None:
            return
        self.dirty = True
        job, task, slot = attempt.unit
        detail = event.detail[:DETAIL_LENGTH_MAX]
        usage = NO_USAGE if _fault_of_packing(event.usage) else event.usage
        # What it was to check stays, if it was only stopped, with what that has used.
        before = () if event.reason is Failure.ABORTED else attempt.earlier
        reason = self._failing.failed(turn.now, job, task, event.reason)
        note = FailNote(self.node, slot, attempt.token, reason.value, detail, usage, before)
        if event.reason is Failure.ABORTED:
            turn.report(AttemptAborted(job, task, slot, attempt.token, event.detail))
            self.attempts.drop(turn, event.invocation)
            if usage != NO_USAGE:
                self.notes.write(turn, job, task, note)
            return
        turn.report(AttemptFailed(job, task, slot, attempt.token, reason.value, detail))
        self.attempts.share(turn, attempt, event.files)
        self.notes.write(turn, job, task, note)
        unchecked = event.reason is Failure.NO_CHECK
        self.attempts.give_up(turn, event.invocation, unchecked)
        self._let_go(turn, attempt, reason, detail)

    def _review_ended(self, turn: Turn, event: Completed | AgentFailed) -> None:
        usage = NO_USAGE if _fault_of_packing(event.usage) else event.usage
        self._reviewing.ended(turn, event, usage)
        self.dirty = True

    def _let_go(self, turn: Turn, attempt: Attempt, reason: Failure, detail: str) -> None:
        """After a failed attempt: out of attempts, or free for the next holder."""
        found = self.ledger.slot(*attempt.unit)
        if found is None or not found[1].is_open:
            return
        job, task, slot = found
        # No other node's model knows it either, or nobody else has a right to more.
        if reason in (Failure.UNKNOWN_TASK, Failure.BUDGET):
            self.wishes.abandon(turn.now, job, task, detail)
        elif self._failing.is_used_up(job, task):
            self.wishes.abandon(turn.now, job, task, self._failing.account_of(job, task))
        else:
            self._give_back(turn, attempt, job, slot)

    def _give_back(self, turn: Turn, attempt: Attempt, job: JobState, slot: Slot) -> None:
        """To the log, if that gave it to this node."""
        if job.job.claims is not ClaimMode.LEASE and slot.holder == self.node:
            self.wishes.fence(turn.now, attempt.unit, attempt.token + 1)

    def let_go(self, turn: Turn, reason: str, *, for_good: bool = False) -> None:
        """This node is about to go: what it works on is for others, and it takes nothing more."""
        self._is_going = True
        self.spending.leaves = for_good
        for attempt in self.running.values():
            found = self.ledger.slot(*attempt.unit)
            if found is not None and found[1].is_open:
                self._give_back(turn, attempt, found[0], found[2])
        self.attempts.let_go(turn, reason)
        self.dirty = True

    def learn(self, turn: Turn, fact: Fact) -> None:
        """A fact, of this machine's or another's."""
        self.dirty |= self.hearing.hear(turn, fact)

    # -- the decision --------------------------------------------------------------------------

    def decide(self, turn: Turn, view: View) -> None:
        """Do whatever follows from what is known now. Idempotent."""
        self.dirty = False
        self._stand_still(turn.now)
        self._alarm.clear()
        self.hearing.catch_up(turn.now)
        self._forget_finished(turn)
        jobs = self.ledger.active()
        self._deadlines.check(turn, jobs)
        self.attempts.check(turn, view)
        self.attempts.renew(turn)
        self._deaths.tell(turn, view)
        if not self._is_going:
            for job in jobs:
                if not self._deadlines.reason(job.job.id):
                    self._taking.take(turn, view, job, jobs)
            self._reviewing.review(turn, view, jobs)
        self._calls.decide(turn, view, jobs)
        others = view.without(self.node) if self._is_going else view
        if view.leader == self.node and others.alive:
            self._leading.lead(turn, others, jobs, lambda job: spent_on(job, self.notes))
        self._clearing.clear(turn, view)
        if self.wishes.pursue(turn) or turn.writes:
            self.dirty = True

    def _stand_still(self, now: Nanoseconds) -> None:
        """A node that stood still for as long as others renew their claims has not heard of it:
        what it missed is no sign that they are lost."""
        late = now - self._alarm.at if self._alarm.at is not None else 0
        if late >= self.config.renew_ns:
            self.book.put_off(now, late)

    def _forget_finished(self, turn: Turn) -> None:
        for job in (*self.hearing.finished, *self.hearing.gone):
            self.book.forget(job)
            self._choice.forget(job)
            self._asking.forget(job)
            self.attempts.forget(job)
            self.notes.forget(job)
            self._failing.forget(job)
            self._deaths.forget(job)
            self.lore.forget(job)
            self.spending.forget(job)
            self.parts.forget(job)
        for job in self.hearing.finished:
            self.parts.settle(turn, job)
        self.hearing.finished.clear()
        self.hearing.gone.clear()


def _fault_of_packing(made: AcceptResult | Usage) -> str:
    """Why something cannot travel; empty if it can. Agents are not of our making, and what they
    return is not always what its type says."""
    try:
        codec.pack_value(made)
    except ValueError as fault:
        return f"it cannot be encoded: {fault}"
    return ""
