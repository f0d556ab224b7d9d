"""What clones gain: a list schedule in which idle agents race what takes long.

The rule is the team's own (`protocol.team.racing`): who has nothing to begin races a slot of the
critical path that has taken longer than is usual, by so many clones at most; the first result
stands, and the others are stopped at once. So a slot of length L whose clones begin after A ends
with the least order statistic, min(L, A + C1, ..., A + Cc): it gains where lengths vary, as those
of a model do (lognormal, so that one in ten takes about twice the median), and nothing where they
do not.

A quorum is over when as many answers are there as must agree: the slots that are worked on then are
stopped as well, and those that nobody has begun never are.

Invariant: without races, and where all slots are needed, the makespan is that of
`protocol.graph.ListSchedule`; with them it is bounded by the same work, for a clone is begun by an
agent that has nothing else to do.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from protocol import graph

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Races:
    """Up to `clones` on each slot. Both by task and slot, in the schedule's unit: how long after
    its begin a slot is overdue (NEVER: it is not), and how long each of its clones would take."""

    clones: int
    after: Mapping[str, Sequence[float]]
    again: Mapping[str, Sequence[Sequence[float]]]


class Effort(NamedTuple):
    """The work on a slot of a task: the slot's own, `clone` 0, or that of a clone, from 1."""

    task: str
    slot: int
    clone: int


@dataclass(frozen=True, slots=True)
class Played:
    """How it went: `busy` is the most slots that were worked on at once; `clones` are those that
    were begun, `unbegun` the slots that were not; `stopped` has how long each effort had lasted
    that was not needed any more. All others were brought to their end."""

    makespan: float
    busy: int
    clones: tuple[Effort, ...] = ()
    unbegun: tuple[Effort, ...] = ()
    stopped: Mapping[Effort, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Work:
    """A slot that is worked on: since when by itself, and by each clone."""

    begun: list[float]

    @property
    def clones(self) -> int:
        return len(self.begun) - 1


class RacedSchedule(graph.ListSchedule):
    """See the module's text. `expected` are the lengths that the team goes by, its weights."""

    def __init__(self, needs: graph.Needs, expected: Mapping[str, float]) -> None:
        super().__init__(needs, expected)
        levels = graph.bottom_levels(needs, expected)
        self._levels = [levels[task] for task in self._tasks]

    def play(
        self,
        lengths: Mapping[str, Sequence[float]],
        agents: int,
        races: Races | None = None,
        needed: Mapping[str, int] | None = None,
    ) -> Played:
        """What so many agents do, when the slots of each task take these lengths. `needed` is with
        how many of them it is done; by default with all."""
        slots = [lengths[task] for task in self._tasks]
        enough = [len(lengths[task]) if needed is None else needed[task] for task in self._tasks]
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
            if ended[done] < enough[done]:
                continue
            if ended[done] < len(slots[done]):
                team.stop(done)
                ready = [at for at in ready if at != done]
                heapq.heapify(ready)
            for after in self._dependents[done]:
                missing[after] -= 1
                if not missing[after]:
                    for _ in slots[after]:
                        heapq.heappush(ready, after)
        return self._played(team, begun, slots)

    def _played(
        self, team: _Team, begun: Sequence[int], slots: Sequence[Sequence[float]]
    ) -> Played:
        names = self._tasks
        return Played(
            team.now,
            team.busy,
            tuple(Effort(names[at], slot, clone) for at, slot, clone in team.cloned),
            tuple(
                Effort(names[at], slot, 0)
                for at, count in enumerate(begun)
                for slot in range(count, len(slots[at]))
            ),
            {
                Effort(names[at], slot, clone): lasted
                for (at, slot, clone), lasted in team.stopped.items()
            },
        )

    def _race(self, team: _Team, races: Races) -> float:
        """Let those that are idle race what is overdue, what was begun last first, for it has the
        longest way to go; when the next slot will be."""
        longest = max(self._levels[at] for at, _ in team.works)
        wake = NEVER
        for (at, slot), work in sorted(team.works.items(), key=lambda each: -each[1].begun[0]):
            task = self._tasks[at]
            due = work.begun[0] + races.after[task][slot]
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
        self.cloned: list[tuple[int, int, int]] = []
        self.stopped: dict[tuple[int, int, int], float] = {}
        self._ends: list[tuple[float, int, int, int]] = []

    def begin(self, at: int, slot: int, length: float) -> None:
        self.works[at, slot] = _Work([])
        self._take(at, slot, length)

    def clone(self, at: int, slot: int, length: float) -> None:
        self.cloned.append((at, slot, len(self.works[at, slot].begun)))
        self._take(at, slot, length)

    def _take(self, at: int, slot: int, length: float) -> None:
        begun = self.works[at, slot].begun
        self.idle -= 1
        heapq.heappush(self._ends, (self.now + length, at, slot, len(begun)))
        begun.append(self.now)

    def next_end(self) -> float:
        """When the next slot is done."""
        while self._ends[0][1:3] not in self.works:
            heapq.heappop(self._ends)  # of what was stopped
        return self._ends[0][0]

    def wait(self, wake: float) -> int | None:
        """Until the next slot is done: its task; None if it is `wake` before that."""
        if wake < self.next_end():
            self.now = wake
            return None
        self.now, at, slot, first = heapq.heappop(self._ends)
        self._free(at, slot, first)
        return at

    def stop(self, at: int) -> None:
        """A task is done: nobody works on any slot of it any more."""
        for task, slot in [work for work in self.works if work[0] == at]:
            self._free(task, slot)

    def _free(self, at: int, slot: int, first: int | None = None) -> None:
        """Who works on a slot is idle again, and all but the `first` were stopped."""
        begun = self.works.pop((at, slot)).begun
        self.idle += len(begun)
        for clone, since in enumerate(begun):
            if clone != first:
                self.stopped[at, slot, clone] = self.now - since
