"""What a job will take teams of several sizes: time, tokens, money, each by the same draws.

A forecast is a list schedule (Graham 1969) of drawn lengths, many times over, with the races that
the job asks for: medians and the middle 90 %. There is no coordination in it beyond what
`expecting` counts for an attempt, and no faults; an attempt fails as often as is said and is then
repeated.

Invariant: same job, same expectation, same seed: same forecast; the work is bounded, by STEPS_MAX
or, for a job that is larger still, by the DRAWS_MIN draws without which there is no interval.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from node.agents.permits import Prices
from node.lab.chances import attempts_of
from node.lab.expecting import Expectation, Tokens
from node.lab.races import Played, RacedSchedule, Races, overdue_after
from protocol import graph
from protocol.jobs import Compare, Job, Task

DRAWS = 400
DRAWS_MIN = 5  # of a job of very many tasks, where chance evens out
STEPS_MAX = 1_000_000  # slots scheduled beyond DRAWS_MIN, over all draws and sizes: a few seconds
USUAL_SAMPLE = 400  # lengths from which it is told when a slot is overdue


@dataclass(frozen=True, slots=True)
class Forecast:
    """A team of one size. The bounds count all tasks as equally long; `makespan` is the median,
    and 90 % of the draws lie between `low` and `high`, in the plan's unit. `speed_up` is beside one
    agent that does the same; `gain` and `cost` are beside one that answers each task once: times as
    fast, and times the tokens (or, where none are used, the work). `busy` is how many agents had
    something to do at once at most, races apart; `races` how many clones a run has on average.
    Tokens are means, in 95 % of the draws at most `tokens_high` in all. Money (USD) is None where
    no price is known."""

    agents: int
    amdahl: float
    work_span: float
    makespan: float
    low: float
    high: float
    speed_up: float
    gain: float
    cost: float
    busy: int
    races: float
    tokens_in: int
    tokens_out: int
    tokens_high: int
    usd: float | None


@dataclass(slots=True)
class _Draw:
    """One draw of a whole job, by task and slot: how long the attempts take, and how long is worked
    on the slot; when it is overdue, and how long its clones would take."""

    attempts: dict[str, list[list[float]]] = field(default_factory=dict)
    lengths: dict[str, list[float]] = field(default_factory=dict)
    after: dict[str, list[float]] = field(default_factory=dict)
    again: dict[str, list[list[float]]] = field(default_factory=dict)
    alone: float = 0.0  # one agent that answers each task once


def draws_of(job: Job, sizes: int) -> int:
    """How many times a job is drawn for a plan of so many sizes."""
    steps = sum(task.quorum.of for task in job.tasks) * sizes
    return max(DRAWS_MIN, min(DRAWS, STEPS_MAX // steps))


def forecasts_of(
    job: Job,
    expectation: Expectation,
    sizes: Sequence[int],
    success: float,
    seed: int,
    prices: Prices | None = None,
) -> list[Forecast]:
    """One of each size, in order, all from the same draws; the first is of one agent. `success` is
    the share of attempts that pass, above 0, up to 1."""
    schedule = RacedSchedule(job.needs, job.weights)
    usual = _usual(job, expectation, seed)
    plays: dict[int, list[tuple[Played, int]]] = {size: [] for size in sorted({1, *sizes})}
    alone: list[float] = []
    tokens = {task: sum(each) for task, each in expectation.tokens.items()}
    for number in range(draws_of(job, len(plays))):
        draw = _drawn(job, expectation, success, Random(f"plan/{seed}/{number}"))
        if usual:
            _draw_clones(draw, job, expectation, success, usual, Random(f"race/{seed}/{number}"))
        alone.append(draw.alone)
        races = Races(job.speculation.clones, draw.after, draw.again) if usual else None
        used = sum(sum(map(len, draw.attempts[task])) * each for task, each in tokens.items())
        for size, played in plays.items():
            found = schedule.play(draw.lengths, size, races)
            played.append((found, round(used + sum(tokens[task] for task in found.raced))))
    costs = _Costs(job, expectation.tokens, success, prices)
    one = statistics.median(each.makespan for each, _ in plays[1])
    return [
        _forecast(job, size, played, one, statistics.median(alone), costs)
        for size, played in plays.items()
    ]


def _forecast(
    job: Job,
    size: int,
    played: Sequence[tuple[Played, int]],
    one: float,
    alone: float,
    costs: _Costs,
) -> Forecast:
    found = sorted(each.makespan for each, _ in played)
    median = statistics.median(found)
    edge = len(found) // 20
    raced = [task for each, _ in played for task in each.raced]
    read, written = costs.tokens(raced, len(played))
    return Forecast(
        agents=size,
        amdahl=round(graph.amdahl_bound(job.needs, size), 3),
        work_span=round(graph.work_span_bound(job.needs, size), 3),
        makespan=round(median, 3),
        low=round(found[edge], 3),
        high=round(found[-1 - edge], 3),
        speed_up=round(one / median, 3),
        gain=round(alone / median, 3),
        cost=round(costs.times(raced, len(played)), 3),
        busy=max(each.busy for each, _ in played),
        races=round(len(raced) / len(played), 2),
        tokens_in=round(read),
        tokens_out=round(written),
        tokens_high=sorted(used for _, used in played)[-1 - edge],
        usd=costs.usd(read, written),
    )


class _Costs:
    """What attempts cost on average: those that the job has in any case, and clones beside."""

    def __init__(
        self, job: Job, tokens: Mapping[str, Tokens], success: float, prices: Prices | None
    ) -> None:
        self._tasks = {task.id: task for task in job.tasks}
        self._each = {task.id: attempts_of(task, success) for task in job.tasks}
        self._tokens = tokens
        self._prices = prices

    def tokens(self, raced: Sequence[str], draws: int) -> Tokens:
        """Read and written by a run of the job. `raced` are the clones of so many draws."""
        read, written = (
            sum(
                self._each[task] * self._tasks[task].quorum.of * tokens[at]
                for task, tokens in self._tokens.items()
            )
            + sum(self._tokens[task][at] for task in raced) / draws
            for at in (0, 1)
        )
        return read, written

    def times(self, raced: Sequence[str], draws: int) -> float:
        """How many times as much as one agent that answers each task once."""
        each = {task: sum(tokens) for task, tokens in self._tokens.items()}
        if not any(each.values()):  # programs: by how much work it is
            each = {name: task.weight for name, task in self._tasks.items()}
        once = sum(self._each[task] * each[task] for task in each)
        of = {name: task.quorum.of for name, task in self._tasks.items()}
        whole = sum(self._each[task] * of[task] * each[task] for task in each)
        return (whole + sum(each[task] for task in raced) / draws) / once

    def usd(self, read: float, written: float) -> float | None:
        if self._prices is None:
            return None
        return (read * self._prices.read + written * self._prices.written) / 1e12


# -- drawing ---------------------------------------------------------------------------------------


def _drawn(job: Job, expectation: Expectation, success: float, random: Random) -> _Draw:
    draw = _Draw()
    for task in job.tasks:
        slots = [_attempts(task, expectation, success, random) for _ in range(task.quorum.of)]
        draw.alone += sum(slots[0])
        draw.lengths[task.id] = _as_far_as_needed(task, [sum(slot) for slot in slots])
        draw.attempts[task.id] = slots
    return draw


def _draw_clones(
    draw: _Draw,
    job: Job,
    expectation: Expectation,
    success: float,
    usual: Mapping[str, float],
    random: Random,
) -> None:
    """With a random of their own, so that a job is drawn alike with races and without."""
    for task in job.tasks:
        slots = draw.attempts[task.id]
        draw.after[task.id] = [overdue_after(slot, usual[task.id]) for slot in slots]
        draw.again[task.id] = [
            [
                sum(_attempts(task, expectation, success, random))
                for _ in range(job.speculation.clones)
            ]
            for _ in slots
        ]


def _attempts(task: Task, expectation: Expectation, success: float, random: Random) -> list[float]:
    """How long the attempts at one answer take, the last of which ends it."""
    lengths = [expectation.draw(task, random)]
    while len(lengths) < task.attempts_max and success < 1.0 and random.random() >= success:
        lengths.append(expectation.draw(task, random))
    return lengths


def _as_far_as_needed(task: Task, lengths: Sequence[float]) -> list[float]:
    """How long each slot is worked on. When enough agree, the slower ones are stopped."""
    if task.quorum.compare is Compare.JUDGE:  # who wants to see all answers
        return list(lengths)
    enough = sorted(lengths)[task.quorum.agree - 1]
    return [min(length, enough) for length in lengths]


def _usual(job: Job, expectation: Expectation, seed: int) -> dict[str, float]:
    """After which time each task is raced; empty if none is. As the team goes by: the percentile of
    all tasks' attempts, for their weights."""
    speculation = job.speculation
    if not speculation.clones:
        return {}
    random = Random(f"usual/{seed}")
    sample = sorted(
        expectation.draw(task, random) / task.weight
        for task in (random.choice(job.tasks) for _ in range(USUAL_SAMPLE))
    )
    at = min(len(sample) - 1, len(sample) * speculation.percentile // 100)
    usual = sample[at] if speculation.percentile else 0.0
    # `after_s` counts where lengths are in seconds; of proportions nothing can be said of it.
    least = speculation.after_s if expectation.unit == "s" else 0.0
    return {task.id: max(usual * task.weight, least) for task in job.tasks}
