"""The goal of pacing: 16 nodes, of whose calls under 2 % are refused after the first second, and
who use the limit within 10 %; against servers that count in several ways, by whichever means the
nodes know the limit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pacing_crowd import Crowd, FixedWindow, Server, SlidingWindow, TokenBucket

from protocol.clocks import MILLISECOND, SECOND, Nanoseconds

RATE = 10.0
LONG: Nanoseconds = 10 * SECOND
REFUSED_MAX, USED_MIN = 0.02, 0.9
SERVERS: dict[str, Callable[[], Server]] = {
    "bucket": lambda: TokenBucket(RATE),
    "large bucket": lambda: TokenBucket(RATE, 5.0),
    "fixed window": lambda: FixedWindow(RATE, LONG),
    "sliding window": lambda: SlidingWindow(RATE, LONG),
}
every_server = pytest.mark.parametrize("server", SERVERS)
in_whole_seconds = pytest.mark.parametrize("whole", [True, False], ids=["seconds", "exact"])


def shares(crowd: Crowd, first: Nanoseconds = SECOND, rate: float = RATE) -> tuple[float, float]:
    """(refused, used) in 30 s from so long after the first call on."""
    crowd.run(first + 31 * SECOND)
    begin = crowd.served[0] + first
    return crowd.shares(begin, begin + 30 * SECOND, rate)


@every_server
@in_whole_seconds
def test_a_limit_that_was_told_is_kept_and_used(server: str, whole: bool) -> None:
    refused, used = shares(Crowd(SERVERS[server](), said=RATE, whole=whole))
    assert refused == 0.0
    assert USED_MIN <= used <= 1.0


@pytest.mark.parametrize("seed", [1, 2, 3])
@in_whole_seconds
def test_a_limit_that_was_learnt_is_kept_and_used(seed: int, whole: bool) -> None:
    refused, used = shares(Crowd(SERVERS["bucket"](), whole=whole, seed=seed))
    assert refused < REFUSED_MAX
    assert used >= USED_MIN


@pytest.mark.parametrize("server", ["fixed window", "sliding window"])
def test_so_is_that_of_a_window(server: str) -> None:
    """From the second window on: most of the first was used up in its first second."""
    refused, used = shares(Crowd(SERVERS[server]()), first=LONG)
    assert refused < REFUSED_MAX
    assert used >= USED_MIN


@in_whole_seconds
def test_a_limit_that_is_configured_too_high_yields_to_the_lesson(whole: bool) -> None:
    refused, used = shares(Crowd(SERVERS["bucket"](), said=2 * RATE, whole=whole))
    assert refused < REFUSED_MAX
    assert used >= USED_MIN


def test_an_accident_lowers_a_configured_limit_for_a_moment_only() -> None:
    crowd = Crowd(TokenBucket(RATE), said=RATE)
    crowd.run(10 * SECOND)
    crowd.server = FixedWindow(0, SECOND)  # takes nothing for a moment
    crowd.run(10 * SECOND + 300 * MILLISECOND)
    assert crowd.refused
    crowd.server = TokenBucket(RATE)
    crowd.run(42 * SECOND)
    refused, used = crowd.shares(11 * SECOND, 41 * SECOND, RATE)
    assert refused == 0.0
    assert used >= 0.93


def test_a_server_that_lets_little_through_at_once_is_not_overrun() -> None:
    """The nodes' calls follow each other evenly: three of 16 may come at once, and none is one too
    many. They came as chance would have it, and one in ten was refused."""
    refused, used = shares(Crowd(TokenBucket(RATE, 0.3), said=RATE))
    assert refused == 0.0
    assert used >= USED_MIN


def test_a_limit_that_rises_is_found() -> None:
    crowd = Crowd(TokenBucket(RATE))
    crowd.run(20 * SECOND)
    crowd.server = TokenBucket(3 * RATE)
    crowd.run(81 * SECOND)
    refused, used = crowd.shares(50 * SECOND, 80 * SECOND, 3 * RATE)
    assert refused < REFUSED_MAX
    assert used >= 0.8


def test_a_limit_that_falls_is_found() -> None:
    crowd = Crowd(TokenBucket(3 * RATE))
    crowd.run(30 * SECOND)
    crowd.server = TokenBucket(RATE)
    crowd.run(71 * SECOND)
    refused, used = crowd.shares(40 * SECOND, 70 * SECOND, RATE)
    assert refused < REFUSED_MAX
    assert used >= 0.8


def test_who_hears_late_has_more_refused_and_keeps_the_limit() -> None:
    """Words and answers that take 20 ms: what is under way when a refusal comes is refused too."""
    refused, used = shares(Crowd(TokenBucket(RATE), lag=20 * MILLISECOND, whole=False))
    assert refused < REFUSED_MAX
    assert used >= USED_MIN


def test_what_a_node_was_told_that_has_gone_is_no_limit() -> None:
    """Found in a review: after a refusal it lowered the limit all the same, to less than half."""
    crowd = Crowd(TokenBucket(2 * RATE), size=2, slots=20)
    crowd.nodes[1].said = 1_000
    crowd.run(2 * SECOND)
    crowd.lose(1)
    crowd.run(42 * SECOND)
    refused, used = crowd.shares(11 * SECOND, 41 * SECOND, 2 * RATE)
    assert crowd.refused
    assert refused < REFUSED_MAX
    assert used >= USED_MIN


@pytest.mark.parametrize("said", [0.0, RATE], ids=["never", "earlier"])
def test_nodes_that_hear_of_a_limit_do_not_fall_into_step(said: float) -> None:
    """Found in a review: 50 that had known of none called all but at once, and so again in
    every round."""
    crowd = Crowd(TokenBucket(10**6), said=said, size=50, took=SECOND)
    crowd.run(10 * SECOND)
    for node in crowd.nodes:
        node.said = 0
    crowd.run(25 * SECOND)
    assert rate_max(crowd, 20 * SECOND, 25 * SECOND) > 2 * RATE, "there is no limit now"
    crowd.nodes[0].said = int(RATE * 1_000)
    crowd.run(60 * SECOND)
    first = next(at for at in crowd.served if at >= 27 * SECOND)
    assert rate_max(crowd, first, 60 * SECOND) <= 2 * RATE
    _, used = crowd.shares(30 * SECOND, 60 * SECOND, RATE)
    assert used >= USED_MIN


def rate_max(crowd: Crowd, begin: Nanoseconds, end: Nanoseconds) -> int:
    """How many calls were made in the busiest second."""
    calls = [at for at in crowd.served if begin <= at < end]
    return max(sum(at <= each < at + SECOND for each in calls) for at in calls)
