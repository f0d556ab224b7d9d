"""Figure 2 of the Raft paper, the rules for leaders, and what follows from them. Bare section
numbers are the paper's, "thesis" is Ongaro's."""

from __future__ import annotations

from raft_hand import CONFIG, Play, entry, log_of

from protocol.identity import NodeId
from protocol.messages.agreement import Append, AppendReply, EntryKind, LogEntry
from protocol.raft import Role

TIMEOUT = CONFIG.election_timeout_ns
HEARTBEAT = CONFIG.heartbeat_ns


# -- leaders -----------------------------------------------------------------------------------


def test_a_leader_speaks_at_once_and_then_regularly() -> None:
    """Leaders, rule 1: "Upon election: send initial empty AppendEntries RPCs (heartbeat) to each
    server; repeat during idle periods to prevent election timeouts". The first one is not empty:
    it has the no-op."""
    play = Play("abc")
    play.elect("a")
    assert play["b"].leader == play["c"].leader == NodeId("a")
    play.wait(HEARTBEAT)
    play.tick("a")
    for name in "bc":
        [append] = [m for m in play.said("a", name) if isinstance(m, Append)]
        assert append.entries == ()


def test_a_leader_answers_after_the_command_is_committed() -> None:
    """Leaders, rule 2: "append entry to local log, respond after entry applied to state
    machine"."""
    play = Play("abc")
    play.elect("a")
    assert play.propose("a", b"x") == 3
    assert play["a"].log.entry(3) == LogEntry(3, 2, EntryKind.COMMAND, b"x")
    assert play.commands("a") == []
    play.settle()
    assert play.commands("a") == [b"x"]


def test_a_follower_gets_all_that_it_lacks() -> None:
    """Leaders, rule 3: "If last log index >= nextIndex for a follower: send AppendEntries RPC with
    log entries starting at nextIndex"; "if successful: update nextIndex and matchIndex"."""
    play = Play("ab")
    play.elect("a")
    play.propose("a", b"x")
    assert play.said("a")[-1] == Append(2, 2, 2, 2, (entry(3, 2, b"x"),), 2)
    play.settle()
    assert (play.progress("a", "b").next_index, play.progress("a", "b").match_index) == (4, 3)


def test_after_a_refusal_the_leader_tries_further_back() -> None:
    """Leaders, rule 3: "If AppendEntries fails because of log inconsistency: decrement nextIndex
    and retry"."""
    play = Play("ab", logs={"a": log_of(1, 1, 1), "b": log_of(1)}, terms={"b": 1})
    play.elect("a")
    assert play.terms("b") == [1, 1, 1, 2]
    assert play["b"].commit == 4


def test_a_leader_commits_what_a_majority_has() -> None:
    """Leaders, rule 4: "If there exists an N such that N > commitIndex, a majority of
    matchIndex[i] >= N, and log[N].term == currentTerm: set commitIndex = N"."""
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


def test_figure_8_an_older_term_s_entry_is_not_committed_by_counting() -> None:
    """Leaders, rule 4, 5.4.2 and Figure 8: a leader that finds an entry of an earlier term on a
    majority must not take it for committed until an entry of its own term is."""
    old = log_of(1, 2, voters="abcde")
    newer = (*log_of(1, voters="abcde"), entry(2, 3))
    logs = {"a": old, "b": old, "c": log_of(1, voters="abcde"), "e": newer}
    play = Play("abcde", logs=logs, terms=dict.fromkeys("abcde", 3))
    play.isolate("e")
    play.isolate("d")
    play.wait(2 * TIMEOUT)
    play.act("a", play["a"].elections.campaign)
    while play["a"].role is not Role.LEADER:
        assert play.deliver()
    assert play["a"].term == 4
    play.lose()
    play.receive("a", "b", AppendReply(4, 4, 1, True, 2, 2))
    play.receive("a", "c", AppendReply(4, 4, 2, True, 2, 2))
    assert play["a"].commit == 0, "entry 2 is on three of five, but of term 2"
    play.receive("a", "b", AppendReply(4, 4, 3, True, 3, 3))
    play.receive("a", "c", AppendReply(4, 4, 4, True, 3, 3))
    assert play["a"].commit == 3, "the own term's no-op commits all before it"


def test_a_leader_never_shortens_its_log() -> None:
    """Figure 3, Leader Append-Only: what a deposed leader has is given up only as a follower."""
    play = Play("abc")
    play.elect("a")
    play.isolate("a")
    play.propose("a", b"lonely")
    play.elect("b")
    play.heal()
    play.heartbeat("b")
    facts = [str(fact) for fact in play.actors["a"].facts]
    truncated = next(at for at, fact in enumerate(facts) if "LogTruncated" in fact)
    followed = max(at for at, fact in enumerate(facts) if "role=follower" in fact)
    assert followed < truncated
    assert play.terms("a") == play.terms("b") == [1, 2, 3]


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
