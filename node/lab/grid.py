"""The fault grid: each way of harming a team or its model, with each way of giving work out, on
real processes.

    measure(Cell("stop", ClaimMode.LEASE), seed=3)  ──▶  Run: complete, makespan 14.2 s, ...

Invariant: with one seed every cell does the same tasks, and the model draws the same latencies for
them, so what a cell takes longer than the one without a fault is the fault's doing, and chance's
in who takes what when.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from node import jobfile
from node.lab.cluster import ModelOptions
from node.lab.run_job import RunOptions, local_run
from node.lab.schedule import Fault
from protocol.errors import QuorateError
from protocol.jobs import ClaimMode, Job

NODES = 5
SPEED = 4.0
RUN_TIMEOUT_S = 600.0
# Five wrong answers in a row, the usual limit, befall one run of twenty tasks in 150 where one
# answer in five is wrong. That is the model's doing, and a team could do nothing about it.
ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Harm:
    """What is done to a run. `faults` befall its processes; `model` are options of the simulated
    model. `timeout_s` is that of each task, at the model's speed 1."""

    faults: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    timeout_s: float = 300.0


NONE = "none"
HARMS = {
    NONE: Harm(),
    "kill": Harm(faults=("kill-leader@30%",)),
    "stop": Harm(faults=("stop:15s@30%",)),
    "slow": Harm(model=("--slow", "0.2")),  # ten times as long
    "wrong": Harm(model=("--wrong", "0.2")),
    # A call that hangs ends with its task's time. One in a million of the others takes this long.
    "hang": Harm(model=("--hang", "0.1"), timeout_s=43.0),
    "cut": Harm(faults=("cut:2:10s@30%",)),
}
CLAIMS = (ClaimMode.LEASE, ClaimMode.RAFT, ClaimMode.LEADER)


@dataclass(frozen=True, slots=True)
class Cell:
    """One field of the grid. `harm` is a name in HARMS."""

    harm: str
    claims: ClaimMode


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a cell. `is_complete`: every task was accepted, all living nodes agree, and every
    check passes on the whole output. `doubled` tasks were accepted more than once in anybody's
    eyes. `tokens` are all that were used. A run that did not end has only a `detail`."""

    cell: Cell
    seed: int
    is_complete: bool = False
    doubled: int = 0
    makespan_s: float = 0.0
    collisions: int = 0
    late: int = 0
    tokens: int = 0
    detail: str = ""

    @property
    def is_good(self) -> bool:
        """Whether what is promised was kept."""
        return self.is_complete and not self.doubled

    def __str__(self) -> str:
        figures = (
            f"makespan {self.makespan_s:.1f} s, doubled {self.doubled}, "
            f"collisions {self.collisions}, late {self.late}, tokens {self.tokens}"
        )
        name = f"{self.cell.harm} {self.cell.claims.value} seed {self.seed}"
        return f"{name}: {'good' if self.is_good else 'BAD'}, {figures} {self.detail}".rstrip()


async def measure(
    cell: Cell, seed: int, source: str = "mathutils_p05", nodes: int = NODES, speed: float = SPEED
) -> Run:
    """One run. `source` is a list or a job file; `seed` draws the latencies and the model's faults.
    What keeps a run from its end is in the result; InvalidJob if there is no such job."""
    harm = HARMS[cell.harm]
    options = RunOptions(
        nodes=nodes,
        faults=tuple(map(Fault.parse, harm.faults)),
        model=ModelOptions(speed=speed, seed=seed, extra=harm.model),
        timeout_s=RUN_TIMEOUT_S,
    )
    job = job_of(source, cell, speed)
    try:
        async with local_run(job, options) as run:
            outcome = await run.execute(lambda: None)
            doubled = doubled_in(run.progress.facts)
    except QuorateError as fault:
        return Run(cell, seed, detail=str(fault))
    return Run(
        cell,
        seed,
        outcome.is_good and outcome.is_accepted_once,
        doubled,
        outcome.makespan_s,
        outcome.collisions,
        outcome.late_results,
        outcome.tokens_in + outcome.tokens_out + outcome.tokens_lost,
        "; ".join(outcome.faults),
    )


def job_of(source: str, cell: Cell, speed: float) -> Job:
    """The cell's job, with an id of its own."""
    job = jobfile.with_fresh_id(jobfile.read(source, "simulated"), cell.claims)
    timeout_s = HARMS[cell.harm].timeout_s / speed
    tasks = [replace(each, timeout_s=timeout_s, attempts_max=ATTEMPTS) for each in job.tasks]
    return replace(job, tasks=tuple(tasks))


def doubled_in(facts: Iterable[Mapping[str, Any]]) -> int:
    """How many tasks were accepted more than once, or differently in the eyes of different nodes,
    by all that the nodes have told."""
    accepted: dict[str, set[tuple[object, ...]]] = {}
    for fact in facts:
        if fact["type"] == "TaskAccepted":
            acceptance = (fact["index"], fact["node"], fact["token"], fact["digest"])
            accepted.setdefault(fact["task"], set()).add(acceptance)
    return sum(len(acceptances) > 1 for acceptances in accepted.values())


# -- the table -------------------------------------------------------------------------------------

HEADER = (
    "| fault | claims | complete | accepted twice | makespan s | lost s | collisions | late "
    "| tokens |",
    "|---|---|--:|--:|--:|--:|--:|--:|--:|",
)


def table(runs: Sequence[Run]) -> list[str]:
    """A line of Markdown for each cell, in the order of its first run. Makespan, time lost and
    tokens are medians over the runs that are complete; the last two stand beside the run without a
    fault of the same claim mode and seed. The rest are sums."""
    alone = {(run.cell.claims, run.seed): run for run in runs if run.cell.harm == NONE}
    lines = list(HEADER)
    for cell in dict.fromkeys(run.cell for run in runs):
        of = [run for run in runs if run.cell == cell]
        complete = [run for run in of if run.is_complete]
        pairs = [
            (run, beside)
            for run in complete
            if (beside := alone.get((cell.claims, run.seed))) and beside.is_complete
        ]
        values = (
            cell.harm,
            cell.claims.value,
            f"{len(complete)} of {len(of)}",
            str(sum(run.doubled for run in of)),
            _median([run.makespan_s for run in complete], ".1f"),
            _median([run.makespan_s - beside.makespan_s for run, beside in pairs], "+.1f"),
            str(sum(run.collisions for run in of)),
            str(sum(run.late for run in of)),
            _median([run.tokens / beside.tokens for run, beside in pairs if beside.tokens], ".2f"),
        )
        lines.append(f"| {' | '.join(values)} |")
    return lines


def _median(values: Sequence[float], form: str) -> str:
    return format(statistics.median(values), form) if values else "-"
