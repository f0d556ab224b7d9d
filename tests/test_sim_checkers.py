"""The checkers see what they shall see."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from itertools import combinations

import pytest
from ledger_hand import job, task
from small_world import SmallWorld, done

from protocol import codec
from protocol.clocks import SECOND
from protocol.configuration import Configuration
from protocol.effects import Assignment, KeepBatch, Reply
from protocol.facts.agreement import EntryCommitted, RoleChanged, VoteGranted, VotersChanged
from protocol.facts.sharing import BatchMerged
from protocol.facts.work import JobFinished, TaskAccepted, TaskFenced
from protocol.identity import NOBODY, NodeId
from protocol.jobs import Budget, Job, Quorum, Task, Usage
from protocol.messages.agreement import (
    Agreement,
    Append,
    AppendReply,
    EntryKind,
    LogEntry,
    ReadReply,
    ReadRequest,
    VoteReply,
    VoteRequest,
)
from protocol.sim.agreement_checks import overlap
from protocol.sim.checkers import Checkers, InvariantBroken
from protocol.sim.job_checks import JobChecks
from protocol.sim.spending_checks import SpendingChecks
from protocol.sim.workload import SIMULATED
from protocol.store import Version

A, B = NodeId("a"), NodeId("b")
ACCEPTED = TaskAccepted("job", "t", A, 1, "digest", 9)


def test_checkers_are_content_with_a_good_run() -> None:
    small = SmallWorld(3)
    small.do(job(task("t")))
    small.checkers.check_logs(small.hosts)
    small.checkers.check_stores(small.hosts)


CONTRADICTIONS = [
    ("one_vote_per_term", 0, VoteGranted(3, A), 0, VoteGranted(3, B)),
    ("election_safety", 0, RoleChanged("leader", 50), 1, RoleChanged("leader", 50)),
    ("state_machine_safety", 0, EntryCommitted(1, 1, "x"), 1, EntryCommitted(1, 1, "y")),
    ("single_acceptance", 0, ACCEPTED, 1, TaskAccepted("job", "t", B, 2, "digest", 12)),
    ("one_outcome", 0, JobFinished("job", True, "x", 9), 1, JobFinished("job", True, "y", 9)),
    ("fencing", 0, TaskFenced("job", "t", 0, 2, 5), 0, ACCEPTED),
]


@pytest.mark.parametrize(
    ("checker", "at", "one", "then_at", "other"), CONTRADICTIONS, ids=[c[0] for c in CONTRADICTIONS]
)
def test_a_contradiction_is_named(
    checker: str, at: int, one: object, then_at: int, other: object
) -> None:
    small = SmallWorld(3)
    small.do(job(task("t")))
    checkers = Checkers()
    checkers.see(0, small.hosts[at], one)  # type: ignore[arg-type]
    with pytest.raises(InvariantBroken, match=checker):
        checkers.see(0, small.hosts[then_at], other)  # type: ignore[arg-type]


def test_a_leader_without_a_committed_entry_is_found() -> None:
    small = SmallWorld(3)
    checkers, host = Checkers(), small.hosts[1]
    checkers.see(0, small.hosts[0], EntryCommitted(1, 1, "x"))
    assert host.peer is not None
    host.peer.raft.log.truncate(1)
    with pytest.raises(InvariantBroken, match="leader_completeness"):
        checkers.see(0, host, RoleChanged("leader", 50))


def test_who_wins_an_earlier_term_late_need_not_have_what_a_later_one_committed() -> None:
    """Seed 20240: its votes were long on their way, and a leader of a later term has committed an
    entry meanwhile that is older than either."""
    small = SmallWorld(3)
    checkers, host = Checkers(), small.hosts[1]
    assert small.hosts[0].peer is not None
    assert host.peer is not None
    small.hosts[0].peer.raft.term = 60
    checkers.see(0, small.hosts[0], EntryCommitted(1, 1, "x"))
    host.peer.raft.log.truncate(1)
    checkers.see(0, host, RoleChanged("leader", 50))
    with pytest.raises(InvariantBroken, match="leader_completeness"):
        checkers.see(0, host, RoleChanged("leader", 61))


def test_a_promise_that_no_disk_keeps_is_found() -> None:
    small = SmallWorld(3)
    checkers, host = Checkers(), small.hosts[1]
    last, term = len(host.disk.entries), host.disk.hard_state.term
    checkers.see_sent(
        0, 1, host, host, Agreement(b"", AppendReply(term, term, 1, True, last, last))
    )
    with pytest.raises(InvariantBroken, match="durable_append"):
        checkers.see_sent(
            0, 1, host, host, Agreement(b"", AppendReply(term, term, 1, True, last + 1, last + 1))
        )
    with pytest.raises(InvariantBroken, match="durable_vote"):
        checkers.see_sent(
            0, 1, host, host, Agreement(b"", VoteReply(term + 1, term + 1, True, False))
        )
    checkers.see_sent(0, 1, host, host, Agreement(b"", VoteReply(term + 1, term + 1, False, False)))


def test_a_leader_whose_term_no_disk_keeps_is_found() -> None:
    small = SmallWorld(3)
    host = small.hosts[0]
    term = host.disk.hard_state.term
    Checkers().see_sent(0, 1, host, host, Agreement(b"", Append(term, 1, 0, 0, (), 0)))
    with pytest.raises(InvariantBroken, match="durable_term"):
        Checkers().see_sent(0, 1, host, host, Agreement(b"", Append(term + 1, 1, 0, 0, (), 0)))


def test_a_term_that_nobody_was_asked_about_is_found() -> None:
    small = SmallWorld(3)
    checkers = Checkers()
    asking, other, _ = small.hosts
    assert asking.peer is not None
    log = asking.peer.raft.log
    last = log.last_index, log.last_term
    checkers.see_sent(0, 1, other, asking, Agreement(b"", VoteReply(1, 50, True, True)))
    for term in (50, 50):  # and what is repeated is looked at once
        request = VoteRequest(term, *last, False, False, 1)
        checkers.see_sent(0, 1, asking, other, Agreement(b"", request))
    asked_by_leader = VoteRequest(51, *last, False, True, 1)
    checkers.see_sent(0, 1, asking, other, Agreement(b"", asked_by_leader))
    request = VoteRequest(52, *last, False, False, 1)
    with pytest.raises(InvariantBroken, match="asked_before"):
        checkers.see_sent(0, 1, asking, other, Agreement(b"", request))


def test_an_index_for_a_read_below_what_was_committed_is_found() -> None:
    small = SmallWorld(3)
    checkers = Checkers()
    leader, asking, _ = small.hosts
    assert leader.peer is not None
    commit = leader.peer.raft.commit
    checkers.see_sent(0, 1, asking, leader, Agreement(b"", ReadRequest(1, True)))
    checkers.see_sent(0, 1, leader, asking, Agreement(b"", ReadReply(1, 0)))
    term = leader.peer.raft.log.term_at(commit)
    assert term is not None
    checkers.see(0, leader, EntryCommitted(commit, term, "x"))
    checkers.see_sent(0, 1, asking, leader, Agreement(b"", ReadRequest(2, True)))
    checkers.see_sent(0, 1, leader, asking, Agreement(b"", ReadReply(2, commit)))
    with pytest.raises(InvariantBroken, match="read_index"):
        checkers.see_sent(0, 1, leader, asking, Agreement(b"", ReadReply(2, commit - 1)))


def test_a_lease_that_outlasts_another_s_election_is_found() -> None:
    small = SmallWorld(3)
    leader = small.leader()
    assert leader is not None
    assert leader.peer is not None
    other = next(host for host in small.hosts if host is not leader)
    leadership = leader.peer.raft.leadership
    assert leadership is not None
    assert small.run(
        SECOND, lambda: leadership.reads.lease_until() > leader.clock.reading(small.world.now)
    )
    with pytest.raises(InvariantBroken, match="lease_over"):
        Checkers().see(0, other, RoleChanged("leader", leader.peer.raft.term + 1))
    leadership.reads.lease_allowed = False
    Checkers().see(0, other, RoleChanged("leader", leader.peer.raft.term + 1))


def test_a_commit_that_no_majority_keeps_is_found() -> None:
    small = SmallWorld(3)
    for host in small.hosts[1:]:
        host.disk.entries.clear()
    with pytest.raises(InvariantBroken, match="durable_commit"):
        Checkers().see(0, small.hosts[0], EntryCommitted(2, 1, "x"))


def test_logs_that_differ_below_an_equal_entry_are_found() -> None:
    small = SmallWorld(3)
    peer = small.hosts[1].peer
    assert peer is not None
    entry = peer.raft.log.entry(2)
    peer.raft.log._entries[1] = LogEntry(entry.index, entry.term, EntryKind.COMMAND, b"other")
    with pytest.raises(InvariantBroken, match="log_matching"):
        Checkers().check_logs(small.hosts)


def test_stores_with_equal_digests_and_other_values_are_found() -> None:
    small = SmallWorld(2)
    small.do(job(task("t")))
    small.run(5 * SECOND)
    peers = [host.peer for host in small.hosts if host.peer]
    assert peers[0].store.fingerprint() == peers[1].store.fingerprint()
    key = next(key for key in peers[1].store.scan() if len(peers[1].store.read(key)) > 0)
    peers[1].store._keys._keys[key].versions = ()
    with pytest.raises(InvariantBroken, match="equal_values"):
        Checkers().check_stores(small.hosts)


def test_an_answer_that_is_not_so_is_found() -> None:
    small = SmallWorld(2)
    mine, other = job(task("t")), job(task("other"))
    small.do(mine)
    Checkers().check_answer(small.hosts, mine, "")
    Checkers().check_answer(small.hosts, other, "there is another")
    Checkers().check_answer(small.hosts, other, None)
    with pytest.raises(InvariantBroken, match="acknowledged_job"):
        Checkers().check_answer(small.hosts, other, "")
    with pytest.raises(InvariantBroken, match="refused_job"):
        Checkers().check_answer(small.hosts, mine, "there is another")


def test_a_node_s_vote_is_remembered_across_its_crash() -> None:
    small = SmallWorld(3)
    checkers = Checkers()
    checkers.see(0, small.hosts[0], VoteGranted(9, A))
    small.hosts[0].crash()
    small.hosts[0].start()
    with pytest.raises(InvariantBroken, match="one_vote_per_term"):
        checkers.see(0, small.hosts[0], VoteGranted(9, NOBODY))


def test_a_success_that_no_majority_keeps_is_found() -> None:
    small = SmallWorld(3)
    small.do(job(task("t")))
    checkers = Checkers()
    checkers.see_reply(0, small.hosts[0], Reply(1, "", "job"))
    for host in small.hosts[1:]:
        host.disk.entries.clear()
    checkers.see_reply(0, small.hosts[0], Reply(1, "Busy", "job"))
    with pytest.raises(InvariantBroken, match="durable_acknowledgement"):
        checkers.see_reply(0, small.hosts[0], Reply(1, "", "job"))


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("a", "abc", False),
        ("abc", "abcd", True),
        ("abc", "abcde", False),
        ("abc", "abcde/abc", True),
        ("abcde/abc", "abcde", True),
        ("abcd", "cdef", False),
        ("abc", "bcd", False),
        ("abc", "abc", True),
        ("ab/cd", "ef/ab", True),
        ("abc/def", "ghi/jkl", False),
    ],
)
def test_configurations_overlap_if_any_two_quorums_meet(one: str, other: str, meet: bool) -> None:
    def configuration(text: str) -> Configuration:
        voters, _, outgoing = text.partition("/")
        return Configuration(tuple(map(NodeId, voters)), tuple(map(NodeId, outgoing)))

    first, then = configuration(one), configuration(other)
    assert overlap(first, then) is overlap(then, first) is meet
    nodes = sorted({*first.members, *then.members})
    quorums = [
        [set(some) for n in range(len(nodes) + 1) for some in combinations(nodes, n)
         if each.has_quorum(some)]
        for each in (first, then)
    ]  # fmt: skip
    apart = any(not a & b for a in quorums[0] for b in quorums[1])
    assert apart is not meet, "as counting says"


def test_a_change_of_voters_without_a_common_quorum_is_found() -> None:
    small = SmallWorld(3)
    host, strangers = small.hosts[0], (NodeId("x"), NodeId("y"), NodeId("z"))
    assert host.peer is not None
    log = host.peer.raft.log
    Checkers().see(0, host, VotersChanged(log.configuration_index, (), (), ()))
    data = codec.pack_value(Configuration(strangers))
    log.extend([LogEntry(log.last_index + 1, log.last_term, EntryKind.VOTERS, data)])
    with pytest.raises(InvariantBroken, match="configurations_overlap"):
        Checkers().see(0, host, VotersChanged(log.last_index, strangers, (), ()))


def test_a_committed_entry_that_is_missing_in_the_end_is_found() -> None:
    small = SmallWorld(3)
    peer = small.hosts[1].peer
    assert peer is not None
    small.checkers.check_kept(small.hosts, ())
    peer.raft.log.truncate(peer.raft.log.last_index)
    with pytest.raises(InvariantBroken, match="committed_kept"):
        small.checkers.check_kept(small.hosts, ())


def test_an_acknowledged_job_that_is_missing_in_the_end_is_found() -> None:
    small = SmallWorld(2)
    mine = job(task("t"))
    small.do(mine)
    jobs = JobChecks()
    jobs.check_kept(small.hosts, mine, "")
    assert small.hosts[1].peer is not None
    del small.hosts[1].peer.ledger.jobs["job"]
    jobs.check_kept(small.hosts, mine, None)
    with pytest.raises(InvariantBroken, match="acknowledged_kept"):
        jobs.check_kept(small.hosts, mine, "")


def test_a_gap_in_an_author_s_entries_is_found() -> None:
    small = SmallWorld(1)
    checkers, host = Checkers(), small.hosts[0]
    checkers.see(0, host, BatchMerged(A, 1, 2, ()))
    checkers.see(0, host, BatchMerged(A, 3, 3, ()))
    with pytest.raises(InvariantBroken, match="gap_free"):
        checkers.see(0, host, BatchMerged(A, 5, 5, ()))
    checkers.see_started(0, host)
    checkers.see(0, host, BatchMerged(A, 5, 5, ()))


def test_a_value_that_comes_back_is_found() -> None:
    small = SmallWorld(1)
    host, checkers = small.hosts[0], Checkers()
    assert host.peer is not None
    own, store = host.identity.node, host.peer.store
    last = store.last_of(own)
    for n, value in enumerate((b"old", b"new"), start=1):
        encoded, _ = store.write([("key", value)], n)
        checkers.see_kept(0, host, [KeepBatch(own, last + n, last + n, encoded)])
        checkers.see(0, host, BatchMerged(own, last + n, last + n, ("key",)))
    store._keys._keys["key"].versions = (Version(own, last + 1, b"old", 1),)
    with pytest.raises(InvariantBroken, match="causal_order"):
        checkers.see(0, host, BatchMerged(A, 1, 1, ("key",)))


def test_a_liar_that_wins_a_quorum_is_found() -> None:
    small = SmallWorld(1)  # whose agents say "done", whatever they are asked
    wanted = Task("t", SIMULATED, quorum=Quorum(3, 2))
    with pytest.raises(InvariantBroken, match="honest_quorum"):
        small.do(Job("job", "job", (wanted,)))


def test_what_is_spent_beyond_a_budget_is_found() -> None:
    small = SmallWorld(1)
    poor = replace(Job("job", "job", (Task("t", SIMULATED),)), budget=Budget(tokens=10))
    small.submit(poor)
    small.run(SECOND)
    (host,) = small.hosts
    spending, assignment = SpendingChecks(), Assignment("job", poor.tasks[0], 0, 1, is_metered=True)
    spending.see_spent(host, assignment, Usage(1, 4, 6))
    with pytest.raises(InvariantBroken, match="budget: job used 11 of 10 tokens"):
        spending.see_spent(host, assignment, Usage(1, 0, 1))


def test_money_that_is_spent_beyond_a_budget_is_found() -> None:
    small = SmallWorld(1)
    poor = replace(Job("job", "job", (Task("t", SIMULATED),)), budget=Budget(usd=0.001))
    small.submit(poor)
    small.run(SECOND)
    (host,) = small.hosts
    host.agents.price = 100_000_000  # 100 millionths of a dollar for a token
    spending, assignment = SpendingChecks(), Assignment("job", poor.tasks[0], 0, 1, is_metered=True)
    spending.see_spent(host, assignment, Usage(1, 4, 6))
    with pytest.raises(InvariantBroken, match=r"budget: job used 0.0011 of 0.001 USD"):
        spending.see_spent(host, assignment, Usage(1, 0, 1))


def test_who_tells_of_more_than_was_used_is_found() -> None:
    small = SmallWorld(1, lambda assignment: done(assignment, SECOND, Usage(1, 4, 6)))
    small.do(Job("job", "job", (Task("t", SIMULATED),)))
    (host,) = small.hosts
    assignment = Assignment("job", Task("t", SIMULATED), 0, 1)
    for used, why in (
        (Usage(1, 4, 6), ""),
        (Usage(1, 4, 5), "10 tokens for t of job, and it used 9"),
        (Usage(0, 4, 6), "1 calls for t of job, and it used 0"),
    ):
        spending = SpendingChecks()
        spending.see_spent(host, assignment, used)
        with pytest.raises(InvariantBroken, match=why) if why else nullcontext():
            spending.check_told(small.hosts)


def test_who_works_when_the_time_is_over_is_found() -> None:
    small = SmallWorld(1, lambda assignment: done(assignment, 100 * SECOND))
    short = replace(Job("job", "job", (Task("t", SIMULATED),)), budget=Budget(wall_s=5.0))
    small.submit(short)
    small.run(5 * SECOND)
    (host,) = small.hosts
    spending = SpendingChecks()
    spending.see_at_work(host, "job")
    small.run(SECOND)
    with pytest.raises(InvariantBroken, match="wall_budget: n0 works on job 6"):
        spending.see_at_work(host, "job")
    host.pause()
    spending.see_at_work(host, "job")  # it cannot look at its clock
