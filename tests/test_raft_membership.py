"""Changes of the configuration: single steps (thesis, 4.1), learners (4.2.1), removing the leader
(4.2.2), and the erratum to single steps. Joint consensus is in `test_raft_joint`."""

from __future__ import annotations

import pytest
from raft_hand import (
    CONFIG,
    Play,
    add,
    add_learner,
    configuration,
    entry,
    nodes,
    remove,
    voters_entry,
)

from protocol.configuration import (
    Change,
    Configuration,
    Transition,
    changed,
    left,
)
from protocol.errors import ChangeRefused, NotLeader
from protocol.facts.agreement import LeaderResigned, VotersChanged
from protocol.identity import NodeId
from protocol.messages.agreement import Append
from protocol.raft import Role

TIMEOUT = CONFIG.election_timeout_ns


def joint_play() -> Play:
    """`a` leads a, b, c; d and e are running and have no log."""
    play = Play("abcde", voters="abc", logs=dict.fromkeys("de", ()))
    play.elect("a")
    return play


# -- what a change leads to --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "transition", "expected"),
    [
        ([add("d")], Transition.AUTO, Configuration(nodes("abcd"), learners=nodes("l"))),
        ([remove("c")], Transition.AUTO, Configuration(nodes("ab"), learners=nodes("l"))),
        ([add("l")], Transition.AUTO, Configuration(nodes("abcl"))),
        ([add_learner("c")], Transition.AUTO, Configuration(nodes("ab"), learners=nodes("cl"))),
        ([remove("l")], Transition.AUTO, configuration("abc")),
        (
            [add_learner("m"), add_learner("n"), add("d")],
            Transition.AUTO,
            Configuration(nodes("abcd"), learners=nodes("lmn")),
        ),
        (
            [add("d"), add("e")],
            Transition.AUTO,
            Configuration(nodes("abcde"), nodes("abc"), nodes("l")),
        ),
        (
            [add("d"), remove("c")],
            Transition.AUTO,
            Configuration(nodes("abd"), nodes("abc"), nodes("l")),
        ),
        (
            [add_learner("c"), add("d")],
            Transition.AUTO,
            Configuration(nodes("abd"), nodes("abc"), nodes("l"), nodes("c")),
        ),
        (
            [add("d")],
            Transition.IMPLICIT,
            Configuration(nodes("abcd"), nodes("abc"), nodes("l")),
        ),
        (
            [add("d")],
            Transition.EXPLICIT,
            Configuration(nodes("abcd"), nodes("abc"), nodes("l"), explicit=True),
        ),
        (
            [remove("d"), add("d")],
            Transition.AUTO,
            Configuration(nodes("abcd"), learners=nodes("l")),
        ),
    ],
)
def test_a_change_is_one_step_if_that_is_safe_and_joint_if_not(
    changes: list[Change], transition: Transition, expected: Configuration
) -> None:
    """Thesis 4.1: "only one server can be added or removed ... at a time"; else majorities of
    before and after may not overlap, and 4.3 is needed."""
    before = Configuration(nodes("abc"), learners=nodes("l"))
    assert changed(before, changes, transition) == expected


def test_a_demoted_voter_waits_as_learner_until_the_joint_configuration_is_left() -> None:
    joint = changed(configuration("abc"), [add_learner("c"), add("d")], Transition.AUTO)
    assert (joint.learners, joint.learners_next) == ((), nodes("c"))
    assert joint.everybody == nodes("abcd")
    assert left(joint) == Configuration(nodes("abd"), learners=nodes("c"))


def test_there_is_no_configuration_without_voters() -> None:
    with pytest.raises(ChangeRefused):
        changed(configuration("a"), [remove("a")], Transition.AUTO)


def test_a_joint_configuration_is_left_before_another_change() -> None:
    with pytest.raises(ChangeRefused):
        changed(configuration("abd", "abc"), [add("e")], Transition.AUTO)
    with pytest.raises(ChangeRefused):
        left(configuration("abc"))


def test_an_epoch_outlives_changes() -> None:
    rescued = Configuration(nodes("a"), epoch=3)
    for transition in Transition:
        found = changed(rescued, [add("b")], transition)
        assert (left(found) if found.is_joint else found).epoch == 3


# -- single steps ------------------------------------------------------------------------------


def test_a_configuration_holds_from_the_moment_it_is_in_the_log() -> None:
    """4.1: "each server uses the latest configuration stored in its log, regardless of whether the
    entry is committed"; and an earlier one again when it is truncated."""
    play = Play("abc")
    play.receive("b", "a", Append(2, 1, 1, 1, (voters_entry("ab", 2, 2),), 0))
    assert play["b"].status().voters == nodes("ab")
    turn = play.receive("b", "c", Append(3, 1, 1, 1, (entry(2, 3),), 0))
    assert play["b"].status().voters == nodes("abc")
    assert VotersChanged(1, nodes("abc"), (), ()) in turn.facts


def test_a_voter_is_added_in_one_step() -> None:
    play = Play("abcd", voters="abc", logs={"d": ()})
    play.elect("a")
    play.change("a", add("d"))
    play.settle()
    play.heartbeat("a")
    assert play["d"].status().voters == nodes("abcd")
    assert play["d"].commit == play["a"].commit == 3


def test_a_new_voter_counts_at_once() -> None:
    """4.1: the new configuration is in force when it is appended: two of four are no majority."""
    play = Play("abcd", voters="abc", logs={"d": ()})
    play.elect("a")
    play.cut = {("c", "a"), ("d", "a")}
    play.change("a", add("d"))
    play.settle()
    assert play["a"].commit == 2
    play.heal()
    play.heartbeat("a")
    assert play["a"].commit == 3


def test_one_change_at_a_time() -> None:
    """4.1: "not allowed to begin a configuration change until any previous change has
    committed"."""
    play = joint_play()
    play.isolate("a")
    play.change("a", add("d"))
    with pytest.raises(ChangeRefused, match="under way"):
        play.change("a", add("e"))


def test_no_change_before_an_entry_of_the_own_term_is_committed() -> None:
    """The erratum to single steps (Ongaro, raft-dev 2015): otherwise two leaders may each begin a
    change from the same configuration, of which majorities do not overlap."""
    play = Play("abc")
    play.elect("b")
    play.heartbeat("b")
    play.wait(2 * TIMEOUT)
    play.tick("b")
    play.lose()
    play.act("a", play["a"].elections.campaign)
    while play["a"].role is not Role.LEADER:
        assert play.deliver()
    assert play["a"].commit > play["a"].log.configuration_index, "no change is under way"
    with pytest.raises(ChangeRefused, match="nothing of its term"):
        play.change("a", remove("c"))
    play.settle()
    play.change("a", remove("c"))


def test_the_scenario_of_the_erratum_loses_nothing() -> None:
    """Four voters. `a` appends a configuration that adds e and fails; `b` leads and would remove
    one: it has to commit its no-op first, whereby a's change cannot come back."""
    play = Play("abcde", voters="abcd", logs={"e": ()})
    play.elect("a")
    play.cut = {("a", other) for other in "bcd"}
    play.change("a", add("e"))
    play.settle()
    assert play["e"].configuration == configuration("abcde"), "it is on two of five"
    play.isolate("a")
    play.elect("b")
    play.change("b", remove("d"))
    play.settle()
    committed = play["b"].commit
    assert committed == 4
    play.heal()
    play.isolate("b")
    play.isolate("c")
    for name in "ade":
        play.wait(2 * TIMEOUT)
        play.act(name, play[name].elections.campaign) if play[
            name
        ].leadership is None else play.tick(name)
        play.settle()
    assert all(play[name].role is not Role.LEADER for name in "ade")


def test_no_change_to_nothing_and_none_to_the_same() -> None:
    play = joint_play()
    for changes in ([remove("a"), remove("b"), remove("c")], [add("b")], [remove("e")], []):
        with pytest.raises(ChangeRefused):
            play.change("a", *changes)
    with pytest.raises(NotLeader):
        play.change("b", remove("c"))
    assert play["a"].log.last_index == 2


# -- learners ----------------------------------------------------------------------------------


def test_a_learner_gets_the_log_and_counts_for_nothing() -> None:
    """4.2.1: "replicates log entries to it, but ... not yet counted towards majorities for voting
    or commitment purposes"."""
    play = Play("abcd", voters="abc", logs={"d": ()})
    play.elect("a")
    play.change("a", add_learner("d"))
    assert play.said("a", "d"), "it is not kept waiting for a heartbeat"
    play.settle()
    assert play["d"].log.last_index == 3
    play.cut = {("b", "a"), ("c", "a")}
    play.propose("a", b"x")
    play.settle()
    assert play["d"].log.last_index == 4
    assert play["a"].commit == 3, "a and its learner are no majority"
    assert play["d"].deadline() is None, "it never campaigns"


def test_a_learner_is_promoted_and_counts() -> None:
    play = Play("abcd", voters="abc", logs={"d": ()})
    play.elect("a")
    play.change("a", add_learner("d"))
    play.settle()
    play.change("a", add("d"))
    play.settle()
    play.isolate("b")
    play.propose("a", b"x")
    play.settle()
    assert play.commands("a") == [b"x"]
    assert play["d"].deadline() is not None


def test_who_is_removed_is_told_so_and_sent_nothing_more() -> None:
    play = Play("abc")
    play.elect("a")
    play.change("a", remove("c"))
    play.settle()
    assert not play["c"].is_voter
    assert play["c"].commit == 3
    play.wait(CONFIG.heartbeat_ns)
    play.tick("a")
    assert play.said("a", "c") == []


# -- removing the leader -----------------------------------------------------------------------


def test_a_leader_that_is_no_longer_a_voter_steps_down_after_the_change() -> None:
    """4.2.2: "Once C_new is committed, the leader steps down"; here it also names a successor."""
    play = Play("abc")
    play.elect("a")
    play.change("a", remove("a"))
    assert play["a"].role is Role.LEADER, "it manages a cluster that it is not part of"
    play.settle()
    assert play["a"].role is Role.FOLLOWER
    assert LeaderResigned(2, "no longer a voter") in play.actors["a"].facts
    assert not play["a"].is_voter
    assert play["a"].deadline() is None, "it never campaigns again"
    assert Role.LEADER in (play["b"].role, play["c"].role)


def test_a_leader_on_its_way_out_does_not_count_itself() -> None:
    """4.2.2: "it replicates log entries but does not count itself in majorities"."""
    play = Play("abc")
    play.elect("a")
    play.isolate("c")
    play.change("a", remove("a"))
    play.settle()
    assert play["a"].commit == 2, "a and b have it, but of b and c that is one"
    assert play["a"].role is Role.LEADER


def test_a_leader_on_its_way_out_is_taught_nothing() -> None:
    play = Play("abc")
    play.elect("a")
    play.isolate("c")
    play.change("a", remove("a"))
    play.settle()
    play.act("a", lambda turn: play["a"].elections.hear_of_leader(turn, 2, NodeId("b")))
    assert (play["a"].role, play["a"].leader) == (Role.LEADER, NodeId("a"))


def test_who_is_voted_out_campaigns_until_that_is_committed() -> None:
    """4.2.2: "a server that is not part of its own latest configuration should still start new
    elections, as it might still be needed until the C_new entry is committed ... It does not count
    its own vote". Here b needs a's vote by its own log, and its log is too short for that."""
    play = Play("ab")
    play.elect("a")
    play.cut = {("a", "b")}
    play.change("a", remove("a"))
    play.crash("a")
    play.heal()
    for name in "ba":
        play.wait(2 * TIMEOUT)
        play.tick(name)
        play.settle()
    assert play["a"].role is Role.FOLLOWER
    assert play["a"].status().voters == play["b"].status().voters == nodes("b")
    assert play["b"].commit >= 3
    assert not play["a"].may_campaign, "now it knows"
    if play["b"].role is not Role.LEADER:
        play.elect("b")
