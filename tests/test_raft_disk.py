"""Durability: what is promised is on the disk first; the leader writes in parallel with its
followers (thesis, 10.2.1); entries that are replaced while their write is under way (the ABA
problem); a disk that hangs; and a journal that was found damaged."""

from __future__ import annotations

from raft_hand import (
    CONFIG,
    Play,
    a_snapshot,
    add,
    add_learner,
    entry,
    log_of,
    part_of,
    remove,
    vote_request,
)

from protocol.clocks import SECOND
from protocol.effects import AppendEntries, HardState
from protocol.facts.agreement import ImpairmentEnded, LeaderResigned
from protocol.identity import NodeId
from protocol.messages.agreement import (
    Append,
    AppendReply,
    Learned,
    LearnRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from protocol.raft import Role
from protocol.raft.another_log import rescue_log

TIMEOUT = CONFIG.election_timeout_ns


# -- before it is told -------------------------------------------------------------------------


def test_a_vote_is_on_disk_before_it_is_told() -> None:
    play = Play("abc")
    play.slow_disks = {"b"}
    turn = play.receive("b", "a", vote_request(2))
    assert turn.records[-1] == HardState(2, NodeId("a"))
    assert play.said("b") == []
    play.write("b")
    assert play.said("b") == [VoteReply(2, 2, True, False)]


def test_a_repeated_vote_waits_for_the_first_one_to_be_on_disk() -> None:
    """The second reply has nothing to write, but what it promises is still on its way: an empty
    write is its barrier."""
    play = Play("abc")
    play.slow_disks = {"b"}
    play.receive("b", "a", vote_request(2))
    turn = play.receive("b", "a", vote_request(2))
    assert turn.records == []
    assert turn.after
    assert play.said("b") == []
    assert [records for _, records, _ in play.actors["b"].writes][-1] == ()
    play.write("b")
    assert len(play.said("b")) == 2


def test_a_candidate_is_on_disk_before_it_asks() -> None:
    play = Play("abc")
    play.wait(2 * TIMEOUT)
    play.act("a", play["a"].elections.campaign)
    play.slow_disks = {"a"}
    play.deliver("a", "b")
    play.deliver("b", "a")
    assert play["a"].role is Role.CANDIDATE
    assert not [m for m in play.said("a") if isinstance(m, VoteRequest) and not m.pre]
    play.write("a")
    assert [m for m in play.said("a") if isinstance(m, VoteRequest) and not m.pre]
    assert play.actors["a"].disk.hard_state == HardState(2, NodeId("a"))


def test_an_append_is_on_disk_before_it_is_acknowledged() -> None:
    play = Play("abc")
    play.slow_disks = {"b"}
    turn = play.receive("b", "a", Append(1, 1, 1, 1, (entry(2, 1),), 0))
    assert turn.records == [AppendEntries((entry(2, 1),))]
    assert play.said("b") == []
    play.receive("b", "a", Append(1, 2, 2, 1, (), 0))
    assert play.said("b") == [], "an empty Append promises what came before it"
    play.write("b")
    assert play.said("b") == [AppendReply(1, 1, 1, True, 2, 2), AppendReply(1, 1, 2, True, 2, 2)]


# -- in parallel with the followers ------------------------------------------------------------


def test_a_leader_counts_itself_only_when_its_own_disk_has_the_entry() -> None:
    """10.2.1 lets the leader write in parallel with its followers: then its own copy does not count
    before it is durable."""
    play = Play("abc")
    play.elect("a")
    play.slow_disks = {"a"}
    play.isolate("c")
    play.propose("a", b"x")
    play.settle()
    assert play["b"].log.last_index == 3
    assert play["a"].commit == 2
    play.write("a")
    assert play["a"].commit == 3


def test_a_majority_of_followers_commits_without_the_leader_s_disk() -> None:
    """10.2.1: "The leader may even commit an entry before it has been written to its own disk, if a
    majority of followers have written it to their disks"."""
    play = Play("abc")
    play.elect("a")
    play.slow_disks = {"a"}
    play.propose("a", b"x")
    play.settle()
    assert play["a"].commit == 3


def test_what_a_leader_committed_before_its_own_disk_had_it_survives_its_crash() -> None:
    play = Play("abc")
    play.elect("a")
    play.slow_disks = {"a"}
    play.propose("a", b"x")
    play.settle()
    play.crash("a")
    play.slow_disks = set()
    assert play["a"].log.last_index == 2
    play.elect("b")
    play.heartbeat("b")
    assert play.commands("a") == play.commands("b") == [b"x"]


def test_writes_become_durable_in_their_order() -> None:
    play = Play("a")
    play.elect("a")
    play.slow_disks = {"a"}
    for _ in range(3):
        play.propose("a", b"x")
    play.act("a", lambda turn: play["a"].persisted(turn, play.actors["a"].sequence - 1))
    assert play["a"].writes.durable == play["a"].commit == 4


# -- the ABA problem ---------------------------------------------------------------------------


def test_a_write_proves_nothing_about_entries_that_took_the_place_of_its_own() -> None:
    """`b` gets entries 2 and 3 of term 2, and before they are on the disk others in their place;
    then it leads. When the first write is done, the disk has entry 3 of term 2, which is not the
    one that is counted."""
    play = Play("abc", terms={"b": 2})
    play.slow_disks = {"b"}
    play.receive("b", "a", Append(2, 1, 1, 1, (entry(2, 2), entry(3, 2)), 0))
    play.receive("b", "c", Append(3, 1, 1, 1, (entry(2, 3), entry(3, 3)), 0))
    raft = play["b"]
    first, second = (sequence for sequence, _, _ in play.actors["b"].writes)
    play.act("b", lambda turn: raft.persisted(turn, first))
    assert raft.writes.durable == 1
    play.act("b", lambda turn: raft.persisted(turn, second))
    assert raft.writes.durable == 3


def test_entries_that_come_back_are_counted_by_their_own_write() -> None:
    """A, B, A: the same entries again, by a third write."""
    play = Play("abc", terms={"b": 2})
    play.slow_disks = {"b"}
    same = (entry(2, 2), entry(3, 2))
    play.receive("b", "a", Append(3, 1, 1, 1, same, 0))
    play.receive("b", "c", Append(4, 1, 1, 1, (entry(2, 4),), 0))
    play.receive("b", "a", Append(5, 1, 1, 1, same, 0))
    raft = play["b"]
    durable = []
    for sequence, _, _ in list(play.actors["b"].writes):
        play.act("b", lambda turn, at=sequence: raft.persisted(turn, at))
        durable.append(raft.writes.durable)
    assert durable == [1, 1, 3]


def test_a_snapshot_from_elsewhere_is_durable_by_its_own_write() -> None:
    play = Play("abc", terms={"b": 2})
    play.slow_disks = {"b"}
    play.receive("b", "a", Append(2, 1, 1, 1, tuple(entry(at, 2) for at in range(2, 9)), 0))
    play.receive("b", "a", part_of(a_snapshot(5, term=3)))
    raft = play["b"]
    first, second = (sequence for sequence, _, _ in play.actors["b"].writes)
    play.act("b", lambda turn: raft.persisted(turn, first))
    assert raft.writes.durable <= 1, "those entries are not the snapshot's"
    play.act("b", lambda turn: raft.persisted(turn, second))
    assert raft.writes.durable == 5


def test_a_restart_in_the_middle_of_a_replacement_finds_one_of_both() -> None:
    play = Play("abc", terms={"b": 2})
    play.slow_disks = {"b"}
    play.receive("b", "a", Append(2, 1, 1, 1, (entry(2, 2), entry(3, 2)), 0))
    play.receive("b", "c", Append(3, 1, 1, 1, (entry(2, 3),), 0))
    actor = play.actors["b"]
    _, records, _ = actor.writes[0]
    actor.disk.write(records)
    play.crash("b")
    assert play.terms("b") == [1, 2, 2]
    assert play["b"].term == 2


# -- a disk that hangs -------------------------------------------------------------------------


def test_a_leader_whose_disk_hangs_lets_somebody_else_lead() -> None:
    """It cannot know what it has, and who depends on it waits; its heartbeats alone would keep it
    in office for ever."""
    play = Play("abc")
    play.elect("a")
    play.heartbeat("a")
    play.slow_disks = {"a"}
    play.propose("a", b"x")
    while play["a"].role is Role.LEADER:
        play.heartbeat("a")
    assert LeaderResigned(2, "the disk does not answer") in play.actors["a"].facts
    assert play["a"].writes.waiting_since() is not None
    play.settle()
    assert Role.LEADER in (play["b"].role, play["c"].role)


def test_the_successor_is_the_voter_that_is_furthest() -> None:
    play = Play("abc")
    play.elect("a")
    play.heartbeat("a")
    play.slow_disks = {"a"}
    play.cut = {("a", "b")}
    play.propose("a", b"x")
    play.settle()
    play.heal()
    play.wait(CONFIG.disk_stall_ns + 1)
    for name in "bc":
        play.progress("a", name).heard_at = play.now
    play.leadership("a")._quorum_check_at = play.now + 1
    play.tick("a")
    assert TimeoutNow(2) in play.said("a", "c")
    assert TimeoutNow(2) not in play.said("a", "b")


def test_a_node_whose_disk_hangs_does_not_campaign() -> None:
    play = Play("abc")
    play.slow_disks = {"b"}
    play.receive("b", "a", Append(1, 1, 1, 1, (entry(2, 1),), 0))
    play.wait(CONFIG.disk_stall_ns + 2 * TIMEOUT)
    play.tick("b")
    assert play["b"].role is Role.FOLLOWER
    play.write("b")
    play.wait(2 * TIMEOUT)
    play.tick("b")
    assert play["b"].role.value == "pre_candidate"


def test_a_slow_disk_is_no_hung_one() -> None:
    play = Play("a")
    play.elect("a")
    play.slow_disks = {"a"}
    play.propose("a", b"x")
    assert not play["a"].writes.is_stalled(play.now + CONFIG.disk_stall_ns)
    assert play["a"].writes.is_stalled(play.now + CONFIG.disk_stall_ns + 1)


MIB = 1024 * 1024


def writing_a_large_snapshot() -> Play:
    """The leader's disk has been asked to write 32 MiB, and has not answered yet."""
    play = Play("abc")
    play.elect("a")
    play.heartbeat("a")
    play.slow_disks = {"a"}
    play.compact("a", 2, bytes(32 * MIB))
    return play


def test_a_disk_that_writes_a_large_snapshot_is_no_hung_one() -> None:
    """Nor is it while it has yet to come to what was asked for meanwhile."""
    play = writing_a_large_snapshot()
    takes = 32 * MIB * SECOND // CONFIG.disk_rate_min
    began = play.now
    while play.now < began + takes + CONFIG.disk_stall_ns - SECOND:
        play.propose("a", b"x")
        play.heartbeat("a")
        assert play["a"].role is Role.LEADER
    assert play["a"].commit == play["a"].log.last_index, "the others have it on theirs"
    play.write("a")
    assert play["a"].writes.durable == play["a"].log.last_index
    play.compact("a", 3, bytes(32 * MIB))
    play.wait(takes + CONFIG.disk_stall_ns + 1)
    assert play["a"].writes.is_stalled(play.now), "patience has an end"


def test_a_disk_that_hangs_behind_a_large_snapshot_is_noticed_as_soon_as_any() -> None:
    play = writing_a_large_snapshot()
    play.propose("a", b"x")
    play.wait(SECOND // 10)
    play.act("a", lambda turn: play["a"].persisted(turn, play.actors["a"].writes[0][0]))
    assert not play["a"].writes.is_stalled(play.now + CONFIG.disk_stall_ns)
    assert play["a"].writes.is_stalled(play.now + CONFIG.disk_stall_ns + 1)


# -- a damaged journal -------------------------------------------------------------------------


def damaged(names: str = "abc", voters: str | None = None) -> Play:
    """`c` has voted in term 9, and its disk has lost that and its log."""
    play = Play(names, voters=voters or "abc")
    play.elect("a")
    play.propose("a", b"x")
    play.settle()
    disk = play.actors["c"].disk
    disk.hard_state = HardState(0, NodeId(""))
    disk.entries.clear()
    disk.impaired = True
    play.crash("c")
    return play


def confirm(play: Play, name: str) -> None:
    """`a` says, confirmed by a majority, how far the log is committed."""
    assert play["a"].log.configuration_index <= play["a"].commit
    number = len(play.reads("a"))
    play.read("a", (name, number))
    play.settle()
    [index] = [index for context, index in play.reads("a") if context == (name, number)]
    play.act(name, lambda turn: play[name].impairment.confirmed(turn, index))


def test_an_impaired_node_does_not_vote() -> None:
    """It may have promised its vote, or acknowledged entries that are gone: a corrupt minority
    must not spread."""
    play = damaged()
    play.receive("c", "b", vote_request(9, 9, 9))
    assert play.reply("c") == VoteReply(9, 9, False, False)
    play.receive("c", "b", vote_request(10, 9, 9, pre=True))
    assert play.reply("c") == VoteReply(9, 10, False, True)


def test_an_impaired_node_never_campaigns() -> None:
    play = damaged()
    play.heartbeat("a")
    assert play["c"].is_voter
    assert play["c"].deadline() is None
    play.act("c", play["c"].elections.campaign)
    play.receive("c", "a", TimeoutNow(2))
    assert play["c"].role is Role.FOLLOWER


def test_an_impaired_node_is_one_after_a_restart_too() -> None:
    play = damaged()
    play.crash("c")
    assert play["c"].impaired


def test_an_impaired_node_takes_the_log_and_says_what_it_has() -> None:
    """What it acknowledges from now on it does have."""
    play = damaged()
    play.isolate("b")
    play.propose("a", b"y")
    play.heartbeat("a")
    assert play.commands("a") == play.commands("c") == [b"x", b"y"]
    assert play["c"].impaired


def test_who_is_voted_out_is_impaired_no_more() -> None:
    play = damaged()
    play.heartbeat("a")
    play.change("a", add_learner("c"))
    play.settle()
    assert play["c"].impaired, "it may be an old leader that says so, and an old configuration"
    confirm(play, "c")
    turn_facts = play.actors["c"].facts
    assert any(isinstance(fact, ImpairmentEnded) for fact in turn_facts)
    assert not play.actors["c"].disk.impaired
    play.change("a", add("c"))
    play.settle()
    play.isolate("b")
    play.transfer("a", "c")
    play.settle()
    assert play["c"].role is Role.LEADER


def test_an_old_configuration_ends_no_impairment() -> None:
    """A voter that was added later gets its log from the beginning, and there it is outside of the
    first configurations. They prove nothing about what it has promised since."""
    play = Play("abcd", voters="abc", logs={"d": ()})
    play.elect("a")
    play.propose("a", b"x")
    play.settle()
    play.change("a", add("d"))
    play.settle()
    disk = play.actors["d"].disk
    disk.entries.clear()
    disk.impaired = True
    play.crash("d")
    play.isolate("d")
    confirm(play, "d")
    play.heal()
    short = Append(2, 1, 0, 0, tuple(play["a"].log.entry(at) for at in (1, 2, 3)), 4)
    play.receive("d", "a", short)
    play.act("d", play["d"].impairment.check)
    assert (play["d"].commit, play["d"].is_voter) == (3, False)
    assert play["d"].impaired
    play.heartbeat("a")
    assert play["d"].is_voter
    assert play["d"].impaired


def test_a_teacher_that_is_far_behind_ends_no_impairment() -> None:
    """It may be cut off since before this node became a voter, and teaches all that it knows."""
    play = Play("abcd", voters="abc", logs={"d": ()})
    play.elect("a")
    play.propose("a", b"x")
    play.settle()
    old = play["b"]
    entries = tuple(old.log.entry(at) for at in range(1, old.commit + 1))
    chain = old.log.chain_at(old.commit)
    assert chain is not None
    play.change("a", add("d"))
    play.settle()
    assert play["d"].is_voter
    disk = play.actors["d"].disk
    disk.hard_state = HardState(0, NodeId(""))
    disk.entries.clear()
    disk.impaired = True
    play.crash("d")
    play.receive("d", "b", Learned(entries, entries[-1].index, chain))
    play.receive("d", "a", Append(2, 9, entries[-1].index, 2, (), entries[-1].index))  # late, too
    assert (play["d"].commit, play["d"].is_voter) == (entries[-1].index, False)
    assert play["d"].impaired


def test_an_old_snapshot_ends_no_impairment() -> None:
    config = type(CONFIG)(trailing_entries=0)
    play = Play("abcd", voters="abc", logs={"d": ()}, config=config)
    play.elect("a")
    play.propose("a", b"x")
    play.settle()
    play.compact("a", 3)
    play.change("a", add("d"))
    play.settle()
    disk = play.actors["d"].disk
    disk.entries.clear()
    disk.snapshot = None
    disk.impaired = True
    play.crash("d")
    play.isolate("d")
    confirm(play, "d")
    play.heal()
    for _ in range(3):
        play.heartbeat("a")
        play.act("d", play["d"].impairment.check)
    assert play["d"].commit == play["a"].commit
    assert play["d"].is_voter
    assert play["d"].impaired


def test_who_is_removed_learns_it_from_the_others() -> None:
    """Nobody sends it Appends any more; it asks."""
    play = damaged()
    play.change("a", remove("c"))
    play.settle()
    play.heartbeat("a")
    play.receive("b", "c", LearnRequest(1, 0, 0))
    play.settle()
    assert not play["c"].is_voter
    confirm(play, "c")
    assert not play["c"].impaired
    assert not play.actors["c"].disk.impaired


def test_what_was_confirmed_counts_when_the_log_has_come_so_far() -> None:
    play = damaged()
    play.change("a", remove("c"))
    play.settle()
    play.heartbeat("a")
    confirm(play, "c")
    assert play["c"].impaired
    play.receive("b", "c", LearnRequest(1, 0, 0))
    play.settle()
    play.act("c", play["c"].impairment.check)
    assert not play["c"].impaired


def test_an_operator_may_rescue_an_impaired_node() -> None:
    play = Play("abc", logs=dict.fromkeys("abc", log_of(1, 1)))
    play.actors["c"].disk.impaired = True
    play.crash("c")
    play.act("c", lambda turn: rescue_log(play["c"], turn))
    assert play["c"].role is Role.LEADER
    assert not play.actors["c"].disk.impaired
