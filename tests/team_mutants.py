"""The team with one rule removed at a time: races and reviews."""

from __future__ import annotations

from dataclasses import astuple

from breeding import Breeder

from protocol.claims import Held
from protocol.clocks import Nanoseconds
from protocol.facts import Fact
from protocol.facts.work import TaskCloned
from protocol.identity import NodeId
from protocol.jobs import ClaimMode
from protocol.ledger import (
    Answer,
    CloneTask,
    JobState,
    Ledger,
    ReviewResult,
    Slot,
    TaskState,
    Unit,
)
from protocol.team.attempts import Attempt, Attempts
from protocol.team.choice import Choice
from protocol.team.racing import Racing
from protocol.team.reviewing import Piece, Reviewing
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
    return [TaskCloned(*astuple(command))]


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
def race_the_usual(self: Racing, now: Nanoseconds, job: JobState, begun: Held) -> bool:
    return True


@instead_of("BeginsAnew", "a racer takes the place of who is lost", (Racing, "racers"))
def know_no_racer(
    self: Racing, now: Nanoseconds, view: View, unit: Unit, slot: Slot, job: JobState
) -> list[NodeId]:
    return slot.racers if job.job.claims is not ClaimMode.LEASE else []


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
def review_itself(
    self: Reviewing, view: View, task: TaskState, piece: Piece, answers: tuple[Answer, ...]
) -> list[NodeId]:
    return [answer.node for answer in answers]


@instead_of("TakesItAgain", "who was wrong leaves the task to others", (Choice, "_was_wrong"))
def take_again(self: Choice, view: View, task: TaskState) -> bool:
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
