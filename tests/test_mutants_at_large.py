"""Mutants at large: a simulated run must end with the name of the invariant that is broken.

Who is found by what the swarm draws, is found so; who needs more luck than a test has time for, by
plans that are aimed at the rule (`aimed_plans`). To look for seeds again after a change:

    PYTHONPATH=. python tests/test_mutants_at_large.py [NAME ...]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest
from aimed_plans import AIMS
from test_mutants import MUTANTS

from protocol.sim.scenario import Outcome, Verdict, simulate

SEEDS_TRIED = 25  # a change of the protocol may move the seed that shows it: those after it count
STEPS_MAX = 120_000
SWARM = "swarm"
ASSERTION = "AssertionError"  # the machine's own, where two places can check one thing


@dataclass(frozen=True, slots=True)
class Loose:
    """A mutant, from which seed on it is looked for in which kind of plan, and who names it."""

    name: str
    plans: str
    seed: int
    checkers: tuple[str, ...]


LOOSE = [
    Loose("VoteForgotten", SWARM, 2, ("durable_vote",)),
    Loose("VotesTwice", SWARM, 20, ("one_vote_per_term",)),
    Loose("VotesForAnyLog", "elections", 12, ("leader_completeness",)),
    Loose("SkipsPreVote", SWARM, 2, ("asked_before",)),
    Loose("NeverSticks", SWARM, 2, ("leader_protected",)),
    Loose("LeadsUnsure", "damage", 139, ("durable_term",)),
    Loose("CountsOldVotes", "elections", 62, ("asked_before", "election_safety")),
    Loose("NeverStepsDown", SWARM, 18, ("majority_heard",)),
    Loose("WaitsForItsDisk", "hung", 1, ("disk_answers",)),
    Loose("TakesAnyTail", SWARM, 15, ("tail_bounded",)),
    Loose("CountsItselfEarly", SWARM, 1, ("durable_acknowledgement", "durable_commit")),
    Loose("AcknowledgesAgain", SWARM, 5, ("durable_append",)),
    Loose("AcknowledgesEarly", SWARM, 2, ("durable_append",)),
    Loose("TruncatesAlways", SWARM, 22, ("durable_append", "durable_commit")),
    Loose("CommitsWhatItIsTold", "reads", 1, ("state_machine_safety",)),
    Loose("DropsWhatFollows", "sessions", 29, ("durable_append", "durable_commit")),
    Loose("BelievesLessons", "gossips", 1, ("state_machine_safety", "log_matching")),
    Loose("IgnoresLowHints", "damage", 2, ("convergence",)),
    Loose("ReadsAlone", "reads", 1, ("read_confirmed", "linearizable", "read_index")),
    Loose("ReadsTooSoon", "reads", 1, ("read_index", "linearizable")),
    Loose("CountsOldRounds", SWARM, 6, ("read_confirmed",)),
    Loose("ReadsAnywhere", "reads", 2, ("read_confirmed", "read_index", "linearizable")),
    Loose("IgnoresMargin", "leases", 6, ("lease_over",)),
    Loose("LeaseFromAnswer", "late answers", 30, ("lease_over",)),
    Loose("KeepsLease", "leases", 11, ("lease_over",)),
    Loose("ForgetsPromise", "forgetful", 30, ("promise_kept",)),
    Loose("CountsLearners", SWARM, 13, ("durable_commit",)),
    Loose("ChangesTooSoon", SWARM, 7, ("settled_before_change",)),
    Loose("LosesConfiguration", "sessions", 1, ("durable_commit",)),
    Loose("TakesOldSnapshots", "sessions", 1, (ASSERTION,)),
    Loose("AnswersEveryAnswer", "parts", 1, ("one_stream",)),
    Loose("VotesImpaired", SWARM, 9, ("impaired_votes",)),
    Loose("BelievesHistory", "damage", 3, ("readmitted_late",)),
    Loose("AppliesTwice", "sessions", 29, ("linearizable", "exactly_once")),
    Loose("AppliesAhead", "sessions", 8, ("linearizable", "exactly_once")),
    Loose("ForgetsSessions", "sessions", 1, ("linearizable", "exactly_once")),
    Loose("ForgetsNumbers", "sessions", 1, ("linearizable", "exactly_once")),
    Loose("ReadsUnapplied", "reads", 1, ("linearizable",)),
    Loose("DeniesWhatItSent", "patience", 2, ("definite_failure", "linearizable")),
    Loose("NumbersAnew", "sessions", 123, ("linearizable", "exactly_once", "IndexError")),
    Loose("MixesLives", "readers", 16, ("read_confirmed", "read_index", "linearizable")),
    Loose("ReplacesBlindly", "blackouts", 1, ("in_sight_of_most",)),
    Loose("TakesRelaysTwice", "roundabout", 4, ("answered_once",)),
    Loose("BelievesRelays", "roundabout", 8, ("state_machine_safety", "log_matching")),
    Loose("IgnoresChecksums", SWARM, 2, ("corruption_noticed",)),
    Loose("AcceptsTwice", SWARM, 8, ("single_acceptance",)),
    Loose("IgnoresFences", "zombies", 2, ("fencing",)),
    Loose("CountsResultsTwice", SWARM, 1, ("one_result",)),
    Loose("BelievesOneAnswer", "liars", 5, ("honest_quorum",)),
    Loose("AcceptsUnreviewed", SWARM, 2, ("reviewed_by_other", "honest_review")),
    Loose("MergesUnreviewed", SWARM, 18, ("merge_reviewed",)),
    Loose("LaterStands", SWARM, 11, ("edits_kept",)),
    Loose("CountsTwice", SWARM, 4, ("counted_once",)),
    Loose("ForgetsCalls", "thrift", 15, ("budget",)),
    Loose("GivesTooMuch", "thrift", 3, ("budget",)),
    Loose("GrantsForEver", "thrift", 3, ("budget",)),
    Loose("IgnoresTime", SWARM, 12, ("wall_budget",)),
    Loose("AcceptsGaps", SWARM, 1, ("gap_free",)),
    Loose("LastArrivalWins", SWARM, 1, ("causal_order", "equal_values", "no_resurrection")),
    Loose("PushesEarly", "authors", 2, ("said_once", "convergence")),
    Loose("BelievesAnyBatch", "gossips", 1, ("said_once",)),
    Loose("BelievesAnybody", "gossips", 1, ("own_word",)),
    Loose("HeedsOldRumors", SWARM, 1, ("accused_by",)),
    Loose("NeverRefutes", SWARM, 1, (ASSERTION, "convergence")),
    Loose("RemembersForEver", SWARM, 21, (ASSERTION,)),
    Loose("DropsDots", "absences", 1, ("causal_order",)),
    Loose("CollectsEarly", "absences", 1, ("collected_had",)),
    Loose("CollectsUnseen", "absences", 11, ("equal_values", "no_resurrection", "causal_order")),
    Loose("BuriesEarly", "absences", 11, ("equal_values", "no_resurrection", "causal_order")),
    Loose("SkipsAnywhere", "absences", 2, ("collected_is_spent",)),
    Loose("AnswersWhatWaits", "overloads", 1, ("answered_is_kept",)),
    Loose("NeverReconciles", "absences", 1, ("equal_values", "no_resurrection", "causal_order")),
    Loose("ForgetsLateness", "absences", 1, ("equal_values", "no_resurrection", "causal_order")),
    Loose("NoQuota", "quotas", 1, ("within_quota",)),
    Loose("ForgesMatch", SWARM, 1, ("equal_values", "collected_had")),
]


def run(plans: str, seed: int) -> Outcome:
    """One run of a kind of plans."""
    plan = None if plans == SWARM else AIMS[plans](seed)
    return simulate(seed, plan=plan, steps_max=STEPS_MAX)


def first_found(loose: Loose) -> int:
    """The seed at which it is named."""
    for seed in range(loose.seed, loose.seed + SEEDS_TRIED):
        outcome = run(loose.plans, seed)
        if outcome.verdict is not Verdict.HELD:
            assert outcome.checker in loose.checkers, outcome.summary()
            return seed
    raise AssertionError(f"{loose.name} survived {SEEDS_TRIED} seeds")


@pytest.mark.parametrize("loose", LOOSE, ids=[loose.name for loose in LOOSE])
def test_a_checker_names_what_went_wrong(loose: Loose, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[loose.name].breed(monkeypatch)
    first_found(loose)


@pytest.mark.parametrize("plans", AIMS)
def test_nothing_goes_wrong_under_these_plans_if_no_rule_is_missing(plans: str) -> None:
    outcome = run(plans, 1)
    assert outcome.verdict is Verdict.HELD, outcome.summary()


def test_one_mutant_is_at_large_in_one_way() -> None:
    names = [loose.name for loose in LOOSE]
    assert len(set(names)) == len(names)
    assert set(names) <= set(MUTANTS)


def hunt(names: list[str]) -> None:
    """Say from which seed on each is found, beginning with the first."""
    for loose in LOOSE:
        if names and loose.name not in names:
            continue
        with pytest.MonkeyPatch.context() as patch:
            MUTANTS[loose.name].breed(patch)
            for seed in range(1, 500):
                outcome = run(loose.plans, seed)
                if outcome.verdict is not Verdict.HELD:
                    print(f"{loose.name}: {loose.plans} {seed}, {outcome.checker}", flush=True)
                    break


if __name__ == "__main__":
    hunt(sys.argv[1:])
