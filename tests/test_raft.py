"""Raft's rules, one test each. "Figure 2" and bare section numbers are the paper's (Ongaro and
Ousterhout 2014), "thesis" is Ongaro's. The group is driven by hand: see `raft_hand`."""

from __future__ import annotations

from random import Random

import pytest
from raft_hand import CONFIG, Play, entry, log_of, voters_entry

from protocol import codec
from protocol.effects import AppendEntries, HardState, Restored
from protocol.errors import RemoteProtocolError
from protocol.facts import LeaderElected, LogTruncated, RoleChanged, VotersChanged
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
from protocol.raft import Raft, Role
from protocol.raft_log import Configuration
from protocol.turn import Turn

TIMEOUT = CONFIG.election_timeout_ns
HEARTBEAT = CONFIG.heartbeat_ns


def vote_request(term: int, last_index: int = 1, last_term: int = 1) -> VoteRequest:
    return VoteRequest(term, last_index, last_term, pre=False)


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
    assert last_reply(play, "b") == AppendReply(5, 1, False, 0)
    assert play["b"].leader == NOBODY


def test_an_append_that_does_not_connect_is_refused() -> None:
    """AppendEntries, rule 2: "Reply false if log doesn't contain an entry at prevLogIndex whose
    term matches prevLogTerm"."""
    play = Play("abc", logs={"b": log_of(1, 1)})
    play.receive("b", "a", Append(2, 1, 5, 1, (entry(6, 2),), 0))
    assert last_reply(play, "b") == AppendReply(2, 1, False, 3)
    assert play["b"].log.last_index == 2


def test_a_refusal_names_the_first_index_of_the_conflicting_term() -> None:
    """5.3, last paragraphs: one round per conflicting term instead of one per entry."""
    play = Play("abc", logs={"b": log_of(1, 2, 2, 2, 2)})
    play.receive("b", "a", Append(4, 1, 5, 3, (), 0))
    assert last_reply(play, "b") == AppendReply(4, 1, False, 2)


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
    assert last_reply(play, "b") == AppendReply(2, 1, True, 2)


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
    assert play.said("b") == [AppendReply(1, 1, True, 2), AppendReply(1, 2, True, 2)]


def test_applied_entries_come_once_and_in_order() -> None:
    """All servers: "If commitIndex > lastApplied: increment lastApplied, apply log[lastApplied]"."""
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
    play.receive("a", "b", AppendReply(7, 1, False, 0))
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
    assert play["a"].role is Role.PRE_CANDIDATE


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
    assert play["a"].role is Role.CANDIDATE
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
    play.receive("a", "b", AppendReply(4, 1, True, 2))
    play.receive("a", "c", AppendReply(4, 1, True, 2))
    assert play["a"].commit == 0, "entry 2 is on three of five, but of term 2"
    play.receive("a", "b", AppendReply(4, 2, True, 3))
    play.receive("a", "c", AppendReply(4, 2, True, 3))
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
    progress = play["a"]._progress[NodeId("b")]
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
    progress = play["a"]._progress[NodeId("b")]
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


# -- beyond Figure 2: pre-vote, stickiness, check-quorum ---------------------------------------


def test_a_node_that_was_cut_off_does_not_disturb_the_team() -> None:
    """Thesis 9.6: with pre-vote a partitioned server does not raise its term, so its return
    deposes nobody."""
    play = Play("abc")
    play.elect("a")
    play.isolate("c")
    for _ in range(10):
        play.wait(TIMEOUT // 2)
        play.tick("c")
        play.tick("a")
        play.settle()
    assert play["c"].role is Role.PRE_CANDIDATE
    play.heal()
    play.heartbeat("a")
    assert (play["a"].role, play["a"].term) == (Role.LEADER, 2)
    assert play["c"].leader == NodeId("a")


def test_a_pre_vote_changes_nothing_at_the_voter() -> None:
    play = Play("abc")
    turn = play.receive("b", "a", VoteRequest(2, 1, 1, pre=True))
    assert last_reply(play, "b") == VoteReply(1, 2, True, True)
    assert turn.records == []
    assert (play["b"].term, play["b"].vote) == (1, NOBODY)


def test_whoever_hears_a_leader_refuses_even_a_higher_term() -> None:
    """Thesis 4.2.3: "if a server receives a RequestVote request within the minimum election timeout
    of hearing from a current leader, it does not update its term or grant its vote"."""
    play = Play("abc")
    play.elect("a")
    play.receive("b", "c", vote_request(9, 2, 2))
    assert last_reply(play, "b") == VoteReply(2, 9, False, False)
    assert play["b"].term == 2
    play.wait(TIMEOUT)
    play.receive("b", "c", vote_request(9, 2, 2))
    assert last_reply(play, "b") == VoteReply(9, 9, True, False)


def test_a_leader_without_a_majority_steps_down() -> None:
    """Thesis 6.2: "a leader steps down if an election timeout elapses without a successful round
    of heartbeats to a majority of its cluster"."""
    play = Play("abc")
    play.elect("a")
    play.heartbeat("a")
    play.isolate("a")
    for _ in range(2 * TIMEOUT // HEARTBEAT + 1):
        play.wait(HEARTBEAT)
        play.tick("a")
    assert (play["a"].role, play["a"].leader) == (Role.FOLLOWER, NOBODY)


def test_a_leader_with_a_majority_stays() -> None:
    play = Play("abc")
    play.elect("a")
    play.isolate("c")
    for _ in range(30):
        play.heartbeat("a")
    assert play["a"].role is Role.LEADER


def test_evidence_that_the_leader_is_gone_shortens_the_wait() -> None:
    play = Play("abc")
    play.elect("a")
    play.act("b", lambda turn: play["b"].lose_leader(turn, NodeId("a")))
    deadline = play["b"].deadline()
    assert deadline is not None
    assert deadline < play.now + TIMEOUT
    assert play["b"].leader == NOBODY


def test_evidence_about_somebody_else_changes_nothing() -> None:
    play = Play("abc")
    play.elect("a")
    before = play["b"].deadline()
    play.act("b", lambda turn: play["b"].lose_leader(turn, NodeId("c")))
    assert (play["b"].deadline(), play["b"].leader) == (before, NodeId("a"))


def test_a_new_leader_is_found_after_the_old_one_crashed() -> None:
    play = Play("abc")
    play.elect("a")
    play.propose("a", b"x")
    play.settle()
    play.isolate("a")
    play.elect("b")
    play.propose("b", b"y")
    play.settle()
    play.heal()
    play.heartbeat("b")
    assert play["a"].role is Role.FOLLOWER
    assert play.commands("a") == play.commands("b") == [b"x", b"y"]


def test_what_only_the_old_leader_had_is_gone() -> None:
    play = Play("abc")
    play.elect("a")
    play.isolate("a")
    play.propose("a", b"never committed")
    play.elect("b")
    play.heal()
    play.heartbeat("b")
    play.heartbeat("b")
    assert play.terms("a") == play.terms("b") == [1, 2, 3]
    assert b"never committed" not in play.commands("a")


# -- membership changes ------------------------------------------------------------------------


def change(play: Play, leader: str, voters: str) -> bool:
    answers: list[bool] = []
    chosen = tuple(NodeId(name) for name in voters)
    play.act(leader, lambda turn: answers.append(play[leader].change_voters(turn, chosen)))
    return answers[0]


def test_a_change_goes_through_a_joint_configuration() -> None:
    """Section 6: C-old,new first; C-new once that is committed."""
    play = Play("abcde", voters="abc", logs=dict.fromkeys("de", ()))
    play.elect("a")
    assert change(play, "a", "abcde")
    play.settle()
    play.heartbeat("a")
    seen = [fact for fact in play.actors["a"].facts if isinstance(fact, VotersChanged)]
    assert [(len(fact.voters), len(fact.outgoing)) for fact in seen] == [(5, 3), (5, 0)]
    assert play["e"].status().voters == tuple(NodeId(name) for name in "abcde")
    assert play["e"].commit == play["a"].commit


def test_a_joint_configuration_needs_both_majorities() -> None:
    """Section 6: "Agreement (for elections and entry commitment) requires separate majorities from
    both the old and new configurations"."""
    play = Play("abcde", voters="abc", logs=dict.fromkeys("de", ()))
    play.elect("a")
    play.cut = {(name, "a") for name in "bc"}
    change(play, "a", "ade")
    play.settle()
    assert play["d"].log.last_index == 3
    assert play["a"].commit == 2, "all of the new voters, one of the old"
    play.heal()
    play.heartbeat("a")
    assert play["a"].log.configuration == Configuration(tuple(NodeId(n) for n in "ade"))


def test_a_joint_election_needs_both_majorities() -> None:
    joint = Configuration(tuple(NodeId(n) for n in "ade"), tuple(NodeId(n) for n in "abc"))
    log = (*log_of(1), LogEntry(2, 1, EntryKind.VOTERS, codec.pack_value(joint)))
    play = Play("abcde", logs=dict.fromkeys("abcde", log))
    play.cut = {("a", "b"), ("a", "c")}
    play.wait(2 * TIMEOUT)
    play.act("a", play["a"].campaign)
    play.settle()
    assert play["a"].role is Role.PRE_CANDIDATE
    play.cut = {("a", "b")}
    play.elect("a")


def test_one_change_at_a_time() -> None:
    play = Play("abcde", voters="abc", logs=dict.fromkeys("de", ()))
    play.elect("a")
    play.isolate("a")
    assert change(play, "a", "abcd")
    assert not change(play, "a", "abcde")


def test_no_change_before_an_entry_of_the_own_term_is_committed() -> None:
    """The erratum to single-server changes (Ongaro, raft-dev 2015), kept for joint ones too."""
    play = Play("abc")
    play.wait(2 * TIMEOUT)
    play.act("a", play["a"].campaign)
    while play["a"].role is not Role.LEADER:
        assert play.deliver()
    assert not change(play, "a", "ab")


def test_no_change_to_nothing_and_none_to_the_same() -> None:
    play = Play("abc")
    play.elect("a")
    assert not change(play, "a", "")
    assert not change(play, "a", "cba")
    assert not change(play, "b", "ab")


def test_a_leader_that_is_no_longer_a_voter_steps_down_after_the_change() -> None:
    """Section 6: "the leader steps down (returns to follower state) once it has committed the C-new
    log entry"."""
    play = Play("abc")
    play.elect("a")
    assert change(play, "a", "bc")
    play.settle()
    assert play["a"].role is Role.FOLLOWER
    assert not play["a"].is_voter
    assert play["a"].deadline() is None, "it never campaigns again"
    play.elect("b")
    play.propose("b", b"x")
    play.settle()
    assert play.commands("c")[-1:] == play.commands("b")[-1:] == [b"x"]


def test_a_configuration_holds_from_the_moment_it_is_in_the_log() -> None:
    """Section 6: "a server always uses the latest configuration in its log, regardless of whether
    the entry is committed"; and an earlier one again when it is truncated."""
    play = Play("abc")
    play.receive("b", "a", Append(2, 1, 1, 1, (voters_entry("ab", 2, 2),), 0))
    assert play["b"].status().voters == (NodeId("a"), NodeId("b"))
    turn = play.receive("b", "c", Append(3, 1, 1, 1, (entry(2, 3),), 0))
    assert play["b"].status().voters == tuple(NodeId(n) for n in "abc")
    assert VotersChanged(1, tuple(NodeId(n) for n in "abc"), ()) in turn.facts


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
    play.receive("b", "l", LearnRequest(1))
    play.settle()
    assert play.commands("l") == [b"x", b"y"]
    assert play["l"].commit == play["b"].commit == 4
    assert play.actors["l"].disk.entries == play.actors["b"].disk.entries


def test_a_voter_teaches_unasked() -> None:
    play = taught()
    play.receive("b", "l", LearnRequest(1))
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
    play.receive("a", "l", LearnRequest(5))
    assert play.said("a") == []
    play.receive("a", "l", LearnRequest(0))
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
        play.receive("a", "b", AppendReply(2, 1, True, 99))


def test_a_malformed_lesson_is_refused() -> None:
    play = taught()
    with pytest.raises(RemoteProtocolError):
        play.receive("l", "b", Learned((*log_of(1), entry(3, 1)), 3))
    assert play["l"].log.last_index == 0


def test_no_message_makes_a_node_fail() -> None:
    """Whatever the numbers in a message are, the answer is an effect or RemoteProtocolError."""
    random = Random(1)
    refused = 0
    for number in range(400):
        play = taught() if number % 40 == 0 else play
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
