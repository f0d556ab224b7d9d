"""Beyond the council: nodes that are no voters get committed entries from anybody, proven by the
hash chain over the log."""

from __future__ import annotations

from dataclasses import replace

import pytest
from raft_hand import CONFIG, Play, add, add_learner, entry, log_of

from protocol.errors import RemoteProtocolError
from protocol.facts.agreement import ChainBroken
from protocol.identity import NodeId
from protocol.messages.agreement import Learned, LearnRequest, LogEntry
from protocol.raft.log import RaftLog


def taught() -> Play:
    """Three voters with commands x and y committed, and a learner without any log."""
    play = Play("abcl", voters="abc", logs={"l": ()})
    play.elect("a")
    for command in (b"x", b"y"):
        play.propose("a", command)
    play.settle()
    play.heartbeat("a")
    return play


def lesson(log: tuple[LogEntry, ...], first: int = 1, committed: int = 0) -> Learned:
    """The end of a log, with the chain that proves it."""
    chain = RaftLog(log).chain_at(len(log))
    assert chain is not None
    return Learned(log[first - 1 :], committed or len(log), chain)


def test_a_learner_catches_up_by_asking_anybody() -> None:
    play = taught()
    play.receive("b", "l", LearnRequest(1, 0, 0))
    play.settle()
    assert play.commands("l") == [b"x", b"y"]
    assert play["l"].commit == play["b"].commit == 4
    assert play.actors["l"].disk.entries == play.actors["b"].disk.entries


def test_a_long_log_is_learned_in_several_lessons() -> None:
    play = Play("al", voters="a", logs={"l": ()}, config=replace(CONFIG, append_size_max=300))
    play.elect("a")
    for _ in range(10):
        play.propose("a", bytes(100))
    play.receive("a", "l", LearnRequest(1, 0, 0))
    play.settle()
    assert play["l"].commit == play["a"].commit == 12


def test_a_voter_teaches_unasked() -> None:
    play = taught()
    play.receive("b", "l", LearnRequest(1, 0, 0))
    play.settle()
    play.propose("a", b"z")
    play.settle()
    play.heartbeat("a")
    play.act("b", lambda turn: play["b"].following.teach(turn, NodeId("l"), 5))
    play.settle()
    assert play.commands("l") == [b"x", b"y", b"z"]


def test_a_lesson_beyond_the_end_of_the_log_asks_for_what_is_missing() -> None:
    play = taught()
    play.receive("l", "b", Learned((entry(4, 2),), 4, bytes(16)))
    assert play["l"].log.last_index == 0
    assert play.said("l", "b") == [LearnRequest(1, 0, 0)]
    play.settle()
    assert play["l"].commit == 4


def test_nothing_uncommitted_is_taught() -> None:
    play = taught()
    play.isolate("a")
    play.propose("a", b"uncommitted")
    play.heal()
    play.receive("a", "l", LearnRequest(5, 0, 0))
    assert play.said("a") == []
    play.receive("a", "l", LearnRequest(0, 0, 0))
    assert play.said("a") == []


def test_a_lesson_replaces_what_was_never_committed() -> None:
    play = Play("abcl", logs={"l": log_of(1, 2, 2)}, voters="abc")
    play.receive("l", "b", lesson((*log_of(1), entry(2, 3))))
    assert play.terms("l") == [1, 3]
    assert play["l"].commit == 2


def test_a_lesson_does_not_commit_what_it_skips() -> None:
    """Entries between the commit index and the lesson's first were never confirmed by anybody:
    they may be a dead leader's."""
    stale = (*log_of(1), entry(2, 2, b"stale"))
    play = Play("abcl", logs={"l": stale}, voters="abc")
    play.receive("l", "b", lesson(log_of(1)))
    assert play["l"].commit == 1
    whole = (*log_of(1), entry(2, 3, b"second"), entry(3, 3, b"third"))
    play.receive("l", "b", lesson(whole, first=3))
    assert play.commands("l") == [], "entry 2 is of a term that nobody committed"


def test_a_lesson_that_does_not_lead_to_the_chain_is_refused() -> None:
    """A corrupt minority must not spread: one wrong byte anywhere below breaks the chain."""
    play = Play("abcl", logs={"l": ()}, voters="abc")
    good = lesson((*log_of(1), entry(2, 3, b"good")))
    turn = play.receive("l", "b", replace(good, entries=(*log_of(1), entry(2, 3, b"evil"))))
    assert ChainBroken(NodeId("b"), 2) in turn.facts
    assert play["l"].log.last_index == 0
    play.receive("l", "b", good)
    assert play.commands("l") == [b"good"]


def test_a_voter_that_hears_its_leader_needs_no_lessons() -> None:
    play = taught()
    play.receive("b", "c", Learned((entry(5, 2),), 5, bytes(16)))
    assert play["b"].log.last_index == 4


def test_a_voter_without_a_leader_may_be_taught() -> None:
    """One that was removed while it was away finds that out from anybody."""
    play = taught()
    play.isolate("c")
    play.propose("a", b"z")
    play.settle()
    play.act("c", play["c"].elections.forget_leader)
    play.heal()
    play.receive("b", "c", LearnRequest(5, 0, 0))
    play.settle()
    assert play.commands("c") == [b"x", b"y", b"z"]


def test_hearsay_about_the_leader_is_for_learners_only() -> None:
    play = taught()
    play.act("l", lambda turn: play["l"].elections.hear_of_leader(turn, 2, NodeId("a")))
    assert (play["l"].leader, play["l"].term) == (NodeId("a"), 2)
    play.act("l", lambda turn: play["l"].elections.hear_of_leader(turn, 1, NodeId("b")))
    assert play["l"].leader == NodeId("a")
    play.act("b", lambda turn: play["b"].elections.hear_of_leader(turn, 9, NodeId("c")))
    assert (play["b"].leader, play["b"].term) == (NodeId("a"), 2)


def test_what_was_taught_goes_on_with_what_the_leader_sends() -> None:
    play = taught()
    play.receive("b", "l", LearnRequest(1, 0, 0))
    play.settle()
    play.change("a", add_learner("l"))
    play.settle()
    play.change("a", add("l"))
    play.settle()
    play.propose("a", b"z")
    play.settle()
    assert play.commands("l") == [b"x", b"y", b"z"]


def test_a_malformed_lesson_is_refused() -> None:
    play = taught()
    with pytest.raises(RemoteProtocolError):
        play.receive("l", "b", Learned((*log_of(1), entry(3, 1)), 3, bytes(16)))
    assert play["l"].log.last_index == 0
