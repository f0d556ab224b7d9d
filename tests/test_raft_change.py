"""Raft beyond Figure 2: pre-vote, stickiness, check-quorum, and changes of the voters."""

from __future__ import annotations

from raft_hand import CONFIG, Play, entry, log_of, voters_entry

from protocol import codec
from protocol.configuration import Configuration
from protocol.facts import VotersChanged
from protocol.identity import NOBODY, NodeId
from protocol.messages import (
    Append,
    EntryKind,
    LogEntry,
    Message,
    VoteReply,
    VoteRequest,
)
from protocol.raft import Role

TIMEOUT = CONFIG.election_timeout_ns
HEARTBEAT = CONFIG.heartbeat_ns


def vote_request(term: int, last_index: int = 1, last_term: int = 1) -> VoteRequest:
    return VoteRequest(term, last_index, last_term, pre=False, transfer=False, reach=0)


def last_reply(play: Play, name: str) -> Message:
    return play.said(name)[-1]


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
    turn = play.receive("b", "a", VoteRequest(2, 1, 1, pre=True, transfer=False, reach=0))
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
