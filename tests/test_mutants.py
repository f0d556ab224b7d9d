"""Remove one rule at a time: somebody must notice. `mutants` has the broken machines.

First the rules whose own test must fail without them; then mutants that are let loose in the
simulator, where a checker has to name what went wrong within a stated number of seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import ledger_hand
import member_hand
import mutants
import pytest
import raft_hand
import test_gossip
import test_ledger
import test_membership
import test_raft
import test_raft_change
import test_store

import protocol.peer
from protocol.configuration import Configuration
from protocol.errors import RemoteProtocolError
from protocol.jobs import ClaimMode
from protocol.raft import Raft
from protocol.sim.scenario import Verdict, simulate

Test = Callable[[], object]

RAFT_RULES: list[tuple[type[Raft], Test]] = [
    (mutants.VoteForgotten, test_raft.test_a_vote_survives_a_crash),
    (mutants.VotesTwice, test_raft.test_follower_grants_one_vote_per_term),
    (
        mutants.VotesForAnyLog,
        partial(test_raft.test_only_an_up_to_date_candidate_gets_a_vote, 9, 1, False),
    ),
    (
        mutants.CommitsOldTerms,
        test_raft.test_figure_8_an_older_term_s_entry_is_not_committed_by_counting,
    ),
    (
        mutants.CountsItselfEarly,
        test_raft.test_a_leader_counts_itself_only_when_its_own_disk_has_the_entry,
    ),
    (mutants.AcknowledgesEarly, test_raft.test_an_append_is_on_disk_before_it_is_acknowledged),
    (mutants.TruncatesAlways, test_raft.test_entries_are_dropped_only_in_conflict),
    (
        mutants.CommitsWhatItIsTold,
        test_raft.test_the_commit_index_goes_no_further_than_what_is_known_to_match,
    ),
    (mutants.NeverSticks, test_raft_change.test_whoever_hears_a_leader_refuses_even_a_higher_term),
    (
        mutants.SkipsPreVote,
        test_raft_change.test_a_node_that_was_cut_off_does_not_disturb_the_team,
    ),
    (mutants.NeverStepsDown, test_raft_change.test_a_leader_without_a_majority_steps_down),
    (mutants.IgnoresLowHints, test_raft.test_a_hint_below_the_match_index_is_followed),
]


@pytest.mark.parametrize(("mutant", "rule"), RAFT_RULES, ids=[m.__name__ for m, _ in RAFT_RULES])
def test_a_raft_rule_is_missed(
    mutant: type[Raft], rule: Test, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule()
    monkeypatch.setattr(raft_hand, "MACHINE", mutant)
    with pytest.raises(AssertionError):
        rule()


@pytest.mark.parametrize(
    "rule",
    [
        test_raft_change.test_a_joint_configuration_needs_both_majorities,
        test_raft_change.test_a_joint_election_needs_both_majorities,
    ],
)
def test_joint_consensus_is_missed(rule: Test, monkeypatch: pytest.MonkeyPatch) -> None:
    rule()
    monkeypatch.setattr(Configuration, "has_quorum", mutants.one_majority)
    monkeypatch.setattr(Configuration, "agreed_index", mutants.one_agreed_index)
    with pytest.raises(AssertionError):
        rule()


OTHER_RULES: list[tuple[object, str, type, Test]] = [
    (
        ledger_hand,
        "Ledger",
        mutants.AcceptsTwice,
        partial(test_ledger.test_a_task_is_accepted_once, ClaimMode.LEASE),
    ),
    (
        ledger_hand,
        "Ledger",
        mutants.IgnoresFences,
        partial(test_ledger.test_a_fenced_holder_is_not_accepted, ClaimMode.LEASE),
    ),
    (
        ledger_hand,
        "Ledger",
        mutants.IgnoresNeeds,
        partial(test_ledger.test_nothing_is_accepted_before_what_it_needs, ClaimMode.LEASE),
    ),
    (
        test_store,
        "Store",
        mutants.AcceptsGaps,
        test_store.test_a_gap_is_refused_and_changes_nothing,
    ),
    (
        test_store,
        "Store",
        mutants.LastArrivalWins,
        test_store.test_siblings_are_exactly_the_writes_that_nobody_has_seen,
    ),
    (test_store, "Store", mutants.BelievesAnyBatch, test_store.test_a_forged_batch_is_refused),
    (
        test_gossip,
        "Gossip",
        mutants.PushesEarly,
        test_gossip.test_an_own_write_is_on_disk_before_it_is_told,
    ),
    (
        member_hand,
        "Membership",
        mutants.BelievesAnybody,
        test_membership.test_a_refutation_by_a_stranger_is_refused,
    ),
]


@pytest.mark.parametrize(
    ("place", "name", "mutant", "rule"), OTHER_RULES, ids=[row[2].__name__ for row in OTHER_RULES]
)
def test_a_rule_is_missed(
    place: object, name: str, mutant: type, rule: Test, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule()
    monkeypatch.setattr(place, name, mutant)
    with pytest.raises((AssertionError, pytest.fail.Exception, RemoteProtocolError)):
        rule()


# -- let loose in the simulator -------------------------------------------------------------------

FIRST_SEED = 1
SEEDS_MAX = 100  # within so many seeds a checker must have named the fault

LOOSE: list[tuple[str, type, str]] = [
    ("Raft", mutants.VotesTwice, "one_vote_per_term"),
    ("Raft", mutants.VotesForAnyLog, "leader_completeness"),
    ("Raft", mutants.VoteForgotten, "durable_vote"),
    ("Raft", mutants.AcknowledgesEarly, "durable_append"),
    ("Raft", mutants.CountsItselfEarly, "durable_commit"),
    ("Ledger", mutants.AcceptsTwice, "single_acceptance"),
    ("Store", mutants.LastArrivalWins, "causal_order"),
]


@pytest.mark.parametrize(
    ("machine", "mutant", "checker"), LOOSE, ids=[m.__name__ for _, m, _ in LOOSE]
)
def test_a_checker_names_what_went_wrong(
    machine: str, mutant: type, checker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol.peer, machine, mutant)
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS_MAX):
        outcome = simulate(seed)
        if outcome.verdict is not Verdict.HELD:
            assert outcome.verdict is Verdict.INVARIANT_BROKEN, outcome.summary()
            assert outcome.detail.startswith(f"{checker}: ")
            return
    raise AssertionError(f"{mutant.__name__} survived {SEEDS_MAX} seeds")
