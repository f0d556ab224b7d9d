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
import raft_mutants
import test_gossip
import test_ledger
import test_membership
import test_raft_disk
import test_raft_elections
import test_raft_figure2
import test_raft_figure13
import test_raft_flow
import test_raft_joint
import test_raft_leaders
import test_raft_lessons
import test_raft_membership
import test_raft_office
import test_raft_reads
import test_raft_snapshots
import test_raft_storm
import test_store

import protocol.peer
import protocol.replicated
from protocol.errors import RemoteProtocolError
from protocol.jobs import ClaimMode
from protocol.sim.scenario import Verdict, simulate

Test = Callable[..., object]

RAFT_RULES: list[tuple[str, Test]] = [
    ("VoteForgotten", test_raft_figure2.test_a_vote_survives_a_crash),
    ("VotesTwice", test_raft_figure2.test_follower_grants_one_vote_per_term),
    (
        "VotesForAnyLog",
        partial(test_raft_figure2.test_only_an_up_to_date_candidate_gets_a_vote, 9, 1, False),
    ),
    ("SkipsPreVote", test_raft_elections.test_a_node_that_was_cut_off_does_not_disturb_the_team),
    ("NeverSticks", test_raft_office.test_whoever_hears_a_leader_refuses_even_a_higher_term),
    ("LeadsUnsure", test_raft_elections.test_a_single_voter_leads_only_when_its_term_is_durable),
    ("PrefersItself", test_raft_elections.test_the_reach_does_not_outweigh_a_longer_log),
    ("FallsSilent", test_raft_membership.test_who_is_voted_out_campaigns_until_that_is_committed),
    ("NeverStepsDown", test_raft_office.test_a_leader_without_a_majority_steps_down),
    (
        "CommitsOldTerms",
        test_raft_leaders.test_figure_8_an_older_term_s_entry_is_not_committed_by_counting,
    ),
    (
        "CountsItselfEarly",
        test_raft_disk.test_a_leader_counts_itself_only_when_its_own_disk_has_the_entry,
    ),
    ("AcknowledgesEarly", test_raft_disk.test_an_append_is_on_disk_before_it_is_acknowledged),
    (
        "TrustsOldWrites",
        test_raft_disk.test_a_write_proves_nothing_about_entries_that_took_the_place_of_its_own,
    ),
    (
        "CountsOldAnswers",
        test_raft_flow.test_an_answer_to_an_earlier_term_s_request_counts_for_nothing,
    ),
    ("TruncatesAlways", test_raft_figure2.test_entries_are_dropped_only_in_conflict),
    (
        "CommitsWhatItIsTold",
        test_raft_figure2.test_the_commit_index_goes_no_further_than_what_is_known_to_match,
    ),
    ("IgnoresLowHints", test_raft_flow.test_a_hint_below_the_match_index_is_followed),
    (
        "MissesLosses",
        test_raft_flow.test_a_follower_that_lost_what_it_acknowledged_is_noticed_and_repaired,
    ),
    ("BelievesLessons", test_raft_lessons.test_a_lesson_that_does_not_lead_to_the_chain_is_refused),
    ("ReadsAlone", test_raft_reads.test_a_deposed_leader_that_does_not_know_it_answers_no_read),
    (
        "ReadsTooSoon",
        test_raft_reads.test_a_new_leader_answers_reads_once_an_entry_of_its_term_is_committed,
    ),
    (
        "CountsOldRounds",
        test_raft_reads.test_an_answer_to_what_was_sent_before_the_read_does_not_count,
    ),
    ("IgnoresMargin", test_raft_reads.test_a_lease_ends_before_the_promise_by_a_margin_for_clocks),
    ("LeaseFromAnswer", test_raft_reads.test_a_lease_counts_from_when_the_heartbeat_was_sent),
    (
        "KeepsLease",
        test_raft_reads.test_a_leader_that_asked_somebody_to_campaign_has_no_lease_any_more,
    ),
    ("ForgetsPromise", test_raft_office.test_a_promise_is_kept_over_a_restart),
    ("BreaksOwnPromise", test_raft_office.test_a_node_promises_its_own_vote_too),
    ("OneMajority", test_raft_joint.test_a_joint_configuration_needs_both_majorities),
    ("OneMajority", test_raft_joint.test_a_joint_election_needs_both_majorities),
    ("CountsLearners", test_raft_membership.test_a_learner_gets_the_log_and_counts_for_nothing),
    ("ChangesTwice", test_raft_membership.test_one_change_at_a_time),
    (
        "ChangesTooSoon",
        test_raft_membership.test_no_change_before_an_entry_of_the_own_term_is_committed,
    ),
    (
        "LosesConfiguration",
        test_raft_joint.test_a_configuration_outlives_the_compaction_of_its_entry,
    ),
    ("DropsWhatFollows", test_raft_figure13.test_entries_that_follow_the_snapshot_stay),
    (
        "BelievesParts",
        test_raft_snapshots.test_a_snapshot_with_a_wrong_digest_is_not_installed_and_is_fetched_again,
    ),
    ("AnswersEveryAnswer", test_raft_snapshots.test_repeated_answers_do_not_double_the_parts),
    ("VotesImpaired", test_raft_disk.test_an_impaired_node_does_not_vote),
    ("BelievesHistory", test_raft_disk.test_an_old_configuration_ends_no_impairment),
    # each mutant of `raft_mutants`, and the test that must fail with it
]


@pytest.mark.parametrize(
    ("name", "rule"), RAFT_RULES, ids=[f"{n}-{at}" for at, (n, _) in enumerate(RAFT_RULES)]
)
def test_a_raft_rule_is_missed(name: str, rule: Test, monkeypatch: pytest.MonkeyPatch) -> None:
    rule()
    raft_mutants.MUTANTS[name].breed(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception, RemoteProtocolError)):
        rule()


def rules_of_raft() -> list[tuple[str, str, str]]:
    """For a table: each rule, the test that fails without it, and what a storm or the simulator
    then finds broken, with the seed of the storm."""
    found = {name: f"{broken} (storm {seed})" for name, seed, broken in test_raft_storm.LOOSE}
    found |= {name: f"{checker} (simulator)" for name, checker in LOOSE_RAFT if name not in found}
    rows = {}
    for name, test in RAFT_RULES:
        whole = test.func if isinstance(test, partial) else test
        rows[name] = (raft_mutants.MUTANTS[name].rule, whole.__name__, found.get(name, ""))
    return list(rows.values())


def test_each_rule_of_raft_stands_in_one_line() -> None:
    rows = rules_of_raft()
    assert len({rule for rule, _, _ in rows}) == len(raft_mutants.MUTANTS)
    assert all(len(rule) < 60 and "\n" not in rule for rule, _, _ in rows)
    assert sum(bool(broken) for _, _, broken in rows) >= len(test_raft_storm.LOOSE)


def test_every_mutant_of_raft_is_caught_by_a_test() -> None:
    assert {name for name, _ in RAFT_RULES} == set(raft_mutants.MUTANTS)


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

LOOSE_RAFT: list[tuple[str, tuple[str, ...]]] = [
    ("VotesTwice", ("one_vote_per_term",)),
    ("VotesForAnyLog", ("leader_completeness",)),
    ("VoteForgotten", ("durable_vote",)),
    ("AcknowledgesEarly", ("durable_append",)),
    ("CountsItselfEarly", ("durable_commit", "durable_acknowledgement")),
]
LOOSE: list[tuple[object, str, type, tuple[str, ...]]] = [
    (protocol.replicated, "Ledger", mutants.AcceptsTwice, ("single_acceptance",)),
    (protocol.peer, "Store", mutants.LastArrivalWins, ("causal_order",)),
]


@pytest.mark.parametrize(("name", "checkers"), LOOSE_RAFT, ids=[name for name, _ in LOOSE_RAFT])
def test_a_checker_names_what_went_wrong_with_raft(
    name: str, checkers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    raft_mutants.MUTANTS[name].breed(monkeypatch)
    must_be_named(name, checkers)


@pytest.mark.parametrize(
    ("place", "machine", "mutant", "checkers"), LOOSE, ids=[row[2].__name__ for row in LOOSE]
)
def test_a_checker_names_what_went_wrong(
    place: object,
    machine: str,
    mutant: type,
    checkers: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(place, machine, mutant)
    must_be_named(mutant.__name__, checkers)


def must_be_named(name: str, checkers: tuple[str, ...]) -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS_MAX):
        outcome = simulate(seed)
        if outcome.verdict is not Verdict.HELD:
            assert outcome.verdict is Verdict.INVARIANT_BROKEN, outcome.summary()
            assert outcome.checker in checkers
            return
    raise AssertionError(f"{name} survived {SEEDS_MAX} seeds")
