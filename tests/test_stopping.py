"""A node that is stopped in good order, most often to be started again: what it has in hand is for
others, at once, and another leads."""

from __future__ import annotations

import pytest
from ledger_hand import job, task
from small_world import SmallWorld, done
from test_leaving import follower_of, leader_of, peer_of

from protocol.clocks import MILLISECOND, SECOND
from protocol.config import local
from protocol.effects import Assignment
from protocol.events import AgentFailed, Completed, Stopping
from protocol.facts.agreement import LeaderElected
from protocol.facts.membership import MemberFailed, MemberLeft
from protocol.facts.work import AttemptAborted, JobFinished, TaskAbandoned, TaskStarted
from protocol.jobs import ClaimMode
from protocol.sim.world import Host

ALL_MODES = list(ClaimMode)
ELECTION = local().raft.election_timeout_ns
DISK = 20 * MILLISECOND  # by then what was said last is written, and on its way


def slowly(assignment: Assignment) -> tuple[int, Completed | AgentFailed]:
    return done(assignment, 2 * SECOND)


def stop(small: SmallWorld, host: Host) -> None:
    """As a signal does: the process ends once it has let go of everything."""
    host.submit(Stopping())
    assert small.run(ELECTION + MILLISECOND, lambda: peer_of(host).is_over)
    small.run(DISK)
    host.crash("stopped")


def restart(small: SmallWorld, host: Host) -> None:
    stop(small, host)
    small.run(SECOND // 5)
    host.start_again()
    everybody = len(small.hosts) - 1
    assert small.run(
        10 * SECOND, lambda: all(len(peer_of(h).membership.alive()) == everybody for h in small.up)
    )


def test_a_leader_that_stops_hands_over_first_and_stays_a_member() -> None:
    small = SmallWorld(5)
    first = leader_of(small)
    term, began = peer_of(first).raft.term, small.world.now
    stop(small, first)
    assert small.world.now - began < ELECTION // 2, "nobody had to find out that it is gone"
    assert small.run(ELECTION // 2, lambda: small.leader() not in (None, first))
    assert {fact.term for _, _, fact in small.diary.of(LeaderElected)} == {term, term + 1}
    assert small.run(ELECTION, lambda: len(small.diary.of(MemberFailed)) == 4)
    assert {fact.evidence for _, _, fact in small.diary.of(MemberFailed)} == {"stopped"}
    assert small.diary.of(MemberLeft) == []


def test_who_does_not_lead_stops_at_once() -> None:
    small = SmallWorld(3)
    began = small.world.now
    stop(small, follower_of(small))
    assert small.world.now == began + DISK


def test_a_leader_whose_heirs_are_gone_stops_after_a_while() -> None:
    small = SmallWorld(3)
    first = leader_of(small)
    for host in small.hosts:
        if host is not first:
            host.crash(silent=True)
    stop(small, first)


def test_a_leader_does_not_wait_for_an_heir_that_refuses_connections() -> None:
    small = SmallWorld(3)
    first = leader_of(small)
    for host in small.hosts:
        if host is not first:
            host.crash()
    began = small.world.now
    stop(small, first)
    assert small.world.now - began < ELECTION // 2


@pytest.mark.parametrize("claims", ALL_MODES)
def test_what_a_stopped_node_worked_on_is_done_by_others_and_cost_no_attempt(
    claims: ClaimMode,
) -> None:
    small = SmallWorld(3, slowly)
    small.submit(job(task("a", attempts_max=1), claims=claims))
    assert small.run(5 * SECOND, lambda: bool(small.diary.of(TaskStarted)))
    holder = small.hosts[small.diary.of(TaskStarted)[0][1]]
    began = small.world.now
    stop(small, holder)
    assert small.run(20 * SECOND, lambda: len(small.diary.of(TaskStarted)) > 1)
    assert small.world.now - began < ELECTION
    assert small.diary.of(AttemptAborted)[0][2].reason == "this node stops"
    assert small.run(20 * SECOND, small.is_finished)
    assert small.diary.of(TaskAbandoned) == []


@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_rolling_restart_costs_no_attempt(claims: ClaimMode) -> None:
    small = SmallWorld(3, slowly)
    tasks = [task(f"t{number}", attempts_max=1) for number in range(9)]
    small.submit(job(*tasks, claims=claims))
    small.run(SECOND)
    for host in small.hosts:
        restart(small, host)
        small.run(SECOND)
    assert small.diary.of(AttemptAborted), "they were at work"
    assert small.run(60 * SECOND, small.is_finished)
    assert all(fact.succeeded for _, _, fact in small.diary.of(JobFinished))


@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_lone_node_that_is_restarted_goes_on(claims: ClaimMode) -> None:
    small = SmallWorld(1, slowly)
    small.submit(job(task("a", attempts_max=1), claims=claims))
    for times in range(1, 5):  # more often than nodes may die over a task
        assert small.run(10 * SECOND, lambda: len(small.diary.of(TaskStarted)) == times)  # noqa: B023
        restart(small, small.hosts[0])
    assert small.run(20 * SECOND, small.is_finished)
    assert all(fact.succeeded for _, _, fact in small.diary.of(JobFinished))


def test_who_is_about_to_stop_takes_nothing_more() -> None:
    small = SmallWorld(3)
    goes = leader_of(small)
    small.world.network.cut([goes.number], [h.number for h in small.hosts if h is not goes])
    goes.submit(Stopping())
    small.submit(job(task("a")), at=goes.number)
    small.run(ELECTION)
    assert small.diary.of(TaskStarted) == []
