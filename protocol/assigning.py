"""Who does what, decided before the start: the way of `claims: assigned`.

The schedule is a list schedule (Graham 1969): a free node takes the first ready task of a list. The
list is ordered by the longest chain of weights that starts with a task, so that what takes long
begins early (longest processing time first, over the critical path). A node that has work of other
jobs is free later, by the weight of that work.

Invariant: equal input gives equal output; every slot is given out once; the slots of one task go to
different nodes where there are enough. If each task has one slot and nobody has other work, and
tasks take as long as they weigh, the job ends within Graham's bound: W/n + (1 - 1/n) C, W being all
the weight and C that of the longest chain.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from protocol import graph
from protocol.claims import score
from protocol.identity import NodeId
from protocol.jobs import Job

Assignment: TypeAlias = tuple[tuple[str, int, NodeId], ...]  # task, slot, node
_Rank: TypeAlias = tuple[float, int]  # the longest chain first, ties in the order of the job
_LAST: _Rank = (float("inf"), 0)
_NO_LOAD: Mapping[NodeId, float] = {}


def spread(
    job: Job, nodes: Sequence[NodeId], load: Mapping[NodeId, float] = _NO_LOAD
) -> Assignment:
    """Give all slots out. `load` is what nodes have still to do of other jobs, in weights, as if
    the weights of all jobs meant the same."""
    assert nodes
    queue = _Queue(job, nodes)
    weights = job.weights
    dependents = graph.dependents_of(job.needs)
    missing = {task.id: len(task.needs) for task in job.tasks}
    unfinished = {task.id: task.quorum.of for task in job.tasks}
    free = [node for node in nodes if not load.get(node)]
    busy = [(load[node], node, "") for node in nodes if load.get(node)]  # until when, with what
    heapq.heapify(busy)
    for task in job.tasks:
        if not task.needs:
            queue.add(task.id)
    now = 0.0
    while True:
        while free and (given := queue.give(free)):
            task_id, takers = given
            free = [node for node in free if node not in takers]
            for node in takers:
                heapq.heappush(busy, (now + weights[task_id], node, task_id))
        if not busy:
            return queue.assignment()
        now = busy[0][0]
        while busy and busy[0][0] == now:
            _, node, task_id = heapq.heappop(busy)
            free.append(node)
            if not task_id:
                continue
            unfinished[task_id] -= 1
            for after in dependents[task_id] if not unfinished[task_id] else ():
                missing[after] -= 1
                if not missing[after]:
                    queue.add(after)


class _Queue:
    """The ready slots, and who got which. Those of one task go out in rounds of one to a node."""

    def __init__(self, job: Job, nodes: Sequence[NodeId]) -> None:
        self._job = job
        self._levels = graph.bottom_levels(job.needs, job.weights)
        self._place = {task.id: at for at, task in enumerate(job.tasks)}
        self._given: dict[str, list[NodeId]] = {task.id: [] for task in job.tasks}
        self._ready: list[_Rank] = []  # tasks that begin a round: any node may take a slot
        self._begun: dict[NodeId, list[_Rank]] = {node: [] for node in nodes}  # for who has none

    def add(self, task: str) -> None:
        """Its slots may be given from now on."""
        heapq.heappush(self._ready, (-self._levels[task], self._place[task]))

    def give(self, free: Sequence[NodeId]) -> tuple[str, list[NodeId]] | None:
        """Give slots of the first task that any of these nodes may have one of, as many as there
        are and as may take one, to those with the highest scores; None if there is no such task."""
        first = {node: self._first(node) for node in free}
        rank = min(first.values())
        if rank == _LAST:
            return None
        task = self._job.tasks[rank[1]]
        given = self._given[task.id]
        unit = (self._job.id, task.id, len(given))
        able = [node for node in free if first[node] == rank]
        able.sort(key=lambda node: score(unit, node), reverse=True)
        takers = able[: task.quorum.of - len(given)]
        begins = bool(self._ready) and self._ready[0] == rank
        for heap in [self._ready] if begins else [self._begun[node] for node in takers]:
            heapq.heappop(heap)
        given += takers
        if self._is_left(rank) and len(given) % len(self._begun) == 0:
            heapq.heappush(self._ready, rank)
        elif self._is_left(rank) and begins:
            for node in self._begun:
                if node not in takers:
                    heapq.heappush(self._begun[node], rank)
        return task.id, takers

    def assignment(self) -> Assignment:
        return tuple(
            (task, slot, node)
            for task, nodes in self._given.items()
            for slot, node in enumerate(nodes)
        )

    def _first(self, node: NodeId) -> _Rank:
        """The first of the tasks that this node may take a slot of."""
        begun = self._begun[node]
        while begun and not self._is_left(begun[0]):
            heapq.heappop(begun)
        ready = self._ready[0] if self._ready else _LAST
        return min(ready, begun[0]) if begun else ready

    def _is_left(self, rank: _Rank) -> bool:
        task = self._job.tasks[rank[1]]
        return len(self._given[task.id]) < task.quorum.of
