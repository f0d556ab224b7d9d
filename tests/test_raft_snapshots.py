"""Compaction and snapshots (paper, section 7; thesis, 5.1): between leader and follower, on the
disk, and for nodes beyond the council. Figure 13 is in `test_raft_figure13`."""

from __future__ import annotations

from dataclasses import replace

import pytest
from raft_hand import CONFIG, Play, a_snapshot, add_learner, configuration, entry, part_of

from protocol import codec
from protocol.clocks import SECOND
from protocol.effects import Snapshot
from protocol.errors import RemoteProtocolError
from protocol.facts.agreement import LogCompacted, SnapshotIllegible, SnapshotInstalled
from protocol.identity import NOBODY, NodeId
from protocol.messages.agreement import (
    Append,
    AppendReply,
    Learned,
    LearnRequest,
    SnapshotPart,
    SnapshotReply,
)
from protocol.raft import Role
from protocol.raft.progress import Pace

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


def parts(play: Play, to: str = "c") -> list[SnapshotPart]:
    return [m for m in play.said("a", to) if isinstance(m, SnapshotPart)]


# -- leader and follower -----------------------------------------------------------------------


def test_a_follower_that_is_far_behind_gets_the_snapshot_and_what_follows() -> None:
    """Section 7: "it must ... send snapshots to followers that lag behind"."""
    play = compacted()
    play.propose("a", b"after")
    play.heartbeat("a")
    play.heartbeat("a")
    assert play["c"].log.snapshot == play["a"].log.snapshot
    assert play["c"].commit == play["a"].commit == 7
    assert play.progress("a", "c").pace is Pace.REPLICATE
    assert play.actors["c"].disk.snapshot == play["a"].log.snapshot


def test_parts_are_of_a_bounded_size_and_one_is_on_its_way_at_a_time() -> None:
    play = compacted()
    play.wait(CONFIG.heartbeat_ns)
    play.tick("a")
    offsets = []
    for _ in range(100):
        offsets += [m.offset for m in parts(play)]
        assert all(len(m.data) <= 50 for m in parts(play))
        assert len(parts(play)) <= 1
        if not play.deliver():
            break
    assert sorted(set(offsets)) == list(range(0, max(offsets) + 1, 50))
    assert len(set(offsets)) > 3


def test_a_lost_part_is_sent_again_once_something_later_is_answered() -> None:
    play = compacted()
    play.heartbeat("a")
    play = compacted()
    play.wait(CONFIG.heartbeat_ns)
    play.tick("a")
    play.deliver("a", "c")
    play.deliver("c", "a")
    [first] = parts(play)
    play.lose()
    play.wait(CONFIG.heartbeat_ns)
    play.tick("a")
    assert parts(play) == [], "a heartbeat does not repeat it: it may only be slow"
    play.deliver("a", "c")
    play.deliver("c", "a")
    [again] = parts(play)
    assert (again.offset, again.data) == (first.offset, first.data)
    play.settle()
    assert play["c"].commit == 6


def test_repeated_answers_do_not_double_the_parts() -> None:
    """An answer that comes twice would otherwise start a second stream, for as long as the snapshot
    is (the "sorcerer's apprentice" of TFTP; RFC 1123, 4.2.3.1)."""
    play = compacted()
    play.wait(CONFIG.heartbeat_ns)
    play.tick("a")
    while not parts(play):
        play.deliver()
    play.deliver("a", "c")
    [reply] = [m for m in play.said("c") if isinstance(m, SnapshotReply)]
    for _ in range(3):
        play.receive("a", "c", reply)
    assert len(parts(play)) == 1


def test_reads_do_not_repeat_the_part_that_is_on_its_way() -> None:
    """Each round of reads asks everybody for an answer; a part may be large."""
    play = compacted()
    play.wait(CONFIG.heartbeat_ns)
    play.tick("a")
    while not parts(play):
        play.deliver()
    for number in range(3):
        play.read("a", number)
        play.deliver("a", "b")
        play.deliver("b", "a")
    assert len(parts(play)) == 1
    assert len(play.reads("a")) == 3


def test_a_follower_that_restarts_gets_the_snapshot_from_its_beginning() -> None:
    """What is here of a snapshot is not durable."""
    play = compacted()
    play.heartbeat("a")
    play = compacted()
    play.wait(CONFIG.heartbeat_ns)
    play.tick("a")
    while not parts(play) or parts(play)[0].offset < 100:
        play.deliver()
    play.crash("c")
    play.settle()
    play.heartbeat("a")
    assert play["c"].commit == 6


def test_a_new_leader_goes_on_where_the_old_one_stopped() -> None:
    """Snapshots of one index are the same on every node, byte for byte: thesis 5.1 is silent on
    it, and a transfer of a gigabyte should not begin anew with each election."""
    play = compacted()
    play.compact("b", 6, STATE)
    play.wait(CONFIG.heartbeat_ns)
    play.tick("a")
    while not parts(play) or parts(play)[0].offset < 100:
        play.deliver()
    play.lose()
    play.isolate("a")
    play.elect("b")
    play.heartbeat("b")
    offsets = [fact for fact in play.actors["c"].facts if isinstance(fact, SnapshotInstalled)]
    assert offsets == [SnapshotInstalled(6, len(STATE), NodeId("b"))]
    assert play["c"].commit == play["b"].commit


def test_parts_of_two_leaders_make_one_snapshot() -> None:
    play = Play("abc")
    play.receive("b", "a", part_of(a_snapshot(), 0, 30, term=3))
    play.receive("b", "c", part_of(a_snapshot(), 30, 10_000, term=4))
    assert play["b"].commit == 5


def test_a_leader_compacts_again_while_it_sends() -> None:
    play = compacted()
    play.wait(CONFIG.heartbeat_ns)
    play.tick("a")
    while not parts(play):
        play.deliver()
    play.isolate("c")
    play.propose("a", b"more")
    play.settle()
    play.compact("a", 7, STATE)
    play.heal()
    play.settle()
    for _ in range(3):
        play.heartbeat("a")
    assert play["c"].commit == play["a"].commit == 7


def test_a_follower_that_catches_up_by_entries_needs_no_snapshot() -> None:
    """Its answer to an Append of before may still be on its way when the leader turns to the
    snapshot."""
    play = compacted()
    play.wait(CONFIG.heartbeat_ns)
    play.tick("a")
    while not parts(play):
        play.deliver()
    assert play.progress("a", "c").pace is Pace.SNAPSHOT
    play.lose()
    play.receive("a", "c", AppendReply(2, 2, play.leadership("a").request, True, 6, 6))
    assert (play.progress("a", "c").pace, play.progress("a", "c").next_index) == (Pace.REPLICATE, 7)


def test_a_snapshot_of_what_is_committed_here_is_acknowledged_and_not_installed() -> None:
    """It would take the state machine back."""
    play = compacted()
    play.heartbeat("a")
    play.heartbeat("a")
    snapshot = play["a"].log.snapshot
    assert snapshot is not None
    play.propose("a", b"later")
    play.settle()
    turn = play.receive("c", "a", part_of(snapshot, 0, 10, term=2))
    assert turn.records == []
    whole = len(codec.pack_value(snapshot))
    assert play.reply("c") == SnapshotReply(2, 2, 1, 6, whole)
    assert play["c"].commit == 7


def test_a_snapshot_is_on_disk_before_it_is_acknowledged() -> None:
    play = Play("abc")
    play.slow_disks = {"b"}
    play.receive("b", "a", part_of(a_snapshot()))
    assert play["b"].commit == 5
    assert play.said("b") == []
    play.write("b")
    assert isinstance(play.reply("b"), SnapshotReply)


# -- compaction --------------------------------------------------------------------------------


def test_a_snapshot_stands_for_the_log_up_to_its_index() -> None:
    """Thesis 5.1: last included index and term are kept for the consistency check."""
    play = compacted()
    log = play["a"].log
    assert (log.snapshot_index, log.first_index, log.term_at(6), log.term_at(5)) == (6, 7, 2, None)
    assert LogCompacted(6, len(STATE)) in play.actors["a"].facts


def test_some_entries_before_the_snapshot_stay_for_followers_that_are_not_far_behind() -> None:
    play = compacted(replace(CONFIG, trailing_entries=10))
    assert play["a"].log.first_index == 1
    play.heartbeat("a")
    assert play["c"].log.snapshot is None
    assert play["c"].commit == 6


def test_a_restart_begins_at_the_snapshot() -> None:
    play = compacted(replace(CONFIG, trailing_entries=2))
    play.crash("a")
    log = play["a"].log
    assert (play["a"].commit, log.first_index, log.last_index) == (6, 7, 6)
    assert log.chain_at(6) == play["b"].log.chain_at(6)
    play.elect("a")
    play.heartbeat("a")
    play.heartbeat("a")
    assert play["c"].commit == play["a"].commit


def test_equal_logs_make_equal_snapshots() -> None:
    """On every node, byte for byte, whenever it compacts."""
    play = compacted()
    play.compact("b", 4, b"earlier")
    play.compact("b", 6, STATE)
    assert play["b"].snapshots.encoded() == play["a"].snapshots.encoded()


def test_an_append_that_reaches_below_the_snapshot_is_taken_from_there_on() -> None:
    """What is compacted away is committed, and the leader has it (Leader Completeness)."""
    play = compacted()
    entries = tuple(play["b"].log.entry(at) for at in range(4, 7))
    play.compact("b", 5, STATE)
    play.receive("b", "a", Append(2, 1, 3, 2, (*entries, entry(7, 2)), 0))
    assert play.reply("b") == AppendReply(2, 2, 1, True, 7, 7)
    assert play.terms("b") == [2, 2]


# -- what may be wrong with a snapshot ---------------------------------------------------------


def test_a_snapshot_with_a_wrong_digest_is_not_installed_and_is_fetched_again() -> None:
    play = Play("abc")
    broken = replace(part_of(a_snapshot()), digest=bytes(32))
    with pytest.raises(RemoteProtocolError, match="digest"):
        play.receive("b", "a", broken)
    assert (play["b"].commit, play["b"].log.snapshot) == (0, None)
    play.receive("b", "a", part_of(a_snapshot()))
    assert play["b"].commit == 5


@pytest.mark.parametrize(
    "snapshot",
    [
        replace(a_snapshot(), configuration=configuration("")),
        replace(a_snapshot(), chain=b"short"),
        replace(a_snapshot(), origin=b"short"),
        replace(a_snapshot(), configuration_index=9),
        replace(a_snapshot(), configuration_index=0),
    ],
)
def test_a_snapshot_that_is_none_is_refused(snapshot: Snapshot) -> None:
    play = Play("abc")
    turn = play.receive("b", "a", part_of(snapshot))
    assert [type(fact) for fact in turn.facts if fact.mark == "!"] == [SnapshotIllegible]
    assert play["b"].commit == 0


@pytest.mark.parametrize("size", [0, 2**40])
def test_a_snapshot_of_an_impossible_size_is_refused(size: int) -> None:
    play = Play("abc")
    with pytest.raises(RemoteProtocolError):
        play.receive("b", "a", replace(part_of(a_snapshot()), size=size))


def test_a_part_that_is_too_long_is_cut() -> None:
    play = Play("abc")
    part = part_of(a_snapshot())
    play.receive("b", "a", replace(part, data=part.data + b"and more"))
    assert play["b"].commit == 5


# -- snapshots for nodes beyond the council ----------------------------------------------------


def test_a_node_without_a_leader_is_taught_a_snapshot_by_anybody() -> None:
    play = Play("abl", voters="ab", logs={"l": ()}, config=SMALL)
    play.elect("a")
    play.propose("a", b"x")
    play.settle()
    play.compact("b", 3, STATE)
    play.receive("b", "l", LearnRequest(1, 0, 0))
    play.settle()
    assert play["l"].commit == 3
    assert play.actors["l"].committed == [play["b"].log.snapshot]


def test_a_lesson_does_not_displace_what_the_leader_sends() -> None:
    """A learner hears of one snapshot from its leader and of another from a neighbour: each part of
    the one would throw away what is here of the other, for ever."""
    play = Play("abc")
    mine, theirs = part_of(a_snapshot(5), 0, 30), part_of(a_snapshot(6), 0, 30, request=0)
    play.receive("b", "a", mine)
    play.act("b", play["b"].elections.forget_leader)
    play.receive("b", "c", theirs)
    play.receive("b", "a", part_of(a_snapshot(5), 30, 30))
    assert play.reply("b") == SnapshotReply(3, 3, 1, 5, 60)
    play.act("b", play["b"].elections.forget_leader)
    play.wait(CONFIG.election_timeout_ns)
    play.receive("b", "c", theirs)
    assert play.reply("b") == LearnRequest(1, 6, 30), "after a while it may"


def test_a_voter_that_hears_its_leader_is_taught_no_snapshot() -> None:
    play = Play("abc")
    play.elect("a")
    play.receive("b", "c", part_of(a_snapshot(9), request=0))
    assert play["b"].commit == 2


def test_a_snapshot_brings_a_learner_its_configuration() -> None:
    play = Play("abl", voters="ab", logs={"l": ()}, config=SMALL)
    play.elect("a")
    play.propose("a", b"x")
    play.settle()
    play.compact("a", 3, STATE)
    play.change("a", add_learner("l"))
    play.settle()
    play.heartbeat("a")
    assert play["l"].log.snapshot_index == 3
    assert play["l"].configuration == configuration("ab", learners="l")
    assert play["l"].commit == play["a"].commit
    assert play["l"].leader != NOBODY


# -- snapshots that cannot be read -----------------------------------------------------------------


def refuse_state(state: bytes) -> None:
    if state == STATE:
        raise RemoteProtocolError("not a state of this version")


def served(play: Play, seconds: int) -> int:
    """Bytes of snapshots that `a` sends to `c` in that time, with all timers served."""
    size = 0
    until = play.now + seconds * SECOND
    while play.now < until:
        play.wait(CONFIG.heartbeat_ns)
        play.tick("a")
        for _ in range(200):
            size += sum(len(part.data) for part in parts(play)[:1] if play.wire[0].receiver == "c")
            if play.deliver() is None:
                break
    return size


def test_a_snapshot_that_cannot_be_read_changes_nothing_and_is_reported() -> None:
    play = compacted()
    play["c"].check_state = refuse_state
    before = play["c"].status()
    play.heartbeat("a")
    play.heartbeat("a")
    illegible = [f for f in play.actors["c"].facts if isinstance(f, SnapshotIllegible)]
    assert illegible == [SnapshotIllegible(6, NodeId("a"), "not a state of this version")]
    after = play["c"].status()
    assert (after.commit, after.last_index, after.term) == (2, before.last_index, before.term)
    assert play["c"].log.snapshot is None
    assert play.actors["c"].disk.snapshot is None
    assert play["a"].role is Role.LEADER, "it answers heartbeats all the same"


def test_a_snapshot_that_cannot_be_read_is_not_fetched_again_and_again() -> None:
    play = compacted()
    play["c"].check_state = refuse_state
    whole = len(play["a"].snapshots.encoded().data)
    served(play, 10)
    assert served(play, 60) < whole, "parts now and then, and nothing else"
    play.propose("a", b"later")
    play.settle()
    play.compact("a", 7, b"legible")
    play.progress("a", "c").become_probe(3, 10**6)
    served(play, 15)
    assert play["c"].log.snapshot == play["a"].log.snapshot


def test_a_pupil_does_not_ask_again_and_again_for_what_it_cannot_read() -> None:
    play = compacted(replace(SMALL, snapshot_part_size=100_000))
    play["c"].check_state = refuse_state
    play.act("c", play["c"].elections.forget_leader)
    asked = 0
    for _ in range(600):  # every tenth of a second somebody shows that it has more
        play.wait(SECOND // 10)
        entries = (entry(7, 1),)
        play.act("c", lambda turn: play["c"].following.want(turn, NodeId("b")))
        play.receive("c", "b", Learned(entries, 7, bytes(16)))
        asked += len(play.said("c", "b"))
        while play.wire:
            letter = play.wire.pop(0)
            if letter.receiver == "b" and isinstance(letter.message, LearnRequest):
                data = play["a"].snapshots.encoded()
                part = SnapshotPart(1, 0, 6, data.digest, len(data.data), 0, data.data)
                play.receive("c", "b", part)
    assert 3 <= asked <= 20
