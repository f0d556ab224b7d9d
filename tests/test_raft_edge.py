"""Raft at the edge: whatever peers send, the answer is an effect or RemoteProtocolError."""

from __future__ import annotations

from random import Random

import pytest
from raft_hand import Play, entry, voters_entry

from protocol.errors import RemoteProtocolError
from protocol.messages.agreement import (
    Append,
    AppendReply,
    EntryKind,
    Learned,
    LearnRequest,
    LogEntry,
    OfRaft,
    Resigned,
    SnapshotPart,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from protocol.raft.elections import TERM_MAX


def led() -> Play:
    """Three voters with two commands committed; `l` has no log."""
    play = Play("abcl", voters="abc", logs={"l": ()})
    play.elect("a")
    for command in (b"x", b"y"):
        play.propose("a", command)
    play.settle()
    play.heartbeat("a")
    return play


MALFORMED = [
    Append(2, 1, 4, 2, (entry(6, 2),), 0),  # not the next index
    Append(2, 1, 4, 2, (entry(5, 3),), 0),  # of a term above the leader's
    Append(3, 1, 4, 2, (entry(5, 1),), 0),  # of a falling term
    Append(3, 1, 4, 2, (LogEntry(5, 3, EntryKind.VOTERS, b"garbage"),), 0),
    Append(3, 1, 4, 2, (voters_entry("", 5, 3),), 0),  # nobody may vote
    Append(3, 1, 1, 1, (entry(2, 3),), 0),  # would replace what is committed
]


@pytest.mark.parametrize("message", MALFORMED)
def test_a_malformed_append_is_refused_and_leaves_the_log_alone(message: Append) -> None:
    play = led()
    before = play.actors["b"].disk.entries[:]
    with pytest.raises(RemoteProtocolError):
        play.receive("b", "a", message)
    assert play["b"].log.last_index == 4
    assert play.actors["b"].disk.entries == before


def test_what_a_refused_message_did_before_is_durable() -> None:
    """It had raised the term by then."""
    play = led()
    with pytest.raises(RemoteProtocolError):
        play.receive("b", "a", Append(3, 1, 1, 1, (entry(2, 3),), 0))
    assert play["b"].term == play.actors["b"].disk.hard_state.term == 3


@pytest.mark.parametrize(
    "message", [Append(2, 1, 4, 2, (), 0), SnapshotPart(2, 1, 9, bytes(32), 10, 0, b"x")]
)
def test_a_second_leader_of_one_term_is_refused(message: OfRaft) -> None:
    play = led()
    with pytest.raises(RemoteProtocolError, match="claims to lead"):
        play.receive("a", "b", message)


@pytest.mark.parametrize(
    "message",
    [
        VoteRequest(TERM_MAX + 1, 1, 1, True, False, 0),
        VoteReply(TERM_MAX + 1, 1, False, False),
        Append(TERM_MAX + 1, 1, 0, 0, (), 0),
        AppendReply(TERM_MAX + 1, 1, 1, False, 0, 0),
        SnapshotPart(TERM_MAX + 1, 1, 1, b"", 1, 0, b""),
        SnapshotReply(TERM_MAX + 1, 1, 1, 1, 0),
        TimeoutNow(TERM_MAX + 1),
        Resigned(TERM_MAX + 1),
    ],
)
def test_a_term_beyond_counting_is_refused(message: OfRaft) -> None:
    play = led()
    for name in "ab":
        with pytest.raises(RemoteProtocolError):
            play.receive(name, "c", message)
        assert play[name].term == 2


def test_no_message_makes_a_node_fail() -> None:
    """Whatever the numbers in a message are, the answer is an effect or RemoteProtocolError."""
    random = Random(1)
    refused = 0
    play = led()
    for number in range(2_000):
        if number % 40 == 0 or max(play[name].term for name in "abl") > 1_000:
            play = led()
        name = random.choice("abl")
        try:
            play.receive(name, random.choice("abcz"), random_message(random))
        except RemoteProtocolError:
            refused += 1
        play.wire.clear()
    assert refused > 100


def random_message(random: Random) -> OfRaft:
    def small() -> int:
        return random.choice((0, 1, 2, 3, 4, 5, 6, 2**63 - 1))

    def coin() -> bool:
        return random.random() < 0.5

    first = small()
    entries = tuple(
        LogEntry(first + at, small(), random.choice(list(EntryKind)), random.randbytes(3))
        for at in range(random.randrange(3))
    )
    choices: list[OfRaft] = [
        VoteRequest(small(), small(), small(), coin(), coin(), small()),
        VoteReply(small(), small(), coin(), coin()),
        Append(small(), small(), small(), small(), entries, small()),
        AppendReply(small(), small(), small(), coin(), small(), small()),
        SnapshotPart(small(), small(), small(), bytes(32), small(), small(), random.randbytes(3)),
        SnapshotReply(small(), small(), small(), small(), small()),
        TimeoutNow(small()),
        Resigned(small()),
        LearnRequest(small(), small(), small()),
        Learned(entries, small(), bytes(16)),
    ]
    return random.choice(choices)
