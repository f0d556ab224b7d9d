"""Joint consensus (thesis, 4.3), and configurations in snapshots (5.1)."""

from __future__ import annotations

import pytest
from raft_hand import (
    CONFIG,
    Play,
    add,
    add_learner,
    configuration,
    log_of,
    nodes,
    remove,
    voters_entry,
)

from protocol.configuration import (
    Transition,
)
from protocol.errors import ChangeRefused
from protocol.facts.agreement import VotersChanged
from protocol.messages.agreement import EntryKind
from protocol.raft import Role

TIMEOUT = CONFIG.election_timeout_ns


def joint_play() -> Play:
    """`a` leads a, b, c; d and e are running and have no log."""
    play = Play("abcde", voters="abc", logs=dict.fromkeys("de", ()))
    play.elect("a")
    return play


# -- joint consensus ---------------------------------------------------------------------------


def test_a_change_of_two_goes_through_a_joint_configuration() -> None:
    """4.3: C-old,new first; C-new once that is committed."""
    play = joint_play()
    play.change("a", add("d"), add("e"))
    play.settle()
    play.heartbeat("a")
    seen = [fact for fact in play.actors["a"].facts if isinstance(fact, VotersChanged)]
    assert [(len(fact.voters), len(fact.outgoing)) for fact in seen] == [(5, 3), (5, 0)]
    assert play["e"].status().voters == nodes("abcde")
    assert play["e"].commit == play["a"].commit


def test_a_joint_configuration_needs_both_majorities() -> None:
    """4.3: "Agreement (for elections and entry commitment) requires majorities from both the old
    and new configurations"."""
    play = joint_play()
    play.cut = {(name, "a") for name in "bc"}
    play.change("a", add("d"), add("e"), remove("b"), remove("c"))
    play.settle()
    assert play["d"].log.last_index == 3
    assert play["a"].commit == 2, "all of the new voters, one of the old"
    play.heal()
    play.heartbeat("a")
    assert play["a"].log.configuration == configuration("ade")


def test_a_joint_election_needs_both_majorities() -> None:
    log = (*log_of(1), voters_entry(configuration("ade", "abc"), 2))
    play = Play("abcde", logs=dict.fromkeys("abcde", log))
    play.cut = {("a", "b"), ("a", "c")}
    play.wait(2 * TIMEOUT)
    play.act("a", play["a"].elections.campaign)
    play.settle()
    assert play["a"].role is Role.PRE_CANDIDATE
    play.cut = {("a", "b")}
    play.elect("a")


def test_in_a_joint_configuration_a_leader_stays_only_with_both_majorities() -> None:
    """4.3 and 6.2."""
    play = joint_play()
    play.change("a", add("d"), add("e"), remove("b"), remove("c"), transition=Transition.EXPLICIT)
    play.settle()
    play.cut = {("b", "a"), ("c", "a")}
    for _ in range(2 * TIMEOUT // CONFIG.heartbeat_ns + 1):
        if play["a"].leadership:
            play.heartbeat("a")
    assert play["a"].role is Role.FOLLOWER


def test_a_new_leader_finishes_what_the_old_one_began() -> None:
    """4.3: "if ... the leader crashes, the new leader" has C-old,new or has not."""
    play = joint_play()
    play.cut = {("b", "a"), ("c", "a"), ("d", "a"), ("e", "a")}
    play.change("a", add("d"), add("e"))
    play.settle()
    assert play["b"].configuration.is_joint
    play.isolate("a")
    play.elect("b")
    play.heartbeat("b")
    assert play["b"].configuration == configuration("abcde")
    assert play["d"].configuration == configuration("abcde")


def test_a_joint_configuration_may_last_until_somebody_says_so() -> None:
    play = joint_play()
    play.change("a", add("d"), add("e"), transition=Transition.EXPLICIT)
    play.settle()
    play.heartbeat("a")
    assert play["a"].configuration.is_joint
    with pytest.raises(ChangeRefused):
        play.change("a", remove("b"))
    play.act("a", play["a"].leave_joint)
    play.settle()
    assert play["a"].configuration == configuration("abcde")
    with pytest.raises(ChangeRefused):
        play.act("a", play["a"].leave_joint)


def test_a_joint_configuration_is_not_left_before_it_is_committed() -> None:
    play = joint_play()
    play.isolate("a")
    play.change("a", add("d"), add("e"), transition=Transition.EXPLICIT)
    with pytest.raises(ChangeRefused, match="under way"):
        play.act("a", play["a"].leave_joint)


def test_a_leader_that_a_joint_change_removes_leads_until_the_new_one_is_committed() -> None:
    """4.3: "the leader might not be part of the new configuration"."""
    play = joint_play()
    play.change("a", add("d"), remove("a"))
    play.settle()
    assert play["a"].role is Role.FOLLOWER
    assert not play["a"].is_voter
    leaders = [name for name in "bcde" if play[name].role is Role.LEADER]
    assert len(leaders) == 1
    assert play[leaders[0]].configuration == configuration("bcd")


def test_a_voter_is_demoted_through_a_joint_configuration() -> None:
    play = joint_play()
    play.change("a", add_learner("c"), add("d"))
    assert play["a"].configuration.learners_next == nodes("c")
    play.settle()
    play.heartbeat("a")
    assert play["c"].configuration == configuration("abd", learners="c")
    assert play["c"].deadline() is None


# -- configurations and snapshots --------------------------------------------------------------


def test_a_configuration_outlives_the_compaction_of_its_entry() -> None:
    """Thesis 5.1: a snapshot contains "the latest configuration"."""
    play = Play("abcd", voters="abc", logs={"d": ()}, config=type(CONFIG)(trailing_entries=0))
    play.elect("a")
    play.change("a", add("d"))
    play.settle()
    play.propose("a", b"x")
    play.settle()
    play.compact("a", 4)
    assert play["a"].log.first_index == 5
    assert play["a"].configuration == configuration("abcd")
    play.crash("a")
    assert play["a"].configuration == configuration("abcd")


def test_a_change_is_an_entry_like_any_other() -> None:
    play = joint_play()
    play.change("a", add("d"))
    assert play["a"].log.entry(3).kind is EntryKind.VOTERS
