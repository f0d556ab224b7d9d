"""Remove one rule at a time: the test that states it must fail. The broken machines are in
`mutants`, `raft_mutants`, `raft_log_mutants`, `register_mutants`, `spreading_mutants` and
`team_mutants`; `test_mutants_at_large` lets them loose."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial

import breeding
import mutants
import pytest
import raft_log_mutants
import raft_mutants
import register_mutants
import spreading_mutants
import team_mutants
import test_availability
import test_clerk
import test_codec
import test_collecting
import test_consensus
import test_council
import test_entries
import test_evidence
import test_failing
import test_gossip
import test_healing
import test_ledger
import test_local_health
import test_membership
import test_merge_checks
import test_merging
import test_pacing
import test_racing
import test_raft_bug_classes
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
import test_register_team
import test_registers
import test_relaying
import test_replicated
import test_returning
import test_reviewing
import test_shares
import test_silence
import test_spending
import test_stopping
import test_store
import test_wall_budget

from protocol.errors import RemoteProtocolError
from protocol.jobs import ClaimMode

Test = Callable[..., object]

MUTANTS: dict[str, breeding.Mutant] = {
    **raft_mutants.MUTANTS,
    **raft_log_mutants.MUTANTS,
    **register_mutants.MUTANTS,
    **mutants.MUTANTS,
    **spreading_mutants.MUTANTS,
    **team_mutants.MUTANTS,
}


def opened() -> test_clerk.Desk:
    """As the fixture of that name."""
    desk = test_clerk.Desk()
    desk.open()
    return desk


FIXTURES: dict[str, Callable[[], object]] = {"log": test_registers.Log, "opened": opened}

# Each mutant, and the test that must fail with it.
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
    (
        "SpeaksFirst",
        test_raft_bug_classes.test_a_leader_that_was_stopped_for_an_hour_steps_down_before_it_speaks,
    ),
    ("NeverStepsDown", test_raft_office.test_a_leader_without_a_majority_steps_down),
    (
        "NeverGivesWay",
        partial(test_silence.test_a_leader_that_is_heard_and_hears_nobody_hands_over, 3, 1),
    ),
    ("NeverAsks", test_silence.test_who_wakes_asks_before_it_takes_the_others_for_gone),
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
        "AcknowledgesAgain",
        test_raft_bug_classes.test_a_disk_that_never_says_done_is_never_taken_at_its_word,
    ),
    ("ConfirmsOnce", test_raft_bug_classes.test_a_lost_acknowledgement_is_made_good),
    (
        "TakesAnyTail",
        test_raft_flow.test_a_leader_that_cannot_commit_takes_a_bounded_number_of_proposals,
    ),
    ("WaitsForItsDisk", test_register_team.test_a_leader_whose_disk_hangs_gives_way),
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
    (
        "CountsOldVotes",
        test_raft_elections.test_a_vote_of_an_earlier_term_counts_for_nothing,
    ),
    (
        "TakesOldSnapshots",
        test_raft_snapshots.test_a_snapshot_of_what_is_committed_here_is_acknowledged_and_not_installed,
    ),
]

REGISTER_RULES: list[tuple[str, Test]] = [
    ("AppliesTwice", test_registers.test_a_repeated_command_happens_once),
    ("AppliesAhead", test_registers.test_a_command_waits_for_the_ones_before_it),
    (
        "ForgetsSessions",
        partial(
            test_replicated.test_whoever_takes_an_image_goes_on_like_whoever_applied_the_log, 1
        ),
    ),
    (
        "ForgetsNumbers",
        partial(
            test_replicated.test_whoever_takes_an_image_goes_on_like_whoever_applied_the_log, 1
        ),
    ),
    ("ReadsUnapplied", test_clerk.test_a_read_waits_until_its_index_is_applied_here),
    ("DeniesWhatItSent", test_clerk.test_what_was_sent_may_have_happened),
    (
        "NumbersAnew",
        test_clerk.test_a_command_that_was_given_up_happens_once_at_most_if_it_comes_late,
    ),
    (
        "MixesLives",
        test_clerk.test_an_answer_to_an_earlier_life_of_the_node_is_none_to_this_one,
    ),
    (
        "ReadsAnywhere",
        test_consensus.test_a_leader_answers_questions_about_reads_and_nobody_else_does,
    ),
    ("TakesAnyLog", test_consensus.test_what_concerns_another_log_is_not_taken),
    ("TakesRelaysTwice", test_relaying.test_a_message_that_comes_by_several_ways_is_taken_once),
    ("BelievesRelays", test_relaying.test_a_stranger_is_not_believed),
    (
        "PassesOnForEver",
        test_relaying.test_whoever_gets_it_from_the_origin_passes_it_on_and_nobody_else_does,
    ),
    ("GoesDirectly", partial(test_availability.test_a_hub_is_enough, 1)),
    ("SpeaksAllVersions", test_codec.test_another_version_is_refused_by_name),
    ("IgnoresChecksums", test_codec.test_every_flipped_bit_is_noticed),
]

OTHER_RULES: list[tuple[str, Test]] = [
    ("AcceptsTwice", partial(test_ledger.test_a_task_is_accepted_once, ClaimMode.LEASE)),
    ("IgnoresFences", partial(test_ledger.test_a_fenced_holder_is_not_accepted, ClaimMode.LEASE)),
    (
        "AcceptsFromAnybody",
        partial(test_ledger.test_only_the_holder_s_result_is_accepted, ClaimMode.RAFT),
    ),
    ("CountsResultsTwice", test_ledger.test_the_same_result_proposed_again_is_nothing_new),
    (
        "IgnoresNeeds",
        partial(test_ledger.test_nothing_is_accepted_before_what_it_needs, ClaimMode.LEASE),
    ),
    ("BelievesOneAnswer", test_ledger.test_a_quorum_accepts_when_enough_answers_agree),
    ("AcceptsGaps", test_store.test_a_gap_is_refused_and_changes_nothing),
    ("LastArrivalWins", test_store.test_siblings_are_exactly_the_writes_that_nobody_has_seen),
    ("BelievesAnyBatch", test_store.test_a_forged_batch_is_refused),
    ("PushesEarly", test_gossip.test_an_own_write_is_on_disk_before_it_is_told),
    ("BelievesAnybody", test_membership.test_a_refutation_by_a_stranger_is_refused),
    ("HeedsOldRumors", test_membership.test_an_older_accusation_counts_for_nothing),
    (
        "HeedsTheOtherSide",
        partial(test_healing.test_a_cut_that_heals_makes_nobody_a_suspect, 16),
    ),
    (
        "AccusesAgain",
        test_healing.test_what_a_cut_costs_grows_with_those_it_parts_and_not_with_its_pairs,
    ),
    (
        "ReplacesBlindly",
        test_council.test_nothing_is_changed_while_most_of_the_team_is_out_of_sight,
    ),
]

SPREADING_RULES: list[tuple[str, Test]] = [
    ("NeverRefutes", test_membership.test_a_living_suspect_refutes_with_a_higher_incarnation),
    ("OneWitness", test_evidence.test_one_witness_is_not_enough),
    ("OldWitnesses", test_evidence.test_who_lives_refutes_a_refusal),
    ("AccusesAlone", test_evidence.test_who_accuses_alone_waits_longer),
    ("BlamesAfterPause", test_local_health.test_who_gets_little_time_gives_suspects_more),
    (
        "ConcludesUnheard",
        test_local_health.test_who_gets_little_time_hears_what_came_before_it_asks_others,
    ),
    (
        "ExpectsTheUsual",
        test_local_health.test_where_most_answer_slowly_nobody_is_accused_of_it,
    ),
    (
        "LetsTheForgottenKnock",
        partial(test_membership.test_two_who_forgot_each_other_find_each_other_again, False),
    ),
    ("NeverDoubtsItself", test_local_health.test_waits_grow_with_trouble_and_shrink_with_answers),
    ("TakesOldRows", test_evidence.test_an_older_row_changes_nothing),
    ("RemembersForEver", test_local_health.test_who_is_gone_for_long_is_forgotten_and_stays_so),
    (
        "BelievesTheOtherSide",
        test_membership.test_a_failure_that_comes_as_a_surprise_is_a_suspicion,
    ),
    ("NeverCompares", test_membership.test_what_push_missed_is_found_by_comparing_views),
    ("DropsDots", test_store.test_a_later_write_replaces_what_it_has_seen),
    ("CollectsEarly", test_collecting.test_the_matrix_knows_what_all_have),
    (
        "DropsBeforeReplaced",
        test_collecting.test_a_newcomer_shows_what_the_others_show_that_have_as_much,
    ),
    ("BuriesEarly", test_collecting.test_a_deletion_is_kept_as_long_as_anything_of_its_key),
    ("CollectsUnseen", test_collecting.test_a_deletion_is_kept_until_all_have_what_it_deleted),
    ("ForgetsLateness", test_returning.test_an_answer_that_is_lost_is_asked_for_again),
    ("BelievesAnyHoldings", test_returning.test_what_nobody_was_asked_for_drops_nothing),
    ("ClaimsEarly", test_gossip.test_a_digest_tells_only_of_what_is_durable),
    ("NeverReconciles", test_collecting.test_a_late_returner_does_not_bring_back_what_was_deleted),
    ("SkipsAnywhere", test_collecting.test_only_what_follows_is_skipped),
    ("NoQuota", test_store.test_a_quota_bounds_every_author),
    (
        "OverlooksForks",
        test_collecting.test_an_author_with_two_histories_is_found_out_and_believed_no_more,
    ),
    (
        "KeepsForked",
        test_collecting.test_an_author_with_two_histories_is_found_out_and_believed_no_more,
    ),
    (
        "ForgetsForks",
        test_gossip.test_the_proof_against_a_liar_survives_a_restart_and_reaches_who_comes_later,
    ),
    ("AnswersWhatWaits", test_entries.test_each_answered_write_counts_in_an_overloaded_team),
    ("ForgesMatch", test_gossip.test_what_push_missed_is_repaired_by_digest),
    ("PushesAnySize", test_gossip.test_what_is_large_is_fetched_from_one_node),
    ("AnswersEndlessly", test_gossip.test_a_delta_that_brings_nothing_is_not_asked_to_go_on),
]

LEASE = ClaimMode.LEASE
TEAM_RULES: list[tuple[str, Test]] = [
    ("RacesInCrowds", test_racing.test_a_race_needs_a_holder_and_its_token),
    ("RacesOn", partial(test_racing.test_who_races_and_loses_stops_at_once, LEASE)),
    ("RacesAnything", partial(test_racing.test_only_the_longest_chain_is_raced, LEASE)),
    (
        "RacesTheUsual",
        partial(test_racing.test_a_task_is_raced_once_it_takes_longer_than_is_usual, LEASE),
    ),
    (
        "BeginsAnew",
        partial(test_racing.test_the_racer_takes_the_place_of_a_holder_that_dies, LEASE),
    ),
    ("WitnessesItself", test_reviewing.test_nobody_is_its_own_witness),
    ("ReviewsItself", test_reviewing.test_who_is_left_alone_waits_for_a_witness),
    (
        "TakesItAgain",
        partial(test_reviewing.test_what_is_wrong_is_done_again_by_somebody_else, LEASE),
    ),
    ("AcceptsUnreviewed", test_reviewing.test_nobody_is_its_own_witness),
    (
        "KeepsWhatItFails",
        test_failing.test_who_failed_a_task_leaves_it_to_others_and_tries_again_after_a_while,
    ),
    (
        "NeverPauses",
        test_failing.test_who_fails_in_a_row_pauses_ever_longer_until_it_succeeds,
    ),
    (
        "KeepsWhatItStops",
        partial(test_stopping.test_a_lone_node_that_is_restarted_goes_on, LEASE),
    ),
    (
        "AnswersTwice",
        partial(test_failing.test_independent_answers_come_from_different_nodes, ClaimMode.LEADER),
    ),
    (
        "WaitsForWhoFails",
        partial(test_failing.test_nobody_waits_for_an_answer_of_who_fails_whatever_it_does, LEASE),
    ),
    ("CountsOutages", test_failing.test_an_endpoint_that_is_away_uses_up_no_attempts),
    (
        "WaitsForEver",
        partial(
            test_failing.test_an_outage_that_lasts_too_long_fails_the_task_and_names_the_endpoint,
            False,
        ),
    ),
    (
        "MergesUnreviewed",
        test_merge_checks.test_no_merge_counts_before_another_node_has_checked_it,
    ),
    (
        "BeginsUnwritten",
        test_spending.test_the_reservation_is_on_the_disk_before_the_call_begins,
    ),
    ("ForgetsCalls", test_spending.test_what_was_reserved_when_a_node_died_counts_as_spent),
    ("GivesTooMuch", test_spending.test_nobody_gives_what_it_has_not),
    ("GrantsForEver", test_spending.test_the_log_gives_out_what_there_is_and_no_more),
    ("CallsInCrowds", test_spending.test_one_call_at_a_time_is_under_way_where_it_is_paid_for),
    ("ForgivesOverruns", test_spending.test_what_another_has_overrun_is_nobody_s_to_spend),
    ("CountsTwice", test_shares.test_who_is_stopped_while_its_answer_is_checked_is_counted_once),
    ("IgnoresTime", test_wall_budget.test_the_alarm_rings_when_the_time_is_over),
    (
        "LaterStands",
        test_merging.test_nobody_builds_on_versions_that_have_not_seen_each_other,
    ),
    ("AsksAtOnce", test_pacing.test_a_node_alone_has_all_of_it),
    ("NeverListens", test_pacing.test_a_bucket_holds_one_call),
]

RULES = RAFT_RULES + REGISTER_RULES + OTHER_RULES + SPREADING_RULES + TEAM_RULES


def whole(test: Test) -> Test:
    """The test itself, without the arguments that are chosen for it here."""
    return test.func if isinstance(test, partial) else test


def call(test: Test) -> None:
    """Run a test by hand, as pytest would."""
    names = inspect.signature(test).parameters
    test(**{name: make() for name, make in FIXTURES.items() if name in names})


@pytest.mark.parametrize(
    ("name", "test"), RULES, ids=[f"{name}-{at}" for at, (name, _) in enumerate(RULES)]
)
def test_a_rule_is_missed(name: str, test: Test, monkeypatch: pytest.MonkeyPatch) -> None:
    call(test)
    MUTANTS[name].breed(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception, RemoteProtocolError)):
        call(test)


def test_every_mutant_is_caught_by_a_test() -> None:
    assert {name for name, _ in RULES} == set(MUTANTS)
    assert len(MUTANTS) == sum(
        len(place.MUTANTS)
        for place in (
            raft_mutants,
            raft_log_mutants,
            register_mutants,
            mutants,
            spreading_mutants,
            team_mutants,
        )
    )


def test_each_rule_is_another_and_stands_in_one_line() -> None:
    rules = [mutant.rule for mutant in MUTANTS.values()]
    assert len(set(rules)) == len(rules)
    assert all(len(rule) < 60 and "\n" not in rule for rule in rules)
