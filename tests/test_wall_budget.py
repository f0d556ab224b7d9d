"""The time of a job: each node keeps it by its own clocks, in a minority as well."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledger_hand import job, task
from small_world import SmallWorld, done
from team_hand import CONFIG, Desk, commands, invoked
from test_merging import BASE, editor, editors

from protocol.clocks import SECOND, Nanoseconds
from protocol.effects import Abort, Assignment, CallDenied, CallGranted, Purpose
from protocol.events import AgentFailed, CallAsked, Completed, Failure
from protocol.facts.work import (
    AttemptAborted,
    FileMerged,
    JobFinished,
    TaskAbandoned,
    TaskAccepted,
    TaskStarted,
)
from protocol.jobs import Budget, ClaimMode, File, Job, Usage
from protocol.ledger import SubmitJob, encode_command
from protocol.turn import Turn

LIMIT_S = 20.0
LIMIT: Nanoseconds = int(LIMIT_S * SECOND)
OVER = "the budget of 20 s is used up"
COST = Usage(1, 600, 0)


def timed(whole: Job, wall_s: float = LIMIT_S) -> Job:
    return replace(whole, budget=Budget(wall_s=wall_s))


def endless(assignment: Assignment) -> tuple[Nanoseconds, Completed]:
    return done(assignment, 1_000 * SECOND, COST)


# -- in the simulated team -------------------------------------------------------------------------


@pytest.mark.parametrize("claims", list(ClaimMode))
def test_a_job_ends_with_its_time_and_says_why(claims: ClaimMode) -> None:
    world = SmallWorld(3, endless)
    begin = world.world.now
    world.submit(timed(job(*[task(f"t{number}") for number in range(5)], claims=claims)))
    assert world.run(LIMIT + 3 * SECOND, world.is_finished)
    assert {fact.reason for _, _, fact in world.diary.of(TaskAbandoned)} == {OVER}
    assert not any(fact.succeeded for _, _, fact in world.diary.of(JobFinished))
    stopped = world.diary.of(AttemptAborted)
    assert {fact.reason for _, _, fact in stopped} == {OVER}
    assert all(LIMIT <= at - begin < LIMIT + SECOND for at, _, _ in stopped)
    assert len(stopped) == len(world.diary.of(TaskStarted))
    failed = [host.peer.team.notes.usage("job") for host in world.hosts if host.peer]
    assert {usage.tokens_in for usage in failed} == {600 * len(stopped)}, "it is paid for"


def test_a_job_that_is_done_in_time_succeeds() -> None:
    world = SmallWorld(3, done)
    world.do(timed(job(*[task(f"t{number}") for number in range(5)])))
    assert all(fact.succeeded for _, _, fact in world.diary.of(JobFinished))


@pytest.mark.parametrize("few", [[1, 2], [0], [3]])
def test_a_minority_keeps_the_time_as_well(few: list[int]) -> None:
    """Nobody can end the job there, and everybody stops."""

    def slow(assignment: Assignment) -> tuple[Nanoseconds, Completed]:
        return done(assignment, 7 * SECOND, COST)

    world = SmallWorld(5, slow)
    begin = world.world.now
    world.submit(timed(job(*[task(f"t{number}") for number in range(60)])))
    world.run(5 * SECOND)
    rest = [host.number for host in world.hosts if host.number not in few]
    world.world.network.cut(few, rest)
    world.run(LIMIT + 40 * SECOND)
    begun = [at - begin for at, number, _ in world.diary.of(TaskStarted) if number in few]
    stopped = [at - begin for at, number, _ in world.diary.of(AttemptAborted) if number in few]
    assert max(begun) > 12 * SECOND, "it works in the minority"
    assert max(begun) < LIMIT
    assert len(stopped) >= len(few)
    assert max(stopped) < LIMIT + SECOND
    for number in few:
        peer = world.hosts[number].peer
        assert peer is not None
        assert not peer.team.running
        assert not peer.ledger.jobs["job"].is_finished
    world.world.network.heal()
    assert world.run(60 * SECOND, world.is_finished)
    assert {fact.reason for _, _, fact in world.diary.of(TaskAbandoned)} == {OVER}
    assert world.diary.of(TaskAccepted)


def test_where_nobody_leads_a_job_ends_when_somebody_does_again() -> None:
    world = SmallWorld(3, endless)
    world.submit(timed(job(task("a"), task("b"), task("c"))))
    world.run(5 * SECOND)
    for one, two in ((0, 1), (0, 2), (1, 2)):
        world.world.network.cut([one], [two])
    world.run(2 * LIMIT)
    assert len(world.diary.of(AttemptAborted)) == 3
    assert not world.diary.of(TaskAbandoned)
    world.world.network.heal()
    assert world.run(60 * SECOND, world.is_finished)
    assert {fact.reason for _, _, fact in world.diary.of(TaskAbandoned)} == {OVER}


def test_no_merge_is_begun_when_the_time_is_over_and_the_job_ends_all_the_same() -> None:
    """The versions are kept side by side; what needs no agent is merged."""

    def edits(assignment: Assignment) -> tuple[Nanoseconds, Completed]:
        if assignment.purpose is not Purpose.WORK:
            return endless(assignment)
        name = assignment.task.id.encode()
        return SECOND, Completed(0, (File("shared", name),), "", COST)

    world = SmallWorld(3, edits)
    world.submit(timed(editors(editor("a"), editor("b"), base=BASE)))
    assert world.run(LIMIT + 3 * SECOND, world.is_finished)
    (fault,) = {fact.fault for _, _, fact in world.diary.of(FileMerged)}
    assert fault == OVER
    peer = world.hosts[0].peer
    assert peer is not None
    contents = {file.path: file.content for file in peer.ledger.jobs["job"].files()}
    assert contents == {"shared.a": b"a", "shared.b": b"b"}


# -- one node, by hand -----------------------------------------------------------------------------


class Watch(Desk):
    """A node with one task of a job that has 20 s; its wall clock is wrong by so much, as seen from
    the node that took the job."""

    def __init__(self, wrong_by: Nanoseconds = 0, tokens: int = 0) -> None:
        self.wrong_by = wrong_by
        super().__init__(CONFIG)
        budget = Budget(tokens=tokens, wall_s=LIMIT_S)
        short = replace(job(task("a")), budget=budget)
        self.begun = self.commit(encode_command(SubmitJob(short, (), 10**6 * SECOND)))

    def turn(self) -> Turn:
        return Turn(self.now, 10**6 * SECOND + self.now + self.wrong_by, 1)


def aborted(turn: Turn) -> list[Abort]:
    return [item for item in turn.before if isinstance(item, Abort)]


def test_the_alarm_rings_when_the_time_is_over() -> None:
    watch = Watch()
    (begun,) = invoked(watch.begun)
    deadline = 0
    while not (turn := watch.wait(deadline - watch.now)).before:
        found = watch.team.deadline()
        assert found is not None
        assert deadline < found <= LIMIT
        deadline = found
    assert aborted(turn) == [Abort(begun.invocation, OVER)]
    assert watch.now == LIMIT


def test_a_wall_clock_that_is_slow_grants_the_time_once() -> None:
    watch = Watch(wrong_by=-600 * SECOND)
    assert not aborted(watch.wait(LIMIT - 1))
    assert aborted(watch.wait(1))


def test_a_wall_clock_that_is_fast_ends_the_job_early() -> None:
    watch = Watch(wrong_by=600 * SECOND)
    assert not invoked(watch.begun)
    assert commands(watch.begun), "it leads, and gives the task up"


def test_an_agent_that_waits_for_leave_is_stopped_and_begins_no_call() -> None:
    watch = Watch(tokens=1_000)
    (begun,) = invoked(watch.begun)
    watch.view = replace(watch.view, leader="")  # type: ignore[arg-type]
    watch.wait(LIMIT - 1)
    turn = watch.turn()
    watch.team.call_asked(turn, CallAsked(begun.invocation, 1, 10, 10, 10))
    watch.settle(turn)
    turn = watch.wait(1)
    answers = [item for item in turn.before if isinstance(item, CallGranted | CallDenied | Abort)]
    assert answers == [
        Abort(begun.invocation, OVER),
        CallDenied(begun.invocation, 1, OVER),
    ]
    turn = watch.turn()
    watch.team.agent_failed(turn, AgentFailed(begun.invocation, Failure.ABORTED, OVER, (), COST))
    watch.settle(turn)
    assert not invoked(turn)
    assert watch.team.notes.usage("job") == COST
