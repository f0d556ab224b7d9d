"""The log in memory, and the configurations found in it."""

from __future__ import annotations

import pytest
from raft_hand import entry, log_of, voters_entry

from protocol.configuration import NO_CONFIGURATION, Configuration
from protocol.identity import NodeId
from protocol.raft.log import RaftLog


def nodes(names: str) -> tuple[NodeId, ...]:
    return tuple(NodeId(name) for name in names)


def test_an_empty_log_ends_at_zero() -> None:
    log = RaftLog()
    assert (log.last_index, log.last_term, log.term_at(0), log.term_at(1)) == (0, 0, 0, None)
    assert log.configuration == NO_CONFIGURATION


def test_entries_are_found_by_index() -> None:
    log = RaftLog(log_of(1, 1, 3))
    assert (log.last_index, log.last_term) == (3, 3)
    assert [log.term_at(index) for index in range(5)] == [0, 1, 1, 3, None]
    assert log.entry(2).data == b"2/1"


def test_a_gap_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="gap"):
        RaftLog(log_of(1)).extend([entry(3, 1)])


def test_a_falling_term_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="terms"):
        RaftLog(log_of(2)).extend([entry(2, 1)])


def test_the_configuration_in_force_is_the_latest_in_the_log() -> None:
    log = RaftLog([voters_entry("abc"), entry(2, 1), voters_entry("abcde", 3)])
    assert log.configuration.voters == nodes("abcde")
    assert log.configuration_index == 3


def test_truncation_brings_an_earlier_configuration_back() -> None:
    log = RaftLog([voters_entry("abc"), entry(2, 1), voters_entry("abcde", 3)])
    log.truncate(3)
    assert log.configuration.voters == nodes("abc")
    assert log.last_index == 2
    log.truncate(1)
    assert log.configuration == NO_CONFIGURATION


def test_a_slice_keeps_to_its_size_but_always_moves() -> None:
    log = RaftLog([voters_entry("a"), *(entry(at, 1, bytes(100)) for at in range(2, 12))])
    assert [e.index for e in log.slice(2, 300)] == [2, 3]
    assert [e.index for e in log.slice(2, 1)] == [2]
    assert [e.index for e in log.slice(10, 10_000)] == [10, 11]
    assert [e.index for e in log.slice(9, 10_000, last=9)] == [9]
    assert log.slice(12, 10_000) == ()


def test_the_first_index_of_a_term_is_found() -> None:
    log = RaftLog(log_of(1, 1, 2, 2, 2, 5))
    assert [log.first_index_of_term(index) for index in range(1, 7)] == [1, 1, 3, 3, 3, 6]


def test_a_majority_is_more_than_half() -> None:
    four = Configuration(nodes("abcd"))
    assert not four.has_quorum(nodes("ab"))
    assert four.has_quorum(nodes("abc"))
    assert not four.has_quorum(nodes("abxyz")), "strangers do not count"


def test_joint_consensus_needs_both_majorities() -> None:
    """Thesis 4.3: "Agreement (for elections and entry commitment) requires majorities from both
    the old and new configurations"."""
    joint = Configuration(nodes("cde"), outgoing=nodes("abc"))
    assert joint.members == nodes("abcde")
    assert not joint.has_quorum(nodes("de"))
    assert not joint.has_quorum(nodes("ab"))
    assert joint.has_quorum(nodes("bcd"))
    reached = dict(zip(nodes("abcde"), (9, 9, 4, 1, 1), strict=True))
    assert joint.agreed_index(reached) == 1
    assert Configuration(nodes("abc")).agreed_index(reached) == 9


def test_an_unheard_voter_has_reached_nothing() -> None:
    assert Configuration(nodes("abc")).agreed_index({NodeId("a"): 7}) == 0
    assert Configuration(nodes("abc")).agreed_index({NodeId("a"): 7, NodeId("b"): 5}) == 5
