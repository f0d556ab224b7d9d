"""Make a failing plan small while the same checker still says the same.

Greedy, in rounds: plain conditions, fewer faults (delta debugging, Zeller and Hildebrandt 2002),
fewer nodes, a shorter run; until a round changes nothing or the allowed number of runs is used up.
Each candidate is a whole new run: leaving something out shifts what is drawn along the way, so
that a smaller plan may fail in another manner, or not at all, and is then not taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from protocol.clocks import SECOND, Nanoseconds
from protocol.sim.plan import FAULTS_FROM, PLAIN_PARTS, Plan, Reduction, draw, reduced
from protocol.sim.scenario import Outcome

RUNS_MAX = 120
_GRAIN: Nanoseconds = SECOND // 10  # the end is given in tenths of a second


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The smallest outcome found, and how many runs that took."""

    outcome: Outcome
    runs: int


def shrink(failed: Outcome, run: Callable[[Plan], Outcome], runs_max: int = RUNS_MAX) -> Shrunk:
    """Reduce the plan of a failed outcome. `run` carries a plan out."""
    return _Shrinking(failed, run, runs_max).shrink()


class _Shrinking:
    def __init__(self, failed: Outcome, run: Callable[[Plan], Outcome], runs_max: int) -> None:
        self.drawn = draw(failed.seed)
        self.best = failed
        self.run = run
        self.runs_max = runs_max
        self.runs = 0

    def shrink(self) -> Shrunk:
        while True:
            before = self.best
            self._make_plain()
            self._drop_faults()
            self._drop_nodes()
            self._end_sooner()
            if self.best is before or self.runs >= self.runs_max:
                return Shrunk(self.best, self.runs)

    def _try(self, reduction: Reduction) -> bool:
        """Take the reduction if it fails alike."""
        if self.runs >= self.runs_max or reduction == self.best.plan.reduction:
            return False
        self.runs += 1
        outcome = self.run(reduced(self.drawn, reduction))
        if (outcome.verdict, outcome.checker) != (self.best.verdict, self.best.checker):
            return False
        self.best = outcome
        return True

    @property
    def _reduction(self) -> Reduction:
        return self.best.plan.reduction

    def _make_plain(self) -> None:
        for part in PLAIN_PARTS:
            if part not in self._reduction.plain:
                plain = tuple(p for p in PLAIN_PARTS if p == part or p in self._reduction.plain)
                self._try(replace(self._reduction, plain=plain))

    def _drop_faults(self) -> None:
        """First all of them, then halves, quarters, and so on down to single ones."""
        size = len(self._numbers())
        while size > 0 and self._numbers():
            numbers = self._numbers()
            for part in _parts(numbers, size):
                rest = tuple(number for number in self._numbers() if number not in part)
                if len(rest) < len(self._numbers()):
                    self._try(replace(self._reduction, only_faults=rest))
            size //= 2

    def _numbers(self) -> tuple[int, ...]:
        return tuple(fault.number for fault in self.best.plan.faults)

    def _drop_nodes(self) -> None:
        for nodes in range(1, self.best.plan.nodes):
            if self._try(replace(self._reduction, nodes=nodes)):
                return

    def _end_sooner(self) -> None:
        """What happened after it went wrong did not matter; what happened before, perhaps not."""
        went_wrong = int(self.best.virtual_s * SECOND) // _GRAIN * _GRAIN + _GRAIN
        if FAULTS_FROM < went_wrong < self.best.plan.end_ns:
            self._try(replace(self._reduction, until_ns=went_wrong))
        sooner = (FAULTS_FROM + self.best.plan.end_ns) // 2 // _GRAIN * _GRAIN
        while FAULTS_FROM < sooner < self.best.plan.end_ns:
            if not self._try(replace(self._reduction, until_ns=sooner)):
                return
            sooner = (FAULTS_FROM + self.best.plan.end_ns) // 2 // _GRAIN * _GRAIN


def _parts(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for at in range(0, len(numbers), size):
        yield numbers[at : at + size]
