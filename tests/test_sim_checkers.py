"""The checkers see what they shall see."""

from __future__ import annotations

import pytest
from ledger_hand import job, task
from small_world import SmallWorld

from protocol.clocks import SECOND
from protocol.facts import (
    EntryCommitted,
    JobFinished,
    RoleChanged,
    TaskAccepted,
    TaskFenced,
    VoteGranted,
)
from protocol.identity import NOBODY, NodeId
from protocol.messages import Agreement, AppendReply, EntryKind, LogEntry, VoteReply
from protocol.sim.checkers import Checkers, InvariantBroken

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


def test_a_promise_that_no_disk_keeps_is_found() -> None:
    small = SmallWorld(3)
    checkers, host = Checkers(), small.hosts[1]
    last, term = len(host.disk.entries), host.disk.hard_state.term
    checkers.see_sent(0, 1, host, host, Agreement(b"", AppendReply(term, 1, True, last)))
    with pytest.raises(InvariantBroken, match="durable_append"):
        checkers.see_sent(0, 1, host, host, Agreement(b"", AppendReply(term, 1, True, last + 1)))
    with pytest.raises(InvariantBroken, match="durable_vote"):
        checkers.see_sent(
            0, 1, host, host, Agreement(b"", VoteReply(term + 1, term + 1, True, False))
        )
    checkers.see_sent(0, 1, host, host, Agreement(b"", VoteReply(term + 1, term + 1, False, False)))


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
    peers[1].store._keys[peers[1].store.scan()[0]].versions = ()
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
