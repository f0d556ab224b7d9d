"""A task graph: its order, its cycles, its longest chain, and the two bounds on speed-up.

Amdahl's bound is 1 / ((1-p) + p/n) with p the share of tasks outside the longest chain; it
assumes that the chain and the free tasks do not overlap. The work/span bound
N / max(C, ceil(N/n)) lets them overlap and is therefore the higher one (Brent 1974; Blumofe and
Leiserson 1999). Both count tasks as equally long, as the paper does (arXiv 2603.12229).
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from math import ceil

Needs = Mapping[str, Sequence[str]]


def find_cycle(needs: Needs) -> list[str] | None:
    """A cycle as [a, b, ..., a], each needing the next; None if there is none."""
    done: set[str] = set()
    for root in needs:
        path: list[str] = []
        on_path: set[str] = set()
        stack = [(root, iter(needs[root]))] if root not in done else []
        if stack:
            path.append(root)
            on_path.add(root)
        while stack:
            task, remaining = stack[-1]
            following = next(remaining, None)
            if following is None:
                stack.pop()
                path.pop()
                on_path.discard(task)
                done.add(task)
            elif following in on_path:
                return [*path[path.index(following) :], following]
            elif following not in done and following in needs:
                stack.append((following, iter(needs[following])))
                path.append(following)
                on_path.add(following)
    return None


def topological_order(needs: Needs) -> list[str]:
    """The tasks, each after all it needs; ties in the order given. Requires no cycle."""
    position = {task: at for at, task in enumerate(needs)}
    missing = {task: len(needs[task]) for task in needs}
    dependents = dependents_of(needs)
    ready = [position[task] for task in needs if not missing[task]]
    names = list(needs)
    order: list[str] = []
    heapq.heapify(ready)
    while ready:
        task = names[heapq.heappop(ready)]
        order.append(task)
        for dependent in dependents[task]:
            missing[dependent] -= 1
            if not missing[dependent]:
                heapq.heappush(ready, position[dependent])
    assert len(order) == len(needs), "topological_order called on a graph with a cycle"
    return order


def dependents_of(needs: Needs) -> dict[str, list[str]]:
    """For each task, the tasks that need it directly."""
    dependents: dict[str, list[str]] = {task: [] for task in needs}
    for task, wanted in needs.items():
        for dependency in wanted:
            dependents[dependency].append(task)
    return dependents


def ancestors_of(needs: Needs, task: str) -> set[str]:
    """Everything that `task` needs, directly or not."""
    found: set[str] = set()
    stack = list(needs[task])
    while stack:
        dependency = stack.pop()
        if dependency not in found:
            found.add(dependency)
            stack.extend(needs[dependency])
    return found


def ancestor_sets(needs: Needs) -> dict[str, int]:
    """For each task, everything that it needs: bit i stands for task i of `topological_order`.

    As bits, because the sets of a long chain have as many members as the chain has pairs.
    """
    order = topological_order(needs)
    place = {task: at for at, task in enumerate(order)}
    found: dict[str, int] = {}
    for task in order:
        bits = 0
        for dependency in needs[task]:
            bits |= found[dependency] | 1 << place[dependency]
        found[task] = bits
    return found


def bottom_levels(needs: Needs, lengths: Mapping[str, float] | None = None) -> dict[str, float]:
    """For each task, the length of the longest chain that starts with it (its own included).

    Lengths default to 1 a task. The largest level is the critical path's length.
    """
    dependents = dependents_of(needs)
    levels: dict[str, float] = {}
    for task in reversed(topological_order(needs)):
        own = 1.0 if lengths is None else lengths[task]
        levels[task] = own + max((levels[after] for after in dependents[task]), default=0.0)
    return levels


def critical_path(needs: Needs, lengths: Mapping[str, float] | None = None) -> list[str]:
    """The tasks of a longest chain, in order."""
    if not needs:
        return []
    levels = bottom_levels(needs, lengths)
    dependents = dependents_of(needs)
    at = max((task for task in needs if not needs[task]), key=lambda task: levels[task])
    path = [at]
    while dependents[at]:
        at = max(dependents[at], key=lambda task: levels[task])
        path.append(at)
    return path


def amdahl_bound(needs: Needs, agents: int) -> float:
    """1 / ((1-p) + p/n); p = 1 - C/N, C the longest chain of two or more tasks."""
    chain = len(critical_path(needs))
    parallel = 1.0 if chain <= 1 else 1.0 - chain / len(needs)
    return 1.0 / ((1.0 - parallel) + parallel / agents)


def work_span_bound(needs: Needs, agents: int) -> float:
    """N / max(C, ceil(N/n))."""
    return len(needs) / max(len(critical_path(needs)), ceil(len(needs) / agents))


class ListSchedule:
    """The list schedule of a graph (Graham 1969): a free agent always takes the first ready task of
    a list, which is ordered by the longest chain behind a task, ties as given.

    A team cannot know how long its tasks will take: it orders by what it expects (by default all
    count as equally long), though they last as long as they do. This is what a team without any
    coordination cost would need; if it expects what comes it is clairvoyant (longest processing
    time first).
    """

    def __init__(self, needs: Needs, expected: Mapping[str, float] | None = None) -> None:
        levels = bottom_levels(needs, expected)
        dependents = dependents_of(needs)
        self._tasks = sorted(needs, key=lambda task: -levels[task])
        place = {task: at for at, task in enumerate(self._tasks)}
        self._missing = [len(needs[task]) for task in self._tasks]
        self._dependents = [[place[after] for after in dependents[task]] for task in self._tasks]

    def makespan(self, lengths: Mapping[str, Sequence[float]], agents: int) -> float:
        """When so many agents are done, in the unit of `lengths`: how long the slots of each task
        take. Any agent may take any slot, and a task is done with its last one."""
        slots = [lengths[task] for task in self._tasks]
        missing = self._missing.copy()
        begun = [0] * len(slots)
        ended = [0] * len(slots)
        ready = [at for at, count in enumerate(missing) if not count for _ in slots[at]]
        running: list[tuple[float, int]] = []
        now = 0.0
        while ready or running:
            while ready and len(running) < agents:
                at = heapq.heappop(ready)
                heapq.heappush(running, (now + slots[at][begun[at]], at))
                begun[at] += 1
            now, at = heapq.heappop(running)
            ended[at] += 1
            for after in self._dependents[at] if ended[at] == len(slots[at]) else ():
                missing[after] -= 1
                if not missing[after]:
                    for _ in slots[after]:
                        heapq.heappush(ready, after)
        return now


def list_schedule(
    needs: Needs,
    lengths: Mapping[str, float],
    agents: int,
    expected: Mapping[str, float] | None = None,
) -> float:
    """The makespan of one `ListSchedule` with one slot a task. Same unit as `lengths`."""
    slots = {task: (length,) for task, length in lengths.items()}
    return ListSchedule(needs, expected).makespan(slots, agents)
