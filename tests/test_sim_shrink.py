"""A peer with one rule removed fails at some seed, and what made it fail becomes small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from protocol.clocks import Nanoseconds
from protocol.config import Config
from protocol.effects import Effect, Persist, Restored
from protocol.events import Event
from protocol.identity import NOBODY, Identity
from protocol.peer import Peer, PeerSettings
from protocol.sim.faults import kind_of
from protocol.sim.plan import Plan, plan_of
from protocol.sim.scenario import Outcome, Verdict, simulate
from protocol.sim.shrink import Shrunk, shrink

SEEDS_MAX = 60
RUNS_MAX = 30
STEPS_MAX = 10_000  # of a run: a broken peer may also begin a storm


class Forgetful(Peer):
    """What was durable is not all there after a restart."""

    def __init__(
        self,
        identity: Identity,
        settings: PeerSettings,
        config: Config,
        restored: Restored,
        now: Nanoseconds,
    ) -> None:
        super().__init__(identity, settings, config, self.remembered(restored), now)

    def remembered(self, restored: Restored) -> Restored:
        raise NotImplementedError


class ForgetsEntry(Forgetful):
    """The last entry of the log is missing."""

    def remembered(self, restored: Restored) -> Restored:
        return replace(restored, entries=restored.entries[:-1] or restored.entries)


class ForgetsVote(Forgetful):
    """The vote is missing: a node may vote twice in a term."""

    def remembered(self, restored: Restored) -> Restored:
        return replace(restored, hard_state=replace(restored.hard_state, vote=NOBODY))


class SpeaksFirst(Peer):
    """What is promised leaves before it is durable."""

    def step(self, event: Event, now: Nanoseconds) -> list[Effect]:
        return sorted(super().step(event, now), key=lambda effect: isinstance(effect, Persist))


@cache
def first_failure(mutant: type[Peer], first: int = 0) -> Outcome:
    for seed in range(first, first + SEEDS_MAX):
        outcome = simulate(seed, peer=mutant)
        if outcome.verdict is not Verdict.HELD:
            return outcome
    raise AssertionError(f"{mutant.__name__} survived {SEEDS_MAX} seeds")


def with_peer(mutant: type[Peer]) -> Callable[[Plan], Outcome]:
    return lambda plan: simulate(plan.seed, plan=plan, peer=mutant, steps_max=STEPS_MAX)


@cache
def forgotten_entry() -> Shrunk:
    return shrink(first_failure(ForgetsEntry, 8), with_peer(ForgetsEntry), RUNS_MAX)


def test_a_peer_that_forgets_an_entry_is_found_and_its_plan_becomes_small() -> None:
    failed, shrunk = first_failure(ForgetsEntry, 8), forgotten_entry()
    small = shrunk.outcome.plan
    assert shrunk.runs <= RUNS_MAX
    assert (shrunk.outcome.verdict, shrunk.outcome.checker) == (failed.verdict, failed.checker)
    assert len(small.faults) <= 3 < len(failed.plan.faults)
    assert {kind_of(fault) for fault in small.faults} <= {kind_of(f) for f in failed.plan.faults}
    assert small.nodes <= failed.plan.nodes
    assert small.end_ns <= failed.plan.end_ns


def test_what_a_small_plan_is_called_repeats_it() -> None:
    shrunk = forgotten_entry().outcome
    made = shrunk.plan.reduction
    again = plan_of(shrunk.seed, made.nodes, made.only_faults, made.until_ns, made.plain)
    assert again == shrunk.plan
    assert simulate(shrunk.seed, plan=again, peer=ForgetsEntry) == shrunk
    assert simulate(shrunk.seed, plan=again).verdict is Verdict.HELD, "the rule makes it hold"


def test_what_needs_no_fault_shrinks_to_none() -> None:
    failed = first_failure(SpeaksFirst)
    assert failed.checker in ("durable_append", "durable_vote")
    shrunk = shrink(failed, with_peer(SpeaksFirst), RUNS_MAX).outcome
    assert shrunk.plan.faults == ()
    assert "--only-faults none" in shrunk.plan.command


def test_shrinking_is_bounded() -> None:
    runs: list[Plan] = []

    def run(plan: Plan) -> Outcome:
        runs.append(plan)
        return simulate(plan.seed, plan=plan, peer=SpeaksFirst)

    assert shrink(first_failure(SpeaksFirst), run, 5).runs == len(runs) == 5


def test_a_peer_that_forgets_its_vote_is_found_within_a_hundred_seeds() -> None:
    """Nodes crash just after they voted, while two candidates compete."""
    failed = first_failure(ForgetsVote, 149)
    assert failed.verdict is Verdict.INVARIANT_BROKEN
    assert failed.checker in ("election_safety", "one_vote_per_term")
    assert simulate(failed.seed).verdict is Verdict.HELD


def test_a_failed_seed_fails_alike_every_time() -> None:
    failed = first_failure(ForgetsEntry, 8)
    assert simulate(failed.seed, peer=ForgetsEntry) == failed
