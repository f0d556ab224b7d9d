#!/usr/bin/env python3
"""Measurements of the real thing on this machine. A benchmark, not a test: it asserts nothing.

    .venv/bin/python scripts/bench.py                 all figures, 5 trials each
    .venv/bin/python scripts/bench.py start idle      some of them
    .venv/bin/python scripts/bench.py --trials 10 --json figures.json

    start     from the launch of five processes until all know each other and the leader, s
    handon    from a result's acceptance to the next task's start on another node, ms
    makespan  makespan / ideal list schedule of the same drawn latencies, mathutils_p09, n = 5;
              and the same against a schedule that knows every latency beforehand
    idle      processor share and resident memory of a node that has nothing to do
    memory    resident memory of a node that has done a job with the openai client
    help      `quorate --help`, s

and, three voters with etcd and PySyncObj beside them (pip install 'quorate[bench]', and Debian's
etcd-server), Quorate's figure over each peer's at the end:

    serial      one write after the other, ms
    throughput  100, 1,000 and 10,000 writes under way, by leader and follower, 1/s
    puts        HTTP puts from 64 clients, 1/s
    failover    kill -9 of the leader to the next confirmed write, s
    elections   needless ones in ten minutes with every core busy (only if asked for by name)

and, if asked for by name, many short tasks with Dask beside it (pip install 'quorate[bench]'):

    team        500 tasks of 50 ms on eight processes: makespan, processor time of a task

and membership and gossip with Serf and kinship beside them (Debian's serf;
as root, for network namespaces), about ten minutes for each size of team:

    gossip [--sizes 5 16 64] [--cells join cut ...] [--programs Quorate Serf kinship]

Medians with minimum and maximum; the machine is named, since the figures are its as well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import bench_agreement
import bench_gossip
import bench_team
from bench_figures import Figures, cpu_s, spread

from node import jobfile
from node.lab.cluster import Cluster, ModelOptions
from node.lab.outcome import Outcome
from node.lab.run_job import RunOptions, run_job
from protocol.jobs import Job, Task

NODES = 5
IDLE_S = 20.0


def run_list(name: str, speed: float, seed: int) -> Outcome:
    """One run of a packaged list on five nodes."""
    return run_good(jobfile.read(name, "simulated"), ModelOptions(speed=speed, seed=seed))


def run_good(job: Job, model: ModelOptions) -> Outcome:
    """One run on five nodes, which has to succeed to be measured."""
    options = RunOptions(nodes=NODES, model=model)
    outcome = asyncio.run(run_job(jobfile.with_fresh_id(job), options))
    if not outcome.is_good:
        raise SystemExit(f"the run failed, so there is nothing to measure: {outcome.as_json()}")
    return outcome


def measure_start(trials: int) -> Figures:
    """Launch to leader and full membership."""
    elected = [run_list("mathutils_p09", 100.0, trial).elected_s for trial in range(trials)]
    return {"start_to_leader_s": spread(elected)}


def layered_job(layers: int) -> Job:
    """Layers of five tasks, each of which needs the whole layer before: every start waits for an
    acceptance, and four of five follow one on another node. Tasks take 20 to 180 ms."""
    tasks = []
    for layer in range(layers):
        needs = tuple(f"t{layer - 1}-{other}" for other in range(NODES)) if layer else ()
        for number in range(NODES):
            seconds = 0.02 + 0.04 * ((layer * 3 + number * 2) % 5)
            task = f"t{layer}-{number}"
            program = f"sleep {seconds:.2f}; echo done"
            tasks.append(Task(task, "", needs=needs, agent="command", program=program))
    return Job("layers", "layers", tuple(tasks))


def measure_handon(trials: int) -> Figures:
    """Hand-on delay over whole runs of a layered job."""
    outcomes = [run_good(layered_job(12), ModelOptions()) for _ in range(trials)]
    return {
        "hand_on_p50_ms": spread([outcome.hand_on_ms["p50"] for outcome in outcomes], 2),
        "hand_on_p99_ms": spread([outcome.hand_on_ms["p99"] for outcome in outcomes], 2),
        "hand_on_samples": spread([outcome.hand_on_ms["count"] for outcome in outcomes], 0),
    }


def measure_makespan(trials: int) -> Figures:
    """Makespan over ideal, at the model's own speed."""
    ratios, clairvoyant = [], []
    for trial in range(trials):
        outcome = run_list("mathutils_p09", 1.0, trial)
        assert outcome.ideal_s is not None
        assert outcome.clairvoyant_s is not None
        ratios.append(outcome.makespan_s / outcome.ideal_s)
        clairvoyant.append(outcome.makespan_s / outcome.clairvoyant_s)
    return {
        "makespan_over_ideal": spread(ratios),
        "makespan_over_clairvoyant": spread(clairvoyant),
    }


def measure_idle(trials: int) -> Figures:
    """Processor and memory of five idle nodes, over all of them."""
    shares: list[float] = []
    resident: list[float] = []
    for _ in range(max(1, trials // 2)):
        with tempfile.TemporaryDirectory(prefix="quorate-bench-") as folder:
            cluster = Cluster.create(Path(folder) / "team", NODES)
            cluster.start(ModelOptions(), attached=True)
            try:
                time.sleep(5.0)
                before = {node.name: cpu_s([node.pid]) for node in cluster.nodes}
                time.sleep(IDLE_S)
                for node in cluster.nodes:
                    used = cpu_s([node.pid]) - before[node.name]
                    shares.append(100.0 * used / IDLE_S)
                    resident.append(_resident_mib(node.pid))
            finally:
                cluster.stop()
    return {"idle_cpu_percent": spread(shares, 2), "idle_resident_mib": spread(resident, 1)}


def measure_memory(trials: int) -> Figures:
    """Resident memory of nodes that have done a job with the openai client."""
    resident: list[float] = []
    for _ in range(max(1, trials // 2)):
        with tempfile.TemporaryDirectory(prefix="quorate-bench-") as folder:
            cluster = Cluster.create(Path(folder) / "team", NODES)
            cluster.start(ModelOptions(speed=20.0), attached=True)
            try:
                asyncio.run(_do_job(cluster))
                resident += [_resident_mib(node.pid) for node in cluster.nodes]
            finally:
                cluster.stop()
    return {"worked_resident_mib": spread(resident, 1)}


async def _do_job(cluster: Cluster) -> None:
    job = jobfile.with_fresh_id(jobfile.read("mathutils_p05", "simulated"))
    assert await cluster.doors().await_ready(20.0)
    async with cluster.door(cluster.nodes[0]) as door:
        await door.submit(job)  # takes seconds: its end is not missed
        async for fact in door.facts():
            if fact["type"] == "JobFinished":
                return


def measure_help(trials: int) -> Figures:
    """The command line's own start."""
    program = Path(sys.executable).with_name("quorate")
    times = []
    for _ in range(trials + 1):
        begun = time.perf_counter()
        subprocess.run([program, "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - begun)
    return {"help_s": spread(times[1:])}


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"no VmRSS for process {pid}")


MEASURES: dict[str, Callable[[int], Figures]] = {
    "start": measure_start,
    "handon": measure_handon,
    "makespan": measure_makespan,
    "idle": measure_idle,
    "memory": measure_memory,
    "help": measure_help,
    **bench_agreement.MEASURES,
    "team": bench_team.measure,
    "gossip": bench_gossip.measure,
}
ONLY_BY_NAME = (*bench_agreement.ONLY_BY_NAME, "team", "gossip")


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(description="Measure Quorate on this machine.")
    parser.add_argument("measures", nargs="*", help=", ".join(MEASURES))
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=bench_gossip.SIZES, help="of teams that gossip"
    )
    parser.add_argument(
        "--cells", nargs="+", choices=bench_gossip.CELLS, default=(), help="of their table"
    )
    parser.add_argument(
        "--programs", nargs="+", choices=bench_gossip.PROGRAMS, default=(), help="that gossip"
    )
    given = parser.parse_args()
    unknown = [name for name in given.measures if name not in MEASURES]
    if unknown:
        parser.error(f"there is no measure {unknown[0]!r}: there are {', '.join(MEASURES)}")
    machine = f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(machine)
    figures: Figures = {}
    usual = [name for name in MEASURES if name not in ONLY_BY_NAME]
    gossip = partial(
        bench_gossip.measure, sizes=given.sizes, cells=given.cells, only=given.programs
    )
    for name in given.measures or usual:
        measure = gossip if name == "gossip" else MEASURES[name]
        for figure, values in measure(given.trials).items():
            figures[figure] = values
            print(
                f"{figure:<40} median {values['median']:<9} "
                f"min {values['min']:<9} max {values['max']:<9} n {values['n']}",
                flush=True,
            )
    ratios = bench_agreement.ratios(figures)
    for name, ratio in ratios.items():
        print(f"{name:<48} {ratio}")
    if given.json:
        given.json.write_text(
            json.dumps({"machine": machine, "figures": figures, "ratios": ratios}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
