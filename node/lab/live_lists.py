"""The nine lists on real processes, by team size and way of giving work out: the same table as
`team_study` has for the simulator, of what this machine makes of it.

What a team of processes takes is compared with the latencies that the model drew. At the model's
speed 20 the checks take as long as the answers, and speed-ups say little; 4 is better for them.

Invariant: every list of one team size and claim mode is done by the same team, one after the other,
so that no run pays for the start of another; after a run that went wrong the rest get a new team.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from node import jobfile, lists
from node.lab.cluster import Cluster, ModelOptions
from node.lab.outcome import Outcome
from node.lab.run_job import Run, RunOptions
from protocol.errors import QuorateError
from protocol.jobs import ClaimMode

RUN_TIMEOUT_S = 300.0
SIZES = (1, 2, 3, 4, 5, 8)


@dataclass(frozen=True, slots=True)
class Cell:
    """A team."""

    nodes: int
    claims: ClaimMode


@dataclass(frozen=True, slots=True)
class Figures:
    """One list by one team. `speed_up` is what the drawn latencies come to one after the other,
    through the makespan; `tokens` are all that were used, through those of the accepted results;
    `messages` are those from node to node for each task, until all nodes agreed. `is_good`: every
    task was accepted once, all nodes agree, and every check passes on the whole output. A run that
    did not come to its end has only a `detail`."""

    cell: Cell
    source: str
    is_good: bool = False
    makespan_s: float = 0.0
    speed_up: float = 0.0
    tokens: float = 0.0
    collisions: int = 0
    failed: int = 0
    messages: float = 0.0
    detail: str = ""

    def __str__(self) -> str:
        name = f"{Path(self.source).stem} n={self.cell.nodes} {self.cell.claims.value}"
        if not self.makespan_s:
            return f"{name}: BAD, {self.detail}"
        line = (
            f"{name}: {'good' if self.is_good else 'BAD'}, makespan {self.makespan_s:.1f} s, "
            f"speed-up {self.speed_up:.2f} at {self.tokens:.2f} times the tokens, collisions "
            f"{self.collisions}, failed {self.failed}, messages per task {self.messages:.0f}"
        )
        return line if self.is_good else f"{line}; {self.detail}"


async def measure(
    cell: Cell, sources: Sequence[str], speed: float, seed: int, deadline: float
) -> AsyncIterator[Figures]:
    """All these lists by one team. `deadline` is of `time.monotonic()`: no run begins after it, and
    one that has begun may take RUN_TIMEOUT_S."""
    left = list(sources)
    while left:
        if time.monotonic() > deadline:
            for source in left:
                yield Figures(cell, source, detail="not begun, for the time is over")
            return
        with TemporaryDirectory(prefix="quorate-lists-") as folder:
            cluster = Cluster.create(Path(folder) / "team", cell.nodes)
            try:
                is_well = True
                while left and is_well and time.monotonic() <= deadline:
                    found = await _run(cluster, cell, left.pop(0), speed, seed)
                    is_well = found.is_good
                    yield found
            finally:
                cluster.stop()


async def _run(cluster: Cluster, cell: Cell, source: str, speed: float, seed: int) -> Figures:
    options = RunOptions(
        nodes=cell.nodes, model=ModelOptions(speed=speed, seed=seed), timeout_s=RUN_TIMEOUT_S
    )
    try:
        job = jobfile.with_fresh_id(jobfile.read(source, "simulated"), cell.claims)
        run = Run(job, options, cluster)
        await run.start()
        before = await _messages(cluster)
        outcome = await run.execute(lambda: None)
        messages = await _messages(cluster) - before
    except QuorateError as fault:
        return Figures(cell, source, detail=str(fault))
    return figures_of(cell, source, outcome, messages / len(job.tasks))


def figures_of(cell: Cell, source: str, outcome: Outcome, messages: float) -> Figures:
    """What a run came to."""
    accepted = outcome.tokens_in + outcome.tokens_out
    failed_checks = sum(bool(why) for why in outcome.checks.values())
    told = f"{len(outcome.digests)} nodes tell the outcome, {failed_checks} checks say no"
    return Figures(
        cell,
        source,
        outcome.is_good and outcome.is_accepted_once and len(outcome.digests) == cell.nodes,
        outcome.makespan_s,
        (outcome.work_s or 0.0) / outcome.makespan_s if outcome.makespan_s else 0.0,
        (accepted + outcome.tokens_lost) / accepted if accepted else 0.0,
        outcome.collisions,
        outcome.failed_attempts,
        messages,
        outcome.given_up or told,
    )


async def _messages(cluster: Cluster) -> int:
    """What all nodes have sent each other so far."""
    views: list[dict[str, Any] | None] = await cluster.doors().gather("/v1/status")
    return sum(int(view["transport"]["messages_out"]) for view in views if view)


# -- the table -------------------------------------------------------------------------------------

HEADER = (
    "| claims | n | good | speed-up p09 | p05 | p02 | tokens | collisions | failed | messages |",
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
)


def table(runs: Sequence[Figures]) -> list[str]:
    """A line of Markdown for each team, in the order of its first run. Speed-up, tokens and
    messages are medians over the good runs; collisions and failed attempts are sums over all."""
    lines = list(HEADER)
    for cell in dict.fromkeys(run.cell for run in runs):
        of = [run for run in runs if run.cell == cell]
        good = [run for run in of if run.is_good]

        def median(value: Callable[[Figures], float], form: str, part: Sequence[Figures]) -> str:
            return format(statistics.median(map(value, part)), form) if part else "-"

        by_shape = [
            [run for run in good if shape in Path(run.source).stem] for shape in lists.SHAPES
        ]
        values = (
            cell.claims.value,
            str(cell.nodes),
            f"{len(good)} of {len(of)}",
            *(median(lambda run: run.speed_up, ".2f", part) for part in reversed(by_shape)),
            median(lambda run: run.tokens, ".2f", good),
            str(sum(run.collisions for run in of)),
            str(sum(run.failed for run in of)),
            median(lambda run: run.messages, ".0f", good),
        )
        lines.append(f"| {' | '.join(values)} |")
    return lines
