"""What attempts at the tasks of a job will take and use, as far as it is known beforehand: from the
latencies measured of a model, from former runs, or by the weights alone.

Invariant: a draw is above 0, and follows from the random numbers that are given.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any, TypeAlias

from node.jobfile.travelling import read_regular
from node.model.knobs import MODELS
from node.model.latency import lognormal_of, tokens_of
from protocol.errors import QuorateError
from protocol.jobs import MODEL_KINDS, Job, Task, shown

HISTORIES_MAX = 20
HISTORY_SIZE_MAX = 32 * 1024 * 1024  # bytes of a former run's file
OWN_MIN = 3  # former attempts at a task, before its own share of failures is gone by
FIGURE_MAX = 10**12  # seconds or tokens, as far as a file is believed
# An attempt's time beside its model: the prompt, the check, the acceptance. Measured with the
# packaged lists on two cores; 0.13 s where nothing else ran.
BESIDE_S = 0.15
# How much of that comes after the answer: what is stopped by then has cost a whole answer. With a
# quick model much hangs on it: by the tokens of races it was 0.06 s on two cores that were free,
# and over 0.2 s where they had twice as much to do as they could.
CHECKED_S = (0.06, 0.2)

Tokens: TypeAlias = tuple[float, float]  # read, written


class PlanError(QuorateError):
    """Something that no plan can be made of; one line."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """Where it comes from, for people; how long one attempt at a task takes, as drawn; and what it
    uses. `unit` is s, or empty where only the proportions are known. `success` is the share of
    attempts that passed in former runs; None if there are none that tell. `own` has the same of
    each task of which enough attempts are known, and `rest` is that of all others together;
    `lengths` is what each task took on average, empty if nothing is known but weights. `checked_s`
    is how long before its end an attempt has its answer already, between so much and so much."""

    source: str
    unit: str
    draw: Callable[[Task, Random], float]
    tokens: Mapping[str, Tokens]
    success: float | None = None
    own: Mapping[str, float] = field(default_factory=dict)
    rest: float | None = None
    lengths: Mapping[str, float] = field(default_factory=dict)
    checked_s: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class _History:
    """A former run: task -> seconds, tokens read and written of the attempt that was accepted; and
    how many attempts failed, in all and by task, None if it does not say."""

    rows: Mapping[str, tuple[float, float, float]]
    failed: int | None
    failed_by_task: Mapping[str, int] | None


def expectation_of(job: Job, model: str, speed: float, histories: Sequence[Path]) -> Expectation:
    """The best there is: former runs, else the figures of a model if every task asks one, else the
    weights. PlanError if a history cannot be read or has nothing about this job."""
    if model not in MODELS:
        raise PlanError(f"no latencies of {shown(model)} were measured: use {', '.join(MODELS)}")
    if histories:
        return _recorded(job, model, histories)
    if all(task.agent in MODEL_KINDS for task in job.tasks):
        return _measured(job, model, speed)
    source = "a guess: weights alone, as not every task asks a model (give a --history for seconds)"
    return Expectation(source, "", lambda task, random: task.weight, _tokens(job, model))


def _measured(job: Job, model: str, speed: float) -> Expectation:
    """The simulated model answers at `speed` times its pace and knows nothing of weights."""

    def draw(task: Task, random: Random) -> float:
        drawn_s = random.lognormvariate(*lognormal_of(model, len(task.writes)))
        is_simulated = task.agent == "simulated"
        return BESIDE_S + (drawn_s / speed if is_simulated else drawn_s * task.weight)

    pace = ""
    if speed != 1.0 and any(task.agent == "simulated" for task in job.tasks):
        pace = f" at {speed:g} times its pace (simulated)"
    source = f"latencies measured of {model} (lognormal, arXiv 2603.12229){pace}"
    if any(task.agent != "simulated" for task in job.tasks):
        source = f"a guess: your model is as quick as {source} (give a --history of your own)"
    return Expectation(source, "s", draw, _tokens(job, model), checked_s=CHECKED_S)


def _tokens(job: Job, model: str) -> dict[str, Tokens]:
    return {
        task.id: tokens_of(model, f"{job.description}\n{task.prompt}", len(task.writes))
        if task.agent in MODEL_KINDS
        else (0, 0)
        for task in job.tasks
    }


# -- former runs -----------------------------------------------------------------------------------


def _recorded(job: Job, model: str, paths: Sequence[Path]) -> Expectation:
    """Each task as one of its former attempts; one that is new, as a former one of any task, by
    its weight."""
    if len(paths) > HISTORIES_MAX:
        raise PlanError(f"{len(paths)} histories, the limit is {HISTORIES_MAX}: name fewer")
    histories = [_history(path) for path in paths]
    rows = [(task, row) for history in histories for task, row in history.rows.items()]
    weights, tokens = job.weights, _tokens(job, model)
    samples: dict[str, list[float]] = {}
    used: dict[str, list[Tokens]] = {}
    for task_id, (took_s, *amounts) in rows:
        if task_id in weights:
            samples.setdefault(task_id, []).append(took_s)
            used.setdefault(task_id, []).append((amounts[0], amounts[1]))
    if not samples:
        raise PlanError(f"{paths[0]} has no task of {job.name}: name a run of this job")
    pool = [took_s / weights[task_id] for task_id, of in samples.items() for took_s in of]
    for task_id, of_task in used.items():
        tokens[task_id] = (mean(read for read, _ in of_task), mean(w for _, w in of_task))

    def draw(task: Task, random: Random) -> float:
        own = samples.get(task.id)
        return random.choice(own) if own else random.choice(pool) * task.weight

    known = f"{len(samples)} of {len(job.tasks)} tasks"
    source = f"{len(paths)} former runs ({known})"
    if len(paths) == 1:
        source = f"one former run ({known}), which does not tell how much they vary"
    own = _own_success(histories, weights)
    usual = mean(pool)
    lengths = {
        task_id: mean(samples[task_id]) if task_id in samples else usual * weight
        for task_id, weight in weights.items()
    }
    rest = _success(histories, own)
    found = Expectation(source, "s", draw, tokens, _success(histories), checked_s=CHECKED_S)
    return replace(found, own=own, rest=rest, lengths=lengths)


def _success(histories: Sequence[_History], but: Collection[str] = ()) -> float | None:
    """The share of attempts that passed, but for those at some tasks; None if a run does not say
    how many failed, or none is left. Of a quorum only the accepted answer is counted, so that it is
    rather too low than too high."""
    passed = failed = 0
    for history in histories:
        if history.failed is None:
            return None
        by_task = history.failed_by_task or {}
        passed += sum(task not in but for task in history.rows)
        failed += max(0, history.failed - sum(by_task.get(task, 0) for task in but))
    return passed / (passed + failed) if passed + failed else None


def _own_success(histories: Sequence[_History], tasks: Collection[str]) -> dict[str, float]:
    """The share of each task's own attempts that passed, where there were OWN_MIN at least; nothing
    if a run does not say whose attempts failed."""
    found = {}
    for task in tasks if all(each.failed_by_task is not None for each in histories) else ():
        passed = sum(task in history.rows for history in histories)
        failed = sum((history.failed_by_task or {}).get(task, 0) for history in histories)
        if passed + failed >= OWN_MIN:
            found[task] = passed / (passed + failed)
    return found


def _history(path: Path) -> _History:
    try:
        content = read_regular(path, HISTORY_SIZE_MAX)
    except OSError as fault:
        raise PlanError(
            f"{path} cannot be read ({fault.strerror}): name what 'quorate run' left"
        ) from None
    if len(content) > HISTORY_SIZE_MAX:
        raise PlanError(f"{path} is over {HISTORY_SIZE_MAX} bytes: that is no history")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):  # also what is not UTF-8
        raise PlanError(
            f"{path} is not JSON: name a run's manifest.json, or what 'quorate run --json' printed"
        ) from None
    run = found.get("run", found) if isinstance(found, dict) else None
    rows = run.get("measured") if isinstance(run, dict) else None
    if not isinstance(rows, dict) or not rows:
        raise PlanError(
            f"{path} does not say how long tasks took: name the manifest.json that 'quorate run' "
            "left, or what 'quorate run --json' printed"
        )
    failed = run.get("failed_attempts") if isinstance(run, dict) else None
    if failed is not None and (type(failed) is not int or not 0 <= failed <= FIGURE_MAX):
        raise PlanError(f"{path}: failed_attempts must be a whole number from 0")
    by_task = run.get("failed_by_task") if isinstance(run, dict) else None
    if by_task is not None and not _are_counts(by_task):
        raise PlanError(f"{path}: failed_by_task must have a whole number from 0 for each task")
    return _History({task: _row(path, task, row) for task, row in rows.items()}, failed, by_task)


def _are_counts(by_task: Any) -> bool:
    return isinstance(by_task, dict) and all(
        type(count) is int and 0 <= count <= FIGURE_MAX for count in by_task.values()
    )


def _row(path: Path, task: str, row: Any) -> tuple[float, float, float]:
    names = ("took_s", "tokens_in", "tokens_out")
    values: list[Any] = [row.get(name) for name in names] if isinstance(row, dict) else []
    figures = [
        float(value) for value in values if type(value) in (int, float) and 0 <= value <= FIGURE_MAX
    ]
    if len(figures) != len(names) or not figures[0]:
        raise PlanError(
            f"{path}: task {shown(task)}: took_s (above 0), tokens_in and tokens_out must be "
            f"numbers of at most {FIGURE_MAX:.0e}"
        )
    return figures[0], figures[1], figures[2]
