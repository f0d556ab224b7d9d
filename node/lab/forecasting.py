"""What a job will take teams of several sizes: time, tokens, money, each by the same draws.

A forecast is a list schedule (Graham 1969) of drawn lengths, many times over, with the races that
the job asks for: medians and the middle 90 %. There is no coordination in it beyond what
`expecting` counts for an attempt, and no faults; an attempt fails as often as is said and is then
repeated. What is not needed any more is stopped, as a race that is lost: it costs what its model
has read and written by then, and all of it if the model had answered already.

Invariant: same job, same expectation, same seed: same forecast; the work is bounded, by STEPS_MAX
or, for a job that is larger still, by the DRAWS_MIN draws without which there is no interval.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from node.agents.permits import Prices
from node.lab.chances import answers_needed, attempts_of
from node.lab.expecting import Expectation, Tokens
from node.lab.races import Effort, Played, RacedSchedule, Races, overdue_after
from node.lab.sending import counted_when_stopped
from protocol import graph
from protocol.jobs import Job, Task

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
    Tokens are means, in 90 % of the draws from `tokens_low` to `tokens_high` in all. Money (USD) is
    None where no price is known."""

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
    tokens_low: int
    tokens_high: int
    usd: float | None


@dataclass(slots=True)
class _Draw:
    """One draw of a whole job, by task and slot: how long the attempts take, those of the slot and
    those of each of its clones; and when the slot is overdue. `checked` is how long before its end
    an attempt has its answer."""

    attempts: dict[str, list[list[float]]] = field(default_factory=dict)
    after: dict[str, list[float]] = field(default_factory=dict)
    again: dict[str, list[list[list[float]]]] = field(default_factory=dict)
    alone: float = 0.0  # one agent that answers each task once
    checked: float = 0.0

    @property
    def lengths(self) -> dict[str, list[float]]:
        return {task: [sum(slot) for slot in slots] for task, slots in self.attempts.items()}

    def races(self, clones: int) -> Races:
        lengths = {
            task: [[sum(attempts) for attempts in slot] for slot in slots]
            for task, slots in self.again.items()
        }
        return Races(clones, self.after, lengths)

    def of(self, effort: Effort) -> list[float]:
        """How long the attempts would take that it is made of."""
        if effort.clone:
            return self.again[effort.task][effort.slot][effort.clone - 1]
        return self.attempts[effort.task][effort.slot]


def draws_of(job: Job, sizes: int) -> int:
    """How many times a job is drawn for a plan of so many sizes."""
    steps = sum(task.quorum.of for task in job.tasks) * sizes
    return max(DRAWS_MIN, min(DRAWS, STEPS_MAX // steps))


def forecasts_of(
    job: Job,
    expectation: Expectation,
    sizes: Sequence[int],
    success: float | Mapping[str, float],
    seed: int,
    prices: Prices | None = None,
) -> list[Forecast]:
    """One of each size, in order, all from the same draws; the first is of one agent. `success` is
    the share of attempts that pass, of all or by task, from 0 to 1."""
    if isinstance(success, float):
        success = dict.fromkeys(job.needs, success)
    schedule = RacedSchedule(job.needs, job.weights)
    usual = _usual(job, expectation, seed)
    costs = _Costs(job, expectation, success, prices)
    needed = {task.id: answers_needed(task) for task in job.tasks}
    plays: dict[int, list[_Play]] = {size: [] for size in sorted({1, *sizes})}
    alone: list[float] = []
    for number in range(draws_of(job, len(plays))):
        draw = _drawn(job, expectation, success, Random(f"plan/{seed}/{number}"))
        if usual:
            _draw_clones(draw, job, expectation, success, usual, Random(f"race/{seed}/{number}"))
        draw.checked = Random(f"check/{seed}/{number}").uniform(*expectation.checked_s)
        alone.append(draw.alone)
        races = draw.races(job.speculation.clones) if usual else None
        lengths, whole = draw.lengths, costs.whole(draw)
        for size, played in plays.items():
            found = schedule.play(lengths, size, races, needed)
            played.append(_Play(found, whole, costs.beside(draw, found)))
    one = statistics.median(each.played.makespan for each in plays[1])
    return [
        _forecast(job, size, played, one, statistics.median(alone), costs)
        for size, played in plays.items()
    ]


class _Play(NamedTuple):
    """One draw as played by one team: the tokens of all its slots, and what came beside them: more
    for clones, less for what was stopped or never begun."""

    played: Played
    whole: float
    beside: Tokens


def _forecast(
    job: Job,
    size: int,
    plays: Sequence[_Play],
    one: float,
    alone: float,
    costs: _Costs,
) -> Forecast:
    found = sorted(each.played.makespan for each in plays)
    median = statistics.median(found)
    edge = len(found) // 20
    beside = (
        statistics.fmean(each.beside[0] for each in plays),
        statistics.fmean(each.beside[1] for each in plays),
    )
    read, written = costs.tokens(beside)
    used = sorted(each.whole + sum(each.beside) for each in plays)
    return Forecast(
        agents=size,
        amdahl=round(graph.amdahl_bound(job.needs, size), 3),
        work_span=round(graph.work_span_bound(job.needs, size), 3),
        makespan=round(median, 3),
        low=round(found[edge], 3),
        high=round(found[-1 - edge], 3),
        speed_up=round(one / median, 3),
        gain=round(alone / median, 3),
        cost=round(costs.times(beside), 3),
        busy=max(each.played.busy for each in plays),
        races=round(statistics.fmean(len(each.played.clones) for each in plays), 2),
        tokens_in=round(read),
        tokens_out=round(written),
        tokens_low=round(used[edge]) if costs.uses_tokens else 0,
        tokens_high=round(used[-1 - edge]) if costs.uses_tokens else 0,
        usd=costs.usd(read, written),
    )


class _Costs:
    """What attempts cost: on average those that the job has in any case, and by the draw what comes
    beside. Of programs, which use no tokens, it is their weight."""

    def __init__(
        self,
        job: Job,
        expectation: Expectation,
        success: Mapping[str, float],
        prices: Prices | None,
    ) -> None:
        self._expected = {task.id: attempts_of(task, success[task.id]) for task in job.tasks}
        self._of = {task.id: task.quorum.of for task in job.tasks}
        self.uses_tokens = any(sum(tokens) for tokens in expectation.tokens.values())
        self._each = expectation.tokens
        if not self.uses_tokens:
            self._each = {task.id: (0.0, task.weight) for task in job.tasks}
        self._prices = prices
        may_stop = job.speculation.clones or any(answers_needed(t) < t.quorum.of for t in job.tasks)
        self._stopped = counted_when_stopped(job) if may_stop and self.uses_tokens else {}

    def whole(self, draw: _Draw) -> float:
        """All attempts of all slots, each brought to its end."""
        return sum(
            sum(map(len, slots)) * sum(self._each[task]) for task, slots in draw.attempts.items()
        )

    def beside(self, draw: _Draw, played: Played) -> Tokens:
        """What this way to play it used beside that."""
        read = written = 0.0
        for efforts, sign in ((played.clones, 1), (played.unbegun, -1)):
            for effort in efforts:
                count = sign * len(draw.of(effort))
                read += count * self._each[effort.task][0]
                written += count * self._each[effort.task][1]
        for effort, lasted in played.stopped.items():
            attempts = draw.of(effort)
            used = self._until(effort.task, attempts, lasted, draw.checked)
            read += used[0] - len(attempts) * self._each[effort.task][0]
            written += used[1] - len(attempts) * self._each[effort.task][1]
        return read, written

    def _until(self, task: str, attempts: Sequence[float], lasted: float, checked: float) -> Tokens:
        """What an effort has used that was stopped after so long. Of an answer that has not come
        yet, what was sent and has been written counts."""
        read, written = self._each[task]
        used = 0
        for length in attempts:
            answered = length - checked
            if lasted < answered:
                sent, whole = self._stopped.get(task, (read, written))
                heard = min(written, whole) * lasted / answered
                return used * read + min(read, sent), used * written + heard
            used, lasted = used + 1, lasted - length
            if lasted <= 0.0:
                break
        return used * read, used * written

    def tokens(self, beside: Tokens) -> Tokens:
        """Read and written by a run of the job, with so much beside on average."""
        if not self.uses_tokens:
            return 0.0, 0.0
        read, written = (
            sum(
                self._expected[task] * self._of[task] * each[at]
                for task, each in self._each.items()
            )
            + beside[at]
            for at in (0, 1)
        )
        return read, written

    def times(self, beside: Tokens) -> float:
        """How many times as much as one agent that answers each task once."""
        once = {task: self._expected[task] * sum(each) for task, each in self._each.items()}
        whole = sum(self._of[task] * each for task, each in once.items())
        return (whole + sum(beside)) / sum(once.values())

    def usd(self, read: float, written: float) -> float | None:
        if self._prices is None:
            return None
        return (read * self._prices.read + written * self._prices.written) / 1e12


# -- drawing ---------------------------------------------------------------------------------------


def _drawn(
    job: Job, expectation: Expectation, success: Mapping[str, float], random: Random
) -> _Draw:
    draw = _Draw()
    for task in job.tasks:
        share = success[task.id]
        slots = [_attempts(task, expectation, share, random) for _ in range(task.quorum.of)]
        draw.alone += sum(slots[0])
        draw.attempts[task.id] = slots
    return draw


def _draw_clones(
    draw: _Draw,
    job: Job,
    expectation: Expectation,
    success: Mapping[str, float],
    usual: Mapping[str, float],
    random: Random,
) -> None:
    """With a random of their own, so that a job is drawn alike with races and without."""
    for task in job.tasks:
        slots = draw.attempts[task.id]
        draw.after[task.id] = [overdue_after(slot, usual[task.id]) for slot in slots]
        draw.again[task.id] = [
            [
                _attempts(task, expectation, success[task.id], random)
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
