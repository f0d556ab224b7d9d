"""What clones gain: a list schedule in which idle agents race what takes long.

The rule is the team's own (`protocol.team.racing`): who has nothing to begin races a slot of the
critical path that has taken longer than is usual, by so many clones at most; the first result
stands, and the others are stopped at once. So a slot of length L whose clones begin after A ends
with the least order statistic, min(L, A + C1, ..., A + Cc): it gains where lengths vary, as those
of a model do (lognormal, so that one in ten takes about twice the median), and nothing where they
do not.

Invariant: without races the makespan is that of `protocol.graph.ListSchedule`; with them it is
bounded by the same work, for a clone is begun by an agent that has nothing else to do.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protocol import graph

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Races:
    """Up to `clones` on each slot. Both by task and slot, in the schedule's unit: how long after
    its begin a slot is overdue (NEVER: it is not), and how long each of its clones would take."""

    clones: int
    after: Mapping[str, Sequence[float]]
    again: Mapping[str, Sequence[Sequence[float]]]


@dataclass(frozen=True, slots=True)
class Played:
    """How it went: `busy` is the most slots that were worked on at once; `raced` has a task for
    each clone that was begun."""

    makespan: float
    busy: int
    raced: tuple[str, ...]


@dataclass(slots=True)
class _Work:
    """A slot that is worked on, and by how many clones as well."""

    begun: float
    clones: int = 0


class RacedSchedule(graph.ListSchedule):
    """See the module's text. `expected` are the lengths that the team goes by, its weights."""

    def __init__(self, needs: graph.Needs, expected: Mapping[str, float]) -> None:
        super().__init__(needs, expected)
        levels = graph.bottom_levels(needs, expected)
        self._levels = [levels[task] for task in self._tasks]

    def play(
        self, lengths: Mapping[str, Sequence[float]], agents: int, races: Races | None = None
    ) -> Played:
        """What so many agents do, when the slots of each task take these lengths."""
        slots = [lengths[task] for task in self._tasks]
        missing = self._missing.copy()
        begun = [0] * len(slots)
        ended = [0] * len(slots)
        ready = [at for at, count in enumerate(missing) if not count for _ in slots[at]]
        team = _Team(agents)
        while ready or team.works:
            while ready and team.idle:
                at = heapq.heappop(ready)
                team.begin(at, begun[at], slots[at][begun[at]])
                begun[at] += 1
            team.busy = max(team.busy, len(team.works))
            is_idle = not ready and team.next_end() > team.now  # what ends now is not raced
            wake = self._race(team, races) if races and is_idle else NEVER
            done = team.wait(wake)
            if done is None:
                continue
            ended[done] += 1
            for after in self._dependents[done] if ended[done] == len(slots[done]) else ():
                missing[after] -= 1
                if not missing[after]:
                    for _ in slots[after]:
                        heapq.heappush(ready, after)
        return Played(team.now, team.busy, tuple(self._tasks[at] for at in team.raced))

    def _race(self, team: _Team, races: Races) -> float:
        """Let those that are idle race what is overdue, what was begun last first, for it has the
        longest way to go; when the next slot will be."""
        longest = max(self._levels[at] for at, _ in team.works)
        wake = NEVER
        for (at, slot), work in sorted(team.works.items(), key=lambda each: -each[1].begun):
            task = self._tasks[at]
            due = work.begun + races.after[task][slot]
            if self._levels[at] < longest or work.clones >= races.clones:
                continue
            if due > team.now:
                wake = min(wake, due)
                continue
            while team.idle and work.clones < races.clones:
                team.clone(at, slot, races.again[task][slot][work.clones])
        return wake if team.idle else NEVER


def overdue_after(attempts: Sequence[float], usual: float) -> float:
    """How long after its begin a slot is raced whose attempts take so long, one after the other:
    each begins anew, and so does the waiting for its end."""
    begun = 0.0
    for length in attempts:
        if length > usual:
            return begun + usual
        begun += length
    return NEVER


class _Team:
    """The agents at one moment: who is idle, what is worked on and when it would end."""

    def __init__(self, agents: int) -> None:
        self.now = 0.0
        self.idle = agents
        self.busy = 0
        self.works: dict[tuple[int, int], _Work] = {}
        self.raced: list[int] = []
        self._ends: list[tuple[float, int, int]] = []

    def begin(self, at: int, slot: int, length: float) -> None:
        self.works[at, slot] = _Work(self.now)
        self._take(at, slot, length)

    def clone(self, at: int, slot: int, length: float) -> None:
        self.works[at, slot].clones += 1
        self.raced.append(at)
        self._take(at, slot, length)

    def _take(self, at: int, slot: int, length: float) -> None:
        self.idle -= 1
        heapq.heappush(self._ends, (self.now + length, at, slot))

    def next_end(self) -> float:
        """When the next slot is done."""
        while self._ends[0][1:] not in self.works:
            heapq.heappop(self._ends)  # of a race that was lost
        return self._ends[0][0]

    def wait(self, wake: float) -> int | None:
        """Until the next slot is done: its task; None if it is `wake` before that."""
        if wake < self.next_end():
            self.now = wake
            return None
        self.now, at, slot = heapq.heappop(self._ends)
        self.idle += 1 + self.works.pop((at, slot)).clones
        return at
