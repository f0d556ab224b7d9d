"""Raft at the edge: nodes that are no voters, and what peers may send."""

from __future__ import annotations

from random import Random

import pytest
from raft_hand import Play, entry, log_of, voters_entry

from protocol.errors import RemoteProtocolError
from protocol.identity import NOBODY, NodeId
from protocol.messages import (
    Append,
    AppendReply,
    EntryKind,
    Learned,
    LearnRequest,
    LogEntry,
    Message,
    VoteReply,
    VoteRequest,
)
from protocol.raft.core import TERM_MAX

# -- nodes that are no voters ------------------------------------------------------------------


def taught() -> Play:
    """Three voters with commands x and y committed, and a learner without any log."""
    play = Play("abcl", voters="abc", logs={"l": ()})
    play.elect("a")
    for command in (b"x", b"y"):
        play.propose("a", command)
    play.settle()
    play.heartbeat("a")
    return play


def test_a_learner_catches_up_by_asking_anybody() -> None:
    play = taught()
    play.receive("b", "l", LearnRequest(1, 0, 0))
    play.settle()
    assert play.commands("l") == [b"x", b"y"]
    assert play["l"].commit == play["b"].commit == 4
    assert play.actors["l"].disk.entries == play.actors["b"].disk.entries


def test_a_voter_teaches_unasked() -> None:
    play = taught()
    play.receive("b", "l", LearnRequest(1, 0, 0))
    play.settle()
    play.propose("a", b"z")
    play.settle()
    play.heartbeat("a")
    play.act("b", lambda turn: play["b"].teach(turn, NodeId("l"), 5))
    play.settle()
    assert play.commands("l") == [b"x", b"y", b"z"]


def test_a_lesson_beyond_the_end_of_the_log_waits() -> None:
    play = taught()
    play.receive("l", "b", Learned((entry(4, 2),), 4))
    assert play["l"].log.last_index == 0


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
    play.receive("l", "b", Learned((*log_of(1), entry(2, 3)), 2))
    assert play.terms("l") == [1, 3]
    assert play["l"].commit == 2


def test_a_lesson_does_not_commit_what_it_skips() -> None:
    """Entries between the commit index and the lesson's first were never confirmed by anybody:
    they may be a dead leader's."""
    stale = (*log_of(1), entry(2, 2, b"stale"))
    play = Play("abcl", logs={"l": stale}, voters="abc")
    play.receive("l", "b", Learned(log_of(1), 1))
    assert play["l"].commit == 1
    play.receive("l", "b", Learned((entry(3, 3, b"third"),), 3))
    assert play.commands("l") == [], "entry 2 is of a term that nobody committed"


def test_a_voter_that_hears_its_leader_needs_no_lessons() -> None:
    play = taught()
    play.receive("b", "c", Learned((entry(5, 2),), 5))
    assert play["b"].log.last_index == 4


def test_hearsay_about_the_leader_is_for_learners_only() -> None:
    play = taught()
    play.act("l", lambda turn: play["l"].hear_of_leader(turn, 2, NodeId("a")))
    assert (play["l"].leader, play["l"].term) == (NodeId("a"), 2)
    play.act("l", lambda turn: play["l"].hear_of_leader(turn, 1, NodeId("b")))
    assert play["l"].leader == NodeId("a")
    play.act("b", lambda turn: play["b"].hear_of_leader(turn, 9, NodeId("c")))
    assert (play["b"].leader, play["b"].term) == (NodeId("a"), 2)


# -- what peers may send ------------------------------------------------------------------------

MALFORMED: list[Message] = [
    Append(2, 1, 4, 2, (entry(6, 2),), 0),  # not the next index
    Append(2, 1, 4, 2, (entry(5, 3),), 0),  # of a term above the leader's
    Append(3, 1, 4, 2, (entry(5, 1),), 0),  # of a falling term
    Append(3, 1, 4, 2, (LogEntry(5, 3, EntryKind.VOTERS, b"garbage"),), 0),
    Append(3, 1, 4, 2, (voters_entry("", 5, 3),), 0),  # nobody may vote
    Append(3, 1, 1, 1, (entry(2, 3),), 0),  # would replace what is committed
]


@pytest.mark.parametrize("message", MALFORMED)
def test_a_malformed_append_is_refused_and_leaves_the_log_alone(message: Append) -> None:
    play = taught()
    before = play.actors["b"].disk.entries[:]
    with pytest.raises(RemoteProtocolError):
        play.receive("b", "a", message)
    assert play["b"].log.last_index == 4
    assert play.actors["b"].disk.entries == before


def test_a_second_leader_of_one_term_is_refused() -> None:
    play = taught()
    with pytest.raises(RemoteProtocolError, match="claims to lead"):
        play.receive("a", "b", Append(2, 1, 4, 2, (), 0))


def test_a_follower_cannot_have_what_was_never_sent() -> None:
    play = taught()
    with pytest.raises(RemoteProtocolError, match="never sent"):
        play.receive("a", "b", AppendReply(2, 2, 1, True, 99, 99))


def test_a_malformed_lesson_is_refused() -> None:
    play = taught()
    with pytest.raises(RemoteProtocolError):
        play.receive("l", "b", Learned((*log_of(1), entry(3, 1)), 3))
    assert play["l"].log.last_index == 0


def test_no_message_makes_a_node_fail() -> None:
    """Whatever the numbers in a message are, the answer is an effect or RemoteProtocolError."""
    random = Random(1)
    refused = 0
    play = taught()
    for number in range(400):
        if number % 40 == 0:
            play = taught()
        message = _random_message(random)
        name = random.choice("abl")
        try:
            play.receive(name, random.choice("abcz"), message)
        except RemoteProtocolError:
            refused += 1
        play.wire.clear()
        if play[name].term > 1000:
            play = taught()
    assert refused > 10


def _random_message(random: Random) -> Message:
    def small() -> int:
        return random.choice((0, 1, 2, 3, 4, 5, 6, 2**63 - 1))

    first = small()
    entries = tuple(
        LogEntry(first + at, small(), random.choice(list(EntryKind)), random.randbytes(3))
        for at in range(random.randrange(3))
    )
    match random.randrange(6):
        case 0:
            return VoteRequest(small(), small(), small(), random.random() < 0.5)
        case 1:
            return VoteReply(small(), small(), random.random() < 0.5, random.random() < 0.5)
        case 2:
            return Append(small(), small(), small(), small(), entries, small())
        case 3:
            return AppendReply(small(), small(), random.random() < 0.5, small())
        case 4:
            return LearnRequest(small())
        case _:
            return Learned(entries, small())


def test_a_seed_that_refuses_is_not_the_leader_that_is_gone() -> None:
    """Neither has a name: a node without a leader must not campaign for each refused call."""
    play = Play("abc")
    play.elect("a")
    play.isolate("b")
    play.wait(2 * play.config.election_timeout_ns)
    play.tick("b")
    due = play["b"].deadline()
    play.act("b", lambda turn: play["b"].lose_leader(turn, NOBODY))
    assert play["b"].deadline() == due


@pytest.mark.parametrize(
    "message",
    [
        VoteRequest(TERM_MAX + 1, 1, 1, True, False, 0),
        VoteReply(TERM_MAX + 1, 1, False, False),
        Append(TERM_MAX + 1, 1, 0, 0, (), 0),
        AppendReply(TERM_MAX + 1, 1, False, 0),
    ],
)
def test_a_term_beyond_counting_is_refused(message: Message) -> None:
    play = Play("abc")
    play.elect("a")
    play.heartbeat("a")
    term = play["b"].term
    with pytest.raises(RemoteProtocolError):
        play.receive("b", "c", message)
    assert play["b"].term == term


def test_an_answer_from_before_a_voter_came_back_counts_for_nothing() -> None:
    play = Play("abc")
    play.elect("a")
    play.heartbeat("a")
    progress = play["a"].leadership.progress[NodeId("b")]
    heard, answered = progress.heard_at, progress.answered
    play.wait(1)
    play.receive("a", "b", AppendReply(play["a"].term, progress.request + 1, True, 0))
    assert (progress.heard_at, progress.answered) == (heard, answered)
