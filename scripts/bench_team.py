"""Many short tasks on eight processes: Quorate, and Dask distributed doing the same graphs in the
same run.

Two graphs of 500 tasks that do nothing for 50 ms: `fan`, where one task comes before all others,
and `layers`, where each needs three of the layer before. Quorate does them twice: by the agent that
a user has for something short, a `command` whose program is `sleep`, and by a wait in the node
itself (`Inline`), which is as little as Dask's tasks are, functions in its workers, so that it
shows what the coordination costs alone. They take turns, and each time begin with a warm-up.

    makespan_s      from the submission to the end, as the client sees it
    over_ideal      makespan / (500 * 50 ms / 8), which no schedule can be below
    cpu_ms          processor time of all nodes over the number of tasks, without that of programs
                    that they start. Dask's is that of scheduler and workers; its client is in the
                    scheduler's process, so its work is in it
    collisions      claims that two nodes made at once, over the number of tasks
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_contenders import Told
from bench_figures import Figures, cpu_s, spread

from node.jobfile import with_fresh_id
from node.lab.cluster import Cluster, ModelOptions, NodeEntry
from node.lab.door import Door
from protocol.jobs import Job, Task

HERE = Path(__file__).parent
NODES = 8
TASKS = 500
TASK_S = 0.05
IDEAL_S = TASKS * TASK_S / NODES
LAYER = 20  # tasks: more than there are nodes, so that nobody waits for the last of a layer
WARM_UP = 32  # tasks
READY_S = 30.0
RUN_TIMEOUT_S = 300.0
SETTLE_S = 0.5  # after a run, until the nodes have said all there is to say
ASK_EVERY_S = 2.0

Needs = dict[str, tuple[str, ...]]
Sample = dict[str, float]


def fan(count: int) -> Needs:
    """One task, and then all others at once."""
    return {"t0": (), **{f"t{number}": ("t0",) for number in range(1, count)}}


def layers(count: int) -> Needs:
    """Layers, of which each task needs three of the one before, spread over it."""
    needs: Needs = {}
    for number in range(count):
        first, place = number - number % LAYER - LAYER, number % LAYER
        before = sorted({first + (place + step) % LAYER for step in (0, 7, 13)})
        needs[f"t{number}"] = tuple(f"t{other}" for other in before) if first >= 0 else ()
    return needs


GRAPHS: dict[str, Callable[[int], Needs]] = {"fan": fan, "layers": layers}


class Team(ABC):
    """Eight processes that do graphs of short tasks."""

    name = ""
    lacks = ""  # how to get what it needs and is not here

    @abstractmethod
    def start(self) -> None:
        """Start, and wait until work can be given to all."""

    @abstractmethod
    def run(self, needs: Needs) -> Sample:
        """Do a graph: makespan_s, cpu_s, and what else there is to tell."""

    @abstractmethod
    def stop(self) -> None:
        """Stop all processes."""


class Quorate(Team):
    """Nodes as they are, with programs for tasks."""

    name = "Quorate"
    agent = "command"
    program = f"sleep {TASK_S}; echo done"

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="quorate-bench-")
        self._cluster = self.make_cluster(Path(self._folder.name) / "team")

    def make_cluster(self, folder: Path) -> Cluster:
        return Cluster.create(folder, NODES)

    def start(self) -> None:
        self._cluster.start(ModelOptions(), attached=True)
        if not asyncio.run(self._cluster.doors().await_ready(READY_S)):
            raise SystemExit(f"{self.name}: not all nodes follow a leader after {READY_S:g} s")

    def run(self, needs: Needs) -> Sample:
        tasks = [
            Task(task, "", needs=before, agent=self.agent, program=self.program)
            for task, before in needs.items()
        ]
        job = with_fresh_id(Job("short", "short", tuple(tasks)))
        pids = [node.pid for node in self._cluster.nodes]
        used = -cpu_s(pids)
        makespan_s = asyncio.run(self._do(job))
        time.sleep(SETTLE_S)
        used += cpu_s(pids)
        return {"makespan_s": makespan_s, "cpu_s": used, "collisions": self._collisions(job.id)}

    async def _do(self, job: Job) -> float:
        """The seconds until the job's end. One node is listened to, for to ask all the time would
        cost it as much as its work does, and asked now and then should its word get lost."""
        doors = self._cluster.doors()
        async with (
            asyncio.timeout(RUN_TIMEOUT_S),
            self._cluster.door(self._cluster.nodes[0]) as door,
        ):
            ends = [
                asyncio.create_task(_hear_the_end(door, job.id)),
                asyncio.create_task(doors.await_end(job.id, ASK_EVERY_S)),
            ]
            begun = time.perf_counter()
            await doors.submit(job)
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            took = time.perf_counter() - begun
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
            view = await doors.await_end(job.id)
        if not view["succeeded"]:
            raise SystemExit(f"{self.name}: the job failed, so there is nothing to measure: {view}")
        return took

    def _collisions(self, job: str) -> int:
        """By the nodes' own records."""
        return sum(
            fact["type"] == "ClaimLost" and fact["job"] == job
            for node in self._cluster.nodes
            for path in self._cluster.data_dir(node).glob("facts.jsonl*")
            for fact in map(json.loads, path.read_text().splitlines())
        )

    def stop(self) -> None:
        self._cluster.stop()
        self._folder.cleanup()


async def _hear_the_end(door: Door, job: str) -> None:
    async for fact in door.facts():
        if fact["type"] == "JobFinished" and fact["job"] == job:
            return


class Inline(Quorate):
    """Nodes whose `python` agent waits in the node's own process."""

    name = "Inline"
    agent = "python"
    program = str(TASK_S)

    def make_cluster(self, folder: Path) -> Cluster:
        return _InlineCluster.create(folder, NODES)


class _InlineCluster(Cluster):
    def _node_command(self, node: NodeEntry, *given: Any) -> list[str]:
        command = super()._node_command(node, *given)
        arguments = command[command.index("node.process") + 1 :]
        return [sys.executable, str(HERE / "bench_team_node.py"), *arguments]


class Dask(Team):
    """Eight workers with one thread each, and functions for tasks."""

    name = "Dask"
    lacks = "" if importlib.util.find_spec("distributed") else "pip install 'dask[distributed]'"

    def __init__(self) -> None:
        self._process: Told | None = None

    def start(self) -> None:
        self._process = Told([sys.executable, str(HERE / "bench_dask.py"), str(NODES)])
        self._process.tell(op="start")

    def run(self, needs: Needs) -> Sample:
        assert self._process is not None
        answer = self._process.tell(op="run", needs=needs, task_s=TASK_S)
        if "error" in answer:
            raise SystemExit(f"Dask failed: {answer['error']}")
        used = cpu_s(answer["pids"]) - answer["cpu_s_before"]
        return {"makespan_s": answer["makespan_s"], "cpu_s": used}

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()


def measure(trials: int) -> Figures:
    """Both graphs, by all who are installed here, in turns. Each is alone while it works: even
    processes that wait take something."""
    samples: dict[str, list[float]] = defaultdict(list)
    teams = [team for team in (Quorate, Inline, Dask) if _is_installed(team)]
    for _ in range(trials):
        for kind in teams:
            team = kind()
            try:
                team.start()
                team.run(fan(WARM_UP))
                for name, graph in GRAPHS.items():
                    for figure, value in figures_of(team.run(graph(TASKS))).items():
                        samples[f"{team.name}_{name}_{figure}"].append(value)
            finally:
                team.stop()
    return {name: spread(values, 3) for name, values in samples.items()}


def figures_of(found: Sample) -> Sample:
    """What is told of a run of TASKS tasks."""
    figures = {
        "makespan_s": found["makespan_s"],
        "over_ideal": found["makespan_s"] / IDEAL_S,
        "cpu_ms": found["cpu_s"] * 1_000 / TASKS,
    }
    if "collisions" in found:
        figures["collisions"] = found["collisions"] / TASKS
    return figures


def _is_installed(team: type[Team]) -> bool:
    """Who is missing is named."""
    if team.lacks:
        print(f"{team.name} is left out: {team.lacks}", file=sys.stderr)
    return not team.lacks
