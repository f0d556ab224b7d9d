"""How long attempts took: the last so many, kept in order, so that what is usual is read at once.

Also by weight: of a task that weighs five times as much as the others, it is usual to take five
times as long.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

from protocol.clocks import Nanoseconds

DURATIONS_MIN = 3  # attempts that have ended, before anything is said of what is usual
DURATIONS_MAX = 256  # the last ones that are kept
_BY_WEIGHT_MAX = 2.0**62  # of a weight that is next to nothing


class Durations:
    """Those of one job's attempts that gave a result."""

    def __init__(self) -> None:
        self._whole = _Sample()
        self._by_weight = _Sample()

    def __len__(self) -> int:
        return len(self._whole)

    def add(self, took: Nanoseconds, weight: float) -> None:
        """An attempt at a task of this weight has taken so long."""
        assert weight > 0
        self._whole.add(took)
        self._by_weight.add(int(min(took / weight, _BY_WEIGHT_MAX)))

    def usual(self, percentile: int) -> Nanoseconds | None:
        """So many of a hundred attempts took less; None while too few are known."""
        return self._whole.at(percentile)

    def expected(self, weight: float, percentile: int) -> Nanoseconds | None:
        """The same for a task of this weight."""
        of_one = self._by_weight.at(percentile)
        return None if of_one is None else int(of_one * weight)


class _Sample:
    """The last figures, oldest first and in order."""

    def __init__(self) -> None:
        self._last: deque[int] = deque()
        self._sorted: list[int] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, figure: int) -> None:
        if len(self._last) == DURATIONS_MAX:
            del self._sorted[bisect_left(self._sorted, self._last.popleft())]
        self._last.append(figure)
        insort(self._sorted, figure)

    def at(self, percentile: int) -> int | None:
        count = len(self._sorted)
        if count < DURATIONS_MIN:
            return None
        return self._sorted[min(count - 1, count * percentile // 100)]
