"""Every interleaving of a tiny cluster: breadth-first search over real `Raft` machines.

    explorer = Explorer(Bounds(terms=2, entries=1))
    while explorer.go_on(100_000):
        print(explorer.found())
    print(explorer.found())

A random run meets the interleavings that its seed draws; this meets them all, within bounds that
are stated. `exhausted` says that none is left: within the bounds there is no violation. The first
violation found is one of the shortest there are, and is told step by step.

What is checked is in `small_node` and `small_history`, what a state is in `small_cluster`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from protocol.raft import Raft
from protocol.sim.small_bounds import Bounds
from protocol.sim.small_cluster import SmallCluster, State, Violation

STATES_MAX = 1_000_000  # about 400 bytes each


@dataclass(frozen=True, slots=True)
class Exploration:
    """What was found so far. `states` are distinct; `moves` are those that led to any of them;
    `frontier` were met and not yet gone on from; `depth` is the greatest distance from the
    beginning. `invariant` is empty if none is broken; then `path` leads to the breach."""

    bounds: Bounds
    states: int
    moves: int
    depth: int
    frontier: int
    local_states: int
    reactions: int
    exhausted: bool
    invariant: str = ""
    detail: str = ""
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        end = "exhausted" if self.exhausted else f"{self.frontier} left to go on from"
        lines = [
            f"bounds: {self.bounds}",
            f"{self.states} states, {self.moves} moves, depth {self.depth}; {end}",
            f"machine: {self.local_states} local states, run {self.reactions} times",
        ]
        if self.invariant:
            lines.append(f"BROKEN: {self.invariant}: {self.detail}")
            lines += self.path
        return "\n".join(lines)


class Explorer:
    """See the module's text. `machine` may be a subclass with a rule removed; `invariants` names
    those that count (None: all), to see which others notice as well."""

    def __init__(
        self,
        bounds: Bounds,
        machine: type[Raft] = Raft,
        invariants: frozenset[str] | None = None,
        states_max: int = STATES_MAX,
        depth_max: int | None = None,
        reduced: bool = True,
    ) -> None:
        self.cluster = SmallCluster(bounds, machine, invariants, reduced)
        self.states_max = states_max
        self.depth_max = depth_max
        self._parents: dict[State, State | None] = {self.cluster.first: None}
        self._level: list[State] = [self.cluster.first]
        self._next_level: list[State] = []
        self._at = 0
        self._depth = 0
        self._moves = 0
        self._violation: tuple[State, Violation] | None = None

    def go_on(self, states: int) -> bool:
        """Go on from up to this many states: whether there is anything left to do."""
        parents, moves = self._parents, self.cluster.moves
        for _ in range(states):
            if self._is_over():
                return False
            if self._at == len(self._level):
                self._level, self._next_level, self._at = self._next_level, [], 0
                self._depth += 1
            state = self._level[self._at]
            self._at += 1
            try:
                for successor in moves(state):
                    self._moves += 1
                    if successor not in parents:
                        parents[successor] = state
                        self._next_level.append(successor)
            except Violation as violation:
                self._violation = (state, violation)
        return not self._is_over()

    def _is_over(self) -> bool:
        level_done = self._at == len(self._level)
        return (
            self._violation is not None
            or len(self._parents) >= self.states_max
            or (level_done and (not self._next_level or self._depth + 1 == self.depth_max))
        )

    def states(self) -> Iterator[State]:
        """All that were met; `cluster.pictures` shows the nodes in them."""
        return iter(self._parents)

    def found(self) -> Exploration:
        """The result so far."""
        frontier = len(self._level) - self._at + len(self._next_level)
        broken = self._violation[1].broken if self._violation else None
        return Exploration(
            bounds=self.cluster.bounds,
            states=len(self._parents),
            moves=self._moves,
            depth=self._depth + bool(self._next_level),
            frontier=frontier,
            local_states=len(self.cluster.reactions.pictures),
            reactions=self.cluster.reactions.count,
            exhausted=not frontier and broken is None,
            invariant=broken.invariant if broken else "",
            detail=broken.detail if broken else "",
            path=self._path() if broken else (),
        )

    def _path(self) -> tuple[str, ...]:
        """The way from the beginning into the breach: each move, and how its node looks then."""
        assert self._violation is not None
        last, violation = self._violation
        states = [last]
        while (parent := self._parents[states[-1]]) is not None:
            states.append(parent)
        states.reverse()
        steps = []
        for number, (state, successor) in enumerate(pairwise(states), 1):
            move = self.cluster.move_between(state, successor)
            steps.append(f"{number:3}. {move}")
            before, after = self.cluster.pictures(state), self.cluster.pictures(successor)
            steps += [f"       {new}" for old, new in zip(before, after, strict=True) if old != new]
        steps.append(f"{len(states):3}. {violation.move}")
        steps.append(f"       breaks {violation}")
        return tuple(steps)


def explore(
    bounds: Bounds,
    machine: type[Raft] = Raft,
    invariants: frozenset[str] | None = None,
    states_max: int = STATES_MAX,
    depth_max: int | None = None,
) -> Exploration:
    """Search to the end, or to a limit, or to a violation."""
    explorer = Explorer(bounds, machine, invariants, states_max, depth_max)
    while explorer.go_on(states_max):
        pass
    return explorer.found()
