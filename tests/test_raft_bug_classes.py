"""What has gone wrong in other implementations of Raft, by name, and where it is tested here.

    stale read from a paused or deposed leader      here, test_raft_reads
    a "failed" operation that commits later         here
    acknowledgement before fsync                    test_raft_disk
    fsync error, then false success                 here
    a corrupt minority spreads                      test_raft_disk (impaired), test_raft_lessons
    split brain in a change of the voters           test_raft_membership (the erratum)
    disruptive return of a removed or isolated node here, test_raft_elections, test_raft_office
    asymmetric cuts                                 here, test_raft_office
    no leader although a quorum is connected        test_raft_elections, test_raft_membership
    a leader with a hung disk                       test_raft_disk
    races of snapshot and compaction                test_raft_snapshots
    a lost acknowledgement                          here
    partial apply across a crash                    here
    an unbounded uncommitted tail                   test_raft_flow
    clock jumps and long pauses                     here

Exactly-once for clients, locks and mixed versions are not Raft's, and tested where they live.
"""

from __future__ import annotations

from dataclasses import replace

from raft_hand import CONFIG, Play, remove

from protocol.clocks import SECOND
from protocol.effects import Snapshot
from protocol.identity import NodeId
from protocol.messages.agreement import Append, AppendReply
from protocol.raft import Role

TIMEOUT, HEARTBEAT = CONFIG.election_timeout_ns, CONFIG.heartbeat_ns


def test_a_leader_that_wakes_from_a_long_pause_answers_no_read() -> None:
    """It believes that it leads, and has not looked at a clock or a message yet."""
    play = Play("abc")
    play.elect("a")
    play.heartbeat("a")
    play.isolate("a")
    play.elect("b")
    play.propose("b", b"newer")
    play.settle()
    play.heal()
    assert play["a"].role is Role.LEADER
    play.read("a", "by lease", lease=True)
    play.read("a", "by index")
    assert play.reads("a") == []
    play.settle()
    assert play["a"].role is Role.FOLLOWER
    assert play.reads("a") == []


def test_what_nobody_acknowledged_may_be_committed_later() -> None:
    """A client that was told nothing, or that the leader is gone, must not take it for undone: the
    one follower that has the entry may lead next."""
    play = Play("abc")
    play.elect("a")
    play.cut = {("a", "b"), ("c", "a")}
    play.propose("a", b"in doubt")
    play.settle()
    assert play.commands("a") == []
    play.isolate("a")
    play.elect("c")
    play.propose("c", b"after")
    play.settle()
    assert play.commands("c") == play.commands("b") == [b"in doubt", b"after"]


def test_a_disk_that_never_says_done_is_never_taken_at_its_word() -> None:
    """After an error of fsync nothing is known of what was written (Rebello et al. 2020): a later
    write that succeeds says nothing about it. The host stops the node; until then it is silent."""
    play = Play("abc")
    play.elect("a")
    play.slow_disks = {"b"}
    play.isolate("c")
    for _ in range(3):
        play.propose("a", b"x")
        play.settle()
    play.heartbeat("a")  # which finds all entries in b's memory, and nothing to be written
    assert not [m for m in play.said("b") if isinstance(m, AppendReply) and m.index > 2]
    assert play["a"].commit == 2
    play.crash("b")
    assert play["b"].log.last_index == 2


def test_a_removed_node_that_returns_disturbs_nobody() -> None:
    """Thesis, 4.2.3: it does not know that it is removed, and times out again and again."""
    play = Play("abcd")
    play.elect("a")
    play.isolate("d")
    play.change("a", remove("d"))
    play.settle()
    play.heal()
    for _ in range(20):
        play.wait(HEARTBEAT)
        play.tick("a")
        play.tick("d")
        play.settle()
    assert (play["a"].role, play["a"].term) == (Role.LEADER, 2)


def test_whoever_hears_and_is_not_heard_raises_no_term() -> None:
    """An asymmetric cut: c gets nothing from the leader, but everybody gets what c says."""
    play = Play("abc")
    play.elect("a")
    play.cut = {("a", "c"), ("b", "c")}
    for _ in range(20):
        play.wait(HEARTBEAT)
        for name in "abc":
            play.tick(name)
        play.settle()
    assert (play["a"].role, play["a"].term, play["c"].term) == (Role.LEADER, 2, 2)


def test_a_chain_of_three_keeps_its_leader() -> None:
    """The leader is cut off from one of two followers, which the other one hears."""
    play = Play("abc")
    play.elect("a")
    play.cut = {("a", "c"), ("c", "a")}
    for number in range(20):
        play.propose("a", b"%d" % number)
        play.wait(HEARTBEAT)
        for name in "abc":
            play.tick(name)
        play.settle()
    assert (play["a"].role, play["a"].term) == (Role.LEADER, 2)
    assert play["a"].commit == 22


def test_a_lost_acknowledgement_is_made_good() -> None:
    play = Play("abc")
    play.elect("a")
    play.propose("a", b"x")
    play.deliver("a", "b")
    play.deliver("a", "c")
    play.lose()
    assert play["a"].commit == 2
    play.heartbeat("a")
    assert play["a"].commit == play["b"].commit == 3


def test_a_crash_between_writes_applies_nothing_twice_and_nothing_half() -> None:
    """A state machine that starts again gets the snapshot, and then each entry after it once."""
    play = Play("abc", config=replace(CONFIG, trailing_entries=0))
    play.elect("a")
    for number in range(3):
        play.propose("a", b"%d" % number)
    play.settle()
    play.compact("b", 4)
    play.slow_disks = {"b"}
    play.propose("a", b"3")
    play.settle()
    play.crash("b")
    play.slow_disks = set()
    snapshot = play.actors["b"].disk.snapshot
    assert isinstance(snapshot, Snapshot)
    assert play["b"].commit == snapshot.index == 4
    play.heartbeat("a")
    assert [item.index for item in play.actors["b"].committed] == [5, 6]


def test_a_clock_that_jumps_ahead_deposes_nobody() -> None:
    """A follower whose clock jumps believes that it has heard nothing for an hour."""
    play = Play("abc")
    play.elect("a")
    play.now += 3600 * SECOND
    play.tick("c")
    play.now -= 3600 * SECOND
    assert play["c"].role is Role.PRE_CANDIDATE
    play.settle()
    play.heartbeat("a")
    assert (play["a"].role, play["a"].term, play["c"].leader) == (Role.LEADER, 2, NodeId("a"))


def test_a_leader_that_was_stopped_for_an_hour_steps_down_before_it_speaks() -> None:
    play = Play("abc")
    play.elect("a")
    play.propose("a", b"x")
    play.settle()
    play.wait(3600 * SECOND)
    play.tick("a")
    assert play["a"].role is Role.FOLLOWER
    assert not [m for m in play.said("a") if isinstance(m, Append)]
