"""Elections beyond Figure 2: founding, votes that count for nothing, pre-vote (thesis, 9.6), and
candidates that say how many they reach."""

from __future__ import annotations

from random import Random

import pytest
from raft_hand import CONFIG, Play, add_learner, entry, log_of, nodes, remove, vote_request

from protocol.effects import Restored
from protocol.identity import NOBODY, NodeId
from protocol.messages.agreement import Append, VoteReply, VoteRequest
from protocol.raft import Raft, Role
from protocol.raft.another_log import give_up_log
from protocol.turn import Turn

TIMEOUT = CONFIG.election_timeout_ns


def candidate(play: Play, name: str) -> None:
    """Let `name` win the pre-vote by one voice, and lose what else is on the wire."""
    play.wait(2 * TIMEOUT)
    play.act(name, play[name].elections.campaign)
    other = next(other for other in play.actors if other != name)
    play.deliver(name, other)
    play.deliver(other, name)
    assert play[name].role is Role.CANDIDATE
    play.lose()


# -- founding ----------------------------------------------------------------------------------


def test_a_founder_leads_as_soon_as_its_disk_has_written() -> None:
    play = Play("a", logs={"a": ()})
    play.act("a", play["a"].found)
    assert play["a"].role is Role.LEADER
    assert play["a"].status().voters == nodes("a")
    assert play["a"].commit == 2, "the configuration and the no-op"


def test_only_an_empty_log_can_be_founded() -> None:
    raft = Raft(NodeId("a"), CONFIG, Random(1), Restored(entries=log_of(1)), 0)
    with pytest.raises(AssertionError, match="founded"):
        raft.found(Turn(0, 0, 1))


def test_a_term_never_goes_back_even_for_another_log() -> None:
    play = Play("a", logs={"a": ()}, terms={"a": 7})
    play.act("a", play["a"].found)
    assert (play["a"].role, play["a"].term, play.terms("a")) == (Role.LEADER, 8, [1, 8])
    play.act("a", lambda turn: give_up_log(play["a"], turn))
    play.act("a", play["a"].found)
    assert play["a"].term == 9


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


def test_a_single_voter_leads_only_when_its_term_is_durable() -> None:
    """It needs nobody's answer, but it has a learner. If it sent entries of a term that a crash
    takes from it, it would lead that term again, with other entries of the same index and term."""
    first = log_of(1, voters="a")
    play = Play("ab", logs={"a": first, "b": first})
    play.elect("a")
    play.change("a", add_learner("b"))
    play.settle()
    play.crash("a")
    play.slow_disks = {"a"}
    play.wait(2 * TIMEOUT)
    play.tick("a")
    play.propose("a", b"lost")
    play.settle()
    assert play["a"].role is Role.CANDIDATE
    assert play["b"].log.last_index == 3
    play.crash("a")
    play.slow_disks = set()
    play.elect("a")
    play.propose("a", b"kept")
    play.settle()
    play.heartbeat("a")
    assert play.commands("a") == play.commands("b") == [b"kept"]


def test_a_candidate_does_not_raise_the_term_again_before_it_has_asked() -> None:
    """Its own vote must be durable first; a slow disk would turn each time-out into a term."""
    play = Play("abc")
    play.slow_disks = {"a"}
    play.wait(2 * TIMEOUT)
    play.act("a", play["a"].elections.campaign)
    play.settle()
    assert (play["a"].role, play["a"].term) == (Role.CANDIDATE, 2)
    play.wait(CONFIG.disk_stall_ns)
    play.tick("a")
    assert (play["a"].role, play["a"].term) == (Role.CANDIDATE, 2)
    play.write("a")
    play.settle()
    assert (play["a"].role, play["a"].term) == (Role.LEADER, 2)


def test_a_node_with_an_empty_log_never_campaigns() -> None:
    play = Play("a", logs={"a": ()})
    assert play["a"].deadline() is None
    play.wait(10 * TIMEOUT)
    play.tick("a")
    play.act("a", play["a"].elections.campaign)
    assert play["a"].role is Role.FOLLOWER


# -- votes that count for nothing --------------------------------------------------------------


def test_election_timeouts_differ() -> None:
    """5.2: "Raft uses randomized election timeouts to ensure that split votes are rare"."""
    deadlines = {Play(name)[name].deadline() for name in "abcdefgh"}
    assert len(deadlines) > 5


def test_a_candidate_without_a_majority_never_leads() -> None:
    play = Play("abcde")
    play.cut = {("a", "c"), ("a", "d"), ("a", "e")}
    for _ in range(5):
        play.wait(2 * TIMEOUT)
        play.tick("a")
        play.settle()
        assert play["a"].role is Role.PRE_CANDIDATE
    assert play["a"].term == 1, "a pre-candidate does not raise the term (thesis, 9.6)"


def test_a_vote_that_comes_too_late_counts_for_nothing() -> None:
    play = Play("abc")
    play.wait(2 * TIMEOUT)
    play.act("a", play["a"].elections.campaign)
    play.lose()
    play.receive("a", "b", VoteReply(1, 1, True, False))
    play.receive("a", "b", VoteReply(1, 2, True, False))
    assert play["a"].role is Role.PRE_CANDIDATE
    play.receive("a", "b", VoteReply(1, 2, True, True))
    assert play["a"].role.value == "candidate"
    play.receive("a", "c", VoteReply(1, 2, True, True))
    assert play["a"].role is Role.CANDIDATE, "a pre-vote is not a vote"


def test_a_vote_of_an_earlier_term_counts_for_nothing() -> None:
    play = Play("abc")
    candidate(play, "a")
    play.wait(2 * TIMEOUT)
    play.tick("a")
    play.deliver("a", "b")
    play.deliver("b", "a")
    assert (play["a"].role, play["a"].term) == (Role.CANDIDATE, 3)
    play.receive("a", "c", VoteReply(2, 2, True, False))
    assert play["a"].role is Role.CANDIDATE


def test_a_stranger_s_vote_counts_for_nothing() -> None:
    play = Play("abc")
    play.wait(2 * TIMEOUT)
    play.act("a", play["a"].elections.campaign)
    play.receive("a", "stranger", VoteReply(1, 2, True, True))
    assert play["a"].role is Role.PRE_CANDIDATE


def test_a_candidate_that_learns_that_it_is_no_voter_any_more_does_not_win() -> None:
    """Votes may come after it has been taught a configuration without it."""
    play = Play("abcl", voters="abc", logs={"l": ()})
    play.elect("a")
    play.isolate("c")
    play.change("a", remove("c"))
    play.settle()
    play.heartbeat("a")
    play.wait(2 * TIMEOUT)
    play.tick("c")
    assert play["c"].role is Role.PRE_CANDIDATE
    play.heal()
    play.act("b", lambda turn: play["b"].following.teach(turn, NodeId("c"), 1))
    play.settle()
    play.receive("c", "a", VoteReply(1, 2, True, True))
    play.receive("c", "b", VoteReply(1, 2, True, True))
    assert not play["c"].is_voter
    assert play["c"].role is Role.PRE_CANDIDATE
    assert play["c"].deadline() is None


def test_a_silent_voter_is_asked_again() -> None:
    play = Play("abc")
    candidate(play, "a")
    play.wait(CONFIG.vote_repeat_ns)
    play.tick("a")
    assert [m for m in play.said("a") if isinstance(m, VoteRequest)] == 2 * [
        vote_request(2, reach=1)
    ]


def test_who_is_no_voter_by_its_own_log_votes_all_the_same() -> None:
    """Thesis 4.2.2: a server grants votes "for servers that are not part of the receiver's current
    configuration", and one that does not know yet that it is a voter may be needed."""
    play = Play("ab", voters="ab", logs={"b": ()})
    play.receive("b", "a", vote_request(2))
    assert play.reply("b") == VoteReply(2, 2, True, False)


# -- pre-vote ----------------------------------------------------------------------------------


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
    """Thesis 9.6: it asks "whether its log is sufficiently up-to-date" and no more."""
    play = Play("abc")
    due = play["b"].deadline()
    turn = play.receive("b", "a", vote_request(2, pre=True))
    assert play.reply("b") == VoteReply(1, 2, True, True)
    assert turn.records == []
    assert (play["b"].term, play["b"].vote, play["b"].deadline()) == (1, NOBODY, due)


@pytest.mark.parametrize(
    ("request_", "granted"),
    [
        (vote_request(3, 2, 2, pre=True), True),
        (vote_request(2, 2, 2, pre=True), False),  # the voter's term is that already
        (vote_request(3, 1, 1, pre=True), False),  # its log is longer
    ],
)
def test_a_pre_vote_is_granted_where_a_vote_would_be(request_: VoteRequest, granted: bool) -> None:
    play = Play("abc", logs={"b": log_of(1, 2)})
    play.receive("b", "a", request_)
    assert play.reply("b") == VoteReply(2, request_.term, granted, True)


def test_pre_votes_are_given_to_many() -> None:
    play = Play("abc")
    for name in "ac":
        play.receive("b", name, vote_request(2, pre=True))
        assert play.reply("b") == VoteReply(1, 2, True, True)


def test_a_majority_that_is_connected_finds_a_leader_whatever_its_terms() -> None:
    """The one with the highest term may have the shortest log: it cannot win, and must not keep
    the others from it."""
    longer = log_of(1, 1, 1)
    play = Play("abc", logs={"a": longer, "b": longer}, terms={"c": 9})
    play.isolate("b")
    for _ in range(4):
        play.wait(2 * TIMEOUT)
        if play["a"].role is not Role.LEADER:
            play.tick("a")
            play.settle()
    assert (play["a"].role, play["a"].term) == (Role.LEADER, 10)


# -- who reaches more --------------------------------------------------------------------------


def reach_play(reach: int, length: int = 1) -> Play:
    play = Play("abcde", logs={"b": log_of(*[1] * length, voters="abcde")})
    play["b"].reach = reach
    return play


def test_who_reaches_a_majority_prefers_itself_to_who_does_not() -> None:
    play = reach_play(5)
    play.receive("b", "a", vote_request(2, pre=True, reach=2))
    assert play.reply("b") == VoteReply(1, 2, False, True)
    play.receive("b", "a", vote_request(2, pre=True, reach=3))
    assert play.reply("b") == VoteReply(1, 2, True, True)


def test_the_reach_matters_only_before_the_vote() -> None:
    play = reach_play(5)
    play.receive("b", "a", vote_request(2, reach=2))
    assert play.reply("b") == VoteReply(2, 2, True, False)


def test_the_reach_does_not_outweigh_a_longer_log() -> None:
    """The hub of a star with a log that is behind cannot win itself: if it refused the others for
    their reach, nobody could."""
    play = reach_play(5)
    play.receive("b", "a", vote_request(2, 2, 1, pre=True, reach=2))
    assert play.reply("b") == VoteReply(1, 2, True, True)


def test_who_has_a_hung_disk_lets_others_lead_whatever_they_reach() -> None:
    play = reach_play(5)
    play.slow_disks = {"b"}
    play.receive("b", "c", Append(1, 1, 1, 1, (entry(2, 1),), 0))
    play.wait(CONFIG.disk_stall_ns + 1)
    turn = play.receive("b", "a", vote_request(2, 2, 1, pre=True, reach=2))
    assert turn.after[-1][2] == VoteReply(1, 2, True, True)
