#!/usr/bin/env python3
"""Long trials on real processes, for who wants to see the promises kept. Exit 1 if one was not.

    .venv/bin/python scripts/trials.py lists            nine lists at n = 1 and 5, p05 at 2, 3, 4
    .venv/bin/python scripts/trials.py lists --papers DIR   the same for job files in a folder
    .venv/bin/python scripts/trials.py faults --runs 10     kill the leader, kill two followers,
                                                            stop a worker, kill everybody, a cut
    .venv/bin/python scripts/trials.py cuts [--only chain3] [--seconds 40]
                                                            partial cuts of a team without a job

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
from collections.abc import Iterable
from pathlib import Path

from node import jobfile, lists
from node.lab.cluster import ModelOptions
from node.lab.cuts import HEADER, measure
from node.lab.outcome import Outcome
from node.lab.run_job import RunOptions, run_job
from node.lab.schedule import Fault
from protocol.clocks import SECOND
from protocol.errors import QuorateError
from protocol.jobs import ClaimMode
from protocol.sim.partial_cuts import SIZES

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
    good = outcome.is_good and accepted_once(outcome)
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


def accepted_once(outcome: Outcome) -> bool:
    """Every task has one acceptance, at a log index of its own."""
    indexes = Counter(task["accepted"]["index"] for task in outcome.tasks if task["accepted"])
    return len(indexes) == len(outcome.tasks) and set(indexes.values()) == {1}


def list_trials(sources: Iterable[str], speed: float, claims: str) -> list[bool]:
    """Every list alone and with five nodes, and the middle ones with all sizes."""
    results = []
    for source in sources:
        sizes = (1, 2, 3, 4, 5) if "p05" in source else (1, 5)
        for nodes in sizes:
            good, line = trial(source, nodes, speed, 1, (), claims)
            print(line, flush=True)
            results.append(good)
    return results


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
    print(HEADER, flush=True)
    for name in names:
        folder = keep / name if keep else None
        outcome = asyncio.run(measure(name, int(seconds * SECOND), folder))
        print(outcome, flush=True)
        for failure, count in Counter(outcome.failed).items():
            print(f"  {count} x after the heal: {failure}", flush=True)
        if outcome.history.counter_example:
            print(*outcome.history.counter_example.lines(), sep="\n", flush=True)
        results.append(outcome.is_held)
    return results


def main() -> int:
    """Run what was asked for; 1 if anything was not good."""
    parser = argparse.ArgumentParser(description="Long trials on real processes.")
    parser.add_argument("what", choices=["lists", "faults", "cuts"])
    parser.add_argument("--papers", type=Path, help="a folder with job files to use as lists")
    parser.add_argument("--kinds", nargs="*", choices=sorted(FAULTS), default=list(FAULTS))
    parser.add_argument("--runs", type=int, default=10, help="of each fault")
    parser.add_argument("--claims", default="lease", choices=[mode.value for mode in ClaimMode])
    parser.add_argument("--speed", type=float, help="of the simulated model")
    parser.add_argument("--only", nargs="*", choices=sorted(SIZES), default=list(SIZES))
    parser.add_argument(
        "--seconds", type=float, default=40.0, help="of each cut; the goals are those of 40"
    )
    parser.add_argument("--keep", type=Path, help="a new folder for the nodes' files during cuts")
    given = parser.parse_args()
    if given.what == "lists":
        found = sorted(given.papers.glob("*.json")) if given.papers else lists.names()
        results = list_trials([str(source) for source in found], given.speed or 20.0, given.claims)
    elif given.what == "cuts":
        results = cut_trials(given.only, given.seconds, given.keep)
    else:
        results = fault_trials(given.kinds, given.runs, given.speed or 4.0, given.claims)
    print(f"{sum(results)} of {len(results)} good")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
