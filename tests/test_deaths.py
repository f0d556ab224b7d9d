"""A task that kills its nodes is given up before it has killed the team."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledger_hand import job, task
from small_world import SmallWorld, done
from team_hand import SELF, Desk, commands, finished, invoked

from protocol import claims, codec
from protocol.claims import NOTE_PREFIX, Claim, FailNote, Phase, note_key
from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.effects import Abort, Assignment
from protocol.events import AgentFailed, Completed
from protocol.facts.membership import MemberFailed, MemberJoined, MemberLeft
from protocol.facts.work import JobFinished, TaskAbandoned, TaskAccepted, TaskStarted
from protocol.identity import Identity
from protocol.jobs import ClaimMode, File, Speculation
from protocol.ledger import AbandonTask, decode_command
from protocol.sim.world import Host
from protocol.store import Store, Version
from protocol.team import View
from protocol.team.notes import DIED, LOST
from protocol.turn import Turn

ALL_MODES = list(ClaimMode)
KILLER = "killer"
ADA, BOB, CAT = Identity(b"k" * 32), Identity(b"b" * 32), Identity(b"c" * 32)


class Deadly:
    """Agents, one for each host, of which those at KILLER take their host down after a moment."""

    def __init__(self, host: Host, after: Nanoseconds, silent: bool, back: Nanoseconds) -> None:
        self.host, self.after, self.silent, self.back = host, after, silent, back

    def perform(self, assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        if assignment.task.id != KILLER:
            return done(assignment, SECOND // 2)
        self.host.world.after(self.after, self.kill)
        return done(assignment, 3600 * SECOND)

    def kill(self) -> None:
        running = self.host.peer.team.running.values() if self.host.peer else ()
        if any(attempt.unit[1] == KILLER and not attempt.aborted for attempt in running):
            self.host.crash(silent=self.silent)
            if self.back:
                self.host.world.after(self.back, self.host.start_again)


def deadly(
    size: int,
    after: Nanoseconds = 50 * MILLISECOND,
    silent: bool = False,
    back: Nanoseconds = 0,
) -> SmallWorld:
    small = SmallWorld(size)
    for host in small.hosts:
        host.agents = Deadly(host, after, silent, back)  # type: ignore[assignment]
    return small


def is_over(small: SmallWorld) -> bool:
    return bool(small.up) and small.is_finished()


def reasons(small: SmallWorld) -> set[str]:
    return {fact.reason for _, _, fact in small.diary.of(TaskAbandoned)}


def last_start(small: SmallWorld) -> int:
    """Which host has begun something last."""
    return small.diary.of(TaskStarted)[-1][1]


def dead(small: SmallWorld) -> int:
    return len(small.hosts) - len(small.up)


@pytest.mark.parametrize(("size", "silent"), [(5, False), (7, False), (7, True)])
@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_task_that_kills_its_nodes_is_given_up(
    claims: ClaimMode, size: int, silent: bool
) -> None:
    small = deadly(size, silent=silent)
    others = [task(f"t{number}") for number in range(6)]
    small.submit(job(task(KILLER), *others, claims=claims), at=0)
    assert small.run(240 * SECOND, lambda: is_over(small))
    assert small.leader(), "the majority is still there"
    assert 2 <= dead(small) <= 3
    assert reasons(small) == {f"{dead(small)} nodes died while they worked on it"}
    accepted = {fact.task for _, _, fact in small.diary.of(TaskAccepted)}
    assert accepted == {each.id for each in others}, "all else is done"


@pytest.mark.parametrize("attempts", [1, 2])
@pytest.mark.parametrize("claims", ALL_MODES)
def test_no_more_nodes_die_over_a_task_than_it_has_attempts(
    claims: ClaimMode, attempts: int
) -> None:
    small = deadly(5)
    small.submit(job(task(KILLER, attempts_max=attempts), claims=claims))
    assert small.run(120 * SECOND, lambda: is_over(small))
    assert dead(small) == attempts
    (reason,) = reasons(small)
    assert reason.endswith("died while it worked on it" if attempts == 1 else "worked on it")


@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_node_that_comes_back_each_time_does_not_die_for_ever(claims: ClaimMode) -> None:
    """Whether the others have found out or not, it notes its earlier deaths itself. By leases two
    may begin at once: who has just come back has not heard of the other's claim."""
    small = deadly(3, back=200 * MILLISECOND)
    small.submit(job(task(KILLER), claims=claims))
    assert small.run(240 * SECOND, lambda: is_over(small))
    tokens = {fact.token for _, _, fact in small.diary.of(TaskStarted)}
    assert tokens in ({1, 2}, {1, 2, 3})
    assert len(small.diary.of(TaskStarted)) <= len(tokens) + (claims is ClaimMode.LEASE)
    (reason,) = reasons(small)
    assert "died while" in reason


@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_node_alone_that_comes_back_each_time_gives_the_task_up(claims: ClaimMode) -> None:
    small = deadly(1, back=200 * MILLISECOND)
    small.submit(job(task(KILLER), claims=claims))
    assert small.run(240 * SECOND, lambda: is_over(small))
    assert len(small.diary.of(TaskStarted)) == 3
    assert reasons(small) == {"3 times a node died while it worked on it"}


@pytest.mark.parametrize("claims", ALL_MODES)
def test_one_death_is_no_reason_to_give_a_task_up(claims: ClaimMode) -> None:
    small = deadly(5)
    for host in small.hosts[1:]:
        host.agents.after = 3600 * SECOND  # type: ignore[attr-defined]
    small.hosts[0].agents.after = SECOND  # type: ignore[attr-defined]
    small.submit(job(task("a"), task("b"), claims=claims))
    assert small.run(300 * MILLISECOND) is False
    working = {number for _, number, _ in small.diary.of(TaskStarted)}
    victim = small.hosts[working.pop()]
    victim.crash()
    assert small.run(60 * SECOND, lambda: is_over(small))
    assert all(fact.succeeded for _, _, fact in small.diary.of(JobFinished))


def test_who_is_cut_off_three_times_is_not_dead_once_it_is_back() -> None:
    """What the others hold against it ends when it is there again."""
    small = deadly(3, after=3600 * SECOND)
    small.submit(job(task(KILLER)))
    assert small.run(5 * SECOND, lambda: bool(small.diary.of(TaskStarted)))
    for _ in range(4):
        holder = last_start(small)
        others = [host.number for host in small.hosts if host.number != holder]
        small.world.network.cut([holder], others)
        assert small.run(60 * SECOND, lambda was=holder: last_start(small) != was)
        small.world.network.heal()
        small.run(20 * SECOND)
    assert not small.diary.of(TaskAbandoned)


def test_once_a_node_has_died_each_claim_is_told_at_once() -> None:
    """While there is plenty of quick work they are not: nobody would know who died of one."""
    small = deadly(7)
    for host in small.hosts:
        host.agents.perform = _quickly(host)  # type: ignore[method-assign]
    names = [f"t{number:03}" for number in range(300)]
    small.submit(job(*map(task, names), task(KILLER)))
    assert small.run(240 * SECOND, lambda: is_over(small))
    assert dead(small) <= 4
    assert small.leader()
    (reason,) = reasons(small)
    assert "died" in reason


def _quickly(host: Host):  # type: ignore[no-untyped-def]
    deadly = host.agents

    def perform(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        if assignment.task.id == KILLER:
            return Deadly.perform(deadly, assignment)  # type: ignore[arg-type]
        return done(assignment, 20 * MILLISECOND)

    return perform


# -- one machine, by hand -------------------------------------------------------------------------


def begins_again(desk: Desk) -> bool:
    """Whether a node that died and came back starts an agent within a while."""
    again = [desk.restart(), *(desk.wait(100 * MILLISECOND) for _ in range(300))]
    return any(map(invoked, again))


def abandoned(turn: Turn) -> list[str]:
    found = map(decode_command, commands(turn))
    return [command.reason for command in found if isinstance(command, AbandonTask)]


def test_a_restarted_node_counts_its_own_deaths() -> None:
    desk = Desk()
    desk.begin(task("a"))
    assert begins_again(desk)
    assert begins_again(desk)
    turn = desk.restart()
    assert not invoked(turn)
    assert abandoned(turn) == ["3 times a node died while it worked on it"]


def test_a_node_that_ended_its_work_has_not_died_at_it() -> None:
    desk = Desk()
    for number in range(4):
        started = desk.begin(task("a"), name=f"job{number}")
        desk.team.completed(turn := desk.turn(), finished(started.invocation, File("a", b"")))
        for command in commands(desk.settle(turn)):
            desk.commit(command)
        assert not abandoned(desk.restart())


def fail(desk: Desk, *members: Identity) -> None:
    """This node finds out that they are away."""
    for each in members:
        turn = desk.turn()
        desk.team.learn(turn, MemberFailed(each.node, ADA.node, "silence"))
        desk.settle(turn)


def hear_of_deaths(desk: Desk, how: str, *dead: Identity, away: int = 3) -> Turn:
    """Another node's notes about what died at the task "a" come by gossip; the last so many of
    them are away."""
    fail(desk, *(dead[-away:] if away else ()))
    notes = [
        (
            note_key("job", "a", ADA.node, number),
            codec.pack_value(FailNote(ADA.node, 0, number + 1, how, each.node)),
        )
        for number, each in enumerate(dead)
    ]
    batch, _ = Store(ADA, "team", 10_000).write(notes, desk.now)
    assert desk.store.merge(batch)
    turn = desk.turn()
    for key, _ in notes:
        desk.team.dirty |= desk.team.hearing.learn_key(turn, key, desk.now)
    return desk.settle(turn)


def test_what_others_noted_counts_here_too() -> None:
    desk = Desk()
    desk.begin(task("a", attempts_max=2))
    assert abandoned(hear_of_deaths(desk, DIED, ADA, BOB)) == [
        "2 nodes died while they worked on it"
    ]


def test_who_leaves_a_task_alone_says_what_it_has_seen() -> None:
    """The leader may have died over it itself, and know of fewer deaths (seed 5864)."""
    desk = Desk()
    desk.begin(task("a", attempts_max=9))
    claim = codec.pack_value(Claim(CAT.node, 3, Phase.WORKING))
    desk.team.book.learn(("job", "a", 0), [Version(CAT.node, 1, claim, 0)], desk.now)
    desk.view = View(frozenset({SELF.node}), frozenset(), CAT.node)
    fail(desk, CAT)
    assert not noted_deaths(desk), "the leader will"
    hear_of_deaths(desk, DIED, ADA, BOB, away=0)
    assert noted_deaths(desk) == {CAT.node}


def noted_deaths(desk: Desk) -> set[str]:
    """Whose deaths this node has noted itself."""
    keys = desk.store.scan(f"{NOTE_PREFIX}job/a/{SELF.node}/")
    versions = [version for key in keys for version in desk.store.read(key)]
    return {codec.unpack_value(FailNote, version.value).detail for version in versions}


def test_a_question_to_a_person_kills_nobody() -> None:
    desk = Desk()
    desk.begin(replace(task("a"), agent="human"))
    for _ in range(5):
        assert begins_again(desk)


def test_of_silence_it_takes_more() -> None:
    """Who is silent may only be cut off, and not for good."""
    desk = Desk()
    desk.begin(task("a", attempts_max=1))
    assert not abandoned(hear_of_deaths(desk, LOST, ADA, BOB))
    desk = Desk()
    desk.begin(task("a", attempts_max=1))
    assert abandoned(hear_of_deaths(desk, LOST, ADA, BOB, CAT))
    desk = Desk()
    desk.begin(task("a", attempts_max=1))
    assert not abandoned(hear_of_deaths(desk, LOST, ADA, BOB, CAT, away=2))


def test_who_was_silent_and_came_back_does_not_count_when_it_leaves_in_good_order() -> None:
    desk = Desk()
    desk.begin(task("a"))
    assert abandoned(hear_of_deaths(desk, LOST, ADA, BOB, CAT))
    desk = Desk()
    desk.begin(task("a"))
    fail(desk, ADA, BOB, CAT)
    for each in (ADA, BOB, CAT):
        desk.team.learn(desk.turn(), MemberJoined(each.node, "b", "host:1"))
        desk.team.learn(desk.turn(), MemberLeft(each.node))
    desk.view = View(frozenset({SELF.node}), frozenset({ADA.node}), SELF.node)
    assert not abandoned(hear_of_deaths(desk, LOST, ADA, BOB, CAT, away=0))


def test_two_are_enough_where_one_more_would_cost_the_majority() -> None:
    desk = Desk()
    desk.begin(task("a"))
    assert not abandoned(hear_of_deaths(desk, LOST, ADA, BOB))
    desk = Desk()
    desk.begin(task("a"))
    desk.view = replace(desk.view, spares=0)
    assert abandoned(hear_of_deaths(desk, LOST, ADA, BOB))
    desk = Desk()
    desk.begin(task("a"))
    desk.view = replace(desk.view, spares=0)
    assert not abandoned(hear_of_deaths(desk, DIED, ADA, BOB, away=1)), "one of them is back"


def test_a_racer_that_follows_its_holder_has_not_died() -> None:
    """The holder dies once, and of three racers two follow the third, which takes its place."""
    small = SmallWorld(7, lambda given: done(given, 20 * SECOND))
    small.submit(replace(job(task("a"), task("b")), speculation=Speculation(3, percentile=0)))
    assert small.run(5 * SECOND, lambda: len(small.diary.of(TaskStarted)) >= 4)
    (_, holder, _) = next(each for each in small.diary.of(TaskStarted) if not each[2].races)
    small.hosts[holder].crash()
    small.run(60 * SECOND)
    assert not small.diary.of(TaskAbandoned)
    assert {fact.task for _, _, fact in small.diary.of(TaskAccepted)} == {"a", "b"}


def test_a_task_that_is_tried_once_starts_when_its_claim_is_told() -> None:
    """It may kill its node at once: the next one has to have heard of it. Quick tasks beside it
    are claimed in silence."""
    desk = Desk()
    (command,) = commands(desk.submit(job(replace(task("a"), attempts_max=1))))
    turn = desk.commit(command)
    (begun,) = invoked(turn)
    assert begun in turn.after
    assert desk.store.read(claims.claim_key(("job", "a", 0)))
    turn = desk.turn()
    desk.team.let_go(turn, "this node stops")
    assert Abort(begun.invocation, "this node stops") in turn.after, "not before it has begun"
