"""What a node shows of itself, and what RaftNode asks of its host."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from raft_hand import CONFIG, Play, add_learner, nodes

from protocol.configuration import Change, ChangeKind
from protocol.effects import HardState
from protocol.errors import ChangeRefused, NotLeader
from protocol.identity import NOBODY, NodeId
from protocol.messages.agreement import Append, AppendReply, EntryKind, LogEntry
from protocol.raft.by_hand import Position, RaftNode
from protocol.raft.progress import Progress


def test_a_machine_shows_itself_in_one_line() -> None:
    play = Play("abc")
    play.elect("a")
    assert repr(play["a"]) == "<Raft a leader term=2 leader=a last=2 commit=2>"


def test_a_status_is_a_picture() -> None:
    play = Play("abcd", voters="abc", logs={"d": ()})
    play.elect("a")
    play.change("a", add_learner("d"))
    play.settle()
    status = play["a"].status()
    assert (status.role, status.term, status.leader, status.vote) == ("leader", 2, "a", "a")
    assert (status.first_index, status.last_index, status.commit) == (1, 3, 3)
    assert (status.voters, status.outgoing, status.learners) == (nodes("abc"), (), nodes("d"))
    assert not status.impaired
    with pytest.raises(FrozenInstanceError):
        status.term = 3  # type: ignore[misc]


def test_a_leader_s_status_has_the_progress_of_its_followers() -> None:
    play = Play("abc")
    play.elect("a")
    play.isolate("c")
    play.propose("a", b"x")
    play.settle()
    assert dict(play["a"].status().progress) == {
        "b": "<replicate match=3 next=4>",
        "c": "<replicate match=2 next=4 inflight=1>",
    }
    assert play["b"].status().progress == ()


def test_a_paused_probe_and_a_snapshot_are_seen() -> None:
    probe = Progress(5, 0, 0)
    assert repr(probe) == "<probe match=0 next=5>"
    probe.sent(1, 0, 1, 10)
    assert repr(probe) == "<probe match=0 next=5 paused inflight=1>"


# -- RaftNode ----------------------------------------------------------------------------------


def test_nodes_that_are_given_the_same_voters_begin_with_the_same_log() -> None:
    one, other = RaftNode("a", voters=("a", "b")), RaftNode("b", voters=("b", "a"))
    assert one.raft.log.chain_at(1) == other.raft.log.chain_at(1)
    assert one.status().term == 1


def test_a_node_without_voters_waits_to_be_told() -> None:
    node = RaftNode("a")
    node.advance(100 * CONFIG.election_timeout_ns)
    assert node.status().role == "follower"
    assert node.deadline() is None


def test_a_bundle_says_all_that_is_to_be_done() -> None:
    node = RaftNode("a", voters=("a",))
    node.advance(5 * CONFIG.election_timeout_ns)
    first = node.ready()
    assert first.records == (HardState(2, NodeId("a")),)
    assert (first.sequence, first.messages, first.committed) == (1, (), ())
    node.persisted(1)
    second = node.ready()
    [record] = second.records
    assert record.entries == (LogEntry(2, 2, EntryKind.NOOP, b""),)  # type: ignore[union-attr]
    assert second.committed == ()
    node.persisted(second.sequence)
    third = node.ready()
    assert [item.index for item in third.committed] == [1, 2]
    assert third.sequence == 0
    assert node.propose(b"x") == Position(3, 2)


def test_an_answer_that_promises_nothing_new_waits_for_what_is_under_way() -> None:
    node = RaftNode("b", voters=("a", "b"))
    entry = LogEntry(2, 1, EntryKind.COMMAND, b"x")
    node.step("a", Append(1, 1, 1, 1, (entry,), 0))
    first = node.ready()
    node.step("a", Append(1, 2, 2, 1, (), 0))
    second = node.ready()
    assert second.records == ()
    assert second.sequence == first.sequence + 1
    assert second.messages_after == ((NodeId("a"), AppendReply(1, 1, 2, True, 2, 2)),)
    node.persisted(second.sequence)
    node.step("a", Append(1, 3, 2, 1, (), 0))
    assert node.ready().sequence == 0


def test_what_cannot_be_done_is_refused_and_changes_nothing() -> None:
    node = RaftNode("a", voters=("a", "b", "c"))
    for deed in (
        lambda: node.propose(b"x"),
        lambda: node.transfer("b"),
        lambda: node.read_index("r"),
        lambda: node.change(Change(ChangeKind.REMOVE, NodeId("b"))),
        lambda: node.leave_joint(),
    ):
        with pytest.raises((NotLeader, ChangeRefused)):
            deed()
    ready = node.ready()
    assert ready == type(ready)((), (), 0, (), (), (), ())
    assert node.status().leader == NOBODY


def test_time_goes_by_deadline_after_deadline() -> None:
    node = RaftNode("a", voters=("a",))
    node.advance(10 * CONFIG.election_timeout_ns)
    assert node.status().role == "candidate"
    node.persisted(node.ready().sequence)
    node.persisted(node.ready().sequence)
    assert node.status().role == "leader"
    before = node.now
    node.advance(CONFIG.heartbeat_ns)
    assert node.now == before + CONFIG.heartbeat_ns
    due = node.deadline()
    assert due is not None
    assert due > node.now
