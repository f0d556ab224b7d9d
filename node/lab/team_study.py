"""`quorate study team`: the nine lists, in simulation, by team size, way of giving work out, and
clones, with the latencies and tokens measured in arXiv 2603.12229.

The metrics are that paper's, where it has them:

    speed-up      mean makespan of one agent with the same model and suite / makespan of this run
    tokens        tokens used, stopped and failed attempts included / those of one agent
    conflicts     claims that two nodes made at once, of which one gave way
    failed        attempts whose check said no
    messages      sent from node to node, per task (there: agent replies)

The published numbers are medians over all models and suites of its decentralised teams of the same
size; the goals are ours.
"""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from random import Random

from node import lists
from node.model.knobs import MODELS
from node.model.latency import key_of, latency_s, tokens_of
from protocol import config as presets
from protocol.clocks import SECOND, Nanoseconds
from protocol.effects import Assignment
from protocol.events import AgentFailed, Completed, Failure, Submitted
from protocol.facts import Fact
from protocol.facts.work import AttemptFailed, ClaimLost, JobFinished, JobSubmitted
from protocol.jobs import ClaimMode, File, Job, Speculation, Usage
from protocol.sim.settled import peers_of, settled_world
from protocol.sim.studies.table import Line, Study
from protocol.sim.watch import Watcher
from protocol.sim.world import AgentModel, Host, World

RUN_MAX: Nanoseconds = 3_600 * SECOND
PAUSE: Nanoseconds = SECOND // 2  # between two jobs of one team
SEEDS = 5
SIZES = (1, 2, 3, 4, 5, 8, 16)
TASKS = 20  # of each list
GOALS = {  # lease claims, five agents: (published, goal without clones, goal with one)
    "p09": (0.97, 4.2, 4.5),
    "p05": (0.88, 1.95, 2.3),
    "p02": (0.76, 1.25, 1.5),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """How a team works."""

    nodes: int
    claims: ClaimMode
    clones: int = 0
    wrong: float = 0.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run of one list came to. The makespan is seconds from the job's entry into the log
    to its end, as the first node saw it."""

    shape: str
    suite: str
    model: str
    makespan_s: float
    tokens: int
    conflicts: int
    failed: int
    messages: int
    succeeded: bool


class PaperAgents(AgentModel):
    """Agents with the latencies and tokens of one of the paper's models; a share of the answers is
    wrong and found out by the check."""

    def __init__(self, model: str, seed: int, wrong: float) -> None:
        self.model = model
        self.seed = seed
        self.wrong = wrong
        self.requests: Counter[str] = Counter()

    def perform(self, assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        task = assignment.task
        key = key_of(task.writes, task.prompt)
        attempt = self.requests[key]
        self.requests[key] += 1
        took = int(latency_s(self.model, self.seed, key, attempt, len(task.writes)) * SECOND)
        read, written = tokens_of(self.model, assignment.description, len(task.writes))
        usage = Usage(1, read, written, simulated=True)
        if Random(f"wrong/{self.seed}/{key}/{attempt}").random() < self.wrong:
            return took, AgentFailed(0, Failure.VERIFY, "a drawn failure", (), usage)
        files = tuple(File(path, key.encode()) for path in task.writes)
        return took, Completed(0, files, "", usage)


class _Notebook(Watcher):
    """What happens to a job, counted."""

    def __init__(self) -> None:
        self.counts: Counter[type[Fact]] = Counter()
        self.begun: Nanoseconds = 0
        self.ended: Nanoseconds = 0

    def see(self, at: Nanoseconds, host: Host, fact: Fact) -> None:
        self.counts[type(fact)] += 1
        if isinstance(fact, JobSubmitted):
            self.begun = self.begun or at
        elif isinstance(fact, JobFinished):
            self.ended = self.ended or at


def measure(
    cell: Cell,
    first_seed: int = 1,
    seeds: int = SEEDS,
    shapes: Sequence[str] = lists.SHAPES,
    models: Sequence[str] = MODELS,
) -> list[Figures]:
    """Every list of these shapes with every model and seed, one after the other by one team."""
    world = settled_world(cell.nodes, first_seed, presets.local())
    plans = [
        (shape, suite, model, seed)
        for shape in shapes
        for suite in lists.SUITES
        for model in models
        for seed in range(first_seed, first_seed + seeds)
    ]
    return [_run(world, cell, f"job{number}", *plan) for number, plan in enumerate(plans)]


def _run(
    world: World, cell: Cell, job_id: str, shape: str, suite: str, model: str, seed: int
) -> Figures:
    """One list, by a team that has nothing else to do."""
    job = _job_of(f"{suite}_{shape}", job_id, cell)
    agents = PaperAgents(model, seed, cell.wrong)
    for host in world.hosts:
        host.agents = agents
    notebook = _Notebook()
    world.hooks.see.append(notebook.see)
    before = world.messages
    world.hosts[0].submit(Submitted(1, job))
    is_over = world.run(world.now + RUN_MAX, lambda: bool(notebook.ended))
    assert is_over, f"{job.name} does not end with {cell}"
    messages = world.messages - before
    world.run(world.now + PAUSE)
    world.hooks.see.remove(notebook.see)
    peer = peers_of(world)[0]
    state = peer.ledger.jobs[job.id]
    usage = state.spent().plus(peer.team.notes.usage(job.id))
    return Figures(
        shape,
        suite,
        model,
        (notebook.ended - notebook.begun) / SECOND,
        usage.tokens_in + usage.tokens_out,
        notebook.counts[ClaimLost],
        notebook.counts[AttemptFailed],
        messages,
        state.succeeded,
    )


def _job_of(name: str, job_id: str, cell: Cell) -> Job:
    return replace(
        lists.load(name),
        id=job_id,
        claims=cell.claims,
        speculation=Speculation(cell.clones, 0),
        files=(),
    )


@dataclass(frozen=True, slots=True)
class Summary:
    """A cell of the table: medians over models, suites and seeds; shares of all runs."""

    speed_up: float
    tokens: float
    conflicts: float
    failed: float
    messages: float
    succeeded: float


def summary(found: Sequence[Figures], alone: Sequence[Figures]) -> Summary:
    """`found` beside what one agent needs."""
    time_alone = {key: statistics.mean(f.makespan_s for f in of) for key, of in _grouped(alone)}
    tokens_alone = {key: statistics.mean(f.tokens for f in of) for key, of in _grouped(alone)}
    return Summary(
        statistics.median(time_alone[_key(f)] / f.makespan_s for f in found),
        statistics.median(f.tokens / tokens_alone[_key(f)] for f in found),
        sum(f.conflicts for f in found) / len(found) / TASKS,
        statistics.mean(f.failed for f in found),
        statistics.mean(f.messages for f in found) / TASKS,
        sum(f.succeeded for f in found) / len(found),
    )


def _key(figures: Figures) -> tuple[str, str, str]:
    return figures.shape, figures.suite, figures.model


def _grouped(found: Sequence[Figures]) -> list[tuple[tuple[str, str, str], list[Figures]]]:
    keys = sorted({_key(figures) for figures in found})
    return [(key, [figures for figures in found if _key(figures) == key]) for key in keys]


# -- the studies -----------------------------------------------------------------------------------


def study(seed: int = 1) -> Study:
    """Lease claims: every size, without and with one clone."""
    cells = [Cell(n, ClaimMode.LEASE, clones) for clones in (0, 1) for n in SIZES]
    return _study("team", "Teams on the nine lists of arXiv 2603.12229, lease claims", cells, seed)


def claims_study(seed: int = 1) -> Study:
    """The four ways of giving work out, at five and at sixteen agents; a tenth of the answers are
    wrong in the last rows."""
    cells = [
        Cell(1, ClaimMode.LEASE),
        *(
            Cell(n, claims, clones, wrong)
            for wrong in (0.0, 0.1)
            for n in (5, 16)
            for claims in ClaimMode
            for clones in (0, 1)
        ),
    ]
    return _study("claims", "Four ways of giving work out, on the same lists", cells, seed)


def _study(name: str, title: str, cells: Sequence[Cell], seed: int) -> Study:
    with ProcessPoolExecutor(max_workers=min(len(cells), os.cpu_count() or 1)) as pool:
        found = dict(zip(cells, pool.map(measure, cells, [seed] * len(cells)), strict=True))
    alone = found[Cell(1, ClaimMode.LEASE)]
    lines = []
    for cell in cells:
        by_shape = [
            (shape, summary([f for f in found[cell] if f.shape == shape], alone)) for shape in GOALS
        ]
        lines.append(Line(_name_of(cell), _row(by_shape)))
        if cell.nodes == 5 and cell.claims is ClaimMode.LEASE and not cell.wrong:
            lines += [_goal(cell, shape, figures.speed_up) for shape, figures in by_shape]
        succeeded = min(figures.succeeded for _, figures in by_shape)
        if succeeded < 1.0:
            lines.append(Line(f"{_name_of(cell)}: jobs done", f"{succeeded:.0%}", "100 %", False))
    legend = "speed-up at tokens, for p = .9 / .5 / .2; conflicts, failed, messages per task"
    return Study(name, f"{title}\n({legend})", tuple(lines))


def _name_of(cell: Cell) -> str:
    clones = f", {cell.clones} clone" if cell.clones else ""
    wrong = f", {cell.wrong:.0%} wrong" if cell.wrong else ""
    return f"{cell.claims.value}, n = {cell.nodes}{clones}{wrong}"


def _row(by_shape: Sequence[tuple[str, Summary]]) -> str:
    of = [figures for _, figures in by_shape]
    speed = " / ".join(f"{figures.speed_up:.2f}" for figures in of)
    tokens = " / ".join(f"{figures.tokens:.2f}" for figures in of)
    rest = (
        f"{statistics.mean(figures.conflicts for figures in of):.1%}, "
        f"{statistics.mean(figures.failed for figures in of) / TASKS:.2f}, "
        f"{statistics.mean(figures.messages for figures in of):.0f}"
    )
    return f"{speed} at {tokens}; {rest}"


def _goal(cell: Cell, shape: str, ours: float) -> Line:
    published, *goals = GOALS[shape]
    goal = goals[cell.clones]
    name = f"  p = .{shape[-1]}, {cell.clones or 'no'} clone: goal {goal}"
    return Line(name, f"{ours:.2f}", f"{published}", ours >= goal)
