"""How long a leader leads: stickiness (thesis, 4.2.3), promises to a leader with a lease (6.4.1),
check-quorum (6.2), evidence that a leader is gone, and an operator's word."""

from __future__ import annotations

from random import Random

from raft_hand import CONFIG, Play, add_learner, log_of, nodes, vote_request

from protocol.config import PRESETS
from protocol.effects import HardState, Restored
from protocol.facts.agreement import LeaderElected, RoleChanged
from protocol.identity import NOBODY, NodeId
from protocol.messages.agreement import EntryKind, Learned, LogEntry, Resigned, VoteReply
from protocol.raft import Raft, Role
from protocol.raft.another_log import give_up_log, rescue_log

TIMEOUT = CONFIG.election_timeout_ns
HEARTBEAT = CONFIG.heartbeat_ns


def candidate(play: Play, name: str) -> None:
    """Let `name` win the pre-vote by one voice, and lose what else is on the wire."""
    play.wait(2 * TIMEOUT)
    play.act(name, play[name].elections.campaign)
    other = next(other for other in play.actors if other != name)
    play.deliver(name, other)
    play.deliver(other, name)
    assert play[name].role is Role.CANDIDATE
    play.lose()


# -- stickiness and promises -------------------------------------------------------------------


def test_whoever_hears_a_leader_refuses_even_a_higher_term() -> None:
    """Thesis 4.2.3: "if a server receives a RequestVote request within the minimum election timeout
    of hearing from a current leader, it does not update its term or grant its vote"."""
    play = Play("abc")
    play.elect("a")
    play.wait(TIMEOUT - 1)
    play.receive("b", "c", vote_request(9, 2, 2))
    assert play.reply("b") == VoteReply(2, 9, False, False)
    assert play["b"].term == 2
    play.wait(1)
    play.receive("b", "c", vote_request(9, 2, 2))
    assert play.reply("b") == VoteReply(9, 9, True, False)


def test_a_leader_is_not_disturbed_either() -> None:
    """Thesis 4.2.3: a removed server that does not know it must not depose the leader."""
    play = Play("abc")
    play.elect("a")
    play.wait(3 * TIMEOUT)
    play.receive("a", "c", vote_request(9, 9, 9))
    assert (play["a"].role, play["a"].term) == (Role.LEADER, 2)


def test_a_leader_s_own_wish_is_not_held_back() -> None:
    """Thesis 4.2.3: "the RequestVote request contains a special flag", for transfers (3.10)."""
    play = Play("abc")
    play.elect("a")
    play.receive("b", "c", vote_request(3, 2, 2, transfer=True))
    assert play.reply("b") == VoteReply(3, 3, True, False)


def test_evidence_of_the_leader_s_death_does_not_end_the_promise_to_it() -> None:
    """Thesis 6.4.1: it may answer reads from its lease, and the evidence may be wrong."""
    play = Play("abc")
    play.elect("a")
    for name in "bc":
        play.act(name, lambda turn, name=name: play[name].elections.lose_leader(turn, NodeId("a")))
    play.receive("b", "c", vote_request(3, 2, 2, pre=True))
    assert play.reply("b") == VoteReply(2, 3, False, True)
    play.wait(CONFIG.lease_ns)
    play.receive("b", "c", vote_request(3, 2, 2, pre=True))
    assert play.reply("b") == VoteReply(2, 3, True, True)


def test_a_promise_outlasts_its_term() -> None:
    """Thesis 6.4.1. The term goes up with any message, and with it the leader is forgotten, but not
    what it was promised (seed 5876)."""
    play = Play("abc")
    play.elect("a")
    play.receive("b", "c", VoteReply(3, 3, False, True))
    assert (play["b"].term, play["b"].leader) == (3, "")
    play.receive("b", "c", vote_request(3, 2, 2))
    assert play.reply("b") == VoteReply(3, 3, False, False)
    play.wait(CONFIG.lease_ns)
    play.receive("b", "c", vote_request(3, 2, 2))
    assert play.reply("b") == VoteReply(3, 3, True, False)


def test_a_node_promises_its_own_vote_too() -> None:
    """Asked to campaign while the leader may still rely on it, it waits."""
    play = Play("abc")
    play.elect("a")
    play.act("b", play["b"].elections.campaign)
    assert play["b"].role is Role.FOLLOWER
    assert play.said("b") == []
    assert play["b"].deadline() == play.now + CONFIG.lease_ns
    play.wait(CONFIG.lease_ns)
    play.tick("b")
    assert play["b"].role.value == "pre_candidate"


def test_a_promise_is_kept_over_a_restart() -> None:
    """Thesis 6.4.1: what was promised just before the crash is not known any more: wait as long."""
    play = Play("abc")
    play.elect("a")
    play.crash("b")
    play.receive("b", "c", vote_request(3, 2, 2))
    assert play.reply("b") == VoteReply(2, 3, False, False)
    play.wait(CONFIG.lease_ns)
    play.receive("b", "c", vote_request(3, 2, 2))
    assert play.reply("b") == VoteReply(3, 3, True, False)


# -- check-quorum ------------------------------------------------------------------------------


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


def test_a_leader_that_nobody_answers_tells_so_when_it_steps_down() -> None:
    """An asymmetric cut: it is heard, but hears nobody. Its followers need not find out."""
    play = Play("abc")
    play.elect("a")
    play.cut = {("b", "a"), ("c", "a")}
    while play["a"].role is Role.LEADER:
        play.wait(HEARTBEAT)
        play.tick("a")
        play.lose(receiver="b")
    assert Resigned(2) in play.said("a", "c")
    play.settle()
    assert play["c"].leader == NOBODY
    due = play["c"].deadline()
    assert due is not None
    assert due <= play.now + CONFIG.lease_ns + TIMEOUT // 4


def test_a_resignation_of_another_term_or_node_changes_nothing() -> None:
    play = Play("abc")
    play.elect("a")
    play.receive("b", "a", Resigned(1))
    play.receive("b", "c", Resigned(2))
    assert play["b"].leader == NodeId("a")


def test_a_leader_with_a_majority_stays() -> None:
    play = Play("abc")
    play.elect("a")
    play.isolate("c")
    for _ in range(30):
        play.heartbeat("a")
    assert play["a"].role is Role.LEADER


def test_learners_are_no_majority() -> None:
    play = Play("abcd", voters="abc", logs={"d": ()})
    play.elect("a")
    play.change("a", add_learner("d"))
    play.settle()
    play.cut = {("b", "a"), ("c", "a")}
    for _ in range(2 * TIMEOUT // HEARTBEAT + 1):
        play.heartbeat("a") if play["a"].leadership else None
    assert play["a"].role is Role.FOLLOWER


# -- evidence that the leader is gone ----------------------------------------------------------


def test_evidence_that_the_leader_is_gone_shortens_the_wait() -> None:
    play = Play("abc")
    play.elect("a")
    play.act("b", lambda turn: play["b"].elections.lose_leader(turn, NodeId("a")))
    deadline = play["b"].deadline()
    assert deadline is not None
    assert deadline < play.now + TIMEOUT
    assert play["b"].leader == NOBODY


def test_evidence_about_somebody_else_changes_nothing() -> None:
    play = Play("abc")
    play.elect("a")
    before = play["b"].deadline()
    play.act("b", lambda turn: play["b"].elections.lose_leader(turn, NodeId("c")))
    assert (play["b"].deadline(), play["b"].leader) == (before, NodeId("a"))


def test_a_seed_that_refuses_is_not_the_leader_that_is_gone() -> None:
    """Neither has a name: a node without a leader must not campaign for each refused call."""
    play = Play("abc")
    play.elect("a")
    play.isolate("b")
    play.wait(2 * TIMEOUT)
    play.tick("b")
    due = play["b"].deadline()
    play.act("b", lambda turn: play["b"].elections.lose_leader(turn, NOBODY))
    assert play["b"].deadline() == due


def test_a_forgotten_leader_is_followed_again_when_it_speaks() -> None:
    play = Play("abc")
    play.elect("a")
    play.act("b", play["b"].elections.forget_leader)
    assert play["b"].leader == NOBODY
    play.heartbeat("a")
    assert (play["b"].leader, play["b"].term) == (NodeId("a"), 2)


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


def test_a_new_leader_appends_a_no_op() -> None:
    """Thesis 6.4: a leader commits a blank no-op entry at the start of its term."""
    play = Play("abc")
    play.elect("a")
    assert play["a"].log.entry(2) == LogEntry(2, 2, EntryKind.NOOP, b"")
    assert play["a"].commit == 2


# -- an operator's word ------------------------------------------------------------------------


def test_a_rescued_log_goes_on_with_one_voter_in_a_term_that_nobody_has_used() -> None:
    play = Play("abc")
    play.elect("a")
    play.propose("a", b"x")
    play.settle()
    play.isolate("b")
    play.act("b", lambda turn: rescue_log(play["b"], turn))
    assert (play["b"].role, play["b"].term) == (Role.LEADER, 4)
    assert play["b"].status().voters == nodes("b")
    assert play["b"].configuration.epoch == 1
    assert play.commands("b") == [b"x"]


def test_a_log_that_is_given_up_leaves_the_term_and_the_vote() -> None:
    play = Play("abc")
    play.receive("b", "a", vote_request(5))
    play.act("b", lambda turn: give_up_log(play["b"], turn))
    assert play["b"].log.last_index == play["b"].commit == 0
    assert play.actors["b"].disk.hard_state == HardState(5, NodeId("a"))
    play.receive("b", "c", Learned(log_of(1, 1), 2, chain_of(log_of(1, 1))))
    assert play["b"].commit == 2


def chain_of(log: tuple[LogEntry, ...]) -> bytes:
    chain = Raft(NodeId("x"), CONFIG, Random(1), Restored(entries=log), 0).log.chain_at(len(log))
    assert chain is not None
    return chain


def test_roles_are_told_in_the_order_of_the_table() -> None:
    play = Play("abc")
    play.elect("a")
    roles = [fact.role for fact in play.actors["a"].facts if isinstance(fact, RoleChanged)]
    assert roles == ["pre_candidate", "candidate", "leader"]
    assert LeaderElected(2, NodeId("a")) in play.actors["b"].facts


def test_a_lease_is_shorter_than_an_election_timeout() -> None:
    """Or the promise could outlast the time-out, and nobody who is asked would say yes."""
    for preset in PRESETS.values():
        config = preset().raft
        assert config.lease_ns < config.election_timeout_ns
