"""The team with one rule removed at a time: races, reviews, failures, budgets and pace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from breeding import Breeder

from protocol.claims import FailNote, Held
from protocol.clocks import Nanoseconds
from protocol.effects import Abort
from protocol.facts import Fact
from protocol.facts.work import BudgetGranted, TaskCloned
from protocol.identity import NodeId
from protocol.jobs import NOTHING, Amount, ClaimMode, Share
from protocol.ledger import (
    CloneTask,
    Edits,
    Grant,
    GrantBudget,
    JobState,
    Ledger,
    ReviewResult,
    Siblings,
    Slot,
    TaskState,
    Unit,
    merges,
)
from protocol.team.attempts import Attempt, Attempts
from protocol.team.calls import Calls
from protocol.team.deadlines import Deadlines
from protocol.team.eligible import Eligible
from protocol.team.failing import Failing
from protocol.team.leading import Leading
from protocol.team.notes import Notes
from protocol.team.pacing import Pacing
from protocol.team.pieces import Piece, ResultToReview
from protocol.team.racing import Racing
from protocol.team.reviewing import Reviewing
from protocol.team.spending import Account, Reservation, Spending, _Own
from protocol.team.view import View
from protocol.turn import Turn

BREEDER = Breeder()
MUTANTS = BREEDER.mutants
instead_of = BREEDER.instead_of

# -- races ----------------------------------------------------------------------------------------

_reason_to_stop = Attempts._reason_to_stop


@instead_of("RacesInCrowds", "a job says how many may race", (Ledger, "_clone"))
def clone_freely(self: Ledger, command: CloneTask) -> list[Fact]:
    found = self.slot(command.job, command.task, command.slot)
    if found is None or not found[1].is_open or found[2].answer or not found[2].holder:
        return []
    found[2].racers.append(command.node)
    unit = command.job, command.task, command.slot
    return [TaskCloned(*unit, command.node, command.token, self.applied)]


@instead_of("RacesOn", "who has lost a race stops", (Attempts, "_reason_to_stop"))
def race_on(self: Attempts, turn: Turn, view: View, attempt: Attempt) -> str:
    return "" if attempt.races else _reason_to_stop(self, turn, view, attempt)


@instead_of("RacesAnything", "only the longest chain is raced", (Racing, "overdue"))
def race_anything(
    self: Racing, now: Nanoseconds, view: View, job: JobState
) -> list[tuple[TaskState, Slot, Unit]]:
    ready = job.ready_units() if job.job.speculation.clones else []
    return [race for race in ready if self._begun(now, view, job, race[1], race[2])]


@instead_of("RacesTheUsual", "what takes its usual time is not raced", (Racing, "_is_overdue"))
def race_the_usual(
    self: Racing, now: Nanoseconds, job: JobState, task: TaskState, begun: Held
) -> bool:
    return True


@instead_of("BeginsAnew", "a racer takes the place of who is lost", (Racing, "racers_of"))
def know_no_racer(self: Racing, view: View, unit: Unit, now: Nanoseconds) -> Sequence[NodeId]:
    found = self._ledger.slot(*unit)
    if found is None or found[0].job.claims is ClaimMode.LEASE:
        return []
    return found[2].racers


# -- reviews --------------------------------------------------------------------------------------

_review = Ledger._review
_order = Reviewing._order


@instead_of("WitnessesItself", "nobody is the witness of its own work", (Ledger, "_review"))
def review_own(self: Ledger, command: ReviewResult, index: int) -> list[Fact]:
    reviewer = command.reviewer if command.reviewer != command.node else NodeId("somebody")
    found = self.slot(command.job, command.task, command.slot)
    if found is None:
        return []
    stranger = ReviewResult(
        *(command.job, command.task, command.slot, command.node, command.token),
        *(reviewer, command.fault),
    )
    return _review(self, stranger, index)


@instead_of("ReviewsItself", "who made it does not review it", (Reviewing, "_order"))
def review_itself(self: Reviewing, view: View, job: JobState, piece: Piece) -> list[NodeId]:
    return [piece.attempt[1]] if isinstance(piece, ResultToReview) else []


@instead_of("TakesItAgain", "who was wrong leaves the task to others", (Eligible, "_was_wrong"))
def take_again(self: Eligible, scene: object, task: TaskState) -> bool:
    return False


@instead_of("AcceptsUnreviewed", "no result counts before it is reviewed", (Ledger, "_accept"))
def accept_unreviewed(self: Ledger, command: object, index: int) -> list[Fact]:
    facts = _accept(self, command, index)  # type: ignore[arg-type]
    for job in self.jobs.values():
        for task in job.tasks.values():
            for slot in task.slots:
                if slot.candidates and task.is_open:
                    slot.answer = slot.candidates.pop()
                    facts += self._count_answers(job, task, slot.answer, index)
    return facts


_accept = Ledger._accept


# -- failures -------------------------------------------------------------------------------------


@instead_of("KeepsWhatItFails", "who failed a task leaves it to others", (Failing, "leaves"))
def keep_what_fails(
    self: Failing, now: Nanoseconds, view: View, job: JobState, task: TaskState, node: NodeId
) -> bool:
    return False


@instead_of("NeverPauses", "who fails in a row pauses", (Failing, "_fails"))
def never_pause(self: Failing, now: Nanoseconds, node: NodeId) -> bool:
    return False


@instead_of("KeepsWhatItStops", "who stops lets others have its tasks", (Attempts, "let_go"))
def keep_what_stops(self: Attempts, turn: Turn, reason: str) -> None:
    for invocation in self.running:
        turn.perform(Abort(invocation, reason))


@instead_of("AnswersTwice", "the log gives each answer to another node", (Leading, "_answering"))
def let_one_answer_twice(
    self: Leading, turn: Turn, view: View, job: JobState, unit: Unit
) -> set[NodeId]:
    return set()


@instead_of("WaitsForWhoFails", "who always fails is not waited for", (Failing, "able"))
def wait_for_all(
    self: Failing, now: Nanoseconds, view: View, job: JobState, task: TaskState
) -> frozenset[NodeId]:
    return view.alive


@instead_of("CountsOutages", "a model that is away costs no attempt", (Notes, "counted"))
def count_outages(self: Notes, job: str, task: str) -> Sequence[FailNote]:
    return self.of(job, task)


@instead_of("WaitsForEver", "an outage that lasts too long counts", (Failing, "_nobody_reaches"))
def wait_for_ever(self: Failing, view: View, job: JobState, task: TaskState) -> str:
    return ""


@instead_of("MergesUnreviewed", "no merge counts before it is reviewed", (merges, "needs_witness"))
def merge_unreviewed(job: JobState, siblings: Siblings) -> bool:
    return False


# -- budgets and pace -----------------------------------------------------------------------------

_written = Spending._written


@instead_of("BeginsUnwritten", "a reservation is on the disk first", (Spending, "has_written"))
def begin_unwritten(self: Spending, job: str, reservation: Reservation) -> bool:
    return True


@instead_of("ForgetsCalls", "what the dead had reserved is spent", (Spending, "_written"))
def forget_calls(self: Spending, job: str, account: Account) -> None:
    _written(self, job, replace(account, reserved=NOTHING))


@instead_of("GivesTooMuch", "nobody gives what it has not", (Spending, "_give"))
def give_too_much(self: Spending, view: View, job: JobState, only_before: str) -> None:
    for node, account in self.accounts(job.job.id).items():
        lacks = account.wants.minus(self._inflow(job, node)).at_least(NOTHING)
        if node != self.node and account.wants != NOTHING and lacks != NOTHING:
            own = self._own.setdefault(job.job.id, _Own())
            own.gifts[node] = own.gifts.get(node, NOTHING).plus(lacks)
            own.is_news = True


@instead_of("GrantsForEver", "the log grants what is left", (Ledger, "_grant_budget"))
def grant_for_ever(self: Ledger, command: GrantBudget, index: int) -> list[Fact]:
    job = self.jobs.get(command.job)
    before = job.grants.get(command.node, Grant()) if job else Grant()
    if job is None or command.number != before.number + 1:
        return []
    job.grants[command.node] = Grant(command.number, before.amount.plus(command.amount))
    given = (command.amount.tokens, command.amount.microusd)
    return [BudgetGranted(command.job, command.node, *given, index)]


_costs = Notes.costs


@instead_of("CountsTwice", "each attempt counts once, whoever tells of it", (Notes, "costs"))
def count_twice(self: Notes, job: str) -> Iterator[tuple[str, Share, int | None]]:
    for task, share, _ in _costs(self, job):
        yield task, share, None


@instead_of("CallsInCrowds", "paid calls are made one at a time", (Calls, "_is_under_way"))
def call_in_crowds(self: Calls, job: str) -> bool:
    return False


@instead_of("ForgivesOverruns", "who hears of an overrun spends less", (Spending, "left"))
def forgive_overruns(self: Spending, job: JobState) -> Amount:
    return job.job.budget.whole


@instead_of("IgnoresTime", "a job ends with its time", (Deadlines, "check"))
def ignore_time(self: Deadlines, turn: Turn, jobs: Sequence[JobState]) -> None:
    """Nobody looks at a clock."""


_siblings = Edits._siblings


@instead_of("LaterStands", "what has not seen a version does not replace it", (Edits, "_siblings"))
def let_later_stand(self: Edits, path: str, among: int) -> tuple[str, ...]:
    return _siblings(self, path, among)[-1:]


@instead_of("AsksAtOnce", "all nodes keep one pace", (Pacing, "admits"))
def ask_at_once(self: Pacing, now: Nanoseconds, view: View, name: str) -> bool:
    return True


@instead_of("NeverListens", "who begins to ask listens first", (Pacing, "waits"))
def never_listen(self: Pacing, turn: Turn, name: str, configured: int) -> None:
    _waits(self, turn, name, configured)
    self._endpoints[name].has_place = True


_waits = Pacing.waits
