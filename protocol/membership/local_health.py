"""How well this node itself seems to be: Lifeguard's local health multiplier, and the pause guard.

A node that is slow, starved or cut off takes its own trouble for that of the others. It notices by
what should have come and did not, and then waits longer before it accuses anybody (Lifeguard,
section IV-A). Timers that are served late say the same more directly. Then what came meanwhile is
heard before anything is concluded from silence, and suspects get as much more time to refute: where
all are short of time, for 64 share two cores, nobody is accused of it. After a long pause nothing
that was asked before it counts at all.
"""

from __future__ import annotations

from protocol.clocks import Nanoseconds


class LocalHealth:
    """0 is well; waits are multiplied by `score` + 1."""

    __slots__ = ("_max", "score")

    def __init__(self, score_max: int) -> None:
        self._max = score_max
        self.score = 0

    def __repr__(self) -> str:
        return f"<LocalHealth {self.score} of {self._max}>"

    def better(self) -> None:
        """A probe was answered in time."""
        self.score = max(0, self.score - 1)

    def worse(self, by: int = 1) -> None:
        """A probe or so many answers of helpers did not come, or this node had to refute."""
        self.score = min(self._max, self.score + by)

    def stretch(self, wait: Nanoseconds) -> Nanoseconds:
        """How long to wait, being as well as this."""
        return wait * (self.score + 1)
