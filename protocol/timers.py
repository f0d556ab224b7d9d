"""Timers of a machine: what to do at which time, earliest first, and in the order of setting among
equals. Time comes in from outside; nothing here waits.

    timers.set(now + SECOND, self._expire, sequence)
    timers.fire(turn)          calls self._expire(turn, sequence) once it is due
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from protocol.clocks import Nanoseconds
from protocol.turn import Turn

NEVER: Nanoseconds = 2**63 - 1


class Timers:
    """See the module's text. A timer is not taken back: what it does looks whether it still
    applies."""

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[Nanoseconds, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def deadline(self) -> Nanoseconds:
        """When the first one is due; NEVER if there is none."""
        return self._heap[0][0] if self._heap else NEVER

    def set(self, at: Nanoseconds, action: Callable[..., None], *arguments: Any) -> None:
        """Call `action(turn, *arguments)` at that time."""
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, action, arguments))

    def fire(self, turn: Turn) -> None:
        """Do all that is due at the turn's time."""
        while self._heap and self._heap[0][0] <= turn.now:
            _, _, action, arguments = heapq.heappop(self._heap)
            action(turn, *arguments)
