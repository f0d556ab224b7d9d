"""Work that somebody could do waits for nobody who cannot, and what is under way is not lost."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from ledger_hand import job, task
from small_world import SmallWorld, done, failed

from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.effects import Assignment, Purpose
from protocol.events import AgentFailed, Completed, Failure
from protocol.facts.work import AttemptAborted, TaskAbandoned, TaskStarted
from protocol.jobs import ClaimMode, Quorum, Speculation, VerifyBy

LONG = 600 * SECOND
CHECKED = {"verify": "true", "verify_by": VerifyBy.OTHER}
AT_ONCE = Speculation(clones=1, percentile=0)


@pytest.mark.parametrize("claims", ClaimMode)
@pytest.mark.parametrize("size", [2, 3])
def test_who_lacks_the_program_is_nobody_to_leave_a_task_to(size: int, claims: ClaimMode) -> None:
    """One node can do the task, and its first result is found wrong: it has to try again."""
    attempts, reviews = [0], [0]

    def script(given: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        counts = reviews if given.purpose is Purpose.REVIEW else attempts
        counts[0] += 1
        if given.purpose is Purpose.REVIEW:
            return failed() if reviews[0] == 1 else done(given)
        return failed(Failure.NO_PROGRAM) if attempts[0] < size else done(given)

    small = SmallWorld(size, script)
    small.do(job(replace(task("t"), agent="command", program="p", **CHECKED), claims=claims))
    assert small.hosts[0].peer
    assert small.hosts[0].peer.ledger.jobs["job"].succeeded


@pytest.mark.parametrize("claims", [ClaimMode.LEASE, ClaimMode.LEADER])
@pytest.mark.parametrize("is_raced", [False, True], ids=["answers", "race"])
def test_one_cut_is_one_death_for_a_task(is_raced: bool, claims: ClaimMode) -> None:
    """Two of five are cut off while both are at one task: nothing says that it killed them."""
    small = SmallWorld(5, lambda given: done(given, 60 * SECOND))
    if is_raced:
        small.submit(replace(job(task("t"), claims=claims), speculation=AT_ONCE))
    else:
        small.submit(job(task("t", quorum=Quorum(3, 2)), claims=claims))
    at_work = 2 if is_raced else 3
    assert small.run(5 * SECOND, lambda: len(small.diary.of(TaskStarted)) == at_work)
    small.run(SECOND)
    away = [number for _, number, _ in small.diary.of(TaskStarted)][:2]
    small.world.network.cut(away, [each for each in range(5) if each not in away])
    small.run(30 * SECOND)
    small.world.network.heal()
    assert small.run(150 * SECOND, small.is_finished)
    assert small.diary.of(TaskAbandoned) == []


@pytest.mark.parametrize("claims", [ClaimMode.LEASE, ClaimMode.LEADER])
@pytest.mark.parametrize("seed", [1, 2])
def test_what_the_log_gave_to_who_is_busy_meanwhile_goes_to_the_idle(
    seed: int, claims: ClaimMode
) -> None:
    """A node asks the log for a task, and before it has it begins one that takes ten minutes."""
    draw = Random(seed)

    def script(given: Assignment) -> tuple[Nanoseconds, Completed]:
        is_long = given.task.id.startswith("long")
        return done(given, LONG if is_long else draw.randrange(300, 500) * MILLISECOND)

    small = SmallWorld(4, script, seed=seed)
    chain = [task(f"l{n}", *([f"l{n - 1}"] if n else [])) for n in range(12)]
    long = [task(f"long{n}", f"l{4 * n + 3}") for n in range(3)]
    small.submit(job(*chain, *long, claims=claims, name="one"))
    tasks = (task(f"r{n}") for n in range(60))
    small.submit(job(*tasks, claims=ClaimMode.RAFT, name="two"), at=1)
    assert small.run(60 * SECOND, lambda: small.is_finished("two"))


@pytest.mark.parametrize("claims", [ClaimMode.LEASE, ClaimMode.RAFT, ClaimMode.LEADER])
def test_who_was_planned_for_what_cannot_begin_is_idle(claims: ClaimMode) -> None:
    small = SmallWorld(3, lambda given: done(given, LONG if given.task.id == "root" else SECOND))
    later = (task(f"x{n}", "root") for n in range(6))
    small.submit(job(task("root"), *later, claims=ClaimMode.ASSIGNED, name="plan"))
    small.run(3 * SECOND)
    small.submit(job(task("r"), task("s"), claims=claims, name="short"))
    assert small.run(20 * SECOND, lambda: small.is_finished("short"))


@pytest.mark.parametrize("claims", ClaimMode)
def test_a_root_that_hangs_is_raced_though_all_else_is_planned(claims: ClaimMode) -> None:
    roots = [0]

    def script(given: Assignment) -> tuple[Nanoseconds, Completed]:
        if given.task.id != "root":
            return done(given, SECOND)
        roots[0] += 1
        return done(given, LONG if roots[0] == 1 else SECOND)

    small = SmallWorld(3, script)
    later = (task(f"x{n}", "root") for n in range(6))
    small.do(replace(job(task("root"), *later, claims=claims), speculation=AT_ONCE))
    assert roots == [2]


@pytest.mark.parametrize("claims", ClaimMode)
def test_whose_result_waits_for_a_word_is_idle(claims: ClaimMode) -> None:
    """Checks take 20 s. All begin their second task when they have done the first."""
    small = SmallWorld(
        3, lambda given: done(given, (20 if given.purpose is Purpose.REVIEW else 1) * SECOND)
    )
    begun = small.world.now
    small.submit(job(*(replace(task(f"t{n}"), **CHECKED) for n in range(6)), claims=claims))
    small.run(10 * SECOND)
    assert len([at for at, _, _ in small.diary.of(TaskStarted) if at < begun + 3 * SECOND]) == 6


@pytest.mark.parametrize("claims", [ClaimMode.LEASE, ClaimMode.RAFT, ClaimMode.LEADER])
def test_all_who_race_go_on_when_the_holder_dies(claims: ClaimMode) -> None:
    """The first takes its place, and the second races the first."""
    small = SmallWorld(5, lambda given: done(given, 40 * SECOND), seed=3)
    small.submit(replace(job(task("t"), claims=claims), speculation=replace(AT_ONCE, clones=2)))
    assert small.run(8 * SECOND, lambda: len(small.diary.of(TaskStarted)) == 3)
    small.run(10 * SECOND)
    (holder,) = {number for _, number, fact in small.diary.of(TaskStarted) if not fact.races}
    racers = {number for _, number, fact in small.diary.of(TaskStarted) if fact.races}
    small.hosts[holder].crash()
    assert small.run(60 * SECOND, small.is_finished)
    stopped = [
        number
        for _, number, fact in small.diary.of(AttemptAborted)
        if fact.reason not in ("the job is finished", "the task is settled")
    ]
    assert racers.isdisjoint(stopped)


@pytest.mark.parametrize("claims", [ClaimMode.RAFT, ClaimMode.ASSIGNED, ClaimMode.LEADER])
@pytest.mark.parametrize("pause", [11_400, 13_000, 14_800])
def test_a_leader_that_stood_still_takes_nobody_for_lost(pause: int, claims: ClaimMode) -> None:
    """It has not heard of the claims that were renewed meanwhile."""
    small = SmallWorld(5, lambda given: done(given, 60 * SECOND))
    small.submit(job(*(task(f"t{n}") for n in range(5)), claims=claims))
    assert small.run(5 * SECOND, lambda: len(small.diary.of(TaskStarted)) == 5)
    small.run(5 * SECOND)
    leader = small.leader()
    assert leader is not None
    leader.pause()
    small.run(pause * MILLISECOND)
    leader.resume()
    small.run(3 * SECOND)
    stopped = {number for _, number, _ in small.diary.of(AttemptAborted)}
    assert stopped <= {leader.number}
