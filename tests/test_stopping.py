"""A node that is stopped in good order, most often to be started again: what it has in hand is for
others, at once, and another leads."""

from __future__ import annotations

from functools import partial

import pytest
from ledger_hand import job, task
from small_world import SmallWorld, done
from test_leaving import follower_of, leader_of, peer_of

from protocol.clocks import MILLISECOND, SECOND
from protocol.config import local
from protocol.effects import Assignment
from protocol.events import (
    AgentFailed,
    Completed,
    EntryWritten,
    Leaving,
    Persisted,
    Received,
    Stopping,
    Tagged,
    TimerFired,
)
from protocol.facts.agreement import LeaderElected, TransferBegan
from protocol.facts.membership import MemberFailed, MemberLeft
from protocol.facts.work import AttemptAborted, JobFinished, TaskAbandoned, TaskStarted
from protocol.jobs import ClaimMode, Usage
from protocol.messages.agreement import Agreement, VoteRequest
from protocol.sim.world import Host

ALL_MODES = list(ClaimMode)
ELECTION = local().raft.election_timeout_ns
DISK = 20 * MILLISECOND  # by then what was said last is written


def slowly(assignment: Assignment) -> tuple[int, Completed | AgentFailed]:
    return done(assignment, 2 * SECOND)


def stop(small: SmallWorld, host: Host) -> None:
    """As a signal does: the process ends once it has let go of everything."""
    host.retire()
    assert small.run(ELECTION + DISK, lambda: not host.is_up)


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


def test_who_does_not_lead_stops_at_once_and_says_so_whatever_else_it_has_just_said() -> None:
    small = SmallWorld(3)
    goes = follower_of(small)
    began = small.world.now
    goes.submit(Tagged(1, (("room", "7"),)))
    stop(small, goes)
    assert small.world.now - began < DISK

    def is_known() -> bool:
        last = {number: fact.evidence for _, number, fact in small.diary.of(MemberFailed)}
        return list(last.values()) == ["stopped", "stopped"]

    assert small.run(ELECTION, is_known), "be it after its connections broke"


def test_nothing_comes_of_what_a_node_hears_that_has_let_go_of_everything() -> None:
    """It only waits for its disk: a promise, such as a vote, would be for a node that is gone."""
    small = SmallWorld(3)
    goes = follower_of(small)
    goes.drive.hang()
    goes.submit(EntryWritten(1, "k", b"v"))
    goes.retire()
    assert small.run(DISK, lambda: peer_of(goes).is_over)
    peer, now = peer_of(goes), goes.own_time + SECOND
    asked = VoteRequest(peer.raft.term + 1, 99, 99, pre=False, transfer=False, reach=2)
    other = small.hosts[(goes.number + 1) % 3].identity.node
    heard = Received(other, Agreement(peer.raft.log.origin, asked))
    for event in (heard, TimerFired(), EntryWritten(2, "k", b"w"), Persisted(99)):
        assert peer.step(event, now) == []


def test_who_stops_waits_for_what_its_disk_has_to_write_and_not_for_what_others_say_then() -> None:
    """Else it would go on in a busy team, without its timers, and might even be elected."""
    small = SmallWorld(3)
    goes, first = follower_of(small), leader_of(small)
    goes.disk_delay_ns = 10 * DISK
    for number in range(1, 3001):
        write = EntryWritten(number, f"k{number}", b"v")
        small.world.after(number * MILLISECOND, first.submit, write)
    small.run(10 * DISK)
    goes.retire()
    assert small.run(2 * SECOND, lambda: not goes.is_up)


def test_a_leader_whose_heirs_are_gone_stops_after_a_while() -> None:
    small = SmallWorld(3)
    first = leader_of(small)
    for host in small.hosts:
        if host is not first:
            host.crash(silent=True)
    began = small.world.now
    stop(small, first)
    assert small.world.now - began >= ELECTION // 2, "one might still answer"


@pytest.mark.parametrize("gone", [1, 2])
@pytest.mark.parametrize("event", [Stopping(), Leaving()])
def test_whoever_is_there_is_the_heir_and_not_who_refuses_connections(
    event: Stopping | Leaving, gone: int
) -> None:
    small = SmallWorld(5)
    first = leader_of(small)
    rest = [host for host in small.hosts if host is not first]
    for host in rest[:gone]:
        host.crash()
    first.submit(event)
    assert small.run(2 * ELECTION, lambda: small.leader() in rest)
    assert len(small.diary.of(TransferBegan)) <= 1 + gone


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

    def has_begun(times: int) -> bool:
        return len(small.diary.of(TaskStarted)) == times

    for times in range(1, 5):  # more often than nodes may die over a task
        assert small.run(10 * SECOND, partial(has_begun, times))
        restart(small, small.hosts[0])
    assert small.run(20 * SECOND, small.is_finished)
    assert all(fact.succeeded for _, _, fact in small.diary.of(JobFinished))


def test_who_is_about_to_leave_takes_nothing_more() -> None:
    """It has to wait for the others for a while, and there is work that it could do."""
    small = SmallWorld(3, slowly)
    goes = follower_of(small)
    small.submit(job(*(task(f"t{number}") for number in range(20))))
    assert small.run(5 * SECOND, lambda: len(small.diary.of(TaskStarted)) == 3)
    for host in small.hosts:
        if host is not goes:
            host.crash()
    small.run(5 * SECOND)
    begun = len(small.diary.of(TaskStarted))
    assert begun > 3, "alone it goes on"
    goes.submit(Leaving())
    assert not small.run(2 * SECOND, lambda: peer_of(goes).has_left)
    assert len(small.diary.of(TaskStarted)) == begun
    assert not peer_of(goes).team.running


def test_what_a_stopped_agent_had_used_is_told() -> None:
    used = Usage(calls=1, tokens_out=7, simulated=True)
    small = SmallWorld(3, lambda given: done(given, 3 * SECOND, used))
    small.submit(job(task("a")))
    assert small.run(5 * SECOND, lambda: bool(small.diary.of(TaskStarted)))
    holder = small.hosts[small.diary.of(TaskStarted)[0][1]]
    stop(small, holder)
    (other,) = (host for host in small.up if host.number != (holder.number + 1) % 3)
    assert small.run(
        SECOND, lambda: peer_of(other).team.notes.usage("job").tokens_out == used.tokens_out
    )
