"""The council: an odd number of voters in good health, by its leader, one change at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from raft_hand import CONFIG, Play
from small_world import SmallWorld

from protocol.clocks import SECOND, Nanoseconds
from protocol.configuration import Change, ChangeKind
from protocol.council import Council, Standing
from protocol.facts.membership import MemberFailed, MemberJoined, MemberRefuted
from protocol.identity import NodeId

JOINED = MemberJoined(NodeId("x"), "x", "x:1")
WELL = Standing(healthy=True)
Team = dict[NodeId, Standing]


def team(names: str, standing: Standing = WELL) -> Team:
    return {NodeId(name): standing for name in names}


def founded(expected: int, others: str) -> tuple[Play, Council]:
    """Node `a` leads a council of one, and `others` wait outside."""
    play = Play("a" + others, voters="a", logs=dict.fromkeys(others, ()))
    play.elect("a")
    council = Council(CONFIG, expected, play.now)
    play.act("a", lambda turn: council.learn(turn, JOINED))
    return play, council


def decide(play: Play, council: Council, others: Team, rounds: int = 3) -> int:
    """Let the council decide, and the group agree, a few times: how many voters there are then."""
    for _ in range(rounds):
        play.act("a", lambda turn: council.look_again(turn.now))
        play.act("a", lambda turn: council.decide(turn, play["a"], others))
        play.settle()
        play.heartbeat("a")
    return len(play["a"].status().voters)


def grown(others: str) -> tuple[Play, Council]:
    """A council of all of them."""
    play, council = founded(1 + len(others), others)
    assert decide(play, council, team(others)) == 1 + len(others)
    return play, council


def voters(play: Play) -> str:
    return "".join(play["a"].status().voters)


def learners(play: Play) -> str:
    return "".join(play["a"].status().learners)


# -- growth ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("others", "size"), [("", 1), ("b", 1), ("bc", 3), ("bcd", 3), ("bcde", 5), ("bcdefgh", 5)]
)
def test_the_council_is_odd_and_no_larger_than_its_full_size(others: str, size: int) -> None:
    play, council = founded(1 + len(others), others)
    assert decide(play, council, team(others)) == size


def test_a_member_learns_before_it_votes() -> None:
    """Thesis 4.2.1: new servers catch up as non-voting members."""
    play, council = founded(3, "bc")
    play.act("a", lambda turn: council.decide(turn, play["a"], team("bc")))
    assert (voters(play), learners(play)) == ("a", "bc")
    play.isolate("c")
    assert decide(play, council, team("bc")) == 1, "a council of two is no better than of one"
    play.heal()
    play.heartbeat("a")
    assert decide(play, council, team("bc")) == 3


def test_a_configured_size_is_kept() -> None:
    play, _ = founded(8, "bcdefgh")
    council = Council(replace(CONFIG, council_size=3), 8, play.now)
    play.act("a", lambda turn: council.learn(turn, JOINED))
    assert decide(play, council, team("bcdefgh")) == 3


def test_expected_nodes_are_waited_for_but_not_for_ever() -> None:
    play, council = founded(5, "bcde")
    play.act("a", lambda turn: council.decide(turn, play["a"], team("bc")))
    assert voters(play) == "a"
    deadline = council.due_at
    assert deadline is not None
    assert 0 < deadline - play.now <= CONFIG.settle_ns
    play.now = deadline
    play.tick("a")
    assert decide(play, council, team("bc")) == 3


def test_only_the_leader_proposes() -> None:
    play, _ = founded(3, "bc")
    follower = Council(CONFIG, 3, play.now)
    play.act("b", lambda turn: follower.learn(turn, JOINED))
    turn = play.act("b", lambda turn: follower.decide(turn, play["b"], team("ac")))
    assert (turn.records, turn.before, turn.after) == ([], [], [])
    assert follower.due_at is None


def test_a_change_that_cannot_be_made_yet_is_tried_again_soon() -> None:
    play, council = founded(5, "bcde")
    play.slow_disks = {"a"}
    change = (Change(ChangeKind.ADD_VOTER, NodeId("b")),)
    play.act("a", lambda turn: play["a"].change(turn, change))
    play.act("a", lambda turn: council.decide(turn, play["a"], team("bcde")))
    assert council.due_at == play.now + CONFIG.heartbeat_ns


def test_a_suspect_that_refutes_is_a_reason_to_look_again() -> None:
    play, council = founded(1, "")
    play.act("a", lambda turn: council.decide(turn, play["a"], {}))
    assert council.due_at is None
    play.act("a", lambda turn: council.learn(turn, MemberRefuted(NodeId("c"), 1)))
    assert council.due_at == play.now


# -- replacement -----------------------------------------------------------------------------------


def lost(play: Play, name: str) -> Team:
    """`name` failed just now."""
    return {NodeId(name): Standing(failed=True, since=play.now)}


def replaceable() -> tuple[Play, Council]:
    """Voters a, b, c, and a member d that does not vote."""
    play, council = founded(4, "bcd")
    assert decide(play, council, team("bcd")) == 3
    assert voters(play) == "abc"
    return play, council


def test_a_voter_that_failed_is_replaced_by_a_learner_after_a_while() -> None:
    play, council = replaceable()
    play.isolate("c")
    failed = team("bd") | lost(play, "c")
    assert (decide(play, council, failed), voters(play)) == (3, "abc"), "it may come back"
    play.act(
        "a", lambda turn: council.learn(turn, MemberFailed(NodeId("c"), NodeId("a"), "silence"))
    )
    for _ in range(2 * CONFIG.replace_after_ns // CONFIG.heartbeat_ns):
        decide(play, council, failed, rounds=1)
    assert voters(play) == "abd"


def test_a_failed_voter_stays_where_nobody_can_take_its_place() -> None:
    play, council = grown("bc")
    play.isolate("c")
    failed = team("b") | lost(play, "c")
    play.wait(2 * CONFIG.replace_after_ns)
    for _ in range(10):
        play.heartbeat("a")
    assert (decide(play, council, failed), voters(play)) == (3, "abc")


def test_a_newcomer_is_no_replacement_before_it_is_stable() -> None:
    play, council = replaceable()
    play.isolate("c")
    gone = {NodeId("c"): Standing(failed=True, since=play.now)}
    for _ in range(CONFIG.replace_after_ns // CONFIG.heartbeat_ns + 2):
        play.heartbeat("a")
    fresh = {NodeId("d"): Standing(healthy=True, since=play.now)}
    decide(play, council, team("b") | gone | fresh, rounds=2)
    assert (voters(play), learners(play)) == ("abc", "d")
    for _ in range(CONFIG.stable_ns // CONFIG.heartbeat_ns + 1):
        play.heartbeat("a")
    decide(play, council, team("b") | gone | fresh, rounds=2)
    assert voters(play) == "abd"


def test_nothing_is_changed_while_most_of_the_team_is_out_of_sight() -> None:
    """It may be this side that is cut off, with the voters that it has by chance."""
    play, _ = founded(9, "bcdefghi")
    small = Council(replace(CONFIG, council_size=3), 9, play.now)
    play.act("a", lambda turn: small.learn(turn, JOINED))
    decide(play, small, team("bcdefghi"))
    assert voters(play) == "abc"
    play.isolate("c")
    failed = team("bd") | team("cefghi", Standing(failed=True, since=play.now))
    for _ in range(2 * CONFIG.replace_after_ns // CONFIG.heartbeat_ns):
        decide(play, small, failed, rounds=1)
    assert voters(play) == "abc"


# -- leave and impairment --------------------------------------------------------------------------


def test_a_voter_that_leaves_is_replaced_at_once() -> None:
    play, council = replaceable()
    decide(play, council, team("bd") | team("c", Standing(healthy=True, leaving=True)))
    assert voters(play) == "abd"


def test_a_council_that_somebody_leaves_shrinks_to_an_odd_size() -> None:
    play, council = grown("bcde")
    decide(play, council, team("bcd") | team("e", Standing(left=True)))
    assert len(voters(play)) == 3
    assert "e" not in voters(play)


def test_a_voter_whose_disk_lost_something_learns_before_it_votes_again() -> None:
    play, council = grown("bc")
    impaired = team("b") | team("c", Standing(healthy=True, impaired=True))
    decide(play, council, impaired, rounds=1)
    assert (voters(play), learners(play)) == ("ab", "c")
    decide(play, council, team("bc"))
    assert voters(play) == "abc"


def test_an_impaired_voter_that_the_quorum_needs_stays() -> None:
    play, council = grown("bc")
    play.isolate("b")
    standing = {
        NodeId("b"): Standing(failed=True, since=play.now),
        NodeId("c"): Standing(healthy=True, impaired=True),
    }
    decide(play, council, standing, rounds=1)
    assert voters(play) == "abc", "of a and b, a alone would be no majority"


def test_a_learner_that_is_gone_is_none_any_more() -> None:
    play, council = founded(2, "b")
    change = (Change(ChangeKind.ADD_LEARNER, NodeId("b")),)
    play.act("a", lambda turn: play["a"].change(turn, change))
    play.settle()
    gone = {NodeId("b"): Standing(left=True), NodeId("c"): WELL}
    decide(play, council, gone, rounds=1)
    assert learners(play) == ""


# -- whole teams -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8])
def test_a_team_of_any_size_gets_its_council(size: int) -> None:
    small = SmallWorld(size)
    wanted = min(size, 5) - (1 - min(size, 5) % 2)
    for host in small.hosts:
        assert host.peer is not None
        assert len(host.peer.status().voters) == wanted


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


def test_a_team_of_seven_replaces_voters_one_after_the_other() -> None:
    small = SmallWorld(7)
    dead = [host for host in small.hosts if host.peer and host.peer.raft.is_voter][-2:]
    for host in dead:
        host.crash()
    gone = {host.identity.node for host in dead}

    def replaced() -> bool:
        leader = small.leader()
        assert leader is None or leader.peer is not None
        found = set(leader.peer.status().voters) if leader and leader.peer else gone
        return len(found) == 5 and not found & gone

    assert small.run(60 * SECOND, replaced)
    small.run(5 * SECOND)
    states = [host.peer.status() for host in small.up if host.peer]
    assert len({state.voters for state in states}) == 1
