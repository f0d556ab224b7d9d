"""Figure 13 of the Raft paper (InstallSnapshot), rule by rule. Parts go one after the other;
`offset` and `done` of the figure are `offset` and `size` here."""

from __future__ import annotations

from dataclasses import replace

from raft_hand import CONFIG, Play, a_snapshot, configuration, log_of, part_of

from protocol import codec
from protocol.effects import KeepSnapshot
from protocol.facts.agreement import SnapshotInstalled
from protocol.identity import NodeId
from protocol.messages.agreement import SnapshotReply

SMALL = replace(CONFIG, trailing_entries=0, snapshot_part_size=50)
STATE = b"state of the machine " * 10


def compacted(config: object = SMALL, logs: dict[str, tuple[()]] | None = None) -> Play:
    """`a` leads; `c` was cut off and lacks what `a` has compacted away: 3 to 6."""
    assert isinstance(config, type(CONFIG))
    play = Play("abc", config=config)
    play.elect("a")
    play.heartbeat("a")
    play.isolate("c")
    for number in range(4):
        play.propose("a", b"%d" % number)
    play.settle()
    play.compact("a", 6, STATE)
    play.heal()
    return play


# -- Figure 13 ---------------------------------------------------------------------------------


def test_a_snapshot_of_an_older_term_is_refused_with_the_newer_term() -> None:
    """Rule 1: "Reply immediately if term < currentTerm"."""
    play = Play("abc", terms={"b": 5})
    play.receive("b", "a", part_of(a_snapshot(), term=4))
    assert play.reply("b") == SnapshotReply(5, 4, 1, 5, 0)
    assert play["b"].log.snapshot is None


def test_the_first_part_begins_a_new_snapshot() -> None:
    """Rule 2: "Create new snapshot file if first chunk (offset is 0)"."""
    play = Play("abc")
    play.receive("b", "a", part_of(a_snapshot(5), 0, 30))
    play.receive("b", "a", part_of(a_snapshot(6), 0, 20))
    assert play.reply("b") == SnapshotReply(3, 3, 1, 6, 20)


def test_parts_are_put_together_by_offset() -> None:
    """Rule 3: "Write data into snapshot file at given offset". A part that is not the next one
    is not kept: the answer says what is here."""
    play = Play("abc")
    play.receive("b", "a", part_of(a_snapshot(), 0, 30))
    play.receive("b", "a", part_of(a_snapshot(), 60, 30))
    assert play.reply("b") == SnapshotReply(3, 3, 1, 5, 30)
    play.receive("b", "a", part_of(a_snapshot(), 30, 30))
    assert play.reply("b") == SnapshotReply(3, 3, 1, 5, 60)
    play.receive("b", "a", part_of(a_snapshot(), 0, 30))
    assert play.reply("b") == SnapshotReply(3, 3, 1, 5, 60), "a repeated part changes nothing"


def test_more_parts_are_waited_for() -> None:
    """Rule 4: "Reply and wait for more data chunks if done is false"; until then nothing is in
    force, and nothing of it is on the disk."""
    play = Play("abc")
    turn = play.receive("b", "a", part_of(a_snapshot(), 0, 30))
    assert not [record for record in turn.records if isinstance(record, KeepSnapshot)]
    assert (play["b"].commit, play["b"].log.snapshot, play["b"].log.last_index) == (0, None, 1)


def test_a_whole_snapshot_takes_the_place_of_the_one_before() -> None:
    """Rule 5: "Save snapshot file, discard any existing or partial snapshot with a smaller
    index"."""
    play = Play("abc")
    play.receive("b", "a", part_of(a_snapshot(5)))
    turn = play.receive("b", "a", part_of(a_snapshot(9)))
    assert turn.records == [KeepSnapshot(a_snapshot(9), 10, replace=True)]
    assert play.actors["b"].disk.snapshot == a_snapshot(9)
    assert play.reply("b") == SnapshotReply(3, 3, 1, 9, len(codec.pack_value(a_snapshot(9))))


def test_entries_that_follow_the_snapshot_stay() -> None:
    """Rule 6: "If existing log entry has same index and term as snapshot's last included entry,
    retain log entries following it and reply"."""
    play = compacted()
    snapshot = play["a"].log.snapshot
    assert snapshot is not None
    play.propose("a", b"later")
    play.settle()
    assert play["b"].log.last_index == 7
    play.crash("b")
    assert play["b"].commit == 0
    turn = play.receive("b", "a", part_of(snapshot, term=2))
    assert turn.records == [KeepSnapshot(snapshot, 7, replace=False)]
    assert (play["b"].commit, play["b"].log.first_index, play["b"].log.last_index) == (6, 7, 7)
    assert [e.index for e in play.actors["b"].disk.entries] == [7]


def test_a_log_that_does_not_lead_to_the_snapshot_is_discarded() -> None:
    """Rule 7: "Discard the entire log"; an equal index with another term is another log."""
    play = Play("abc", logs={"b": log_of(1, 1, 1, 1, 1, 1, 1)})
    play.receive("b", "a", part_of(a_snapshot(5, term=2)))
    log = play["b"].log
    assert (log.first_index, log.last_index, log.last_term) == (6, 5, 2)
    assert play.actors["b"].disk.entries == []


def test_the_state_machine_starts_again_from_the_snapshot() -> None:
    """Rule 8: "Reset state machine using snapshot contents (and load snapshot's cluster
    configuration)"."""
    play = Play("abc")
    snapshot = replace(a_snapshot(), configuration=configuration("ab", learners="c"))
    turn = play.receive("b", "a", part_of(snapshot))
    assert turn.committed == [snapshot]
    assert play["b"].configuration == snapshot.configuration
    assert SnapshotInstalled(5, 100, NodeId("a")) in turn.facts
