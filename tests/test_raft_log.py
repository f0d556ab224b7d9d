"""The log in memory, and the configurations found in it."""

from __future__ import annotations

import pytest
from raft_hand import configuration, entry, log_of, nodes, voters_entry

from protocol.configuration import NO_CONFIGURATION, Configuration
from protocol.effects import Snapshot
from protocol.identity import NodeId
from protocol.messages.agreement import LogEntry
from protocol.raft.another_log import are_rivals
from protocol.raft.log import RaftLog, link


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


def test_so_many_voters_can_be_spared() -> None:
    five = Configuration(nodes("abcde"))
    assert [five.spares(nodes(alive)) for alive in ("abcde", "abcdx", "abc", "ab")] == [2, 1, 0, -1]
    joint = Configuration(nodes("cde"), outgoing=nodes("abc"))
    assert joint.spares(nodes("abcde")) == 1
    assert joint.spares(nodes("acde")) == 0
    assert Configuration(()).spares(nodes("a")) == -1, "nobody votes yet"


def test_an_unheard_voter_has_reached_nothing() -> None:
    assert Configuration(nodes("abc")).agreed_index({NodeId("a"): 7}) == 0
    assert Configuration(nodes("abc")).agreed_index({NodeId("a"): 7, NodeId("b"): 5}) == 5


# -- the chain -----------------------------------------------------------------------------------


def test_the_chain_tells_logs_apart_by_any_entry_below() -> None:
    one = RaftLog(log_of(1, 1, 2))
    other = RaftLog((*log_of(1), entry(2, 1, b"other"), log_of(1, 1, 2)[2]))
    assert one.chain_at(1) == other.chain_at(1)
    assert one.entry(3) == other.entry(3)
    assert one.chain_at(3) != other.chain_at(3)


def test_a_link_covers_every_field() -> None:
    base = entry(2, 1, b"x")
    variants = [entry(3, 1, b"x"), entry(2, 2, b"x"), entry(2, 1, b"y"), voters_entry("a", 2, 1)]
    variants.append(LogEntry(2, 1, voters_entry("a").kind, b"x"))
    assert len({link(b"", each) for each in (base, *variants)}) == 6


def test_truncation_takes_the_chain_along() -> None:
    log = RaftLog(log_of(1, 1, 2))
    before = log.chain_at(2)
    log.truncate(3)
    log.extend([entry(3, 5)])
    assert log.chain_at(2) == before
    assert log.chain_at(4) is None


# -- snapshots -----------------------------------------------------------------------------------


def snapshot_of(log: RaftLog, index: int) -> Snapshot:
    at, found = log.configuration_at(index)
    term, chain = log.term_at(index), log.chain_at(index)
    assert term is not None
    assert chain is not None
    return Snapshot(index, term, found, at, chain, log.lineage, b"state")


def test_compaction_keeps_what_it_is_told() -> None:
    log = RaftLog(log_of(1, 1, 2, 2, 3))
    chains = [log.chain_at(index) for index in range(6)]
    log.compact(snapshot_of(log, 4), keep_from=3)
    assert (log.first_index, log.last_index, log.snapshot_index) == (3, 5, 4)
    assert [log.term_at(index) for index in range(6)] == [None, None, 1, 2, 2, 3]
    assert [log.chain_at(index) for index in range(2, 6)] == chains[2:]
    log.compact(snapshot_of(log, 5), keep_from=6)
    assert (log.first_index, log.last_index, log.last_term) == (6, 5, 3)


def test_compaction_keeps_the_configuration_in_force() -> None:
    """Thesis 5.1: the entry is gone, what it said is not."""
    log = RaftLog(
        [voters_entry("abc"), voters_entry("abcd", 2), entry(3, 1), voters_entry("ab", 4)]
    )
    log.compact(snapshot_of(log, 3), keep_from=4)
    assert log.configuration_at(3) == (2, configuration("abcd"))
    assert log.configuration == configuration("ab")
    log.truncate(4)
    assert (log.configuration, log.configuration_index) == (configuration("abcd"), 2)


def test_an_installed_snapshot_takes_the_place_of_everything() -> None:
    other = RaftLog([voters_entry("xyz"), entry(2, 4), entry(3, 7)])
    log = RaftLog(log_of(1, 1))
    log.install(snapshot_of(other, 3))
    assert (log.first_index, log.last_index, log.last_term) == (4, 3, 7)
    assert log.configuration == configuration("xyz")
    assert (log.origin, log.size) == (other.origin, 0)
    log.extend([entry(4, 7)])
    assert log.chain_at(4) == link(other.chain_at(3) or b"", entry(4, 7))


def test_a_restart_forgets_entries_that_the_snapshot_stands_for() -> None:
    log = RaftLog(log_of(1, 1, 2, 2, 3))
    again = RaftLog([log.entry(at) for at in range(2, 6)], snapshot_of(log, 4))
    assert (again.first_index, again.last_index, again.chain_at(5)) == (5, 5, log.chain_at(5))


def test_a_hole_after_the_snapshot_is_a_bug() -> None:
    log = RaftLog(log_of(1, 1, 2, 2, 3))
    with pytest.raises(AssertionError, match="gap"):
        RaftLog([log.entry(5)], snapshot_of(log, 3))


def test_a_log_is_named_by_its_first_entry_and_its_epoch() -> None:
    one, other = RaftLog(log_of(1, voters="a")), RaftLog(log_of(1, voters="b"))
    assert one.origin != other.origin
    rescued = Configuration(nodes("a"), epoch=1)
    before = one.identity
    one.extend([voters_entry(rescued, 2)])
    assert one.identity != before
    assert one.origin == RaftLog(log_of(1, voters="a")).origin


def test_two_epochs_that_were_begun_apart_are_two_logs() -> None:
    """Also when their beginnings are compacted away, and to whoever takes the snapshot."""
    names = set()
    for rescuer in "ab":
        log = RaftLog(log_of(1, voters="ab"))
        log.extend([voters_entry(Configuration(nodes(rescuer), epoch=1), 2)])
        grown = Configuration(nodes("ab"), epoch=1)
        log.extend([voters_entry(grown, 3)])
        names.add(log.identity)
        log.compact(snapshot_of(log, 3), keep_from=4)
        assert log.snapshot is not None
        assert {log.identity, RaftLog((), log.snapshot).identity} <= names
    assert len(names) == 2
    assert are_rivals(*names)


def test_an_epoch_that_is_cut_off_leaves_no_mark() -> None:
    log = RaftLog(log_of(1, voters="ab"))
    before = log.identity
    log.extend([voters_entry(Configuration(nodes("a"), epoch=1), 2)])
    log.truncate(2)
    assert log.identity == before
    assert RaftLog().identity == b""


def test_a_log_with_nothing_to_lose_is_not_settled() -> None:
    assert not RaftLog([voters_entry("a")]).is_settled
    assert RaftLog([voters_entry("a"), entry(2, 1)]).is_settled
    assert RaftLog([voters_entry("ab")]).is_settled


def test_a_node_that_was_voted_out_is_known_until_that_is_committed() -> None:
    log = RaftLog([voters_entry("ab"), entry(2, 1), voters_entry("b", 3)])
    assert log.is_voted_out_above(2, NodeId("a"))
    assert log.is_voted_out_above(0, NodeId("a"))
    assert not log.is_voted_out_above(3, NodeId("a"))
    assert not log.is_voted_out_above(2, NodeId("x"))
