"""`quorate sim`: the same peer in virtual time, for one seed or for a swarm of them.

With options of `spread_options` it is another thing: a controlled run of its gossip alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.console import JsonOption, print_json
from node.cli.spread_options import (
    NODES_MAX,
    UNTIL_MIN,
    AuthorFanoutOption,
    CutOption,
    DelayOption,
    FanoutOption,
    LossOption,
    QuietTickOption,
    RunsOption,
    SizeOption,
    TickOption,
    TopologyOption,
    WritesOption,
    is_controlled,
    run_controlled,
)

if TYPE_CHECKING:
    from node.lab.swarm import Row, Swarm
    from protocol.sim.plan import Plan
    from protocol.sim.record import Recording
    from protocol.sim.scenario import Outcome

PROGRESS_EVERY_S = 2.0
INTERRUPTED = 130
SHRUNK_STEPS_MIN = 100_000
JOBS_MAX = 256
FAULTY_NODES_MAX = 64
FAULTY_UNTIL_MIN = 2.1  # virtual seconds: a team has found itself by then
PANEL = "Looking for faults"


def sim(
    context: typer.Context,
    seed: Annotated[
        int, typer.Option("--seed", "--from", min=0, help="The seed, or the first of several.")
    ] = 0,
    nodes: Annotated[
        int,
        typer.Option(
            min=0,
            max=NODES_MAX,
            help=f"Team size, up to {FAULTY_NODES_MAX}; 0 lets the seed draw it. In a controlled "
            "run from 2, 16 by default.",
        ),
    ] = 0,
    until: Annotated[
        float | None,
        typer.Option(
            min=UNTIL_MIN,
            help="No faults after this time, virtual seconds; no writes in a controlled run.",
        ),
    ] = None,
    as_json: JsonOption = False,
    only_faults: Annotated[
        str | None,
        typer.Option(
            help="Only these of the drawn faults, by number: 2,5 or none.",
            metavar="N,N",
            rich_help_panel=PANEL,
        ),
    ] = None,
    plain: Annotated[
        str,
        typer.Option(
            help="What to leave plain: knobs, links, disks, clocks, work, registers, rest, "
            "signatures.",
            rich_help_panel=PANEL,
        ),
    ] = "",
    seeds: Annotated[
        int,
        typer.Option(min=1, help="How many seeds, one after the other.", rich_help_panel=PANEL),
    ] = 1,
    swarm: Annotated[
        int,
        typer.Option(
            min=0,
            help="How many seeds, in worker processes, with a summary.",
            rich_help_panel=PANEL,
        ),
    ] = 0,
    jobs: Annotated[
        int, typer.Option(min=1, max=JOBS_MAX, help="Workers of a swarm.", rich_help_panel=PANEL)
    ] = 1,
    shrink: Annotated[
        bool,
        typer.Option(
            "--shrink",
            help="Make a failed plan small, and print the command.",
            rich_help_panel=PANEL,
        ),
    ] = False,
    trace: Annotated[
        bool,
        typer.Option("--trace", help="Print every fact of the run.", rich_help_panel=PANEL),
    ] = False,
    diagram: Annotated[
        Path | None,
        typer.Option(help="Draw the run here: a space-time diagram, HTML.", rich_help_panel=PANEL),
    ] = None,
    shiviz: Annotated[
        Path | None,
        typer.Option(help="Write the run here as a log for ShiViz.", rich_help_panel=PANEL),
    ] = None,
    between: Annotated[
        str,
        typer.Option(
            help="Draw and write only this time, virtual seconds.",
            metavar="A:B",
            rich_help_panel=PANEL,
        ),
    ] = "",
    topology: TopologyOption = None,
    fanout: FanoutOption = None,
    author_fanout: AuthorFanoutOption = None,
    tick: TickOption = None,
    quiet_tick: QuietTickOption = None,
    loss: LossOption = None,
    delay: DelayOption = None,
    cut: CutOption = None,
    writes: WritesOption = None,
    size: SizeOption = None,
    runs: RunsOption = None,
) -> None:
    """Run a team in a deterministic simulator: draw faults from a seed and look whether all holds,
    or fix everything and see how news spreads and what that costs.

    Exit code 0 held, 3 crash, 4 no convergence, 5 invariant broken.
    """
    if is_controlled(context):
        run_controlled(context)
    _check_bounds(nodes, until)
    if swarm:
        _run_swarm(seed, swarm, jobs, as_json)
    plans = (
        _plan_of(number, nodes, only_faults, until, plain) for number in range(seed, seed + seeds)
    )
    _run_plans(plans, seeds == 1, _Drawing(diagram, shiviz, between), shrink, trace, as_json)


def _check_bounds(nodes: int, until: float | None) -> None:
    """What a controlled run may have and a search for faults may not."""
    if nodes > FAULTY_NODES_MAX:
        raise typer.BadParameter(
            f"{nodes} is not in the range 0<=x<={FAULTY_NODES_MAX}", param_hint="'--nodes'"
        )
    if until is not None and not until >= FAULTY_UNTIL_MIN:
        raise typer.BadParameter(
            f"{until:g} is not in the range x>={FAULTY_UNTIL_MIN}", param_hint="'--until'"
        )


@dataclass(frozen=True, slots=True)
class _Drawing:
    """What is drawn and written of each run, and where."""

    diagram: Path | None
    shiviz: Path | None
    between: str


def _run_plans(
    plans: Iterable[Plan],
    is_single: bool,
    drawing: _Drawing,
    shrink: bool,
    trace: bool,
    as_json: bool,
) -> None:
    """One after the other, and end with the worst verdict."""
    from protocol.sim.recorder import Recorder
    from protocol.sim.scenario import Verdict, simulate

    worst = Verdict.HELD
    rows = []
    for plan in plans:
        if is_single and not as_json:
            print(f"plan: {plan}", flush=True)
        recorder = Recorder()
        is_drawn = bool(drawing.diagram or drawing.shiviz)
        outcome = simulate(plan.seed, plan=plan, watchers=(recorder,) if is_drawn else ())
        if is_drawn:
            _draw(recorder.recording(), plan.seed, drawing)
        if shrink and outcome.verdict is not Verdict.HELD:
            outcome = _shrunk(outcome, as_json)
        if trace:
            print("\n".join(outcome.trace))
        if as_json:
            rows.append(_row_of(outcome))
        else:
            print(outcome.summary())
        worst = max(worst, outcome.verdict, key=lambda verdict: verdict.value)
    if as_json:
        print_json(rows)
    raise typer.Exit(worst.value)


def _plan_of(
    seed: int, nodes: int, only_faults: str | None, until: float | None, plain: str
) -> Plan:
    from protocol.clocks import SECOND
    from protocol.sim.plan import PLAIN_PARTS, plan_of

    numbers: tuple[int, ...] | None = None
    if only_faults is not None:
        words = [] if only_faults == "none" else only_faults.split(",")
        if not all(word.strip().isdecimal() for word in words):
            raise typer.BadParameter("--only-faults takes numbers like 2,5, or none")
        numbers = tuple(int(word) for word in words)
    parts = [part.strip() for part in plain.split(",") if part.strip()]
    unknown = [part for part in parts if part not in PLAIN_PARTS]
    if unknown:
        raise typer.BadParameter(f"--plain takes {', '.join(PLAIN_PARTS)}, not {unknown[0]!r}")
    until_ns = None if until is None else round(until * SECOND)
    return plan_of(seed, nodes or None, numbers, until_ns, parts)


def _draw(recording: Recording, seed: int, drawing: _Drawing) -> None:
    from protocol.clocks import SECOND
    from protocol.sim.diagram import to_html
    from protocol.sim.record import narrow
    from protocol.sim.shiviz import to_shiviz

    if drawing.between:
        try:
            begin, end = (float(word) for word in drawing.between.split(":"))
        except ValueError:
            raise typer.BadParameter("--between takes two times in seconds, like 4:6.5") from None
        recording = narrow(recording, None, None, int(begin * SECOND), int(end * SECOND))
    if drawing.diagram is not None:
        drawing.diagram.write_text(to_html(recording, f"seed {seed}"))
    if drawing.shiviz is not None:
        drawing.shiviz.write_text(to_shiviz(recording))


def _shrunk(failed: Outcome, as_json: bool) -> Outcome:
    from protocol.sim.scenario import simulate
    from protocol.sim.shrink import shrink

    if not as_json:
        print(f"{failed.summary()}\nshrinking ...", flush=True)
    steps_max = max(SHRUNK_STEPS_MIN, 4 * failed.steps)  # no candidate shall take for ever
    shrunk = shrink(failed, lambda plan: simulate(plan.seed, plan=plan, steps_max=steps_max))
    if not as_json:
        faults = len(shrunk.outcome.plan.faults)
        print(
            f"in {shrunk.runs} runs: {failed.plan.nodes} -> {shrunk.outcome.plan.nodes} nodes, "
            f"{len(failed.plan.faults)} -> {faults} faults; {shrunk.outcome.plan.command}"
        )
    return shrunk.outcome


def _row_of(outcome: Outcome) -> dict[str, object]:
    return {
        "seed": outcome.seed,
        "plan": str(outcome.plan),
        "command": outcome.plan.command,
        "verdict": outcome.verdict.name.lower(),
        "checker": outcome.checker,
        "detail": outcome.detail,
        "virtual_s": outcome.virtual_s,
        "steps": outcome.steps,
        "events": outcome.events,
        "exercised": dict(outcome.exercised),
        "trace": outcome.trace_digest,
    }


def _run_swarm(first: int, count: int, jobs: int, as_json: bool) -> None:
    """Run them, tell how it goes on standard error, and end with the worst verdict."""
    from node.lab.swarm import run_swarm
    from protocol.sim.scenario import Verdict

    told_at = time.monotonic()

    def tell(swarm: Swarm, row: Row) -> None:
        nonlocal told_at
        if row.verdict is not Verdict.HELD:
            print(row.summary, file=sys.stderr, flush=True)
        if time.monotonic() - told_at >= PROGRESS_EVERY_S:
            told_at = time.monotonic()
            failed = swarm.seeds - swarm.verdicts[Verdict.HELD]
            rate = swarm.seeds / swarm.elapsed_s
            line = f"{swarm.seeds} of {count} seeds, {failed} failed, {rate:.1f} seeds/s"
            print(line, file=sys.stderr, flush=True)

    swarm = run_swarm(first, count, jobs, tell)
    if as_json:
        print_json(
            {
                "first": first,
                "seeds": swarm.seeds,
                "verdicts": {v.name.lower(): n for v, n in swarm.verdicts.items()},
                "virtual_s": swarm.virtual_s,
                "steps": swarm.steps,
                "events": swarm.events,
                "elapsed_s": swarm.elapsed_s,
                "exercised": dict(sorted(swarm.exercised.items())),
                "failed": {row.seed: row.command for row in swarm.failed},
                "cut_short": swarm.is_cut_short,
            }
        )
    else:
        print("\n".join(swarm.lines()))
    raise typer.Exit(swarm.worst.value or (INTERRUPTED if swarm.is_cut_short else 0))
