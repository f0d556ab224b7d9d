"""What a job will take a team of each size, before it is begun; and whether a team is worth it.

A plan is the list schedule (Graham 1969) of drawn lengths, many times over: medians and the middle
90 %. There is no coordination in it beyond what `expecting` counts for an attempt, no races and no
faults; an attempt fails as often as is said and is then repeated.

Invariant: same job, same expectation, same seed: same plan; the work is bounded, by STEPS_MAX or,
for a job that is larger still, by the DRAWS_MIN draws without which there is no interval.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from node.agents.permits import Prices
from node.lab.expecting import Expectation, PlanError
from protocol import graph
from protocol.jobs import Compare, Job, Task, shown

AGENTS_MAX = 64  # as many as a local team may have
SIZES = (1, 2, 3, 4, 5, 8, 16, 32)
DRAWS = 400
DRAWS_MIN = 5  # of a job of very many tasks, where chance evens out
STEPS_MAX = 1_000_000  # slots scheduled beyond DRAWS_MIN, over all draws and sizes: a few seconds
GAIN_MIN = 1.3  # how much faster than one agent a team must be; below, coordination and luck eat it
NEARLY = 0.9  # of the best speed-up is good enough: the rest would cost many more agents
ABLE = 0.45  # above it more agents made results worse rather than better (arXiv 2512.08296)
_RANGE = re.compile(r"([0-9]{1,3})(?:-([0-9]{1,3}))?")


@dataclass(frozen=True, slots=True)
class Forecast:
    """A team of one size. The bounds count all tasks as equally long; `makespan` is the median,
    and 90 % of the draws lie between `low` and `high`, in the plan's unit."""

    agents: int
    amdahl: float
    work_span: float
    makespan: float
    low: float
    high: float
    speed_up: float


@dataclass(frozen=True, slots=True)
class Plan:
    """See the module's text. `levels` are the tasks by the number of tasks in the longest chain
    before them. Tokens and money are the same for every size, for a task is not done twice;
    `token_multiplier` compares them with one good answer to each task. Money (USD) is None where
    no price is known."""

    job: str
    needs: Mapping[str, Sequence[str]]
    levels: Sequence[Sequence[str]]
    critical_path: Sequence[str]
    source: str
    unit: str
    draws: int
    success: float | None
    failing: float
    sizes: Sequence[Forecast]
    tokens_in: int
    tokens_out: int
    token_multiplier: float
    usd: float | None
    sensible: int
    advice: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def plan(
    job: Job,
    expectation: Expectation,
    sizes: Sequence[int] = SIZES,
    success: float | None = None,
    seed: int = 1,
    prices: Prices | None = None,
) -> Plan:
    """Plan a job. `success` is the share of attempts that pass their check, above 0 (None: nobody
    has said; they all do)."""
    if success is not None and not 0.0 < success <= 1.0:
        raise PlanError(f"success {success:g} is a share of attempts: use a value above 0, up to 1")
    share = 1.0 if success is None else success
    forecasts = forecasts_of(job, expectation, sizes, share, seed)
    attempts = {task.id: _attempts(task, share) * task.quorum.of for task in job.tasks}
    once = [sum(of) for of in zip(*expectation.tokens.values(), strict=True)]
    read, written = (
        sum(attempts[task] * tokens[at] for task, tokens in expectation.tokens.items())
        for at in (0, 1)
    )
    usd = (read * prices.read + written * prices.written) / 1e12 if prices else None
    multiplier = (read + written) / sum(once) if sum(once) else 1.0
    sensible = sensible_size(forecasts)
    passing = 1.0
    for task in job.tasks:
        passing *= 1.0 - _abandoned(task, share)
    return Plan(
        job=job.name,
        needs=job.needs,
        levels=levels_of(job.needs),
        critical_path=graph.critical_path(job.needs, job.weights),
        source=expectation.source,
        unit=expectation.unit,
        draws=draws_of(job, len(forecasts)),
        success=success,
        failing=round(1.0 - passing, 4),
        sizes=forecasts,
        tokens_in=round(read),
        tokens_out=round(written),
        token_multiplier=round(multiplier, 3),
        usd=usd,
        sensible=sensible,
        advice=[
            *_on_size(forecasts, sensible, expectation.unit),
            *([_on_tokens(multiplier)] if any(once) else []),
            *([_on_success(100 * success, 100 * ABLE)] if success is not None else []),
        ],
    )


def sizes_of(text: str) -> tuple[int, ...]:
    """The sizes that a text such as 1-32 or 2,5,8-10 stands for; those of SIZES if it is empty."""
    if not text.strip():
        return SIZES
    sizes: set[int] = set()
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        first = int(found[1]) if found else 0
        last = int(found[2] or first) if found else 0
        if not 1 <= first <= last <= AGENTS_MAX:
            raise PlanError(
                f"agents {shown(text)}: write numbers or ranges from 1 to {AGENTS_MAX}, like 1-32 "
                "or 2,4,8"
            )
        sizes.update(range(first, last + 1))
    return tuple(sorted(sizes))


def levels_of(needs: graph.Needs) -> list[list[str]]:
    """The tasks by how many come before them in the longest chain."""
    depth: dict[str, int] = {}
    levels: list[list[str]] = []
    for task in graph.topological_order(needs):
        depth[task] = 1 + max((depth[need] for need in needs[task]), default=-1)
        levels += [[]] if depth[task] == len(levels) else []
        levels[depth[task]].append(task)
    return levels


# -- drawing ---------------------------------------------------------------------------------------


def draws_of(job: Job, sizes: int) -> int:
    """How many times a job is drawn for a plan of so many sizes."""
    steps = sum(task.quorum.of for task in job.tasks) * sizes
    return max(DRAWS_MIN, min(DRAWS, STEPS_MAX // steps))


def forecasts_of(
    job: Job, expectation: Expectation, sizes: Sequence[int], success: float, seed: int
) -> list[Forecast]:
    """One of each size, in order, all from the same draws; the first is of one agent."""
    schedule = graph.ListSchedule(job.needs, job.weights)
    spans: dict[int, list[float]] = {size: [] for size in sorted({1, *sizes})}
    for number in range(draws_of(job, len(spans))):
        random = Random(f"plan/{seed}/{number}")
        lengths = {task.id: _drawn(task, expectation, success, random) for task in job.tasks}
        for size, found in spans.items():
            found.append(schedule.makespan(lengths, size))
    alone = statistics.median(spans[1])
    return [_forecast(job, size, sorted(found), alone) for size, found in spans.items()]


def _forecast(job: Job, size: int, found: Sequence[float], alone: float) -> Forecast:
    median = statistics.median(found)
    edge = len(found) // 20
    return Forecast(
        size,
        round(graph.amdahl_bound(job.needs, size), 3),
        round(graph.work_span_bound(job.needs, size), 3),
        round(median, 3),
        round(found[edge], 3),
        round(found[-1 - edge], 3),
        round(alone / median, 3),
    )


def _drawn(task: Task, expectation: Expectation, success: float, random: Random) -> list[float]:
    """How long each slot of a task is worked on. When enough agree, the slower ones are stopped."""
    lengths = []
    for _ in range(task.quorum.of):
        length = expectation.draw(task, random)
        for _ in range(task.attempts_max - 1):
            if success >= 1.0 or random.random() < success:
                break
            length += expectation.draw(task, random)
        lengths.append(length)
    if task.quorum.compare is Compare.JUDGE:  # who wants to see all answers
        return lengths
    enough = sorted(lengths)[task.quorum.agree - 1]
    return [min(length, enough) for length in lengths]


def _attempts(task: Task, success: float) -> float:
    """How many attempts it takes on average, when the last one ends it either way."""
    return float((1.0 - (1.0 - success) ** task.attempts_max) / success)


def _abandoned(task: Task, success: float) -> float:
    """How likely it is that a task ends without a result: by the team's rule, when as many attempts
    have failed as its slots have together, in whichever slots, before enough have passed (negative
    binomial). A slot that has its answer is not attempted any more, but that closes none of the
    others. Answers that pass are taken to agree."""
    quorum = task.quorum
    needs_all = quorum.compare is Compare.JUDGE and quorum.agree > 1  # a judge sees all at once
    needed = quorum.of if needs_all else quorum.agree
    trials = needed + task.attempts_max * quorum.of - 1
    return math.fsum(
        math.comb(trials, passed) * success**passed * (1.0 - success) ** (trials - passed)
        for passed in range(needed)
    )


# -- what follows from it --------------------------------------------------------------------------


def sensible_size(forecasts: Sequence[Forecast]) -> int:
    """The smallest that is nearly as fast as the fastest; 1 if even that gains little."""
    best = max(each.speed_up for each in forecasts)
    if best < GAIN_MIN:
        return 1
    return next(each.agents for each in forecasts if each.speed_up >= NEARLY * best)


def _on_size(forecasts: Sequence[Forecast], sensible: int, unit: str) -> list[str]:
    """Which size is sensible; nothing if no team was asked about."""
    alone, *teams = forecasts
    if not teams:
        return []
    best = max(teams, key=lambda each: each.speed_up)
    if sensible == 1:
        return [
            f"One agent is better: {best.agents} would be {best.speed_up:.2f} times as fast, and "
            f"under {GAIN_MIN} a team is not worth its coordination."
        ]
    chosen = next(each for each in teams if each.agents == sensible)
    more = ""
    if best is not chosen:
        more = f"; {best.agents} would be {best.speed_up:.1f} times as fast"
    return [
        f"{sensible} agents are sensible: {chosen.speed_up:.1f} times as fast as one "
        f"({time_of(chosen.makespan, unit)} instead of {time_of(alone.makespan, unit)}){more}."
    ]


def _on_tokens(multiplier: float) -> str:
    """What a team costs beside one agent."""
    if multiplier <= 1.0:
        return "Each task is done once: a team of any size uses the tokens of one agent."
    return (
        f"A team of any size uses the tokens of one agent: {multiplier:.1f} times those of one "
        "good answer to each task, for quorums and repeated attempts."
    )


def _on_success(share: float, able: float) -> str:
    """What an agent's own success means for a team; both in per cent."""
    if share > able:
        return (
            f"One agent is right in {share:.0f} % of its attempts: above some {able:.0f} % more "
            "agents do not make the result better (arXiv 2512.08296), only earlier."
        )
    return (
        f"One agent is right in only {share:.0f} % of its attempts: below some {able:.0f} % more "
        "agents can also make the result better (arXiv 2512.08296): by quorum, or verify_by: other."
    )


def time_of(length: float, unit: str) -> str:
    """A length for people."""
    digits = 0 if length >= 1_000 else 1 if length >= 1 else 2
    return f"{length:.{digits}f} {unit}".rstrip()
