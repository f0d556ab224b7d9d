"""Dask distributed on this machine, for `bench.py team`: NUMBER of workers, each a process with one
thread. Takes orders as JSON lines on standard input and answers each with a JSON line.

    {"op": "start"}                                          when all workers are there
    {"op": "run", "needs": {task: [task]}, "task_s": 0.05}   makespan_s; pids, cpu_s_before

Scheduler, nannies and client are in this process, as Dask's own LocalCluster has them.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from bench_figures import cpu_s
from dask import delayed
from distributed import Client, LocalCluster


def wait_for(seconds: float, *needed: str) -> str:
    """A task."""
    time.sleep(seconds)
    return "done"


class Graphs:
    """What has been done so far: keys must be new, or Dask takes what it has."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._done = 0

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        match order["op"]:
            case "start":
                return {}
            case "run":
                return self.run(order["needs"], order["task_s"])
        raise ValueError(order)

    def run(self, needs: Mapping[str, Sequence[str]], seconds: float) -> dict[str, Any]:
        """`needs` names what is needed before what needs it."""
        self._done += 1
        pids = [os.getpid(), *self._client.run(os.getpid).values()]
        before = cpu_s(pids)
        begun = time.perf_counter()
        tasks: dict[str, Any] = {}
        for task, before_it in needs.items():
            given = [tasks[each] for each in before_it]
            name = f"{task}-{self._done}"
            tasks[task] = delayed(wait_for, pure=False)(seconds, *given, dask_key_name=name)
        answers = self._client.gather(self._client.compute(list(tasks.values())))
        makespan_s = time.perf_counter() - begun
        assert answers == ["done"] * len(needs)
        return {"makespan_s": makespan_s, "pids": pids, "cpu_s_before": before}


def main() -> None:
    workers = int(sys.argv[1])
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(workers)
        graphs = Graphs(client)
        for line in sys.stdin:
            try:
                answer = graphs.obey(json.loads(line))
            except Exception as fault:  # whatever it raises, the bench has to hear of it
                answer = {"error": repr(fault)}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
