"""The exhaustive search: it ends, loses nothing by its short cuts, and finds what it must find."""

from __future__ import annotations

import copy
import os
import subprocess
import sys

import exhaustive_mutants as mutants
import pytest

from protocol.config import RaftConfig
from protocol.configuration import Configuration
from protocol.identity import NodeId
from protocol.messages.agreement import AppendReply, VoteReply
from protocol.raft import Raft
from protocol.raft.by_hand import RaftNode
from protocol.sim.exhaustive import Exploration, Explorer, explore
from protocol.sim.freezing import NoChance, fork, frozen
from protocol.sim.small_bounds import Bounds
from protocol.sim.small_history import (
    COMMITTED_DURABLE,
    ELECTION_SAFETY,
    LEADER_COMPLETENESS,
    STATE_MACHINE_SAFETY,
)
from protocol.sim.small_node import (
    ACKNOWLEDGED_DURABLE,
    APPEND_ONLY,
    NO_SURPRISE,
    ONE_VOTE,
    VOTES_DURABLE,
)

# Without a word about pre-votes they are granted unasked: the safety rules stand alone.
ONE_TERM = Bounds(terms=1, entries=0, pre_votes=False)
TWO_TERMS = Bounds(terms=2, entries=0, pre_votes=False)
# Figure 8 of the paper, (b) to (c): a's entry of term 2 and c's of term 3 are on no other disk yet.
FIGURE_8 = Bounds(
    terms=2, entries=0, pre_votes=False, append_single=True, logs=((1, 2), (1,), (1, 3))
)
# Two entries on their way at once, where the second may overtake the first.
PIPELINE = Bounds(terms=1, entries=2, pre_votes=False)
# The voters shrink from three to one, by way of a joint configuration.
JOINT = Bounds(terms=2, entries=0, pre_votes=False, changes=1, resignations=1, overtaking=False)


# -- it is complete --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "states"),
    [
        (Bounds(terms=1, entries=1), 10_000),
        (Bounds(terms=2, entries=0, pre_votes=False), 10_000),
        (Bounds(terms=1, entries=0, crashes=1, duplicates=1, drops=1, pre_votes=False), 2_000),
        (Bounds(terms=1, entries=0, crashes=1, pre_votes=False, slow_disks=True), 2_000),
        (Bounds(terms=1, entries=0, changes=1, pre_votes=False, overtaking=False), 5_000),
        (
            Bounds(
                terms=1,
                entries=0,
                heartbeats=1,
                resignations=1,
                pre_votes=False,
                overtaking=False,
            ),
            5_000,
        ),
        (Bounds(nodes=1, terms=2, entries=2, crashes=1, slow_disks=True), 50),
    ],
    ids=str,
)
def test_no_interleaving_within_these_bounds_breaks_an_invariant(
    bounds: Bounds, states: int
) -> None:
    """There are at least so many states: a search that sees much less than it did is noticed."""
    found = explore(bounds)
    assert found.exhausted, found
    assert not found.invariant
    assert found.states >= states, found


def looks(explorer: Explorer) -> set[tuple[object, ...]]:
    """All that the nodes ever look like at once, whatever their names."""
    while explorer.go_on(100_000):
        pass
    assert explorer.found().exhausted, explorer.found()
    pictures = explorer.cluster.pictures
    return {
        tuple(
            sorted(
                (each.role.value, each.term, each.commit, repr(each.log), repr(each.disk))
                for each in pictures(state)
            )
        )
        for state in explorer.states()
    }


@pytest.mark.parametrize(
    "bounds",
    [
        Bounds(terms=1, entries=1, pre_votes=False),
        Bounds(nodes=2, terms=2, entries=1, crashes=1, pre_votes=False, overtaking=False),
        Bounds(nodes=2, terms=1, entries=1, duplicates=1),
        Bounds(terms=1, entries=0, crashes=1, pre_votes=False, slow_disks=True),
    ],
    ids=str,
)
def test_the_short_cuts_miss_no_combination_of_nodes(bounds: Bounds) -> None:
    long_way = looks(Explorer(bounds, reduced=False))
    short_way = looks(Explorer(bounds))
    assert len(long_way) > 10
    assert long_way <= short_way


def test_the_search_is_the_same_under_any_hash_seed() -> None:
    program = (
        "from protocol.sim.exhaustive import *; from protocol.sim.small_bounds import Bounds;"
        "print(explore(Bounds(terms=1, entries=1, pre_votes=False)))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
    assert "exhausted" in said.pop()


def test_a_limit_is_kept_and_told() -> None:
    found = explore(Bounds(), states_max=500)
    assert 500 <= found.states < 550
    assert not found.exhausted
    assert found.frontier > 0
    shallow = explore(Bounds(), depth_max=4)
    assert (shallow.depth, shallow.exhausted) == (4, False)


def test_a_search_goes_on_where_it_stopped() -> None:
    explorer = Explorer(ONE_TERM)
    steps = 0
    while explorer.go_on(10):
        steps += 1
    assert steps > 3
    assert explorer.found() == explore(ONE_TERM)


# -- it finds --------------------------------------------------------------------------------------


def broken(
    bounds: Bounds, machine: type[Raft] = Raft, invariant: str = "", states_max: int = 60_000
) -> Exploration:
    """The violation found, of this invariant only if it is named."""
    invariants = frozenset({invariant}) if invariant else None
    found = explore(bounds, machine, invariants, states_max)
    assert found.invariant, f"nothing found: {found}"
    return found


REMOVED: list[tuple[type[Raft], Bounds, str, str]] = [
    (mutants.VotesTwice, ONE_TERM, ONE_VOTE, ELECTION_SAFETY),
    (mutants.VotesTwice, ONE_TERM, ONE_VOTE, NO_SURPRISE),
    (mutants.VotesForAnyLog, TWO_TERMS, LEADER_COMPLETENESS, STATE_MACHINE_SAFETY),
    (mutants.CommitsOldTerms, FIGURE_8, LEADER_COMPLETENESS, STATE_MACHINE_SAFETY),
    (mutants.CountsOldVotes, TWO_TERMS, ELECTION_SAFETY, ELECTION_SAFETY),
    (mutants.TruncatesAlways, PIPELINE, COMMITTED_DURABLE, COMMITTED_DURABLE),
]
HASTY: list[tuple[type[Raft], str]] = [
    (mutants.AcknowledgesEarly, ACKNOWLEDGED_DURABLE),
    (mutants.CountsItselfEarly, COMMITTED_DURABLE),
]
# The rules that the search is shown to miss, and the invariant that it finds broken first.
FOUND = {machine.__name__: first for machine, _, first, _ in REMOVED}
FOUND |= {machine.__name__: first for machine, first in HASTY}
FOUND |= {
    "VoteForgotten": VOTES_DURABLE,
    "OneMajority": COMMITTED_DURABLE,
    "DropsOwn": APPEND_ONLY,
}


@pytest.mark.parametrize(("machine", "bounds", "first", "consequence"), REMOVED)
def test_a_rule_that_is_removed_is_missed(
    machine: type[Raft], bounds: Bounds, first: str, consequence: str
) -> None:
    assert broken(bounds, machine).invariant == first
    assert broken(bounds, machine, consequence).invariant == consequence


def test_a_vote_that_is_not_durable_is_seen_at_once_and_after_a_crash_elects_two() -> None:
    assert broken(ONE_TERM, mutants.VoteForgotten).invariant == FOUND["VoteForgotten"]
    with_crash = Bounds(terms=1, entries=0, crashes=1, pre_votes=False)
    assert broken(with_crash, mutants.VoteForgotten, ELECTION_SAFETY).invariant


@pytest.mark.parametrize(("machine", "first"), HASTY)
def test_whoever_does_not_wait_for_the_disk_is_found_where_disks_are_slow(
    machine: type[Raft], first: str
) -> None:
    slow = Bounds(terms=1, entries=0, pre_votes=False, slow_disks=True)
    assert broken(slow, machine).invariant == first


def test_one_majority_of_two_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Configuration, "agreed_index", mutants.one_agreed_index)
        assert broken(JOINT).invariant == FOUND["OneMajority"]
        assert broken(JOINT, invariant=LEADER_COMPLETENESS).invariant
    with monkeypatch.context() as patch:
        patch.setattr(Configuration, "has_quorum", mutants.one_majority)
        assert broken(JOINT, invariant=ELECTION_SAFETY).invariant


def test_a_leader_that_drops_its_own_entries_is_found() -> None:
    assert broken(Bounds(terms=1), mutants.DropsOwn).invariant == FOUND["DropsOwn"]


def test_a_violation_is_told_step_by_step_on_a_shortest_way() -> None:
    found = broken(ONE_TERM, mutants.VotesTwice, ELECTION_SAFETY)
    assert found.detail == "a and b were both elected in term 2"
    assert (
        "\n".join(found.path)
        == """\
  1. a: election time-out
       a candidate term=2 vote=a log=[1] commit=0
  2. b: election time-out
       b candidate term=2 vote=b log=[1] commit=0
  3. a -> c: VoteRequest term=2 last_index=1 last_term=1 reach=1
       c follower term=2 vote=a log=[1] commit=0
  4. b -> c: VoteRequest term=2 last_index=1 last_term=1 reach=1
       c follower term=2 vote=b log=[1] commit=0
  5. c -> a: VoteReply term=2 asked=2 granted
       a leader term=2 vote=a log=[1,2] commit=0
  6. c -> b: VoteReply term=2 asked=2 granted
       breaks election safety: a and b were both elected in term 2"""
    )
    assert "BROKEN: election safety" in str(found)


# -- copies and keys -------------------------------------------------------------------------------


def leader() -> Raft:
    """A leader with a follower's answer, an entry on its way, and a write outstanding."""
    node = RaftNode("a", voters="abc")
    node.raft.random = NoChance()
    node.advance(RaftConfig().lease_ns)  # until then it holds back
    node.campaign()
    node.step("b", VoteReply(1, 2, True, True))
    node.persisted(node.ready().sequence)
    node.step("b", VoteReply(2, 2, True, False))
    node.propose(b"x")
    node.step("b", AppendReply(2, 2, 1, True, 2, 2))
    return node.raft


def test_a_fork_is_equal_and_independent() -> None:
    one = leader()
    other = fork(one)
    assert frozen(one) == frozen(other) == frozen(copy.deepcopy(one))
    assert other.leadership is not None
    assert other.leadership.raft is other
    before = frozen(one)
    other.leadership.progress[NodeId("c")].match_index = 2
    other.log.truncate(3)
    assert frozen(one) == before != frozen(other)


def test_whatever_is_added_to_a_machine_is_part_of_its_key() -> None:
    one, other = leader(), leader()
    other.something_new = 1  # type: ignore[attr-defined]
    assert frozen(one) != frozen(other)
    assert fork(other).something_new == 1  # type: ignore[attr-defined]
