"""Races: what takes long is worked on by others as well, within bounds, and one result wins."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledger_hand import ADA, BOB, CAT, Book, job, task
from small_world import SmallWorld, done, failed

from protocol import codec
from protocol.claims import Claim, ClaimBook, Phase
from protocol.clocks import SECOND, Alarm, Nanoseconds
from protocol.config import TeamConfig
from protocol.effects import Assignment
from protocol.errors import InvalidJob
from protocol.events import AgentFailed, Completed, Failure
from protocol.facts.work import (
    AttemptAborted,
    JobFinished,
    LeaseExpired,
    RaceEnded,
    ResultLate,
    TaskAccepted,
    TaskCloned,
    TaskStarted,
)
from protocol.job_rules import validate
from protocol.jobs import NO_USAGE, ClaimMode, Job, Quorum, Speculation, Task, Usage
from protocol.ledger import AcceptResult, CloneTask, EndRace, FenceTask
from protocol.ledger_image import image_of, jobs_of
from protocol.store import Version
from protocol.team import View
from protocol.team.racing import Racing

ALL_MODES = list(ClaimMode)
BY_LOG = [mode for mode in ALL_MODES if mode is not ClaimMode.LEASE]
AT_ONCE = Speculation(1, 0)


def raced(*tasks: Task, claims: ClaimMode = ClaimMode.LEASE, how: Speculation = AT_ONCE) -> Job:
    return replace(job(*tasks, claims=claims), speculation=how)


class Slow:
    """Agents of which the first at each task in `names` takes a minute, and the others a second."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)

    def __call__(self, assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        is_first = assignment.task.id in self.names
        self.names.discard(assignment.task.id)
        return done(assignment, 60 * SECOND if is_first else SECOND, Usage(1, 10, 5))


def duration_of(world: SmallWorld) -> float:
    """Seconds of virtual time from the first start to the end."""
    begun = min(at for at, _, _ in world.diary.of(TaskStarted))
    return (min(at for at, _, _ in world.diary.of(JobFinished)) - begun) / SECOND


# -- in the simulated team -------------------------------------------------------------------------


@pytest.mark.parametrize("claims", ALL_MODES)
def test_the_first_result_wins_and_the_other_agent_is_stopped(claims: ClaimMode) -> None:
    world = SmallWorld(3, Slow("a"))
    world.do(raced(task("a"), claims=claims))
    world.run(SECOND // 10)  # by then the other one has heard of it
    assert duration_of(world) < 3
    (accepted,) = {fact for _, _, fact in world.diary.of(TaskAccepted)}
    (stopped,) = world.diary.of(AttemptAborted)
    assert world.hosts[stopped[1]].identity.node != accepted.node
    assert not world.diary.of(ResultLate)


@pytest.mark.parametrize("claims", ALL_MODES)
def test_who_races_and_loses_stops_at_once(claims: ClaimMode) -> None:
    begun: list[Assignment] = []

    def script(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        begun.append(assignment)
        return done(assignment, 5 * SECOND if len(begun) == 1 else 60 * SECOND)

    world = SmallWorld(3, script)
    world.do(raced(task("a"), claims=claims))
    (won_at, *_) = [at for at, _, _ in world.diary.of(TaskAccepted)]
    world.run(SECOND)
    stopped = [at - won_at for at, _, _ in world.diary.of(AttemptAborted)]
    assert len(stopped) == 1
    assert stopped[0] < SECOND // 10


@pytest.mark.parametrize("claims", ALL_MODES)
def test_what_the_stopped_one_used_is_counted(claims: ClaimMode) -> None:
    world = SmallWorld(3, Slow("a"))
    world.do(raced(task("a"), claims=claims))
    world.run(5 * SECOND)
    for host in world.hosts:
        assert host.peer is not None
        assert host.peer.team.notes.usage("job").calls == 1
        assert host.peer.team.notes.of("job", "a") == [], "to be stopped is no failure"


@pytest.mark.parametrize("claims", ALL_MODES)
def test_no_more_race_than_the_job_allows(claims: ClaimMode) -> None:
    for clones in (0, 1, 2):
        world = SmallWorld(5, lambda assignment: done(assignment, 5 * SECOND))
        world.do(raced(task("a"), claims=claims, how=Speculation(clones, 0)))
        assert len(world.diary.of(TaskStarted)) == 1 + clones


@pytest.mark.parametrize("claims", ALL_MODES)
def test_only_the_longest_chain_is_raced(claims: ClaimMode) -> None:
    # Side is over before a is: beside what is left then, b, it would be as long a chain.
    world = SmallWorld(5, lambda given: done(given, (4 if given.task.id == "side" else 5) * SECOND))
    world.do(raced(task("side"), task("a"), task("b", "a"), claims=claims))
    started = [fact.task for _, _, fact in world.diary.of(TaskStarted) if fact.races]
    assert started == ["a", "b"]


@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_task_is_raced_once_it_takes_longer_than_is_usual(claims: ClaimMode) -> None:
    """Three tasks of a second each, then one that hangs: before the three nobody can tell."""
    world = SmallWorld(3, Slow("d"))
    tasks = (task("a"), task("b", "a"), task("c", "b"), task("d", "c"))
    world.do(raced(*tasks, claims=claims, how=Speculation(1, 90)))
    races = [fact.task for _, _, fact in world.diary.of(TaskStarted) if fact.races]
    assert races == ["d"]
    assert 5 < duration_of(world) < 7


@pytest.mark.parametrize("claims", ALL_MODES)
def test_what_weighs_more_takes_longer_and_is_not_raced_for_that(claims: ClaimMode) -> None:
    """Three tasks of a second each, then one of five, which weighs as much."""

    def script(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        return done(assignment, int(assignment.task.weight * SECOND))

    world = SmallWorld(3, script)
    tasks = (task("a"), task("b", "a"), task("c", "b"), task("d", "c", weight=5.0))
    world.do(raced(*tasks, claims=claims, how=Speculation(1, 90)))
    assert [fact.task for _, _, fact in world.diary.of(TaskStarted)] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_race_may_wait_for_a_time(claims: ClaimMode) -> None:
    world = SmallWorld(3, Slow("a"))
    world.do(raced(task("a"), claims=claims, how=Speculation(1, 0, after_s=4.0)))
    assert 5 <= duration_of(world) < 6


@pytest.mark.parametrize("claims", ALL_MODES)
def test_the_racer_takes_the_place_of_a_holder_that_dies(claims: ClaimMode) -> None:
    """Its work is not begun anew."""
    world = SmallWorld(4, lambda assignment: done(assignment, 20 * SECOND))
    world.submit(raced(task("a"), claims=claims))
    assert world.run(10 * SECOND, lambda: len(world.diary.of(TaskStarted)) == 2)
    holder = next(number for _, number, fact in world.diary.of(TaskStarted) if not fact.races)
    world.hosts[holder].crash("killed")
    assert world.run(60 * SECOND, world.is_finished)
    assert 20 <= duration_of(world) < 22
    third = [number for _, number, fact in world.diary.of(TaskStarted) if not fact.races]
    assert third == [holder], "nobody else has begun it as its holder"
    (accepted,) = {fact for _, _, fact in world.diary.of(TaskAccepted)}
    assert accepted.token == 2, "the dead one's result would not count any more"


@pytest.mark.parametrize("claims", ALL_MODES)
def test_the_racer_takes_the_place_of_a_holder_that_fails(claims: ClaimMode) -> None:
    attempts: list[int] = []

    def script(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        attempts.append(1)
        if len(attempts) == 1:
            return 5 * SECOND, AgentFailed(0, Failure.VERIFY, "wrong", (), NO_USAGE)
        return done(assignment, 10 * SECOND)

    world = SmallWorld(2, script)
    world.do(raced(task("a"), claims=claims))
    assert 10 <= duration_of(world) < 11
    assert not world.diary.of(LeaseExpired)


@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_race_is_dropped_for_a_task_that_nobody_works_on(claims: ClaimMode) -> None:
    """One node of three races `a`, until `b`, `c` and `d` are ready."""

    def script(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        return done(assignment, 3 * SECOND if assignment.task.id == "x" else 10 * SECOND)

    world = SmallWorld(3, script)
    chain = (task("a"), task("a2", "a"), task("a3", "a2"))
    tasks = (*chain, task("x"), *[task(name, "x") for name in "bcd"])
    world.do(raced(*tasks, claims=claims))
    starts = {fact.task: at for at, _, fact in reversed(world.diary.of(TaskStarted))}
    first = min(starts.values())
    assert starts["c"] - first < 5 * SECOND
    assert starts["b"] - first < 5 * SECOND
    if claims is not ClaimMode.ASSIGNED:  # there the plan says who has to wait
        assert any(at - first < 4 * SECOND for at, _, _ in world.diary.of(AttemptAborted))


def test_independent_answers_are_raced_by_others_only() -> None:
    world = SmallWorld(4, lambda assignment: done(assignment, 5 * SECOND))
    world.do(raced(task("a", quorum=Quorum(3, 2))))
    started = [(number, fact.races) for _, number, fact in world.diary.of(TaskStarted)]
    holders = [number for number, races in started if not races]
    assert len(holders) == len(set(holders)) == 3
    assert {number for number, races in started if races} == set(range(4)) - set(holders)


def test_a_part_that_is_cut_off_races_within_itself() -> None:
    """In LEASE mode a race needs no majority; its result does."""
    world = SmallWorld(5, Slow("a"))
    world.submit(raced(task("a"), how=Speculation(1, 0, after_s=5.0)))
    assert world.run(10 * SECOND, lambda: bool(world.diary.of(TaskStarted)))
    ((_, holder, _),) = world.diary.of(TaskStarted)
    other = next(host.number for host in world.hosts if host.number != holder)
    rest = [host.number for host in world.hosts if host.number not in (holder, other)]
    world.world.network.cut([holder, other], rest)
    world.run(8 * SECOND)
    assert (other, True) in [(number, f.races) for _, number, f in world.diary.of(TaskStarted)]
    world.world.network.heal()
    assert world.run(60 * SECOND, world.is_finished)


# -- in the ledger, by hand ------------------------------------------------------------------------


def raced_book(clones: int = 1) -> Book:
    book = Book()
    book.submit(raced(task("a"), claims=ClaimMode.RAFT, how=Speculation(clones, 0)))
    book.claim("a", ADA)
    return book


def test_a_race_needs_a_holder_and_its_token() -> None:
    book = Book()
    book.submit(raced(task("a"), claims=ClaimMode.RAFT))
    assert book.say(CloneTask("job", "a", 0, BOB, 0)) == []
    book.claim("a", ADA)
    assert book.say(CloneTask("job", "a", 0, BOB, 2)) == []
    assert book.say(CloneTask("job", "a", 0, ADA, 1)) == [], "it is at work already"
    raced_at = len(book.log) + 1
    assert book.say(CloneTask("job", "a", 0, BOB, 1)) == [
        TaskCloned("job", "a", 0, BOB, 1, raced_at)
    ]
    assert book.say(CloneTask("job", "a", 0, BOB, 1)) == [], "the same, proposed again"
    assert book.say(CloneTask("job", "a", 0, CAT, 1)) == [], "one clone is allowed"


def test_who_races_is_accepted_and_the_holder_comes_late() -> None:
    book = raced_book()
    book.say(CloneTask("job", "a", 0, BOB, 1))
    (accepted, *_) = book.accept("a", BOB)
    assert isinstance(accepted, TaskAccepted)
    (late,) = book.say(AcceptResult("job", "a", 0, ADA, 1, (), "other", NO_USAGE))
    assert isinstance(late, ResultLate)


def test_who_does_not_race_is_not_accepted() -> None:
    book = raced_book()
    (late,) = book.accept("a", BOB)
    assert isinstance(late, ResultLate)


def test_the_first_racer_inherits_and_the_old_token_is_void() -> None:
    book = raced_book(clones=2)
    book.say(CloneTask("job", "a", 0, BOB, 1))
    book.say(CloneTask("job", "a", 0, CAT, 1))
    book.say(FenceTask("job", "a", 0, 2))
    slot = book.task("a").slots[0]
    assert (slot.holder, slot.token, slot.racers) == (BOB, 2, [CAT])
    (late,) = book.accept("a", ADA, token=1)
    assert isinstance(late, ResultLate)
    (accepted, *_) = book.accept("a", CAT, token=2)
    assert isinstance(accepted, TaskAccepted)


def test_a_race_in_the_log_that_was_not_heard_of_for_a_lease_wakes_nobody() -> None:
    """Its end was asked for after it had passed, again and again in one step (seed 153701508)."""
    book, alarm, heard = raced_book(), Alarm(), ClaimBook()
    book.say(CloneTask("job", "a", 0, BOB, 1))
    unit = ("job", "a", 0)
    claim = codec.pack_value(Claim(BOB, 1, Phase.WORKING))
    heard.learn_race(unit, BOB, [Version(BOB, 1, claim, 0)], 0)
    config = TeamConfig()
    racing = Racing(config, book.ledger, heard, alarm)
    view = View(frozenset({ADA, BOB}), frozenset(), ADA)
    assert racing.racers(config.lease_ns - 1, view, unit) == [BOB]
    assert alarm.at == config.lease_ns
    alarm.clear()
    assert racing.racers(config.lease_ns, view, unit) == [BOB]
    assert alarm.at is None


def test_who_races_is_in_a_snapshot() -> None:
    book = raced_book()
    book.say(CloneTask("job", "a", 0, BOB, 1))
    (state,) = jobs_of(image_of(book.ledger))
    assert state.tasks["a"].slots[0].racers == [BOB]


@pytest.mark.parametrize("how", [Speculation(5), Speculation(1, 100), Speculation(1, 0, -1.0)])
def test_what_makes_no_sense_is_refused(how: Speculation) -> None:
    with pytest.raises(InvalidJob, match="speculate"):
        validate(raced(task("a"), how=how))


# -- a race that came to nothing ---------------------------------------------------------------


@pytest.mark.parametrize("claims", ALL_MODES)
def test_who_fails_in_a_race_makes_room_for_another(claims: ClaimMode) -> None:
    """The holder hangs, its racer fails, a third node takes a second."""
    attempts = [0]

    def script(given: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        attempts[0] += 1
        if attempts[0] == 2:
            return failed()
        return done(given, 300 * SECOND if attempts[0] == 1 else SECOND)

    small = SmallWorld(4, script)
    small.submit(raced(task("t"), claims=claims))
    assert small.run(30 * SECOND, small.is_finished)


@pytest.mark.parametrize("claims", ALL_MODES)
def test_who_dies_in_a_race_makes_room_for_another(claims: ClaimMode) -> None:
    attempts = [0]

    def script(given: Assignment) -> tuple[Nanoseconds, Completed]:
        attempts[0] += 1
        return done(given, 300 * SECOND if attempts[0] <= 2 else SECOND)

    small = SmallWorld(5, script)
    small.submit(raced(task("t"), claims=claims))
    assert small.run(5 * SECOND, lambda: len(small.diary.of(TaskStarted)) == 2)
    small.run(SECOND)
    (racer,) = {number for _, number, fact in small.diary.of(TaskStarted) if fact.races}
    small.hosts[racer].crash()
    assert small.run(30 * SECOND, small.is_finished)


def test_a_race_ends_once_and_only_for_who_races() -> None:
    book = Book()
    book.submit(raced(task("a"), claims=ClaimMode.RAFT))
    book.claim("a", ADA, 1)
    book.say(CloneTask("job", "a", 0, BOB, 1))
    assert book.say(EndRace("job", "a", 0, CAT, 1)) == []
    assert book.say(EndRace("job", "a", 0, BOB, 2)) == []
    assert [type(fact) for fact in book.say(EndRace("job", "a", 0, BOB, 1))] == [RaceEnded]
    assert book.say(EndRace("job", "a", 0, BOB, 1)) == [], "the same, proposed again"
    assert [type(fact) for fact in book.say(CloneTask("job", "a", 0, CAT, 1))] == [TaskCloned]
