"""What clones gain in a plan: exact where nothing is left to chance, and never a loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from ledger_hand import job, task

from node import lists
from node.lab.expecting import Expectation, expectation_of
from node.lab.forecasting import forecasts_of
from node.lab.races import NEVER, Effort, Played, RacedSchedule, Races, overdue_after
from protocol import graph
from protocol.jobs import Job, Quorum, Speculation

PAIR = {"a": (), "b": ()}
CHAIN = {"a": (), "b": ("a",)}


def play(
    needs: graph.Needs,
    lengths: dict[str, float],
    agents: int,
    again: dict[str, Sequence[float]],
    after: float = 2.0,
) -> Played:
    """One slot a task; each has a clone for each length in `again`."""
    clones = max(map(len, again.values()))
    races = Races(
        clones, dict.fromkeys(needs, (after,)), {name: (each,) for name, each in again.items()}
    )
    slots = {name: (length,) for name, length in lengths.items()}
    return RacedSchedule(needs, dict.fromkeys(needs, 1.0)).play(slots, agents, races)


def way(found: Played) -> tuple[float, int, tuple[str, ...]]:
    """How long it took, how many slots were worked on at once, and which tasks were raced."""
    return found.makespan, found.busy, tuple(clone.task for clone in found.clones)


def test_an_idle_agent_races_what_is_overdue_and_the_first_result_stands() -> None:
    found = play(PAIR, {"a": 1.0, "b": 10.0}, 2, {"a": (1.0,), "b": (3.0,)})
    assert way(found) == (5.0, 2, ("b",)), "overdue after 2, and the clone takes 3"
    assert found.stopped == {Effort("b", 0, 0): 5.0}


def test_a_clone_that_is_slower_gains_nothing_and_loses_nothing() -> None:
    found = play(PAIR, {"a": 1.0, "b": 4.0}, 2, {"a": (1.0,), "b": (9.0,)})
    assert way(found) == (4.0, 2, ("b",))
    assert found.stopped == {Effort("b", 0, 1): 2.0}, "the clone, which had begun after 2"


def test_nobody_races_who_has_something_to_do_and_nobody_alone() -> None:
    lengths, again = {"a": 10.0, "b": 10.0}, {"a": (1.0,), "b": (1.0,)}
    assert way(play(PAIR, lengths, 1, again)) == (20.0, 1, ())
    assert way(play(PAIR, lengths, 2, again)) == (10.0, 2, ())
    assert way(play(PAIR, lengths, 3, again)) == (4.0, 2, ("a", "b")), "one after the other"


def test_only_the_critical_path_is_raced() -> None:
    needs = {"a": (), "b": (), "c": ("b",)}
    found = play(needs, {"a": 20.0, "b": 10.0, "c": 1.0}, 3, dict.fromkeys(needs, (1.0,)))
    assert way(found) == (4.0, 2, ("b", "a")), "b is done after 3; from then on a is as far behind"


def test_who_has_lost_a_race_goes_on_with_what_follows() -> None:
    found = play(CHAIN, {"a": 10.0, "b": 1.0}, 2, {"a": (1.0,), "b": (1.0,)})
    assert way(found) == (4.0, 1, ("a",))


def test_more_clones_are_begun_by_as_many_idle_agents() -> None:
    again = {"a": (5.0, 3.0, 1.0)}
    spans = [play({"a": ()}, {"a": 10.0}, agents, again).makespan for agents in (1, 2, 3, 4, 9)]
    assert spans == [10.0, 7.0, 5.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("attempts", "after"),
    [([3.0], 2.0), ([1.0], NEVER), ([1.0, 1.5, 4.0], 4.5), ([2.0, 2.0], NEVER), ([0.5], NEVER)],
)
def test_each_attempt_is_waited_for_anew(attempts: list[float], after: float) -> None:
    assert overdue_after(attempts, 2.0) == after


@pytest.mark.parametrize("seed", range(20))
def test_without_races_it_is_the_list_schedule_and_with_them_never_slower_where_one_is_left(
    seed: int,
) -> None:
    random = Random(seed)
    names = [f"t{number}" for number in range(12)]
    needs = {
        name: tuple(random.sample(names[:at], min(at, random.randrange(3))))
        for at, name in enumerate(names)
    }
    lengths = {
        name: [random.expovariate(1.0) for _ in range(random.randint(1, 3))] for name in needs
    }
    plain = graph.ListSchedule(needs)
    raced = RacedSchedule(needs, dict.fromkeys(needs, 1.0))
    for agents in (1, 2, 5, 40):
        assert raced.play(lengths, agents).makespan == plain.makespan(lengths, agents)
    after = {name: [random.random()] * len(of) for name, of in lengths.items()}
    again = {name: [[random.expovariate(1.0)] for _ in of] for name, of in lengths.items()}
    races = Races(1, after, again)
    plenty = 2 * sum(map(len, lengths.values()))  # whoever races keeps nobody from beginning
    assert raced.play(lengths, plenty, races).makespan <= plain.makespan(lengths, plenty)


# -- in a forecast ---------------------------------------------------------------------------------


def raced(job: Job, clones: int, **options: int) -> Job:
    return replace(job, speculation=Speculation(clones, **options))


def test_a_quorum_stops_what_is_worked_on_and_never_begins_what_nobody_has() -> None:
    schedule = RacedSchedule(CHAIN, dict.fromkeys(CHAIN, 1.0))
    lengths = {"a": [5.0, 1.0, 2.0, 1.0], "b": [1.0]}
    needed = {"a": 2, "b": 1}
    alone, pair, many = (schedule.play(lengths, size, None, needed) for size in (1, 2, 9))
    assert (alone.makespan, pair.makespan, many.makespan) == (7.0, 4.0, 2.0)
    assert alone.unbegun == (Effort("a", 2, 0), Effort("a", 3, 0))
    assert pair.unbegun == (Effort("a", 3, 0),)
    assert pair.stopped == {Effort("a", 0, 0): 3.0}
    assert many.stopped == {Effort("a", 0, 0): 1.0, Effort("a", 2, 0): 1.0}
    assert not many.unbegun


def test_a_race_has_the_length_of_the_quicker_one_and_costs_both_as_far_as_they_came() -> None:
    """Of two exponential lengths the lesser is half as long on average. What was sent counts."""
    single = job(replace(task("a"), agent="openai"))
    exponential = Expectation(
        "a die", "s", lambda task, random: random.expovariate(1.0), {"a": (100.0, 10.0)}
    )
    alone, pair = forecasts_of(raced(single, 1, percentile=0), exponential, (2,), 1.0, 1)
    assert pair.makespan / alone.makespan == pytest.approx(0.5, abs=0.08)
    assert (alone.races, pair.races, pair.busy) == (0.0, 1.0, 1)
    assert (alone.tokens_in, alone.tokens_out, alone.cost) == (100, 10, 1.0)
    assert (pair.tokens_in, pair.races) == (200, 1.0)
    assert 10 < pair.tokens_out < 20, "who has lost has not written all of it"
    assert 210 <= pair.tokens_low < pair.tokens_in + pair.tokens_out < pair.tokens_high < 220
    checked = replace(exponential, checked_s=(100.0, 100.0))
    late = forecasts_of(raced(single, 1, percentile=0), checked, (2,), 1.0, 1)[-1]
    assert (late.tokens_out, late.cost) == (20, 2.0), "both had answered when one was accepted"


def test_a_simulated_call_that_is_stopped_is_counted_by_its_words() -> None:
    """A few hundred tokens, where a whole one is told to have read thousands: a plan that counted
    all of it was a fifth too high for races, and a quorum's for the answers that nobody begins."""
    found = lists.load("mathutils_p02")
    expectation = expectation_of(found, "gpt", 1.0, ())
    whole = sum(map(sum, expectation.tokens.values())) / len(found.tasks)
    forecast = forecasts_of(raced(found, 1, percentile=0), expectation, (1, 3), 1.0, 1)[-1]
    beside = forecast.cost * whole * len(found.tasks) - whole * len(found.tasks)
    assert 0 < beside / forecast.races < whole / 3
    voted = job(replace(found.tasks[0], id="a", quorum=Quorum(5, 3)))
    expectation = expectation_of(voted, "gpt", 1.0, ())
    alone, team = forecasts_of(voted, expectation, (5,), 1.0, 1)
    assert alone.cost == 3.0, "two are never begun"
    assert 3.0 < team.cost < 4.0, "two are stopped"


def test_clones_gain_where_lengths_vary_and_not_where_they_do_not() -> None:
    found = lists.load("mathutils_p05")
    expectation = expectation_of(found, "gpt", 4.0, ())
    plain, clones = (
        forecasts_of(each, expectation, (8,), 1.0, 1)[-1] for each in (found, raced(found, 1))
    )
    assert clones.makespan < plain.makespan
    assert clones.tokens_in > plain.tokens_in
    assert (plain.races, plain.cost) == (0.0, 1.0)
    steady = Expectation("a stop-watch", "s", lambda task, random: 3.0, expectation.tokens)
    constant = forecasts_of(raced(found, 1), steady, (8,), 1.0, 1)[-1]
    assert (constant.races, constant.cost) == (0.0, 1.0), "nothing takes longer than is usual"


def test_a_time_after_which_to_race_counts_where_seconds_are_known() -> None:
    single = job(task("a"))
    late = raced(single, 1, percentile=0)
    late = replace(late, speculation=replace(late.speculation, after_s=100.0))
    seconds = Expectation("", "s", lambda task, random: 3.0, {"a": (0, 0)})
    assert forecasts_of(late, seconds, (2,), 1.0, 1)[-1].races == 0.0
    weights = replace(seconds, unit="")
    assert forecasts_of(late, weights, (2,), 1.0, 1)[-1].races == 1.0


def test_a_quorum_is_raced_slot_by_slot() -> None:
    voted = raced(job(task("a", quorum=Quorum(3, 2))), 1, percentile=0)
    steady = Expectation("", "s", lambda task, random: 3.0, {"a": (10.0, 0.0)})
    forecast = forecasts_of(voted, steady, (6,), 1.0, 1)[-1]
    assert (forecast.busy, forecast.races, forecast.tokens_in) == (3, 3.0, 60)
