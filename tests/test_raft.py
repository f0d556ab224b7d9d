"""Raft's rules, one test each. "Figure 2" and bare section numbers are the paper's (Ongaro and
Ousterhout 2014), "thesis" is Ongaro's. The group is driven by hand: see `raft_hand`."""

from __future__ import annotations

from random import Random

import pytest
from raft_hand import CONFIG, Play, entry, log_of

from protocol.effects import AppendEntries, HardState, Restored
from protocol.facts import LeaderElected, LogTruncated, RoleChanged
from protocol.identity import NOBODY, NodeId
from protocol.messages import (
    Append,
    AppendReply,
    EntryKind,
    LogEntry,
    Message,
    VoteReply,
    VoteRequest,
)
from protocol.raft import Raft, Role
from protocol.turn import Turn

TIMEOUT = CONFIG.election_timeout_ns
HEARTBEAT = CONFIG.heartbeat_ns


def vote_request(term: int, last_index: int = 1, last_term: int = 1) -> VoteRequest:
    return VoteRequest(term, last_index, last_term, pre=False, transfer=False, reach=0)


def last_reply(play: Play, name: str) -> Message:
    return play.said(name)[-1]


# -- founding ----------------------------------------------------------------------------------


def test_a_founder_leads_as_soon_as_its_disk_has_written() -> None:
    play = Play("a", logs={"a": ()})
    play.act("a", play["a"].found)
    assert play["a"].role is Role.LEADER
    assert play["a"].status().voters == (NodeId("a"),)
    assert play["a"].commit == 2, "the configuration and the no-op"


def test_a_single_node_commits_alone() -> None:
    play = Play("a")
    play.elect("a")
    assert play.propose("a", b"x") == 3
    assert play.commands("a") == [b"x"]


def test_a_single_node_comes_back_with_its_log() -> None:
    play = Play("a")
    play.elect("a")
    play.propose("a", b"x")
    play.crash("a")
    assert play["a"].commit == 0, "the commit index is volatile (Figure 2)"
    play.elect("a")
    assert play.commands("a") == [b"x"]


def test_a_node_with_an_empty_log_never_campaigns() -> None:
    play = Play("a", logs={"a": ()})
    assert play["a"].deadline() is None
    play.wait(10 * TIMEOUT)
    play.tick("a")
    assert play["a"].role is Role.FOLLOWER


# -- Figure 2: RequestVote ---------------------------------------------------------------------


def test_a_request_of_an_older_term_is_refused() -> None:
    """RequestVote, rule 1: "Reply false if term < currentTerm"."""
    play = Play("abc", terms={"b": 5})
    play.receive("b", "a", vote_request(4))
    assert last_reply(play, "b") == VoteReply(5, 4, False, False)


def test_follower_grants_one_vote_per_term() -> None:
    """RequestVote, rule 2: "If votedFor is null or candidateId, ... grant vote"."""
    play = Play("abc")
    play.receive("b", "a", vote_request(2))
    assert last_reply(play, "b") == VoteReply(2, 2, True, False)
    play.receive("b", "c", vote_request(2))
    assert last_reply(play, "b") == VoteReply(2, 2, False, False)


def test_a_repeated_request_gets_the_same_vote() -> None:
    """Rule 2 again: "or candidateId"; and a vote that is durable is not written again."""
    play = Play("abc")
    play.receive("b", "a", vote_request(2))
    turn = play.receive("b", "a", vote_request(2))
    assert last_reply(play, "b") == VoteReply(2, 2, True, False)
    assert turn.records == []


def test_a_vote_survives_a_crash() -> None:
    """Figure 2: currentTerm and votedFor are "updated on stable storage before responding"."""
    play = Play("abc")
    play.receive("b", "a", vote_request(2))
    play.crash("b")
    play.receive("b", "c", vote_request(2))
    assert last_reply(play, "b") == VoteReply(2, 2, False, False)


def test_a_new_term_brings_a_new_vote() -> None:
    play = Play("abc")
    play.receive("b", "a", vote_request(2))
    play.receive("b", "c", vote_request(3))
    assert last_reply(play, "b") == VoteReply(3, 3, True, False)


@pytest.mark.parametrize(
    ("last_index", "last_term", "granted"),
    [(3, 2, True), (9, 1, False), (2, 2, False), (1, 3, True), (4, 2, True)],
)
def test_only_an_up_to_date_candidate_gets_a_vote(
    last_index: int, last_term: int, granted: bool
) -> None:
    """5.4.1: the log with the later last term is more up to date; of equal terms, the longer."""
    play = Play("abc", logs={"b": log_of(1, 2, 2)})
    play.receive("b", "a", vote_request(9, last_index, last_term))
    assert last_reply(play, "b") == VoteReply(9, 9, granted, False)


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
    play.act("a", play["a"].campaign)
    play.slow_disks = {"a"}
    play.deliver("a", "b")
    play.deliver("b", "a")
    assert play["a"].role is Role.CANDIDATE
    assert not [m for m in play.said("a") if isinstance(m, VoteRequest) and not m.pre]
    play.write("a")
    assert [m for m in play.said("a") if isinstance(m, VoteRequest) and not m.pre]
    assert play.actors["a"].disk.hard_state == HardState(2, NodeId("a"))


# -- Figure 2: AppendEntries -------------------------------------------------------------------


def test_an_append_of_an_older_term_is_refused_with_the_newer_term() -> None:
    """AppendEntries, rule 1; 5.1: the stale leader steps down when it hears the term."""
    play = Play("abc", terms={"b": 5})
    play.receive("b", "a", Append(4, 1, 1, 1, (), 0))
    assert last_reply(play, "b") == AppendReply(5, 5, 1, False, 0, 0)
    assert play["b"].leader == NOBODY


def test_an_append_that_does_not_connect_is_refused() -> None:
    """AppendEntries, rule 2: "Reply false if log doesn't contain an entry at prevLogIndex whose
    term matches prevLogTerm"."""
    play = Play("abc", logs={"b": log_of(1, 1)})
    play.receive("b", "a", Append(2, 1, 5, 1, (entry(6, 2),), 0))
    assert last_reply(play, "b") == AppendReply(2, 2, 1, False, 3, 3)
    assert play["b"].log.last_index == 2


def test_a_refusal_names_the_first_index_of_the_conflicting_term() -> None:
    """5.3, last paragraphs: one round per conflicting term instead of one per entry."""
    play = Play("abc", logs={"b": log_of(1, 2, 2, 2, 2)})
    play.receive("b", "a", Append(4, 1, 5, 3, (), 0))
    assert last_reply(play, "b") == AppendReply(4, 4, 1, False, 2, 2)


def test_conflicting_entries_are_replaced() -> None:
    """AppendEntries, rules 3 and 4: delete the existing entry and all that follow it."""
    play = Play("abc", logs={"b": log_of(1, 2, 2, 2)})
    turn = play.receive("b", "a", Append(3, 1, 2, 2, (entry(3, 3, b"new"),), 0))
    assert play.terms("b") == [1, 2, 3]
    assert LogTruncated(3) in turn.facts
    assert [e.term for e in play.actors["b"].disk.entries] == [1, 2, 3]


def test_entries_are_dropped_only_in_conflict() -> None:
    """Rule 3 begins with "If an existing entry conflicts": an Append that was overtaken by a
    longer one must not shorten the log."""
    play = Play("abc", logs={"b": log_of(1, 2, 2, 2)})
    turn = play.receive("b", "a", Append(2, 1, 1, 1, (log_of(1, 2)[1],), 0))
    assert play.terms("b") == [1, 2, 2, 2]
    assert turn.records == []
    assert last_reply(play, "b") == AppendReply(2, 2, 1, True, 2, 2)


def test_the_commit_index_goes_no_further_than_what_is_known_to_match() -> None:
    """Rule 5: "set commitIndex = min(leaderCommit, index of last new entry)"."""
    play = Play("abc", logs={"b": log_of(1, 1, 1, 1)})
    play.receive("b", "a", Append(2, 1, 1, 1, (log_of(1, 1)[1],), 4))
    assert play["b"].commit == 2


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


def test_applied_entries_come_once_and_in_order() -> None:
    """All servers: "If commitIndex > lastApplied: increment lastApplied, apply
    log[lastApplied]"."""
    play = Play("abc")
    play.elect("a")
    for number in range(5):
        play.propose("a", b"%d" % number)
    play.settle()
    play.heartbeat("a")
    for name in "abc":
        assert [e.index for e in play.actors[name].committed] == [1, 2, 3, 4, 5, 6, 7]
        assert play.commands(name) == [b"0", b"1", b"2", b"3", b"4"]


# -- Figure 2: rules for servers ---------------------------------------------------------------


def test_a_higher_term_makes_a_follower() -> None:
    """All servers: "If RPC request or response contains term T > currentTerm: set currentTerm = T,
    convert to follower"."""
    play = Play("abc")
    play.elect("a")
    play.receive("a", "b", AppendReply(7, 7, 1, False, 0, 0))
    assert (play["a"].role, play["a"].term, play["a"].vote) == (Role.FOLLOWER, 7, NOBODY)
    assert play.actors["a"].disk.hard_state == HardState(7, NOBODY)


def test_a_follower_campaigns_after_an_election_timeout() -> None:
    """Followers: "If election timeout elapses without receiving AppendEntries ...: convert to
    candidate"; the time-out is drawn from [T, 2T) (5.2)."""
    play = Play("abc")
    deadline = play["a"].deadline()
    assert deadline is not None
    assert TIMEOUT <= deadline < 2 * TIMEOUT
    play.wait(deadline - 1)
    play.tick("a")
    assert play["a"].role is Role.FOLLOWER
    play.wait(1)
    play.tick("a")
    assert play["a"].role.value == "pre_candidate"


def test_an_append_restarts_the_election_timeout() -> None:
    play = Play("abc")
    play.elect("a")
    for _ in range(20):
        play.heartbeat("a")
        play.tick("b")
        play.tick("c")
    assert {play[name].term for name in "abc"} == {2}


def test_election_timeouts_differ() -> None:
    """5.2: "Raft uses randomized election timeouts to ensure that split votes are rare"."""
    assert (
        len(
            {play_deadline for name in "abcdefgh" if (play_deadline := Play(name)[name].deadline())}
        )
        > 5
    )


def test_a_candidate_with_a_majority_leads() -> None:
    """Candidates: "If votes received from majority of servers: become leader"."""
    play = Play("abcde")
    play.cut = {("a", "d"), ("a", "e")}
    play.elect("a")
    assert play["b"].leader == play["c"].leader == NodeId("a")


def test_a_candidate_without_a_majority_never_leads() -> None:
    play = Play("abcde")
    play.cut = {("a", "c"), ("a", "d"), ("a", "e")}
    for _ in range(5):
        play.wait(2 * TIMEOUT)
        play.tick("a")
        play.settle()
        assert play["a"].role is Role.PRE_CANDIDATE
    assert play["a"].term == 1, "a pre-candidate does not raise the term (thesis, 9.6)"


def test_a_candidate_that_hears_the_leader_follows() -> None:
    """Candidates: "If AppendEntries RPC received from new leader: convert to follower"."""
    play = Play("abc")
    play.wait(2 * TIMEOUT)
    play.act("a", play["a"].campaign)
    play.deliver("a", "b")
    play.deliver("b", "a")
    assert play["a"].role is Role.CANDIDATE
    play.receive("a", "c", Append(play["a"].term, 1, 1, 1, (), 0))
    assert (play["a"].role, play["a"].leader) == (Role.FOLLOWER, NodeId("c"))


def test_a_split_vote_is_asked_again_in_a_new_term() -> None:
    """Candidates: "If election timeout elapses: start new election"."""
    play = Play("abc")
    play.wait(2 * TIMEOUT)
    play.act("a", play["a"].campaign)
    play.deliver("a", "b")
    play.deliver("b", "a")
    play.lose()
    play.wait(2 * TIMEOUT)
    play.tick("a")
    assert (play["a"].role, play["a"].term) == (Role.PRE_CANDIDATE, 2)
    play.settle()
    assert (play["a"].role, play["a"].term) == (Role.LEADER, 3)


def test_a_vote_that_comes_too_late_counts_for_nothing() -> None:
    play = Play("abc")
    play.wait(2 * TIMEOUT)
    play.act("a", play["a"].campaign)
    play.lose()
    play.receive("a", "b", VoteReply(1, 1, True, False))
    play.receive("a", "b", VoteReply(1, 2, True, False))
    assert play["a"].role is Role.PRE_CANDIDATE
    play.receive("a", "b", VoteReply(1, 2, True, True))
    assert play["a"].role.value == "candidate"
    play.receive("a", "c", VoteReply(1, 2, True, True))
    assert play["a"].role is Role.CANDIDATE, "a pre-vote is not a vote"


def test_a_stranger_s_vote_counts_for_nothing() -> None:
    play = Play("abc")
    play.wait(2 * TIMEOUT)
    play.act("a", play["a"].campaign)
    play.receive("a", "stranger", VoteReply(1, 2, True, True))
    assert play["a"].role is Role.PRE_CANDIDATE


def test_a_new_leader_appends_a_no_op() -> None:
    """Thesis 6.4: a leader commits a blank no-op entry at the start of its term."""
    play = Play("abc")
    play.elect("a")
    assert play["a"].log.entry(2) == LogEntry(2, 2, EntryKind.NOOP, b"")
    assert play["a"].commit == 2


def test_a_leader_sends_heartbeats_while_idle() -> None:
    """Leaders: "repeat during idle periods to prevent election timeouts"."""
    play = Play("abc")
    play.elect("a")
    play.wait(HEARTBEAT)
    play.tick("a")
    appends = [m for m in play.said("a") if isinstance(m, Append)]
    assert len(appends) == 2
    assert all(append.entries == () for append in appends)


def test_a_leader_answers_only_for_what_a_majority_has() -> None:
    """Leaders: "If there exists an N such that N > commitIndex, a majority of matchIndex[i] >= N,
    and log[N].term == currentTerm: set commitIndex = N"."""
    play = Play("abcde")
    play.elect("a")
    play.cut = {(name, "a") for name in "cde"}
    index = play.propose("a", b"x")
    play.settle()
    assert index == 3
    assert play["a"].commit == 2, "two of five"
    play.cut = {(name, "a") for name in "de"}
    play.heartbeat("a")
    assert play["a"].commit == 3, "three of five"


def test_a_leader_counts_itself_only_when_its_own_disk_has_the_entry() -> None:
    """Thesis 10.2.1 lets the leader write in parallel with its followers: then its own copy does
    not count before it is durable."""
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
    """Thesis 10.2.1: "The leader may even commit an entry before it has been written to its own
    disk, if a majority of followers have written it to their disks"."""
    play = Play("abc")
    play.elect("a")
    play.slow_disks = {"a"}
    play.propose("a", b"x")
    play.settle()
    assert play["a"].commit == 3


def test_figure_8_an_older_term_s_entry_is_not_committed_by_counting() -> None:
    """5.4.2 and Figure 8: a leader that finds an entry of an earlier term on a majority must not
    take it for committed until an entry of its own term is."""
    old = log_of(1, 2, voters="abcde")
    newer = (*log_of(1, voters="abcde"), entry(2, 3))
    logs = {"a": old, "b": old, "c": log_of(1, voters="abcde"), "e": newer}
    play = Play("abcde", logs=logs, terms=dict.fromkeys("abcde", 3))
    play.isolate("e")
    play.isolate("d")
    play.wait(2 * TIMEOUT)
    play.act("a", play["a"].campaign)
    while play["a"].role is not Role.LEADER:
        assert play.deliver()
    assert play["a"].term == 4
    play.lose()
    play.receive("a", "b", AppendReply(4, 4, 1, True, 2, 2))
    play.receive("a", "c", AppendReply(4, 4, 1, True, 2, 2))
    assert play["a"].commit == 0, "entry 2 is on three of five, but of term 2"
    play.receive("a", "b", AppendReply(4, 4, 2, True, 3, 3))
    play.receive("a", "c", AppendReply(4, 4, 2, True, 3, 3))
    assert play["a"].commit == 3, "the own term's no-op commits all before it"


def test_a_follower_far_behind_is_brought_up_to_date() -> None:
    """5.3: the leader finds the latest entry where the logs agree, and sends all after it."""
    logs = {
        "a": log_of(1, 1, 4, 4, 5, 5, 6),
        "b": log_of(1, 1, 1),
        "c": log_of(1, 2, 2, 2, 3, 3, 3),
    }
    play = Play("abc", logs=logs, terms=dict.fromkeys("abc", 6))
    play.elect("a")
    play.heartbeat("a")
    assert play.terms("a") == play.terms("b") == play.terms("c") == [1, 1, 4, 4, 5, 5, 6, 7]
    assert play["b"].commit == play["c"].commit == 8


def test_backtracking_takes_one_round_per_term() -> None:
    mine = log_of(1, *[3] * 50)
    theirs = log_of(1, *[2] * 60)
    play = Play("ab", logs={"a": mine, "b": theirs}, terms={"a": 3, "b": 2})
    play.elect("a")
    refusals = [fact for fact in play.actors["b"].facts if isinstance(fact, LogTruncated)]
    assert refusals == [LogTruncated(2)]
    progress = play["a"].leadership.progress[NodeId("b")]
    assert progress.match_index == 52
    assert progress.request <= 5, "not one Append for each of fifty entries"


def test_a_hint_below_the_match_index_is_followed() -> None:
    """Seed 2108 stalled: the follower named the first index of a term, which lay below what was
    known to match; taken for stale, it ended the conversation."""
    play = Play("ab")
    play.elect("a")
    for _ in range(3):
        play.propose("a", b"x")
    play.settle()
    progress = play["a"].leadership.progress[NodeId("b")]
    assert progress.match_index == 5
    play.cut = {("a", "b")}
    play.propose("a", b"lost on its way")
    play.heal()
    play.receive("a", "b", AppendReply(2, progress.request, False, 1))
    play.settle()
    assert progress.match_index == 6
    assert play["a"].commit == 6


def test_a_lost_append_is_sent_again() -> None:
    play = Play("abc")
    play.elect("a")
    play.propose("a", b"one")
    play.lose()
    play.propose("a", b"two")
    play.settle()
    assert play["a"].commit == 4
    play.heartbeat("a")
    assert play.terms("b") == play.terms("c") == [1, 2, 2, 2]


def test_unanswered_appends_are_bounded() -> None:
    play = Play("ab")
    play.elect("a")
    for number in range(CONFIG.inflight_max + 50):
        play.propose("a", b"%d" % number)
    unanswered = [m for m in play.said("a") if isinstance(m, Append)]
    assert len(unanswered) <= CONFIG.inflight_max
    play.settle()
    assert play["a"].commit == play["b"].log.last_index == CONFIG.inflight_max + 52


def test_a_leader_that_cannot_commit_takes_a_bounded_number_of_proposals() -> None:
    config = type(CONFIG)(uncommitted_max=10)
    play = Play("abc", config=config)
    play.elect("a")
    play.isolate("a")
    taken = [play.propose("a", b"x") for _ in range(15)]
    assert [index is not None for index in taken] == [True] * 10 + [False] * 5


def test_only_a_leader_takes_proposals() -> None:
    play = Play("abc")
    play.elect("a")
    assert play.propose("b", b"x") is None


# -- facts and pictures ------------------------------------------------------------------------


def test_roles_are_told_in_the_order_of_the_table() -> None:
    play = Play("abc")
    play.elect("a")
    roles = [fact.role for fact in play.actors["a"].facts if isinstance(fact, RoleChanged)]
    assert roles == ["pre_candidate", "candidate", "leader"]
    assert LeaderElected(2, NodeId("a")) in play.actors["b"].facts


def test_a_machine_shows_itself_in_one_line() -> None:
    play = Play("abc")
    play.elect("a")
    assert repr(play["a"]) == "<Raft a leader term=2 leader=a last=2 commit=2>"


def test_only_an_empty_log_can_be_founded() -> None:
    raft = Raft(NodeId("a"), CONFIG, Random(1), Restored(entries=log_of(1)), 0)
    with pytest.raises(AssertionError, match="founded"):
        raft.found(Turn(0, 0, 1))
