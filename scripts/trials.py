#!/usr/bin/env python3
"""Long trials on real processes, for who wants to see the promises kept. Exit 1 if one was not.

    .venv/bin/python scripts/trials.py lists [--nodes 1 5] [--claims lease | all]
                                                            nine lists by teams of 1 to 5 and 8
    .venv/bin/python scripts/trials.py lists --papers DIR   the same for job files in a folder
    .venv/bin/python scripts/trials.py faults --runs 10     kill the leader, kill two followers,
                                                            stop a worker, kill everybody, a cut
    .venv/bin/python scripts/trials.py cuts [--only chain3] [--seconds 40]
                                                            partial cuts of a team without a job
    .venv/bin/python scripts/trials.py grid [--faults none stop] [--claims lease] [--runs 5]
                                                            every fault in every claim mode
    .venv/bin/python scripts/trials.py pace [--nodes 16] [--rate 10]
                                                            a model that refuses too many calls
    .venv/bin/python scripts/trials.py collisions [--nodes 16] [--runs 5]
                                                            claims that two nodes make at once

Each run of a list must end with every task accepted once, the same outcome on every living node,
and all verification tests passing on the whole output. During a cut, writes must be served through
as many nodes as the goal beside them says, and nothing may fail once the links work again.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from node import jobfile, lists
from node.lab import collisions, cuts, grid, limited, live_lists
from node.lab.cluster import ModelOptions
from node.lab.run_job import RunFailed, RunOptions, run_job
from node.lab.schedule import Fault
from protocol.clocks import SECOND
from protocol.errors import QuorateError
from protocol.jobs import ClaimMode
from protocol.sim.partial_cuts import SIZES

ALL = "all"
FAULTS = {
    "leader": ("kill-leader@30%",),
    "followers": ("kill-followers:2@50%",),
    "stop": ("stop:20s@20%",),
    "all": ("kill-all@40%",),
    "cut": ("cut:2:10s@30%",),
}


def trial(
    source: str, nodes: int, speed: float, seed: int, faults: tuple[str, ...], claims: str
) -> tuple[bool, str]:
    """One run: whether it was good, and a line about it."""
    begun = time.monotonic()
    job = jobfile.with_fresh_id(jobfile.read(source, "simulated"), ClaimMode(claims))
    with tempfile.TemporaryDirectory(prefix="quorate-trial-") as folder:
        options = RunOptions(
            nodes=nodes,
            faults=tuple(Fault.parse(fault) for fault in faults),
            output=Path(folder),
            model=ModelOptions(speed=speed, seed=seed),
            timeout_s=300.0,
        )
        try:
            outcome = asyncio.run(run_job(job, options))
        except QuorateError as fault:
            return False, f"{source} n={nodes} {faults}: {fault}"
    fault_free = not faults
    good = outcome.is_good and outcome.is_accepted_once
    good = good and (not fault_free or len(outcome.digests) == nodes)
    passed = sum(not why for why in outcome.checks.values())
    line = (
        f"{Path(source).stem} n={nodes} {claims} {' '.join(outcome.faults) or 'no fault'}: "
        f"{'good' if good else 'BAD'}, outcome {outcome.outcome[:12]} "
        f"on {len(outcome.digests)} nodes, {passed} of {len(outcome.checks)} checks, "
        f"makespan {outcome.makespan_s:.1f} s (ideal {outcome.ideal_s}), "
        f"late {outcome.late_results}, siblings {len(outcome.siblings)}, "
        f"collisions {outcome.collisions}, {time.monotonic() - begun:.0f} s in all"
    )
    return good, line


def list_trials(sources: Sequence[str], given: argparse.Namespace) -> list[bool]:
    """Every list by every team, and the table."""
    deadline = time.monotonic() + 60.0 * given.minutes
    modes = list(ClaimMode) if given.claims == ALL else [ClaimMode(given.claims)]

    async def measure() -> list[live_lists.Figures]:
        runs = []
        for mode in modes:
            for nodes in given.nodes:
                cell = live_lists.Cell(nodes, mode)
                async for run in live_lists.measure(cell, sources, given.speed, 1, deadline):
                    print(run, flush=True)
                    runs.append(run)
        return runs

    runs = asyncio.run(measure())
    print("", *live_lists.table(runs), "", sep="\n", flush=True)
    return [run.is_good for run in runs]


def fault_trials(kinds: Iterable[str], runs: int, speed: float, claims: str) -> list[bool]:
    """Each fault so many times, with other latencies each time."""
    results = []
    for kind in kinds:
        for seed in range(runs):
            good, line = trial("mathutils_p05", 5, speed, seed, FAULTS[kind], claims)
            print(line, flush=True)
            results.append(good)
    return results


def cut_trials(names: Iterable[str], seconds: float, keep: Path | None) -> list[bool]:
    """Each partial cut once, as lines of a table."""
    results = []
    print(cuts.HEADER, flush=True)
    for name in names:
        folder = keep / name if keep else None
        outcome = asyncio.run(cuts.measure(name, int(seconds * SECOND), folder))
        print(outcome, flush=True)
        for failure, count in Counter(outcome.failed).items():
            print(f"  {count} x after the heal: {failure}", flush=True)
        if outcome.history.counter_example:
            print(*outcome.history.counter_example.lines(), sep="\n", flush=True)
        results.append(outcome.is_held)
    return results


def grid_trials(given: argparse.Namespace) -> list[bool]:
    """Every cell so many times, and the table. The runs of a seed stand together, so that what the
    machine does meanwhile falls on all its cells."""
    harms = list(dict.fromkeys((grid.NONE, *given.faults)))
    cells = [grid.Cell(harm, ClaimMode(mode)) for harm in harms for mode in given.claims]
    runs: list[grid.Run] = []
    for seed in range(1, given.runs + 1):
        for cell in cells:
            run = asyncio.run(grid.measure(cell, seed, given.list, given.nodes, given.speed))
            print(run, flush=True)
            runs.append(run)
    print("", *grid.table(runs), "", sep="\n", flush=True)
    return [run.is_good for run in runs]


def pace_trials(given: argparse.Namespace) -> list[bool]:
    """A limit that the nodes have to learn, and one that they are told."""
    load = limited.Load(given.nodes, given.rate, given.calls, given.speed)
    results = []
    for is_told in (False, True):
        name = "told (QUORATE_RATE)" if is_told else "learnt from refusals"
        try:
            pace, is_complete = asyncio.run(limited.measure(load, is_told))
        except RunFailed as fault:
            print(f"{name}: {fault}", flush=True)
            results.append(False)
            continue
        print(f"{name}: {pace}{'' if is_complete else ', NOT ALL ANSWERED'}", flush=True)
        results.append(pace.is_good and is_complete)
    return results


def collision_trials(given: argparse.Namespace) -> list[bool]:
    """Each shape in simulation, then each on real processes."""
    results = []
    for shape in lists.SHAPES:
        found = collisions.simulated(given.nodes, shape, given.runs)
        print(f"simulated {shape} n={given.nodes}: {found}", flush=True)
        results.append(found.is_good)
    for shape in lists.SHAPES:
        found = collisions.Collisions()
        for seed in range(1, given.runs + 1):
            run = collisions.measured(f"mathutils_{shape}", given.nodes, seed, given.speed)
            found = found.plus(asyncio.run(run))
        print(f"processes {shape} n={given.nodes}: {found}", flush=True)
        results.append(found.is_good)
    return results


def run_trials(given: argparse.Namespace) -> list[bool]:
    """What was asked for: whether each was good."""
    match given.what:
        case "lists":
            found = sorted(given.papers.glob("*.json")) if given.papers else lists.names()
            return list_trials([str(each) for each in found], given)
        case "faults":
            return fault_trials(given.kinds, given.runs, given.speed, given.claims)
        case "cuts":
            return cut_trials(given.only, given.seconds, given.keep)
        case "grid":
            return grid_trials(given)
        case "pace":
            return pace_trials(given)
        case _:
            return collision_trials(given)


def read_arguments() -> argparse.Namespace:
    """Which trials, and how."""
    parser = argparse.ArgumentParser(description="Long trials on real processes.")
    kinds = parser.add_subparsers(dest="what", required=True)
    modes = [mode.value for mode in ClaimMode]

    def add(
        name: str, speed: float = 0.0, runs: int = 0, nodes: int = 0
    ) -> argparse.ArgumentParser:
        verb = kinds.add_parser(name)
        if speed:
            verb.add_argument("--speed", type=float, default=speed, help="of the simulated model")
        if runs:
            verb.add_argument("--runs", type=int, default=runs, help="of each kind")
        if nodes:
            verb.add_argument("--nodes", type=int, default=nodes)
        return verb

    verb = add("lists", speed=20.0)
    verb.add_argument("--papers", type=Path, help="a folder with job files to use as lists")
    verb.add_argument("--nodes", type=int, nargs="+", default=list(live_lists.SIZES))
    verb.add_argument("--claims", default="lease", choices=[*modes, ALL])
    verb.add_argument("--minutes", type=float, default=60.0, help="no run begins after these")
    verb = add("faults", speed=4.0, runs=10)
    verb.add_argument("--kinds", nargs="*", choices=sorted(FAULTS), default=list(FAULTS))
    verb.add_argument("--claims", default="lease", choices=modes)
    verb = add("cuts")
    verb.add_argument("--only", nargs="*", choices=sorted(SIZES), default=list(SIZES))
    verb.add_argument(
        "--seconds", type=float, default=40.0, help="of each cut; the goals are those of 40"
    )
    verb.add_argument("--keep", type=Path, help="a new folder for the nodes' files during cuts")
    verb = add("grid", speed=grid.SPEED, runs=5, nodes=grid.NODES)
    verb.add_argument("--faults", nargs="+", choices=list(grid.HARMS), default=list(grid.HARMS))
    usual = [mode.value for mode in grid.CLAIMS]
    verb.add_argument("--claims", nargs="+", choices=modes, default=usual)
    verb.add_argument("--list", default="mathutils_p05", help="or a job file")
    usual_load = limited.Load()
    verb = add("pace", speed=usual_load.speed, nodes=usual_load.nodes)
    verb.add_argument("--rate", type=float, default=usual_load.rate, help="calls a second")
    verb.add_argument("--calls", type=int, default=usual_load.calls)
    add("collisions", speed=4.0, runs=5, nodes=16)
    return parser.parse_args()


def main() -> int:
    """Run what was asked for; 1 if anything was not good, 2 if it was told something impossible."""
    try:
        results = run_trials(read_arguments())
    except QuorateError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 2
    print(f"{sum(results)} of {len(results)} good")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
