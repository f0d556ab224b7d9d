"""Figure 2 of the Raft paper (Ongaro and Ousterhout 2014), one test and more for each of its rules;
those for leaders are in `test_raft_leaders`.
Bare section numbers are the paper's, "thesis" is Ongaro's. The group is driven by hand: see
`raft_hand`."""

from __future__ import annotations

import pytest
from raft_hand import CONFIG, Play, entry, log_of, vote_request

from protocol.effects import AppendEntries, HardState
from protocol.facts.agreement import LogTruncated
from protocol.identity import NOBODY, NodeId
from protocol.messages.agreement import (
    Append,
    AppendReply,
    EntryKind,
    LogEntry,
    SnapshotPart,
    SnapshotReply,
    VoteReply,
    VoteRequest,
)
from protocol.raft import Role

TIMEOUT = CONFIG.election_timeout_ns


# -- RequestVote -------------------------------------------------------------------------------


def test_a_request_of_an_older_term_is_refused() -> None:
    """RequestVote, rule 1: "Reply false if term < currentTerm"."""
    play = Play("abc", terms={"b": 5})
    play.receive("b", "a", vote_request(4))
    assert play.reply("b") == VoteReply(5, 4, False, False)


def test_follower_grants_one_vote_per_term() -> None:
    """RequestVote, rule 2: "If votedFor is null or candidateId, ... grant vote"."""
    play = Play("abc")
    play.receive("b", "a", vote_request(2))
    assert play.reply("b") == VoteReply(2, 2, True, False)
    play.receive("b", "c", vote_request(2))
    assert play.reply("b") == VoteReply(2, 2, False, False)


def test_a_repeated_request_gets_the_same_vote() -> None:
    """Rule 2 again: "or candidateId"; and a vote that is durable is not written again."""
    play = Play("abc")
    play.receive("b", "a", vote_request(2))
    turn = play.receive("b", "a", vote_request(2))
    assert play.reply("b") == VoteReply(2, 2, True, False)
    assert turn.records == []


def test_a_new_term_brings_a_new_vote() -> None:
    play = Play("abc")
    play.receive("b", "a", vote_request(2))
    play.receive("b", "c", vote_request(3))
    assert play.reply("b") == VoteReply(3, 3, True, False)


@pytest.mark.parametrize(
    ("last_index", "last_term", "granted"),
    [(3, 2, True), (9, 1, False), (2, 2, False), (1, 3, True), (4, 2, True)],
)
def test_only_an_up_to_date_candidate_gets_a_vote(
    last_index: int, last_term: int, granted: bool
) -> None:
    """Rule 2 and 5.4.1: the log with the later last term is more up to date; of equal terms, the
    longer."""
    play = Play("abc", logs={"b": log_of(1, 2, 2)})
    play.receive("b", "a", vote_request(9, last_index, last_term))
    assert play.reply("b") == VoteReply(9, 9, granted, False)


# -- AppendEntries -----------------------------------------------------------------------------


def test_an_append_of_an_older_term_is_refused_with_the_newer_term() -> None:
    """AppendEntries, rule 1: "Reply false if term < currentTerm"; 5.1: the stale leader steps down
    when it hears the term."""
    play = Play("abc", terms={"b": 5})
    play.receive("b", "a", Append(4, 1, 1, 1, (), 0))
    assert play.reply("b") == AppendReply(5, 4, 1, False, 0, 1)
    assert play["b"].leader == NOBODY


def test_an_append_that_does_not_connect_is_refused() -> None:
    """AppendEntries, rule 2: "Reply false if log doesn't contain an entry at prevLogIndex whose
    term matches prevLogTerm"."""
    play = Play("abc", logs={"b": log_of(1, 1)})
    play.receive("b", "a", Append(2, 1, 5, 1, (entry(6, 2),), 0))
    assert play.reply("b") == AppendReply(2, 2, 1, False, 3, 2)
    assert play["b"].log.last_index == 2


def test_conflicting_entries_are_replaced() -> None:
    """AppendEntries, rules 3 and 4: delete the existing entry and all that follow it, and append
    the new ones."""
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
    assert play.reply("b") == AppendReply(2, 2, 1, True, 2, 4)


def test_only_entries_that_are_not_there_yet_are_appended() -> None:
    """Rule 4: "Append any new entries not already in the log"."""
    play = Play("abc", logs={"b": log_of(1, 1)})
    both = (log_of(1, 1)[1], entry(3, 1, b"new"))
    turn = play.receive("b", "a", Append(1, 1, 1, 1, both, 0))
    assert turn.records == [AppendEntries((entry(3, 1, b"new"),))]
    assert play.reply("b") == AppendReply(1, 1, 1, True, 3, 3)


def test_the_commit_index_goes_no_further_than_what_is_known_to_match() -> None:
    """Rule 5: "set commitIndex = min(leaderCommit, index of last new entry)"."""
    play = Play("abc", logs={"b": log_of(1, 1, 1, 1)})
    play.receive("b", "a", Append(2, 1, 1, 1, (log_of(1, 1)[1],), 4))
    assert play["b"].commit == 2


def test_the_commit_index_never_goes_back() -> None:
    """Rule 5: "If leaderCommit > commitIndex"."""
    play = Play("abc", logs={"b": log_of(1, 1, 1)})
    play.receive("b", "a", Append(2, 1, 3, 1, (), 3))
    play.receive("b", "a", Append(2, 2, 3, 1, (), 1))
    assert play["b"].commit == 3


# -- state -------------------------------------------------------------------------------------


def test_a_vote_survives_a_crash() -> None:
    """Figure 2, State: currentTerm and votedFor are "updated on stable storage before
    responding"."""
    play = Play("abc")
    play.receive("b", "a", vote_request(2))
    play.crash("b")
    play.wait(CONFIG.lease_ns)
    play.receive("b", "c", vote_request(2))
    assert play.reply("b") == VoteReply(2, 2, False, False)


def test_a_log_survives_a_crash_and_the_commit_index_does_not() -> None:
    """Figure 2, State: log[] is persistent, commitIndex is volatile and "initialized to 0"."""
    play = Play("abc")
    play.receive("b", "a", Append(2, 1, 1, 1, (entry(2, 2),), 2))
    assert play["b"].commit == 2
    play.crash("b")
    assert (play["b"].term, play.terms("b"), play["b"].commit) == (2, [1, 2], 0)


def test_a_new_leader_supposes_that_all_have_its_log_and_knows_of_nothing() -> None:
    """Figure 2, State: nextIndex is "initialized to leader last log index + 1", matchIndex to 0;
    here the no-op (thesis 6.4) is sent with it at once."""
    play = Play("abc", logs=dict.fromkeys("abc", log_of(1, 1, 1)))
    play.cut = {(name, "a") for name in "bc"} - {("b", "a")}
    play.wait(2 * TIMEOUT)
    play.act("a", play["a"].elections.campaign)
    while play["a"].role is not Role.LEADER:
        assert play.deliver()
    assert (play.progress("a", "c").next_index, play.progress("a", "c").match_index) == (4, 0)
    assert play.said("a", "c")[-1] == Append(2, 2, 3, 1, (LogEntry(4, 2, EntryKind.NOOP, b""),), 0)


# -- rules for servers: all --------------------------------------------------------------------


def test_applied_entries_come_once_and_in_order() -> None:
    """All servers, rule 1: "If commitIndex > lastApplied: increment lastApplied, apply
    log[lastApplied]"."""
    play = Play("abc")
    play.elect("a")
    for number in range(5):
        play.propose("a", b"%d" % number)
    play.settle()
    play.heartbeat("a")
    for name in "abc":
        indexes = [item.index for item in play.actors[name].committed]
        assert indexes == [1, 2, 3, 4, 5, 6, 7]
        assert play.commands(name) == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize(
    "message",
    [
        AppendReply(7, 7, 1, False, 0, 0),
        SnapshotReply(7, 7, 1, 1, 0),
        VoteReply(7, 3, False, True),
        VoteReply(7, 3, False, False),
        vote_request(7, 2, 2, transfer=True),
        Append(7, 1, 2, 2, (), 0),
        SnapshotPart(7, 1, 9, b"", 100, 0, b"x"),
    ],
)
def test_a_higher_term_makes_a_follower(message: AppendReply) -> None:
    """All servers, rule 2: "If RPC request or response contains term T > currentTerm: set
    currentTerm = T, convert to follower". A request for a vote does so at a leader only if the
    leader itself has asked for it (thesis 4.2.3)."""
    play = Play("abc")
    play.elect("a")
    play.receive("a", "b", message)
    assert (play["a"].role, play["a"].term) == (Role.FOLLOWER, 7)
    vote = NodeId("b") if isinstance(message, VoteRequest) else NOBODY
    assert play.actors["a"].disk.hard_state == HardState(7, vote)


# -- followers ---------------------------------------------------------------------------------


def test_a_follower_answers_candidates_and_leaders() -> None:
    """Followers, rule 1: "Respond to RPCs from candidates and leaders"."""
    play = Play("abc")
    play.receive("b", "a", vote_request(2))
    play.receive("b", "a", Append(2, 1, 1, 1, (), 0))
    assert play.said("b", "a") == [VoteReply(2, 2, True, False), AppendReply(2, 2, 1, True, 1, 1)]


def test_a_follower_campaigns_after_an_election_timeout() -> None:
    """Followers, rule 2: "If election timeout elapses without receiving AppendEntries RPC from
    current leader or granting vote to candidate: convert to candidate"; drawn from [T, 2T)
    (5.2)."""
    play = Play("abc")
    deadline = play["a"].deadline()
    assert deadline is not None
    assert TIMEOUT <= deadline < 2 * TIMEOUT
    play.wait(deadline - play.now - 1)
    play.tick("a")
    assert play["a"].role is Role.FOLLOWER
    play.wait(1)
    play.tick("a")
    assert play["a"].role.value == "pre_candidate"


def test_an_append_restarts_the_election_timeout() -> None:
    """Followers, rule 2: "without receiving AppendEntries RPC from current leader"."""
    play = Play("abc")
    play.elect("a")
    for _ in range(20):
        play.heartbeat("a")
        play.tick("b")
        play.tick("c")
    assert {play[name].term for name in "abc"} == {2}


def test_a_granted_vote_restarts_the_election_timeout_and_a_refused_one_does_not() -> None:
    """Followers, rule 2: "or granting vote to candidate"."""
    play = Play("abc", logs={"b": log_of(1, 1)})
    due = play["b"].deadline()
    play.wait(TIMEOUT // 2)
    play.receive("b", "c", vote_request(2, last_index=1))
    assert play["b"].deadline() == due
    play.receive("b", "a", vote_request(2, last_index=2))
    later = play["b"].deadline()
    assert later is not None
    assert later >= play.now + TIMEOUT


# -- candidates --------------------------------------------------------------------------------


def test_a_candidate_raises_the_term_votes_for_itself_and_asks_all() -> None:
    """Candidates, rule 1: "increment currentTerm, vote for self, reset election timer, send
    RequestVote RPCs to all other servers"."""
    play = Play("abc")
    play.wait(2 * TIMEOUT)
    play.act("a", play["a"].elections.campaign)
    play.deliver("a", "b")
    play.deliver("b", "a")
    assert (play["a"].role, play["a"].term) == (Role.CANDIDATE, 2)
    assert play.actors["a"].disk.hard_state == HardState(2, NodeId("a"))
    due = play["a"].deadline()
    assert due == play.now + CONFIG.vote_repeat_ns, "those who do not answer are asked again"
    for name in "bc":
        assert vote_request(2, reach=1) in play.said("a", name)


def test_a_candidate_with_a_majority_leads() -> None:
    """Candidates, rule 2: "If votes received from majority of servers: become leader"."""
    play = Play("abcde")
    play.cut = {("a", "d"), ("a", "e")}
    play.elect("a")
    assert play["b"].leader == play["c"].leader == NodeId("a")


def test_a_candidate_that_hears_the_leader_follows() -> None:
    """Candidates, rule 3: "If AppendEntries RPC received from new leader: convert to follower"."""
    play = Play("abc")
    play.wait(2 * TIMEOUT)
    play.act("a", play["a"].elections.campaign)
    play.deliver("a", "b")
    play.deliver("b", "a")
    assert play["a"].role is Role.CANDIDATE
    play.receive("a", "c", Append(play["a"].term, 1, 1, 1, (), 0))
    assert (play["a"].role, play["a"].leader) == (Role.FOLLOWER, NodeId("c"))


def test_a_split_vote_is_asked_again_in_a_new_term() -> None:
    """Candidates, rule 4: "If election timeout elapses: start new election"; first it asks whether
    it could win (thesis 9.6)."""
    play = Play("abc")
    play.wait(2 * TIMEOUT)
    play.act("a", play["a"].elections.campaign)
    play.deliver("a", "b")
    play.deliver("b", "a")
    play.lose()
    play.wait(2 * TIMEOUT)
    play.tick("a")
    assert (play["a"].role, play["a"].term) == (Role.PRE_CANDIDATE, 2)
    play.settle()
    assert (play["a"].role, play["a"].term) == (Role.LEADER, 3)
