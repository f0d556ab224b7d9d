"""Linearizable reads: ReadIndex (thesis, 6.4) and leases (6.4.1)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from raft_hand import CONFIG, Play, add, log_of, remove

from protocol.errors import Busy, NotLeader
from protocol.identity import NodeId
from protocol.messages.agreement import Append, AppendReply
from protocol.raft import Role

TIMEOUT = CONFIG.election_timeout_ns
LEASE = CONFIG.lease_ns
USABLE = LEASE - int(LEASE * CONFIG.lease_margin)


def led(names: str = "abc") -> Play:
    """`a` leads, entry 3 is committed everywhere, and all leases have ended."""
    play = Play(names)
    play.elect("a")
    play.propose("a", b"x")
    play.settle()
    play.wait(LEASE)
    return play


# -- ReadIndex ---------------------------------------------------------------------------------


def test_a_read_waits_for_a_majority_s_answer() -> None:
    """6.4, step 3: "it sends a round of heartbeats and waits for their acknowledgments from a
    majority of the cluster"."""
    play = led()
    play.read("a", "one")
    assert play.reads("a") == []
    play.deliver("a", "b")
    assert play.reads("a") == []
    play.deliver("b", "a")
    assert play.reads("a") == [("one", 3)]


def test_a_read_is_answered_at_the_commit_index_of_when_it_was_asked() -> None:
    """6.4, step 2: "The leader saves its current commit index in a local variable readIndex"."""
    play = led()
    play.read("a", "one")
    play.propose("a", b"y")
    play.settle()
    assert play["a"].commit == 4
    assert play.reads("a") == [("one", 3)]


def test_an_answer_to_what_was_sent_before_the_read_does_not_count() -> None:
    """6.4: it proves only that nobody else led before the read was asked."""
    play = led()
    play.wait(CONFIG.heartbeat_ns)
    play.tick("a")
    heartbeats = [m for m in play.said("a") if isinstance(m, Append)]
    play.read("a", "one")
    play.lose()
    for name, heartbeat in zip("bc", heartbeats, strict=True):
        play.receive("a", name, AppendReply(2, 2, heartbeat.request, True, 3, 3))
    assert play.reads("a") == []


def test_a_deposed_leader_that_does_not_know_it_answers_no_read() -> None:
    """6.4: "information could be stale" while a newer leader commits."""
    play = led()
    play.isolate("a")
    play.elect("b")
    play.propose("b", b"newer")
    play.settle()
    assert play["a"].role is Role.LEADER
    play.read("a", "one")
    play.settle()
    assert play.reads("a") == []
    play.heal()
    play.propose("a", b"too late")
    play.settle()
    assert play["a"].role is Role.FOLLOWER
    assert play.reads("a") == []


def test_a_new_leader_answers_reads_once_an_entry_of_its_term_is_committed() -> None:
    """6.4, step 1: "If the leader has not yet marked an entry from its current term committed, it
    waits until it has done so": until then it does not know the latest commit index."""
    play = Play("abc", logs=dict.fromkeys("abc", log_of(1, 1)))
    play.wait(2 * TIMEOUT)
    play.act("a", play["a"].elections.campaign)
    while play["a"].role is not Role.LEADER:
        assert play.deliver()
    play.read("a", "early")
    play.read("a", "early, by lease", lease=True)
    assert play.reads("a") == []
    play.settle()
    assert sorted(play.reads("a"), key=str) == [("early", 3), ("early, by lease", 3)]


def test_one_round_serves_all_reads_that_came_before_it() -> None:
    """6.4: "the leader can ... accumulate any number of read-only queries" for one round."""
    play = led()
    play.read("a", 0)
    sent = play.leadership("a").request
    for number in range(1, 50):
        play.read("a", number)
    assert play.leadership("a").request == sent, "they wait for the next round"
    play.settle()
    assert play.leadership("a").request == sent + 2
    assert [context for context, _ in play.reads("a")] == list(range(50))


def test_a_lost_round_is_made_good_by_the_next_heartbeat() -> None:
    play = led()
    play.read("a", "one")
    play.lose()
    play.heartbeat("a")
    assert play.reads("a") == [("one", 3)]


def test_a_follower_whose_log_does_not_match_confirms_reads_all_the_same() -> None:
    """What counts is that it follows this leader, not what it has."""
    play = led()
    play.cut = {("a", "b"), ("a", "c")}
    play.propose("a", b"lost on its way")
    play.lose()
    play.heal()
    play.isolate("c")
    play.read("a", "one")
    play.deliver("a", "b")
    reply = play.said("b")[-1]
    assert isinstance(reply, AppendReply)
    assert not reply.success
    play.deliver("b", "a")
    assert play.reads("a") == [("one", 3)]


def test_a_single_voter_reads_at_once() -> None:
    play = Play("a")
    play.elect("a")
    play.read("a", "one")
    assert play.reads("a") == [("one", 2)]


def test_reads_that_wait_are_bounded() -> None:
    play = Play("abc", config=replace(CONFIG, reads_max=3))
    play.elect("a")
    play.wait(LEASE)
    for number in range(3):
        play.read("a", number)
    with pytest.raises(Busy):
        play.read("a", 3)
    play.settle()
    play.read("a", 4)


def test_only_a_leader_is_asked_for_reads() -> None:
    play = led()
    with pytest.raises(NotLeader):
        play.read("b", "one")


def test_in_a_joint_configuration_both_majorities_confirm_a_read() -> None:
    play = Play("abcde", voters="abc", logs=dict.fromkeys("de", ()))
    play.elect("a")
    play.cut = {(name, "a") for name in "bc"}
    play.change("a", add("d"), add("e"), remove("b"), remove("c"))
    play.settle()
    play.wait(LEASE)
    play.read("a", "one")
    play.settle()
    assert play.reads("a") == [], "all of the new voters, one of the old"
    play.heal()
    play.heartbeat("a")
    assert [context for context, _ in play.reads("a")] == ["one"]


def test_reads_do_not_wait_for_voters_that_are_voted_out() -> None:
    play = Play("ab")
    play.elect("a")
    play.isolate("b")
    play.wait(LEASE)
    play.read("a", "one")
    assert play.reads("a") == []
    play.change("a", remove("b"))
    assert play.reads("a") == [("one", 2)]


# -- leases ------------------------------------------------------------------------------------


def test_a_lease_answers_a_read_at_once() -> None:
    """6.4.1: "the leader can rely on its lease ... without any network communication"."""
    play = led()
    play.heartbeat("a")
    sent = play.leadership("a").request
    play.read("a", "one", lease=True)
    assert play.reads("a") == [("one", 3)]
    assert play.leadership("a").request == sent


def test_a_lease_counts_from_when_the_heartbeat_was_sent() -> None:
    """6.4.1: "the leader's lease would be extended to start + election timeout / clock drift
    bound", where start is when the heartbeat was sent: its answer may have taken long."""
    play = led()
    play.wait(CONFIG.heartbeat_ns)
    play.tick("a")
    play.wait(LEASE // 2)
    play.settle()
    play.wait(USABLE - LEASE // 2 - 1)
    play.read("a", "in time", lease=True)
    assert play.reads("a") == [("in time", 3)]
    play.wait(1)
    play.read("a", "late", lease=True)
    assert play.reads("a") == [("in time", 3)]


def test_a_lease_ends_before_the_promise_by_a_margin_for_clocks() -> None:
    """6.4.1: leases assume "a bound on clock drift across servers"."""
    play = led()
    play.wait(CONFIG.heartbeat_ns)
    play.tick("a")
    play.settle()
    play.wait(USABLE)
    assert play["b"].elections.is_promised(play.now), "the voters' promise goes on"
    play.read("a", "one", lease=True)
    assert play.reads("a") == []


def test_nobody_is_elected_while_a_lease_lasts() -> None:
    """The whole of it: cut the leader off, and let all others try at once, as early as they may."""
    play = led()
    play.heartbeat("a")
    play.isolate("a")
    for name in "bc":
        play.act(name, lambda turn, name=name: play[name].elections.lose_leader(turn, NodeId("a")))
        play.act(name, play[name].elections.campaign)
    for _ in range(2_000):
        play.wait(LEASE // 20)
        for name in "bc":
            play.tick(name)
        play.settle()
        before = len(play.reads("a"))
        if play["a"].leadership:
            play.read("a", "by lease", lease=True)
        if any(play[name].role is Role.LEADER for name in "bc"):
            break
    else:
        raise AssertionError("nobody was ever elected")
    assert before, "the lease was good for something"
    assert len(play.reads("a")) == before, "a stale read"


def test_a_lease_needs_a_majority_s_promise() -> None:
    play = led("abcde")
    play.cut = {(name, "a") for name in "cde"}
    play.wait(CONFIG.heartbeat_ns)
    play.tick("a")
    play.settle()
    play.read("a", "one", lease=True)
    assert play.reads("a") == []


def test_a_leader_that_asked_somebody_to_campaign_has_no_lease_any_more() -> None:
    """6.4.1 and 3.10: the election that it asked for is held back by no promise."""
    play = led()
    play.heartbeat("a")
    play.transfer("a", "b")
    play.read("a", "one", lease=True)
    assert play.reads("a") == []
    play.lose()
    while play.leadership("a").transferee:
        play.heartbeat("a")
    before = play.reads("a")[:]
    play.read("a", "two", lease=True)
    assert play.reads("a") == before, "its request may arrive however late"


def test_a_promise_counts_from_the_last_word_of_the_leader() -> None:
    play = led()
    play.heartbeat("a")
    assert play["b"].elections.is_promised(play.now + LEASE - 1)
    assert not play["b"].elections.is_promised(play.now + LEASE)
