"""`quorate study team`: the nine lists, in simulation, by team size, way of giving work out, and
clones, with the latencies and tokens measured in arXiv 2603.12229.

The metrics are that paper's, where it has them:

    speed-up      mean makespan of one agent with the same model and suite / makespan of this run
    tokens        tokens used, stopped and failed attempts included / those of one agent
    conflicts     claims that two nodes made at once, of which one gave way
    failed        attempts whose check said no
    messages      sent from node to node, per task (there: agent replies)
    green         runs that succeeded, with all tests of the suite passing on the whole output

The agents give the worked answers of the model's book, or known mistakes, and the suites' own tests
decide which pass: each content is tested once, not each of some thousand times that it is given.

The published numbers are medians over all models and suites of its decentralised teams of the same
size; the goals are ours.
"""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from random import Random

from node import lists
from node.lab.suite_checks import SuiteChecks, answers, wrong_answers
from node.model.knobs import MODELS
from node.model.latency import key_of, latency_s, tokens_of
from protocol import config as presets
from protocol.clocks import SECOND, Nanoseconds
from protocol.effects import Assignment
from protocol.events import AgentFailed, Completed, Failure, Submitted
from protocol.facts import Fact
from protocol.facts.work import AttemptFailed, ClaimLost, JobFinished, JobSubmitted
from protocol.jobs import ClaimMode, Job, Speculation, Usage
from protocol.sim.settled import peers_of, settled_world
from protocol.sim.studies.table import Line, Study
from protocol.sim.watch import Watcher
from protocol.sim.world import AgentModel, Host, World
from protocol.team.costs import spent_on

RUN_MAX: Nanoseconds = 3_600 * SECOND
PAUSE: Nanoseconds = SECOND // 2  # between two jobs of one team
SEEDS = 5
SIZES = (1, 2, 3, 4, 5, 8, 16)
TASKS = 20  # of each list
TITLE = "Teams on the nine lists of arXiv 2603.12229"
GOALS = {  # lease claims, five agents: (published, goal without clones, goal with one)
    "p09": (0.97, 4.2, 4.5),
    "p05": (0.88, 1.95, 2.3),
    "p02": (0.76, 1.25, 1.5),
}


_CHECKS = SuiteChecks()  # of this process: it measures many cells


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
    is_green: bool


class PaperAgents(AgentModel):
    """Agents with the latencies and tokens of one of the paper's models, at work on a list; a share
    of the answers is wrong. Without `checks` those fail and the others pass."""

    def __init__(
        self, name: str, model: str, seed: int, wrong: float, checks: SuiteChecks | None
    ) -> None:
        self.name = name
        self.checks = checks
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
        is_wrong = Random(f"wrong/{self.seed}/{key}/{attempt}").random() < self.wrong
        files = wrong_answers(task, self.seed + attempt) if is_wrong else answers(task)
        fault = "a known mistake" if is_wrong else ""
        if self.checks is not None:
            fault = self.checks.fault(self.name, task, assignment.inputs, files)
        if fault:
            return took, AgentFailed(0, Failure.VERIFY, fault, (), usage)
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
    suites: Sequence[str] = lists.SUITES,
    checks: SuiteChecks | None = None,
) -> list[Figures]:
    """Every list of these shapes with every model and seed, those of a seed one after the other by
    one team. Without `checks` no test is run, and what succeeded counts as green."""
    plans = [(shape, suite, model) for shape in shapes for suite in suites for model in models]
    found = []
    for seed in range(first_seed, first_seed + seeds):
        world = settled_world(cell.nodes, seed, presets.local())
        found += [
            _run(world, cell, checks, f"job{number}", *plan, seed)
            for number, plan in enumerate(plans)
        ]
    return found


def _run(
    world: World,
    cell: Cell,
    checks: SuiteChecks | None,
    job_id: str,
    shape: str,
    suite: str,
    model: str,
    seed: int,
) -> Figures:
    """One list, by a team that has nothing else to do."""
    name = f"{suite}_{shape}"
    job = _job_of(name, job_id, cell)
    agents = PaperAgents(name, model, seed, cell.wrong, checks)
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
    usage = spent_on(state, peer.team.notes)
    tests_pass = checks is None or not checks.fault_of_whole(name, state.files())
    return Figures(
        shape,
        suite,
        model,
        (notebook.ended - notebook.begun) / SECOND,
        usage.tokens_in + usage.tokens_out,
        notebook.counts[ClaimLost],
        notebook.counts[AttemptFailed],
        messages,
        state.succeeded and tests_pass,
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
    """A cell of the table: medians over models, suites and seeds, and means of all runs."""

    speed_up: float
    tokens: float
    conflicts: float
    failed: float
    messages: float


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
    )


def _key(figures: Figures) -> tuple[str, str, str]:
    return figures.shape, figures.suite, figures.model


def _grouped(found: Sequence[Figures]) -> list[tuple[tuple[str, str, str], list[Figures]]]:
    keys = sorted({_key(figures) for figures in found})
    return [(key, [figures for figures in found if _key(figures) == key]) for key in keys]


# -- the studies -----------------------------------------------------------------------------------


def study(seed: int = 1) -> Study:
    """Lease claims: every size, without and with one clone."""
    return _study("team", f"{TITLE}, lease claims", _lease_cells(), seed)


def full_study(seed: int = 1) -> Study:
    """The same, and every size with every other way of giving work out."""
    others = [mode for mode in ClaimMode if mode is not ClaimMode.LEASE]
    cells = [*_lease_cells(), *(Cell(n, claims) for claims in others for n in SIZES)]
    return _study("team", f"{TITLE}, all ways of giving work out", cells, seed)


def _lease_cells() -> list[Cell]:
    return [Cell(n, ClaimMode.LEASE, clones) for clones in (0, 1) for n in SIZES]


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
    # What is tested before the workers are forked, they need not test.
    measure(Cell(1, ClaimMode.LEASE), seed, 1, models=MODELS[:1], checks=_CHECKS)
    slowest_first = sorted(cells, key=lambda cell: -cell.nodes)
    with ProcessPoolExecutor(max_workers=min(len(cells), os.cpu_count() or 1)) as pool:
        runs = pool.map(_measure_tested, slowest_first, repeat(seed))
        by_cell = dict(zip(slowest_first, runs, strict=True))
    found = {cell: by_cell[cell] for cell in cells}
    legend = "speed-up at tokens, for p = .9 / .5 / .2; conflicts, failed, messages per task"
    return Study(name, f"{title}\n({legend})", tuple(lines_of(found)))


def _measure_tested(cell: Cell, seed: int) -> list[Figures]:
    return measure(cell, seed, checks=_CHECKS)


def lines_of(found: Mapping[Cell, Sequence[Figures]]) -> list[Line]:
    """The table. Of the cells one is a team of one."""
    alone = found[Cell(1, ClaimMode.LEASE)]
    lines = []
    for cell in found:
        by_shape = [
            (shape, summary([f for f in found[cell] if f.shape == shape], alone)) for shape in GOALS
        ]
        lines.append(Line(_name_of(cell), _row(by_shape)))
        if cell.nodes == 5 and cell.claims is ClaimMode.LEASE and not cell.wrong:
            lines += [_goal(cell, shape, figures.speed_up) for shape, figures in by_shape]
        green = [f.is_green for f in found[cell]]
        if not all(green):
            lines.append(Line("  of these green", f"{sum(green)} of {len(green)}", "", False))
    every = [f.is_green for of in found.values() for f in of]
    what = "jobs done, all tests of their suites green"
    lines.append(Line(what, f"{sum(every)} of {len(every)}", "47 %", all(every)))
    return lines


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
