"""Raft at random: Figure 3's invariants after every step of a storm, and one leader after it."""

from __future__ import annotations

from functools import cache

import pytest
from raft_storm import Storm, survive
from test_mutants import MUTANTS

from protocol.errors import RemoteProtocolError

SEEDS = range(1, 13)
STEPS = 2_500


@cache
def storm_of(seed: int) -> Storm:
    return survive(seed, STEPS)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_storm_breaks_no_invariant_and_ends(seed: int) -> None:
    storm_of(seed)


def test_storms_are_storms() -> None:
    """They elect, commit, read, compact, change and crash; else they prove nothing."""
    storms = [storm_of(seed) for seed in SEEDS]
    assert sum(len(storm.leaders) for storm in storms) > 20
    assert sum(storm.commit_max for storm in storms) > 200
    assert sum(storm.reads_done for storm in storms) > 50
    words = [str(fact) for storm in storms for seat in storm.seats.values() for fact in seat.facts]
    for kind in ("VotersChanged", "LogCompacted", "SnapshotInstalled", "TransferBegan"):
        assert sum(kind in word for word in words) > 5, kind


def test_one_seed_is_one_storm() -> None:
    one, other = (Storm(7, keeps_lines=True) for _ in range(2))
    for storm in (one, other):
        storm.rage(500)
    assert one.transcript() == other.transcript()


# Which seed shows the lack of a rule, and what is broken then. A change of the protocol may move
# it: the seeds after it are tried too.
SEEDS_TRIED = 25
LOOSE: list[tuple[str, int, str]] = [
    ("FallsSilent", 13, "liveness: leaders"),
    ("VoteForgotten", 1, "a vote is durable before it is told"),
    ("VotesTwice", 1, "one vote"),
    ("VotesForAnyLog", 1, "leader completeness"),
    ("CountsItselfEarly", 1, "durable commit"),
    ("AcknowledgesEarly", 1, "durable before acknowledged"),
    ("CountsOldAnswers", 1, "never sent"),
    ("TruncatesAlways", 1, "durable commit"),
    ("CommitsWhatItIsTold", 6, "state machine safety"),
    ("ReadsTooSoon", 10, "stale read"),
    ("BreaksOwnPromise", 1, "promise kept by a candidate"),
    ("CountsLearners", 32, "durable commit"),
    ("ChangesTwice", 1, "one change at a time"),
    ("LosesConfiguration", 1, "overlap"),
]


# What has to happen more often than it does, or it would be found with luck only.
FAVOURED = {
    "FallsSilent": ("change_something", "crash_something"),
}
STEPS_FAVOURED = 1_500


@pytest.mark.parametrize(("name", "seed", "broken"), LOOSE, ids=[row[0] for row in LOOSE])
def test_a_storm_shows_the_lack_of_a_rule(
    name: str, seed: int, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    MUTANTS[name].breed(monkeypatch)
    with pytest.raises((AssertionError, RemoteProtocolError), match=broken):
        survive_all(range(seed, seed + SEEDS_TRIED), FAVOURED.get(name, ()))


@pytest.mark.parametrize("favoured", FAVOURED.values(), ids=FAVOURED)
def test_a_storm_of_what_is_favoured_breaks_no_invariant(favoured: tuple[str, ...]) -> None:
    survive_all(range(1, 7), favoured)


def survive_all(seeds: range, favoured: tuple[str, ...]) -> None:
    for seed in seeds:
        survive(seed, STEPS_FAVOURED if favoured else STEPS, favoured)
