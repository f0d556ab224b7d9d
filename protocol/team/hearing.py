"""What a node hears that concerns the team: facts of its other machines, and what the store has.

Invariant: nothing is done here. Who hears something that may change what is to be done says so, and
then the team decides.
"""

from __future__ import annotations

from protocol import claims
from protocol.claims import ClaimBook, Held
from protocol.clocks import Nanoseconds
from protocol.facts import Fact
from protocol.facts.agreement import LeaderElected
from protocol.facts.membership import MemberFailed, MemberForgotten, MemberJoined, MemberLeft
from protocol.facts.sharing import BatchMerged
from protocol.facts.work import (
    AnswerGiven,
    AnswersJudged,
    BudgetGranted,
    FileMerged,
    JobFinished,
    JobForgotten,
    JobRefused,
    JobSubmitted,
    MergeProposed,
    MergeReviewed,
    RaceEnded,
    ResultProposed,
    ResultReviewed,
    TaskAbandoned,
    TaskAccepted,
    TaskClaimed,
    TaskCloned,
    TaskFenced,
)
from protocol.identity import NOBODY, NodeId
from protocol.jobs import ClaimMode
from protocol.ledger import JobState, Ledger, Unit
from protocol.store import Store
from protocol.team.clearing import Clearing
from protocol.team.deaths import Deaths
from protocol.team.early import Early, job_of
from protocol.team.failing import Failing
from protocol.team.lore import Lore
from protocol.team.notes import Notes
from protocol.team.pacing import PACE_PREFIX, Pacing
from protocol.team.parts import Parts
from protocol.team.spending import ACCOUNT_PREFIX, Spending
from protocol.team.wishes import Wishes
from protocol.turn import Turn


class Hearing:
    """Hands on to the team's machines what each of them has to know."""

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        book: ClaimBook,
        notes: Notes,
        failing: Failing,
        deaths: Deaths,
        lore: Lore,
        wishes: Wishes,
        spending: Spending,
        pacing: Pacing,
        parts: Parts,
        clearing: Clearing,
    ) -> None:
        self.finished: dict[str, None] = {}  # jobs that ended since the last decision
        self.gone: dict[str, None] = {}  # that a later state of the log does not have, or not yet
        self._ledger = ledger
        self._store = store
        self._book = book
        self._notes = notes
        self._failing = failing
        self._deaths = deaths
        self._lore = lore
        self._wishes = wishes
        self._spending = spending
        self._pacing = pacing
        self._parts = parts
        self._clearing = clearing
        self._early = Early()
        self._jobs: set[str] = set()  # that the ledger had when it was last looked at

    def restore(self, now: Nanoseconds) -> None:
        """Learn all that the store has."""
        self._jobs = set(self._ledger.jobs)
        for key in self._store.scan():
            self.learn_key(None, key, now)

    def relearn(self, turn: Turn) -> None:
        """The ledger was replaced by a later one, or is begun anew."""
        for name in self._jobs.difference(self._ledger.jobs):
            self.gone[name] = None
            self._notes.drop(name)
            self._spending.drop(name)
        for job in list(self._ledger.jobs.values()):
            self._wishes.submitted(turn, job.job.id)
            if job.is_finished:
                self.finished[job.job.id] = None
        self.restore(turn.now)

    def catch_up(self, now: Nanoseconds) -> None:
        """Learn what the store had of jobs before the log had them, perhaps of long ago."""
        due = self._early.take_due()
        for key in self._store.scan() if due else ():
            if job_of(key) in due:
                self.learn_key(None, key, now)

    def hear(self, turn: Turn, fact: Fact) -> bool:
        """Take note of a fact; whether it may change what is to be done."""
        match fact:
            case BatchMerged():
                heard = [self.learn_key(turn, key, turn.now) for key in fact.keys]
                return any(heard)
            case JobSubmitted():
                self._jobs.add(fact.job)
                self._early.came(fact.job)
                self._book.hear_of(fact.job, turn.now)
                self._wishes.submitted(turn, fact.job)
            case JobRefused():
                self._wishes.submitted(turn, fact.job, fact.reason)
                return False
            case JobFinished():
                self.finished[fact.job] = None
            case JobForgotten():
                self._jobs.discard(fact.job)
                self._clearing.forgotten(fact.job)
                self._notes.drop(fact.job)
                self._spending.drop(fact.job)
            case LeaderElected():
                self._wishes.hasten(turn.now)
            case TaskAccepted() | AnswerGiven():
                self._hear_of_answers(fact, turn.now)
                self._hear_of_success(fact)
                self._wishes.moved(turn.now)
            case ResultProposed():
                self._hear_of_success(fact)
                self._wishes.moved(turn.now)
            case ResultReviewed() | AnswersJudged():
                self._wishes.moved(turn.now)
            case MergeProposed() | MergeReviewed() | FileMerged():
                self._wishes.moved(turn.now)
            case TaskFenced():
                self._failing.was_taken(turn.now, (fact.job, fact.task, fact.slot))
                self._wishes.moved(turn.now)
            case TaskAbandoned() | BudgetGranted():
                self._wishes.moved(turn.now)
            case TaskClaimed():
                if fact.index:
                    unit = (fact.job, fact.task, fact.slot)
                    self._failing.was_given(unit, fact.node, fact.token)
            case MemberFailed():
                self._deaths.failed(fact)
            case MemberJoined() | MemberLeft():
                self._deaths.is_back(fact.node)
            case MemberForgotten():
                self._deaths.is_back(fact.node)
                return False
            case TaskCloned() | RaceEnded():
                pass
            case _:
                return False
        return True

    def _hear_of_answers(self, fact: TaskAccepted | AnswerGiven, now: Nanoseconds) -> None:
        """The log has results of attempts. Those of an earlier index were learnt already, or come
        from another job; and where a log is caught up with, the job may be gone again."""
        job = self._ledger.jobs.get(fact.job)
        task = job.tasks[fact.task] if job else None
        if task is None or (isinstance(fact, TaskAccepted) and len(task.slots) > 1):
            return  # of several answers each is told of by itself
        if task.task.asks_person:
            return  # how long a person takes tells nothing of the others
        for answer in task.answers:
            if answer.index == fact.index:
                unit = (fact.job, fact.task, answer.slot)
                self._book.answered(unit, answer.node, answer.token, now, task.task.weight)

    def _hear_of_success(self, fact: TaskAccepted | AnswerGiven | ResultProposed) -> None:
        """Of its own successes a node knows before the log does."""
        if fact.node != self._failing.node:
            self._failing.succeeded(fact.job, fact.task, fact.node)

    def learn_key(self, turn: Turn | None, key: str, now: Nanoseconds) -> bool:
        """Take note of what the store has under a key; whether it may change what is to be done.
        What is about a job that the log does not have stays in the store."""
        if key.startswith(PACE_PREFIX):
            return self._pacing.learn(turn, key)
        name = job_of(key)
        if not name:
            return False
        job = self._ledger.jobs.get(name)
        if job is None:
            self._early.heard(name)
            return False
        if key.startswith(claims.NOTE_PREFIX):
            return self._learn_note(turn, key, now)
        if key.startswith(ACCOUNT_PREFIX):
            return self._spending.learn(key)
        if job.is_finished:
            return False  # the last words of claims that have no meaning any more
        if unit := claims.unit_of(key):
            return self._learn_claim(turn, job, unit, NOBODY, key, now)
        if race := claims.race_of(key):
            return self._learn_claim(turn, job, *race, key, now)
        if key.startswith(claims.PART_PREFIX):
            self._parts.learn(key)
            return False
        return self._lore.learn(key)

    def _learn_note(self, turn: Turn | None, key: str, now: Nanoseconds) -> bool:
        """Take note of a failure; whether it is news. What was there before this node began tells
        nothing of how its author fares now."""
        learnt = self._notes.learn(key, now)
        if learnt and turn and learnt[2].node != self._failing.node:
            self._failing.heard(now, *learnt)
        return learnt is not None

    def _learn_claim(
        self,
        turn: Turn | None,
        job: JobState,
        unit: Unit,
        racer: NodeId,
        key: str,
        now: Nanoseconds,
    ) -> bool:
        """Take note of a unit's claim, or of that of somebody who races its holder."""
        versions = self._store.read(key)
        before: Held | None
        if racer:
            before = self._book.races(unit).get(racer)
            held = self._book.learn_race(unit, racer, versions, now)
        else:
            before = self._book.get(unit)
            held = self._book.learn(unit, versions, now)
        if held is None or held is before:
            return False
        claim = held.claim
        self._deaths.claimed(unit, held)
        new = before is None or (before.claim.node, before.claim.token) != (claim.node, claim.token)
        if turn and new and job.job.claims is ClaimMode.LEASE:
            said = TaskCloned if racer else TaskClaimed
            turn.report(said(*unit, claim.node, claim.token, 0))
        return True
