"""The council grows to an odd number of voters, one change at a time, by its leader alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from raft_hand import CONFIG, Play
from small_world import SmallWorld

from protocol.clocks import SECOND, Nanoseconds
from protocol.council import Council
from protocol.facts import MemberJoined, MemberRefuted
from protocol.identity import NodeId

JOINED = MemberJoined(NodeId("x"), "x", "x:1")


def founded(expected: int, others: str) -> tuple[Play, Council]:
    """Node `a` leads a council of one, and `others` wait outside."""
    play = Play("a" + others, voters="a", logs=dict.fromkeys(others, ()))
    play.elect("a")
    council = Council(CONFIG, expected, play.now)
    play.act("a", lambda turn: council.learn(turn, JOINED))
    return play, council


def decide(play: Play, council: Council, alive: str) -> int:
    """Let the council decide, and the group agree: how many voters there are then."""
    nodes = [NodeId(name) for name in alive]
    play.act("a", lambda turn: council.decide(turn, play["a"], nodes))
    play.settle()
    play.heartbeat("a")
    return len(play["a"].status().voters)


@pytest.mark.parametrize(
    ("others", "size"), [("", 1), ("b", 1), ("bc", 3), ("bcd", 3), ("bcde", 5), ("bcdefgh", 5)]
)
def test_the_council_is_odd_and_no_larger_than_its_full_size(others: str, size: int) -> None:
    play, council = founded(1 + len(others), others)
    assert decide(play, council, others) == size


def test_a_configured_size_is_kept() -> None:
    play, _ = founded(8, "bcdefgh")
    council = Council(replace(CONFIG, council_size=3), 8, play.now)
    play.act("a", lambda turn: council.learn(turn, JOINED))
    assert decide(play, council, "bcdefgh") == 3


def test_expected_nodes_are_waited_for_but_not_for_ever() -> None:
    play, council = founded(5, "bcde")
    assert decide(play, council, "bc") == 1
    deadline = council.deadline()
    assert deadline is not None
    assert 0 < deadline - play.now <= CONFIG.settle_ns
    play.now = deadline
    play.tick("a")
    assert decide(play, council, "bc") == 3


def test_only_the_leader_proposes() -> None:
    play, _ = founded(3, "bc")
    follower = Council(CONFIG, 3, play.now)
    play.act("b", lambda turn: follower.learn(turn, JOINED))
    turn = play.act("b", lambda turn: follower.decide(turn, play["b"], [NodeId("a"), NodeId("c")]))
    assert (turn.records, turn.before, turn.after) == ([], [], [])
    assert follower.deadline() is None


def test_a_change_that_cannot_be_made_yet_is_tried_again_soon() -> None:
    play, council = founded(5, "bcde")
    play.slow_disks = {"a"}
    play.act("a", lambda turn: play["a"].change_voters(turn, (NodeId("a"), NodeId("b"))))
    play.act("a", lambda turn: council.decide(turn, play["a"], [NodeId(n) for n in "bcde"]))
    assert council.deadline() == play.now + CONFIG.heartbeat_ns


def test_a_suspect_that_refutes_is_a_reason_to_look_again() -> None:
    play, council = founded(1, "bc")
    decide(play, council, "bc")
    assert council.deadline() is None
    play.act("a", lambda turn: council.learn(turn, MemberRefuted(NodeId("c"), 1)))
    assert council.deadline() == play.now


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8])
def test_a_team_of_any_size_gets_its_council(size: int) -> None:
    small = SmallWorld(size)
    voters = min(size, 5) - (1 - min(size, 5) % 2)
    for host in small.hosts:
        assert host.peer is not None
        assert len(host.peer.status().voters) == voters


def test_a_team_survives_the_loss_of_two_of_five_voters() -> None:
    small = SmallWorld(5)
    first = small.leader()
    assert first is not None
    first.crash()
    small.run(5 * SECOND)
    second = small.leader()
    assert second is not None
    assert second is not first
    second.crash()
    within: Nanoseconds = 10 * SECOND
    assert small.run(within, lambda: small.leader() not in (None, first, second))
